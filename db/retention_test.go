package db_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/test/postgres"
)

// Holds: REC-04
func TestREC_04_RetentionOnSQLite(t *testing.T) {
	calendar, path := dbtest.NewCalendar(), filepath.Join(t.TempDir(), "records.db")
	dbtest.Retention(t, calendar, func(retention bool) *db.Store {
		s, err := db.Open(t.Context(), db.Config{Path: path, Now: calendar.Now, SegmentLines: dbtest.Segment, Retention: retention})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	})
}

// Holds: REC-04, REC-06
func TestREC_04_RetentionOnPostgres(t *testing.T) {
	server := postgres.Shared(t)
	name := databaseName(t)
	owner := migrated(t, server, name)
	_, err := pgHand(t, owner).Exec(`DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'retention') THEN
		CREATE ROLE retention LOGIN IN ROLE ` + db.RetentionRole + `; END IF; END $$`)
	require.NoError(t, err)
	_, err = db.Open(t.Context(), db.Config{Postgres: server.DSN("retention", name)})
	require.ErrorContains(t, err, "DELETE", "who may remove is no gate")
	calendar := dbtest.NewCalendar()
	dbtest.Retention(t, calendar, func(retention bool) *db.Store {
		user := gateUser
		if retention {
			user = "retention"
		}
		s, err := db.Open(t.Context(), db.Config{Postgres: server.DSN(user, name), Now: calendar.Now, SegmentLines: dbtest.Segment, Retention: retention})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	})
	_, err = pgHand(t, server.DSN("retention", name)).Exec(`DELETE FROM perspectives WHERE attempt = 7`)
	require.ErrorContains(t, err, "REC-04", "a removal on record covers only its segment")
}

// On 29 February two years have not passed since any moment of 1 March.
//
// Holds: REC-04
func TestREC_04_TwoYearsBeforeALeapDay(t *testing.T) {
	for _, c := range []struct{ name, at, since string }{
		{"an ordinary day", "2028-03-10T12:00:00Z", "2026-03-10T12:00:00Z"},
		{"a leap day", "2028-02-29T12:00:00Z", "2026-02-28T23:59:59.999999999Z"},
		{"the day after", "2028-03-01T12:00:00Z", "2026-03-01T12:00:00Z"},
		{"two years after a leap day", "2030-02-28T12:00:00Z", "2028-02-28T12:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, c.at)
			require.NoError(t, err)
			require.Equal(t, c.since, db.KeptSince(at).Format(time.RFC3339Nano))
		})
	}
}
