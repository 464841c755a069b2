package mpic

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

type city struct {
	name     string
	lat, lon float64
}

// cities are places far from each other: the first is the primary's. Their regions are given by each test.
var cities = []city{
	{"zurich", 47.4, 8.5}, {"ashburn", 39.0, -77.5}, {"tokyo", 35.7, 139.7}, {"sao-paulo", -23.5, -46.6},
	{"johannesburg", -26.2, 28.0}, {"helsinki", 60.2, 24.9}, {"oregon", 45.6, -121.2}, {"sydney", -33.9, 151.2},
	{"nairobi", -1.3, 36.8},
}

// ofRegions makes a roster with one remote per region given.
func ofRegions(regions ...Region) Roster {
	member := func(i int, r Region) Member {
		c := cities[i]
		p := Place{Region: r, Latitude: c.lat, Longitude: c.lon}
		return Member{Name: c.name, Title: strings.ToUpper(c.name[:1]) + c.name[1:], Place: p, Resolver: p}
	}
	r := Roster{Primary: member(0, RIPE)}
	for i, region := range regions {
		m := member(i+1, region)
		m.URL = "https://" + m.Name + ".perspectives.example"
		m.TLSKey = fmt.Sprintf("%064x", i+1)
		m.SigningKey = fmt.Sprintf("%043d", i+1)
		r.Remotes = append(r.Remotes, m)
	}
	return r
}

// fiveRegions has one remote in each registry's region.
func fiveRegions() Roster { return ofRegions(ARIN, APNIC, LACNIC, AFRINIC, RIPE) }

var december = time.Date(2026, 12, 20, 12, 0, 0, 0, time.UTC)

const caaRecord = "example.com.\t300\tIN\tCAA\t0 issue \"ca.example\""

func request(method va.Method, at time.Time) va.Request {
	const token = "DGyRejmCefe7v4NfDGDKfA"
	return va.Request{Identifier: "example.com", Method: method, Token: token,
		KeyAuthorization: token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI", TokenCreated: at.Add(-time.Hour),
		AccountURI: "https://ca.example/acct/1", Issuers: []string{"ca.example"}}
}

func attemptAt(at time.Time) Attempt {
	return Attempt{Kind: Issuance, Started: at, Caller: "test:1", Software: "quorate/test", Probe: va.Probe{
		Attempt: "ATTEMPT1", Nonce: "00112233445566778899aabbccddeeff", Deadline: at.Add(20 * time.Second),
		Request: request(va.HTTP01, at)}}
}

// passing is a report in which both checks pass, with all that must have been seen for it.
func passing(t testing.TB, p va.Probe, name string) va.Report {
	t.Helper()
	permits, problem := va.EvaluateCAA([]string{caaRecord}, p.Request)
	require.Nil(t, problem)
	at := p.Deadline.Add(-10 * time.Second)
	r := va.Report{Perspective: name, Software: "quorate/test", Attempt: p.Attempt, Nonce: p.Nonce, Digest: p.Digest(),
		Started: at, Finished: at, Resolver: resolver.Settings{Mode: resolver.Iterative},
		DCV: controlled(p.Request, at),
		CAA: va.CAAFinding{Outcome: va.Pass, Name: p.Request.FQDN(), Found: p.Request.FQDN(), Records: []string{caaRecord},
			Permits: permits, TTL: 300, FreshUntil: at.Add(8 * time.Hour), Started: at, Finished: at,
			Lookups: []resolver.Lookup{{Name: p.Request.FQDN() + ".", Type: "CAA", Status: dnssec.Secure, Rcode: "NOERROR",
				Answers: []string{caaRecord}, TTL: 300}}}}
	if fqdn := p.Request.FQDN(); fqdn != "example.com" { // nobody but example.com has CAA records
		r.CAA.Found, r.CAA.Records, r.CAA.Permits, r.CAA.TTL, r.CAA.Lookups = "", nil, "", 0, nil
		for at := fqdn; at != ""; at = parent(at) {
			r.CAA.Lookups = append(r.CAA.Lookups, lookupOf(at, "CAA"))
		}
	}
	if p.CAAAlone {
		r.DCV = va.DCVFinding{Outcome: va.NotChecked, Started: at, Finished: at}
	}
	if p.DCVAlone {
		r.CAA = va.CAAFinding{Outcome: va.NotChecked, Started: at, Finished: at}
	}
	return r
}

// recheckOf makes an attempt one for CAA alone.
func recheckOf(a Attempt) Attempt {
	a.Kind, a.Probe.CAAAlone = CAARecheck, true
	a.Probe.Request.Token, a.Probe.Request.KeyAuthorization, a.Probe.Request.TokenCreated = "", "", time.Time{}
	return a
}

// unanimousRecheck is evidence for CAA alone in which everybody permits.
func unanimousRecheck(t testing.TB, r Roster, at time.Time) Evidence {
	t.Helper()
	e := unanimous(t, r, at)
	e.Attempt = recheckOf(e.Attempt)
	return unanimousFor(t, e)
}

// controlled is a finding that passes, with what each method sees on the way.
func controlled(req va.Request, at time.Time) va.DCVFinding {
	f := va.DCVFinding{Outcome: va.Pass, Queried: req.Queried(), Observed: req.Expected(), Started: at, Finished: at}
	found := []string{"2001:db8::80", "192.0.2.80"}
	switch req.Method {
	case va.DNS01:
		f.Lookups = []resolver.Lookup{lookupOf(req.Queried(), "TXT", `"another"`, fmt.Sprintf("%q", req.Expected()))}
	case va.HTTP01:
		f.Lookups = hostLookups(req.FQDN())
		f.Fetches = []va.Fetch{{URL: "http://" + req.FQDN() + "/.well-known/acme-challenge/" + req.Token, Considered: found,
			Address: "[2001:db8::80]:80", Status: 200, Bytes: len(req.KeyAuthorization) + 1, Body: req.KeyAuthorization + "\n"}}
	case va.TLSALPN01:
		f.Lookups = hostLookups(req.FQDN())
		f.Handshakes = []va.Handshake{{ServerName: req.FQDN(), Considered: found, Address: "192.0.2.80:443",
			Version: "TLS 1.3", Protocol: "acme-tls/1", Certificates: []string{strings.Repeat("ab", 32)},
			Names: []string{"DNS:" + req.FQDN()}}}
	}
	return f
}

func hostLookups(host string) []resolver.Lookup {
	return []resolver.Lookup{lookupOf(host, "AAAA", "2001:db8::80"), lookupOf(host, "A", "192.0.2.80")}
}

// lookupOf is a lookup's secure answer, with the data of its records.
func lookupOf(name, kind string, data ...string) resolver.Lookup {
	l := resolver.Lookup{Name: name + ".", Type: kind, Status: dnssec.Secure, Rcode: "NOERROR", TTL: 300}
	for _, d := range data {
		l.Answers = append(l.Answers, name+".\t300\tIN\t"+kind+"\t"+d)
	}
	return l
}

var (
	noToken   = &va.Problem{Code: "http.mismatch", Detail: "the body is another"}
	forbidden = &va.Problem{Code: "caa.forbidden", Detail: "another CA is named"}
	noAnswer  = &va.Problem{Code: "perspective.timeout", Detail: "no answer"}
)

// withOutcomes is the passing report, with the outcomes given.
func withOutcomes(t testing.TB, p va.Probe, name string, dcv, caa va.Outcome) va.Report {
	t.Helper()
	r := passing(t, p, name)
	if dcv != va.Pass {
		r.DCV = va.DCVFinding{Outcome: dcv, Problem: noToken, Queried: p.Request.Queried()}
	}
	if caa != va.Pass {
		r.CAA = va.CAAFinding{Outcome: caa, Problem: forbidden, Name: p.Request.FQDN()}
	}
	return r
}

func answered(name string, r va.Report) Attestation {
	return Attestation{Perspective: name, State: Answered, Report: &r}
}

// sealed gives an answer as a reply in the form of a compact JWS, with the padding given behind the report. Nothing in this
// package checks its signature.
func sealed(t testing.TB, a Attestation, padding string) Attestation {
	t.Helper()
	b, err := json.Marshal(a.Report)
	require.NoError(t, err)
	reply, err := ReadReply("e30." + base64.RawURLEncoding.EncodeToString(append(b, padding...)) + ".c2ln")
	require.NoError(t, err)
	require.NoError(t, reply.Supply(a.Report.Sets))
	a.Report, a.Reply = nil, reply
	return a
}

func silent(name string) Attestation {
	return Attestation{Perspective: name, State: TimedOut, Problem: noAnswer}
}

// unanimous is evidence in which everybody passed both checks.
func unanimous(t testing.TB, r Roster, at time.Time) Evidence {
	t.Helper()
	a := attemptAt(at)
	e := Evidence{Attempt: a, Roster: r, Primary: &PrimaryReport{report: passing(t, a.Probe, r.Primary.Name)}}
	for _, m := range r.Remotes {
		e.Remotes = append(e.Remotes, answered(m.Name, passing(t, a.Probe, m.Name)))
	}
	return e
}

func codes(d Decision) []string {
	var out []string
	for _, p := range d.Reasons() {
		out = append(out, p.Code)
	}
	return out
}
