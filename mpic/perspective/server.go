package perspective

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/quorate/quorate/va"
)

// Config is what NewServer needs. Checker, Identity, Gates, Logger and Now are required; Checker is not where each gate has its own.
type Config struct {
	// Checker does the checks and makes the reports, for gates that have none of their own.
	Checker *va.Checker
	// Identity is the perspective's: its TLS key and its signing key.
	Identity *Identity
	// Gates are those that may ask, 1 to 256.
	Gates []Gate
	// Places is how many probes of all gates together are answered at a time; the gates' own are parts of it. 0 means 4096, and at
	// most 65536 are allowed.
	Places int
	// MaxCheck bounds the checks for one probe, whatever its deadline; 0 means 30 s, at most 2 minutes.
	MaxCheck time.Duration
	// BodyTimeout is how long a probe may take to arrive; 0 means 5 s, at most 1 minute.
	BodyTimeout time.Duration
	// Logger receives one line per probe, with the gate's name and the attempt. Of requests that are refused it has at most 10 a
	// second for each gate, and how many were left out.
	Logger *slog.Logger
	// Metrics count probes; nil counts nothing. They are one Server's alone.
	Metrics *Metrics
	// Now is the perspective's clock. It decides whether a deadline has passed, so it must be kept synchronous.
	Now func() time.Time
}

const (
	defaultMaxCheck    = 30 * time.Second
	mostMaxCheck       = 2 * time.Minute
	defaultBodyTimeout = 5 * time.Second
	mostBodyTimeout    = time.Minute
	// maxBody is how long a probe may be, in bytes.
	maxBody = 64 << 10
	// maxAhead is how far ahead a deadline may lie: for so long a probe must be remembered against replay.
	maxAhead = 10 * time.Minute
	// headerTimeout bounds the TLS handshake and a request's header; idleTimeout how long a quiet connection is kept.
	headerTimeout = 5 * time.Second
	idleTimeout   = 10 * time.Minute
	// readTimeout is for the body of a request that is refused unread: a probe's has its own.
	readTimeout = 30 * time.Second
	// writeTime is the time to write a reply, beyond the checks.
	writeTime = 10 * time.Second
)

var (
	// attemptForm is wide enough for UUID, ULID and our own identifiers, and holds nothing that a log line could suffer from.
	attemptForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)
	nonceForm   = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Server answers probes as one perspective. It is an http.Handler for connections whose client certificate is a gate's.
type Server struct {
	identity *Identity
	sealer   *sealer
	gates    map[string]*admission
	// strangers counts the log lines about connections that are no gate's.
	strangers   *admission
	maxCheck    time.Duration
	bodyTimeout time.Duration
	log         *slog.Logger
	metrics     *Metrics
	now         func() time.Time
}

// NewServer refuses a configuration that lacks something required or has an impossible value.
func NewServer(config Config) (*Server, error) {
	if config.Checker == nil && (len(config.Gates) == 0 || slices.ContainsFunc(config.Gates, func(g Gate) bool { return g.Checker == nil })) {
		return nil, errors.New("perspective: there is no checker")
	}
	return newServer(config, config.Checker.Check)
}

// newServer takes the Config's checker as a function, so that tests of this package can put another there; nobody else can.
func newServer(config Config, check func(context.Context, va.Probe) va.Report) (*Server, error) {
	switch {
	case config.Identity == nil || config.Identity.signer == nil:
		return nil, errors.New("perspective: there is no identity with a signing key")
	case config.Logger == nil:
		return nil, errors.New("perspective: there is no logger")
	case config.Now == nil:
		return nil, errors.New("perspective: there is no clock")
	}
	sealer, err := newSealer(config.Identity)
	if err != nil {
		return nil, err
	}
	gates, err := newAdmissions(config.Gates, config.Places, check)
	if err != nil {
		return nil, err
	}
	s := &Server{identity: config.Identity, sealer: sealer, gates: gates, strangers: &admission{lines: newBucket(linesRate, linesBurst)},
		log: config.Logger, metrics: config.Metrics, now: config.Now}
	if s.maxCheck, err = duration("MaxCheck", config.MaxCheck, defaultMaxCheck, mostMaxCheck); err != nil {
		return nil, err
	}
	if s.bodyTimeout, err = duration("BodyTimeout", config.BodyTimeout, defaultBodyTimeout, mostBodyTimeout); err != nil {
		return nil, err
	}
	for _, g := range gates {
		s.metrics.knows(g.name)
	}
	return s, nil
}

func duration(name string, value, standard, most time.Duration) (time.Duration, error) {
	if value == 0 {
		return standard, nil
	}
	if value < 0 || value > most {
		return 0, fmt.Errorf("perspective: %s %s is not between 0 and %s", name, value, most)
	}
	return value, nil
}

// Serve answers on a listener, which it closes, until ctx ends; then it takes no new probes, lets those in flight come to
// their end, and gives nil. Any other error is the listener's.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s,
		TLSConfig:         s.tlsConfig(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      s.bodyTimeout + s.maxCheck + writeTime,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	door := openDoorway(ctx, listener, server.TLSConfig, s.welcome, s.stranger)
	go func() { served <- server.Serve(door) }()
	select {
	case err := <-served:
		return fmt.Errorf("perspective: serving on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.maxCheck+writeTime)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		s.log.WarnContext(ctx, "probes were cut off at the end", "error", err)
		_ = server.Close() // nothing is left to be done about connections that do not close
	}
	<-served
	return nil
}

// tlsConfig: TLS 1.3 alone, and on it only the gates' keys. Chain, names and dates of the certificates do not matter.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{s.identity.certificate},
		ClientAuth:   tls.RequireAnyClientCert,
		NextProtos:   []string{"h2", "http/1.1"},
		// Each connection proves its key anew.
		SessionTicketsDisabled: true,
		// MPIC-08: a connection without a known gate's key does not come about.
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := s.known(state)
			return err
		},
	}
}

func (s *Server) known(state tls.ConnectionState) (*admission, error) {
	if gate := s.gate(state.PeerCertificates); gate != nil {
		return gate, nil
	}
	return nil, errors.New("perspective: the client certificate's key is no known gate's")
}

// stranger logs a handshake that failed, and of very many not each.
func (s *Server) stranger(remote net.Addr, err error) {
	if left, ok := s.strangers.tells(s.now()); ok {
		s.log.Warn("handshake failed", "remote", remote.String(), "error", err, "left_out", left)
	}
}

// welcome makes a connection that of the gate whose key it has shown.
func (s *Server) welcome(c *connection, state tls.ConnectionState) error {
	gate, err := s.known(state)
	if err != nil {
		return err
	}
	if err = c.belongs(gate); errors.Is(err, errConnections) {
		s.metrics.refuse(gate.name, "perspective.connections")
		if left, ok := gate.tells(s.now()); ok {
			s.log.Warn("connection refused", "gate", gate.name, "remote", c.RemoteAddr().String(), "code", "perspective.connections",
				"connections", gate.mostConnections, "left_out", left)
		}
	}
	return err
}

func (s *Server) gate(chain []*x509.Certificate) *admission {
	if len(chain) == 0 {
		return nil
	}
	return s.gates[TLSKey(chain[0])]
}

// ServeHTTP answers POST /v1/probe and GET /livez; everything else is refused with a problem of RFC 9457.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var gate *admission
	if r.TLS != nil && r.TLS.Version >= tls.VersionTLS13 {
		gate = s.gate(r.TLS.PeerCertificates)
	}
	if gate == nil { // only where the handler is served by something else than Serve
		s.refuse(w, r, nil, refusal(403, "request.gate", "this connection is not a known gate's"))
		return
	}
	if !gate.come() {
		s.metrics.refuse(gate.name, "perspective.overload")
		panic(http.ErrAbortHandler) // net/http resets the request
	}
	defer gate.gone()
	s.route(w, r, gate)
	_ = http.NewResponseController(w).Flush() // so that an answer that nobody takes counts until it is given up
}

func (s *Server) route(w http.ResponseWriter, r *http.Request, gate *admission) {
	switch {
	case r.URL.Path == "/livez" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if _, err := io.WriteString(w, "ok\n"); err != nil {
			s.log.DebugContext(r.Context(), "writing to a gate", "gate", gate.name, "error", err)
		}
	case r.URL.Path == "/livez":
		w.Header().Set("Allow", "GET, HEAD")
		s.refuse(w, r, gate, refusal(405, "request.verb", "/livez is read with GET"))
	case r.URL.Path != probePath:
		s.refuse(w, r, gate, refusal(404, "request.path", "a perspective answers POST "+probePath+" and GET /livez"))
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		s.refuse(w, r, gate, refusal(405, "request.verb", "a probe is sent with POST"))
	case !isMedia(r.Header.Get("Content-Type"), "application/json"):
		s.refuse(w, r, gate, refusal(415, "request.content-type", "a probe is sent as application/json"))
	default:
		s.probe(w, r, gate)
	}
}

// refuse answers with a problem. gate is nil where the connection is no gate's.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, gate *admission, p *problem) {
	name, left, tell := "", 0, true
	if gate != nil {
		name = gate.name
		left, tell = gate.tells(s.now())
	}
	s.metrics.refuse(name, p.Code)
	if tell {
		s.log.WarnContext(r.Context(), "probe refused", "gate", name, "remote", r.RemoteAddr, "status", p.Status, "code", p.Code,
			"detail", p.Detail, "left_out", left)
	}
	if err := p.write(w); err != nil {
		s.log.DebugContext(r.Context(), "writing to a gate", "gate", name, "error", err)
	}
}

// probe takes a place before it reads the body, so that a gate's slow bodies cost only its own places.
func (s *Server) probe(w http.ResponseWriter, r *http.Request, gate *admission) {
	if p := gate.hurried(s.now()); p != nil {
		s.refuse(w, r, gate, p)
		return
	}
	if !gate.enter() {
		s.refuse(w, r, gate, overload(fmt.Sprintf("all %d places of this gate are taken", cap(gate.slots))))
		return
	}
	defer gate.leave()
	s.metrics.entered(gate.name)
	defer s.metrics.left(gate.name)
	began := time.Now()
	probe, p := s.read(w, r)
	if p == nil {
		p = gate.remember(probe.Attempt, probe.Nonce, probe.Deadline, s.now())
	}
	if p != nil {
		s.refuse(w, r, gate, p)
		return
	}
	// The deadline counts by the perspective's clock, which may be a test's: only the remaining time goes to the timer.
	ctx, cancel := context.WithTimeout(r.Context(), min(probe.Deadline.Sub(s.now()), s.maxCheck))
	defer cancel()
	report := gate.check(ctx, probe)
	body, p := s.seal(probe, report)
	if p != nil {
		s.refuse(w, r, gate, p)
		return
	}
	s.metrics.answered(gate.name, report, time.Since(began))
	s.log.InfoContext(ctx, "probe answered", "gate", gate.name, "attempt", probe.Attempt, "identifier", probe.Request.Identifier,
		"method", probe.Request.Method, "dcv", report.DCV.Outcome, "caa", report.CAA.Outcome, "bytes", len(body))
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	if _, err := w.Write(body); err != nil {
		s.log.WarnContext(ctx, "the gate did not take the reply", "gate", gate.name, "attempt", probe.Attempt, "error", err)
	}
}

// read takes the probe from the body, or says what is wrong with it.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (va.Probe, *problem) {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(s.bodyTimeout)); err != nil {
		return va.Probe{}, refusal(500, "perspective.internal", "the connection has no read deadline")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return va.Probe{}, refusal(413, "request.too-large", fmt.Sprintf("a probe has at most %d bytes", maxBody))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return va.Probe{}, refusal(408, "request.slow", fmt.Sprintf("the probe did not arrive within %s", s.bodyTimeout))
	case err != nil:
		return va.Probe{}, refusal(400, "request.body", "the probe could not be read to its end")
	}
	// The deadline was for the body alone; the checks and the connection go on.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return va.Probe{}, refusal(500, "perspective.internal", "the connection has no read deadline")
	}
	return decodeProbe(body, s.now())
}

// decodeProbe reads a probe and refuses one that this perspective must not or cannot answer.
func decodeProbe(body []byte, now time.Time) (va.Probe, *problem) {
	var probe va.Probe
	if err := decodeStrict(body, &probe); err != nil {
		return va.Probe{}, refusal(400, "request.malformed", err.Error())
	}
	switch left := probe.Deadline.Sub(now); {
	case !attemptForm.MatchString(probe.Attempt):
		return va.Probe{}, refusal(400, "request.attempt",
			"attempt: 1 to 128 letters, digits, dots, colons, hyphens and underscores").inField("attempt")
	case !nonceForm.MatchString(probe.Nonce):
		return va.Probe{}, refusal(400, "request.nonce", "nonce: 128 bits in lower-case hexadecimal").inField("nonce")
	case left <= 0:
		return va.Probe{}, refusal(400, "request.deadline", fmt.Sprintf("deadline: %s has passed; it is %s by this perspective's clock",
			probe.Deadline.Format(time.RFC3339Nano), now.UTC().Format(time.RFC3339Nano))).inField("deadline")
	case left > maxAhead:
		return va.Probe{}, refusal(400, "request.deadline", fmt.Sprintf("deadline: more than %s ahead of this perspective's clock (%s)",
			maxAhead, now.UTC().Format(time.RFC3339Nano))).inField("deadline")
	}
	// A perspective probes for nobody what the gate itself must refuse.
	if p := probe.Admit(now); p != nil {
		refused := refusal(400, p.Code, p.Detail)
		if p.Field != "" {
			refused = refused.inField("request." + p.Field)
		}
		refused.Rules = p.Rules
		return va.Probe{}, refused
	}
	// What is hashed is what was sent: a probe has one text, so that nobody has to guess from which one a digest was made.
	if text, err := probe.Text(); err != nil || !bytes.Equal(text, body) {
		return va.Probe{}, refusal(400, "request.malformed", "the probe is not in its canonical form")
	}
	return probe, nil
}

// seal signs a report once it is certain that it answers this probe, and gives the reply.
func (s *Server) seal(probe va.Probe, report va.Report) ([]byte, *problem) {
	if report.Attempt != probe.Attempt || report.Nonce != probe.Nonce || report.Digest == "" || report.Digest != probe.Digest() {
		return nil, refusal(500, "perspective.internal", "the checks reported on another probe")
	}
	body, err := s.sealer.reply(&report) // an outcome that is unset has no JSON form
	if err != nil {
		return nil, refusal(500, "perspective.internal", err.Error())
	}
	if len(body) > maxReply {
		return nil, refusal(500, "perspective.report-too-large", fmt.Sprintf("the reply has %d bytes; at most %d are sent", len(body), maxReply))
	}
	return body, nil
}
