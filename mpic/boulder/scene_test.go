package boulder

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// places are the primary's and the remotes'; each sends from an address of its own.
var places = []struct {
	name      string
	region    mpic.Region
	lat, long float64
}{
	{"zurich", mpic.RIPE, 47.4, 8.5}, {"virginia", mpic.ARIN, 39.0, -77.5}, {"sao-paulo", mpic.LACNIC, -23.5, -46.6},
	{"johannesburg", mpic.AFRINIC, -26.2, 28.0}, {"tokyo", mpic.APNIC, 35.7, 139.7}, {"stockholm", mpic.RIPE, 59.3, 18.1},
}

func sourceOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 6, 0, byte(1 + i)}) }

// ledger is a journal in memory, which can be out of order.
type ledger struct {
	mu           sync.Mutex
	open         []mpic.Attempt
	closed       []mpic.Evidence
	opens, shuts error
}

func (l *ledger) Open(_ context.Context, a mpic.Attempt, _ mpic.Roster) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, a)
	return int64(len(l.open)), l.opens
}

func (l *ledger) Close(_ context.Context, e mpic.Evidence, _ mpic.Decision) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = append(l.closed, e)
	return l.shuts
}

func (l *ledger) Late(context.Context, mpic.Attempt, mpic.Attestation) error { return nil }

// neighbour is a remote in this process.
type neighbour struct {
	member  mpic.Member
	checker *va.Checker
}

func (n neighbour) Member() mpic.Member { return n.member }

func (n neighbour) Attest(ctx context.Context, p va.Probe) mpic.Attestation {
	report := n.checker.Check(ctx, p)
	return mpic.Attestation{Perspective: n.member.Name, State: mpic.Answered, Report: &report}
}

// scene is a gate with the front for Boulder in front of it, in a world of its own.
type scene struct {
	t       *testing.T
	world   *world.World
	ledger  *ledger
	pki     *pki
	config  Config
	log     *logged
	address string
	stop    func() error
}

// logged is what was logged so far.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newScene(t *testing.T, change func(*Config)) *scene {
	t.Helper()
	return newSceneOf(t, func(*mpic.Config) {}, change)
}

func newSceneOf(t *testing.T, gate func(*mpic.Config), change func(*Config)) *scene {
	t.Helper()
	w, err := world.New(world.Default())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	s := &scene{t: t, world: w, ledger: &ledger{}, pki: newPKI(t), log: &logged{}}
	c := mpic.Config{Journal: s.ledger, Issuers: []string{"ca.example.net"}, Software: "quorate/test", Deadline: 20 * time.Second,
		GrantGrace: 20 * time.Second, RefusalGrace: 20 * time.Second}
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)
	for i, p := range places {
		rc := resolver.Config{Anchors: anchors, Port: w.Port(), AllowReserved: true, SourceAddr: sourceOf(i)}
		for _, h := range w.Hints() {
			rc.Hints = append(rc.Hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
		}
		r, err := resolver.New(rc)
		require.NoError(t, err)
		checker, err := va.New(va.Config{Name: p.name, Software: "quorate/test", Resolver: r, SourceAddr: sourceOf(i),
			World: va.World{HTTPPort: w.HTTPPort(), TLSPort: w.TLSPort(), AllowReserved: true}})
		require.NoError(t, err)
		place := mpic.Place{Region: p.region, Latitude: p.lat, Longitude: p.long}
		m := mpic.Member{Name: p.name, Title: p.name, Place: place, Resolver: place}
		if i == 0 {
			c.Roster.Primary, c.Primary = m, checker
			continue
		}
		m.URL, m.TLSKey, m.SigningKey = "https://"+p.name+".test", "tls-"+p.name, "sig-"+p.name
		c.Roster.Remotes, c.Remotes = append(c.Roster.Remotes, m), append(c.Remotes, neighbour{m, checker})
	}
	gate(&c)
	g, err := mpic.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close(context.Background())) })
	s.config = Config{Coordinator: g, Primary: c.Roster.Primary, Certificate: s.pki.show("va.boulder", "127.0.0.1"), ClientCAs: s.pki.roots,
		Clients:  Clients{VA: []string{"ra.boulder", "ra2.boulder"}, CAA: []string{"ra.boulder"}, Health: []string{"health-checker.boulder"}},
		Accounts: accounts, Ready: func(context.Context) error { return nil }, Logger: slog.New(slog.NewTextHandler(s.log, nil))}
	if change != nil {
		change(&s.config)
	}
	s.serve()
	s.host("example.com") // hosts listen from the first time that they are asked for
	s.host("example.org")
	return s
}

func (s *scene) serve() {
	s.t.Helper()
	server, err := NewServer(s.config)
	require.NoError(s.t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	s.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener, 10*time.Second) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	s.t.Cleanup(func() { require.NoError(s.t, s.stop()) })
}

// dial connects as a client of some names; without any it has no certificate.
func (s *scene) dial(names ...string) *grpc.ClientConn {
	s.t.Helper()
	c := &tls.Config{RootCAs: s.pki.roots, ServerName: "va.boulder"}
	if len(names) > 0 {
		c.Certificates = []tls.Certificate{s.pki.issue(names...)}
	}
	return s.dialTLS(c)
}

func (s *scene) dialTLS(c *tls.Config) *grpc.ClientConn {
	s.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { s.closeConn(conn) })
	return conn
}

// closeConn closes a connection that may be closed already.
func (s *scene) closeConn(conn *grpc.ClientConn) {
	if err := conn.Close(); err != nil {
		require.Equal(s.t, codes.Canceled, status.Code(err), err)
	}
}

func (s *scene) host(name string) *world.Host {
	s.t.Helper()
	for _, z := range s.world.Zones() {
		if strings.TrimSuffix(z.Name, ".") == name {
			found := regexp.MustCompile(`\sA\s+(127\.0\.80\.\d+)`).FindStringSubmatch(z.Records)
			require.NotNil(s.t, found)
			h, err := s.world.Host(netip.MustParseAddr(found[1]))
			require.NoError(s.t, err)
			return h
		}
	}
	s.t.Fatalf("no zone %s", name)
	return nil
}

func dcvFor(name, method string) *vapb.PerformValidationRequest {
	return &vapb.PerformValidationRequest{Identifier: dnsName(name), Challenge: &corepb.Challenge{Type: method, Status: "pending", Token: token},
		Authz: &vapb.AuthzMeta{Id: 4711, RegID: 7}, ExpectedKeyAuthorization: probe(va.HTTP01, mpic.DCVAlone).Request.KeyAuthorization}
}

func caaFor(name, method string) *vapb.IsCAAValidRequest {
	return &vapb.IsCAAValidRequest{Identifier: dnsName(name), ValidationMethod: method, AccountURIID: 7, AuthzID: 4711}
}
