package mpic

import "github.com/quorate/quorate/va"

// RecordedDecision is a decision as its record tells it: for answers, reports and people. It grants nothing; only Judge
// makes a Decision, and nothing turns this back into one.
type RecordedDecision struct {
	Attempt string `json:"attempt"`
	// Outcome is "granted" or "refused".
	Outcome string `json:"outcome"`
	// Policy is Policy.Name, empty where none was in force.
	Policy  string        `json:"policy"`
	DCV     Quorum        `json:"dcv"`
	CAA     Quorum        `json:"caa"`
	Reasons []*va.Problem `json:"reasons"`
	Views   []View        `json:"views"`
}

// Recorded gives the form that is kept in the record.
func (d Decision) Recorded() RecordedDecision {
	outcome := "refused"
	if d.granted {
		outcome = "granted"
	}
	return RecordedDecision{Attempt: d.attempt, Outcome: outcome, Policy: d.policy.Name(), DCV: d.dcv, CAA: d.caa,
		Reasons: d.reasons, Views: d.views}
}
