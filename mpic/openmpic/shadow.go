package openmpic

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
)

// IncumbentConfig is the Open MPIC service that a Server in the shadow passes its requests on to.
type IncumbentConfig struct {
	// URL is what stands before /mpic and /v1/mpic: https://HOST[:PORT][/PATH].
	URL string
	// APIKey is sent in the field x-api-key. PassKey sends the caller's own key instead; one of both is needed.
	APIKey  string
	PassKey bool
	// Roots are the CAs of its certificate; nil for the system's. TLSKey, if set, is the SHA-256 of its public key in lower-case
	// hexadecimal, which the certificate must have too.
	Roots  *x509.CertPool
	TLSKey string
	// Timeout bounds one exchange; 0 means 60 s, at most 5 minutes.
	Timeout time.Duration
	// Shadow carries out our own attempts.
	Shadow *mpic.Shadow
}

const (
	defaultIncumbentTime = time.Minute
	// MostIncumbentTime is the longest Timeout.
	MostIncumbentTime = 5 * time.Minute
	// maxPassed is how long a request may be that is passed on, and how long its answer, in octets. A request that long is none
	// that we can read.
	maxPassed = 1 << 20
	// mostPassed is how many requests are passed on at a time, over all clients. No client's share counts: the bounds of our own work
	// are not to hold up what the incumbent would have answered.
	mostPassed = 1024
)

// Incumbent is another system that answers in this gate's place.
type Incumbent struct {
	config IncumbentConfig
	base   *url.URL
	client *http.Client
}

// NewIncumbent refuses a configuration that lacks something, or has too much. It opens no connection.
func NewIncumbent(c IncumbentConfig) (*Incumbent, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("openmpic: the incumbent's URL %q is not https://HOST[:PORT][/PATH]", c.URL)
	}
	switch {
	case c.Shadow == nil:
		return nil, errors.New("openmpic: there is nothing that decides in the incumbent's shadow")
	case c.PassKey == (c.APIKey != ""):
		return nil, errors.New("openmpic: the incumbent is shown either a key of its own or the caller's")
	case len(c.APIKey) > maxKey || !fieldValue(c.APIKey):
		return nil, fmt.Errorf("openmpic: the incumbent's API key is none of 1 to %d visible characters", maxKey)
	case c.Timeout < 0 || c.Timeout > MostIncumbentTime:
		return nil, fmt.Errorf("openmpic: %s for the incumbent's answer; at most %s are waited", c.Timeout, MostIncumbentTime)
	}
	if b, err := hex.DecodeString(c.TLSKey); c.TLSKey != "" && (err != nil || len(b) != sha256.Size || lower(c.TLSKey) != c.TLSKey) {
		return nil, fmt.Errorf("openmpic: the incumbent's TLS key %q is not the SHA-256 of a key in lower-case hexadecimal", c.TLSKey)
	}
	if c.Timeout == 0 {
		c.Timeout = defaultIncumbentTime
	}
	return &Incumbent{config: c, base: base, client: newHTTPClient(mpic.Member{Name: "the incumbent", TLSKey: c.TLSKey}, c.Roots)}, nil
}

// Close closes the kept connections.
func (i *Incumbent) Close() { i.client.CloseIdleConnections() }

// passedAnswer is what the incumbent said, as it came.
type passedAnswer struct {
	status int
	header http.Header
	body   []byte
}

// carried are the fields of a request that say how its body is to be read, and how the answer may be; told are those of an answer that do,
// and when to come again. The caller's Accept-Encoding stays behind: an answer that is packed could not be compared.
func carried() []string {
	return []string{"Content-Type", "Content-Encoding", "Accept"}
}
func told() []string { return []string{"Content-Type", "Content-Encoding", "Retry-After"} }

// pass passes a request on as it came, and gives the answer, whole. An error means that there is none.
func (i *Incumbent) pass(ctx context.Context, r *http.Request, body []byte) (a passedAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, i.config.Timeout)
	defer cancel()
	to := i.base.JoinPath(r.URL.Path)
	to.RawQuery = r.URL.RawQuery
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	for _, name := range carried() {
		if v := r.Header.Values(name); len(v) > 0 {
			out.Header[name] = v
		}
	}
	out.Header.Set("User-Agent", "quorate")
	out.Header.Set(keyField, i.config.APIKey)
	if i.config.PassKey {
		out.Header.Set(keyField, r.Header.Get(keyField))
	}
	response, err := i.client.Do(out)
	if err != nil {
		return a, err
	}
	if response.StatusCode < 200 { // none is a request's answer
		return a, errors.Join(fmt.Errorf("it answered with the status %d", response.StatusCode), response.Body.Close())
	}
	a = passedAnswer{status: response.StatusCode, header: response.Header}
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxPassed+1))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return a, fmt.Errorf("its answer did not come in full: %w", err)
	}
	if len(a.body) > maxPassed {
		return a, fmt.Errorf("its answer has more than %d octets", maxPassed)
	}
	return a, nil
}

// granted reads is_valid, and nothing else. An error tells why that was no answer to the question.
func (a passedAnswer) granted() (bool, error) {
	if a.status != http.StatusOK {
		return false, fmt.Errorf("it answered with the status %d", a.status)
	}
	o, err := readObject(a.body)
	if err != nil {
		return false, fmt.Errorf("its answer cannot be read: %w", err)
	}
	valid, ok := o["is_valid"].(bool)
	if !ok {
		return false, errors.New("its answer has no is_valid, or one that is neither true nor false")
	}
	return valid, nil
}

// write gives the answer as it came.
func (a passedAnswer) write(w http.ResponseWriter) error {
	h := w.Header()
	h["Content-Type"] = nil // none is made up where the incumbent gave none
	for _, name := range told() {
		if v := a.header.Values(name); len(v) > 0 {
			h[name] = v
		}
	}
	if len(a.body) > 0 {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	_, err := w.Write(a.body)
	return err
}

// inShadow passes a request on and answers with what the incumbent says, or with 502 where it says nothing. Beside it our own attempt
// runs; what comes of that goes to the record, the log and the metrics alone.
func (s *Server) inShadow(w http.ResponseWriter, r *http.Request, c *front.Member) *Problem {
	if p := s.posted(r); p != nil {
		return p
	}
	leave, no := s.clients.Place()
	if no != nil {
		return refused(no)
	}
	defer leave()
	body, no := front.Body(w, r, maxPassed, s.patience)
	if no != nil {
		return refused(no)
	}
	granted, err := false, errors.New("passing the request on broke down")
	answered := s.begin(r, c, body)
	defer func() { answered(granted, err) }()
	began := time.Now()
	a, err := s.incumbent.pass(r.Context(), r, body)
	log := s.log.With("client", c.Name, "path", r.URL.Path, "took", time.Since(began))
	if err != nil {
		log.ErrorContext(r.Context(), "the incumbent gave no answer", "error", err)
		return refusal(http.StatusBadGateway, "shadow.incumbent", "the system that answers in this gate's place gave no answer")
	}
	log.InfoContext(r.Context(), "passed the incumbent's answer on", "status", a.status)
	granted, err = a.granted()
	if err := a.write(w); err != nil {
		log.WarnContext(r.Context(), "writing the incumbent's answer", "error", err)
	}
	return nil
}

// begin begins our own attempt where the request is one that we can read.
func (s *Server) begin(r *http.Request, c *front.Member, body []byte) (answered func(bool, error)) {
	var q request
	var call mpic.Call
	var p *Problem
	if no := front.Described(r); no != nil {
		p = refused(no)
	} else {
		q, p = readRequest(body, []string{checkDCV, checkCAA}, true)
	}
	if p == nil {
		call, _, p = s.call(q, c)
	}
	if p != nil {
		s.incumbent.config.Shadow.Skip("openmpic:"+c.Name, q.trace, fmt.Errorf("%s: %s", p.Code, p.Detail))
		return func(bool, error) {}
	}
	call.Try = 1 // as without a shadow, so that a domain's cohort is the same
	return s.incumbent.config.Shadow.Begin(call)
}
