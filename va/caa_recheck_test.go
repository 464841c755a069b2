package va

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recheck is a probe for CAA alone.
func recheck(method Method) Probe {
	p := probe(request(method))
	p.CAAAlone = true
	p.Request.Token, p.Request.KeyAuthorization, p.Request.TokenCreated = "", "", time.Time{}
	return p
}

// TestCAAAloneHasNoChallenge: of a request without challenge nothing may look like one, and all else is as ever.
//
// Holds: CAA-05, DCV-12, DCV-19, DCV-27
func TestCAAAloneHasNoChallenge(t *testing.T) {
	for what, c := range map[string]struct {
		change      func(*Probe)
		want, field string
	}{
		"nothing but the name":  {func(*Probe) {}, "ok", ""},
		"a wildcard by dns-01":  {func(p *Probe) { p.Request.Identifier, p.Request.Method = "*.example.com", DNS01 }, "ok", ""},
		"a token":               {func(p *Probe) { p.Request.Token = token }, "request.token", "token"},
		"a token's date":        {func(p *Probe) { p.Request.TokenCreated = now }, "request.token-age", "token_created"},
		"a key authorization":   {func(p *Probe) { p.Request.KeyAuthorization = secret }, "request.key-authorization", "key_authorization"},
		"no method":             {func(p *Probe) { p.Request.Method = 0 }, "ok", ""},
		"no method, a wildcard": {func(p *Probe) { p.Request.Method, p.Request.Identifier = 0, "*.example.com" }, "ok", ""},
		"a method that is none": {func(p *Probe) { p.Request.Method = 99 }, "request.method", "method"},
		"the digest of a key authorization": {func(p *Probe) { p.Request.KeyAuthorizationDigest = digest }, "request.key-authorization",
			"key_authorization_digest"},
		"no name":                 {func(p *Probe) { p.Request.Identifier = "" }, "name.syntax", "identifier"},
		"a wildcard by http-01":   {func(p *Probe) { p.Request.Identifier = "*.example.com" }, "name.wildcard", "identifier"},
		"a wildcard of a suffix":  {func(p *Probe) { p.Request.Identifier, p.Request.Method = "*.co.uk", DNS01 }, "name.public-suffix", "identifier"},
		"no account":              {func(p *Probe) { p.Request.AccountURI = "" }, "ok", ""},
		"an account that is none": {func(p *Probe) { p.Request.AccountURI = "42" }, "request.account", "account_uri"},
		"no issuer":               {func(p *Probe) { p.Request.Issuers = nil }, "request.issuers", "issuers"},
		"DCV, without token":      {func(p *Probe) { p.CAAAlone = false }, "request.token", "token"},
	} {
		t.Run(what, func(t *testing.T) {
			p := recheck(HTTP01)
			c.change(&p)
			problem := p.Admit(now)
			require.Equal(t, c.want, code(problem), "%v", problem)
			if problem != nil {
				require.Equal(t, c.field, problem.Field)
			}
			s := &table{}
			r := checker(t, s).Check(t.Context(), p)
			if problem != nil {
				require.Equal(t, Fail, r.CAA.Outcome)
				require.Equal(t, c.want, code(r.CAA.Problem))
				require.Empty(t, s.asked)
			} else {
				require.Equal(t, Pass, r.CAA.Outcome, "%v", r.CAA.Problem)
			}
			require.Equal(t, p.CAAAlone, r.DCV.NotChecked())
			require.NotEqual(t, Pass, r.DCV.Outcome)
		})
	}
}

// TestCAAAloneAsksForNothingElse: no address, no challenge label, and no connection.
//
// Holds: CAA-05
func TestCAAAloneAsksForNothingElse(t *testing.T) {
	for _, m := range Methods() {
		s := &table{records: map[string][]string{"example.com CAA": {`CAA 0 issue "ca.example"`}}}
		p := recheck(m)
		r := checker(t, s).Check(t.Context(), p)
		require.Equal(t, map[string]int{"shop.example.com CAA": 1, "example.com CAA": 1, "com CAA": 1}, s.asked)
		require.Equal(t, Pass, r.CAA.Outcome)
		require.True(t, r.DCV.NotChecked())
		require.Equal(t, p.Digest(), r.Digest)
		text, err := json.Marshal(r)
		require.NoError(t, err)
		var again Report
		require.NoError(t, json.Unmarshal(text, &again))
		require.True(t, again.DCV.NotChecked())
	}
}

// TestTheDigestTellsWhatWasAskedFor: a report on a probe for CAA alone is none on one for both, and probes for both have the
// form that they always had.
//
// Holds: MPIC-09
func TestTheDigestTellsWhatWasAskedFor(t *testing.T) {
	both := probe(request(HTTP01))
	text, err := json.Marshal(both)
	require.NoError(t, err)
	require.NotContains(t, string(text), "caa_alone")
	alone := both
	alone.CAAAlone = true
	require.NotEqual(t, both.Digest(), alone.Digest())
}

// TestNotCheckedIsNoResultOfACheck: a check that says so has a fault.
//
// Holds: F6
func TestNotCheckedIsNoResultOfACheck(t *testing.T) {
	c := checker(t, &table{})
	for _, p := range []*Problem{nil, {Code: "x.y", Detail: "z"}} {
		o, problem := c.guarded(t.Context(), probeLog{Logger: c.config.Logger}, "CAA", func() (Outcome, *Problem) { return NotChecked, p })
		require.Equal(t, Error, o)
		require.Equal(t, "perspective.panic", code(problem))
	}
	for what, f := range map[string]DCVFinding{
		"passed": {Outcome: Pass}, "no outcome": {}, "a problem": {Outcome: NotChecked, Problem: &Problem{Code: "x.y"}},
		"queried": {Outcome: NotChecked, Queried: "example.com"}, "observed": {Outcome: NotChecked, Observed: "x"},
		"fetched": {Outcome: NotChecked, Fetches: make([]Fetch, 1)}, "shook hands": {Outcome: NotChecked, Handshakes: make([]Handshake, 1)},
	} {
		require.False(t, f.NotChecked(), what)
	}
}

// Holds: DCV-27, DCV-28
func TestNamesAndAccountsAlone(t *testing.T) {
	for name, want := range map[string]string{"example.com": "ok", "*.example.com": "ok", "co.uk": "ok", "*.co.uk": "name.public-suffix",
		"*.com": "name.public-suffix", "a.*.example.com": "name.wildcard", "**.example.com": "name.wildcard", "Example.com": "name.syntax",
		"example.com.": "name.syntax", "": "name.syntax", "*.": "name.syntax", "192.0.2.1": "name.address", "a.test": "name.special-use"} {
		require.Equal(t, want, code(AdmitName(name)), name)
	}
	require.Nil(t, AdmitAccount("https://ca.example/acct/1"))
	require.Equal(t, "request.account", code(AdmitAccount("acct")))
	for name, want := range map[string]bool{"com": true, "co.uk": true, "kawasaki.jp": true, "example.com": false, "example.co.uk": false,
		"github.io": false, "ck": true, "www.ck": false} {
		require.Equal(t, want, RegistryControlled(name), name)
	}
}
