package mpic

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func instant(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s)
	require.NoError(t, err)
	return at
}

// Holds: MPIC-02, MPIC-04, F7
func TestBR_3_2_2_9_PhasesBeginAtMidnightUTC(t *testing.T) {
	for _, c := range []struct {
		at               string
		remotes, regions int
		name             string
	}{
		{"2025-03-15T00:00:00Z", 0, 0, ""},
		{"2025-09-14T23:59:59.999999999Z", 0, 0, ""},
		{"2025-09-15T00:00:00Z", 2, 1, "2025-09-15"},
		{"2026-03-14T23:59:59.999999999Z", 2, 1, "2025-09-15"},
		{"2026-03-15T00:00:00Z", 3, 2, "2026-03-15"},
		{"2026-06-14T23:59:59.999999999Z", 3, 2, "2026-03-15"},
		{"2026-06-15T00:00:00Z", 4, 2, "2026-06-15"},
		{"2026-12-14T23:59:59.999999999Z", 4, 2, "2026-06-15"},
		{"2026-12-15T00:00:00Z", 5, 2, "2026-12-15"},
		{"2026-12-15T12:00:00Z", 5, 2, "2026-12-15"},
		{"2031-01-01T00:00:00Z", 5, 2, "2026-12-15"},
		// The same instants on clocks of other zones: the day is UTC's.
		{"2026-12-15T13:59:59+14:00", 4, 2, "2026-06-15"},
		{"2026-12-15T14:00:00+14:00", 5, 2, "2026-12-15"},
		{"2026-12-14T19:00:00-05:00", 5, 2, "2026-12-15"},
		{"2025-09-14T20:00:00-04:00", 2, 1, "2025-09-15"},
	} {
		t.Run(c.at, func(t *testing.T) {
			p, problem := PolicyAt(instant(t, c.at))
			require.Equal(t, c.remotes == 0, problem != nil)
			require.Equal(t, c.remotes, p.MinRemotes)
			require.Equal(t, c.regions, p.MinRegions)
			require.Equal(t, c.name, p.Name())
		})
	}
}

// Holds: MPIC-03
func TestBR_3_2_2_9_QuorumTable(t *testing.T) {
	for used, want := range map[int]int{2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 50: 2} {
		got, ok := AllowedNonCorroborations(used)
		require.True(t, ok)
		require.Equal(t, want, got, "%d used", used)
	}
	for _, used := range []int{-1, 0, 1} {
		got, ok := AllowedNonCorroborations(used)
		require.False(t, ok, "the table has no row for %d", used)
		require.Zero(t, got)
	}
}

func TestNextChange(t *testing.T) {
	for at, next := range map[string]string{
		"2025-01-01T00:00:00Z":      "2025-09-15",
		"2025-09-14T23:59:59Z":      "2025-09-15",
		"2025-09-15T00:00:00Z":      "2026-03-15",
		"2026-03-15T00:00:00Z":      "2026-06-15",
		"2026-06-15T00:00:00Z":      "2026-12-15",
		"2026-12-14T19:59:59-04:00": "2026-12-15",
	} {
		require.Equal(t, next, NextChange(instant(t, at)).Format(time.DateOnly), at)
	}
	require.True(t, NextChange(instant(t, "2026-12-15T00:00:00Z")).IsZero())
}

// plainTexts says again, per day, what the rule changes of the Baseline Requirements mean for an identifier: words that the
// rules then in force must have, and words that they must not.
var plainTexts = []struct {
	id, day   string
	has, lack []string
	section   string
}{
	{"DCV-03", "2026-03-14", []string{"398 days"}, []string{"200 days"}, "BR 4.2.1"},
	{"DCV-03", "2026-03-15", []string{"200 days"}, []string{"398 days"}, "BR 4.2.1"},
	{"DCV-03", "2026-03-16", []string{"200 days"}, []string{"398 days"}, "BR 4.2.1"},
	{"DCV-03", "2027-03-14", []string{"200 days"}, []string{"100 days"}, "BR 4.2.1"},
	{"DCV-03", "2027-03-15", []string{"100 days"}, []string{"200 days"}, "BR 4.2.1"},
	{"DCV-03", "2029-03-14", []string{"100 days"}, []string{" 10 days"}, "BR 4.2.1"},
	{"DCV-03", "2029-03-15", []string{" 10 days"}, []string{"100 days"}, "BR 4.2.1"},
	{"DCV-01", "2025-07-14", []string{"permitted"}, []string{"3.2.2.4.2"}, "BR 3.2.2.4"},
	{"DCV-01", "2025-07-15", []string{"3.2.2.4.2", "3.2.2.4.15"}, nil, "BR 3.2.2.4"},
	{"DCV-04", "2026-03-14", nil, []string{"IANA"}, "BR 3.2.2.4"},
	{"DCV-04", "2026-03-15", []string{"IANA"}, nil, "BR 3.2.2.4"},
	{"DCV-10", "2026-07-14", []string{"version"}, []string{"SC-099"}, "BR 3.2.2.4"},
	{"DCV-10", "2026-07-15", []string{"SC-099"}, []string{"version"}, "BR 3.2.2.4"},
	{"DCV-14", "2026-03-14", nil, []string{"3.2.2.4.8"}, "BR 1.2.2"},
	{"DCV-14", "2026-03-15", []string{"3.2.2.4.8"}, nil, "BR 1.2.2"},
	{"DCV-25", "2027-03-14", nil, []string{"3.2.2.4.16"}, "BR 1.2.2"},
	{"DCV-25", "2027-03-15", []string{"3.2.2.4.16", ".17"}, []string{".13"}, "BR 1.2.2"},
	{"DCV-25", "2028-03-14", []string{"3.2.2.4.16"}, []string{".13"}, "BR 1.2.2"},
	{"DCV-25", "2028-03-15", []string{"3.2.2.4.16", "3.2.2.4.4", ".13", ".14"}, nil, "BR 1.2.2"},
	{"DCV-26", "2027-03-14", nil, []string{"3.2.2.5"}, "BR 1.2.2"},
	{"DCV-26", "2027-03-15", []string{"3.2.2.5.2", ".3", ".5"}, nil, "BR 1.2.2"},
	{"DCV-28", "2026-03-14", nil, []string{"in-addr.arpa"}, "BR 4.2.2"},
	{"DCV-28", "2026-03-15", []string{"in-addr.arpa", "ip6.arpa"}, nil, "BR 4.2.2"},
	{"CAA-04", "2027-03-14", []string{"ahead"}, []string{"SC-098v2"}, ""},
	{"CAA-04", "2027-03-15", []string{"SC-098v2"}, []string{"ahead"}, "BR 4.2.2.1"},
	{"CAA-01", "2027-03-14", []string{"RFC 8659"}, nil, "BR 3.2.2.8"},
	{"CAA-01", "2027-03-15", []string{"RFC 8659"}, nil, "BR 4.2.2.1"},
	{"CAA-07", "2026-03-14", nil, []string{"DNSSEC"}, "BR 3.2.2.8.1"},
	{"CAA-07", "2026-03-15", []string{"DNSSEC"}, nil, "BR 3.2.2.8.1"},
	{"CAA-07", "2027-03-15", []string{"DNSSEC"}, nil, "BR 4.2.2.1"},
	{"MPIC-01", "2025-09-14", nil, []string{"quorum"}, "BR 3.2.2.9"},
	{"MPIC-01", "2025-09-15", []string{"quorum"}, nil, "BR 3.2.2.9"},
	{"MPIC-02", "2025-03-14", nil, []string{"at least"}, "BR 3.2.2.9"},
	{"MPIC-02", "2025-03-15", []string{"at least 2", "does not block"}, nil, "BR 3.2.2.9"},
	{"MPIC-02", "2025-09-15", []string{"at least 2"}, []string{"does not block"}, "BR 3.2.2.9"},
	{"MPIC-02", "2026-03-14", []string{"at least 2"}, []string{"at least 3"}, "BR 3.2.2.9"},
	{"MPIC-02", "2026-03-15", []string{"at least 3"}, []string{"at least 2"}, "BR 3.2.2.9"},
	{"MPIC-02", "2026-06-14", []string{"at least 3"}, []string{"at least 4"}, "BR 3.2.2.9"},
	{"MPIC-02", "2026-06-15", []string{"at least 4"}, []string{"at least 3"}, "BR 3.2.2.9"},
	{"MPIC-02", "2026-12-14", []string{"at least 4"}, []string{"at least 5"}, "BR 3.2.2.9"},
	{"MPIC-02", "2026-12-15", []string{"at least 5"}, []string{"at least 4"}, "BR 3.2.2.9"},
	{"MPIC-04", "2026-03-14", nil, []string{"registries"}, "BR 3.2.2.9"},
	{"MPIC-04", "2026-03-15", []string{"two registries"}, nil, "BR 3.2.2.9"},
	{"MPIC-12", "2026-03-14", []string{"remote results alone"}, []string{"delegated"}, "BR 1.6.1"},
	{"MPIC-12", "2026-03-15", []string{"remote results alone", "delegated"}, nil, "BR 1.6.1"},
}

func TestRulesOnEachDate(t *testing.T) {
	for _, c := range plainTexts {
		t.Run(c.id+" on "+c.day, func(t *testing.T) {
			begins := instant(t, c.day+"T00:00:00Z")
			// The whole UTC day is meant, on every clock.
			for _, at := range []time.Time{begins, begins.Add(24*time.Hour - 1), begins.In(time.FixedZone("", 14*3600)),
				begins.Add(23 * time.Hour).In(time.FixedZone("", -12*3600))} {
				var text []string
				for _, r := range RulesOn(at) {
					if r.ID == c.id {
						text = append(text, r.Text)
					}
				}
				all := strings.Join(text, "; ")
				for _, word := range c.has {
					require.Contains(t, all, word)
				}
				for _, word := range c.lack {
					require.NotContains(t, all, word)
				}
				require.Equal(t, c.section, Policy{Day: begins}.Section(c.id))
			}
		})
	}
	require.Empty(t, Policy{Day: march(2026)}.Section("MPIC-99"))
}

func march(year int) time.Time { return time.Date(year, 3, 15, 0, 0, 0, 0, time.UTC) }

func TestRulesAreWellFormed(t *testing.T) {
	known := map[string]bool{}
	f, err := os.Open("../docs/requirements.tsv")
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		id, _, _ := strings.Cut(lines.Text(), "\t")
		known[id] = true
	}
	dated := map[string]bool{}
	for i, r := range Rules() {
		require.True(t, known[r.ID], "%s is no requirement", r.ID)
		require.NotEmpty(t, r.Text)
		require.NotEmpty(t, r.Sections)
		require.True(t, r.Until.IsZero() || r.From.Before(r.Until), "%s: %s", r.ID, r.Text)
		for k := 1; k < len(r.Sections); k++ {
			require.True(t, r.Sections[k-1].From.Before(r.Sections[k].From))
		}
		if i > 0 {
			require.LessOrEqual(t, Rules()[i-1].ID, r.ID)
		}
		for _, d := range []time.Time{r.From, r.Until} {
			if !d.IsZero() {
				dated[d.Format(time.DateOnly)] = true
				require.Zero(t, d.Sub(d.Truncate(24*time.Hour)), "a rule begins with a UTC day")
			}
		}
	}
	for _, d := range []string{"2025-03-15", "2025-07-15", "2025-09-15", "2026-03-15", "2026-06-15", "2026-07-15", "2026-12-15",
		"2027-03-15", "2028-03-15", "2029-03-15"} {
		require.True(t, dated[d], "no rule changes on %s", d)
		delete(dated, d)
	}
	require.Empty(t, dated, "dates that the Baseline Requirements do not have")
}

// Holds: MPIC-02
func TestOutlookWarnsAheadOfTheNextDate(t *testing.T) {
	four := ofRegions(ARIN, APNIC, LACNIC, AFRINIC)
	o := OutlookOn(four, Cohort{}, instant(t, "2026-11-21T05:00:00+05:00"))
	require.Equal(t, "2026-11-21", o.At.Format(time.DateOnly))
	require.Empty(t, o.Breaks)
	require.Equal(t, "2026-12-15", o.Next.Format(time.DateOnly))
	require.Equal(t, []string{"roster.too-few"}, problemCodes(o.NextBreaks))
	require.Contains(t, o.NextBreaks[0].Detail, "since 2026-12-15 at least 5 are required (BR 3.2.2.9)")
	require.Equal(t, 4, o.Policy.MinRemotes)
	require.Equal(t, "2026-12-15", o.Coming[0].From.Format(time.DateOnly), "the nearest first")
	require.Equal(t, "2029-03-15", o.Coming[len(o.Coming)-1].From.Format(time.DateOnly))
	require.Equal(t, len(RulesOn(o.At)), len(o.Rules))

	o = OutlookOn(four, Cohort{}, december)
	require.Equal(t, []string{"roster.too-few"}, problemCodes(o.Breaks))
	require.True(t, o.Next.IsZero())
	require.Empty(t, o.NextBreaks)

	require.Empty(t, OutlookOn(fiveRegions(), Cohort{}, instant(t, "2026-11-21T00:00:00Z")).NextBreaks)

	near := fiveRegions() // a fault of today is not told twice
	near.Remotes[1].Place = near.Remotes[0].Place
	o = OutlookOn(near, Cohort{}, instant(t, "2026-11-21T00:00:00Z"))
	require.Contains(t, problemCodes(o.Breaks), "roster.distance")
	require.Empty(t, o.NextBreaks)

	o = OutlookOn(four, Cohort{}, day(2025, 1, 1))
	require.Equal(t, []string{"policy.none"}, problemCodes(o.Breaks))
	require.Equal(t, "2025-09-15", o.Next.Format(time.DateOnly))
}
