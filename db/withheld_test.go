package db_test

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Where tokens are kept as digests alone, a caller whose token stands in the name or account too is not served: the document would not tell
// what the columns say, and the next gate could not close what a crash left open, nor begin.
//
// Holds: REC-04, F3
func TestREC_04_NoColumnTellsATokenThatIsWithheld(t *testing.T) {
	const token = "abcdefghijklmnopqrstuv"
	for name, change := range map[string]func(*mpic.Attempt){
		"the name":                     func(a *mpic.Attempt) { a.Probe.Request.Identifier = token + ".example.com" },
		"the account":                  func(a *mpic.Attempt) { a.Probe.Request.AccountURI = "https://ca.example/" + token },
		"the account, percent-encoded": func(a *mpic.Attempt) { a.Probe.Request.AccountURI = "https://ca.example/%61" + token[1:] },
		"the caller":                   func(a *mpic.Attempt) { a.Caller = "rest:" + token },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "records.db")
			s, err := db.Open(t.Context(), db.Config{Path: path, TokenDigests: true})
			require.NoError(t, err)
			a := dbtest.Attempt("A1", "example.com", mpic.Issuance)
			a.Probe.Request.Token, a.Probe.Request.KeyAuthorization = token, token+".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
			change(&a)
			_, err = s.Journal().Open(t.Context(), a, dbtest.Roster())
			require.ErrorIs(t, err, db.ErrMismatch)
			_, err = s.Journal().Open(t.Context(), dbtest.Attempt("A2", "example.com", mpic.Issuance), dbtest.Roster())
			require.NoError(t, err)
			require.NoError(t, s.Close())

			s, err = db.Open(t.Context(), db.Config{Path: path, TokenDigests: true})
			require.NoError(t, err, "it closes what is open")
			r, err := s.Attempt(t.Context(), "A2")
			require.NoError(t, err)
			require.Equal(t, db.Refused, r.Outcome)
			require.NoError(t, s.Close())
		})
	}
}

// A remote that writes the token in the place of a code has it in no column, and what the columns say is what the documents say.
//
// Holds: REC-04, REC-01
func TestREC_04_NoCodeIsAToken(t *testing.T) {
	for _, digests := range []bool{false, true} {
		for name, code := range map[string]string{"as it is": "x.abcdefghijklmnopqrstuv", "hexadecimal": "x." + hex.EncodeToString([]byte("abcdefghijklmnopqrstuv")), "alone": "abcdefghijklmnopqrstuv",
			"long": "x." + strings.Repeat("y", 60)} {
			t.Run(fmt.Sprintf("digests %v, %s", digests, name), func(t *testing.T) {
				s, err := db.Open(t.Context(), db.Config{Path: filepath.Join(t.TempDir(), "records.db"), TokenDigests: digests, Now: dbtest.Clock()})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
				a := dbtest.Attempt("A1", "example.com", mpic.Issuance)
				const token = "abcdefghijklmnopqrstuv"
				a.Probe.Request.Token, a.Probe.Request.KeyAuthorization = token, token+".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
				e := dbtest.Evidence(t, a)
				r := dbtest.Report(t, a.Probe, "tokyo")
				r.DCV = va.DCVFinding{Outcome: va.Fail, Problem: &va.Problem{Code: code, Detail: "the body is another"}, Queried: a.Probe.Request.Queried()}
				e.Remotes[1] = dbtest.Attestation(t, "tokyo", r, e.Remotes[1].Asked, e.Remotes[1].Closed)
				dbtest.Record(t, s, e)
				record, err := s.Attempt(t.Context(), "A1")
				require.NoError(t, err)
				require.Equal(t, "tokyo", record.Perspectives[2].Name)
				require.Equal(t, "fail", record.Perspectives[2].DCV)
				require.Equal(t, "unnamed", record.Perspectives[2].DCVCode)
				_, err = s.Verify(t.Context(), db.VerifyConfig{Finding: func(f db.Finding) { require.NotEqual(t, audit.Rows, f.Check, f.Detail) }})
				require.NoError(t, err)
			})
		}
	}
}
