package perspective

import (
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/scrape"
)

func TestMetricsOfProbes(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	w := serve(t, pass, func(c *Config, _ *world) {
		var err error
		c.Metrics, err = NewMetrics(registry)
		require.NoError(t, err)
	})
	client := w.bare(t, w.gate)
	probe := marshal(t, newProbe())
	for _, c := range []struct {
		body   []byte
		status int
	}{{probe, 200}, {probe, 409}, {[]byte("{"), 400}} {
		response, p := w.post(t, client, c.body)
		require.Equal(t, c.status, response.StatusCode, "%+v", p)
	}
	response, err := client.Get(w.url + "/")
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	require.NoError(t, response.Body.Close())
	scrape.Require(t, registry, map[string]float64{
		"quorate_probes_total{caa=pass,dcv=pass,gate=gate-1}":              1,
		"quorate_probe_duration_seconds{gate=gate-1}":                      1,
		"quorate_probes_refused_total{code=request.malformed,gate=gate-1}": 1,
		"quorate_probes_refused_total{code=request.path,gate=gate-1}":      1,
		"quorate_probes_refused_total{code=request.replay,gate=gate-1}":    1,
	})
	_, err = NewMetrics(registry)
	require.ErrorAs(t, err, new(prometheus.AlreadyRegisteredError))
}
