package pebble

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pebbleacme "github.com/letsencrypt/pebble/v2/acme"
)

// TestPebbleBehavesAsAssumed holds everything of Pebble v2.10.1 that this package relies on and that no compiler
// checks. A later version that fails here changes what the package means: read the comment of the case, not only the
// text.
func TestPebbleBehavesAsAssumed(t *testing.T) {
	// Pebble's VA sleeps before it validates; this test would wait for it.
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "100")
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient() // nonces are accepted although the environment asked for chaos
	require.Equal(t, s.base.String()+accountPath, client.kid[:len(s.base.String()+accountPath)], "account URL")
	require.NotNil(t, s.store.GetAccountByID(strings.TrimPrefix(client.kid, s.base.String()+accountPath)))
	o, authzURL, ch := client.offered1("shop.example.com", "http-01")
	authz := s.store.GetAuthorizationByID(strings.TrimPrefix(authzURL, s.base.String()+"/authZ/"))
	real := s.store.GetChallengeByID(strings.TrimPrefix(ch.URL, s.base.String()+challengePath))

	t.Run("the front reads the challenge from the path and the URL from the request line", func(t *testing.T) {
		// That is what lets a request be put to the witness.
		r := s.behind(t, ch.URL)
		r.URL.Path = s.witnessPath()
		out := s.ask(r, []byte(client.sign(ch.URL, client.nonce(), "{}")))
		require.True(t, inOrder(out), out.body.String())
		require.NotEmpty(t, out.header.Get("Replay-Nonce"))
	})
	t.Run("the refusal of the witness, to the letter", func(t *testing.T) {
		r := s.behind(t, s.path(s.witnessPath()))
		out := s.ask(r, []byte(client.sign(s.path(s.witnessPath()), client.nonce(), "{}")))
		require.Equal(t, http.StatusBadRequest, out.status)
		var p pebbleacme.ProblemDetails
		require.NoError(t, json.Unmarshal(out.body.Bytes(), &p))
		require.Equal(t, "Cannot update challenge with status processing, only status pending", p.Detail)
		require.Equal(t, "urn:ietf:params:acme:error:malformed", p.Type)
	})
	t.Run("no other refusal reads like it", func(t *testing.T) {
		url := s.path(s.witnessPath())
		for name, body := range map[string]string{
			"nonce":     client.sign(url, "bm9uY2U", "{}"),
			"url":       client.sign(ch.URL, client.nonce(), "{}"),
			"signature": flip(t, client.sign(url, client.nonce(), "{}"), "signature"),
			"body":      client.sign(url, client.nonce(), `{"keyAuthorization":"x"}`),
			"reading":   client.sign(url, client.nonce(), ""),
			"JWS":       "{}",
		} {
			require.False(t, inOrder(s.ask(s.behind(t, url), []byte(body))), name)
		}
	})
	t.Run("a path that is no challenge", func(t *testing.T) {
		r := s.behind(t, s.path(nowhere))
		out := s.ask(r, []byte(client.sign(s.path(nowhere), client.nonce(), "{}")))
		require.Equal(t, http.StatusNotFound, out.status)
	})
	t.Run("an account that is deactivated is refused before the status is looked at", func(t *testing.T) {
		gone := s.newClient()
		gone.post(gone.kid, `{"status":"deactivated"}`)
		url := s.path(s.witnessPath())
		require.False(t, inOrder(s.ask(s.behind(t, url), []byte(gone.sign(url, gone.nonce(), "{}")))))
	})
	t.Run("orders, authorizations and challenges point at each other", func(t *testing.T) {
		require.Same(t, authz, real.Authz)
		require.Same(t, s.store.GetOrderByID(strings.TrimPrefix(o.url, s.base.String()+orderPath)), authz.Order)
		require.Equal(t, authzURL, authz.URL)
		require.Equal(t, strings.TrimPrefix(client.kid, s.base.String()+accountPath), authz.Order.AccountID)
	})
	t.Run("a token has 256 bits", func(t *testing.T) { require.Len(t, ch.Token, 43) })
	t.Run("a wildcard stands in the store's identifier", func(t *testing.T) {
		w := client.order("*.Example.com")
		a := s.store.GetAuthorizationByID(strings.TrimPrefix(w.Authorizations[0], s.base.String()+"/authZ/"))
		require.Equal(t, pebbleacme.Identifier{Type: "dns", Value: "*.example.com"}, a.Identifier)
	})
	t.Run("showing an authorization that is not pending forgets a lock", func(t *testing.T) {
		// If this fails, Pebble has mended it: settleLate and its BUG note can go.
		_, url, ch := client.offered1("forgets.example.com", "http-01")
		other := client.authorization(url).challenge(t, "dns-01")
		client.post(ch.URL, "{}")
		s.settled()
		client.authorization(url)
		require.False(t, s.store.GetChallengeByID(strings.TrimPrefix(other.URL, s.base.String()+challengePath)).TryLock())
	})
	require.Len(t, g.asked(), 1)
}

// TestPebblesOwnVAFailsClosed gives Pebble's front a challenge behind the back of this package, as no request can.
//
// Holds: F1
func TestPebblesOwnVAFailsClosed(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	for _, kind := range []string{"http-01", "dns-01", "tls-alpn-01"} {
		t.Run(kind, func(t *testing.T) {
			g := &gate{sees: all}
			s := startUnwatched(t, g.Validate)
			client := s.newClient()
			o, authz, ch := client.offered1("localhost.example.com", kind)
			out := s.ask(s.behind(t, ch.URL), []byte(client.sign(ch.URL, client.nonce(), "{}")))
			require.Equal(t, http.StatusOK, out.status, out.body.String())
			decided := func() bool { return client.authorization(authz).Status != "pending" }
			require.Eventually(t, decided, 30*time.Second, 5*time.Millisecond)
			require.Equal(t, "invalid", client.authorization(authz).Status)
			require.Equal(t, "invalid", client.fetchOrder(o).Status)
			require.Empty(t, g.asked())
			require.Contains(t, s.logs.String(), vaWasAsked, "what start looks for in every other test")
		})
	}
}

// behind is a request for Pebble's front itself, past the gate.
func (s *site) behind(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, nil)
	require.NoError(t, err)
	r.RequestURI = r.URL.Path
	r.Header.Set("Content-Type", "application/jose+json")
	r.Header.Set("User-Agent", "test")
	r.Header.Set("X-Forwarded-Proto", "https")
	return r
}
