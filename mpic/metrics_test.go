package mpic

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/va"
)

// metered gives a scene metrics in a registry of its own.
func metered(t testing.TB, s *scene) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	require.NoError(t, err)
	s.config.Metrics = m
	return registry
}

func TestMetricsTellWhatBecameOfAttemptsAndRemotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		registry := metered(t, s)
		scrape.Require(t, registry, map[string]float64{"quorate_quorums_total{check=caa,result=thin}": 0})
		c := s.coordinator()
		s.validate(c) // all agree; it is decided before the last may have replied
		synctest.Wait()
		s.remotes[1].attest = mute("tokyo")                        // tokyo's state is known after the decision
		s.remotes[2].attest = failing(t, "sao-paulo", time.Second) // one may disagree
		s.remotes[4].attest = honest(t, "helsinki", 2*time.Second)
		_, err := c.Validate(context.Background(), Issuance, "test:1", request(va.HTTP01, s.start))
		require.NoError(t, err)
		s.check = func(_ context.Context, p va.Probe) va.Report { return withOutcomes(t, p, "zurich", va.Fail, va.Pass) }
		s.validate(c)
		s.close(c)
		scrape.Require(t, registry, map[string]float64{
			"quorate_attempts_total{kind=issuance,method=http-01,outcome=granted,reason=}":                     1,
			"quorate_attempts_total{kind=issuance,method=http-01,outcome=refused,reason=quorum.missed}":        1,
			"quorate_attempts_total{kind=issuance,method=http-01,outcome=refused,reason=" + noToken.Code + "}": 1,
			"quorate_attempts_in_flight{}":                                                   0,
			"quorate_attempt_duration_seconds{outcome=refused}":                              2,
			"quorate_findings_total{check=dcv,outcome=pass,perspective=zurich,role=primary}": 2,
			"quorate_findings_total{check=dcv,outcome=fail,perspective=zurich,role=primary}": 1,
			"quorate_findings_total{check=caa,outcome=pass,perspective=zurich,role=primary}": 3,
			"quorate_remote_replies_total{perspective=tokyo,state=answered}":                 1,
			"quorate_remote_replies_total{perspective=tokyo,state=timed-out}":                2,
			"quorate_remote_replies_total{perspective=helsinki,state=answered}":              3,
			"quorate_quorums_total{check=dcv,result=full}":                                   1,
			"quorate_quorums_total{check=dcv,result=missed}":                                 1,
		})
	})
}

func TestAnAttemptWithoutARecordIsCountedAsSuch(t *testing.T) {
	for name, fail := range map[string]func(*ledger){
		"open":  func(l *ledger) { l.failOpen = errors.New("full") },
		"close": func(l *ledger) { l.failClose = errors.New("full") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, fiveRegions(), december)
			registry := metered(t, s)
			fail(s.ledger)
			c := s.coordinator()
			_, err := c.Validate(context.Background(), DryRun, "test:1", request(va.DNS01, s.start))
			require.ErrorIs(t, err, ErrRecord)
			s.close(c)
			scrape.Require(t, registry, map[string]float64{
				"quorate_attempts_total{kind=dry-run,method=dns-01,outcome=unrecorded,reason=}": 1,
				"quorate_attempts_in_flight{}": 0,
			})
			require.NotContains(t, scrape.Series(t, registry), "quorate_attempts_total{kind=dry-run,method=dns-01,outcome=granted,reason=}")
		})
	}
}

// Who was not asked, and whom a failed lookup was excused at, is told apart.
func TestMetricsOfRefusalsAheadAndOfExceptions(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	require.NoError(t, err)
	e := excusing(t, va.PermitProvenFailure)
	d := Judge(e)
	require.True(t, d.Granted())
	m.begun()
	m.ended(Issuance, va.HTTP01, Result{1, e, d}, nil, time.Second)

	e = unanimous(t, fiveRegions(), december)
	e.Attempt.Probe.Request.Identifier = "10.in-addr.arpa"
	e.Primary, e.Remotes = nil, notAsked(e.Roster)
	m.begun()
	m.ended(Issuance, va.HTTP01, Result{2, e, Judge(e)}, nil, time.Second)
	scrape.Require(t, registry, map[string]float64{
		"quorate_caa_exceptions_total{perspective=zurich}":                                              1,
		"quorate_caa_exceptions_total{perspective=tokyo}":                                               1,
		"quorate_attempts_total{kind=issuance,method=http-01,outcome=refused,reason=name.reverse-zone}": 1,
		"quorate_remote_replies_total{perspective=tokyo,state=not-asked}":                               1,
		"quorate_quorums_total{check=caa,result=full}":                                                  1,
	})
	_, err = NewMetrics(registry)
	require.ErrorAs(t, err, new(prometheus.AlreadyRegisteredError))
}

// quorumResult over all that may become of six remotes, of which two may disagree.
func TestQuorumResults(t *testing.T) {
	roster := ofRegions(ARIN, APNIC, LACNIC, AFRINIC, RIPE, ARIN)
	for name, c := range map[string]struct {
		disagree, out []int
		want          string
	}{
		"all agree":                     {nil, nil, "full"},
		"one disagrees":                 {[]int{0}, nil, "spare"},
		"two disagree":                  {[]int{0, 3}, nil, "thin"},
		"three disagree":                {[]int{0, 3, 4}, nil, "missed"},
		"two are out":                   {nil, []int{1, 2}, "full"},
		"one is out, one disagrees":     {[]int{0}, []int{1}, "spare"},
		"four are out":                  {nil, []int{0, 1, 2, 3}, "open"},
		"three disagree, three are out": {[]int{0, 1, 2}, []int{3, 4, 5}, "missed"},
	} {
		t.Run(name, func(t *testing.T) {
			e := unanimous(t, roster, december)
			for _, i := range c.disagree {
				e.Remotes[i] = answered(roster.Remotes[i].Name, withOutcomes(t, e.Attempt.Probe, roster.Remotes[i].Name, va.Fail, va.Pass))
			}
			for _, i := range c.out {
				e.Remotes[i] = Attestation{Perspective: roster.Remotes[i].Name, State: Outstanding, Problem: noAnswer}
			}
			d := Judge(e)
			require.Equal(t, c.want, quorumResult(Result{Evidence: e, Decision: d}, d.DCV(), View.dcv))
		})
	}
}
