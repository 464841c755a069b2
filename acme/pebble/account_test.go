package pebble

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/acme"
	"github.com/quorate/quorate/va"
)

// rollover changes the account's key (RFC 8555 section 7.3.5), and gives the client that it had before.
func (c *client) rollover() (before *client) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(c.t, err)
	url := c.path("/rollover-account-key")
	payload, err := json.Marshal(map[string]any{"account": c.kid, "oldKey": jose.JSONWebKey{Key: c.key.Public()}})
	require.NoError(c.t, err)
	options := &jose.SignerOptions{EmbedJWK: true, ExtraHeaders: map[jose.HeaderKey]any{"url": url}}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	require.NoError(c.t, err)
	inner, err := signer.Sign(payload)
	require.NoError(c.t, err)
	a := c.post(url, inner.FullSerialize())
	require.Equal(c.t, http.StatusOK, a.status, a.body)
	before = &client{site: c.site, key: c.key, kid: c.kid}
	c.key = key
	return before
}

func keyAuthorization(t *testing.T, ch challenge, key *ecdsa.PrivateKey) string {
	t.Helper()
	text, err := acme.KeyAuthorization(ch.Token, &jose.JSONWebKey{Key: key.Public()})
	require.NoError(t, err)
	return text
}

// TestRFC8555_8_1_TheKeyThatRespondsIsTheKeyThatCounts: between order and response the account gets another key. The
// key authorization is of the key that signed the response; the account, and what CAA says of it, is the same.
//
// Holds: MPIC-10, CAA-04
func TestRFC8555_8_1_TheKeyThatRespondsIsTheKeyThatCounts(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient()
	_, authz, ch := client.offered1("shop.example.com", "http-01")
	before := client.rollover()
	require.GreaterOrEqual(t, before.post(ch.URL, "{}").status, 400, "the old key begins nothing")
	s.settled()
	require.Empty(t, g.asked())

	require.Equal(t, http.StatusOK, client.post(ch.URL, "{}").status)
	s.settled()
	req := g.asked()[0].req
	require.Equal(t, keyAuthorization(t, ch, client.key), req.KeyAuthorization)
	require.NotEqual(t, keyAuthorization(t, ch, before.key), req.KeyAuthorization)
	require.Equal(t, client.kid, req.AccountURI)
	require.Equal(t, "valid", client.authorization(authz).Status)
}

// TestAKeyChangedMeanwhileChangesNoAttempt: what is validated is fixed when it begins. A new account that takes up the
// old key has nothing of the first one's.
//
// Holds: MPIC-10
func TestAKeyChangedMeanwhileChangesNoAttempt(t *testing.T) {
	g := &gate{sees: all}
	h := hold(g.Validate)
	s := start(t, h.Validate)
	client := s.newClient()
	o, authz, ch := client.offered1("shop.example.com", "http-01")
	require.Equal(t, http.StatusOK, client.post(ch.URL, "{}").status)
	<-h.entered
	before := client.rollover()
	close(h.letGo)
	s.settled()
	require.Equal(t, keyAuthorization(t, ch, before.key), g.asked()[0].req.KeyAuthorization)
	require.Equal(t, "valid", client.authorization(authz).Status)

	before.kid = ""
	a := before.post("/sign-me-up", `{"termsOfServiceAgreed":true}`)
	require.Equal(t, http.StatusCreated, a.status)
	before.kid = a.header.Get("Location")
	require.NotEqual(t, client.kid, before.kid)
	body := `{"csr":"` + csr(t, "shop.example.com") + `"}`
	require.Equal(t, "urn:ietf:params:acme:error:unauthorized", before.post(o.Finalize, body).problem(t).Type)
	require.Equal(t, http.StatusOK, client.post(o.Finalize, body).status)
}

// TestAnAccountDeactivatedMeanwhileGetsNothing (RFC 8555 section 7.3.6).
func TestAnAccountDeactivatedMeanwhileGetsNothing(t *testing.T) {
	h := hold((&gate{sees: all}).Validate)
	s := start(t, h.Validate)
	client := s.newClient()
	o, _, ch := client.offered1("shop.example.com", "http-01")
	require.Equal(t, http.StatusOK, client.post(ch.URL, "{}").status)
	<-h.entered
	require.Equal(t, http.StatusOK, client.post(client.kid, `{"status":"deactivated"}`).status)
	close(h.letGo)
	s.settled()
	a := client.post(o.Finalize, `{"csr":"`+csr(t, "shop.example.com")+`"}`)
	require.Equal(t, "urn:ietf:params:acme:error:unauthorized", a.problem(t).Type)
	order := s.store.GetOrderByID(strings.TrimPrefix(o.url, s.base.String()+orderPath))
	require.Nil(t, order.CertificateObject)
	require.Equal(t, "invalid", order.Status, "nothing of the account becomes valid after its end")
}

// TestAnOrderOfAHundredNames: each has an attempt of its own, a name and its wildcard two.
//
// Holds: D5, C1
func TestAnOrderOfAHundredNames(t *testing.T) {
	g := &gate{sees: all}
	s := start(t, g.Validate)
	client := s.newClient()
	names := []string{"*.name-0.example.com"}
	for i := range 99 {
		names = append(names, fmt.Sprintf("name-%d.example.com", i))
	}
	o := client.order(names...)
	require.Len(t, o.Authorizations, 100)
	for i, url := range o.Authorizations {
		require.Equal(t, "pending", client.fetchOrder(o).Status, "with %d of 100 valid", i)
		require.Equal(t, http.StatusOK, client.post(client.authorization(url).challenge(t, "dns-01").URL, "{}").status)
		s.settled()
	}
	require.Equal(t, "ready", client.fetchOrder(o).Status)
	var asked []string
	tokens := map[string]bool{}
	for _, call := range g.asked() {
		asked = append(asked, call.req.Identifier)
		tokens[call.req.Token] = true
		require.Equal(t, call.req, withoutIssuers(call.result.Evidence.Attempt.Probe.Request))
	}
	require.ElementsMatch(t, names, asked)
	require.Len(t, tokens, 100)
}

func withoutIssuers(r va.Request) va.Request {
	r.Issuers = nil
	return r
}

// TestTwoAuthorizationsOfOneNameAreTwo: of two accounts, or of two orders of one account. What one comes to says
// nothing of the other.
//
// Holds: D5, MPIC-09
func TestTwoAuthorizationsOfOneNameAreTwo(t *testing.T) {
	var honest string
	g := &gate{sees: func(_ string, req va.Request) string {
		if req.AccountURI != honest {
			return "the other account's token"
		}
		return req.Expected()
	}}
	s := start(t, g.Validate)
	owner, stranger := s.newClient(), s.newClient()
	honest = owner.kid
	o, _, ch := owner.offered1("shop.example.com", "http-01")
	second, authz, again := owner.offered1("shop.example.com", "http-01")
	theirs, _, their := stranger.offered1("shop.example.com", "http-01")
	require.NotEqual(t, ch.Token, again.Token)
	require.NotEqual(t, ch.Token, their.Token)

	require.Equal(t, http.StatusOK, owner.post(ch.URL, "{}").status)
	require.Equal(t, http.StatusOK, stranger.post(their.URL, "{}").status)
	s.settled()
	require.Equal(t, "ready", owner.fetchOrder(o).Status)
	require.Equal(t, "pending", owner.fetchOrder(second).Status)
	require.Equal(t, "invalid", stranger.fetchOrder(theirs).Status)
	require.Equal(t, http.StatusOK, owner.post(again.URL, "{}").status)
	s.settled()
	require.Equal(t, "valid", owner.authorization(authz).Status)
	require.Len(t, g.asked(), 3)

	// Nor does a CSR bring one order's name into another.
	body := `{"csr":"` + csr(t, "shop.example.com") + `"}`
	require.Equal(t, "urn:ietf:params:acme:error:unauthorized", stranger.post(o.Finalize, body).problem(t).Type)
	require.Equal(t, "urn:ietf:params:acme:error:orderNotReady", stranger.post(theirs.Finalize, body).problem(t).Type)
}
