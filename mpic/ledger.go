package mpic

import (
	"context"
	"errors"
	"time"

	"github.com/quorate/quorate/va"
)

var (
	// ErrNoPermit: there is no permit of that identifier, or it is not this caller's.
	ErrNoPermit = errors.New("mpic: no such permit")
	// ErrUnread: the Ledger could not be read, so the answer is no.
	ErrUnread = errors.New("mpic: the records could not be read")
)

// Ledger finds evidence on record, and keeps what was permitted upon it. Package db implements it on each database engine.
//
// Each Record method returns only after what it wrote is durable; an error means that nothing was written, and that the answer to
// the caller is no (REC-05).
type Ledger interface {
	// Evidence gives what Reliable says of recorded attempts for issuance and for CAA alone, of one account, whose identifier is
	// among names, the newest first. It may leave out what can be relied upon no more, and of several attempts of one kind,
	// identifier, method and issuers all but the newest.
	Evidence(ctx context.Context, account string, names []string) ([]Relied, error)
	// Confirm works out again, from the documents of the record, what Evidence gave, and is an error where it says more than they
	// do: Evidence may rest on copies.
	Confirm(ctx context.Context, r Relied) error
	// RecordPermit keeps a permit, granted or refused, and gives the record's number. Another permit of the same identifier is an
	// error.
	RecordPermit(ctx context.Context, p PermitRecord) (number int64, err error)
	// FindPermit gives a permit with its Number, or ErrNoPermit.
	FindPermit(ctx context.Context, id string) (PermitRecord, error)
	// RecordCertificate appends a certificate to a permit's. A second one of the same permit, SHA256 and outcome changes nothing and
	// is no error: the first stays. It gives the number of the certificate's record, and again where that was there before.
	RecordCertificate(ctx context.Context, c CertificateRecord) (number int64, again bool, err error)
}

// The outcomes of permits and of certificates. The empty one is none.
const (
	OutcomeGranted = "granted"
	OutcomeLinked  = "linked"
	OutcomeRefused = "refused"
)

// PermitRecord is the document of a permit: what was asked for, by whom, and what each name rests on.
type PermitRecord struct {
	// ID identifies it for ever.
	ID string `json:"id"`
	// Number is the record's; FindPermit sets it, and what RecordPermit is given has none.
	Number int64 `json:"number,omitempty"`
	// Outcome is OutcomeGranted or OutcomeRefused.
	Outcome string `json:"outcome"`
	// Caller is who asked, with the front in front.
	Caller  string `json:"caller"`
	Account string `json:"account_uri"`
	// Requested is when it was asked for, Issued when it was decided, in whole seconds; both UTC. Expires is there exactly where
	// it was granted: nothing may be issued upon it from then on.
	Requested time.Time `json:"requested"`
	Issued    time.Time `json:"issued"`
	Expires   time.Time `json:"expires,omitzero"`
	// Software is the gate's program and version, Requirements the rules that it was made from.
	Software     string `json:"software"`
	Requirements string `json:"requirements"`
	// Key is the thumbprint (RFC 7638) of the key that signs the token.
	Key string `json:"key"`
	// Names has one entry for each name asked for, in the order of the request.
	Names []PermitName `json:"names"`
	// Problem says why the request as a whole was refused, nil where the names say it.
	Problem *va.Problem `json:"problem,omitempty"`
}

// PermitName is what one name of a permit rests on. DCV and CAA are there where the permit was granted.
type PermitName struct {
	Name    string      `json:"name"`
	DCV     *PermitDCV  `json:"dcv,omitempty"`
	CAA     *PermitCAA  `json:"caa,omitempty"`
	Problem *va.Problem `json:"problem,omitempty"`
}

// PermitDCV is the attempt that showed control of a name.
type PermitDCV struct {
	Attempt string `json:"attempt"`
	Number  int64  `json:"number"`
	// SHA256 is that of the decision's document.
	SHA256 string    `json:"sha256"`
	Method va.Method `json:"method"`
	// AuthorizationDomainName was validated, and Scope says what that is good for.
	AuthorizationDomainName string    `json:"authorization_domain_name"`
	Scope                   Scope     `json:"scope"`
	Validated               time.Time `json:"validated"`
	ReusableUntil           time.Time `json:"reusable_until"`
}

// PermitCAA is the attempt that found permission for exactly the name.
type PermitCAA struct {
	Attempt    string    `json:"attempt"`
	Number     int64     `json:"number"`
	SHA256     string    `json:"sha256"`
	Checked    time.Time `json:"checked"`
	FreshUntil time.Time `json:"fresh_until"`
}

// CertificateRecord is the document of a certificate that was, or was to be, linked to a permit.
type CertificateRecord struct {
	// Permit is the permit's identifier.
	Permit string `json:"permit"`
	// Outcome is OutcomeLinked or OutcomeRefused.
	Outcome string `json:"outcome"`
	Caller  string `json:"caller"`
	// Linked is when it was sent in; UTC.
	Linked time.Time `json:"linked"`
	// SHA256 is that of DER, in lower-case hexadecimal: the certificate's fingerprint.
	SHA256 string `json:"sha256"`
	// Serial is the certificate's serial number in lower-case hexadecimal, without leading zeros; Issuer its issuer in the form
	// of RFC 2253. They and those below are empty where the certificate could not be read.
	Serial string `json:"serial,omitempty"`
	Issuer string `json:"issuer,omitempty"`
	// Precertificate: it has the poison of RFC 6962 section 3.1.
	Precertificate bool      `json:"precertificate,omitempty"`
	Names          []string  `json:"names,omitempty"`
	NotBefore      time.Time `json:"not_before,omitzero"`
	NotAfter       time.Time `json:"not_after,omitzero"`
	DER            []byte    `json:"der"`
	// Problems say why it was refused; empty exactly where it was linked.
	Problems []*va.Problem `json:"problems,omitempty"`
}
