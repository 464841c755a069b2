package dnssec_test

import (
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// counted is the table of algorithms with P-256 alone, and how many signatures were worked out.
func counted() (dnssec.Algorithms, *int) {
	n := new(int)
	return dnssec.Algorithms{dns.ECDSAP256SHA256: func(b []byte) (dnssec.VerifyFunc, error) {
		verify, err := dnssec.ECDSA(elliptic.P256(), crypto.SHA256)(b)
		return func(data, signature []byte) bool {
			*n++
			return verify(data, signature)
		}, err
	}}, n
}

// knowing gives what checks an RRset with a memory, as a resolver does: by a verifier of its own for each query. It tells the status
// and code, and how many signatures were worked out for it.
func knowing(t *testing.T, s *signer, most int) (check func(section []dns.RR, at time.Time, limits dnssec.Limits) (string, int), known *dnssec.Signatures) {
	t.Helper()
	algorithms, n := counted()
	known = dnssec.NewSignatures(most)
	set := []dns.RR{s.key}
	k, v := dnssec.NewVerifier(algorithms, dnssec.DefaultLimits(), now).Keys(dnssec.Group(append(set, s.sign(set, nil)))[0], delegation(t, s.key.ToDS(dns.SHA256)))
	require.Equal(t, dnssec.Secure, v.Status, v.Reason.Text)
	return func(section []dns.RR, at time.Time, limits dnssec.Limits) (string, int) {
		before := *n
		limits, err := limits.Complete()
		require.NoError(t, err)
		v := dnssec.NewVerifier(algorithms, limits, at).Knowing(known)
		var last dnssec.Signature
		for _, set := range dnssec.Group(section) {
			last = v.RRset(set, k)
		}
		return last.Status.String() + " " + last.Reason.Code, *n - before
	}, known
}

// Holds: DCV-05
func TestASignatureThatIsRememberedIsThatOfTheVeryOctets(t *testing.T) {
	s := p256(t, "example.com.")
	section := s.signed("www.example.com. TXT value", "www.example.com. TXT other")
	check, _ := knowing(t, s, 0)
	is := func(what string, section []dns.RR, at time.Time, limits dnssec.Limits, want string, work int) {
		t.Helper()
		got, worked := check(section, at, limits)
		require.Equal(t, want, got, what)
		require.Equal(t, work, worked, what)
	}
	var usual dnssec.Limits
	const secure = "secure "
	is("the first time", section, now, usual, secure, 1)
	is("the second time", section, now.Add(time.Minute), usual, secure, 0)
	is("in another order, and another case of the owner", []dns.RR{mixed(section[1]), section[2], section[0]}, now, usual, secure, 0)
	is("expired", section, now.Add(time.Hour+time.Second), usual, "bogus "+dnssec.CodeSignatureExpired, 0)
	is("not yet valid", section, now.Add(-time.Hour-time.Second), usual, "bogus "+dnssec.CodeSignatureNotYetValid, 0)
	for what, edit := range map[string]func(records []dns.RR){
		"another octet of a record": func(r []dns.RR) { r[0].(*dns.TXT).Txt[0] = "valuE" },
		"a record less":             func(r []dns.RR) { r[0] = r[1] },
		"another owner": func(r []dns.RR) {
			for _, rr := range r {
				rr.Header().Name = "w.example.com."
			}
		},
		"another original TTL": func(r []dns.RR) { r[2].(*dns.RRSIG).OrigTtl++ },
		"another expiration":   func(r []dns.RR) { r[2].(*dns.RRSIG).Expiration++ },
		"another inception":    func(r []dns.RR) { r[2].(*dns.RRSIG).Inception++ },
		"another octet of the signature": func(r []dns.RR) {
			sig := r[2].(*dns.RRSIG)
			raw, err := base64.StdEncoding.DecodeString(sig.Signature)
			require.NoError(t, err)
			raw[40] ^= 1
			sig.Signature = base64.StdEncoding.EncodeToString(raw)
		},
	} {
		var changed []dns.RR
		for _, rr := range section {
			changed = append(changed, dns.Copy(rr))
		}
		edit(changed)
		for range 2 { // what does not hold is not remembered either
			is(what, changed, now, usual, "bogus "+dnssec.CodeSignatureInvalid, 1)
		}
	}
	is("a limit counts what is remembered", append(section, s.signed("www.example.com. A 192.0.2.1")...), now, dnssec.Limits{Signatures: 1},
		"failure "+dnssec.CodeLimit, 0)
}

// The very same octets and signature are worked out for each key, whatever is remembered of another with the same tag.
//
// Holds: DCV-05
func TestASignatureThatIsRememberedIsThatOfTheVeryKey(t *testing.T) {
	s := p256(t, "example.com.")
	other := dns.Copy(s.key).(*dns.DNSKEY)
	raw, err := base64.StdEncoding.DecodeString(other.PublicKey)
	require.NoError(t, err)
	raw[0], raw[2] = raw[2], raw[0]^1 // octets two apart are added up alike
	raw[4] ^= 1
	for i := 0; other.KeyTag() != s.key.KeyTag() || i == 0; i++ { // and the rest is found
		raw[6], raw[7] = byte(i>>8), byte(i)
		other.PublicKey = base64.StdEncoding.EncodeToString(raw)
	}
	require.NotEqual(t, s.key.PublicKey, other.PublicKey)
	known := dnssec.NewSignatures(0)
	www := dnssec.Group(s.signed("www.example.com. A 192.0.2.1"))[0]
	// check has a set checked with the one key of a zone, whose signatures hold or not; the first is that over the key itself.
	check := func(k *dns.DNSKEY, holds bool) dnssec.Status {
		first := true
		algorithms := dnssec.Algorithms{dns.ECDSAP256SHA256: func([]byte) (dnssec.VerifyFunc, error) {
			return func(_, _ []byte) bool {
				defer func() { first = false }()
				return first || holds
			}, nil
		}}
		set := []dns.RR{k}
		zone, v := dnssec.NewVerifier(algorithms, dnssec.DefaultLimits(), now).Keys(dnssec.Group(append(set, s.sign(set, nil)))[0],
			delegation(t, k.ToDS(dns.SHA256)))
		require.Equal(t, dnssec.Secure, v.Status, v.Reason.Text)
		return dnssec.NewVerifier(algorithms, dnssec.DefaultLimits(), now).Knowing(known).RRset(www, zone).Status
	}
	require.Equal(t, dnssec.Secure, check(s.key, true))
	require.Equal(t, dnssec.Bogus, check(other, false))
	require.Equal(t, dnssec.Secure, check(s.key, false), "remembered")
}

func TestTheMemoryOfSignaturesIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	s := p256(t, "example.com.")
	check, known := knowing(t, s, 8)
	set := func(i int) []dns.RR { return s.signed(fmt.Sprintf("n%d.example.com. A 192.0.2.1", i)) }
	used := set(0)
	verified := func(section []dns.RR) int {
		status, worked := check(section, now, dnssec.Limits{})
		require.Equal(t, "secure ", status)
		return worked
	}
	require.Equal(t, 1, verified(used))
	for i := 1; i <= 40; i++ {
		require.Equal(t, 1, verified(set(i)))
		if i%3 == 0 {
			require.Zero(t, verified(used), "what is used stays")
		}
		require.LessOrEqual(t, dnssec.Remembered(known), 8)
	}
	once := set(41)
	require.Equal(t, 1, verified(once))
	for i := range 100 { // whoever makes up signatures displaces nothing
		wrong := dns.Copy(once[1]).(*dns.RRSIG)
		wrong.Signature = base64.StdEncoding.EncodeToString(append(make([]byte, 63), byte(i)))
		status, _ := check([]dns.RR{once[0], wrong}, now, dnssec.Limits{})
		require.Equal(t, "bogus "+dnssec.CodeSignatureInvalid, status)
	}
	require.Zero(t, verified(once))
}

// mixed gives a copy whose owner is in another case.
func mixed(rr dns.RR) dns.RR {
	c := dns.Copy(rr)
	c.Header().Name = "wWw.eXample.com."
	return c
}
