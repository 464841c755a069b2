package db_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/postgres"
	"github.com/stretchr/testify/require"
)

// BenchmarkAttempts is Open and Close of a granted attempt with five remotes, each durable, on each engine.
func BenchmarkAttempts(b *testing.B) {
	for _, engine := range []struct {
		name string
		open func(b *testing.B) (s *db.Store, size func() int64)
	}{{"sqlite", sqliteBench}, {"postgres", postgresBench}} {
		for _, inFlight := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("%s/inflight=%d", engine.name, inFlight), func(b *testing.B) {
				s, size := engine.open(b)
				benchAttempts(b, s, inFlight)
				b.ReportMetric(float64(size())/float64(b.N), "B/record")
			})
		}
	}
}

func sqliteBench(b *testing.B) (*db.Store, func() int64) {
	path := filepath.Join(b.TempDir(), "records.db")
	s := openStore(b, path)
	return s, func() int64 {
		require.NoError(b, s.Close()) // the last connection to close brings the WAL into the file
		info, err := os.Stat(path)
		require.NoError(b, err)
		return info.Size()
	}
}

func postgresBench(b *testing.B) (*db.Store, func() int64) {
	server := postgres.Shared(b)
	name := databaseName(b) + fmt.Sprint(b.N)
	owner := migrated(b, server, name)
	s, err := db.Open(b.Context(), db.Config{Postgres: server.DSN(gateUser, name)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s, func() (size int64) {
		require.NoError(b, pgHand(b, owner).QueryRow(`SELECT pg_database_size(current_database())`).Scan(&size))
		return size
	}
}

func benchAttempts(b *testing.B, s *db.Store, inFlight int) {
	evidence := make([]mpic.Evidence, b.N)
	decisions := make([]mpic.Decision, b.N)
	for i := range evidence {
		evidence[i] = dbtest.Evidence(b, dbtest.Attempt(fmt.Sprintf("A%d", i), "example.com", mpic.Issuance))
		decisions[i] = mpic.Judge(evidence[i])
	}
	b.ResetTimer()
	var next atomic.Int64
	done := make(chan error)
	for range inFlight {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					done <- nil
					return
				}
				_, err := s.Journal().Open(b.Context(), evidence[i].Attempt, evidence[i].Roster)
				if err == nil {
					err = s.Journal().Close(b.Context(), evidence[i], decisions[i])
				}
				if err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range inFlight {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "attempts/s")
}
