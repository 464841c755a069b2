// Package node puts a perspective together from its configuration, and has what a gate and a perspective have in common: the checker,
// metrics, the size of the heap. It needs no database and no gRPC, so that a program of the perspective alone is small.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
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

// Clock gives Now, or time.Now.
func (d Doors) Clock() func() time.Time {
	if d.Now == nil {
		return time.Now
	}
	return d.Now
}

// Identity is what a perspective is called, from where it sends, and for how long: what its checker is made of.
type Identity struct {
	Name, Software string
	// Source is the address from which it sends; empty lets the host choose.
	Source string
	// Resolution bounds one DNS lookup, Check all for one probe; 0 for the defaults.
	Resolution, Check time.Duration
	// Upstream is a remote's alone: the zero AddrPort resolves from the root.
	Upstream netip.AddrPort
	// Metrics are where the resolver's go; nil for none.
	Metrics *prometheus.Registry
	// Gate is whom a remote answers with it: a label of these metrics. Empty for a primary.
	Gate string
}

// NewChecker makes what one perspective checks with. Its resolver is its own and shares nothing (MPIC-07).
func NewChecker(id Identity, doors Doors, log *slog.Logger) (*va.Checker, error) {
	var source netip.Addr
	if id.Source != "" {
		var err error
		if source, err = netip.ParseAddr(id.Source); err != nil {
			return nil, fmt.Errorf("source_address: %w", err)
		}
	}
	metrics, err := Register(id.Metrics, func(r prometheus.Registerer) (*resolver.Metrics, error) {
		if id.Gate != "" {
			r = prometheus.WrapRegistererWith(prometheus.Labels{"gate": id.Gate}, r)
		}
		return resolver.NewMetrics(r)
	})
	if err != nil {
		return nil, err
	}
	r, err := resolver.New(resolver.Config{Hints: doors.Hints, Anchors: doors.Anchors, Port: doors.DNSPort,
		AllowReserved: doors.AllowReserved, SourceAddr: source, Now: doors.Now, Timeout: id.Resolution, Upstream: id.Upstream,
		Logger: log, Metrics: metrics})
	if err != nil {
		return nil, err
	}
	return va.New(va.Config{Name: id.Name, Software: id.Software, Resolver: r, SourceAddr: source, Now: doors.Now, Logger: log,
		Timeout: id.Check, World: doors.World})
}

// Perspective is a remote perspective that is ready to serve.
type Perspective struct {
	server   *perspective.Server
	listener net.Listener
	open     *openChecker
	monitor  *Monitor
}

// NewPerspective loads the keys and begins to listen; Serve answers.
func NewPerspective(ctx context.Context, c config.Perspective, software string, doors Doors, log *slog.Logger) (*Perspective, error) {
	upstream, err := c.Upstream()
	if err != nil {
		return nil, fmt.Errorf("upstream_resolver: %w", err)
	}
	registry, err := NewRegistry(c.Metrics)
	if err != nil {
		return nil, err
	}
	id, err := perspective.LoadIdentity(perspective.Files{Certificate: c.TLS.Certificate, TLSKey: c.TLS.Key, SigningKey: c.SigningKey})
	if err != nil {
		return nil, err
	}
	base := Identity{Name: c.Name, Software: software, Source: c.SourceAddress, Resolution: c.Limits.Resolution, Check: c.Limits.Check,
		Upstream: upstream, Metrics: registry}
	gates, err := gatesOf(c, base, doors, log)
	if err != nil {
		return nil, err
	}
	metrics, err := Register(registry, perspective.NewMetrics)
	if err != nil {
		return nil, err
	}
	server, err := perspective.NewServer(perspective.Config{Identity: id, Gates: gates, Places: c.Limits.InFlight,
		MaxCheck: c.Limits.Check, Logger: log, Metrics: metrics, Now: doors.Clock()})
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %s cannot be listened on: %w", c.Listen, Cause(err))
	}
	open, err := newOpenChecker(ctx, c, base, doors, log)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	monitor, err := StartMonitor(ctx, c.Metrics, registry, log)
	if err != nil {
		return nil, errors.Join(err, listener.Close(), open.close())
	}
	return &Perspective{server: server, listener: listener, open: open, monitor: monitor}, nil
}

// gatesOf gives each gate a checker of its own, so that the memory of no resolver serves two (MPIC-07). Its log lines and metrics bear
// the gate's name.
func gatesOf(c config.Perspective, base Identity, doors Doors, log *slog.Logger) ([]perspective.Gate, error) {
	var gates []perspective.Gate
	for _, g := range c.Gates {
		own := base
		own.Gate = g.Name
		check, err := NewChecker(own, doors, log.With("gate", g.Name))
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

// OpenMPICAddr is where Open MPIC coordinators are answered; empty where none are.
func (p *Perspective) OpenMPICAddr() string {
	if p.open == nil {
		return ""
	}
	return p.open.listener.Addr().String()
}

// Serve answers probes until ctx ends, and lets those in flight come to their end.
func (p *Perspective) Serve(ctx context.Context) error {
	defer p.monitor.Stop()
	return p.open.beside(ctx, func(ctx context.Context) error { return p.server.Serve(ctx, p.listener) })
}

// RunPerspective is a whole perspective, from its configuration's file until ctx ends: a program. It writes its log to w, as the configuration
// says; ready, if not nil, is called when it listens.
func RunPerspective(ctx context.Context, file, software string, doors Doors, w io.Writer, ready func()) error {
	c, err := config.LoadPerspective(file)
	if err != nil {
		return err
	}
	log := StartLog(w, c.Log)
	defer OutliveHangups(log)()
	defer KeepHeap(PerspectiveHeap)()
	p, err := NewPerspective(ctx, c, software, doors, log)
	if err != nil {
		return err
	}
	log.Info("the perspective is ready", "name", c.Name, "address", p.Addr(), "software", software, "gates", len(c.Gates))
	if ready != nil {
		ready()
	}
	return p.Serve(ctx)
}

// OutliveHangups keeps SIGHUP, which a rotation or a reload sends, from ending a program that has nothing to read anew, until stop is called.
func OutliveHangups(log *slog.Logger) (stop func()) {
	hup, quit := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hup:
				log.Info("SIGHUP: nothing is read anew; a changed configuration holds after a restart")
			case <-quit:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hup)
		close(quit)
	}
}

// StartLog gives the logger of a program, which writes what operators want to know. Package log writes by it from now on: to that net/http says
// what a peer did wrong, with the peer's own octets, and they stand in the form and at the level of the rest.
func StartLog(w io.Writer, c config.Log) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Level)); err != nil { // the configuration allows "" and slog's own names
		l = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: l}
	log := slog.New(slog.NewTextHandler(w, options))
	if c.Format == "json" {
		log = slog.New(slog.NewJSONHandler(w, options))
	}
	slog.SetDefault(log)
	return log
}
