package mpic

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// ledger is a Journal in memory, which holds its caller to the contract.
type ledger struct {
	mu                           sync.Mutex
	opened                       []Attempt
	closed                       map[string]kept
	late                         []Attestation
	lateOf                       []string
	failOpen, failClose, failLog error
	// hang makes Open and Close wait until their context ends.
	hangOpen, hangClose bool
}

type kept struct {
	evidence Evidence
	decision Decision
}

func (l *ledger) Open(ctx context.Context, a Attempt, r Roster) (int64, error) {
	if l.hangOpen {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(ctx.Err(), l.failOpen); err != nil {
		return 0, err
	}
	l.opened = append(l.opened, a)
	return int64(len(l.opened)), nil
}

func (l *ledger) Close(ctx context.Context, e Evidence, d Decision) error {
	if l.hangClose {
		<-ctx.Done()
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(ctx.Err(), l.failClose); err != nil {
		return err
	}
	if _, twice := l.closed[e.Attempt.ID()]; twice || !l.holds(e.Attempt.ID()) {
		return errors.New("closed twice, or never opened")
	}
	if l.closed == nil {
		l.closed = map[string]kept{}
	}
	l.closed[e.Attempt.ID()] = kept{e, d}
	return nil
}

func (l *ledger) Late(ctx context.Context, attempt Attempt, a Attestation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(ctx.Err(), l.failLog); err != nil {
		return err
	}
	if _, ok := l.closed[attempt.ID()]; !ok {
		return errors.New("late for an attempt that is not closed")
	}
	l.late, l.lateOf = append(l.late, a), append(l.lateOf, attempt.ID())
	return nil
}

func (l *ledger) holds(attempt string) bool {
	return slices.ContainsFunc(l.opened, func(a Attempt) bool { return a.ID() == attempt })
}

// conduct is how a remote behaves.
type conduct = func(context.Context, va.Probe) Attestation

// fake is a remote that does what a test says. It fails the test when it is asked before the attempt is on record.
type fake struct {
	t      testing.TB
	member Member
	ledger *ledger
	attest conduct
	asked  int
}

func (f *fake) Member() Member { return f.member }

func (f *fake) Attest(ctx context.Context, p va.Probe) Attestation {
	f.ledger.mu.Lock()
	if !f.ledger.holds(p.Attempt) { // F3
		f.t.Errorf("%s was asked before the attempt was on record", f.member.Name)
	}
	f.asked++
	f.ledger.mu.Unlock()
	return f.attest(ctx, p)
}

// scene is a coordinator among fakes. Its clock starts at noon of a day and goes on with the test's.
type scene struct {
	t       testing.TB
	config  Config
	ledger  *ledger
	remotes []*fake
	check   func(context.Context, va.Probe) va.Report
	log     *strings.Builder
	start   time.Time
}

func newScene(t testing.TB, roster Roster, at time.Time) *scene {
	s := &scene{t: t, ledger: &ledger{}, log: &strings.Builder{}, start: at}
	began := time.Now()
	s.config = Config{Roster: roster, Journal: s.ledger, Issuers: []string{"ca.example"}, Software: "quorate/test",
		Now:    func() time.Time { return at.Add(time.Since(began)) },
		Logger: slog.New(slog.NewTextHandler(s.log, nil))}
	for _, m := range roster.Remotes {
		f := &fake{t: t, member: m, ledger: s.ledger}
		f.attest = honest(t, f.member.Name, 0)
		s.remotes = append(s.remotes, f)
		s.config.Remotes = append(s.config.Remotes, f)
	}
	s.check = func(_ context.Context, p va.Probe) va.Report { return passing(t, p, roster.Primary.Name) }
	return s
}

func (s *scene) coordinator() *Coordinator {
	c, err := newCoordinator(s.config, func(ctx context.Context, p va.Probe) va.Report { return s.check(ctx, p) })
	require.NoError(s.t, err)
	return c
}

// validate carries one attempt through and holds it to what is true of each: F3, REC-01, REC-02, REC-05.
func (s *scene) validate(c *Coordinator) Result {
	s.t.Helper()
	return s.validateAs(c, Issuance)
}

func (s *scene) validateAs(c *Coordinator, kind Kind) Result {
	s.t.Helper()
	req := request(va.HTTP01, s.start)
	if kind == CAARecheck {
		req.Token, req.KeyAuthorization, req.TokenCreated = "", "", time.Time{}
	}
	r, err := c.Validate(context.Background(), kind, "test:1", req)
	require.NoError(s.t, err)
	s.sound(r)
	return r
}

func (s *scene) sound(r Result) {
	s.t.Helper()
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	record, ok := s.ledger.closed[r.Evidence.Attempt.ID()]
	require.True(s.t, ok, "no answer before its record")
	require.Equal(s.t, record.decision, r.Decision)
	require.Equal(s.t, record.evidence, r.Evidence)
	require.Equal(s.t, r.Decision, Judge(r.Evidence))
	require.Len(s.t, r.Evidence.Remotes, len(r.Evidence.Roster.Remotes), "one row per perspective")
	for i, a := range r.Evidence.Remotes {
		require.Equal(s.t, r.Evidence.Roster.Remotes[i].Name, a.Perspective)
		require.NotEqual(s.t, "no state", a.State.String())
		require.Equal(s.t, a.State == Answered, a.Problem == nil, "%+v", a)
		require.Equal(s.t, a.State == Answered, a.Report != nil)
		require.Equal(s.t, a.State == NotAsked, a.Asked.IsZero())
		require.Equal(s.t, a.State == NotAsked, a.Closed.IsZero())
		require.False(s.t, a.Closed.Before(a.Asked))
		require.Equal(s.t, a.State == NotAsked, r.Evidence.Primary == nil)
	}
}

func (s *scene) close(c *Coordinator) { require.NoError(s.t, c.Close(context.Background())) }

// honest answers as it should after a while.
func honest(t testing.TB, name string, after time.Duration) conduct {
	return func(_ context.Context, p va.Probe) Attestation {
		time.Sleep(after)
		return answered(name, passing(t, p, name))
	}
}

// failing answers after a while that it saw nothing of what it should have seen.
func failing(t testing.TB, name string, after time.Duration) conduct {
	return func(_ context.Context, p va.Probe) Attestation {
		time.Sleep(after)
		return answered(name, withOutcomes(t, p, name, va.Fail, va.Fail))
	}
}

// mute waits until its time is over, as a client of a dead peer does.
func mute(name string) conduct {
	return func(ctx context.Context, _ va.Probe) Attestation {
		<-ctx.Done()
		return silent(name)
	}
}
