package perspective

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
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

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

const (
	// maxRejected is how much of a rejected reply is kept, in bytes. A usable one is kept whole: the auditor verifies it.
	maxRejected = 64 << 10
	// maxProblem is how much of a refusal is read, in bytes.
	maxProblem = 16 << 10
	// idleConnections are kept for as many probes at a time without a handshake, and for keepIdle: less than a perspective keeps them
	// (idleTimeout), so that it is not the one to close.
	idleConnections = 512
	keepIdle        = idleTimeout - time.Minute
	// connectTime bounds a connection's coming about, and again its handshake: three packets for it may be lost, which are sent again after 1,
	// 3 and 7 s. net/http goes on with both when the request has ended that they were begun for, so that without a bound whoever never
	// shakes hands would keep them for ever.
	connectTime = 10 * time.Second
)

// ClientConfig is what NewRemote needs. All fields but Others are required.
type ClientConfig struct {
	// Member is the roster's entry: an https URL (probes go to the path /v1/probe below it) and both pins.
	Member mpic.Member
	// Others are the roster's other members. They serve to name whose key was met in the place of Member's.
	Others []mpic.Member
	// Identity is the gate's: its TLS key must be known to the perspective.
	Identity *Identity
	// Logger receives the alarm of F9: an identity or key that is not the member's.
	Logger *slog.Logger
	// Now is the gate's clock.
	Now func() time.Time
}

// Remote asks one remote perspective by the native protocol. It keeps its connections between attempts.
type Remote struct {
	member   mpic.Member
	others   []mpic.Member
	endpoint string
	client   *http.Client
	log      *slog.Logger
	now      func() time.Time
	verifier Verifier
	// bodies are buffers for replies.
	bodies sync.Pool
}

var _ mpic.Remote = (*Remote)(nil)

// NewRemote refuses a member without an authenticated and encrypted channel (MPIC-08): an URL that is not https, or a pin
// that is missing or malformed. It opens no connection.
func NewRemote(config ClientConfig) (*Remote, error) {
	m := config.Member
	refuse := func(format string, args ...any) (*Remote, error) {
		return nil, fmt.Errorf("perspective: remote %q: %s", m.Name, fmt.Sprintf(format, args...))
	}
	base, err := url.Parse(m.URL)
	if err != nil {
		return refuse("the URL cannot be read: %v", err)
	}
	// MPIC-08: the channel is encrypted and authenticated, or there is none.
	if base.Scheme != "https" || base.Host == "" {
		return refuse("the URL %q is not https://HOST[:PORT]", m.URL)
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return refuse("the URL %q has more than host, port and path", m.URL)
	}
	if b, err := hex.DecodeString(m.TLSKey); err != nil || len(b) != 32 || strings.ToLower(m.TLSKey) != m.TLSKey {
		return refuse("the TLS key %q is not the SHA-256 of a key in lower-case hexadecimal", m.TLSKey)
	}
	if b, err := base64.RawURLEncoding.Strict().DecodeString(m.SigningKey); err != nil || len(b) != 32 {
		return refuse("the signing key %q is not an RFC 7638 thumbprint (SHA-256, base64url)", m.SigningKey)
	}
	switch {
	case config.Identity == nil:
		return refuse("the gate has no TLS identity")
	case config.Logger == nil:
		return refuse("there is no logger")
	case config.Now == nil:
		return refuse("there is no clock")
	}
	r := &Remote{member: m, endpoint: base.JoinPath(probePath).String(), log: config.Logger, now: config.Now}
	r.bodies.New = func() any { return bytes.NewBuffer(make([]byte, 0, 16<<10)) }
	r.others = slices.DeleteFunc(slices.Clone(config.Others), func(o mpic.Member) bool { return o.Name == m.Name })
	// A kept connection that leads nowhere is found out within 20 s, before an attempt depends on it.
	dialer := &net.Dialer{Timeout: connectTime,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: time.Second, Count: 5}}
	only := &http.Protocols{}
	only.SetHTTP1(true)
	r.client = &http.Client{
		Transport: &http.Transport{
			// Proxy stays nil: no environment variable leads the channel elsewhere.
			DialContext:         dialer.DialContext,
			TLSClientConfig:     r.tlsConfig(config.Identity),
			TLSHandshakeTimeout: connectTime,
			// HTTP/1.1 costs both sides less for bodies as small as these, and a reply finds a congestion window of its own.
			Protocols:              only,
			MaxIdleConnsPerHost:    idleConnections,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 32 << 10,
			IdleConnTimeout:        keepIdle,
			// A gate has a connection for each probe in flight, and requests are of a kilobyte: half of net/http's buffers is enough.
			ReadBufferSize:  2 << 10,
			WriteBufferSize: 2 << 10,
		},
		// A perspective does not send its gate elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return r, nil
}

// Member gives the roster's facts.
func (r *Remote) Member() mpic.Member { return r.member }

// Close closes the kept connections. Attest may still be called, and opens new ones.
func (r *Remote) Close() { r.client.CloseIdleConnections() }

// identityError is a TLS key that is not the pinned one.
type identityError struct{ got string }

func (e *identityError) Error() string { return "the TLS key is " + e.got }

func (r *Remote) tlsConfig(id *Identity) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		// Sent whatever authorities the server names: there is no certification authority on this channel.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id.certificate, nil },
		// The pin below takes the place of chain, name and dates, on each handshake (MPIC-08, F9).
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return &identityError{got: "missing"}
			}
			if got := TLSKey(state.PeerCertificates[0]); got != r.member.TLSKey {
				return &identityError{got: got}
			}
			return nil
		},
	}
}

// Attest sends the probe and waits for the reply until ctx ends or the probe's deadline has come, whichever is first. It
// always returns an attestation with State and times set, and with Reply where State is Answered. The problem's codes are "perspective.timeout";
// "perspective.unreachable"; and, where State is Rejected, "perspective.identity" (another TLS key), those of Verify,
// "perspective.too-large", "perspective.refused" (a refusal by the perspective itself, whose code is in the detail) and
// "perspective.status" (any other HTTP status).
func (r *Remote) Attest(ctx context.Context, probe va.Probe) mpic.Attestation {
	a := mpic.Attestation{Perspective: r.member.Name, Asked: r.now().UTC()}
	// By the gate's clock, which may be a test's: only the remaining time goes to the timer.
	ctx, cancel := context.WithTimeout(ctx, probe.Deadline.Sub(a.Asked))
	defer cancel()
	a.State, a.Reply, a.Signed, a.Problem = r.ask(ctx, probe)
	a.Closed = r.now().UTC()
	if a.Problem != nil && slices.Contains([]string{"perspective.identity", "perspective.key"}, a.Problem.Code) {
		// F9: somebody answers in this perspective's place.
		r.log.ErrorContext(ctx, "another answers for a perspective", "attempt", probe.Attempt, "perspective", r.member.Name,
			"code", a.Problem.Code, "detail", a.Problem.Detail)
	}
	return a
}

func (r *Remote) ask(ctx context.Context, probe va.Probe) (mpic.State, *mpic.Reply, string, *va.Problem) {
	body, err := probe.Text()
	if err != nil {
		return mpic.Unreachable, nil, "", r.problem("perspective.unreachable", "could not be asked: the probe has no JSON form: %v", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.endpoint, bytes.NewReader(body))
	if err != nil {
		return mpic.Unreachable, nil, "", r.problem("perspective.unreachable", "could not be asked: %v", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", contentType+", "+problemType)
	// Not sent. A kept connection that the perspective closes before it has answered anything is given up for a new one; a probe that
	// it had taken all the same, it does not answer twice (MPIC-09).
	request.Header["Idempotency-Key"] = []string{}
	response, err := r.client.Do(request)
	if err != nil {
		state, p := r.broken(ctx, err)
		return state, nil, "", p
	}
	defer func() { _ = response.Body.Close() }() // what matters was read, or the exchange has failed already
	if response.StatusCode != http.StatusOK {
		return r.refused(ctx, response)
	}
	room := r.bodies.Get().(*bytes.Buffer)
	defer r.free(room) // what is kept of a body is copied
	err = readBody(ctx, room, response, maxReply+1)
	body = room.Bytes()
	if err != nil {
		state, p := r.broken(ctx, err)
		return state, nil, kept(body), p
	}
	if len(body) > maxReply {
		return mpic.Rejected, nil, kept(body), r.problem("perspective.too-large", "replied with more than %d bytes", maxReply)
	}
	if got := response.Header.Get("Content-Type"); !isMedia(got, contentType) {
		return mpic.Rejected, nil, kept(body), r.problem("perspective.garbage", "replied with %q instead of %s", cut(got, 80), contentType)
	}
	answer, err := readReply(body)
	if err != nil {
		return mpic.Rejected, nil, kept(body), r.problem("perspective.garbage", "replied with what is no reply: %v", err)
	}
	read, refused := r.verifier.Verify(answer.Report, r.member, r.others, probe)
	if refused != nil {
		if refused.Code == "perspective.replay" { // the answers that follow on this connection may be one behind, too
			r.client.CloseIdleConnections()
		}
		return mpic.Rejected, nil, kept([]byte(answer.Report)), refused
	}
	if err := read.Bring(answer.Sets); err != nil {
		return mpic.Rejected, nil, kept([]byte(answer.Report)), r.problem("perspective.evidence", "sent a report that %v", err)
	}
	return mpic.Answered, read, "", nil
}

// readBody reads a body up to a limit. One that ends when ctx does is an error: the end may be what the other side made of ours.
func readBody(ctx context.Context, into *bytes.Buffer, response *http.Response, limit int64) error {
	if _, err := into.ReadFrom(io.LimitReader(response.Body, limit)); err != nil {
		return err
	}
	return ctx.Err()
}

// free keeps a buffer for another reply, unless it has grown beyond those of usual ones.
func (r *Remote) free(room *bytes.Buffer) {
	if room.Cap() <= 64<<10 {
		room.Reset()
		r.bodies.Put(room)
	}
}

// refused reads an answer that is no report.
func (r *Remote) refused(ctx context.Context, response *http.Response) (mpic.State, *mpic.Reply, string, *va.Problem) {
	// Behind a switch of protocols stands what ends when the perspective likes, and not with ctx.
	if response.StatusCode < 200 {
		return mpic.Rejected, nil, "", r.problem("perspective.status", "replied with status %d and no report", response.StatusCode)
	}
	var room bytes.Buffer
	err := readBody(ctx, &room, response, maxProblem)
	body := room.Bytes()
	if err != nil {
		state, p := r.broken(ctx, err)
		return state, nil, kept(body), p
	}
	var told problem
	if isMedia(response.Header.Get("Content-Type"), problemType) && json.Unmarshal(body, &told) == nil && told.Code != "" {
		return mpic.Rejected, nil, kept(body), r.problem("perspective.refused", "refused the probe with status %d, %s: %s",
			response.StatusCode, cut(told.Code, 80), cut(told.Detail, 400))
	}
	return mpic.Rejected, nil, kept(body), r.problem("perspective.status", "replied with status %d and no report", response.StatusCode)
}

// broken tells a passed deadline, another's identity and a connection that failed from each other.
func (r *Remote) broken(ctx context.Context, err error) (mpic.State, *va.Problem) {
	var identity *identityError
	switch {
	case errors.As(err, &identity):
		// MPIC-08, F9: who answers is known by the key of the channel.
		whose := "which no member of the roster has"
		if i := slices.IndexFunc(r.others, func(m mpic.Member) bool { return m.TLSKey == identity.got }); i >= 0 {
			whose = "which is the key of " + r.others[i].Name
		}
		return mpic.Rejected, r.problem("perspective.identity", "was reached at %s, and there the TLS key is %s, %s; the roster has %s",
			r.member.URL, identity.got, whose, r.member.TLSKey)
	case errors.Is(ctx.Err(), context.DeadlineExceeded): // a connection that took too long to come about calls itself one, too
		return mpic.TimedOut, r.problem("perspective.timeout", "gave no answer by the deadline")
	case ctx.Err() != nil:
		return mpic.TimedOut, r.problem("perspective.timeout", "gave no answer before the gate stopped waiting")
	default:
		return mpic.Unreachable, r.problem("perspective.unreachable", "could not be reached, or the connection broke: %v", err)
	}
}

func (r *Remote) problem(code, format string, args ...any) *va.Problem {
	return &va.Problem{Code: code, Rules: []string{"MPIC-08"}, URL: r.endpoint,
		Detail: cut(r.member.Name+" "+fmt.Sprintf(format, args...), maxDetail)}
}

// isMedia compares a Content-Type with a media type; parameters do not matter.
func isMedia(header, want string) bool {
	if header == want {
		return true
	}
	got, _, err := mime.ParseMediaType(header)
	return err == nil && got == want
}

// kept is what the record holds of a reply that was rejected.
func kept(reply []byte) string {
	return strings.ToValidUTF8(string(reply[:min(len(reply), maxRejected)]), "\uFFFD")
}
