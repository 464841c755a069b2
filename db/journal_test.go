package db_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Documents are written in one pass, with the same text as encoding/json gives.
func TestDocumentsAreTheTextOfEncodingJSON(t *testing.T) {
	attempt := dbtest.Attempt("A1", "example.com", mpic.Issuance)
	attempt.Software = `quorate <"&\u2028`
	whole := dbtest.Evidence(t, attempt)
	odd := dbtest.Evidence(t, attempt)
	r := dbtest.Report(t, attempt.Probe, "zurich")
	r.DCV.Problem = &va.Problem{Code: "x", Detail: "<a href=\"x\">&\u2028\x00\xff"}
	r.DCV.Outcome = va.Fail
	dbtest.SetPrimary(t, &odd, r)
	odd.Remotes[0] = dbtest.Attestation(t, "ashburn", r, attempt.Started, attempt.Started)
	dbtest.Silent(&odd, 1, mpic.Outstanding)
	dbtest.Silent(&odd, 2, mpic.Rejected)
	odd.Remotes[2].Signed = "eyJhIjoxfQ.eyJ<b>.&"
	dbtest.Silent(&odd, 3, mpic.Rejected)
	odd.Remotes[3].Signed = whole.Remotes[3].Signed
	odd.Remotes[4].Reply = nil // the report is there, and nothing says that it is the one that was signed
	nobody := mpic.Evidence{Attempt: attempt, Roster: dbtest.Roster()}
	for name, e := range map[string]mpic.Evidence{"all answered": whole, "some did not": odd, "none was asked": dbtest.NotAsked(attempt, dbtest.Roster()),
		"abandoned": mpic.AbandonedEvidence(attempt, dbtest.Roster(), attempt.Started), "nobody": nobody} {
		t.Run(name, func(t *testing.T) {
			for _, late := range append(e.Remotes, mpic.Attestation{State: mpic.TimedOut}) {
				written, marshalled, err := db.Texts(e, mpic.Judge(e), late)
				require.NoError(t, err)
				require.Equal(t, marshalled, written)
			}
		})
	}
}

// An attempt that another process opened, or this one long ago, is read from the database: what holds for it is the same.
//
// Holds: REC-01, REC-04
func TestREC_01_WhatIsNotRememberedIsRead(t *testing.T) {
	for _, remembered := range []bool{true, false} {
		t.Run(fmt.Sprintf("remembered=%v", remembered), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "records.db")
			s := openStore(t, path)
			forget := func() {
				if !remembered {
					s.ForgetOpened()
				}
			}
			e := dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance))
			late := e.Remotes[4]
			dbtest.Silent(&e, 4, mpic.Outstanding)
			_, err := s.Journal().Open(t.Context(), e.Attempt, e.Roster)
			require.NoError(t, err)
			forget()
			for name, change := range map[string]func(*mpic.Evidence){
				"another caller":        func(e *mpic.Evidence) { e.Attempt.Caller = "rest:ra-2" },
				"another token":         func(e *mpic.Evidence) { e.Attempt.Probe.Request.Token += "A" },
				"another place":         func(e *mpic.Evidence) { e.Roster.Primary.Place.Latitude++ },
				"another place, remote": func(e *mpic.Evidence) { e.Roster = dbtest.Roster(); e.Roster.Remotes[0].Title = "another" },
			} {
				other := e
				change(&other)
				require.ErrorIs(t, s.Journal().Close(t.Context(), other, mpic.Judge(other)), db.ErrMismatch, name)
			}
			require.Error(t, s.Journal().Late(t.Context(), e.Attempt, late), "the attempt is open")
			require.NoError(t, s.Journal().Close(t.Context(), e, mpic.Judge(e)))
			require.ErrorIs(t, s.Journal().Close(t.Context(), e, mpic.Judge(e)), db.ErrDecided)
			const before = `INSERT INTO late_reports (attempt, leaf, perspective, role, state, recorded_at, document, sha256)
				SELECT attempt, leaf + %d, 'helsinki', 'remote', 'answered', decided_at, document, sha256 FROM decisions`
			tx, err := hand(t, path, "").Begin()
			require.NoError(t, err)
			_, err = tx.Exec(fmt.Sprintf(before, -1))
			require.ErrorContains(t, err, "still open", "its line stands before the decision's")
			_, err = tx.Exec(fmt.Sprintf(before, 1))
			require.NoError(t, err, "it is the line that is refused")
			require.NoError(t, tx.Rollback())
			other := e.Attempt
			other.Probe.Request.Token = "AAAAAAAAAAAAAAAAAAAAAA"
			require.ErrorIs(t, s.Journal().Late(t.Context(), other, late), db.ErrMismatch)
			require.NoError(t, s.Journal().Late(t.Context(), e.Attempt, late))
			require.Error(t, s.Journal().Late(t.Context(), e.Attempt, late), "twice")
			unknown := dbtest.Attempt("A2", "example.com", mpic.Issuance)
			require.ErrorIs(t, s.Journal().Late(t.Context(), unknown, late), db.ErrNotFound)
			dbtest.Whole(t, s)
		})
	}
}

// What this gate remembers of an attempt that it opened says nothing about whether another gate has closed it meanwhile, as it does where it
// takes this one for dead; nor whether a late reply is on record.
//
// Holds: F3, REC-05
func TestF3_WhatAnotherGateClosedIsNotClosedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	one, other := openStore(t, path), openStore(t, path)
	e := dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance))
	late := e.Remotes[4]
	dbtest.Silent(&e, 4, mpic.Outstanding)
	number, err := one.Journal().Open(t.Context(), e.Attempt, e.Roster)
	require.NoError(t, err)

	abandoned := mpic.AbandonedEvidence(e.Attempt, e.Roster, e.Attempt.Started)
	require.NoError(t, other.Journal().Close(t.Context(), abandoned, mpic.Judge(abandoned)))
	d := mpic.Judge(e)
	require.True(t, d.Granted())
	require.ErrorIs(t, one.Journal().Close(t.Context(), e, d), db.ErrDecided)
	r, err := one.Attempt(t.Context(), "A1")
	require.NoError(t, err)
	require.Equal(t, number, r.Number)
	require.Equal(t, db.Refused, r.Outcome)

	require.NoError(t, other.Journal().Late(t.Context(), e.Attempt, late))
	require.Error(t, one.Journal().Late(t.Context(), e.Attempt, late))
	next, err := one.Journal().Open(t.Context(), dbtest.Attempt("A2", "example.com", mpic.Issuance), e.Roster)
	require.NoError(t, err)
	require.Equal(t, number+1, next)
	dbtest.Whole(t, other)
}
