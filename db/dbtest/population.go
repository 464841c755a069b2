package dbtest

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
)

// Started is when the attempts made here begin, if nothing else is said.
func Started() time.Time { return started }

// Permitted asks for a permit at a time upon what is on record for Account, and keeps the answer: each name rests on what mpic.Rely chooses.
func Permitted(t testing.TB, s *db.Store, id string, at time.Time, names ...string) mpic.PermitRecord {
	t.Helper()
	var covering []string
	for _, n := range names {
		covering = append(covering, mpic.CoveringNames(n)...)
	}
	candidates, err := s.Ledger().Evidence(t.Context(), Account, covering)
	require.NoError(t, err)
	p := mpic.PermitRecord{ID: id, Outcome: mpic.OutcomeGranted, Caller: "rest:ra-1", Account: Account, Requested: at, Issued: at.Truncate(time.Second),
		Expires: at.Truncate(time.Second).Add(time.Hour), Software: "quorate/test", Requirements: mpic.Requirements, Key: "key"}
	for _, r := range mpic.Rely(mpic.Wanted{Names: names, Account: Account, Issuers: []string{"ca.example"}, At: at, Until: at.Add(time.Minute)}, candidates) {
		n := mpic.PermitName{Name: r.Name, Problem: r.Problem}
		if d := r.DCV; d != nil {
			n.DCV = &mpic.PermitDCV{Attempt: d.Attempt, Number: d.Number, SHA256: d.SHA256, Method: d.Method, Scope: d.Scope,
				AuthorizationDomainName: d.AuthorizationDomainName, Validated: d.Checked, ReusableUntil: d.ReusableUntil}
		}
		if c := r.CAA; c != nil {
			n.CAA = &mpic.PermitCAA{Attempt: c.Attempt, Number: c.Number, SHA256: c.SHA256, Checked: c.Checked, FreshUntil: c.CAAFreshUntil}
		}
		if r.Problem != nil {
			p.Outcome, p.Expires = mpic.OutcomeRefused, time.Time{}
		}
		p.Names = append(p.Names, n)
	}
	p.Number, err = s.Ledger().RecordPermit(t.Context(), p)
	require.NoError(t, err)
	return p
}

// LinkedTo issues a certificate for a permit's names, as change makes it, and links it.
func LinkedTo(t testing.TB, s *db.Store, p mpic.PermitRecord, serial int64, change func(*x509.Certificate)) mpic.CertificateRecord {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: p.Issued, NotAfter: p.Issued.Add(90 * 24 * time.Hour)}
	for _, n := range p.Names {
		template.DNSNames = append(template.DNSNames, n.Name)
	}
	if change != nil {
		change(template)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA", Organization: []string{"Quorate"}}}
	der, err := x509.CreateCertificate(nil, template, ca, key.Public(), key)
	require.NoError(t, err)
	c := mpic.MatchCertificate(p, p.Caller, der, p.Issued.Add(time.Minute))
	_, _, err = s.Ledger().RecordCertificate(t.Context(), c)
	require.NoError(t, err)
	return c
}

// Precertificate makes the certificate of a template one (RFC 6962 section 3.1).
func Precertificate(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}, Critical: true, Value: []byte{5, 0}})
}
