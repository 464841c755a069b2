package pebble

import (
	"io"
	"log"
	"net/http"
	"testing"
	"time"

	pebbleacme "github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"
	pebbleva "github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/stretchr/testify/require"
)

func types(a authorization) []string {
	var out []string
	for _, c := range a.Challenges {
		out = append(out, c.Type)
	}
	return out
}

func TestOnlyWhatTheGateSupportsIsOffered(t *testing.T) {
	s := start(t, (&gate{sees: all}).Validate)
	client := s.newClient()
	plain := client.authorization(client.order("shop.example.com").Authorizations[0])
	require.ElementsMatch(t, []string{"http-01", "tls-alpn-01", "dns-01"}, types(plain))
	wild := client.authorization(client.order("*.example.com").Authorizations[0])
	require.Equal(t, []string{"dns-01"}, types(wild))
}

// TestAnUnsupportedChallengeIsRefused: no client learns the URL of such a challenge; if one does, nothing begins.
func TestAnUnsupportedChallengeIsRefused(t *testing.T) {
	for _, kind := range []string{"dns-persist-01", "dns-account-01", "tls-sni-01", ""} {
		t.Run(kind, func(t *testing.T) {
			g := &gate{sees: all}
			s := start(t, g.Validate)
			client := s.newClient()
			_, _, ch := client.offered1("shop.example.com", "http-01")
			authz := s.store.GetChallengeByID(ch.URL[len(s.base.String()+challengePath):]).Authz
			path := challengePath + "smuggled"
			smuggled := &core.Challenge{ID: "smuggled", Authz: authz,
				Challenge: pebbleacme.Challenge{Type: kind, Token: "t", Status: "pending", URL: s.base.String() + path}}
			_, err := s.store.AddChallenge(smuggled)
			require.NoError(t, err)
			a := client.post(path, "{}")
			require.Equal(t, http.StatusBadRequest, a.status)
			require.Contains(t, a.problem(t).Detail,
				kind+" is not offered here: this CA validates by [http-01 dns-01 tls-alpn-01]")
			s.settled()
			require.Empty(t, g.asked())
			require.Equal(t, "pending", client.fetchChallenge(path).Status)
		})
	}
}

// TestWhatCannotBeAskedIsRefused: a challenge that is offered but gives no request for the gate.
func TestWhatCannotBeAskedIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*core.Challenge){
		"no token":         func(c *core.Challenge) { c.Token = "" },
		"a type of no one": func(c *core.Challenge) { c.Type = "dns-persist-01" },
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{sees: all}
			s := start(t, g.Validate)
			client := s.newClient()
			_, _, ch := client.offered1("shop.example.com", "http-01")
			c := s.store.GetChallengeByID(ch.URL[len(s.base.String()+challengePath):])
			c.Lock()
			spoil(c)
			c.Unlock()
			a := client.post(ch.URL, "{}")
			require.Equal(t, http.StatusInternalServerError, a.status)
			require.Equal(t, "urn:ietf:params:acme:error:serverInternal", a.problem(t).Type)
			s.settled()
			require.Empty(t, g.asked())
			require.Equal(t, "pending", client.fetchChallenge(ch.URL).Status)
		})
	}
}

func TestIPAddressesAreRefusedWhenOrdered(t *testing.T) {
	s := start(t, (&gate{sees: all}).Validate)
	client := s.newClient()
	a := client.post(newOrderPath,
		`{"identifiers":[{"type":"dns","value":"shop.example.com"},{"type":"ip","value":"192.0.2.7"}]}`)
	require.Equal(t, http.StatusBadRequest, a.status)
	p := a.problem(t)
	require.Equal(t, "urn:ietf:params:acme:error:unsupportedIdentifier", p.Type)
	require.Contains(t, p.Detail, "192.0.2.7 is an identifier of type ip")
	require.Equal(t, "192.0.2.7", p.Identifier.Value)
	require.Empty(t, a.header.Get("Location"))
	require.NotEmpty(t, a.header.Get("Replay-Nonce"))
	require.Empty(t, s.offered, "nothing of the order can be begun")
}

func TestAnOrderThatPebbleRefusesIsRefused(t *testing.T) {
	s := start(t, (&gate{sees: all}).Validate)
	a := s.newClient().post(newOrderPath, `{"identifiers":[{"type":"dns","value":"not a name"}]}`)
	require.Equal(t, http.StatusBadRequest, a.status)
	require.Equal(t, "urn:ietf:params:acme:error:malformed", a.problem(t).Type)
}

// TestNoAuthorizationIsTakenOver: each order's names have attempts of their own, even when Pebble's dice fall
// otherwise; a client sends the order again by itself.
func TestNoAuthorizationIsTakenOver(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient()
	_, authz, ch := client.offered1("shop.example.com", "http-01")
	client.post(ch.URL, "{}")
	s.settled()
	require.Equal(t, "valid", client.authorization(authz).Status)

	// Pebble's front once more, over the same store, with dice that always take over.
	t.Setenv("PEBBLE_AUTHZREUSE", "100")
	log := log.New(io.Discard, "", 0)
	deaf := pebbleva.New(log, 0, 0, false, "127.0.0.1:0", s.store)
	always := wfe.New(log, s.store, deaf, s.ca, []string{"ca.quorate.test"}, false, false, 0, 0)
	s.mu.Lock()
	never := s.front
	s.front = always.Handler()
	s.mu.Unlock()

	const body = `{"identifiers":[{"type":"dns","value":"shop.example.com"}]}`
	a := client.post(newOrderPath, body)
	require.Equal(t, http.StatusBadRequest, a.status)
	p := a.problem(t)
	require.Equal(t, "urn:ietf:params:acme:error:badNonce", p.Type)
	require.Contains(t, p.Detail, "an authorization of an earlier order")
	require.Empty(t, a.header.Get("Location"))
	nonce := a.header.Get("Replay-Nonce")
	require.NotEmpty(t, nonce)
	for _, o := range s.store.GetOrdersByAccountID(client.kid[len(s.base.String()+accountPath):])[1:] {
		require.Equal(t, "invalid", o.Status, "what was set aside can never be finalized")
	}
	a = client.send(newOrderPath, client.sign(s.path(newOrderPath), nonce, body), nil)
	require.Contains(t, a.problem(t).Detail, "an authorization of an earlier order", "the nonce was good")

	s.mu.Lock()
	s.front = never
	s.mu.Unlock()
	_, fresh, again := client.offered1("shop.example.com", "http-01")
	require.NotEqual(t, authz, fresh)
	client.post(again.URL, "{}")
	s.settled()
	require.Len(t, g.asked(), 2)
}

// TestAMissingOrderIsAnError: Pebble says that it made an order, and the store has none.
func TestAMissingOrderIsAnError(t *testing.T) {
	s := start(t, (&gate{sees: all}).Validate)
	s.mu.Lock()
	s.front = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/my-order/none")
		w.WriteHeader(http.StatusCreated)
	})
	s.mu.Unlock()
	a := s.send(newOrderPath, "{}", nil)
	require.Equal(t, http.StatusInternalServerError, a.status)
	require.Equal(t, "urn:ietf:params:acme:error:serverInternal", a.problem(t).Type)
}

// TestDCV12_ATokenIsNeverClaimedYounger compares what the gate is told with the time before the order was sent.
//
// Holds: DCV-12
func TestDCV12_ATokenIsNeverClaimedYounger(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient()
	_, _, ch := client.offered1("shop.example.com", "http-01")
	ordered := time.Now()
	s.mu.Lock()
	for id, at := range s.offered { // as if the client had waited for 29 days
		s.offered[id] = at.AddDate(0, 0, -29)
	}
	s.mu.Unlock()
	client.post(ch.URL, "{}")
	s.settled()
	require.True(t, g.asked()[0].req.TokenCreated.Before(ordered.AddDate(0, 0, -29)))
	require.Equal(t, time.UTC, g.asked()[0].req.TokenCreated.Location())
}
