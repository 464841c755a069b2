package mpic

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// alone makes an attempt one of a kind for one check.
func alone(a Attempt, k Kind) Attempt {
	if k == CAAAlone {
		a = recheckOf(a)
		a.Probe.Request.Method, a.Probe.Request.AccountURI = 0, ""
	}
	a.Kind, a.Probe.DCVAlone = k, k == DCVAlone
	return a
}

func unanimousAlone(t testing.TB, r Roster, k Kind) Evidence {
	t.Helper()
	e := unanimous(t, r, december)
	e.Attempt = alone(e.Attempt, k)
	return unanimousFor(t, e)
}

// TestDCVAndCAAAloneAnswerForNothingElse: each is granted by its own quorum, and nothing rests on it.
//
// Holds: MPIC-01, MPIC-12, CAA-05, F1
func TestDCVAndCAAAloneAnswerForNothingElse(t *testing.T) {
	for _, k := range []Kind{DCVAlone, CAAAlone} {
		t.Run(k.String(), func(t *testing.T) {
			e := unanimousAlone(t, fiveRegions(), k)
			d := Judge(e)
			require.True(t, d.Granted(), "%v", d.Reasons())
			for _, v := range d.Views() {
				require.Equal(t, map[bool]va.Outcome{true: va.Pass, false: va.NotChecked}[k == DCVAlone], v.DCV)
				require.Equal(t, map[bool]va.Outcome{true: va.Pass, false: va.NotChecked}[k == CAAAlone], v.CAA)
			}
			_, ok := Reliable(e, d.Recorded(), 1, strings.Repeat("ab", 32))
			require.False(t, ok, "no permit rests on it")
			require.Zero(t, d.subject.ReusableUntil)

			e.Primary = nil
			require.Equal(t, []string{"primary.missing"}, codes(Judge(e)), "remotes alone never suffice")

			other := map[Kind]Kind{DCVAlone: CAAAlone, CAAAlone: DCVAlone}[k]
			for _, claimed := range []Kind{other, Issuance, DryRun} { // the record of one check is none of another
				e := unanimousAlone(t, fiveRegions(), k)
				e.Attempt.Kind = claimed
				require.Equal(t, []string{"request.kind"}, codes(Judge(e)), "%s", claimed)
			}
		})
	}
}

// TestOneAloneIsRefusedAsBothWouldBe: each perspective's failure counts in the check that was asked for.
//
// Holds: MPIC-01, MPIC-03
func TestOneAloneIsRefusedAsBothWouldBe(t *testing.T) {
	for _, k := range []Kind{DCVAlone, CAAAlone} {
		for failing := range 4 {
			e := unanimousAlone(t, fiveRegions(), k)
			for i := range failing {
				spoil(k, e.Remotes[i].Report)
			}
			require.Equal(t, failing <= 1, Judge(e).Granted(), "%s with %d of five", k, failing)
		}
		e := unanimousAlone(t, fiveRegions(), k)
		spoil(k, &e.Primary.report)
		require.False(t, Judge(e).Granted(), "the primary of %s", k)
	}
}

func spoil(k Kind, r *va.Report) {
	p := &va.Problem{Code: "caa.forbidden", Detail: "no"}
	if k == DCVAlone {
		r.DCV.Outcome, r.DCV.Problem = va.Fail, p
	} else {
		r.CAA.Outcome, r.CAA.Problem = va.Fail, p
	}
}

// TestACheckThatWasNotAskedForSpoilsTheReport: whoever carried out another probe than the one asked is not believed.
//
// Holds: MPIC-09, F6
func TestACheckThatWasNotAskedForSpoilsTheReport(t *testing.T) {
	for _, k := range []Kind{DCVAlone, CAAAlone} {
		e := unanimousAlone(t, fiveRegions(), k)
		full := passing(t, attemptAt(december).Probe, "x")
		r := e.Remotes[0].Report
		if k == DCVAlone {
			r.CAA = full.CAA
		} else {
			r.DCV = full.DCV
		}
		v := Judge(e).Views()[1]
		require.NotEqual(t, va.Pass, v.DCV)
		require.NotEqual(t, va.Pass, v.CAA)
	}
}

// TestARecheckNeedsMethodAndAccount: a permit is for both.
//
// Holds: CAA-05
func TestARecheckNeedsMethodAndAccount(t *testing.T) {
	for _, drop := range []func(*va.Request){func(r *va.Request) { r.Method = 0 }, func(r *va.Request) { r.AccountURI = "" }} {
		e := unanimousRecheck(t, fiveRegions(), december)
		drop(&e.Attempt.Probe.Request)
		require.Equal(t, []string{"request.kind"}, codes(Judge(unanimousFor(t, e))))
	}
}

// TestF7_ADemandOnlyRaises: whatever a caller demands, an attempt that the rules refuse stays refused.
//
// Holds: F7, MPIC-03
func TestF7_ADemandOnlyRaises(t *testing.T) {
	for failing := range 4 {
		for remotes := -1; remotes <= 6; remotes++ {
			for quorum := -1; quorum <= 6; quorum++ {
				e := unanimous(t, fiveRegions(), december)
				for i := range failing {
					spoil(DCVAlone, e.Remotes[i].Report)
				}
				byRules := Judge(e).Granted()
				e.Attempt.Demand = Demand{Remotes: remotes, Quorum: quorum}
				d := Judge(e)
				possible := remotes >= 0 && quorum >= 0 && remotes <= 5 && quorum <= 5
				require.Equal(t, byRules && possible && 5-failing >= quorum, d.Granted(), "%d fail, demanded %d of %d", failing, quorum, remotes)
				if !possible {
					require.Equal(t, []string{"request.demand"}, codes(d))
				}
			}
		}
	}
}
