package mpic

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// mailOf makes of evidence for CAA alone the same for an S/MIME certificate, in which everybody permits.
func mailOf(t testing.TB, e Evidence) Evidence {
	e.Attempt.Probe.Request.CertificateType = va.SMIME
	return unanimousFor(t, e)
}

// TestRFC9495_WhatPermitsMailIsNoPermissionForTLS: of two records that differ in nothing but the certificate's type, one can be
// relied upon for a permit.
//
// Holds: CAA-05, CAA-10
func TestRFC9495_WhatPermitsMailIsNoPermissionForTLS(t *testing.T) {
	tls := unanimousRecheck(t, fiveRegions(), december)
	mail := mailOf(t, tls)
	sum := strings.Repeat("ab", 32)
	for _, e := range []Evidence{tls, mail} {
		d := Judge(e)
		require.True(t, d.Granted(), "%v", d.Reasons())
		r, ok := Reliable(e, d.Recorded(), 7, sum)
		require.Equal(t, e.Attempt.Probe.Request.CertificateType == va.TLSServer, ok)
		if !ok {
			require.Zero(t, r)
		}
	}
	e := unanimousRecheck(t, fiveRegions(), december) // nor does one that is none
	d := Judge(e).Recorded()
	e.Attempt.Probe.Request.CertificateType = 2
	_, ok := Reliable(e, d, 7, sum)
	require.False(t, ok)
}

// TestRFC9495_NoAuthorizationRestsOnMail: no kind of attempt with DCV takes an S/MIME certificate, whatever was seen.
//
// Holds: CAA-10, MPIC-01
func TestRFC9495_NoAuthorizationRestsOnMail(t *testing.T) {
	for _, kind := range []Kind{Issuance, DryRun} {
		e := unanimous(t, fiveRegions(), december)
		e.Attempt.Kind, e.Attempt.Probe.Request.CertificateType = kind, va.SMIME
		d := Judge(unanimousFor(t, e))
		require.Equal(t, []string{"request.certificate-type"}, codes(d))
	}
	synctest.Test(t, func(t *testing.T) { // and nobody is asked
		s := newScene(t, fiveRegions(), december)
		c := s.coordinator()
		req := request(va.HTTP01, s.start)
		req.CertificateType = va.SMIME
		r, err := c.Validate(context.Background(), Issuance, "test:1", req)
		require.NoError(t, err)
		require.Equal(t, []string{"request.certificate-type"}, codes(r.Decision))
		require.Zero(t, s.remotes[0].asked)
		s.close(c)
	})
}

// TestRFC9495_TheJudgeEvaluatesByTheCertificatesType: a permission that issue gives is none for mail, nor the other way round.
//
// Holds: CAA-10, MPIC-11
func TestRFC9495_TheJudgeEvaluatesByTheCertificatesType(t *testing.T) {
	const forbids = "example.com.\t300\tIN\tCAA\t0 issuemail \"other.example\""
	for _, c := range []struct {
		name string
		mail bool
		add  string
		want string
	}{
		{"mail, and issue alone", true, "", ""},
		{"mail, where issuemail names another", true, forbids, "quorum.missed"},
		{"TLS, where issuemail names another", false, forbids, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := unanimousRecheck(t, fiveRegions(), december)
			if c.mail {
				e = mailOf(t, e)
			}
			for i := range 2 {
				f := &e.Remotes[i].Report.CAA
				if c.add != "" {
					f.Records = append([]string{c.add}, f.Records...)
					f.Lookups[0].Answers = f.Records
				}
			}
			d := Judge(e)
			require.Equal(t, c.want == "", d.Granted(), "%v", d.Reasons())
			if c.want != "" {
				require.Equal(t, []string{c.want}, codes(d))
				require.Equal(t, "perspective.contradiction", d.Views()[1].CAAProblem.Code)
			}
		})
	}
}

// TestRFC9495_AttemptsForMail: the whole way through a coordinator among fakes.
//
// Holds: CAA-10, MPIC-01
func TestRFC9495_AttemptsForMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		c := s.coordinator()
		req := request(va.DNS01, s.start)
		req.Token, req.KeyAuthorization, req.TokenCreated, req.CertificateType = "", "", time.Time{}, va.SMIME
		r, err := c.Validate(context.Background(), CAARecheck, "test:1", req)
		require.NoError(t, err)
		s.sound(r)
		require.True(t, r.Decision.Granted(), "%v", r.Decision.Reasons())
		require.Equal(t, va.SMIME, r.Evidence.Attempt.Probe.Request.CertificateType)

		req.Identifier = "*.example.com"
		r, err = c.Validate(context.Background(), CAARecheck, "test:1", req)
		require.NoError(t, err)
		require.Equal(t, []string{"request.certificate-type"}, codes(r.Decision))
		s.close(c)
	})
}

// TestRFC9495_WhoIsNotToldTheTypeSpeaksForTLSAlone: Boulder's remoteva evaluates issue, whatever is asked of us.
//
// Holds: CAA-10, MPIC-11
func TestRFC9495_WhoIsNotToldTheTypeSpeaksForTLSAlone(t *testing.T) {
	for _, p := range Protocols() {
		e := unanimousForeign(t, CAAAlone, va.DNS01, p, 2)
		require.True(t, Judge(e).Granted())
		stated := e.Remotes
		e = mailOf(t, e)
		for i := range 2 {
			said := *stated[i].Statement
			said.Digest = e.Attempt.Probe.Digest()
			e.Remotes[i] = stated[i]
			e.Remotes[i].Statement = &said
		}
		d := Judge(e)
		require.Equal(t, p != Boulder, d.Granted(), "%s: %v", p, d.Reasons())
		if p == Boulder {
			require.Equal(t, "perspective.contradiction", d.Views()[1].CAAProblem.Code)
			require.Contains(t, d.Views()[1].CAAProblem.Detail, "tls-server")
		}
	}
}
