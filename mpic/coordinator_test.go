package mpic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/va"
)

// Holds: MPIC-02, MPIC-05, MPIC-06, MPIC-08, MPIC-12, F7, F8
func TestNewRefusesWhatCannotMeetTheRules(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Config)
		says  string
	}{
		"no journal":                {func(c *Config) { c.Journal = nil }, "no journal"},
		"no software":               {func(c *Config) { c.Software = "" }, "the software has no name"},
		"a short deadline":          {func(c *Config) { c.Deadline = time.Second - 1 }, "deadline of"},
		"a negative deadline":       {func(c *Config) { c.Deadline = -1 }, "deadline of"},
		"a long deadline":           {func(c *Config) { c.Deadline = 5*time.Minute + 1 }, "deadline of"},
		"a negative grant grace":    {func(c *Config) { c.GrantGrace = -1 }, "grant grace"},
		"a grant grace too long":    {func(c *Config) { c.GrantGrace = 21 * time.Second }, "grant grace"},
		"a negative refusal grace":  {func(c *Config) { c.RefusalGrace = -1 }, "refusal grace"},
		"a refusal grace too long":  {func(c *Config) { c.RefusalGrace = 21 * time.Second }, "refusal grace"},
		"less than nothing at once": {func(c *Config) { c.MaxInFlight = -1 }, "in flight"},
		"less than nobody waits":    {func(c *Config) { c.MaxWaiting = -1 }, "that wait"},
		"no issuer":                 {func(c *Config) { c.Issuers = nil }, "no issuer domain name"},
		"an empty issuer":           {func(c *Config) { c.Issuers = []string{""} }, `issuer domain name ""`},
		"an issuer in upper case":   {func(c *Config) { c.Issuers = []string{"CA.example"} }, `"CA.example"`},
		"an issuer with parameters": {func(c *Config) { c.Issuers = []string{"ca.example; a=b"} }, `issuer domain name`},
		"an issuer with a dot":      {func(c *Config) { c.Issuers = []string{"ca.example."} }, `"ca.example."`},
		"an issuer with a hyphen":   {func(c *Config) { c.Issuers = []string{"ca.example", "-ca.example"} }, `"-ca.example"`},
		"an issuer ending in one":   {func(c *Config) { c.Issuers = []string{"ca-.example"} }, `"ca-.example"`},
		"a long issuer": {func(c *Config) {
			c.Issuers = []string{strings.Repeat("a.", 127) + "a"}
		}, "issuer domain name"},
		"a remote too few":          {func(c *Config) { c.Remotes = c.Remotes[:4] }, "4 remotes are connected"},
		"a remote too many":         {func(c *Config) { c.Remotes = append(c.Remotes, c.Remotes[0]) }, "6 remotes are connected"},
		"a remote that is none":     {func(c *Config) { c.Remotes[2] = nil }, "sao-paulo has no connection"},
		"remotes in another order":  {func(c *Config) { slices.Reverse(c.Remotes) }, "connected to another member"},
		"a remote with other facts": {func(c *Config) { c.Roster.Remotes[1].Resolver.Latitude++ }, "tokyo of the roster"},
		"fewer than the day's rule": {func(c *Config) {
			c.Roster.Remotes, c.Remotes = c.Roster.Remotes[:4], c.Remotes[:4]
		}, "roster.too-few"},
		"no remotes at all":          {func(c *Config) { c.Roster.Remotes, c.Remotes = nil, nil }, "roster.too-few"},
		"the primary beside another": {func(c *Config) { c.Roster.Primary.Place = c.Roster.Remotes[0].Place }, "roster.distance"},
		"a day without policy":       {func(c *Config) { c.Now = func() time.Time { return time.Time{} } }, "policy.none"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, fiveRegions(), december)
			c.spoil(&s.config)
			_, err := newCoordinator(s.config, s.check)
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := New(newScene(t, fiveRegions(), december).config)
	require.ErrorContains(t, err, "no primary perspective")

	s := newScene(t, fiveRegions(), december)
	s.config.Software, s.config.Journal = "", nil
	_, err = newCoordinator(s.config, s.check)
	require.ErrorContains(t, err, "no journal")
	require.ErrorContains(t, err, "software", "all faults are told at once")
}

// Holds: MPIC-12
func TestNewTakesTheCheckersOwnCheck(t *testing.T) {
	s := newScene(t, fiveRegions(), december)
	s.config.Primary = &va.Checker{}
	s.config.Now, s.config.Logger = nil, nil
	c, err := New(s.config)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%p", s.config.Primary.Check), fmt.Sprintf("%p", c.check))
	require.Equal(t, DefaultDeadline, c.config.Deadline)
	require.Equal(t, DefaultRefusalGrace, c.config.RefusalGrace)
	require.Equal(t, DefaultMaxInFlight, cap(c.slots))
	require.Equal(t, DefaultMaxWaiting, c.config.MaxWaiting)
}

// Holds: MPIC-02
func TestNewWarnsAheadOfTheNextDate(t *testing.T) {
	s := newScene(t, ofRegions(ARIN, APNIC, LACNIC, AFRINIC), time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
	s.coordinator()
	require.Contains(t, s.log.String(), "level=WARN")
	require.Contains(t, s.log.String(), "from=2026-12-15")
	require.Contains(t, s.log.String(), "roster.too-few")

	s = newScene(t, fiveRegions(), time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
	s.coordinator()
	require.Empty(t, s.log.String())
}

// Holds: MPIC-02, F7
func TestARosterThatMetYesterdaysRuleIsRefusedToday(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, ofRegions(ARIN, APNIC, LACNIC, AFRINIC), time.Date(2026, 12, 14, 23, 59, 59, 0, time.UTC))
		c := s.coordinator()
		require.True(t, s.validate(c).Decision.Granted())
		time.Sleep(time.Second)
		r := s.validate(c)
		require.False(t, r.Decision.Granted())
		require.Equal(t, []string{"roster.too-few"}, codes(r.Decision))
		require.Equal(t, []State{NotAsked, NotAsked, NotAsked, NotAsked}, states(r.Evidence))
		require.Equal(t, int64(2), r.Number, "a refusal before the first packet is on record too")
		for _, f := range s.remotes {
			require.Equal(t, 1, f.asked, "and no packet was sent")
		}
		s.close(c)
	})
}

// Holds: REC-01, REC-05, F3
func TestAnInadmissibleRequestIsRecordedAndNobodyIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.check = func(context.Context, va.Probe) va.Report { panic("the primary was asked") }
		c := s.coordinator()
		req := request(va.HTTP01, december)
		req.Identifier = "*.example.com" // DCV-19: not by http-01
		r, err := c.Validate(t.Context(), Issuance, "test:1", req)
		require.NoError(t, err)
		s.sound(r)
		require.False(t, r.Decision.Granted())
		require.NotEmpty(t, r.Decision.Reasons())
		require.Empty(t, r.Decision.Views())
		for _, f := range s.remotes {
			require.Zero(t, f.asked)
		}
		s.close(c)
	})
}

// Who is to hear of refusals hears of each once its record is durable, and of nothing else.
//
// Holds: CAA-09, REC-05
func TestCAA_09_RefusedIsToldAfterTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		var told []Result
		s.config.Refused = func(r Result) {
			s.sound(r)
			told = append(told, r)
		}
		c := s.coordinator()
		require.True(t, s.validate(c).Decision.Granted())
		require.Empty(t, told)
		honest := s.check
		s.check = func(_ context.Context, p va.Probe) va.Report {
			return withOutcomes(t, p, s.config.Roster.Primary.Name, va.Pass, va.Fail)
		}
		refused := s.validate(c)
		require.Equal(t, []Result{refused}, told)
		s.ledger.failClose = errors.New("disk full")
		_, err := c.Validate(t.Context(), Issuance, "test:1", request(va.HTTP01, december))
		require.ErrorIs(t, err, ErrRecord)
		require.Len(t, told, 1, "what is not on record is not told")
		s.check = honest
		s.close(c)
	})
}

// Holds: MPIC-12, REC-03
func TestTheCallerGivesNeitherIssuersNorIdentifiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		var seen va.Probe
		s.check = func(_ context.Context, p va.Probe) va.Report { seen = p; return passing(t, p, "zurich") }
		c := s.coordinator()
		s.config.Issuers[0] = "evil.example" // the coordinator has its own copies
		s.config.Remotes[0], s.config.Roster.Remotes[0] = nil, Member{}
		req := request(va.DNS01, december)
		req.Issuers = []string{"evil.example"}
		r, err := c.Validate(t.Context(), DryRun, "rest:ra-1", req)
		require.NoError(t, err)
		s.sound(r)
		require.True(t, r.Decision.Granted(), "%v", r.Decision.Reasons())
		require.Equal(t, []string{"ca.example"}, seen.Request.Issuers)
		require.Regexp(t, "^[0-9a-f]{32}$", seen.Nonce)
		require.Regexp(t, "^[A-Z2-7]{26,}$", seen.Attempt)
		require.Equal(t, seen, r.Evidence.Attempt.Probe)
		require.Equal(t, "rest:ra-1", r.Evidence.Attempt.Caller)
		require.Equal(t, DryRun, r.Evidence.Attempt.Kind)
		require.Equal(t, december, r.Evidence.Attempt.Started)
		require.Equal(t, []string{"evil.example"}, req.Issuers, "what is the caller's is not changed")
		s.close(c)
	})
}

// Holds: REC-03
func TestACallThatHasNoRecordableFormIsAnError(t *testing.T) {
	s := newScene(t, fiveRegions(), december)
	c := s.coordinator()
	good := request(va.HTTP01, december)
	noMethod, noDate := good, good
	noMethod.Method = 0
	noDate.TokenCreated = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, call := range map[string]func() (Result, error){
		"no kind":         func() (Result, error) { return c.Validate(t.Context(), 0, "test:1", good) },
		"an unknown kind": func() (Result, error) { return c.Validate(t.Context(), 9, "test:1", good) },
		"no caller":       func() (Result, error) { return c.Validate(t.Context(), Issuance, "", good) },
		"no method":       func() (Result, error) { return c.Validate(t.Context(), Issuance, "test:1", noMethod) },
		"no such date":    func() (Result, error) { return c.Validate(t.Context(), Issuance, "test:1", noDate) },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := call()
			require.ErrorIs(t, err, ErrRequest)
			require.False(t, r.Decision.Granted())
			require.Empty(t, s.ledger.opened)
		})
	}
	s.close(c)
}

// Holds: REC-05
func TestWithoutARecordTheAnswerIsNo(t *testing.T) {
	full := errors.New("disk full")
	t.Run("at the opening nothing is sent", func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.ledger.failOpen = full
		s.check = func(context.Context, va.Probe) va.Report { panic("the primary was asked") }
		c := s.coordinator()
		r, err := c.Validate(t.Context(), Issuance, "test:1", request(va.HTTP01, december))
		require.ErrorIs(t, err, ErrRecord)
		require.ErrorIs(t, err, full)
		require.Equal(t, Result{}, r)
		for _, f := range s.remotes {
			require.Zero(t, f.asked)
		}
		s.close(c)
	})
	t.Run("at the closing a grant is none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, fiveRegions(), december)
			s.ledger.failClose = full
			s.after(0, 0, 0, 0, 0)
			s.remotes[4].attest = mute("helsinki")
			c := s.coordinator()
			began := time.Now()
			r, err := c.Validate(t.Context(), Issuance, "test:1", request(va.HTTP01, december))
			require.ErrorIs(t, err, ErrRecord)
			require.ErrorIs(t, err, full)
			require.Equal(t, Result{}, r)
			require.False(t, r.Decision.Granted())
			s.close(c)
			require.Zero(t, time.Since(began), "those still asked are told to stop")
			require.Empty(t, s.ledger.late, "nothing is late for an attempt that has no end on record")
		})
	})
}

// Holds: REC-05, F3
func TestACallerThatGoesAwayDoesNotEndTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.after(time.Second, time.Second, time.Second, time.Second, time.Second, time.Second)
		c := s.coordinator()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*ms, cancel)
		r, err := c.Validate(ctx, Issuance, "test:1", request(va.HTTP01, december))
		require.NoError(t, err)
		s.sound(r)
		require.Error(t, ctx.Err())
		require.True(t, r.Decision.Granted(), "decided by evidence")

		r, err = c.Validate(ctx, Issuance, "test:1", request(va.HTTP01, december))
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, Result{}, r)
		require.Len(t, s.ledger.opened, 1, "one that had gone before began nothing")
		s.close(c)
	})
}

func TestAttemptsBeyondTheLimitWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.config.MaxInFlight = 2
		s.after(time.Second)
		c := s.coordinator()
		began := time.Now()
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() { s.validate(c) })
		}
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		_, err := c.Validate(impatient, Issuance, "test:1", request(va.HTTP01, december))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		all.Wait()
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Len(t, s.ledger.opened, 6)
		s.close(c)
	})
}

// TestTheQueueIsBounded: beyond it an attempt is refused at once, one that has waited 5 s is refused then, and nothing of either is begun. Those who
// wait get their turns in the order in which they came.
func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.config.MaxInFlight, s.config.MaxWaiting = 1, 3
		registry := prometheus.NewRegistry()
		m, err := NewMetrics(registry)
		require.NoError(t, err)
		s.config.Metrics = m
		s.after(2 * time.Second)
		c := s.coordinator()
		began := time.Now()
		var all sync.WaitGroup
		var mu sync.Mutex
		ended := map[time.Duration]string{}
		validate := func(caller string) {
			all.Go(func() {
				_, err := c.Validate(t.Context(), Issuance, "test:"+caller, request(va.HTTP01, december))
				if errors.Is(err, ErrBusy) {
					caller += ", busy"
				} else {
					require.NoError(t, err)
				}
				mu.Lock()
				defer mu.Unlock()
				ended[time.Since(began)] = caller
			})
			synctest.Wait() // so that they come one after another
		}
		for _, caller := range []string{"1", "2", "3", "4"} {
			validate(caller)
		}
		scrape.Require(t, registry, map[string]float64{"quorate_attempts_in_flight{}": 1, "quorate_attempts_waiting{}": 3})
		_, err = c.Validate(t.Context(), Issuance, "test:5", request(va.HTTP01, december))
		require.ErrorIs(t, err, ErrBusy)
		require.Zero(t, time.Since(began), "at once")
		all.Wait()
		require.Equal(t, map[time.Duration]string{2 * time.Second: "1", 4 * time.Second: "2", 6 * time.Second: "3", 5 * time.Second: "4, busy"}, ended)
		require.Len(t, s.ledger.opened, 3)
		scrape.Require(t, registry, map[string]float64{"quorate_attempts_in_flight{}": 0, "quorate_attempts_waiting{}": 0})
		require.True(t, s.validate(c).Decision.Granted(), "the places are free again")
		s.close(c)
	})
}

func TestCloseRefusesNewAttemptsAndWaitsForOldOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.after(time.Second, 0, 0, 0, 0, 3*time.Second)
		c := s.coordinator()
		began := time.Now()
		var first sync.WaitGroup
		first.Go(func() { require.True(t, s.validate(c).Decision.Granted()) })
		synctest.Wait()
		s.close(c)
		require.Equal(t, 3*time.Second, time.Since(began), "the straggler's reply is on record")
		require.Len(t, s.ledger.late, 1)
		first.Wait()
		_, err := c.Validate(t.Context(), Issuance, "test:1", request(va.HTTP01, december))
		require.ErrorIs(t, err, ErrClosed)
		require.Len(t, s.ledger.opened, 1)
		s.close(c)
	})
}

func TestNoGoroutineIsLeftBehind(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	s := newScene(t, fiveRegions(), december)
	decided := make(chan struct{})
	s.remotes[4].attest = func(_ context.Context, p va.Probe) Attestation {
		<-decided
		return answered("helsinki", passing(t, p, "helsinki"))
	}
	c := s.coordinator()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { require.True(t, s.validate(c).Decision.Granted()) })
	}
	all.Wait()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, c.Close(gone), "the stragglers are still there")
	close(decided)
	s.close(c)
	require.Len(t, s.ledger.late, 4)
	goleak.VerifyNone(t, leaks)
}

// TestCertainIsWhatJudgeWouldSay: in each state of an attempt with five remotes, the outcome is certain exactly where Judge makes the same
// of it whether all that are awaited corroborate or none answers.
//
// Holds: MPIC-03, MPIC-12
func TestCertainIsWhatJudgeWouldSay(t *testing.T) {
	r := ofRegions(ARIN, ARIN, ARIN, ARIN, RIPE) // without the last, one region is too few
	c := newScene(t, r, december).coordinator()
	for _, k := range []Kind{Issuance, DCVAlone, CAAAlone} {
		a := attemptAt(december)
		if k != Issuance {
			a = alone(a, k)
		}
		for state := range 2 * 4 * 4 * 4 * 4 * 4 {
			report := func(name string, dcv, caa bool) va.Report {
				of := map[bool]va.Outcome{true: va.Pass, false: va.Fail}
				return withOutcomes(t, a.Probe, name, of[dcv || k == CAAAlone], of[caa || k == DCVAlone])
			}
			full := Evidence{Attempt: a, Roster: r, Primary: &PrimaryReport{report: report("zurich", state%2 == 0, true)}}
			q := c.inquire(context.Background(), c.config.Logger, Evidence{Attempt: a, Roster: r}, december)
			q.take(reply{primary: full.Primary})
			none := full
			for i, m := range r.Remotes {
				what := state >> (1 + 2*i) & 3 // 0: awaited; otherwise what failed
				all := answered(m.Name, report(m.Name, what != 1, what != 2))
				full.Remotes, none.Remotes = append(full.Remotes, all), append(none.Remotes, all)
				if what == 0 {
					none.Remotes[i] = silent(m.Name)
					continue
				}
				q.take(reply{remote: i, attestation: all})
			}
			at, least := Judge(full).Granted(), Judge(none).Granted()
			wait, certain := q.certain()
			require.Equal(t, at == least, certain, "%s, state %o", k, state)
			if certain {
				require.Equal(t, map[bool]time.Duration{true: c.config.GrantGrace, false: c.config.RefusalGrace}[least], wait)
			}
		}
	}
}
