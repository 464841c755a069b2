package boulder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder/account"
	"github.com/quorate/quorate/va"
)

const (
	// maxReply is how large an answer of a remoteva may be, in octets.
	maxReply = 64 << 10
	// maxHeader is how large the header fields beside a message may be, in octets.
	maxHeader = 16 << 10
	// tokenLength is how long a token of Boulder's is, in characters; its remoteva takes no others.
	tokenLength = 43
	// connectTime bounds one connection with its handshake; between two there are 5 s at most.
	connectTime = 5 * time.Second
	// idleTime is for how long a connection is kept that is not used.
	idleTime = time.Minute
)

// ClientConfig is what NewRemote needs. All fields are required.
type ClientConfig struct {
	// Member is the roster's entry. Its URL is https://HOST:PORT, and means gRPC over TLS: the certificate there is for HOST. Its code is the
	// remoteva's `perspective`, its place's region the remoteva's `rir`. Where it has a TLS key, the certificate must have it too.
	Member mpic.Member
	// Certificate gives what is shown to the remoteva, whose clientNames have its name. Roots are the CAs of the remoteva's own.
	Certificate func() *tls.Certificate
	Roots       *x509.CertPool
	// Accounts are those of the CA.
	Accounts account.Prefixes
	// Issuers are all of the gate's Issuer Domain Names. A remoteva has one of them in its own configuration and is not told any, so that it
	// is not asked where a caller narrowed them down: what it would permit might be another's issuance.
	Issuers []string
	// Logger receives the alarm of F9.
	Logger *slog.Logger
	// Now is the gate's clock.
	Now func() time.Time
}

// Remote asks one of Boulder's remoteva. It keeps its connection between attempts.
type Remote struct {
	member   mpic.Member
	accounts account.Prefixes
	issuers  []string
	conn     *grpc.ClientConn
	last     *handshakes
	log      *slog.Logger
	now      func() time.Time
}

var _ mpic.Remote = (*Remote)(nil)

// NewRemote refuses a member without an authenticated and encrypted channel (MPIC-08). It opens no connection.
func NewRemote(c ClientConfig) (*Remote, error) {
	m := c.Member
	refuse := func(format string, args ...any) (*Remote, error) {
		return nil, fmt.Errorf("boulder: remote %q: %s", m.Name, fmt.Sprintf(format, args...))
	}
	u, err := url.Parse(m.URL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "" {
		return refuse("the URL %q is not https://HOST:PORT", m.URL)
	}
	if m.Protocol != mpic.Boulder {
		return refuse("it speaks %q, and not %q", m.Protocol, mpic.Boulder)
	}
	if b, err := hex.DecodeString(m.TLSKey); m.TLSKey != "" && (err != nil || len(b) != 32 || strings.ToLower(m.TLSKey) != m.TLSKey) {
		return refuse("the TLS key %q is not the SHA-256 of a key in lower-case hexadecimal", m.TLSKey)
	}
	switch {
	case c.Roots == nil || c.Certificate == nil:
		return refuse("there are no CAs of its certificate, or the gate has none of its own")
	case c.Logger == nil || c.Now == nil:
		return refuse("there is no logger or no clock")
	case len(c.Issuers) == 0:
		return refuse("there is no issuer domain name")
	}
	if err := c.Accounts.Check(); err != nil {
		return refuse("%v", err)
	}
	r := &Remote{member: m, accounts: c.Accounts, issuers: slices.Clone(c.Issuers), last: &handshakes{}, log: c.Logger, now: c.Now}
	r.conn, err = newConn(u.Host, channel{credentials.NewTLS(clientTLS(u.Hostname(), m.TLSKey, c.Roots, c.Certificate)), r.last}, maxReply)
	if err != nil {
		return refuse("%v", err)
	}
	return r, nil
}

// newConn makes a channel for answers of at most so many octets. It opens no connection.
func newConn(address string, tls channel, most int) (*grpc.ClientConn, error) {
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = 200*time.Millisecond, 5*time.Second
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(tls),
		// A dialer of its own: no environment variable leads the channel through a proxy.
		grpc.WithNoProxy(), grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: connectTime}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 10 * time.Second}),
		// A connection that nobody used may have been dropped on its way without a word.
		grpc.WithIdleTimeout(idleTime),
		// No retries: a call that was carried out is not carried out again. No service configuration from elsewhere.
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithMaxHeaderListSize(maxHeader),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(most)), grpc.WithUserAgent("quorate"))
}

// Member gives the roster's facts.
func (r *Remote) Member() mpic.Member { return r.member }

// Close ends the connection. What is asked after it is unreachable.
func (r *Remote) Close() error { return r.conn.Close() }

// Attest asks for what the probe asks for, by one call each, side by side, until ctx ends or the probe's deadline has come. The state is
// Answered, with a Statement, only where each was answered; otherwise the problem's codes are "perspective.timeout",
// "perspective.unreachable", "perspective.refused" (an error of the remoteva's own), and, where State is Rejected,
// "perspective.identity" (somebody else answers there), "perspective.too-large", "perspective.garbage" and
// "perspective.account" (the account's URI has none of the configured prefixes; nothing was sent).
func (r *Remote) Attest(ctx context.Context, probe va.Probe) mpic.Attestation {
	a := mpic.Attestation{Perspective: r.member.Name, Asked: r.now().UTC()}
	ctx, cancel := context.WithTimeout(ctx, probe.Deadline.Sub(a.Asked)) // by the gate's clock, which may be a test's
	defer cancel()
	a.State, a.Statement, a.Problem = r.ask(ctx, probe)
	a.Closed = r.now().UTC()
	if a.Problem != nil && a.Problem.Code == "perspective.identity" { // F9: somebody answers in this perspective's place
		r.log.ErrorContext(ctx, "another answers for a perspective", "attempt", probe.Attempt, "perspective", r.member.Name,
			"code", a.Problem.Code, "detail", a.Problem.Detail)
	}
	return a
}

func (r *Remote) ask(ctx context.Context, probe va.Probe) (mpic.State, *mpic.Statement, *va.Problem) {
	if probe.Request.CertificateType != va.TLSServer {
		return mpic.Rejected, nil, r.problem("perspective.refused", "was not asked: Boulder knows nothing of CAA for other certificates than TLS servers'")
	}
	if req := probe.Request; req.Method == 0 || req.KeyAuthorizationDigest != "" || !probe.CAAAlone && len(req.Token) != tokenLength {
		return mpic.Rejected, nil, r.problem("perspective.refused",
			"was not asked: Boulder wants a method, the key authorization itself, and a token of %d characters", tokenLength)
	}
	// CAA-02: it knows one issuer domain name of its own.
	if req := probe.Request; !probe.DCVAlone && !sameSet(req.Issuers, r.issuers) {
		return mpic.Rejected, nil, r.problem("perspective.refused", "was not asked: Boulder cannot be told which of the issuer domain names %s count",
			strings.Join(r.issuers, ", "))
	}
	id, err := r.accounts.Number(probe.Request.AccountURI)
	if err != nil {
		return mpic.Rejected, nil, r.problem("perspective.account", "was not asked: the account URI %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := questions(probe, id)
	exchanges, errs := make([]mpic.Exchange, len(asked)), make([]error, len(asked))
	var calls sync.WaitGroup
	for i, q := range asked {
		calls.Go(func() {
			if exchanges[i], errs[i] = r.exchange(ctx, q); errs[i] != nil {
				cancel() // one check alone is no answer
			}
		})
	}
	calls.Wait()
	if err := first(errs); err != nil {
		state, p := r.broken(err)
		return state, nil, p
	}
	s, err := Read(r.member, probe, exchanges)
	if err != nil {
		return mpic.Rejected, nil, r.problem("perspective.garbage", "answered what cannot be read: %v", err)
	}
	return mpic.Answered, &s, nil
}

// sameSet tells whether two lists have the same texts.
func sameSet(a, b []string) bool {
	within := func(a, b []string) bool {
		return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
	}
	return within(a, b) && within(b, a)
}

// first gives the error that came of the exchange itself, and not of its neighbour's.
func first(errs []error) error {
	var canceled error
	for _, err := range errs {
		if err != nil && status.Code(err) != codes.Canceled {
			return err
		}
		canceled = errors.Join(canceled, err)
	}
	return canceled
}

func (r *Remote) exchange(ctx context.Context, q question) (x mpic.Exchange, err error) {
	x = mpic.Exchange{Target: target(r.member, q.method), Started: r.now().UTC()}
	if x.Sent, err = written(q.sent); err != nil {
		return x, status.Errorf(codes.Internal, "the request has no JSON form: %v", err)
	}
	err = r.conn.Invoke(ctx, q.method, q.sent, q.received)
	x.Finished = r.now().UTC()
	if err != nil {
		return x, err
	}
	if x.Received, err = written(q.received); err != nil {
		return x, status.Errorf(codes.DataLoss, "the answer has no JSON form: %v", err)
	}
	return x, nil
}

// broken tells what an error of a call means. Its text may be the peer's, and is cut.
func (r *Remote) broken(err error) (mpic.State, *va.Problem) {
	told := cut(status.Convert(err).Message(), 400)
	switch code := status.Code(err); code {
	case codes.DeadlineExceeded, codes.Canceled:
		return mpic.TimedOut, r.problem("perspective.timeout", "gave no answer by the deadline")
	case codes.Unavailable:
		if stranger := r.last.stranger(); stranger != nil { // MPIC-08, F9
			return mpic.Rejected, r.problem("perspective.identity", "was reached at %s, and it is somebody else who answers there: %s",
				r.member.URL, cut(stranger.Error(), 400))
		}
		return mpic.Unreachable, r.problem("perspective.unreachable", "could not be reached, or the connection broke: %s", told)
	case codes.ResourceExhausted:
		return mpic.Rejected, r.problem("perspective.too-large", "is at its limits, or answered with more than %d octets: %s", maxReply, told)
	case codes.Internal, codes.DataLoss:
		return mpic.Rejected, r.problem("perspective.garbage", "answered with an error, or what cannot be read: %s", told)
	default:
		return mpic.Rejected, r.problem("perspective.refused", "refused with gRPC's status %s: %s", code, told)
	}
}

func (r *Remote) problem(code, format string, args ...any) *va.Problem {
	return &va.Problem{Code: code, Rules: []string{"MPIC-08"}, URL: r.member.URL, Detail: r.member.Name + " " + fmt.Sprintf(format, args...)}
}
