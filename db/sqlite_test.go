package db_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
)

func openStore(t testing.TB, path string) *db.Store {
	t.Helper()
	s, err := db.Open(t.Context(), db.Config{Path: path})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// hand is a connection as somebody else has it; the sqlite3 shell has foreign keys and recursive triggers off.
func hand(t testing.TB, path, pragmas string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"+pragmas)
	require.NoError(t, err)
	pool.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	return pool
}

func engine(t testing.TB) dbtest.Engine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records.db")
	return dbtest.Engine{Store: openStore(t, path), Hands: map[string]*sql.DB{
		"as the shell":         hand(t, path, ""),
		"with foreign keys on": hand(t, path, "&_pragma=foreign_keys(1)&_pragma=recursive_triggers(1)"),
		"with checks ignored":  hand(t, path, "&_pragma=ignore_check_constraints(1)"),
	}}
}

// Holds: REC-01, REC-02, REC-03, REC-05, REC-06, MPIC-12, F2, F3, F4
func TestRecordsOnSQLite(t *testing.T) { dbtest.Run(t, engine) }
