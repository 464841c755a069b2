package node

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/mpic/perspective"
)

// read gets a page of a monitor.
func read(t *testing.T, m *Monitor, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	response, err := client.Get("http://" + m.addr + path)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

// Operators read metrics and profiles while the node lives.
func TestOperatorsReadMetricsAndProfiles(t *testing.T) {
	var log bytes.Buffer
	registry, err := NewRegistry(config.Metrics{Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	m, err := StartMonitor(t.Context(), config.Metrics{Listen: "127.0.0.1:0"}, registry, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	status, text := read(t, m, "/metrics")
	require.Equal(t, 200, status)
	for _, want := range []string{"go_goroutines ", "process_open_fds "} {
		require.Contains(t, text, want)
	}
	for path, want := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/cmdline": "",
		"/debug/pprof/symbol": "num_symbols"} {
		status, text := read(t, m, path)
		require.Equal(t, 200, status, path)
		require.Contains(t, text, want, path)
	}
	status, _ = read(t, m, "/")
	require.Equal(t, 404, status)
	require.NotContains(t, log.String(), "level=WARN")

	_, err = StartMonitor(t.Context(), config.Metrics{Listen: m.addr}, registry, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "metrics.listen: "+m.addr+" cannot be listened on")
	m.Stop()
	_, err = net.Dial("tcp", m.addr)
	require.Error(t, err, "the port is given back")
}

func TestWithoutMetricsNothingListens(t *testing.T) {
	registry, err := NewRegistry(config.Metrics{})
	require.NoError(t, err)
	require.Nil(t, registry)
	m, err := StartMonitor(t.Context(), config.Metrics{}, registry, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Nil(t, m)
	m.Stop()
}

func TestAPublicMetricsAddressIsWarnedOf(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:1": false, "[::1]:1": false, "10.1.2.3:1": false, "100.64.0.1:1": false, "[fd00::1]:1": false,
		"0.0.0.0:1": true, "[::]:1": true, "8.8.8.8:1": true, "[2a00::1]:1": true} {
		at, err := net.ResolveTCPAddr("tcp", addr)
		require.NoError(t, err)
		require.Equal(t, want, public(at), addr)
	}
	registry, err := NewRegistry(config.Metrics{Listen: ":0"})
	require.NoError(t, err)
	var log bytes.Buffer
	m, err := StartMonitor(t.Context(), config.Metrics{Listen: ":0"}, registry, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	m.Stop()
	require.Contains(t, log.String(), "level=WARN msg=\"metrics and profiles are served at an address that is not private")
}

// A perspective serves its own metrics while it answers, and gives both ports back at its end.
func TestOperatorsReadTheMetricsOfAPerspective(t *testing.T) {
	dir := t.TempDir()
	id, err := perspective.GenerateIdentity("ashburn", time.Now())
	require.NoError(t, err)
	files := perspective.Files{Certificate: filepath.Join(dir, "tls.pem"), TLSKey: filepath.Join(dir, "tls-key.pem"),
		SigningKey: filepath.Join(dir, "signing-key.pem")}
	require.NoError(t, id.Save(files))
	c := config.Perspective{Name: "ashburn", Listen: "127.0.0.1:0", TLS: config.Pair{Certificate: files.Certificate, Key: files.TLSKey},
		SigningKey: files.SigningKey, Gates: []config.GatePin{{Name: "gate", TLSKey: strings.Repeat("0a", 32)},
			{Name: "another", TLSKey: strings.Repeat("0b", 32), InFlight: 8, Rate: 5, Burst: 10}}, Metrics: config.Metrics{Listen: "127.0.0.1:0"}}
	p, err := NewPerspective(t.Context(), c, "quorate test", Doors{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	status, text := read(t, p.monitor, "/metrics")
	require.Equal(t, 200, status)
	for _, gate := range []string{"gate", "another"} { // each has a resolver of its own
		require.Contains(t, text, `quorate_dns_cached_zones{gate="`+gate+`"} 0`+"\n")
		require.Contains(t, text, `quorate_probes_in_flight{gate="`+gate+`"} 0`+"\n")
	}

	c.Metrics.Listen = p.monitor.addr
	_, err = NewPerspective(t.Context(), c, "quorate test", Doors{}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "metrics.listen: ")
	stop()
	require.NoError(t, <-served)
	_, err = net.Dial("tcp", p.monitor.addr)
	require.Error(t, err)
}
