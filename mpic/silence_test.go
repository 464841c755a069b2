package mpic

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// A remote that is silent keeps an attempt waiting for it long after the decision. What was decided upon is not kept for so long: at some
// hundred attempts a second it would fill the memory.
//
// Holds: D11
func TestASilentRemoteKeepsNoEvidence(t *testing.T) {
	s := newScene(t, fiveRegions(), december)
	heard := make(chan struct{})
	s.remotes[4].attest = func(_ context.Context, p va.Probe) Attestation {
		<-heard
		return answered("helsinki", passing(t, p, "helsinki"))
	}
	c := s.coordinator()
	attempt, primary, remote := func() (string, weak.Pointer[PrimaryReport], weak.Pointer[va.Report]) {
		r := s.validate(c)
		require.True(t, r.Decision.Granted())
		require.Equal(t, Outstanding, r.Evidence.Remotes[4].State)
		return r.Evidence.Attempt.ID(), weak.Make(r.Evidence.Primary), weak.Make(r.Evidence.Remotes[0].Report)
	}()
	s.ledger.mu.Lock()
	s.ledger.closed[attempt] = kept{} // the journal's own
	s.ledger.mu.Unlock()
	runtime.GC()
	runtime.GC()
	require.Nil(t, primary.Value())
	require.Nil(t, remote.Value())
	close(heard)
	s.close(c)
	require.Len(t, s.ledger.late, 1, "what it says at last is on record all the same")
	require.Equal(t, attempt, s.ledger.lateOf[0])
	require.Equal(t, Answered, s.ledger.late[0].State)
}

// Nor do questions to it pile up without end. One that it is not asked counts as its silence would: as a non-corroboration among those attempted.
//
// Holds: D11, MPIC-03, F3
func TestQuestionsToASilentRemoteAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.config.MaxInFlight = 1
		s.remotes[4].attest = mute("helsinki")
		c := s.coordinator()
		c.mostLate = 2
		for i := range 6 {
			r := s.validate(c)
			require.True(t, r.Decision.Granted(), "four of five suffice")
			require.Equal(t, "4/5", r.Decision.DCV().String(), "who was not asked counts as attempted")
			if i < 3 {
				require.Equal(t, Outstanding, r.Evidence.Remotes[4].State)
			}
		}
		require.Equal(t, 3, s.remotes[4].asked)

		// With another that fails nothing can be granted, and nobody waits for an answer that does not come.
		s.remotes[3].attest = failing(t, "johannesburg", 0)
		began := time.Now()
		r := s.validate(c)
		require.False(t, r.Decision.Granted())
		require.Equal(t, []string{"quorum.missed", "quorum.missed"}, codes(r.Decision))
		require.Equal(t, Unreachable, r.Evidence.Remotes[4].State)
		require.Equal(t, "perspective.unasked", r.Evidence.Remotes[4].Problem.Code)
		require.Contains(t, r.Evidence.Remotes[4].Problem.Detail, "3 probes to helsinki are unanswered")
		require.Zero(t, time.Since(began))

		// Those questions end with their deadlines, and then it is asked again.
		time.Sleep(DefaultDeadline)
		synctest.Wait()
		s.remotes[4].attest = honest(t, "helsinki", 0)
		r = s.validate(c)
		require.True(t, r.Decision.Granted())
		require.Equal(t, 4, s.remotes[4].asked)
		s.close(c)
	})
}

// All that may be in flight is asked of everybody, however many wait for one answer.
//
// Holds: MPIC-03
func TestWhatIsInFlightIsAskedOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.after(time.Second, time.Second, time.Second, time.Second, time.Second, time.Second)
		s.config.GrantGrace = time.Second
		c := s.coordinator()
		c.mostLate = 0
		var all sync.WaitGroup
		for range DefaultMaxInFlight {
			all.Go(func() { require.Equal(t, "5/5", s.validate(c).Decision.DCV().String()) })
		}
		all.Wait()
		s.close(c)
	})
}
