package mpic

import (
	"encoding/json"
	"fmt"

	"github.com/quorate/quorate/va"
)

// Quorum is the count of one kind of check over the remotes of one attempt (REC-02).
type Quorum struct {
	// Corroborated of Attempted remotes agree with the primary; at most Allowed may not.
	Corroborated int `json:"corroborated"`
	Attempted    int `json:"attempted"`
	Allowed      int `json:"allowed"`
	// Regions are the registries' regions of the corroborating remotes, in the order of Regions().
	Regions []Region `json:"regions"`
}

// String gives the form of BR 5.4.1, for example "4/5".
func (q Quorum) String() string { return fmt.Sprintf("%d/%d", q.Corroborated, q.Attempted) }

// View is what one perspective counted for in a decision.
type View struct {
	Perspective string `json:"perspective"`
	Role        Role   `json:"role"`
	// DCV and CAA are what the decision made of the perspective's findings: Pass counts, nothing else does.
	DCV va.Outcome `json:"dcv"`
	CAA va.Outcome `json:"caa"`
	// DCVProblem and CAAProblem are nil exactly when the outcome is Pass; DCVProblem or NotChecked, as what
	// the attempt's kind does not ask for is in every view.
	DCVProblem *va.Problem `json:"dcv_problem,omitempty"`
	CAAProblem *va.Problem `json:"caa_problem,omitempty"`
	// CAAExcused are the names whose CAA lookup failed and counted as permission (CAA-06), in the order of the climb.
	CAAExcused []string `json:"caa_excused,omitempty"`
}

func (v View) dcv() va.Outcome { return v.DCV }
func (v View) caa() va.Outcome { return v.CAA }

// Role says in what capacity a perspective takes part (F2: never guessed from order). The zero value is none.
type Role uint8

const (
	Primary Role = iota + 1
	RemoteRole
)

// String gives "primary", "remote" or "no role".
func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case RemoteRole:
		return "remote"
	default:
		return "no role"
	}
}

// MarshalText refuses a value that is no role.
func (r Role) MarshalText() ([]byte, error) {
	if r != Primary && r != RemoteRole {
		return nil, fmt.Errorf("mpic: %d is no role", uint8(r))
	}
	return []byte(r.String()), nil
}

// UnmarshalText refuses everything but "primary" and "remote".
func (r *Role) UnmarshalText(text []byte) error {
	switch string(text) {
	case "primary":
		*r = Primary
	case "remote":
		*r = RemoteRole
	default:
		return fmt.Errorf("mpic: %q is no role", text)
	}
	return nil
}

// Decision is Judge's. It cannot be made elsewhere: its zero value grants nothing, and its fields are closed to other
// packages. Invariant 1 of docs/design.md rests on that.
type Decision struct {
	attempt string
	subject Subject
	granted bool
	policy  Policy
	dcv     Quorum
	caa     Quorum
	reasons []*va.Problem
	views   []View
}

// Attempt is the identifier of the attempt that was judged.
func (d Decision) Attempt() string { return d.attempt }

// Granted tells whether the primary's own DCV and CAA passed and a quorum of remotes corroborated each.
func (d Decision) Granted() bool { return d.granted }

// Policy is the policy of the attempt's day.
func (d Decision) Policy() Policy { return d.policy }

// DCV and CAA are the quorum's counts.
func (d Decision) DCV() Quorum { return d.dcv }
func (d Decision) CAA() Quorum { return d.caa }

// Reasons say why the decision is not granted, the weightiest first; empty exactly when it is granted.
func (d Decision) Reasons() []*va.Problem { return append([]*va.Problem(nil), d.reasons...) }

// Views has the primary first and then the remotes in the roster's order; it is empty when no probe was sent.
func (d Decision) Views() []View { return append([]View(nil), d.views...) }

// MarshalJSON gives the form that is kept in the record.
func (d Decision) MarshalJSON() ([]byte, error) { return json.Marshal(d.Recorded()) }
