package pebble_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	acmeclient "github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
)

// tired is a ledger in which CAA that came with a validation is stale: as if hours had passed since.
type tired struct{ mpic.Ledger }

func (l tired) Evidence(ctx context.Context, account string, names []string) ([]mpic.Relied, error) {
	all, err := l.Ledger.Evidence(ctx, account, names)
	for i := range all {
		if all[i].Kind == mpic.Issuance {
			all[i].CAAFreshUntil = time.Now().Add(-time.Second)
		}
	}
	return all, err
}

// full is a ledger on a disk that has no room for permits.
type full struct{ mpic.Ledger }

func (full) RecordPermit(context.Context, mpic.PermitRecord) (int64, error) {
	return 0, errors.New("the disk is full")
}

// mute keeps permits, and no certificate.
type mute struct{ mpic.Ledger }

func (mute) RecordCertificate(context.Context, mpic.CertificateRecord) (int64, bool, error) {
	return 0, false, errors.New("the disk is full")
}

func tiredLedger(l mpic.Ledger) mpic.Ledger { return tired{l} }
func fullLedger(l mpic.Ledger) mpic.Ledger  { return full{l} }
func muteLedger(l mpic.Ledger) mpic.Ledger  { return mute{l} }

func byDNS(w *world.World) map[string]acmez.Solver {
	return map[string]acmez.Solver{"dns-01": record{w}}
}

// issued gives all certificates on record.
func (s *scene) issued() []db.Issued {
	s.t.Helper()
	all, err := s.records.Certificates(s.t.Context(), db.CertificateFilter{})
	require.NoError(s.t, err)
	return all
}

// TestACertificateRestsOnThePermitsEvidence: name and wildcard in one order, on record with what was issued.
//
// Holds: C1, D5, DCV-03, CAA-05
func TestACertificateRestsOnThePermitsEvidence(t *testing.T) {
	s := newScene(t, byDNS)
	require.NoError(t, s.obtain("*.example.org", "example.org"))
	all := s.issued()
	require.Len(t, all, 1)
	permit, cert := all[0].Permit, all[0].Certificate
	require.Equal(t, mpic.OutcomeLinked, cert.Outcome)
	require.Equal(t, []string{"*.example.org", "example.org"}, cert.Names)
	require.Equal(t, mpic.OutcomeGranted, permit.Outcome)
	require.Equal(t, s.account.Location, permit.Account)
	require.Equal(t, "acme:"+s.account.Location, permit.Caller)
	for _, n := range permit.Names {
		control, err := s.records.Attempt(t.Context(), n.DCV.Attempt)
		require.NoError(t, err)
		require.Contains(t, mpic.CoveringNames(n.Name), control.Identifier)
		require.Equal(t, db.Granted, control.Outcome)
		permission, err := s.records.Attempt(t.Context(), n.CAA.Attempt)
		require.NoError(t, err)
		require.Equal(t, n.Name, permission.Identifier, "*.example.org and example.org are two questions")
		require.Equal(t, mpic.Issuance, permission.Kind, "CAA of the validation was fresh")
	}
}

// TestCAAThatWentStaleIsCheckedAgainBeforeIssuance: with quorum, of each name, and it decides.
//
// Holds: CAA-05, C8
func TestCAAThatWentStaleIsCheckedAgainBeforeIssuance(t *testing.T) {
	t.Run("and still permits", func(t *testing.T) {
		s := newScene(t, byDNS, tiredLedger)
		require.NoError(t, s.obtain("example.com"))
		n := s.issued()[0].Permit.Names[0]
		require.NotEqual(t, n.DCV.Attempt, n.CAA.Attempt)
		r, err := s.records.Attempt(t.Context(), n.CAA.Attempt)
		require.NoError(t, err)
		require.Equal(t, mpic.CAARecheck, r.Kind)
	})
	t.Run("and forbids now", func(t *testing.T) {
		s := newScene(t, byDNS, tiredLedger)
		statuses, order := s.each("example.com", "example.org")
		require.Equal(t, map[string]string{"example.com": "valid", "example.org": "valid"}, statuses)
		require.NoError(t, s.world.Set("example.com", dns.TypeCAA, `0 issue "other-ca.example"`)) // the owner changes its mind
		_, err := s.finalize(order)
		var p *acmeclient.Problem
		require.ErrorAs(t, err, &p)
		require.Equal(t, acmeclient.ProblemTypeCAA, p.Type)
		require.Contains(t, p.Detail, "because of 1 of 2 names; the first: permit.caa-refused: ")
		require.Len(t, p.Subproblems, 1)
		require.Equal(t, acmeclient.ProblemTypeCAA, p.Subproblems[0].Type)
		require.Equal(t, "example.com", p.Subproblems[0].Identifier.Value)
		require.Contains(t, p.Subproblems[0].Detail, "other-ca.example")
		require.Empty(t, s.issued())
		order, err = s.client.Client.GetOrder(t.Context(), s.account, order)
		require.NoError(t, err)
		require.Equal(t, "invalid", order.Status)
	})
}

// TestWithoutARecordNothingIsIssued: neither where the permit cannot be kept, nor where the certificate cannot be linked.
//
// Holds: REC-05
func TestWithoutARecordNothingIsIssued(t *testing.T) {
	for name, wrap := range map[string]func(mpic.Ledger) mpic.Ledger{"no permit": fullLedger, "no link": muteLedger} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, byDNS, wrap)
			var p *acmeclient.Problem
			require.ErrorAs(t, s.obtain("example.com"), &p)
			require.Equal(t, acmeclient.ProblemTypeServerInternal, p.Type)
			require.Contains(t, p.Detail, "gate.unavailable")
			require.Empty(t, s.issued())
		})
	}
}

// lost is a ledger that knows of no validation.
type lost struct{ mpic.Ledger }

func (lost) Evidence(context.Context, string, []string) ([]mpic.Relied, error) { return nil, nil }

// TestWithoutEvidenceOnRecordNothingIsIssued: that Pebble holds the authorization valid does not suffice.
//
// Holds: F1, DCV-01
func TestWithoutEvidenceOnRecordNothingIsIssued(t *testing.T) {
	s := newScene(t, byDNS, func(l mpic.Ledger) mpic.Ledger { return lost{l} })
	statuses, order := s.each("example.com", "*.example.com")
	require.Equal(t, map[string]string{"example.com": "valid", "*.example.com": "valid"}, statuses)
	_, err := s.finalize(order)
	var p *acmeclient.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, acmeclient.ProblemTypeUnauthorized, p.Type)
	require.Len(t, p.Subproblems, 2)
	for _, sub := range p.Subproblems {
		require.Contains(t, sub.Detail, "permit.no-evidence: ")
	}
	require.Empty(t, s.issued())
}
