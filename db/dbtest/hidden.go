package dbtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
)

// hidden: REC-06. Rows are put where a walk through the numbers does not come, or a removal is made up, so that what is missing would be
// taken for removed; Verify finds it.
func hidden(t *testing.T, g Engine) {
	Populate(t, g.Store)
	refused := Permit(t, g.Store, "REFUSED", started.Add(20*time.Second), "example.org")
	require.Equal(t, mpic.OutcomeRefused, refused.Outcome)
	_, err := g.Store.Ledger().RecordPermit(t.Context(), refused)
	require.NoError(t, err)
	Issue(t, g.Store, started.Add(30*time.Second), "example.com")
	Forbid(t, g.Store, "FORBIDDEN")
	require.Empty(t, verify(t, g.Store), "nothing was changed yet")
	run := func(name string, query string, args ...any) {
		t.Helper()
		_, err := g.Intruder.ExecContext(t.Context(), query, args...)
		require.NoError(t, err, name)
	}
	for _, c := range []struct{ name, do, undo string }{
		{"a certificate below number 1", `UPDATE certificates SET number = -1 WHERE number = 1`, `UPDATE certificates SET number = 1 WHERE number = -1`},
		{"a permit below number 1", `UPDATE permits SET number = -1 WHERE number = 2`, `UPDATE permits SET number = 2 WHERE number = -1`},
		{"an open attempt below number 1", `UPDATE attempts SET number = -1 WHERE number = 4`, `UPDATE attempts SET number = 4 WHERE number = -1`},
		{"the time of the log's head", `UPDATE log_head SET recorded_at = '9999-12-20T12:00:00.000000000Z'`,
			`UPDATE log_head SET recorded_at = (SELECT max(recorded_at) FROM log)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(c.name, c.do)
			for _, depth := range []db.Depth{db.DepthDecisions, db.DepthLog} {
				sum, err := g.Store.Verify(t.Context(), db.VerifyConfig{Depth: depth})
				require.NoError(t, err)
				require.NotZero(t, sum.Findings, "%d", depth)
			}
			run(c.name, c.undo)
			require.Empty(t, verify(t, g.Store))
		})
	}
	t.Run("an open attempt below number 1, without its perspectives", func(t *testing.T) {
		all := stored(t, g, "perspectives")
		run("", `DELETE FROM perspectives WHERE attempt = 4`)
		run("", `UPDATE attempts SET number = -1 WHERE number = 4`)
		require.NotEmpty(t, verify(t, g.Store))
		run("", `UPDATE attempts SET number = 4 WHERE number = -1`)
		for _, r := range all {
			if r["attempt"] == int64(4) {
				intrude(t, g, "perspectives", r)
			}
		}
		require.Empty(t, verify(t, g.Store))
	})
	t.Run("tokens taken away, and more said to be relied upon", func(t *testing.T) {
		decision, attempt, reliance := stored(t, g, "decisions")[0], stored(t, g, "attempts")[0], stored(t, g, "reliances")[0]
		bare := []byte(`{"salt":"00000000000000000000000000000000"}`)
		set(t, g, "decisions", decision, row{"secrets": bare})
		set(t, g, "attempts", attempt, row{"secrets": bare})
		set(t, g, "reliances", reliance, row{"reusable_until": "2036-12-20T12:00:00.000000000Z"})
		require.NotEmpty(t, verify(t, g.Store))
		set(t, g, "decisions", decision, row{"secrets": decision["secrets"]})
		set(t, g, "attempts", attempt, row{"secrets": attempt["secrets"]})
		set(t, g, "reliances", reliance, row{"reusable_until": reliance["reusable_until"]})
		require.Empty(t, verify(t, g.Store))
	})
	t.Run("numbers that are no whole ones", func(t *testing.T) {
		var kind string
		if g.Intruder.QueryRow(`SELECT typeof(0.5)`).Scan(&kind) != nil {
			t.Skip("this engine has none")
		}
		for table, column := range map[string]string{"attempts": "number", "decisions": "attempt", "reliances": "attempt", "authorizations": "attempt"} {
			_, err := g.Intruder.ExecContext(t.Context(), `UPDATE `+table+` SET `+column+` = 1.5 WHERE `+column+` = 1`)
			require.ErrorContains(t, err, "datatype mismatch", "%s: a row's number is whole", table)
		}
		for _, table := range []string{"perspectives", "reports"} {
			run(table, `UPDATE `+table+` SET attempt = 3.5 WHERE attempt = 3`)
		}
		require.NotEmpty(t, verify(t, g.Store))
		for _, table := range []string{"perspectives", "reports"} {
			run(table, `UPDATE `+table+` SET attempt = 3 WHERE attempt = 3.5`)
		}
		require.Empty(t, verify(t, g.Store))
	})
	// The last, because it does not put back what it takes.
	t.Run("a removal that was none", func(t *testing.T) {
		size, err := g.Store.LogSize(t.Context())
		require.NoError(t, err)
		intrude(t, g, "removals", row{"number": int64(-1), "leaf": int64(0), "first_leaf": int64(0), "past_leaf": size,
			"due_at": "2029-12-20T12:00:00.000000000Z", "removed_at": "2029-12-20T12:00:00.000000000Z", "document": []byte("x"), "sha256": wide})
		for _, table := range []string{"certificates", "permit_names", "permits", "notices", "late_reports", "authorizations", "reliances", "decisions", "reports",
			"perspectives", "attempts"} {
			run(table, `DELETE FROM `+table)
		}
		for _, depth := range []db.Depth{db.DepthDecisions, db.DepthLog} {
			sum, err := g.Store.Verify(t.Context(), db.VerifyConfig{Depth: depth})
			require.NoError(t, err)
			require.NotZero(t, sum.Findings, "%d", depth)
		}
	})
}
