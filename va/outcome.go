// Package va does the checks of one Network Perspective: domain control validation and CAA for one name. It takes a
// Request and returns a Report. A report is a claim by one perspective, never a verdict: verdicts are package mpic's.
package va

import "fmt"

// Outcome is the result of one check at one perspective. The zero value is no outcome and never counts as a pass.
type Outcome uint8

const (
	// Pass: the check was carried out to its end and what it requires was seen.
	Pass Outcome = iota + 1
	// Fail: the check was carried out and what it requires was not there, or something forbids issuance.
	Fail
	// Error: the check could not be carried out (time-out, bogus answer, limit reached).
	Error
	// NotChecked: the probe did not ask for this check (Probe.CAAAlone, Probe.DCVAlone). It is no pass.
	NotChecked
)

var outcomeNames = map[Outcome]string{Pass: "pass", Fail: "fail", Error: "error", NotChecked: "not-checked"}

// String gives "pass", "fail", "error", "not-checked", or "no outcome" for a value that is none.
func (o Outcome) String() string {
	if n, ok := outcomeNames[o]; ok {
		return n
	}
	return "no outcome"
}

// MarshalText refuses a value that is no outcome.
func (o Outcome) MarshalText() ([]byte, error) {
	n, ok := outcomeNames[o]
	if !ok {
		return nil, fmt.Errorf("va: %d is no outcome", uint8(o))
	}
	return []byte(n), nil
}

// UnmarshalText refuses everything but the four names.
func (o *Outcome) UnmarshalText(text []byte) error {
	for v, n := range outcomeNames {
		if n == string(text) {
			*o = v
			return nil
		}
	}
	return fmt.Errorf("va: %q is no outcome (pass, fail, error, not-checked)", text)
}
