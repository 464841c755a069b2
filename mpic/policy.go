package mpic

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/va"
)

// Rule is one requirement with the time from which it holds. Sections move between versions of the Baseline
// Requirements, so a rule has an identifier of ours (docs/requirements.tsv) and its section per version.
type Rule struct {
	// ID is the identifier in docs/requirements.tsv.
	ID string
	// From is the first day on which the rule holds in this form, at 00:00 UTC, and zero when it held before the first policy;
	// Until is the day on which a later form replaces it, zero when none is known.
	From, Until time.Time
	// Text is one sentence.
	Text string
	// Sections are the rule's places, in the order of their From.
	Sections []Section
}

// Section says where a rule stands in the Baseline Requirements from a day on; without From, since before the first policy.
type Section struct {
	From   time.Time
	Number string
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// remoteSteps are the phases of BR 3.2.2.9: dates and numbers stand here and nowhere else (F7). The phase of 2025-03-15,
// in which a missed quorum did not block, is not here: this program never grants without a quorum (MPIC-02).
var remoteSteps = []struct {
	from             time.Time
	remotes, regions int
}{
	{day(2025, 9, 15), 2, 1},
	{day(2026, 3, 15), 3, 2},
	{day(2026, 6, 15), 4, 2},
	{day(2026, 12, 15), 5, 2},
}

// Policy is what the Baseline Requirements ask on one day.
type Policy struct {
	// Day is the UTC day asked for.
	Day time.Time
	// MinRemotes is how many remote perspectives must be used at least, since MinRemotesSince (MPIC-02).
	MinRemotes      int
	MinRemotesSince time.Time
	// MinRegions is in how many registries' regions the corroborating remotes must lie (MPIC-04).
	MinRegions int
}

// PolicyAt gives the policy of the day of a time. Before 2025-09-15 there is none, and nothing can be granted.
func PolicyAt(at time.Time) (Policy, *va.Problem) {
	at = at.UTC()
	p := Policy{Day: day(at.Year(), at.Month(), at.Day())}
	for _, s := range remoteSteps {
		if !at.Before(s.from) {
			p.MinRemotes, p.MinRegions, p.MinRemotesSince = s.remotes, s.regions, s.from
		}
	}
	if p.MinRemotes == 0 {
		return Policy{}, &va.Problem{Code: "policy.none", Rules: []string{"MPIC-02"},
			Detail: fmt.Sprintf("no policy is in force on %s: the first begins on %s",
				at.Format(time.DateOnly), remoteSteps[0].from.Format(time.DateOnly))}
	}
	return p, nil
}

// AllowedNonCorroborations is the Quorum Requirements table of BR 3.2.2.9 (MPIC-03): how many of the remotes used may fail
// to corroborate; ok is false when the table has no row for so few.
func AllowedNonCorroborations(used int) (allowed int, ok bool) {
	switch {
	case used >= 6:
		return 2, true
	case used >= 2:
		return 1, true
	default:
		return 0, false
	}
}

// NextChange gives the next day after at on which the number of remotes changes; zero when none is known.
func NextChange(at time.Time) time.Time {
	for _, s := range remoteSteps {
		if s.from.After(at) {
			return s.from
		}
	}
	return time.Time{}
}

// Name identifies the policy in a record: the day on which its newest phase began, for example "2026-06-15".
func (p Policy) Name() string {
	if p.MinRemotes == 0 {
		return ""
	}
	return p.MinRemotesSince.Format(time.DateOnly)
}

// Section gives where a rule stands on the policy's day, as "BR 3.2.2.9", and the empty string for an unknown rule.
func (p Policy) Section(id string) string {
	for _, r := range Rules() {
		if r.ID == id {
			if section := r.Section(p.Day); section != "" {
				return section
			}
		}
	}
	return ""
}
