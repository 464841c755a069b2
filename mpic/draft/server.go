package draft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

// Carrier carries out attempts: the Coordinator, or in this package's tests another.
type Carrier interface {
	// Carry is mpic.Coordinator's, errors included.
	Carry(ctx context.Context, call mpic.Call) (mpic.Result, error)
}

// Config is what NewServer needs. All but MaxInFlight is required.
type Config struct {
	Carrier Carrier
	Clients []front.Client
	// MaxInFlight is how many requests run at a time over all clients; 0 means 256. What is more gets status 503.
	MaxInFlight int
	Logger      *slog.Logger
}

// maxBody is how long a request may be, in octets.
const maxBody = 16 << 10

// Server is the http.Handler of Path. It is to be served over TLS.
type Server struct {
	carrier Carrier
	clients *front.Clients
	log     *slog.Logger
	// strangers says which lines are written about those who have not shown who they are.
	strangers front.Lines
}

// NewServer refuses a configuration that lacks something, and clients that cannot be told apart.
func NewServer(c Config) (*Server, error) {
	switch {
	case c.Carrier == nil || c.Logger == nil:
		return nil, errors.New("draft: there is nobody to carry out attempts, or no logger")
	case c.MaxInFlight == 0:
		c.MaxInFlight = mpic.DefaultMaxInFlight
	}
	clients, err := front.NewClients(c.Clients, c.MaxInFlight)
	if err != nil {
		return nil, fmt.Errorf("draft: %w", err)
	}
	return &Server{carrier: c.Carrier, clients: clients, log: c.Logger}, nil
}

// answer is what the draft has for an answer; Attempts is ours.
type answer struct {
	Success      bool               `json:"success"`
	CAA          *records           `json:"caa,omitempty"`
	Perspectives map[string]verdict `json:"perspectives"`
	Error        string             `json:"error,omitempty"`
	// Attempts are the records of what was carried out.
	Attempts []reference `json:"attempts,omitempty"`
}

type records struct {
	Domain  string   `json:"domain,omitempty"`
	Records []string `json:"records"`
}

type verdict struct {
	Success bool `json:"success"`
}

type reference struct {
	Kind   mpic.Kind `json:"kind"`
	Record int64     `json:"record"`
	ID     string    `json:"attempt"`
}

// refusal is an answer without an attempt.
type refusal struct {
	status     int
	text       string
	retryAfter string
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			panic(v)
		} else if v != nil {
			s.log.ErrorContext(r.Context(), "a request broke down", "panic", v, "stack", string(debug.Stack()))
			s.refuse(w, r, refuse(http.StatusInternalServerError, "the request could not be carried out by a fault in the gate"))
		}
	}()
	client, no := s.authenticate(r)
	if no != nil {
		defer front.Answer(w, r)()
		w.Header().Set("Connection", "close")
		if left, tell := s.strangers.Tell(); tell {
			s.log.InfoContext(r.Context(), "refused a stranger", "method", front.Cut(r.Method, 20), "status", no.status, "error", no.text, "left_out", left)
		}
		s.decline(w, r, no)
		return
	}
	defer client.Come(w, r)()
	leave, full := s.clients.Enter(client)
	if full != nil {
		s.refuse(w, r, refused(full))
		return
	}
	defer leave()
	calls, no := s.read(w, r, client)
	if no != nil {
		s.refuse(w, r, no)
		return
	}
	results, errs := make([]mpic.Result, len(calls)), make([]error, len(calls))
	var all sync.WaitGroup
	for i, call := range calls {
		carry := func() { results[i], errs[i] = s.carry(r.Context(), call) }
		// The last has the request's place, and the other one of its own; where the client has none, it comes before.
		if i < len(calls)-1 {
			if leave, full := s.clients.Enter(client); full == nil {
				all.Go(func() {
					defer leave()
					carry()
				})
				continue
			}
		}
		carry()
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil { // REC-05: whatever was seen, the answer is no
		s.log.ErrorContext(r.Context(), "a request could not be carried out", "client", client.Name, "identifier", calls[0].Request.Identifier, "error", err)
		no := refuse(http.StatusServiceUnavailable, "the request could not be carried out, or not be recorded, so the answer is no")
		no.retryAfter = "5"
		switch {
		case errors.Is(err, mpic.ErrBusy):
			no = refuse(http.StatusServiceUnavailable, "gate.overload: as many attempts as may be are under way or wait for their turn")
			no.retryAfter = "2"
		case errors.Is(err, mpic.ErrShadow):
			no = refuse(http.StatusServiceUnavailable, "gate.shadow: the gate runs in the shadow of another system, which answers in its place")
		}
		s.refuse(w, r, no)
		return
	}
	s.write(w, r, http.StatusOK, answerOf(results))
}

// carry turns a panic of one attempt into its error: it has a goroutine of its own, and nobody above could recover it.
func (s *Server) carry(ctx context.Context, call mpic.Call) (r mpic.Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			r, err = mpic.Result{}, fmt.Errorf("draft: an attempt broke down: %v", v)
		}
	}()
	return s.carrier.Carry(ctx, call)
}

// authenticate finds out who asks before it looks at anything else of the request.
func (s *Server) authenticate(r *http.Request) (*front.Member, *refusal) {
	if r.TLS == nil { // a key that came in plain text is no secret
		return nil, refuse(http.StatusForbidden, "the API is reached over TLS alone")
	}
	header := r.Header.Values("Authorization")
	if len(header) != 1 {
		return nil, refuse(http.StatusUnauthorized, "Authorization must be given once, as: Bearer KEY")
	}
	scheme, key, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return nil, refuse(http.StatusUnauthorized, "Authorization must be given as: Bearer KEY")
	}
	found := s.clients.ByKey(key)
	if found == nil {
		return nil, refuse(http.StatusUnauthorized, "this key is no known client's")
	}
	return found, nil
}

// refused is what package front says, in the draft's form.
func refused(r *front.Refusal) *refusal {
	no := refuse(r.Status, "%s", r.Detail)
	if r.RetryAfter > 0 {
		no.retryAfter = strconv.Itoa(r.RetryAfter)
	}
	return no
}

// read gives the attempts that a request asks for.
func (s *Server) read(w http.ResponseWriter, r *http.Request, client *front.Member) ([]mpic.Call, *refusal) {
	if r.Method != http.MethodPost {
		return nil, refuse(http.StatusMethodNotAllowed, "%s takes POST", Path)
	}
	if no := front.Described(r); no != nil {
		return nil, refused(no)
	}
	body, no := front.Body(w, r, maxBody, front.BodyTime)
	if no != nil {
		return nil, refused(no)
	}
	object, err := decode(body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body is not one JSON object: %v", err)
	}
	calls, err := callsOf(object)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	for i := range calls {
		calls[i].Caller = "draft:" + client.Name
	}
	return calls, nil
}

// callsOf reads a request. What a name or a token must be like is the coordinator's to judge, so that such a refusal is on record. Members
// that the draft does not have are refused: nobody shall believe that a count or a quorum had been heard (F7).
//
// Domain control and CAA are attempts of their own. The draft tells neither an account nor when the token was made, so that no attempt for
// issuance can be had, whose decision is for both: each decision here says which of both it is, and makes no authorization.
func callsOf(object map[string]any) ([]mpic.Call, error) {
	f := form{object: object}
	var calls []mpic.Call
	switch method := f.text("method"); method {
	case methodCAA:
		f.only("method", "domain")
		calls = []mpic.Call{{Kind: mpic.CAAAlone, Request: va.Request{Identifier: f.text("domain")}}}
	case methodHTTP:
		f.only("method", "domain_or_ip", "token", "key_authorization", "caa_check")
		req := va.Request{Method: va.HTTP01, Identifier: f.text("domain_or_ip"), Token: f.text("token"), KeyAuthorization: f.text("key_authorization")}
		_, notIP := netip.ParseAddr(req.Identifier)
		calls = both(req, f.truth("caa_check", notIP != nil))
	case methodDNS:
		f.only("method", "domain", "record-type", "prefix", "expected", "caa")
		req := va.Request{Method: va.DNS01, Identifier: f.text("domain"), KeyAuthorizationDigest: f.text("expected")}
		if kind := f.text("record-type"); kind != "" && kind != recordTXT {
			f.wrong("record-type: %q is not supported here; %q is", front.Cut(kind, 64), recordTXT)
		}
		if prefix := f.text("prefix"); prefix != "" && prefix != prefixChallenge {
			f.wrong("prefix: %q is not supported here; %q is", front.Cut(prefix, 64), prefixChallenge)
		}
		calls = both(req, f.truth("caa", true))
	case "":
	default:
		f.wrong("method: %q is none of caa, http-acme, dns", front.Cut(method, 64))
	}
	return calls, errors.Join(f.errs...)
}

func both(req va.Request, caa bool) []mpic.Call {
	calls := []mpic.Call{{Kind: mpic.DCVAlone, Request: req}}
	if caa {
		calls = append(calls, mpic.Call{Kind: mpic.CAAAlone, Request: va.Request{Identifier: req.Identifier, Method: req.Method}})
	}
	return calls
}

// form collects what is wrong with a request.
type form struct {
	object map[string]any
	errs   []error
}

func (f *form) wrong(format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf(format, args...))
}

// text takes a required text that is not empty.
func (f *form) text(name string) string {
	v, there := f.object[name]
	s, ok := v.(string)
	if !there || !ok || s == "" {
		f.wrong("%s: a text is required", name)
	}
	return s
}

func (f *form) truth(name string, byDefault bool) bool {
	v, there := f.object[name]
	b, ok := v.(bool)
	switch {
	case !there:
		return byDefault
	case !ok:
		f.wrong("%s: true or false is needed", name)
	}
	return b
}

func (f *form) only(known ...string) {
	var unknown []string
	for name := range f.object {
		if !slices.Contains(known, name) {
			unknown = append(unknown, front.Cut(name, 64))
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown[:min(len(unknown), 5)] {
		f.wrong("%q: unknown here; known are %s", name, strings.Join(known, ", "))
	}
}

// answerOf tells what attempts came to: success is that each was granted. The primary stands among the perspectives, by its own name.
func answerOf(results []mpic.Result) answer {
	a := answer{Success: len(results) > 0, Perspectives: map[string]verdict{}}
	var why []string
	for _, r := range results {
		d := r.Decision
		a.Attempts = append(a.Attempts, reference{r.Evidence.Attempt.Kind, r.Number, r.Evidence.Attempt.ID()})
		if !d.Granted() {
			a.Success = false
			for _, p := range d.Reasons() {
				why = append(why, fmt.Sprintf("%s: %s", p.Code, p.Detail))
			}
		}
		kind := r.Evidence.Attempt.Kind
		for _, v := range d.Views() {
			passed := v.DCV == va.Pass
			if kind == mpic.CAAAlone {
				passed = v.CAA == va.Pass
			}
			before, there := a.Perspectives[v.Perspective]
			a.Perspectives[v.Perspective] = verdict{passed && (before.Success || !there)}
		}
		if kind == mpic.CAAAlone && r.Evidence.Primary != nil {
			a.CAA = seen(r.Evidence.Primary.Report().CAA)
		}
	}
	if !a.Success {
		a.Error = front.Cut(strings.Join(why, "\n"), 4*maxError)
		if a.Error == "" {
			a.Error = "decision.refused: it was not granted"
		}
	}
	return a
}

// seen gives the CAA records that the primary saw, nil where it could not look.
func seen(f va.CAAFinding) *records {
	if f.Outcome != va.Pass && f.Outcome != va.Fail {
		return nil
	}
	out := &records{Domain: f.Found, Records: []string{}}
	for _, text := range f.Records {
		data, err := rdata(text)
		if err != nil { // then none are told: some of several are another thing
			return nil
		}
		out.Records = append(out.Records, data)
	}
	return out
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	s.log.InfoContext(r.Context(), "refused a request", "method", front.Cut(r.Method, 20), "path", r.URL.Path, "status", no.status, "error", no.text)
	s.decline(w, r, no)
}

func (s *Server) decline(w http.ResponseWriter, r *http.Request, no *refusal) {
	switch no.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="quorate"`)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	}
	if no.retryAfter != "" {
		w.Header().Set("Retry-After", no.retryAfter)
	}
	s.write(w, r, no.status, answer{Perspectives: map[string]verdict{}, Error: front.Cut(no.text, maxError)})
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, a answer) {
	if err := front.WriteJSON(w, status, "application/json", a); err != nil {
		s.log.WarnContext(r.Context(), "writing an answer", "error", err)
	}
}
