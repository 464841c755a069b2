package boulder

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	vapb "github.com/letsencrypt/boulder/va/proto"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
)

// Holds: MPIC-01, MPIC-12, CAA-01, REC-03
func TestEachCallIsAnAttemptOfItsOwn(t *testing.T) {
	s := newScene(t, nil)
	conn := s.dial("ra.boulder")
	dcv, caa := vapb.NewVAClient(conn), vapb.NewCAAClient(conn)
	key := probe(va.HTTP01, mpic.DCVAlone).Request.KeyAuthorization

	t.Run("http-01, through a redirect", func(t *testing.T) {
		defer s.host("example.com").Add(world.Page{Path: "/.well-known/acme-challenge/" + token, Name: "example.com", Status: 302,
			Location: "http://example.org/elsewhere"})()
		defer s.host("example.org").Add(world.Page{Path: "/elsewhere", Body: key})()
		got, err := dcv.DoDCV(t.Context(), dcvFor("example.com", "http-01"))
		require.NoError(t, err)
		require.Nil(t, got.Problem)
		require.Equal(t, "zurich", got.Perspective)
		require.Equal(t, "RIPE", got.Rir)
		require.Len(t, got.Records, 2)
		first, second := got.Records[0], got.Records[1]
		require.Equal(t, "http://example.com/.well-known/acme-challenge/"+token, first.Url)
		require.Equal(t, "example.com", first.Hostname)
		require.Equal(t, "127.0.80.1", string(first.AddressUsed))
		require.Equal(t, [][]byte{{127, 0, 80, 1}}, first.AddressesResolved)
		require.NotEmpty(t, first.ResolverAddrs)
		require.Equal(t, first.ResolverAddrs, first.Authorities)
		require.Equal(t, "example.org", second.Hostname)
		require.Equal(t, "http://example.org/elsewhere", second.Url)
	})
	t.Run("dns-01 of a wildcard", func(t *testing.T) {
		req := probe(va.DNS01, mpic.DCVAlone).Request
		require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, req.Expected()))
		got, err := dcv.DoDCV(t.Context(), dcvFor("*.example.com", "dns-01"))
		require.NoError(t, err)
		require.Nil(t, got.Problem)
		require.Len(t, got.Records, 1)
		require.Equal(t, "example.com", got.Records[0].Hostname)
		require.Equal(t, []string{"127.0.53.10:" + port(s.world.Port())}, got.Records[0].ResolverAddrs)
	})
	t.Run("tls-alpn-01", func(t *testing.T) {
		remove, err := s.host("example.com").AddALPN(world.ALPN{Domain: "example.com", KeyAuthorization: key})
		require.NoError(t, err)
		defer remove()
		got, err := dcv.DoDCV(t.Context(), dcvFor("example.com", "tls-alpn-01"))
		require.NoError(t, err)
		require.Nil(t, got.Problem)
		require.Len(t, got.Records, 1)
		require.Empty(t, got.Records[0].Url)
		require.Equal(t, "127.0.80.1", string(got.Records[0].AddressUsed))
	})
	t.Run("CAA", func(t *testing.T) {
		got, err := caa.DoCAA(t.Context(), caaFor("caa.example.com", "dns-01"))
		require.NoError(t, err)
		require.Nil(t, got.Problem)
		require.Equal(t, "zurich", got.Perspective)
		require.Equal(t, "RIPE", got.Rir)
	})
	t.Run("neither answers for the other", func(t *testing.T) {
		require.NoError(t, s.world.Set("caa-none.com", dns.TypeTXT, "x"))
		defer s.host("caa-none.com").AddToken(token, key)()
		got, err := dcv.DoDCV(t.Context(), dcvFor("caa-none.com", "http-01"))
		require.NoError(t, err)
		require.Nil(t, got.Problem, "control is shown, whatever CAA says")
		said, err := caa.DoCAA(t.Context(), caaFor("caa-none.com", "http-01"))
		require.NoError(t, err)
		require.Equal(t, "caa", said.Problem.ProblemType)
		require.EqualValues(t, 403, said.Problem.HttpStatus)
		require.Contains(t, said.Problem.Detail, "While processing CAA for caa-none.com: caa.forbidden: ")
	})
	require.Len(t, s.ledger.closed, 6)
	for i, kind := range []mpic.Kind{mpic.DCVAlone, mpic.DCVAlone, mpic.DCVAlone, mpic.CAAAlone, mpic.DCVAlone, mpic.CAAAlone} {
		a := s.ledger.closed[i].Attempt
		require.Equal(t, kind, a.Kind)
		require.Equal(t, "boulder:ra.boulder", a.Caller)
		require.Equal(t, "authz:4711", a.Trace)
		require.Equal(t, accounts[0]+"7", a.Probe.Request.AccountURI)
		require.True(t, a.Probe.Request.TokenCreated.IsZero(), "Boulder does not tell it")
		if kind == mpic.CAAAlone {
			require.Equal(t, []string{accounts[1] + "7"}, a.Probe.Request.AccountAliases)
		}
	}
	require.Equal(t, 5, strings.Count(s.log.String(), "granted=true"))
	require.Regexp(t, `msg=answered method=/va.VA/DoDCV client=ra.boulder authz=4711 identifier=example.com record=1 attempt=\w+ granted=true waited=true`,
		s.log.String())
}

func port(p uint16) string {
	return netip.AddrPortFrom(netip.IPv4Unspecified(), p).String()[len("0.0.0.0:"):]
}

// Each problem has the type that Boulder gives it, our code and its sentence.
//
// Holds: MPIC-12, F1
func TestSubscribersAreToldWhyInBouldersForm(t *testing.T) {
	s := newScene(t, nil)
	conn := s.dial("ra.boulder")
	dcv, caa := vapb.NewVAClient(conn), vapb.NewCAAClient(conn)
	key := probe(va.HTTP01, mpic.DCVAlone).Request.KeyAuthorization
	remotes := func(from, to int) (all []netip.Prefix) {
		for i := from; i < to; i++ {
			all = append(all, world.Client(sourceOf(i)))
		}
		return all
	}
	for name, c := range map[string]struct {
		in      *vapb.PerformValidationRequest
		page    *world.Page
		kind    string
		status  int32
		detail  string
		records int
	}{
		"no page":           {dcvFor("example.com", "http-01"), nil, "unauthorized", 403, "http.status: ", 1},
		"another body":      {dcvFor("example.com", "http-01"), &world.Page{Body: "x"}, "unauthorized", 403, "http.body: ", 1},
		"a redirect abroad": {dcvFor("example.com", "http-01"), &world.Page{Status: 302, Location: "ftp://x/"}, "connection", 400, "http.scheme: ", 1},
		"no record":         {dcvFor("example.org", "dns-01"), nil, "unauthorized", 403, "txt.missing: ", 0},
		"bogus":             {dcvFor("bogus-stripped.com", "dns-01"), nil, "dns", 400, "dnssec.bogus: ", 0},
		"no such name":      {dcvFor("nothing.example.com", "http-01"), nil, "dns", 400, "address.missing: ", 0},
		"no ALPN":           {dcvFor("example.com", "tls-alpn-01"), nil, "", 0, "tls.", 1},
		"special use":       {dcvFor("router.local", "dns-01"), nil, "rejectedIdentifier", 400, "name.special-use: ", 0},
		"a wildcard":        {dcvFor("*.example.com", "http-01"), nil, "rejectedIdentifier", 400, "name.wildcard: ", 0},
		"upper case":        {dcvFor("Example.com", "dns-01"), nil, "rejectedIdentifier", 400, "name.syntax: ", 0},
		"the primary alone is not shown it": {dcvFor("example.com", "http-01"), &world.Page{Body: key, Clients: remotes(1, 6)}, "unauthorized", 403,
			"http.status: ", 1},
		"two remotes are not shown it": {dcvFor("example.com", "http-01"), &world.Page{Body: key, Clients: remotes(0, 4)}, "unauthorized", 403,
			"During secondary validation: quorum.missed: ", 1},
	} {
		t.Run(name, func(t *testing.T) {
			if c.page != nil {
				page := *c.page
				page.Path = "/.well-known/acme-challenge/" + token
				defer s.host("example.com").Add(page)()
			}
			got, err := dcv.DoDCV(t.Context(), c.in)
			require.NoError(t, err)
			require.NotNil(t, got.Problem)
			require.Contains(t, got.Problem.Detail, c.detail)
			if c.kind != "" {
				require.Equal(t, c.kind, got.Problem.ProblemType)
				require.Equal(t, c.status, got.Problem.HttpStatus)
			}
			require.Len(t, got.Records, c.records)
			require.Equal(t, "zurich", got.Perspective)
		})
	}
	got, err := dcv.DoDCV(t.Context(), dcvFor("example.org", "http-01"))
	require.NoError(t, err)
	require.NotNil(t, got.Problem)

	for name, c := range map[string]struct{ in, kind, detail string }{
		"bogus":    {"bogus-caa.com", "dns", "caa.bogus: "},
		"servfail": {"servfail-caa.com", "dns", "caa.lookup: "},
		"critical": {"caa-critical.com", "caa", "caa.critical: "},
		"other":    {"*.caa-other.com", "caa", "caa.forbidden: "},
	} {
		t.Run("CAA "+name, func(t *testing.T) {
			got, err := caa.DoCAA(t.Context(), caaFor(c.in, "dns-01"))
			require.NoError(t, err)
			require.Equal(t, c.kind, got.Problem.ProblemType)
			require.Contains(t, got.Problem.Detail, c.detail)
		})
	}
}

// Holds: DCV-01
func TestWhatIsNotValidatedHereIsSaid(t *testing.T) {
	s := newScene(t, nil)
	conn := s.dial("ra.boulder")
	dcv, caa := vapb.NewVAClient(conn), vapb.NewCAAClient(conn)
	for _, method := range []string{"dns-account-01", "dns-persist-01", "none"} {
		got, err := dcv.DoDCV(t.Context(), dcvFor("example.com", method))
		require.NoError(t, err)
		require.Equal(t, "malformed", got.Problem.ProblemType)
		require.Contains(t, got.Problem.Detail, "request.method: ")
		said, err := caa.DoCAA(t.Context(), caaFor("example.com", method))
		require.NoError(t, err)
		require.Equal(t, "malformed", said.Problem.ProblemType)
	}
	address := dcvFor("192.0.2.80", "http-01")
	address.Identifier.Type = "ip"
	got, err := dcv.DoDCV(t.Context(), address)
	require.NoError(t, err)
	require.Equal(t, "unsupportedIdentifier", got.Problem.ProblemType)
	require.Contains(t, got.Problem.Detail, "name.address: ")
	require.Empty(t, s.ledger.open)

	for name, change := range map[string]func(*vapb.PerformValidationRequest){
		"no identifier":        func(r *vapb.PerformValidationRequest) { r.Identifier = nil },
		"no challenge":         func(r *vapb.PerformValidationRequest) { r.Challenge = nil },
		"no authz":             func(r *vapb.PerformValidationRequest) { r.Authz = nil },
		"no account":           func(r *vapb.PerformValidationRequest) { r.Authz.RegID = 0 },
		"a negative account":   func(r *vapb.PerformValidationRequest) { r.Authz.RegID = -7 },
		"no key authorization": func(r *vapb.PerformValidationRequest) { r.ExpectedKeyAuthorization = "" },
		"valid already":        func(r *vapb.PerformValidationRequest) { r.Challenge.Status = "valid" },
	} {
		in := dcvFor("example.com", "http-01")
		change(in)
		_, err := dcv.DoDCV(t.Context(), in)
		require.Equal(t, codes.InvalidArgument, status.Code(err), name)
	}
	_, err = caa.DoCAA(t.Context(), &vapb.IsCAAValidRequest{})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	in := dcvFor("example.com", "http-01")
	in.ExpectedKeyAuthorization = "another.thing"
	refused, err := dcv.DoDCV(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, "malformed", refused.Problem.ProblemType)
	require.Contains(t, refused.Problem.Detail, "request.key-authorization: ")
	require.Len(t, s.ledger.closed, 1, "what can be recorded is recorded")
}

// REC-05: to Boulder's RA an empty answer is a pass, and so there is none without a record.
//
// Holds: REC-05, F4
func TestREC_05_WithoutARecordThereIsAnError(t *testing.T) {
	for name, fail := range map[string]func(*ledger){
		"open":  func(l *ledger) { l.opens = errors.New("the disk is full") },
		"close": func(l *ledger) { l.shuts = errors.New("the disk is full") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, nil)
			fail(s.ledger)
			conn := s.dial("ra.boulder")
			defer s.host("example.com").AddToken(token, probe(va.HTTP01, mpic.DCVAlone).Request.KeyAuthorization)()
			_, err := vapb.NewVAClient(conn).DoDCV(t.Context(), dcvFor("example.com", "http-01"))
			require.Equal(t, codes.Unavailable, status.Code(err))
			require.NotContains(t, err.Error(), "disk", "internals stay in the log")
			_, err = vapb.NewCAAClient(conn).DoCAA(t.Context(), caaFor("example.com", "http-01"))
			require.Equal(t, codes.Unavailable, status.Code(err))
			require.Contains(t, s.log.String(), "the disk is full")
			require.NotContains(t, s.log.String(), "msg=answered")
		})
	}
}

// Holds: MPIC-08, REC-03
func TestWhoMayCallWhat(t *testing.T) {
	s := newScene(t, nil)
	try := func(conn *grpc.ClientConn) (dcv, caa, health codes.Code) {
		_, err := vapb.NewVAClient(conn).DoDCV(t.Context(), &vapb.PerformValidationRequest{})
		_, also := vapb.NewCAAClient(conn).DoCAA(t.Context(), &vapb.IsCAAValidRequest{})
		_, third := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
		return status.Code(err), status.Code(also), status.Code(third)
	}
	const in, out, off = codes.InvalidArgument, codes.PermissionDenied, codes.Unavailable
	for name, c := range map[string]struct {
		conn             *grpc.ClientConn
		dcv, caa, health codes.Code
	}{
		"the RA":                      {s.dial("ra.boulder"), in, in, codes.OK},
		"an RA of DCV":                {s.dial("ra2.boulder"), in, out, codes.OK},
		"the health checker":          {s.dial("health-checker.boulder"), out, out, codes.OK},
		"several names":               {s.dial("wfe.boulder", "ra.boulder"), in, in, codes.OK},
		"a stranger, by another name": {s.dial("wfe.boulder"), off, off, off}, // its common name is ra.boulder
		"nobody":                      {s.dial(), off, off, off},
		"by another authority": {s.dialTLS(&tls.Config{RootCAs: s.pki.roots, ServerName: "va.boulder",
			Certificates: []tls.Certificate{newPKI(t).issue("ra.boulder")}}), off, off, off},
		"TLS 1.2": {s.dialTLS(&tls.Config{RootCAs: s.pki.roots, ServerName: "va.boulder", MaxVersion: tls.VersionTLS12,
			Certificates: []tls.Certificate{s.pki.issue("ra.boulder")}}), off, off, off},
	} {
		dcv, caa, health := try(c.conn)
		require.Equal(t, []codes.Code{c.dcv, c.caa, c.health}, []codes.Code{dcv, caa, health}, name)
	}
	err := s.dial("ra.boulder").Invoke(t.Context(), "/sa.StorageAuthority/GetRegistration", &vapb.IsCAAValidRequest{}, &vapb.IsCAAValidResponse{})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	stream, err := healthpb.NewHealthClient(s.dial("ra.boulder")).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "va.VA"})
	require.NoError(t, err)
	got, err := stream.Recv()
	require.NoError(t, err)
	require.Contains(t, []healthpb.HealthCheckResponse_ServingStatus{1, 2}, got.Status)
}

// blocked is a coordinator that waits until it is let go.
type blocked struct {
	entered chan struct{}
	release chan error
	panics  bool
}

func (b blocked) Carry(ctx context.Context, _ mpic.Call) (mpic.Result, error) {
	if b.panics {
		panic("no")
	}
	b.entered <- struct{}{}
	select {
	case err := <-b.release:
		return mpic.Result{}, err
	case <-ctx.Done():
		return mpic.Result{}, ctx.Err()
	}
}

// Holds: F6
func TestLimitsOfTheServer(t *testing.T) {
	b := blocked{entered: make(chan struct{}, 10), release: make(chan error, 10)}
	s := newScene(t, func(c *Config) { c.Coordinator, c.MaxInFlight = b, 2 })
	caa := vapb.NewCAAClient(s.dial("ra.boulder"))
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := caa.DoCAA(t.Context(), caaFor("example.com", "dns-01"))
			ended <- err
		}()
		<-b.entered
	}
	_, err := caa.DoCAA(t.Context(), caaFor("example.com", "dns-01"))
	requireRetry(t, err) // nobody waits here
	b.release <- mpic.ErrClosed
	require.Equal(t, codes.Unavailable, status.Code(<-ended))
	b.release <- errors.New("secret")
	err = <-ended
	require.Equal(t, codes.Internal, status.Code(err))
	require.NotContains(t, err.Error(), "secret")
	b.release <- mpic.ErrBusy
	_, err = caa.DoCAA(t.Context(), caaFor("example.com", "dns-01"))
	<-b.entered
	requireRetry(t, err)
	b.release <- mpic.ErrRequest
	_, err = caa.DoCAA(t.Context(), caaFor("example.com", "dns-01"))
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = caa.DoCAA(short, caaFor("example.com", "dns-01"))
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	_, err = caa.DoCAA(t.Context(), caaFor(strings.Repeat("x", 64<<10), "dns-01"))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	b.release <- nil // the zero result: a decision that grants nothing
	<-b.entered
	got, err := caa.DoCAA(t.Context(), caaFor("example.com", "dns-01"))
	require.NoError(t, err)
	require.Equal(t, "serverInternal", got.Problem.ProblemType)
	require.EqualValues(t, http.StatusInternalServerError, got.Problem.HttpStatus)
}

// requireRetry: the call was refused for want of places, and says in the form of gRPC when to come again.
func requireRetry(t *testing.T, err error) {
	t.Helper()
	s := status.Convert(err)
	require.Equal(t, codes.ResourceExhausted, s.Code())
	require.Contains(t, s.Message(), "gate.overload")
	require.Len(t, s.Details(), 1)
	info, ok := s.Details()[0].(*errdetails.RetryInfo)
	require.True(t, ok)
	require.Equal(t, 2*time.Second, info.RetryDelay.AsDuration())
}

// One connection is served, and the next when that one has gone; a server that can no longer accept ends.
func TestTheServersConnectionsAreBounded(t *testing.T) {
	s := newScene(t, func(c *Config) { c.MaxConnections = 1 })
	first := s.dial("ra.boulder")
	_, err := healthpb.NewHealthClient(first).Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	second, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: s.pki.roots,
		ServerName: "va.boulder", Certificates: []tls.Certificate{s.pki.issue("ra.boulder")}})))
	require.NoError(t, err)
	defer func() { require.NoError(t, second.Close()) }()
	answered := make(chan error, 1)
	go func() {
		_, err := healthpb.NewHealthClient(second).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("the second was served beside the first: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	first.Connect()
	_, err = healthpb.NewHealthClient(first).Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	s.closeConn(first)
	require.NoError(t, <-answered)

	server, err := NewServer(s.config)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	require.ErrorContains(t, server.Serve(t.Context(), listener, time.Second), "boulder: serving on")
}

// TestStrangersKeepNoClientOut: whoever connects and never shakes hands takes no client's place.
//
// Holds: D11, MPIC-08
func TestStrangersKeepNoClientOut(t *testing.T) {
	s := newScene(t, func(c *Config) { c.MaxConnections = 1 })
	for range 5 {
		c, err := net.Dial("tcp", s.address)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
	}
	ctx, cancel := context.WithTimeout(t.Context(), handshakeTime/2)
	defer cancel()
	_, err := healthpb.NewHealthClient(s.dial("ra.boulder")).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
}

func TestAPanicIsAnError(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Coordinator = blocked{panics: true} })
	_, err := vapb.NewCAAClient(s.dial("ra.boulder")).DoCAA(t.Context(), caaFor("example.com", "dns-01"))
	require.Equal(t, codes.Internal, status.Code(err))
	require.Contains(t, s.log.String(), "a call broke down")
}

// Running calls come to their end, and their answers go out, before Serve returns.
func TestTheServerLetsRunningCallsEnd(t *testing.T) {
	b := blocked{entered: make(chan struct{}, 1), release: make(chan error, 1)}
	s := newScene(t, func(c *Config) { c.Coordinator = b })
	caa := vapb.NewCAAClient(s.dial("ra.boulder"))
	answered := make(chan error, 1)
	go func() {
		_, err := caa.DoCAA(t.Context(), caaFor("example.com", "dns-01"))
		answered <- err
	}()
	<-b.entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	select {
	case err := <-stopped:
		t.Fatalf("the server ended with a call in flight: %v", err)
	case err := <-answered:
		t.Fatalf("the call was cut off: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	b.release <- nil
	require.NoError(t, <-answered)
	require.NoError(t, <-stopped)
}

// Holds: REC-05
func TestHealthIsThatOfTheRecords(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Ready = func(context.Context) error { return errors.New("no database") } })
	health := healthpb.NewHealthClient(s.dial("health-checker.boulder"))
	for service, want := range map[string]codes.Code{"": codes.OK, "va.VA": codes.OK, "va.CAA": codes.OK, "ca.CA": codes.NotFound} {
		got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		require.Equal(t, want, status.Code(err))
		if err == nil {
			require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, got.Status)
		}
	}
	well := newScene(t, nil)
	health = healthpb.NewHealthClient(well.dial("health-checker.boulder"))
	for _, service := range []string{"", "va.VA", "va.CAA"} {
		require.Eventually(t, func() bool {
			got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
			return err == nil && got.Status == healthpb.HealthCheckResponse_SERVING
		}, 20*time.Second, 10*time.Millisecond)
	}
}

func TestTheServerRefusesAConfigurationThatLacksSomething(t *testing.T) {
	p := newPKI(t)
	for name, change := range map[string]func(*Config){
		"coordinator": func(c *Config) { c.Coordinator = nil }, "ready": func(c *Config) { c.Ready = nil }, "logger": func(c *Config) { c.Logger = nil },
		"primary": func(c *Config) { c.Primary.Name = "" }, "certificate": func(c *Config) { c.Certificate = nil },
		"CA": func(c *Config) { c.ClientCAs = nil }, "VA": func(c *Config) { c.Clients.VA = nil }, "CAA": func(c *Config) { c.Clients.CAA = nil },
		"accounts": func(c *Config) { c.Accounts = nil }, "in flight": func(c *Config) { c.MaxInFlight = -1 },
		"connections": func(c *Config) { c.MaxConnections = -1 },
	} {
		c := Config{Coordinator: blocked{}, Primary: mpic.Member{Name: "zurich"}, Certificate: p.show("va.boulder"), ClientCAs: p.roots,
			Clients: Clients{VA: []string{"ra.boulder"}, CAA: []string{"ra.boulder"}}, Accounts: accounts,
			Ready: func(context.Context) error { return nil }, Logger: slog.New(slog.DiscardHandler)}
		_, err := NewServer(c)
		require.NoError(t, err)
		change(&c)
		_, err = NewServer(c)
		require.Error(t, err, name)
	}
}

// Each code of package va has a type of Boulder's, and nothing is shown to a subscriber as the server's own fault that is not.
func TestEachCodeHasAType(t *testing.T) {
	for _, c := range va.Codes() {
		kind := problemType(c.Code)
		require.Contains(t, saidTypes(), kind, c.Code)
		require.Equal(t, strings.HasPrefix(c.Code, "perspective."), kind == "serverInternal", c.Code)
	}
	for code, kind := range map[string]string{"boulder.caa": "caa", "boulder.lottery": "serverInternal", "quorum.missed": "serverInternal",
		"address.unreachable": "connection", "primary.missing": "serverInternal", "": "serverInternal"} {
		require.Equal(t, kind, problemType(code), code)
	}
}
