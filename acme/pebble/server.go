// Package pebble is an ACME certification authority for the sandbox and the tests: Pebble, unchanged, with Quorate's
// gate in the place of its VA.
//
// Pebble's front takes its own VA as a concrete type, so the gate stands before that front as an HTTP handler. Three kinds of
// requests are looked at; all others go through to Pebble.
//
// A POST that tells a challenge to begin never reaches Pebble under the
// challenge's own path. It is put, with its body and its URL untouched, to a challenge of ours that is for ever
// "processing". Pebble then checks nonce, signature, URL, account and body as for any other, and in the end refuses to
// update a challenge in that status; this very refusal tells that everything before it was in order. Only then is the
// client's challenge claimed, validated by the gate, and set, with its authorization and its order, in Pebble's store.
//
// So there is no way from a client's request to Pebble's own VA; should one appear, it has ports where nothing answers,
// and its environment variable that makes everything valid keeps the server from starting.
//
// A new order is given a profile that the CA does not have, before any client knows the order: Pebble's front can have nothing
// signed for it, by whatever request. A POST that finalizes an order goes to Pebble, which checks it and makes the order
// "processing"; that this happened is what vouches for the request, nonce and CSR included. Only then is a permit
// asked for, and only upon a permit that is on record is a copy of the order signed; the certificate is linked to the permit, and
// then shown. So an unauthenticated request causes no permit, and each order at most one.
//
// TestPebbleBehavesAsAssumed and TestPebbleSignsForNoOrderOfItsOwn hold what this relies on.
//
// Pebble is a test server: it keeps everything in memory, keeps the root's key there too, and trusts the Host header.
// Do not put it where others can reach it.
//
// BUG: a client that deactivates an authorization in the moment between having the order finalized and Pebble's own, vain attempt to
// have it signed makes Pebble forget a lock (ca.CompleteOrder), and the whole server stands still from the next look at it.
package pebble

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	pebbleacme "github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/core"
	"github.com/letsencrypt/pebble/v2/db"
	pebbleva "github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// DirectoryPath is the path of the ACME directory below Config.URL.
const DirectoryPath = wfe.DirectoryPath

// Paths of Pebble's front, which it does not export.
const (
	accountPath   = "/my-account/"
	newOrderPath  = "/order-plz"
	finalizePath  = "/finalize-order/"
	orderPath     = "/my-order/"
	challengePath = "/chalZ/"
)

// maxBody bounds a request's body in bytes; Pebble itself reads without end. A finalize request with 100 names is about
// 10 KiB.
const maxBody = 128 << 10

// Config says where the server is, and who validates.
type Config struct {
	// URL is where clients reach the server: "https", a host and, if need be, a port; no path. Requests for another host
	// are refused, because Pebble would make them into the account URLs that CAA's accounturi is compared with (CAA-04).
	URL string
	// Gate validates. It is a concrete type on purpose: nothing else can decide here (F1).
	Gate *mpic.Coordinator
	// Permits decide, before a certificate is signed, whether it may be: the gate's own. Likewise concrete, and required.
	Permits *mpic.Permits
	// Issuers are the CA's Issuer Domain Names, as the directory tells them to clients (RFC 8555 section 7.1.1,
	// caaIdentities). What CAA is checked for is the gate's own configuration. One at least.
	Issuers []string
	// Logger gets Pebble's own lines at level Debug. Default: nothing is logged.
	Logger *slog.Logger
	// OnResult, if set, is called once for each validation when its record is durable, before the client can see the
	// outcome. It may be called concurrently, and delays the outcome while it runs. err is the gate's; result is then
	// empty.
	OnResult func(order string, request va.Request, result mpic.Result, err error)
	// OnIssuance, if set, is called once for each order that was finalized, in the same way: after permit and link are durable, and
	// before the client can see what came of it.
	OnIssuance func(Issuance)
}

// Server is the ACME API, an http.Handler for an HTTPS listener.
type Server struct {
	base       *url.URL
	log        *slog.Logger
	onResult   func(string, va.Request, mpic.Result, error)
	onIssuance func(Issuance)
	// validate is Config.Gate's Validate, permits Config.Permits. Tests of this package put others here; nobody else can.
	validate validateFunc
	permits  permits

	store *db.MemoryStore
	ca    *ca.CAImpl
	front http.Handler
	// witness is the challenge that is for ever "processing", to which every request to begin a challenge is put. It
	// belongs to no account, and no authorization of an order holds it.
	witness *core.Challenge

	// mu is held while Pebble handles a request and while a result is written to its store. Pebble's handlers race with
	// each other and lock authorization and order in both orders; one at a time is enough for a sandbox.
	mu sync.Mutex
	// offered has, for each challenge that a client may begin and has not begun, the time before which it did not exist.
	offered map[string]time.Time
	closed  bool
	work    sync.WaitGroup
}

type validateFunc func(context.Context, mpic.Kind, string, va.Request) (mpic.Result, error)

// New starts the CA with fresh keys. It refuses a configuration that it cannot hold to, and an environment in which
// Pebble's VA would find everything valid.
func New(c Config) (*Server, error) {
	if c.Gate == nil {
		return nil, errors.New("pebble: there is no gate")
	}
	if c.Permits == nil {
		return nil, errors.New("pebble: nothing makes permits, and without one nothing is issued")
	}
	return newServer(c, c.Gate.Validate, c.Permits)
}

func newServer(c Config, validate validateFunc, permits permits) (*Server, error) {
	base, err := parseBase(c.URL)
	if err != nil {
		return nil, err
	}
	if len(c.Issuers) == 0 {
		return nil, errors.New("pebble: no issuer domain name is configured")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if err := settleEnvironment(); err != nil {
		return nil, err
	}
	// Pebble's packages want a log.Logger.
	logger := slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug)
	store := db.NewMemoryStore()
	authority := ca.New(logger, store, "", "ecdsa", 0, 1,
		map[string]ca.Profile{profile: {Description: "90 days", ValidityPeriod: 90 * 24 * 3600}})
	// Nothing can listen on port 0. Pebble's VA is never asked; were it, it would find nobody and refuse.
	deaf := pebbleva.New(logger, 0, 0, false, "127.0.0.1:0", store)
	front := wfe.New(logger, store, deaf, authority, c.Issuers, false, false, 0, 0)

	s := &Server{base: base, log: c.Logger, onResult: c.OnResult, onIssuance: c.OnIssuance, validate: validate, permits: permits,
		store: store, ca: authority, front: front.Handler(), offered: map[string]time.Time{}}
	s.witness = &core.Challenge{ID: "witness", Challenge: pebbleacme.Challenge{Status: pebbleacme.StatusProcessing},
		Authz: &core.Authorization{ID: "witness", Order: &core.Order{ID: "witness"}}}
	if _, err := store.AddChallenge(s.witness); err != nil {
		return nil, fmt.Errorf("pebble: placing the witness: %w", err)
	}
	return s, nil
}

func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("pebble: URL: %w", err)
	case u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "":
		return nil, fmt.Errorf(`pebble: URL %q: it must be "https://", a host and perhaps a port, and nothing behind them`, s)
	}
	return u, nil
}

// settleEnvironment fixes what Pebble reads from the environment, since it offers no other way to configure it.
func settleEnvironment() error {
	// Whoever sets it expects a CA that validates nothing (F10); whatever its value is, they are in the wrong place.
	if v, set := os.LookupEnv("PEBBLE_VA_ALWAYS_VALID"); set {
		return fmt.Errorf("pebble: PEBBLE_VA_ALWAYS_VALID is set (%q): nothing is valid here without validation; unset it", v)
	}
	for name, value := range map[string]string{
		// By default Pebble refuses 5 of 100 good nonces, to exercise clients. Here a refusal has to mean something.
		"PEBBLE_WFE_NONCEREJECT": "0",
		// By default every other order takes over a valid authorization. Each is to have an attempt of its own. 0 still
		// leaves 1 of 100: see (*Server).newOrder.
		"PEBBLE_AUTHZREUSE": "0",
	} {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("pebble: setting %s: %w", name, err)
		}
	}
	return nil
}

// Root gives the certificate of the root, which is new with each Server.
func (s *Server) Root() *x509.Certificate { return s.ca.GetRootCert(0).Cert }

// Close refuses further challenges and finalizations, and returns when those that run have been decided, recorded and made
// visible, or when ctx ends, whose error it then gives.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("pebble: validations or issuances are still running: %w", ctx.Err())
	}
}

// ServeHTTP answers one ACME request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refused := newReply() // without a nonce: the request's was not consumed
	if r.Host != s.base.Host {
		problem := malformed(http.StatusMisdirectedRequest, "this server is %s; the request is for %q", s.base, r.Host)
		refused.refuse(problem).send(w)
		return
	}
	// The body is read before the lock is taken, and the answer sent after it is given back: a slow client holds up
	// nobody.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		refused.refuse(malformed(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", maxBody)).send(w)
		return
	} else if err != nil {
		refused.refuse(malformed(0, "the body could not be read")).send(w)
		return
	}
	r = r.Clone(r.Context())
	// Pebble believes this header; the client has no say in it. Without it Pebble makes http URLs where a proxy ends TLS.
	r.Header.Set("X-Forwarded-Proto", s.base.Scheme)
	s.answer(r, body).send(w)
}

// answer routes. It holds mu, so no two requests are with Pebble at a time.
func (s *Server) answer(r *http.Request, body []byte) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == http.MethodPost && r.URL.Path == newOrderPath:
		return s.newOrder(r, body)
	case r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, challengePath) && !isPostAsGet(body):
		return s.begin(r, body)
	case r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, finalizePath):
		return s.finalize(r, body)
	default:
		return s.ask(r, body)
	}
}
