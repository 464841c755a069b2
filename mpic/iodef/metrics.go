package iodef

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/mpic"
)

// Metrics count what one Reporter does (docs/operations.md). No label is one that others choose. A nil *Metrics counts nothing.
type Metrics struct {
	reports    *prometheus.CounterVec
	unrecorded prometheus.Counter
	waiting    prometheus.Gauge
}

// NewMetrics registers the metrics of one reporter. The error is the registry's: another one's metrics are in it.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_iodef_reports_total",
			Help: "Reports of refused requests (CAA iodef), by the way they go and by what became of them."}, []string{"way", "outcome"}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{Name: "quorate_iodef_unrecorded_total",
			Help: "Reports whose fate could not be put on record, or of which there were too many to do so."}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorate_iodef_waiting", Help: "Refused attempts whose reports wait or are under way."}),
	}
	for _, way := range []string{"mail", "https"} { // so that a rate is seen from the first one on
		for _, outcome := range []mpic.NoticeOutcome{mpic.NoticeDelivered, mpic.NoticeRefused, mpic.NoticeFailed, mpic.NoticeDropped} {
			m.reports.WithLabelValues(way, string(outcome))
		}
	}
	for _, c := range []prometheus.Collector{m.reports, m.unrecorded, m.waiting} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("iodef: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *Metrics) ended(way string, outcome mpic.NoticeOutcome, count int) {
	if m != nil {
		m.reports.WithLabelValues(way, string(outcome)).Add(float64(max(count, 1)))
	}
}

func (m *Metrics) lost(count int) {
	if m != nil {
		m.unrecorded.Add(float64(count))
	}
}

func (m *Metrics) wait(delta float64) {
	if m != nil {
		m.waiting.Add(delta)
	}
}
