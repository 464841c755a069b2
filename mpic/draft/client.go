package draft

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/va"
)

// maxReply is how long an answer may be, in octets: a name, a hundred records and the perspectives fit many times.
const maxReply = 64 << 10

// connectTime bounds a connection's coming about, and again its handshake. net/http goes on with both when the request has ended that they were
// begun for, so that without a bound whoever never shakes hands would keep them for ever.
const connectTime = 10 * time.Second

// ServiceConfig is what NewService needs. All but Roots is required.
type ServiceConfig struct {
	// Members are the roster's members that stand behind the service: their URL is the service's, their protocol mpic.Draft00, and their
	// TLSKey one and the same, or empty where the certificate is verified by its name.
	Members []mpic.Member
	// Key is what the service knows the gate by: Authorization: Bearer.
	Key string
	// Roots verify the service's certificate where its key is not pinned. Default: the system's.
	Roots *x509.CertPool
	// Logger receives the alarm of F9: an identity that is not the service's.
	Logger *slog.Logger
	// Now is the gate's clock.
	Now func() time.Time
}

// Service asks one service, once for each check of a probe, on behalf of all members behind it.
type Service struct {
	config   ServiceConfig
	endpoint string
	client   *http.Client

	mu    sync.Mutex
	calls map[string]*call // by the probe's digest
}

// call is a probe under way, or carried out and not yet forgotten.
type call struct {
	done   chan struct{}
	cancel context.CancelFunc
	// waiters are the members that have not left; Service.mu guards it.
	waiters int
	// What follows is set when done is closed.
	exchanges []mpic.Exchange
	failure   *failure
}

// failure is why there is no answer.
type failure struct {
	state mpic.State
	code  string
	why   string
	// received is what came all the same.
	received string
}

// Remote is one member behind a Service.
type Remote struct {
	service *Service
	member  mpic.Member
}

var _ mpic.Remote = (*Remote)(nil)

// NewService refuses members that do not stand behind one service, or cannot be told apart, and a service without an authenticated and
// encrypted channel (MPIC-08). It opens no connection.
func NewService(c ServiceConfig) (*Service, error) {
	if len(c.Members) == 0 || c.Logger == nil || c.Now == nil {
		return nil, errors.New("draft: there are no members, no logger or no clock")
	}
	first := c.Members[0]
	base, err := url.Parse(first.URL)
	if err != nil || base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("draft: the URL %q of a service is not https://HOST[:PORT][/PATH]", first.URL)
	}
	codes := map[string]bool{}
	for _, m := range c.Members {
		if m.Protocol != mpic.Draft00 || m.URL != first.URL || m.TLSKey != first.TLSKey {
			return nil, fmt.Errorf("draft: %s does not stand behind the service %s", m.Name, first.URL)
		}
		if codes[code(m)] {
			return nil, fmt.Errorf("draft: two perspectives of %s have the code %q", first.URL, code(m))
		}
		codes[code(m)] = true
	}
	if b, err := hex.DecodeString(first.TLSKey); first.TLSKey != "" && (err != nil || len(b) != 32 || strings.ToLower(first.TLSKey) != first.TLSKey) {
		return nil, fmt.Errorf("draft: the TLS key %q is not the SHA-256 of a key in lower-case hexadecimal", first.TLSKey)
	}
	if c.Key == "" || strings.Trim(c.Key, keyCharacters) != "" {
		return nil, errors.New("draft: the key for the service is missing, or has what Authorization: Bearer cannot carry")
	}
	c.Members = slices.Clone(c.Members)
	s := &Service{config: c, endpoint: endpoint(first.URL), calls: map[string]*call{}}
	s.client = &http.Client{
		Transport: &http.Transport{
			// Proxy stays nil: no environment variable leads the channel elsewhere.
			DialContext:            (&net.Dialer{Timeout: connectTime}).DialContext,
			TLSHandshakeTimeout:    connectTime,
			TLSClientConfig:        s.tlsConfig(first.TLSKey),
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 32 << 10,
			IdleConnTimeout:        2 * time.Minute,
		},
		// A service does not send its gate elsewhere, with its key.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// keyCharacters are those of b64token (RFC 6750 section 2.1).
const keyCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="

// identityError is a TLS key that is not the pinned one.
type identityError struct{ got string }

func (e *identityError) Error() string { return "the TLS key is " + e.got }

func (s *Service) tlsConfig(pin string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.config.Roots}
	if pin == "" {
		return c
	}
	// The pin takes the place of chain, name and dates, on each handshake (MPIC-08, F9).
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return &identityError{"missing"}
		}
		if got := perspective.TLSKey(state.PeerCertificates[0]); got != pin {
			return &identityError{got}
		}
		return nil
	}
	return c
}

// Remotes gives the members' remotes, in the members' order.
func (s *Service) Remotes() []*Remote {
	var out []*Remote
	for _, m := range s.config.Members {
		out = append(out, &Remote{s, m})
	}
	return out
}

// Close closes the kept connections.
func (s *Service) Close() { s.client.CloseIdleConnections() }

// Member gives the roster's facts.
func (r *Remote) Member() mpic.Member { return r.member }

// Attest has the service asked, or joins the others behind it that had, and reads what it says of this member. It returns when ctx ends or
// the probe's deadline has come at the latest. The problem's codes are "perspective.timeout", "perspective.unreachable", "perspective.method"
// (the draft cannot ask for it) and, where State is Rejected, "perspective.identity", "perspective.status", "perspective.too-large",
// "perspective.garbage" and "perspective.stranger" (the answer tells of a perspective that the roster does not have).
func (r *Remote) Attest(ctx context.Context, probe va.Probe) mpic.Attestation {
	a := mpic.Attestation{Perspective: r.member.Name, Asked: r.service.config.Now().UTC()}
	c := r.service.join(probe, probe.Deadline.Sub(a.Asked))
	defer r.service.leave(probe, c)
	var failed *failure
	select {
	case <-c.done:
		failed = c.failure
	case <-ctx.Done():
		failed = &failure{state: mpic.TimedOut, code: "timeout", why: "gave no answer before the gate stopped waiting"}
	}
	a.State = mpic.Answered
	if failed == nil {
		s, err := Read(r.member, probe, c.exchanges)
		if err == nil {
			a.Statement = &s
		} else {
			failed = &failure{state: mpic.Rejected, code: "garbage", why: "gave no usable answer: " + err.Error(), received: received(c.exchanges)}
		}
	}
	if failed != nil {
		a.State, a.Signed = failed.state, failed.received
		a.Problem = &va.Problem{Code: "perspective." + failed.code, Rules: []string{"MPIC-08"}, URL: r.service.endpoint,
			Detail: r.member.Name + " " + failed.why}
	}
	a.Closed = r.service.config.Now().UTC()
	return a
}

// received is what the record keeps of answers that are rejected.
func received(exchanges []mpic.Exchange) string {
	var all []string
	for _, x := range exchanges {
		all = append(all, x.Received)
	}
	return front.Cut(strings.Join(all, "\n"), maxReply)
}

// join finds the call of a probe, or begins it. A probe is one attempt's (MPIC-09): its digest covers the attempt and the nonce.
func (s *Service) join(probe va.Probe, left time.Duration) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := probe.Digest()
	c := s.calls[digest]
	if c == nil {
		// It goes on while one member waits for it, whoever began it.
		ctx, cancel := context.WithTimeout(context.Background(), left)
		c = &call{done: make(chan struct{}), cancel: cancel}
		s.calls[digest] = c
		go func() {
			defer close(c.done)
			defer brokeDown(&c.failure)
			c.exchanges, c.failure = s.carry(ctx, probe)
		}()
		context.AfterFunc(ctx, func() { s.forget(digest, c) })
	}
	c.waiters++
	return c
}

// leave ends a call that nobody waits for any more. One that is done is kept until its probe's time is over, for members that are asked
// a moment later.
func (s *Service) leave(probe va.Probe, c *call) {
	s.mu.Lock()
	c.waiters--
	last := c.waiters == 0
	s.mu.Unlock()
	select {
	case <-c.done:
	default:
		if last {
			c.cancel()
			<-c.done
		}
	}
}

func (s *Service) forget(digest string, c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[digest] == c {
		delete(s.calls, digest)
	}
	c.cancel()
}

// brokeDown turns a panic into a failure: nobody above the goroutine that defers it could, and the gate would end.
func brokeDown(f **failure) {
	if v := recover(); v != nil {
		*f = &failure{state: mpic.Unreachable, code: "panic", why: fmt.Sprintf("was not asked: asking broke down: %v", v)}
	}
}

// carry asks all questions of a probe side by side.
func (s *Service) carry(ctx context.Context, probe va.Probe) ([]mpic.Exchange, *failure) {
	all, err := questions(probe)
	if err != nil {
		return nil, &failure{state: mpic.Unreachable, code: "method", why: "could not be asked: " + err.Error()}
	}
	exchanges, failures := make([]mpic.Exchange, len(all)), make([]*failure, len(all))
	var each sync.WaitGroup
	for i, q := range all {
		each.Go(func() {
			defer brokeDown(&failures[i])
			exchanges[i], failures[i] = s.ask(ctx, probe.Attempt, q)
		})
	}
	each.Wait()
	for _, f := range failures {
		if f != nil {
			return nil, f
		}
	}
	for _, x := range exchanges {
		if f := s.strangers(x); f != nil {
			return nil, f
		}
	}
	return exchanges, nil
}

// strangers refuses an answer that tells of perspectives that are not on the roster: what else it tells is then not known either (F9).
func (s *Service) strangers(x mpic.Exchange) *failure {
	r, err := readReply([]byte(x.Received))
	if err != nil {
		return nil // Read says so of each member
	}
	for told := range r.perspectives {
		if !slices.ContainsFunc(s.config.Members, func(m mpic.Member) bool { return code(m) == told }) {
			return &failure{state: mpic.Rejected, code: "stranger", received: front.Cut(x.Received, maxReply),
				why: fmt.Sprintf("was asked, and the answer tells of %q, which is no perspective of the roster", front.Cut(told, 64))}
		}
	}
	return nil
}

// ask sends one question.
func (s *Service) ask(ctx context.Context, attempt string, q question) (x mpic.Exchange, f *failure) {
	fail := func(state mpic.State, code, format string, args ...any) (mpic.Exchange, *failure) {
		return x, &failure{state: state, code: code, why: fmt.Sprintf(format, args...), received: x.Received}
	}
	body, err := q.text()
	if err != nil {
		return fail(mpic.Unreachable, "unreachable", "could not be asked: %v", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		return fail(mpic.Unreachable, "unreachable", "could not be asked: %v", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Authorization", "Bearer "+s.config.Key)
	x = mpic.Exchange{Target: s.endpoint, Sent: string(body), Started: s.now()}
	response, err := s.client.Do(request)
	if err != nil {
		return x, s.broken(ctx, attempt, err)
	}
	defer func() { _ = response.Body.Close() }() // what matters was read, or the exchange has failed already
	// Behind a switch of protocols stands what ends when the service likes, and not with ctx.
	if response.StatusCode < 200 {
		x.Status, x.Finished = response.StatusCode, s.now()
		return fail(mpic.Rejected, "status", "replied with status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	x.Status, x.Finished = response.StatusCode, s.now()
	x.Received = front.Cut(string(text), maxReply)
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")) // none where it is malformed
	switch {
	case err != nil:
		return x, s.broken(ctx, attempt, err)
	case len(text) > maxReply:
		return fail(mpic.Rejected, "too-large", "replied with more than %d octets", maxReply)
	case response.StatusCode != http.StatusOK:
		return fail(mpic.Rejected, "status", "replied with status %d", response.StatusCode)
	case media != "application/json":
		return fail(mpic.Rejected, "garbage", "replied with %q instead of application/json", front.Cut(response.Header.Get("Content-Type"), 80))
	case !utf8.Valid(text):
		return fail(mpic.Rejected, "garbage", "replied with what is not UTF-8")
	}
	return x, nil
}

// broken tells a passed deadline, another's identity and a connection that failed from each other.
func (s *Service) broken(ctx context.Context, attempt string, err error) *failure {
	var pinned *identityError
	var verified *tls.CertificateVerificationError
	switch {
	case errors.As(err, &pinned), errors.As(err, &verified):
		s.config.Logger.Error("another answers for a service", "attempt", attempt, "url", s.endpoint, "error", err) // F9
		return &failure{state: mpic.Rejected, code: "identity", why: fmt.Sprintf("was reached at %s, and who answers there is not known: %v", s.endpoint, err)}
	case ctx.Err() != nil: // a connection that took too long to come about calls itself a passed deadline, too
		return &failure{state: mpic.TimedOut, code: "timeout", why: "gave no answer by the deadline"}
	default:
		return &failure{state: mpic.Unreachable, code: "unreachable", why: fmt.Sprintf("could not be reached, or the connection broke: %v", err)}
	}
}

// now gives the time as the record will hold it.
func (s *Service) now() time.Time { return s.config.Now().UTC().Round(0) }
