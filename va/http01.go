package va

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// MaxHops is how many redirects are followed (D9).
	MaxHops = 10
	// maxHeaders is how many octets of response header are read, per response (D11).
	maxHeaders = 16 << 10
	// bodySlack is how many octets a body may have beyond the key authorization: white space at its end (D11). With the
	// longest key authorization it is less than maxObserved, so that the record has the whole of a body that passes.
	bodySlack = 512
	// maxLocation is how much of a Location field is recorded.
	maxLocation = 2048
	// maxProblemURL is how much of a URL stands in a reason. The fetch has it whole.
	maxProblemURL = 300
)

// http01 is RFC 8555 section 8.3 and BR 3.2.2.4.19 (DCV-17): the resource at the well-known path, asked for over port
// 80 first, is the key authorization. Redirects are DCV-16. Each hop is looked up, checked and then dialled, in this
// order.
func (c *Checker) http01(ctx context.Context, req Request, f *DCVFinding) (Outcome, *Problem) {
	target := &url.URL{Scheme: "http", Host: req.FQDN(), Path: "/.well-known/acme-challenge/" + req.Token}
	seen := map[string]bool{}
	for hop := 0; ; hop++ {
		seen[target.String()] = true
		f.Fetches = append(f.Fetches, Fetch{URL: cut(target.String(), maxLocation)})
		fetch := &f.Fetches[len(f.Fetches)-1]
		response, outcome, problem := c.fetch(ctx, target, req, f, fetch)
		if problem == nil {
			target, outcome, problem = judgeResponse(target, response, req, f)
		}
		if problem != nil {
			problem.URL, fetch.Error = cut(fetch.URL, maxProblemURL), problem.Error()
			return outcome, problem
		}
		if outcome == Pass {
			return Pass, nil
		}
		switch {
		case seen[target.String()]:
			problem = refuse("http.loop", "the redirect leads back to %s", cut(target.String(), 300))
		case hop == MaxHops:
			problem = refuse("http.hops", "the URL is redirected more than %d times", MaxHops)
		default:
			continue
		}
		problem.URL, fetch.Error = cut(fetch.URL, maxProblemURL), problem.Error()
		return Fail, problem
	}
}

// response is what of an HTTP response matters.
type response struct {
	status    int
	locations []string
	body      []byte
	// cutShort is why the body ended early: nil, or the error; tooLong when it has more octets than a key authorization
	// can.
	cutShort error
	tooLong  bool
}

// judgeResponse decides on a response: Pass; or a problem, and its outcome; or, with neither, the next URL.
func judgeResponse(at *url.URL, r *response, req Request, f *DCVFinding) (*url.URL, Outcome, *Problem) {
	switch {
	case r.status >= 300 && r.status < 400:
		next, problem := redirect(at, r.status, r.locations, req.KeyAuthorization)
		return next, Fail, problem
	case r.status < 200 || r.status > 299: // D8: whatever an error page says
		f.Observed = cut(string(r.body), maxObserved)
		return nil, Fail, refuse("http.status", "%s answered with the status %d; 2xx is required", at.Host, r.status)
	case r.tooLong:
		f.Observed = cut(string(r.body), maxObserved)
		return nil, Fail, refuse("http.size", "the body at %s has more octets than a key authorization", at.Host)
	case r.cutShort != nil:
		outcome, problem := broken(at, r.cutShort)
		return nil, outcome, problem
	}
	body := strings.TrimRight(string(r.body), " \t\r\n") // RFC 8555 section 8.3: white space at the end does not count
	if body != req.Expected() {
		f.Observed = cut(body, maxObserved)
		return nil, Fail, refuse("http.body", "the body at %s is not the key authorization %q; it begins with %q",
			at.Host, req.Expected(), cut(body, 100))
	}
	f.Observed = body
	return nil, Pass, nil
}

// fetch does one request: it looks up, checks, dials and reads, and writes down what it saw. The request has no
// cookies, no proxy, no compression, no Referer and no body; it holds the token and not the key authorization.
func (c *Checker) fetch(
	ctx context.Context, u *url.URL, req Request, f *DCVFinding, fetch *Fetch,
) (*response, Outcome, *Problem) {
	started := time.Now()
	defer func() { fetch.Milliseconds = milliseconds(started) }()
	port, ok := authorizedPort(u)
	if !ok {
		return nil, Fail, refuse("http.port", "%s is not on an Authorized Port", u.Host)
	}
	considered, outcome, problem := c.addresses(ctx, u.Hostname(), f)
	fetch.Considered = addrTexts(considered)
	if problem != nil {
		return nil, outcome, problem
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.HopTimeout)
	defer cancel()
	conn, at, problem := c.dial(ctx, considered, port)
	fetch.Address = at.String()
	if problem != nil {
		return nil, Error, problem
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok { // net/http lets go of a connection whose protocol is switched: then no ctx ends a read
		conn.SetDeadline(end)
	}
	r, err := c.exchange(ctx, conn, u, bodyLimit(req), fetch)
	if err != nil {
		outcome, problem = broken(u, err)
		return nil, outcome, problem
	}
	return r, 0, nil
}

func bodyLimit(req Request) int64 { return int64(len(req.KeyAuthorization) + bodySlack) }

// exchange sends one GET over conn and reads the response within its limits.
func (c *Checker) exchange(
	ctx context.Context, conn net.Conn, u *url.URL, limit int64, fetch *Fetch,
) (*response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	request.Header = http.Header{"User-Agent": {c.config.Software}, "Accept": {"*/*"}, "Accept-Encoding": {"identity"}}
	request.Close = true
	transport := oneConnection(conn, u.Hostname())
	defer transport.CloseIdleConnections()
	got, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer got.Body.Close()
	r := &response{status: got.StatusCode, locations: got.Header.Values("Location")}
	fetch.Status, fetch.ContentType = r.status, cut(got.Header.Get("Content-Type"), 200)
	fetch.Location = cut(strings.Join(r.locations, ", "), maxLocation)
	if got.TLS != nil && len(got.TLS.PeerCertificates) > 0 {
		fetch.Certificate = fingerprint(got.TLS.PeerCertificates[0].Raw)
	}
	if r.status < 200 || r.status >= 300 && r.status < 400 {
		return r, nil // a redirect's body is nobody's business, and behind a switch of protocols (101) stands none that ends
	}
	r.body, r.cutShort = io.ReadAll(io.LimitReader(got.Body, limit+1))
	r.tooLong = int64(len(r.body)) > limit
	fetch.Bytes, fetch.Body = len(r.body), cut(string(r.body), maxObserved)
	return r, nil
}

// oneConnection makes a transport that speaks over conn, and cannot dial. Certificates are not verified: the applicant
// has none yet (RFC 8555 section 8.3, 10.2); what counts is which address answered.
func oneConnection(conn net.Conn, host string) *http.Transport {
	once := make(chan net.Conn, 1)
	once <- conn
	return &http.Transport{
		Proxy: nil, // never from the environment (D9)
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errors.New("va: a second connection for one request")
			}
		},
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true, ServerName: host, MinVersion: tls.VersionTLS12},
		DisableCompression:     true, // D11: nothing is unpacked
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeaders,
	}
}

// broken maps the error of an exchange.
func broken(u *url.URL, err error) (Outcome, *Problem) {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, os.ErrDeadlineExceeded) {
		return Error, refuse("http.timeout", "the response of %s was not complete in time", u.Host)
	}
	return Error, refuse("http.broken", "%s gave no acceptable HTTP response: %s", u.Host, cut(err.Error(), 300))
}

func fingerprint(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// milliseconds measures; what it gives decides nothing, so that it may read the machine's clock.
func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }
