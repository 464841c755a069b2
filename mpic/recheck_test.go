package mpic

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/va"
)

// otherwise is a report in which all passes, of the shape that the probe did not ask for.
func otherwise(t testing.TB, p va.Probe, name string) va.Report {
	r := passing(t, p, name)
	r.DCV = va.DCVFinding{Outcome: va.NotChecked}
	if p.CAAAlone {
		r.DCV = controlled(request(va.HTTP01, december), december)
	}
	return r
}

// TestAttemptsForCAAAloneAgreeWithThePlainRuleOnEveryCombination holds both kinds of attempts, in all that remotes and primary
// can say, to the plain rule: for CAA alone as if all had passed DCV, and a report of the other shape as if it had not come.
//
// Holds: CAA-05, MPIC-01, MPIC-02, MPIC-03, MPIC-04, MPIC-09, MPIC-12, F1, F6
func TestAttemptsForCAAAloneAgreeWithThePlainRuleOnEveryCombination(t *testing.T) {
	for _, kind := range []Kind{CAARecheck, Issuance} {
		for n := range 6 {
			for _, date := range ruleDays {
				if n == 5 && date != "2026-12-15" { // five on one day, fewer on each
					continue
				}
				t.Run(fmt.Sprintf("%s, %d remotes on %s", kind, n, date), func(t *testing.T) {
					t.Parallel()
					agreeOnShapes(t, kind, n, date)
				})
			}
		}
	}
}

// shapes are what a perspective can say: all that was asked passed, CAA forbids, the other shape, silence.
const shapes = 4

func agreeOnShapes(t *testing.T, kind Kind, n int, date string) {
	at, err := time.Parse(time.DateOnly, date)
	require.NoError(t, err)
	granted := 0
	for _, layout := range partitions(n) {
		e := unanimous(t, ofRegions(layout...), at)
		e.Attempt.Kind = kind
		if kind == CAARecheck {
			e.Attempt = recheckOf(e.Attempt)
		}
		probe := e.Attempt.Probe
		reports := func(name string) []va.Report {
			return []va.Report{passing(t, probe, name), withOutcomes(t, probe, name, va.Pass, va.Fail), otherwise(t, probe, name)}
		}
		names, choices := make([]string, n), make([][]Attestation, n)
		for i, region := range layout {
			names[i] = string(region)
			m := e.Roster.Remotes[i].Name
			for _, r := range reports(m) {
				choices[i] = append(choices[i], answered(m, r))
			}
			choices[i] = append(choices[i], silent(m))
		}
		primaries := []*PrimaryReport{nil}
		for _, r := range reports("zurich") {
			primaries = append(primaries, &PrimaryReport{report: r})
		}
		said4 := []said{{true, true}, {true, false}, {}, {}}
		remotes := make([]said, n)
		for combination, total := 0, 1<<(2*n); combination < total; combination++ {
			for i, rest := 0, combination; i < n; i, rest = i+1, rest/shapes {
				remotes[i], e.Remotes[i] = said4[rest%shapes], choices[i][rest%shapes]
			}
			for i, primary := range primaries {
				e.Primary = primary
				want := plainRule(date, []said{{}, {true, true}, {true, false}, {}}[i], names, remotes)
				d := Judge(e)
				if d.Granted() != want || d.Granted() != (len(d.Reasons()) == 0) {
					t.Fatalf("%v, %d, %v: granted %t with %v, and the rule says %t", layout, i, remotes, d.Granted(), d.Reasons(), want)
				}
				for _, v := range d.Views() {
					if kind == CAARecheck && (v.DCV != va.NotChecked || v.DCVProblem != nil) || kind != CAARecheck && v.DCV == va.NotChecked {
						t.Fatalf("%s: a view has %s", kind, v.DCV)
					}
					if (v.CAA == va.Pass) != (v.CAAProblem == nil) {
						t.Fatalf("a view has %s and %v", v.CAA, v.CAAProblem)
					}
				}
				if kind == CAARecheck && d.DCV().String() != "0/0" {
					t.Fatalf("the quorum of DCV is %s", d.DCV())
				}
				if want {
					granted++
				}
			}
		}
	}
	if at.After(day(2025, 9, 15)) && n == 5 {
		require.Positive(t, granted)
	}
}

// TestWhatIsAskedForComesFromTheKind: evidence in which kind and probe differ is refused as a whole, whatever was seen.
//
// Holds: MPIC-01, F7, C8
func TestWhatIsAskedForComesFromTheKind(t *testing.T) {
	for _, k := range []Kind{Issuance, DryRun} {
		e := unanimousRecheck(t, fiveRegions(), december)
		require.True(t, Judge(e).Granted(), "%v", Judge(e).Reasons())
		e.Attempt.Kind = k
		require.Equal(t, []string{"request.kind"}, codes(Judge(e)))
	}
	e := unanimous(t, fiveRegions(), december)
	e.Attempt.Kind = CAARecheck
	require.Equal(t, []string{"request.kind"}, codes(Judge(e)))

	e = unanimousRecheck(t, fiveRegions(), december) // a challenge has no place in it
	e.Attempt.Probe.Request = request(va.HTTP01, december)
	require.Equal(t, []string{"request.token"}, codes(Judge(unanimousFor(t, e))))

	e = unanimousRecheck(t, fiveRegions(), december) // all other rules of names hold
	e.Attempt.Probe.Request.Identifier = "*.example.com"
	require.Equal(t, []string{"name.wildcard"}, codes(Judge(unanimousFor(t, e))))

	e = unanimousRecheck(t, fiveRegions(), december) // and so do those of the primary's resolution
	e.Primary.report.Resolver.Mode = ""
	require.Contains(t, codes(Judge(e)), "primary.upstream")
}

// Holds: CAA-05, MPIC-01, MPIC-03, MPIC-08, F3, F6, F9
func TestAdversaryHoldsAnySubsetOfFiveRemotesInARecheck(t *testing.T) {
	for _, a := range attacks {
		says := a.says.caa
		switch a.name {
		case "denies control only", "passes without having seen the token": // a DCV that nobody asked for
			says = false
		case "passes over bogus addresses": // there is none to spoil, and the fake breaks down
			says = false
		}
		t.Run(a.name, func(t *testing.T) {
			for subset := range uint(1 << 5) {
				synctest.Test(t, func(t *testing.T) {
					s := newScene(t, fiveRegions(), december)
					remotes := make([]said, 5)
					for i, f := range s.remotes {
						remotes[i] = said{true, true}
						if subset&(1<<i) != 0 {
							remotes[i] = said{true, says}
							f.attest = a.mount(t, s, f.member)
						}
					}
					s.compare(CAARecheck, remotes, fmt.Sprintf("subset %05b", subset), func(r Result) {
						require.True(t, r.Evidence.Attempt.Probe.CAAAlone)
						require.Equal(t, "0/0", r.Decision.DCV().String())
					})
				})
			}
		})
	}
}

// Holds: CAA-05, F3
func TestARecheckWhosePrimaryIsSilentIsRefusedForCAA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.check = func(_ context.Context, p va.Probe) va.Report {
			time.Sleep(time.Minute)
			return passing(t, p, "zurich")
		}
		registry := prometheus.NewPedanticRegistry()
		m, err := NewMetrics(registry)
		require.NoError(t, err)
		s.config.Metrics = m
		c := s.coordinator()
		r := s.validateAs(c, CAARecheck)
		require.False(t, r.Decision.Granted())
		require.Equal(t, []string{"perspective.timeout"}, codes(r.Decision))
		require.True(t, r.Evidence.Primary.report.DCV.NotChecked())
		s.close(c)
		for series := range scrape.Series(t, registry) {
			require.NotContains(t, series, "not-checked")
		}
	})
}

// A recheck is decided as soon as CAA is, and waits for nothing else.
func TestARecheckIsCertainByCAAAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.remotes[4].attest = mute("helsinki")
		c := s.coordinator()
		began := time.Now()
		require.True(t, s.validateAs(c, CAARecheck).Decision.Granted())
		require.Zero(t, time.Since(began))
		for i := range 2 {
			s.remotes[i].attest = failing(t, s.remotes[i].member.Name, 0)
		}
		require.False(t, s.validateAs(c, CAARecheck).Decision.Granted())
		require.Equal(t, DefaultRefusalGrace, time.Since(began))
		s.close(c)
	})
}
