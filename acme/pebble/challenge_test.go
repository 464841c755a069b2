package pebble

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// flip changes the last letter of a member of a flattened JWS to another one.
func flip(t testing.TB, jws, member string) string {
	t.Helper()
	var m map[string]string
	require.NoError(t, json.Unmarshal([]byte(jws), &m))
	raw, err := base64.RawURLEncoding.DecodeString(m[member])
	require.NoError(t, err)
	raw[0] ^= 1
	m[member] = base64.RawURLEncoding.EncodeToString(raw)
	b, err := json.Marshal(m)
	require.NoError(t, err)
	return string(b)
}

// TestRFC8555_OnlyAGoodRequestBegins: what is wrong with a request is refused before anything is validated or changed,
// and the challenge can be begun afterwards.
//
// Holds: F1
func TestRFC8555_OnlyAGoodRequestBegins(t *testing.T) {
	type setup struct {
		owner, other *client
		ch           challenge
	}
	for name, c := range map[string]struct {
		send func(setup) answer
		kind string
		says string
	}{
		"another account": {func(s setup) answer {
			return s.other.post(s.ch.URL, "{}")
		}, ns + "unauthorized", "not the owner"},
		"another account that names the owner": {func(s setup) answer {
			forger := &client{site: s.other.site, key: s.other.key, kid: s.owner.kid}
			return forger.post(s.ch.URL, "{}")
		}, ns + "malformed", "verification"},
		"a nonce used before": {func(s setup) answer {
			nonce := s.owner.nonce()
			s.owner.send(s.owner.kid, s.owner.sign(s.owner.kid, nonce, ""), nil)
			return s.owner.send(s.ch.URL, s.owner.sign(s.ch.URL, nonce, "{}"), nil)
		}, ns + "badNonce", ""},
		"a nonce of its own": {func(s setup) answer {
			return s.owner.send(s.ch.URL, s.owner.sign(s.ch.URL, "bm9uY2U", "{}"), nil)
		}, ns + "badNonce", ""},
		"a signature tampered with": {func(s setup) answer {
			return s.owner.send(s.ch.URL, flip(s.owner.t, s.owner.sign(s.ch.URL, s.owner.nonce(), "{}"), "signature"), nil)
		}, ns + "malformed", "verification"},
		"a payload tampered with": {func(s setup) answer {
			return s.owner.send(s.ch.URL, flip(s.owner.t, s.owner.sign(s.ch.URL, s.owner.nonce(), "{}"), "payload"), nil)
		}, ns + "malformed", "verification"},
		"signed for another URL": {func(s setup) answer {
			return s.owner.send(s.ch.URL, s.owner.sign(s.owner.kid, s.owner.nonce(), "{}"), nil)
		}, ns + "malformed", "url"},
		"signed for the witness": {func(s setup) answer {
			return s.owner.send(s.ch.URL, s.owner.sign(s.owner.path(s.owner.witnessPath()), s.owner.nonce(), "{}"), nil)
		}, ns + "malformed", "url"},
		"the key authorization of old": {func(s setup) answer {
			return s.owner.post(s.ch.URL, `{"keyAuthorization":"`+s.ch.Token+`.x"}`)
		}, ns + "malformed", "KeyAuthorization"},
		"a payload that is no JSON": {func(s setup) answer {
			return s.owner.post(s.ch.URL, "go on")
		}, ns + "malformed", "JSON"},
		"no JWS at all": {func(s setup) answer {
			return s.owner.send(s.ch.URL, "{}", nil)
		}, ns + "malformed", ""},
		"no body": {func(s setup) answer { return s.owner.send(s.ch.URL, "", nil) }, ns + "malformed", ""},
		"another content type": {func(s setup) answer {
			return s.owner.send(s.ch.URL, s.owner.sign(s.ch.URL, s.owner.nonce(), "{}"),
				func(r *http.Request) { r.Header.Set("Content-Type", "application/json") })
		}, ns + "malformed", "Content-Type"},
		"a key instead of an account": {func(s setup) answer {
			stranger := &client{site: s.owner.site, key: s.owner.key}
			return stranger.post(s.ch.URL, "{}")
		}, ns + "malformed", "kid"},
		"an account that does not exist": {func(s setup) answer {
			nobody := &client{site: s.owner.site, key: s.owner.key, kid: s.owner.kid + "0"}
			return nobody.post(s.ch.URL, "{}")
		}, ns + "accountDoesNotExist", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{sees: all}
			s := start(t, g.Validate)
			x := setup{owner: s.newClient(), other: s.newClient()}
			_, authz, ch := x.owner.offered1("shop.example.com", "http-01")
			x.ch = ch

			a := c.send(x)
			require.GreaterOrEqual(t, a.status, 400)
			p := a.problem(t)
			require.Equal(t, c.kind, p.Type, p.Detail)
			require.Contains(t, p.Detail, c.says)
			s.settled()
			require.Empty(t, g.asked(), "nothing was validated")
			require.Equal(t, "pending", x.owner.fetchChallenge(ch.URL).Status)
			require.Equal(t, "pending", x.owner.authorization(authz).Status)

			a = x.owner.post(ch.URL, "{}")
			require.Equal(t, http.StatusOK, a.status, a.body)
			s.settled()
			require.Equal(t, "valid", x.owner.authorization(authz).Status)
		})
	}
}

func TestADeactivatedAccountBeginsNothing(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient()
	_, _, ch := client.offered1("shop.example.com", "http-01")
	require.Equal(t, http.StatusOK, client.post(client.kid, `{"status":"deactivated"}`).status)
	a := client.post(ch.URL, "{}")
	require.Equal(t, "urn:ietf:params:acme:error:unauthorized", a.problem(t).Type)
	s.settled()
	require.Empty(t, g.asked())
}

func TestRFC8555_7_5_1_TheAnswerIsTheChallengeInProcessing(t *testing.T) {
	h := hold((&gate{sees: all}).Validate)
	s := start(t, h.Validate)
	client := s.newClient()
	_, authz, ch := client.offered1("shop.example.com", "http-01")
	a := client.post(ch.URL, "{}")
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, a.header.Get("Content-Type"), "application/json")
	require.Contains(t, a.header.Values("Link"), "<"+authz+`>;rel="up"`)
	require.Contains(t, a.header.Values("Link"), "<"+s.base.String()+DirectoryPath+`>;rel="index"`)
	var got challenge
	a.json(t, &got)
	require.Equal(t, challenge{Type: "http-01", URL: ch.URL, Token: ch.Token, Status: "processing"}, got)

	nonce := a.header.Get("Replay-Nonce")
	require.NotEmpty(t, nonce)
	read := client.send(ch.URL, client.sign(ch.URL, nonce, ""), nil)
	require.Equal(t, http.StatusOK, read.status, "the nonce of the answer is good")
	close(h.letGo)
}

func TestReadingAChallengeBeginsNothing(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client, other := s.newClient(), s.newClient()
	_, _, ch := client.offered1("shop.example.com", "http-01")
	require.Equal(t, "pending", client.fetchChallenge(ch.URL).Status)
	require.Equal(t, "urn:ietf:params:acme:error:unauthorized", other.post(ch.URL, "").problem(t).Type)
	require.Equal(t, "urn:ietf:params:acme:error:unauthorized", client.post(s.witnessPath(), "").problem(t).Type)
	s.settled()
	require.Empty(t, g.asked())
	require.Equal(t, "pending", client.fetchChallenge(ch.URL).Status)
}

func TestRFC8555_7_1_6_ManyRequestsAtOnceBeginOneValidation(t *testing.T) {
	g := &gate{sees: all}
	h := hold(g.Validate)
	s := start(t, h.Validate)
	client := s.newClient()
	_, authz, ch := client.offered1("shop.example.com", "http-01")
	bodies := make([]string, 16)
	for i := range bodies {
		bodies[i] = client.sign(ch.URL, client.nonce(), "{}")
	}
	answers := make([]answer, len(bodies))
	var wg sync.WaitGroup
	for i, body := range bodies {
		wg.Go(func() { answers[i] = client.send(ch.URL, body, nil) })
	}
	wg.Wait()
	for _, a := range answers {
		require.Equal(t, http.StatusOK, a.status, a.body)
		var got challenge
		a.json(t, &got)
		require.Equal(t, "processing", got.Status)
	}
	require.Len(t, h.entered, 1)
	require.Len(t, s.offered, 2, "what was begun is not on offer any more")
	close(h.letGo)
	s.settled()
	require.Len(t, g.asked(), 1)
	require.Equal(t, "valid", client.authorization(authz).Status)

	// Once it is decided, a request changes nothing any more, whether new or replayed.
	require.Contains(t, client.post(ch.URL, "{}").problem(t).Detail, "the challenge is valid")
	require.Equal(t, "urn:ietf:params:acme:error:badNonce", client.send(ch.URL, bodies[0], nil).problem(t).Type)
	s.settled()
	require.Len(t, g.asked(), 1)
}

func TestAFailedChallengeIsNotBegunAgain(t *testing.T) {
	g := &gate{sees: allBut(primaryName)}
	s := start(t, g.Validate)
	client := s.newClient()
	_, authz, ch := client.offered1("shop.example.com", "http-01")
	other := client.authorization(authz).challenge(t, "dns-01")
	client.post(ch.URL, "{}")
	s.settled()
	g.sees = all
	require.Contains(t, client.post(ch.URL, "{}").problem(t).Detail, "the challenge is invalid")
	require.Contains(t, client.post(other.URL, "{}").problem(t).Detail, "the authorization is invalid")
	s.settled()
	require.Len(t, g.asked(), 1)
	require.Equal(t, "invalid", client.authorization(authz).Status)
}

// TestAChallengeBesideAValidOneIsRefused: Pebble would begin it, and hang on the lock that it forgot when it showed the
// authorization.
func TestAChallengeBesideAValidOneIsRefused(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient()
	_, authz, ch := client.offered1("shop.example.com", "http-01")
	other := client.authorization(authz).challenge(t, "dns-01")
	client.post(ch.URL, "{}")
	s.settled()
	require.Len(t, client.authorization(authz).Challenges, 1) // here Pebble forgets
	require.Contains(t, client.post(other.URL, "{}").problem(t).Detail, "the authorization is valid")
	require.Equal(t, "valid", client.authorization(authz).Status)
	require.Len(t, g.asked(), 1)
}

func TestAnAuthorizationDeactivatedMeanwhileStaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		shown  bool
		status string
	}{
		"and its challenge ends":                            {false, "invalid"},
		"and its challenge cannot end where Pebble forgets": {true, "processing"},
	} {
		t.Run(name, func(t *testing.T) {
			h := hold((&gate{sees: all}).Validate)
			s := start(t, h.Validate)
			client := s.newClient()
			o, authz, ch := client.offered1("shop.example.com", "http-01")
			client.post(ch.URL, "{}")
			<-h.entered
			if c.shown {
				require.Equal(t, http.StatusOK, client.post(authz, `{"status":"deactivated"}`).status)
			} else {
				a := s.store.GetAuthorizationByID(strings.TrimPrefix(authz, s.base.String()+"/authZ/"))
				a.Lock()
				a.Status = "deactivated"
				a.Unlock()
			}
			close(h.letGo)
			s.settled()
			require.Equal(t, c.status, client.fetchChallenge(ch.URL).Status)
			require.Equal(t, "deactivated", client.authorization(authz).Status)
			require.Equal(t, "invalid", client.fetchOrder(o).Status)
			_, again, next := client.offered1("shop.example.com", "http-01") // the server lives
			client.post(next.URL, "{}")
			s.settled()
			require.Equal(t, "valid", client.authorization(again).Status)
		})
	}
}

func TestTwoChallengesOfOneAuthorization(t *testing.T) {
	g := &gate{sees: all}
	h := hold(g.Validate)
	s := start(t, h.Validate)
	client := s.newClient()
	o, authz, first := client.offered1("shop.example.com", "http-01")
	second := client.authorization(authz).challenge(t, "dns-01")
	for _, ch := range []challenge{first, second} {
		require.Equal(t, http.StatusOK, client.post(ch.URL, "{}").status)
	}
	close(h.letGo)
	s.settled()
	require.Len(t, g.asked(), 2)
	require.Equal(t, "valid", client.authorization(authz).Status)
	require.Equal(t, "ready", client.fetchOrder(o).Status)
	require.ElementsMatch(t, []string{"valid", "invalid"},
		[]string{client.fetchChallenge(first.URL).Status, client.fetchChallenge(second.URL).Status})
}

func TestWhatHasExpiredIsNotBegun(t *testing.T) {
	for name, c := range map[string]struct {
		expire func(s *site, authz string)
		says   string
	}{
		"the authorization": {func(s *site, authz string) {
			a := s.store.GetAuthorizationByID(authz)
			a.Lock()
			defer a.Unlock()
			a.ExpiresDate = time.Now().Add(-time.Second)
		}, "the authorization expired"},
		"the order": {func(s *site, authz string) {
			o := s.store.GetAuthorizationByID(authz).Order
			o.Lock()
			defer o.Unlock()
			o.ExpiresDate = time.Now().Add(-time.Second)
		}, "the order expired"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{sees: all}
			s := start(t, g.Validate)
			client := s.newClient()
			_, authz, ch := client.offered1("shop.example.com", "http-01")
			c.expire(s, strings.TrimPrefix(authz, s.base.String()+"/authZ/"))
			p := client.post(ch.URL, "{}").problem(t)
			require.Equal(t, "urn:ietf:params:acme:error:malformed", p.Type)
			require.Contains(t, p.Detail, c.says)
			s.settled()
			require.Empty(t, g.asked())
		})
	}
}

func TestAnOrderThatFailedBeginsNothingMore(t *testing.T) {
	g := &gate{sees: func(name string, req va.Request) string {
		if req.Identifier == "bad.example.com" {
			return ""
		}
		return req.Expected()
	}}
	s := start(t, g.Validate)
	client := s.newClient()
	o := client.order("bad.example.com", "good.example.com")
	byName := map[string]challenge{}
	for _, url := range o.Authorizations {
		a := client.authorization(url)
		byName[a.Identifier.Value] = a.challenge(t, "http-01")
	}
	client.post(byName["bad.example.com"].URL, "{}")
	s.settled()
	require.Contains(t, client.post(byName["good.example.com"].URL, "{}").problem(t).Detail, "the order is invalid")
	s.settled()
	require.Len(t, g.asked(), 1)
}

// TestTheFirstFailureStaysTheOrdersError: both challenges are under way when the first fails.
func TestTheFirstFailureStaysTheOrdersError(t *testing.T) {
	h := hold((&gate{sees: allBut(primaryName)}).Validate)
	s := start(t, h.Validate)
	client := s.newClient()
	o := client.order("a.example.com", "b.example.com")
	for _, url := range o.Authorizations {
		require.Equal(t, http.StatusOK, client.post(client.authorization(url).challenge(t, "http-01").URL, "{}").status)
	}
	h.letGo <- struct{}{}
	failed := func() bool { return client.fetchOrder(o).Status == "invalid" }
	require.Eventually(t, failed, 30*time.Second, 5*time.Millisecond)
	first := client.fetchOrder(o).Error
	require.NotNil(t, first)
	h.letGo <- struct{}{}
	s.settled()
	require.Equal(t, first, client.fetchOrder(o).Error)
	for _, url := range o.Authorizations {
		require.Equal(t, "invalid", client.authorization(url).Status)
	}
}

// TestNoPathLeadsToPebblesVA: spellings of a challenge's path that Pebble might understand differently. start looks at
// the end whether Pebble's VA was asked.
func TestNoPathLeadsToPebblesVA(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient()
	for name, c := range map[string]struct {
		path   string
		status string // of the challenge afterwards
	}{
		"a path within the path":  {"/chalZ/%2FchalZ/ID", "pending"},
		"twice":                   {"/chalZ/chalZ/ID", "pending"},
		"encoded letters":         {"/chalZ%2FID", "valid"},
		"two slashes":             {"//chalZ/ID", "pending"},
		"a way round":             {"/authZ/../chalZ/ID", "pending"},
		"an encoded way round":    {"/authZ/%2e%2e/chalZ/ID", "pending"},
		"something behind":        {"/chalZ/ID/", "pending"},
		"a query":                 {"/chalZ/ID?x=1", "valid"},
		"no challenge":            {"/chalZ/", "pending"},
		"the witness":             {s.witnessPath(), "pending"},
		"a challenge of no order": {"/chalZ/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "pending"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, ch := client.offered1("shop.example.com", "http-01")
			path := strings.Replace(c.path, "ID", strings.TrimPrefix(ch.URL, s.base.String()+challengePath), 1)
			signed := url.URL{Scheme: "https", Host: s.base.Host, Path: path} // escaped once more: so Pebble wants it
			before := len(g.asked())
			a := client.send(path, client.sign(signed.String(), client.nonce(), "{}"), nil)
			require.Less(t, a.status, 500, a.body)
			s.settled()
			require.Equal(t, c.status, client.fetchChallenge(ch.URL).Status, a.body)
			require.Equal(t, c.status == "valid", len(g.asked()) == before+1, "through the gate or not at all")
			require.Equal(t, c.status == "valid", a.status == http.StatusOK)
		})
	}
	_, _, ch := client.offered1("shop.example.com", "http-01")
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		a := client.send(ch.URL, client.sign(ch.URL, client.nonce(), "{}"), func(r *http.Request) { r.Method = method })
		require.Equal(t, http.StatusMethodNotAllowed, a.status)
	}
}

// TestAVouchedRequestNeedsItsAccount: Pebble's refusal says that all was in order, and yet the account is not to be
// had.
func TestAVouchedRequestNeedsItsAccount(t *testing.T) {
	for name, forge := range map[string]func(c *client, url string) string{
		"no JWS": func(*client, string) string { return "{}" },
		"two signatures": func(c *client, url string) string {
			var m map[string]string
			require.NoError(c.t, json.Unmarshal([]byte(c.sign(url, "n", "{}")), &m))
			b, err := json.Marshal(map[string]any{"payload": m["payload"],
				"signatures": []map[string]string{{"protected": m["protected"], "signature": m["signature"]},
					{"protected": m["protected"], "signature": m["signature"]}}})
			require.NoError(c.t, err)
			return string(b)
		},
		"an account of another server": func(c *client, url string) string {
			kid := "https://other.test" + strings.TrimPrefix(c.kid, c.base.String())
			return (&client{site: c.site, key: c.key, kid: kid}).sign(url, "n", "{}")
		},
		"an account that does not exist": func(c *client, url string) string {
			return (&client{site: c.site, key: c.key, kid: c.kid + "0"}).sign(url, "n", "{}")
		},
		"no account": func(c *client, url string) string { return (&client{site: c.site, key: c.key}).sign(url, "n", "{}") },
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{sees: all}
			s := start(t, g.Validate)
			client := s.newClient()
			_, _, ch := client.offered1("shop.example.com", "http-01")
			s.mu.Lock()
			pebble := s.front
			s.front = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // vouches for everything
				w.WriteHeader(http.StatusBadRequest)
				json.NewEncoder(w).Encode(problem{Type: "urn:ietf:params:acme:error:malformed", Detail: witnessRefusal})
			})
			s.mu.Unlock()
			a := s.send(ch.URL, forge(client, ch.URL), nil)
			require.Equal(t, http.StatusInternalServerError, a.status)
			require.Equal(t, "urn:ietf:params:acme:error:serverInternal", a.problem(t).Type)
			s.mu.Lock()
			s.front = pebble
			s.mu.Unlock()
			s.settled()
			require.Empty(t, g.asked())
			require.Equal(t, "pending", client.fetchChallenge(ch.URL).Status)
		})
	}
}

func TestAnOrderInNoStatusBeginsNothing(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient()
	_, authz, ch := client.offered1("shop.example.com", "http-01")
	a := s.store.GetAuthorizationByID(strings.TrimPrefix(authz, s.base.String()+"/authZ/"))
	a.Lock()
	a.Status = "odd"
	a.Unlock()
	require.Equal(t, "urn:ietf:params:acme:error:serverInternal", client.post(ch.URL, "{}").problem(t).Type)
	s.settled()
	require.Empty(t, g.asked())
}
