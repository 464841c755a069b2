package dnssec_test

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// byHand signs one record with an ED25519 key whatever the RRSIG's fields say: what a zone's own signer can do that
// has a fault,
// or means harm. signed is the record as it is signed, which may have another owner.
func byHand(t testing.TB, s *signer, signed dns.RR, edit func(*dns.RRSIG)) *dns.RRSIG {
	t.Helper()
	h := signed.Header()
	sig := &dns.RRSIG{Hdr: dns.RR_Header{Name: h.Name, Rrtype: dns.TypeRRSIG, Class: h.Class, Ttl: h.Ttl},
		TypeCovered: h.Rrtype,
		Algorithm:   s.key.Algorithm, Labels: uint8(dns.CountLabel(h.Name)), OrigTtl: h.Ttl,
		Inception:  uint32(now.Add(-time.Hour).Unix()),
		Expiration: uint32(now.Add(time.Hour).Unix()), KeyTag: s.key.KeyTag(), SignerName: s.zone}
	edit(sig)
	raw, err := s.priv.Sign(nil, canonical(t, []dns.RR{signed}, sig), crypto.Hash(0))
	require.NoError(t, err)
	sig.Signature = base64.StdEncoding.EncodeToString(raw)
	return sig
}

// The number of labels is checked even where the zone's key vouches for it: it says which name was signed.
//
// Holds: DCV-05
func TestRFC4035_5_3_1_LabelsThatTheKeySigned(t *testing.T) {
	s := newSigner(t, "example.com.", dns.ED25519, 256)
	k := keys(t, s)
	for _, c := range []struct {
		name          string
		owner, signed string
		labels        uint8
		want          dnssec.Status
		expanded      bool
	}{
		{"as many as the owner has", "www.example.com.", "www.example.com.", 3, dnssec.Secure, false},
		{"of a wildcard", "www.example.com.", "*.example.com.", 2, dnssec.Secure, true},
		{"of a wildcard asked for by its name", "*.example.com.", "*.example.com.", 2, dnssec.Secure, false},
		{"above the owner's", "www.example.com.", "www.example.com.", 4, dnssec.Bogus, false},
		{"a wildcard's that count the asterisk", "*.example.com.", "*.example.com.", 3, dnssec.Bogus, false},
		{"of a wildcard above the zone", "www.example.com.", "*.com.", 1, dnssec.Bogus, false},
		{"of a wildcard below the root", "www.example.com.", "*.", 0, dnssec.Bogus, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			sig := byHand(t, s, rrs(t, c.signed+" A 192.0.2.1")[0], func(r *dns.RRSIG) { r.Labels = c.labels })
			sig.Hdr.Name = c.owner
			got := verifier(t).RRset(dnssec.Group(append(rrs(t, c.owner+" A 192.0.2.1"), sig))[0], k)
			require.Equal(t, c.want, got.Status, got.Reason.Text)
			require.Equal(t, c.expanded, got.Expanded)
		})
	}
}

// Holds: DCV-05
func TestRFC1982_TimesOnBothSidesOfTheWrap(t *testing.T) {
	s := p256(t, "example.com.")
	set := rrs(t, "www.example.com. A 192.0.2.1")
	section := append(set, s.sign(set, func(r *dns.RRSIG) { r.Inception, r.Expiration = ^uint32(0)-100, 100 }))
	k := keys(t, s)
	for offset, want := range map[int64]dnssec.Status{-102: dnssec.Bogus, -101: dnssec.Secure, -1: dnssec.Secure,
		0:   dnssec.Secure,
		100: dnssec.Secure, 101: dnssec.Bogus} {
		at := verifierAt(t, time.Unix(1<<32+offset, 0), dnssec.Limits{})
		require.Equal(t, want, at.RRset(dnssec.Group(section)[0], k).Status, offset)
	}
}

// colliding gives two keys of one tag.
func colliding(t testing.TB, zone string) (a, b *signer) {
	t.Helper()
	seen := map[uint16]*signer{}
	for range 5000 { // a few hundred are enough: there are 65,536 tags
		s := newSigner(t, zone, dns.ED25519, 256)
		if other := seen[s.key.KeyTag()]; other != nil {
			return other, s
		}
		seen[s.key.KeyTag()] = s
	}
	t.Fatal("no two keys have the same tag")
	return nil, nil
}

// A tag is a hint: of two keys that share one, either may have signed, and either may be the one that the DS record names.
//
// Holds: DCV-05
func TestRFC4034_B_KeysThatShareATag(t *testing.T) {
	const zone = "example.com."
	a, b := colliding(t, zone)
	set := rrs(t, "www.example.com. A 192.0.2.1")
	for _, order := range [][]*signer{{a, b}, {b, a}} {
		apex := []dns.RR{order[0].key, order[1].key}
		for i, named := range order {
			d := delegation(t, named.key.ToDS(dns.SHA256))
			k, v := verifier(t).Keys(dnssec.Group(append(apex, named.sign(apex, nil)))[0], d)
			require.Equal(t, dnssec.Secure, v.Status, v.Reason.Text)
			for _, by := range order {
				got := verifier(t).RRset(dnssec.Group(append(set, by.sign(set, nil)))[0], k)
				require.Equal(t, dnssec.Secure, got.Status, got.Reason.Text)
			}
			_, v = verifier(t).Keys(dnssec.Group(append(apex, order[1-i].sign(apex, nil)))[0], d)
			require.Equal(t, dnssec.Bogus, v.Status, "the other key has the tag, and no DS record")
		}
	}
}

// A key counts by its flags and protocol even where a DS record names it.
//
// Holds: DCV-05
func TestRFC4034_2_1_KeysThatAreNone(t *testing.T) {
	for name, edit := range map[string]func(*dns.DNSKEY){
		"protocol 2": func(k *dns.DNSKEY) { k.Protocol = 2 }, "protocol 0": func(k *dns.DNSKEY) { k.Protocol = 0 },
		"no zone flag": func(k *dns.DNSKEY) { k.Flags &^= dns.ZONE },
		"revoked":      func(k *dns.DNSKEY) { k.Flags |= dns.REVOKE },
	} {
		s := p256(t, "example.com.")
		edit(s.key)
		set := []dns.RR{s.key}
		k, v := verifier(t).Keys(dnssec.Group(append(set, s.sign(set, nil)))[0], delegation(t, s.key.ToDS(dns.SHA256)))
		require.Nil(t, k, name)
		require.Equal(t, dnssec.Bogus, v.Status, name)
		require.Equal(t, dnssec.CodeKeyMissing, v.Reason.Code, name)
	}
}

// Names in the RDATA of the listed types are signed in lower case, whatever case they come in; in no other type.
//
// Holds: DCV-05
func TestRFC6840_5_1_NamesInRdata(t *testing.T) {
	s := newSigner(t, "example.com.", dns.ED25519, 256)
	k := keys(t, s)
	for rdata, lowered := range map[string]bool{
		"NS ns.Example.ORG.": true, "MD ns.Example.ORG.": true, "MF ns.Example.ORG.": true, "CNAME www.Example.ORG.": true,
		"SOA ns.Example.ORG. hostmaster.Example.ORG. 1 2 3 4 5": true, "MB mb.Example.ORG.": true,
		"MG mg.Example.ORG.": true,
		"MR mr.Example.ORG.": true, "PTR www.Example.ORG.": true, "MINFO r.Example.ORG. e.Example.ORG.": true,
		"MX 10 mx.Example.ORG.":            true,
		"RP m.Example.ORG. t.Example.ORG.": true, "AFSDB 1 db.Example.ORG.": true, "RT 1 rt.Example.ORG.": true,
		"PX 1 a.Example.ORG. b.Example.ORG.": true, "KX 1 kx.Example.ORG.": true, "SRV 1 2 3 srv.Example.ORG.": true,
		`NAPTR 1 2 "s" "x" "" re.Example.ORG.`: true, "DNAME tree.Example.ORG.": true,
		"NSEC next.Example.com. A RRSIG NSEC": false, "HTTPS 1 svc.Example.ORG.": false, "SVCB 1 svc.Example.ORG.": false,
		`TXT "Example.ORG."`: false, `CAA 0 issue "Example.ORG"`: false,
	} {
		t.Run(strings.Fields(rdata)[0], func(t *testing.T) {
			record := func(text string) dns.RR { return rrs(t, "www.example.com. "+text)[0] }
			lower := strings.NewReplacer("Example.ORG", "example.org", "Example.com", "example.com").Replace(rdata)
			require.NotEqual(t, rdata, lower)
			status := func(signed, came string) dnssec.Status {
				sig := byHand(t, s, record(signed), func(*dns.RRSIG) {})
				return verifier(t).RRset(dnssec.Group([]dns.RR{record(came), sig})[0], k).Status
			}
			require.Equal(t, dnssec.Secure, status(lower, lower))
			if lowered {
				require.Equal(t, dnssec.Secure, status(lower, rdata), "came in another case")
				require.Equal(t, dnssec.Bogus, status(rdata, rdata), "not signed in canonical form")
				return
			}
			require.Equal(t, dnssec.Secure, status(rdata, rdata), "signed as it is")
			require.Equal(t, dnssec.Bogus, status(lower, rdata))
		})
	}
}

// A record that came twice was signed once (RFC 4034 section 6.3, RFC 2181 section 5).
//
// Holds: DCV-05
func TestRFC4034_6_3_DuplicatesCountOnce(t *testing.T) {
	s := p256(t, "example.com.")
	section := s.signed("www.example.com. MX 10 a.example.org.", "www.example.com. MX 20 b.example.org.")
	section = append(section, rrs(t, "WWW.example.com. MX 10 A.example.org.")...)
	require.Equal(t, dnssec.Secure, verifier(t).RRset(dnssec.Group(section)[0], keys(t, s)).Status)
}

// rootKeys are KSK-2017 and KSK-2024, as IANA publishes them in root-anchors.xml, and Debian in dns-root-data.
var rootKeys = []string{
	"AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3+/4RgWOq7HrxRixHlFlExOLAJr5emLvN7SWXgnLh4+B5xQlNVz8Og8kvArMtNROxVQuC" +
		"aSnIDdD5LKyWbRd2n9WGe2R8PzgCmr3EgVLrjyBxWezF0jLHwVN8efS3rCj/EWgvIWgb9tarpVUDK/b58Da+sqqls3eNbuv7pr+eoZG+SrDK6nWeL3c6H5Apxz" +
		"7LjVc1uTIdsIXxuOLYA4/ilBmSVIzuDWfdRUfhHdY6+cn8HFRm+2hM8AnXGXws9555KrUB5qihylGa8subX2Nn6UwNR1AkUTV74bU=",
	"AwEAAa96jeuknZlaeSrvyAJj6ZHv28hhOKkx3rLGXVaC6rXTsDc449/cidltpkyGwCJNnOAlFNKF2jBosZBU5eeHspaQWOmOElZsjICMQMC3aeHbGiShvZsx4wMY" +
		"SjH8e7Vrhbu6irwCzVBApESjbUdpWWmEnhathWu1jo+siFUiRAAxm9qyJNg/wOZqqzL/dL/q8PkcRU5oUKEpUge71M3ej2/7CPqpdVwuMoTvoB+ZOT4YeGyxMv" +
		"HmbrxlFzGOHOijtzN+u1TQNatX2XBuzZNQ1K+s2CXkPIZo7s6JgZyvaBevYtxPvYLw4z9mR7K2vaF18UYH9Z9GNUUeayffKC73PYc=",
}

// The anchors against the keys themselves, as IANA publishes them (root-anchors.xml, and Debian in dns-root-data): the
// digests
// are worked out from the keys by another implementation.
//
// Holds: DCV-04
func TestRootAnchorsAreIANAs(t *testing.T) {
	anchors := dnssec.RootAnchors()
	require.Len(t, anchors, len(rootKeys))
	for i, p := range rootKeys {
		k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET}, Flags: 257,
			Protocol:  3,
			Algorithm: dns.RSASHA256, PublicKey: p}
		ds := k.ToDS(dns.SHA256)
		require.Equal(t, []uint16{20326, 38696}[i], k.KeyTag())
		require.Equal(t, fmt.Sprintf(".\t0\tIN\tDS\t%d 8 2 %s", k.KeyTag(), strings.ToUpper(ds.Digest)),
			anchors[i].String())
		require.Equal(t, ".", anchors[i].Zone())
	}
	require.Equal(t, time.Date(2017, 2, 2, 0, 0, 0, 0, time.UTC), anchors[0].From())
	require.Equal(t, time.Date(2024, 7, 18, 0, 0, 0, 0, time.UTC), anchors[1].From())
}
