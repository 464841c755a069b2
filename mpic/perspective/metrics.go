package perspective

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/va"
)

// Metrics count what one Server does (docs/operations.md). Labels are this program's own words and the names of the configured
// gates. A nil *Metrics counts nothing.
type Metrics struct {
	probes    *prometheus.CounterVec
	durations *prometheus.HistogramVec
	refused   *prometheus.CounterVec
	inFlight  *prometheus.GaugeVec
}

// NewMetrics registers the metrics of one server. The error is the registry's: another one's metrics are in it.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_probes_total",
			Help: "Probes answered, with the outcome of both checks."}, []string{"gate", "dcv", "caa"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "quorate_probe_duration_seconds",
			Help:    "How long probes took that were answered, from their arrival to the signed report.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80}}, []string{"gate"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_probes_refused_total",
			Help: "Requests refused, by code; gate is empty where the connection was no gate's."}, []string{"gate", "code"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "quorate_probes_in_flight",
			Help: "Probes of a gate that are being answered."}, []string{"gate"}),
	}
	for _, c := range []prometheus.Collector{m.probes, m.durations, m.refused, m.inFlight} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("perspective: metrics: %w", err)
		}
	}
	return m, nil
}

// knows makes the series of a configured gate, so that a rate is seen from its first refusal on.
func (m *Metrics) knows(gate string) {
	if m == nil {
		return
	}
	m.inFlight.WithLabelValues(gate)
	for _, code := range []string{"request.rate", "perspective.overload", "perspective.connections"} {
		m.refused.WithLabelValues(gate, code)
	}
}

func (m *Metrics) entered(gate string) {
	if m != nil {
		m.inFlight.WithLabelValues(gate).Inc()
	}
}

func (m *Metrics) left(gate string) {
	if m != nil {
		m.inFlight.WithLabelValues(gate).Dec()
	}
}

func (m *Metrics) answered(gate string, r va.Report, took time.Duration) {
	if m == nil {
		return
	}
	m.probes.WithLabelValues(gate, r.DCV.Outcome.String(), r.CAA.Outcome.String()).Inc()
	m.durations.WithLabelValues(gate).Observe(took.Seconds())
}

func (m *Metrics) refuse(gate, code string) {
	if m != nil {
		m.refused.WithLabelValues(gate, code).Inc()
	}
}
