package dnssec_test

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// vector is one example of an RFC: a title, the question, what it should prove, and the records.
type vector struct {
	title, name string
	qtype       uint16
	want        string
	sets        []*dnssec.RRset
}

func vectors(t testing.TB, file string) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	var all []vector
	for _, part := range strings.Split(string(text), "\n== ")[1:] {
		head, body, _ := strings.Cut(part, "\n")
		f := strings.Split(head, "|")
		require.Len(t, f, 3, head)
		q := strings.Fields(f[1])
		v := vector{strings.TrimSpace(f[0]), q[0], dns.StringToType[q[1]], strings.TrimSpace(f[2]), nil}
		p := dns.NewZoneParser(strings.NewReader(body), ".", file)
		var rrs []dns.RR
		for rr, ok := p.Next(); ok; rr, ok = p.Next() {
			switch rr := rr.(type) { // the RFCs list types in any order; on the wire there is only one
			case *dns.NSEC:
				slices.Sort(rr.TypeBitMap)
			case *dns.NSEC3:
				slices.Sort(rr.TypeBitMap)
			}
			rrs = append(rrs, rr)
		}
		require.NoError(t, p.Err(), v.title)
		require.NotEmpty(t, rrs, v.title)
		v.sets = dnssec.Group(rrs)
		all = append(all, v)
	}
	require.NotEmpty(t, all)
	return all
}

// shortRSA verifies RSASHA1 signatures of keys of 512 bits, as RFC 5155 prints them; no code but this test may use such keys.
func shortRSA(b []byte) (dnssec.VerifyFunc, error) {
	if len(b) < 64 || b[0] != 3 {
		return nil, errors.New("not a key of RFC 5155")
	}
	e, n := new(big.Int).SetBytes(b[1:4]), new(big.Int).SetBytes(b[4:])
	return func(data, sig []byte) bool {
		sum := sha1.Sum(data)
		// PKCS #1 version 1.5 with the DigestInfo of SHA-1 (RFC 8017 section 9.2).
		info := append([]byte{0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 0x14}, sum[:]...)
		want := make([]byte, (n.BitLen()+7)/8)
		copy(want[2:], bytes.Repeat([]byte{0xff}, len(want)-3-len(info)))
		want[1] = 1
		copy(want[len(want)-len(info):], info)
		got := new(big.Int).Exp(new(big.Int).SetBytes(sig), e, n).FillBytes(make([]byte, len(want)))
		return len(sig) == len(want) && bytes.Equal(got, want)
	}, nil
}

// The example responses, each judged at a time within the validity of its signatures, and refused outside of it.
//
// Holds: DCV-05, DCV-06, DCV-08
func TestRFC4035_RFC5155_ExampleResponses(t *testing.T) {
	wide := dnssec.DefaultAlgorithms().WithSHA1()
	short := dnssec.DefaultAlgorithms()
	short[dns.RSASHA1NSEC3SHA1] = shortRSA
	for _, c := range []struct {
		file       string
		algorithms dnssec.Algorithms
		at         time.Time
	}{
		{"rfc4035.txt", wide, time.Date(2004, 4, 20, 0, 0, 0, 0, time.UTC)},
		{"rfc5155.txt", short, time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		all := vectors(t, c.file)
		limits, err := dnssec.Limits{}.Complete()
		require.NoError(t, err)
		at := func(when time.Time) *dnssec.Verifier { return dnssec.NewVerifier(c.algorithms, limits, when) }
		anchor, err := dnssec.NewAnchor(all[0].sets[0].RRs[1])
		require.NoError(t, err)
		delegation := dnssec.FromAnchors([]dnssec.Anchor{anchor}, "example.")
		keys, v := at(c.at).Keys(all[0].sets[0], delegation)
		require.Equal(t, dnssec.Secure, v.Status, v.Reason.Text)
		none, v := at(c.at.AddDate(20, 0, 0)).Keys(all[0].sets[0], delegation)
		require.Nil(t, none)
		require.Equal(t, dnssec.CodeSignatureExpired, v.Reason.Code)
		for _, r := range all[1:] {
			t.Run(c.file+" "+r.title, func(t *testing.T) {
				require.Equal(t, r.want, prove(at(c.at), keys, r))
				require.Equal(t, "no", prove(at(c.at.AddDate(20, 0, 0)), keys, r), "the signatures have expired")
			})
		}
	}
}

// prove says what a response proves, in the words of the vectors.
func prove(v *dnssec.Verifier, keys *dnssec.Keys, r vector) string {
	say := func(what string, verdict dnssec.Verdict) string {
		if !verdict.Status.Usable() {
			return "no"
		}
		return what + " " + verdict.Status.String()
	}
	words := map[dnssec.Existence]string{dnssec.NoData: "nodata", dnssec.NoName: "noname", dnssec.NoDSCut: "cut",
		dnssec.NoDSOptOut: "optout", dnssec.NoCut: "nocut"}
	denial := v.Denial(r.sets, keys)
	if set := dnssec.Find(r.sets, r.name, r.qtype); set != nil {
		sig := v.RRset(set, keys)
		if sig.Status == dnssec.Secure && sig.Expanded {
			return say("wildcard", denial.Expansion(r.name, r.qtype, sig.Labels))
		}
		return say("answer", sig.Verdict)
	}
	if r.qtype == dns.TypeNS { // a referral without DS
		what, verdict := denial.NoDS(r.name)
		return say(words[what], verdict)
	}
	what, verdict := denial.Negative(r.name, r.qtype, strings.Contains(r.title, "name error"))
	return say(words[what], verdict)
}

// The RFCs publish their private keys, so that the key set, which they print without a signature, can be signed here.
//
// Holds: DCV-07
func TestRFC6605_RFC8080_Examples(t *testing.T) {
	for _, r := range vectors(t, "eddsa_ecdsa.txt") {
		t.Run(r.title, func(t *testing.T) {
			when, private, _ := strings.Cut(r.want, " ")
			at, err := time.Parse("20060102150405", when)
			require.NoError(t, err)
			key, ds := r.sets[0].RRs[0].(*dns.DNSKEY), r.sets[1].RRs[0].(*dns.DS)
			v := dnssec.NewVerifier(dnssec.DefaultAlgorithms(), dnssec.DefaultLimits(), at)
			apex := []dns.RR{key, published(t, key, private, at)}
			keys, verdict := v.Keys(dnssec.Group(apex)[0], delegation(t, ds))
			require.Equal(t, dnssec.Secure, verdict.Status, verdict.Reason.Text)
			set := dnssec.Find(r.sets, r.name, r.qtype)
			got := v.RRset(set, keys)
			require.Equal(t, dnssec.Secure, got.Status, got.Reason.Text)
			set.RRs[0].Header().Name = "x." + r.name
			set.Name = "x." + r.name
			require.Equal(t, dnssec.Bogus, v.RRset(set, keys).Status, "of another owner")
		})
	}
}

// published signs a key set of one key with the private key that an RFC prints.
func published(t testing.TB, key *dns.DNSKEY, private string, at time.Time) *dns.RRSIG {
	t.Helper()
	sig := &dns.RRSIG{Algorithm: key.Algorithm, KeyTag: key.KeyTag(), SignerName: key.Hdr.Name,
		Inception: uint32(at.Add(-time.Hour).Unix()), Expiration: uint32(at.Add(time.Hour).Unix())}
	set := []dns.RR{key}
	if key.Algorithm == dns.ED448 { // the message library does not know it: let another key fill in the fields
		sig.Algorithm = dns.ECDSAP256SHA256
		p256(t, key.Hdr.Name).sign(set, func(r *dns.RRSIG) { *r = *sig; sig = r })
		seed, err := base64.StdEncoding.DecodeString(private)
		require.NoError(t, err)
		sig.Algorithm = dns.ED448
		raw := ed448.Sign(ed448.NewKeyFromSeed(seed), canonical(t, set, sig), "")
		sig.Signature = base64.StdEncoding.EncodeToString(raw)
		return sig
	}
	priv, err := key.NewPrivateKey(fmt.Sprintf("Private-key-format: v1.2\nAlgorithm: %d (%s)\nPrivateKey: %s\n",
		key.Algorithm, dns.AlgorithmToString[key.Algorithm], private))
	require.NoError(t, err)
	require.NoError(t, sig.Sign(priv.(crypto.Signer), set))
	return sig
}
