package db_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// consistent asks the tables themselves.
func consistent(t *testing.T, path string) {
	t.Helper()
	pool := hand(t, path, "")
	for question, want := range map[string]string{
		`PRAGMA integrity_check`:                        "ok",
		`SELECT count(*) FROM pragma_foreign_key_check`: "0",
		`SELECT max(number) - count(*) FROM attempts`:   "0",
		`SELECT count(*) FROM attempts AS a WHERE (SELECT count(*) FROM perspectives WHERE attempt = a.number) <> 6`: "0",
		`SELECT count(*) FROM decisions AS d WHERE (SELECT count(*) FROM reports WHERE attempt = d.attempt) <> 6`:    "0",
		`SELECT count(*) FROM reports WHERE attempt NOT IN (SELECT attempt FROM decisions)`:                          "0",
		`SELECT (SELECT count(*) FROM authorizations) - (SELECT count(*) FROM decisions WHERE outcome = 'granted')`:  "0",
	} {
		var got string
		require.NoError(t, pool.QueryRow(question).Scan(&got))
		require.Equal(t, want, got, question)
	}
}

// A full disk is a limit of pages here: SQLite reports it the same way.
//
// Holds: REC-05, F4
func TestREC_05_FullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openStore(t, path)
	_, d := dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("FIRST", "example.com", mpic.Issuance)))
	require.True(t, d.Granted())
	e := dbtest.Evidence(t, dbtest.Attempt("SECOND", "example.com", mpic.Issuance))
	_, err := s.Journal().Open(t.Context(), e.Attempt, e.Roster)
	require.NoError(t, err)
	var pages int
	require.NoError(t, s.Readers().QueryRow(`PRAGMA page_count`).Scan(&pages))
	limit := func(n int) {
		_, err := s.OnWriter(t.Context(), fmt.Sprintf(`PRAGMA max_page_count = %d`, n))
		require.NoError(t, err)
	}
	limit(pages + 1)
	require.ErrorContains(t, s.Journal().Close(t.Context(), e, mpic.Judge(e)), "full")
	r, err := s.Attempt(t.Context(), "SECOND")
	require.NoError(t, err)
	require.Equal(t, db.StillOpen, r.Outcome)
	consistent(t, path)
	limit(1 << 30)
	require.NoError(t, s.Journal().Close(t.Context(), e, mpic.Judge(e)), "service returns with the space")
	dbtest.Whole(t, s)
	consistent(t, path)
}

// Another process holds the lock until after the time-out; then the answer is no, and afterwards service returns.
//
// Holds: REC-05
func TestREC_05_LockedByAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openStore(t, path)
	_, err := s.OnWriter(t.Context(), `PRAGMA busy_timeout = 1`)
	require.NoError(t, err)
	other, err := hand(t, path, "&_txlock=immediate").BeginTx(t.Context(), &sql.TxOptions{})
	require.NoError(t, err)
	a := dbtest.Attempt("A1", "example.com", mpic.Issuance)
	_, err = s.Journal().Open(t.Context(), a, dbtest.Roster())
	require.ErrorContains(t, err, "locked")
	require.NoError(t, other.Rollback())
	n, err := s.Journal().Open(t.Context(), a, dbtest.Roster())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// The transaction is committed with a foreign key broken: all calls in it are refused, and the next ones are not.
//
// Holds: REC-05
func TestREC_05_FailedCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openStore(t, path)
	_, err := hand(t, path, "").Exec(`
		CREATE TABLE x (y INTEGER REFERENCES attempts (number) DEFERRABLE INITIALLY DEFERRED);
		CREATE TRIGGER break_commit AFTER INSERT ON attempts BEGIN INSERT INTO x VALUES (99); END`)
	require.NoError(t, err)
	a := dbtest.Attempt("A1", "example.com", mpic.Issuance)
	_, err = s.Journal().Open(t.Context(), a, dbtest.Roster())
	require.ErrorContains(t, err, "FOREIGN KEY")
	_, err = s.Attempt(t.Context(), "A1")
	require.ErrorIs(t, err, db.ErrNotFound)
	_, err = hand(t, path, "").Exec(`DROP TRIGGER break_commit`)
	require.NoError(t, err)
	n, err := s.Journal().Open(t.Context(), a, dbtest.Roster())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// Readers of whom one always begins before another ends keep SQLite from beginning its WAL anew; it would grow until the disk is full.
//
// Holds: REC-05
func TestREC_05_ReadersDoNotLetTheWALGrow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openStore(t, path)
	dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance)))
	reader := func() *sql.Tx {
		tx, err := s.Readers().BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
		assert.NoError(t, err)
		var sets int
		assert.NoError(t, tx.QueryRow(`SELECT count(*) FROM rrsets`).Scan(&sets))
		return tx
	}
	const each = 16 << 20
	written := 0
	write := func() int64 {
		octets := bytes.Repeat([]byte{byte(written)}, each)
		written++
		sum := sha256.Sum256(octets)
		require.NoError(t, s.KeepSets(t.Context(), dnssec.Sets{hex.EncodeToString(sum[:]): octets}))
		info, err := os.Stat(path + "-wal")
		require.NoError(t, err)
		return info.Size()
	}
	before, longest := reader(), int64(0)
	for range 3 { // during each commit somebody reads what was there before it, so that nothing of the log is used again
		longest = write()
		next := reader()
		require.NoError(t, before.Rollback())
		before = next
	}
	require.Greater(t, longest, int64(2*each))
	var over atomic.Bool
	var readers sync.WaitGroup
	readers.Go(func() {
		for !over.Load() {
			next := reader()
			assert.NoError(t, before.Rollback())
			before = next
		}
		assert.NoError(t, before.Rollback())
	})
	for range 12 {
		longest = max(longest, write())
	}
	over.Store(true)
	readers.Wait()
	require.Less(t, longest, int64(8*each), "it did not grow with all that was written")
	timeout, err := s.OnWriter(t.Context(), `PRAGMA busy_timeout`)
	require.NoError(t, err)
	require.Equal(t, "5000", timeout)
	consistent(t, path)
}
