package db_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// told gives what Verify finds, as text.
func told(t *testing.T, s *db.Store, c db.VerifyConfig) (db.Verified, []string) {
	t.Helper()
	var found []string
	c.Finding = func(f db.Finding) { found = append(found, fmt.Sprintf("%d %s %s", f.Number, f.Check, f.Detail)) }
	sum, err := s.Verify(t.Context(), c)
	require.NoError(t, err)
	return sum, found
}

// Whoever makes all records anew, and takes the checkpoints away, has no log that holds: an auditor who brings the log's key along wants to
// see its signature.
//
// Holds: REC-06
func TestREC_06_AnUnsignedLogIsNotTakenForASignedOne(t *testing.T) {
	g := engine(t)
	key, publisher := dbtest.Publisher(t, g.Store)
	dbtest.Populate(t, g.Store)
	require.NoError(t, publisher.Publish(t.Context()))
	sum, found := told(t, g.Store, db.VerifyConfig{Depth: db.DepthDecisions, LogKey: key})
	require.Empty(t, found)
	require.Equal(t, sum.Lines, sum.Covered)
	dbtest.Record(t, g.Store, dbtest.Evidence(t, dbtest.Attempt("LATER", "example.com", mpic.Issuance)))
	later, found := told(t, g.Store, db.VerifyConfig{Depth: db.DepthDecisions, LogKey: key})
	require.Empty(t, found)
	require.Equal(t, sum.Lines, later.Covered, "nobody signed what came later")
	require.Greater(t, later.Lines, later.Covered)
	require.NoError(t, publisher.Close(t.Context()))

	hand := g.Hands["as the shell"]
	dropGuards(t, g, "checkpoints")
	_, err := hand.Exec(`DELETE FROM checkpoints`)
	require.NoError(t, err)
	_, found = told(t, g.Store, db.VerifyConfig{Depth: db.DepthLog, LogKey: key})
	require.Len(t, found, 1)
	require.Contains(t, found[0], "no checkpoint that the log's key signed is of this log")
	_, found = told(t, g.Store, db.VerifyConfig{Depth: db.DepthLog})
	require.Empty(t, found, "without a key nobody's signature was asked for")
}

// Checkpoints come every hour at least while the log grows: where the later ones were taken away, what stands behind the one that is left can
// have been made anew.
//
// Holds: REC-06
func TestREC_06_WhatNobodySignedForHoursIsFound(t *testing.T) {
	calendar := dbtest.NewCalendar()
	calendar.Set(dbtest.Started())
	s, err := db.Open(t.Context(), db.Config{Path: filepath.Join(t.TempDir(), "records.db"), Now: calendar.Now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	key, publisher := dbtest.Publisher(t, s) // and signs the empty log
	verify := func() []string {
		_, found := told(t, s, db.VerifyConfig{Depth: db.DepthLog, LogKey: key})
		return found
	}
	dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance)))
	require.Empty(t, verify(), "a gate signs within seconds, and was not asked yet")
	calendar.Set(dbtest.Started().Add(3 * time.Hour))
	dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("A2", "example.com", mpic.Issuance)))
	found := verify()
	require.Len(t, found, 1)
	require.Contains(t, found[0], "no checkpoint is of the lines from 0 on, of 2026-12-20T12:00:00.")
	require.NoError(t, publisher.Publish(t.Context()))
	require.Empty(t, verify())
}

// Whoever loses records, and sets his clock some years ahead, has a removal on record that says that their time was over.
//
// Holds: REC-04, REC-06
func TestREC_04_NothingIsRemovedOnADayToCome(t *testing.T) {
	calendar := dbtest.NewCalendar()
	path := filepath.Join(t.TempDir(), "records.db")
	calendar.Set(dbtest.Started())
	s, err := db.Open(t.Context(), db.Config{Path: path, Now: calendar.Now, SegmentLines: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance)))
	calendar.Set(dbtest.Started().AddDate(5, 0, 0))
	due, err := s.Due(t.Context(), 0)
	require.NoError(t, err)
	_, err = s.Remove(t.Context(), db.Removed{Due: due, Export: strings.Repeat("ab", 32), Proven: calendar.Now(), By: "test"})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		years int
		holds bool
	}{"five years later": {5, true}, "today": {0, false}} {
		t.Run(name, func(t *testing.T) {
			now := dbtest.NewCalendar()
			now.Set(dbtest.Started().AddDate(c.years, 0, 1))
			auditor, err := db.Open(t.Context(), db.Config{Path: path, ReadOnly: true, Now: now.Now})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, auditor.Close()) })
			sum, found := told(t, auditor, db.VerifyConfig{Depth: db.DepthLog})
			require.Zero(t, sum.Records)
			if c.holds {
				require.Empty(t, found)
				return
			}
			require.Contains(t, found[0], "removal 1: it was recorded at")
			require.Contains(t, found[0], "by the auditor's clock")
			require.Contains(t, strings.Join(found, "\n"), "the document of the line 0 of the log, intent 1, is missing")
		})
	}
}

func dropGuards(t *testing.T, g dbtest.Engine, table string) {
	t.Helper()
	hand := g.Hands["as the shell"]
	rows, err := hand.Query(`SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = $1`, table)
	require.NoError(t, err)
	var names []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	require.NoError(t, rows.Close())
	for _, name := range names {
		_, err := hand.Exec(`DROP TRIGGER ` + name)
		require.NoError(t, err)
	}
}

// Holds: REC-06
func TestREC_06_ACosignedCheckpointCountsOnce(t *testing.T) {
	g := engine(t)
	key, publisher := dbtest.Publisher(t, g.Store)
	dbtest.Populate(t, g.Store)
	require.NoError(t, publisher.Publish(t.Context()))
	published, err := g.Store.Checkpoint(t.Context())
	require.NoError(t, err)
	opened, err := note.Open(published.Note, note.VerifierList(key))
	require.NoError(t, err)
	witness, err := merkle.GenerateWitnessKey("witness.example/w1")
	require.NoError(t, err)
	cosigned, err := note.Sign(&note.Note{Text: opened.Text, Sigs: opened.Sigs}, witness.Cosigner(time.Now()))
	require.NoError(t, err)
	sum, found := told(t, g.Store, db.VerifyConfig{Depth: db.DepthLog, LogKey: key, Witnesses: []*merkle.WitnessVerifier{witness.Verifier()}, Held: [][]byte{cosigned}})
	require.Empty(t, found)
	require.Equal(t, 3, sum.Checkpoints, "that of the empty log too")
	require.Equal(t, 1, sum.Cosigned)
}

// Checkpoints are as many as intervals in years: they are read in parts, and each is compared.
//
// Holds: REC-06
func TestREC_06_CheckpointsAreComparedAllAlongALongLog(t *testing.T) {
	g := engine(t)
	for _, table := range []string{"log", "checkpoints"} {
		dropGuards(t, g, table)
	}
	tx, err := g.Hands["as the shell"].Begin()
	require.NoError(t, err)
	var tree merkle.Tree
	sizes := []int64{0, 1, 4999, 5000, 5001, 5003, 10000, 10001, 11000}
	checkpoint := func(size int64, change func(*merkle.Checkpoint)) {
		c := merkle.Checkpoint{Origin: "gate.example/log", Size: size, Root: tree.Root(), Time: dbtest.Started()}
		change(&c)
		_, err := tx.Exec(`INSERT INTO checkpoints (size, note) VALUES ($1, $2)`, size, []byte(c.Text()+"\n"))
		require.NoError(t, err)
	}
	for leaf := range int64(11000) {
		if slices.Contains(sizes, leaf) {
			checkpoint(leaf, func(*merkle.Checkpoint) {})
		}
		if leaf == 5002 {
			checkpoint(leaf, func(c *merkle.Checkpoint) { c.Root[0] ^= 1 })
		}
		e := merkle.Entry{Leaf: leaf, Kind: merkle.Notice, Subject: 1, Recorded: dbtest.Started(), SHA256: strings.Repeat("ab", 32)}
		var hashes []byte
		for _, h := range tree.Append(e.Hash()) {
			hashes = append(hashes, h[:]...)
		}
		_, err := tx.Exec(`INSERT INTO log (leaf, kind, subject, recorded_at, sha256, hashes) VALUES ($1, 'notice', 1, $2, $3, $4)`, leaf,
			dbtest.Started().Format("2006-01-02T15:04:05.000000000Z"), e.SHA256, hashes)
		require.NoError(t, err)
	}
	checkpoint(11000, func(*merkle.Checkpoint) {})
	checkpoint(11001, func(*merkle.Checkpoint) {})
	checkpoint(99999, func(*merkle.Checkpoint) {})
	require.NoError(t, tx.Commit())

	sum, found := told(t, g.Store, db.VerifyConfig{Depth: db.DepthLog})
	require.Equal(t, len(sizes), sum.Checkpoints)
	require.EqualValues(t, 11000, sum.Covered)
	found = slices.DeleteFunc(found, func(f string) bool { return !strings.Contains(f, "checkpoint") })
	require.Len(t, found, 3, "%q", found)
	require.Contains(t, found[0], "the published checkpoint of size 5002 has another root")
	require.Contains(t, found[1], "the published checkpoint of size 11001 is of a log with 11001 lines, and this one has 11000")
	require.Contains(t, found[2], "the published checkpoint of size 99999 is of a log")
}

// Whoever may drop a table's guards may drop its key: a row that is false does not hide behind the true one.
//
// Holds: REC-06
func TestREC_06_AFalseRowHidesBehindNoOther(t *testing.T) {
	for table, change := range map[string]string{"attempts": "caller = 'rest:evil'", "decisions": "policy = '2025-03-15'", "perspectives": "region = 'ARIN'",
		"reports": "dcv_code = 'evil'", "authorizations": "identifier = 'evil.example'", "reliances": "identifier = 'evil.example'",
		"permit_names": "caa_attempt = 2"} {
		t.Run(table, func(t *testing.T) {
			g := engine(t)
			dbtest.Populate(t, g.Store)
			_, found := told(t, g.Store, db.VerifyConfig{Depth: db.DepthDecisions})
			require.Empty(t, found)
			conn, err := g.Hands["as the shell"].Conn(t.Context())
			require.NoError(t, err)
			for _, statement := range []string{`PRAGMA foreign_keys = OFF`, `CREATE TABLE copied AS SELECT * FROM ` + table, `DROP TABLE ` + table,
				`CREATE TABLE ` + table + ` AS SELECT * FROM copied`, `UPDATE ` + table + ` SET ` + change, `INSERT INTO ` + table + ` SELECT * FROM copied`} {
				_, err := conn.ExecContext(t.Context(), statement)
				require.NoError(t, err, statement)
			}
			require.NoError(t, conn.Close())
			_, found = told(t, g.Store, db.VerifyConfig{Depth: db.DepthDecisions})
			require.Contains(t, strings.Join(found, "\n"), "several rows")
		})
	}
}

// Holds: REC-04, MPIC-09
func TestAffectedReadsTheProgramInSignedReplies(t *testing.T) {
	onBoth(t, func(t *testing.T, g dbtest.Engine) {
		dbtest.Record(t, g.Store, dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance)))
		dbtest.Issue(t, g.Store, dbtest.Started().Add(20*time.Second), "example.com")
		for software, want := range map[string]int{"quorate/test": 1, "quorate/999": 0} {
			for _, perspective := range []string{"", "zurich", "tokyo"} {
				got := 0
				require.NoError(t, g.Store.Affected(t.Context(), db.Criteria{Perspective: perspective, PerspectiveSoftware: software},
					func(db.Affected) error { got++; return nil }))
				require.Equal(t, want, got, "%s at %q", software, perspective)
			}
		}
	})
}

// A name that was mistyped gives an empty list; that no record has it at all is told apart.
func TestConditionsThatNoRecordFulfilsAreKnown(t *testing.T) {
	onBoth(t, func(t *testing.T, g dbtest.Engine) {
		dbtest.Record(t, g.Store, dbtest.Evidence(t, dbtest.Attempt("A1", "*.example.com", mpic.Issuance)))
		r, err := g.Store.Attempt(t.Context(), "A1")
		require.NoError(t, err)
		for name, c := range map[string]struct {
			of   db.Criteria
			want []string
		}{
			"nothing":  {db.Criteria{}, nil},
			"known":    {db.Criteria{Perspective: "tokyo", Software: r.Software, Policy: r.Policy, Name: "example.com", Account: dbtest.Account}, nil},
			"wildcard": {db.Criteria{Name: "*.example.com"}, nil},
			"mistyped": {db.Criteria{Perspective: "tokio", Software: "quorate", Policy: "2026", Name: "example.con", Account: "acct"},
				[]string{`perspective "tokio"`, `software "quorate"`, `policy "2026"`, `name "example.con"`, `account "acct"`}},
			"one of them": {db.Criteria{Perspective: "tokyo", Policy: "2026"}, []string{`policy "2026"`}},
		} {
			got, err := g.Store.Unknown(t.Context(), c.of)
			require.NoError(t, err)
			require.Equal(t, c.want, got, name)
		}
	})
}

// Whoever gives up a verification has it end, though the next page is being read.
func TestVerifyEndsWithItsContext(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "records.db"))
	for i := range 250 {
		_, err := s.Journal().Open(t.Context(), dbtest.Attempt(fmt.Sprintf("A%d", i), "example.com", mpic.Issuance), dbtest.Roster())
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told []int64
	_, err := s.Verify(ctx, db.VerifyConfig{Progress: func(done, of int64) {
		require.EqualValues(t, 250, of)
		told = append(told, done)
		cancel()
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.LessOrEqual(t, len(told), 2)
	told = nil
	_, err = s.Verify(t.Context(), db.VerifyConfig{Progress: func(done, _ int64) { told = append(told, done) }})
	require.NoError(t, err)
	require.Equal(t, []int64{100, 200, 250}, told)
}
