package audit

import (
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Prevented is an issuance that CAA prevented, in full: BR 3.2.2.8 has a CA document it so that others can learn of it (CAA-08).
type Prevented struct {
	Record     int64         `json:"record"`
	Attempt    string        `json:"attempt"`
	Kind       mpic.Kind     `json:"kind"`
	Started    time.Time     `json:"started"`
	Caller     string        `json:"caller"`
	Account    string        `json:"account_uri"`
	Identifier string        `json:"identifier"`
	Method     va.Method     `json:"method"`
	Issuers    []string      `json:"issuers"`
	Quorum     string        `json:"caa_quorum"`
	Views      []CAAView     `json:"views"`
	Reasons    []*va.Problem `json:"reasons"`
}

// CAAView is what one perspective found of CAA, and what that counted for.
type CAAView struct {
	Perspective string      `json:"perspective"`
	Role        mpic.Role   `json:"role"`
	Region      mpic.Region `json:"region"`
	Outcome     va.Outcome  `json:"caa"`
	Problem     *va.Problem `json:"problem,omitempty"`
	// Found is the name at which the relevant RRset stands; Records are those, in presentation format.
	Found   string   `json:"found,omitempty"`
	Records []string `json:"records,omitempty"`
	TTL     uint32   `json:"ttl"`
}

// PreventedByCAA tells whether an attempt was refused because of CAA records: the primary found that they forbid, or so many remotes that
// the quorum was missed. A lookup that failed is no such record; it is counted among the refusals.
func PreventedByCAA(number int64, e mpic.Evidence, d mpic.RecordedDecision) (p Prevented, ok bool) {
	if d.Outcome != mpic.OutcomeRefused {
		return p, false
	}
	primary, remote := false, false
	for _, v := range d.Views {
		if v.CAA == va.Fail {
			primary = primary || v.Role == mpic.Primary
			remote = remote || v.Role == mpic.RemoteRole
		}
	}
	missed := d.CAA.Corroborated+d.CAA.Allowed < d.CAA.Attempted
	if !primary && !(remote && missed) {
		return p, false
	}
	req := e.Attempt.Probe.Request
	p = Prevented{Record: number, Attempt: e.Attempt.ID(), Kind: e.Attempt.Kind, Started: e.Attempt.Started, Caller: e.Attempt.Caller,
		Account: req.AccountURI, Identifier: req.Identifier, Method: req.Method, Issuers: req.Issuers, Quorum: d.CAA.String(), Reasons: d.Reasons}
	for _, v := range d.Views {
		one := CAAView{Perspective: v.Perspective, Role: v.Role, Region: regionOf(e.Roster, v), Outcome: v.CAA, Problem: v.CAAProblem}
		if f := caaOf(e, v); f != nil {
			one.Found, one.Records, one.TTL = f.Found, f.Records, f.TTL
		}
		p.Views = append(p.Views, one)
	}
	return p, true
}

func regionOf(r mpic.Roster, v mpic.View) mpic.Region {
	if v.Role == mpic.Primary {
		return r.Primary.Place.Region
	}
	for _, m := range r.Remotes {
		if m.Name == v.Perspective {
			return m.Place.Region
		}
	}
	return ""
}

// caaOf gives a perspective's own finding; nil where it made no report (F2: by its role, not by its place).
func caaOf(e mpic.Evidence, v mpic.View) *va.CAAFinding {
	if v.Role == mpic.Primary {
		if e.Primary == nil {
			return nil
		}
		f := e.Primary.Report().CAA
		return &f
	}
	for _, a := range e.Remotes {
		if a.Perspective == v.Perspective && a.Report != nil {
			return &a.Report.CAA
		}
	}
	return nil
}
