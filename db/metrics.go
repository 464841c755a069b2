package db

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count what one Store writes (docs/operations.md). A nil *Metrics counts nothing.
type Metrics struct {
	commits  prometheus.Histogram
	batches  prometheus.Histogram
	failures prometheus.Counter
}

// NewMetrics registers the metrics of one store. The error is the registry's: another one's metrics are in it.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorate_journal_commit_duration_seconds",
			Help:    "How long transactions took until they were durable.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorate_journal_commit_calls",
			Help: "How many calls shared one transaction.", Buckets: []float64{1, 2, 4, 8, 16, 32, batchLimit}}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "quorate_journal_commit_failures_total",
			Help: "Transactions that were not committed: each call in them was answered with an error."}),
	}
	for _, c := range []prometheus.Collector{m.commits, m.batches, m.failures} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("db: metrics: %w", err)
		}
	}
	return m, nil
}

// transaction counts one transaction and the calls in it.
func (m *Metrics) transaction(calls int, err error, took time.Duration) {
	switch {
	case m == nil:
	case err != nil:
		m.failures.Inc()
	default:
		m.commits.Observe(took.Seconds())
		m.batches.Observe(float64(calls))
	}
}
