package boulder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	vapb "github.com/letsencrypt/boulder/va/proto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder/account"
	"github.com/quorate/quorate/mpic/front"
)

const (
	// DefaultMaxConnections is how many connections of clients are open at a time.
	DefaultMaxConnections = 256
	// maxRequest is how large a request may be, in octets: one has less than 2 KiB.
	maxRequest = 32 << 10
	// handshakeTime bounds a connection's beginning.
	handshakeTime = 10 * time.Second
	// healthInterval is how often the records are looked at, as often as Boulder's servers look at theirs.
	healthInterval = 5 * time.Second
	// leastTime is how much time a caller must have left for a call to be begun, as with Boulder's servers.
	leastTime = 100 * time.Millisecond
	// connectionAge is for how long a client keeps a connection, so that it learns of other gates: maxConnectionAge of Boulder's servers.
	connectionAge = 30 * time.Second
)

// Coordinator carries out attempts: mpic.Coordinator, or in this package's tests another.
type Coordinator interface {
	// Carry is mpic.Coordinator's, errors included.
	Carry(ctx context.Context, call mpic.Call) (mpic.Result, error)
}

// Clients are the names, as subject alternative names of client certificates, of those who may call each service: Boulder's clientNames. Each of
// them may ask for the health of the server too.
type Clients struct{ VA, CAA, Health []string }

// Config is what NewServer needs. All but Clients.Health and the limits is required, and one of Coordinator and Incumbent.
type Config struct {
	Coordinator Coordinator
	// Incumbent makes it a server in the shadow: the incumbent answers, and never we. There is no Coordinator beside it, MaxInFlight is not for
	// its calls, and the health is that of the way to it: the records are not asked for.
	Incumbent *Incumbent
	// Primary is the roster's: its name and region stand in answers.
	Primary mpic.Member
	// Certificate gives the server's own; ClientCAs issue those of the clients.
	Certificate func() *tls.Certificate
	ClientCAs   *x509.CertPool
	Clients     Clients
	Accounts    account.Prefixes
	// Ready tells whether the records can be reached: without them there is no health, since there are no answers.
	Ready func(context.Context) error
	// MaxInFlight is how many calls run or wait for their turn at a time; what is more gets RESOURCE_EXHAUSTED at once. Default (0): 256.
	MaxInFlight int
	// MaxConnections is how many connections of clients are open at a time; more wait a moment. Default (0): 256.
	MaxConnections int
	Logger         *slog.Logger
}

// Server is va.VA and va.CAA before a Coordinator. An answer without a problem is given for a granted decision that is on record, and for nothing
// else: to Boulder's RA the absence of a problem is a pass.
type Server struct {
	vapb.UnsafeVAServer
	vapb.UnsafeCAAServer

	config Config
	slots  chan struct{}
	health *health.Server
	server *grpc.Server
	log    *slog.Logger
}

// NewServer refuses a configuration that lacks something. Serve answers.
func NewServer(c Config) (*Server, error) {
	switch {
	case (c.Coordinator == nil) == (c.Incumbent == nil):
		return nil, errors.New("boulder: there is no coordinator and no incumbent, or both: one of them answers")
	case c.Ready == nil || c.Logger == nil:
		return nil, errors.New("boulder: there is no logger, or nothing that tells whether the records can be reached")
	case c.Primary.Name == "":
		return nil, errors.New("boulder: the primary has no name")
	case c.Certificate == nil || c.ClientCAs == nil:
		return nil, errors.New("boulder: there is no certificate, or no CA of the clients")
	case len(c.Clients.VA) == 0 || len(c.Clients.CAA) == 0:
		return nil, errors.New("boulder: va.VA or va.CAA has no client that may call it")
	case c.MaxInFlight < 0 || c.MaxConnections < 0:
		return nil, fmt.Errorf("boulder: %d calls in flight, %d connections", c.MaxInFlight, c.MaxConnections)
	}
	if err := c.Accounts.Check(); err != nil {
		return nil, fmt.Errorf("boulder: %w", err)
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = mpic.DefaultMaxInFlight
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.Incumbent != nil {
		c.MaxInFlight, c.Ready = mostPassed, func(context.Context) error { return nil }
	}
	s := &Server{config: c, slots: make(chan struct{}, c.MaxInFlight), health: health.NewServer(), log: c.Logger}
	s.report(healthpb.HealthCheckResponse_NOT_SERVING) // until the records were reached once
	s.server = grpc.NewServer(
		grpc.Creds(listening{serverTLS(c.Certificate, c.ClientCAs, s.names(healthService)), make(chan struct{}, c.MaxConnections)}),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxHeaderListSize(maxHeader), grpc.ConnectionTimeout(handshakeTime),
		// Room for more than may run, so that what is too much is told so; and for the clients that watch the health.
		grpc.MaxConcurrentStreams(uint32(2*c.MaxInFlight+64)),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: connectionAge, MaxConnectionIdle: 10 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second}))
	vapb.RegisterVAServer(s.server, s)
	vapb.RegisterCAAServer(s.server, s)
	healthpb.RegisterHealthServer(s.server, s.health)
	return s, nil
}

// names gives who may call a service. Boulder's clients watch the health of what they call, so that each may.
func (s *Server) names(service string) []string {
	c := s.config.Clients
	switch service {
	case vaService:
		return c.VA
	case caaService:
		return c.CAA
	case healthService:
		return slices.Concat(c.VA, c.CAA, c.Health)
	default:
		return nil
	}
}

// Serve answers at the listener until ctx ends; then it takes no new calls, and lets those that run come to their end, for as long as grace. It
// closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener, grace time.Duration) error {
	watched := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	go func() {
		defer close(watched)
		s.watch(watching)
	}()
	defer func() {
		stop()
		<-watched
	}()
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(front.NewStrangers().Listener(listener)) }()
	select {
	case err := <-served:
		s.server.Stop()
		return fmt.Errorf("boulder: serving on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	stop()
	<-watched
	s.health.Shutdown()
	ended := make(chan struct{})
	go func() {
		s.server.GracefulStop()
		close(ended)
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	var cutOff error
	select {
	case <-ended:
	case <-timer.C:
		cutOff = errors.New("boulder: calls were cut off at the end")
		s.server.Stop()
		<-ended
	}
	return errors.Join(cutOff, <-served)
}

// watch keeps the health up to date, as a whole and of each service.
func (s *Server) watch(ctx context.Context) {
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	was := healthpb.HealthCheckResponse_NOT_SERVING
	for {
		checking, cancel := context.WithTimeout(ctx, healthInterval*9/10)
		err := s.config.Ready(checking)
		cancel()
		is := healthpb.HealthCheckResponse_SERVING
		if err != nil {
			is = healthpb.HealthCheckResponse_NOT_SERVING
		}
		if ctx.Err() != nil {
			return
		}
		if is != was {
			s.log.Info("the health of Boulder's services changed", "health", is.String(), "error", err)
		}
		s.report(is)
		was = is
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) report(health healthpb.HealthCheckResponse_ServingStatus) {
	for _, service := range []string{"", vaService, caaService} {
		s.health.SetServingStatus(service, health)
	}
}

// callerKey is the context's key of the client's name.
type callerKey struct{}

// admit finds out who calls, and whether he may.
func (s *Server) admit(ctx context.Context, method string) (context.Context, error) {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "there is no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "the connection is not TLS")
	}
	name := clientName(info.State, s.names(service))
	if name == "" {
		s.log.WarnContext(ctx, "a client may not call this", "method", method, "address", p.Addr.String())
		return nil, status.Errorf(codes.PermissionDenied, "the certificate's names may not call %s", service)
	}
	return context.WithValue(ctx, callerKey{}, name), nil
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.log.ErrorContext(ctx, "a call broke down", "method", info.FullMethod, "panic", v, "stack", string(debug.Stack()))
			answer, err = nil, status.Error(codes.Internal, "the call could not be carried out by a fault in the gate")
		}
	}()
	if ctx, err = s.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if _, err := s.admit(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return handle(srv, ss)
}

// enter takes a place. Nobody waits here: the coordinator has the only queue, and more behind it would only hide the load.
func (s *Server) enter(ctx context.Context) (leave func(), err error) {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < leastTime {
		return nil, status.Errorf(codes.DeadlineExceeded, "there is not enough time left: %s", time.Until(end))
	}
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	default:
		return nil, exhausted(fmt.Sprintf("%d calls are in flight", cap(s.slots)))
	}
}

// exhausted asks the caller to come again in two seconds, in the form of google.rpc.RetryInfo.
func exhausted(detail string) error {
	s := status.New(codes.ResourceExhausted, "gate.overload: "+detail)
	if with, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)}); err == nil {
		s = with
	}
	return s.Err()
}
