package boulder

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/va"
)

// shady is a scene whose front runs in the shadow of a boulder-va.
type shady struct {
	*scene
	incumbent *remoteVA
	shadow    *mpic.Shadow
	metrics   *prometheus.Registry
	dcv       vapb.VAClient
	caa       vapb.CAAClient
}

type shadyOptions struct {
	gate      func(*mpic.Config)
	shadow    func(*mpic.ShadowConfig)
	incumbent func(*IncumbentConfig)
	front     func(*Config)
}

func newShady(t *testing.T, o shadyOptions) *shady {
	t.Helper()
	x := &shady{incumbent: &remoteVA{}, metrics: prometheus.NewRegistry()}
	theirs := newPKI(t)
	m, err := mpic.NewShadowMetrics(x.metrics)
	require.NoError(t, err)
	x.scene = newSceneOf(t, func(c *mpic.Config) {
		c.Shadow, c.GrantGrace, c.RefusalGrace = true, 0, time.Millisecond
		if o.gate != nil {
			o.gate(c)
		}
	}, func(c *Config) {
		sc := mpic.ShadowConfig{Coordinator: c.Coordinator.(*mpic.Coordinator), Logger: c.Logger, Metrics: m}
		if o.shadow != nil {
			o.shadow(&sc)
		}
		x.shadow, err = mpic.NewShadow(sc)
		require.NoError(t, err)
		ic := IncumbentConfig{Address: x.incumbent.start(t, theirs, theirs.issue("va.boulder")), Name: "va.boulder",
			Certificate: theirs.show("gate.boulder"), Roots: theirs.roots, Shadow: x.shadow}
		if o.incumbent != nil {
			o.incumbent(&ic)
		}
		i, err := NewIncumbent(ic)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, i.Close()) })
		c.Coordinator, c.Incumbent = nil, i
		c.Ready = func(context.Context) error { return errors.New("the records cannot be reached") }
		if o.front != nil {
			o.front(c)
		}
	})
	t.Cleanup(func() { require.NoError(t, x.shadow.Close(context.Background())) })
	conn := x.dial("ra.boulder")
	x.dcv, x.caa = vapb.NewVAClient(conn), vapb.NewCAAClient(conn)
	return x
}

// compared waits until nothing runs, and tells what the comparisons gave.
func (x *shady) compared(want map[mpic.Comparison]float64) {
	x.t.Helper()
	require.NoError(x.t, x.shadow.Close(context.Background()))
	for _, c := range mpic.Comparisons() {
		scrape.Require(x.t, x.metrics, map[string]float64{"quorate_shadow_comparisons_total{result=" + string(c) + "}": want[c]})
	}
}

var refusedCAA = &vapb.IsCAAValidResponse{Problem: &corepb.ProblemDetails{ProblemType: "caa", Detail: "CAA record for x prevents issuance", HttpStatus: 403},
	Perspective: "theirs", Rir: "ARIN"}

// TestTheVAAnswersAndTheGateOnlyCompares: the RA is given the incumbent's reply or error, with its metadata, whatever we would have said.
//
// Holds: REC-05, MPIC-12
func TestTheVAAnswersAndTheGateOnlyCompares(t *testing.T) {
	strange := &vapb.IsCAAValidResponse{Perspective: "theirs"}
	strange.ProtoReflect().SetUnknown([]byte{0xf2, 0x3f, 0x02, 'h', 'i'}) // a field of a later Boulder
	failure := status.New(codes.Unknown, "rate limited")
	for name, c := range map[string]struct {
		name   string
		answer *vapb.IsCAAValidResponse
		err    error
		want   mpic.Comparison
		log    string
	}{
		"both say yes":                 {"caa.example.com", strange, nil, mpic.BothGranted, "the gate and the incumbent agree"},
		"both say no":                  {"caa-none.com", refusedCAA, nil, mpic.BothRefused, "the gate and the incumbent agree"},
		"the incumbent alone says yes": {"caa-none.com", caaPass(), nil, mpic.OnlyIncumbent, "reasons=\"[caa.forbidden: "},
		"the gate alone says yes":      {"caa.example.com", refusedCAA, nil, mpic.OnlyGate, "the gate and the incumbent disagree"},
		"an error":                     {"caa.example.com", nil, failure.Err(), mpic.NoIncumbent, "rate limited"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newShady(t, shadyOptions{})
			var got metadata.MD
			var left time.Duration
			x.incumbent.caa = func(ctx context.Context, _ *vapb.IsCAAValidRequest) (*vapb.IsCAAValidResponse, error) {
				got, _ = metadata.FromIncomingContext(ctx)
				if end, ok := ctx.Deadline(); ok {
					left = time.Until(end)
				}
				return c.answer, errors.Join(c.err, grpc.SetHeader(ctx, metadata.Pairs("x-va", "1")), grpc.SetTrailer(ctx, metadata.Pairs("errortype", "7")))
			}
			if c.err != nil { // a joined error is no status
				x.incumbent.caa = func(ctx context.Context, _ *vapb.IsCAAValidRequest) (*vapb.IsCAAValidResponse, error) {
					got, _ = metadata.FromIncomingContext(ctx)
					end, _ := ctx.Deadline()
					left = time.Until(end)
					return nil, errors.Join(grpc.SetHeader(ctx, metadata.Pairs("x-va", "1")), grpc.SetTrailer(ctx, metadata.Pairs("errortype", "7")), c.err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
			defer cancel()
			in := caaFor(c.name, "dns-01")
			in.ProtoReflect().SetUnknown([]byte{0xf2, 0x3f, 0x01, '!'})
			var header, trailer metadata.MD
			answer, err := x.caa.DoCAA(metadata.AppendToOutgoingContext(ctx, "client-request-time", "17", "acme-client-user-agent-bin", "\xfc"), in,
				grpc.Header(&header), grpc.Trailer(&trailer))
			if c.err != nil {
				require.Equal(t, codes.Unknown, status.Code(err))
				require.Contains(t, err.Error(), "rate limited")
			} else {
				require.NoError(t, err)
				require.True(t, proto.Equal(c.answer, answer), "%v", answer)
			}
			require.Equal(t, []string{"7"}, trailer["errortype"], "Boulder tells its errors' types there")
			require.Equal(t, []string{"1"}, append(header["x-va"], trailer["x-va"]...))
			require.Len(t, x.incumbent.asked, 1)
			require.True(t, proto.Equal(in, x.incumbent.asked[0].(proto.Message)))
			require.Equal(t, []string{"17"}, got["client-request-time"])
			require.Equal(t, []string{"\xfc"}, got["acme-client-user-agent-bin"])
			require.Greater(t, left, 10*time.Second)
			require.Less(t, left, 50*time.Second, "the caller's deadline")
			x.compared(map[mpic.Comparison]float64{c.want: 1})
			require.Contains(t, x.log.String(), c.log)
			a := x.ledger.closed[0].Attempt
			require.True(t, a.Shadow)
			require.Equal(t, mpic.CAAAlone, a.Kind)
			require.Equal(t, "boulder:ra.boulder", a.Caller)
			require.Equal(t, "authz:4711", a.Trace)
		})
	}
	t.Run("DCV", func(t *testing.T) {
		x := newShady(t, shadyOptions{})
		defer x.host("example.com").AddToken(token, probe(va.HTTP01, mpic.DCVAlone).Request.KeyAuthorization)()
		said := &vapb.ValidationResult{Records: passed(va.HTTP01), Perspective: "theirs", Rir: "ARIN"}
		x.incumbent.dcv = func(context.Context, *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
			return said, nil
		}
		answer, err := x.dcv.DoDCV(t.Context(), dcvFor("example.com", "http-01"))
		require.NoError(t, err)
		require.True(t, proto.Equal(said, answer))
		x.compared(map[mpic.Comparison]float64{mpic.BothGranted: 1})
		require.Equal(t, mpic.DCVAlone, x.ledger.closed[0].Attempt.Kind)
	})
}

// TestADetailedErrorOfTheVAStaysWhole: code, sentence and details.
func TestADetailedErrorOfTheVAStaysWhole(t *testing.T) {
	x := newShady(t, shadyOptions{})
	detailed, err := status.New(codes.InvalidArgument, "incomplete\nrequest").WithDetails(dnsName("example.com"))
	require.NoError(t, err)
	x.incumbent.dcv = func(context.Context, *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
		return nil, detailed.Err()
	}
	_, err = x.dcv.DoDCV(t.Context(), dcvFor("example.com", "http-01"))
	require.True(t, proto.Equal(detailed.Proto(), status.Convert(err).Proto()), "%v", err)
	x.compared(map[mpic.Comparison]float64{mpic.NoIncumbent: 1})
}

// TestWhatTheGateCannotReadIsPassedOnToTheVA, and counted with its reason.
//
// Holds: REC-05
func TestWhatTheGateCannotReadIsPassedOnToTheVA(t *testing.T) {
	address := dcvFor("192.0.2.80", "http-01")
	address.Identifier.Type = "ip"
	for name, c := range map[string]struct {
		in  *vapb.PerformValidationRequest
		log string
	}{
		"nothing":                {&vapb.PerformValidationRequest{}, "incomplete validation request"},
		"an address":             {address, "name.address"},
		"a method that we lack":  {dcvFor("example.com", "dns-account-01"), "request.method"},
		"a challenge of another": {&vapb.PerformValidationRequest{Identifier: dnsName("example.com")}, "incomplete validation request"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newShady(t, shadyOptions{})
			answer, err := x.dcv.DoDCV(t.Context(), c.in)
			require.NoError(t, err)
			require.True(t, proto.Equal(dcvPass(va.HTTP01), answer))
			require.True(t, proto.Equal(c.in, x.incumbent.asked[0].(proto.Message)))
			x.compared(map[mpic.Comparison]float64{mpic.Skipped: 1})
			require.Regexp(t, `a call has no attempt beside the incumbent's" caller=boulder:ra.boulder reason=".*`+c.log, x.log.String())
			require.Empty(t, x.ledger.open)
		})
	}
	x := newShady(t, shadyOptions{})
	answer, err := x.caa.DoCAA(t.Context(), &vapb.IsCAAValidRequest{})
	require.NoError(t, err)
	require.True(t, proto.Equal(caaPass(), answer))
	x.compared(map[mpic.Comparison]float64{mpic.Skipped: 1})
}

// raw sends octets for messages.
type raw struct{ octets []byte }

func (r raw) Marshal(any) ([]byte, error) { return r.octets, nil }
func (raw) Unmarshal([]byte, any) error   { return nil }
func (raw) Name() string                  { return "proto" }

// kept is a listener whose connections can be cut.
type kept struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (k *kept) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns = append(k.conns, c)
	return c, err
}

func (k *kept) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		if c != nil {
			_ = c.Close() // it may be closed already
		}
	}
}

// TestAVAThatFailsIsAnError: never our answer, although there is one.
//
// Holds: REC-05
func TestAVAThatFailsIsAnError(t *testing.T) {
	listen := func(t *testing.T) *kept {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return &kept{Listener: l}
	}
	// behind serves in the incumbent's place, without knowing the gate's CA.
	behind := func(t *testing.T, ic *IncumbentConfig, l net.Listener, options []grpc.ServerOption, handle grpc.StreamHandler) {
		p := newPKI(t)
		ic.Address, ic.Roots = l.Addr().String(), p.roots
		own := p.issue("va.boulder")
		server := grpc.NewServer(append(options, grpc.UnknownServiceHandler(handle),
			grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})))...)
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		t.Cleanup(func() {
			server.Stop()
			require.NoError(t, <-served)
		})
	}
	for name, c := range map[string]struct {
		arrange func(*testing.T, *IncumbentConfig)
		code    codes.Code
		log     string
	}{
		"garbage": {func(t *testing.T, ic *IncumbentConfig) {
			behind(t, ic, listen(t), []grpc.ServerOption{grpc.ForceServerCodec(raw{[]byte{0x0a, 0xff, 0xff}})}, func(_ any, s grpc.ServerStream) error {
				return errors.Join(s.RecvMsg(&struct{}{}), s.SendMsg(&struct{}{}))
			})
		}, codes.Internal, "the incumbent gave no answer"},
		"an answer that is too large": {func(t *testing.T, ic *IncumbentConfig) {
			behind(t, ic, listen(t), []grpc.ServerOption{grpc.ForceServerCodec(raw{make([]byte, 5<<20)})}, func(_ any, s grpc.ServerStream) error {
				return errors.Join(s.RecvMsg(&struct{}{}), s.SendMsg(&struct{}{}))
			})
		}, codes.ResourceExhausted, "larger than max"},
		"hangs": {func(t *testing.T, ic *IncumbentConfig) {
			behind(t, ic, listen(t), nil, func(_ any, s grpc.ServerStream) error {
				<-s.Context().Done()
				return s.Context().Err()
			})
		}, codes.DeadlineExceeded, "the incumbent gave no answer"},
		"dies in the middle": {func(t *testing.T, ic *IncumbentConfig) {
			l := listen(t)
			behind(t, ic, l, nil, func(any, grpc.ServerStream) error {
				l.cut()
				return nil
			})
		}, codes.Unavailable, "Unavailable"},
		"does not serve this": {func(t *testing.T, ic *IncumbentConfig) {
			behind(t, ic, listen(t), nil, func(any, grpc.ServerStream) error { return status.Error(codes.Unimplemented, "unknown service") })
		}, codes.Unimplemented, "unknown service"},
		"is not there": {func(t *testing.T, ic *IncumbentConfig) {
			l := listen(t)
			require.NoError(t, l.Close())
			ic.Address = l.Addr().String()
		}, codes.DeadlineExceeded, "connection refused"},
		"is another": {func(_ *testing.T, ic *IncumbentConfig) { ic.Name = "va2.boulder" }, codes.DeadlineExceeded, "identity="},
	} {
		t.Run(name, func(t *testing.T) {
			x := newShady(t, shadyOptions{incumbent: func(ic *IncumbentConfig) { c.arrange(t, ic) }})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			answer, err := x.caa.DoCAA(ctx, caaFor("caa.example.com", "dns-01"))
			require.Nil(t, answer)
			require.Equal(t, c.code, status.Code(err), "%v", err)
			x.compared(map[mpic.Comparison]float64{mpic.NoIncumbent: 1})
			require.Contains(t, x.log.String(), c.log)
			require.Empty(t, x.incumbent.asked)
			require.Len(t, x.ledger.closed, 1, "our own attempt is decided and recorded all the same")
		})
	}
}

// stuck is a Journal that writes nothing until it is released.
type stuck struct {
	mpic.Journal
	entered chan struct{}
	release chan struct{}
}

func (s *stuck) Open(ctx context.Context, a mpic.Attempt, r mpic.Roster) (int64, error) {
	s.entered <- struct{}{}
	<-s.release
	return s.Journal.Open(ctx, a, r)
}

// TestAGateAtItsLimitsDelaysNoRA: with all its places taken, and without records, the incumbent's answers go through; and the end waits for
// the attempts that run.
//
// Holds: REC-05
func TestAGateAtItsLimitsDelaysNoRA(t *testing.T) {
	block := &stuck{entered: make(chan struct{}, 16), release: make(chan struct{})}
	x := newShady(t, shadyOptions{gate: func(c *mpic.Config) { block.Journal, c.Journal, c.MaxInFlight = c.Journal, block, 1 },
		shadow: func(c *mpic.ShadowConfig) { c.MaxInFlight = 2 }, front: func(c *Config) { c.MaxInFlight = 1 }})
	for range 5 {
		answer, err := x.caa.DoCAA(t.Context(), caaFor("caa.example.com", "dns-01"))
		require.NoError(t, err)
		require.True(t, proto.Equal(caaPass(), answer))
	}
	arrived, goOn := make(chan struct{}, 4), make(chan struct{})
	x.incumbent.caa = func(context.Context, *vapb.IsCAAValidRequest) (*vapb.IsCAAValidResponse, error) {
		arrived <- struct{}{}
		<-goOn
		return caaPass(), nil
	}
	var all sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs { // more at a time than max_in_flight
		all.Go(func() { _, errs[i] = x.caa.DoCAA(context.Background(), caaFor("caa.example.com", "dns-01")) })
	}
	for range errs {
		<-arrived
	}
	close(goOn)
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	<-block.entered
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, x.shadow.Close(over), context.Canceled)
	close(block.release)
	x.compared(map[mpic.Comparison]float64{mpic.Skipped: 7, mpic.BothGranted: 2})
}

// TestHealthInTheShadowIsThatOfTheWay: an RA does not turn away from the incumbent because our records cannot be reached.
func TestHealthInTheShadowIsThatOfTheWay(t *testing.T) {
	x := newShady(t, shadyOptions{})
	client := healthpb.NewHealthClient(x.dial("ra.boulder"))
	require.Eventually(t, func() bool {
		r, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: vaService})
		return err == nil && r.Status == healthpb.HealthCheckResponse_SERVING
	}, 10*time.Second, 10*time.Millisecond)
}

// TestOnlyOurClientsReachTheVA: a client of ours that is none of that service's, and one of the incumbent's own CA.
//
// Holds: MPIC-08
func TestOnlyOurClientsReachTheVA(t *testing.T) {
	x := newShady(t, shadyOptions{})
	_, err := vapb.NewCAAClient(x.dial("ra2.boulder")).DoCAA(t.Context(), caaFor("example.com", "dns-01"))
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	other := newPKI(t)
	conn := x.dialTLS(&tls.Config{RootCAs: x.pki.roots, ServerName: "va.boulder", Certificates: []tls.Certificate{other.issue("ra.boulder")}})
	_, err = vapb.NewCAAClient(conn).DoCAA(t.Context(), caaFor("example.com", "dns-01"))
	require.Error(t, err)
	require.Empty(t, x.incumbent.asked)
	x.compared(nil)
}

// TestAnIncumbentHasAllThatItNeeds, and a server has one who answers.
//
// Holds: MPIC-08
func TestAnIncumbentHasAllThatItNeeds(t *testing.T) {
	x := newShady(t, shadyOptions{})
	good := IncumbentConfig{Address: "127.0.0.1:1", Certificate: x.pki.show("gate.boulder"), Roots: x.pki.roots, Shadow: x.shadow}
	for name, change := range map[string]func(*IncumbentConfig){
		"no address":     func(c *IncumbentConfig) { c.Address = "" },
		"no port":        func(c *IncumbentConfig) { c.Address = "va.boulder" },
		"no certificate": func(c *IncumbentConfig) { c.Certificate = nil },
		"no CA":          func(c *IncumbentConfig) { c.Roots = nil },
		"no shadow":      func(c *IncumbentConfig) { c.Shadow = nil },
	} {
		c := good
		change(&c)
		_, err := NewIncumbent(c)
		require.Error(t, err, name)
	}
	c := x.config
	c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	_, err := NewServer(c)
	require.NoError(t, err)
	c.Incumbent = nil
	_, err = NewServer(c)
	require.ErrorContains(t, err, "one of them answers")
	require.True(t, strings.HasPrefix(err.Error(), "boulder: "))
}
