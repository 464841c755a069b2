// Package scrape reads metrics in tests, as Prometheus would.
package scrape

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// Series gives the values of all series by name and labels, "name{label=value,...}"; of a histogram, the number of observations.
func Series(t testing.TB, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue() +
				float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// Require holds series to their values. One that is not there is not 0.
func Require(t testing.TB, registry prometheus.Gatherer, want map[string]float64) {
	t.Helper()
	all := Series(t, registry)
	for s, value := range want {
		require.Contains(t, all, s)
		require.Equal(t, value, all[s], s)
	}
}
