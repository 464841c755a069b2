package db_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/va/dnssec"
)

// One remote's reply has room for twenty thousand sets of DNS records. They must not keep the writer for as long as a transaction may
// take, for then the calls beside them are refused too; and each is stored once, whichever are there already.
//
// Holds: REC-05
func TestREC_05_ManyRecordsOfOneReplyStopNobody(t *testing.T) {
	for name, s := range map[string]*db.Store{"SQLite": openStore(t, filepath.Join(t.TempDir(), "records.db")), "Postgres": postgresEngine(t).Store} {
		t.Run(name, func(t *testing.T) {
			some, all := dnssec.Sets{}, dnssec.Sets{}
			for i := range 40_000 {
				octets := fmt.Appendf(nil, "record %d", i)
				sum := sha256.Sum256(octets)
				all[hex.EncodeToString(sum[:])] = octets
				if i%1000 == 0 {
					some[hex.EncodeToString(sum[:])] = octets
				}
			}
			require.NoError(t, s.KeepSets(t.Context(), some))
			require.NoError(t, s.KeepSets(t.Context(), all))
			require.NoError(t, s.KeepSets(t.Context(), all))
			var stored int
			require.NoError(t, s.Readers().QueryRow(`SELECT count(*) FROM rrsets`).Scan(&stored))
			require.Equal(t, len(all), stored)
		})
	}
}
