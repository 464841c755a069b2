package dnssec_test

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// now is the time of all signatures of these tests.
var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// signer holds one key of a zone and signs with it.
type signer struct {
	t    testing.TB
	zone string
	key  *dns.DNSKEY
	priv crypto.Signer
}

func newSigner(t testing.TB, zone string, algorithm uint8, bits int) *signer {
	t.Helper()
	k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300}, Flags: 257,
		Protocol: 3, Algorithm: algorithm}
	priv, err := k.Generate(bits)
	require.NoError(t, err)
	return &signer{t, zone, k, priv.(crypto.Signer)}
}

func p256(t testing.TB, zone string) *signer { return newSigner(t, zone, dns.ECDSAP256SHA256, 256) }

// sign gives the RRSIG over an RRset, changed by edit before the signature is made.
func (s *signer) sign(set []dns.RR, edit func(*dns.RRSIG)) *dns.RRSIG {
	s.t.Helper()
	sig := &dns.RRSIG{Algorithm: s.key.Algorithm, KeyTag: s.key.KeyTag(), SignerName: s.zone,
		Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(time.Hour).Unix())}
	if edit != nil {
		edit(sig)
	}
	require.NoError(s.t, sig.Sign(s.priv, set))
	return sig
}

// signed gives records of one RRset and their signature.
func (s *signer) signed(records ...string) []dns.RR {
	set := rrs(s.t, records...)
	return append(set, s.sign(set, nil))
}

func rrs(t testing.TB, records ...string) []dns.RR {
	t.Helper()
	var set []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(r)
		require.NoError(t, err, r)
		rr.Header().Ttl = 300
		switch rr := rr.(type) { // the tables list types in any order
		case *dns.NSEC:
			slices.Sort(rr.TypeBitMap)
		case *dns.NSEC3:
			slices.Sort(rr.TypeBitMap)
		}
		set = append(set, rr)
	}
	return set
}

func verifier(t testing.TB) *dnssec.Verifier { return verifierAt(t, now, dnssec.Limits{}) }

func verifierAt(t testing.TB, at time.Time, limits dnssec.Limits) *dnssec.Verifier {
	t.Helper()
	l, err := limits.Complete()
	require.NoError(t, err)
	return dnssec.NewVerifier(dnssec.DefaultAlgorithms(), l, at)
}

// keys gives the zone's keys as a validator comes to hold them: by a DS of the first.
func keys(t testing.TB, signers ...*signer) *dnssec.Keys {
	t.Helper()
	var set []dns.RR
	for _, s := range signers {
		set = append(set, s.key)
	}
	first := signers[0]
	section := append(set, first.sign(set, nil))
	k, v := verifier(t).Keys(dnssec.Group(section)[0], delegation(t, first.key.ToDS(dns.SHA256)))
	require.Equal(t, dnssec.Secure, v.Status, v.Reason.Text)
	return k
}

func delegation(t testing.TB, ds ...*dns.DS) *dnssec.Delegation {
	t.Helper()
	require.NotEmpty(t, ds)
	set := &dnssec.RRset{Name: ds[0].Hdr.Name, Type: dns.TypeDS}
	for _, d := range ds {
		set.RRs = append(set.RRs, d)
	}
	return dnssec.FromDS(set)
}

// hashed gives the owner label and NSEC3 hash of a name without salt and with n iterations.
func hashed(name string, n uint16) string {
	return strings.ToLower(dns.HashName(name, dns.SHA1, n, ""))
}

// nsec3 gives an NSEC3 record: owner and next are names, or hashes when they begin with "=".
func nsec3(zone, owner, next string, flags int, types string) string {
	h := func(s string) string {
		if strings.HasPrefix(s, "=") {
			return s[1:]
		}
		return hashed(s, 0)
	}
	return fmt.Sprintf("%s.%s 300 IN NSEC3 1 %d 0 - %s %s", h(owner), zone, flags, h(next), types)
}

// around gives a pair of hashes that lie just before and after a name's hash.
func around(name string) (before, after string) {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	h := []byte(hashed(name, 0))
	step := func(up bool) string {
		b := []byte(string(h))
		for i := len(b) - 1; i >= 0; i-- {
			d := strings.IndexByte(digits, b[i])
			if up && d < 31 {
				b[i] = digits[d+1]
				break
			}
			if !up && d > 0 {
				b[i] = digits[d-1]
				break
			}
			b[i] = digits[map[bool]int{true: 0, false: 31}[up]]
		}
		return "=" + string(b)
	}
	return step(false), step(true)
}

// ed448Zone makes a key of algorithm 16, which the message library cannot sign with.
func ed448Zone(t testing.TB, zone string) (*dns.DNSKEY, ed448.PrivateKey) {
	t.Helper()
	pub, priv, err := ed448.GenerateKey(nil)
	require.NoError(t, err)
	return &dns.DNSKEY{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300}, Flags: 257,
		Protocol: 3, Algorithm: dns.ED448, PublicKey: base64.StdEncoding.EncodeToString(pub)}, priv
}
