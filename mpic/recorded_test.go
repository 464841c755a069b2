package mpic

import (
	"encoding/json"
	"testing"

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
