package db_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/test/postgres"
)

// A gate begins on no database whose guards are not whole, and they can be put back.
//
// Holds: REC-06
func TestREC_06_GuardsAreWhole(t *testing.T) {
	check := func(t *testing.T, hand *sql.DB, gate, owner db.Config, change, said string, more int) {
		t.Helper()
		begin := func() error {
			s, err := db.Open(t.Context(), gate)
			if err == nil {
				err = s.Close()
			}
			return err
		}
		require.NoError(t, begin())
		_, err := hand.Exec(change)
		require.NoError(t, err)
		err = begin()
		require.ErrorIs(t, err, db.ErrUnguarded)
		require.ErrorContains(t, err, said)
		readOnly := gate
		readOnly.ReadOnly = true
		s, err := db.Open(t.Context(), readOnly)
		require.NoError(t, err, "an auditor reads it all the same")
		wrong, err := s.Unguarded(t.Context())
		require.NoError(t, err)
		require.Len(t, wrong, 1+more)
		require.NoError(t, s.Close())
		restored, err := db.RestoreGuards(t.Context(), owner)
		require.NoError(t, err)
		require.Equal(t, wrong, restored)
		require.NoError(t, begin())
		restored, err = db.RestoreGuards(t.Context(), owner)
		require.NoError(t, err)
		require.Empty(t, restored)
	}
	t.Run("SQLite", func(t *testing.T) {
		for name, c := range map[string]struct {
			change, said string
		}{
			"dropped":       {`DROP TRIGGER decisions_before_update`, "the trigger decisions_before_update is missing"},
			"another one":   {`DROP TRIGGER decisions_before_delete; CREATE TRIGGER decisions_before_delete BEFORE DELETE ON decisions BEGIN SELECT 1; END`, "decisions_before_delete is another one"},
			"one table's":   {`DROP TRIGGER attempts_before_insert`, "attempts_before_insert is missing"},
			"on a new name": {`DROP TRIGGER log_before_delete; CREATE TRIGGER log_before_delete2 BEFORE DELETE ON log BEGIN SELECT 1; END`, "log_before_delete is missing"},
		} {
			t.Run(name, func(t *testing.T) {
				c0 := db.Config{Path: filepath.Join(t.TempDir(), "records.db")}
				check(t, hand(t, c0.Path, ""), c0, c0, c.change, c.said, 0)
			})
		}
	})
	t.Run("Postgres", func(t *testing.T) {
		server := postgres.Shared(t)
		name := databaseName(t)
		owner := migrated(t, server, name)
		gate := db.Config{Postgres: server.DSN(gateUser, name)}
		for what, c := range map[string]struct {
			change, said string
			more         int
		}{
			"dropped":        {`DROP TRIGGER decisions_before_update ON decisions`, "the trigger decisions_before_update is missing", 0},
			"switched off":   {`ALTER TABLE decisions DISABLE TRIGGER decisions_before_update`, "the trigger decisions_before_update is switched off", 0},
			"for some rows":  {`DROP TRIGGER log_before_delete ON log; CREATE TRIGGER log_before_delete BEFORE DELETE ON log FOR EACH ROW WHEN (OLD.leaf > 9) EXECUTE FUNCTION log_before_delete()`, "log_before_delete is another one", 0},
			"some columns":   {`DROP TRIGGER log_before_update ON log; CREATE TRIGGER log_before_update BEFORE UPDATE OF kind ON log FOR EACH ROW EXECUTE FUNCTION log_before_update()`, "log_before_update is another one", 0},
			"afterwards":     {`DROP TRIGGER log_before_delete ON log; CREATE TRIGGER log_before_delete AFTER DELETE ON log FOR EACH ROW EXECUTE FUNCTION log_before_delete()`, "log_before_delete is another one", 0},
			"its function":   {`CREATE OR REPLACE FUNCTION permits_before_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`, "permits_before_insert is another one", 0},
			"its search":     {`ALTER FUNCTION permits_before_insert() RESET search_path`, "permits_before_insert is another one", 0},
			"TRUNCATE":       {`DROP TRIGGER rrsets_no_truncate ON rrsets`, "rrsets_no_truncate is missing", 0},
			"all of a table": {`ALTER TABLE reports DISABLE TRIGGER ALL`, "foreign keys of reports are switched off", 4},
		} {
			t.Run(what, func(t *testing.T) {
				check(t, pgHand(t, owner), gate, db.Config{Postgres: owner}, c.change, c.said, c.more)
			})
		}
		t.Run("for a user", func(t *testing.T) {
			_, err := pgHand(t, owner).Exec(`ALTER ROLE ` + gateUser + ` IN DATABASE "` + name + `" SET session_replication_role = replica`)
			require.NoError(t, err)
			_, err = db.Open(t.Context(), gate)
			require.ErrorContains(t, err, "session_replication_role is replica")
		})
	})
}
