package dnssec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// More cases of TestRFC4035_5_4_NSEC: where two rules meet.
const nsecEdges = `
wildcard delegation, DS      | a.example.com. d.example.com. A RRSIG NSEC; *.example.com. a.example.com. NS RRSIG NSEC | b.example.com. DS | no | no
wildcard delegation, CAA     | a.example.com. d.example.com. A RRSIG NSEC; *.example.com. a.example.com. NS RRSIG NSEC | b.example.com. CAA | no | no
encloser by the next name    | a.example.com. z.b.example.com. A RRSIG NSEC                              | c.b.example.com. CAA  | yes | noname
wildcard empty               | a.example.com. d.example.com. A RRSIG NSEC; example.com. x.*.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | yes | nodata
a lone record                | example.com. example.com. A NS SOA RRSIG NSEC                             | b.example.com. CAA    | yes | noname
a lone record, the apex      | example.com. example.com. A NS SOA RRSIG NSEC                             | example.com. CAA      | no  | nodata
DNAME at the name itself     | sub.example.com. x.example.com. DNAME RRSIG NSEC                          | sub.example.com. CAA  | no  | nodata
the next name                | a.example.com. b.example.com. A RRSIG NSEC; example.com. a.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | yes | no
the owner under its own record | b.example.com. d.example.com. CAA RRSIG NSEC; example.com. b.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | yes | no
`

// "No DS" of the root is its own to say, since nobody is above it.
//
// Holds: DCV-05
func TestRFC4035_5_2_TheRootHasNoParent(t *testing.T) {
	s := p256(t, ".")
	got, v := verifier(t).Denial(dnssec.Group(s.signed(". NSEC aaa. NS SOA RRSIG NSEC DNSKEY")), keys(t,
		s)).Negative(".", dns.TypeDS, false)
	expect(t, "nodata", got, v)
}

// Holds: DCV-05, DCV-08
func TestRFC5155_8_NSEC3WhereTwoRulesMeet(t *testing.T) {
	const zone = "example.com."
	s := p256(t, zone)
	k := keys(t, s)
	span := func(name, types string, flags int) []dns.RR {
		before, after := around(name)
		return s.signed(nsec3(zone, before, after, flags, types))
	}
	at := func(name, types string) []dns.RR {
		return s.signed(nsec3(zone, name, "=00000000000000000000000000000000", 0,
			types))
	}
	join := func(sections ...[]dns.RR) []dns.RR {
		var all []dns.RR
		for _, s := range sections {
			all = append(all, s...)
		}
		return all
	}
	apex := at(zone, "NS SOA RRSIG")
	lone := s.signed(nsec3(zone, zone, zone, 0, "NS SOA RRSIG"))
	other := strings.Repeat("1", 32) + ".example.com. NSEC3 1 0 "
	for _, c := range []struct {
		name     string
		section  []dns.RR
		question string
		nxdomain bool
		want     string
	}{
		{"a lone record", lone, "b.example.com. CAA", true, "noname"},
		{"a lone record, the apex", lone, "example.com. CAA", false, "nodata"},
		{"a lone record covers no name that it matches", lone, "example.com. SOA", true, "no"},
		{"wildcard delegation, DS", join(apex, span("b.example.com.", "A RRSIG", 0), at("*.example.com.", "NS")),
			"b.example.com. DS", false,
			"no"},
		{"wildcard in an opt-out span", join(apex, span("b.example.com.", "A RRSIG", 0), span("*.example.com.",
			"A RRSIG", 1)),
			"b.example.com. CAA", true, "noname insecure"},
		{"other salt before the proof", join(s.signed(other+"0 AA "+strings.Repeat("2", 32)+" A RRSIG"),
			at("www.example.com.", "A RRSIG")),
			"www.example.com. CAA", false, "no"},
		{"other salt behind the proof", join(at("www.example.com.", "A RRSIG"),
			s.signed(other+"0 AA "+strings.Repeat("2", 32)+" A RRSIG")),
			"www.example.com. CAA", false, "no"},
		{"other iterations before the proof", join(s.signed(other+"1 - "+strings.Repeat("2", 32)+" A RRSIG"),
			at("www.example.com.", "A RRSIG")), "www.example.com. CAA", false, "no"},
		{"unknown hash beside the proof", join(s.signed(strings.Repeat("1",
			32)+".example.com. NSEC3 2 0 0 - "+strings.Repeat("2", 32)+" A RRSIG"),
			at("www.example.com.", "A RRSIG")), "www.example.com. CAA", false, "nodata"},
		{"unknown flags beside the proof", join(s.signed(strings.Repeat("1",
			32)+".example.com. NSEC3 1 2 0 - "+strings.Repeat("2", 32)+" A RRSIG"),
			at("www.example.com.", "A RRSIG")), "www.example.com. CAA", false, "nodata"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name, qtype, _ := strings.Cut(c.question, " ")
			got, v := verifier(t).Denial(dnssec.Group(c.section), k).Negative(name, dns.StringToType[qtype], c.nxdomain)
			expect(t, c.want, got, v)
			if strings.HasPrefix(c.name, "other ") {
				require.Equal(t, dnssec.Bogus, v.Status)
			}
		})
	}
}

// The built-in anchors hold from their day on: before it an answer is proven by others or not at all.
//
// Holds: DCV-04
func TestAnchorsHoldFromTheirDay(t *testing.T) {
	day := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	anchors := dnssec.FromAnchors(dnssec.RootAnchors(), ".")
	for _, c := range []struct {
		key  int
		at   time.Time
		code string
	}{
		{0, day(2017), dnssec.CodeDSMismatch}, {0, day(2018), dnssec.CodeSignatureMissing}, {0, day(2026),
			dnssec.CodeSignatureMissing},
		{1, day(2018), dnssec.CodeDSMismatch}, {1, day(2024), dnssec.CodeDSMismatch}, {1, day(2025),
			dnssec.CodeSignatureMissing},
	} {
		k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
			Flags: 257, Protocol: 3,
			Algorithm: dns.RSASHA256, PublicKey: rootKeys[c.key]}
		_, v := verifierAt(t, c.at, dnssec.Limits{}).Keys(dnssec.Group([]dns.RR{k})[0], anchors)
		require.Equal(t, dnssec.Bogus, v.Status)
		require.Equal(t, c.code, v.Reason.Code, "key %d in %d", c.key, c.at.Year())
	}
}
