package mpic

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/va"
)

// Judge decides an attempt (BR 3.2.2.9). It is pure: it does no I/O and reads no clock, so the auditor's program
// reaches the same decision from the record, years later. It takes neither a policy nor a list of checks: the attempt's
// start picks the policy, and DCV and CAA are both judged, unless the attempt's kind is for one alone.
//
// A decision is granted exactly when all of this holds:
//   - the request was admissible and the roster met the rules when the attempt started;
//   - the primary's own DCV and CAA passed;
//   - for DCV, and for CAA, no more remotes failed to corroborate than the table allows for the number asked, and those
//     that corroborate lie in enough regions.
//
// For CAARecheck and CAAAlone this is so of CAA alone: no view has a DCV that passed, and the quorum of DCV is 0/0; for DCVAlone the
// other way round. Such a decision makes no authorization; a permit needs the DCV of another attempt beside a CAARecheck.
func Judge(e Evidence) Decision { return judge(e, e.Attempt.Started) }

// JudgeOn tells what Judge would have made of an attempt if the rules of another time had held when it started: the number of remotes,
// the regions, the period of reuse. What was seen stays as it was, and so does what is measured against the attempt's own start: the age
// of its token (DCV-12). Nobody can lower the bar with it: it gives no Decision, only what one would have said, and nothing is granted upon
// that.
func JudgeOn(e Evidence, at time.Time) RecordedDecision { return judge(e, at).Recorded() }

// judge decides by the rules of a time.
func judge(e Evidence, at time.Time) Decision {
	d := Decision{attempt: e.Attempt.ID(), subject: subject(e.Attempt)}
	policy, problem := PolicyAt(at)
	if problem != nil {
		d.reasons = []*va.Problem{problem}
		return d
	}
	d.policy = policy
	if d.reasons = before(e, at); len(d.reasons) > 0 {
		return d
	}
	if e.abandoned() {
		d.reasons = []*va.Problem{{Code: "attempt.abandoned", Rules: []string{"MPIC-12", "REC-05"},
			Detail: "the gate ended before the attempt was decided, so nothing is known of it; try again"}}
		return d
	}
	if e.Primary == nil {
		d.reasons = []*va.Problem{{Code: "primary.missing", Rules: []string{"MPIC-12"},
			Detail: "the primary perspective made no report; remotes alone never suffice"}}
		return d
	}
	remotes, problem := matchRemotes(e)
	if problem != nil {
		d.reasons = []*va.Problem{problem}
		return d
	}

	a := question(e.Attempt)
	d.views = make([]View, 1, len(remotes)+1)
	d.views[0] = a.judgeReport(&e.Primary.report, e.Roster.Primary.Name, Primary)
	for i, m := range e.Roster.Remotes {
		d.views = append(d.views, a.judgeAttestation(m, remotes[i]))
	}
	d.decide(e.Attempt, e.Roster, at)
	return d
}

// asked is an attempt, and what is worked out of it alone: once, and not for each perspective that answered.
type asked struct {
	Attempt
	// digest is the probe's, the others are the request's.
	digest, fqdn, queried, expected string
	// caa is what the CAA records that were judged last came to: perspectives see the same ones, as a rule.
	caa struct {
		records []string
		permits string
		problem *va.Problem
	}
}

func question(a Attempt) *asked {
	req := a.Probe.Request
	return &asked{Attempt: a, digest: a.Probe.Digest(), fqdn: req.FQDN(), queried: req.Queried(), expected: req.Expected()}
}

// permits is va.EvaluateCAA, which is pure, for this request.
func (a *asked) permits(records []string) (string, *va.Problem) {
	if len(records) == 0 || !slices.Equal(records, a.caa.records) {
		a.caa.records = slices.Clone(records)
		a.caa.permits, a.caa.problem = va.EvaluateCAA(records, a.Probe.Request)
	}
	return a.caa.permits, a.caa.problem
}

// decide makes the decision of the views.
func (d *Decision) decide(a Attempt, roster Roster, at time.Time) {
	primary := d.views[0]
	if primary.DCVProblem != nil {
		d.reasons = append(d.reasons, primary.DCVProblem)
	}
	if primary.CAAProblem != nil {
		d.reasons = append(d.reasons, primary.CAAProblem)
	}
	check := func(what string, asked bool, of func(View) va.Outcome) (q Quorum, passed bool) {
		if !asked {
			return Quorum{Regions: []Region{}}, of(primary) == va.NotChecked
		}
		q, short := count(what, d.policy, a.Demand, roster, d.views, of)
		if short != nil {
			d.reasons = append(d.reasons, short)
		}
		return q, of(primary) == va.Pass
	}
	var controlled, permitted bool
	d.dcv, controlled = check("domain control", a.Kind.dcv(), View.dcv)
	d.caa, permitted = check("CAA", a.Kind.caa(), View.caa)
	d.granted = len(d.reasons) == 0 && controlled && permitted
	if d.granted && a.Kind == Issuance {
		d.subject.granted(a, at)
	}
}

// before gives what refuses the attempt before its first packet, by the rules of a time. The Coordinator asks it first, at the attempt's
// start, and Judge again.
func before(e Evidence, at time.Time) []*va.Problem {
	if _, err := e.Attempt.Kind.MarshalText(); err != nil {
		return []*va.Problem{{Code: "request.kind", Detail: "the attempt has no kind"}}
	}
	k, probe := e.Attempt.Kind, e.Attempt.Probe
	if k.dcv() == probe.CAAAlone || k.caa() == probe.DCVAlone { // what is asked for comes from the kind, and from nothing else
		return []*va.Problem{{Code: "request.kind", Rules: []string{"MPIC-01"},
			Detail: fmt.Sprintf("the attempt is of the kind %s, and its probe asks for other checks", e.Attempt.Kind)}}
	}
	if e.Attempt.Shadow && !k.shadowed() { // another answers in its place: it cannot make what a certificate could rest on
		return []*va.Problem{{Code: "request.kind", Rules: []string{"MPIC-01"},
			Detail: fmt.Sprintf("the attempt is a shadow's and of the kind %s; it can only be of the kind %s or %s", k, DCVAlone, CAAAlone)}}
	}
	if req := probe.Request; k == CAARecheck && (req.Method == 0 || req.AccountURI == "") { // a permit is for an account and a method
		return []*va.Problem{{Code: "request.kind", Rules: []string{"CAA-05"},
			Detail: "CAA is checked again for a permit, and no method or no account is named"}}
	}
	if e.Attempt.ID() == "" || e.Attempt.Probe.Nonce == "" { // a report that repeats an empty value is bound to nothing
		return []*va.Problem{{Code: "request.unbound", Rules: []string{"MPIC-09"},
			Detail: "the attempt has no identifier or no nonce"}}
	}
	if p := e.Attempt.Probe.Admit(e.Attempt.Started); p != nil {
		return []*va.Problem{p}
	}
	return append(e.Roster.Check(at), e.Attempt.Demand.check(e.Roster)...)
}

// check tells what a roster cannot give.
func (d Demand) check(r Roster) []*va.Problem {
	refuse := func(format string, args ...any) []*va.Problem {
		return []*va.Problem{{Code: "request.demand", Rules: []string{"MPIC-03"}, Detail: fmt.Sprintf(format, args...)}}
	}
	switch n := len(r.Remotes); {
	case d.Remotes < 0 || d.Quorum < 0:
		return refuse("%d remotes and a quorum of %d are demanded", d.Remotes, d.Quorum)
	case d.Remotes > n:
		return refuse("%d remote perspectives are demanded, and there are %d", d.Remotes, n)
	case d.Quorum > n:
		return refuse("a quorum of %d is demanded of %d remote perspectives", d.Quorum, n)
	default:
		return nil
	}
}

// matchRemotes brings the attestations into the roster's order. One that is missing counts as no answer; one that
// speaks for nobody on the roster, or for somebody twice, makes the evidence unusable.
func matchRemotes(e Evidence) ([]Attestation, *va.Problem) {
	byName := make(map[string]Attestation, len(e.Remotes))
	for _, a := range e.Remotes {
		if _, twice := byName[a.Perspective]; twice {
			return nil, &va.Problem{Code: "evidence.duplicate", Rules: []string{"MPIC-05"},
				Detail: fmt.Sprintf("the evidence holds two attestations of %s", a.Perspective)}
		}
		if !slices.ContainsFunc(e.Roster.Remotes, func(m Member) bool { return m.Name == a.Perspective }) {
			return nil, &va.Problem{Code: "evidence.stranger", Rules: []string{"MPIC-08"},
				Detail: fmt.Sprintf("the evidence holds an attestation of %q, which is not a remote of the roster", a.Perspective)}
		}
		byName[a.Perspective] = a
	}
	out := make([]Attestation, len(e.Roster.Remotes))
	for i, m := range e.Roster.Remotes {
		out[i] = byName[m.Name]
	}
	return out, nil
}

func (q *asked) judgeAttestation(m Member, a Attestation) View {
	if a.State != Answered || (a.Report == nil) == (a.Statement == nil) || a.Problem != nil ||
		(a.Statement != nil) != (m.Protocol != Native) {
		problem := a.Problem
		if problem == nil {
			problem = &va.Problem{Code: "perspective.silent", Rules: []string{"MPIC-03"},
				Detail: fmt.Sprintf("%s gave no answer (%s)", m.Name, a.State)}
		}
		return unbelieved(q.Kind, m.Name, RemoteRole, problem)
	}
	if a.Statement != nil {
		return judgeStatement(q.Attempt, q.digest, m, *a.Statement)
	}
	return q.judgeReport(a.Report, m.Name, RemoteRole)
}

// judgeReport says what one report counts for. It believes an outcome only together with what must have been seen for
// it (F6: the absence of a problem is no pass).
func (a *asked) judgeReport(r *va.Report, name string, role Role) View {
	if r.Attempt != a.Probe.Attempt || r.Nonce != a.Probe.Nonce || r.Digest == "" || r.Digest != a.digest {
		return unbelieved(a.Kind, name, role, unbound(name))
	}
	if has := otherShape(a.Kind.dcv(), r.DCV.NotChecked(), r.DCV.Outcome); has != "" {
		return unbelieved(a.Kind, name, role, contradiction(name, "domain control", has))
	}
	if has := otherShape(a.Kind.caa(), r.CAA.NotChecked(), r.CAA.Outcome); has != "" {
		return unbelieved(a.Kind, name, role, contradiction(name, "CAA", has))
	}
	v := View{Perspective: name, Role: role, DCV: va.NotChecked, CAA: va.NotChecked}
	if a.Kind.dcv() {
		v.DCV, v.DCVProblem = a.judgeDCV(&r.DCV, name)
	}
	if a.Kind.caa() {
		v.CAA, v.CAAExcused, v.CAAProblem = a.judgeCAA(&r.CAA, name)
	}
	if role != Primary {
		return v
	}
	if p := ownResolution(r); p != nil {
		if v.DCV == va.Pass {
			v.DCV, v.DCVProblem = va.Error, p
		}
		if v.CAA == va.Pass {
			v.CAA, v.CAAExcused, v.CAAProblem = va.Error, nil, p
		}
	}
	return v
}

// unbelieved is the view of a perspective that said nothing that counts.
func unbelieved(k Kind, name string, role Role, p *va.Problem) View {
	v := View{Perspective: name, Role: role, DCV: va.NotChecked, CAA: va.NotChecked}
	if k.dcv() {
		v.DCV, v.DCVProblem = va.Error, p
	}
	if k.caa() {
		v.CAA, v.CAAProblem = va.Error, p
	}
	return v
}

// otherShape says what is in a report that cannot be there: a check that was not asked for, or none where it was. Whoever
// carried out another probe than the one that he signed for is not believed in the rest either.
func otherShape(asked, unchecked bool, o va.Outcome) string {
	switch {
	case !asked && !unchecked:
		return fmt.Sprintf("the outcome %q, where it was not asked for", o)
	case asked && o == va.NotChecked:
		return "no check, where one was asked for"
	default:
		return ""
	}
}

// judgeCAA: MPIC-11, the perspective's own answer must mean permission. It is worked out again from the records. With a
// pass it gives the names whose failed lookups were excused (CAA-06).
func (a *asked) judgeCAA(f *va.CAAFinding, name string) (va.Outcome, []string, *va.Problem) {
	if f.Outcome != va.Pass {
		o, p := notPassed(f.Outcome, f.Problem, name, "CAA")
		return o, nil, p
	}
	refuse := func(has string) (va.Outcome, []string, *va.Problem) {
		return va.Error, nil, contradiction(name, "CAA", has)
	}
	if f.Problem != nil {
		return refuse("a pass that carries the problem " + f.Problem.Code)
	}
	if f.Name != a.fqdn { // C1
		return refuse(fmt.Sprintf("a permission for %q, where %q was asked", f.Name, a.fqdn))
	}
	permits, excused, problem := a.permission(f)
	if problem != nil {
		return refuse("a permission that its own records do not give: " + problem.Detail)
	}
	if permits != f.Permits {
		return refuse(fmt.Sprintf("a permission by %q, where the records give %q", f.Permits, permits))
	}
	return va.Pass, excused, nil
}

// maxReason is how long a perspective's own reason may be, in octets of its record: a decision repeats it.
const maxReason = 8 << 10

// notPassed keeps fail and error, and turns everything that is neither into error.
func notPassed(o va.Outcome, p *va.Problem, name, what string) (va.Outcome, *va.Problem) {
	if o != va.Fail && o != va.Error {
		return va.Error, contradiction(name, what, "no outcome")
	}
	if p == nil || p.Code == "" {
		return va.Error, contradiction(name, what, fmt.Sprintf("the outcome %q without a reason", o))
	}
	if text, err := json.Marshal(p); err != nil || len(text) > maxReason {
		return va.Error, contradiction(name, what, fmt.Sprintf("a reason of %d octets; at most %d are read", len(text), maxReason))
	}
	return o, p
}

// contradiction cuts what a perspective wrote, because a decision repeats it; the whole is in the evidence.
func contradiction(name, what, has string) *va.Problem {
	has = strings.ToValidUTF8(has[:min(len(has), 1000)], "\uFFFD")
	return &va.Problem{Code: "perspective.contradiction", Rules: []string{"MPIC-10", "MPIC-11"},
		Detail: fmt.Sprintf("the %s finding of %s has %s", what, name, has)}
}

// count applies the table and the regions to one kind of check (MPIC-01 to MPIC-04), and says what is missed.
func count(what string, policy Policy, demand Demand, roster Roster, views []View, of func(View) va.Outcome) (Quorum, *va.Problem) {
	q, enough, spread := tally(policy, demand, roster, views, of)
	switch {
	case !enough:
		var missing []string
		for i, m := range roster.Remotes {
			if of(views[i+1]) != va.Pass {
				missing = append(missing, m.Name)
			}
		}
		return q, &va.Problem{Code: "quorum.missed", Rules: []string{"MPIC-01", "MPIC-03"},
			Detail: fmt.Sprintf("%s: %s remote perspectives corroborate; %d of %d may fail to, but these did: %v",
				what, q, q.Allowed, q.Attempted, missing)}
	case !spread:
		return q, &va.Problem{Code: "quorum.regions", Rules: []string{"MPIC-04"},
			Detail: fmt.Sprintf("%s: the corroborating remotes lie in %d region(s) %v; %d are required",
				what, len(q.Regions), q.Regions, policy.MinRegions)}
	default:
		return q, nil
	}
}

// tally counts. All remotes of the roster were asked, so all count as used; one that timed out is a non-corroboration. enough tells
// whether no more failed to corroborate than may (MPIC-03), spread whether those that did lie in enough regions (MPIC-04).
func tally(policy Policy, demand Demand, roster Roster, views []View, of func(View) va.Outcome) (q Quorum, enough, spread bool) {
	q = Quorum{Attempted: len(roster.Remotes), Regions: make([]Region, 0, len(roster.Remotes))}
	for i := range roster.Remotes {
		if of(views[i+1]) != va.Pass {
			continue
		}
		q.Corroborated++
		if region := roster.Remotes[i].Place.Region; !slices.Contains(q.Regions, region) {
			q.Regions = append(q.Regions, region)
		}
	}
	slices.Sort(q.Regions)
	allowed, ok := AllowedNonCorroborations(q.Attempted)
	q.Allowed = min(allowed, q.Attempted-demand.Quorum) // F7: a caller can ask for more, never for less
	return q, ok && q.Attempted-q.Corroborated <= q.Allowed, len(q.Regions) >= policy.MinRegions
}
