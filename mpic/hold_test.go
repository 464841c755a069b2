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

// TestF9_AnAnswerHasTheFormOfItsProtocol: what came over a channel of one protocol is no answer of another, nor of two at once, and one that
// no record holds is none.
//
// Holds: F9, MPIC-08
func TestF9_AnAnswerHasTheFormOfItsProtocol(t *testing.T) {
	ours, theirs := Member{Name: "tokyo"}, Member{Name: "tokyo", Protocol: Boulder}
	report := passing(t, attemptAt(december).Probe, "tokyo")
	large := &Statement{Digest: "d", Exchanges: []Exchange{{Sent: strings.Repeat("x", maxStatement/2), Received: strings.Repeat("x", maxStatement/2+1)}}}
	for name, c := range map[string]struct {
		m    Member
		a    Attestation
		want string
	}{
		"ours":                       {ours, Attestation{Report: &report}, ""},
		"theirs":                     {theirs, Attestation{Statement: &Statement{}}, ""},
		"a statement of ours":        {ours, Attestation{Statement: &Statement{}}, "perspective.contradiction"},
		"a report of theirs":         {theirs, Attestation{Report: &report}, "perspective.contradiction"},
		"both of ours":               {ours, Attestation{Statement: &Statement{}, Report: &report}, "perspective.contradiction"},
		"both of theirs":             {theirs, Attestation{Statement: &Statement{}, Report: &report}, "perspective.contradiction"},
		"a signed statement":         {theirs, Attestation{Statement: &Statement{}, Signed: "x"}, "perspective.contradiction"},
		"one with a reply beside it": {theirs, Attestation{Statement: &Statement{}, Reply: &Reply{}}, "perspective.contradiction"},
		"one with a problem":         {theirs, Attestation{Statement: &Statement{}, Problem: &va.Problem{Code: "x"}}, "perspective.contradiction"},
		"one that is too large":      {theirs, Attestation{Statement: large}, "perspective.unreadable"},
		"one of what is no outcome":  {theirs, Attestation{Statement: &Statement{DCV: &Said{Outcome: 99}}}, "perspective.unreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			c.a.Perspective, c.a.State = "tokyo", Answered
			a := vet(c.m, c.a)
			if c.want == "" {
				require.Equal(t, Answered, a.State, "%v", a.Problem)
				return
			}
			require.Equal(t, Rejected, a.State)
			require.Equal(t, c.want, a.Problem.Code)
			require.Nil(t, a.Statement)
			require.Nil(t, a.Report)
		})
	}
}

// TestOneAloneAwaitsWhoCanStillChangeIt: what was not asked for has no quorum that could be out of reach.
//
// Holds: MPIC-01, MPIC-03
func TestOneAloneAwaitsWhoCanStillChangeIt(t *testing.T) {
	for _, k := range []Kind{DCVAlone, CAAAlone} {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, fiveRegions(), december)
			s.config.RefusalGrace = time.Second
			for i, f := range s.remotes {
				f.attest = honest(t, f.member.Name, time.Duration(i+2)*time.Second)
			}
			c := s.coordinator()
			req := request(va.HTTP01, s.start)
			if k == CAAAlone {
				req.Token, req.KeyAuthorization, req.TokenCreated = "", "", time.Time{}
			}
			r, err := c.Validate(context.Background(), k, "test:1", req)
			require.NoError(t, err)
			require.True(t, r.Decision.Granted(), "%v", r.Decision.Reasons())
			s.sound(r)
			s.close(c)
		})
	}
}

// TestAReasonThatNobodyReadsIsCut: what a client says of a remote's answer may hold the remote's own words, and a decision repeats it.
//
// Holds: D11, F4
func TestAReasonThatNobodyReadsIsCut(t *testing.T) {
	said := &va.Problem{Code: "perspective.garbage", Detail: strings.Repeat("é", maxReason)}
	for _, state := range []State{Rejected, Unreachable, TimedOut} {
		a := vet(Member{Name: "tokyo"}, Attestation{Perspective: "tokyo", State: state, Problem: said})
		require.Equal(t, state, a.State)
		require.Equal(t, "perspective.garbage", a.Problem.Code)
		require.Equal(t, strings.Repeat("é", maxReason/2), a.Problem.Detail)
		require.Len(t, said.Detail, 2*maxReason, "the client's own is left alone")
	}
}
