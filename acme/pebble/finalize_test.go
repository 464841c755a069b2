package pebble

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

const ns = "urn:ietf:params:acme:error:"

// desk makes permits for everything, unless a test says otherwise, and links by the real rule.
type desk struct {
	// decide changes a permit before it is given; link a certificate's record.
	decide func(*mpic.Permit) error
	link   func(*mpic.CertificateRecord) error

	mu     sync.Mutex
	given  []mpic.Permit
	linked []mpic.CertificateRecord
}

func (d *desk) Permit(_ context.Context, caller, account string, names []string) (mpic.Permit, error) {
	now := time.Now().UTC()
	p := mpic.Permit{Token: "token", PermitRecord: mpic.PermitRecord{ID: rand.Text(), Outcome: mpic.OutcomeGranted, Caller: caller,
		Account: account, Requested: now, Issued: now.Truncate(time.Second), Expires: now.Truncate(time.Second).Add(time.Hour)}}
	for _, name := range names {
		p.Names = append(p.Names, mpic.PermitName{Name: name})
	}
	var err error
	if d.decide != nil {
		err = d.decide(&p)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.given = append(d.given, p)
	return p, err
}

func (d *desk) Certificate(_ context.Context, caller, id string, der []byte) (mpic.CertificateRecord, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.given {
		if p.ID == id && p.Caller == caller {
			c := mpic.MatchCertificate(p.PermitRecord, caller, der, time.Now())
			if d.link != nil {
				if err := d.link(&c); err != nil {
					return mpic.CertificateRecord{}, err
				}
			}
			d.linked = append(d.linked, c)
			return c, nil
		}
	}
	return mpic.CertificateRecord{}, mpic.ErrNoPermit
}

// asked gives the permits that were asked for, certificates what was linked.
func (d *desk) asked() []mpic.Permit {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]mpic.Permit(nil), d.given...)
}

func (d *desk) certificates() []mpic.CertificateRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]mpic.CertificateRecord(nil), d.linked...)
}

// request makes a finalize request's body for a CSR.
func request(t testing.TB, key *ecdsa.PrivateKey, names ...string) string {
	t.Helper()
	if key == nil {
		var err error
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
	}
	b, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	require.NoError(t, err)
	return `{"csr":"` + base64.RawURLEncoding.EncodeToString(b) + `"}`
}

// readied gives an order all of whose names were validated by dns-01.
func (c *client) readied(names ...string) order {
	c.t.Helper()
	o := c.order(names...)
	for _, authz := range o.Authorizations {
		require.Equal(c.t, http.StatusOK, c.post(c.authorization(authz).challenge(c.t, "dns-01").URL, "{}").status)
	}
	c.settled()
	require.Equal(c.t, "ready", c.fetchOrder(o).Status)
	return o
}

// signed is what Pebble's CA logs for each certificate, and refusedToSign for an order that it does not sign for.
const (
	signed        = "Issued certificate serial"
	refusedToSign = "unable to issue order: unrecgonized profile name"
)

// TestEachCertificateHasItsPermit: it is for the order's names and account, and linked before the client can see it.
//
// Holds: DCV-01, DCV-03
func TestEachCertificateHasItsPermit(t *testing.T) {
	var client *client
	var o order
	var seen []string
	var told []Issuance
	s := start(t, (&gate{sees: all}).Validate, func(c *Config) {
		c.OnIssuance = func(i Issuance) {
			seen, told = append(seen, client.fetchOrder(o).Status), append(told, i)
			panic("the hook broke") // which has no say
		}
	})
	client = s.newClient()
	o = client.readied("shop.example.com", "*.example.com")
	a := client.post(o.Finalize, request(t, nil, "SHOP.example.com", "*.example.com", "shop.example.com"))
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Contains(t, a.body, `"processing"`)
	s.settled()

	done := client.fetchOrder(o)
	require.Equal(t, "valid", done.Status, "%+v", done.Error)
	leaf, _ := parse(t, []byte(client.post(done.Certificate, "").body))
	require.Equal(t, []string{"*.example.com", "shop.example.com"}, leaf.DNSNames, "the permit's names, not the CSR's spelling")
	require.Len(t, s.desk.asked(), 1)
	permit := s.desk.asked()[0]
	require.Equal(t, "acme:"+client.kid, permit.Caller)
	require.Equal(t, client.kid, permit.Account)
	require.Len(t, s.desk.certificates(), 1)
	require.Equal(t, leaf.Raw, s.desk.certificates()[0].DER)
	require.Equal(t, permit.ID, s.desk.certificates()[0].Permit)

	require.Equal(t, []string{"processing"}, seen)
	require.Len(t, told, 1)
	require.NoError(t, told[0].Err)
	require.Equal(t, permit, told[0].Permit)
	require.Equal(t, mpic.OutcomeLinked, told[0].Certificate.Outcome)
	require.Equal(t, strings.TrimPrefix(o.url, s.base.String()+orderPath), told[0].Order)
}

// TestRFC8555_7_4_OnlyAGoodRequestCausesAPermit: what is wrong with a request to finalize is refused by Pebble's own look at it; no
// permit is asked for, and the order is ready as before.
//
// Holds: F1
func TestRFC8555_7_4_OnlyAGoodRequestCausesAPermit(t *testing.T) {
	type setup struct {
		owner, other *client
		o            order
		good         string // a good request's body
	}
	for name, c := range map[string]struct {
		send func(setup) answer
		kind string
	}{
		"another account's": {func(s setup) answer { return s.other.post(s.o.Finalize, s.good) }, ns + "unauthorized"},
		"another account's key, by the owner's name": {func(s setup) answer {
			forger := &client{site: s.other.site, key: s.other.key, kid: s.owner.kid}
			return forger.post(s.o.Finalize, s.good)
		}, ns + "malformed"},
		"a key instead of an account": {func(s setup) answer {
			return (&client{site: s.owner.site, key: s.owner.key}).post(s.o.Finalize, s.good)
		}, ns + "malformed"},
		"a signature tampered with": {func(s setup) answer {
			return s.owner.send(s.o.Finalize, flip(s.owner.t, s.owner.sign(s.o.Finalize, s.owner.nonce(), s.good), "signature"), nil)
		}, ns + "malformed"},
		"a payload tampered with": {func(s setup) answer {
			return s.owner.send(s.o.Finalize, flip(s.owner.t, s.owner.sign(s.o.Finalize, s.owner.nonce(), s.good), "payload"), nil)
		}, ns + "malformed"},
		"a nonce used before": {func(s setup) answer {
			nonce := s.owner.nonce()
			s.owner.send(s.owner.kid, s.owner.sign(s.owner.kid, nonce, ""), nil)
			return s.owner.send(s.o.Finalize, s.owner.sign(s.o.Finalize, nonce, s.good), nil)
		}, ns + "badNonce"},
		"signed for another URL": {func(s setup) answer {
			return s.owner.send(s.o.Finalize, s.owner.sign(s.owner.kid, s.owner.nonce(), s.good), nil)
		}, ns + "malformed"},
		"no JWS":  {func(s setup) answer { return s.owner.send(s.o.Finalize, "{}", nil) }, ns + "malformed"},
		"reading": {func(s setup) answer { return s.owner.post(s.o.Finalize, "") }, ns + "malformed"},
		"no CSR":  {func(s setup) answer { return s.owner.post(s.o.Finalize, `{"csr":"AAAA"}`) }, ns + "malformed"},
		"more names": {func(s setup) answer {
			return s.owner.post(s.o.Finalize, request(s.owner.t, nil, "shop.example.com", "bank.example.com"))
		}, ns + "unauthorized"},
		"another name": {func(s setup) answer {
			return s.owner.post(s.o.Finalize, request(s.owner.t, nil, "bank.example.com"))
		}, ns + "unauthorized"},
		"no name": {func(s setup) answer { return s.owner.post(s.o.Finalize, request(s.owner.t, nil)) }, ns + "unauthorized"},
		"the account's own key": {func(s setup) answer {
			return s.owner.post(s.o.Finalize, request(s.owner.t, s.owner.key, "shop.example.com"))
		}, ns + "badCSR"},
		"no such order": {func(s setup) answer { return s.owner.post(s.o.Finalize+"0", s.good) }, ns + "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, (&gate{sees: all}).Validate)
			x := setup{owner: s.newClient(), other: s.newClient(), good: request(t, nil, "shop.example.com")}
			x.o = x.owner.readied("shop.example.com")

			a := c.send(x)
			require.GreaterOrEqual(t, a.status, 400, a.body)
			require.Equal(t, c.kind, a.problem(t).Type, a.body)
			s.settled()
			require.Empty(t, s.desk.asked(), "no permit was asked for")
			require.Equal(t, "ready", x.owner.fetchOrder(x.o).Status)
			require.NotContains(t, s.logs.String(), signed)

			require.Equal(t, http.StatusOK, x.owner.post(x.o.Finalize, x.good).status)
			s.settled()
			require.Equal(t, "valid", x.owner.fetchOrder(x.o).Status)
		})
	}
}

// TestAnOrderThatIsNotReadyCausesNoPermit, whether its validation is still to come, under way, failed or done with.
func TestAnOrderThatIsNotReadyCausesNoPermit(t *testing.T) {
	h := hold((&gate{sees: all}).Validate)
	s := start(t, h.Validate)
	client := s.newClient()
	o, _, ch := client.offered1("shop.example.com", "http-01")
	refused := func(o order) {
		t.Helper()
		require.Equal(t, ns+"orderNotReady", client.post(o.Finalize, request(t, nil, "shop.example.com")).problem(t).Type)
	}
	refused(o)
	client.post(ch.URL, "{}")
	<-h.entered
	refused(o)
	close(h.letGo)
	s.settled()
	require.Empty(t, s.desk.asked())

	require.Equal(t, http.StatusOK, client.post(o.Finalize, request(t, nil, "shop.example.com")).status)
	s.settled()
	refused(o)
	require.Len(t, s.desk.asked(), 1)

	s.desk.decide = func(p *mpic.Permit) error { return mpic.ErrRecord }
	again := client.readied("shop.example.com")
	client.post(again.Finalize, request(t, nil, "shop.example.com"))
	s.settled()
	refused(again)
	require.Len(t, s.desk.asked(), 2, "an order has one permit at most")
}

// TestNoCertificateWithoutAPermit goes through what a gate can answer, and what can break.
//
// Holds: F1, REC-05
func TestNoCertificateWithoutAPermit(t *testing.T) {
	stale := &va.Problem{Code: "permit.caa-refused", Detail: "CAA was checked again"}
	for name, c := range map[string]struct {
		decide func(*mpic.Permit) error
		kind   string
		status int
		says   string
		subs   int
	}{
		"refused for CAA": {func(p *mpic.Permit) error {
			p.Outcome, p.Token, p.Names[1].Problem = mpic.OutcomeRefused, "", stale
			return nil
		}, "caa", 403, "because of 1 of 2 names; the first: permit.caa-refused: CAA was checked again (permit ", 1},
		"refused for two names": {func(p *mpic.Permit) error {
			p.Outcome, p.Token = mpic.OutcomeRefused, ""
			p.Names[0].Problem, p.Names[1].Problem = &va.Problem{Code: "permit.no-evidence", Detail: "none"}, stale
			return nil
		}, "unauthorized", 403, "because of 2 of 2 names", 2},
		"refused as a whole": {func(p *mpic.Permit) error {
			p.Outcome, p.Token, p.Problem = mpic.OutcomeRefused, "", &va.Problem{Code: "request.account", Detail: "no URI"}
			return nil
		}, "serverInternal", 500, "request.account: no URI", 0},
		"granted without a token": {func(p *mpic.Permit) error { p.Token = ""; return nil }, "serverInternal", 500, "gate.unavailable", 0},
		"a token with a refusal": {func(p *mpic.Permit) error { p.Outcome = mpic.OutcomeRefused; return nil },
			"serverInternal", 500, "gate.unavailable", 0},
		"an outcome of nobody": {func(p *mpic.Permit) error { p.Outcome = ""; return nil }, "serverInternal", 500, "gate.unavailable", 0},
		"for fewer names": {func(p *mpic.Permit) error { p.Names = p.Names[:1]; return nil },
			"serverInternal", 500, "gate.unavailable", 0},
		"for other names": {func(p *mpic.Permit) error { p.Names[0].Name = "bank.example.com"; return nil },
			"serverInternal", 500, "gate.unavailable", 0},
		"not recorded": {func(p *mpic.Permit) error { p.Outcome, p.Token = "", ""; return mpic.ErrRecord },
			"serverInternal", 500, "gate.unavailable", 0},
		"granted, with an error": {func(*mpic.Permit) error { return mpic.ErrRecord }, "serverInternal", 500, "gate.unavailable", 0},
		"the gate is closing":    {func(*mpic.Permit) error { return mpic.ErrClosed }, "serverInternal", 500, "gate.unavailable", 0},
		"the gate panics":        {func(*mpic.Permit) error { panic("the gate broke") }, "serverInternal", 500, "gate.unavailable", 0},
		"over at once":           {func(p *mpic.Permit) error { p.Expires = p.Requested; return nil }, "serverInternal", 500, "gate.unavailable", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var told []Issuance
			s := start(t, (&gate{sees: all}).Validate, func(c *Config) { c.OnIssuance = func(i Issuance) { told = append(told, i) } })
			client := s.newClient()
			o := client.readied("shop.example.com", "www.example.com")
			s.desk.decide = c.decide
			require.Equal(t, http.StatusOK, client.post(o.Finalize, request(t, nil, "shop.example.com", "www.example.com")).status)
			s.settled()

			done := client.fetchOrder(o)
			require.Equal(t, "invalid", done.Status, "RFC 8555 section 7.1.6")
			require.Equal(t, ns+c.kind, done.Error.Type)
			require.Equal(t, c.status, done.Error.Status)
			require.Contains(t, done.Error.Detail, c.says)
			require.Len(t, done.Error.Subproblems, c.subs)
			for _, sub := range done.Error.Subproblems {
				require.NotNil(t, sub.Identifier)
			}
			require.Empty(t, done.Certificate)
			require.NotContains(t, s.logs.String(), signed)
			require.Empty(t, s.desk.certificates())
			require.Len(t, told, 1)
			require.Empty(t, told[0].Certificate.DER)
		})
	}
}

// TestACertificateThatIsNotLinkedIsWithheld: the hook and the log have it, the client does not.
//
// Holds: REC-05
func TestACertificateThatIsNotLinkedIsWithheld(t *testing.T) {
	for name, link := range map[string]func(*mpic.CertificateRecord) error{
		"not recorded": func(*mpic.CertificateRecord) error { return mpic.ErrRecord },
		"refused": func(c *mpic.CertificateRecord) error {
			c.Outcome, c.Problems = mpic.OutcomeRefused, []*va.Problem{{Code: "certificate.late"}}
			return nil
		},
		"an outcome of nobody": func(c *mpic.CertificateRecord) error { c.Outcome = ""; return nil },
		"a panic":              func(*mpic.CertificateRecord) error { panic("the records broke") },
	} {
		t.Run(name, func(t *testing.T) {
			var told []Issuance
			s := start(t, (&gate{sees: all}).Validate, func(c *Config) { c.OnIssuance = func(i Issuance) { told = append(told, i) } })
			client := s.newClient()
			o := client.readied("shop.example.com")
			s.desk.link = link
			client.post(o.Finalize, request(t, nil, "shop.example.com"))
			s.settled()
			done := client.fetchOrder(o)
			require.Equal(t, "invalid", done.Status)
			require.Empty(t, done.Certificate)
			require.Equal(t, ns+"serverInternal", done.Error.Type)
			require.Len(t, told, 1)
			require.Error(t, told[0].Err)
			require.Contains(t, s.logs.String(), "level=ERROR")
		})
	}
}

// deskHeld holds every permit until it is let go.
func deskHeld(d *desk) (entered, letGo chan struct{}) {
	entered, letGo = make(chan struct{}, 64), make(chan struct{})
	d.decide = func(*mpic.Permit) error {
		entered <- struct{}{}
		<-letGo
		return nil
	}
	return entered, letGo
}

// TestRFC8555_7_4_ManyFinalizationsAtOnceAreOne: one permit, one certificate, one link.
func TestRFC8555_7_4_ManyFinalizationsAtOnceAreOne(t *testing.T) {
	s := start(t, (&gate{sees: all}).Validate)
	client := s.newClient()
	o := client.readied("shop.example.com")
	entered, letGo := deskHeld(s.desk)
	bodies := make([]string, 16)
	for i := range bodies {
		bodies[i] = client.sign(o.Finalize, client.nonce(), request(t, nil, "shop.example.com"))
	}
	answers := make([]answer, len(bodies))
	var wg sync.WaitGroup
	for i, body := range bodies {
		wg.Go(func() { answers[i] = client.send(o.Finalize, body, nil) })
	}
	wg.Wait()
	accepted := 0
	for _, a := range answers {
		if a.status == http.StatusOK {
			accepted++
			continue
		}
		require.Equal(t, ns+"orderNotReady", a.problem(t).Type)
	}
	require.Equal(t, 1, accepted)
	<-entered
	require.Equal(t, "processing", client.fetchOrder(o).Status)
	close(letGo)
	s.settled()
	require.Equal(t, "valid", client.fetchOrder(o).Status)
	require.Len(t, s.desk.asked(), 1)
	require.Len(t, s.desk.certificates(), 1)
	require.Equal(t, 1, strings.Count(s.logs.String(), signed))
}

// TestAClientThatGoesAwayChangesNothing: its connection ends while the permit is decided.
func TestAClientThatGoesAwayChangesNothing(t *testing.T) {
	s := start(t, (&gate{sees: all}).Validate)
	client := s.newClient()
	o := client.readied("shop.example.com")
	entered, letGo := deskHeld(s.desk)
	ctx, cancel := context.WithCancel(t.Context())
	body := client.sign(o.Finalize, client.nonce(), request(t, nil, "shop.example.com"))
	client.send(o.Finalize, body, func(r *http.Request) { *r = *r.WithContext(ctx) })
	<-entered
	cancel()
	close(letGo)
	s.settled()
	require.Equal(t, "valid", client.fetchOrder(o).Status)
	require.Len(t, s.desk.certificates(), 1)
}

// TestCloseWaitsForRunningIssuances: what was signed is linked, and nothing new begins.
func TestCloseWaitsForRunningIssuances(t *testing.T) {
	s := start(t, (&gate{sees: all}).Validate)
	client := s.newClient()
	o, other := client.readied("shop.example.com"), client.readied("www.example.com")
	entered, letGo := deskHeld(s.desk)
	client.post(o.Finalize, request(t, nil, "shop.example.com"))
	<-entered
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Close(gone), context.Canceled)

	a := client.post(other.Finalize, request(t, nil, "www.example.com"))
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, ns+"serverInternal", a.problem(t).Type)
	require.Equal(t, "ready", client.fetchOrder(other).Status, "nothing was begun")

	close(letGo)
	require.NoError(t, s.Close(t.Context()))
	require.Equal(t, "valid", client.fetchOrder(o).Status)
	require.Len(t, s.desk.certificates(), 1)
	require.Len(t, s.desk.asked(), 1)
}

// TestWhatEndsMeanwhileIsNotSigned: account, authorization or order end while the permit is decided.
//
// Holds: F1
func TestWhatEndsMeanwhileIsNotSigned(t *testing.T) {
	for name, end := range map[string]func(*client, order){
		"the account": func(c *client, _ order) { c.post(c.kid, `{"status":"deactivated"}`) },
		"an authorization": func(c *client, o order) {
			// Pebble's own attempt to have it signed has to be over: see the BUG note.
			require.Eventually(c.t, func() bool { return strings.Contains(c.logs.String(), refusedToSign) }, 30*time.Second, time.Millisecond)
			require.Equal(c.t, http.StatusOK, c.post(o.Authorizations[0], `{"status":"deactivated"}`).status)
		},
		"an authorization's time": func(c *client, o order) {
			a := c.store.GetAuthorizationByID(strings.TrimPrefix(o.Authorizations[0], c.base.String()+"/authZ/"))
			a.Lock()
			defer a.Unlock()
			a.ExpiresDate = time.Now().Add(-time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, (&gate{sees: all}).Validate)
			client := s.newClient()
			o := client.readied("shop.example.com")
			entered, letGo := deskHeld(s.desk)
			client.post(o.Finalize, request(t, nil, "shop.example.com"))
			<-entered
			end(client, o)
			close(letGo)
			s.settled()
			require.NotContains(t, s.logs.String(), signed)
			require.Empty(t, s.desk.certificates())
			stored := s.store.GetOrderByID(strings.TrimPrefix(o.url, s.base.String()+orderPath))
			require.Equal(t, "invalid", stored.Status)
			require.Nil(t, stored.CertificateObject)
		})
	}
}

// TestPebbleSignsForNoOrderOfItsOwn puts good requests to Pebble's front behind the back of this package, and by all spellings of
// the path that it might understand: an order is processed, and nothing comes of it.
//
// Holds: F1
func TestPebbleSignsForNoOrderOfItsOwn(t *testing.T) {
	t.Run("behind the back", func(t *testing.T) {
		s := start(t, (&gate{sees: all}).Validate)
		client := s.newClient()
		o := client.readied("shop.example.com")
		out := s.ask(s.behind(t, o.Finalize), []byte(client.sign(o.Finalize, client.nonce(), request(t, nil, "shop.example.com"))))
		require.Equal(t, http.StatusOK, out.status, out.body.String())
		over := func() bool { return strings.Contains(s.logs.String(), "Error saving order") }
		require.Eventually(t, over, 30*time.Second, time.Millisecond)
		require.Contains(t, s.logs.String(), refusedToSign)
		require.NotContains(t, s.logs.String(), signed)
		require.Equal(t, "processing", client.fetchOrder(o).Status)
	})
	for name, form := range map[string]string{
		"encoded letters": "/finalize-order%2FID", "two slashes": "//finalize-order/ID", "twice": "/finalize-order/finalize-order/ID",
		"a way round": "/authZ/../finalize-order/ID", "something behind": "/finalize-order/ID/", "a query": "/finalize-order/ID?x=1",
		"no order": "/finalize-order/", "the order's own path": "/my-order/ID",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, (&gate{sees: all}).Validate)
			client := s.newClient()
			o := client.readied("shop.example.com")
			path := strings.Replace(form, "ID", strings.TrimPrefix(o.Finalize, s.base.String()+finalizePath), 1)
			signedFor := url.URL{Scheme: "https", Host: s.base.Host, Path: path} // escaped once more: so Pebble wants it
			a := client.send(path, client.sign(signedFor.String(), client.nonce(), request(t, nil, "shop.example.com")), nil)
			require.Less(t, a.status, 500, a.body)
			s.settled()
			issued := client.fetchOrder(o).Status == "valid"
			require.Equal(t, issued, len(s.desk.certificates()) == 1, "with a permit or not at all")
			require.Equal(t, issued, strings.Contains(s.logs.String(), signed))
			require.Equal(t, a.status == http.StatusOK, issued)
		})
	}
}

// TestRFC8555_7_4_OrdersThatCannotBeFulfilledAreRefused: Pebble itself would sign any times that a client wants.
func TestRFC8555_7_4_OrdersThatCannotBeFulfilledAreRefused(t *testing.T) {
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf(`{"type":"dns","value":"n%d.example.com"}`, i)
	}
	for name, c := range map[string]struct{ body, says string }{
		"notBefore": {`{"identifiers":[{"type":"dns","value":"shop.example.com"}],"notBefore":"2016-01-01T00:00:00Z"}`, "notBefore"},
		"notAfter":  {`{"identifiers":[{"type":"dns","value":"shop.example.com"}],"notAfter":"2036-01-01T00:00:00Z"}`, "notAfter"},
		"too many":  {`{"identifiers":[` + strings.Join(many, ",") + `]}`, "101 names; a certificate may have 100"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, (&gate{sees: all}).Validate)
			a := s.newClient().post(newOrderPath, c.body)
			require.Equal(t, http.StatusBadRequest, a.status)
			require.Equal(t, ns+"malformed", a.problem(t).Type)
			require.Contains(t, a.problem(t).Detail, c.says)
			require.Empty(t, s.offered, "nothing of the order can be begun")
		})
	}
}

// TestRFC9773_ACertificateIsReplacedOnce: what Pebble notes after it had a certificate signed is noted here.
func TestRFC9773_ACertificateIsReplacedOnce(t *testing.T) {
	s := start(t, (&gate{sees: all}).Validate)
	client := s.newClient()
	looked := func(times int) func(*mpic.Permit) error { // waits until Pebble itself has looked for a certificate, in vain
		return func(*mpic.Permit) error {
			for strings.Count(s.logs.String(), "Error saving order") < times {
				runtime.Gosched()
			}
			return nil
		}
	}
	s.desk.decide = looked(1)
	o := client.readied("shop.example.com")
	client.post(o.Finalize, request(t, nil, "shop.example.com"))
	s.settled()
	leaf, _ := parse(t, []byte(client.post(client.fetchOrder(o).Certificate, "").body))
	b64 := base64.RawURLEncoding
	body := fmt.Sprintf(`{"identifiers":[{"type":"dns","value":"shop.example.com"}],"replaces":"%s.%s"}`,
		b64.EncodeToString(leaf.AuthorityKeyId), b64.EncodeToString(leaf.SerialNumber.Bytes()))
	var a answer
	for range 5 { // Pebble's dice: see newOrder
		if a = client.post(newOrderPath, body); a.status == http.StatusCreated {
			break
		}
	}
	require.Equal(t, http.StatusCreated, a.status, a.body)
	var second order
	a.json(t, &second)
	ch := client.authorization(second.Authorizations[0]).challenge(t, "http-01")
	client.post(ch.URL, "{}")
	s.settled()
	s.desk.decide = looked(2)
	require.Equal(t, http.StatusOK, client.post(second.Finalize, request(t, nil, "shop.example.com")).status)
	s.settled()
	require.Len(t, s.desk.certificates(), 2)
	require.Equal(t, ns+"alreadyReplaced", client.post(newOrderPath, body).problem(t).Type)
}

// TestTheDeskIsHonest keeps the double in line with the real one.
func TestTheDeskIsHonest(t *testing.T) {
	_, err := new(desk).Certificate(t.Context(), "acme:x", "none", []byte{1})
	require.True(t, errors.Is(err, mpic.ErrNoPermit))
	require.False(t, covers(mpic.Permit{}, nil), "the zero permit is none")
}
