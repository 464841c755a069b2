package boulder

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder"
	"github.com/quorate/quorate/mpic/boulder/account"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

const (
	issuer = "ca.example.net"
	// The prefixes of the CA's accounts, today's first.
	acct = "https://ca.example.net/acme/acct/"
	reg  = "https://ca.example.net/acme/reg/"
)

// sites are the perspectives, the primary first. Their name servers' clients send from 11.1.0.0 and so on.
var sites = []struct {
	name      string
	region    mpic.Region
	rir       string
	lat, long float64
}{
	{"zurich", mpic.RIPE, "RIPE", 47.4, 8.5}, {"ashburn", mpic.ARIN, "ARIN", 39.0, -77.5}, {"tokyo", mpic.APNIC, "APNIC", 35.7, 139.7},
	{"sao-paulo", mpic.LACNIC, "LACNIC", -23.5, -46.6}, {"johannesburg", mpic.AFRINIC, "AFRINIC", -26.2, 28.0},
	{"stockholm", mpic.RIPE, "RIPE", 59.3, 18.1},
}

func source(i int) netip.Addr { return netip.AddrFrom4([4]byte{11, 1, 0, byte(10 + i)}) }

var (
	rootAddr  = netip.MustParseAddr("198.41.0.4")
	tldAddr   = netip.MustParseAddr("192.5.6.30")
	zoneAddr  = netip.MustParseAddr("199.43.135.53")
	ownerAddr = netip.MustParseAddr("199.43.136.80")
	evilAddr  = netip.MustParseAddr("199.43.137.66")
)

// stage is the Internet of a namespace, with all perspectives in it.
type stage struct {
	t     *testing.T
	dir   string
	world *world.World
	owner *world.Host
	evil  *world.Host
	pki   *authority
	store *db.Store
	gate  *perspective.Identity
	// ours are the members and connections of our perspectives, by site; theirs are the members of Boulder's.
	ours   map[int]mpic.Member
	theirs map[int]mpic.Member
	cases  int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	addrs := []netip.Addr{rootAddr, tldAddr, zoneAddr, ownerAddr, evilAddr}
	for i := range sites {
		addrs = append(addrs, source(i))
	}
	require.NoError(t, world.Settle(addrs...))
	at := func(name string, a netip.Addr) []world.Server { return []world.Server{{Host: "a.ns." + name, Addr: a}} }
	s := &stage{t: t, dir: t.TempDir(), ours: map[int]mpic.Member{}, theirs: map[int]mpic.Member{}}
	var err error
	s.world, err = world.New(world.Config{AnyAddress: true, Port: 53, HTTPPort: 80, TLSPort: 443, Zones: []world.Zone{
		{Name: ".", Algorithm: dns.ECDSAP256SHA256, Servers: []world.Server{{Host: "a.root", Addr: rootAddr}}},
		{Name: "com", Algorithm: dns.ECDSAP256SHA256, Servers: at("com", tldAddr)},
		{Name: "signed.com", Algorithm: dns.ECDSAP256SHA256, Servers: at("signed.com", zoneAddr), Records: "@ A 199.43.136.80\n"},
		{Name: "open.com", Servers: at("open.com", zoneAddr), Records: "@ A 199.43.136.80\n"},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.world.Close()) })
	s.owner, err = s.world.Host(ownerAddr)
	require.NoError(t, err)
	s.evil, err = s.world.Host(evilAddr)
	require.NoError(t, err)
	s.pki = newAuthority(t, s.dir)
	s.store, err = db.Open(t.Context(), db.Config{Path: filepath.Join(s.dir, "records.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.store.Close()) })
	s.gate, err = perspective.GenerateGateIdentity("gate", time.Now())
	require.NoError(t, err)
	for i := range sites[1:] {
		s.startRemoteVA(i + 1)
	}
	for _, i := range []int{4, 5} {
		s.startOurs(i)
	}
	for i := range sites[1:] {
		s.await(i + 1)
	}
	return s
}

// startRemoteVA starts one of Boulder's, with Unbound as its resolver, over DNS over HTTPS.
func (s *stage) startRemoteVA(i int) {
	doh := fmt.Sprintf("127.0.1.%d", i)
	s.startUnbound(i, doh)
	config := map[string]any{
		"rva": map[string]any{
			"userAgent": "remoteva " + sites[i].name, "dnsTries": 2, "dnsStaticResolvers": []string{doh + ":8443"}, "dnsTimeout": "5s",
			"issuerDomain": issuer, "tls": s.pki.boulder("rva.boulder"),
			"grpc": map[string]any{"maxConnectionAge": "30s", "address": s.port(i), "services": map[string]any{
				"va.VA": names("va.boulder"), "va.CAA": names("va.boulder"), "grpc.health.v1.Health": names("health-checker.boulder")}},
			"features": map[string]any{}, "accountURIPrefixes": []string{acct, reg}, "perspective": "dc-" + sites[i].name, "rir": sites[i].rir,
		},
		"syslog": map[string]any{"stdoutlevel": 6, "sysloglevel": -1},
	}
	text, err := json.Marshal(config)
	require.NoError(s.t, err)
	daemon.Launch(s.t, *program, "remoteva", "-config", s.write(fmt.Sprintf("rva-%d.json", i), string(text)))
	m := s.member(i)
	m.Protocol, m.Code, m.URL = mpic.Boulder, "dc-"+sites[i].name, "https://"+s.port(i)
	s.theirs[i] = m
}

func names(n ...string) map[string]any { return map[string]any{"clientNames": n} }

func (s *stage) port(i int) string { return fmt.Sprintf("127.0.0.1:%d", 9400+i) }

func (s *stage) await(i int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		c, err := net.Dial("tcp", s.port(i))
		if err == nil {
			err = c.Close()
		}
		return err == nil
	}, 60*time.Second, 100*time.Millisecond, "remoteva %s starts", sites[i].name)
}

func (s *stage) startUnbound(i int, addr string) {
	hints := fmt.Sprintf(". 3600 NS a.root.\na.root. 3600 A %s\n", rootAddr)
	cert := s.pki.issue("doh-"+sites[i].name, addr)
	conf := fmt.Sprintf("server:\n interface: %s@8443\n https-port: 8443\n tls-service-pem: %q\n tls-service-key: %q\n"+
		" http-endpoint: \"/dns-query\"\n outgoing-interface: %s\n access-control: 127.0.0.0/8 allow\n do-daemonize: no\n use-syslog: no\n"+
		" username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: %q\n trust-anchor-file: %q\n trust-anchor-signaling: no\n root-hints: %q\n"+
		" module-config: \"validator iterator\"\n do-ip6: no\n num-threads: 1\n aggressive-nsec: no\n cache-max-ttl: 0\n cache-max-negative-ttl: 0\n"+
		" verbosity: 1\nremote-control:\n control-enable: no\n",
		addr, cert.file, cert.key, source(i), s.dir, s.write("anchor", s.world.AnchorText()), s.write("hints", hints))
	daemon.Launch(s.t, daemon.Program(s.t, "unbound"), "-d", "-c", s.write(fmt.Sprintf("unbound-%d.conf", i), conf))
}

func (s *stage) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// startOurs starts a perspective of ours, with its own resolver.
func (s *stage) startOurs(i int) {
	s.t.Helper()
	own, err := perspective.GenerateIdentity(sites[i].name, time.Now())
	require.NoError(s.t, err)
	server, err := perspective.NewServer(perspective.Config{Checker: s.checker(i), Identity: own, Logger: slog.New(slog.DiscardHandler),
		Now: time.Now, Gates: []perspective.Gate{{Name: "gate", TLSKey: s.gate.TLSKey()}}})
	require.NoError(s.t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	s.t.Cleanup(func() {
		stop()
		require.NoError(s.t, <-served)
	})
	m := s.member(i)
	m.URL, m.TLSKey, m.SigningKey = "https://"+listener.Addr().String(), own.TLSKey(), own.SigningKey()
	s.ours[i] = m
}

func (s *stage) member(i int) mpic.Member {
	place := mpic.Place{Region: sites[i].region, Latitude: sites[i].lat, Longitude: sites[i].long}
	return mpic.Member{Name: sites[i].name, Title: sites[i].name, Place: place, Resolver: place}
}

func (s *stage) anchors() []dnssec.Anchor {
	s.t.Helper()
	anchors, err := dnssec.ParseAnchors(strings.NewReader(s.world.AnchorText()))
	require.NoError(s.t, err)
	return anchors
}

// checker checks as in production: port 53 from the root, ports 80 and 443, and no reserved address.
func (s *stage) checker(i int) *va.Checker {
	s.t.Helper()
	r, err := resolver.New(resolver.Config{Anchors: s.anchors(), SourceAddr: source(i),
		Hints: []resolver.Hint{{Name: "a.root.", Addrs: []netip.Addr{rootAddr}}}})
	require.NoError(s.t, err)
	c, err := va.New(va.Config{Name: sites[i].name, Software: "quorate/test", Resolver: r, SourceAddr: source(i)})
	require.NoError(s.t, err)
	return c
}

// coordinator makes a gate over the roster's remotes.
func (s *stage) coordinator(members []mpic.Member, now func() time.Time) *mpic.Coordinator {
	s.t.Helper()
	log := slog.New(slog.DiscardHandler)
	c := mpic.Config{Roster: mpic.Roster{Primary: s.member(0), Remotes: members}, Primary: s.checker(0), Journal: s.store.Journal(),
		Issuers: []string{issuer}, Software: "quorate/test", Deadline: 30 * time.Second, GrantGrace: 30 * time.Second, RefusalGrace: 30 * time.Second,
		Now: now}
	for _, m := range members {
		var remote mpic.Remote
		var err error
		if m.Protocol == mpic.Boulder {
			var r *boulder.Remote
			r, err = boulder.NewRemote(boulder.ClientConfig{Member: m, Certificate: s.pki.issue("va.boulder").show, Roots: s.pki.roots,
				Accounts: account.Prefixes{acct, reg}, Issuers: []string{issuer}, Logger: log, Now: time.Now})
			if err == nil {
				s.t.Cleanup(func() { require.NoError(s.t, r.Close()) })
			}
			remote = r
		} else {
			var r *perspective.Remote
			r, err = perspective.NewRemote(perspective.ClientConfig{Member: m, Others: members, Identity: s.gate, Logger: log, Now: time.Now})
			if err == nil {
				s.t.Cleanup(r.Close)
			}
			remote = r
		}
		require.NoError(s.t, err)
		c.Remotes = append(c.Remotes, remote)
	}
	g, err := mpic.New(c)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, g.Close(context.Background())) })
	return g
}

// name gives a name of its own below a zone, with the owner's address: nothing that was asked before is in anybody's memory.
func (s *stage) name(zone string) string {
	s.t.Helper()
	s.cases++
	name := fmt.Sprintf("case%d.%s", s.cases, zone)
	require.NoError(s.t, s.world.Set(name, dns.TypeA, ownerAddr.String()))
	return name
}

// hijack shows some perspectives' resolvers another address of a name in an unsigned zone.
func (s *stage) hijack(t *testing.T, name string, remotes ...int) {
	t.Helper()
	s.view(t, name, dns.TypeA, evilAddr.String(), remotes...)
}

func (s *stage) view(t *testing.T, name string, rrtype uint16, rdata string, remotes ...int) {
	t.Helper()
	var clients []netip.Prefix
	for _, i := range remotes {
		clients = append(clients, world.Client(source(i)))
	}
	v := s.world.View(clients...)
	require.NoError(t, v.Set(name, world.ByNobody, rrtype, rdata))
	t.Cleanup(func() { require.NoError(t, v.Close()) })
}

func (s *stage) request(name string, method va.Method) va.Request {
	raw := make([]byte, 64) // a token of Boulder's has 32 octets, and its remoteva takes no others
	rand.Read(raw)
	token := base64.RawURLEncoding.EncodeToString(raw[:32])
	return va.Request{Identifier: name, Method: method, Token: token, TokenCreated: time.Now().UTC(), AccountURI: acct + "7",
		KeyAuthorization: token + "." + base64.RawURLEncoding.EncodeToString(raw[32:])}
}

// publish does what the owner does for a challenge.
func (s *stage) publish(t *testing.T, req va.Request, on *world.Host) {
	t.Helper()
	switch req.Method {
	case va.DNS01:
		require.NoError(t, s.world.Set("_acme-challenge."+req.FQDN(), dns.TypeTXT, req.Expected()))
	case va.HTTP01:
		t.Cleanup(on.AddToken(req.Token, req.KeyAuthorization))
	case va.TLSALPN01:
		remove, err := on.AddALPN(world.ALPN{Domain: req.FQDN(), KeyAuthorization: req.KeyAuthorization})
		require.NoError(t, err)
		t.Cleanup(remove)
	}
}

// authority is a CA as Boulder's internal one.
type authority struct {
	t     *testing.T
	dir   string
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	file  string
	roots *x509.CertPool
	given map[string]issued
}

type issued struct {
	pair      tls.Certificate
	file, key string
}

func (i issued) show() *tls.Certificate { return &i.pair }

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "internal CA"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	a := &authority{t: t, dir: dir, key: key, cert: cert, file: filepath.Join(dir, "ca.pem"), roots: x509.NewCertPool(), given: map[string]issued{}}
	a.roots.AddCert(cert)
	require.NoError(t, os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return a
}

// issue gives the certificate of a name, and of 127.0.0.1 and other addresses.
func (a *authority) issue(name string, addrs ...string) issued {
	a.t.Helper()
	if got, ok := a.given[name]; ok {
		return got
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(len(a.given) + 2)), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, text := range slices.Concat([]string{"127.0.0.1"}, addrs) {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(text))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	got := issued{file: filepath.Join(a.dir, name+".pem"), key: filepath.Join(a.dir, name+"-key.pem")}
	require.NoError(a.t, os.WriteFile(got.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(a.t, os.WriteFile(got.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	got.pair, err = tls.LoadX509KeyPair(got.file, got.key)
	require.NoError(a.t, err)
	a.given[name] = got
	return got
}

// boulder is the `tls` section of Boulder's configurations.
func (a *authority) boulder(name string) map[string]string {
	c := a.issue(name)
	return map[string]string{"caCertFile": a.file, "certFile": c.file, "keyFile": c.key}
}
