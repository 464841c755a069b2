package auditlog

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count the lines of one Log (docs/operations.md). A nil *Metrics counts nothing.
type Metrics struct{ lines *prometheus.CounterVec }

// NewMetrics registers the metrics of one log. The error is the registry's: another one's metrics are in it.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{lines: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_audit_lines_total",
		Help: "Lines of the audit log, written or lost."}, []string{"result"})}
	for _, result := range []string{"written", "lost"} { // so that a rate is seen from the first one on
		m.lines.WithLabelValues(result)
	}
	if err := r.Register(m.lines); err != nil {
		return nil, fmt.Errorf("auditlog: metrics: %w", err)
	}
	return m, nil
}

func (m *Metrics) count(result string) {
	if m != nil {
		m.lines.WithLabelValues(result).Inc()
	}
}
