package mpic

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// TestARecordNamesWhatWasValidated: the name applied for, the Authorization Domain Name and the name asked are three fields,
// beside the method's label and section and the version of the rules.
//
// Holds: DCV-10, D1
func TestARecordNamesWhatWasValidated(t *testing.T) {
	for _, c := range []struct {
		identifier string
		method     va.Method
		want       Subject
	}{
		{"*.example.com", va.DNS01, Subject{"*.example.com", "example.com", DerivedFromWildcard, "_acme-challenge.example.com", "dns-01", "3.2.2.4.7", Requirements, 0, nil}},
		{"www.example.com", va.HTTP01, Subject{"www.example.com", "www.example.com", DerivedAsIs, "www.example.com", "http-01", "3.2.2.4.19", Requirements, 0, nil}},
		{"www.example.com", va.TLSALPN01, Subject{"www.example.com", "www.example.com", DerivedAsIs, "www.example.com", "tls-alpn-01", "3.2.2.4.20", Requirements, 0, nil}},
	} {
		t.Run(c.method.String(), func(t *testing.T) {
			e := unanimous(t, fiveRegions(), december)
			req := request(c.method, december)
			req.Identifier = c.identifier
			e.Attempt.Probe.Request = req
			text, err := json.Marshal(Judge(e))
			require.NoError(t, err)
			var recorded RecordedDecision
			require.NoError(t, json.Unmarshal(text, &recorded))
			require.Equal(t, c.want, recorded.Validated)
			require.Contains(t, recorded.Validated.Requirements, "TLS BR 2.2.6")
		})
	}
}

// TestARecordTellsWhatMayBeReliedUpon: scope and end of reuse, where it was granted for issuance and nowhere else.
//
// Holds: DCV-03, DCV-10, D4
func TestARecordTellsWhatMayBeReliedUpon(t *testing.T) {
	until := december.Add(100 * 24 * time.Hour) // 2027-03-30, after the period has shrunk to 100 days
	for name, c := range map[string]struct {
		change func(*Evidence)
		scope  Scope
		until  time.Time
		adn    string
	}{
		"issuance":  {func(*Evidence) {}, Exact, until, "example.com"},
		"a dry run": {func(e *Evidence) { e.Attempt.Kind = DryRun }, 0, time.Time{}, "example.com"},
		"CAA alone": {func(e *Evidence) { e.Attempt = recheckOf(e.Attempt) }, 0, time.Time{}, ""},
		"a wildcard": {func(e *Evidence) {
			e.Attempt.Probe.Request.Identifier, e.Attempt.Probe.Request.Method = "*.example.com", va.DNS01
		}, WildcardScope, until, "example.com"},
		"with all below": {func(e *Evidence) { e.Attempt.Subtree, e.Attempt.Probe.Request.Method = true, va.DNS01 }, Subtree, until, "example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			e := unanimous(t, fiveRegions(), december)
			c.change(&e)
			e = unanimousFor(t, e)
			d := Judge(e)
			require.True(t, d.Granted(), "%v", d.Reasons())
			text, err := json.Marshal(d)
			require.NoError(t, err)
			var recorded RecordedDecision
			require.NoError(t, json.Unmarshal(text, &recorded))
			got := recorded.Validated
			require.Equal(t, c.adn, got.AuthorizationDomainName)
			require.Equal(t, c.adn == "", got.Derivation == "")
			require.Equal(t, c.scope, got.Scope)
			require.Equal(t, c.until.IsZero(), got.ReusableUntil == nil)
			if got.ReusableUntil != nil {
				require.Equal(t, c.until, *got.ReusableUntil)
			}
			e.Primary.report.CAA = va.CAAFinding{Outcome: va.Fail, Problem: forbidden}
			refused := Judge(e).Recorded().Validated
			require.Zero(t, refused.Scope)
			require.Nil(t, refused.ReusableUntil)
		})
	}
}

// TestThePassOfAnotherNameIsNone: control shown of one name is never that of another, not of a parent and not of a label.
//
// Holds: D1
func TestThePassOfAnotherNameIsNone(t *testing.T) {
	e := unanimous(t, fiveRegions(), december)
	require.True(t, Judge(e).Granted())
	right := e.Primary.report.DCV.Queried
	for _, wrong := range []string{"", "com", "www." + right, "_acme-challenge." + right, right + "."} {
		e.Primary.report.DCV.Queried = wrong
		d := Judge(e)
		require.False(t, d.Granted(), wrong)
		require.Equal(t, "perspective.contradiction", d.Reasons()[0].Code)
	}
}
