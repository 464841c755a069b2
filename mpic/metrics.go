package mpic

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/va"
)

// Metrics count what one Coordinator does (docs/operations.md). Labels are this program's own words and the roster's names: none
// is a name that was validated, a caller, or what a remote says. A nil *Metrics counts nothing.
type Metrics struct {
	attempts  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	queued    prometheus.Gauge
	findings  *prometheus.CounterVec
	replies   *prometheus.CounterVec
	waits     *prometheus.HistogramVec
	quorums   *prometheus.CounterVec
	excused   *prometheus.CounterVec
}

// NewMetrics registers the metrics of one coordinator. The error is the registry's: another one's metrics are in it.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_" + name, Help: help}, labels)
	}
	seconds := func(name, help, label string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "quorate_" + name, Help: help,
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80}}, []string{label})
	}
	m := &Metrics{
		attempts: counter("attempts_total", "Attempts by outcome (granted, refused, or unrecorded: answered with an error), with the "+
			"code of the weightiest reason.", "kind", "method", "outcome", "reason"),
		durations: seconds("attempt_duration_seconds", "How long attempts took, records included.", "outcome"),
		inFlight:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorate_attempts_in_flight", Help: "Attempts under way."}),
		queued:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorate_attempts_waiting", Help: "Attempts that wait for their turn."}),
		findings: counter("findings_total", "What the primary, and each remote that answered in time, counted for in a decision.",
			"perspective", "role", "check", "outcome"),
		replies: counter("remote_replies_total", "What became of the questions to each remote, replies after the decision included.",
			"perspective", "state"),
		waits: seconds("remote_reply_seconds", "How long remotes took to answer.", "perspective"),
		quorums: counter("quorums_total", "Quorums of the checks that the primary passed: full (no remote is known to disagree), spare, "+
			"thin (one more, and it had been missed), missed, or open (decided without it).", "check", "result"),
		excused: counter("caa_exceptions_total", "Attempts in which a failed CAA lookup of a perspective counted as permission.",
			"perspective"),
	}
	for _, outcome := range []string{"granted", "refused", "unrecorded"} { // so that a rate is seen from the first one on
		m.durations.WithLabelValues(outcome)
	}
	for _, check := range []string{"dcv", "caa"} {
		for _, result := range []string{"full", "spare", "thin", "missed", "open"} {
			m.quorums.WithLabelValues(check, result)
		}
	}
	for _, c := range []prometheus.Collector{m.attempts, m.durations, m.inFlight, m.queued, m.findings, m.replies, m.waits, m.quorums, m.excused} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("mpic: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *Metrics) begun() {
	if m != nil {
		m.inFlight.Inc()
	}
}

func (m *Metrics) waiting(n int64) {
	if m != nil {
		m.queued.Set(float64(n))
	}
}

// ended counts an attempt. It has the outcome of the answer: without a record there is no decision.
func (m *Metrics) ended(kind Kind, method va.Method, r Result, err error, took time.Duration) {
	if m == nil {
		return
	}
	m.inFlight.Dec()
	outcome, reason := "refused", ""
	switch {
	case err != nil || r.Number == 0:
		outcome = "unrecorded"
	case r.Decision.granted:
		outcome = "granted"
	case len(r.Decision.reasons) > 0:
		reason = r.Decision.reasons[0].Code
	}
	m.attempts.WithLabelValues(kind.String(), method.String(), outcome, reason).Inc()
	m.durations.WithLabelValues(outcome).Observe(took.Seconds())
	if outcome != "unrecorded" {
		m.decided(r)
	}
}

func (m *Metrics) decided(r Result) {
	for _, a := range r.Evidence.Remotes {
		if a.State != Outstanding {
			m.reply(a)
		}
	}
	views := r.Decision.views
	for i, v := range views {
		if i > 0 && r.Evidence.Remotes[i-1].State != Answered {
			continue
		}
		if v.DCV != va.NotChecked {
			m.findings.WithLabelValues(v.Perspective, v.Role.String(), "dcv", v.DCV.String()).Inc()
		}
		if v.CAA != va.NotChecked {
			m.findings.WithLabelValues(v.Perspective, v.Role.String(), "caa", v.CAA.String()).Inc()
		}
		if len(v.CAAExcused) > 0 {
			m.excused.WithLabelValues(v.Perspective).Inc()
		}
	}
	if len(views) == 0 {
		return
	}
	if views[0].DCV == va.Pass {
		m.quorums.WithLabelValues("dcv", quorumResult(r, r.Decision.dcv, View.dcv)).Inc()
	}
	if views[0].CAA == va.Pass {
		m.quorums.WithLabelValues("caa", quorumResult(r, r.Decision.caa, View.caa)).Inc()
	}
}

// quorumResult tells how near to its end a quorum was. A remote that the decision did not wait for is not known to disagree.
func quorumResult(r Result, q Quorum, of func(View) va.Outcome) string {
	disagree, out := 0, 0
	for i, v := range r.Decision.views[1:] {
		switch {
		case of(v) == va.Pass:
		case r.Evidence.Remotes[i].State == Outstanding:
			out++
		default:
			disagree++
		}
	}
	met := q.Corroborated >= q.Attempted-q.Allowed && len(q.Regions) >= r.Decision.policy.MinRegions
	switch {
	case disagree > q.Allowed, !met && out == 0:
		return "missed"
	case !met:
		return "open"
	case disagree == 0:
		return "full"
	case disagree == q.Allowed:
		return "thin"
	default:
		return "spare"
	}
}

// reply counts what became of a question to a remote.
func (m *Metrics) reply(a Attestation) {
	if m == nil {
		return
	}
	m.replies.WithLabelValues(a.Perspective, a.State.String()).Inc()
	if a.State == Answered {
		m.waits.WithLabelValues(a.Perspective).Observe(a.Closed.Sub(a.Asked).Seconds())
	}
}
