package dnssec_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// Holds: DCV-05, DCV-07
func TestRFC8624_AlgorithmsVerify(t *testing.T) {
	for _, c := range []struct {
		name      string
		algorithm uint8
		bits      int
		status    dnssec.Status
	}{
		{"RSASHA256", dns.RSASHA256, 1024, dnssec.Secure},
		{"RSASHA512", dns.RSASHA512, 2048, dnssec.Secure},
		{"ECDSAP256SHA256", dns.ECDSAP256SHA256, 256, dnssec.Secure},
		{"ECDSAP384SHA384", dns.ECDSAP384SHA384, 384, dnssec.Secure},
		{"ED25519", dns.ED25519, 256, dnssec.Secure},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSigner(t, "example.com.", c.algorithm, c.bits)
			set := dnssec.Group(s.signed(`WWW.example.com. A 192.0.2.1`, `www.example.com. A 192.0.2.2`))[0]
			sig := verifier(t).RRset(set, keys(t, s))
			require.Equal(t, c.status, sig.Status, sig.Reason.Text)
			require.Equal(t, c.algorithm, sig.Algorithm)
			require.EqualValues(t, 300, sig.TTL)
			require.False(t, sig.Expanded)
			set.RRs[0].(*dns.A).A[3] ^= 1
			require.Equal(t, dnssec.CodeSignatureInvalid, verifier(t).RRset(set, keys(t, s)).Reason.Code)
		})
	}
}

// Holds: DCV-05
func TestRFC4035_5_3_1_SignaturesThatDoNotFit(t *testing.T) {
	s := p256(t, "example.com.")
	ple := p256(t, "ple.com.")
	com := p256(t, "com.")
	www := "www.example.com. A 192.0.2.1"
	at := func(edit func(*dns.RRSIG)) []dns.RR {
		set := rrs(t, www)
		return append(set, s.sign(set, edit))
	}
	after := func(edit func(*dns.RRSIG)) []dns.RR {
		section := s.signed(www)
		edit(section[1].(*dns.RRSIG))
		return section
	}
	for _, c := range []struct {
		name    string
		section []dns.RR
		code    string
		ede     uint16
	}{
		{"no signature", rrs(t, www), dnssec.CodeSignatureMissing, dnssec.EDERRSIGsMissing},
		{"signer ple.com. for example.com.", ple.signed(www), dnssec.CodeSignatureMissing, dnssec.EDERRSIGsMissing},
		{"signer is the parent", com.signed(www), dnssec.CodeSignatureMissing, dnssec.EDERRSIGsMissing},
		{"another key with our name", p256(t, "example.com.").signed(www), dnssec.CodeKeyMissing, dnssec.EDEDNSKEYMissing},
		{"expired", at(func(r *dns.RRSIG) { r.Expiration = uint32(now.Add(-time.Second).Unix()) }),
			dnssec.CodeSignatureExpired, dnssec.EDESignatureExpired},
		{"not yet valid", at(func(r *dns.RRSIG) { r.Inception = uint32(now.Add(time.Second).Unix()) }),
			dnssec.CodeSignatureNotYetValid, dnssec.EDESignatureNotYetValid},
		{"expires before it is valid", at(func(r *dns.RRSIG) { r.Inception, r.Expiration = r.Expiration, r.Inception }),
			dnssec.CodeSignatureExpired, dnssec.EDEExpiredBeforeValid},
		{"labels above the owner's", after(func(r *dns.RRSIG) { r.Labels = 4 }), dnssec.CodeSignatureInvalid,
			dnssec.EDEBogus},
		{"labels above the zone", after(func(r *dns.RRSIG) { r.Labels = 1 }), dnssec.CodeSignatureInvalid, dnssec.EDEBogus},
		{"labels below the signed ones", after(func(r *dns.RRSIG) { r.Labels = 2 }), dnssec.CodeSignatureInvalid,
			dnssec.EDEBogus},
		{"algorithm of another key", after(func(r *dns.RRSIG) { r.Algorithm = dns.ED25519 }), dnssec.CodeKeyMissing,
			dnssec.EDEDNSKEYMissing},
		{"original TTL changed", after(func(r *dns.RRSIG) { r.OrigTtl++ }), dnssec.CodeSignatureInvalid, dnssec.EDEBogus},
		{"covers another type", after(func(r *dns.RRSIG) { r.TypeCovered = dns.TypeAAAA }), dnssec.CodeSignatureMissing,
			dnssec.EDERRSIGsMissing},
		{"copied from a neighbour", append(rrs(t, www), after(func(r *dns.RRSIG) { r.Hdr.Name = "mail.example.com." })...)[0:1],
			dnssec.CodeSignatureMissing, dnssec.EDERRSIGsMissing},
		{"outside the zone", s.signed("www.example.com.org. A 192.0.2.1"), dnssec.CodeSignatureInvalid, dnssec.EDEBogus},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := verifier(t).RRset(dnssec.Group(c.section)[0], keys(t, s))
			require.Equal(t, dnssec.Bogus, v.Status, v.Reason.Text)
			require.Equal(t, c.code, v.Reason.Code, v.Reason.Text)
			require.Equal(t, c.ede, v.Reason.EDE)
		})
	}
}

// Holds: DCV-05
func TestRFC8080_ED448(t *testing.T) {
	k, priv := ed448Zone(t, "example.com.")
	set := rrs(t, "www.example.com. A 192.0.2.1")
	sign := func(set []dns.RR) *dns.RRSIG {
		sig := p256(t, "example.com.").sign(set, func(r *dns.RRSIG) { r.KeyTag = k.KeyTag() })
		sig.Algorithm = dns.ED448
		sig.Signature = base64.StdEncoding.EncodeToString(ed448.Sign(priv, canonical(t, set, sig), ""))
		return sig
	}
	d := delegation(t, k.ToDS(dns.SHA256))
	require.Equal(t, dnssec.Secure, verifier(t).Delegated(d).Status)
	apex := []dns.RR{k}
	zone, v := verifier(t).Keys(dnssec.Group(append(apex, sign(apex)))[0], d)
	require.Equal(t, dnssec.Secure, v.Status, v.Reason.Text)
	section := dnssec.Group(append(set, sign(set)))[0]
	require.Equal(t, dnssec.Secure, verifier(t).RRset(section, zone).Status)
	section.RRs[0].(*dns.A).A[3] ^= 1
	require.Equal(t, dnssec.CodeSignatureInvalid, verifier(t).RRset(section, zone).Reason.Code)
}

// canonical is a second, plain statement of RFC 4034 section 3.1.8.1 for one record in lower case.
func canonical(t testing.TB, set []dns.RR, sig *dns.RRSIG) []byte {
	t.Helper()
	require.Len(t, set, 1)
	bare := dns.Copy(sig).(*dns.RRSIG)
	bare.Signature = ""
	var head, body [1024]byte
	n, err := dns.PackRR(bare, head[:], 0, nil, false)
	require.NoError(t, err)
	owner, err := dns.PackDomainName(sig.Hdr.Name, make([]byte, 256), 0, nil, false)
	require.NoError(t, err)
	m, err := dns.PackRR(set[0], body[:], 0, nil, false)
	require.NoError(t, err)
	return append(append([]byte(nil), head[owner+10:n]...), body[:m]...)
}

// A genuine RRset beside a forged one of another owner that carries a copied signature: each needs its own.
//
// Holds: DCV-05
func TestRFC4035_5_3_ForgedNeighbourWithCopiedSignature(t *testing.T) {
	s := p256(t, "example.com.")
	genuine := s.signed(`example.com. CAA 0 issue "ca.example.net"`)
	forged := rrs(t, `www.example.com. CAA 0 issue "evil.example.net"`)
	copied := dns.Copy(genuine[1]).(*dns.RRSIG)
	copied.Hdr.Name = "www.example.com."
	sets := dnssec.Group(append(append(genuine, forged...), copied))
	require.Len(t, sets, 2)
	require.Equal(t, dnssec.Secure, verifier(t).RRset(sets[0], keys(t, s)).Status)
	v := verifier(t).RRset(sets[1], keys(t, s))
	require.Equal(t, dnssec.Bogus, v.Status)
}

// Holds: DCV-05
func TestRFC4034_3_1_5_TimesBySerialArithmeticAndSlack(t *testing.T) {
	s := p256(t, "example.com.")
	set := rrs(t, "www.example.com. A 192.0.2.1")
	section := append(set, s.sign(set, nil)) // an hour before and after now
	for _, c := range []struct {
		name   string
		offset time.Duration
		slack  time.Duration
		want   dnssec.Status
	}{
		{"last second", time.Hour, 0, dnssec.Secure},
		{"a second later", time.Hour + time.Second, 0, dnssec.Bogus},
		{"a second later, within the slack", time.Hour + time.Second, time.Minute, dnssec.Secure},
		{"beyond the slack", time.Hour + 61*time.Second, time.Minute, dnssec.Bogus},
		{"first second", -time.Hour, 0, dnssec.Secure},
		{"a second earlier", -time.Hour - time.Second, 0, dnssec.Bogus},
		{"clock off by a day", 24 * time.Hour, dnssec.MaxSlack, dnssec.Bogus},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := verifierAt(t, now.Add(c.offset), dnssec.Limits{Slack: c.slack})
			require.Equal(t, c.want, v.RRset(dnssec.Group(section)[0], keys(t, s)).Status)
		})
	}
	wrap := time.Unix(1<<32+10, 0) // 2106: the counter has passed zero between inception and now
	k := keys(t, s)
	section = append(set, s.sign(set, func(r *dns.RRSIG) { r.Inception, r.Expiration = ^uint32(0)-100, 100 }))
	require.Equal(t, dnssec.Secure, verifierAt(t, wrap, dnssec.Limits{}).RRset(dnssec.Group(section)[0], k).Status)
	require.Equal(t, dnssec.Bogus, verifierAt(t, wrap.Add(200*time.Second), dnssec.Limits{}).RRset(
		dnssec.Group(section)[0], k).Status)
}

// Holds: DCV-05, DCV-07
func TestRFC4035_5_2_KeysByDelegation(t *testing.T) {
	const zone = "example.com."
	a, b := p256(t, zone), newSigner(t, zone, dns.RSASHA256, 1024)
	ed, _ := ed448Zone(t, zone)
	weak := dns.Copy(b.key).(*dns.DNSKEY) // crypto/rsa makes no such key, so its modulus is any 512 bits
	weak.PublicKey = base64.StdEncoding.EncodeToString(append([]byte{3, 1, 0, 1}, bytes.Repeat([]byte{0xab}, 64)...))
	revoked := p256(t, zone)
	revoked.key.Flags |= dns.REVOKE
	noZone := p256(t, zone)
	noZone.key.Flags &^= dns.ZONE
	section := func(by *signer, ks ...*dns.DNSKEY) *dnssec.RRset {
		var set []dns.RR
		for _, k := range ks {
			set = append(set, k)
		}
		return dnssec.Group(append(set, by.sign(set, nil)))[0]
	}
	wrong := func(ds *dns.DS) *dns.DS {
		ds.Digest = strings.Repeat("0", len(ds.Digest))
		return ds
	}
	narrow := dnssec.DefaultAlgorithms()
	delete(narrow, dns.ED448)
	limits, err := dnssec.Limits{}.Complete()
	require.NoError(t, err)
	for _, c := range []struct {
		name      string
		set       *dnssec.RRset
		ds        []*dns.DS
		delegated dnssec.Status
		keys      dnssec.Status
		code      string
	}{
		{"SHA-256", section(a, a.key), []*dns.DS{a.key.ToDS(dns.SHA256)}, dnssec.Secure, dnssec.Secure, ""},
		{"SHA-384", section(a, a.key), []*dns.DS{a.key.ToDS(dns.SHA384)}, dnssec.Secure, dnssec.Secure, ""},
		{"SHA-1 alone", section(a, a.key), []*dns.DS{a.key.ToDS(dns.SHA1)}, dnssec.Secure, dnssec.Secure, ""},
		{"SHA-1 good, SHA-256 wrong", section(a, a.key), []*dns.DS{a.key.ToDS(dns.SHA1), wrong(a.key.ToDS(dns.SHA256))},
			dnssec.Secure, dnssec.Bogus, dnssec.CodeDSMismatch},
		{"one of two algorithms signs", section(a, a.key, b.key), []*dns.DS{a.key.ToDS(dns.SHA256), b.key.ToDS(dns.SHA256)},
			dnssec.Secure, dnssec.Secure, ""},
		{"signed by a key without DS", section(b, a.key, b.key), []*dns.DS{a.key.ToDS(dns.SHA256)}, dnssec.Secure,
			dnssec.Bogus, dnssec.CodeKeyMissing},
		{"DS of another zone's key", section(a, a.key), []*dns.DS{b.key.ToDS(dns.SHA256)}, dnssec.Secure, dnssec.Bogus,
			dnssec.CodeDSMismatch},
		{"DS {16}, 16 not supported", section(a, a.key), []*dns.DS{ed.ToDS(dns.SHA256)}, dnssec.Insecure, 0,
			dnssec.CodeUnsupportedAlgorithm},
		{"DS {16, 13}, 13 does not sign", section(b, ed, b.key),
			[]*dns.DS{ed.ToDS(dns.SHA256), a.key.ToDS(dns.SHA256)}, dnssec.Secure, dnssec.Bogus, dnssec.CodeDSMismatch},
		{"digest of an unknown type", section(a, a.key), []*dns.DS{{Hdr: a.key.Hdr, KeyTag: a.key.KeyTag(),
			Algorithm: a.key.Algorithm, DigestType: 99, Digest: "00"}}, dnssec.Insecure, 0, dnssec.CodeUnsupportedAlgorithm},
		{"RSA-512 alone", section(a, weak, a.key), []*dns.DS{weak.ToDS(dns.SHA256)}, dnssec.Secure, dnssec.Bogus,
			dnssec.CodeKeyUnusable},
		{"revoked", section(a, a.key, revoked.key), []*dns.DS{revoked.key.ToDS(dns.SHA256)}, dnssec.Secure, dnssec.Bogus,
			dnssec.CodeDSMismatch},
		{"no zone key", section(a, noZone.key), []*dns.DS{noZone.key.ToDS(dns.SHA256)}, dnssec.Secure, dnssec.Bogus,
			dnssec.CodeKeyMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := dnssec.NewVerifier(narrow, limits, now)
			d := delegation(t, c.ds...)
			got := v.Delegated(d)
			require.Equal(t, c.delegated, got.Status)
			if got.Status == dnssec.Insecure {
				require.Equal(t, c.code, got.Reason.Code)
				return
			}
			k, verdict := v.Keys(c.set, d)
			require.Equal(t, c.keys, verdict.Status, verdict.Reason.Text)
			require.Equal(t, c.keys == dnssec.Secure, k != nil)
			require.Equal(t, c.code, verdict.Reason.Code, verdict.Reason.Text)
		})
	}
	_, v := verifier(t).Keys(nil, delegation(t, a.key.ToDS(dns.SHA256)))
	require.Equal(t, dnssec.CodeKeyMissing, v.Reason.Code)
}

// KeyTrap (CVE-2023-50387): the work is bounded, and its end is a failure, never insecure.
//
// Holds: DCV-09
func TestCVE_2023_50387_WorkIsBounded(t *testing.T) {
	const zone = "example.com."
	a := p256(t, zone)
	set := rrs(t, "www.example.com. A 192.0.2.1")
	t.Run("signatures per RRset", func(t *testing.T) {
		section := set
		for i := range 100 {
			sig := a.sign(set, nil)
			sig.Expiration += uint32(i + 1) // breaks the signature, keeps the key tag
			section = append(section, sig)
		}
		v := verifier(t)
		got := v.RRset(dnssec.Group(section)[0], keys(t, a))
		require.Equal(t, dnssec.Failure, got.Status)
		require.Equal(t, dnssec.CodeLimit, got.Reason.Code)
		require.Equal(t, 8, v.Checks())
	})
	t.Run("signatures per query", func(t *testing.T) {
		k, v := keys(t, a), verifier(t)
		good := dnssec.Group(append(set, a.sign(set, nil)))[0]
		for range 64 {
			require.Equal(t, dnssec.Secure, v.RRset(good, k).Status)
		}
		got := v.RRset(good, k)
		require.Equal(t, dnssec.Failure, got.Status)
		require.Equal(t, dnssec.CodeLimit, got.Reason.Code)
	})
	t.Run("keys per tag", func(t *testing.T) {
		var ks []dns.RR
		for range 5 {
			ks = append(ks, dns.Copy(a.key))
		}
		got, v := verifier(t).Keys(dnssec.Group(append(ks, a.sign(ks[:1], nil)))[0], delegation(t, a.key.ToDS(dns.SHA256)))
		require.Nil(t, got)
		require.Equal(t, dnssec.CodeLimit, v.Reason.Code)
	})
	t.Run("DS mismatches", func(t *testing.T) {
		var wrong []*dns.DS
		for range 5 {
			ds := a.key.ToDS(dns.SHA256)
			ds.Digest = strings.Repeat("0", 64)
			wrong = append(wrong, ds)
		}
		got, v := verifier(t).Keys(dnssec.Group(append([]dns.RR{a.key}, a.sign([]dns.RR{a.key}, nil)))[0],
			delegation(t, wrong...))
		require.Nil(t, got)
		require.Equal(t, dnssec.Failure, v.Status)
		require.Equal(t, dnssec.CodeLimit, v.Reason.Code)
	})
	t.Run("limits only tighten", func(t *testing.T) {
		for _, l := range []dnssec.Limits{{Signatures: 65}, {SignaturesPerRRset: -1}, {NSEC3Iterations: 101},
			{Slack: 6 * time.Minute}, {Slack: -1}, {KeysPerTag: 5}, {DSMismatches: 5}, {NSEC3Hashes: 9}} {
			_, err := l.Complete()
			require.Error(t, err)
		}
	})
}

// Holds: DCV-04
func TestAnchors(t *testing.T) {
	root := dnssec.RootAnchors()
	require.Len(t, root, 2)
	require.EqualValues(t, 20326, root[0].Tag())
	require.EqualValues(t, 38696, root[1].Tag())
	k := p256(t, "Example.com.").key
	both, err := dnssec.ParseAnchors(strings.NewReader("; comment\n" + k.String() + "\n" + k.ToDS(dns.SHA256).String() + "\n"))
	require.NoError(t, err)
	require.Len(t, both, 2)
	require.Equal(t, "example.com.", both[0].Zone())
	for name, text := range map[string]string{
		"empty": "", "comment only": "; nothing\n", "another type": ". A 192.0.2.1\n", "garbage": "no anchor at all\n",
		"short digest": ". DS 1 8 2 AABB\n", "another class": ". CH DS 20326 8 2 " + strings.Repeat("A", 64) + "\n",
		"include": "$INCLUDE /etc/passwd\n", "revoked": ". DNSKEY 385 3 13 AAAA\n",
	} {
		_, err := dnssec.ParseAnchors(strings.NewReader(text))
		require.Error(t, err, name)
	}
	_, err = dnssec.ParseAnchors(strings.NewReader("\n\n. DS x\n"))
	require.ErrorContains(t, err, "line: 3")
}

func TestWorseHasNoWayUp(t *testing.T) {
	all := []dnssec.Status{0, dnssec.Secure, dnssec.Insecure, dnssec.Bogus, dnssec.Failure}
	for _, a := range all {
		for _, b := range all {
			got := dnssec.Worse(dnssec.Verdict{Status: a}, dnssec.Verdict{Status: b}).Status
			if a == 0 || b == 0 {
				require.Zero(t, got)
				continue
			}
			require.Equal(t, max(a, b), got)
		}
	}
}

// A set is shared: one lookup packs its records for a proof while another reads them. So nothing that reads a record may write to it, as
// dns.PackRR does with the length in its header.
func TestARecordThatIsReadIsNotWrittenTo(t *testing.T) {
	a, b := p256(t, "example.com."), p256(t, "example.com.")
	section := []dns.RR{a.key, b.key}
	section = append(section, a.sign(section, nil))
	const unread = 0xbeef
	for _, rr := range section {
		rr.Header().Rdlength = unread
	}
	set, by := dnssec.Group(section)[0], delegation(t, a.key.ToDS(dns.SHA256))
	k, v := verifier(t).Keys(set, by)
	require.Equal(t, dnssec.Secure, v.Status, v.Reason.Text)
	sets := dnssec.Sets{}
	require.NotEmpty(t, k.Proof.Stages(now, sets))
	require.Len(t, sets, 1)
	require.Equal(t, []*dns.DNSKEY{b.key}, by.Strangers(set))
	for _, rr := range section {
		require.EqualValues(t, unread, rr.Header().Rdlength, rr)
	}

	twice := a.signed("example.com. TXT same", "example.com. TXT same")
	twice[0].Header().Ttl, twice[1].Header().Ttl = 300, 200
	answer := verifier(t).Answer(message(dns.RcodeSuccess, twice, nil), keys(t, a), "example.com.", dns.TypeTXT)
	require.Equal(t, dnssec.Secure, answer.Verdict.Status, answer.Verdict.Reason.Text)
	require.Len(t, answer.Records, 1)
	require.EqualValues(t, 200, answer.Records[0].Header().Ttl)
	require.EqualValues(t, 300, twice[0].Header().Ttl)
}
