package mpic

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// asking is an attempt of which nothing is known but its request.
func asking(req va.Request) *asked { return question(Attempt{Probe: va.Probe{Request: req}}) }

// judged gives what the judge makes of a DCV finding, changed from one that passes.
func judged(t *testing.T, m va.Method, change func(*va.DCVFinding)) (va.Outcome, *va.Problem) {
	t.Helper()
	req := request(m, december)
	require.Nil(t, va.Admit(req, december))
	f := controlled(req, december)
	change(&f)
	return asking(req).judgeDCV(&f, "tokyo")
}

// hops makes a finding of http-01 with so many redirects, each to another URL.
func hops(n int) func(*va.DCVFinding) {
	return func(f *va.DCVFinding) {
		for i := range n {
			at, url := &f.Fetches[len(f.Fetches)-1], fmt.Sprintf("http://example.com/%d", i)
			last := *at
			at.Status, at.Location, at.Body, at.Bytes, last.URL = 302, url, "", 0, url
			f.Fetches = append(f.Fetches, last)
			f.Lookups = append(f.Lookups, hostLookups("example.com")...)
		}
	}
}

// redirected makes a finding of http-01 in which the host sends on to a URL of another host, which has the body.
func redirected(f *va.DCVFinding, status int, location, url, host string) {
	last := f.Fetches[0]
	f.Fetches[0].Status, f.Fetches[0].Location, f.Fetches[0].Body, f.Fetches[0].Bytes = status, location, "", 0
	last.URL = url
	f.Fetches = append(f.Fetches, last)
	f.Lookups = append(f.Lookups, hostLookups(host)...)
}

// TestWhatShowsControlInWholeIsBelieved: what a perspective may meet on the way, and still pass.
//
// Holds: MPIC-10, DCV-11, DCV-16, DCV-17, DCV-18
func TestWhatShowsControlInWholeIsBelieved(t *testing.T) {
	const path = "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA"
	for name, c := range map[string]struct {
		method va.Method
		change func(*va.DCVFinding)
	}{
		"a page":           {va.HTTP01, func(*va.DCVFinding) {}},
		"a TXT record":     {va.DNS01, func(*va.DCVFinding) {}},
		"ten redirects":    {va.HTTP01, hops(10)},
		"a certificate":    {va.TLSALPN01, func(*va.DCVFinding) {}},
		"an insecure zone": {va.DNS01, func(f *va.DCVFinding) { f.Lookups[0].Status = dnssec.Insecure }},
		"IPv4 alone": {va.HTTP01, func(f *va.DCVFinding) {
			f.Lookups[0].Answers = nil
			f.Fetches[0].Considered, f.Fetches[0].Address = []string{"192.0.2.80"}, "192.0.2.80:80"
		}},
		"IPv4 as the fallback":    {va.HTTP01, func(f *va.DCVFinding) { f.Fetches[0].Address = "192.0.2.80:80" }},
		"another port of a world": {va.HTTP01, func(f *va.DCVFinding) { f.Fetches[0].Address = "192.0.2.80:18080" }},
		"TLS 1.2":                 {va.TLSALPN01, func(f *va.DCVFinding) { f.Handshakes[0].Version = "TLS 1.2" }},
		"a name in upper case":    {va.TLSALPN01, func(f *va.DCVFinding) { f.Handshakes[0].Names[0] = "DNS:EXAMPLE.com" }},
		"several strings": {va.DNS01, func(f *va.DCVFinding) {
			v := f.Observed
			f.Lookups[0] = lookupOf("_acme-challenge.example.com", "TXT", `"`+v[:9]+`" "`+v[9:]+`"`)
		}},
		"a redirect to https": {va.HTTP01, func(f *va.DCVFinding) {
			redirected(f, 301, "https://www.example.com/x#y", "https://www.example.com/x", "www.example.com")
		}},
		"a relative redirect": {va.HTTP01, func(f *va.DCVFinding) {
			redirected(f, 307, "?again", "http://example.com"+path+"?again", "example.com")
		}},
		"a CNAME": {va.DNS01, func(f *va.DCVFinding) {
			f.Lookups[0].Answers = []string{"_acme-challenge.example.com.\t60\tIN\tCNAME\tX.example.NET.",
				"x.example.net.\t60\tIN\tTXT\t\"" + f.Observed + `"`}
		}},
		"a DNAME": {va.DNS01, func(f *va.DCVFinding) {
			f.Lookups[0].Answers = []string{"example.com.\t60\tIN\tDNAME\texample.net.",
				"_acme-challenge.example.net.\t60\tIN\tTXT\t\"" + f.Observed + `"`}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			outcome, problem := judged(t, c.method, c.change)
			require.Nil(t, problem)
			require.Equal(t, va.Pass, outcome)
		})
	}
}

// TestNoPassIsBelievedWithoutWhatShowsIt: each piece that is missing or false.
//
// Holds: MPIC-10, DCV-04, DCV-11, DCV-16, DCV-17, DCV-18, F6, C1, D7, D8, D9, D10
func TestNoPassIsBelievedWithoutWhatShowsIt(t *testing.T) {
	const path = "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA"
	type change = func(*va.DCVFinding)
	lookup := func(i int, l resolver.Lookup) change { return func(f *va.DCVFinding) { f.Lookups[i] = l } }
	status := func(i int, s dnssec.Status) change { return func(f *va.DCVFinding) { f.Lookups[i].Status = s } }
	fetch := func(spoil func(*va.Fetch)) change {
		return func(f *va.DCVFinding) { spoil(&f.Fetches[len(f.Fetches)-1]) }
	}
	shake := func(spoil func(*va.Handshake)) change { return func(f *va.DCVFinding) { spoil(&f.Handshakes[0]) } }
	hop := func(status int, location, url, host string) change {
		return func(f *va.DCVFinding) { redirected(f, status, location, url, host) }
	}
	answer := func(lines ...string) change {
		return func(f *va.DCVFinding) {
			for i := range lines {
				lines[i] = strings.ReplaceAll(lines[i], "VALUE", f.Observed)
			}
			f.Lookups[0].Answers = lines
		}
	}
	for method, table := range map[va.Method]map[string]change{
		va.DNS01: {
			"no lookup":               func(f *va.DCVFinding) { f.Lookups = nil },
			"a second lookup":         func(f *va.DCVFinding) { f.Lookups = slices.Repeat(f.Lookups, 2) },
			"a fetch":                 func(f *va.DCVFinding) { f.Fetches = make([]va.Fetch, 1) },
			"a handshake":             func(f *va.DCVFinding) { f.Handshakes = make([]va.Handshake, 1) },
			"another name":            lookup(0, lookupOf("_acme-challenge.example.org", "TXT")),
			"the name itself":         lookup(0, lookupOf("example.com", "TXT")),
			"another type":            lookup(0, lookupOf("_acme-challenge.example.com", "CNAME")),
			"no answers":              lookup(0, lookupOf("_acme-challenge.example.com", "TXT")),
			"bogus":                   status(0, dnssec.Bogus),
			"a failure":               status(0, dnssec.Failure),
			"no status":               status(0, 0),
			"another value":           lookup(0, lookupOf("_acme-challenge.example.com", "TXT", `"another"`)),
			"the value in another's":  answer("_acme-challenge.example.com.\t60\tIN\tTXT\t\"x VALUE\""),
			"the value in a comment":  answer("_acme-challenge.example.com.\t60\tIN\tTXT\t\"x\" ; VALUE"),
			"another owner":           answer("example.com.\t60\tIN\tTXT\t\"VALUE\""),
			"another class":           answer("_acme-challenge.example.com.\t60\tCH\tTXT\t\"VALUE\""),
			"no record":               answer("VALUE"),
			"an unreadable record":    answer("_acme-challenge.example.com.\t60\tIN\tTXT\t\"VALUE"),
			"an alias that is none":   answer("_acme-challenge.example.com.\t60\tIN\tCNAME\t..", "x.example.net.\t60\tIN\tTXT\t\"VALUE\""),
			"an alias elsewhere":      answer("example.org.\t60\tIN\tCNAME\tx.example.net.", "x.example.net.\t60\tIN\tTXT\t\"VALUE\""),
			"an alias to elsewhere":   answer("_acme-challenge.example.com.\t60\tIN\tCNAME\ty.example.net.", "x.example.net.\t60\tIN\tTXT\t\"VALUE\""),
			"an alias behind records": answer("_acme-challenge.example.com.\t60\tIN\tTXT\t\"VALUE\"", "_acme-challenge.example.com.\t60\tIN\tCNAME\tx.example.net."),
			"a DNAME at the name":     answer("_acme-challenge.example.com.\t60\tIN\tDNAME\tx.example.net.", "x.example.net.\t60\tIN\tTXT\t\"VALUE\""),
			"a DNAME of half a label": answer("ple.com.\t60\tIN\tDNAME\tple.net.", "_acme-challenge.example.net.\t60\tIN\tTXT\t\"VALUE\""),
		},
		va.HTTP01: {
			"no fetch":                 func(f *va.DCVFinding) { f.Fetches = nil },
			"no fetch and no lookup":   func(f *va.DCVFinding) { f.Fetches, f.Lookups = nil, nil },
			"no lookups":               func(f *va.DCVFinding) { f.Lookups = nil },
			"one lookup":               func(f *va.DCVFinding) { f.Lookups = f.Lookups[1:] },
			"a stray lookup":           func(f *va.DCVFinding) { f.Lookups = append(f.Lookups, lookupOf("example.org", "A")) },
			"a handshake":              func(f *va.DCVFinding) { f.Handshakes = make([]va.Handshake, 1) },
			"AAAA bogus":               status(0, dnssec.Bogus),
			"AAAA failed beside A":     status(0, dnssec.Failure),
			"A without status":         status(1, 0),
			"addresses of another":     lookup(1, lookupOf("example.org", "A", "192.0.2.80")),
			"A in the place of AAAA":   lookup(0, lookupOf("example.com", "A", "192.0.2.80")),
			"a name for an address":    lookup(1, lookupOf("example.com", "A", "localhost.")),
			"IPv6 in an A record":      lookup(1, lookupOf("example.com", "A", "2001:db8::81")),
			"https at first":           fetch(func(f *va.Fetch) { f.URL = "https://example.com" + path }),
			"another host":             fetch(func(f *va.Fetch) { f.URL = "http://example.org" + path }),
			"another port":             fetch(func(f *va.Fetch) { f.URL = "http://example.com:8080" + path }),
			"another path":             fetch(func(f *va.Fetch) { f.URL = "http://example.com/" }),
			"another token":            fetch(func(f *va.Fetch) { f.URL += "x" }),
			"an address not found":     fetch(func(f *va.Fetch) { f.Address = "192.0.2.81:80" }),
			"an address without port":  fetch(func(f *va.Fetch) { f.Address = "192.0.2.80" }),
			"no address":               fetch(func(f *va.Fetch) { f.Address = "" }),
			"nothing considered":       fetch(func(f *va.Fetch) { f.Considered = nil }),
			"more considered":          fetch(func(f *va.Fetch) { f.Considered = append(f.Considered, "127.0.0.1") }),
			"an error":                 fetch(func(f *va.Fetch) { f.Error = "it broke" }),
			"no response":              fetch(func(f *va.Fetch) { f.Status = 0 }),
			"not found":                fetch(func(f *va.Fetch) { f.Status = 404 }),
			"a redirect at the end":    fetch(func(f *va.Fetch) { f.Status = 302 }),
			"no body":                  fetch(func(f *va.Fetch) { f.Body, f.Bytes = "", 0 }),
			"another body":             fetch(func(f *va.Fetch) { f.Body = strings.ToUpper(f.Body) }),
			"white space before it":    fetch(func(f *va.Fetch) { f.Body = " " + strings.TrimSpace(f.Body) }),
			"a body that goes on":      fetch(func(f *va.Fetch) { f.Bytes = 5000 }),
			"eleven redirects":         hops(11),
			"a redirect to itself":     hop(302, path, "http://example.com"+path, "example.com"),
			"a redirect not followed":  hop(303, "http://example.com/x", "http://example.com/x", "example.com"),
			"a hop after a page":       hop(200, "http://example.com/x", "http://example.com/x", "example.com"),
			"a redirect to nowhere":    hop(302, "", "http://example.com/x", "example.com"),
			"a redirect elsewhere":     hop(302, "http://example.com/x", "http://example.com/y", "example.com"),
			"a redirect to a port":     hop(302, "http://example.com:8080/x", "http://example.com:8080/x", "example.com"),
			"a redirect to a scheme":   hop(302, "ftp://example.com/x", "ftp://example.com/x", "example.com"),
			"a redirect to an address": hop(302, "http://192.0.2.80/x", "http://192.0.2.80/x", "192.0.2.80"),
			"a hop by another's addresses": hop(302, "http://www.example.com/x", "http://www.example.com/x",
				"example.com"),
			"a hop without lookups": func(f *va.DCVFinding) {
				redirected(f, 302, "http://example.com/x", "http://example.com/x", "example.com")
				f.Lookups = f.Lookups[:2]
			},
		},
		va.TLSALPN01: {
			"no handshake":         func(f *va.DCVFinding) { f.Handshakes = nil },
			"a second handshake":   func(f *va.DCVFinding) { f.Handshakes = slices.Repeat(f.Handshakes, 2) },
			"a fetch":              func(f *va.DCVFinding) { f.Fetches = make([]va.Fetch, 1) },
			"no lookups":           func(f *va.DCVFinding) { f.Lookups = nil },
			"bogus":                status(1, dnssec.Bogus),
			"addresses of another": lookup(1, lookupOf("example.org", "A", "192.0.2.80")),
			"an error":             shake(func(h *va.Handshake) { h.Error = "it broke" }),
			"another server name":  shake(func(h *va.Handshake) { h.ServerName = "example.org" }),
			"no protocol":          shake(func(h *va.Handshake) { h.Protocol = "" }),
			"another protocol":     shake(func(h *va.Handshake) { h.Protocol = "h2" }),
			"an old version":       shake(func(h *va.Handshake) { h.Version = "TLS 1.1" }),
			"no version":           shake(func(h *va.Handshake) { h.Version = "" }),
			"no certificate":       shake(func(h *va.Handshake) { h.Certificates = nil }),
			"two certificates":     shake(func(h *va.Handshake) { h.Certificates = append(h.Certificates, "cd") }),
			"no name":              shake(func(h *va.Handshake) { h.Names = nil }),
			"two names":            shake(func(h *va.Handshake) { h.Names = append(h.Names, "DNS:example.org") }),
			"another name":         shake(func(h *va.Handshake) { h.Names[0] = "DNS:example.org" }),
			"a name that only looks the same": shake(func(h *va.Handshake) {
				h.ServerName, h.Names[0] = "example.com", "DNS:example.com\u2024"
			}),
			"a name of another tag": shake(func(h *va.Handshake) { h.Names[0] = "tag 0x86" }),
			"an address not found":  shake(func(h *va.Handshake) { h.Address = "192.0.2.81:443" }),
			"nothing considered":    shake(func(h *va.Handshake) { h.Considered = nil }),
		},
	} {
		for name, spoil := range table {
			t.Run(method.String()+" with "+name, func(t *testing.T) {
				outcome, problem := judged(t, method, spoil)
				require.Equal(t, va.Error, outcome)
				require.Equal(t, contradicts, problem.Code)
				require.Contains(t, problem.Detail, "tokyo has a pass that what it saw does not give: ")
			})
		}
	}
	require.ErrorContains(t, question(Attempt{}).control(&va.DCVFinding{}), "no method")
}

// TestUnicodeCaseIsNoCase: U+212A, the Kelvin sign, folds to "k" and is none.
//
// Holds: DCV-18
func TestUnicodeCaseIsNoCase(t *testing.T) {
	req := request(va.TLSALPN01, december)
	req.Identifier = "key.example.com"
	f := controlled(req, december)
	require.NoError(t, asking(req).control(&f))
	f.Handshakes[0].Names[0] = "DNS:\u212Aey.example.com"
	require.ErrorContains(t, asking(req).control(&f), "the certificate is for")
}

// TestAPerspectiveCannotFillTheDecision: what a reply says at length stays in the reply.
//
// Holds: MPIC-10, D11
func TestAPerspectiveCannotFillTheDecision(t *testing.T) {
	long := strings.Repeat("\u00e9", 300<<10)
	for name, spoil := range map[string]func(*va.Report){
		"in what it saw": func(r *va.Report) { r.DCV.Fetches[0].Considered = []string{long} },
		"in the CAA":     func(r *va.Report) { r.CAA.Lookups[0].Answers = []string{long} },
		"in a name":      func(r *va.Report) { r.DCV.Queried, r.CAA.Name = long, long },
		"in the permit":  func(r *va.Report) { r.CAA.Permits = long },
		"in a reason": func(r *va.Report) {
			r.DCV.Outcome, r.DCV.Problem = va.Fail, &va.Problem{Code: "http.body", Detail: long}
		},
		"in a code": func(r *va.Report) { r.CAA.Outcome, r.CAA.Problem = va.Fail, &va.Problem{Code: long} },
		"in a list": func(r *va.Report) {
			r.CAA.Outcome, r.CAA.Problem = va.Fail, &va.Problem{Code: "x", Rules: []string{long}}
		},
		"in no code":       func(r *va.Report) { r.CAA.Outcome, r.CAA.Problem = va.Fail, &va.Problem{Detail: "no"} },
		"in a pass's code": func(r *va.Report) { r.DCV.Problem = &va.Problem{Code: long} },
	} {
		t.Run(name, func(t *testing.T) {
			e := unanimous(t, fiveRegions(), december)
			spoil(e.Remotes[2].Report)
			d := Judge(e)
			require.True(t, d.Granted())
			v := d.Views()[3]
			require.NotEqual(t, said{true, true}, said{v.DCV == va.Pass, v.CAA == va.Pass})
			text, err := json.Marshal(d)
			require.NoError(t, err)
			require.Less(t, len(text), 10<<10)
			for _, p := range []*va.Problem{v.DCVProblem, v.CAAProblem} {
				require.True(t, p == nil || p.Code == contradicts && utf8.ValidString(p.Detail), "%v", p)
			}
		})
	}
}

// TestALongCAARecordIsJudgedToo: a property's value may have more than the 255 octets of a character-string (RFC 8659
// section 4.1), for example where it names a long accounturi.
//
// Holds: MPIC-11, CAA-04
func TestALongCAARecordIsJudgedToo(t *testing.T) {
	e := unanimous(t, fiveRegions(), december)
	uri := "https://ca.example/acct/" + strings.Repeat("1", 400)
	e.Attempt.Probe.Request.AccountURI = uri
	e = unanimousFor(t, e)
	record := "example.com.\t300\tIN\tCAA\t0 issue \"ca.example; accounturi=" + uri + `"`
	for _, f := range []*va.CAAFinding{&e.Primary.report.CAA, &e.Remotes[0].Report.CAA, &e.Remotes[1].Report.CAA,
		&e.Remotes[2].Report.CAA, &e.Remotes[3].Report.CAA, &e.Remotes[4].Report.CAA} {
		f.Records, f.Permits, f.Lookups[0].Answers = []string{record}, record, []string{record}
	}
	d := Judge(e)
	require.True(t, d.Granted(), "%v", d.Reasons())
	require.Equal(t, "5/5", d.CAA().String())
}

// TestPlainTXTIsWhatTheParserReads: what is taken for a TXT record without the parser of presentation format is one by that parser, and
// has the value; the resolver's own form is taken.
//
// Holds: MPIC-10, DCV-11
func TestPlainTXTIsWhatTheParserReads(t *testing.T) {
	const name, value = "_acme-challenge.example.com", "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
	right := name + ".\t300\tIN\tTXT\t\"" + value + "\""
	require.True(t, plainTXT(right, name, value))
	texts := []string{right}
	for i := range len(right) {
		for _, c := range []string{"", "\t", "\"", "\\", " ", "x", ".", ";", "0", "-"} {
			texts = append(texts, right[:i]+c+right[i:], right[:i]+c+right[i+1:])
		}
	}
	taken := 0
	for _, text := range texts {
		if !plainTXT(text, name, value) {
			continue
		}
		taken++
		rr, err := dns.NewRR(text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, name+".", rr.Header().Name, "%q", text)
		require.Equal(t, []string{value}, rr.(*dns.TXT).Txt, "%q", text)
	}
	require.Greater(t, taken, 1, "other TTLs are taken as well")
	require.False(t, plainTXT(name+".\t300\tIN\tTXT\t\"\"", name, ""), "nothing is no value")
}
