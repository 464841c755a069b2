package mpic

import (
	"context"
	"errors"
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
				answered := shadow.Begin(Call{Kind: Issuance, Caller: "test:1", Request: request(va.HTTP01, s.start)})
				answered(c.theirs, c.err)
				require.NoError(t, shadow.Close(t.Context()))
				require.Contains(t, out.String(), c.says)
				for _, result := range Comparisons() {
					scrape.Require(t, registry, compared(result, map[bool]float64{true: 1}[result == c.want]))
				}
				for _, k := range s.ledger.closed {
					require.True(t, k.evidence.Attempt.Shadow)
					require.Equal(t, DryRun, k.evidence.Attempt.Kind)
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
	for asked, want := range map[Kind]Kind{Issuance: DryRun, DryRun: DryRun, CAARecheck: CAAAlone, DCVAlone: DCVAlone, CAAAlone: CAAAlone} {
		t.Run(asked.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, fiveRegions(), december)
				s.check = func(_ context.Context, p va.Probe) va.Report { return passing(t, p, "zurich") }
				co := s.coordinator()
				defer s.close(co)
				shadow, err := NewShadow(ShadowConfig{Coordinator: co})
				require.NoError(t, err)
				req := request(va.HTTP01, s.start)
				if want == CAAAlone {
					req.Token, req.KeyAuthorization, req.TokenCreated = "", "", time.Time{}
				}
				shadow.Begin(Call{Kind: asked, Caller: "test:1", Request: req})(true, nil)
				require.NoError(t, shadow.Close(t.Context()))
				require.Len(t, s.ledger.closed, 1)
				k := s.ledger.closed[slices.Sorted(maps.Keys(s.ledger.closed))[0]]
				require.True(t, k.decision.Granted(), "%v", k.decision.Reasons())
				require.Equal(t, want, k.evidence.Attempt.Kind)
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
			shadow.Begin(Call{Kind: Issuance, Caller: "test:1", Request: request(va.HTTP01, s.start)})(true, nil)
		}
		scrape.Require(t, registry, compared(Skipped, 3))
		over, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, shadow.Close(over), context.Canceled)
		close(goOn)
		require.NoError(t, shadow.Close(t.Context()))
		shadow.Begin(Call{Kind: Issuance, Caller: "test:1", Request: request(va.HTTP01, s.start)})(true, nil)
		require.Len(t, s.ledger.opened, 2)
		scrape.Require(t, registry, compared(Skipped, 4))
	})
}
