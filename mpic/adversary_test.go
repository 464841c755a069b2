package mpic

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// attack is what the adversary makes of one remote: how it answers, and what that says of control and permission at most.
type attack struct {
	name string
	says said
	// state is what the record must say of the remote, none where time decides it.
	state State
	mount func(t testing.TB, s *scene, m Member) conduct
}

// attacks are what an adversary can do to a remote. None of them gets more than the vote of that one remote.
var attacks = []attack{
	{"says that nothing was there", said{}, Answered, func(t testing.TB, _ *scene, m Member) conduct {
		return failing(t, m.Name, 0)
	}},
	{"denies control only", said{false, true}, Answered, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			return answered(m.Name, withOutcomes(t, p, m.Name, va.Fail, va.Pass))
		}
	}},
	{"denies permission only", said{true, false}, Answered, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			return answered(m.Name, withOutcomes(t, p, m.Name, va.Pass, va.Fail))
		}
	}},
	{"is silent until the deadline", said{}, 0, func(_ testing.TB, _ *scene, m Member) conduct {
		return mute(m.Name)
	}},
	{"answers after the deadline", said{}, 0, func(t testing.TB, _ *scene, m Member) conduct {
		return honest(t, m.Name, 25*time.Second)
	}},
	{"breaks the connection", said{}, Unreachable, func(_ testing.TB, _ *scene, m Member) conduct {
		return func(context.Context, va.Probe) Attestation {
			return Attestation{Perspective: m.Name, State: Unreachable}
		}
	}},
	{"answers as another", said{}, Rejected, func(t testing.TB, s *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			i := slices.IndexFunc(s.config.Roster.Remotes, func(o Member) bool { return o.Name == m.Name })
			other := s.config.Roster.Remotes[(i+1)%len(s.config.Roster.Remotes)].Name
			return answered(other, passing(t, p, other))
		}
	}},
	{"answers as the primary", said{}, Rejected, func(t testing.TB, s *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			return answered("zurich", passing(t, p, "zurich"))
		}
	}},
	{"replays an earlier reply", said{}, Answered, func(t testing.TB, s *scene, m Member) conduct {
		old := attemptAt(s.start).Probe
		return func(context.Context, va.Probe) Attestation { return answered(m.Name, passing(t, old, m.Name)) }
	}},
	{"replays with the new identifiers", said{}, Answered, func(t testing.TB, s *scene, m Member) conduct {
		old := attemptAt(s.start).Probe
		return func(_ context.Context, p va.Probe) Attestation {
			r := passing(t, old, m.Name)
			r.Attempt, r.Nonce = p.Attempt, p.Nonce // and the digest of what was asked then
			return answered(m.Name, r)
		}
	}},
	{"answers with a name alone", said{}, Rejected, func(_ testing.TB, _ *scene, m Member) conduct {
		return func(context.Context, va.Probe) Attestation { return answered(m.Name, va.Report{Perspective: m.Name}) } // F6
	}},
	{"answers with nothing", said{}, Rejected, func(_ testing.TB, _ *scene, m Member) conduct {
		return func(context.Context, va.Probe) Attestation { return Attestation{} }
	}},
	{"answers with a state and no report", said{}, Rejected, func(_ testing.TB, _ *scene, m Member) conduct {
		return func(context.Context, va.Probe) Attestation { return Attestation{Perspective: m.Name, State: Answered} }
	}},
	{"answers and has a problem", said{}, Rejected, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			a := answered(m.Name, passing(t, p, m.Name))
			a.Problem = noAnswer
			return a
		}
	}},
	{"times out with a report", said{}, Rejected, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			r := passing(t, p, m.Name)
			return Attestation{Perspective: m.Name, State: TimedOut, Report: &r}
		}
	}},
	{"says that it need not be waited for", said{}, Rejected, func(_ testing.TB, _ *scene, m Member) conduct {
		return func(context.Context, va.Probe) Attestation {
			return Attestation{Perspective: m.Name, State: Outstanding}
		}
	}},
	{"gives an unknown outcome", said{}, Rejected, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			r := passing(t, p, m.Name)
			r.DCV.Outcome = 200
			return answered(m.Name, r)
		}
	}},
	{"gives what no record can hold", said{}, Rejected, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			r := passing(t, p, m.Name)
			r.DCV.Fetches = []va.Fetch{{Milliseconds: math.NaN()}}
			return answered(m.Name, r)
		}
	}},
	{"passes without having seen the token", said{false, true}, Answered, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			r := passing(t, p, m.Name)
			r.DCV.Observed = "something else"
			return answered(m.Name, r)
		}
	}},
	{"passes on its word alone", said{false, true}, Answered, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			r := passing(t, p, m.Name)
			r.DCV.Lookups, r.DCV.Fetches = nil, nil
			return answered(m.Name, r)
		}
	}},
	{"passes over bogus addresses", said{false, true}, Answered, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			r := passing(t, p, m.Name)
			dcvLookup(dnssec.Bogus)(&r)
			return answered(m.Name, r)
		}
	}},
	{"permits against its own records", said{true, false}, Answered, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation {
			r := passing(t, p, m.Name)
			caaAnswers("example.com.\t300\tIN\tCAA\t0 issue \"other.example\"")(&r)
			return answered(m.Name, r)
		}
	}},
	{"answers what was not asked", said{}, Answered, func(t testing.TB, _ *scene, m Member) conduct {
		return func(_ context.Context, p va.Probe) Attestation { return answered(m.Name, otherwise(t, p, m.Name)) }
	}},
	{"breaks its client down", said{}, Unreachable, func(testing.TB, *scene, Member) conduct {
		return func(context.Context, va.Probe) Attestation { panic("a reply that no parser expected") }
	}},
}

// Holds: MPIC-01, MPIC-03, MPIC-08, MPIC-10, MPIC-11, F3, F6, F9
func TestBR_3_2_2_9_AdversaryHoldsAnySubsetOfFiveRemotes(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			for subset := range uint(1 << 5) {
				synctest.Test(t, func(t *testing.T) {
					s := newScene(t, fiveRegions(), december)
					remotes := make([]said, 5)
					for i, f := range s.remotes {
						remotes[i] = said{true, true}
						if subset&(1<<i) != 0 {
							remotes[i] = a.says
							f.attest = a.mount(t, s, f.member)
						}
					}
					s.compare(Issuance, remotes, fmt.Sprintf("subset %05b", subset), func(r Result) {
						for i := range s.remotes {
							if got := r.Evidence.Remotes[i].State; subset&(1<<i) != 0 && a.state != 0 && got != Outstanding {
								require.Equal(t, a.state, got)
							}
						}
					})
				})
			}
		})
	}
}

// compare has one attempt carried out, and expects what the plain rule says of it.
func (s *scene) compare(kind Kind, remotes []said, what string, also func(Result)) {
	c := s.coordinator()
	r := s.validateAs(c, kind)
	regions := make([]string, len(remotes))
	for i, m := range s.config.Roster.Remotes {
		regions[i] = string(m.Place.Region)
	}
	primary := said{r.Decision.Views()[0].DCV == va.Pass, r.Decision.Views()[0].CAA == va.Pass}
	if kind == CAARecheck {
		require.False(s.t, primary.dcv)
		primary.dcv = true // the plain rule knows no attempt without DCV: as if all had passed it
	}
	want := plainRule("2026-12-20", primary, regions, remotes)
	require.Equal(s.t, want, r.Decision.Granted(), "%s: %v", what, r.Decision.Reasons())
	also(r)
	s.close(c)
}

// Holds: MPIC-01, MPIC-03, MPIC-04
func TestBR_3_2_2_9_AdversaryMixesItsMeans(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(5, 8).Draw(rt, "remotes")
		layout := rapid.SliceOfN(rapid.SampledFrom(Regions()[:3]), n, n).Draw(rt, "regions")
		mix := rapid.SliceOfN(rapid.IntRange(-2*len(attacks), len(attacks)-1), n, n).Draw(rt, "attacks") // below 0: honest
		if len(slices.Compact(slices.Sorted(slices.Values(layout)))) < 2 {
			return // no coordinator starts with one region
		}
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, ofRegions(layout...), december)
			remotes := make([]said, n)
			for i, f := range s.remotes {
				remotes[i] = said{true, true}
				if mix[i] >= 0 {
					remotes[i] = attacks[mix[i]].says
					f.attest = attacks[mix[i]].mount(t, s, f.member)
				}
			}
			s.compare(Issuance, remotes, fmt.Sprint(mix), func(Result) {})
		})
	})
}

// Holds: MPIC-12, F1
func TestIncidentOf2026_RemotesAloneNeverSuffice(t *testing.T) {
	for name, check := range map[string]func(context.Context, va.Probe) va.Report{
		"the primary sees no token": func(_ context.Context, p va.Probe) va.Report {
			return withOutcomes(t, p, "zurich", va.Fail, va.Pass)
		},
		"the primary sees a prohibition": func(_ context.Context, p va.Probe) va.Report {
			return withOutcomes(t, p, "zurich", va.Pass, va.Fail)
		},
		"the primary is silent": func(ctx context.Context, p va.Probe) va.Report {
			<-ctx.Done()
			return withOutcomes(t, p, "zurich", va.Error, va.Error)
		},
		"the primary never returns in time": func(_ context.Context, p va.Probe) va.Report {
			time.Sleep(time.Minute)
			return passing(t, p, "zurich")
		},
		"the primary makes an empty report": func(context.Context, va.Probe) va.Report { return va.Report{} },
		"the primary reports another probe": func(context.Context, va.Probe) va.Report {
			return passing(t, attemptAt(december).Probe, "zurich")
		},
		"the primary breaks down": func(context.Context, va.Probe) va.Report { panic("a bug") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, fiveRegions(), december)
				s.check = check
				c := s.coordinator()
				r := s.validate(c)
				require.False(t, r.Decision.Granted())
				require.NotEmpty(t, r.Decision.Reasons())
				require.NotNil(t, r.Evidence.Primary, "what became of the primary is on record")
				require.Equal(t, Primary, r.Decision.Views()[0].Role)
				require.Equal(t, 5, r.Decision.DCV().Corroborated, "though all remotes see the token")
				s.close(c)
			})
		})
	}
}

// Holds: MPIC-09, F5
func TestBR_3_2_2_9_RetryCountsNothingOfAnEarlierAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		var earlier [5]atomic.Pointer[Attestation]
		var round atomic.Uint32 // a bit for each remote that answers
		for i, f := range s.remotes {
			f.attest = func(ctx context.Context, p va.Probe) Attestation {
				name := f.member.Name
				if round.Load()&(1<<i) != 0 {
					a := honest(t, name, 0)(ctx, p)
					earlier[i].Store(&a)
					return a
				}
				if a := earlier[i].Load(); a != nil { // what it said before it was cut off
					return *a
				}
				return mute(name)(ctx, p)
			}
		}
		c := s.coordinator()
		var seen []string
		for _, answers := range []uint32{0b00011, 0b01100, 0b10000} { // A and B, then C and D, then E
			round.Store(answers)
			r := s.validate(c)
			require.False(t, r.Decision.Granted())
			require.Equal(t, bits.OnesCount32(answers), r.Decision.DCV().Corroborated)
			seen = append(seen, r.Evidence.Attempt.ID(), r.Evidence.Attempt.Probe.Nonce)
		}
		slices.Sort(seen)
		require.Len(t, slices.Compact(seen), 6, "each attempt has an identifier and a nonce of its own")
		round.Store(0b11111)
		require.True(t, s.validate(c).Decision.Granted())
		s.close(c)
	})
}

func TestAReplyThatCountsIsKeptWholeAndAnyOtherCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		long := strings.Repeat("x", 1<<20)
		s.remotes[0].attest = func(ctx context.Context, p va.Probe) Attestation {
			return sealed(t, honest(t, "ashburn", 0)(ctx, p), strings.Repeat(" ", 1<<20))
		}
		s.remotes[1].attest = func(context.Context, va.Probe) Attestation {
			return Attestation{Perspective: "tokyo", State: Rejected, Problem: noAnswer, Signed: long}
		}
		s.config.GrantGrace = time.Second
		c := s.coordinator()
		r := s.validate(c)
		require.Greater(t, len(r.Evidence.Remotes[0].Signed), len(long), "its signature can be verified again")
		require.Len(t, r.Evidence.Remotes[1].Signed, 64<<10)
		s.close(c)
	})
}

// The record keeps a signed report once, as it was signed: what was judged is what the signature covers.
//
// Holds: MPIC-08, REC-01
func TestTheReportJudgedIsTheOneThatWasSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.remotes[0].attest = func(ctx context.Context, p va.Probe) Attestation {
			return sealed(t, honest(t, "ashburn", 0)(ctx, p), "")
		}
		s.remotes[1].attest = func(ctx context.Context, p va.Probe) Attestation {
			a := honest(t, "tokyo", 0)(ctx, p)
			another := *a.Report
			another.Software = "another"
			a = sealed(t, a, "")
			a.Report = &another
			return a
		}
		s.remotes[2].attest = func(ctx context.Context, p va.Probe) Attestation {
			a := honest(t, s.remotes[2].member.Name, 0)(ctx, p)
			signed := sealed(t, a, "").Reply.Signed()
			a.Report.Software, a.Signed = "another", signed
			return a
		}
		s.config.GrantGrace = time.Second
		c := s.coordinator()
		r := s.validate(c)
		for _, a := range r.Evidence.Remotes[1:3] {
			require.Equal(t, Rejected, a.State)
			require.Equal(t, "perspective.contradiction", a.Problem.Code)
			require.NotEmpty(t, a.Signed, "the reply is kept")
		}
		first := r.Evidence.Remotes[0]
		require.True(t, first.Answers())
		text, err := json.Marshal(first)
		require.NoError(t, err)
		require.NotContains(t, string(text), `"report"`)
		var again Attestation
		require.NoError(t, json.Unmarshal(text, &again))
		require.True(t, again.Answers())
		require.NoError(t, again.Reply.Supply(first.Report.Sets))
		require.Equal(t, first, again, "what Judge read is what the record gives back")
		var beside map[string]any
		require.NoError(t, json.Unmarshal(text, &beside))
		beside["report"] = first.Report
		text, err = json.Marshal(beside)
		require.NoError(t, err)
		require.ErrorContains(t, json.Unmarshal(text, &again), "a report beside the one that was signed")
		require.Error(t, json.Unmarshal([]byte(`{"perspective":"tokyo","state":"answered","signed":"a.b.c"}`), &again))
		s.close(c)
	})
}

// Holds: F9
func TestAReplyThatNamesAnotherRaisesAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, fiveRegions(), december)
		s.remotes[1].attest = func(_ context.Context, p va.Probe) Attestation {
			a := answered("helsinki", passing(t, p, "helsinki"))
			a.Signed = strings.Repeat("x", 1<<20)
			return a
		}
		s.config.GrantGrace = time.Second
		c := s.coordinator()
		r := s.validate(c)
		require.True(t, r.Decision.Granted(), "one of five may fail")
		a := r.Evidence.Remotes[1]
		require.Equal(t, Rejected, a.State)
		require.Equal(t, "perspective.identity", a.Problem.Code)
		require.Len(t, a.Signed, 64<<10, "the reply is kept, cut")
		require.Contains(t, s.log.String(), "level=ERROR")
		require.Contains(t, s.log.String(), r.Evidence.Attempt.ID())
		s.close(c)
	})
}
