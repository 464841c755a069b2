package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/va/reserved"
)

// NewRegistry makes the registry of one node, nil where its operators want no metrics.
func NewRegistry(c config.Metrics) (*prometheus.Registry, error) {
	if c.Listen == "" {
		return nil, nil
	}
	r := prometheus.NewRegistry()
	return r, errors.Join(r.Register(collectors.NewGoCollector()), r.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
}

// Register makes the metrics of one part of a node: nil without a registry.
func Register[M any](r *prometheus.Registry, newMetrics func(prometheus.Registerer) (*M, error)) (*M, error) {
	if r == nil {
		return nil, nil
	}
	return newMetrics(r)
}

// Monitor serves operators: metrics and Go's profiles, over plain HTTP. A nil *Monitor serves nobody.
type Monitor struct {
	addr   string
	server *http.Server
	served chan error
	log    *slog.Logger
}

const (
	// monitorConnections bounds the connections of operators.
	monitorConnections = 16
	// monitorTime bounds one answer: a profile or a trace takes as long as it was asked for.
	monitorTime = 2 * time.Minute
	// monitorGrace is how long an answer may take to end when the node does.
	monitorGrace = time.Second
)

// StartMonitor listens and answers until Stop is called; without a registry it does nothing.
func StartMonitor(ctx context.Context, c config.Metrics, registry *prometheus.Registry, log *slog.Logger) (*Monitor, error) {
	if registry == nil {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("metrics.listen: %s cannot be listened on: %w", c.Listen, Cause(err))
	}
	mux := http.NewServeMux()
	errorLog := slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: errorLog}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	m := &Monitor{addr: listener.Addr().String(), log: log, served: make(chan error, 1), server: &http.Server{Handler: mux, ReadTimeout: 10 * time.Second,
		WriteTimeout: monitorTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: errorLog}}
	go func() { m.served <- m.server.Serve(netutil.LimitListener(listener, monitorConnections)) }()
	log.Info("metrics and profiles are served", "metrics_address", m.addr)
	if public(listener.Addr()) {
		log.Warn("metrics and profiles are served at an address that is not private: whoever reaches it reads them, and can slow "+
			"this host down", "metrics_address", m.addr)
	}
	return m, nil
}

// public tells whether an address is reached from beyond private networks, as all addresses of a host may be.
func public(addr net.Addr) bool {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil || at.Addr().IsUnspecified() {
		return true
	}
	_, private := reserved.Reserved(at.Addr().Unmap())
	return !private
}

// Stop lets answers come to their end for a moment, and gives the port back.
func (m *Monitor) Stop() {
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), monitorGrace)
	defer cancel()
	if err := m.server.Shutdown(ctx); err != nil {
		_ = m.server.Close() // nothing is left to be done about connections that do not close
	}
	if err := <-m.served; !errors.Is(err, http.ErrServerClosed) {
		m.log.Error("metrics were served no longer", "error", err)
	}
}

// Cause is what was wrong with an address, without the address.
func Cause(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Err
	}
	return err
}
