package db_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// BenchmarkAttempts is Open and Close of a granted attempt with five remotes, each durable, at 1 and at 16 in flight.
func BenchmarkAttempts(b *testing.B) {
	for _, inFlight := range []int{1, 16} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "records.db")
			s := openStore(b, path)
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
			if err := s.Close(); err != nil { // the last connection to close brings the WAL into the file
				b.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/float64(b.N), "B/record")
		})
	}
}
