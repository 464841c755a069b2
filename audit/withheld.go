package audit

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Bundle: an exported file has the members that its manifest names, and no others.
const Bundle Check = "bundle"

// withheldDetail is what is said of what only tokens could show.
const withheldDetail = "not judged again: its tokens are withheld"

// commitment is what stands in a record in the place of a token.
var commitment = regexp.MustCompile(`^\[sha256:[0-9a-f]{64}\]$`)

// withheld tells whether the attempt's token was taken out of the record, so that neither domain control nor what is signed together
// with it can be worked out.
func withheld(e mpic.Evidence) bool { return commitment.MatchString(e.Attempt.Probe.Request.Token) }

// decisionWithheld works out what does not depend on the token: CAA of each perspective, and its quorum.
func (v *verification) decisionWithheld(recorded json.RawMessage) {
	v.out.Withheld = append(v.out.Withheld, Finding{Check: Decisions, Detail: withheldDetail})
	var said mpic.RecordedDecision
	if err := json.Unmarshal(recorded, &said); err != nil {
		v.wrong(Decisions, "", "", "the decision cannot be read: %v", err)
		return
	}
	if len(said.Views) == 0 || v.evidence.Attempt.Probe.DCVAlone { // refused as a whole, perhaps for its token; or without CAA
		return
	}
	alone, err := caaAlone(v.evidence, said.Views)
	if err != nil {
		v.out.Withheld = append(v.out.Withheld, Finding{Check: Decisions, Detail: "CAA was " + withheldDetail + ": " + err.Error()})
		return
	}
	again := mpic.Judge(alone)
	if again.CAA().String() != said.CAA.String() || len(again.Views()) != len(said.Views) {
		v.wrong(Decisions, "", "", "Judge makes another decision of the evidence: it has CAA %s of %d views, and the evidence gives %s of %d", said.CAA,
			len(said.Views), again.CAA(), len(again.Views()))
		return
	}
	for i, view := range again.Views() {
		if s := said.Views[i]; s.Perspective != view.Perspective || s.Role != view.Role || s.CAA != view.CAA || !slices.Equal(s.CAAExcused, view.CAAExcused) {
			v.wrong(Decisions, s.Perspective, "", "Judge makes another decision of the evidence: it has CAA %s, and the evidence gives %s", s.CAA, view.CAA)
		}
	}
}

// caaAlone gives the evidence as it would be had CAA alone been asked for. What was not believed for another reason than CAA stays so.
func caaAlone(e mpic.Evidence, views []mpic.View) (mpic.Evidence, error) {
	e.Attempt.Kind, e.Attempt.Probe = mpic.CAAAlone, askedAlone(e.Attempt.Probe) // a recheck is not judged in the shadow of another system
	digest := e.Attempt.Probe.Digest()
	alter := func(name string, r va.Report) va.Report {
		unbound := slices.ContainsFunc(views, func(v mpic.View) bool {
			return v.Perspective == name && v.CAAProblem != nil && v.CAAProblem.Code == "perspective.unbound"
		})
		if r.Digest = digest; unbound || r.DCV.Outcome == va.NotChecked {
			r.Digest = ""
		}
		r.DCV = va.DCVFinding{Outcome: va.NotChecked}
		return r
	}
	restate := func(name string, s mpic.Statement) *mpic.Statement {
		unbound := slices.ContainsFunc(views, func(v mpic.View) bool {
			return v.Perspective == name && v.CAAProblem != nil && v.CAAProblem.Code == "perspective.unbound"
		})
		if s.Digest = digest; unbound {
			s.Digest = ""
		}
		s.DCV = nil
		return &s
	}
	if e.Primary != nil {
		text, err := json.Marshal(alter(e.Roster.Primary.Name, e.Primary.Report()))
		if err != nil {
			return e, err
		}
		e.Primary = new(mpic.PrimaryReport)
		if err := json.Unmarshal(text, e.Primary); err != nil {
			return e, err
		}
	}
	e.Remotes = slices.Clone(e.Remotes)
	for i, a := range e.Remotes {
		if a.Statement != nil {
			e.Remotes[i].Statement = restate(a.Perspective, *a.Statement)
			continue
		}
		if a.State == mpic.Answered && a.Report == nil {
			return e, fmt.Errorf("the reply of %s cannot be read without the tokens", a.Perspective)
		}
		if a.Report != nil {
			r := alter(a.Perspective, *a.Report)
			e.Remotes[i].Report = &r
		}
	}
	return e, nil
}
