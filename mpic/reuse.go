package mpic

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/va"
)

// reuseSteps are the data reuse periods of BR 4.2.1 for domain names, by day of issuance (DCV-03). They never grow: what
// ReusableUntil says rests on that, and a test holds it.
var reuseSteps = []struct {
	from time.Time
	days int
}{
	{time.Time{}, 398},
	{day(2026, 3, 15), 200},
	{day(2027, 3, 15), 100},
	{day(2029, 3, 15), 10},
}

// shortReuse are the methods whose period is shorter on every day, in days, by their section: persistent TXT records.
var shortReuse = map[string]int{"3.2.2.4.22": 10, "3.2.2.5.8": 10}

// sunsetSteps are the days from which a certificate may not rely on a method, nor on what it showed earlier (BR 1.2.2; DCV-01,
// DCV-14, DCV-25, DCV-26). None of the methods of package va is among them.
var sunsetSteps = []struct {
	id       string
	from     time.Time
	sections []string
}{
	{"DCV-01", day(2025, 7, 15), []string{"3.2.2.4.2", "3.2.2.4.15"}},
	{"DCV-14", day(2026, 3, 15), []string{"3.2.2.4.8"}},
	{"DCV-25", day(2027, 3, 15), []string{"3.2.2.4.16", "3.2.2.4.17"}},
	{"DCV-25", day(2028, 3, 15), []string{"3.2.2.4.4", "3.2.2.4.13", "3.2.2.4.14"}},
	{"DCV-26", day(2027, 3, 15), []string{"3.2.2.5.2", "3.2.2.5.3", "3.2.2.5.5"}},
}

// reuseRules and sunsetRules give the tables' sentences for Rules.
func reuseRules() []Rule {
	var out []Rule
	for i, s := range reuseSteps {
		r := Rule{ID: "DCV-03", From: s.from, Text: fmt.Sprintf("a validation may be reused for %d days", s.days),
			Sections: []Section{{Number: "4.2.1"}}}
		if i+1 < len(reuseSteps) {
			r.Until = reuseSteps[i+1].from
		}
		out = append(out, r)
	}
	return out
}

func sunsetRules() []Rule {
	var out []Rule
	for _, s := range sunsetSteps {
		text := fmt.Sprintf("method %s is not permitted, nor is its old data", s.sections[0])
		if last := len(s.sections) - 1; last > 0 {
			text = fmt.Sprintf("methods %s and %s are not permitted, nor is their old data",
				strings.Join(s.sections[:last], ", "), s.sections[last])
		}
		out = append(out, Rule{ID: s.id, From: s.from, Text: text, Sections: []Section{{Number: "1.2.2"}}})
	}
	return out
}

// sunset gives the day from which evidence of a method, by its section, is not relied upon, and the rule that says so; ok is
// false where no such day is known. D3: it goes by the evidence's own method, however a name came to rest on it.
func sunset(section string) (from time.Time, rule string, ok bool) {
	for _, s := range sunsetSteps {
		if slices.Contains(s.sections, section) && (!ok || s.from.Before(from)) {
			from, rule, ok = s.from, s.id, true
		}
	}
	return from, rule, ok
}

const oneDay = 24 * time.Hour

// ReusePeriod gives for how long a validation by a method may be relied upon by a certificate that is issued at a time
// (DCV-03, BR 4.2.1); 0 for what is no method, and for one that is not permitted on that day.
func ReusePeriod(m va.Method, at time.Time) time.Duration { return reusePeriod(m.Section(), at) }

func reusePeriod(section string, at time.Time) time.Duration {
	if from, _, ok := sunset(section); section == "" || ok && !at.Before(from) {
		return 0
	}
	days := 0
	for _, s := range reuseSteps {
		if !at.Before(s.from) {
			days = s.days
		}
	}
	if short, ok := shortReuse[section]; ok {
		days = min(days, short)
	}
	return time.Duration(days) * oneDay
}

// ReusableUntil gives the last moment, to the nanosecond and in UTC, at which a validation may be relied upon, by all dates
// known to this program: the period shrinks on a date, so that a validation can lapse on that very date. It is the zero time
// for what is no method, and for a method that was not permitted even then. validated is the attempt's start: what it saw is
// not older.
func ReusableUntil(m va.Method, validated time.Time) time.Time {
	return reusableUntil(m.Section(), validated)
}

func reusableUntil(section string, validated time.Time) time.Time {
	validated = validated.UTC().Round(0)
	period := reusePeriod(section, validated)
	if period == 0 {
		return time.Time{}
	}
	until := validated.Add(period)
	dates := []time.Time{}
	for _, s := range reuseSteps {
		dates = append(dates, s.from)
	}
	if from, _, ok := sunset(section); ok {
		dates = append(dates, from)
	}
	slices.SortFunc(dates, time.Time.Compare)
	for _, from := range dates {
		if !from.After(validated) {
			continue
		}
		if until.Before(from) {
			break
		}
		until = from.Add(-time.Nanosecond)
		if then := validated.Add(reusePeriod(section, from)); then.After(until) {
			until = then
		}
	}
	return until
}
