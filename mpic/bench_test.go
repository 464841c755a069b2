package mpic

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/va"
)

// BenchmarkJudge decides one attempt with five remotes, one of which failed.
func BenchmarkJudge(b *testing.B) {
	e := unanimous(b, fiveRegions(), december)
	e.Remotes[2] = silent(e.Remotes[2].Perspective)
	b.ReportAllocs()
	for b.Loop() {
		if !Judge(e).Granted() {
			b.Fatal("refused")
		}
	}
}

// BenchmarkJudgeMethods decides one attempt with five remotes that all agree, by each method.
func BenchmarkJudgeMethods(b *testing.B) {
	for _, method := range va.Methods() {
		b.Run(method.String(), func(b *testing.B) {
			e := unanimous(b, fiveRegions(), december)
			e.Attempt.Probe.Request = request(method, december)
			e = unanimousFor(b, e)
			b.ReportAllocs()
			for b.Loop() {
				if !Judge(e).Granted() {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkCoordinatorAdds measures what the coordinator adds to the slower of the primary and the remote that completes the
// quorum (the fourth of five): the time from the return of that one to the return of Validate. The journal is in memory.
func BenchmarkCoordinatorAdds(b *testing.B) {
	s := newScene(b, fiveRegions(), december)
	var mu sync.Mutex
	var returned []time.Time
	done := func() {
		mu.Lock()
		defer mu.Unlock()
		returned = append(returned, time.Now())
	}
	s.check = func(_ context.Context, p va.Probe) va.Report {
		r := passing(b, p, "zurich")
		time.Sleep(2 * time.Millisecond)
		done()
		return r
	}
	release := make(chan struct{}) // the fifth, which nobody waits for
	for i, f := range s.remotes {
		f.attest = func(_ context.Context, p va.Probe) Attestation {
			a := answered(f.member.Name, passing(b, p, f.member.Name))
			if i == 4 {
				<-release
				return a
			}
			time.Sleep(time.Duration(i+1) * time.Millisecond)
			done()
			return a
		}
	}
	c := s.coordinator()
	req := request(va.HTTP01, december)
	var added []time.Duration
	for b.Loop() {
		returned = returned[:0]
		r, err := c.Validate(context.Background(), Issuance, "bench:1", req)
		end := time.Now()
		if err != nil || !r.Decision.Granted() {
			b.Fatal(err, r.Decision.Reasons())
		}
		mu.Lock()
		added = append(added, end.Sub(slices.MaxFunc(returned, time.Time.Compare)))
		mu.Unlock()
	}
	b.StopTimer()
	close(release)
	s.close(c)
	slices.Sort(added)
	b.ReportMetric(float64(added[len(added)/2].Microseconds()), "added-µs-median")
	b.ReportMetric(float64(added[len(added)*99/100].Microseconds()), "added-µs-p99")
}

// BenchmarkCoordinator16 carries out attempts, 16 at a time, among perspectives that answer at once: the coordinator's own
// work per attempt.
func BenchmarkCoordinator16(b *testing.B) {
	s := newScene(b, fiveRegions(), december)
	c := s.coordinator()
	req := request(va.HTTP01, december)
	slots := make(chan struct{}, 16)
	var all sync.WaitGroup
	for b.Loop() {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if _, err := c.Validate(context.Background(), Issuance, "bench:1", req); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	s.close(c)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "attempts/s")
}
