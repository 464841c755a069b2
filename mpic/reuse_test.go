package mpic

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quorate/quorate/va"
)

// Holds: DCV-03
func TestBR_4_2_1_ReusePeriods(t *testing.T) {
	for at, days := range map[string]int{
		"2020-01-01T00:00:00Z": 398, "2026-03-14T23:59:59.999999999Z": 398,
		"2026-03-15T00:00:00Z": 200, "2027-03-14T23:59:59.999999999Z": 200,
		"2027-03-15T00:00:00Z": 100, "2029-03-14T23:59:59.999999999Z": 100,
		"2029-03-15T00:00:00Z": 10, "2040-01-01T00:00:00Z": 10,
		"2029-03-15T13:59:59.999999999+14:00": 100, "2029-03-14T12:00:00-12:00": 10,
	} {
		for _, m := range va.Methods() {
			require.Equal(t, time.Duration(days)*24*time.Hour, ReusePeriod(m, instant(t, at)), at)
		}
		require.Zero(t, ReusePeriod(0, instant(t, at)))
		for _, section := range []string{"3.2.2.4.22", "3.2.2.5.8"} { // persistent values, once they are here
			require.Equal(t, 240*time.Hour, reusePeriod(section, instant(t, at)))
		}
	}
}

// Holds: DCV-03
func TestBR_4_2_1_AValidationLapsesOnTheDateOfAShorterPeriod(t *testing.T) {
	for _, c := range []struct{ name, validated, until string }{
		{"well within one period", "2025-01-01T00:00:00.000000001Z", "2026-02-03T00:00:00.000000001Z"},
		{"the period ends as the next begins", "2025-02-10T00:00:00Z", "2026-03-14T23:59:59.999999999Z"},
		{"it lapses on the date", "2025-06-01T00:00:00Z", "2026-03-14T23:59:59.999999999Z"},
		{"one that is exactly 200 days old on the date", "2025-08-27T00:00:00Z", "2026-03-15T00:00:00Z"},
		{"a nanosecond older", "2025-08-26T23:59:59.999999999Z", "2026-03-14T23:59:59.999999999Z"},
		{"a nanosecond younger", "2025-08-27T00:00:00.000000001Z", "2026-03-15T00:00:00.000000001Z"},
		{"of the day before the date", "2026-03-14T12:00:00Z", "2026-09-30T12:00:00Z"},
		{"of the date", "2026-03-15T00:00:00Z", "2026-10-01T00:00:00Z"},
		{"before the second date", "2026-11-01T00:00:00Z", "2027-03-14T23:59:59.999999999Z"},
		{"100 days old on the second date", "2026-12-05T00:00:00Z", "2027-03-15T00:00:00Z"},
		{"of our day", "2026-12-20T12:00:00Z", "2027-03-30T12:00:00Z"},
		{"before the third date", "2029-01-01T00:00:00Z", "2029-03-14T23:59:59.999999999Z"},
		{"10 days old on the third date", "2029-03-05T00:00:00Z", "2029-03-15T00:00:00Z"},
		{"after all dates", "2030-01-01T06:00:00Z", "2030-01-11T06:00:00Z"},
		{"told on another clock", "2030-01-01T08:00:00+02:00", "2030-01-11T06:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			until := ReusableUntil(va.DNS01, instant(t, c.validated))
			require.Equal(t, instant(t, c.until).UTC(), until)
			require.Equal(t, time.UTC, until.Location())
		})
	}
	require.True(t, ReusableUntil(0, december).IsZero())
}

// plainPeriods is BR 4.2.1 a second time: days by day of issuance, as text.
func plainPeriod(section string, at time.Time) time.Duration {
	date := at.UTC().Format(time.DateOnly)
	for _, gone := range []struct{ section, from string }{{"3.2.2.4.2", "2025-07-15"}, {"3.2.2.4.15", "2025-07-15"}, {"3.2.2.4.8", "2026-03-15"},
		{"3.2.2.4.16", "2027-03-15"}, {"3.2.2.4.17", "2027-03-15"}, {"3.2.2.4.4", "2028-03-15"}, {"3.2.2.4.13", "2028-03-15"},
		{"3.2.2.4.14", "2028-03-15"}, {"3.2.2.5.2", "2027-03-15"}, {"3.2.2.5.3", "2027-03-15"}, {"3.2.2.5.5", "2027-03-15"}} {
		if section == gone.section && date >= gone.from {
			return -1
		}
	}
	days := 398
	switch {
	case section == "3.2.2.4.22" || section == "3.2.2.5.8" || date >= "2029-03-15":
		days = 10
	case date >= "2027-03-15":
		days = 100
	case date >= "2026-03-15":
		days = 200
	}
	return time.Duration(days) * 24 * time.Hour
}

// TestReusableUntilIsTheLastMomentOfThePlainRule: until it the plain rule says yes, and after it no, for methods that are here
// and for those that are not, or no more.
//
// Holds: DCV-03, DCV-14, DCV-25, DCV-26, D3
func TestReusableUntilIsTheLastMomentOfThePlainRule(t *testing.T) {
	sections := []string{"3.2.2.4.7", "3.2.2.4.19", "3.2.2.4.20", "3.2.2.4.22", "3.2.2.5.8", "3.2.2.4.2", "3.2.2.4.15", "3.2.2.4.8", "3.2.2.4.16",
		"3.2.2.4.17", "3.2.2.4.4", "3.2.2.4.13", "3.2.2.4.14", "3.2.2.5.2", "3.2.2.5.3", "3.2.2.5.5"}
	rapid.Check(t, func(rt *rapid.T) {
		section := rapid.SampledFrom(sections).Draw(rt, "method")
		validated := day(2025, 1, 1).Add(time.Duration(rapid.Int64Range(0, int64(5*366*24*time.Hour)).Draw(rt, "validated")))
		if rapid.Bool().Draw(rt, "midnight") {
			validated = validated.Truncate(24 * time.Hour).Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "ns")))
		}
		may := func(at time.Time) bool { return at.Sub(validated) <= plainPeriod(section, at) }
		until := reusableUntil(section, validated)
		if until.IsZero() {
			require.False(rt, may(validated))
			return
		}
		require.True(rt, may(until), "%s: %s until %s", section, validated, until)
		require.False(rt, may(until.Add(1)), "%s: %s until %s", section, validated, until)
		at := validated.Add(time.Duration(rapid.Int64Range(0, int64(500*24*time.Hour)).Draw(rt, "at")))
		require.Equal(rt, may(at), !at.After(until))
	})
}

// Holds: DCV-01, DCV-14, DCV-25, DCV-26, D3
func TestEvidenceOfAMethodThatIsGoneIsNotReliedUpon(t *testing.T) {
	for _, s := range sunsetSteps {
		for _, section := range s.sections {
			from, rule, ok := sunset(section)
			require.True(t, ok)
			require.Equal(t, s.id, rule)
			require.Equal(t, s.from, from)
			require.Equal(t, from.Add(-1), reusableUntil(section, from.Add(-24*time.Hour)), section)
			require.True(t, reusableUntil(section, from).IsZero())
			require.Zero(t, reusePeriod(section, from))
		}
	}
	for _, m := range va.Methods() {
		_, _, ok := sunset(m.Section())
		require.False(t, ok, "no known date ends %s", m)
	}
}

// What ReusableUntil says rests on it.
func TestReusePeriodsNeverGrow(t *testing.T) {
	for i := 1; i < len(reuseSteps); i++ {
		require.Less(t, reuseSteps[i].days, reuseSteps[i-1].days)
		require.True(t, reuseSteps[i].from.After(reuseSteps[i-1].from))
	}
}
