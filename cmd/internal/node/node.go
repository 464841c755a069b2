// Package node puts a gate and a perspective together from their configurations: resolver, checker, roster, remotes,
// records, coordinator and front.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Doors are what a world in a box needs and the real one must not have: another DNS root, other ports, reserved addresses,
// another clock (docs/design.md, invariant 8). The zero Doors are closed. No file, flag or environment variable reaches
// them; cmd/quorate gives the zero value alone, which a test of this package holds it to (F10).
type Doors struct {
	Hints   []resolver.Hint
	Anchors []dnssec.Anchor
	DNSPort uint16
	// AllowReserved lets name servers stand at reserved addresses; World does so for web hosts.
	AllowReserved bool
	World         va.World
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

func (d Doors) clock() func() time.Time {
	if d.Now == nil {
		return time.Now
	}
	return d.Now
}

// identity is what a node is called, from where it sends, and for how long.
type identity struct {
	name, software, source string
	resolution, check      time.Duration
	// upstream is a remote's alone: the zero AddrPort resolves from the root.
	upstream netip.AddrPort
	// metrics are where the resolver's go; nil for none.
	metrics *prometheus.Registry
	// gate is whom a remote answers with it: a label of these metrics. Empty for a primary.
	gate string
}

// checker makes what one perspective checks with. Its resolver is its own and shares nothing (MPIC-07).
func checker(id identity, doors Doors, log *slog.Logger) (*va.Checker, error) {
	var source netip.Addr
	if id.source != "" {
		var err error
		if source, err = netip.ParseAddr(id.source); err != nil {
			return nil, fmt.Errorf("source_address: %w", err)
		}
	}
	metrics, err := register(id.metrics, func(r prometheus.Registerer) (*resolver.Metrics, error) {
		if id.gate != "" {
			r = prometheus.WrapRegistererWith(prometheus.Labels{"gate": id.gate}, r)
		}
		return resolver.NewMetrics(r)
	})
	if err != nil {
		return nil, err
	}
	r, err := resolver.New(resolver.Config{Hints: doors.Hints, Anchors: doors.Anchors, Port: doors.DNSPort,
		AllowReserved: doors.AllowReserved, SourceAddr: source, Now: doors.Now, Timeout: id.resolution, Upstream: id.upstream,
		Logger: log, Metrics: metrics})
	if err != nil {
		return nil, err
	}
	return va.New(va.Config{Name: id.name, Software: id.software, Resolver: r, SourceAddr: source, Now: doors.Now, Logger: log,
		Timeout: id.check, World: doors.World})
}

// Perspective is a remote perspective that is ready to serve.
type Perspective struct {
	server   *perspective.Server
	listener net.Listener
	open     *openChecker
	monitor  *monitor
}

// NewPerspective loads the keys and begins to listen; Serve answers.
func NewPerspective(ctx context.Context, c config.Perspective, software string, doors Doors, log *slog.Logger) (*Perspective, error) {
	upstream, err := c.Upstream()
	if err != nil {
		return nil, fmt.Errorf("upstream_resolver: %w", err)
	}
	registry, err := newRegistry(c.Metrics)
	if err != nil {
		return nil, err
	}
	id, err := perspective.LoadIdentity(perspective.Files{Certificate: c.TLS.Certificate, TLSKey: c.TLS.Key, SigningKey: c.SigningKey})
	if err != nil {
		return nil, err
	}
	base := identity{name: c.Name, software: software, source: c.SourceAddress, resolution: c.Limits.Resolution, check: c.Limits.Check,
		upstream: upstream, metrics: registry}
	gates, err := gatesOf(c, base, doors, log)
	if err != nil {
		return nil, err
	}
	metrics, err := register(registry, perspective.NewMetrics)
	if err != nil {
		return nil, err
	}
	server, err := perspective.NewServer(perspective.Config{Identity: id, Gates: gates, Places: c.Limits.InFlight,
		MaxCheck: c.Limits.Check, Logger: log, Metrics: metrics, Now: doors.clock()})
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %s cannot be listened on: %w", c.Listen, cause(err))
	}
	open, err := newOpenChecker(ctx, c, base, doors, log)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	monitor, err := startMonitor(ctx, c.Metrics, registry, log)
	if err != nil {
		return nil, errors.Join(err, listener.Close(), open.close())
	}
	return &Perspective{server: server, listener: listener, open: open, monitor: monitor}, nil
}

// gatesOf gives each gate a checker of its own, so that the memory of no resolver serves two (MPIC-07). Its log lines and metrics bear
// the gate's name.
func gatesOf(c config.Perspective, base identity, doors Doors, log *slog.Logger) ([]perspective.Gate, error) {
	var gates []perspective.Gate
	for _, g := range c.Gates {
		own := base
		own.gate = g.Name
		check, err := checker(own, doors, log.With("gate", g.Name))
		if err != nil {
			return nil, err
		}
		gates = append(gates, perspective.Gate{Name: g.Name, TLSKey: g.TLSKey, InFlight: g.InFlight, Rate: g.Rate, Burst: g.Burst,
			Checker: check})
	}
	return gates, nil
}

// Addr is where the perspective listens.
func (p *Perspective) Addr() string { return p.listener.Addr().String() }

// Serve answers probes until ctx ends, and lets those in flight come to their end.
func (p *Perspective) Serve(ctx context.Context) error {
	defer p.monitor.stop()
	return p.open.beside(ctx, func(ctx context.Context) error { return p.server.Serve(ctx, p.listener) })
}
