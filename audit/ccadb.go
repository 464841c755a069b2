package audit

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// IncidentColumns are the fields of the list of certificates that the appendix of an incident report has, by the CCADB's Incident Reporting
// Guidelines 3.1 (https://www.ccadb.org/cas/incident-report), in their order.
func IncidentColumns() []string {
	return []string{"Precertificate SHA-256 hash", "Certificate SHA-256 hash", "Subject", "Issuer", "Not before", "Not after", "Serial #", "dNSNames",
		"Is revoked?", "Revocation date", "Revocation reason"}
}

// IncidentLinks is from how many certificates on the guidelines let a CA attach a file of links instead.
const IncidentLinks = 10_000

// CrtShLink is a line of that file.
func CrtShLink(fingerprint string) string { return "https://crt.sh/?sha256=" + fingerprint }

// IncidentRow is one certificate of the list, with its precertificate.
type IncidentRow struct {
	// Precertificate and Certificate are SHA-256 fingerprints, empty where the records have none.
	Precertificate, Certificate string
	Subject, Issuer             string
	NotBefore, NotAfter         time.Time
	Serial                      *big.Int
	DNSNames                    []string
}

// NewIncidentRow reads a certificate or precertificate.
func NewIncidentRow(der []byte, fingerprint string) (r IncidentRow, err error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return r, fmt.Errorf("audit: the certificate %s: %w", fingerprint, err)
	}
	r = IncidentRow{Subject: c.Subject.String(), Issuer: c.Issuer.String(), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		Serial: c.SerialNumber, DNSNames: c.DNSNames}
	poison := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3} // RFC 6962 section 3.1
	if slices.ContainsFunc(c.UnhandledCriticalExtensions, poison.Equal) {
		r.Precertificate = fingerprint
	} else {
		r.Certificate = fingerprint
	}
	return r, nil
}

// Fields gives the row at a time. The gate does not know what was revoked: the CA fills that in. Where the certificate is expired, the
// guidelines have "N/A".
func (r IncidentRow) Fields(at time.Time) []string {
	revocation := []string{"", "", ""}
	if r.NotAfter.Before(at) {
		revocation = []string{"N/A", "N/A", "N/A"}
	}
	serial := hex.EncodeToString(r.Serial.Bytes()) // whole octets, as certificates are shown
	return append([]string{orNone(r.Precertificate), orNone(r.Certificate), r.Subject, r.Issuer, r.NotBefore.Format(time.RFC3339),
		r.NotAfter.Format(time.RFC3339), serial, strings.Join(r.DNSNames, " ")}, revocation...)
}

func orNone(s string) string {
	if s == "" {
		return "N/A"
	}
	return s
}
