package pebble

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// site is a Server behind a real HTTPS socket.
type site struct {
	*Server
	t    testing.TB
	http *httptest.Server
	logs *logs
	desk *desk
}

type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// take gives what was logged since it was last called.
func (l *logs) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	return l.buf.String()
}

// start serves with a gate; change, if any, sees the configuration first. At the end of each test it looks whether
// Pebble's own VA was ever given anything to do.
func start(t testing.TB, validate validateFunc, change ...func(*Config)) *site {
	t.Helper()
	var s *site
	t.Cleanup(func() { // runs last: all is closed by then
		if s != nil {
			require.NotContains(t, s.logs.String(), vaWasAsked, "Pebble's own VA was asked")
		}
	})
	s = startUnwatched(t, validate, change...)
	return s
}

// vaWasAsked is what Pebble's VA logs for each validation (TestPebblesOwnVAFailsClosed).
const vaWasAsked = "Pulled a task from the Tasks queue"

func startUnwatched(t testing.TB, validate validateFunc, change ...func(*Config)) *site {
	t.Helper()
	h := httptest.NewUnstartedServer(nil)
	l := new(logs)
	c := Config{URL: "https://" + h.Listener.Addr().String(), Issuers: []string{"ca.quorate.test"},
		Logger: slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range change {
		f(&c)
	}
	d := new(desk)
	s, err := newServer(c, validate, d)
	require.NoError(t, err)
	h.Config.Handler = s
	h.Config.ErrorLog = slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug)
	h.StartTLS()
	t.Cleanup(func() {
		h.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(t, s.Close(ctx))
	})
	return &site{Server: s, t: t, http: h, logs: l, desk: d}
}

// settled waits until every validation and issuance that was begun has its outcome in the store.
func (s *site) settled() { s.work.Wait() }

// client speaks ACME as raw JWS, so that it can also speak it wrongly.
type client struct {
	*site
	key *ecdsa.PrivateKey
	kid string
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t testing.TB, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), into), a.body)
}

// problem is a problem document as a client reads it.
type problem struct {
	Type, Detail string
	Status       int
	Identifier   *struct{ Type, Value string }
	Subproblems  []problem
}

func (a answer) problem(t testing.TB) problem {
	t.Helper()
	require.Contains(t, a.header.Get("Content-Type"), "application/problem+json", a.body)
	var p problem
	a.json(t, &p)
	return p
}

type challenge struct {
	Type, URL, Token, Status, Validated string
	Error                               *problem
}

type authorization struct {
	Status     string
	Wildcard   bool
	Identifier struct{ Type, Value string }
	Challenges []challenge
}

func (a authorization) challenge(t testing.TB, kind string) challenge {
	t.Helper()
	for _, c := range a.Challenges {
		if c.Type == kind {
			return c
		}
	}
	require.Fail(t, "the authorization offers no "+kind)
	return challenge{}
}

type order struct {
	Status         string
	Error          *problem
	Authorizations []string
	Finalize       string
	Certificate    string
	url            string
}

func (s *site) newClient() *client {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	c := &client{site: s, key: key}
	a := c.post("/sign-me-up", `{"termsOfServiceAgreed":true}`)
	require.Equal(s.t, http.StatusCreated, a.status, a.body)
	c.kid = a.header.Get("Location")
	return c
}

// nonce fetches a fresh one.
func (s *site) nonce() string {
	s.t.Helper()
	resp, err := s.http.Client().Head(s.base.String() + "/nonce-plz")
	require.NoError(s.t, err)
	resp.Body.Close()
	return resp.Header.Get("Replay-Nonce")
}

// path brings a path into the form of a URL of the site.
func (s *site) path(p string) string {
	if p[0] == '/' {
		return s.base.String() + p
	}
	return p
}

// sign makes the JWS of a payload; "" is a POST-as-GET.
func (c *client) sign(url, nonce, payload string) string {
	c.t.Helper()
	options := &jose.SignerOptions{EmbedJWK: c.kid == "", ExtraHeaders: map[jose.HeaderKey]any{"url": url, "nonce": nonce}}
	key := jose.JSONWebKey{Key: c.key, KeyID: c.kid}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	require.NoError(c.t, err)
	jws, err := signer.Sign([]byte(payload))
	require.NoError(c.t, err)
	return jws.FullSerialize()
}

func (c *client) post(path, payload string) answer {
	c.t.Helper()
	return c.send(path, c.sign(c.path(path), c.nonce(), payload), nil)
}

// send posts a body as it is.
func (s *site) send(path, body string, change func(*http.Request)) answer {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.path(path), bytes.NewReader([]byte(body)))
	require.NoError(s.t, err)
	req.Header.Set("Content-Type", "application/jose+json")
	if change != nil {
		change(req)
	}
	resp, err := s.http.Client().Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (c *client) order(names ...string) order {
	c.t.Helper()
	type identifier struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	var body struct {
		Identifiers []identifier `json:"identifiers"`
	}
	for _, n := range names {
		body.Identifiers = append(body.Identifiers, identifier{"dns", n})
	}
	b, err := json.Marshal(body)
	require.NoError(c.t, err)
	a := c.post(newOrderPath, string(b))
	for range 5 { // as clients do: Pebble's dice take over an authorization in 1 of 100 cases
		if a.status != http.StatusBadRequest || a.problem(c.t).Type != "urn:ietf:params:acme:error:badNonce" {
			break
		}
		a = c.post(newOrderPath, string(b))
	}
	require.Equal(c.t, http.StatusCreated, a.status, a.body)
	var o order
	a.json(c.t, &o)
	o.url = a.header.Get("Location")
	return o
}

// fetch reads a resource by POST-as-GET.
func fetch[T any](c *client, url string) T {
	c.t.Helper()
	a := c.post(url, "")
	require.Equal(c.t, http.StatusOK, a.status, a.body)
	var out T
	a.json(c.t, &out)
	return out
}

func (c *client) fetchOrder(o order) order               { return fetch[order](c, o.url) }
func (c *client) authorization(url string) authorization { return fetch[authorization](c, url) }
func (c *client) fetchChallenge(url string) challenge    { return fetch[challenge](c, url) }

// offered1 orders one name and gives the authorization's URL and its challenge of a type.
func (c *client) offered1(name, kind string) (order, string, challenge) {
	c.t.Helper()
	o := c.order(name)
	require.Len(c.t, o.Authorizations, 1)
	return o, o.Authorizations[0], c.authorization(o.Authorizations[0]).challenge(c.t, kind)
}

// held is a gate that keeps every validation until it is let go.
type held struct {
	inner   validateFunc
	entered chan struct{}
	letGo   chan struct{}
}

func hold(inner validateFunc) *held {
	return &held{inner: inner, entered: make(chan struct{}, 64), letGo: make(chan struct{})}
}

func (h *held) Validate(ctx context.Context, kind mpic.Kind, caller string, req va.Request) (mpic.Result, error) {
	h.entered <- struct{}{}
	<-h.letGo
	return h.inner(ctx, kind, caller, req)
}

// der joins the certificates of a PEM chain.
func der(chain []byte) []byte {
	var out []byte
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		out = append(out, block.Bytes...)
	}
	return out
}
