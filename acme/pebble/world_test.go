package pebble_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	acmeclient "github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/acme/pebble"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// members are the perspectives; each asks from a loopback address of its own, 127.0.1.1 and up, the primary first.
var members = []struct {
	name      string
	region    mpic.Region
	lat, long float64
}{
	{"zurich", mpic.RIPE, 47.4, 8.5}, {"virginia", mpic.ARIN, 39.0, -77.5}, {"sao-paulo", mpic.LACNIC, -23.5, -46.6},
	{"johannesburg", mpic.AFRINIC, -26.2, 28.0}, {"tokyo", mpic.APNIC, 35.7, 139.7}, {"stockholm", mpic.RIPE, 59.3, 18.1},
}

func source(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}) }

func prefix(i int) netip.Prefix { return netip.PrefixFrom(source(i), 32) }

// neighbour is a remote in this process: a checker of its own, without the network between.
type neighbour struct {
	member  mpic.Member
	checker *va.Checker
}

func (n neighbour) Member() mpic.Member { return n.member }

func (n neighbour) Attest(ctx context.Context, p va.Probe) mpic.Attestation {
	asked := time.Now().UTC().Round(0)
	report := n.checker.Check(ctx, p)
	return mpic.Attestation{Perspective: n.member.Name, State: mpic.Answered, Report: &report,
		Asked: asked, Closed: time.Now().UTC().Round(0)}
}

// scene is a world, a gate with its records, and Pebble behind it: nothing in it is a double but the network to the
// remotes.
type scene struct {
	t       *testing.T
	world   *world.World
	records *db.Store
	client  *acmez.Client
	account acmeclient.Account
}

func newScene(t *testing.T, solvers func(*world.World) map[string]acmez.Solver, wrap ...func(mpic.Ledger) mpic.Ledger) *scene {
	t.Helper()
	w, err := world.New(world.Default())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	records, err := db.Open(t.Context(), db.Config{Path: filepath.Join(t.TempDir(), "records.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, records.Close()) })

	c := mpic.Config{Journal: records.Journal(), Issuers: []string{"ca.example.net"}, Software: "quorate/test",
		RefusalGrace: time.Millisecond}
	for i, m := range members {
		place := mpic.Place{Region: m.region, Latitude: m.lat, Longitude: m.long}
		member := mpic.Member{Name: m.name, Title: m.name, Place: place, Resolver: place}
		if i == 0 {
			c.Roster.Primary, c.Primary = member, checker(t, w, i)
			continue
		}
		member.URL, member.TLSKey, member.SigningKey = "https://"+m.name+".test", "tls-"+m.name, "sig-"+m.name
		c.Roster.Remotes = append(c.Roster.Remotes, member)
		c.Remotes = append(c.Remotes, neighbour{member, checker(t, w, i)})
	}
	gate, err := mpic.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, gate.Close(context.Background())) })

	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	var ledger mpic.Ledger = records.Ledger()
	for _, f := range wrap {
		ledger = f(ledger)
	}
	permits, err := mpic.NewPermits(mpic.PermitsConfig{Coordinator: gate, Ledger: ledger, Signer: signer})
	require.NoError(t, err)

	h := httptest.NewUnstartedServer(nil)
	server, err := pebble.New(pebble.Config{URL: "https://" + h.Listener.Addr().String(), Gate: gate, Permits: permits, Issuers: c.Issuers})
	require.NoError(t, err)
	h.Config.Handler = server
	h.StartTLS()
	t.Cleanup(func() {
		h.Close()
		require.NoError(t, server.Close(context.Background()))
	})

	protocol := &acmeclient.Client{Directory: h.URL + pebble.DirectoryPath, HTTPClient: h.Client(),
		PollInterval: 20 * time.Millisecond}
	s := &scene{t: t, world: w, records: records, client: &acmez.Client{Client: protocol, ChallengeSolvers: solvers(w)}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s.account, err = s.client.NewAccount(t.Context(), acmeclient.Account{TermsOfServiceAgreed: true, PrivateKey: key})
	require.NoError(t, err)
	return s
}

func checker(t *testing.T, w *world.World, i int) *va.Checker {
	t.Helper()
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)
	var hints []resolver.Hint
	for _, s := range w.Hints() {
		hints = append(hints, resolver.Hint{Name: s.Host, Addrs: []netip.Addr{s.Addr}})
	}
	r, err := resolver.New(resolver.Config{Hints: hints, Anchors: anchors, Port: w.Port(), AllowReserved: true,
		SourceAddr: source(i)})
	require.NoError(t, err)
	c, err := va.New(va.Config{Name: members[i].name, Software: "quorate/test", Resolver: r, SourceAddr: source(i),
		World: va.World{HTTPPort: w.HTTPPort(), TLSPort: w.TLSPort(), AllowReserved: true}})
	require.NoError(t, err)
	return c
}

// finalize sends a CSR for the names of an order that is ready, and waits for its end.
func (s *scene) finalize(order acmeclient.Order) (acmeclient.Order, error) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	template := &x509.CertificateRequest{}
	for _, ident := range order.Identifiers {
		template.DNSNames = append(template.DNSNames, ident.Value)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	require.NoError(s.t, err)
	return s.client.Client.FinalizeOrder(s.t.Context(), s.account, order, csr)
}

func (s *scene) obtain(names ...string) error {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	certs, err := s.client.ObtainCertificateForSANs(s.t.Context(), s.account, key, names)
	if err == nil {
		require.NotEmpty(s.t, certs[0].ChainPEM)
	}
	return err
}

// record is the newest.
func (s *scene) record() db.Summary {
	s.t.Helper()
	all, err := s.records.List(s.t.Context(), db.Filter{})
	require.NoError(s.t, err)
	require.NotEmpty(s.t, all)
	return all[0]
}

// page puts the token where some perspectives see it; none given, all do.
type page struct {
	world   *world.World
	clients []netip.Prefix
}

func (p page) Present(_ context.Context, c acmeclient.Challenge) error {
	host, err := p.world.Host(hostOf(p.world, c.Identifier.Value))
	if err != nil {
		return err
	}
	host.Add(world.Page{Path: c.HTTP01ResourcePath(), Body: c.KeyAuthorization, Clients: p.clients})
	return nil
}

func (page) CleanUp(context.Context, acmeclient.Challenge) error { return nil }

type record struct{ world *world.World }

func (r record) Present(_ context.Context, c acmeclient.Challenge) error {
	return r.world.Add(c.DNS01TXTRecordName(), dns.TypeTXT, c.DNS01KeyAuthorization()) // beside that of the wildcard
}

func (record) CleanUp(context.Context, acmeclient.Challenge) error { return nil }

type handshake struct{ world *world.World }

func (h handshake) Present(_ context.Context, c acmeclient.Challenge) error {
	host, err := h.world.Host(hostOf(h.world, c.Identifier.Value))
	if err != nil {
		return err
	}
	_, err = host.AddALPN(world.ALPN{Domain: c.Identifier.Value, KeyAuthorization: c.KeyAuthorization})
	return err
}

func (handshake) CleanUp(context.Context, acmeclient.Challenge) error { return nil }

// hostOf gives the address that a zone's apex has.
func hostOf(w *world.World, zone string) netip.Addr {
	for _, z := range w.Zones() {
		if z.Name != zone+"." {
			continue
		}
		for line := range strings.Lines(z.Records) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "@ A "); ok {
				return netip.MustParseAddr(rest)
			}
		}
	}
	return netip.Addr{}
}

// TestTheGateIssuesThroughPebble carries real challenges through real checks, the quorum, the records and the CA.
//
// Holds: MPIC-12
func TestTheGateIssuesThroughPebble(t *testing.T) {
	for name, c := range map[string]struct {
		identifier string
		method     va.Method
		solvers    func(*world.World) map[string]acmez.Solver
	}{
		"http-01": {"example.com", va.HTTP01, func(w *world.World) map[string]acmez.Solver {
			return map[string]acmez.Solver{"http-01": page{world: w}}
		}},
		"dns-01 for a wildcard": {"*.example.org", va.DNS01, func(w *world.World) map[string]acmez.Solver {
			return map[string]acmez.Solver{"dns-01": record{w}}
		}},
		"tls-alpn-01": {"example.dev", va.TLSALPN01, func(w *world.World) map[string]acmez.Solver {
			return map[string]acmez.Solver{"tls-alpn-01": handshake{w}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, c.solvers)
			require.NoError(t, s.obtain(c.identifier))
			r := s.record()
			require.Equal(t, db.Granted, r.Outcome)
			require.Equal(t, c.identifier, r.Identifier)
			require.Equal(t, c.method, r.Method)
			require.Equal(t, s.account.Location, r.AccountURI)
			require.Equal(t, "acme:"+s.account.Location, r.Caller)
			require.Equal(t, mpic.Issuance, r.Kind)
		})
	}
}

// TestTheGateRefusesThroughPebble: the incident of 2026 and others, as a client of the CA sees them.
//
// Holds: MPIC-12, F1
func TestTheGateRefusesThroughPebble(t *testing.T) {
	remotes := []netip.Prefix{prefix(1), prefix(2), prefix(3), prefix(4), prefix(5)}
	for name, c := range map[string]struct {
		identifier string
		clients    []netip.Prefix
		kind       string
		says       string
	}{
		"only the remotes see the token": {"example.com", remotes,
			acmeclient.ProblemTypeIncorrectResponse, "http.status: "},
		"only the primary sees the token": {"example.com", []netip.Prefix{prefix(0)},
			acmeclient.ProblemTypeIncorrectResponse, "quorum.missed: "},
		"CAA names another CA": {"caa-other.com", nil, acmeclient.ProblemTypeCAA, "caa.forbidden: "},
		"a bogus zone":         {"bogus-tampered.com", nil, acmeclient.ProblemTypeDNS, "dnssec.bogus: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, func(w *world.World) map[string]acmez.Solver {
				return map[string]acmez.Solver{"http-01": page{world: w, clients: c.clients}}
			})
			err := s.obtain(c.identifier)
			var p acmeclient.Problem
			require.True(t, errors.As(err, &p), "%v", err)
			require.Equal(t, c.kind, p.Type, p.Detail)
			require.Contains(t, p.Detail, c.says)
			r := s.record()
			require.Equal(t, db.Refused, r.Outcome)
			require.Contains(t, p.Detail, r.ID, "the client is told which record is its own")
		})
	}
}

// each goes through an order by dns-01, one name after the other in the order given, and gives each name's status and
// the order's.
func (s *scene) each(names ...string) (statuses map[string]string, order acmeclient.Order) {
	s.t.Helper()
	ctx, protocol := s.t.Context(), s.client.Client
	for _, name := range names {
		order.Identifiers = append(order.Identifiers, acmeclient.Identifier{Type: "dns", Value: name})
	}
	order, err := protocol.NewOrder(ctx, s.account, order)
	require.NoError(s.t, err)
	challenges := map[string]acmeclient.Challenge{}
	authorizations := map[string]acmeclient.Authorization{}
	for _, url := range order.Authorizations {
		a, err := protocol.GetAuthorization(ctx, s.account, url)
		require.NoError(s.t, err)
		name := a.Identifier.Value
		if a.Wildcard {
			name = "*." + name
		}
		authorizations[name] = a
		for _, c := range a.Challenges {
			if c.Type == acmeclient.ChallengeTypeDNS01 {
				challenges[name] = c
				require.NoError(s.t, record{s.world}.Present(ctx, c))
			}
		}
	}
	statuses = map[string]string{}
	for _, name := range names {
		_, err := protocol.InitiateChallenge(ctx, s.account, challenges[name])
		require.NoError(s.t, err)
		a, _ := protocol.PollAuthorization(ctx, s.account, authorizations[name]) // the error repeats the status
		statuses[name] = a.Status
	}
	order, err = protocol.GetOrder(ctx, s.account, order)
	require.NoError(s.t, err)
	return statuses, order
}

// TestEachNameOfAnOrderHasItsOwnDecision: a name, its wildcard, and a name in another zone. Each has an attempt and
// evidence of its own, which is for it and for no other; where one is refused the order is invalid, and what the others
// came to stands.
//
// Holds: C1, C2, D5, CAA-01, CAA-02, MPIC-09
func TestEachNameOfAnOrderHasItsOwnDecision(t *testing.T) {
	for name, c := range map[string]struct {
		// last is the name that comes after the other two; prepare changes the world.
		last    string
		prepare func(*testing.T, *world.World)
		code    string
	}{
		"all pass":              {"example.org", func(*testing.T, *world.World) {}, ""},
		"another zone forbids":  {"caa-other.com", func(*testing.T, *world.World) {}, "caa.forbidden"},
		"another zone is bogus": {"bogus-tampered.com", func(*testing.T, *world.World) {}, "dnssec.bogus"},
		"the wildcard is forbidden": {"*.example.com", func(t *testing.T, w *world.World) {
			require.NoError(t, w.Set("example.com", dns.TypeCAA, `0 issue "ca.example.net"`, `0 issuewild ";"`))
		}, "caa.forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, func(*world.World) map[string]acmez.Solver { return nil })
			c.prepare(t, s.world)
			names := []string{"example.com", "*.example.com", c.last}
			if c.last == names[1] {
				names = []string{"example.com", "example.org", c.last}
			}
			statuses, order := s.each(names...)

			granted := map[string]bool{names[0]: true, names[1]: true, names[2]: c.code == ""}
			require.Equal(t, map[bool]string{true: "ready", false: "invalid"}[c.code == ""], order.Status)
			records, err := s.records.List(t.Context(), db.Filter{})
			require.NoError(t, err)
			require.Len(t, records, len(names))
			tokens := map[string]bool{}
			for _, summary := range records {
				r, err := s.records.Attempt(t.Context(), summary.ID)
				require.NoError(t, err)
				ok, ours := granted[r.Identifier]
				require.True(t, ours, "%s was recorded twice, or was never ordered", r.Identifier)
				delete(granted, r.Identifier)
				require.Equal(t, map[bool]db.Outcome{true: db.Granted, false: db.Refused}[ok], r.Outcome, r.Identifier)
				require.Equal(t, map[bool]string{true: "valid", false: "invalid"}[ok], statuses[r.Identifier])
				require.Equal(t, ok, mpic.Judge(r.Evidence).Granted(), "the record is judged as the attempt was")
				if !ok {
					require.Contains(t, r.Reasons, c.code)
				}
				request := r.Evidence.Attempt.Probe.Request
				tokens[request.Token] = true
				require.Equal(t, r.Identifier, request.Identifier)
				primary := r.Evidence.Primary.Report()
				fqdn := strings.TrimPrefix(r.Identifier, "*.")
				require.Equal(t, fqdn, primary.CAA.Name)
				require.Equal(t, fqdn+".", primary.CAA.Lookups[0].Name)
				require.Equal(t, "_acme-challenge."+fqdn, primary.DCV.Queried)
				require.Equal(t, "_acme-challenge."+fqdn+".", primary.DCV.Lookups[0].Name)
			}
			require.Empty(t, granted)
			require.Len(t, tokens, len(names))
		})
	}
}

// elsewhere answers the well-known URL at one host with a redirect to another, or puts the token where aliases lead.
type elsewhere struct {
	world *world.World
	// zone has the host that answers first, and that of the redirect in to, if any.
	zone, to string
}

func (e elsewhere) Present(_ context.Context, c acmeclient.Challenge) error {
	host, err := e.world.Host(hostOf(e.world, e.zone))
	if err != nil {
		return err
	}
	if e.to == "" {
		host.Add(world.Page{Path: c.HTTP01ResourcePath(), Body: c.KeyAuthorization + "\r\n"})
		return nil
	}
	host.Add(world.Page{Path: c.HTTP01ResourcePath(), Status: 302, Location: "https://" + e.to + "/a%20b?c=d#e"})
	if host, err = e.world.Host(hostOf(e.world, e.to)); err != nil {
		return err
	}
	host.Add(world.Page{Path: "/a b", Status: 307, Location: "../token"})
	host.Add(world.Page{Path: "/token", Body: c.KeyAuthorization})
	return nil
}

func (elsewhere) CleanUp(context.Context, acmeclient.Challenge) error { return nil }

// TestWhatWasMetOnTheWayIsJudged: aliases and redirects, as the resolver and the check write them down, lead the judge to the
// same end.
//
// Holds: MPIC-10, DCV-04, DCV-16, CAA-01
func TestWhatWasMetOnTheWayIsJudged(t *testing.T) {
	for name, c := range map[string]struct{ identifier, zone, to string }{
		"a CNAME to a signed zone":        {"www.alias.com", "example.org", ""},
		"a CNAME to an unsigned zone":     {"open.alias.com", "unsigned.net", ""},
		"a DNAME and a CNAME":             {"www.old.alias.com", "example.com", ""},
		"redirects over https":            {"example.com", "example.com", "example.org"},
		"redirects into an unsigned zone": {"www.alias.com", "example.org", "unsigned.com"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, func(w *world.World) map[string]acmez.Solver {
				return map[string]acmez.Solver{"http-01": elsewhere{w, c.zone, c.to}}
			})
			require.NoError(t, s.obtain(c.identifier))
			r, err := s.records.Attempt(t.Context(), s.record().ID)
			require.NoError(t, err)
			for _, p := range r.Perspectives {
				if p.State == mpic.Outstanding.String() { // the answer did not wait for it
					continue
				}
				require.Equal(t, []string{"pass", "pass"}, []string{p.DCV, p.CAA}, "%s: %s %s", p.Name, p.DCVCode, p.CAACode)
			}
		})
	}
}
