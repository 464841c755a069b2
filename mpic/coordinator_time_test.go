package mpic

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

const ms = time.Millisecond

type ds = []time.Duration

// after has each remote reply honestly after its delay, and the primary after its own.
func (s *scene) after(primary time.Duration, remotes ...time.Duration) {
	s.check = func(_ context.Context, p va.Probe) va.Report {
		time.Sleep(primary)
		return passing(s.t, p, "zurich")
	}
	for i, d := range remotes {
		s.remotes[i].attest = honest(s.t, s.remotes[i].member.Name, d)
	}
}

func states(e Evidence) []State {
	var out []State
	for _, a := range e.Remotes {
		out = append(out, a.State)
	}
	return out
}

// Holds: MPIC-01, MPIC-03
func TestCoordinatorAnswersWhenTheQuorumIsThere(t *testing.T) {
	for name, c := range map[string]struct {
		primary time.Duration
		remotes ds
		grace   time.Duration
		takes   time.Duration
		quorum  string
		states  []State
		late    int
	}{
		"at the fourth of five": {100 * ms, ds{500 * ms, 200 * ms, 400 * ms, 300 * ms, 9 * time.Second}, 0,
			500 * ms, "4/5", []State{Answered, Answered, Answered, Answered, Outstanding}, 1},
		"at the primary, when it is the slower": {700 * ms, ds{500 * ms, 200 * ms, 400 * ms, 300 * ms, 9 * time.Second}, 0,
			700 * ms, "4/5", []State{Answered, Answered, Answered, Answered, Outstanding}, 1},
		"with all, when they come in the grace": {100 * ms, ds{500 * ms, 200 * ms, 400 * ms, 300 * ms, 900 * ms}, time.Second,
			900 * ms, "5/5", []State{Answered, Answered, Answered, Answered, Answered}, 0},
		"at the end of the grace": {100 * ms, ds{500 * ms, 200 * ms, 400 * ms, 300 * ms, 9 * time.Second}, time.Second,
			1500 * ms, "4/5", []State{Answered, Answered, Answered, Answered, Outstanding}, 1},
		"with all that are there at once": {100 * ms, ds{100 * ms, 100 * ms, 100 * ms, 100 * ms, 100 * ms}, ms,
			100 * ms, "5/5", []State{Answered, Answered, Answered, Answered, Answered}, 0},
		"with one that never replies": {100 * ms, ds{500 * ms, 200 * ms, 400 * ms, 300 * ms, time.Hour}, 0,
			500 * ms, "4/5", []State{Answered, Answered, Answered, Answered, Outstanding}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, fiveRegions(), december)
				s.config.GrantGrace = c.grace
				s.after(c.primary, c.remotes...)
				co := s.coordinator()
				began := time.Now()
				r := s.validate(co)
				require.True(t, r.Decision.Granted())
				require.Equal(t, c.takes, time.Since(began))
				require.Equal(t, c.quorum, r.Decision.DCV().String())
				require.Equal(t, c.states, states(r.Evidence))
				s.close(co)
				require.Len(t, s.ledger.late, c.late)
				require.Equal(t, s.ledger.closed[r.Evidence.Attempt.ID()].decision, r.Decision, "a late reply changes no decision")
				for i, a := range s.ledger.late {
					require.Equal(t, "helsinki", a.Perspective)
					require.Equal(t, Answered, a.State)
					require.Equal(t, c.remotes[4], a.Closed.Sub(a.Asked))
					require.Equal(t, r.Evidence.Attempt.ID(), s.ledger.lateOf[i])
				}
			})
		})
	}
}

// Holds: CAA-08, F3
func TestCoordinatorWaitsForEveryViewBeforeItRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		grace, takes time.Duration
		states       []State
	}{
		"all views come in the grace": {0, 1000 * ms, []State{Answered, Answered, Answered, Answered, Answered}},
		"the grace is short":          {200 * ms, 300 * ms, []State{Answered, Answered, Outstanding, Outstanding, Outstanding}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, fiveRegions(), december)
				s.config.RefusalGrace = c.grace
				s.after(100*ms, 0, 0, time.Second, time.Second, time.Second)
				s.remotes[0].attest = failing(t, "ashburn", 10*ms)
				s.remotes[1].attest = failing(t, "tokyo", 10*ms)
				co := s.coordinator()
				began := time.Now()
				r := s.validate(co)
				require.False(t, r.Decision.Granted())
				require.Equal(t, c.takes, time.Since(began))
				require.Equal(t, c.states, states(r.Evidence))
				s.close(co)
			})
		})
	}
	t.Run("a refusal that is certain still waits for the primary", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, fiveRegions(), december)
			s.after(8 * time.Second)
			for _, f := range s.remotes {
				f.attest = failing(t, f.member.Name, 0)
			}
			co := s.coordinator()
			began := time.Now()
			r := s.validate(co)
			require.Equal(t, 8*time.Second, time.Since(began))
			require.Equal(t, va.Pass, r.Decision.Views()[0].DCV)
			s.close(co)
		})
	})
	t.Run("it is not certain while those awaited could make the quorum", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, fiveRegions(), december)
			s.after(100*ms, 0, 7*time.Second, 0, 0, 0)
			s.remotes[0].attest = failing(t, "ashburn", 10*ms)
			co := s.coordinator()
			began := time.Now()
			require.True(t, s.validate(co).Decision.Granted())
			require.Equal(t, 7*time.Second, time.Since(began))
			s.close(co)
		})
	})
}

// Holds: MPIC-03, F3
func TestCoordinatorDecidesAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.config.Deadline = 5 * time.Second
		s.after(100*ms, time.Minute, time.Minute, 0, 0, 0) // two that ignore the end of their time
		co := s.coordinator()
		began := time.Now()
		r := s.validate(co)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.False(t, r.Decision.Granted())
		require.Equal(t, []State{TimedOut, TimedOut, Answered, Answered, Answered}, states(r.Evidence))
		require.Equal(t, "perspective.timeout", r.Evidence.Remotes[0].Problem.Code)
		require.Equal(t, 5*time.Second, r.Evidence.Attempt.Probe.Deadline.Sub(r.Evidence.Attempt.Started))

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, co.Close(short), context.DeadlineExceeded, "they are still at work")
		s.close(co)
		require.Equal(t, time.Minute, time.Since(began), "Close waits for those who do not heed the deadline")
		require.Len(t, s.ledger.late, 2, "and what they said in the end is on record")
	})
	t.Run("a remote that heeds it has nothing late to say", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, fiveRegions(), december)
			s.remotes[0].attest, s.remotes[1].attest = mute("ashburn"), mute("tokyo")
			co := s.coordinator()
			began := time.Now()
			r := s.validate(co)
			require.Equal(t, DefaultDeadline, time.Since(began))
			require.Equal(t, []State{TimedOut, TimedOut, Answered, Answered, Answered}, states(r.Evidence))
			s.close(co)
			require.Empty(t, s.ledger.late)
		})
	})
	t.Run("a primary that does not come to an end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, fiveRegions(), december)
			s.after(time.Minute)
			co := s.coordinator()
			began := time.Now()
			r := s.validate(co)
			require.Equal(t, DefaultDeadline, time.Since(began))
			require.Equal(t, []string{"perspective.timeout", "perspective.timeout"}, codes(r.Decision))
			require.Equal(t, va.Error, r.Evidence.Primary.Report().DCV.Outcome)
			s.close(co)
			require.Contains(t, s.log.String(), "the primary came to a result after the deadline")
		})
	})
}

// Holds: REC-05
func TestALateReplyThatCannotBeRecordedIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.after(0, 0, 0, 0, 0, time.Second)
		s.ledger.failLog = errors.New("disk full")
		co := s.coordinator()
		require.True(t, s.validate(co).Decision.Granted())
		s.close(co)
		require.Contains(t, s.log.String(), "disk full")
	})
}

// broken is a Journal with a fault in its program.
type broken struct{ *ledger }

func (broken) Late(context.Context, Attempt, Attestation) error { panic("index out of range") }

// TestAFaultAfterTheDecisionEndsNothing: nobody calls the goroutine that records late replies, so nobody would recover it.
func TestAFaultAfterTheDecisionEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.config.Journal = broken{s.ledger}
		s.after(0, 0, 0, 0, 0, time.Second)
		co := s.coordinator()
		require.True(t, s.validate(co).Decision.Granted())
		s.close(co)
		require.Contains(t, s.log.String(), "index out of range")
	})
}

// Holds: REC-05
func TestAJournalThatHangsIsNotWaitedForWithoutEnd(t *testing.T) {
	for name, hang := range map[string]func(*ledger){
		"at the opening": func(l *ledger) { l.hangOpen = true },
		"at the closing": func(l *ledger) { l.hangClose = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, fiveRegions(), december)
				hang(s.ledger)
				co := s.coordinator()
				began := time.Now()
				r, err := co.Validate(t.Context(), Issuance, "test:1", request(va.HTTP01, s.start))
				require.ErrorIs(t, err, ErrRecord)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.False(t, r.Decision.Granted())
				require.Equal(t, recordTime, time.Since(began))
				s.close(co)
			})
		})
	}
}
