package mpic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/va"
)

// TestAShadowDecidesRecordsComparesAndAnswersNobody
//
// Holds: REC-05, MPIC-12
func TestAShadowDecidesRecordsComparesAndAnswersNobody(t *testing.T) {
	down := errors.New("connection refused")
	for name, c := range map[string]struct {
		ours, theirs bool
		err, fails   error
		want         Comparison
		says         string
	}{
		"both grant":           {ours: true, theirs: true, want: BothGranted, says: "agree"},
		"both refuse":          {want: BothRefused, says: "agree"},
		"only the incumbent":   {theirs: true, want: OnlyIncumbent, says: "http.mismatch"},
		"only the gate":        {ours: true, want: OnlyGate, says: "disagree"},
		"no answer":            {ours: true, err: down, want: NoIncumbent, says: "connection refused"},
		"no answer, and a yes": {ours: true, theirs: true, err: down, want: NoIncumbent, says: "connection refused"},
		"no record":            {ours: true, theirs: true, fails: errors.New("disk full"), want: NoGate, says: "disk full"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, fiveRegions(), december)
				s.config.Shadow = true
				s.ledger.failClose = c.fails
				if !c.ours {
					s.check = func(_ context.Context, p va.Probe) va.Report { return withOutcomes(t, p, "zurich", va.Fail, va.Pass) }
				}
				co := s.coordinator()
				defer s.close(co)
				registry, out := prometheus.NewRegistry(), &strings.Builder{}
				m, err := NewShadowMetrics(registry)
				require.NoError(t, err)
				shadow, err := NewShadow(ShadowConfig{Coordinator: co, Logger: slog.New(slog.NewTextHandler(out, nil)), Metrics: m})
				require.NoError(t, err)
				answered := shadow.Begin(Call{Kind: DCVAlone, Caller: "test:1", Request: request(va.HTTP01, s.start)})
				answered(c.theirs, c.err)
				require.NoError(t, shadow.Close(t.Context()))
				require.Contains(t, out.String(), c.says)
				for _, result := range Comparisons() {
					scrape.Require(t, registry, compared(result, map[bool]float64{true: 1}[result == c.want]))
				}
				for _, k := range s.ledger.closed {
					require.True(t, k.evidence.Attempt.Shadow)
					require.Equal(t, DCVAlone, k.evidence.Attempt.Kind)
				}
				require.Len(t, s.ledger.opened, 1)
			})
		})
	}
}

func compared(c Comparison, n float64) map[string]float64 {
	return map[string]float64{"quorate_shadow_comparisons_total{result=" + string(c) + "}": n}
}

// TestNothingOfAShadowIsReliedUpon: neither authorization nor permit, whatever kind was asked for.
//
// Holds: MPIC-12, CAA-05
func TestNothingOfAShadowIsReliedUpon(t *testing.T) {
	for asked, decided := range map[Kind]bool{Issuance: false, DryRun: false, CAARecheck: false, DCVAlone: true, CAAAlone: true} {
		t.Run(asked.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, fiveRegions(), december)
				s.config.Shadow = true
				co := s.coordinator()
				defer s.close(co)
				shadow, err := NewShadow(ShadowConfig{Coordinator: co})
				require.NoError(t, err)
				req := request(va.HTTP01, s.start)
				if !asked.dcv() {
					req.Token, req.KeyAuthorization, req.TokenCreated = "", "", time.Time{}
				}
				shadow.Begin(Call{Kind: asked, Caller: "test:1", Request: req})(true, nil)
				require.NoError(t, shadow.Close(t.Context()))
				if !decided {
					require.Empty(t, s.ledger.opened)
					return
				}
				require.Len(t, s.ledger.closed, 1)
				k := s.ledger.closed[slices.Sorted(maps.Keys(s.ledger.closed))[0]]
				require.True(t, k.decision.Granted(), "%v", k.decision.Reasons())
				require.Equal(t, asked, k.evidence.Attempt.Kind)
				_, ok := Reliable(k.evidence, k.decision.Recorded(), 1, strings.Repeat("ab", 32))
				require.False(t, ok)
			})
		})
	}
	for _, e := range []Evidence{unanimous(t, fiveRegions(), december), unanimousRecheck(t, fiveRegions(), december)} {
		d := Judge(e)
		require.True(t, d.Granted(), "%v", d.Reasons())
		e.Attempt.Shadow = true
		require.Equal(t, []string{"request.kind"}, codes(Judge(e)))
		_, ok := Reliable(e, d.Recorded(), 1, strings.Repeat("ab", 32))
		require.False(t, ok)
	}
}

// TestAShadowNeverHoldsTheIncumbentUp: above its capacity it carries nothing out, and says so.
//
// Holds: REC-05
func TestAShadowNeverHoldsTheIncumbentUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.config.Shadow = true
		goOn := make(chan struct{})
		s.check = func(_ context.Context, p va.Probe) va.Report {
			<-goOn
			return passing(t, p, "zurich")
		}
		co := s.coordinator()
		defer s.close(co)
		registry := prometheus.NewRegistry()
		m, err := NewShadowMetrics(registry)
		require.NoError(t, err)
		shadow, err := NewShadow(ShadowConfig{Coordinator: co, MaxInFlight: 2, Metrics: m})
		require.NoError(t, err)
		for range 5 {
			shadow.Begin(Call{Kind: DCVAlone, Caller: "test:1", Request: request(va.HTTP01, s.start)})(true, nil)
		}
		scrape.Require(t, registry, compared(Skipped, 3))
		over, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, shadow.Close(over), context.Canceled)
		close(goOn)
		require.NoError(t, shadow.Close(t.Context()))
		shadow.Begin(Call{Kind: DCVAlone, Caller: "test:1", Request: request(va.HTTP01, s.start)})(true, nil)
		require.Len(t, s.ledger.opened, 2)
		scrape.Require(t, registry, compared(Skipped, 4))
	})
}

// TestAShadowsCallsAndAllOthersAreKeptApart: no decision of a gate in the shadow is an answer to anybody, and no other gate takes a shadow's
// call.
//
// Holds: MPIC-12, DCV-01
func TestAShadowsCallsAndAllOthersAreKeptApart(t *testing.T) {
	kinds := []Kind{Issuance, DryRun, CAARecheck, DCVAlone, CAAAlone}
	for _, whole := range []bool{false, true} {
		s := newScene(t, fiveRegions(), december)
		s.config.Shadow = whole
		co := s.coordinator()
		for _, k := range kinds {
			for _, shadow := range []bool{false, true} {
				req := request(va.HTTP01, s.start)
				if !k.dcv() {
					req.Token, req.KeyAuthorization, req.TokenCreated = "", "", time.Time{}
				}
				r, err := co.Carry(t.Context(), Call{Kind: k, Caller: "test:1", Request: req, Shadow: shadow})
				about := fmt.Sprintf("%s, shadow %t, of a gate in the shadow %t", k, shadow, whole)
				switch {
				case shadow && (!whole || k != DCVAlone && k != CAAAlone):
					require.ErrorIs(t, err, ErrRequest, about)
				case whole && !shadow && k != DryRun:
					require.ErrorIs(t, err, ErrShadow, about)
				default:
					require.NoError(t, err, about)
					require.True(t, r.Decision.Granted(), "%s: %v", about, r.Decision.Reasons())
					require.Equal(t, shadow, r.Evidence.Attempt.Shadow, about)
					_, ok := Reliable(r.Evidence, r.Decision.Recorded(), r.Number, strings.Repeat("ab", 32))
					require.Equal(t, k == Issuance || k == CAARecheck, ok, about)
				}
			}
		}
		s.close(co)
		_, err := NewShadow(ShadowConfig{Coordinator: co})
		require.Equal(t, whole, err == nil)
	}
}

// TestJudgeGrantsNoShadowWhatCouldBeIssuedUpon: also where a record says so that no gate of ours would write.
//
// Holds: MPIC-12, DCV-01
func TestJudgeGrantsNoShadowWhatCouldBeIssuedUpon(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	evidence := map[Kind]Evidence{Issuance: unanimous(t, fiveRegions(), december), DryRun: unanimous(t, fiveRegions(), december),
		CAARecheck: unanimousRecheck(t, fiveRegions(), december), DCVAlone: unanimousAlone(t, fiveRegions(), DCVAlone),
		CAAAlone: unanimousAlone(t, fiveRegions(), CAAAlone)}
	for k, e := range evidence {
		e.Attempt.Kind = k
		plain := Judge(e)
		require.True(t, plain.Granted(), "%s: %v", k, plain.Reasons())
		e.Attempt.Shadow = true
		d := Judge(e)
		if k == DCVAlone || k == CAAAlone {
			require.True(t, d.Granted(), "%s: %v", k, d.Reasons())
		} else {
			require.Equal(t, []string{"request.kind"}, codes(d), k)
			require.Zero(t, d.Recorded().Validated.ReusableUntil, k)
		}
		_, ok := Reliable(e, plain.Recorded(), 7, digest)
		require.False(t, ok, "%s: nothing rests on a shadow's, even where its decision says that it was granted", k)
	}
}

// TestAGateInTheShadowGivesNoPermit: nor upon what was validated before it was one.
//
// Holds: CAA-05, DCV-01
func TestAGateInTheShadowGivesNoPermit(t *testing.T) {
	n := newCounter(t)
	n.show("example.com", va.HTTP01, acct1)
	n.permit("example.com")
	before := len(n.book.permits)
	n.config.Shadow = true
	shadow := n.coordinator()
	defer n.close(shadow)
	p, err := NewPermits(PermitsConfig{Coordinator: shadow, Ledger: n.book, Signer: permitKey, Now: n.config.Now})
	require.NoError(t, err)
	permit, err := p.Permit(t.Context(), "test:1", acct1, []string{"example.com"})
	require.ErrorIs(t, err, ErrShadow)
	require.Empty(t, permit.Token)
	require.Len(t, n.book.permits, before)
	n.close(n.c)
}

// TestAFaultOfTheShadowStaysItsOwn: the process through which the incumbent's answers go does not end by it, and it is counted.
//
// Holds: REC-05
func TestAFaultOfTheShadowStaysItsOwn(t *testing.T) {
	s := newScene(t, fiveRegions(), december)
	s.config.Shadow = true
	s.config.Refused = func(Result) { panic("a fault") }
	s.check = func(_ context.Context, p va.Probe) va.Report { return withOutcomes(t, p, "zurich", va.Fail, va.Pass) }
	co := s.coordinator()
	defer s.close(co)
	registry, out := prometheus.NewRegistry(), &strings.Builder{}
	m, err := NewShadowMetrics(registry)
	require.NoError(t, err)
	shadow, err := NewShadow(ShadowConfig{Coordinator: co, Metrics: m, Logger: slog.New(slog.NewTextHandler(out, nil))})
	require.NoError(t, err)
	shadow.Begin(Call{Kind: DCVAlone, Caller: "test:1", Request: request(va.HTTP01, s.start)})(true, nil)
	shadow.Skip("test:1", "t-7", errors.New("no name in it"))
	require.NoError(t, shadow.Close(t.Context()))
	scrape.Require(t, registry, compared(NoGate, 1))
	scrape.Require(t, registry, compared(Skipped, 1))
	require.Contains(t, out.String(), "a fault")
	require.Contains(t, out.String(), `caller=test:1 trace=t-7 reason="no name in it"`)
}
