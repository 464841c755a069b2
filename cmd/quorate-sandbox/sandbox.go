package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/quorate/quorate/acme/pebble"
	"github.com/quorate/quorate/cmd/quorate-sandbox/internal/doors"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// issuer is the sandbox CA's Issuer Domain Name: what a CAA record must name to permit it.
const issuer = "ca.quorate.net"

// site is a perspective's place on Earth, as a roster has it, and its place on this machine.
type site struct {
	name, title         string
	region              mpic.Region
	latitude, longitude float64
	// source is the loopback address that its packets come from: name servers and web hosts of the world tell perspectives
	// apart by it.
	source string
}

// sites are the primary and then the remotes. All are real cities, each in another's region but Prague and Stockholm, and
// 500 km or more apart.
var sites = [...]site{
	{"prague", "Prague", mpic.RIPE, 50.08, 14.44, "127.1.0.100"},
	{"ashburn", "Ashburn", mpic.ARIN, 39.04, -77.49, "127.1.0.1"},
	{"sao-paulo", "São Paulo", mpic.LACNIC, -23.55, -46.63, "127.1.0.2"},
	{"johannesburg", "Johannesburg", mpic.AFRINIC, -26.20, 28.05, "127.1.0.3"},
	{"singapore", "Singapore", mpic.APNIC, 1.35, 103.82, "127.1.0.4"},
	{"stockholm", "Stockholm", mpic.RIPE, 59.33, 18.07, "127.1.0.5"},
}

func (s site) member() mpic.Member {
	p := mpic.Place{Region: s.region, Latitude: s.latitude, Longitude: s.longitude}
	return mpic.Member{Name: s.name, Title: s.title, Place: p, Resolver: p}
}

func (s site) addr() netip.Addr { return netip.MustParseAddr(s.source) }

// sandbox is the running world.
type sandbox struct {
	dir     string
	listen  string // the ACME server's address and port
	verbose bool
	log     *slog.Logger
	doors   doors.Doors

	world  *world.World
	gate   *perspective.Identity
	keys   []perspective.Files // of the remotes, in the order of sites[1:]
	agents []*agent
	roster mpic.Roster
	// books are all records: the first is the gate's, whose store is store.
	books   []*book
	store   *db.Store
	gateway *mpic.Coordinator
	permits *mpic.Permits
	// links are the connections to the remotes.
	links []*perspective.Remote

	acme      *pebble.Server
	acmeURL   string
	roots     *x509.CertPool
	rootsFile string
	https     *http.Server
	results   results
}

// anyPort lets the ACME server take a free port, for this machine alone.
const anyPort = "127.0.0.1:0"

// newSandbox starts everything, in a directory of its own. Close ends it; the directory is the caller's.
func newSandbox(ctx context.Context, dir, listen string, verbose bool, step func(string)) (*sandbox, error) {
	s := &sandbox{dir: dir, listen: listen, verbose: verbose, log: logger(os.Stderr, verbose)}
	for _, part := range []struct {
		what  string
		start func(context.Context) error
	}{
		{"a DNS of its own: signed root, top-level domains and zones", s.startWorld},
		{"five remote perspectives, each a process with keys and a resolver of its own", s.startAgents},
		{"the gate: primary perspective, roster, journal", s.startGate},
		{"Pebble, with the gate in the place of its VA", s.startACME},
	} {
		step(part.what)
		if err := part.start(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("starting %s: %w", part.what, err), s.Close())
		}
	}
	return s, nil
}

func (s *sandbox) startWorld(context.Context) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	s.world = w
	s.doors = doors.Doors{Anchors: w.AnchorText(), DNSPort: w.Port(), HTTPPort: w.HTTPPort(), TLSPort: w.TLSPort()}
	for _, h := range w.Hints() {
		s.doors.Hints = append(s.doors.Hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
	}
	return s.writeRoot()
}

// startAgents makes the keys, fills the roster and starts the remotes side by side.
func (s *sandbox) startAgents(ctx context.Context) error {
	var err error
	if s.gate, err = perspective.GenerateGateIdentity("sandbox gate", time.Now()); err != nil {
		return err
	}
	s.roster.Primary = sites[0].member()
	for _, site := range sites[1:] {
		id, err := perspective.GenerateIdentity(site.name, time.Now())
		if err != nil {
			return err
		}
		base := filepath.Join(s.dir, site.name)
		files := perspective.Files{Certificate: base + ".crt", TLSKey: base + ".tls.key", SigningKey: base + ".signing.key"}
		if err := id.Save(files); err != nil {
			return err
		}
		port, err := freePort(site.source)
		if err != nil {
			return err
		}
		m := site.member()
		m.URL, m.TLSKey, m.SigningKey = fmt.Sprintf("https://%s:%d", site.source, port), id.TLSKey(), id.SigningKey()
		s.keys, s.roster.Remotes = append(s.keys, files), append(s.roster.Remotes, m)
	}
	s.agents = make([]*agent, len(s.roster.Remotes))
	errs := make([]error, len(s.agents))
	var group sync.WaitGroup
	for i := range s.agents {
		group.Go(func() { s.agents[i], errs[i] = s.startRemote(ctx, i, s.keys[i]) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// startRemote starts the remote at its place in the roster, with the keys given: in the demonstration also another's.
func (s *sandbox) startRemote(ctx context.Context, i int, keys perspective.Files) (*agent, error) {
	site, m := sites[i+1], s.roster.Remotes[i]
	return startAgent(ctx, agentConfig{Name: m.Name, Listen: m.URL[len("https://"):], Source: site.addr(), Keys: keys, Doors: s.doors,
		Gates: []perspective.Gate{{Name: "sandbox", TLSKey: s.gate.TLSKey()}}, Verbose: s.verbose}, os.Stderr)
}

// freePort finds a port that nothing listens on at an address.
func freePort(addr string) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		return 0, fmt.Errorf("this machine does not let us listen on %s (on Linux all of 127.0.0.0/8 is loopback): %w", addr, err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

func (s *sandbox) startGate(ctx context.Context) error {
	records, err := s.openBook(ctx, "journal", time.Now)
	if err != nil {
		return err
	}
	s.store = records.store
	for _, m := range s.roster.Remotes {
		link, err := perspective.NewRemote(perspective.ClientConfig{Member: m, Others: s.roster.Remotes, Identity: s.gate, Logger: s.log, Now: time.Now})
		if err != nil {
			return err
		}
		s.links = append(s.links, link)
	}
	if s.gateway, err = s.coordinator(s.roster, s.store, time.Now); err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	if err := savePermitsKey(filepath.Join(s.dir, "permits-key.pem.pub"), key.Public()); err != nil {
		return err
	}
	s.permits, err = mpic.NewPermits(mpic.PermitsConfig{Coordinator: s.gateway, Ledger: s.store.Ledger(), Signer: key, Logger: s.log})
	return err
}

// savePermitsKey writes the public key that permits are verified with. The private one is this run's alone.
func savePermitsKey(file string, key crypto.PublicKey) error {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}

// coordinator makes a gate over the first of the remotes that a roster has.
func (s *sandbox) coordinator(roster mpic.Roster, store *db.Store, now func() time.Time) (*mpic.Coordinator, error) {
	checker, err := newChecker(s.doors, roster.Primary.Name, sites[0].addr(), s.log)
	if err != nil {
		return nil, err
	}
	var remotes []mpic.Remote
	for i := range roster.Remotes {
		remotes = append(remotes, s.links[i])
	}
	return mpic.New(mpic.Config{Roster: roster, Primary: checker, Remotes: remotes, Journal: store.Journal(), Issuers: []string{issuer},
		Software: software(), Logger: s.log, Now: now, Deadline: 10 * time.Second,
		// A person looks at the table: it is worth a moment to have every perspective's view in it.
		GrantGrace: time.Second, RefusalGrace: 4 * time.Second})
}

func (s *sandbox) startACME(context.Context) error {
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("the ACME server: %w", err)
	}
	ip := listener.Addr().(*net.TCPAddr).IP
	if ip.IsUnspecified() {
		ip = net.IPv4(127, 0, 0, 1)
	}
	cert, pool, text, err := serverCertificate(ip)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.roots, s.rootsFile = pool, filepath.Join(s.dir, "acme-tls.pem")
	if err := os.WriteFile(s.rootsFile, text, 0o644); err != nil {
		return errors.Join(err, listener.Close())
	}
	base := "https://" + reachable(listener.Addr())
	s.acmeURL = base + pebble.DirectoryPath
	s.acme, err = pebble.New(pebble.Config{URL: base, Gate: s.gateway, Permits: s.permits, Issuers: []string{issuer}, Logger: s.log,
		OnResult: s.results.add, OnIssuance: s.results.issued})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.https = &http.Server{Handler: s.acme, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}}
	go func() { _ = s.https.ServeTLS(listener, "", "") }() // ends with Close
	return nil
}

// reachable is how clients call a listener: one at all addresses of a container is published at the host's loopback.
func reachable(at net.Addr) string {
	addr := at.(*net.TCPAddr)
	if addr.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(addr.Port))
	}
	return addr.String()
}

// quiet ends the ACME server and the gate, and returns when everything that they have begun is on record.
func (s *sandbox) quiet(ctx context.Context) error {
	var errs []error
	if s.https != nil {
		errs = append(errs, s.https.Close())
	}
	if s.acme != nil {
		errs = append(errs, s.acme.Close(ctx))
	}
	if s.gateway != nil {
		errs = append(errs, s.gateway.Close(ctx))
	}
	return errors.Join(errs...)
}

// endTime is for how long what runs is waited for at the end.
const endTime = 15 * time.Second

// Close ends everything that newSandbox started, and waits for it.
func (s *sandbox) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	errs := []error{s.quiet(ctx)}
	for _, l := range s.links {
		l.Close()
	}
	for _, a := range s.agents {
		if a != nil {
			errs = append(errs, a.stop())
		}
	}
	for _, b := range s.books {
		errs = append(errs, b.close(ctx))
	}
	if s.world != nil {
		errs = append(errs, s.world.Close())
	}
	return errors.Join(errs...)
}

// results collects what the gate decided, as the ACME front tells it.
type results struct {
	mu        sync.Mutex
	all       []mpic.Result
	issuances []pebble.Issuance
	err       error
	// told, if set, is called with each result; toldIssuance with what became of each order that was finalized.
	told         func(va.Request, mpic.Result, error)
	toldIssuance func(pebble.Issuance)
}

func (r *results) add(_ string, req va.Request, result mpic.Result, err error) {
	r.mu.Lock()
	told := r.told
	if err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("%s: %w", req.Identifier, err))
	} else {
		r.all = append(r.all, result)
	}
	r.mu.Unlock()
	if told != nil {
		told(req, result, err)
	}
}

func (r *results) issued(i pebble.Issuance) {
	r.mu.Lock()
	told := r.toldIssuance
	r.issuances = append(r.issuances, i)
	if i.Err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("order %s: %w", i.Order, i.Err))
	}
	r.mu.Unlock()
	if told != nil {
		told(i)
	}
}

// take gives what came since the last call.
func (r *results) take() ([]mpic.Result, []pebble.Issuance, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, issuances, err := r.all, r.issuances, r.err
	r.all, r.issuances, r.err = nil, nil, nil
	return all, issuances, err
}
