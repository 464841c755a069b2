package db_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/postgres"
	"github.com/stretchr/testify/require"
)

// BenchmarkAttempts is Open and Close of a granted attempt with five remotes, each durable, on each engine; BenchmarkLate of one that
// was decided upon four, and the fifth one's late reply. cpu-us/attempt is the CPU time of this process, server-us/attempt that of
// the database server.
func BenchmarkAttempts(b *testing.B) { benchEngines(b, false) }

func BenchmarkLate(b *testing.B) { benchEngines(b, true) }

func benchEngines(b *testing.B, late bool) {
	for _, engine := range []struct {
		name string
		open func(b *testing.B) benchStore
	}{{"sqlite", sqliteBench}, {"postgres", postgresBench}} {
		for _, inFlight := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("%s/inflight=%d", engine.name, inFlight), func(b *testing.B) {
				s := engine.open(b)
				benchAttempts(b, s, inFlight, late)
				b.ReportMetric(float64(s.size())/float64(b.N), "B/record")
			})
		}
	}
}

// benchStore is a store with the size of its database and the CPU time of its server.
type benchStore struct {
	*db.Store
	size   func() int64
	server func() time.Duration
}

func sqliteBench(b *testing.B) benchStore {
	path := filepath.Join(b.TempDir(), "records.db")
	s := openStore(b, path)
	return benchStore{s, func() int64 {
		require.NoError(b, s.Close()) // the last connection to close brings the WAL into the file
		info, err := os.Stat(path)
		require.NoError(b, err)
		return info.Size()
	}, func() time.Duration { return 0 }}
}

func postgresBench(b *testing.B) benchStore {
	server := postgres.Shared(b)
	name := databaseName(b) + fmt.Sprint(b.N)
	owner := migrated(b, server, name)
	s, err := db.Open(b.Context(), db.Config{Postgres: server.DSN(gateUser, name)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return benchStore{s, func() (size int64) {
		require.NoError(b, pgHand(b, owner).QueryRow(`SELECT pg_database_size(current_database())`).Scan(&size))
		return size
	}, func() time.Duration { return server.CPUTime(b) }}
}

func benchAttempts(b *testing.B, s benchStore, inFlight int, late bool) {
	evidence := make([]mpic.Evidence, b.N)
	decisions := make([]mpic.Decision, b.N)
	lates := make([]mpic.Attestation, b.N)
	for i := range evidence {
		evidence[i] = dbtest.Evidence(b, dbtest.Attempt(fmt.Sprintf("A%d", i), "example.com", mpic.Issuance))
		if late {
			last := len(evidence[i].Remotes) - 1
			lates[i] = evidence[i].Remotes[last]
			dbtest.Silent(&evidence[i], last, mpic.Outstanding)
		}
		decisions[i] = mpic.Judge(evidence[i])
	}
	runtime.GC()
	own, server := cpuTime(b), s.server()
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
				if err == nil && late {
					err = s.Journal().Late(b.Context(), evidence[i].Attempt, lates[i])
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
	b.ReportMetric(float64((cpuTime(b)-own).Microseconds())/float64(b.N), "cpu-us/attempt")
	b.ReportMetric(float64((s.server()-server).Microseconds())/float64(b.N), "server-us/attempt")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "attempts/s")
}

// cpuTime is this process's so far.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
