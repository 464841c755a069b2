package mpic

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/va"
)

// Rules lists the rules whose date, number or section matters to policy, those with one identifier in the order of their
// dates. A rule without From holds since before the first policy. Where this program is stricter than a date (DNSSEC,
// RFC 8657), it is so on every day, and the date only says since when an auditor may ask for it.
//
// Sources: the Baseline Requirements 2.2.6 of 31 March 2026, and ballots SC-098v2 and SC-099. SC-100, which would gather
// DNSSEC in 3.2.2.10, is a draft and is not here.
func Rules() []Rule {
	march2026, march2027 := day(2026, 3, 15), day(2027, 3, 15)
	var (
		caa      = []Section{{Number: "3.2.2.8"}, {From: march2027, Number: "4.2.2.1"}} // SC-098v2 moves it
		corrob   = []Section{{Number: "3.2.2.9"}}
		methods  = []Section{{Number: "3.2.2.4"}}
		random   = []Section{{Number: "1.6.1"}}
		caaCheck = []Section{{Number: "3.2.2.8.1"}, {From: march2027, Number: "4.2.2.1"}}
		logging  = []Section{{Number: "5.4.1"}}
	)
	rules := []Rule{
		{ID: "DCV-01", Text: "each FQDN is validated by a method that is permitted on the day", Sections: methods},
		{ID: "DCV-04", From: march2026, Text: "the primary validates every DNS answer tied to a validation to the IANA root",
			Sections: methods},
		{ID: "DCV-09", From: march2026, Text: "no local policy switches DNSSEC validation off", Sections: methods},
		{ID: "DCV-10", Until: day(2026, 7, 15), Text: "a record names the method and the version of the Baseline Requirements",
			Sections: methods},
		{ID: "DCV-10", From: day(2026, 7, 15), Text: "a record names what was validated, the Authorization Domain Name where " +
			"it differs, and the method (SC-099)", Sections: methods},
		{ID: "DCV-12", Text: "a Random Value has 112 bits of entropy and is refused 30 days after its creation",
			Sections: random},
		{ID: "DCV-27", Text: "a wildcard directly below a registry-controlled name or public suffix is refused",
			Sections: []Section{{Number: "3.2.2.6"}}},
		{ID: "DCV-28", From: march2026, Text: "internal names, reserved addresses and names below in-addr.arpa or ip6.arpa are refused",
			Sections: []Section{{Number: "4.2.2"}}},
		{ID: "CAA-01", Text: "CAA is checked for each name by the climb of RFC 8659", Sections: caa},
		{ID: "CAA-03", Text: "an unknown property with the critical flag refuses", Sections: caa},
		{ID: "CAA-04", Until: march2027, Text: "accounturi and validationmethods of RFC 8657 are honoured (here, ahead of the date)",
			Sections: []Section{{From: march2027, Number: "4.2.2.1"}}},
		{ID: "CAA-04", From: march2027, Text: "accounturi and validationmethods of RFC 8657 are honoured (SC-098v2)",
			Sections: []Section{{From: march2027, Number: "4.2.2.1"}}},
		{ID: "CAA-05", Text: "a CAA result is relied upon for its TTL or 8 hours, whichever is greater", Sections: caa},
		{ID: "CAA-06", Text: "a CAA lookup failure is a refusal, unless the gate's configuration permits it when it is " +
			"outside the CA, retried, and the zone proven insecure", Sections: caa},
		{ID: "CAA-07", From: march2026, Text: "a DNSSEC failure at the primary is never permission", Sections: caaCheck},
		{ID: "CAA-08", Text: "a prevented issuance is recorded in full", Sections: caa},
		{ID: "MPIC-01", From: remoteSteps[0].from, Text: "domain validation and CAA each reach the quorum",
			Sections: corrob},
		{ID: "MPIC-02", From: day(2025, 3, 15), Until: remoteSteps[0].from, Sections: corrob,
			Text: "at least 2 remote perspectives are used, and a missed quorum does not block (here nothing is granted on these days)"},
		{ID: "MPIC-03", From: remoteSteps[0].from, Sections: corrob,
			Text: "1 of 2 to 5 remote perspectives, and 2 of 6 or more, may fail to corroborate"},
		{ID: "MPIC-04", From: march2026, Text: "the corroborating remotes lie in the regions of two registries at least",
			Sections: corrob},
		{ID: "MPIC-05", Text: "perspectives are distinct from 500 km on", Sections: corrob},
		{ID: "MPIC-06", Text: "a resolver stands in its perspective's region, 500 km or more from the others",
			Sections: corrob},
		{ID: "MPIC-07", Text: "no result or cache of one perspective reaches another", Sections: corrob},
		{ID: "MPIC-08", Text: "the channel to each remote is authenticated and encrypted", Sections: corrob},
		{ID: "MPIC-09", Text: "a retry starts from nothing", Sections: corrob},
		{ID: "MPIC-10", Text: "a remote corroborates only the challenge information that the primary saw",
			Sections: methods},
		{ID: "MPIC-11", Text: "for CAA a remote corroborates if its own answer means permission", Sections: caa},
		{ID: "MPIC-12", Text: "nothing becomes valid on remote results alone", Sections: random},
		{ID: "MPIC-12", From: march2026, Text: "CAA checking may not be delegated", Sections: []Section{{Number: "1.3.2"}}},
		{ID: "MPIC-13", Text: "CAA corroboration may be reused for 398 days (here it never is)", Sections: corrob},
		{ID: "REC-01", Text: "each perspective's attempt is recorded", Sections: logging},
		{ID: "REC-02", Text: "the quorum result of each attempted name is recorded, for example 4/5", Sections: logging},
	}
	for i, s := range remoteSteps { // one list of numbers, for PolicyAt and for people
		r := Rule{ID: "MPIC-02", From: s.from, Sections: corrob,
			Text: fmt.Sprintf("at least %d remote perspectives are used", s.remotes)}
		if i+1 < len(remoteSteps) {
			r.Until = remoteSteps[i+1].from
		}
		rules = append(rules, r)
	}
	rules = append(append(rules, reuseRules()...), sunsetRules()...)
	slices.SortStableFunc(rules, func(a, b Rule) int { return cmp.Or(cmp.Compare(a.ID, b.ID), a.From.Compare(b.From)) })
	return rules
}

// RulesDigest is the SHA-256, in hexadecimal, of the JSON of Rules: two records with one digest were decided by the same rules.
func RulesDigest() string {
	text, err := json.Marshal(Rules())
	if err != nil { // texts and dates have a JSON form
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Holds tells whether the rule holds at a time.
func (r Rule) Holds(at time.Time) bool {
	return !at.Before(r.From) && (r.Until.IsZero() || at.Before(r.Until))
}

// Section gives the rule's place in the Baseline Requirements at a time, as "BR 3.2.2.9"; empty where it has none.
func (r Rule) Section(at time.Time) string {
	number := ""
	for _, s := range r.Sections {
		if !at.Before(s.From) {
			number = s.Number
		}
	}
	if number == "" {
		return ""
	}
	return "BR " + number
}

// RulesOn lists the rules that hold at a time. Days begin at 00:00 UTC.
func RulesOn(at time.Time) []Rule {
	return slices.DeleteFunc(Rules(), func(r Rule) bool { return !r.Holds(at) })
}

// Outlook is what a day asks of a roster, and what the next date will ask.
type Outlook struct {
	// At is the time asked for, in UTC.
	At time.Time
	// Policy is the day's, the zero value when none is in force.
	Policy Policy
	// Rules hold at At; Coming begin later, in the order of their dates.
	Rules, Coming []Rule
	// Breaks keep the roster from being used at At.
	Breaks []*va.Problem
	// Next is NextChange: the next day that asks for other perspectives; zero when none is known.
	Next time.Time
	// NextBreaks would keep the same roster from being used on Next, over and above Breaks.
	NextBreaks []*va.Problem
}

// OutlookOn works out what holds at a time, what in the roster and the cohorts of it breaks it, and what the next date would break.
func OutlookOn(roster Roster, cohort Cohort, at time.Time) Outlook {
	at = at.UTC()
	policy, _ := PolicyAt(at) // a missing policy is among the roster's breaks
	o := Outlook{At: at, Policy: policy, Rules: RulesOn(at), Breaks: cohort.Check(roster, at), Next: NextChange(at)}
	o.Coming = slices.DeleteFunc(Rules(), func(r Rule) bool { return !r.From.After(at) })
	slices.SortStableFunc(o.Coming, func(a, b Rule) int { return a.From.Compare(b.From) })
	if o.Next.IsZero() {
		return o
	}
	for _, p := range cohort.Check(roster, o.Next) {
		same := func(b *va.Problem) bool { return b.Code == p.Code && b.Detail == p.Detail }
		if !slices.ContainsFunc(o.Breaks, same) {
			o.NextBreaks = append(o.NextBreaks, p)
		}
	}
	return o
}
