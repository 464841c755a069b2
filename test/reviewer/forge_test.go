package reviewer

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
)

func copies(set []dns.RR) []dns.RR {
	var all []dns.RR
	for _, rr := range set {
		all = append(all, dns.Copy(rr))
	}
	return all
}

// records reads records in presentation format, one a string.
func records(t testing.TB, texts ...string) []dns.RR {
	t.Helper()
	var all []dns.RR
	for _, s := range texts {
		rr, err := dns.NewRR(s)
		require.NoError(t, err, s)
		rr.Header().Ttl = 300
		all = append(all, rr)
	}
	return all
}

// renamed gives copies with another owner.
func renamed(set []dns.RR, owner string) []dns.RR {
	set = copies(set)
	for _, rr := range set {
		rr.Header().Name = owner
	}
	return set
}

func isSignature(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG }

func signaturesOf(set []dns.RR) []dns.RR {
	return slices.DeleteFunc(copies(set), func(rr dns.RR) bool { return !isSignature(rr) })
}

// covered is the type that a record is of, or that a signature covers.
func covered(rr dns.RR) uint16 {
	if s, ok := rr.(*dns.RRSIG); ok {
		return s.TypeCovered
	}
	return rr.Header().Rrtype
}

// answering makes a response an authoritative one with this answer section and nothing else.
func answering(answer ...[]dns.RR) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.Rcode, m.Authoritative, m.Answer, m.Ns, m.Extra = dns.RcodeSuccess, true, nil, nil, nil
		for _, set := range answer {
			m.Answer = append(m.Answer, copies(set)...)
		}
	}
}

// denying makes a response an authoritative one without answer, with these proofs.
func denying(rcode int, proofs ...[]dns.RR) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.Rcode, m.Authoritative, m.Answer, m.Ns, m.Extra = rcode, true, nil, nil, nil
		for _, set := range proofs {
			m.Ns = append(m.Ns, copies(set)...)
		}
	}
}

// within tells whether a response is about a name at or below the one given.
func within(m *dns.Msg, name string) bool {
	return dns.IsSubDomain(name, strings.ToLower(m.Question[0].Name))
}

// wanted is the TXT record that the applicant needs at name.
func (s *stage) wanted(name string) []dns.RR {
	return records(s.t, name+" TXT "+s.request.Expected())
}

// challenge is the name that dns-01 asks for.
func (s *stage) challenge() string { return dns.Fqdn("_acme-challenge." + s.request.FQDN()) }

// set gives a genuine RRset with its signature.
func (s *stage) set(zone, name string, rrtype uint16) []dns.RR {
	s.t.Helper()
	set := s.world.RRset(zone, name, rrtype)
	require.NotEmpty(s.t, set, "%s %s", name, dns.Type(rrtype))
	return set
}

// proof gives the genuine NSEC or NSEC3 record of a zone that stands at name or covers it, with its signature.
func (s *stage) proof(zone, name string) []dns.RR {
	s.t.Helper()
	set := s.world.Proof(zone, name)
	require.NotEmpty(s.t, set, "%s in %s", name, zone)
	return set
}

// zoneKey is a DNSKEY record with what signs for it.
type zoneKey struct {
	record *dns.DNSKEY
	signer crypto.Signer
}

func newDNSKEY(zone string, algorithm uint8) *dns.DNSKEY {
	return &dns.DNSKEY{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300}, Flags: 257,
		Protocol: 3, Algorithm: algorithm}
}

func p256Key(t testing.TB, zone string) zoneKey {
	t.Helper()
	k := newDNSKEY(zone, dns.ECDSAP256SHA256)
	priv, err := k.Generate(256)
	require.NoError(t, err)
	return zoneKey{k, priv.(crypto.Signer)}
}

// ed448Signer signs for algorithm 16, which the message library cannot: it is told that the algorithm is 15, whose data
// it hands over as they are, and the octet that says so is put right here. The signature's record is put right by sign.
type ed448Signer struct{ key ed448.PrivateKey }

func (s ed448Signer) Public() crypto.PublicKey { return ed25519.PublicKey(nil) }

func (s ed448Signer) Sign(_ io.Reader, data []byte, _ crypto.SignerOpts) ([]byte, error) {
	data = slices.Clone(data)
	data[2] = dns.ED448 // RFC 4034 section 3.1: type covered, then algorithm
	return ed448.Sign(s.key, data, ""), nil
}

func ed448Key(t testing.TB, zone string) zoneKey {
	t.Helper()
	public, private, err := ed448.GenerateKey(rand.Reader)
	require.NoError(t, err)
	k := newDNSKEY(zone, dns.ED448)
	k.PublicKey = base64.StdEncoding.EncodeToString(public)
	return zoneKey{k, ed448Signer{private}}
}

// labelsSigner signs RRSIG records that speak of one label too many, for which the message library does not give the
// means.
type labelsSigner struct{ key ed25519.PrivateKey }

func (s labelsSigner) Public() crypto.PublicKey { return s.key.Public() }

func (s labelsSigner) Sign(_ io.Reader, data []byte, _ crypto.SignerOpts) ([]byte, error) {
	data = slices.Clone(data)
	if binary.BigEndian.Uint16(data) == dns.TypeTXT {
		data[3]++ // RFC 4034 section 3.1: type covered, algorithm, labels
	}
	return ed25519.Sign(s.key, data), nil
}

func labelsKey(t testing.TB, zone string) zoneKey {
	t.Helper()
	k := newDNSKEY(zone, dns.ED25519)
	private, err := k.Generate(256)
	require.NoError(t, err)
	return zoneKey{k, labelsSigner{private.(ed25519.PrivateKey)}}
}

// rsaSigner signs by RSASHA256 (RFC 5702) with a key of a size that crypto/rsa refuses.
type rsaSigner struct{ n, d *big.Int }

func (s rsaSigner) Public() crypto.PublicKey { return nil }

func (s rsaSigner) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	if len(digest) != sha256.Size {
		return nil, errors.New("not a SHA-256 digest")
	}
	// EMSA-PKCS1-v1_5 (RFC 8017 section 9.2).
	prefix := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
		0x05, 0, 4, 0x20}
	size := (s.n.BitLen() + 7) / 8
	em := slices.Repeat([]byte{0xff}, size)
	em[0], em[1], em[size-len(prefix)-len(digest)-1] = 0, 1, 0
	copy(em[size-len(prefix)-len(digest):], prefix)
	copy(em[size-len(digest):], digest)
	return new(big.Int).Exp(new(big.Int).SetBytes(em), s.d, s.n).FillBytes(make([]byte, size)), nil
}

// rsaKey makes an RSA key of any size for RSASHA256.
func rsaKey(t testing.TB, zone string, bits int) zoneKey {
	t.Helper()
	one, e := big.NewInt(1), big.NewInt(65537)
	for {
		p, err := rand.Prime(rand.Reader, bits/2)
		require.NoError(t, err)
		q, err := rand.Prime(rand.Reader, bits/2)
		require.NoError(t, err)
		n := new(big.Int).Mul(p, q)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(e, phi)
		if d == nil || n.BitLen() != bits {
			continue
		}
		k := newDNSKEY(zone, dns.RSASHA256)
		k.PublicKey = base64.StdEncoding.EncodeToString(append([]byte{3, 1, 0, 1}, n.Bytes()...))
		return zoneKey{k, rsaSigner{n, d}}
	}
}

// sign gives the RRSIG of one RRset by a key, in the name of the key's owner; edit changes it before it is made. The
// owner of the records is the one to be signed: a wildcard's, where one was expanded.
func (k zoneKey) sign(t testing.TB, set []dns.RR, edit func(*dns.RRSIG)) *dns.RRSIG {
	t.Helper()
	now := time.Now()
	sig := &dns.RRSIG{Hdr: dns.RR_Header{Ttl: 300}, Algorithm: k.record.Algorithm, KeyTag: k.record.KeyTag(),
		SignerName: k.record.Hdr.Name, Inception: uint32(now.Add(-time.Hour).Unix()),
		Expiration: uint32(now.Add(time.Hour).Unix())}
	if edit != nil {
		edit(sig)
	}
	if sig.Algorithm == dns.ED448 {
		sig.Algorithm = dns.ED25519
	}
	if err := sig.Sign(k.signer, set); err != nil { // reached from servers' goroutines too
		t.Errorf("signing %s %s: %v", set[0].Header().Name, dns.Type(set[0].Header().Rrtype), err)
	}
	sig.Algorithm = k.record.Algorithm
	if _, raised := k.signer.(labelsSigner); raised && sig.TypeCovered == dns.TypeTXT {
		sig.Labels++
	}
	return sig
}

// owner is the owner of a zone who signs it with keys that the world cannot make, or signs what the world would not.
type owner struct {
	stage *stage
	zone  string
	// keys are in the DNSKEY set; signers sign.
	keys, signers []zoneKey
	// edit, if not nil, changes a record before it is signed.
	edit func(dns.RR)
}

// rule puts an owner's keys and signatures in the place of the world's from now on, and ds into the zone's parent:
// the RDATA of its DS records.
func (o owner) rule(ds ...string) {
	o.stage.t.Helper()
	o.publish(ds...)
	o.pretend()
}

// pretend is rule without the parent's consent.
func (o owner) pretend() {
	o.stage.t.Helper()
	o.stage.rewrite(world.Fault{Zone: o.zone}, o.resign)
}

func (o owner) publish(ds ...string) {
	s := o.stage
	s.t.Helper()
	publish := func(mode world.DSMode, records []string) error {
		return s.world.Edit(o.zone, func(z *world.Zone) error {
			z.DS, z.DSRecords = mode, records
			return nil
		})
	}
	require.NoError(s.t, publish(world.DSGiven, ds))
	s.removes = append(s.removes, func() { require.NoError(s.t, publish(world.DSGenuine, nil)) })
}

// resign makes the zone's signatures in a response anew, and its DNSKEY set.
func (o owner) resign(m *dns.Msg) {
	for _, section := range []*[]dns.RR{&m.Answer, &m.Ns} {
		var out []dns.RR
		for _, sig := range *section {
			if s, ok := sig.(*dns.RRSIG); ok && s.SignerName == o.zone {
				out = append(out, o.again(s, *section)...)
			}
		}
		for _, rr := range *section {
			if s, ok := rr.(*dns.RRSIG); ok && s.SignerName == o.zone {
				continue
			}
			if !slices.ContainsFunc(out, func(other dns.RR) bool {
				return covered(other) == covered(rr) && strings.EqualFold(other.Header().Name, rr.Header().Name)
			}) {
				out = append(out, rr)
			}
		}
		*section = out
	}
}

// again gives the RRset that a signature in a section covers, signed by the owner.
func (o owner) again(sig *dns.RRSIG, section []dns.RR) []dns.RR {
	var set []dns.RR
	if sig.TypeCovered == dns.TypeDNSKEY {
		for _, k := range o.keys {
			set = append(set, k.record)
		}
	} else {
		for _, rr := range section {
			if rr.Header().Rrtype == sig.TypeCovered && strings.EqualFold(rr.Header().Name, sig.Hdr.Name) {
				if rr = dns.Copy(rr); o.edit != nil {
					o.edit(rr)
				}
				set = append(set, rr)
			}
		}
	}
	name := sig.Hdr.Name
	signed := set
	if n := dns.CountLabel(name) - int(sig.Labels); n > 0 {
		signed = renamed(set, "*."+name[dns.Split(name)[n]:])
	}
	for _, k := range o.signers {
		made := k.sign(o.stage.t, signed, nil)
		made.Hdr.Name = name
		set = append(set, made)
	}
	return set
}

// ds gives the RDATA of a key's DS record.
func ds(t testing.TB, k *dns.DNSKEY, digestType uint8) string {
	t.Helper()
	made := k.ToDS(digestType)
	require.NotNil(t, made)
	return strings.TrimPrefix(made.String(), made.Hdr.String())
}

// wrong gives DS RDATA whose digest fits no key.
func wrong(rdata string) string {
	fields := strings.Fields(rdata)
	fields[3] = strings.Repeat("ab", len(fields[3])/2)
	return strings.Join(fields, " ")
}

// entry gives the key that a zone's genuine DS record names.
func (s *stage) entry(zone string) *dns.DNSKEY {
	s.t.Helper()
	for _, rr := range s.set(zone, zone, dns.TypeDNSKEY) {
		if k, ok := rr.(*dns.DNSKEY); ok && k.Flags&dns.SEP != 0 {
			return k
		}
	}
	s.t.Fatalf("%s has no secure entry point", zone)
	return nil
}

// colliding gives n public keys of 1024 bits that nobody can sign with, all with the key tag given (RFC 4034 appendix
// B).
func colliding(zone string, tag uint16, n int) []zoneKey {
	var all []zoneKey
	for len(all) < n {
		k := newDNSKEY(zone, dns.RSASHA256)
		modulus := make([]byte, 128)
		rand.Read(modulus)
		modulus[0] |= 0x80
		modulus[127] |= 1
		for range 3 { // the tag is a sum of 16-bit words, carries added: one word makes up for the others
			k.PublicKey = base64.StdEncoding.EncodeToString(append([]byte{3, 1, 0, 1}, modulus...))
			word := int(binary.BigEndian.Uint16(modulus[2:])) + int(tag) - int(k.KeyTag())
			binary.BigEndian.PutUint16(modulus[2:], uint16((word+0xffff)%0xffff))
		}
		if k.KeyTag() == tag {
			all = append(all, zoneKey{record: k})
		}
	}
	return all
}
