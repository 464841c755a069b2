package mpic

import "github.com/quorate/quorate/va"

// Requirements are the texts that Rules was made from: the version of the TLS Baseline Requirements, and the ballots after
// it. A record names them, because sections move between versions (DCV-10).
const Requirements = "TLS BR 2.2.6 (2026-03-31), SC-098v2, SC-099"

// Subject is what DCV-10 asks of a record (BR 3.2.2.4, Ballot SC-099), in fields of their own: the name applied for, the
// name that control was shown of, and the name that was asked in the DNS or over the network are three different things (D1).
type Subject struct {
	// Identifier is the name applied for, with "*." for a Wildcard Domain Name.
	Identifier string `json:"identifier"`
	// AuthorizationDomainName is the FQDN that was validated: the identifier without "*.". No labels are pruned here, and no
	// alias is taken for it.
	AuthorizationDomainName string `json:"authorization_domain_name"`
	// Queried is the name whose record or host was examined.
	Queried string `json:"queried"`
	// Method is the registered ACME label, Section the method's section in Requirements.
	Method       string `json:"method"`
	Section      string `json:"section"`
	Requirements string `json:"requirements"`
}

func subject(req va.Request) Subject {
	return Subject{Identifier: req.Identifier, AuthorizationDomainName: req.FQDN(), Queried: req.Queried(), Method: req.Method.String(),
		Section: req.Method.Section(), Requirements: Requirements}
}

// RecordedDecision is a decision as its record tells it: for answers, reports and people. It grants nothing; only Judge
// makes a Decision, and nothing turns this back into one.
type RecordedDecision struct {
	Attempt string `json:"attempt"`
	// Validated says what was validated, and how.
	Validated Subject `json:"validated"`
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
	return RecordedDecision{Attempt: d.attempt, Validated: d.subject, Outcome: outcome, Policy: d.policy.Name(), DCV: d.dcv, CAA: d.caa,
		Reasons: d.reasons, Views: d.views}
}
