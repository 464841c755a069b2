// Package audit works out again what records say, from the octets that they hold and from what the auditor brings along. It
// does no I/O and asks nobody.
package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Auditor holds what an auditor has from elsewhere than the record.
type Auditor struct {
	// Anchors are the trust anchors of the DNS. Nil takes those of the IANA root that are built in.
	Anchors []dnssec.Anchor
	// Algorithms are those that a chain of trust may use. Nil takes dnssec.DefaultAlgorithms().
	Algorithms dnssec.Algorithms
	// SkipProofs leaves the DNS answers unproven: most of the work is there.
	SkipProofs bool
	// Memory, if set, spares work that the records have in common; it changes no verdict. Where Algorithms is nil, those that it was
	// made for hold.
	Memory *dnssec.Memory
	// Replies, if set, does so for the keys of those who signed.
	Replies *perspective.Verifier
}

// ForRun gives the auditor for a run over many records: with a memory, unless it has one or proves nothing, and a
// verifier of replies.
func (a Auditor) ForRun() Auditor {
	if a.Replies == nil {
		a.Replies = new(perspective.Verifier)
	}
	if a.SkipProofs {
		return a
	}
	if a.Anchors == nil {
		a.Anchors = dnssec.RootAnchors()
	}
	if a.Memory == nil {
		a.Memory = dnssec.NewMemory(a.Algorithms, 0)
	}
	return a
}

// Check is what was worked out.
type Check string

// The checks of one record, in their order.
const (
	// Record: the stored bytes have the digests stored beside them. It is for who reads the record to find.
	Record Check = "record"
	// Signatures: each remote's reply is signed by the key that the attempt's roster pins, for this attempt and request, and the
	// report that was judged is the one that was signed.
	Signatures Check = "signature"
	// Decisions: mpic.Judge makes the recorded decision of the recorded evidence.
	Decisions Check = "decision"
	// Times: reports and lookups lie within the attempt.
	Times Check = "time"
	// Proofs: what each lookup says that it found follows from the octets of the messages and from the trust anchors.
	Proofs Check = "dnssec"
	// Log: the lines of the log are gapless and in order, their hashes make up the tree that was signed, and each has its document.
	Log Check = "log"
	// Rows: the columns to query by say what the documents say, and there is no row beside them.
	Rows Check = "rows"
	// Reliance: what a permit rests on was there, in scope, in time and fresh; and a certificate has the names of its permit.
	Reliance Check = "reliance"
)

// Finding is one thing that was checked and did not hold, or could not be proven.
type Finding struct {
	Check Check `json:"check"`
	// Perspective is the roster's name; empty for the decision.
	Perspective string `json:"perspective,omitempty"`
	// Question is the "name TYPE" of a lookup.
	Question string `json:"question,omitempty"`
	Detail   string `json:"detail"`
}

// Verdict is what was found of one record.
type Verdict struct {
	// Wrong are the things that do not hold: the record is not what it says.
	Wrong []Finding `json:"wrong"`
	// Unproven are lookups without a usable answer and without records that show why: nobody answered, or a limit was reached.
	// Nothing was granted upon them; no record can prove silence.
	Unproven []Finding `json:"unproven"`
	// Withheld are the things that nobody can work out again, because the tokens that they depend on were left out of the record.
	Withheld []Finding `json:"withheld,omitempty"`
	// Replies, Lookups and Octets are how many signed replies, lookups and octets of DNS messages and records were worked out
	// again and hold.
	Replies int `json:"replies"`
	// Statements are the unsigned answers of remotes of other protocols that say what was judged.
	Statements int `json:"statements,omitempty"`
	Lookups    int `json:"lookups"`
	Octets     int `json:"octets"`
}

// Holds tells whether everything in the record follows from the octets in it.
func (v Verdict) Holds() bool { return len(v.Wrong) == 0 }

// skew is how far a perspective's clock may be off the gate's.
const skew = time.Minute

// Verify works out one record again. decision is the JSON form that was recorded, empty for an attempt that is still open; late
// are the replies that came after it.
func (a Auditor) Verify(e mpic.Evidence, decision json.RawMessage, late []mpic.Attestation) Verdict {
	if a.Anchors == nil && !a.SkipProofs { // read once, not for each lookup
		a.Anchors = dnssec.RootAnchors()
	}
	v := &verification{auditor: a, out: Verdict{Wrong: []Finding{}, Unproven: []Finding{}}, evidence: e}
	switch {
	case len(decision) == 0:
	case withheld(e):
		v.decisionWithheld(decision)
	default:
		v.decision(decision)
	}
	if e.Primary != nil {
		r := e.Primary.Report()
		v.report(e.Roster.Primary.Name, &r)
	}
	for _, attestations := range [][]mpic.Attestation{e.Remotes, late} {
		for _, x := range attestations {
			v.attestation(x)
		}
	}
	return v.out
}

type verification struct {
	auditor  Auditor
	evidence mpic.Evidence
	out      Verdict
}

func (v *verification) wrong(c Check, who, question, format string, args ...any) {
	v.out.Wrong = append(v.out.Wrong, Finding{c, who, question, fmt.Sprintf(format, args...)})
}

func (v *verification) decision(recorded json.RawMessage) {
	again, err := json.Marshal(mpic.Judge(v.evidence))
	if err != nil {
		v.wrong(Decisions, "", "", "Judge makes no decision of the evidence: %v", err)
		return
	}
	if !bytes.Equal(again, recorded) {
		v.wrong(Decisions, "", "", "Judge makes another decision of the evidence: %s", firstDifference(recorded, again))
	}
}

// firstDifference shows two JSON texts around the first octet in which they differ.
func firstDifference(said, found []byte) string {
	i := 0
	for i < len(said) && i < len(found) && said[i] == found[i] {
		i++
	}
	around := func(b []byte) string { return strings.ToValidUTF8(string(b[max(0, i-40):min(len(b), i+80)]), "?") }
	return fmt.Sprintf("the record has ...%s..., and the evidence gives ...%s...", around(said), around(found))
}

func (v *verification) attestation(x mpic.Attestation) {
	if x.State != mpic.Answered || x.Report == nil && x.Statement == nil {
		return
	}
	i := slices.IndexFunc(v.evidence.Roster.Remotes, func(m mpic.Member) bool { return m.Name == x.Perspective })
	if i < 0 {
		v.wrong(Signatures, x.Perspective, "", "the roster of the attempt has no such perspective")
		return
	}
	if x.Statement != nil {
		v.statement(v.evidence.Roster.Remotes[i], *x.Statement)
		return
	}
	if withheld(v.evidence) {
		v.out.Withheld = append(v.out.Withheld, Finding{Signatures, x.Perspective, "", withheldDetail})
		v.report(x.Perspective, x.Report)
		return
	}
	problem := v.signature(x, v.evidence.Roster.Remotes[i])
	switch {
	case problem != nil:
		v.wrong(Signatures, x.Perspective, "", "%s: %s", problem.Code, problem.Detail)
	case !x.Answers():
		v.wrong(Signatures, x.Perspective, "", "the report that was judged is not the one that was signed")
	default:
		v.out.Replies++
	}
	v.report(x.Perspective, x.Report)
}

// signature verifies the signed reply, which was read when the record was.
func (v *verification) signature(x mpic.Attestation, m mpic.Member) *va.Problem {
	remotes, probe := v.evidence.Roster.Remotes, v.evidence.Attempt.Probe
	verifier := v.auditor.Replies
	if verifier == nil {
		verifier = new(perspective.Verifier)
	}
	if x.Reply != nil && x.Reply.Signed() == x.Signed {
		return verifier.VerifyReply(x.Reply, m, remotes, probe)
	}
	_, problem := verifier.Verify(x.Signed, m, remotes, probe)
	return problem
}

// report proves the lookups of one report.
func (v *verification) report(who string, r *va.Report) {
	attempt := v.evidence.Attempt
	// The checks end by the probe's deadline, also where the reply came too late.
	if r.Started.Before(attempt.Started.Add(-skew)) || r.Finished.Before(r.Started) || r.Finished.After(attempt.Probe.Deadline.Add(skew)) {
		v.wrong(Times, who, "", "the report is of %s to %s, and the attempt of %s to %s", stamp(r.Started), stamp(r.Finished),
			stamp(attempt.Started), stamp(attempt.Probe.Deadline))
	}
	slack := time.Duration(r.Resolver.Slack) * time.Second
	prover := resolver.Prover{Anchors: v.auditor.Anchors, Algorithms: v.auditor.Algorithms, Limits: dnssec.Limits{Slack: slack},
		Memory: v.auditor.Memory}
	for _, octets := range r.Sets {
		v.out.Octets += len(octets)
	}
	for _, l := range r.Lookups() {
		question := l.Name + " " + l.Type
		if l.Started.Before(r.Started) || l.Finished.After(r.Finished) {
			v.wrong(Times, who, question, "the lookup is of %s to %s, and the report of %s to %s", stamp(l.Started), stamp(l.Finished),
				stamp(r.Started), stamp(r.Finished))
		}
		if l.Upstream != "" && r.Resolver.Mode != resolver.Upstream {
			v.wrong(Proofs, who, question, "an upstream resolver was asked, and the perspective is said to resolve by itself")
		}
		if v.auditor.SkipProofs {
			continue
		}
		switch err := prover.Prove(*l, r.Sets); {
		case err == nil:
			v.out.Lookups++
			for _, q := range l.Queries {
				v.out.Octets += len(q.Response)
			}
		case errors.Is(err, resolver.ErrNoProof):
			v.out.Unproven = append(v.out.Unproven, Finding{Proofs, who, question, fmt.Sprintf("%s, %s: %s", l.Status, l.Code, l.Why)})
		default:
			v.wrong(Proofs, who, question, "%v", err)
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
