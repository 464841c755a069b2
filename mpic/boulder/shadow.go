package boulder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/mpic"
)

// IncumbentConfig is the boulder-va that a Server in the shadow passes its calls on to. All but Name is required.
type IncumbentConfig struct {
	// Address is HOST:PORT. Name is the name in its certificate, as Boulder's hostOverride; empty for HOST.
	Address, Name string
	// Certificate gives what is shown to it: its clientNames have its name. Roots are the CAs of its own.
	Certificate func() *tls.Certificate
	Roots       *x509.CertPool
	// Shadow carries out our own attempts.
	Shadow *mpic.Shadow
}

const (
	// mostPassed is how many calls are passed on at a time. The bounds of our own work are not to hold up what the incumbent would have
	// answered.
	mostPassed = 1024
	// mostReply is how large its answer may be, in octets.
	mostReply = 4 << 20
	// passedTime bounds a call whose caller sets no deadline, as in Boulder's own servers.
	passedTime = 100 * time.Second
)

// Incumbent is a boulder-va that answers in this gate's place.
type Incumbent struct {
	conn   *grpc.ClientConn
	shadow *mpic.Shadow
	last   *handshakes
}

// NewIncumbent refuses a configuration that lacks something. It opens no connection.
func NewIncumbent(c IncumbentConfig) (*Incumbent, error) {
	host, port, err := net.SplitHostPort(c.Address)
	switch {
	case err != nil || host == "" || port == "":
		return nil, fmt.Errorf("boulder: the incumbent's address %q is not HOST:PORT", c.Address)
	case c.Roots == nil || c.Certificate == nil:
		return nil, errors.New("boulder: there are no CAs of the incumbent's certificate, or the gate has none of its own to show")
	case c.Shadow == nil:
		return nil, errors.New("boulder: there is nothing that decides in the incumbent's shadow")
	}
	if c.Name == "" {
		c.Name = host
	}
	last := &handshakes{}
	conn, err := newConn(c.Address, channel{credentials.NewTLS(clientTLS(c.Name, "", c.Roots, c.Certificate)), last}, mostReply)
	if err != nil {
		return nil, fmt.Errorf("boulder: the incumbent: %w", err)
	}
	return &Incumbent{conn: conn, shadow: c.Shadow, last: last}, nil
}

// Close ends the connection.
func (i *Incumbent) Close() error { return i.conn.Close() }

// pass passes a call on, with the caller's metadata and within its deadline, and gives it the incumbent's. The error is the incumbent's own.
// As Boulder's clients do, it waits for a connection until the deadline.
func (i *Incumbent) pass(ctx context.Context, method string, in, out proto.Message) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, passedTime)
		defer cancel()
	}
	given, _ := metadata.FromIncomingContext(ctx)
	var header, trailer metadata.MD
	err := i.conn.Invoke(metadata.NewOutgoingContext(ctx, own(given)), method, in, out, grpc.Header(&header), grpc.Trailer(&trailer),
		grpc.WaitForReady(true))
	// Boulder tells the type of an error in the trailer.
	if told := errors.Join(grpc.SetHeader(ctx, own(header)), grpc.SetTrailer(ctx, own(trailer))); told != nil {
		return status.Errorf(codes.Internal, "the incumbent's metadata could not be passed on: %v", told)
	}
	return err
}

// own leaves out what is gRPC's and HTTP's: each connection has its own.
func own(md metadata.MD) metadata.MD {
	out := metadata.MD{}
	for k, v := range md {
		if !strings.HasPrefix(k, ":") && !strings.HasPrefix(k, "grpc-") && k != "content-type" && k != "user-agent" && k != "te" {
			out[k] = v
		}
	}
	return out
}

func (s *Server) passDCV(ctx context.Context, in *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
	call, unsupported, err := s.dcvCall(ctx, in)
	answer := &vapb.ValidationResult{}
	err = s.inShadow(ctx, doDCV, read{call, unsupported, err}, in, answer, func() bool { return answer.GetProblem() == nil })
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func (s *Server) passCAA(ctx context.Context, in *vapb.IsCAAValidRequest) (*vapb.IsCAAValidResponse, error) {
	call, unsupported, err := s.caaCall(ctx, in)
	answer := &vapb.IsCAAValidResponse{}
	err = s.inShadow(ctx, doCAA, read{call, unsupported, err}, in, answer, func() bool { return answer.GetProblem() == nil })
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// read is what came of reading a request.
type read struct {
	call        mpic.Call
	unsupported *corepb.ProblemDetails
	err         error
}

// inShadow passes a call on, whatever we make of it, and beside it our own attempt runs: what comes of that goes to the record, the log and
// the metrics alone. To Boulder's RA the absence of a problem is a pass, so that it is what the incumbent granted.
func (s *Server) inShadow(ctx context.Context, method string, r read, in, out proto.Message, granted func() bool) (err error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return exhausted(fmt.Sprintf("%d calls are being passed on", cap(s.slots)))
	}
	done := false
	answered := s.begin(ctx, r)
	defer func() {
		if !done {
			err = status.Error(codes.Internal, "passing the call on broke down")
		}
		answered(err == nil && granted(), err)
	}()
	began := time.Now()
	err = s.config.Incumbent.pass(ctx, method, in, out)
	done = true
	client, _ := ctx.Value(callerKey{}).(string)
	log := s.log.With("method", method, "client", client, "took", time.Since(began))
	if err == nil {
		log.InfoContext(ctx, "passed the incumbent's answer on")
		return nil
	}
	if stranger := s.config.Incumbent.last.stranger(); stranger != nil { // F9: somebody else answers in its place
		log = log.With("identity", stranger)
	}
	log.ErrorContext(ctx, "the incumbent gave no answer", "error", err)
	return err
}

// begin begins our own attempt where the request is one that we can read.
func (s *Server) begin(ctx context.Context, r read) (answered func(bool, error)) {
	err := r.err
	if err == nil && r.unsupported != nil {
		err = errors.New(r.unsupported.GetDetail())
	}
	if err != nil {
		client, _ := ctx.Value(callerKey{}).(string)
		s.config.Incumbent.shadow.Skip("boulder:"+client, r.call.Trace, err)
		return func(bool, error) {}
	}
	return s.config.Incumbent.shadow.Begin(r.call)
}
