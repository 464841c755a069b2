package dbtest

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Alone makes an attempt one of a kind for one check, as Boulder's and Open MPIC's callers ask for it.
func Alone(a mpic.Attempt, kind mpic.Kind) mpic.Attempt {
	a.Kind, a.Probe.DCVAlone, a.Probe.CAAAlone = kind, kind == mpic.DCVAlone, kind == mpic.CAAAlone
	a.Trace = "trace-1"
	if kind == mpic.CAAAlone {
		r := &a.Probe.Request
		r.Method, r.AccountURI, r.Token, r.KeyAuthorization, r.TokenCreated = 0, "", "", "", time.Time{}
	}
	return a
}

// alone: attempts for DCV alone and for CAA alone are recorded, granted and refused, and neither the program nor SQL by hand makes an
// authorization of them, or something to rely upon.
func alone(t *testing.T, g Engine) {
	for i, kind := range []mpic.Kind{mpic.DCVAlone, mpic.CAAAlone} {
		e := Evidence(t, Alone(Attempt("G"+kind.String(), "example.com", kind), kind))
		number, d := Record(t, g.Store, e)
		require.True(t, d.Granted(), "%v", d.Reasons())
		read(t, g.Store, number, e)

		refused := Evidence(t, Alone(Attempt("R"+kind.String(), "example.com", kind), kind))
		Silent(&refused, 0, mpic.TimedOut)
		Silent(&refused, 1, mpic.Unreachable)
		number, d = Record(t, g.Store, refused)
		require.False(t, d.Granted())
		read(t, g.Store, number, refused)
		require.EqualValues(t, 2*i+2, number)
	}
	beside := Alone(Attempt("S1", "example.com", mpic.DCVAlone), mpic.DCVAlone)
	beside.Shadow = true
	e := Evidence(t, beside)
	number, _ := Record(t, g.Store, e)
	require.True(t, read(t, g.Store, number, e).Shadow)
	listed, err := g.Store.List(t.Context(), db.Filter{Shadow: true})
	require.NoError(t, err)
	require.Len(t, listed, 1)
	require.Equal(t, "S1", listed[0].ID)
	require.Zero(t, count(t, g, "authorizations"))
	require.Zero(t, count(t, g, "reliances"))
	require.Empty(t, verify(t, g.Store))

	eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
		for _, kind := range []string{"dcv", "caa", "issuance"} {
			for attempt := range 4 {
				require.Error(t, tried(t, tx, func() error {
					return row{"attempt": attempt + 1, "outcome": "granted", "kind": kind, "identifier": "example.com", "account_uri": Account,
						"method": "http-01", "granted_at": "2026-12-20T12:00:05.000000000Z"}.insert(tx, "authorizations")
				}))
				require.Error(t, tried(t, tx, func() error {
					return row{"attempt": attempt + 1, "kind": kind, "identifier": "example.com", "account_uri": Account, "method": "http-01",
						"checked_at": "2026-12-20T12:00:05.000000000Z", "caa_fresh_until": "2026-12-20T20:00:05.000000000Z",
						"reusable_until": nil, "facts": []byte("{}")}.insert(tx, "reliances")
				}))
			}
		}
	})
}

// statements: what a remote of another protocol said is kept with what was exchanged, octet for octet.
func statements(t *testing.T, g Engine) {
	e := Evidence(t, Attempt("A1", "example.com", mpic.Issuance))
	m := &e.Roster.Remotes[0]
	m.Protocol, m.SigningKey, m.Code = mpic.OpenMPICChecker, "", "eu-west-1"
	said := mpic.Said{Outcome: va.Pass, At: e.Attempt.Started, Seen: []string{"https://example.com/ \u2028<&>"}}
	permitted := mpic.Said{Outcome: va.Pass, At: e.Attempt.Started}
	e.Remotes[0].Report, e.Remotes[0].Reply, e.Remotes[0].Signed = nil, nil, ""
	e.Remotes[0].Statement = &mpic.Statement{Digest: e.Attempt.Probe.Digest(), DCV: &said, CAA: &permitted, Exchanges: []mpic.Exchange{{
		Target: "https://eu-west-1.example/dcv", Status: 200, Sent: `{"token":"` + e.Attempt.Probe.Request.Token + `"}`,
		Received: "{\"check_passed\": true}\n", Started: e.Attempt.Started, Finished: e.Attempt.Started.Add(time.Second)}}}
	number, d := Record(t, g.Store, e)
	require.True(t, d.Granted(), "%v", d.Reasons())
	require.Equal(t, va.Pass, d.Views()[1].DCV)
	r := read(t, g.Store, number, e)
	require.Equal(t, e.Remotes[0].Statement, r.Evidence.Remotes[0].Statement)
}
