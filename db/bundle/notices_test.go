package bundle_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
)

// The notices of a refused attempt are in its bundle, proven like its other documents, and one that is missing or changed is found.
//
// Holds: CAA-09, REC-06
func TestCAA_09_NoticesAreInABundle(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	number := dbtest.Forbid(t, w.store, "FORBIDDEN")
	require.NoError(t, w.publisher.Publish(t.Context()))
	file, m := w.export(t, bundle.Config{Selection: bundle.Selection{Filter: db.Filter{Code: "caa.forbidden"}}})
	require.Equal(t, "7", m.Selected)
	require.EqualValues(t, 7, number)
	require.EqualValues(t, 4, m.Counts.Notices)
	_, found := w.verify(t, file)
	require.Empty(t, found)

	parts := unpack(t, file)
	var notices []string
	for _, p := range parts {
		if strings.HasPrefix(p.name, "attempts/7/notice-") && strings.HasSuffix(p.name, ".json.zst") {
			notices = append(notices, p.name)
		}
	}
	require.Len(t, notices, 4)
}
