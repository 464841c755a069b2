package db_test

import (
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/scrape"
)

func TestMetricsOfTransactions(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := db.NewMetrics(registry)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "records.db")
	s, err := db.Open(t.Context(), db.Config{Path: path, Metrics: m})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	e := dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance))
	_, err = s.Journal().Open(t.Context(), e.Attempt, e.Roster)
	require.NoError(t, err)
	require.NoError(t, s.Journal().Close(t.Context(), e, mpic.Judge(e)))
	scrape.Require(t, registry, map[string]float64{"quorate_journal_commit_duration_seconds{}": 3, "quorate_journal_commit_calls{}": 3, // the lease's too
		"quorate_journal_commit_failures_total{}": 0})

	_, err = hand(t, path, "").Exec(`
		CREATE TABLE x (y INTEGER REFERENCES attempts (number) DEFERRABLE INITIALLY DEFERRED);
		CREATE TRIGGER break_commit AFTER INSERT ON attempts BEGIN INSERT INTO x VALUES (99); END`)
	require.NoError(t, err)
	_, err = s.Journal().Open(t.Context(), dbtest.Attempt("A2", "example.com", mpic.Issuance), dbtest.Roster())
	require.Error(t, err)
	scrape.Require(t, registry, map[string]float64{"quorate_journal_commit_failures_total{}": 1})
	_, err = db.NewMetrics(registry)
	require.ErrorAs(t, err, new(prometheus.AlreadyRegisteredError))
}
