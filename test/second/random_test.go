package second

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// forger holds the keys of the root and of the zone "z.", and signs what no honest zone would: records of other zones, with more
// labels or fewer, proofs that contradict each other.
type forger struct {
	rnd  *rand.Rand
	at   time.Time
	keys map[string]*dns.DNSKEY
	priv map[string]ed25519.PrivateKey
}

func newForger(t *testing.T) *forger {
	t.Helper()
	f := &forger{rnd: rand.New(rand.NewPCG(*seed, 3)), at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		keys: map[string]*dns.DNSKEY{}, priv: map[string]ed25519.PrivateKey{}}
	for _, zone := range []string{".", "z.", "a.z."} {
		k := &dns.DNSKEY{Hdr: header(zone, dns.TypeDNSKEY), Flags: 257, Protocol: 3, Algorithm: dns.ED25519}
		private, err := k.Generate(256)
		require.NoError(t, err)
		f.keys[zone], f.priv[zone] = k, private.(ed25519.PrivateKey)
	}
	return f
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: 300}
}

func one[E any](f *forger, list ...E) E { return list[f.rnd.IntN(len(list))] }

func (f *forger) chance(percent int) bool { return f.rnd.IntN(100) < percent }

// sign signs one record or more of one owner, as if the owner were signedAs, with the number of labels that sig gives.
func (f *forger) sign(zone, signedAs string, labels int, rrs ...dns.RR) []dns.RR {
	h := rrs[0].Header()
	sig := &dns.RRSIG{Hdr: header(h.Name, dns.TypeRRSIG), TypeCovered: h.Rrtype, Algorithm: dns.ED25519, Labels: uint8(labels),
		OrigTtl: 300, Expiration: uint32(f.at.Unix()) + 1000, Inception: uint32(f.at.Unix()) - 1000, KeyTag: f.keys[zone].KeyTag(),
		SignerName: zone}
	if f.chance(2) {
		sig.SignerName = one(f, ".", "z.", "a.z.")
	}
	if f.chance(2) {
		sig.Expiration, sig.Inception = uint32(int(f.at.Unix())+f.rnd.IntN(3)-1), uint32(int(f.at.Unix())+f.rnd.IntN(3)-1)
	}
	data := bytes.Clone(packed([]dns.RR{sig})[len(packed([]dns.RR{&dns.ANY{Hdr: header(h.Name, 0)}})):])
	var wires [][]byte
	head := len(packed([]dns.RR{&dns.ANY{Hdr: header(signedAs, 0)}}))
	for _, rr := range rrs {
		c := dns.Copy(rr)
		c.Header().Name = signedAs
		wires = append(wires, packed([]dns.RR{c}))
	}
	slices.SortFunc(wires, func(a, b []byte) int { return bytes.Compare(a[head:], b[head:]) })
	for _, w := range slices.CompactFunc(wires, bytes.Equal) {
		data = append(data, w...)
	}
	signature, err := f.priv[zone].Sign(nil, data, crypto.Hash(0))
	if err != nil {
		return rrs
	}
	sig.Signature = base64.StdEncoding.EncodeToString(signature)
	return append(slices.Clone(rrs), sig)
}

// genuine signs records as their zone would.
func (f *forger) genuine(zone string, rrs ...dns.RR) []dns.RR {
	owner := rrs[0].Header().Name
	labels := dns.CountLabel(owner)
	if strings.HasPrefix(owner, "*.") {
		labels--
	}
	return f.sign(zone, owner, labels, rrs...)
}

// signed signs records mostly as a zone would, and else in some other way.
func (f *forger) signed(rrs ...dns.RR) []dns.RR {
	owner := rrs[0].Header().Name
	switch zone := f.zone(); f.rnd.IntN(16) {
	case 0: // expanded from a wildcard above
		n := f.rnd.IntN(dns.CountLabel(owner) + 1)
		return f.sign(zone, dns.Fqdn(strings.TrimSuffix("*."+dnssec.Ancestor(owner, n), ".")), n, rrs...)
	case 1: // any number of labels over the owner as it is
		return f.sign(zone, owner, f.rnd.IntN(dns.CountLabel(owner)+2), rrs...)
	case 2:
		if f.chance(30) {
			return rrs
		}
	}
	return f.genuine(f.zone(), rrs...)
}

// zone is whose keys sign; nearly always it is the zone that is asked.
func (f *forger) zone() string {
	if f.chance(4) {
		return one(f, ".", "a.z.")
	}
	return "z."
}

func (f *forger) name() string {
	name := one(f, "z.", "z.", "z.", "z.", "z.", "z.", "z.", "y.")
	for range f.rnd.IntN(4) {
		name = one(f, "a.", "b.", "c.", "*.") + name
	}
	return name
}

// about is a name that a proof about name may speak of.
func (f *forger) about(name string) string {
	switch n := dns.CountLabel(name); f.rnd.IntN(5) {
	case 0:
		return name
	case 1, 2:
		return dnssec.Ancestor(name, max(1, n-f.rnd.IntN(3)))
	case 3:
		return "*." + dnssec.Ancestor(name, max(1, n-1-f.rnd.IntN(3)))
	}
	return f.name()
}

var forgedTypes = []uint16{dns.TypeA, dns.TypeCAA, dns.TypeDS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeTXT}

func (f *forger) bitmap(at map[uint16]int) []uint16 {
	types := []uint16{dns.TypeRRSIG, dns.TypeNSEC}
	for _, t := range []uint16{dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypeDNAME, dns.TypeDS, dns.TypeCAA} {
		if f.chance(max(10, at[t])) {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return types
}

// denials are NSEC or NSEC3 records that may or may not prove something about name. at is how often, of a hundred, a type is in a
// bitmap.
func (f *forger) denials(name string, at map[uint16]int) []dns.RR {
	hashed := f.chance(50)
	var about []string
	for range f.rnd.IntN(4) {
		about = append(about, f.about(name))
	}
	if n := dns.CountLabel(name); f.chance(60) && n > 1 { // a whole proof: closest encloser, next closer name, wildcard
		k := 1 + f.rnd.IntN(n-1)
		ce := dnssec.Ancestor(name, k)
		about = append(about, ce, dnssec.Ancestor(name, k+1), "*."+ce)
	}
	var rrs []dns.RR
	if n := dns.CountLabel(name); f.chance(5) && n > 1 { // a wildcard that is an empty non-terminal
		ce := dnssec.Ancestor(name, 1+f.rnd.IntN(n-1))
		rrs = append(f.signed(&dns.NSEC{Hdr: header(ce, dns.TypeNSEC), NextDomain: "a.*." + ce, TypeBitMap: f.bitmap(at)}),
			f.signed(&dns.NSEC{Hdr: header("a.*."+ce, dns.TypeNSEC), NextDomain: "z.", TypeBitMap: f.bitmap(at)})...)
	}
	for i, about := range about {
		if hashed && !f.chance(3) {
			rrs = append(rrs, f.nsec3(about, i == len(about)-3 || f.chance(40), at)...)
			continue
		}
		next := one(f, f.about(name), "a."+about, "a.*."+about, f.name(), "z.")
		rrs = append(rrs, f.signed(&dns.NSEC{Hdr: header(about, dns.TypeNSEC), NextDomain: next, TypeBitMap: f.bitmap(at)})...)
	}
	return rrs
}

// nsec3 is a record that matches a name, or covers it, and hardly anything else.
func (f *forger) nsec3(name string, match bool, at map[uint16]int) []dns.RR {
	r := &dns.NSEC3{Hash: dns.SHA1, HashLength: 20, SaltLength: 2, Salt: "abcd", TypeBitMap: f.bitmap(at)}
	if f.chance(25) {
		r.Flags = one(f, uint8(1), 1, 1, 1, 1, 2)
	}
	if f.chance(2) {
		r.Iterations, r.Salt, r.Hash = one(f, uint16(0), 1, 101), one(f, "abcd", "abce"), one(f, uint8(1), 2)
	}
	hash, err := base32.HexEncoding.DecodeString(dns.HashName(name, dns.SHA1, r.Iterations, r.Salt))
	if err != nil { // an unknown hash algorithm has no hash
		hash = make([]byte, 20)
	}
	next := slices.Clone(hash)
	next[19]++ // the last octets of two hashes are hardly ever the same
	if !match {
		hash[19]--
	}
	if f.chance(10) {
		hash, next = next, hash
	}
	r.NextDomain = base32.HexEncoding.EncodeToString(next)
	zone := "z."
	if f.chance(4) {
		zone = "b.z."
	}
	r.Hdr = header(strings.ToLower(base32.HexEncoding.EncodeToString(hash))+"."+zone, dns.TypeNSEC3)
	return f.signed(r)
}

// data are records that may answer a question.
func (f *forger) data(name string, qtype uint16) []dns.RR {
	var rrs []dns.RR
	for range one(f, 0, 0, 1, 1, 2) {
		owner := one(f, name, name, name, f.about(name))
		h := func(t uint16) dns.RR_Header { return header(owner, t) }
		switch one(f, qtype, qtype, dns.TypeCNAME, dns.TypeDNAME) {
		case dns.TypeCNAME:
			rrs = append(rrs, f.signed(&dns.CNAME{Hdr: h(dns.TypeCNAME), Target: f.name()})...)
		case dns.TypeDNAME:
			rrs = append(rrs, f.signed(&dns.DNAME{Hdr: h(dns.TypeDNAME), Target: f.name()})...)
		case dns.TypeDS:
			rrs = append(rrs, f.signed(f.ds(owner))...)
		case dns.TypeCAA:
			rrs = append(rrs, f.signed(&dns.CAA{Hdr: h(dns.TypeCAA), Tag: "issue", Value: "ca.example"})...)
		case dns.TypeTXT:
			rrs = append(rrs, f.signed(&dns.TXT{Hdr: h(dns.TypeTXT), Txt: []string{"x"}}, &dns.TXT{Hdr: h(dns.TypeTXT), Txt: []string{"y"}})...)
		default:
			rrs = append(rrs, f.signed(&dns.A{Hdr: h(dns.TypeA), A: []byte{192, 0, 2, 1}})...)
		}
	}
	return rrs
}

func (f *forger) ds(owner string) dns.RR {
	zone := owner
	if f.keys[zone] == nil {
		zone = "a.z."
	}
	ds := f.keys[zone].ToDS(one(f, dns.SHA1, dns.SHA256, dns.SHA256, dns.SHA256))
	ds.Hdr.Name = owner
	if f.chance(10) {
		ds.Algorithm = one(f, uint8(253), 15)
	}
	if f.chance(5) {
		ds.DigestType = 200
	}
	return ds
}

// twoDS is a DS set whose SHA-256 record may be wrong, beside a SHA-1 record that is right.
func (f *forger) twoDS(owner string) []dns.RR {
	strong, weak := f.keys["a.z."].ToDS(dns.SHA256), f.keys["a.z."].ToDS(dns.SHA1)
	if strong.Hdr.Name, weak.Hdr.Name = owner, owner; f.chance(50) {
		strong.Digest = strings.Repeat("ab", 32)
	}
	return f.genuine("z.", strong, weak)
}

// expand makes an answer from a wildcard at the last n labels of a name, and a proof that may be the one that is due.
func (f *forger) expand(m *dns.Msg, name string, n int) {
	ce := dnssec.Ancestor(name, n)
	m.Answer = f.sign("z.", "*."+ce, n, &dns.A{Hdr: header(name, dns.TypeA), A: []byte{192, 0, 2, 1}})
	if m.Question[0].Qtype != dns.TypeA {
		m.Answer = f.sign("z.", "*."+ce, n, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: f.name()})
	}
	m.Ns = f.nsec3(dnssec.Ancestor(name, n+1), false, nil)
	if f.chance(50) {
		m.Ns = f.genuine("z.", &dns.NSEC{Hdr: header(one(f, ce, f.about(name)), dns.TypeNSEC), TypeBitMap: f.bitmap(nil),
			NextDomain: one(f, "z.", f.about(name), "d."+ce, "d."+dnssec.Ancestor(name, max(1, n-1)))})
	}
}

func (f *forger) keySet(zone string) []dns.RR {
	keys := []dns.RR{f.keys[zone]}
	if f.chance(10) {
		other := *f.keys[zone]
		other.Flags, other.Protocol = one(f, uint16(0), 256, 257, 257|dns.REVOKE), one(f, uint8(3), 2)
		keys = append(keys, &other)
	}
	if f.chance(3) {
		keys[0] = &dns.DNSKEY{Hdr: header(zone, dns.TypeDNSKEY), Flags: 257 | dns.REVOKE, Protocol: 3, Algorithm: dns.ED25519,
			PublicKey: f.keys[zone].PublicKey}
	}
	return f.genuine(zone, keys...)
}

func put(sets dnssec.Sets, rrs []dns.RR) string {
	octets := packed(rrs)
	digest := sha256.Sum256(octets)
	sum := hex.EncodeToString(digest[:])
	sets[sum] = octets
	return sum
}

// lookup makes a record of stages that lead to an answer for some name of the zone, or of a zone below it.
func (f *forger) lookup() (resolver.Lookup, dnssec.Sets) {
	sets := dnssec.Sets{}
	stage := func(kind dnssec.StageKind, zone, name string, rrs []dns.RR) dnssec.Stage {
		return dnssec.Stage{Kind: kind, Zone: zone, Name: name, Records: put(sets, rrs), At: f.at}
	}
	l := resolver.Lookup{Name: f.name(), Status: dnssec.Secure, Started: f.at, Finished: f.at}
	qtype := one(f, forgedTypes...)
	l.Type = dns.TypeToString[qtype]
	l.Proof = []dnssec.Stage{stage(dnssec.StageKeys, ".", "", f.keySet(".")),
		stage(dnssec.StageDelegation, ".", "z.", f.genuine(".", f.keys["z."].ToDS(dns.SHA256))),
		stage(dnssec.StageKeys, "z.", "", f.keySet("z."))}
	zones := []string{"z."}
	if f.chance(40) { // a delegation below, in some way
		cut := one(f, "a.z.", "a.z.", f.about(l.Name), f.name())
		section := f.denials(cut, map[uint16]int{dns.TypeNS: 70})
		if f.chance(30) {
			section = append(section, f.data(cut, dns.TypeDS)...)
		}
		if f.chance(20) {
			section = f.twoDS(cut)
		}
		l.Proof = append(l.Proof, stage(dnssec.StageDelegation, "z.", cut, section))
		if f.chance(50) && cut == "a.z." {
			l.Proof = append(l.Proof, stage(dnssec.StageKeys, "a.z.", "", f.keySet("a.z.")))
		}
		zones = []string{cut, cut, "z."}
	}
	if f.chance(5) { // the whole zone is unsigned
		section := f.genuine(".", &dns.NSEC{Hdr: header("z.", dns.TypeNSEC), NextDomain: ".", TypeBitMap: []uint16{dns.TypeNS}})
		l.Proof = []dnssec.Stage{l.Proof[0], stage(dnssec.StageDelegation, ".", "z.", section)}
		zones = []string{"z.", "a.z."}
	}
	name := l.Name
	for range 1 + f.rnd.IntN(3) {
		q := new(dns.Msg)
		q.SetQuestion(name, qtype)
		q.RecursionDesired = false
		m := new(dns.Msg).SetReply(q)
		m.Authoritative, m.Rcode = true, one(f, dns.RcodeSuccess, dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeNameError)
		if f.chance(3) {
			m.Rcode = dns.RcodeYXDomain
		}
		if f.chance(50) {
			m.Answer = f.data(name, qtype)
		}
		m.Ns = f.denials(name, nil)
		if n := dns.CountLabel(name); f.chance(15) && n > 1 {
			f.expand(m, name, 1+f.rnd.IntN(n-1))
		}
		m.Authoritative = !f.chance(2)
		query, err := q.Pack()
		response, err2 := m.Pack()
		if err != nil || err2 != nil {
			break
		}
		l.Queries = append(l.Queries, resolver.Query{At: f.at, Transport: "udp", Query: query, Response: response})
		zone := one(f, zones...)
		l.Proof = append(l.Proof, dnssec.Stage{Kind: dnssec.StageAnswer, Zone: zone, Query: len(l.Queries), At: f.at})
		for _, rr := range m.Answer {
			if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Name == name {
				name = c.Target
			}
		}
	}
	return l, sets
}

// Whatever a zone's keys may have signed, both implementations draw the same from it: tens of thousands of small proofs, most of
// which no honest zone would sign, so that each rule decides some of them.
//
// Holds: DCV-05, DCV-06, DCV-08
func TestTwoImplementationsAgreeOnWhatNobodySigns(t *testing.T) {
	needPython(t)
	f := newForger(t)
	anchor, err := dnssec.NewAnchor(f.keys["."])
	require.NoError(t, err)
	below, err := dnssec.NewAnchor(f.keys["a.z."])
	require.NoError(t, err)
	var lines [][]byte
	found := map[string]int{}
	for range *forgeries {
		l, sets := f.lookup()
		p := resolver.Prover{Anchors: []dnssec.Anchor{anchor}}
		if f.chance(5) {
			p.Anchors = append(p.Anchors, below)
		}
		claimed := claims(p, &l, sets)
		if f.chance(10) && len(p.Anchors) == 1 { // what followed without it may not with it
			p.Anchors = append(p.Anchors, below)
		} else if claimed {
			found[l.Status.String()+" "+l.Rcode]++
			stages, _ := p.Explain(l, sets) // claims is more generous about messages
			for _, stage := range stages {
				for _, s := range stage.Steps {
					found[string(s.Kind)]++
				}
			}
		}
		line, err := NewLine(p, l, sets)
		require.NoError(t, err)
		lines = append(lines, line)
	}
	if *file != "" {
		require.NoError(t, os.WriteFile(*file, bytes.Join(lines, []byte("\n")), 0o600))
	}
	out, status := verify(t, lines)
	t.Logf("%v\n%s", found, out[max(0, len(out)-4000):])
	require.Equal(t, 0, status, "seed %d", *seed)
	for _, k := range []string{"secure NOERROR", "secure NXDOMAIN", "insecure NOERROR", "insecure NXDOMAIN", "nsec_wc", "nsec_ent",
		"nsec_nodata", "nsec_cover", "nsec3_wc", "nsec3_nodata", "nsec3_ce", "nsec3_nc", "nsec3_nc_optout"} {
		require.NotZero(t, found[k], k)
	}
}
