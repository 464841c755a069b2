package openmpic

import (
	"bytes"
	"context"
	"crypto/sha256"
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
	"time"
	"unicode/utf8"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

const (
	// maxReply is how long an answer may be, in octets. It is kept whole, so mpic's bound of an exchange is above it.
	maxReply = 192 << 10
	// maxRefusal is how much of a refusal is read.
	maxRefusal  = 16 << 10
	maxKey      = 1024
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
	// connectTime bounds a connection's coming about, and again its handshake. net/http goes on with both when the request has ended that
	// they were begun for, so that without a bound whoever never shakes hands would keep them for ever.
	connectTime = 10 * time.Second
)

// ClientConfig is what NewRemotes needs. All but Roots is required.
type ClientConfig struct {
	// Members are the roster's entries that are reached over one channel: one checker, or those that one coordinator stands for, each
	// with a code of its own. Their URL is what stands before /dcv and /caa, or before /mpic.
	Members []mpic.Member
	// APIKey is sent in the field x-api-key.
	APIKey string
	// Roots are the CAs of the server's certificate; nil for the system's.
	Roots  *x509.CertPool
	Logger *slog.Logger
	// Now is the gate's clock.
	Now func() time.Time
}

// Remote is one perspective of another protocol. Those of one coordinator share a channel.
type Remote struct {
	member mpic.Member
	channel
	now func() time.Time
	log *slog.Logger
}

// channel carries out the exchanges of one probe.
type channel interface {
	exchange(ctx context.Context, p va.Probe) outcome
	close()
}

// outcome is what was exchanged for one probe, or why it was not.
type outcome struct {
	exchanges []mpic.Exchange
	state     mpic.State
	problem   *va.Problem
}

var _ mpic.Remote = (*Remote)(nil)

// NewRemotes refuses members without an encrypted channel (MPIC-08), and such as do not go together. It opens no connection. The
// remotes are in the members' order.
func NewRemotes(c ClientConfig) ([]*Remote, error) {
	if len(c.Members) == 0 {
		return nil, errors.New("openmpic: there is no member")
	}
	first := c.Members[0]
	refuse := func(format string, args ...any) ([]*Remote, error) {
		return nil, fmt.Errorf("openmpic: remote %q: %s", first.Name, fmt.Sprintf(format, args...))
	}
	base, err := url.Parse(first.URL)
	switch {
	case err != nil || base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return refuse("the URL %q is not https://HOST[:PORT][/PATH]", first.URL)
	case first.Protocol != mpic.OpenMPICChecker && first.Protocol != mpic.OpenMPICCoordinator:
		return refuse("%q is no protocol of this package", first.Protocol)
	case first.Protocol == mpic.OpenMPICChecker && len(c.Members) > 1:
		return refuse("a checker is one perspective, and there are %d", len(c.Members))
	case c.APIKey == "" || len(c.APIKey) > maxKey || !fieldValue(c.APIKey):
		return refuse("there is no API key, or it is none of 1 to %d visible characters", maxKey)
	case c.Logger == nil || c.Now == nil:
		return refuse("there is no logger or no clock")
	}
	if b, err := hex.DecodeString(first.TLSKey); first.TLSKey != "" && (err != nil || len(b) != sha256.Size || lower(first.TLSKey) != first.TLSKey) {
		return refuse("the TLS key %q is not the SHA-256 of a key in lower-case hexadecimal", first.TLSKey)
	}
	codes := map[string]bool{}
	for _, m := range c.Members {
		if m.URL != first.URL || m.TLSKey != first.TLSKey || m.Protocol != first.Protocol {
			return refuse("%s is reached at the same place, and its URL, TLS key or protocol differs", m.Name)
		}
		if codes[code(m)] {
			return refuse("the code %q stands for two members", code(m))
		}
		codes[code(m)] = true
	}
	l := &line{members: slices.Clone(c.Members), codes: codes, key: c.APIKey, client: newHTTPClient(first, c.Roots), now: c.Now}
	var ch channel = l
	if first.Protocol == mpic.OpenMPICCoordinator {
		ch = &shared{line: l, calls: map[string]*sharedCall{}}
	}
	var out []*Remote
	for _, m := range c.Members {
		out = append(out, &Remote{member: m, channel: ch, now: c.Now, log: c.Logger})
	}
	return out, nil
}

// fieldValue tells whether s is visible ASCII.
func fieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// newHTTPClient verifies the server by its name and, where one is configured, by its key.
func newHTTPClient(m mpic.Member, roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			// Proxy stays nil: no environment variable leads the channel elsewhere.
			DialContext:         (&net.Dialer{Timeout: connectTime}).DialContext,
			TLSHandshakeTimeout: connectTime,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, VerifyConnection: func(s tls.ConnectionState) error {
				return verifyKey(m, s)
			}},
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 32 << 10,
			IdleConnTimeout:        2 * time.Minute,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		},
		// A remote does not send the gate, and its key, elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// identityError is a TLS key that is not the pinned one.
type identityError struct{ got string }

func (e *identityError) Error() string { return "the TLS key is " + e.got }

func verifyKey(m mpic.Member, s tls.ConnectionState) error {
	if m.TLSKey == "" {
		return nil
	}
	sum := sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo)
	if got := hex.EncodeToString(sum[:]); got != m.TLSKey {
		return &identityError{got}
	}
	return nil
}

// Member gives the roster's facts.
func (r *Remote) Member() mpic.Member { return r.member }

// Close closes the kept connections, and waits for exchanges that nobody waits for any more. Those of one coordinator share them.
func (r *Remote) Close() { r.close() }

// Attest asks, and waits for the answer until ctx ends or the probe's deadline has come, whichever is first. It always returns an
// attestation with State and times set. The problem's codes are "perspective.timeout"; "perspective.unreachable"; and, where State is
// Rejected, "perspective.identity" (another TLS key, or a certificate that is not the host's), "perspective.status",
// "perspective.too-large", "perspective.garbage" (no JSON, another content type, what is no answer) and "perspective.stranger" (a
// coordinator names a perspective that the roster does not know).
func (r *Remote) Attest(ctx context.Context, p va.Probe) mpic.Attestation {
	a := mpic.Attestation{Perspective: r.member.Name, Asked: r.now().UTC()}
	// By the gate's clock, which may be a test's: only the remaining time goes to the timer.
	ctx, cancel := context.WithTimeout(ctx, p.Deadline.Sub(a.Asked))
	defer cancel()
	out := r.exchange(ctx, p)
	a.State, a.Problem = out.state, out.problem
	if a.State == mpic.Answered {
		read := ReadChecker
		if r.member.Protocol == mpic.OpenMPICCoordinator {
			read = ReadCoordinator
		}
		s, err := read(r.member, p, out.exchanges)
		if err != nil {
			a.State, a.Problem = mpic.Rejected, channelProblem(r.member.URL, "garbage", "%s answered with what is no answer: %v", r.member.Name, err)
		} else {
			a.Statement = &s
		}
	}
	a.Closed = r.now().UTC()
	if a.Problem != nil && slices.Contains([]string{"perspective.identity", "perspective.stranger"}, a.Problem.Code) {
		// F9: somebody answers in this perspective's place.
		r.log.ErrorContext(ctx, "another answers for a perspective", "attempt", p.Attempt, "perspective", r.member.Name, "code", a.Problem.Code,
			"detail", a.Problem.Detail)
	}
	return a
}

func channelProblem(at, code, format string, args ...any) *va.Problem {
	return &va.Problem{Code: "perspective." + code, Rules: []string{"MPIC-08"}, URL: at, Detail: front.Cut(fmt.Sprintf(format, args...), 1500)}
}

// line asks one server.
type line struct {
	members []mpic.Member
	codes   map[string]bool
	key     string
	client  *http.Client
	now     func() time.Time
}

func (l *line) close() { l.client.CloseIdleConnections() }

// exchange puts each check that the probe asks for, side by side. Where one of them has no answer the probe has none.
func (l *line) exchange(ctx context.Context, p va.Probe) outcome {
	checks := asked(p)
	results := make([]outcome, len(checks))
	done := make(chan struct{})
	for i, check := range checks {
		go func() {
			defer func() {
				if v := recover(); v != nil { // nobody above this goroutine could
					results[i] = outcome{state: mpic.Unreachable, problem: channelProblem("", "panic", "asking broke down: %v", v)}
				}
				done <- struct{}{}
			}()
			results[i] = l.put(ctx, p, check)
		}()
	}
	for range checks {
		<-done
	}
	all := outcome{state: mpic.Answered}
	for _, r := range results {
		if r.state != mpic.Answered {
			return r
		}
		all.exchanges = append(all.exchanges, r.exchanges...)
	}
	return all
}

// put puts one check.
func (l *line) put(ctx context.Context, p va.Probe, check string) outcome {
	m, count := l.members[0], 0
	if m.Protocol == mpic.OpenMPICCoordinator {
		count = len(l.members)
	}
	at, err := endpoint(m, check)
	text, err2 := body(p, check, count)
	if err = errors.Join(err, err2); err != nil {
		return outcome{state: mpic.Unreachable, problem: channelProblem(at, "unreachable", "%s could not be asked: %v", l.name(), err)}
	}
	x := mpic.Exchange{Target: at, Sent: text, Started: l.now().UTC()}
	received, status, o := l.post(ctx, at, text)
	if o.problem != nil {
		return o
	}
	x.Received, x.Status, x.Finished = received, status, l.now().UTC()
	if count > 0 {
		if p := l.strangers(at, received); p != nil {
			return outcome{state: mpic.Rejected, problem: p}
		}
	}
	return outcome{state: mpic.Answered, exchanges: []mpic.Exchange{x}}
}

// name is what problems call the server.
func (l *line) name() string {
	if len(l.members) == 1 {
		return l.members[0].Name
	}
	return "the coordinator of " + l.members[0].Name
}

// strangers: MPIC-08, a coordinator that asks perspectives that are not on the roster is not the one that was configured.
func (l *line) strangers(at, received string) *va.Problem {
	top, err := readObject([]byte(received))
	if err == nil {
		var all map[string]object
		if all, err = entries(top); err == nil {
			for name := range all {
				if !l.codes[name] {
					return channelProblem(at, "stranger", "%s answered for %q, which is no perspective of the roster", l.name(), front.Cut(name, 64))
				}
			}
			return nil
		}
	}
	return channelProblem(at, "garbage", "%s answered with what is no answer: %v", l.name(), err)
}

// post sends a body, and gives what was answered with status 200.
func (l *line) post(ctx context.Context, at, text string) (received string, status int, o outcome) {
	reject := func(code, format string, args ...any) (string, int, outcome) {
		return "", 0, outcome{state: mpic.Rejected, problem: channelProblem(at, code, l.name()+" "+format, args...)}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader([]byte(text)))
	if err != nil {
		return reject("unreachable", "could not be asked: %v", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set(keyField, l.key)
	response, err := l.client.Do(request)
	if err != nil {
		return "", 0, l.broken(ctx, at, err)
	}
	defer func() { _ = response.Body.Close() }() // what matters was read, or the exchange has failed already
	// Behind a switch of protocols stands what ends when the remote likes, and not with ctx.
	if response.StatusCode < 200 {
		return reject("status", "answered with status %d", response.StatusCode)
	}
	if response.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
		if err != nil {
			return "", 0, l.broken(ctx, at, err)
		}
		return reject("status", "answered with status %d: %q", response.StatusCode, front.Cut(string(text), 300))
	}
	if e := response.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return reject("garbage", "answered in the encoding %q, which was not asked for", front.Cut(e, 80))
	}
	if t, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return reject("garbage", "answered with %q instead of application/json", front.Cut(response.Header.Get("Content-Type"), 80))
	}
	b, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	switch {
	case err != nil:
		return "", 0, l.broken(ctx, at, err)
	case len(b) > maxReply:
		return reject("too-large", "answered with more than %d octets", maxReply)
	case !utf8.Valid(b):
		return reject("garbage", "answered with what is not UTF-8")
	}
	return string(b), response.StatusCode, outcome{}
}

// broken tells a passed deadline, another's identity and a connection that failed from each other.
func (l *line) broken(ctx context.Context, at string, err error) outcome {
	var identity *identityError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &identity):
		return outcome{state: mpic.Rejected, problem: channelProblem(at, "identity",
			"%s was reached, and there the TLS key is %s; the roster has %s", l.name(), identity.got, l.members[0].TLSKey)}
	case errors.As(err, &certificate):
		return outcome{state: mpic.Rejected, problem: channelProblem(at, "identity", "%s was reached, and its certificate does not hold: %v",
			l.name(), err)}
	case errors.Is(ctx.Err(), context.DeadlineExceeded): // a connection that took too long to come about calls itself one, too
		return outcome{state: mpic.TimedOut, problem: channelProblem(at, "timeout", "%s gave no answer by the deadline", l.name())}
	case ctx.Err() != nil:
		return outcome{state: mpic.TimedOut, problem: channelProblem(at, "timeout", "%s gave no answer before the gate stopped waiting",
			l.name())}
	default:
		return outcome{state: mpic.Unreachable, problem: channelProblem(at, "unreachable", "%s could not be reached, or the connection broke: %v",
			l.name(), err)}
	}
}
