package va

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

func txtValue() string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Holds: DCV-11, DCV-13
func TestBR_3_2_2_4_7_DNSChange(t *testing.T) {
	const at = "_acme-challenge.shop.example.com TXT"
	right := txtValue()
	for what, c := range map[string]struct {
		records []string
		status  dnssec.Status
		want    string
	}{
		"the value":             {records: []string{`TXT "` + right + `"`}, want: "ok"},
		"among others":          {records: []string{`TXT "v=spf1"`, `TXT "` + right + `"`, `TXT ""`}, want: "ok"},
		"in two strings":        {records: []string{`TXT "` + right[:20] + `" "` + right[20:] + `"`}, want: "ok"},
		"secure":                {records: []string{`TXT "` + right + `"`}, status: dnssec.Secure, want: "ok"},
		"nothing":               {want: "txt.missing"},
		"another value":         {records: []string{`TXT "` + right[1:] + `A"`}, want: "txt.mismatch"},
		"the value and more":    {records: []string{`TXT "` + right + `="`}, want: "txt.mismatch"},
		"a blank behind":        {records: []string{`TXT "` + right + ` "`}, want: "txt.mismatch"},
		"in quotes of its own":  {records: []string{`TXT "\"` + right + `\""`}, want: "txt.mismatch"},
		"the key authorization": {records: []string{`TXT "` + secret + `"`}, want: "txt.mismatch"},
		"spread over two records": {records: []string{`TXT "` + right[:20] + `"`, `TXT "` + right[20:] + `"`},
			want: "txt.mismatch"},
		"bogus, with the value":    {records: []string{`TXT "` + right + `"`}, status: dnssec.Bogus, want: "dnssec.bogus"},
		"failure":                  {status: dnssec.Failure, want: "dns.lookup"},
		"a record of another type": {records: []string{`SPF "` + right + `"`}, want: "txt.missing"},
		"case changed on the way":  {records: []string{`TXT "` + swapCase(right) + `"`}, want: "txt.mismatch"},
		"a value of a kilobyte": {records: []string{`TXT "` + right + `" "` + secret + secret + `"`},
			want: "txt.mismatch"},
		"octets that are not letters": {records: []string{`TXT "\255\000"`}, want: "txt.mismatch"},
	} {
		t.Run(what, func(t *testing.T) {
			s := &table{records: map[string][]string{at: c.records}, status: map[string]dnssec.Status{}}
			if c.status != 0 {
				s.status[at] = c.status
			}
			f := checker(t, s).Check(t.Context(), probe(request(DNS01))).DCV
			require.Equal(t, c.want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, "_acme-challenge.shop.example.com", f.Queried)
			require.Equal(t, c.want == "ok", f.Outcome == Pass)
			require.Equal(t, c.want == "ok", f.Observed == right)
			// DCV-13 lets a CA prune labels and take alias targets. This one asks for the name itself and nothing else.
			require.Equal(t, 1, s.asked[at])
			require.Zero(t, s.asked["_acme-challenge.example.com TXT"])
			require.Len(t, f.Lookups, 1)
		})
	}
}

func swapCase(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}

// TestLabelsAreUnderscored: the one place that makes such names refuses any other, and so does the check.
//
// Holds: D2
func TestLabelsAreUnderscored(t *testing.T) {
	require.Equal(t, "_acme-challenge.example.com", underscored("_acme-challenge", "example.com"))
	require.Empty(t, underscored("acme-challenge", "example.com"))
	require.Empty(t, underscored("", "example.com"))
	s := &table{}
	req := request(HTTP01) // Queried is the host name itself
	outcome, p := checker(t, s).dns01(t.Context(), req, &DCVFinding{})
	require.Equal(t, Error, outcome)
	require.Equal(t, "name.syntax", code(p))
	require.Empty(t, s.asked)
}

func TestAReportRepeatsWhatWasAsked(t *testing.T) {
	p := probe(request(DNS01))
	p.Request.Identifier = "*.shop.example.com"
	s := &table{records: map[string][]string{"_acme-challenge.shop.example.com TXT": {`TXT "` + txtValue() + `"`}}}
	r := checker(t, s).Check(t.Context(), p)
	require.Equal(t, Pass, r.DCV.Outcome)
	require.Equal(t, Pass, r.CAA.Outcome)
	require.Equal(t, "primary", r.Perspective)
	require.Equal(t, "quorate/test", r.Software)
	require.Equal(t, p.Attempt, r.Attempt)
	require.Equal(t, p.Nonce, r.Nonce)
	require.Equal(t, p.Digest(), r.Digest)
	require.Equal(t, "_acme-challenge.shop.example.com", r.DCV.Queried)
	require.Equal(t, "shop.example.com", r.CAA.Name)
	require.Equal(t, "3.2.2.4.7", p.Request.Method.Section())
	require.Equal(t, time.UTC, r.Started.Location())
	_, err := json.Marshal(r)
	require.NoError(t, err)
}

// TestEveryRefusalIsACompleteReport: whatever is wrong with a probe, both findings say so, and nothing was asked.
func TestEveryRefusalIsACompleteReport(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*Probe)
		want   string
	}{
		"a deadline that has passed": {func(p *Probe) { p.Deadline = now }, "request.deadline"},
		"no deadline":                {func(p *Probe) { p.Deadline = time.Time{} }, "request.deadline"},
		"an inadmissible name":       {func(p *Probe) { p.Request.Identifier = "a.onion" }, "name.onion"},
		"an old token":               {func(p *Probe) { p.Request.TokenCreated = now.Add(-TokenLife) }, "request.token-age"},
		"no method":                  {func(p *Probe) { p.Request.Method = 0 }, "request.method"},
	} {
		t.Run(what, func(t *testing.T) {
			s := &table{}
			p := probe(request(HTTP01))
			c.change(&p)
			r := checker(t, s).Check(t.Context(), p)
			require.Equal(t, Fail, r.DCV.Outcome)
			require.Equal(t, Fail, r.CAA.Outcome)
			require.Equal(t, c.want, code(r.DCV.Problem))
			require.Equal(t, c.want, code(r.CAA.Problem))
			require.Empty(t, s.asked)
		})
	}
}

// TestAPanicIsAnError: here a record without content makes a check stumble.
//
// Holds: F3
func TestAPanicIsAnError(t *testing.T) {
	s := &table{answer: func(name, qtype string, _ int) *resolver.Answer {
		a := answered(resolver.Lookup{Name: name + ".", Type: qtype, Status: dnssec.Secure})
		if qtype == "A" {
			a.Records = []dns.RR{(*dns.A)(nil)}
		}
		return a
	}}
	r := checker(t, s).Check(t.Context(), probe(request(HTTP01)))
	require.Equal(t, Error, r.DCV.Outcome)
	require.Equal(t, "perspective.panic", code(r.DCV.Problem))
	require.False(t, r.DCV.Finished.IsZero())
	require.Equal(t, Pass, r.CAA.Outcome, "the other check goes on")
}

// TestACallerThatEndsTheProbe: what was not finished is an Error.
func TestACallerThatEndsTheProbe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &table{answer: func(name, qtype string, _ int) *resolver.Answer {
		cancel()
		return answered(resolver.Lookup{Name: name + ".", Type: qtype, Status: dnssec.Failure, Why: "cancelled"})
	}}
	r := checker(t, s).Check(ctx, probe(request(DNS01)))
	require.Equal(t, Error, r.DCV.Outcome)
	require.Equal(t, Error, r.CAA.Outcome)
}

func TestConfigIsRefused(t *testing.T) {
	res, err := resolver.New(resolver.Config{})
	require.NoError(t, err)
	good := Config{Name: "a", Software: "quorate v1 (test)", Resolver: res}
	_, err = New(good)
	require.NoError(t, err)
	for what, change := range map[string]func(*Config){
		"resolver":     func(c *Config) { c.Resolver = nil },
		"name":         func(c *Config) { c.Name = "" },
		"software":     func(c *Config) { c.Software = "" },
		"visible":      func(c *Config) { c.Software = "a\r\nX: y" },
		"timeout":      func(c *Config) { c.Timeout = -1 },
		"at most":      func(c *Config) { c.Timeout = time.Hour },
		"hop timeout":  func(c *Config) { c.HopTimeout = -1 },
		"dial timeout": func(c *Config) { c.DialTimeout = time.Hour },
	} {
		t.Run(what, func(t *testing.T) {
			c := good
			change(&c)
			_, err := New(c)
			require.ErrorContains(t, err, what)
		})
	}
}

// TestTheZeroWorldIsTheRealOne: a Config that says nothing of a world has no door.
//
// Holds: F10
func TestTheZeroWorldIsTheRealOne(t *testing.T) {
	require.Equal(t, uint16(80), World{}.port(80))
	require.Equal(t, uint16(443), World{}.port(443))
	s := &table{records: map[string][]string{"shop.example.com A": {"A 127.0.0.1"}}}
	f := checker(t, s).Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, "address.reserved", code(f.Problem))
}

// TestAddressesOfTheOtherFamilyAreNotReached: a perspective that sends from an IPv4 address has no IPv6.
func TestAddressesOfTheOtherFamilyAreNotReached(t *testing.T) {
	s := &table{records: map[string][]string{"shop.example.com AAAA": {"AAAA ::1"}}}
	c := checker(t, s, func(c *Config) {
		c.SourceAddr = netip.MustParseAddr("127.0.0.1")
		c.World.AllowReserved = true
	})
	f := c.Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, Error, f.Outcome)
	require.Equal(t, "address.unreachable", code(f.Problem))
}

// TestAResultThatSaysNothingIsAnError: the absence of a problem is no pass, and a pass has none.
//
// Holds: F6
func TestAResultThatSaysNothingIsAnError(t *testing.T) {
	c := checker(t, &table{})
	some := refuse("txt.missing", "something")
	for what, r := range map[string]struct {
		outcome Outcome
		problem *Problem
	}{
		"nothing": {0, nil}, "no outcome": {0, some}, "unknown": {9, some}, "unknown without problem": {9, nil},
		"a pass with a problem": {Pass, some}, "a fail without": {Fail, nil}, "an error without": {Error, nil},
	} {
		t.Run(what, func(t *testing.T) {
			o, p := c.guarded(t.Context(), probeLog{Logger: c.config.Logger}, "DCV", func() (Outcome, *Problem) { return r.outcome, r.problem })
			require.Equal(t, Error, o)
			require.Equal(t, "perspective.panic", code(p))
		})
	}
	f := c.checkDCV(t.Context(), probeLog{Logger: c.config.Logger}, Request{Method: 99}, nil)
	require.Equal(t, Error, f.Outcome)
	require.Equal(t, "request.method", code(f.Problem))
}

// Holds: F6
func TestOnlyOutcomesAndMethodsHaveAText(t *testing.T) {
	for _, o := range []Outcome{Pass, Fail, Error} {
		b, err := o.MarshalText()
		require.NoError(t, err)
		var again Outcome
		require.NoError(t, again.UnmarshalText(b))
		require.Equal(t, o, again)
	}
	for _, m := range Methods() {
		b, err := m.MarshalText()
		require.NoError(t, err)
		var again Method
		require.NoError(t, again.UnmarshalText(b))
		require.Equal(t, m, again)
		require.NotEmpty(t, Request{Method: m, Identifier: "a.com", KeyAuthorization: secret}.Expected())
	}
	for _, text := range []string{"", "Pass", "true", "passed", "no outcome", "http-02", "HTTP-01"} {
		require.Error(t, new(Outcome).UnmarshalText([]byte(text)), text)
		require.Error(t, new(Method).UnmarshalText([]byte(text)), text)
	}
	_, err := Outcome(0).MarshalText()
	require.Error(t, err)
	_, err = Method(0).MarshalText()
	require.Error(t, err)
	require.Equal(t, "no outcome", Outcome(0).String())
	require.Equal(t, "no method", Method(0).String())
	require.Empty(t, Request{KeyAuthorization: secret}.Expected())
	require.Empty(t, Probe{Request: Request{Method: 99}}.Digest())
}
