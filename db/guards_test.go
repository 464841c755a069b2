package db_test

import (
	"fmt"
	"strings"
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

// A guard looks at each row of a statement, however the statement is written: a good one first does not cover for the next.
//
// Holds: REC-06, MPIC-12, F2, F3, F4
func TestREC_06_GuardsLookAtEachRow(t *testing.T) {
	const (
		goodPerspective, badPerspective = "4, 'x', 'remote', 9, 'ARIN'", "1, 'x', 'remote', 9, 'ARIN'"
		report                          = "'answered', 'fail', 'fail', 'x', 'x', '2026-12-20T12:00:00.000000000Z', '2026-12-20T12:00:00.000000000Z'"
		goodReport, badReport           = "4, 'tokyo', 'remote', " + report, "4, 'ashburn', 'primary', " + report
		line                            = ", 'intent', 9, '9998-01-01T00:00:00.000000000Z', '0123456789012345678901234567890123456789012345678901234567890123', "
	)
	for engine, g := range map[string]dbtest.Engine{"SQLite": engine(t), "Postgres": postgresEngine(t)} {
		dbtest.Populate(t, g.Store) // 1 is granted, 4 is open
		size, err := g.Store.LogSize(t.Context())
		require.NoError(t, err)
		octets := map[string]string{"SQLite": "x'00'", "Postgres": `'\x00'::bytea`}[engine]
		goodLine, badLine := fmt.Sprint(size, line, octets), fmt.Sprint(size+2, line, octets)
		for table, rows := range map[string][2]string{"perspectives": {goodPerspective, badPerspective}, "reports": {goodReport, badReport}, "log": {goodLine, badLine}} {
			good, bad := rows[0], rows[1]
			statements := map[string]string{
				"two rows": `INSERT INTO ` + table + ` VALUES (` + good + `), (` + bad + `)`,
				"selected": `INSERT INTO ` + table + ` SELECT ` + good + ` UNION ALL SELECT ` + bad,
				"upsert":   `INSERT INTO ` + table + ` VALUES (` + good + `), (` + bad + `) ON CONFLICT DO NOTHING`,
			}
			if engine == "SQLite" {
				statements["or replace"] = `INSERT OR REPLACE INTO ` + table + ` VALUES (` + good + `), (` + bad + `)`
				statements["or ignore"] = `INSERT OR IGNORE INTO ` + table + ` VALUES (` + good + `), (` + bad + `)`
			} else {
				statements["two in one"] = `WITH first AS (INSERT INTO ` + table + ` VALUES (` + good + `)) INSERT INTO ` + table + ` VALUES (` + bad + `)`
				statements["merge"] = `MERGE INTO ` + table + ` AS t USING (SELECT 1) AS s ON false WHEN NOT MATCHED THEN INSERT VALUES (` + bad + `)`
			}
			for name, statement := range statements {
				for as, hand := range g.Hands {
					t.Run(engine+", "+table+", "+name+", "+as, func(t *testing.T) {
						tx, err := hand.BeginTx(t.Context(), nil)
						require.NoError(t, err)
						_, err = tx.Exec(statement)
						require.Error(t, err, statement)
						require.Regexp(t, map[string]string{"perspectives": "the attempt is unknown or already closing", "reports": "no such perspective in this role",
							"log": "the line is not the next one"}[table], err.Error())
						require.NoError(t, tx.Rollback())
						tx, err = hand.BeginTx(t.Context(), nil)
						require.NoError(t, err)
						_, err = tx.Exec(strings.Replace(strings.Replace(statement, "), ("+bad, "", 1), bad, good, 1))
						if name != "two in one" && name != "selected" { // which have the good one twice now
							require.NoError(t, err, "it is the second row that is refused")
						}
						require.NoError(t, tx.Rollback())
					})
				}
			}
		}
	}
}
