package rest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

const (
	keyOne = "the-first-key"
	keyTwo = "the-second-key"
)

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// gate is a Validator and the Records behind it, for tests: it hands back what the test puts in.
type gate struct {
	validate  func(ctx context.Context, kind mpic.Kind, caller string, req va.Request) (mpic.Result, error)
	records   map[string]Record
	unready   error
	published string
	broken    error
	reading   func() // if not nil, called by Record

	mu    sync.Mutex
	asked []va.Request
	by    []string
}

func (g *gate) Validate(ctx context.Context, kind mpic.Kind, caller string, req va.Request) (mpic.Result, error) {
	g.mu.Lock()
	g.asked, g.by = append(g.asked, req), append(g.by, kind.String()+" "+caller)
	g.mu.Unlock()
	if g.validate == nil {
		return refusedResult(caller, req), nil
	}
	return g.validate(ctx, kind, caller, req)
}

func (g *gate) Record(_ context.Context, key string) (Record, error) {
	if g.reading != nil {
		g.reading()
	}
	if g.broken != nil {
		return Record{}, g.broken
	}
	r, ok := g.records[key]
	if !ok {
		return Record{}, ErrNotFound
	}
	return r, nil
}

func (g *gate) Ready(context.Context) error { return g.unready }

func (g *gate) Checkpoint(context.Context) ([]byte, error) {
	switch {
	case g.broken != nil:
		return nil, g.broken
	case g.published == "":
		return nil, ErrNotFound
	}
	return []byte(g.published), nil
}

// refusedResult is what Judge makes of an attempt without a roster: a real decision, which no test can make otherwise.
func refusedResult(caller string, req va.Request) mpic.Result {
	e := mpic.Evidence{Attempt: mpic.Attempt{Kind: mpic.Issuance, Started: time.Date(2026, 11, 1, 12, 0, 0, 1e6, time.UTC), Caller: caller,
		Software: "test", Probe: va.Probe{Attempt: "ATTEMPT1", Nonce: "00", Request: req}}}
	return mpic.Result{Number: 7, Evidence: e, Decision: mpic.Judge(e)}
}

type fixture struct {
	t      *testing.T
	gate   *gate
	server *httptest.Server
	cert   tls.Certificate
}

func newFixture(t *testing.T, g *gate, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, gate: g, cert: clientCertificate(t)}
	c := Config{Validator: g, Records: g, Logger: slog.New(slog.DiscardHandler), Clients: []front.Client{
		{Name: "ra-1", APIKeySHA256: digestOf([]byte(keyOne)), CertificateKey: digestOf(f.cert.Leaf.RawSubjectPublicKeyInfo), InFlight: 1},
		{Name: "ra-2", APIKeySHA256: digestOf([]byte(keyTwo))},
	}}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	require.NoError(t, err)
	f.server = httptest.NewUnstartedServer(s)
	f.server.TLS = TLSConfig(nil)
	f.server.TLS.GetCertificate = nil // httptest has one of its own
	f.server.TLS.Certificates = nil
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	return f
}

// The newest checkpoint is everybody's to read.
//
// Holds: REC-06
func TestREC_06_TheCheckpointIsPublic(t *testing.T) {
	g := &gate{published: "ca.example/quorate\n0\n\n"}
	f := newFixture(t, g, nil)
	r := f.do(f.client(), "GET", "/v1/checkpoint", "", nil)
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, g.published, r.text)
	g.broken = errors.New("broken")
	require.Equal(t, 503, f.do(f.client(), "GET", "/v1/checkpoint", "", nil).StatusCode)
}

func clientCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// client gives the server's client, showing a certificate or none.
func (f *fixture) client(certificates ...tls.Certificate) *http.Client {
	transport := f.server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = certificates
	f.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// reply is an answer, with its body decoded.
type reply struct {
	*http.Response
	body map[string]any
	text string
}

func (f *fixture) do(client *http.Client, method, path, body string, headers map[string]string) reply {
	f.t.Helper()
	r, err := http.NewRequest(method, f.server.URL+path, strings.NewReader(body))
	require.NoError(f.t, err)
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	require.NoError(f.t, err)
	defer func() { require.NoError(f.t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(f.t, err)
	out := reply{Response: response, text: string(text)}
	if strings.Contains(response.Header.Get("Content-Type"), "json") {
		require.NoError(f.t, json.Unmarshal(text, &out.body))
	}
	return out
}

func (f *fixture) post(body string) reply {
	f.t.Helper()
	return f.do(f.client(), "POST", validations, body, map[string]string{"Authorization": "Bearer " + keyTwo, "Content-Type": "application/json"})
}

// good is a request in which nothing is wrong; with changes, it is one in which something is.
func good(changes map[string]any) string {
	m := map[string]any{
		"identifier": map[string]any{"type": "dns", "value": "example.com"}, "method": "http-01", "token": "tok", "key_authorization": "tok.thumb",
		"token_created": "2026-11-01T11:00:00.5+01:00", "account_uri": "https://ca.example/acct/1"}
	maps.Copy(m, changes)
	for k, v := range m {
		if v == "absent" {
			delete(m, k)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// requireProblem holds an answer to RFC 9457.
func requireProblem(t *testing.T, r reply, status int, code string) {
	t.Helper()
	require.Equal(t, status, r.StatusCode, r.text)
	require.Equal(t, "application/problem+json", r.Header.Get("Content-Type"))
	require.Equal(t, code, r.body["code"])
	require.Equal(t, "urn:quorate:problem:"+code, r.body["type"])
	require.EqualValues(t, status, r.body["status"])
	require.Equal(t, http.StatusText(status), r.body["title"])
	require.NotEmpty(t, r.body["detail"])
}

func TestRefusedValidationTellsAll(t *testing.T) {
	g := &gate{}
	f := newFixture(t, g, nil)
	r := f.post(good(nil))
	requireProblem(t, r, 422, "request.token")
	require.Equal(t, "refused", r.body["outcome"])
	require.Equal(t, "ATTEMPT1", r.body["attempt"])
	require.EqualValues(t, 7, r.body["number"])
	require.Equal(t, "rest:ra-2", r.body["caller"])
	require.Equal(t, "2026-11-01T12:00:00.001Z", r.body["started"], "UTC, RFC 3339, below a second (REC-03)")
	require.Equal(t, "/v1/validations/ATTEMPT1", r.Header.Get("Location"))
	require.Equal(t, "no-store", r.Header.Get("Cache-Control"))
	require.Equal(t, []string{"issuance rest:ra-2"}, g.by)
	require.Equal(t, va.Request{Identifier: "example.com", Method: va.HTTP01, Token: "tok", KeyAuthorization: "tok.thumb",
		TokenCreated: time.Date(2026, 11, 1, 10, 0, 0, 5e8, time.UTC), AccountURI: "https://ca.example/acct/1"}, g.asked[0])
}

// TestF7_CallersCannotLowerTheBar: whatever a request says about the how is refused, and nothing of it is carried out.
//
// Holds: F7, F1
func TestF7_CallersCannotLowerTheBar(t *testing.T) {
	g := &gate{}
	f := newFixture(t, g, nil)
	for _, member := range settled {
		t.Run(member, func(t *testing.T) {
			r := f.post(good(map[string]any{member: 1}))
			requireProblem(t, r, 400, "request.settled")
			require.Equal(t, "/"+member, r.body["errors"].([]any)[0].(map[string]any)["pointer"])
		})
	}
	require.Empty(t, g.asked)
}

func TestBadBodies(t *testing.T) {
	g := &gate{}
	f := newFixture(t, g, nil)
	for name, c := range map[string]struct{ body, code, pointer, detail string }{
		"empty":                   {"", "request.json", "", "empty or ends too early"},
		"cut off":                 {`{"method":`, "request.json", "", "ends too early"},
		"not JSON":                {"hello", "request.json", "", "not one JSON object"},
		"a list":                  {"[]", "request.json", "", "not one JSON object"},
		"null":                    {"null", "request.json", "", "not one JSON object"},
		"a text":                  {`"x"`, "request.json", "", "not one JSON object"},
		"two objects":             {good(nil) + good(nil), "request.json", "", "something follows"},
		"trailing text":           {good(nil) + "x", "request.json", "", "something follows"},
		"not UTF-8":               {good(map[string]any{"token": "TOKEN"})[:40] + "\xff", "request.json", "", "not UTF-8"},
		"too deep":                {`{"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, "request.json", "", "nest deeper"},
		"unknown member":          {good(map[string]any{"colour": "red"}), "request.unknown-member", "/colour", "known here: identifier"},
		"odd name":                {good(map[string]any{"a/b~c": "red"}), "request.unknown-member", "/a~1b~0c", ""},
		"unknown member, nested":  {good(map[string]any{"identifier": map[string]any{"type": "dns", "value": "a.b", "port": 1}}), "request.settled", "/identifier/port", ""},
		"other case":              {good(map[string]any{"Method": "http-01"}), "request.unknown-member", "/Method", ""},
		"twice":                   {strings.Replace(good(nil), `"method":`, `"method":"dns-01","method":`, 1), "request.duplicate", "/method", "twice"},
		"no identifier":           {good(map[string]any{"identifier": "absent"}), "request.missing", "/identifier", ""},
		"null identifier":         {good(map[string]any{"identifier": nil}), "request.missing", "/identifier", ""},
		"identifier as text":      {good(map[string]any{"identifier": "example.com"}), "request.type", "/identifier", "an object"},
		"identifier without type": {good(map[string]any{"identifier": map[string]any{"value": "a.b"}}), "request.missing", "/identifier/type", ""},
		"identifier of an IP":     {good(map[string]any{"identifier": map[string]any{"type": "ip", "value": "192.0.2.1"}}), "request.identifier-type", "/identifier/type", `"ip"`},
		"empty name":              {good(map[string]any{"identifier": map[string]any{"type": "dns", "value": ""}}), "request.missing", "/identifier/value", "empty"},
		"number as name":          {good(map[string]any{"identifier": map[string]any{"type": "dns", "value": 5}}), "request.type", "/identifier/value", "a text"},
		"no method":               {good(map[string]any{"method": "absent"}), "request.missing", "/method", ""},
		"other method":            {good(map[string]any{"method": "HTTP-01"}), "request.method", "/method", "http-01, dns-01, tls-alpn-01"},
		"method as list":          {good(map[string]any{"method": []any{"http-01", "dns-01"}}), "request.type", "/method", ""},
		"no token":                {good(map[string]any{"token": "absent"}), "request.missing", "/token", ""},
		"no key authorization":    {good(map[string]any{"key_authorization": "absent"}), "request.missing", "/key_authorization", ""},
		"no account":              {good(map[string]any{"account_uri": ""}), "request.missing", "/account_uri", ""},
		"no date":                 {good(map[string]any{"token_created": "absent"}), "request.missing", "/token_created", ""},
		"bad date":                {good(map[string]any{"token_created": "yesterday"}), "request.time", "/token_created", "RFC 3339"},
		"date as number":          {good(map[string]any{"token_created": 1793000000}), "request.type", "/token_created", ""},
		"year one":                {good(map[string]any{"token_created": "0001-01-01T00:00:00Z"}), "request.time", "/token_created", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.post(c.body)
			requireProblem(t, r, 400, c.code)
			require.Contains(t, r.body["detail"], c.detail)
			if c.pointer != "" {
				require.Equal(t, c.pointer, r.body["errors"].([]any)[0].(map[string]any)["pointer"])
			}
		})
	}
	t.Run("all that is wrong is told", func(t *testing.T) {
		r := f.post(`{}`)
		require.Len(t, r.body["errors"], 6)
	})
	require.Empty(t, g.asked, "nothing was validated")
}

func TestTransport(t *testing.T) {
	f := newFixture(t, &gate{}, nil)
	authorized := map[string]string{"Authorization": "Bearer " + keyTwo, "Content-Type": "application/json"}
	with := func(name, value string) map[string]string {
		m := maps.Clone(authorized)
		m[name] = value
		return m
	}
	for name, c := range map[string]struct {
		method, path, body string
		headers            map[string]string
		status             int
		code               string
	}{
		"no such path":        {"GET", "/v2", "", authorized, 404, "request.path"},
		"a path below one":    {"GET", "/v1/validations/1/2", "", authorized, 404, "request.path"},
		"the root":            {"GET", "/", "", authorized, 404, "request.path"},
		"list":                {"GET", "/v1/validations", "", authorized, 405, "request.verb"},
		"delete":              {"DELETE", "/v1/validations/1", "", authorized, 405, "request.verb"},
		"post to one":         {"POST", "/v1/validations/1", good(nil), authorized, 405, "request.verb"},
		"post a checkpoint":   {"POST", "/v1/checkpoint", "", nil, 405, "request.verb"},
		"no checkpoint yet":   {"GET", "/v1/checkpoint", "", nil, 404, "record.not-found"},
		"post to livez":       {"POST", "/livez", "", nil, 405, "request.verb"},
		"no content type":     {"POST", "/v1/validations", good(nil), with("Content-Type", ""), 415, "request.content-type"},
		"other content type":  {"POST", "/v1/validations", good(nil), with("Content-Type", "text/plain"), 415, "request.content-type"},
		"compressed":          {"POST", "/v1/validations", good(nil), with("Content-Encoding", "gzip"), 415, "request.content-encoding"},
		"too large":           {"POST", "/v1/validations", good(map[string]any{"token": strings.Repeat("x", maxBody)}), authorized, 413, "request.too-large"},
		"no such record":      {"GET", "/v1/validations/99", "", authorized, 404, "record.not-found"},
		"no key":              {"GET", "/v1/validations/", "", authorized, 404, "record.not-found"},
		"a very long key":     {"GET", "/v1/validations/" + strings.Repeat("9", 200), "", authorized, 404, "record.not-found"},
		"no credentials":      {"POST", "/v1/validations", good(nil), nil, 401, "client.credentials"},
		"other scheme":        {"POST", "/v1/validations", good(nil), map[string]string{"Authorization": "Basic " + keyTwo}, 401, "client.credentials"},
		"no key behind":       {"POST", "/v1/validations", good(nil), map[string]string{"Authorization": "Bearer"}, 401, "client.credentials"},
		"unknown key":         {"POST", "/v1/validations", good(nil), map[string]string{"Authorization": "Bearer guess"}, 401, "client.unknown"},
		"the digest as key":   {"POST", "/v1/validations", good(nil), map[string]string{"Authorization": "Bearer " + digestOf([]byte(keyTwo))}, 401, "client.unknown"},
		"x-api-key is no way": {"POST", "/v1/validations", good(nil), map[string]string{"X-Api-Key": keyTwo}, 401, "client.credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.do(f.client(), c.method, c.path, c.body, c.headers)
			requireProblem(t, r, c.status, c.code)
			if c.status == 401 {
				require.Contains(t, r.Header.Get("WWW-Authenticate"), "Bearer")
			}
			if c.status == 405 {
				require.NotEmpty(t, r.Header.Get("Allow"))
			}
		})
	}
	require.Empty(t, f.gate.asked)
}

func TestClientCertificates(t *testing.T) {
	f := newFixture(t, &gate{}, nil)
	typed := func(key string) map[string]string {
		h := map[string]string{"Content-Type": "application/json"}
		if key != "" {
			h["Authorization"] = "Bearer " + key
		}
		return h
	}
	t.Run("known", func(t *testing.T) {
		require.Equal(t, "rest:ra-1", f.do(f.client(f.cert), "POST", validations, good(nil), typed("")).body["caller"])
	})
	t.Run("known, with its own key", func(t *testing.T) {
		require.Equal(t, "rest:ra-1", f.do(f.client(f.cert), "POST", validations, good(nil), typed(keyOne)).body["caller"])
	})
	t.Run("known, with another's key", func(t *testing.T) {
		requireProblem(t, f.do(f.client(f.cert), "POST", validations, good(nil), typed(keyTwo)), 403, "client.conflict")
	})
	t.Run("known, with an unknown key", func(t *testing.T) {
		requireProblem(t, f.do(f.client(f.cert), "POST", validations, good(nil), typed("guess")), 401, "client.unknown")
	})
	t.Run("unknown, with a good key", func(t *testing.T) {
		requireProblem(t, f.do(f.client(clientCertificate(t)), "POST", validations, good(nil), typed(keyOne)), 403, "client.unknown")
	})
	t.Run("plain text", func(t *testing.T) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", validations, strings.NewReader(good(nil)))
		r.Header.Set("Authorization", "Bearer "+keyOne)
		f.server.Config.Handler.ServeHTTP(w, r)
		require.Equal(t, 403, w.Code)
		require.Contains(t, w.Body.String(), "client.channel")
	})
}

// TestREC_05_NoRecordNoAnswer: when the coordinator could not do its work, the answer is no, and internals stay inside.
//
// Holds: REC-05
func TestREC_05_NoRecordNoAnswer(t *testing.T) {
	inner := errors.New("disk /secret/path is full")
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
		retry  string
	}{
		"record":     {errors.Join(mpic.ErrRecord, inner), 503, "record.unwritten", "5"},
		"audit log":  {errors.Join(mpic.ErrAuditLog, inner), 503, "audit.unwritten", "5"},
		"closed":     {mpic.ErrClosed, 503, "gate.closing", "5"},
		"busy":       {fmt.Errorf("%w: %w", mpic.ErrBusy, inner), 503, "gate.overload", "2"},
		"shadow":     {mpic.ErrShadow, 503, "gate.shadow", ""},
		"request":    {mpic.ErrRequest, 400, "request.invalid", ""},
		"went away":  {context.Canceled, 503, "gate.overload", "2"},
		"unforeseen": {inner, 500, "gate.failed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, &gate{validate: func(context.Context, mpic.Kind, string, va.Request) (mpic.Result, error) {
				return mpic.Result{}, c.err
			}}, nil)
			r := f.post(good(nil))
			requireProblem(t, r, c.status, c.code)
			require.Equal(t, c.retry, r.Header.Get("Retry-After"))
			require.NotContains(t, r.text, "secret")
		})
	}
	t.Run("panic", func(t *testing.T) {
		f := newFixture(t, &gate{validate: func(context.Context, mpic.Kind, string, va.Request) (mpic.Result, error) { panic("secret") }}, nil)
		r := f.post(good(nil))
		requireProblem(t, r, 500, "gate.failed")
		require.NotContains(t, r.text, "secret")
	})
}

// TestZeroResultIsNoGrant: a Validator that says nothing has granted nothing (invariant 2).
func TestZeroResultIsNoGrant(t *testing.T) {
	f := newFixture(t, &gate{validate: func(context.Context, mpic.Kind, string, va.Request) (mpic.Result, error) {
		return mpic.Result{}, nil
	}}, nil)
	r := f.post(good(nil))
	require.NotEqual(t, http.StatusCreated, r.StatusCode)
}

func TestOverload(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	g := &gate{validate: func(_ context.Context, _ mpic.Kind, caller string, req va.Request) (mpic.Result, error) {
		entered <- struct{}{}
		<-leave
		return refusedResult(caller, req), nil
	}}
	f := newFixture(t, g, func(c *Config) { c.MaxInFlight = 1 })
	done := make(chan reply)
	one := map[string]string{"Authorization": "Bearer " + keyOne, "Content-Type": "application/json"}
	go func() { done <- f.do(f.client(), "POST", validations, good(nil), one) }()
	<-entered
	r := f.do(f.client(), "POST", validations, good(nil), one)
	requireProblem(t, r, 429, "client.overload")
	require.Equal(t, "1", r.Header.Get("Retry-After"))
	r = f.post(good(nil))
	requireProblem(t, r, 503, "gate.overload")
	require.Equal(t, "2", r.Header.Get("Retry-After"))
	close(leave)
	require.Equal(t, 422, (<-done).StatusCode)
	go func() { <-entered }()
	require.Equal(t, 422, f.do(f.client(), "POST", validations, good(nil), one).StatusCode, "the places are free again")
}

func TestRecordsAreTheirClientsAlone(t *testing.T) {
	mine := refusedResult("rest:ra-2", va.Request{Identifier: "*.example.com", Method: va.DNS01})
	decision := mine.Decision.Recorded()
	other := refusedResult("rest:ra-1", va.Request{Identifier: "example.com", Method: va.DNS01})
	g := &gate{records: map[string]Record{"7": {Number: 7, Evidence: mine.Evidence, Decision: &decision},
		"8": {Number: 8, Evidence: other.Evidence}, "9": {Number: 9, Evidence: mine.Evidence}}}
	f := newFixture(t, g, nil)
	get := func(key string) reply {
		return f.do(f.client(), "GET", validations+"/"+key, "", map[string]string{"Authorization": "Bearer " + keyTwo})
	}
	r := get("7")
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "refused", r.body["outcome"])
	require.Equal(t, map[string]any{"type": "dns", "value": "*.example.com"}, r.body["identifier"])
	require.Equal(t, "3.2.2.4.7", r.body["section"])
	requireProblem(t, get("8"), 404, "record.not-found")
	open := get("9").body
	require.Equal(t, "open", open["outcome"])
	for _, p := range open["perspectives"].([]any) {
		require.Equal(t, "pending", p.(map[string]any)["state"])
	}
	g.broken = errors.New("the disk is gone")
	requireProblem(t, get("7"), 503, "record.unreadable")
}

func TestHealth(t *testing.T) {
	g := &gate{}
	f := newFixture(t, g, nil)
	require.Equal(t, "ok\n", f.do(f.client(), "GET", "/livez", "", nil).text)
	require.Equal(t, "ok\n", f.do(f.client(), "GET", "/readyz", "", nil).text)
	g.unready = errors.New("secret")
	r := f.do(f.client(), "GET", "/readyz", "", nil)
	requireProblem(t, r, 503, "gate.not-ready")
	require.NotContains(t, r.text, "secret")
	require.Equal(t, 200, f.do(f.client(), "GET", "/livez", "", nil).StatusCode, "alive all the same")
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	g := &gate{}
	sum := digestOf([]byte(keyOne))
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no validator":  {func(c *Config) { c.Validator = nil }, "no validator"},
		"no records":    {func(c *Config) { c.Records = nil }, "no records"},
		"no logger":     {func(c *Config) { c.Logger = nil }, "no logger"},
		"in flight":     {func(c *Config) { c.MaxInFlight = -1 }, "-1 requests"},
		"no client":     {func(c *Config) { c.Clients = nil }, "nobody could ask"},
		"no name":       {func(c *Config) { c.Clients[0].Name = "" }, "its name is no name"},
		"same name":     {func(c *Config) { c.Clients = append(c.Clients, front.Client{Name: "a", APIKeySHA256: digestOf(nil)}) }, "another's"},
		"same key":      {func(c *Config) { c.Clients = append(c.Clients, front.Client{Name: "b", APIKeySHA256: sum}) }, "another's"},
		"no key":        {func(c *Config) { c.Clients[0].APIKeySHA256 = "" }, "no key to show who it is"},
		"no digest":     {func(c *Config) { c.Clients[0].APIKeySHA256 = keyOne }, "no SHA-256"},
		"no places":     {func(c *Config) { c.Clients[0].InFlight = -1 }, "-1 requests"},
		"no pin digest": {func(c *Config) { c.Clients[0].CertificateKey = "abcd" }, "no SHA-256"},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Validator: g, Records: g, Logger: slog.New(slog.DiscardHandler), Clients: []front.Client{{Name: "a", APIKeySHA256: sum}}}
			c.change(&config)
			_, err := New(config)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// FuzzDecode: no body makes the decoder panic, and what it takes has all fields, in one spelling.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(good(nil)))
	f.Add([]byte(`{"identifier":{"type":"dns","value":"a"},"method":"dns-01","method":"http-01"}`))
	f.Add([]byte(`{"a":[[[{}]]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, problem := decodeForm(body, (&front.Member{}).SpeaksFor, (*form).request)
		if problem != nil {
			require.Equal(t, http.StatusBadRequest, problem.Status)
			require.Equal(t, va.Request{}, req)
			return
		}
		require.NotEmpty(t, req.Identifier)
		require.NotEmpty(t, req.Token)
		require.NotEmpty(t, req.KeyAuthorization)
		require.NotEmpty(t, req.AccountURI)
		require.NotEmpty(t, req.Method.Section())
		require.Nil(t, req.Issuers)
		require.True(t, json.Valid(bytes.TrimSpace(body)))
	})
}
