package rest

import (
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Validation is one attempt as the API tells it.
type Validation struct {
	// Attempt identifies it for ever; Number is the record's.
	Attempt string `json:"attempt"`
	Number  int64  `json:"number"`
	Kind    string `json:"kind"`
	// Outcome is "granted", "refused", or "open" while there is no decision.
	Outcome    string     `json:"outcome"`
	Identifier Identifier `json:"identifier"`
	Method     va.Method  `json:"method"`
	// Section is the method's in the Baseline Requirements.
	Section    string    `json:"section"`
	AccountURI string    `json:"account_uri"`
	Started    time.Time `json:"started"`
	Caller     string    `json:"caller"`
	Software   string    `json:"software"`
	// Policy names the rules that were in force: the day on which their newest phase began.
	Policy string `json:"policy,omitempty"`
	// DCV and CAA are the counts over the remotes; null while there is no decision, or when nothing was asked.
	DCV *Quorum `json:"dcv"`
	CAA *Quorum `json:"caa"`
	// Reasons say why it is not granted, the weightiest first.
	Reasons []*va.Problem `json:"reasons"`
	// Perspectives has the primary first, then the remotes in the roster's order.
	Perspectives []Perspective `json:"perspectives"`
	// Late are replies that came after the decision and changed nothing.
	Late []mpic.Attestation `json:"late,omitempty"`
}

// Identifier is that of RFC 8555 section 9.7.7.
type Identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Quorum is mpic.Quorum with the form of BR 5.4.1, for example "4/5".
type Quorum struct {
	Count string `json:"quorum"`
	mpic.Quorum
}

// Perspective is what one perspective found, and what the decision made of it.
type Perspective struct {
	Name   string      `json:"name"`
	Title  string      `json:"title"`
	Role   mpic.Role   `json:"role"`
	Region mpic.Region `json:"region"`
	// State is what became of the question: "answered", "timed-out" and so on; "not-asked" when the attempt was refused first,
	// and "pending" while there is no decision.
	State string `json:"state"`
	// DCV and CAA are the decision's view: only "pass" counts. Null where there is none.
	DCV        *va.Outcome `json:"dcv"`
	CAA        *va.Outcome `json:"caa"`
	DCVProblem *va.Problem `json:"dcv_problem,omitempty"`
	CAAProblem *va.Problem `json:"caa_problem,omitempty"`
	// CAAExcused are the names whose CAA lookup failed and counted as permission (CAA-06).
	CAAExcused []string   `json:"caa_excused,omitempty"`
	Asked      *time.Time `json:"asked,omitempty"`
	Closed     *time.Time `json:"closed,omitempty"`
	// DCVFinding and CAAFinding are the perspective's own account, but for the octets of DNS messages and the proofs, which the
	// record has. The answer to a request that is granted is without them.
	DCVFinding *va.DCVFinding `json:"dcv_finding,omitempty"`
	CAAFinding *va.CAAFinding `json:"caa_finding,omitempty"`
}

// describe tells a record, with what each perspective found.
func describe(r Record) *Validation {
	v := summarize(r)
	if r.Evidence.Primary != nil {
		report := r.Evidence.Primary.Report()
		v.Perspectives[0].add(&report)
	}
	for i := range r.Evidence.Roster.Remotes {
		p := &v.Perspectives[i+1]
		for _, x := range r.Evidence.Remotes {
			if x.Perspective == p.Name {
				p.add(x.Report)
			}
		}
	}
	return v
}

// summarize tells a record without the findings: who was asked, what came of it, and what it counted for. Who is who comes from the
// roster and the role, never from the order or from a report (F2).
func summarize(r Record) *Validation {
	a := &r.Evidence.Attempt
	req := &a.Probe.Request
	v := &Validation{Attempt: a.ID(), Number: r.Number, Kind: a.Kind.String(), Outcome: "open",
		Identifier: Identifier{Type: "dns", Value: req.Identifier}, Method: req.Method, Section: req.Method.Section(),
		AccountURI: req.AccountURI, Started: a.Started, Caller: a.Caller, Software: a.Software, Reasons: []*va.Problem{}, Late: r.Late}
	var views []mpic.View
	silent := "pending"
	if d := r.Decision; d != nil {
		silent = mpic.NotAsked.String()
		v.Outcome, v.Policy = d.Outcome, d.Policy
		v.Reasons = append(v.Reasons, d.Reasons...)
		if views = d.Views; len(views) > 0 {
			v.DCV, v.CAA = &Quorum{d.DCV.String(), d.DCV}, &Quorum{d.CAA.String(), d.CAA}
		}
	}
	v.Perspectives = make([]Perspective, 1, len(r.Evidence.Roster.Remotes)+1)
	v.Perspectives[0] = newPerspective(&r.Evidence.Roster.Primary, mpic.Primary, views, silent)
	if r.Evidence.Primary != nil {
		report := r.Evidence.Primary.Report()
		primary := &v.Perspectives[0]
		primary.State, primary.Asked, primary.Closed = mpic.Answered.String(), &report.Started, &report.Finished
	}
	for i := range r.Evidence.Roster.Remotes {
		p := newPerspective(&r.Evidence.Roster.Remotes[i], mpic.RemoteRole, views, silent)
		for j := range r.Evidence.Remotes {
			x := &r.Evidence.Remotes[j]
			if x.Perspective != p.Name {
				continue
			}
			p.State = x.State.String()
			if !x.Asked.IsZero() {
				p.Asked, p.Closed = &x.Asked, &x.Closed
			}
		}
		v.Perspectives = append(v.Perspectives, p)
	}
	return v
}

// newPerspective begins with the state of one of which nothing is known yet.
func newPerspective(m *mpic.Member, role mpic.Role, views []mpic.View, silent string) Perspective {
	p := Perspective{Name: m.Name, Title: m.Title, Role: role, Region: m.Place.Region, State: silent}
	for i := range views {
		view := &views[i]
		if view.Role == role && view.Perspective == m.Name {
			p.DCV, p.CAA, p.DCVProblem, p.CAAProblem = &view.DCV, &view.CAA, view.DCVProblem, view.CAAProblem
			p.CAAExcused = view.CAAExcused
		}
	}
	return p
}

func (p *Perspective) add(r *va.Report) {
	if r != nil {
		told := r.WithoutOctets()
		p.DCVFinding, p.CAAFinding = &told.DCV, &told.CAA
	}
}
