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

// outcomeNames has "" for what is no outcome.
var outcomeNames = [...]string{Pass: "pass", Fail: "fail", Error: "error", NotChecked: "not-checked"}

func (o Outcome) name() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return ""
}

// String gives "pass", "fail", "error", "not-checked", or "no outcome" for a value that is none.
func (o Outcome) String() string {
	if n := o.name(); n != "" {
		return n
	}
	return "no outcome"
}

// AppendText and MarshalText refuse a value that is no outcome.
func (o Outcome) AppendText(b []byte) ([]byte, error) {
	n := o.name()
	if n == "" {
		return nil, fmt.Errorf("va: %d is no outcome", uint8(o))
	}
	return append(b, n...), nil
}

// MarshalText is AppendText's.
func (o Outcome) MarshalText() ([]byte, error) { return o.AppendText(nil) }

// UnmarshalText refuses everything but the four names.
func (o *Outcome) UnmarshalText(text []byte) error {
	for v, n := range outcomeNames {
		if n != "" && n == string(text) {
			*o = Outcome(v)
			return nil
		}
	}
	return fmt.Errorf("va: %q is no outcome (pass, fail, error, not-checked)", text)
}
