package mpic

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// lines is an audit log in memory. It holds what it is told to what is on record.
type lines struct {
	t     testing.TB
	on    *ledger
	told  []string
	fails error
}

func (l *lines) Attempt(r Result) error {
	k, closed := l.on.closed[r.Evidence.Attempt.ID()]
	require.True(l.t, closed, "told before the record")
	require.Equal(l.t, k.decision, r.Decision)
	l.told = append(l.told, fmt.Sprintf("attempt %d %v", r.Number, r.Decision.Granted()))
	return l.fails
}

func (l *lines) Unrecorded(a Attempt, number int64) {
	require.True(l.t, l.on.holds(a.ID()))
	l.told = append(l.told, fmt.Sprintf("unrecorded %d", number))
}

func (l *lines) Permit(p PermitRecord) error {
	l.told = append(l.told, fmt.Sprintf("permit %d %s", p.Number, p.Outcome))
	return l.fails
}

func (l *lines) Certificate(c CertificateRecord, number int64, again bool) error {
	l.told = append(l.told, fmt.Sprintf("certificate %d %s %v", number, c.Outcome, again))
	return l.fails
}

func (l *lines) since() []string {
	out := l.told
	l.told = nil
	return out
}

// Holds: F4, REC-05
func TestF4_EachAnswerHasOneAuditLineAfterItsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		log := &lines{t: t, on: s.ledger}
		s.config.AuditLog = log
		c := s.coordinator()
		defer s.close(c)
		require.True(t, s.validate(c).Decision.Granted())
		require.Equal(t, []string{"attempt 1 true"}, log.since())

		granted := s.check
		s.check = func(_ context.Context, p va.Probe) va.Report {
			return withOutcomes(t, p, "zurich", va.Fail, va.Pass)
		}
		require.False(t, s.validate(c).Decision.Granted())
		require.Equal(t, []string{"attempt 2 false"}, log.since())
		s.check = granted

		req := request(va.HTTP01, s.start)
		req.Identifier = "no name"
		_, err := c.Validate(t.Context(), Issuance, "test:1", req)
		require.NoError(t, err)
		require.Equal(t, []string{"attempt 3 false"}, log.since(), "what is refused before any packet has its line too")

		s.ledger.failClose = errors.New("disk full")
		_, err = c.Validate(t.Context(), Issuance, "test:1", request(va.HTTP01, s.start))
		require.ErrorIs(t, err, ErrRecord)
		require.Equal(t, []string{"unrecorded 4"}, log.since())
		s.ledger.failClose, s.ledger.failOpen = nil, errors.New("disk full")
		_, err = c.Validate(t.Context(), Issuance, "test:1", request(va.HTTP01, s.start))
		require.ErrorIs(t, err, ErrRecord)
		require.Empty(t, log.since(), "without a record there is nothing to point to")
		s.ledger.failOpen = nil

		log.fails = errors.New("no space")
		r, err := c.Validate(t.Context(), Issuance, "test:1", request(va.HTTP01, s.start))
		require.ErrorIs(t, err, ErrAuditLog)
		require.Zero(t, r, "no decision leaves the gate")
		require.Equal(t, []string{"attempt 5 true"}, log.since())
		require.Len(t, s.ledger.closed, 4, "and the record stands")
	})
}

// Holds: F4
func TestF4_PermitsAndCertificatesHaveAuditLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		log := &lines{t: t, on: s.ledger}
		s.config.AuditLog = log
		n := &counter{scene: s, c: s.coordinator(), book: &book{journal: s.ledger}}
		defer s.close(n.c)
		var err error
		n.permits, err = NewPermits(PermitsConfig{Coordinator: n.c, Ledger: n.book, Signer: permitKey, Now: s.config.Now})
		require.NoError(t, err)
		const account = "https://ca.example/acct/1"
		n.show("example.com", va.HTTP01, account)
		log.since()
		p, err := n.permits.Permit(t.Context(), "test:1", account, []string{"example.com"})
		require.NoError(t, err)
		require.NotEmpty(t, p.Token)
		require.Equal(t, []string{"permit 1 granted"}, log.since())
		refused, err := n.permits.Permit(t.Context(), "test:1", account, []string{"example.net"})
		require.NoError(t, err)
		require.Empty(t, refused.Token)
		require.Equal(t, []string{"permit 2 refused"}, log.since())
		for range 2 {
			_, err := n.permits.Certificate(t.Context(), "test:1", p.ID, []byte("no certificate"))
			require.NoError(t, err)
		}
		require.Equal(t, []string{"certificate 1 refused false", "certificate 1 refused true"}, log.since())

		log.fails = errors.New("no space")
		q, err := n.permits.Permit(t.Context(), "test:1", account, []string{"example.com"})
		require.ErrorIs(t, err, ErrAuditLog)
		require.Zero(t, q, "nothing is signed")
		require.Equal(t, []string{"permit 3 granted"}, log.since())
		_, err = n.permits.Certificate(t.Context(), "test:1", p.ID, []byte("another"))
		require.ErrorIs(t, err, ErrAuditLog)
		require.Len(t, n.book.certificates, 2, "and the record stands")
	})
}
