package draft

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token   = "DGyRejmCefe7v4NfDGDKfA"
	keyAuth = token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
	secret  = "the-key-of-the-gate"
	// permits is the RDATA of `0 issue "ca.example"`, and forbids of `0 issue "other.example"`.
	permits = "AAVpc3N1ZWNhLmV4YW1wbGU="
	forbids = "AAVpc3N1ZW90aGVyLmV4YW1wbGU="
)

func probe(change ...func(*va.Probe)) va.Probe {
	p := va.Probe{Attempt: "ATTEMPT1", Nonce: "00112233", Deadline: time.Now().Add(20 * time.Second), Request: va.Request{
		Identifier: "www.example.com", Method: va.HTTP01, Token: token, KeyAuthorization: keyAuth, TokenCreated: time.Now(),
		AccountURI: "https://ca.example/acct/1", Issuers: []string{"ca.example"}}}
	for _, f := range change {
		f(&p)
	}
	return p
}

func dcvAlone(p *va.Probe) { p.DCVAlone = true }
func caaAlone(p *va.Probe) {
	p.CAAAlone = true
	p.Request = va.Request{Identifier: p.Request.Identifier, Issuers: p.Request.Issuers}
}
func byDNS(p *va.Probe) { p.Request.Method = va.DNS01 }

// service is a service of the draft on a socket of its own, with three perspectives.
type service struct {
	t      *testing.T
	server *httptest.Server
	client *Service
	asked  atomic.Int32
}

func newService(t *testing.T, handler http.HandlerFunc, change ...func(*ServiceConfig)) *service {
	s := &service{t: t}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		handler(w, r)
	}))
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	sum := sha256.Sum256(s.server.Certificate().RawSubjectPublicKeyInfo)
	c := ServiceConfig{Key: secret, Logger: slog.New(slog.DiscardHandler), Now: time.Now}
	for _, name := range []string{"new-york", "frankfurt", "lisbon"} {
		c.Members = append(c.Members, mpic.Member{Name: name, Code: map[string]string{"new-york": "jfk", "frankfurt": "fra"}[name],
			URL: s.server.URL + "/staging", TLSKey: hex.EncodeToString(sum[:]), Protocol: mpic.Draft00})
	}
	for _, f := range change {
		f(&c)
	}
	var err error
	s.client, err = NewService(c)
	require.NoError(t, err)
	t.Cleanup(s.client.Close)
	return s
}

// saying answers with a text by the method asked for.
func saying(byMethod map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var q map[string]any
		if json.Unmarshal(body, &q) != nil {
			http.Error(w, "no JSON", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		method, _ := q["method"].(string)
		_, _ = io.WriteString(w, byMethod[method]) // the client sees what is missing
	}
}

func (s *service) all(p va.Probe) []mpic.Attestation {
	remotes := s.client.Remotes()
	out := make([]mpic.Attestation, len(remotes))
	var each sync.WaitGroup
	for i, r := range remotes {
		each.Go(func() { out[i] = r.Attest(s.t.Context(), p) })
	}
	each.Wait()
	for i, a := range out {
		require.Equal(s.t, remotes[i].Member().Name, a.Perspective)
		require.False(s.t, a.Asked.IsZero() || a.Closed.Before(a.Asked))
		require.Equal(s.t, a.State == mpic.Answered, a.Problem == nil)
		require.Equal(s.t, a.State == mpic.Answered, a.Statement != nil)
	}
	return out
}

const (
	good    = `{"success": true, "perspectives": {"jfk": {"success": true}, "fra": {"success": true}, "lisbon": {"success": true}}}`
	goodCAA = `{"success": true, "caa": {"domain": "example.com", "records": ["` + permits + `"]}, "perspectives":
		{"jfk": {"success": true}, "fra": {"success": true}, "lisbon": {"success": true}}}`
)

// Holds: MPIC-08, MPIC-09
func TestServiceIsAskedOncePerCheckAndProbe(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+secret || r.URL.Path != "/staging/mpic/draft-00" || r.Header.Get("Content-Type") != "application/json" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		saying(map[string]string{methodHTTP: good, methodDNS: good, methodCAA: goodCAA})(w, r)
	})
	for name, c := range map[string]struct {
		change func(*va.Probe)
		sent   []string
	}{
		"both by http-01": {func(*va.Probe) {}, []string{
			`{"caa_check":false,"domain_or_ip":"www.example.com","key_authorization":"` + keyAuth + `","method":"http-acme","token":"` + token + `"}`,
			`{"domain":"www.example.com","method":"caa"}`}},
		"dns-01 alone, of a wildcard": {func(p *va.Probe) { byDNS(p); dcvAlone(p); p.Request.Identifier = "*.example.com" }, []string{
			`{"caa":false,"domain":"example.com","expected":"` + probe(byDNS).Request.Expected() + `","method":"dns","prefix":"_acme-challenge","record-type":"TXT"}`}},
		"CAA alone": {caaAlone, []string{`{"domain":"www.example.com","method":"caa"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			before := s.asked.Load()
			p := probe(c.change)
			for _, a := range s.all(p) {
				require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
				require.Equal(t, p.Digest(), a.Statement.Digest)
				require.Len(t, a.Statement.Exchanges, len(c.sent))
				for i, x := range a.Statement.Exchanges {
					require.Equal(t, c.sent[i], x.Sent)
					require.Equal(t, 200, x.Status)
					require.False(t, x.Started.IsZero() || x.Finished.Before(x.Started))
				}
				require.Equal(t, p.CAAAlone, a.Statement.DCV == nil)
				require.Equal(t, p.DCVAlone, a.Statement.CAA == nil)
				for _, said := range []*mpic.Said{a.Statement.DCV, a.Statement.CAA} {
					if said != nil {
						require.Equal(t, va.Pass, said.Outcome, "%v", said.Problem)
					}
				}
				again, err := Read(member1(s, a.Perspective), p, a.Statement.Exchanges)
				require.NoError(t, err)
				require.Equal(t, *a.Statement, again, "an auditor reads the same")
			}
			require.EqualValues(t, len(c.sent), s.asked.Load()-before)
			other := p
			other.Nonce = "ff"
			s.all(other)
			require.EqualValues(t, 2*len(c.sent), s.asked.Load()-before, "another probe is asked anew, F5")
		})
	}
}

func member1(s *service, name string) mpic.Member {
	for _, r := range s.client.Remotes() {
		if r.Member().Name == name {
			return r.Member()
		}
	}
	return mpic.Member{}
}

// TestF1_TheServicesOwnVerdictIsIgnored: what counts is what is told of each perspective.
//
// Holds: F1, F6, MPIC-10, MPIC-11
func TestF1_TheServicesOwnVerdictIsIgnored(t *testing.T) {
	perspectives := `"perspectives": {"jfk": {"success": %v}, "fra": {"success": false}, "lisbon": {"success": false}}`
	for name, c := range map[string]struct {
		dcv, caa         string
		wantDCV, wantCAA va.Outcome
		code             string
	}{
		"success of nobody":       {`{"success": true, ` + fmt.Sprintf(perspectives, false) + `}`, goodCAA, va.Fail, va.Pass, ""},
		"failure in spite of one": {`{"success": false, "error": "x", ` + fmt.Sprintf(perspectives, true) + `}`, goodCAA, va.Pass, va.Pass, ""},
		"records that forbid":     {good, strings.ReplaceAll(goodCAA, permits, forbids), va.Pass, va.Fail, "caa.forbidden"},
		"no records at all":       {good, good, va.Pass, va.Error, "perspective.no-records"},
		"none, and it is told":    {good, strings.Replace(strings.ReplaceAll(goodCAA, `"`+permits+`"`, ""), `"domain": "example.com", `, "", 1), va.Pass, va.Pass, ""},
		"records of another name": {good, strings.ReplaceAll(goodCAA, "example.com", "ample.com"), va.Pass, va.Error, "perspective.no-records"},
		"records of a child":      {good, strings.ReplaceAll(goodCAA, "example.com", "a.www.example.com"), va.Pass, va.Error, "perspective.no-records"},
		"CAA of nobody":           {good, strings.ReplaceAll(goodCAA, `"jfk": {"success": true}`, `"jfk": {"success": false}`), va.Pass, va.Error, "perspective.failed"},
		"a critical tag":          {good, strings.ReplaceAll(goodCAA, permits, base64.StdEncoding.EncodeToString([]byte("\x80\x03tbsx"))), va.Pass, va.Fail, "caa.critical"},
		"a quote in the value":    {good, strings.ReplaceAll(goodCAA, permits, base64.StdEncoding.EncodeToString([]byte("\x00\x05issueca.example\";\\\n"))), va.Pass, va.Fail, "caa.malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, saying(map[string]string{methodHTTP: c.dcv, methodCAA: c.caa}))
			a := s.all(probe())[0]
			require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
			require.Equal(t, c.wantDCV, a.Statement.DCV.Outcome)
			require.Equal(t, c.wantCAA, a.Statement.CAA.Outcome, "%v", a.Statement.CAA.Problem)
			if c.code != "" {
				require.Equal(t, c.code, a.Statement.CAA.Problem.Code)
			}
			for _, said := range []*mpic.Said{a.Statement.DCV, a.Statement.CAA} {
				require.Equal(t, said.Outcome == va.Pass, said.Problem == nil)
				require.Equal(t, "jfk", said.Perspective)
			}
		})
	}
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body) // the client sees what is missing
	}
}

// Holds: MPIC-08, F6, F9
func TestHostileServices(t *testing.T) {
	elsewhere := httptest.NewTLSServer(text(good))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		state   mpic.State
		code    string
		says    string
	}{
		"HTML": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, good)
		},
			mpic.Rejected, "garbage", "text/html"},
		"no content type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, good)
		}, mpic.Rejected, "garbage", `""`},
		"a status": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = io.WriteString(w, good) }, mpic.Rejected, "status", "500"},
		"a switch": {switched, mpic.Rejected, "status", "101"},
		"created":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); _, _ = io.WriteString(w, good) }, mpic.Rejected, "status", "201"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
			mpic.Rejected, "status", "307"},
		"a large body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"success":true,"error":"`)
			for range 1600 {
				if _, err := io.WriteString(w, strings.Repeat("x", 64<<10)); err != nil {
					return
				}
			}
		}, mpic.Rejected, "too-large", "65536"},
		"a body that breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, good)
		}, mpic.Unreachable, "unreachable", "broke"},
		"large headers":         {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) }, mpic.Unreachable, "unreachable", ""},
		"no UTF-8":              {text(strings.Replace(good, "jfk", "jf\xff", 1)), mpic.Rejected, "garbage", "UTF-8"},
		"nothing":               {text(""), mpic.Rejected, "garbage", "too early"},
		"half":                  {text(good[:40]), mpic.Rejected, "garbage", "too early"},
		"a list":                {text("[" + good + "]"), mpic.Rejected, "garbage", "not a JSON object"},
		"two objects":           {text(good + good), mpic.Rejected, "garbage", "follows"},
		"deep":                  {text(strings.Repeat("[", 1000)), mpic.Rejected, "garbage", "deeper"},
		"no success":            {text(strings.Replace(good, `"success": true, "p`, `"p`, 1)), mpic.Rejected, "garbage", "success"},
		"success as a text":     {text(strings.Replace(good, "true", `"true"`, 1)), mpic.Rejected, "garbage", "success"},
		"Success":               {text(strings.Replace(good, `"success"`, `"Success"`, 1)), mpic.Rejected, "garbage", "success"},
		"no perspectives":       {text(`{"success": true}`), mpic.Rejected, "garbage", "perspectives"},
		"a list of them":        {text(`{"success": true, "perspectives": ["jfk", "fra", "lisbon"]}`), mpic.Rejected, "garbage", "perspectives"},
		"true for one":          {text(`{"success": true, "perspectives": {"jfk": true}}`), mpic.Rejected, "garbage", "jfk"},
		"one as a number":       {text(`{"success": true, "perspectives": {"jfk": {"success": 1}}}`), mpic.Rejected, "garbage", "jfk"},
		"nobody":                {text(`{"success": true, "perspectives": {}}`), mpic.Rejected, "garbage", `does not tell of the perspective "jfk"`},
		"by our own name":       {text(strings.Replace(good, "jfk", "new-york", 1)), mpic.Rejected, "stranger", "new-york"},
		"in capitals":           {text(strings.Replace(good, "jfk", "JFK", 1)), mpic.Rejected, "stranger", "JFK"},
		"a stranger":            {text(strings.Replace(good, `"jfk"`, `"lhr": {"success": true}, "jfk"`, 1)), mpic.Rejected, "stranger", "lhr"},
		"a perspective twice":   {text(strings.Replace(good, `"fra"`, `"jfk": {"success": false}, "fra"`, 1)), mpic.Rejected, "garbage", "twice"},
		"a verdict twice":       {text(strings.Replace(good, `{"success": true}`, `{"success": false, "success": true}`, 1)), mpic.Rejected, "garbage", "twice"},
		"an escaped duplicate":  {text(strings.Replace(good, `"fra"`, `"\u006afk": {"success": true}, "fra"`, 1)), mpic.Rejected, "garbage", "twice"},
		"many perspectives":     {text(`{"success": true, "perspectives": {` + strings.Repeat(`"x%": {"success": true},`, 1) + manyPerspectives() + `}}`), mpic.Rejected, "garbage", "perspectives"},
		"error as a number":     {text(strings.Replace(good, "{", `{"error": 5, `, 1)), mpic.Rejected, "garbage", "error"},
		"caa as a text":         {text(strings.Replace(good, "{", `{"caa": "x", `, 1)), mpic.Rejected, "garbage", "caa"},
		"records as a text":     {text(strings.Replace(good, "{", `{"caa": {"records": "x"}, `, 1)), mpic.Rejected, "garbage", "caa.records"},
		"records, no base64":    {text(strings.Replace(good, "{", `{"caa": {"domain": "example.com", "records": ["%"]}, `, 1)), mpic.Rejected, "garbage", "base64"},
		"records, not one":      {text(strings.Replace(good, "{", `{"caa": {"domain": "example.com", "records": ["AAU="]}, `, 1)), mpic.Rejected, "garbage", "no CAA record"},
		"records, a tag":        {text(strings.Replace(good, "{", `{"caa": {"domain": "example.com", "records": ["AAEgeA=="]}, `, 1)), mpic.Rejected, "garbage", "tag"},
		"records, no domain":    {text(strings.Replace(good, "{", `{"caa": {"records": ["`+permits+`"]}, `, 1)), mpic.Rejected, "garbage", "caa.domain"},
		"records, a bad domain": {text(strings.Replace(good, "{", `{"caa": {"domain": "a b", "records": ["`+permits+`"]}, `, 1)), mpic.Rejected, "garbage", "caa.domain"},
		"a domain, no text":     {text(strings.Replace(good, "{", `{"caa": {"domain": 5, "records": []}, `, 1)), mpic.Rejected, "garbage", "caa.domain"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, c.handler)
			for _, a := range s.all(probe(dcvAlone))[:1] {
				require.Equal(t, c.state, a.State, "%v", a.Problem)
				require.Equal(t, "perspective."+c.code, a.Problem.Code, a.Problem.Detail)
				require.Contains(t, a.Problem.Detail, c.says)
			}
		})
	}
}

// switched answers as if the protocol had been switched, and then says nothing more, nor ends.
func switched(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
	_, _ = io.Copy(io.Discard, c) // until the client goes
}

func manyPerspectives() string {
	var all []string
	for i := range maxPerspectives + 1 {
		all = append(all, fmt.Sprintf(`"p%d": {"success": true}`, i))
	}
	return strings.Join(all, ",")
}

// Holds: MPIC-08, F9
func TestF9_AnotherAnswersForTheService(t *testing.T) {
	var said strings.Builder
	s := newService(t, text(good), func(c *ServiceConfig) {
		c.Logger = slog.New(slog.NewTextHandler(&said, nil))
		for i := range c.Members {
			c.Members[i].TLSKey = strings.Repeat("ab", 32)
		}
	})
	for _, a := range s.all(probe(dcvAlone)) {
		require.Equal(t, mpic.Rejected, a.State)
		require.Equal(t, "perspective.identity", a.Problem.Code)
	}
	require.Zero(t, s.asked.Load(), "the key was not shown to it")
	require.Contains(t, said.String(), "another answers for a service")

	unpinned := func(roots func() *x509.CertPool) func(*ServiceConfig) {
		return func(c *ServiceConfig) {
			for i := range c.Members {
				c.Members[i].TLSKey = ""
			}
			c.Roots = roots()
		}
	}
	s = newService(t, text(good), unpinned(x509.NewCertPool))
	a := s.all(probe(dcvAlone))[0]
	require.Equal(t, mpic.Rejected, a.State)
	require.Equal(t, "perspective.identity", a.Problem.Code)

	other := httptest.NewUnstartedServer(nil)
	other.StartTLS() // httptest's servers have one certificate
	defer other.Close()
	s = newService(t, text(good), unpinned(func() *x509.CertPool {
		pool := x509.NewCertPool()
		pool.AddCert(other.Certificate())
		return pool
	}))
	require.Equal(t, mpic.Answered, s.all(probe(dcvAlone))[0].State)
}

func TestServiceThatIsSlowOrGone(t *testing.T) {
	release := make(chan struct{})
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		<-release
	})
	defer close(release)
	p := probe(dcvAlone, func(p *va.Probe) { p.Deadline = time.Now().Add(300 * time.Millisecond) })
	for _, a := range s.all(p) {
		require.Equal(t, mpic.TimedOut, a.State)
		require.Equal(t, "perspective.timeout", a.Problem.Code)
	}

	// One of three is not waited for any more: the others' question goes on, and ends with the last.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	remotes := s.client.Remotes()
	p = probe(dcvAlone)
	c := s.client.join(p, time.Minute)
	a := remotes[0].Attest(ctx, p)
	require.Equal(t, mpic.TimedOut, a.State)
	select {
	case <-c.done:
		t.Fatal("it was ended while another waited")
	default:
	}
	s.client.leave(p, c)
	<-c.done
	require.Equal(t, mpic.TimedOut, c.failure.state)

	gone := newService(t, text(good))
	gone.server.Close()
	require.Equal(t, mpic.Unreachable, gone.all(probe(dcvAlone))[0].State)
	alpn := gone.all(probe(dcvAlone, func(p *va.Probe) { p.Request.Method = va.TLSALPN01 }))[0]
	require.Equal(t, mpic.Unreachable, alpn.State)
	require.Equal(t, "perspective.method", alpn.Problem.Code)
}

func TestCallsAreForgotten(t *testing.T) {
	s := newService(t, text(good))
	p := probe(dcvAlone, func(p *va.Probe) { p.Deadline = time.Now().Add(50 * time.Millisecond) })
	s.all(p)
	require.Eventually(t, func() bool {
		s.client.mu.Lock()
		defer s.client.mu.Unlock()
		return len(s.client.calls) == 0
	}, 10*time.Second, 10*time.Millisecond)
}

// Holds: MPIC-05, MPIC-08
func TestNewServiceRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*ServiceConfig)
		says  string
	}{
		"no members":       {func(c *ServiceConfig) { c.Members = nil }, "no members"},
		"no clock":         {func(c *ServiceConfig) { c.Now = nil }, "no clock"},
		"plain text":       {func(c *ServiceConfig) { c.Members[0].URL = "http://a.example" }, "not https"},
		"a query":          {func(c *ServiceConfig) { c.Members[0].URL = "https://a.example?x" }, "not https"},
		"another URL":      {func(c *ServiceConfig) { c.Members[1].URL = "https://b.example" }, "does not stand behind"},
		"another key":      {func(c *ServiceConfig) { c.Members[1].TLSKey = "" }, "does not stand behind"},
		"another protocol": {func(c *ServiceConfig) { c.Members[1].Protocol = mpic.Native }, "does not stand behind"},
		"one code twice":   {func(c *ServiceConfig) { c.Members[1].Code = "lisbon" }, `the code "lisbon"`},
		"no TLS key":       {func(c *ServiceConfig) { c.Members = c.Members[:1]; c.Members[0].TLSKey = "AB" }, "the TLS key"},
		"no API key":       {func(c *ServiceConfig) { c.Key = "" }, "the key for the service"},
		"a key of lines":   {func(c *ServiceConfig) { c.Key = "a\r\nX: y" }, "the key for the service"},
	} {
		t.Run(name, func(t *testing.T) {
			config := newService(t, text(good)).client.config
			c.spoil(&config)
			_, err := NewService(config)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// TestReadHoldsExchangesToTheProbe: a statement is of what was asked, where it was asked.
//
// Holds: MPIC-09, REC-04
func TestReadHoldsExchangesToTheProbe(t *testing.T) {
	s := newService(t, saying(map[string]string{methodHTTP: good, methodDNS: good, methodCAA: goodCAA}))
	p := probe()
	sound := s.all(p)[0].Statement.Exchanges
	m := s.client.config.Members[0]
	for name, c := range map[string]struct {
		change func(*mpic.Member, *va.Probe, []mpic.Exchange) []mpic.Exchange
		says   string
	}{
		"one missing": {func(_ *mpic.Member, _ *va.Probe, x []mpic.Exchange) []mpic.Exchange { return x[:1] }, "1 exchanges"},
		"another order": {func(_ *mpic.Member, _ *va.Probe, x []mpic.Exchange) []mpic.Exchange {
			x[0], x[1] = x[1], x[0]
			return x
		}, "what was sent"},
		"another service": {func(m *mpic.Member, _ *va.Probe, x []mpic.Exchange) []mpic.Exchange {
			m.URL = "https://a.example"
			return x
		}, "was to be asked"},
		"another status": {func(_ *mpic.Member, _ *va.Probe, x []mpic.Exchange) []mpic.Exchange { x[0].Status = 500; return x }, "status 500"},
		"another name": {func(_ *mpic.Member, p *va.Probe, x []mpic.Exchange) []mpic.Exchange {
			p.Request.Identifier = "example.org"
			return x
		}, "domain_or_ip"},
		"another token": {func(_ *mpic.Member, p *va.Probe, x []mpic.Exchange) []mpic.Exchange {
			p.Request.Token = "other"
			return x
		}, "token"},
		"another method": {func(_ *mpic.Member, p *va.Probe, x []mpic.Exchange) []mpic.Exchange { byDNS(p); return x }, "what was sent"},
		"no method for it": {func(_ *mpic.Member, p *va.Probe, x []mpic.Exchange) []mpic.Exchange {
			p.Request.Method = va.TLSALPN01
			return x
		}, "no method"},
		"something more": {func(_ *mpic.Member, _ *va.Probe, x []mpic.Exchange) []mpic.Exchange {
			x[1].Sent = `{"method":"caa","domain":"www.example.com","x":1}`
			return x
		}, "3 members"},
		"sent, no JSON":     {func(_ *mpic.Member, _ *va.Probe, x []mpic.Exchange) []mpic.Exchange { x[1].Sent = `{`; return x }, "too early"},
		"another's code":    {func(m *mpic.Member, _ *va.Probe, x []mpic.Exchange) []mpic.Exchange { m.Code = "lhr"; return x }, "lhr"},
		"received, garbage": {func(_ *mpic.Member, _ *va.Probe, x []mpic.Exchange) []mpic.Exchange { x[1].Received = "{}"; return x }, "not in the draft's form"},
	} {
		t.Run(name, func(t *testing.T) {
			member, probe, x := m, p, append([]mpic.Exchange(nil), sound...)
			_, err := Read(member, probe, x)
			require.NoError(t, err)
			x = c.change(&member, &probe, x)
			_, err = Read(member, probe, x)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// TestRecordsGoBothWays: what the server tells is what the client reads.
func TestRecordsGoBothWays(t *testing.T) {
	for _, value := range []string{"ca.example", "", ";", "ca.example; accounturi=https://ca.example/acct/1"} {
		text := "example.com.\t0\tIN\tCAA\t128 issue \"" + value + "\""
		data, err := rdata(text)
		require.NoError(t, err)
		raw, err := base64.StdEncoding.DecodeString(data)
		require.NoError(t, err)
		require.Equal(t, "\x80\x05issue"+value, string(raw))
		again, err := present("example.com", raw)
		require.NoError(t, err)
		require.Equal(t, text, again)
	}
	for _, text := range []string{"no record", "example.com.\t0\tIN\tCAA\t0 issue \"a\\;b\""} {
		_, err := rdata(text)
		require.Error(t, err)
	}
}

// Holds: REC-06
func TestReadWithoutTokens(t *testing.T) {
	s := newService(t, saying(map[string]string{methodHTTP: good, methodDNS: good, methodCAA: goodCAA}))
	for _, change := range []func(*va.Probe){func(*va.Probe) {}, byDNS} {
		p := probe(change)
		whole := *s.all(p)[0].Statement
		mask := func(text, by string) string {
			return strings.NewReplacer(keyAuth, "[sha256:a"+by+"]", token, "[sha256:b"+by+"]", p.Request.Expected(), "[sha256:c"+by+"]").Replace(text)
		}
		p.Request.Token, p.Request.KeyAuthorization = mask(token, "1"), mask(keyAuth, "1")
		whole.Exchanges[0].Sent = mask(whole.Exchanges[0].Sent, "2")
		again, err := Read(s.client.config.Members[0], p, whole.Exchanges)
		require.NoError(t, err)
		whole.Digest = again.Digest // that of the whole request
		require.Equal(t, whole, again)
		whole.Exchanges[0].Sent = strings.Replace(whole.Exchanges[0].Sent, "www.example.com", "example.org", 1)
		_, err = Read(s.client.config.Members[0], p, whole.Exchanges)
		require.Error(t, err)
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{good, goodCAA, "{}", `{"success":true,"perspectives":{"a":{"success":true}},"caa":{"records":["AAEgeA=="]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := readReply(text)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(r.records), maxRecords)
		for _, record := range r.records { // each is a record, whatever it says
			_, problem := va.EvaluateCAA([]string{record}, probe().Request)
			require.False(t, problem != nil && strings.Contains(problem.Detail, "is not a CAA record"), record)
		}
	})
}
