package va

import (
	"errors"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// The JSON form of a report, in which it is signed and kept: docs/proofs.md, "In a report". It is that of the types in report.go,
// but for the lookups: what they have in common stands once, and what their octets say is not said again.

type (
	plainReport  Report
	plainDCV     DCVFinding
	plainCAA     CAAFinding
	plainFailure LookupFailure
)

// keptReport and those below take the place of the members that they name.
type keptReport struct {
	plainReport
	DCV keptDCV `json:"dcv"`
	CAA keptCAA `json:"caa"`
	resolver.Shared
}

type keptDCV struct {
	plainDCV
	Lookups []resolver.Kept `json:"lookups,omitempty"`
}

type keptCAA struct {
	plainCAA
	Lookups  []resolver.Kept `json:"lookups,omitempty"`
	Failures []keptFailure   `json:"failures,omitempty"`
}

type keptFailure struct {
	plainFailure
	Retry   resolver.Kept `json:"retry"`
	DS      resolver.Kept `json:"ds"`
	Control resolver.Kept `json:"control"`
}

// UnmarshalJSON takes that form and no other: it refuses unknown members, members named twice or in other case, places that are none,
// an outcome or status that is missing, and anything behind the report. Given the text itself and not through encoding/json, it reads
// it once.
func (r *Report) UnmarshalJSON(text []byte) error { return r.ReadText(string(text)) }

// ReadText does what UnmarshalJSON does. The report's strings may be parts of the text.
func (r *Report) ReadText(text string) error {
	k, plain := readPlain(text)
	if !plain {
		*k = keptReport{}
		if err := jsonv2.Unmarshal([]byte(text), k, jsonv2.RejectUnknownMembers(true)); err != nil {
			return err
		}
	}
	out, err := k.restore()
	if err == nil {
		err = out.complete(k.Zones)
	}
	if err != nil {
		return err
	}
	*r = out
	return nil
}

func (k *keptReport) restore() (Report, error) {
	r := Report(k.plainReport)
	k.Start = r.Started
	r.DCV, r.CAA = DCVFinding(k.DCV.plainDCV), CAAFinding(k.CAA.plainCAA)
	var failed error
	restore := func(kept *resolver.Kept) resolver.Lookup {
		l, err := k.Restore(*kept)
		if failed == nil {
			failed = err
		}
		return l
	}
	all := func(kept []resolver.Kept) []resolver.Lookup {
		if len(kept) == 0 {
			return nil
		}
		lookups := make([]resolver.Lookup, len(kept))
		for i := range kept {
			lookups[i] = restore(&kept[i])
		}
		return lookups
	}
	r.DCV.Lookups, r.CAA.Lookups = all(k.DCV.Lookups), all(k.CAA.Lookups)
	for _, f := range k.CAA.Failures {
		failure := LookupFailure(f.plainFailure)
		failure.Retry, failure.DS, failure.Control = restore(&f.Retry), restore(&f.DS), restore(&f.Control)
		r.CAA.Failures = append(r.CAA.Failures, failure)
	}
	return r, failed
}

// complete refuses a report that leaves an outcome or a status unset (F6). Their types refuse words that are none; one that is left
// out comes to nobody's eyes but here.
func (r *Report) complete(zones []resolver.Link) error {
	if r.DCV.Outcome == 0 || r.CAA.Outcome == 0 {
		return errors.New("an outcome is missing")
	}
	for _, l := range r.Lookups() {
		if l.Status == dnssec.Status(0) {
			return fmt.Errorf("the lookup of %q %q has no status", l.Name, l.Type)
		}
	}
	for _, z := range zones {
		if z.Result == dnssec.Status(0) {
			return fmt.Errorf("the zone %q has no result", z.Zone)
		}
	}
	return nil
}
