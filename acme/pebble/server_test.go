package pebble

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	acmeclient "github.com/mholt/acmez/v3/acme"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// tokens is an http-01 responder on a socket of its own, fed by acmez.
type tokens struct {
	mu sync.Mutex
	m  map[string]string
}

func (s *tokens) Present(_ context.Context, c acmeclient.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[c.HTTP01ResourcePath()] = c.KeyAuthorization
	return nil
}

func (s *tokens) CleanUp(context.Context, acmeclient.Challenge) error { return nil }

func (s *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(w, s.m[r.URL.Path])
}

// acmezClient gives an account of a client library that knows nothing of this project.
func acmezClient(t *testing.T, s *site, solver acmez.Solver) (*acmez.Client, acmeclient.Account) {
	t.Helper()
	c := &acmez.Client{ChallengeSolvers: map[string]acmez.Solver{acmeclient.ChallengeTypeHTTP01: solver},
		Client: &acmeclient.Client{Directory: s.base.String() + DirectoryPath, HTTPClient: s.http.Client(),
			PollInterval: 10 * time.Millisecond}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	account, err := c.NewAccount(t.Context(), acmeclient.Account{TermsOfServiceAgreed: true, PrivateKey: key})
	require.NoError(t, err)
	return c, account
}

func obtain(t *testing.T, c *acmez.Client, account acmeclient.Account, names ...string) (
	[]acmeclient.Certificate, error,
) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return c.ObtainCertificateForSANs(t.Context(), account, key, names)
}

func TestRFC8555_AClientGetsACertificateByHTTP01(t *testing.T) {
	solver := &tokens{m: map[string]string{}}
	web := httptest.NewServer(solver)
	defer web.Close()
	fetch := func(_ string, req va.Request) string { // each perspective asks the applicant's server itself
		resp, err := http.Get(web.URL + "/.well-known/acme-challenge/" + req.Token)
		if err != nil {
			return ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	g := &gate{sees: fetch}
	s := start(t, g.Validate)
	c, account := acmezClient(t, s, solver)

	certs, err := obtain(t, c, account, "shop.example.com", "www.example.com")
	require.NoError(t, err)
	leaf, inter := parse(t, certs[0].ChainPEM)
	require.ElementsMatch(t, []string{"shop.example.com", "www.example.com"}, leaf.DNSNames)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(s.Root())
	between.AddCert(inter)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "shop.example.com"})
	require.NoError(t, err)

	calls := g.asked()
	require.Len(t, calls, 2, "one attempt for each name")
	for _, call := range calls {
		require.Equal(t, mpic.Issuance, call.kind)
		require.Equal(t, "acme:"+account.Location, call.caller)
		require.Equal(t, account.Location, call.req.AccountURI, "CAA's accounturi is the URL that the client has")
	}
}

func parse(t *testing.T, chain []byte) (leaf, inter *x509.Certificate) {
	t.Helper()
	certs, err := x509.ParseCertificates(der(chain))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(certs), 2)
	return certs[0], certs[1]
}

// TestMPIC12_ValidExactlyWhenTheDecisionIsGranted goes through what perspectives can see. In none of these does a
// client get further than the primary's own check and the quorum allow.
//
// Holds: MPIC-12, F1
func TestMPIC12_ValidExactlyWhenTheDecisionIsGranted(t *testing.T) {
	fails := func(validateFunc) validateFunc {
		return func(context.Context, mpic.Kind, string, va.Request) (mpic.Result, error) {
			return mpic.Result{}, mpic.ErrRecord
		}
	}
	grantsAndFails := func(inner validateFunc) validateFunc {
		return func(ctx context.Context, k mpic.Kind, caller string, req va.Request) (mpic.Result, error) {
			r, _ := inner(ctx, k, caller, req)
			return r, mpic.ErrRecord
		}
	}
	panics := func(validateFunc) validateFunc {
		return func(context.Context, mpic.Kind, string, va.Request) (mpic.Result, error) { panic("the gate broke") }
	}
	for name, c := range map[string]struct {
		sees  func(string, va.Request) string
		also  func(*gate)
		wrap  func(validateFunc) validateFunc
		valid bool
		kind  string // of the error that the client sees
		says  []string
	}{
		"all perspectives agree": {sees: all, valid: true},
		"one remote may fail":    {sees: allBut("tokyo"), valid: true},
		"only the remotes see the token": {sees: allBut(primaryName), kind: "incorrectResponse",
			says: []string{"http.body: ", "attempt "}},
		"only the primary sees the token": {sees: allBut(remoteNames...), kind: "incorrectResponse",
			says: []string{"quorum.missed: ", "0/5", "attempt "}},
		"two remotes see something else": {sees: allBut("tokyo", "virginia"), kind: "incorrectResponse",
			says: []string{"quorum.missed: ", "3/5", "tokyo"}},
		"two remotes are silent": {sees: all, also: func(g *gate) { g.silent = []string{"tokyo", "virginia"} },
			kind: "serverInternal",
			says: []string{"quorum.missed: ", "3/5"}},
		"the primary's CAA forbids": {sees: all, also: func(g *gate) { g.forbidding = []string{primaryName} },
			kind: "caa",
			says: []string{"caa.forbidden: ", "other.test"}},
		"two remotes' CAA forbids": {sees: all, also: func(g *gate) { g.forbidding = []string{"tokyo", "virginia"} },
			kind: "caa",
			says: []string{"quorum.missed: CAA: 3/5"}},
		"the gate cannot record": {sees: all, wrap: fails, kind: "serverInternal",
			says: []string{"gate.unavailable: "}},
		"the gate grants and reports an error with it": {sees: all, wrap: grantsAndFails, kind: "serverInternal",
			says: []string{"gate.unavailable: "}},
		"the gate panics": {sees: all, wrap: panics, kind: "serverInternal",
			says: []string{"gate.unavailable: "}},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{sees: c.sees}
			if c.also != nil {
				c.also(g)
			}
			validate := validateFunc(g.Validate)
			if c.wrap != nil {
				validate = c.wrap(validate)
			}
			s := start(t, validate)
			client := s.newClient()
			o, authz, ch := client.offered1("shop.example.com", "http-01")

			a := client.post(ch.URL, "{}")
			require.Equal(t, http.StatusOK, a.status, a.body)
			s.settled()

			got, now := client.authorization(authz), client.fetchOrder(o)
			if c.valid {
				require.Equal(t, "valid", got.Status)
				require.Equal(t, "ready", now.Status)
				require.Equal(t, "valid", got.challenge(t, "http-01").Status)
				require.NotEmpty(t, got.challenge(t, "http-01").Validated)
				return
			}
			require.Equal(t, "invalid", got.Status)
			require.Equal(t, "invalid", now.Status)
			failed := got.challenge(t, "http-01")
			require.Equal(t, "invalid", failed.Status)
			require.NotNil(t, failed.Error)
			require.Equal(t, failed.Error, now.Error, "the order has the challenge's error")
			require.Equal(t, "urn:ietf:params:acme:error:"+c.kind, failed.Error.Type)
			for _, says := range c.says {
				require.Contains(t, failed.Error.Detail, says)
			}
			require.Equal(t, "shop.example.com", failed.Error.Identifier.Value)
			finalize := client.post(o.Finalize, `{"csr":"`+csr(t, "shop.example.com")+`"}`)
			require.Equal(t, http.StatusForbidden, finalize.status)
			require.Equal(t, "urn:ietf:params:acme:error:orderNotReady", finalize.problem(t).Type)
		})
	}
}

// TestTheReasonReachesTheClient: what each perspective saw, in a client library's error.
func TestTheReasonReachesTheClient(t *testing.T) {
	g := &gate{sees: allBut("tokyo", "virginia")}
	s := start(t, g.Validate)
	c, account := acmezClient(t, s, &tokens{m: map[string]string{}})
	_, err := obtain(t, c, account, "shop.example.com")
	var p acmeclient.Problem
	require.ErrorAs(t, err, &p)
	require.Contains(t, p.Detail, g.asked()[0].result.Decision.Attempt())
	require.Len(t, p.Subproblems, 2)
	require.Contains(t, p.Subproblems[0].Detail, "virginia (remote), domain control: http.body: ")
	require.Contains(t, p.Subproblems[1].Detail, "tokyo (remote), domain control: http.body: ")
	require.Equal(t, "shop.example.com", p.Subproblems[0].Identifier.Value)
}

func TestARefusalHasEachPerspectivesPart(t *testing.T) {
	g := &gate{sees: allBut("tokyo"), silent: []string{"virginia"}, forbidding: []string{"stockholm", "tokyo"}}
	s := start(t, g.Validate)
	client := s.newClient()
	o, _, ch := client.offered1("shop.example.com", "http-01")
	client.post(ch.URL, "{}")
	s.settled()
	p := client.fetchOrder(o).Error
	require.NotNil(t, p)
	require.Contains(t, p.Detail, "quorum.missed: domain control: 3/5")
	var subs []string
	for _, sub := range p.Subproblems {
		subs = append(subs, sub.Detail[:strings.LastIndex(sub.Detail[:min(60, len(sub.Detail))], ": ")])
		require.Equal(t, "shop.example.com", sub.Identifier.Value)
	}
	require.Equal(t, []string{
		"quorum.missed: CAA", // the second reason, then the perspectives in the roster's order
		"virginia (remote): perspective.timeout",
		"tokyo (remote), domain control: http.body",
		"tokyo (remote), CAA: caa.forbidden",
		"stockholm (remote), CAA: caa.forbidden",
	}, subs)
}

// csr gives a CSR as finalize wants it.
func csr(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	b, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestFinalizeBeforeValidIsRefused(t *testing.T) {
	h := hold((&gate{sees: all}).Validate)
	s := start(t, h.Validate)
	client := s.newClient()
	o, _, ch := client.offered1("shop.example.com", "http-01")
	body := `{"csr":"` + csr(t, "shop.example.com") + `"}`
	require.Equal(t, "urn:ietf:params:acme:error:orderNotReady", client.post(o.Finalize, body).problem(t).Type)
	require.Equal(t, http.StatusOK, client.post(ch.URL, "{}").status)
	<-h.entered
	require.Equal(t, "urn:ietf:params:acme:error:orderNotReady", client.post(o.Finalize, body).problem(t).Type)
	close(h.letGo)
	s.settled()
	require.Equal(t, http.StatusOK, client.post(o.Finalize, body).status)
}

func TestTheGateIsAskedForWhatTheOrderIs(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient()
	before := time.Now()
	_, authz, ch := client.offered1("*.Example.com", "dns-01")
	require.Equal(t, http.StatusOK, client.post(ch.URL, "{}").status)
	s.settled()

	got := client.authorization(authz)
	require.Equal(t, "valid", got.Status)
	require.True(t, got.Wildcard)
	require.Equal(t, "example.com", got.Identifier.Value, "what a client sees has no asterisk")
	req := g.asked()[0].req
	require.Equal(t, "*.example.com", req.Identifier)
	require.Equal(t, va.DNS01, req.Method)
	require.Equal(t, ch.Token, req.Token)
	require.Equal(t, client.kid, req.AccountURI)
	require.False(t, req.TokenCreated.After(time.Now()))
	require.False(t, req.TokenCreated.Before(before.Round(0)), "DCV-12: the order's own time")
	require.Nil(t, req.Issuers, "issuers are the gate's configuration")
}

func TestOnResultComesBeforeTheClientSeesTheOutcome(t *testing.T) {
	var client *client
	var ch challenge
	var seen []string
	var orders []string
	s := start(t, (&gate{sees: all}).Validate, func(c *Config) {
		c.OnResult = func(order string, req va.Request, r mpic.Result, err error) {
			seen = append(seen, req.Identifier, client.fetchChallenge(ch.URL).Status)
			orders = append(orders, order)
			if !r.Decision.Granted() || err != nil {
				panic("the result is not the gate's")
			}
		}
	})
	client = s.newClient()
	var o order
	o, _, ch = client.offered1("shop.example.com", "http-01")
	client.post(ch.URL, "{}")
	s.settled()
	require.Equal(t, []string{"shop.example.com", "processing"}, seen)
	require.Equal(t, []string{strings.TrimPrefix(o.url, s.base.String()+orderPath)}, orders)
	require.Equal(t, "valid", client.fetchChallenge(ch.URL).Status)
}

func TestConfigurationIsRefused(t *testing.T) {
	good := func() Config { return Config{URL: "https://127.0.0.1:14000", Issuers: []string{"ca.quorate.test"}} }
	validate := (&gate{sees: all}).Validate
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"http":           {func(c *Config) { c.URL = "http://127.0.0.1:14000" }, "https://"},
		"a path":         {func(c *Config) { c.URL = "https://127.0.0.1:14000/acme" }, "https://"},
		"a slash":        {func(c *Config) { c.URL = "https://127.0.0.1:14000/" }, "https://"},
		"a user":         {func(c *Config) { c.URL = "https://u@127.0.0.1:14000" }, "https://"},
		"no URL":         {func(c *Config) { c.URL = "" }, "https://"},
		"no URL at all":  {func(c *Config) { c.URL = "https://%" }, "URL"},
		"without issuer": {func(c *Config) { c.Issuers = nil }, "issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			c.change(&cfg)
			_, err := newServer(cfg, validate, new(desk))
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := New(good())
	require.ErrorContains(t, err, "no gate")
	without := good()
	without.Gate = new(mpic.Coordinator)
	_, err = New(without)
	require.ErrorContains(t, err, "nothing makes permits")
	_, err = newServer(good(), validate, new(desk))
	require.NoError(t, err)
}

// TestF10_NothingIsValidWithoutValidation: the variable by which others issued test certificates in production.
//
// Holds: F10
func TestF10_NothingIsValidWithoutValidation(t *testing.T) {
	for _, v := range []string{"1", "true", "0", ""} {
		t.Run("PEBBLE_VA_ALWAYS_VALID="+v, func(t *testing.T) {
			t.Setenv("PEBBLE_VA_ALWAYS_VALID", v)
			_, err := newServer(Config{URL: "https://127.0.0.1:14000", Issuers: []string{"ca.quorate.test"}},
				(&gate{sees: all}).Validate, new(desk))
			require.ErrorContains(t, err, "PEBBLE_VA_ALWAYS_VALID")
		})
	}
}

func TestCloseWaitsForRunningValidations(t *testing.T) {
	h := hold((&gate{sees: all}).Validate)
	s := start(t, h.Validate)
	client := s.newClient()
	_, authz, ch := client.offered1("shop.example.com", "http-01")
	_, _, other := client.offered1("www.example.com", "http-01")
	client.post(ch.URL, "{}")
	<-h.entered

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Close(gone), context.Canceled)
	require.Equal(t, "pending", client.authorization(authz).Status)

	a := client.post(other.URL, "{}")
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, "pending", client.fetchChallenge(other.URL).Status, "nothing was begun")

	close(h.letGo)
	require.NoError(t, s.Close(t.Context()))
	require.Equal(t, "valid", client.authorization(authz).Status)
}

func TestRequestsThatAreNotForThisServer(t *testing.T) {
	s := start(t, (&gate{sees: all}).Validate)
	for name, c := range map[string]struct {
		change func(*http.Request)
		body   string
		status int
	}{
		"another host": {func(r *http.Request) { r.Host = "ca.example.net" }, "{}", http.StatusMisdirectedRequest},
		"a huge body":  {func(*http.Request) {}, strings.Repeat(" ", maxBody+1), http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.send(newOrderPath, c.body, c.change)
			require.Equal(t, c.status, a.status, a.body)
			require.Equal(t, "urn:ietf:params:acme:error:malformed", a.problem(t).Type)
		})
	}
	t.Run("a broken body", func(t *testing.T) {
		w := httptest.NewRecorder()
		body := io.MultiReader(strings.NewReader("{"), broken{})
		r := httptest.NewRequest(http.MethodPost, s.base.String()+newOrderPath, body)
		s.Server.ServeHTTP(w, r)
		require.Equal(t, http.StatusBadRequest, w.Code)
	})
	t.Run("a proxy's word on the scheme", func(t *testing.T) {
		req, err := http.NewRequest(http.MethodGet, s.base.String()+DirectoryPath, nil)
		require.NoError(t, err)
		req.Header.Set("X-Forwarded-Proto", "gopher")
		resp, err := s.http.Client().Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		var directory struct {
			NewOrder string
			Meta     struct{ CaaIdentities []string }
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&directory))
		require.Equal(t, s.base.String()+newOrderPath, directory.NewOrder)
		require.Equal(t, []string{"ca.quorate.test"}, directory.Meta.CaaIdentities)
	})
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the line broke") }
