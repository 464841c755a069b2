package bundle_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

func TestTables(t *testing.T) {
	for name, open := range map[string]func(t testing.TB) *db.Store{
		"SQLite":   func(t testing.TB) *db.Store { return sqlite(t, nil) },
		"Postgres": onPostgres,
	} {
		t.Run(name, func(t *testing.T) {
			w := populate(t, open(t))
			var lines, cells bytes.Buffer
			require.NoError(t, bundle.Table(t.Context(), w.store, &lines, bundle.TableConfig{Format: bundle.JSONL}))
			require.NoError(t, bundle.Table(t.Context(), w.store, &cells, bundle.TableConfig{Format: bundle.CSV}))
			var all []bundle.Line
			for text := range strings.Lines(lines.String()) {
				var l bundle.Line
				d := json.NewDecoder(strings.NewReader(text))
				d.DisallowUnknownFields()
				require.NoError(t, d.Decode(&l))
				all = append(all, l)
			}
			require.Len(t, all, 6)
			first := all[0]
			require.Equal(t, []int64{1, 2}, first.Permits)
			require.Len(t, first.Certificates, 2)
			require.Equal(t, "granted", first.Outcome)
			require.Equal(t, "exact", first.Scope)
			require.Equal(t, "3.2.2.4.19", first.Section)
			require.Equal(t, 1, first.LateReplies)
			require.Equal(t, bundle.LinePerspective{Name: "zurich", Role: "primary", Region: string(mpic.RIPE), State: "answered", DCV: "pass", CAA: "pass"},
				first.Perspectives[0])
			require.Equal(t, "open", all[3].Outcome)
			require.Nil(t, all[3].Decision)
			rows, err := csv.NewReader(&cells).ReadAll()
			require.NoError(t, err)
			require.Len(t, rows, 7)
			column := func(name string) int { return slices.Index(rows[0], name) }
			require.Equal(t, "1 2", rows[1][column("permits")])
			require.Equal(t, "http.mismatch", rows[2][column("zurich codes")])
			require.Equal(t, "pending", rows[4][column("tokyo state")])
			require.Equal(t, first.Decision.SHA256, rows[1][column("decision_sha256")])

			var none bytes.Buffer
			mistyped := bundle.TableConfig{Format: bundle.CSV, Selection: bundle.Selection{Filter: db.Filter{Name: "exmaple.com"}}}
			require.ErrorIs(t, bundle.Table(t.Context(), w.store, &none, mistyped), bundle.ErrNothing)
			require.Empty(t, none.String())
			require.NoError(t, bundle.Table(t.Context(), sqlite(t, nil), &none, bundle.TableConfig{Format: bundle.CSV}), "of an empty database")
			require.Equal(t, 1, strings.Count(none.String(), "\n"))
		})
	}
}

// Holds: REC-02
func TestCellsAreNoFormulas(t *testing.T) {
	s := sqlite(t, nil)
	for i, account := range []string{"=1+2", "+1", "-1", "@x", "\tx", "acct:1"} {
		a := dbtest.Attempt(fmt.Sprint("A", i), "example.com", mpic.Issuance)
		a.Probe.Request.AccountURI = account
		_, err := s.Journal().Open(t.Context(), a, dbtest.Roster())
		require.NoError(t, err)
	}
	var out bytes.Buffer
	require.NoError(t, bundle.Table(t.Context(), s, &out, bundle.TableConfig{Format: bundle.CSV}))
	rows, err := csv.NewReader(&out).ReadAll()
	require.NoError(t, err)
	column := slices.Index(rows[0], "account_uri")
	var got []string
	for _, r := range rows[1:] {
		got = append(got, r[column])
	}
	require.Equal(t, []string{"'=1+2", "'+1", "'-1", "'@x", "'\tx", "acct:1"}, got)
}
