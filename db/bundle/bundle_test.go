package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
)

// Holds: REC-04, REC-06
func TestREC_06_ABundleHoldsOnBothEngines(t *testing.T) {
	for name, open := range map[string]func(t testing.TB) *db.Store{
		"SQLite":   func(t testing.TB) *db.Store { return sqlite(t, nil) },
		"Postgres": onPostgres,
	} {
		t.Run(name, func(t *testing.T) {
			w := populate(t, open(t))
			file, m := w.export(t, bundle.Config{})
			require.Equal(t, bundle.Counts{Attempts: 6, Open: 1, LateReplies: 1, Permits: 2, Certificates: 2, RRsets: 2}, m.Counts)
			require.Equal(t, "1-6", m.Selected)
			require.Empty(t, m.Beside)
			sum, found := w.verify(t, file)
			require.Empty(t, found)
			require.EqualValues(t, 6, sum.Records)
			require.EqualValues(t, 1, sum.Open)
			require.EqualValues(t, 2, sum.Permits)
			require.EqualValues(t, 2, sum.Certificates)
			require.Equal(t, m.Size, sum.Lines)
			require.Equal(t, m.Root, sum.Root)
			require.Positive(t, sum.Replies)
			again, _ := w.export(t, bundle.Config{})
			require.True(t, bytes.Equal(file, again), "the same selection gives the same octets")

			// Each document is the stored one, and its digest that of its line in the log.
			for _, p := range unpack(t, file) {
				document, ok := strings.CutSuffix(p.name, ".json.zst")
				if !ok {
					continue
				}
				i := slices.IndexFunc(unpack(t, file), func(q part) bool { return q.name == document+".proof" })
				require.GreaterOrEqual(t, i, 0, p.name)
				sum := sha256.Sum256(p.octets)
				require.Contains(t, string(unpack(t, file)[i].octets), "sha256 "+hex.EncodeToString(sum[:])+"\n", p.name)
			}
		})
	}
}

func TestSelections(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	issued, err := w.store.Certificates(t.Context(), db.CertificateFilter{})
	require.NoError(t, err)
	require.Len(t, issued, 2)
	for name, c := range map[string]struct {
		selection                         bundle.Selection
		selected, beside, permits, issued string
	}{
		"one name, which two permits rest on": {bundle.Selection{Filter: db.Filter{Name: "example.com"}}, "1-4", "5", "1-2", "1-2"},
		"refused":                             {bundle.Selection{Filter: db.Filter{Outcome: db.Refused}}, "2", "", "", ""},
		"nothing rests on it":                 {bundle.Selection{Filter: db.Filter{Name: "example.net"}}, "6", "", "", ""},
		"a certificate":                       {bundle.Selection{Certificates: []string{issued[1].Certificate.SHA256}}, "1,5", "", "2", "2"},
		"a serial number, in another spelling": {bundle.Selection{Certificates: []string{"00:" + strings.ToUpper(issued[0].Certificate.Serial)}},
			"1", "", "1", "1"},
		"two certificates": {bundle.Selection{Certificates: []string{issued[1].Certificate.Serial, issued[0].Certificate.SHA256}}, "1,5", "", "1-2", "1-2"},
		"before a number":  {bundle.Selection{Filter: db.Filter{BeforeNumber: 3, Limit: 1}}, "1-2", "5", "1-2", "1-2"},
	} {
		t.Run(name, func(t *testing.T) {
			file, m := w.export(t, bundle.Config{Selection: c.selection})
			require.Equal(t, c.selected, m.Selected)
			require.Equal(t, c.beside, m.Beside)
			require.Equal(t, c.permits, m.Permits)
			require.Equal(t, c.issued, m.Issued)
			_, found := w.verify(t, file)
			require.Empty(t, found)
		})
	}
	for name, c := range map[string]bundle.Selection{
		"no such name":        {Filter: db.Filter{Name: "nobody.example"}},
		"no such certificate": {Certificates: []string{"ab12"}},
		"both":                {Certificates: []string{"ab12"}, Filter: db.Filter{Name: "example.com"}},
		"no outcome":          {Filter: db.Filter{Outcome: "perhaps"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.Write(t.Context(), w.store, io.Discard, bundle.Config{Selection: c})
			require.Error(t, err)
		})
	}
}

// Holds: REC-06
func TestREC_06_WhatIsDamagedIsNotExported(t *testing.T) {
	file := filepath.Join(t.TempDir(), "records.db")
	w := populate(t, sqlite(t, func(c *db.Config) { c.Path = file }))
	byHand(t, file, `UPDATE decisions SET document = x'00' WHERE attempt = 5`)
	_, err := bundle.Write(t.Context(), w.store, io.Discard, bundle.Config{})
	require.ErrorIs(t, err, db.ErrDamaged)
	require.ErrorContains(t, err, "record 5")
	err = bundle.Table(t.Context(), w.store, io.Discard, bundle.TableConfig{Format: bundle.CSV})
	require.ErrorContains(t, err, "record 5")
}

// What is due is exported, proven, then removed: the log stays whole without it, and the bundle holds as before.
//
// Holds: REC-04
func TestREC_04_WhatWasRemovedIsInTheExport(t *testing.T) {
	calendar := dbtest.NewCalendar()
	s := sqlite(t, func(c *db.Config) { c.Now, c.SegmentLines = calendar.Now, 5 })
	w := populate(t, s)
	calendar.Set(created.AddDate(5, 0, 0))
	due, err := s.Due(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 5}, []int64{due.First, due.Past}, "the open attempt ends what is due")
	file, m := w.export(t, bundle.Config{Selection: bundle.Selection{Filter: db.Filter{BeforeLeaf: due.Past}}})
	require.Equal(t, "1-2", m.Selected)
	_, found := w.verify(t, file)
	require.Empty(t, found)
	removed, err := s.Remove(t.Context(), db.Removed{Due: due, Export: fmt.Sprintf("%x", sha256.Sum256(file)), Proven: calendar.Now(), By: "test"})
	require.NoError(t, err)
	require.EqualValues(t, 1, removed.Rows["attempts"], "the first attempt's certificate is beyond the segment")
	_, err = s.Attempt(t.Context(), "REFUSED")
	require.ErrorIs(t, err, db.ErrNotFound)
	var all []db.Finding
	_, err = s.Verify(t.Context(), db.VerifyConfig{Depth: db.DepthDecisions, LogKey: w.key, Held: [][]byte{w.early},
		Finding: func(f db.Finding) { all = append(all, f) }})
	require.NoError(t, err)
	require.Empty(t, all)
	_, found = w.verify(t, file)
	require.Empty(t, found)
}
