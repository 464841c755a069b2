package mpic

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/va"
)

// What a certificate's times are held to. A CA may set notBefore up to 48 hours before it signs (BR 7.1.2.7); many take an hour off,
// so that clocks that are slow accept it. Since notBefore tells nothing for certain, the time of linking is on record too.
const (
	// Backdating is how long before its permit was issued a certificate may begin.
	Backdating = 2 * time.Hour
	// LinkGrace is how long after its permit expired a certificate may be linked.
	LinkGrace = 24 * time.Hour
	// MaxCertificate is how long a certificate may be, in octets.
	MaxCertificate = 64 << 10

	// maxProblems is how many problems of one certificate are told: it has room for thirty thousand names.
	maxProblems = 100
)

// Object identifiers, in dotted form.
const (
	oidPoison     = "1.3.6.1.4.1.11129.2.4.3" // RFC 6962 section 3.1
	oidCommonName = "2.5.4.3"
)

// Certificate links a certificate, or a precertificate, to the permit that it was issued upon, and returns when that is on record. der
// is one certificate. A permit may have several: a precertificate and a certificate, say. Linking one a second time changes nothing.
//
// A certificate that does not match the permit has OutcomeRefused and the problems, and is on record too: that it exists matters
// more than that it should not. An error means that nothing was kept: ErrNoPermit, ErrRequest (no octets, or more than
// MaxCertificate), ErrUnread or ErrRecord; or that it was kept and the answer is no all the same: ErrAuditLog.
func (p *Permits) Certificate(ctx context.Context, caller, id string, der []byte) (CertificateRecord, error) {
	if len(der) == 0 || len(der) > MaxCertificate {
		return CertificateRecord{}, fmt.Errorf("%w: a certificate has 1 to %d octets, and this has %d", ErrRequest, MaxCertificate, len(der))
	}
	permit, err := p.find(ctx, caller, id)
	if err != nil {
		return CertificateRecord{}, err
	}
	c := MatchCertificate(permit, caller, der, p.clock())
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	number, again, err := p.config.Ledger.RecordCertificate(recording, c)
	if err != nil {
		return CertificateRecord{}, fmt.Errorf("%w: certificate %s of permit %s: %w", ErrRecord, c.SHA256, id, err)
	}
	if err := p.toldCertificate(c, number, again); err != nil {
		return CertificateRecord{}, err
	}
	log := p.config.Logger.With("permit", id, "caller", caller, "sha256", c.SHA256)
	if c.Outcome == OutcomeLinked {
		log.Info("certificate linked")
		return c, nil
	}
	codes := make([]string, len(c.Problems))
	for i, problem := range c.Problems {
		codes[i] = problem.Code
	}
	log.Warn("a certificate does not match its permit", "problems", codes) // something was issued that the permit does not cover
	return c, nil
}

// MatchCertificate holds a certificate to a permit: at is when it is linked. It is pure, and gives the document to record.
func MatchCertificate(permit PermitRecord, caller string, der []byte, at time.Time) CertificateRecord {
	sum := sha256.Sum256(der)
	c := CertificateRecord{Permit: permit.ID, Outcome: OutcomeRefused, Caller: caller, Linked: at.UTC(),
		SHA256: hex.EncodeToString(sum[:]), DER: slices.Clone(der)}
	refuse := func(code, name, format string, args ...any) {
		if len(c.Problems) < maxProblems {
			c.Problems = append(c.Problems, permitProblem(code, name, format, args...))
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		refuse("certificate.unreadable", "", "this is not one X.509 certificate: %v", err)
		return c
	}
	c.Serial, c.Issuer = cert.SerialNumber.Text(16), cert.Issuer.String()
	c.NotBefore, c.NotAfter = cert.NotBefore.UTC(), cert.NotAfter.UTC()
	c.Precertificate = slices.ContainsFunc(cert.UnhandledCriticalExtensions, func(id asn1.ObjectIdentifier) bool {
		return id.String() == oidPoison
	})
	if cert.IsCA {
		refuse("certificate.authority", "", "the certificate is a certification authority's, and no permit is for one")
	}
	c.checkNames(permit, cert, refuse)
	c.checkTimes(permit, refuse)
	if len(c.Problems) == 0 {
		c.Outcome = OutcomeLinked
	}
	return c
}

type refuseFunc func(code, name, format string, args ...any)

// checkNames: each name of the certificate is one of the permit's, compared exactly, and there is one at least (D5, C1).
func (c *CertificateRecord) checkNames(permit PermitRecord, cert *x509.Certificate, refuse refuseFunc) {
	names, err := va.AltNames(cert)
	if err != nil {
		refuse("certificate.unreadable", "", "the subject alternative names cannot be read: %v", err)
		return
	}
	for _, text := range names {
		name, ok := strings.CutPrefix(text, "DNS:")
		if !ok {
			refuse("certificate.name-type", "",
				"the certificate has a subject alternative name that is no DNS name (%s); a permit is for DNS names alone", text)
			continue
		}
		c.Names = append(c.Names, name)
		if !slices.ContainsFunc(permit.Names, func(n PermitName) bool { return n.Name == name }) {
			refuse("certificate.name", cutName(name), "the certificate is for %q, and the permit is not", cutName(name))
		}
	}
	if len(names) == 0 {
		refuse("certificate.name", "", "the certificate has no name")
	}
	for _, attribute := range cert.Subject.Names {
		if attribute.Type.String() != oidCommonName {
			continue
		}
		if name, ok := attribute.Value.(string); !ok || !slices.Contains(c.Names, name) {
			text := cutName(fmt.Sprint(attribute.Value))
			refuse("certificate.common-name", text, "the certificate's common name %q is none of its subject alternative names", text)
		}
	}
}

// checkTimes holds notBefore and the time of linking to the permit's.
func (c *CertificateRecord) checkTimes(permit PermitRecord, refuse refuseFunc) {
	if permit.Outcome != OutcomeGranted {
		refuse("certificate.permit", "", "the permit was refused, so that nothing could be issued upon it")
		return
	}
	switch {
	case c.NotBefore.Before(permit.Issued.Add(-Backdating)):
		refuse("certificate.early", "",
			"the certificate is good from %s; its permit was issued at %s, and at most %s may be between them", stamp(c.NotBefore), stamp(permit.Issued), Backdating)
	case !c.NotBefore.Before(permit.Expires):
		refuse("certificate.late", "", "the certificate is good from %s; its permit had expired at %s", stamp(c.NotBefore),
			stamp(permit.Expires))
	}
	switch {
	case c.Linked.Before(permit.Issued):
		refuse("certificate.early", "", "the certificate was linked at %s; its permit was issued at %s", stamp(c.Linked),
			stamp(permit.Issued))
	case c.Linked.After(permit.Expires.Add(LinkGrace)):
		refuse("certificate.late", "",
			"the certificate was linked at %s; its permit expired at %s, and at most %s may be between them", stamp(c.Linked), stamp(permit.Expires), LinkGrace)
	}
}
