package boulder

import (
	"context"
	"errors"
	"strconv"
	"strings"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// DoDCV validates by an attempt of the kind DCVAlone. CAA is not looked at: DoCAA is a call of its own.
//
// What cannot be an attempt and is a subscriber's matter (an IP address, a method that is not here) is answered by a problem, as
// Boulder's VA does; what only a faulty caller sends, and what could not be carried out or recorded, by gRPC's error.
func (s *Server) DoDCV(ctx context.Context, in *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
	if s.config.Incumbent != nil {
		return s.passDCV(ctx, in)
	}
	answer := &vapb.ValidationResult{Perspective: s.config.Primary.Name, Rir: rir(s.config.Primary.Place.Region)}
	call, unsupported, err := s.dcvCall(ctx, in)
	if err != nil {
		return nil, err
	}
	if unsupported != nil {
		s.logRefusal(ctx, doDCV, in.GetAuthz().GetId(), in.GetIdentifier(), unsupported)
		answer.Problem = unsupported
		return answer, nil
	}
	result, err := s.carry(ctx, doDCV, call)
	if err != nil {
		return nil, err
	}
	if p := result.Evidence.Primary; p != nil {
		answer.Records = records(result.Evidence.Attempt.Probe.Request, p.Report())
	}
	if !result.Decision.Granted() {
		answer.Problem = explain(result.Decision, dcvOf)
		return answer, nil
	}
	if err := sane(call.Request, answer.Records); err != nil { // F6: a pass that accounts for nothing is none of ours either
		s.log.ErrorContext(ctx, "a granted validation has no records as Boulder requires them", "record", result.Number, "error", err)
		return nil, status.Error(codes.Internal, "the validation cannot be accounted for as Boulder requires it")
	}
	return answer, nil
}

// dcvCall reads a request for DCV: the call to carry out, or the problem that a subscriber is shown, or the error of a faulty caller.
func (s *Server) dcvCall(ctx context.Context, in *vapb.PerformValidationRequest) (mpic.Call, *corepb.ProblemDetails, error) {
	ident, challenge, authz := in.GetIdentifier(), in.GetChallenge(), in.GetAuthz()
	if ident.GetValue() == "" || challenge.GetType() == "" || authz.GetId() <= 0 || authz.GetRegID() <= 0 || in.GetExpectedKeyAuthorization() == "" {
		return mpic.Call{}, nil, status.Error(codes.InvalidArgument, "incomplete validation request: identifier, challenge, authz.id, authz.regID and "+
			"expectedKeyAuthorization are needed")
	}
	if challenge.GetStatus() != pending {
		return mpic.Call{}, nil, status.Errorf(codes.InvalidArgument, "the challenge is not pending: its status is %q", cut(challenge.GetStatus(), 40))
	}
	method, unsupported := s.method(ident, challenge.GetType())
	if unsupported != nil {
		return mpic.Call{}, unsupported, nil
	}
	uri, _ := s.config.Accounts.URIs(authz.GetRegID())
	req := va.Request{Identifier: ident.GetValue(), Method: method, Token: challenge.GetToken(), KeyAuthorization: in.GetExpectedKeyAuthorization(),
		AccountURI: uri}
	return called(ctx, mpic.DCVAlone, authz.GetId(), req), nil, nil
}

// DoCAA checks CAA by an attempt of the kind CAAAlone, whatever DoDCV said of the name.
func (s *Server) DoCAA(ctx context.Context, in *vapb.IsCAAValidRequest) (*vapb.IsCAAValidResponse, error) {
	if s.config.Incumbent != nil {
		return s.passCAA(ctx, in)
	}
	answer := &vapb.IsCAAValidResponse{Perspective: s.config.Primary.Name, Rir: rir(s.config.Primary.Place.Region)}
	call, unsupported, err := s.caaCall(ctx, in)
	if err != nil {
		return nil, err
	}
	if unsupported != nil {
		s.logRefusal(ctx, doCAA, in.GetAuthzID(), in.GetIdentifier(), unsupported)
		answer.Problem = unsupported
		return answer, nil
	}
	result, err := s.carry(ctx, doCAA, call)
	if err != nil {
		return nil, err
	}
	if !result.Decision.Granted() {
		answer.Problem = explain(result.Decision, caaOf)
		answer.Problem.Detail = cut("While processing CAA for "+in.GetIdentifier().GetValue()+": "+answer.Problem.Detail, maxDetail)
	}
	return answer, nil
}

// caaCall reads a request for CAA, as dcvCall one for DCV.
func (s *Server) caaCall(ctx context.Context, in *vapb.IsCAAValidRequest) (mpic.Call, *corepb.ProblemDetails, error) {
	ident := in.GetIdentifier()
	if ident.GetValue() == "" || in.GetValidationMethod() == "" || in.GetAccountURIID() <= 0 || in.GetAuthzID() <= 0 {
		return mpic.Call{}, nil, status.Error(codes.InvalidArgument, "incomplete CAA request: identifier, validationMethod, accountURIID and authzID are needed")
	}
	method, unsupported := s.method(ident, in.GetValidationMethod())
	if unsupported != nil {
		return mpic.Call{}, unsupported, nil
	}
	uri, aliases := s.config.Accounts.URIs(in.GetAccountURIID())
	req := va.Request{Identifier: ident.GetValue(), Method: method, AccountURI: uri, AccountAliases: aliases}
	return called(ctx, mpic.CAAAlone, in.GetAuthzID(), req), nil, nil
}

// called makes the call of a request. Its trace is the authorization's number.
func called(ctx context.Context, kind mpic.Kind, authz int64, req va.Request) mpic.Call {
	client, _ := ctx.Value(callerKey{}).(string)
	return mpic.Call{Kind: kind, Caller: "boulder:" + client, Request: req, Trace: tracePrefix + strconv.FormatInt(authz, 10)}
}

// method reads what is to be validated, and how. The problem is the one that a subscriber is shown.
func (s *Server) method(ident *corepb.Identifier, label string) (va.Method, *corepb.ProblemDetails) {
	if t := ident.GetType(); t != identifierDNS {
		return 0, problem(typeUnsupported, "name.address: identifiers of the type %q are not validated here, only domain names are", cut(t, 40))
	}
	m, err := va.ParseMethod(label)
	if err != nil {
		return 0, problem(typeMalformed, "request.method: the method %q is not supported here (%v)", cut(label, 60), err)
	}
	return m, nil
}

// carry takes a place and carries out one attempt.
func (s *Server) carry(ctx context.Context, method string, call mpic.Call) (mpic.Result, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return mpic.Result{}, err
	}
	defer leave()
	client, _ := ctx.Value(callerKey{}).(string)
	log := s.log.With("method", method, "client", client, "authz", strings.TrimPrefix(call.Trace, tracePrefix),
		"identifier", cut(call.Request.Identifier, 260))
	result, err := s.config.Coordinator.Carry(ctx, call)
	if err != nil { // REC-05: whatever was seen, the answer is no
		log.ErrorContext(ctx, "a call could not be carried out", "error", err)
		return mpic.Result{}, notDone(err)
	}
	log.InfoContext(ctx, "answered", "record", result.Number, "attempt", result.Evidence.Attempt.ID(), "granted", result.Decision.Granted(),
		"waited", ctx.Err() == nil)
	return result, nil
}

func (s *Server) logRefusal(ctx context.Context, method string, authz int64, ident *corepb.Identifier, p *corepb.ProblemDetails) {
	client, _ := ctx.Value(callerKey{}).(string)
	s.log.InfoContext(ctx, "refused a call", "method", method, "client", client, "authz", authz, "identifier", cut(ident.GetValue(), 260),
		"type", p.ProblemType, "detail", p.Detail)
}

// notDone maps the coordinator's errors. Internals stay in the log.
func notDone(err error) error {
	switch {
	case errors.Is(err, mpic.ErrRecord):
		return status.Error(codes.Unavailable, "record.unwritten: the record could not be written, so the answer is no")
	case errors.Is(err, mpic.ErrBusy):
		return exhausted("as many calls as may be are under way or wait for their turn")
	case errors.Is(err, mpic.ErrClosed):
		return status.Error(codes.Unavailable, "gate.closing: the gate is shutting down")
	case errors.Is(err, mpic.ErrRequest):
		return status.Error(codes.InvalidArgument, "request.invalid: this is not a request for a validation")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "gate.overload: the time was up before the attempt began")
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller went away before the attempt began")
	default:
		return status.Error(codes.Internal, "gate.failed: the call could not be carried out")
	}
}
