package mpic

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quorate/quorate/va"
)

// said is what one perspective did, for the plain statement below.
type said struct{ dcv, caa bool }

// plainRule is BR 3.2.2.9 a second time, sentence by sentence and with nothing from the program: may a certificate be
// issued on a day ("2026-12-15"), when the primary said this, and remotes in these regions said that?
func plainRule(day string, primary said, regions []string, remotes []said) bool {
	if day < "2025-09-15" { // the quorum does not yet bind, and this program does not work without
		return false
	}
	// "using at least two (2) / three (3) / four (4) / five (5) remote Network Perspectives"
	used := len(remotes)
	if used < 2 || day >= "2026-03-15" && used < 3 || day >= "2026-06-15" && used < 4 || day >= "2026-12-15" && used < 5 {
		return false
	}
	// "corroborate the determinations made by the Primary Network Perspective": it must have determined a pass and a permission.
	if !primary.dcv || !primary.caa {
		return false
	}
	// "2-5: 1", "6+: 2"
	nonCorroborationsAllowed := 1
	if used > 5 {
		nonCorroborationsAllowed = 2
	}
	// "the quorum requirements MUST be met for both sets"
	for _, corroborates := range []func(said) bool{
		func(s said) bool { return s.dcv },
		func(s said) bool { return s.caa },
	} {
		non, registries := 0, map[string]bool{}
		for i, s := range remotes {
			if corroborates(s) {
				registries[regions[i]] = true
			} else {
				non++
			}
		}
		if non > nonCorroborationsAllowed {
			return false
		}
		// "fall within the service regions of at least two (2) distinct Regional Internet Registries"
		if day >= "2026-03-15" && len(registries) < 2 {
			return false
		}
	}
	return true
}

// partitions gives the ways to spread n remotes over regions, up to the regions' names and the remotes' order. That is
// enough where all combinations of what remotes say are tried with each.
func partitions(n int) [][]Region {
	var out [][]Region
	var spread func(left, most int, sizes []int)
	spread = func(left, most int, sizes []int) {
		if left == 0 {
			var layout []Region
			for i, size := range sizes {
				layout = append(layout, slices.Repeat([]Region{Regions()[i]}, size)...)
			}
			out = append(out, layout)
			return
		}
		for size := min(left, most); size > 0; size-- {
			spread(left-size, size, append(slices.Clone(sizes), size))
		}
	}
	spread(n, n, nil)
	return out
}

// remoteAnswers are the ways in which one remote can behave: silence is no pass of either check.
var remoteAnswers = []struct {
	said
	outcomes [2]va.Outcome
	silent   bool
}{
	{said{true, true}, [2]va.Outcome{va.Pass, va.Pass}, false},
	{said{true, false}, [2]va.Outcome{va.Pass, va.Fail}, false},
	{said{false, true}, [2]va.Outcome{va.Error, va.Pass}, false},
	{said{false, false}, [2]va.Outcome{va.Fail, va.Error}, false},
	{said{false, false}, [2]va.Outcome{}, true},
}

var ruleDays = []string{"2025-08-01", "2025-10-01", "2026-04-01", "2026-07-01", "2026-12-15"}

// Holds: MPIC-01, MPIC-02, MPIC-03, MPIC-04, MPIC-12, F1, F7
func TestBR_3_2_2_9_JudgeAgreesWithThePlainRuleOnEveryCombination(t *testing.T) {
	for n := range 6 {
		for _, date := range ruleDays {
			t.Run(fmt.Sprintf("%d remotes on %s", n, date), func(t *testing.T) {
				t.Parallel()
				agreeOnAll(t, n, date)
			})
		}
	}
}

func agreeOnAll(t *testing.T, n int, date string) {
	at, err := time.Parse(time.DateOnly, date)
	require.NoError(t, err)
	probe := attemptAt(at).Probe
	granted := 0
	for _, layout := range partitions(n) {
		e := unanimous(t, ofRegions(layout...), at)
		names := make([]string, n)
		choices := make([][]Attestation, n)
		for i, region := range layout {
			names[i] = string(region)
			for _, a := range remoteAnswers {
				m := e.Roster.Remotes[i].Name
				if a.silent {
					choices[i] = append(choices[i], silent(m))
				} else {
					choices[i] = append(choices[i], answered(m, withOutcomes(t, probe, m, a.outcomes[0], a.outcomes[1])))
				}
			}
		}
		primaries := map[said]*PrimaryReport{{true, true}: e.Primary}
		if n < 5 || date == "2026-12-15" { // with 5 remotes the whole product on one day, elsewhere a primary that passed
			primaries[said{true, false}] = &PrimaryReport{report: withOutcomes(t, probe, "zurich", va.Pass, va.Fail)}
			primaries[said{false, true}] = &PrimaryReport{report: withOutcomes(t, probe, "zurich", va.Error, va.Pass)}
			primaries[said{false, false}] = nil
		}
		remotes := make([]said, n)
		total := 1
		for range n {
			total *= len(remoteAnswers)
		}
		for combination := range total {
			for i, rest := 0, combination; i < n; i, rest = i+1, rest/len(remoteAnswers) {
				remotes[i] = remoteAnswers[rest%len(remoteAnswers)].said
				e.Remotes[i] = choices[i][rest%len(remoteAnswers)]
			}
			for primary, report := range primaries {
				e.Primary = report
				want := plainRule(date, primary, names, remotes)
				d := Judge(e)
				if d.Granted() != want || d.Granted() != (len(d.Reasons()) == 0) {
					t.Fatalf("%s, regions %v, primary %v, remotes %v: granted %t with %v, and the rule says %t",
						date, layout, primary, remotes, d.Granted(), d.Reasons(), want)
				}
				if want {
					granted++
				}
			}
		}
	}
	if at.After(day(2025, 9, 15)) && n == 5 {
		require.Positive(t, granted, "a comparison in which nothing is ever granted shows nothing")
	}
}

// drawn is evidence of a random attempt, with what the plain rule needs to know of it.
type drawn struct {
	evidence Evidence
	date     string
	primary  said
	regions  []string
	remotes  []said
}

// spoilers turn a passing report into one that must count for nothing, each in another way.
var spoilers = map[string]func(*va.Report){
	"another attempt":     func(r *va.Report) { r.Attempt = "ATTEMPT0" },
	"another nonce":       func(r *va.Report) { r.Nonce = "ffeeddccbbaa99887766554433221100" },
	"another request":     func(r *va.Report) { r.Digest = va.Probe{}.Digest() },
	"nothing but a name":  func(r *va.Report) { *r = va.Report{Perspective: r.Perspective} },
	"no outcome":          func(r *va.Report) { r.DCV.Outcome, r.CAA.Outcome = 0, 0 },
	"an unknown outcome":  func(r *va.Report) { r.DCV.Outcome, r.CAA.Outcome = 9, 9 },
	"a pass with problem": func(r *va.Report) { r.DCV.Problem, r.CAA.Problem = noToken, forbidden },
}

func draw(t *rapid.T, fixture testing.TB) drawn {
	n := rapid.IntRange(0, 8).Draw(t, "remotes")
	seconds := rapid.IntRange(0, 700*86400).Draw(t, "time")
	at := day(2025, 8, 1).Add(time.Duration(seconds) * time.Second)
	layout := rapid.SliceOfN(rapid.SampledFrom(Regions()), n, n).Draw(t, "regions")
	e := unanimous(fixture, ofRegions(layout...), at)
	d := drawn{evidence: e, date: at.Format(time.DateOnly), primary: said{true, true}}
	if rapid.IntRange(0, 9).Draw(t, "primary") == 0 {
		d.primary.dcv = rapid.Bool().Draw(t, "primary dcv")
		d.primary.caa = rapid.Bool().Draw(t, "primary caa")
		d.evidence.Primary = &PrimaryReport{report: withOutcomes(fixture, e.Attempt.Probe, "zurich",
			outcomeOf(d.primary.dcv), outcomeOf(d.primary.caa))}
	}
	ways := slices.Sorted(maps.Keys(spoilers))
	for i, m := range e.Roster.Remotes {
		d.regions = append(d.regions, string(layout[i]))
		s := said{true, true}
		if rapid.IntRange(0, 3).Draw(t, "falters") == 0 {
			s = said{rapid.Bool().Draw(t, "dcv"), rapid.Bool().Draw(t, "caa")}
		}
		r := withOutcomes(fixture, e.Attempt.Probe, m.Name, outcomeOf(s.dcv), outcomeOf(s.caa))
		d.evidence.Remotes[i] = answered(m.Name, r)
		if p := rapid.SampledFrom(append(Protocols(), Native, Native, Native, Native)).Draw(t, "protocol"); p != Native {
			s = d.drawStatement(t, i, p, s)
			d.remotes = append(d.remotes, s)
			continue
		}
		switch rapid.IntRange(0, 11).Draw(t, "behaviour") {
		case 0:
			s, d.evidence.Remotes[i] = said{}, silent(m.Name)
		case 1:
			s = said{}
			spoilers[rapid.SampledFrom(ways).Draw(t, "spoiler")](&r)
			d.evidence.Remotes[i] = answered(m.Name, r)
		}
		d.remotes = append(d.remotes, s)
	}
	return d
}

// misstatements turn a statement that passes into one that must count for nothing.
var misstatements = map[string]func(*Statement){
	"another request":     func(s *Statement) { s.Digest = va.Probe{}.Digest() },
	"one check alone":     func(s *Statement) { s.DCV, s.CAA = nil, nil },
	"no outcome":          func(s *Statement) { s.DCV.Outcome, s.CAA.Outcome = 0, 0 },
	"a pass with problem": func(s *Statement) { s.DCV.Problem, s.CAA.Problem = noToken, forbidden },
	"another perspective": func(s *Statement) { s.DCV.Perspective, s.CAA.Perspective = "other", "other" },
	"another name":        func(s *Statement) { s.DCV.Name, s.CAA.Name = "example.net", "example.net" },
	"another day":         func(s *Statement) { s.DCV.At, s.CAA.At = day(2020, 1, 1), day(2020, 1, 1) },
}

// drawStatement makes the remote one of another protocol, and gives what it counts for.
func (d *drawn) drawStatement(t *rapid.T, i int, p Protocol, s said) said {
	m := &d.evidence.Roster.Remotes[i]
	m.Protocol, m.SigningKey, m.Code = p, "", "code-"+m.Name
	st := stating(d.evidence.Attempt, *m)
	if !s.dcv {
		st.DCV.Outcome, st.DCV.Problem = va.Fail, noToken
	}
	if !s.caa {
		st.CAA.Outcome, st.CAA.Problem = va.Fail, forbidden
	}
	a := Attestation{Perspective: m.Name, State: Answered, Asked: d.evidence.Attempt.Started, Closed: d.evidence.Attempt.Started, Statement: &st}
	switch rapid.IntRange(0, 11).Draw(t, "behaviour") {
	case 0:
		s, a = said{}, silent(m.Name)
	case 1:
		s = said{}
		misstatements[rapid.SampledFrom(slices.Sorted(maps.Keys(misstatements))).Draw(t, "misstatement")](&st)
	}
	d.evidence.Remotes[i] = a
	return s
}

func outcomeOf(pass bool) va.Outcome {
	if pass {
		return va.Pass
	}
	return va.Fail
}

func (d drawn) want() bool { return plainRule(d.date, d.primary, d.regions, d.remotes) }

// Holds: MPIC-01, MPIC-02, MPIC-03, MPIC-04, MPIC-09, MPIC-12, F6
func TestBR_3_2_2_9_JudgeAgreesWithThePlainRuleUpToEightRemotes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := draw(rt, t)
		require.Equal(rt, d.want(), Judge(d.evidence).Granted(), "%+v", d)
	})
}

// Holds: F2
func TestJudgeDoesNotDependOnTheOrderOfAttestationsOrRemotes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := draw(rt, t)
		first, err := json.Marshal(Judge(d.evidence))
		require.NoError(rt, err)

		order := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)).Perm(len(d.remotes))
		rows, roster := d.evidence, d.evidence
		rows.Remotes, roster.Remotes = nil, nil
		roster.Roster.Remotes = nil
		for _, i := range order {
			rows.Remotes = append(rows.Remotes, d.evidence.Remotes[i])
			roster.Remotes = append(roster.Remotes, d.evidence.Remotes[i])
			roster.Roster.Remotes = append(roster.Roster.Remotes, d.evidence.Roster.Remotes[i])
		}
		shuffled, err := json.Marshal(Judge(rows))
		require.NoError(rt, err)
		require.JSONEq(rt, string(first), string(shuffled), "the rows' order says nothing: a row is its perspective's by name")
		for _, v := range Judge(rows).Views() {
			require.Equal(rt, v.Perspective == "zurich", v.Role == Primary)
		}
		other := Judge(roster)
		require.Equal(rt, Judge(d.evidence).Granted(), other.Granted())
		require.Equal(rt, Judge(d.evidence).DCV(), other.DCV())
		require.Equal(rt, Judge(d.evidence).CAA(), other.CAA())
	})
}

// Holds: MPIC-03
func TestJudgeNeverGrantsMoreWhenACorroborationIsTakenAway(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := draw(rt, t)
		if len(d.remotes) == 0 {
			return
		}
		before := Judge(d.evidence).Granted()
		i := rapid.IntRange(0, len(d.remotes)-1).Draw(rt, "which")
		m := d.evidence.Remotes[i].Perspective
		less := d.evidence
		less.Remotes = slices.Clone(d.evidence.Remotes)
		for _, a := range []Attestation{silent(m), {Perspective: m, State: Outstanding},
			answered(m, withOutcomes(t, d.evidence.Attempt.Probe, m, va.Fail, outcomeOf(d.remotes[i].caa))),
			answered(m, withOutcomes(t, d.evidence.Attempt.Probe, m, outcomeOf(d.remotes[i].dcv), va.Error))} {
			less.Remotes[i] = a
			require.True(rt, before || !Judge(less).Granted(), "%s: %+v", m, a)
		}
	})
}

func TestJudgeReachesTheSameDecisionFromTheRecord(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := draw(rt, t)
		stored, err := json.Marshal(d.evidence)
		if err != nil {
			return // a report without an outcome has no form in a record; the coordinator rejects it before
		}
		var read Evidence
		require.NoError(rt, json.Unmarshal(stored, &read))
		live, err := json.Marshal(Judge(d.evidence))
		require.NoError(rt, err)
		again, err := json.Marshal(Judge(read))
		require.NoError(rt, err)
		require.JSONEq(rt, string(live), string(again))
	})
}
