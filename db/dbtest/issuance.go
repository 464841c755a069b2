package dbtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"math/big"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Clock is one for stores that keep the attempts made here: it begins at their start, and goes on by a millisecond with each look.
func Clock() func() time.Time {
	var looks atomic.Int64
	return func() time.Time { return started.Add(time.Duration(looks.Add(1)) * time.Millisecond) }
}

// Permit is one at a time for names of Account, upon what the store has for them.
func Permit(t testing.TB, s *db.Store, id string, at time.Time, names ...string) mpic.PermitRecord {
	t.Helper()
	candidates, err := s.Ledger().Evidence(t.Context(), Account, names)
	require.NoError(t, err)
	p := mpic.PermitRecord{ID: id, Outcome: mpic.OutcomeGranted, Caller: "rest:ra-1", Account: Account, Requested: at, Issued: at.Truncate(time.Second),
		Expires: at.Truncate(time.Second).Add(time.Hour), Software: "quorate/test", Requirements: mpic.Requirements, Key: "thumbprint"}
	for _, r := range mpic.Rely(mpic.Wanted{Names: names, Account: Account, Issuers: []string{"ca.example"}, At: at, Until: p.Expires}, candidates) {
		n := mpic.PermitName{Name: r.Name, Problem: r.Problem}
		if r.Problem != nil {
			p.Outcome, p.Expires = mpic.OutcomeRefused, time.Time{}
		} else {
			n.DCV = &mpic.PermitDCV{Attempt: r.DCV.Attempt, Number: r.DCV.Number, SHA256: r.DCV.SHA256, Method: r.DCV.Method, Scope: r.DCV.Scope,
				AuthorizationDomainName: r.DCV.AuthorizationDomainName, Validated: r.DCV.Checked, ReusableUntil: r.DCV.ReusableUntil}
			n.CAA = &mpic.PermitCAA{Attempt: r.CAA.Attempt, Number: r.CAA.Number, SHA256: r.CAA.SHA256, Checked: r.CAA.Checked,
				FreshUntil: r.CAA.CAAFreshUntil}
		}
		p.Names = append(p.Names, n)
	}
	return p
}

// Certificate is one for names, good from a time on for 90 days.
func Certificate(t testing.TB, from time.Time, names ...string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(from.UnixNano()), NotBefore: from, NotAfter: from.AddDate(0, 0, 90), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return der
}

// Issue records a granted permit for names at a time, and a certificate upon it, and gives the permit's number.
func Issue(t testing.TB, s *db.Store, at time.Time, names ...string) (int64, mpic.CertificateRecord) {
	t.Helper()
	p := Permit(t, s, "PERMIT-"+at.Format(time.RFC3339), at, names...)
	require.Equal(t, mpic.OutcomeGranted, p.Outcome, "%+v", p.Names)
	number, err := s.Ledger().RecordPermit(t.Context(), p)
	require.NoError(t, err)
	c := mpic.MatchCertificate(p, "rest:ra-1", Certificate(t, p.Issued, names...), at.Add(time.Second))
	require.Equal(t, mpic.OutcomeLinked, c.Outcome, "%+v", c.Problems)
	_, again, err := s.Ledger().RecordCertificate(t.Context(), c)
	require.NoError(t, err)
	require.False(t, again)
	return number, c
}

// mailIsNotReliedUpon records a granted check of CAA for an S/MIME certificate: it is on record, and nothing finds it for a permit
// (CAA-10).
func mailIsNotReliedUpon(t *testing.T, g Engine) {
	a := Attempt("MAIL", "mail.example.com", mpic.CAARecheck)
	a.Probe.CAAAlone = true
	a.Probe.Request.Token, a.Probe.Request.KeyAuthorization, a.Probe.Request.TokenCreated = "", "", time.Time{}
	a.Probe.Request.CertificateType = va.SMIME
	Record(t, g.Store, Evidence(t, a))
	r, err := g.Store.Attempt(t.Context(), "MAIL")
	require.NoError(t, err)
	require.True(t, mpic.Judge(r.Evidence).Granted(), "%v", mpic.Judge(r.Evidence).Reasons())
	require.Equal(t, va.SMIME, r.Evidence.Attempt.Probe.Request.CertificateType)
	_, err = r.Reliable()
	require.Error(t, err)
	found, err := g.Store.Ledger().Evidence(t.Context(), Account, []string{"mail.example.com"})
	require.NoError(t, err)
	require.Empty(t, found)
}

func issuance(t *testing.T, g Engine) {
	l := g.Store.Ledger()
	none, err := l.Evidence(t.Context(), Account, []string{"example.com"})
	require.NoError(t, err)
	require.Empty(t, none)
	Record(t, g.Store, Evidence(t, Attempt("A1", "example.com", mpic.Issuance)))
	Record(t, g.Store, Evidence(t, Attempt("DRY", "example.com", mpic.DryRun)))
	failed := Evidence(t, Attempt("A2", "example.com", mpic.Issuance))
	PrimaryFails(t, &failed)
	Record(t, g.Store, failed)

	found, err := l.Evidence(t.Context(), Account, []string{"example.com", "www.example.com"})
	require.NoError(t, err)
	require.Len(t, found, 1, "neither a dry run nor a refusal is relied upon")
	require.Equal(t, "A1", found[0].Attempt)
	r, err := g.Store.Attempt(t.Context(), "A1")
	require.NoError(t, err)
	again, ok := mpic.Reliable(r.Evidence, mpic.Judge(r.Evidence).Recorded(), r.Number, r.Closing.SHA256)
	require.True(t, ok)
	require.Equal(t, again, found[0])
	require.NoError(t, l.Confirm(t.Context(), found[0]))
	for name, change := range map[string]func(*mpic.Relied){
		"fresh for longer":    func(r *mpic.Relied) { r.CAAFreshUntil = r.CAAFreshUntil.Add(time.Nanosecond) },
		"reusable for longer": func(r *mpic.Relied) { r.ReusableUntil = r.ReusableUntil.Add(time.Nanosecond) },
		"a wider scope":       func(r *mpic.Relied) { r.Scope = mpic.Subtree },
		"another name":        func(r *mpic.Relied) { r.Identifier = "example.org" },
		"another account":     func(r *mpic.Relied) { r.Account = "acct:2" },
		"another document":    func(r *mpic.Relied) { r.SHA256 = wide },
		"checked later":       func(r *mpic.Relied) { r.Checked = r.Checked.Add(time.Second) },
		"another issuer":      func(r *mpic.Relied) { r.Issuers = []string{"other.example"} },
		"a dry run":           func(r *mpic.Relied) { r.Number = 2 },
		"a refused attempt":   func(r *mpic.Relied) { r.Number = 3 },
		"no attempt":          func(r *mpic.Relied) { r.Number = 99 },
	} {
		more := found[0]
		change(&more)
		require.Error(t, l.Confirm(t.Context(), more), "a row that says %s", name)
	}
	mailIsNotReliedUpon(t, g)
	less := found[0]
	less.CAAFreshUntil = less.CAAFreshUntil.Add(-time.Hour)
	require.NoError(t, l.Confirm(t.Context(), less))
	for _, account := range []string{"acct:2", ""} {
		other, err := l.Evidence(t.Context(), account, []string{"example.com"})
		require.NoError(t, err)
		require.Empty(t, other, "another account's")
	}

	number, c := Issue(t, g.Store, started.Add(10*time.Second), "example.com")
	require.EqualValues(t, 1, number)
	refused := Permit(t, g.Store, "REFUSED", started.Add(20*time.Second), "example.com", "example.org")
	require.Equal(t, mpic.OutcomeRefused, refused.Outcome)
	number, err = l.RecordPermit(t.Context(), refused)
	require.NoError(t, err)
	require.EqualValues(t, 2, number)
	_, err = l.RecordPermit(t.Context(), refused)
	require.Error(t, err, "an identifier is used once")
	read, err := l.FindPermit(t.Context(), "REFUSED")
	require.NoError(t, err)
	refused.Number = 2
	require.Equal(t, refused, read)
	_, err = l.FindPermit(t.Context(), "NONE")
	require.ErrorIs(t, err, mpic.ErrNoPermit)

	linked, there, err := l.RecordCertificate(t.Context(), c)
	require.NoError(t, err)
	require.True(t, there, "a second time changes nothing")
	require.EqualValues(t, 1, linked)
	require.Equal(t, 1, count(t, g, "certificates"))
	stranger := c
	stranger.Permit = "NONE"
	_, _, err = l.RecordCertificate(t.Context(), stranger)
	require.ErrorIs(t, err, mpic.ErrNoPermit)
	for name, f := range map[string]db.CertificateFilter{"all": {}, "serial": {Serial: "0" + c.Serial}, "fingerprint": {Fingerprint: c.SHA256},
		"name": {Name: "example.com"}, "attempt": {Attempt: 1}} {
		all, err := g.Store.Certificates(t.Context(), f)
		require.NoError(t, err, name)
		require.Len(t, all, 1, name)
		require.Equal(t, c, all[0].Certificate, name)
	}
	relied, err := g.Store.List(t.Context(), db.Filter{Certificate: c.SHA256})
	require.NoError(t, err)
	require.Len(t, relied, 1)
	require.Equal(t, "A1", relied[0].ID)
}

// handPermits: D5, CAA-05. A name of a permit without an authorization of the same account, or without a granted check of its CAA, is
// refused by the database itself.
func handPermits(t *testing.T, g Engine) {
	Populate(t, g.Store)
	other := Attempt("OTHER", "example.org", mpic.Issuance)
	other.Probe.Request.AccountURI = "acct:2"
	Record(t, g.Store, Evidence(t, other)) // 5
	for i, kind := range []mpic.Kind{mpic.DCVAlone, mpic.CAAAlone} {
		alone := Alone(Attempt("ALONE"+kind.String(), "example.net", kind), kind)
		alone.Probe.Request.Method, alone.Probe.Request.AccountURI = va.HTTP01, Account
		number, d := Record(t, g.Store, Evidence(t, alone))
		require.True(t, d.Granted(), "%v", d.Reasons())
		require.EqualValues(t, 6+i, number)
	}
	mail := Alone(Attempt("MAIL", "example.net", mpic.CAARecheck), mpic.CAAAlone)
	mail.Kind, mail.Probe.Request.CertificateType = mpic.CAARecheck, va.SMIME
	mail.Probe.Request.Method, mail.Probe.Request.AccountURI = va.HTTP01, Account
	number, d := Record(t, g.Store, Evidence(t, mail))
	require.True(t, d.Granted(), "%v", d.Reasons())
	require.EqualValues(t, 8, number)
	for name, c := range map[string]struct {
		table  string
		change row
	}{
		"another name's CAA":      {"permit_names", row{"name": "www.example.com"}},
		"another account's DCV":   {"permit_names", row{"name": "example.org", "attempt": 5}},
		"another account's CAA":   {"permit_names", row{"name": "example.org", "caa_attempt": 5}},
		"DCV alone":               {"permit_names", row{"name": "example.net", "caa_attempt": 6}},
		"CAA alone":               {"permit_names", row{"name": "example.net", "caa_attempt": 7}},
		"CAA for mail":            {"permit_names", row{"name": "example.net", "caa_attempt": 8}},
		"a refused attempt":       {"permit_names", row{"permit": 1, "name": "x", "attempt": 2}},
		"a dry run":               {"permit_names", row{"permit": 1, "name": "x", "attempt": 3}},
		"an open attempt":         {"permit_names", row{"permit": 1, "name": "x", "caa_attempt": 4}},
		"a refused outcome":       {"permit_names", row{"outcome": "refused", "name": "x"}},
		"no permit":               {"permit_names", row{"permit": 9}},
		"a gap":                   {"permits", row{"number": 3, "id": "X"}},
		"granted without an end":  {"permits", row{"number": 2, "id": "X", "expires_at": nil}},
		"a certificate of none":   {"certificates", row{"number": 2, "permit": 9}},
		"a gap in certificates":   {"certificates", row{"number": 3, "fingerprint": wide}},
		"linked without a date":   {"certificates", row{"number": 2, "fingerprint": wide, "not_after": nil}},
		"a reliance on a refusal": {"reliances", row{"attempt": 2}},
		"a reliance on a dry run": {"reliances", row{"attempt": 3}},
	} {
		t.Run(name, func(t *testing.T) {
			eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
				r := rows(t, tx, `SELECT * FROM `+c.table)[0]
				if _, logged := r["leaf"]; logged {
					r["leaf"] = freshLeaf(t, tx)
				}
				require.Error(t, r.with(c.change).insert(tx, c.table))
			})
		})
	}
}

const wide = "0000000000000000000000000000000000000000000000000000000000000001"
