package bundle_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
)

// Whatever the octets are, a bundle whose records are not those that were exported does not hold, and nothing fails on the way.
func FuzzBundle(f *testing.F) {
	s, err := db.Open(f.Context(), db.Config{Path: filepath.Join(f.TempDir(), "records.db"), Now: dbtest.Clock()})
	require.NoError(f, err)
	w := populate(f, s)
	file, _ := w.export(f, bundle.Config{Selection: bundle.Selection{Filter: db.Filter{Outcome: db.Refused}}})
	// What runs beside the fuzzer would look to it like something that it found.
	require.NoError(f, w.publisher.Close(f.Context()))
	require.NoError(f, s.Close())
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add(file[:1024])
	f.Add([]byte{})
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, octets []byte) {
		sum, _, err := bundle.Verify(t.Context(), bytes.NewReader(octets), int64(len(octets)),
			db.VerifyConfig{Depth: db.DepthDecisions, LogKey: w.key, Workers: 1})
		require.NoError(t, err)
		if sum.Findings == 0 { // the manifest is the exporter's own word: all before it is not
			require.True(t, bytes.HasPrefix(octets, file[:bytes.LastIndex(file, []byte("manifest.json"))]))
		}
	})
}

// A document that unpacks to more than any record is not unpacked: it is in no log, and if it were, there is a limit.
func TestNoDocumentUnpacksWithoutLimit(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	file, m := w.export(t, bundle.Config{Selection: bundle.Selection{Filter: db.Filter{Outcome: db.Refused}}})
	e, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	bomb := e.EncodeAll(make([]byte, 300<<20), nil) // db reads 256 MiB
	require.Less(t, len(bomb), 1<<20)
	all := unpack(t, file)
	for i := range all {
		if all[i].name == "attempts/2/intent.json.zst" {
			all[i].octets = bomb
		}
	}
	allocated := testing.AllocsPerRun(1, func() {
		_, found := w.verify(t, consistent(t, all, m))
		require.NotEmpty(t, found)
	})
	require.Less(t, allocated, 1e6)
	_, err = db.Document{Bytes: bomb}.Text()
	require.ErrorIs(t, err, db.ErrDamaged)

	// A header may name any length; what is not there is not read.
	long := bytes.Replace(file, []byte("00000000000\x00"), []byte("77777777777\x00"), 1)
	_, found := w.verify(t, long)
	require.NotEmpty(t, found)
}
