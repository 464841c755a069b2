package db_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
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

const protected = "&_pragma=foreign_keys(1)&_pragma=recursive_triggers(1)"

func engine(t testing.TB) dbtest.Engine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records.db")
	s, err := db.Open(t.Context(), db.Config{Path: path, Now: dbtest.Clock()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return dbtest.Engine{Store: s, Intruder: intruder(t, path), Hands: map[string]*sql.DB{
		"as the shell": hand(t, path, ""), "protected": hand(t, path, protected)}}
}

// intruder is somebody who ignores checks and foreign keys and, in the test that is about it, drops the guards.
func intruder(t testing.TB, path string) *sql.DB {
	t.Helper()
	pool := hand(t, path, "&_pragma=ignore_check_constraints(1)")
	if !strings.Contains(t.Name(), "behind_our_back") {
		return pool
	}
	rows, err := pool.Query(`SELECT name FROM sqlite_schema WHERE type = 'trigger'`)
	require.NoError(t, err)
	var names []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, errors.Join(rows.Err(), rows.Close()))
	for _, name := range names {
		_, err := pool.Exec(`DROP TRIGGER ` + name)
		require.NoError(t, err)
	}
	return pool
}

// Holds: REC-01, REC-02, REC-03, REC-05, REC-06, MPIC-12, F2, F3, F4
func TestRecordsOnSQLite(t *testing.T) { dbtest.Run(t, engine) }

// SQLite's own ways to put a row in another's place are refused as well, on any connection.
//
// Holds: REC-06
func TestREC_06_SQLiteReplacesNoRow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	store := openStore(t, path)
	dbtest.Populate(t, store)
	dbtest.Forbid(t, store, "FORBIDDEN")
	for name, pragmas := range map[string]string{"as the shell": "", "protected": protected} {
		pool := hand(t, path, pragmas)
		for _, table := range dbtest.Tables() {
			t.Run(name+", "+table, func(t *testing.T) {
				var column string
				require.NoError(t, pool.QueryRow(`SELECT name FROM pragma_table_info(?) WHERE cid = 0`, table).Scan(&column))
				before := dump(t, pool, table)
				for _, statement := range []string{
					`INSERT OR REPLACE INTO %[1]s SELECT * FROM %[1]s LIMIT 1`,
					`REPLACE INTO %[1]s SELECT * FROM %[1]s LIMIT 1`,
					`INSERT INTO %[1]s SELECT * FROM %[1]s WHERE true LIMIT 1 ON CONFLICT DO UPDATE SET %[2]s = %[2]s`,
					`UPDATE OR REPLACE %[1]s SET rowid = rowid + 1`,
					`UPDATE OR IGNORE %[1]s SET %[2]s = %[2]s`,
					`INSERT OR FAIL INTO %[1]s SELECT * FROM %[1]s LIMIT 1`,
					`WITH x AS (SELECT 1) DELETE FROM %[1]s WHERE rowid IN (SELECT rowid FROM %[1]s LIMIT 1)`,
				} {
					_, err := pool.Exec(fmt.Sprintf(statement, table, column))
					require.Error(t, err, statement)
					require.Equal(t, before, dump(t, pool, table), statement)
				}
			})
		}
		// A row with a new key would be in order; with the row number of an old one, REPLACE would take that away.
		t.Run(name+", by row number", func(t *testing.T) {
			before := dump(t, pool, "rrsets")
			const next = `INSERT OR REPLACE INTO rrsets (%s sha256, octets) SELECT %s '` + other + `', octets FROM rrsets LIMIT 1`
			_, err := pool.Exec(fmt.Sprintf(next, "rowid,", "rowid,"))
			require.ErrorContains(t, err, "REC-06")
			require.Equal(t, before, dump(t, pool, "rrsets"))
			tx, err := pool.Begin()
			require.NoError(t, err)
			_, err = tx.Exec(fmt.Sprintf(next, "", ""))
			require.NoError(t, err, "it is the row number that is refused")
			require.NoError(t, tx.Rollback())
		})
		// An attempt's number is its row number: whichever name says so, and whichever stands last, no old row goes.
		t.Run(name+", by row number and number", func(t *testing.T) {
			before := dump(t, pool, "attempts")
			for _, columns := range [][2]string{{"rowid, number", "number, 6"}, {"number, rowid", "6, number"}, {"number, rowid", "number, 6"}, {"rowid, number", "6, number"}} {
				tx, err := pool.Begin()
				require.NoError(t, err)
				_, err = tx.Exec(fmt.Sprintf(`INSERT OR REPLACE INTO attempts (%s, leaf, id, gate, kind, shadow, started_at, caller, software, identifier,
					fqdn, wildcard, method, section, account_uri, document, sha256) SELECT %s, 99, 'NEXT', gate, kind, shadow, started_at,
					caller, software, identifier, fqdn, wildcard, method, section, account_uri, document, sha256
					FROM attempts WHERE number = 4`, columns[0], columns[1]))
				if err == nil {
					var old, all int
					require.NoError(t, tx.QueryRow(`SELECT count(*) FILTER (WHERE id <> 'NEXT'), count(*) FROM attempts`).Scan(&old, &all))
					require.Equal(t, len(before), old, "%v", columns)
					require.Equal(t, old+1, all, "%v", columns)
				}
				require.NoError(t, tx.Rollback())
			}
		})
	}
}

// other is a digest of nothing on record.
const other = "0123456789012345678901234567890123456789012345678901234567890123"

func dump(t testing.TB, pool *sql.DB, table string) []string {
	t.Helper()
	column, number := "sha256", "rowid"
	switch table {
	case "authorizations", "reliances":
		column = "attempt"
	case "perspectives": // they have no row number
		column, number = "name", "attempt"
	case "reports":
		column, number = "perspective", "attempt"
	case "permit_names":
		column = "permit"
	}
	rows, err := pool.Query(`SELECT ` + number + ` || ' ' || ` + column + ` FROM ` + table)
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		out = append(out, s)
	}
	require.NoError(t, rows.Err())
	require.NotEmpty(t, out)
	return out
}

// Bytes that were changed behind the guards do not read as a record.
//
// Holds: REC-06
func TestREC_06_ChangedBytesAreNoRecord(t *testing.T) {
	for name, change := range map[string]string{
		"the attempt":         `DROP TRIGGER attempts_before_update; UPDATE attempts SET document = document || x'20'`,
		"the decision":        `DROP TRIGGER decisions_before_update; UPDATE decisions SET document = document || x'20'`,
		"a late reply":        `DROP TRIGGER late_reports_before_update; UPDATE late_reports SET document = document || x'20'`,
		"DNS records":         `DROP TRIGGER rrsets_before_update; UPDATE rrsets SET octets = octets || x'20'`,
		"DNS records removed": `DROP TRIGGER rrsets_before_delete; DELETE FROM rrsets`,
		"another attempt's": `DROP TRIGGER decisions_before_update; UPDATE decisions SET (document, sha256) =
			(SELECT document, sha256 FROM decisions WHERE attempt = 3) WHERE attempt = 1`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "records.db")
			s := openStore(t, path)
			dbtest.Populate(t, s)
			_, err := s.Attempt(t.Context(), "1")
			require.NoError(t, err)
			_, err = hand(t, path, "").Exec(change)
			require.NoError(t, err)
			_, err = s.Attempt(t.Context(), "1")
			require.ErrorIs(t, err, db.ErrDamaged)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
		return path
	}
	sqlFile := func(name, statements string) string {
		path := filepath.Join(dir, name)
		_, err := hand(t, path, "").Exec(statements)
		require.NoError(t, err)
		return path
	}
	newer := filepath.Join(dir, "newer.db")
	s, err := db.Open(t.Context(), db.Config{Path: newer})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = hand(t, newer, "").Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
	require.NoError(t, err)

	for name, c := range map[string]struct {
		config db.Config
		want   string
	}{
		"no path":               {db.Config{}, "one of the two has to be named"},
		"no directory":          {db.Config{Path: filepath.Join(dir, "absent", "x.db")}, "absent of the database does not exist"},
		"a directory":           {db.Config{Path: dir}, "is not a file"},
		"a read-only file":      {db.Config{Path: file("ro.db", "", 0o444)}, "ro.db is read-only (mode 0444)"},
		"no database":           {db.Config{Path: file("text.db", "not a database, but long enough to be one", 0o600)}, "not a database"},
		"another program's":     {db.Config{Path: sqlFile("other.db", `CREATE TABLE x (y)`)}, "tables of another program"},
		"a newer schema":        {db.Config{Path: newer}, "version 99, which is newer than this program's 2"},
		"a newer one, to read":  {db.Config{Path: newer, ReadOnly: true}, "version 99, which is newer"},
		"nothing to read":       {db.Config{Path: filepath.Join(dir, "none.db"), ReadOnly: true}, "there is no database at"},
		"an empty file to read": {db.Config{Path: file("empty.db", "", 0o600), ReadOnly: true}, "version 0; this program reads 2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := db.Open(t.Context(), c.config)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestOpenForReading(t *testing.T) {
	path := filepath.Join(t.TempDir(), "with %20 and ? and #.db")
	dbtest.Populate(t, openStore(t, path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), "tokens are nobody else's business")
	r, err := db.Open(t.Context(), db.Config{Path: path, ReadOnly: true})
	require.NoError(t, err)
	defer r.Close()
	dbtest.Whole(t, r)
	_, err = r.Journal().Open(t.Context(), dbtest.Attempt("X", "example.com", mpic.Issuance), dbtest.Roster())
	require.ErrorIs(t, err, db.ErrReadOnly)
}

// A commit waits for the disk, and each connection holds foreign keys.
//
// Holds: REC-05
func TestREC_05_ConnectionsAreDurable(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "records.db"))
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1",
		"recursive_triggers": "1", "busy_timeout": "5000"} {
		var got string
		require.NoError(t, s.Readers().QueryRow(`PRAGMA `+pragma).Scan(&got))
		require.Equal(t, want, got, "%s of a reader", pragma)
		got, err := s.OnWriter(t.Context(), `PRAGMA `+pragma)
		require.NoError(t, err)
		require.Equal(t, want, got, "%s of the writer", pragma)
	}
	_, err := s.Readers().Exec(`CREATE TABLE x (y)`)
	require.Error(t, err, "the readers cannot write")
}
