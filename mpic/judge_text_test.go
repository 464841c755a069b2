package mpic

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// Holds: MPIC-01, MPIC-02, MPIC-03, MPIC-04, MPIC-12, REC-02, F1, F7
func TestBR_3_2_2_9_TextCases(t *testing.T) {
	text, err := os.ReadFile("testdata/judge.txt")
	require.NoError(t, err)
	cases := strings.Split(string(text), "\ncase ")
	require.Greater(t, len(cases), 20)
	for _, c := range cases[1:] {
		name, body, _ := strings.Cut(c, "\n")
		t.Run(name, func(t *testing.T) { runTextCase(t, strings.Split(strings.TrimSpace(body), "\n")) })
	}
}

func runTextCase(t *testing.T, lines []string) {
	var at time.Time
	var primary []string
	type remote struct {
		name    string
		region  Region
		answers []string
	}
	var remotes []remote
	for _, line := range lines {
		f := strings.Fields(line)
		switch f[0] {
		case "day":
			var err error
			at, err = time.Parse(time.DateOnly, f[1])
			require.NoError(t, err)
		case "primary":
			primary = f[1:]
		case "=":
			layout := make([]Region, len(remotes))
			for i, r := range remotes {
				layout[i] = r.region
			}
			roster := ofRegions(layout...)
			for i, r := range remotes { // the roster's places are the named cities'
				k := slices.IndexFunc(cities, func(c city) bool { return c.name == r.name })
				require.GreaterOrEqual(t, k, 0, r.name)
				roster.Remotes[i].Name = r.name
				roster.Remotes[i].Place = Place{r.region, cities[k].lat, cities[k].lon}
				roster.Remotes[i].Resolver = roster.Remotes[i].Place
			}
			e := unanimous(t, roster, at)
			probe := e.Attempt.Probe
			if primary[0] == "absent" {
				e.Primary = nil
			} else {
				e.Primary = &PrimaryReport{report: withOutcomes(t, probe, "zurich", outcome(t, primary[0]), outcome(t, primary[1]))}
			}
			for i, r := range remotes {
				e.Remotes[i] = textAttestation(t, probe, r.name, r.answers)
			}
			d := Judge(e)
			require.Equal(t, f[1], map[bool]string{true: "granted", false: "refused"}[d.Granted()], "%v", d.Reasons())
			require.Equal(t, f[2:4], []string{d.DCV().String(), d.CAA().String()})
			require.Equal(t, f[4:], append([]string{}, codes(d)...))
			return
		default:
			region := Region(f[1])
			if region == "RIPE" {
				region = RIPE
			}
			remotes = append(remotes, remote{f[0], region, f[2:]})
		}
	}
	t.Fatal("the case has no outcome")
}

func outcome(t *testing.T, word string) va.Outcome {
	var o va.Outcome
	require.NoError(t, o.UnmarshalText([]byte(word)))
	return o
}

func textAttestation(t *testing.T, p va.Probe, name string, words []string) Attestation {
	if len(words) == 2 {
		return answered(name, withOutcomes(t, p, name, outcome(t, words[0]), outcome(t, words[1])))
	}
	if words[0] == "silent" {
		return silent(name)
	}
	var s State
	require.NoError(t, s.UnmarshalText([]byte(words[0])))
	return Attestation{Perspective: name, State: s, Problem: noAnswer}
}
