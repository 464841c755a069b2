package pebble

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	pebbleacme "github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"

	"github.com/quorate/quorate/acme"
	"github.com/quorate/quorate/mpic"
)

const (
	// profile is the CA's only one.
	profile = "default"
	// unissuable is the profile of every order in Pebble's store: the CA has none of that name, and signs nothing for it.
	unissuable = ""
)

// permits is what issuance needs of mpic.Permits.
type permits interface {
	Permit(ctx context.Context, caller, account string, names []string) (mpic.Permit, error)
	Certificate(ctx context.Context, caller, id string, der []byte) (mpic.CertificateRecord, error)
}

// Issuance is what became of an order that was finalized.
type Issuance struct {
	Order, Account string
	// Permit is what the gate decided; the zero one where it could not decide.
	Permit mpic.Permit
	// Certificate is the record of what was signed, linked to the permit or not; the zero one where nothing was signed, or where
	// the record could not be written.
	Certificate mpic.CertificateRecord
	// Err says what went wrong on the way. A permit that was refused is no error; a certificate that is not linked is one.
	Err error
}

// finalize has Pebble look at the request as it does at any other: nonce, signature, URL, account, whose order it is, that it is
// ready, and the CSR. What Pebble finds in order it makes "processing", which it does once for each order, and answers. It then asks
// the CA to sign; but the CA refuses every order in its store (see disarm). The one way to a certificate is issue.
func (s *Server) finalize(r *http.Request, body []byte) *reply {
	if s.closed {
		return newReply().refuse(closing())
	}
	order := s.store.GetOrderByID(strings.TrimPrefix(r.URL.Path, finalizePath))
	if order == nil {
		return s.ask(r, body)
	}
	order.RLock()
	before := order.BeganProcessing
	order.RUnlock()
	out := s.ask(r, body)
	order.RLock()
	f := finalized{order: order, account: order.AccountID, csr: order.ParsedCSR, replaces: order.Replaces}
	begun := order.BeganProcessing && !before
	for _, ident := range order.Identifiers {
		f.names = append(f.names, ident.Value)
	}
	order.RUnlock()
	if begun { // rather than the answer's status: an order in processing must come to an end
		s.work.Add(1)
		go s.issue(f)
	}
	return out
}

// disarm leaves an order with a profile that the CA does not have. It is done before a client knows the order, so that no way of
// finalizing it, known to this package or not, leads to a certificate. The caller holds mu.
func disarm(order *core.Order) {
	order.Lock()
	defer order.Unlock()
	order.Profile = unissuable
}

func closing() acme.Problem {
	p := internal("the server is going down")
	p.Status = http.StatusServiceUnavailable
	return p
}

// finalized is an order that Pebble found ready and its CSR in order.
type finalized struct {
	order    *core.Order
	account  string
	csr      *x509.CertificateRequest
	names    []string
	replaces string
}

// issue asks for a permit, signs upon it, links the certificate, and only then lets the client see it. It outlives the request that
// began it, and never leaves the order in processing.
func (s *Server) issue(f finalized) {
	defer s.work.Done()
	result, cert, problem := s.carryOut(f)
	s.tell(result)
	s.conclude(f, cert, problem)
}

// tell calls the hook. What it does has no say in what becomes of the order.
func (s *Server) tell(result Issuance) {
	if s.onIssuance == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("OnIssuance panicked", "order", result.Order, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	s.onIssuance(result)
}

// carryOut gives a certificate only where its permit is on record and it is linked to it. problem tells the client why there is
// none, and has no meaning beside a certificate.
func (s *Server) carryOut(f finalized) (result Issuance, cert *core.Certificate, problem acme.Problem) {
	result = Issuance{Order: f.order.ID, Account: s.base.String() + accountPath + f.account}
	log := s.log.With("order", f.order.ID, "names", f.names)
	defer func() {
		if p := recover(); p != nil {
			log.Error("issuance panicked", "panic", p, "stack", string(debug.Stack()))
			result.Err = errors.Join(result.Err, fmt.Errorf("pebble: issuance panicked: %v", p))
			cert, problem = nil, acme.NotIssued()
		}
	}()
	caller := "acme:" + result.Account
	asked := time.Now()
	var err error
	// The gate bounds its own time, and no client's going away ends what has begun.
	if result.Permit, err = s.permits.Permit(context.Background(), caller, result.Account, f.names); err != nil {
		log.Error("no permit", "error", err)
		result.Permit, result.Err = mpic.Permit{}, err
		return result, nil, acme.NotIssued()
	}
	if !covers(result.Permit, f.names) {
		return result, nil, acme.RefusedPermit(result.Permit)
	}
	log = log.With("permit", result.Permit.ID)
	signed, err := s.sign(f, result.Permit, asked)
	if err != nil {
		log.Error("nothing was signed upon a permit", "error", err)
		result.Err = err
		return result, nil, acme.NotIssued()
	}
	if result.Certificate, err = s.permits.Certificate(context.Background(), caller, result.Permit.ID, signed.DER); err == nil &&
		result.Certificate.Outcome != mpic.OutcomeLinked {
		err = fmt.Errorf("pebble: it does not match the permit: %v", result.Certificate.Problems)
	}
	if err != nil { // nobody ever sees it, and it is told that it exists
		log.Error("a certificate could not be linked to its permit, and is withheld", "serial", signed.ID, "error", err)
		result.Err = fmt.Errorf("certificate %s is not linked to its permit: %w", signed.ID, err)
		return result, nil, acme.NotIssued()
	}
	return result, signed, problem
}

// covers tells whether a permit was granted, for exactly these names in this order.
func covers(p mpic.Permit, names []string) bool {
	return p.Outcome == mpic.OutcomeGranted && p.Token != "" &&
		slices.EqualFunc(p.Names, names, func(n mpic.PermitName, name string) bool { return n.Name == name })
}

// sign has the CA sign for the names of the permit and for the CSR's key, while the order and its account still stand. asked is
// a time before the permit was requested.
func (s *Server) sign(f finalized, p mpic.Permit, asked time.Time) (*core.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The gate's clock may be another one than ours: what has passed is measured, not the time of day.
	if passed := time.Since(asked); passed >= p.Expires.Sub(p.Requested) {
		return nil, fmt.Errorf("pebble: the permit expired: %s have passed since it was asked for", passed)
	}
	if account := s.store.GetAccountByID(f.account); account == nil || account.Status != pebbleacme.StatusValid {
		return nil, errors.New("pebble: the account was deactivated meanwhile")
	}
	// In processing stands what has no error, no certificate yet, and only authorizations that are valid and not expired.
	if status, err := f.order.GetStatus(); err != nil || status != pebbleacme.StatusProcessing {
		return nil, fmt.Errorf("pebble: the order is %q meanwhile (%w)", status, err)
	}
	csr := *f.csr
	csr.DNSNames, csr.IPAddresses = f.names, nil // Pebble compares in lower case, and would sign what the CSR has
	// A copy, which no store has: it alone can be completed. Its authorizations were looked at just now.
	twin := &core.Order{ID: f.order.ID, AccountID: f.account, ParsedCSR: &csr, BeganProcessing: true,
		Order: pebbleacme.Order{Profile: profile}}
	s.ca.CompleteOrder(twin)
	if twin.CertificateObject == nil {
		return nil, errors.New("pebble: the CA did not sign; its log says why")
	}
	return twin.CertificateObject, nil
}

// conclude makes the order valid with its certificate, or invalid with the problem (RFC 8555 section 7.1.6).
func (s *Server) conclude(f finalized, cert *core.Certificate, problem acme.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cert == nil {
		f.order.Lock()
		defer f.order.Unlock()
		if f.order.Error == nil {
			f.order.Error = toPebble(problem)
		}
		return
	}
	// Pebble looks at the certificate with the store's lock alone, too (AddOrderByIssuedSerial).
	s.store.Lock()
	f.order.Lock()
	f.order.CertificateObject = cert
	f.order.Unlock()
	s.store.Unlock()
	if err := s.noteReplacement(f); err != nil {
		s.log.Error("a certificate is not known as one that can be, or was, replaced", "order", f.order.ID, "error", err)
	}
}

// noteReplacement does for renewal information (RFC 9773) what Pebble does after it had a certificate signed.
func (s *Server) noteReplacement(f finalized) error {
	if err := s.store.AddOrderByIssuedSerial(f.order); err != nil {
		return err
	}
	if f.replaces == "" {
		return nil
	}
	_, serial, _ := strings.Cut(f.replaces, ".") // Pebble looked at its form when the order was made
	raw, err := base64.RawURLEncoding.DecodeString(serial)
	if err != nil {
		return err
	}
	return s.store.UpdateReplacedOrder(hex.EncodeToString(raw), true)
}
