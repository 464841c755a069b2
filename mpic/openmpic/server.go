// Package openmpic speaks Open MPIC 3.5: the gate in the place of a coordinator (Server), a perspective in the place of a checker
// (CheckerServer), and an existing coordinator's or checkers' perspectives as remotes of ours (Remote). docs/open-mpic.md describes it.
//
// As a server it tells the decision that mpic.Judge made, with the primary inside, and no caller lowers the bar. As a client it
// believes no verdict and no count: only what it is told of each perspective, held against the request and the roster.
package openmpic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

// Validator carries out attempts: the Coordinator.
type Validator interface {
	// Carry is mpic.Coordinator's, errors included.
	Carry(ctx context.Context, call mpic.Call) (mpic.Result, error)
}

// Config is what NewServer needs. All but the numbers is required, and one of Validator and Incumbent.
type Config struct {
	Validator Validator
	// Incumbent makes it a server in the shadow: the incumbent answers, and never we. There is no Validator beside it.
	Incumbent *Incumbent
	Clients   []front.Client
	// Issuers are the gate's Issuer Domain Names, in lower case: caa_domains may name some of them, and no others.
	Issuers []string
	// MaxAttempts is the largest max_attempts that a caller may ask for; 0 means 3, at most 10. Each attempt that an attacker gets is
	// another chance for him.
	MaxAttempts int
	// MaxInFlight is how many requests are worked on at a time over all clients; 0 means 256. What is more gets status 503. It is not for
	// what an Incumbent answers.
	MaxInFlight int
	Logger      *slog.Logger
	// Now is the gate's clock: the rules of the day are those of its day.
	Now func() time.Time
}

// Defaults and limits of Config.
const (
	DefaultMaxAttempts = 3
	MostMaxAttempts    = 10

	nestedPath = "/mpic"
	flatPath   = "/v1/mpic"
)

// Paths are those that a Server answers: the specification's form, and the flat one of EJBCA's manual.
func Paths() []string { return []string{nestedPath, flatPath} }

// Server is the front's http.Handler. It is to be served over TLS.
type Server struct {
	door
	validator   Validator
	incumbent   *Incumbent
	issuers     []string
	maxAttempts int
	now         func() time.Time
}

// NewServer refuses a configuration that lacks something, and clients that cannot be told apart.
func NewServer(c Config) (*Server, error) {
	switch {
	case (c.Validator == nil) == (c.Incumbent == nil):
		return nil, errors.New("openmpic: there is no validator and no incumbent, or both: one of them answers")
	case c.Logger == nil || c.Now == nil:
		return nil, errors.New("openmpic: there is no logger or no clock")
	case len(c.Issuers) == 0:
		return nil, errors.New("openmpic: there is no issuer domain name")
	case c.MaxInFlight < 0 || c.MaxAttempts < 0 || c.MaxAttempts > MostMaxAttempts:
		return nil, fmt.Errorf("openmpic: %d requests in flight, or %d attempts; at most %d attempts are allowed", c.MaxInFlight,
			c.MaxAttempts, MostMaxAttempts)
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = mpic.DefaultMaxInFlight
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = DefaultMaxAttempts
	}
	if c.Incumbent != nil {
		c.MaxInFlight = mostPassed
	}
	d, err := newDoor(c.Clients, c.MaxInFlight, c.Logger)
	if err != nil {
		return nil, err
	}
	return &Server{door: d, validator: c.Validator, incumbent: c.Incumbent, issuers: slices.Clone(c.Issuers),
		maxAttempts: c.MaxAttempts, now: c.Now}, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	flat := r.URL.Path == flatPath
	if !flat && r.URL.Path != nestedPath {
		s.stranger(w, r, refusal(http.StatusNotFound, "request.path", "there are POST "+nestedPath+" and POST "+flatPath))
		return
	}
	if s.incumbent != nil {
		s.authenticated(w, r, s.inShadow)
		return
	}
	s.serve(w, r, func(w http.ResponseWriter, r *http.Request, c *front.Member, body []byte) *Problem {
		return s.mpic(w, r, c, body, flat)
	})
}

func (s *Server) mpic(w http.ResponseWriter, r *http.Request, c *front.Member, body []byte, flat bool) *Problem {
	q, p := readRequest(body, []string{checkDCV, checkCAA}, true)
	if p != nil {
		return p
	}
	call, attempts, p := s.call(q, c)
	if p != nil {
		return p
	}
	result, tries, p := s.attempts(r.Context(), call, attempts, c)
	if p != nil {
		return p
	}
	log := s.log.With("client", c.Name, "attempt", result.Evidence.Attempt.ID(), "record", result.Number, "tries", tries)
	if q.trace != "" {
		log = log.With("trace", q.trace)
	}
	if len(result.Decision.Views()) == 0 { // nobody was asked: there is nothing to report of perspectives
		return notAsked(result)
	}
	valid := result.Decision.Granted()
	log.InfoContext(r.Context(), "answered an Open MPIC request", "check", q.check, "identifier", q.what.Identifier, "is_valid", valid)
	all, completed := perspectives(q, result)
	s.answer(w, r, q.reply(flat, valid, completed, q.actual(result, tries), all))
	return nil
}

// call makes the call of a request, and says how many attempts may be made for it.
func (s *Server) call(q request, c *front.Member) (mpic.Call, int, *Problem) {
	call := mpic.Call{Kind: mpic.DCVAlone, Caller: "openmpic:" + c.Name, Request: q.what, Trace: q.trace, Issuers: q.issuers}
	if q.check == checkCAA {
		call.Kind = mpic.CAAAlone
	}
	for _, name := range q.issuers {
		if !slices.Contains(s.issuers, name) {
			return call, 0, wrong("caa_check_parameters.caa_domains", "request.issuers",
				fmt.Sprintf("%q is none of this gate's issuer domain names: %s", front.Cut(name, 100), strings.Join(s.issuers, ", ")), "CAA-02")
		}
	}
	if q.orchestration == nil {
		return call, 1, nil
	}
	demand, attempts, p := q.orchestration.demand(s.now(), s.maxAttempts)
	call.Demand = demand
	return call, attempts, p
}

// demand reads the caller's wishes: they raise the bar, and one that would lower it is refused (F7).
func (w *orchestration) demand(at time.Time, most int) (d mpic.Demand, attempts int, p *Problem) {
	const field = "orchestration_parameters."
	policy, problem := mpic.PolicyAt(at)
	if problem != nil {
		return d, 0, refusal(http.StatusServiceUnavailable, problem.Code, problem.Detail)
	}
	remotes := int64(policy.MinRemotes)
	if n := w.perspectives; n != nil {
		if *n < remotes { // MPIC-02
			return d, 0, wrong(field+"perspective_count", "request.lowered", fmt.Sprintf("%d remote perspectives; since %s at least %d are asked (%s)",
				*n, policy.Name(), remotes, policy.Section("MPIC-02")), "MPIC-02")
		}
		if *n > mostPerspectives {
			return d, 0, wrong(field+"perspective_count", "request.demand", fmt.Sprintf("%d perspectives; at most %d can be demanded", *n, mostPerspectives))
		}
		remotes, d.Remotes = *n, int(*n)
	}
	if n := w.quorum; n != nil {
		allowed, _ := mpic.AllowedNonCorroborations(int(remotes))
		needed := remotes - int64(allowed)
		switch { // MPIC-03
		case *n == 0:
			return d, 0, wrong(field+"quorum_count", "request.lowered", fmt.Sprintf("0, a monitoring mode in which everything is valid, is not "+
				"served; of %d remote perspectives at least %d must corroborate (%s)", remotes, needed, policy.Section("MPIC-03")), "MPIC-03")
		case *n < needed:
			return d, 0, wrong(field+"quorum_count", "request.lowered", fmt.Sprintf("%d; of %d remote perspectives at least %d must corroborate (%s)", *n,
				remotes, needed, policy.Section("MPIC-03")), "MPIC-03")
		case *n > mostPerspectives:
			return d, 0, wrong(field+"quorum_count", "request.demand", fmt.Sprintf("%d; at most %d can be demanded", *n, mostPerspectives))
		}
		d.Quorum = int(*n)
	}
	attempts = 1
	if n := w.attempts; n != nil {
		if *n < 1 || *n > int64(most) {
			return d, 0, wrong(field+"max_attempts", "request.attempts", fmt.Sprintf("%d is not between 1 and %d", *n, most))
		}
		attempts = int(*n)
	}
	return d, attempts, nil
}

// mostPerspectives is far above any roster.
const mostPerspectives = 1000

// attempts makes attempts until one is granted: each begins from nothing (MPIC-09), and each is on record. A caller that went away is
// not tried for again.
func (s *Server) attempts(ctx context.Context, call mpic.Call, most int, c *front.Member) (result mpic.Result, tries int, p *Problem) {
	for {
		tries++
		call.Try = tries // from the first one on, so that a domain's first cohort is the same whatever the caller asks for
		var err error
		result, err = s.validator.Carry(ctx, call)
		if err != nil { // REC-05: whatever was seen, the answer is no
			s.log.ErrorContext(ctx, "an attempt could not be carried out", "client", c.Name, "identifier", call.Request.Identifier,
				"try", tries, "error", err)
			return result, tries, notDone(err)
		}
		if result.Decision.Granted() || tries >= most || len(result.Decision.Views()) == 0 || ctx.Err() != nil {
			return result, tries, nil
		}
	}
}

// notDone maps the coordinator's errors. Internals stay in the log.
func notDone(err error) *Problem {
	switch {
	case errors.Is(err, mpic.ErrRecord):
		return overload(http.StatusServiceUnavailable, "record.unwritten", "the record could not be written, so there is no answer", 5)
	case errors.Is(err, mpic.ErrAuditLog):
		return overload(http.StatusServiceUnavailable, "audit.unwritten", "the audit line could not be written, so there is no answer", 5)
	case errors.Is(err, mpic.ErrBusy):
		return overload(http.StatusServiceUnavailable, "gate.overload", "as many checks as may be are under way or wait for their turn", 2)
	case errors.Is(err, mpic.ErrClosed):
		return overload(http.StatusServiceUnavailable, "gate.closing", "the gate is shutting down", 5)
	case errors.Is(err, mpic.ErrRequest):
		return refusal(http.StatusBadRequest, "request.invalid", "this is not a request for a check")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return overload(http.StatusServiceUnavailable, "gate.overload", "the caller went away before the attempt began", 2)
	default:
		return refusal(http.StatusInternalServerError, "gate.failed", "the check could not be carried out")
	}
}

// notAsked is the answer to an attempt that was recorded and refused before its first packet: because of what was asked for, or because
// the gate's own roster is not in order.
func notAsked(r mpic.Result) *Problem {
	p := refusal(http.StatusBadRequest, "decision.refused", "the request was refused before anything was checked")
	if reasons := r.Decision.Reasons(); len(reasons) > 0 {
		first := reasons[0]
		if !strings.HasPrefix(first.Code, "request.") && !strings.HasPrefix(first.Code, "name.") {
			p = overload(http.StatusServiceUnavailable, first.Code, first.Detail, 60)
		} else {
			p = refusal(http.StatusBadRequest, first.Code, first.Detail)
		}
		p.Rules = first.Rules
	}
	p.Record = r.Number
	return p
}

// actual tells the counts by which it was decided. They are of remotes: the primary is not one of them.
func (q *request) actual(r mpic.Result, tries int) actual {
	count := r.Decision.DCV()
	if q.check == checkCAA {
		count = r.Decision.CAA()
	}
	return actual{Perspectives: count.Attempted, Quorum: count.Attempted - count.Allowed, Attempts: tries}
}

// perspectives tells what each perspective came to, the primary first. completed tells whether enough checks came to their end for the
// outcome to rest on what was seen.
func perspectives(q request, r mpic.Result) (all []seen, completed bool) {
	roster, done, primary := r.Evidence.Roster, 0, false
	for _, v := range r.Decision.Views() {
		outcome, problem := v.DCV, v.DCVProblem
		if q.check == checkCAA {
			outcome, problem = v.CAA, v.CAAProblem
		}
		var c checkResponse
		if v.Role == mpic.Primary {
			report := r.Evidence.Primary.Report()
			c = q.response(outcome, problem, &report, nil, report.Finished)
			primary = c.CheckCompleted
		} else {
			a := attestation(r.Evidence, v.Perspective)
			c = q.response(outcome, problem, a.Report, a.Statement, a.Closed)
			if c.CheckCompleted {
				done++
			}
		}
		all = append(all, seen{v.Perspective, c})
	}
	allowed, _ := mpic.AllowedNonCorroborations(len(roster.Remotes))
	return all, primary && done >= len(roster.Remotes)-allowed
}

func attestation(e mpic.Evidence, name string) mpic.Attestation {
	for _, a := range e.Remotes {
		if a.Perspective == name {
			return a
		}
	}
	return mpic.Attestation{}
}

// reasonOf gives the first error of a check in words, for a log line.
func reasonOf(p *va.Problem) string {
	if p == nil {
		return ""
	}
	return p.Code
}
