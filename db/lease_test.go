package db_test

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// An open attempt that somebody changed stays open, and keeps neither a gate from beginning nor other attempts from being closed.
//
// Holds: F3, REC-06
func TestF3_AnAttemptThatCannotBeClosedStopsNothing(t *testing.T) {
	for name, change := range map[string]string{
		"its document":              `DROP TRIGGER attempts_before_update; UPDATE attempts SET document = document || x'20' WHERE id = 'FIRST'`,
		"what the document is":      `DROP TRIGGER attempts_before_update; UPDATE attempts SET document = x'20' WHERE id = 'FIRST'`,
		"its perspectives":          `DROP TRIGGER perspectives_before_delete; DELETE FROM perspectives WHERE attempt = 1`,
		"what the document is of":   `DROP TRIGGER attempts_before_update; UPDATE attempts SET (document, sha256) = (SELECT document, sha256 FROM attempts WHERE id = 'SECOND') WHERE id = 'FIRST'`,
		"the kind and all its rows": `DROP TRIGGER attempts_before_update; UPDATE attempts SET kind = 'caa-recheck', identifier = 'other.example' WHERE id = 'FIRST'`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "records.db")
			s, err := db.Open(t.Context(), db.Config{Path: path})
			require.NoError(t, err)
			for _, id := range []string{"FIRST", "SECOND"} {
				_, err = s.Journal().Open(t.Context(), dbtest.Attempt(id, "example.com", mpic.Issuance), dbtest.Roster())
				require.NoError(t, err)
			}
			require.NoError(t, s.Close())
			_, err = hand(t, path, "").Exec(change)
			require.NoError(t, err)
			_, err = db.RestoreGuards(t.Context(), db.Config{Path: path}) // as one would who hides it
			require.NoError(t, err)

			var log bytes.Buffer
			s, err = db.Open(t.Context(), db.Config{Path: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			second, err := s.Attempt(t.Context(), "SECOND")
			require.NoError(t, err)
			require.Equal(t, db.Refused, second.Outcome)
			require.Equal(t, 1, strings.Count(log.String(), "cannot be closed"), log.String())
			require.Contains(t, log.String(), "record=1")
			var open int
			require.NoError(t, hand(t, path, "").QueryRow(`SELECT count(*) FROM attempts WHERE number NOT IN (SELECT attempt FROM decisions)`).Scan(&open))
			require.Equal(t, 1, open)
			var found []audit.Check
			_, err = s.Verify(t.Context(), db.VerifyConfig{Finding: func(f db.Finding) { found = append(found, f.Check) }})
			require.NoError(t, err)
			require.NotEmpty(t, found)
			_, d := dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("THIRD", "example.com", mpic.Issuance)))
			require.True(t, d.Granted())
		})
	}
}
