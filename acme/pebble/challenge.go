package pebble

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	pebbleacme "github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"

	"github.com/quorate/quorate/acme"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

const (
	// witnessRefusal is what Pebble answers to a request to begin the witness, once all else about the request is in
	// order.
	witnessRefusal = "Cannot update challenge with status processing, only status pending"
	// nowhere is the path of no challenge: Pebble's own are of 43 characters.
	nowhere = challengePath + "none"
	// validFor is how long a valid authorization may be used for its order. It is Pebble's own figure, and far below the 8
	// hours for which a CAA answer may be relied upon (CAA-05).
	validFor = time.Hour
)

// signatures are all algorithms with a public key; Pebble accepts some of them.
var signatures = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// isPostAsGet tells whether a POST only reads (RFC 8555 section 6.3). Pebble reads the same bytes with the same
// library, so it comes to the same answer; a body that cannot be read counts as a request to begin, which Pebble then
// refuses.
func isPostAsGet(body []byte) bool {
	jws, err := jose.ParseSignedJSON(string(body), signatures)
	return err == nil && len(jws.UnsafePayloadWithoutVerification()) == 0
}

// begin answers a POST that tells a challenge to begin. It never gives such a request to Pebble under the challenge's
// own path.
func (s *Server) begin(r *http.Request, body []byte) *reply {
	ch := s.store.GetChallengeByID(strings.TrimPrefix(r.URL.Path, challengePath))
	if ch == nil || ch == s.witness {
		return s.askAt(r, nowhere, body)
	}
	checked := s.askAt(r, s.witnessPath(), body)
	if !inOrder(checked) {
		return checked
	}
	account, err := s.account(body)
	if err != nil {
		s.log.Error("a request that Pebble verified names no account", "error", err)
		return checked.refuse(internal("the account was not found"))
	}
	return s.claim(checked, ch, account)
}

func (s *Server) witnessPath() string { return challengePath + s.witness.ID }

// inOrder tells whether Pebble refused for the witness's status, and so for nothing else: content type, signature,
// nonce, URL, an account that exists and is not deactivated, and the body were looked at before.
func inOrder(p *reply) bool {
	var problem pebbleacme.ProblemDetails
	return p.status == http.StatusBadRequest && json.Unmarshal(p.body.Bytes(), &problem) == nil &&
		problem.Type == string(acme.Malformed) && problem.Detail == witnessRefusal
}

// account gives the account whose key signed a request that Pebble has verified: Pebble found the key by the same kid.
func (s *Server) account(body []byte) (*core.Account, error) {
	jws, err := jose.ParseSignedJSON(string(body), signatures)
	if err != nil {
		return nil, fmt.Errorf("reading the JWS again: %w", err)
	}
	if len(jws.Signatures) != 1 {
		return nil, fmt.Errorf("the JWS has %d signatures", len(jws.Signatures))
	}
	kid := jws.Signatures[0].Header.KeyID
	id, ours := strings.CutPrefix(kid, s.base.String()+accountPath)
	account := s.store.GetAccountByID(id)
	if !ours || account == nil {
		return nil, fmt.Errorf("kid %q is no account", kid)
	}
	return account, nil
}

// job is one validation that has been claimed.
type job struct {
	challenge *core.Challenge
	order     string
	request   va.Request
}

// claim begins the challenge's one validation and answers with the challenge in status processing; or it answers why it
// does not. It leaves the challenge as it was unless it begins.
func (s *Server) claim(checked *reply, ch *core.Challenge, account *core.Account) *reply {
	authz, order := ch.Authz, ch.Authz.Order
	order.RLock()
	owner, orderExpires := order.AccountID, order.ExpiresDate
	order.RUnlock()
	if owner != account.ID {
		return checked.refuse(acme.Problem{Type: acme.Unauthorized,
			Detail: "the account that signed the request is not the owner of the challenge"})
	}
	orderStatus, err := order.GetStatus()
	if err != nil {
		s.log.Error("an order is in no status", "order", order.ID, "error", err)
		return checked.refuse(internal("the order is in no status"))
	}

	authz.Lock()
	defer authz.Unlock()
	if ch.Status == pebbleacme.StatusProcessing {
		// A client that sends its request again, because an answer was lost, learns the state; nothing begins twice.
		return s.show(checked, ch)
	}
	now := time.Now()
	if problem := s.unready(ch, orderStatus, orderExpires, now); problem != nil {
		return checked.refuse(*problem)
	}
	request, err := s.request(ch, account)
	if err != nil {
		s.log.Error("a challenge cannot be validated", "challenge", ch.ID, "error", err)
		return checked.refuse(internal("the challenge cannot be validated"))
	}
	if s.closed {
		return checked.refuse(closing())
	}
	// This Lock cannot wait for ever: see settleLate on Pebble's forgotten locks, which need an authorization that is not
	// pending.
	ch.Lock()
	ch.Status = pebbleacme.StatusProcessing
	ch.Unlock()
	delete(s.offered, ch.ID)
	s.work.Add(1)
	go s.run(job{challenge: ch, order: order.ID, request: request})
	return s.show(checked, ch)
}

// unready tells why a challenge may not begin now (RFC 8555 section 7.1.6), nil if it may. The caller holds the
// authorization's lock.
func (s *Server) unready(ch *core.Challenge, orderStatus string, orderExpires, now time.Time) *acme.Problem {
	refuse := func(format string, args ...any) *acme.Problem {
		p := malformed(0, format, args...)
		return &p
	}
	authz := ch.Authz
	switch {
	case ch.Status != pebbleacme.StatusPending:
		return refuse("the challenge is %s: only a pending one can begin", ch.Status)
	case authz.Status != pebbleacme.StatusPending:
		return refuse("the authorization is %s: only a pending one has challenges to begin", authz.Status)
	case !now.Before(authz.ExpiresDate):
		return refuse("the authorization expired at %s", authz.ExpiresDate.UTC().Format(time.RFC3339))
	case !now.Before(orderExpires):
		return refuse("the order expired at %s", orderExpires.UTC().Format(time.RFC3339))
	case orderStatus != pebbleacme.StatusPending:
		return refuse("the order is %s: only a pending one has challenges to begin", orderStatus)
	}
	if _, offered := s.offered[ch.ID]; !offered {
		return refuse("%s is not offered here: this CA validates by %v", ch.Type, va.Methods())
	}
	return nil
}

// request is what the gate is asked. Pebble keeps the "*." of a wildcard in the authorization's identifier, and takes
// it off only where it shows it to a client.
func (s *Server) request(ch *core.Challenge, account *core.Account) (va.Request, error) {
	method, err := va.ParseMethod(ch.Type)
	if err != nil {
		return va.Request{}, err
	}
	keyAuthorization, err := acme.KeyAuthorization(ch.Token, account.Key)
	if err != nil {
		return va.Request{}, err
	}
	return va.Request{
		Identifier:       ch.Authz.Identifier.Value,
		Method:           method,
		Token:            ch.Token,
		KeyAuthorization: keyAuthorization,
		TokenCreated:     s.offered[ch.ID],
		AccountURI:       s.base.String() + accountPath + account.ID, // what Pebble gave the client as the account's Location
	}, nil
}

// show answers 200 with the challenge, as RFC 8555 section 7.5.1 has it.
func (s *Server) show(checked *reply, ch *core.Challenge) *reply {
	ch.RLock()
	defer ch.RUnlock()
	out := checked.with(http.StatusOK, "application/json; charset=utf-8", ch.Challenge)
	out.header.Add("Link", fmt.Sprintf(`<%s>;rel="up"`, ch.Authz.URL))
	return out
}

// run validates and sets the outcome. It outlives the request that began it.
func (s *Server) run(j job) {
	defer s.work.Done()
	decision, problem := s.decide(j)
	s.settle(j, decision, problem)
}

// decide asks the gate. Whatever goes wrong on the way, the decision it returns is then the zero one, which grants
// nothing. problem tells the client why; it has no meaning beside a granted decision.
func (s *Server) decide(j job) (decision mpic.Decision, problem acme.Problem) {
	log := s.log.With("order", j.order, "challenge", j.challenge.ID, "identifier", j.request.Identifier)
	defer func() {
		if p := recover(); p != nil { // a challenge is never left in processing
			log.Error("the validation panicked", "panic", p, "stack", string(debug.Stack()))
			decision, problem = mpic.Decision{}, acme.Unavailable(j.request.Identifier)
		}
	}()
	// MPIC-12: the only source of a decision. The gate bounds its own time, and no client's going away ends an attempt.
	result, err := s.validate(context.Background(), mpic.Issuance, "acme:"+j.request.AccountURI, j.request)
	if s.onResult != nil {
		s.onResult(j.order, j.request, result, err)
	}
	if err != nil {
		log.Error("no decision", "error", err)
		return mpic.Decision{}, acme.Unavailable(j.request.Identifier)
	}
	return result.Decision, acme.Refusal(j.request.Identifier, result.Decision)
}

// settle sets challenge, authorization and order in Pebble's store: valid exactly when the decision is granted and the
// account still stands.
func (s *Server) settle(j job, decision mpic.Decision, problem acme.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, authz, order := j.challenge, j.challenge.Authz, j.challenge.Authz.Order
	now := time.Now().UTC()
	granted := decision.Granted()
	if account := s.store.GetAccountByID(order.AccountID); account == nil || account.Status != pebbleacme.StatusValid {
		// RFC 8555 section 7.3.6: its pending operations end with it.
		granted, problem = false, acme.Problem{Type: acme.Unauthorized, Status: acme.Unauthorized.Status(),
			Detail: "the account was deactivated while the challenge was being validated"}
	}

	authz.Lock()
	if authz.Status != pebbleacme.StatusPending {
		was := authz.Status
		authz.Unlock()
		s.settleLate(ch, was)
		return
	}
	ch.Lock()
	if granted {
		authz.Status = pebbleacme.StatusValid
		authz.ExpiresDate = now.Add(validFor)
		authz.Expires = authz.ExpiresDate.Format(time.RFC3339)
		ch.Status = pebbleacme.StatusValid
		ch.ValidatedDate = now
		ch.Validated = now.Format(time.RFC3339)
	} else {
		authz.Status = pebbleacme.StatusInvalid
		ch.Status = pebbleacme.StatusInvalid
		ch.Error = toPebble(problem)
	}
	ch.Unlock()
	authz.Unlock()

	if !granted {
		order.Lock()
		if order.Error == nil { // the first failure of an order stays its reason
			order.Error = toPebble(problem)
		}
		order.Unlock()
	}
}

// settleLate ends a challenge whose authorization meanwhile left pending: its client deactivated it, or another of its
// challenges decided it. The authorization stays as it is (RFC 8555 section 7.1.6).
//
// Pebble, showing an authorization that is not pending, forgets to unlock the challenges that it leaves out. Such a
// lock is read-locked for ever, so nobody may wait for it here.
//
// BUG: a challenge with a forgotten lock stays "processing". Its authorization no longer shows it.
func (s *Server) settleLate(ch *core.Challenge, authz string) {
	if !ch.TryLock() {
		s.log.Warn("a challenge stays in processing: Pebble forgot to unlock it", "challenge", ch.ID, "authorization", authz)
		return
	}
	defer ch.Unlock()
	ch.Status = pebbleacme.StatusInvalid
	ch.Error = toPebble(malformed(http.StatusBadRequest,
		"the authorization became %s while the challenge was being validated", authz))
}
