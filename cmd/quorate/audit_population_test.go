package main

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// TestAuditScripts runs testdata/audit beside a database with a granted attempt that has a permit, a precertificate and a certificate; one
// that CAA prevented; and one that is open.
//
// Holds: CAA-08, REC-04, DCV-03
func TestAuditScripts(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "records.db")
	s, err := db.Open(t.Context(), db.Config{Path: path})
	require.NoError(t, err)
	dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance)))
	forbidden := dbtest.Evidence(t, dbtest.Attempt("A2", "example.com", mpic.Issuance))
	r := forbidden.Primary.Report()
	r.CAA.Outcome, r.CAA.Permits, r.CAA.Records = va.Fail, "", []string{"example.com.\t300\tIN\tCAA\t0 issue \"other.example\""}
	r.CAA.Problem = &va.Problem{Code: "caa.forbidden", Detail: "the CAA records name other issuers"}
	dbtest.SetPrimary(t, &forbidden, r)
	dbtest.Record(t, s, forbidden)
	_, err = s.Journal().Open(t.Context(), dbtest.Attempt("A3", "example.net", mpic.Issuance), dbtest.Roster())
	require.NoError(t, err)
	p := dbtest.Permitted(t, s, "P1", dbtest.Started().Add(time.Minute), "example.com")
	dbtest.LinkedTo(t, s, p, 0xabc, dbtest.Precertificate)
	known := dbtest.LinkedTo(t, s, p, 0xabc, nil)
	require.NoError(t, s.Close())
	// The same template for another database: the same certificate with another serial number.
	elsewhere, err := db.Open(t.Context(), db.Config{Path: filepath.Join(dir, "elsewhere.db")})
	require.NoError(t, err)
	dbtest.Record(t, elsewhere, dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance)))
	unknown := dbtest.LinkedTo(t, elsewhere, dbtest.Permitted(t, elsewhere, "P1", dbtest.Started().Add(time.Minute), "example.com"), 0xdef, nil)
	require.NoError(t, elsewhere.Close())

	testscript.Run(t, testscript.Params{
		Dir: "testdata/audit",
		Setup: func(env *testscript.Env) error {
			env.Setenv("DATABASE", path)
			env.Setenv("KNOWN", known.SHA256)
			env.Setenv("UNKNOWN", unknown.SHA256)
			for name, der := range map[string][]byte{"known.pem": known.DER, "unknown.pem": unknown.DER} {
				text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), text, 0o600); err != nil {
					return err
				}
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "text.pem"), []byte("no certificate"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}
