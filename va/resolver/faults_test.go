package resolver_test

import (
	"crypto"
	"encoding/base64"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
)

// generator injects faults into the answers of one zone, and of its child.
type generator struct {
	world *world.World
	zone  string
	// truth is what each question yields without faults, by the question's word.
	truth map[string][]string
	// sets are the genuine RRsets with their signatures, by "zone owner type".
	sets map[string][]dns.RR
}

// target is what a fault concerns within a response: RRsets of some types in one section. A fault is written "what@target".
type target struct {
	types []uint16
	// nth, counted from 1, is the only one of the RRsets that is concerned; 0 means all.
	nth int
}

var targets = map[string]target{
	"answer":  {types: []uint16{dns.TypeA, dns.TypeCAA, dns.TypeCNAME, dns.TypeDNAME}},
	"proof":   {types: []uint16{dns.TypeNSEC, dns.TypeNSEC3}},
	"proof-1": {types: []uint16{dns.TypeNSEC, dns.TypeNSEC3}, nth: 1},
	"proof-2": {types: []uint16{dns.TypeNSEC, dns.TypeNSEC3}, nth: 2},
	"proof-3": {types: []uint16{dns.TypeNSEC, dns.TypeNSEC3}, nth: 3},
	"cname":   {types: []uint16{dns.TypeCNAME}},
	"soa":     {types: []uint16{dns.TypeSOA}},
	"ds":      {types: []uint16{dns.TypeDS}},
	"dnskey":  {types: []uint16{dns.TypeDNSKEY}},
}

// change makes another RRset, its signatures included, of the records of one; all are copies.
type change func(g *generator, set []dns.RR) []dns.RR

var changes = map[string]change{
	"drop":            func(*generator, []dns.RR) []dns.RR { return nil },
	"drop-one-record": func(_ *generator, set []dns.RR) []dns.RR { return set[1:] },
	"add-record":      addRecord,
	"alter":           alterData,
	"lone-signature":  func(_ *generator, set []dns.RR) []dns.RR { return signaturesOf(set) },
	"strip":           func(_ *generator, set []dns.RR) []dns.RR { return recordsOf(set) },
	"twice":           func(_ *generator, set []dns.RR) []dns.RR { return append(set, copies(set)...) },
	"backwards":       func(_ *generator, set []dns.RR) []dns.RR { slices.Reverse(set); return set },
	"upper-case":      upperCase,
	"other-class":     each(func(rr dns.RR) { rr.Header().Class = dns.ClassCHAOS }),
	"raise-ttl":       each(func(rr dns.RR) { rr.Header().Ttl = 86400 }),
	"lower-ttl":       each(func(rr dns.RR) { rr.Header().Ttl = 7 }),
	"move-below":      each(func(rr dns.RR) { rr.Header().Name = "x." + rr.Header().Name }),

	"alter-signature":   inSignature(func(_ *generator, s *dns.RRSIG) { s.Signature = flip(s.Signature) }),
	"empty-signature":   inSignature(func(_ *generator, s *dns.RRSIG) { s.Signature = "" }),
	"short-signature":   inSignature(func(_ *generator, s *dns.RRSIG) { s.Signature = s.Signature[:len(s.Signature)/8*4] }),
	"prolong":           inSignature(func(_ *generator, s *dns.RRSIG) { s.Expiration += 3600 }),
	"antedate":          inSignature(func(_ *generator, s *dns.RRSIG) { s.Inception -= 3600 }),
	"end-before-start":  inSignature(func(_ *generator, s *dns.RRSIG) { s.Inception, s.Expiration = s.Expiration, s.Inception }),
	"raise-labels":      inSignature(func(_ *generator, s *dns.RRSIG) { s.Labels++ }),
	"lower-labels":      inSignature(func(_ *generator, s *dns.RRSIG) { s.Labels-- }),
	"no-labels":         inSignature(func(_ *generator, s *dns.RRSIG) { s.Labels = 0 }),
	"original-ttl":      inSignature(func(_ *generator, s *dns.RRSIG) { s.OrigTtl = 86400 }),
	"other-type":        inSignature(func(_ *generator, s *dns.RRSIG) { s.TypeCovered = dns.TypeMX }),
	"other-tag":         inSignature(func(_ *generator, s *dns.RRSIG) { s.KeyTag++ }),
	"other-algorithm":   inSignature(func(_ *generator, s *dns.RRSIG) { s.Algorithm = dns.RSASHA1 }),
	"signer-parent":     inSignature(func(_ *generator, s *dns.RRSIG) { s.SignerName = "gen." }),
	"signer-root":       inSignature(func(_ *generator, s *dns.RRSIG) { s.SignerName = "." }),
	"signer-child":      inSignature(func(g *generator, s *dns.RRSIG) { s.SignerName = "child." + g.zone }),
	"signer-suffix":     inSignature(func(_ *generator, s *dns.RRSIG) { s.SignerName = s.SignerName[1:] }),
	"signer-upper-case": inSignature(func(_ *generator, s *dns.RRSIG) { s.SignerName = strings.ToUpper(s.SignerName) }),

	// Another key signs: one that the zone does not have, the same under the tag of the zone's key, and both beside the
	// genuine signature, which must not hurt.
	"stranger":            stranger(false, false),
	"stranger-same-tag":   stranger(true, false),
	"stranger-beside":     stranger(false, true),
	"stranger-tag-beside": stranger(true, true),
	"own-keys":            ownKeys,

	// Genuine records of another place.
	"rename-other":    renamed("other", "A"),
	"copy-signature":  copySignature,
	"other-no-ds":     proofOf(false, "open"),
	"proof-of-other":  proofOf(false, "other"),
	"proof-of-parent": proofOf(false, "child"),
	"proof-of-child":  proofOf(true, ""),
	"ds-of-stranger":  strangersDS,
}

// rewrites change a response as a whole.
var rewrites = map[string]func(g *generator, m *dns.Msg){
	"none":       func(*generator, *dns.Msg) {},
	"no-name":    func(_ *generator, m *dns.Msg) { m.Rcode = dns.RcodeNameError },
	"no-error":   func(_ *generator, m *dns.Msg) { m.Rcode = dns.RcodeSuccess },
	"strip-all":  func(_ *generator, m *dns.Msg) { m.Answer, m.Ns = recordsOf(m.Answer), recordsOf(m.Ns) },
	"empty":      func(_ *generator, m *dns.Msg) { m.Answer, m.Ns = nil, nil },
	"backwards":  func(_ *generator, m *dns.Msg) { slices.Reverse(m.Answer); slices.Reverse(m.Ns) },
	"twice":      func(_ *generator, m *dns.Msg) { m.Answer = append(m.Answer, m.Answer...); m.Ns = append(m.Ns, m.Ns...) },
	"as-other":   func(g *generator, m *dns.Msg) { m.Answer, m.Ns = g.set(false, "other", "A"), nil },
	"as-type":    func(g *generator, m *dns.Msg) { m.Answer, m.Ns = g.set(false, "www", "TXT"), nil },
	"as-no-data": func(g *generator, m *dns.Msg) { m.Answer, m.Ns = nil, g.proof(false, "www") },
	"as-no-name": func(g *generator, m *dns.Msg) {
		m.Rcode, m.Answer, m.Ns = dns.RcodeNameError, nil, append(g.proof(false, "other"), g.proof(false, "taken.wild")...)
	},
	// The wildcard's genuine records and signature, with every denial record of the zone.
	"as-wildcard": func(g *generator, m *dns.Msg) {
		m.Rcode, m.Answer = dns.RcodeSuccess, g.set(false, "*.wild", "A")
		for _, rr := range m.Answer {
			rr.Header().Name = m.Question[0].Name
		}
		m.Ns = g.allProofs()
	},
	// Everything that the zone ever signed to deny something, against a name that exists.
	"deny-with-all": func(g *generator, m *dns.Msg) { m.Answer, m.Ns = nil, g.allProofs() },
	"deny-name-with-all": func(g *generator, m *dns.Msg) {
		m.Rcode, m.Answer, m.Ns = dns.RcodeNameError, nil, g.allProofs()
	},
	"as-cut-record": func(g *generator, m *dns.Msg) { m.Answer, m.Ns = nil, g.proof(false, "child") },
	// The parent's server denies data of the child with its own genuine record at the cut, instead of referring.
	"parent-denies": func(g *generator, m *dns.Msg) {
		if q := m.Question[0]; q.Qtype != dns.TypeDS && dns.IsSubDomain("child."+g.zone, strings.ToLower(q.Name)) {
			m.Authoritative, m.Answer, m.Ns, m.Extra = true, nil, g.proof(false, "child"), nil
		}
	},
}

// inject puts a fault in place until the test ends. struck tells whether it has changed a response.
func (g *generator) inject(t *testing.T, f world.Fault, word, name string, qtype uint16) (struck func() bool) {
	t.Helper()
	var hits atomic.Int64
	switch word {
	case "expired":
		f.Kind = world.Expired
		hits.Add(1)
	case "not-yet-valid":
		f.Kind = world.Future
		hits.Add(1)
	default:
		f.Kind = world.Rewrite
		f.Rewrite = g.rewrite(t, word, &hits)
	}
	remove, err := g.world.Inject(f)
	require.NoError(t, err)
	t.Cleanup(remove)
	return func() bool { return hits.Load() > 0 }
}

func (g *generator) rewrite(t *testing.T, word string, hits *atomic.Int64) func(*dns.Msg) {
	t.Helper()
	if whole, ok := rewrites[word]; ok {
		return func(m *dns.Msg) {
			m.Answer, m.Ns = copies(m.Answer), copies(m.Ns)
			whole(g, m)
			hits.Add(1)
		}
	}
	what, where, _ := strings.Cut(word, "@")
	edit, ok := changes[what]
	require.True(t, ok, "no such fault: %s", word)
	at, ok := targets[where]
	require.True(t, ok, "no such target: %s", word)
	return func(m *dns.Msg) {
		n := 0
		for _, section := range []*[]dns.RR{&m.Answer, &m.Ns} {
			var out []dns.RR
			for _, set := range rrsets(copies(*section)) {
				if slices.Contains(at.types, covered(set[0])) {
					if n++; at.nth == 0 || at.nth == n {
						set = edit(g, set)
						hits.Add(1)
					}
				}
				out = append(out, set...)
			}
			*section = out
		}
		proves := func(rr dns.RR) bool { return slices.Contains(targets["proof"].types, covered(rr)) }
		for _, rr := range m.Answer { // a denial that took the place of an answer stands in the authority section
			if proves(rr) {
				m.Ns = append(m.Ns, rr)
			}
		}
		m.Answer = slices.DeleteFunc(m.Answer, proves)
	}
}

// rrsets sorts a section into RRsets, records first, then signatures.
func rrsets(section []dns.RR) [][]dns.RR {
	var all [][]dns.RR
	for _, rr := range section {
		i := slices.IndexFunc(all, func(set []dns.RR) bool {
			return covered(set[0]) == covered(rr) && strings.EqualFold(set[0].Header().Name, rr.Header().Name)
		})
		if i < 0 {
			all = append(all, []dns.RR{rr})
		} else {
			all[i] = append(all[i], rr)
		}
	}
	return all
}

func covered(rr dns.RR) uint16 {
	if s, ok := rr.(*dns.RRSIG); ok {
		return s.TypeCovered
	}
	return rr.Header().Rrtype
}

func copies(set []dns.RR) []dns.RR {
	var all []dns.RR
	for _, rr := range set {
		all = append(all, dns.Copy(rr))
	}
	return all
}

func isSignature(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG }

func recordsOf(set []dns.RR) []dns.RR { return slices.DeleteFunc(slices.Clone(set), isSignature) }

func signaturesOf(set []dns.RR) []dns.RR {
	return slices.DeleteFunc(slices.Clone(set), func(rr dns.RR) bool { return !isSignature(rr) })
}

func each(edit func(dns.RR)) change {
	return func(_ *generator, set []dns.RR) []dns.RR {
		for _, rr := range set {
			edit(rr)
		}
		return set
	}
}

func inSignature(edit func(*generator, *dns.RRSIG)) change {
	return func(g *generator, set []dns.RR) []dns.RR {
		for _, rr := range signaturesOf(set) {
			edit(g, rr.(*dns.RRSIG))
		}
		return set
	}
}

// upperCase writes owners otherwise; only RDATA is signed in a case of its own.
func upperCase(_ *generator, set []dns.RR) []dns.RR {
	return each(func(rr dns.RR) { rr.Header().Name = strings.ToUpper(rr.Header().Name) })(nil, set)
}

func flip(signature string) string {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(raw) == 0 {
		return ""
	}
	raw[len(raw)/2] ^= 1
	return base64.StdEncoding.EncodeToString(raw)
}

// alterData changes what the first record of the set says.
func alterData(_ *generator, set []dns.RR) []dns.RR {
	switch rr := set[0].(type) {
	case *dns.A:
		rr.A[3] ^= 0x40
	case *dns.CAA:
		rr.Value = "attacker.example.net"
	case *dns.CNAME:
		rr.Target = "other" + rr.Target[len("www"):]
	case *dns.DNAME:
		rr.Target = "wild" + rr.Target[len("tree"):]
	case *dns.DS:
		rr.Digest = strings.Repeat("00", len(rr.Digest)/2)
	case *dns.DNSKEY:
		rr.Flags ^= dns.SEP
	case *dns.SOA:
		rr.Serial++
	case *dns.NSEC: // the record claims less: types are missing from its list
		rr.TypeBitMap = []uint16{dns.TypeRRSIG, dns.TypeNSEC}
	case *dns.NSEC3:
		rr.TypeBitMap = nil
		rr.Flags ^= 1
	}
	return set
}

func addRecord(_ *generator, set []dns.RR) []dns.RR {
	more := dns.Copy(set[0])
	return append([]dns.RR{alterData(nil, []dns.RR{more})[0]}, set...)
}

// strangerKey makes a key that no zone has, of the algorithm that a signature names where the library can.
func strangerKey(zone string) (*dns.DNSKEY, crypto.Signer) {
	k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300}, Flags: 257,
		Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	priv, err := k.Generate(256)
	if err != nil {
		return nil, nil
	}
	return k, priv.(crypto.Signer)
}

// stranger signs the altered set with a key that is not the zone's, or puts such a signature before the genuine one of the
// unaltered set. With sameTag it names the zone's own key.
func stranger(sameTag, beside bool) change {
	return func(_ *generator, set []dns.RR) []dns.RR {
		genuine := signaturesOf(set)
		if len(genuine) == 0 {
			return set
		}
		data := recordsOf(set)
		if !beside {
			alterData(nil, data)
		}
		forged := dns.Copy(genuine[0]).(*dns.RRSIG)
		k, priv := strangerKey(forged.SignerName)
		if k == nil {
			return nil
		}
		alg, tag := forged.Algorithm, forged.KeyTag
		forged.Algorithm, forged.KeyTag = k.Algorithm, k.KeyTag()
		if forged.Sign(priv, data) != nil {
			return nil
		}
		if sameTag {
			forged.Algorithm, forged.KeyTag = alg, tag
		}
		if beside {
			return append(append(data, forged), genuine...)
		}
		return append(data, forged)
	}
}

// ownKeys replaces the DNSKEY set by one that signs itself and that no DS record names.
func ownKeys(_ *generator, set []dns.RR) []dns.RR {
	k, priv := strangerKey(set[0].Header().Name)
	if k == nil {
		return nil
	}
	now := time.Now()
	s := &dns.RRSIG{Algorithm: k.Algorithm, KeyTag: k.KeyTag(), SignerName: k.Hdr.Name,
		Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(time.Hour).Unix())}
	if s.Sign(priv, []dns.RR{k}) != nil {
		return nil
	}
	return []dns.RR{k, s}
}

// strangersDS names a key that the child does not have, under the genuine signature.
func strangersDS(_ *generator, set []dns.RR) []dns.RR {
	k, _ := strangerKey(set[0].Header().Name)
	if k == nil {
		return nil
	}
	return append([]dns.RR{k.ToDS(dns.SHA256)}, signaturesOf(set)...)
}

func (g *generator) place(child bool, label string) (zone, name string) {
	zone = g.zone
	if child {
		zone = "child." + zone
	}
	return zone, strings.TrimPrefix(label+"."+zone, ".")
}

// set gives a genuine RRset with its signature.
func (g *generator) set(child bool, label, rrtype string) []dns.RR {
	zone, name := g.place(child, label)
	return copies(g.sets[zone+" "+name+" "+rrtype])
}

// proof gives the genuine NSEC or NSEC3 record at a name, with its signature; for an opt-out span, which has none there,
// nothing.
func (g *generator) proof(child bool, label string) []dns.RR {
	if set := g.set(child, label, "NSEC"); len(set) > 0 {
		return set
	}
	zone, name := g.place(child, label)
	for id, set := range g.sets {
		if n, ok := set[0].(*dns.NSEC3); ok && strings.HasPrefix(id, zone+" ") && n.Match(name) {
			return copies(set)
		}
	}
	return nil
}

// allProofs gives all denial records of the zone and of its child.
func (g *generator) allProofs() []dns.RR {
	var all []dns.RR
	for id, set := range g.sets {
		if t := covered(set[0]); (t == dns.TypeNSEC || t == dns.TypeNSEC3) && strings.HasPrefix(id, g.zone+" ") {
			all = append(all, copies(set)...)
		}
	}
	return all
}

// renamed puts the genuine RRset of another name in the place of this one, under this one's name.
func renamed(label, rrtype string) change {
	return func(g *generator, set []dns.RR) []dns.RR {
		other := g.set(false, label, rrtype)
		for _, rr := range other {
			rr.Header().Name = set[0].Header().Name
		}
		return other
	}
}

// copySignature puts a genuine signature of another name on a forged record (a reviewer's second case).
func copySignature(g *generator, set []dns.RR) []dns.RR {
	s := signaturesOf(g.set(false, "other", "A"))
	for _, rr := range s {
		rr.Header().Name = set[0].Header().Name
	}
	return append(alterData(nil, recordsOf(set)), s...)
}

// proofOf puts the genuine denial record at another name in the place of this one.
func proofOf(child bool, label string) change {
	return func(g *generator, _ []dns.RR) []dns.RR { return g.proof(child, label) }
}
