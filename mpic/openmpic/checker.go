package openmpic

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

// CheckerClient is one coordinator that may ask.
type CheckerClient struct {
	front.Client
	// Checker does its checks. Each has one of its own, so that the memory of no resolver serves two (MPIC-07).
	Checker *va.Checker
}

// CheckerConfig is what NewCheckerServer needs. All but the numbers and Issuers is required.
type CheckerConfig struct {
	Clients []CheckerClient
	// Issuers are what a CAA record must name where a request has no caa_domains, in lower case. Without them such a request is refused.
	Issuers []string
	// MaxCheck bounds one check; 0 means 15 s, at most 2 minutes.
	MaxCheck time.Duration
	// MaxInFlight is how many checks are done at a time over all clients; 0 means 256. What is more gets status 503.
	MaxInFlight int
	Logger      *slog.Logger
	Now         func() time.Time
}

const (
	defaultMaxCheck = 15 * time.Second
	mostMaxCheck    = 2 * time.Minute

	dcvPath = "/dcv"
	caaPath = "/caa"
)

// CheckerServer answers POST /dcv and POST /caa as one perspective of an Open MPIC coordinator. What it says is one perspective's
// claim: nothing may be issued upon it. It is to be served over TLS.
type CheckerServer struct {
	door
	// checks are the checkers' Check, by the clients' names.
	checks  map[string]func(context.Context, va.Probe) va.Report
	issuers []string
	limit   time.Duration
	now     func() time.Time
}

// NewCheckerServer refuses a configuration that lacks something, and clients that cannot be told apart.
func NewCheckerServer(c CheckerConfig) (*CheckerServer, error) {
	switch {
	case c.Logger == nil || c.Now == nil:
		return nil, errors.New("openmpic: there is no logger or no clock")
	case c.MaxCheck < 0 || c.MaxCheck > mostMaxCheck || c.MaxInFlight < 0:
		return nil, fmt.Errorf("openmpic: %s for a check, %d at a time; a check may take up to %s", c.MaxCheck, c.MaxInFlight, mostMaxCheck)
	}
	if c.MaxCheck == 0 {
		c.MaxCheck = defaultMaxCheck
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = mpic.DefaultMaxInFlight
	}
	var list []front.Client
	checks := map[string]func(context.Context, va.Probe) va.Report{}
	for _, x := range c.Clients {
		if x.Checker == nil {
			return nil, fmt.Errorf("openmpic: client %q: there is no checker", x.Name)
		}
		list, checks[x.Name] = append(list, x.Client), x.Checker.Check
	}
	d, err := newDoor(list, c.MaxInFlight, c.Logger)
	if err != nil {
		return nil, err
	}
	return &CheckerServer{door: d, checks: checks, issuers: slices.Clone(c.Issuers),
		limit: c.MaxCheck, now: c.Now}, nil
}

func (s *CheckerServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case dcvPath, caaPath:
		check := r.URL.Path[1:]
		s.serve(w, r, func(w http.ResponseWriter, r *http.Request, c *front.Member, body []byte) *Problem {
			return s.one(w, r, c, body, check)
		})
	default:
		s.stranger(w, r, refusal(http.StatusNotFound, "request.path", "there are POST "+dcvPath+" and POST "+caaPath))
	}
}

const (
	headerTime = 5 * time.Second
	// readTime is for a request that is refused unread: of one that is read the body has its own (front.Body).
	readTime  = 30 * time.Second
	idleTime  = 2 * time.Minute
	writeTime = 10 * time.Second
)

// Serve answers over TLS until ctx ends, and lets what is being checked come to its end.
func (s *CheckerServer) Serve(ctx context.Context, listener net.Listener, certificate func() *tls.Certificate) error {
	strangers := front.NewStrangers()
	server := &http.Server{
		Handler:     s,
		ConnContext: strangers.ConnContext,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(), nil }},
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      front.BodyTime + s.limit + writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(strangers.Listener(listener), "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("openmpic: serving on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limit+writeTime)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		s.log.WarnContext(ctx, "checks were cut off at the end", "error", err)
		_ = server.Close() // nothing is left to be done about connections that do not close
	}
	<-served
	return nil
}

func (s *CheckerServer) one(w http.ResponseWriter, r *http.Request, c *front.Member, body []byte, check string) *Problem {
	q, p := readRequest(body, []string{check}, false)
	if p != nil {
		return p
	}
	probe := s.probe(q)
	if problem := probe.Admit(s.now()); problem != nil {
		p := refusal(http.StatusBadRequest, problem.Code, problem.Detail)
		p.Rules = problem.Rules
		return p
	}
	report := s.checks[c.Name](r.Context(), probe)
	outcome, problem := report.DCV.Outcome, report.DCV.Problem
	if check == checkCAA {
		outcome, problem = report.CAA.Outcome, report.CAA.Problem
	}
	log := s.log.With("client", c.Name, "check", check, "identifier", q.what.Identifier, "outcome", outcome.String(), "code", reasonOf(problem))
	if q.trace != "" {
		log = log.With("trace", q.trace)
	}
	log.InfoContext(r.Context(), "answered an Open MPIC coordinator")
	s.answer(w, r, q.response(outcome, problem, &report, nil, report.Finished))
	return nil
}

// probe makes what is checked. Whose the issuer domain names are, the coordinator answers for: a perspective serves it.
func (s *CheckerServer) probe(q request) va.Probe {
	nonce := make([]byte, 16)
	rand.Read(nonce) // crypto/rand.Read returns no error: it ends the program instead
	probe := va.Probe{Attempt: rand.Text(), Nonce: hex.EncodeToString(nonce), Deadline: s.now().UTC().Add(s.limit), Request: q.what,
		CAAAlone: q.check == checkCAA, DCVAlone: q.check == checkDCV}
	probe.Request.Issuers = slices.Clone(s.issuers)
	if len(q.issuers) > 0 {
		probe.Request.Issuers = q.issuers
	}
	if probe.DCVAlone && len(probe.Request.Issuers) == 0 { // nothing looks at them
		probe.Request.Issuers = []string{"none.invalid"}
	}
	return probe
}
