// Package rest is the gate's native front: HTTP and JSON for any RA. docs/rest.md describes it with examples.
//
// A request can say what is to be validated, and nothing about how: issuers, quorum, policy and checks are settled
// elsewhere. The answer is given only when the record is durable.
package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

// ErrNotFound is what a Records returns for a key that is no record's.
var ErrNotFound = errors.New("rest: no such record")

// Validator carries out attempts: the Coordinator, or in this package's tests another.
type Validator interface {
	// Validate is mpic.Coordinator's, errors included.
	Validate(ctx context.Context, kind mpic.Kind, caller string, req va.Request) (mpic.Result, error)
}

// Records reads what is kept.
type Records interface {
	// Record finds a record by the attempt's identifier or by the record's number in decimal. It returns ErrNotFound when
	// there is none.
	Record(ctx context.Context, key string) (Record, error)
	// Ready tells whether the records can be read.
	Ready(ctx context.Context) error
	// Checkpoint gives the newest signed checkpoint of the log, ErrNotFound where none was published.
	Checkpoint(ctx context.Context) ([]byte, error)
}

// Record is one attempt as it is kept.
type Record struct {
	Number   int64
	Evidence mpic.Evidence
	// Decision is nil while the attempt is open.
	Decision *mpic.RecordedDecision
	Late     []mpic.Attestation
}

// Config is what New needs. All but Permits and MaxInFlight is required.
type Config struct {
	Validator Validator
	Records   Records
	Clients   []front.Client
	// Permits makes permits. Without it their paths are not there.
	Permits Permits
	// MaxInFlight is how many validations run or wait for their turn at a time over all clients; 0 means 256. What is more gets status 503.
	MaxInFlight int
	Logger      *slog.Logger
}

// validations is the path of the collection, checkpoint that of the log's newest checkpoint.
const (
	validations = "/v1/validations"
	checkpoint  = "/v1/checkpoint"
)

// Server is the front's http.Handler. It is to be served over TLS with TLSConfig.
type Server struct {
	validator Validator
	records   Records
	permits   Permits
	clients   *front.Clients
	log       *slog.Logger
	// strangers says which lines are written about those who have not shown who they are.
	strangers front.Lines
	// ready and newest are asked by everybody.
	ready  shared[struct{}]
	newest shared[[]byte]
}

// New refuses a configuration that lacks something, and clients that cannot be told apart.
func New(c Config) (*Server, error) {
	switch {
	case c.Validator == nil || c.Records == nil:
		return nil, errors.New("rest: there is no validator, or there are no records")
	case c.Logger == nil:
		return nil, errors.New("rest: there is no logger")
	case c.MaxInFlight < 0:
		return nil, fmt.Errorf("rest: %d requests in flight", c.MaxInFlight)
	case c.MaxInFlight == 0:
		c.MaxInFlight = mpic.DefaultMaxInFlight
	}
	clients, err := front.NewClients(c.Clients, c.MaxInFlight)
	if err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	return &Server{validator: c.Validator, records: c.Records, permits: c.Permits, clients: clients, log: c.Logger}, nil
}

// TLSConfig shows a certificate, and asks clients for theirs without requiring one: some have an API key. A certificate
// that is shown is proven by the handshake; whose it is, authenticate finds by its key.
func TLSConfig(certificate func() *tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(), nil }}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			panic(v)
		} else if v != nil {
			s.log.ErrorContext(r.Context(), "a request broke down", "panic", v, "stack", string(debug.Stack()))
			s.refuse(w, r, "", refusal(http.StatusInternalServerError, "gate.failed", "the request could not be carried out by a fault in the gate"))
		}
	}()
	switch path := r.URL.Path; {
	case path == "/livez" || path == "/readyz":
		defer front.Answer(w, r)()
		s.health(w, r, path)
	case path == checkpoint:
		defer front.Answer(w, r)()
		s.checkpoint(w, r)
	case path == validations:
		s.authenticated(w, r, http.MethodPost, s.post)
	case strings.HasPrefix(path, validations+"/") && !strings.Contains(path[len(validations)+1:], "/"):
		s.authenticated(w, r, http.MethodGet, s.get)
	case s.permits != nil && s.servePermits(w, r):
	default:
		defer front.Answer(w, r)()
		there := "there are POST " + validations + ", GET " + validations + "/{id or number}, "
		if s.permits != nil {
			there += "POST " + permits + ", GET " + permits + "/{id}, POST " + permits + "/{id}/certificate, "
		}
		s.refuse(w, r, "", refusal(http.StatusNotFound, "request.path", there+"GET "+checkpoint+", GET /livez and GET /readyz"))
	}
}

// health needs no credentials, and tells nothing but whether.
func (s *Server) health(w http.ResponseWriter, r *http.Request, path string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		p := refusal(http.StatusMethodNotAllowed, "request.verb", path+" is read with GET")
		p.allow = "GET, HEAD"
		s.refuse(w, r, "", p)
		return
	}
	if path == "/readyz" {
		_, err := s.ready.ask(r.Context(), func(ctx context.Context) (struct{}, error) { return struct{}{}, s.records.Ready(ctx) })
		if err != nil {
			if left, tell := s.strangers.Tell(); tell {
				s.log.ErrorContext(r.Context(), "the gate is not ready", "error", err, "left_out", left)
			}
			s.refuse(w, r, "", overload(http.StatusServiceUnavailable, "gate.not-ready", "the records cannot be reached", 5))
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := io.WriteString(w, "ok\n"); err != nil {
		s.log.DebugContext(r.Context(), "writing an answer", "error", err)
	}
}

// checkpoint gives the log's newest checkpoint to everybody: it tells how much was recorded, and binds the gate to it.
func (s *Server) checkpoint(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		p := refusal(http.StatusMethodNotAllowed, "request.verb", checkpoint+" is read with GET")
		p.allow = "GET, HEAD"
		s.refuse(w, r, "", p)
		return
	}
	signed, err := s.newest.ask(r.Context(), s.records.Checkpoint)
	switch {
	case errors.Is(err, ErrNotFound):
		s.refuse(w, r, "", refusal(http.StatusNotFound, "record.not-found", "no checkpoint of the log was published"))
		return
	case err != nil:
		if left, tell := s.strangers.Tell(); tell {
			s.log.ErrorContext(r.Context(), "the checkpoint could not be read", "error", err, "left_out", left)
		}
		s.refuse(w, r, "", overload(http.StatusServiceUnavailable, "record.unreadable", "the checkpoint could not be read", 5))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, err := w.Write(signed); err != nil {
		s.log.DebugContext(r.Context(), "writing an answer", "error", err)
	}
}

// authenticated finds out who asks before it looks at anything else of the request.
func (s *Server) authenticated(w http.ResponseWriter, r *http.Request, method string, serve func(http.ResponseWriter, *http.Request, *front.Member)) {
	client, problem := s.authenticate(r)
	if problem != nil {
		defer front.Answer(w, r)()
		w.Header().Set("Connection", "close")
		s.refuse(w, r, "", problem)
		return
	}
	defer client.Come(w, r)()
	switch {
	case r.Method != method:
		p := refusal(http.StatusMethodNotAllowed, "request.verb", r.URL.Path+" takes "+method)
		p.allow = method
		s.refuse(w, r, client.Name, p)
	default:
		serve(w, r, client)
	}
}

func (s *Server) post(w http.ResponseWriter, r *http.Request, client *front.Member) {
	req, leave, ok := accept(s, w, r, client, maxBody, (*form).request)
	if !ok {
		return
	}
	defer leave()
	result, err := s.validator.Validate(r.Context(), mpic.Issuance, "rest:"+client.Name, req)
	if err != nil { // REC-05: whatever was seen, the answer is no
		s.log.ErrorContext(r.Context(), "a validation could not be carried out", "client", client.Name, "identifier", req.Identifier, "error", err)
		s.refuse(w, r, client.Name, notDone(err))
		return
	}
	d := result.Decision.Recorded()
	record := Record{Number: result.Number, Evidence: result.Evidence, Decision: &d}
	w.Header().Set("Location", validations+"/"+result.Evidence.Attempt.ID())
	if !result.Decision.Granted() { // whoever is refused wants to know what was found
		s.refuse(w, r, client.Name, refused(describe(record)))
		return
	}
	s.answer(w, r, http.StatusCreated, summarize(record))
}

// accept takes a place and reads a request, in this order, so that bodies that are slow or large cost the client's own share; otherwise it has
// answered. leave is to be called at the end.
func accept[T any](
	s *Server, w http.ResponseWriter, r *http.Request, client *front.Member, most int64, take func(*form, map[string]any) T,
) (req T, leave func(), ok bool) {
	free, full := s.clients.Enter(client)
	if full != nil {
		s.refuse(w, r, client.Name, unread(full))
		return req, nil, false
	}
	defer func() { // also where reading breaks down
		if !ok {
			free()
		}
	}()
	body, problem := readBody(w, r, most)
	if problem == nil {
		req, problem = decodeForm(body, client.SpeaksFor, take)
	}
	if problem != nil {
		s.refuse(w, r, client.Name, problem)
		return req, nil, false
	}
	return req, free, true
}

// readBody reads the body, within its size and its time.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, *Problem) {
	no := front.Described(r)
	var body []byte
	if no == nil {
		body, no = front.Body(w, r, most, front.BodyTime)
	}
	if no != nil {
		return nil, unread(no)
	}
	return body, nil
}

// unread is what package front says, in this front's form.
func unread(r *front.Refusal) *Problem { return overload(r.Status, r.Code, r.Detail, r.RetryAfter) }

// notDone maps the coordinator's errors. Internals stay in the log.
func notDone(err error) *Problem {
	switch {
	case errors.Is(err, mpic.ErrRecord):
		return overload(http.StatusServiceUnavailable, "record.unwritten", "the record could not be written, so the answer is no", 5)
	case errors.Is(err, mpic.ErrAuditLog):
		return overload(http.StatusServiceUnavailable, "audit.unwritten", "the audit line could not be written, so the answer is no; the record stands", 5)
	case errors.Is(err, mpic.ErrUnread):
		return overload(http.StatusServiceUnavailable, "record.unreadable", "the records could not be read, so the answer is no", 5)
	case errors.Is(err, mpic.ErrBusy):
		return overload(http.StatusServiceUnavailable, "gate.overload", "as many validations as may be are under way or wait for their turn", 2)
	case errors.Is(err, mpic.ErrClosed):
		return overload(http.StatusServiceUnavailable, "gate.closing", "the gate is shutting down", 5)
	case errors.Is(err, mpic.ErrShadow):
		return refusal(http.StatusServiceUnavailable, "gate.shadow", "the gate runs in the shadow of another system, which answers in its place; "+
			"it gives nothing that a certificate could rest on")
	case errors.Is(err, mpic.ErrRequest):
		return refusal(http.StatusBadRequest, "request.invalid", "this is not a request for a validation")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return overload(http.StatusServiceUnavailable, "gate.overload", "the caller went away before the attempt began", 2)
	default:
		return refusal(http.StatusInternalServerError, "gate.failed", "the validation could not be carried out")
	}
}

// refused is the answer to a validation that was carried out and not granted: the weightiest reason, and all findings.
func refused(v *Validation) *Problem {
	code, detail := "decision.refused", "the validation was not granted"
	if len(v.Reasons) > 0 {
		code, detail = v.Reasons[0].Code, v.Reasons[0].Detail
	}
	p := refusal(http.StatusUnprocessableEntity, code, detail)
	p.Validation = v
	return p
}

// get shows a client its own record. Another's is not there: that it exists is nobody else's business.
func (s *Server) get(w http.ResponseWriter, r *http.Request, client *front.Member) {
	key := strings.TrimPrefix(r.URL.Path, validations+"/")
	missing := refusal(http.StatusNotFound, "record.not-found", "this client has no validation of that identifier or number")
	if key == "" || len(key) > 128 {
		s.refuse(w, r, client.Name, missing)
		return
	}
	leave, full := s.clients.Read(client)
	if full != nil {
		s.refuse(w, r, client.Name, unread(full))
		return
	}
	defer leave()
	record, err := s.records.Record(r.Context(), key)
	switch {
	case errors.Is(err, ErrNotFound):
		s.refuse(w, r, client.Name, missing)
	case err != nil:
		s.log.ErrorContext(r.Context(), "a record could not be read", "client", client.Name, "key", key, "error", err)
		s.refuse(w, r, client.Name, overload(http.StatusServiceUnavailable, "record.unreadable", "the record could not be read", 5))
	case record.Evidence.Attempt.Caller != "rest:"+client.Name:
		s.refuse(w, r, client.Name, missing)
	default:
		s.answer(w, r, http.StatusOK, describe(record))
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	if err := front.WriteJSON(w, status, "application/json", v); err != nil {
		s.log.WarnContext(r.Context(), "writing an answer", "path", r.URL.Path, "error", err)
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, client string, p *Problem) {
	left, tell := 0, true
	if client == "" {
		left, tell = s.strangers.Tell()
	}
	if tell {
		s.log.InfoContext(r.Context(), "refused a request", "client", client, "method", front.Cut(r.Method, 20), "path", front.Cut(r.URL.Path, 200),
			"status", p.Status, "code", p.Code, "left_out", left)
	}
	if err := p.write(w); err != nil {
		s.log.WarnContext(r.Context(), "writing a refusal", "error", err)
	}
}
