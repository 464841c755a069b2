package bundle_test

import (
	"archive/tar"
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// That a log goes on from the auditor's checkpoint takes no key to prove: anybody can put lines of his own behind it. Such a bundle does not
// hold, and nothing in it is unpacked.
//
// Holds: REC-06
func TestREC_06_AContinuationThatNobodySignedDoesNotHold(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	newest, err := w.store.Checkpoint(t.Context())
	require.NoError(t, err)
	dbtest.Record(t, w.store, dbtest.Evidence(t, dbtest.Attempt("SEVEN", "example.info", mpic.Issuance)))
	file, m := w.export(t, bundle.Config{Unsigned: true, Held: [][]byte{newest.Note, w.early}})
	require.False(t, m.Signed)
	require.Len(t, m.Consistency, 2)
	for name, held := range map[string][][]byte{"one checkpoint": {newest.Note}, "several": {w.early, newest.Note}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			sum, found := w.verify(t, file, func(c *db.VerifyConfig) {
				c.Held = held
				c.Record = func(r db.Record, _ audit.Verdict) { t.Errorf("record %d was read", r.Number) }
			})
			require.Len(t, found, 1)
			require.Contains(t, found[0], "no checkpoint that the log's key signed stands behind this bundle")
			require.Zero(t, sum.Records)
			require.Zero(t, sum.Covered)
		})
	}
}

// Tar has headers of headers, which no reader shows as a member.
//
// Holds: REC-06
func TestREC_06_NothingHidesInFrontOfAMember(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	file, _ := w.export(t, bundle.Config{})
	for name, more := range map[string]func(*tar.Header){
		"a comment":         func(h *tar.Header) { h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{"comment": "hidden"} },
		"a name of its own": func(h *tar.Header) { h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{"QUORATE.x": "hidden"} },
	} {
		t.Run(name, func(t *testing.T) {
			for i, p := range unpack(t, file) {
				var out bytes.Buffer
				tw := tar.NewWriter(&out)
				for j, q := range unpack(t, file) {
					h := &tar.Header{Typeflag: tar.TypeReg, Name: q.name, Size: int64(len(q.octets)), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
					if i == j {
						more(h)
					}
					require.NoError(t, tw.WriteHeader(h))
					_, err := tw.Write(q.octets)
					require.NoError(t, err)
				}
				require.NoError(t, tw.Close())
				require.Contains(t, out.String(), "hidden")
				_, found := w.verify(t, out.Bytes())
				require.NotEmpty(t, found, p.name)
			}
		})
	}
}

// An attempt that stands there twice, with DNS records in between, is no second one.
//
// Holds: REC-06
func TestREC_06_NoAttemptCountsTwice(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	file, m := w.export(t, bundle.Config{})
	all := unpack(t, file)
	first := slices.IndexFunc(all, func(p part) bool { return strings.HasPrefix(p.name, "rrsets/") })
	set := all[first]
	all = slices.Delete(all, first, first+1)
	var again []part
	end := 0
	for i, p := range all {
		if strings.HasPrefix(p.name, "attempts/5/") || strings.HasPrefix(p.name, "attempts/6/") {
			again = append(again, p)
			end = i + 1
		}
	}
	all = slices.Insert(all, end, append([]part{set}, again...)...)
	m.Counts.Attempts += 2
	sum, found := w.verify(t, consistent(t, all, m))
	require.Contains(t, strings.Join(found, "\n"), "attempts/5/intent.json.zst does not stand in its place", "%d records", sum.Records)
}

// A manifest tells each condition by which records were chosen: whoever reads it must not take a part for all.
//
// Holds: REC-04
func TestREC_04_TheManifestNamesEachCondition(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	shadow := dbtest.Alone(dbtest.Attempt("SHADOW", "example.org", mpic.DCVAlone), mpic.DCVAlone)
	shadow.Shadow = true
	shadow.Probe.Request.Issuers = []string{"ca.example"}
	dbtest.Record(t, w.store, dbtest.Evidence(t, shadow))
	require.NoError(t, w.publisher.Publish(t.Context()))
	_, m := w.export(t, bundle.Config{Selection: bundle.Selection{Filter: db.Filter{Shadow: true}}})
	require.EqualValues(t, 1, m.Counts.Attempts)
	require.Equal(t, map[string]string{"shadow": "true"}, m.Filter)
}
