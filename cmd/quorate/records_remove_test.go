package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// The demonstration's records, three years later: an export that does not hold removes nothing, one that holds is all that is left of them, and both it
// and what stays in the database can be verified afterwards.
//
// Holds: REC-04, REC-06
func TestREC_04_RecordsAreRemovedOnceTheirExportHolds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	demo := exec.Command("go", "run", "../quorate-sandbox", "demo", "--dir", dir)
	text, err := demo.CombinedOutput()
	require.NoError(t, err, "%s", text)
	path := filepath.Join(dir, "journal.sqlite")
	key, err := readLogKey(filepath.Join(dir, "journal.log.key.pub"))
	require.NoError(t, err)
	anchors, err := readAllAnchors([]string{filepath.Join(dir, "root.anchor")})
	require.NoError(t, err)
	good := db.VerifyConfig{Auditor: audit.Auditor{Anchors: anchors}, LogKey: key}
	later := db.Config{Path: path, Now: func() time.Time { return time.Now().AddDate(3, 0, 0) }, SegmentLines: 4}
	remove := func(settings db.VerifyConfig, records db.Config, c removeCmd) (string, error) {
		var stdout, stderr bytes.Buffer
		err := c.remove(t.Context(), console{stdout: &stdout, stderr: &stderr}, records, settings)
		return stdout.String() + stderr.String(), err
	}
	attempts := func() (n int) {
		pool, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
		require.NoError(t, err)
		defer func() { require.NoError(t, pool.Close()) }()
		require.NoError(t, pool.QueryRow(`SELECT count(*) FROM attempts`).Scan(&n))
		return n
	}
	before := attempts()
	require.Greater(t, before, 8)

	soon := later
	soon.Now = nil
	said, err := remove(good, soon, removeCmd{Export: filepath.Join(dir, "soon.tar")})
	require.NoError(t, err)
	require.Equal(t, "nothing is due\n", said)
	require.NoFileExists(t, filepath.Join(dir, "soon.tar"))

	said, err = remove(db.VerifyConfig{LogKey: key}, later, removeCmd{Export: filepath.Join(dir, "other-anchors.tar")})
	require.ErrorContains(t, err, "nothing was removed")
	require.Contains(t, said, "dnssec", "IANA's anchors are not the sandbox's")
	require.Equal(t, before, attempts())
	_, err = remove(good, later, removeCmd{Export: filepath.Join(dir, "root.anchor")})
	require.ErrorContains(t, err, "exists")
	require.Equal(t, before, attempts())

	export := filepath.Join(dir, "first.tar")
	said, err = remove(good, later, removeCmd{Export: export, Lines: 8})
	require.NoError(t, err, said)
	require.Contains(t, said, "removed the lines 0 to 7")
	require.Less(t, attempts(), before)
	rest := filepath.Join(dir, "rest.tar")
	said, err = remove(good, later, removeCmd{Export: rest})
	require.NoError(t, err, said)
	require.Contains(t, said, "removed the lines 8 to ")
	for _, file := range []string{export, rest} {
		var out bytes.Buffer
		require.NoError(t, removeCmd{Export: file}.prove(t.Context(), console{stdout: &out, stderr: &out}, good), out.String())
	}
	s, err := db.Open(t.Context(), db.Config{Path: path, Now: later.Now, ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	var found []string
	left := good
	left.Finding = func(f db.Finding) { found = append(found, fmt.Sprintf("%d %s %s", f.Number, f.Check, f.Detail)) }
	sum, err := s.Verify(t.Context(), left)
	require.NoError(t, err)
	require.Empty(t, found)
	require.Positive(t, sum.Removed)
}

// Refused permits stay, and a segment of nothing else has nothing to export.
//
// Holds: REC-04
func TestREC_04_RefusedPermitsAloneAreNotRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s, err := db.Open(t.Context(), db.Config{Path: path, Now: dbtest.Clock(), SegmentLines: 2})
	require.NoError(t, err)
	for i := range 3 {
		p := dbtest.Permit(t, s, fmt.Sprintf("P%d", i), dbtest.Started(), "example.com")
		require.Equal(t, mpic.OutcomeRefused, p.Outcome)
		_, err := s.Ledger().RecordPermit(t.Context(), p)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	key, err := merkle.GenerateLogKey("gate.example/log")
	require.NoError(t, err)
	var out bytes.Buffer
	c := removeCmd{Export: filepath.Join(t.TempDir(), "export.tar")}
	later := db.Config{Path: path, Now: func() time.Time { return dbtest.Started().AddDate(3, 0, 0) }, SegmentLines: 2}
	require.NoError(t, c.remove(t.Context(), console{stdout: &out, stderr: &out}, later, db.VerifyConfig{LogKey: key.Verifier()}))
	require.Equal(t, "nothing is removed: the lines 0 to 1 are due, and are all of refused permits, which stay\n", out.String())
	require.NoFileExists(t, c.Export)
}
