package mpic

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
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

// shelf is a Journal that numbers attempts and keeps nothing.
type shelf struct{ number atomic.Int64 }

func (s *shelf) Open(context.Context, Attempt, Roster) (int64, error) { return s.number.Add(1), nil }
func (s *shelf) Close(context.Context, Evidence, Decision) error      { return nil }
func (s *shelf) Late(context.Context, Attempt, Attestation) error     { return nil }

// BenchmarkCarry carries attempts out, one after the other, with perspectives whose answers are there at once and have been read: the
// coordinator's own work, Judge, metrics and the line of the log included.
func BenchmarkCarry(b *testing.B) {
	s := newScene(b, fiveRegions(), december)
	req := request(va.DNS01, december)
	template := passing(b, va.Probe{Request: req, Deadline: december}, "")
	answer := func(p va.Probe, name string) va.Report {
		r := template
		r.Perspective, r.Attempt, r.Nonce, r.Digest, r.Sets = name, p.Attempt, p.Nonce, p.Digest(), dnssec.Sets{}
		return r
	}
	s.config.Journal, s.config.Logger = &shelf{}, slog.New(slog.NewJSONHandler(io.Discard, nil))
	var err error
	s.config.Metrics, err = NewMetrics(prometheus.NewRegistry())
	require.NoError(b, err)
	for i, f := range s.remotes {
		s.config.Remotes[i] = quick{f.member, func(p va.Probe) Attestation {
			return Attestation{Perspective: f.member.Name, State: Answered, Reply: &Reply{signed: "e30.e30.c2ln", report: answer(p, f.member.Name)}}
		}}
	}
	s.check = func(_ context.Context, p va.Probe) va.Report { return answer(p, "zurich") }
	c := s.coordinator()
	b.ReportAllocs()
	for b.Loop() {
		if r, err := c.Validate(context.Background(), Issuance, "bench:1", req); err != nil || !r.Decision.Granted() {
			b.Fatal(err, r.Decision.Reasons())
		}
	}
	s.close(c)
}

// quick is a Remote that answers at once.
type quick struct {
	member Member
	answer func(va.Probe) Attestation
}

func (q quick) Member() Member                                   { return q.member }
func (q quick) Attest(_ context.Context, p va.Probe) Attestation { return q.answer(p) }

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
