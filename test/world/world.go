// Package world is a DNS of its own, with web hosts, on loopback addresses: a signed root, top-level domains and leaf
// zones, served by authoritative name servers over UDP and TCP. Tests of all packages and cmd/quorate-sandbox resolve
// and validate in it as in the real one; it needs no privilege, no network and no other program.
//
// A world has one port for DNS, one for HTTP and one for TLS, the same at all of its addresses. Addresses may be those
// of another world on the same machine; ports never are. Zones are data (Zone), and can be changed while they are served
// (Set, Add, Remove, Edit). Faults (Inject) make servers and answers go wrong. Views (View) show another version of a
// zone to some clients, told apart by their source address: this is how the hijack of one perspective is simulated.
// Default states the zones of the world that the demonstration and most tests use.
package world

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Config states a world.
type Config struct {
	// Zones must hold the root and every ancestor that is to delegate.
	Zones []Zone
	// Faults are in place from the start.
	Faults []Fault
	// Now is the clock that signatures are made by; time.Now where it is nil.
	Now func() time.Time
	// Port is the port of the name servers, for UDP and TCP; a free one where it is 0.
	Port uint16
	// HTTPPort and TLSPort are the ports of the web hosts; free ones where they are 0.
	HTTPPort, TLSPort uint16
	// AnyAddress lets name servers and web hosts stand at any address of the machine: for worlds in a network namespace of their own (see
	// Isolated), where a resolver can work with its doors closed.
	AnyAddress bool
	// OnQuery, if not nil, is called with each query that arrives, before it is answered; it must be safe for concurrent
	// use.
	OnQuery func(Query)
}

// Query is a query as it arrived at a name server.
type Query struct {
	// Server is the address asked and Client the source address.
	Server, Client netip.Addr
	// Transport is "udp" or "tcp".
	Transport string
	// Name is the question's name as it was written, Type its type.
	Name string
	Type uint16
}

// resignAfter is the age at which signatures are made anew, so that a world that is kept up for days stays valid.
const resignAfter = 12 * time.Hour

// World is a running world. All methods are safe for concurrent use.
type World struct {
	now     func() time.Time
	onQuery func(Query)
	ports   ports
	// anyAddress is Config.AnyAddress.
	anyAddress bool
	// state is what the servers answer from; it is replaced, never changed.
	state atomic.Pointer[state]

	// mu guards all below, and is held while state is being replaced.
	mu     sync.Mutex
	zones  map[string]Zone
	rings  map[string]*keyring
	views  []*View
	faults []*Fault
	serial uint32
	epoch  time.Time
	hosts  map[netip.Addr]*Host
	bound  map[netip.Addr]bool
	closed bool

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	sockets sockets
}

// state is one version of the world.
type state struct {
	zones  map[string]*signedZone
	views  []servedView
	faults []*Fault
	epoch  time.Time
}

// New starts a world. Close ends it.
func New(cfg Config) (*World, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &World{
		now: cfg.Now, onQuery: cfg.OnQuery, anyAddress: cfg.AnyAddress, ctx: ctx, cancel: cancel,
		zones: map[string]Zone{}, rings: map[string]*keyring{}, serial: 1, epoch: cfg.Now(),
		hosts: map[netip.Addr]*Host{}, bound: map[netip.Addr]bool{},
	}
	if err := w.start(cfg); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) start(cfg Config) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, z := range cfg.Zones {
		z, err := z.normal(cfg.AnyAddress)
		if err != nil {
			return err
		}
		if _, twice := w.zones[z.Name]; twice {
			return fmt.Errorf("world: zone %s is stated twice", z.Name)
		}
		w.zones[z.Name] = z
	}
	if _, ok := w.zones["."]; !ok {
		return errors.New("world: there is no root zone")
	}
	if err := w.makeKeys(); err != nil {
		return err
	}
	for _, f := range cfg.Faults {
		f, err := f.normal()
		if err != nil {
			return err
		}
		w.faults = append(w.faults, f)
	}
	if err := w.publish(""); err != nil {
		return err
	}
	return w.listen(cfg)
}

// makeKeys makes the keys that zones lack, side by side: RSA keys take a while.
func (w *World) makeKeys() error {
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed error
	var lacking []Zone
	for name, z := range w.zones {
		if ring, ok := w.rings[name]; !ok || !ring.fits(z) {
			lacking = append(lacking, z)
		}
	}
	for _, z := range lacking {
		group.Go(func() {
			ring, err := newKeyring(z)
			mu.Lock()
			defer mu.Unlock()
			w.rings[z.Name] = ring
			failed = errors.Join(failed, err)
		})
	}
	group.Wait()
	return failed
}

// publish builds the zones and shows them to the servers: all zones, or the one named where nothing but its own content
// changed. The caller holds mu.
func (w *World) publish(only string) error {
	next := &state{zones: map[string]*signedZone{}, faults: slices.Clone(w.faults), epoch: w.epoch}
	old := w.state.Load()
	hosts := w.serverHosts()
	for name, z := range w.zones {
		if only != "" && only != name {
			next.zones[name] = old.zones[name]
			continue
		}
		built, err := w.build(z, w.rings[name], hosts)
		if err != nil {
			return err
		}
		next.zones[name] = built
	}
	for _, v := range w.views {
		served, err := v.build(hosts)
		if err != nil {
			return err
		}
		next.views = append(next.views, served)
	}
	w.serial++
	w.state.Store(next)
	return nil
}

func (w *World) build(z Zone, ring *keyring, hosts map[string][]Server) (*signedZone, error) {
	around := surroundings{hosts: hosts, owner: w.zoneOf, serial: w.serial, at: w.epoch}
	for name, child := range w.zones {
		if name == "." || w.zoneOf(parentOf(name)) != z.Name {
			continue
		}
		ds, err := delegationSigner(child, w.rings[name])
		if err != nil {
			return nil, err
		}
		around.children = append(around.children, delegation{zone: child, ds: ds})
	}
	return build(z, ring, around)
}

// zoneOf gives the deepest zone that holds name. The caller holds mu.
func (w *World) zoneOf(name string) string {
	for up := name; up != ""; up = parentOf(up) {
		if _, ok := w.zones[up]; ok {
			return up
		}
	}
	return ""
}

// serverHosts gives the servers of all zones by host name, each address once.
func (w *World) serverHosts() map[string][]Server {
	hosts := map[string][]Server{}
	for _, z := range w.zones {
		for _, s := range z.Servers {
			if !slices.Contains(hosts[s.Host], s) {
				hosts[s.Host] = append(hosts[s.Host], s)
			}
		}
	}
	return hosts
}

// Hints gives the root's name servers.
func (w *World) Hints() []Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.zones["."].Servers)
}

// Zones gives the zones as they are now stated, by name.
func (w *World) Zones() []Zone {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Zone
	for _, z := range w.zones {
		all = append(all, z.clone())
	}
	slices.SortFunc(all, func(a, b Zone) int { return slices.Compare(labelsOf(a.Name), labelsOf(b.Name)) })
	return all
}

// Port is the port of all name servers.
func (w *World) Port() uint16 { return w.ports.dns }

// HTTPPort is the port of all web hosts for HTTP.
func (w *World) HTTPPort() uint16 { return w.ports.http }

// TLSPort is the port of all web hosts for TLS.
func (w *World) TLSPort() uint16 { return w.ports.tls }

// AnchorText gives the trust anchors: the root's DS records in presentation format, one a line.
func (w *World) AnchorText() string {
	var text string
	for _, rr := range w.DS(".") {
		text += rr.String() + "\n"
	}
	return text
}

// DS gives the genuine DS records (SHA-256) of a zone's keys, whatever the parent publishes; none for an unsigned or
// unknown zone.
func (w *World) DS(zone string) []dns.RR {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := dns.CanonicalName(zone)
	ring := w.rings[name]
	if ring == nil {
		return nil
	}
	ds := ring.ksk.record.ToDS(dns.SHA256)
	ds.Hdr.Ttl = ttl
	return []dns.RR{ds}
}

// Close stops all servers and hosts, and waits until everything that they started has ended.
func (w *World) Close() error {
	w.mu.Lock()
	hosts := w.hosts
	w.hosts = map[netip.Addr]*Host{}
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	for _, h := range hosts {
		h.close()
	}
	w.sockets.closeAll()
	w.running.Wait()
	return nil
}
