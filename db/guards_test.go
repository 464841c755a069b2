package db_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// Holds: REC-06, MPIC-12, D5
func TestREC_06_GuardsLookAtNoTemporaryTable(t *testing.T) {
	g := postgresEngine(t)
	dbtest.Populate(t, g.Store) // 1 is granted for Account
	other := dbtest.Attempt("OTHER", "example.org", mpic.Issuance)
	other.Probe.Request.AccountURI = "acct:2"
	dbtest.Record(t, g.Store, dbtest.Evidence(t, other)) // 5
	hand := g.Hands["as the gate"]
	const forged = `INSERT INTO permit_names (permit, outcome, name, attempt, caa_attempt) VALUES (1, 'granted', 'example.org', 5, 5)`
	_, err := hand.Exec(forged)
	require.ErrorContains(t, err, "D5")
	for _, statement := range []string{
		`CREATE TEMPORARY TABLE authorizations AS SELECT a.attempt, p.account_uri FROM public.permits AS p, public.authorizations AS a WHERE p.number = 1`,
		`CREATE TEMPORARY TABLE decisions AS SELECT d.attempt, p.account_uri, d.outcome, d.kind, d.identifier FROM public.permits AS p, public.decisions AS d WHERE p.number = 1`,
	} {
		_, err := hand.Exec(statement)
		require.NoError(t, err)
	}
	_, err = hand.Exec(forged)
	require.ErrorContains(t, err, "D5", "the guard looks at the records, whatever else a session has under their names")
}
