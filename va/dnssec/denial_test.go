package dnssec_test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// Each case: the NSEC records that came, the question, and what they prove. "no" is no proof.
const nsecCases = `
# name of the case           | NSEC records of example.com, "owner next types"; ";" between them          | question             | nx  | want
no data                      | www.example.com. x.example.com. A RRSIG NSEC                              | www.example.com. CAA  | no  | nodata
type exists                  | www.example.com. x.example.com. A CAA RRSIG NSEC                          | www.example.com. CAA  | no  | no
CNAME exists                 | www.example.com. x.example.com. CNAME RRSIG NSEC                          | www.example.com. CAA  | no  | no
apex no data                 | example.com. x.example.com. A NS SOA RRSIG NSEC DNSKEY                    | example.com. CAA      | no  | nodata
parent side of a cut         | sub.example.com. x.example.com. NS DS RRSIG NSEC                          | sub.example.com. CAA  | no  | no
below a cut                  | sub.example.com. x.example.com. NS DS RRSIG NSEC                          | a.sub.example.com. CAA | yes | no
below an unsigned cut        | sub.example.com. x.example.com. NS RRSIG NSEC                             | a.sub.example.com. CAA | yes | no
below a DNAME                | sub.example.com. x.example.com. DNAME RRSIG NSEC; example.com. sub.example.com. SOA NS RRSIG NSEC | a.sub.example.com. CAA | yes | no
empty non-terminal           | a.example.com. c.b.example.com. A RRSIG NSEC                              | b.example.com. CAA    | no  | nodata
empty non-terminal, denied   | a.example.com. c.b.example.com. A RRSIG NSEC; example.com. a.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | yes | nodata
name error                   | a.example.com. d.example.com. A RRSIG NSEC; example.com. a.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | yes | noname
name error, last record      | a.example.com. example.com. A RRSIG NSEC; example.com. a.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | yes | noname
name error, without wildcard | a.example.com. d.example.com. A RRSIG NSEC                                | b.example.com. CAA    | yes | no
wildcard exists              | a.example.com. d.example.com. A RRSIG NSEC; *.example.com. a.example.com. CAA RRSIG NSEC | b.example.com. CAA | yes | no
wildcard no data             | a.example.com. d.example.com. A RRSIG NSEC; *.example.com. a.example.com. A RRSIG NSEC | b.example.com. CAA | no | nodata
wildcard has a CNAME         | a.example.com. d.example.com. A RRSIG NSEC; *.example.com. a.example.com. CNAME RRSIG NSEC | b.example.com. CAA | no | no
wildcard too high            | a.b.example.com. d.b.example.com. A RRSIG NSEC; *.example.com. a.example.com. A RRSIG NSEC | c.b.example.com. CAA | no | no
not covered                  | a.example.com. b.example.com. A RRSIG NSEC; example.com. a.example.com. SOA NS RRSIG NSEC | c.example.com. CAA | yes | no
name error says no data      | a.example.com. d.example.com. A RRSIG NSEC; example.com. a.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | no | noname
next outside the zone        | a.example.com. d.example.org. A RRSIG NSEC; example.com. a.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | yes | no
outside the zone             | a.example.com. d.example.com. A RRSIG NSEC                                | b.example.org. CAA    | yes | no
no DS at the parent          | sub.example.com. x.example.com. NS RRSIG NSEC                             | sub.example.com. DS   | no  | nodata
DS denied by the child       | example.com. x.example.com. NS SOA RRSIG NSEC                             | example.com. DS       | no  | no
`

// Holds: DCV-05, DCV-08, C9
func TestRFC4035_5_4_NSEC(t *testing.T) {
	s := p256(t, "example.com.")
	k := keys(t, s)
	for _, c := range cases(t, nsecCases+nsecEdges, 5) {
		t.Run(c[0], func(t *testing.T) {
			var authority []dns.RR
			for _, rec := range strings.Split(c[1], ";") {
				f := strings.Fields(rec)
				authority = append(authority, s.signed(f[0]+" NSEC "+strings.Join(f[1:], " "))...)
			}
			q := strings.Fields(c[2])
			got, v := verifier(t).Denial(dnssec.Group(authority), k).Negative(q[0], dns.StringToType[q[1]], c[3] == "yes")
			expect(t, c[4], got, v)
			unsigned := dnssec.Group(authority)
			for _, set := range unsigned {
				set.Sigs = nil
			}
			got, v = verifier(t).Denial(unsigned, k).Negative(q[0], dns.StringToType[q[1]], c[3] == "yes")
			expect(t, "no", got, v)
		})
	}
}

// cases reads a table of columns between bars.
func cases(t testing.TB, table string, columns int) [][]string {
	t.Helper()
	var all [][]string
	for _, line := range strings.Split(table, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		c := strings.Split(line, "|")
		require.Len(t, c, columns, line)
		for i := range c {
			c[i] = strings.TrimSpace(c[i])
		}
		all = append(all, c)
	}
	return all
}

func expect(t *testing.T, want string, got dnssec.Existence, v dnssec.Verdict) {
	t.Helper()
	name := map[dnssec.Existence]string{0: "no", dnssec.NoData: "nodata", dnssec.NoName: "noname", dnssec.NoDSCut: "cut",
		dnssec.NoCut: "nocut", dnssec.NoDSOptOut: "optout"}[got]
	want, insecure := strings.CutSuffix(want, " insecure")
	require.Equal(t, want, name, v.Reason.Text)
	switch {
	case want == "no":
		require.False(t, v.Status.Usable(), v.Reason.Text)
		require.NotEmpty(t, v.Reason.Code)
	case insecure:
		require.Equal(t, dnssec.Insecure, v.Status)
	default:
		require.Equal(t, dnssec.Secure, v.Status)
	}
}

const noDSCases = `
insecure delegation          | NSEC | sub.example.com. x.example.com. NS RRSIG NSEC     | sub.example.com.   | cut insecure
signed delegation            | NSEC | sub.example.com. x.example.com. NS DS RRSIG NSEC  | sub.example.com.   | no
data of the zone             | NSEC | sub.example.com. x.example.com. A RRSIG NSEC      | sub.example.com.   | nocut
an alias                     | NSEC | sub.example.com. x.example.com. CNAME RRSIG NSEC  | sub.example.com.   | nocut
the child's own apex         | NSEC | sub.example.com. x.example.com. NS SOA RRSIG NSEC | sub.example.com.   | no
empty non-terminal           | NSEC | a.example.com. x.sub.example.com. A RRSIG NSEC    | sub.example.com.   | nocut
nothing there                | NSEC | a.example.com. x.example.com. A RRSIG NSEC        | sub.example.com.   | noname
below another delegation     | NSEC | sub.example.com. x.example.com. NS RRSIG NSEC     | a.sub.example.com. | no
insecure delegation, NSEC3   | NSEC3 | sub.example.com. 0 NS                            | sub.example.com.   | cut insecure
signed delegation, NSEC3     | NSEC3 | sub.example.com. 0 NS DS RRSIG                   | sub.example.com.   | no
data of the zone, NSEC3      | NSEC3 | sub.example.com. 0 A RRSIG                       | sub.example.com.   | nocut
the child's apex, NSEC3      | NSEC3 | sub.example.com. 0 NS SOA RRSIG                  | sub.example.com.   | no
opt-out span                 | NSEC3 | example.com. 0 NS SOA RRSIG; ~sub.example.com. 1 | sub.example.com.   | optout insecure
covered without opt-out      | NSEC3 | example.com. 0 NS SOA RRSIG; ~sub.example.com. 0 | sub.example.com.   | noname
encloser is a delegation     | NSEC3 | b.example.com. 0 NS; ~sub.b.example.com. 1        | sub.b.example.com. | no
encloser is a DNAME          | NSEC3 | b.example.com. 0 DNAME RRSIG; ~sub.b.example.com. 1 | sub.b.example.com. | no
no closest encloser          | NSEC3 | ~sub.example.com. 1                              | sub.example.com.   | no
the zone itself              | NSEC3 | example.com. 0 NS SOA RRSIG                      | example.com.       | no
`

const nsec3Cases = `
no data                      | NSEC3 | www.example.com. 0 A RRSIG                        | www.example.com. CAA no   | nodata
type exists                  | NSEC3 | www.example.com. 0 CAA RRSIG                      | www.example.com. CAA no   | no
CNAME exists                 | NSEC3 | www.example.com. 0 CNAME RRSIG                    | www.example.com. CAA no   | no
empty non-terminal           | NSEC3 | www.example.com. 0                                | www.example.com. CAA no   | nodata
parent side of a cut         | NSEC3 | sub.example.com. 0 NS DS RRSIG                    | sub.example.com. CAA no   | no
parent side, unsigned        | NSEC3 | sub.example.com. 0 NS                             | sub.example.com. CAA no   | no
below a cut                  | NSEC3 | sub.example.com. 0 NS DS RRSIG; ~a.sub.example.com. 0; ~*.sub.example.com. 0 | a.sub.example.com. CAA yes | no
below a DNAME                | NSEC3 | sub.example.com. 0 DNAME RRSIG; ~a.sub.example.com. 0; ~*.sub.example.com. 0 | a.sub.example.com. CAA yes | no
name error                   | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0; ~*.example.com. 0 | b.example.com. CAA yes | noname
name error, deep             | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0; ~*.example.com. 0 | x.y.b.example.com. CAA yes | noname
name error, opt-out          | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 1; ~*.example.com. 0 | b.example.com. CAA yes | noname insecure
without the wildcard         | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0    | b.example.com. CAA yes    | no
without the encloser         | NSEC3 | ~b.example.com. 0; ~*.example.com. 0              | b.example.com. CAA yes    | no
without the next closer      | NSEC3 | example.com. 0 NS SOA RRSIG; ~*.example.com. 0    | b.example.com. CAA yes    | no
wildcard no data             | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0; *.example.com. 0 A RRSIG | b.example.com. CAA no | nodata
wildcard has the type        | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0; *.example.com. 0 CAA RRSIG | b.example.com. CAA no | no
wildcard no data, opt-out    | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 1; *.example.com. 0 A RRSIG | b.example.com. CAA no | nodata insecure
opt-out, no data             | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 1    | b.example.com. CAA no     | nodata insecure
name error says no data      | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0; ~*.example.com. 0 | b.example.com. CAA no | noname
unknown flags                | NSEC3 | www.example.com. 2 A RRSIG                        | www.example.com. CAA no   | no
too many hashes              | NSEC3 | g.h.i.j.k.l.m.example.com. 0 A RRSIG; ~f.g.h.i.j.k.l.m.example.com. 0; ~*.g.h.i.j.k.l.m.example.com. 0 | a.b.c.d.e.f.g.h.i.j.k.l.m.example.com. CAA yes | no
deep below the apex          | NSEC3 | example.com. 0 NS SOA RRSIG; ~i.example.com. 0; ~*.example.com. 0 | a.b.c.d.e.f.g.h.i.example.com. CAA yes | noname
deep below an opt-out span   | NSEC3 | example.com. 0 NS SOA RRSIG; ~i.example.com. 1; ~*.example.com. 0 | a.b.c.d.e.f.g.h.i.example.com. CAA no | nodata insecure
deep below a delegation      | NSEC3 | i.example.com. 0 NS; ~h.i.example.com. 0; ~*.i.example.com. 0 | a.b.c.d.e.f.g.h.i.example.com. CAA yes | no
deep, and the encloser missing | NSEC3 | ~i.example.com. 0; ~*.example.com. 0 | a.b.c.d.e.f.g.h.i.example.com. CAA yes | no
`

// records3 reads "name flags types" (a record that matches the name) and "~name flags types" (one that covers it).
func records3(s *signer, spec string) []dns.RR {
	var section []dns.RR
	for _, rec := range strings.Split(spec, ";") {
		f := strings.Fields(rec)
		flags := int(f[1][0] - '0')
		owner, next := f[0], "=00000000000000000000000000000000"
		if name, covers := strings.CutPrefix(f[0], "~"); covers {
			owner, next = around(name)
		} else {
			_, next = around(owner)
		}
		section = append(section, s.signed(nsec3(s.zone, owner, next, flags, strings.Join(f[2:], " ")))...)
	}
	return section
}

// Holds: DCV-06, DCV-08, C9
func TestRFC5155_8_NSEC3(t *testing.T) {
	s := p256(t, "example.com.")
	k := keys(t, s)
	for _, c := range cases(t, nsec3Cases, 5) {
		t.Run(c[0], func(t *testing.T) {
			q := strings.Fields(c[3])
			d := verifier(t).Denial(dnssec.Group(records3(s, c[2])), k)
			got, v := d.Negative(q[0], dns.StringToType[q[1]], q[2] == "yes")
			expect(t, c[4], got, v)
		})
	}
}

// Holds: DCV-05, DCV-06, DCV-08
func TestRFC6840_4_4_InsecureDelegations(t *testing.T) {
	s := p256(t, "example.com.")
	k := keys(t, s)
	for _, c := range cases(t, noDSCases, 5) {
		t.Run(c[0], func(t *testing.T) {
			var section []dns.RR
			if c[1] == "NSEC" {
				f := strings.Fields(c[2])
				section = s.signed(f[0] + " NSEC " + strings.Join(f[1:], " "))
			} else {
				section = records3(s, c[2])
			}
			got, v := verifier(t).Denial(dnssec.Group(section), k).NoDS(c[3])
			expect(t, c[4], got, v)
		})
	}
}

// Holds: DCV-06, DCV-09
func TestRFC9276_ParametersOfNSEC3(t *testing.T) {
	s := p256(t, "example.com.")
	k := keys(t, s)
	record := func(hash, iterations, salt string) []dns.RR {
		return s.signed(hashed("www.example.com.", 0) + ".example.com. NSEC3 " + hash + " 0 " + iterations + " " + salt +
			" 00000000000000000000000000000000 A RRSIG")
	}
	for _, c := range []struct {
		name    string
		section []dns.RR
		status  dnssec.Status
		code    string
	}{
		{"101 iterations", record("1", "101", "-"), dnssec.Failure, dnssec.CodeIterations},
		{"65535 iterations", record("1", "65535", "-"), dnssec.Failure, dnssec.CodeIterations},
		{"hash 7", record("7", "0", "-"), dnssec.Bogus, dnssec.CodeDenialInvalid},
		{"mixed salts", append(record("1", "0", "-"), s.signed(strings.Repeat("1", 32)+
			".example.com. NSEC3 1 0 0 AA "+strings.Repeat("2", 32)+" A RRSIG")...), dnssec.Bogus, dnssec.CodeDenialInvalid},
		{"owner two labels below the zone", s.signed(hashed("www.example.com.", 0) +
			".sub.example.com. NSEC3 1 0 0 - 00000000000000000000000000000000 A RRSIG"), dnssec.Bogus,
			dnssec.CodeDenialMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, v := verifier(t).Denial(dnssec.Group(c.section), k).Negative("www.example.com.", dns.TypeCAA, false)
			require.Zero(t, got)
			require.Equal(t, c.status, v.Status, v.Reason.Text)
			require.Equal(t, c.code, v.Reason.Code, v.Reason.Text)
		})
	}
}

// A wildcard is replayed for a name that exists, and for one that is closer than the proof says.
//
// Holds: DCV-05, DCV-06
func TestRFC4035_5_3_4_WildcardAnswers(t *testing.T) {
	s := p256(t, "example.com.")
	k := keys(t, s)
	wild := s.signed(`*.example.com. TXT "wild"`)
	expand := func(owner string) *dnssec.RRset {
		var section []dns.RR
		for _, rr := range wild {
			c := dns.Copy(rr)
			c.Header().Name = owner
			section = append(section, c)
		}
		return dnssec.Group(section)[0]
	}
	for _, c := range []struct {
		name, owner string
		authority   []dns.RR
		want        dnssec.Status
	}{
		{"proven", "b.example.com.", s.signed("a.example.com. NSEC d.example.com. A RRSIG NSEC"), dnssec.Secure},
		{"no proof", "b.example.com.", nil, dnssec.Bogus},
		{"the name exists", "b.example.com.", s.signed("b.example.com. NSEC d.example.com. A RRSIG NSEC"), dnssec.Bogus},
		{"a closer name exists", "x.b.example.com.", s.signed("b.example.com. NSEC d.example.com. A RRSIG NSEC"), dnssec.Bogus},
		{"empty non-terminal", "b.example.com.", s.signed("a.example.com. NSEC c.b.example.com. A RRSIG NSEC"), dnssec.Bogus},
		{"below a delegation", "x.b.example.com.", s.signed("b.example.com. NSEC d.example.com. NS RRSIG NSEC"), dnssec.Bogus},
		{"NSEC3", "b.example.com.", records3(s, "~b.example.com. 0"), dnssec.Secure},
		{"NSEC3, deep", "x.y.b.example.com.", records3(s, "~b.example.com. 0"), dnssec.Secure},
		{"NSEC3, opt-out", "b.example.com.", records3(s, "~b.example.com. 1"), dnssec.Insecure},
		{"NSEC3 of a longer name", "x.b.example.com.", records3(s, "~x.b.example.com. 0"), dnssec.Bogus},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := expand(c.owner)
			v := verifier(t)
			sig := v.RRset(set, k)
			require.Equal(t, dnssec.Secure, sig.Status)
			require.True(t, sig.Expanded)
			got := v.Denial(dnssec.Group(c.authority), k).Expansion(c.owner, dns.TypeTXT, sig.Labels)
			require.Equal(t, c.want, got.Status, got.Reason.Text)
		})
	}
	own := verifier(t).RRset(dnssec.Group(wild)[0], k)
	require.Equal(t, dnssec.Secure, own.Status)
	require.False(t, own.Expanded, "asked for by its own name")
}

// An NSEC that was itself expanded from a wildcard proves nothing.
//
// Holds: DCV-05
func TestCVE_2017_15105_ExpandedNSEC(t *testing.T) {
	s := p256(t, "example.com.")
	section := s.signed("*.example.com. NSEC example.com. A RRSIG NSEC")
	for _, rr := range section {
		rr.Header().Name = "a.example.com."
	}
	k := keys(t, s)
	require.True(t, verifier(t).RRset(dnssec.Group(section)[0], k).Expanded)
	got, v := verifier(t).Denial(dnssec.Group(section), k).Negative("a.example.com.", dns.TypeCAA, false)
	expect(t, "no", got, v)
}

// Denials by text never panic, and never deny a type that the record shows.
func FuzzDenial(f *testing.F) {
	s := p256(f, "example.com.")
	k := keys(f, s)
	f.Add("a", "d", "b", true)
	f.Add("a.b", "example.com", "c.b", false)
	f.Fuzz(func(t *testing.T, owner, next, name string, nx bool) {
		o, err1 := dnssec.Canonical(owner + ".example.com.")
		n, err2 := dnssec.Canonical(next + ".example.com.")
		q, err3 := dnssec.Canonical(name + ".example.com.")
		if err1 != nil || err2 != nil || err3 != nil {
			return
		}
		set := []dns.RR{&dns.NSEC{Hdr: dns.RR_Header{Name: o, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 1}, NextDomain: n,
			TypeBitMap: []uint16{dns.TypeRRSIG, dns.TypeNSEC, dns.TypeCAA}}}
		own := *s
		own.t = t
		d := verifier(t).Denial(dnssec.Group(append(set, own.sign(set, nil))), k)
		got, v := d.Negative(q, dns.TypeCAA, nx)
		require.NotZero(t, v.Status)
		if q == o || q == n {
			require.Zero(t, got, "the record's ends exist")
		}
		d.NoDS(q)
		d.Expansion(q, dns.TypeCAA, 2)
	})
}
