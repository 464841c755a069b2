package mpic

import (
	"time"

	"github.com/quorate/quorate/va"
)

// Requirements are the texts that Rules was made from: the version of the TLS Baseline Requirements, and the ballots after
// it. A record names them, because sections move between versions (DCV-10).
const Requirements = "TLS BR 2.2.6 (2026-03-31), SC-098v2, SC-099"

// Subject is what DCV-10 asks of a record (BR 3.2.2.4, Ballot SC-099), in fields of their own: the name applied for, the
// name that control was shown of, and the name that was asked in the DNS or over the network are three different things (D1).
type Subject struct {
	// Identifier is the name applied for, with "*." for a Wildcard Domain Name.
	Identifier string `json:"identifier"`
	// AuthorizationDomainName is the FQDN that was validated: the identifier without "*.". No labels are pruned here, and no
	// alias is taken for it. It is empty where nothing was: in an attempt for CAA alone.
	AuthorizationDomainName string `json:"authorization_domain_name,omitempty"`
	// Derivation says how it came from the identifier: DerivedAsIs or DerivedFromWildcard.
	Derivation string `json:"derivation,omitempty"`
	// Queried is the name whose record or host was examined; for CAA alone the name whose CAA was.
	Queried string `json:"queried"`
	// Method is the registered ACME label, empty where none was named for CAA; Section the method's section in Requirements.
	Method       string `json:"method"`
	Section      string `json:"section"`
	Requirements string `json:"requirements"`
	// Scope says which names it may be relied upon for, and ReusableUntil is the last moment at which (DCV-03). Both are there
	// exactly where it was granted, and for issuance.
	Scope         Scope      `json:"scope,omitempty"`
	ReusableUntil *time.Time `json:"reusable_until,omitempty"`
}

// How an Authorization Domain Name comes from the name applied for.
const (
	// DerivedAsIs: it is the name applied for.
	DerivedAsIs = "as-is"
	// DerivedFromWildcard: "*." was taken away (BR 1.6.1).
	DerivedFromWildcard = "from-wildcard"
)

func subject(a Attempt) Subject {
	req := a.Probe.Request
	s := Subject{Identifier: req.Identifier, Queried: req.FQDN(), Method: req.Method.String(), Section: req.Method.Section(),
		Requirements: Requirements}
	if req.Method == 0 {
		s.Method = ""
	}
	if !a.Kind.dcv() { // D1: nothing was validated
		return s
	}
	s.AuthorizationDomainName, s.Derivation, s.Queried = req.FQDN(), DerivedAsIs, req.Queried()
	if req.Wildcard() {
		s.Derivation = DerivedFromWildcard
	}
	return s
}

// granted adds what a granted attempt for issuance may be relied upon for, had it started at a time.
func (s *Subject) granted(a Attempt, at time.Time) {
	until := ReusableUntil(a.Probe.Request.Method, at)
	s.Scope, s.ReusableUntil = Granting(a), &until
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
