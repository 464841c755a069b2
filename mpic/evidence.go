// Package mpic turns the reports of many Network Perspectives into one decision (BR 3.2.2.9).
//
// Coordinator asks the primary and the remotes, Judge decides, a Journal keeps. Nothing here believes what a peer says of
// itself: who a perspective is comes from the roster and the channel, and whether the quorum is met is computed here.
package mpic

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// Kind says what an attempt is for. The zero value is no kind.
type Kind uint8

const (
	// Issuance: a granted decision makes an authorization.
	Issuance Kind = iota + 1
	// DryRun: carried out in full and recorded; never makes an authorization (`quorate check`).
	DryRun
	// CAARecheck: CAA alone, for a permit to rely on beside the DCV of an earlier attempt (CAA-05). It never makes an
	// authorization.
	CAARecheck
	// DCVAlone and CAAAlone: for callers whose protocol asks for DCV and for CAA by calls of their own. Neither makes an
	// authorization, neither answers for the other, and no permit rests on them.
	DCVAlone
	CAAAlone
)

var kindNames = map[Kind]string{Issuance: "issuance", DryRun: "dry-run", CAARecheck: "caa-recheck", DCVAlone: "dcv", CAAAlone: "caa"}

// dcv and caa tell whether attempts of this kind are for DCV, and for CAA.
func (k Kind) dcv() bool { return k == Issuance || k == DryRun || k == DCVAlone }
func (k Kind) caa() bool { return k == Issuance || k == DryRun || k == CAARecheck || k == CAAAlone }

// shadowed tells whether a shadow's attempts can be of this kind: they are those upon which nothing can be issued.
func (k Kind) shadowed() bool { return k == DCVAlone || k == CAAAlone }

// String gives "issuance", "dry-run", "caa-recheck", "dcv", "caa", or "no kind".
func (k Kind) String() string {
	if n, ok := kindNames[k]; ok {
		return n
	}
	return "no kind"
}

// MarshalText refuses a value that is no kind.
func (k Kind) MarshalText() ([]byte, error) {
	if n, ok := kindNames[k]; ok {
		return []byte(n), nil
	}
	return nil, fmt.Errorf("mpic: %d is no kind of attempt", uint8(k))
}

// UnmarshalText refuses everything but a kind's name.
func (k *Kind) UnmarshalText(text []byte) error {
	for v, n := range kindNames {
		if n == string(text) {
			*k = v
			return nil
		}
	}
	return fmt.Errorf("mpic: %q is no kind of attempt", text)
}

// Attempt is one validation of one name, from the moment before its first packet. Evidence belongs to one attempt; a
// retry is another attempt (MPIC-09).
type Attempt struct {
	Kind Kind `json:"kind"`
	// Started picks the policy; UTC.
	Started time.Time `json:"started"`
	// Caller is who asked, with the front in front: "rest:ra-1", "acme:https://ca.example/acct/1", "cli:root".
	Caller string `json:"caller"`
	// Software is the gate's program and version.
	Software string `json:"software"`
	// Rules is the SHA-256 of the rules that the program decides by (RulesDigest), Configuration that of the gate's configuration
	// file; both in hexadecimal. Configuration is empty where the gate was not made from a file.
	Rules         string `json:"rules_sha256"`
	Configuration string `json:"configuration_sha256,omitempty"`
	// Subtree is the gate's configuration: a dns-01 validation is good for the names below the one validated too (Granting).
	Subtree bool `json:"subtree,omitempty"`
	// Demand is what the caller asks for beyond the rules; Try counts its attempts from 1, where it may ask for several: each begins from
	// nothing (MPIC-09). Trace is the caller's own identifier of its call.
	Demand Demand `json:"demand,omitzero"`
	Try    int    `json:"try,omitempty"`
	Trace  string `json:"trace,omitempty"`
	// Shadow tells that another system answered for this call: the decision was compared with its answer, and used for nothing. Its kind is
	// DCVAlone or CAAAlone, or Judge refuses it.
	Shadow bool `json:"shadow,omitempty"`
	// Probe is what each perspective was sent; its Attempt field is the attempt's identifier.
	Probe va.Probe `json:"probe"`
}

// Demand raises the bar for one attempt; nothing lowers it (F7). The zero value adds nothing.
type Demand struct {
	// Remotes is how many remotes must be asked at least, Quorum how many of them must corroborate at least; 0 for what the rules say.
	Remotes int `json:"remotes,omitempty"`
	Quorum  int `json:"quorum,omitempty"`
}

// ID is the attempt's identifier.
func (a Attempt) ID() string { return a.Probe.Attempt }

// PrimaryReport is the report that the gate's own checker made in the gate's own process. Only the Coordinator makes one,
// so that no remote's report can stand in for it (MPIC-12, F1).
type PrimaryReport struct {
	report va.Report
	// text is the JSON form that report was read from: what is judged is what the record will give back. Nil where there is none yet.
	text []byte
}

// Report gives a copy of the report.
func (p PrimaryReport) Report() va.Report { return p.report }

// MarshalJSON and UnmarshalJSON serve the record: the auditor judges stored evidence again.
func (p PrimaryReport) MarshalJSON() ([]byte, error) {
	if p.text != nil {
		return p.text, nil
	}
	return p.report.MarshalJSON()
}

func (p *PrimaryReport) UnmarshalJSON(b []byte) error {
	p.text = nil
	return p.report.UnmarshalJSON(b)
}

// State is what became of the question to one remote. The zero value is none.
type State uint8

const (
	// Answered: a reply came in time, over the remote's own channel, signed by its own key, bound to this probe; or, by a protocol
	// without signatures, an answer to what was asked over that channel.
	Answered State = iota + 1
	// TimedOut: no reply by the deadline.
	TimedOut
	// Unreachable: no connection, or it broke.
	Unreachable
	// Rejected: a reply came that cannot be this remote's answer to this probe: another identity or key, another attempt or
	// nonce, unreadable, too large.
	Rejected
	// Outstanding: the decision did not need to wait for it. Its reply, if one comes, is recorded as late.
	Outstanding
	// NotAsked: the attempt was refused before the first packet.
	NotAsked
	// Abandoned: the gate ended before the attempt was decided; nobody knows what the remote answered.
	Abandoned
)

var stateNames = map[State]string{Answered: "answered", TimedOut: "timed-out", Unreachable: "unreachable",
	Rejected: "rejected", Outstanding: "outstanding", NotAsked: "not-asked", Abandoned: "abandoned"}

// String gives the state in lower case, or "no state".
func (s State) String() string {
	if n, ok := stateNames[s]; ok {
		return n
	}
	return "no state"
}

// MarshalText refuses a value that is no state.
func (s State) MarshalText() ([]byte, error) {
	if n, ok := stateNames[s]; ok {
		return []byte(n), nil
	}
	return nil, fmt.Errorf("mpic: %d is no state", uint8(s))
}

// UnmarshalText refuses everything but a state's name.
func (s *State) UnmarshalText(text []byte) error {
	for v, n := range stateNames {
		if n == string(text) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("mpic: %q is no state", text)
}

// Attestation is what the gate has from one remote.
type Attestation struct {
	// Perspective is the roster's name for the remote that was asked, over the channel that the roster pins.
	Perspective string `json:"perspective"`
	State       State  `json:"state"`
	// Problem says why there is no usable report; nil exactly when State is Answered.
	Problem *va.Problem `json:"problem,omitempty"`
	// Report is set when State is Answered, unless Statement is. In the JSON form it is left out where Signed has it.
	Report *va.Report `json:"report,omitempty"`
	// Statement is what a remote of another protocol answered (Member.Protocol).
	Statement *Statement `json:"statement,omitempty"`
	// Signed is the reply as received, a compact JWS: whole where State is Answered, so that its signature can be verified
	// again; cut at 64 KiB where it was rejected.
	Signed string `json:"signed,omitempty"`
	// Reply is what Report was read from, where it was signed. A Remote gives it instead of Report and Signed, so that there is
	// no report but the one that was signed.
	Reply *Reply `json:"-"`
	// Asked and Closed are UTC by the gate's clock.
	Asked  time.Time `json:"asked"`
	Closed time.Time `json:"closed"`
}

// Evidence is all that Judge reads.
type Evidence struct {
	Attempt Attempt `json:"attempt"`
	Roster  Roster  `json:"roster"`
	// Primary is nil when the attempt was refused before the first packet.
	Primary *PrimaryReport `json:"primary,omitempty"`
	// Remotes has one attestation per remote of the roster, in the roster's order.
	Remotes []Attestation `json:"remotes"`
}

// AbandonedEvidence is all that is left of an attempt whose gate ended before it was decided: who would have been asked. Judge
// refuses it. at is when that was found out.
func AbandonedEvidence(a Attempt, r Roster, at time.Time) Evidence {
	e := Evidence{Attempt: a, Roster: r, Remotes: make([]Attestation, len(r.Remotes))}
	for i, m := range r.Remotes {
		e.Remotes[i] = Attestation{Perspective: m.Name, State: Abandoned, Closed: at, Problem: &va.Problem{Code: "perspective.abandoned",
			Rules: []string{"REC-01"}, Detail: fmt.Sprintf("the gate ended before the attempt was decided; what %s answered is not known", m.Name)}}
	}
	return e
}

// abandoned tells whether the evidence is that of an attempt whose gate ended.
func (e *Evidence) abandoned() bool {
	return e.Primary == nil && slices.ContainsFunc(e.Remotes, func(a Attestation) bool { return a.State == Abandoned })
}

// reports gives all reports with the names of their perspectives, the primary's first.
func (e *Evidence) reports() (reports []*va.Report, names []string) {
	if e.Primary != nil {
		reports, names = append(reports, &e.Primary.report), append(names, e.Roster.Primary.Name)
	}
	for _, a := range e.Remotes {
		if a.Report != nil {
			reports, names = append(reports, a.Report), append(names, a.Perspective)
		}
	}
	return reports, names
}

// stated tells whether a perspective answered by a statement.
func (e *Evidence) stated(name string) bool {
	return slices.ContainsFunc(e.Remotes, func(a Attestation) bool { return a.Perspective == name && a.Statement != nil })
}

// Sets gives the records that the proofs in the reports rest on, each once. An error names a report some of whose records are
// missing or have another digest.
func (e *Evidence) Sets() (dnssec.Sets, error) {
	all := dnssec.Sets{}
	reports, names := e.reports()
	for i, r := range reports {
		if missing := r.Choose(all, r.Sets); missing != "" {
			return nil, fmt.Errorf("mpic: the report of %s rests on the records %s, which are missing", names[i], missing)
		}
	}
	return all, all.Check()
}

// Needs gives the digests of the records that the proofs in the reports rest on, each once and in order.
func (e *Evidence) Needs() []string {
	needs := map[string]bool{}
	reports, _ := e.reports()
	for _, r := range reports {
		for _, sum := range r.Needs() {
			needs[sum] = true
		}
	}
	return slices.Sorted(maps.Keys(needs))
}

// Supply gives each report the records that its proofs rest on, as they are stored beside it. The error is that of Sets.
func (e *Evidence) Supply(sets dnssec.Sets) error {
	reports, _ := e.reports()
	for _, r := range reports {
		own := dnssec.Sets{}
		r.Choose(own, sets)
		r.Sets = own
	}
	_, err := e.Sets()
	return err
}
