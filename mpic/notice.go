package mpic

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/va"
)

// Notice is the document of one step of one report of a refused request to the holder of a domain (CAA-09, RFC 8659 section 4.4).
// A report that is sent has two: NoticeBegun before its first packet, and its end. Of one whose gate died in between there is the first
// alone, and nobody sends it again. A report that is not sent has its end alone.
type Notice struct {
	// Attempt is the identifier of the attempt that was refused, Number its record's.
	Attempt string `json:"attempt"`
	Number  int64  `json:"number"`
	// Position is the place of the iodef property among those of the relevant RRset, from 0, or that of the first of Count that were
	// left out together.
	Position int `json:"position"`
	// Property is the property's value as the primary saw it, in the form of NoticeProperty.
	Property string        `json:"property"`
	Outcome  NoticeOutcome `json:"outcome"`
	// Code is stable; Detail is a sentence for people.
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// Count is how many properties were left out together; 0 where it is about one.
	Count int `json:"count,omitempty"`
	// Reply is the status that the receiver's or the mail server's answer has, 0 where there was none.
	Reply int `json:"reply,omitempty"`
	// Address is the IP address and port of the web server, as it was checked and dialled.
	Address string `json:"address,omitempty"`
	// Report is the SHA-256 of the document that was sent, in hexadecimal; empty where none was made.
	Report string `json:"report_sha256,omitempty"`
	// At is the gate's clock; UTC.
	At time.Time `json:"at"`
}

// NoticeOutcome is what became of a report.
type NoticeOutcome string

const (
	// NoticeBegun: it is about to be sent.
	NoticeBegun NoticeOutcome = "begun"
	// NoticeDelivered: the receiver, or the mail server, took it.
	NoticeDelivered NoticeOutcome = "delivered"
	// NoticeRefused: the receiver, or the mail server, answered and did not take it.
	NoticeRefused NoticeOutcome = "refused"
	// NoticeFailed: no answer came to it; it may have been taken all the same.
	NoticeFailed NoticeOutcome = "failed"
	// NoticeDropped: a limit of ours kept it from being sent.
	NoticeDropped NoticeOutcome = "dropped"
	// NoticeUnusable: the property names nothing to which a report is sent.
	NoticeUnusable NoticeOutcome = "unusable"
)

// NoticeOutcomes gives all outcomes.
func NoticeOutcomes() []NoticeOutcome {
	return []NoticeOutcome{NoticeBegun, NoticeDelivered, NoticeRefused, NoticeFailed, NoticeDropped, NoticeUnusable}
}

// Sent tells whether the outcome is that of a report that was begun.
func (o NoticeOutcome) Sent() bool {
	return o == NoticeDelivered || o == NoticeRefused || o == NoticeFailed
}

// forbidding are the codes of CAA findings that rest on records, which forbid.
var forbidding = []string{"caa.forbidden", "caa.account", "caa.method", "caa.critical", "caa.malformed"}

// Forbidden gives the primary's CAA finding where records that it saw forbade the issuance, with the code of why, and the decision
// is a refusal. Nothing that a remote says counts. A dry run is no request for a certificate, and to one that another system answered that
// system's CA reports: neither is such a thing.
func Forbidden(e Evidence, d RecordedDecision) (finding va.CAAFinding, code string, ok bool) {
	if d.Outcome != "refused" || e.Primary == nil || e.Attempt.Kind == DryRun || e.Attempt.Shadow {
		return va.CAAFinding{}, "", false
	}
	finding = e.Primary.Report().CAA
	i := slices.IndexFunc(d.Views, func(v View) bool { return v.Role == Primary })
	if i < 0 || d.Views[i].CAA != va.Fail || d.Views[i].CAAProblem == nil || finding.Outcome != va.Fail || len(finding.Records) == 0 ||
		!slices.Contains(forbidding, d.Views[i].CAAProblem.Code) {
		return va.CAAFinding{}, "", false
	}
	return finding, d.Views[i].CAAProblem.Code, true
}

// maxProperty is how many characters of a property a notice has.
const maxProperty = 1024

// NoticeProperty is a property's value as a notice has it: in visible ASCII, and cut.
func NoticeProperty(value string) string {
	var b strings.Builder
	for _, c := range value {
		if b.Len() == maxProperty {
			break
		}
		if c < ' ' || c > '~' {
			c = '?'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// sameProperty compares what a notice has with what the DNS had. Where a property held the token, and tokens are kept as digests, the
// two documents have different commitments in its place.
func sameProperty(noted, value string) bool {
	return noted == NoticeProperty(value) || strings.Contains(noted, "[sha256:")
}

// CheckNotices tells what of a record's notices does not follow from its evidence: a report on what was not refused by CAA records, one
// to somebody whom these do not name, and one that ended without having begun. notices are in the order of their recording.
func CheckNotices(e Evidence, d RecordedDecision, number int64, notices []Notice) (wrong []string) {
	if len(notices) == 0 {
		return nil
	}
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	finding, _, ok := Forbidden(e, d)
	if !ok {
		say("there are reports of a refusal by CAA, and the primary's own finding is none")
		return wrong
	}
	contacts := va.Contacts(finding.Records)
	begun, ended := map[int]string{}, map[int]bool{}
	for _, n := range notices {
		switch {
		case n.Attempt != e.Attempt.ID() || n.Number != number:
			say("a report is of the attempt %q, record %d", n.Attempt, n.Number)
		case n.Position < 0 || n.Position+max(n.Count, 1) > len(contacts) || n.Count == 0 && !sameProperty(n.Property, contacts[n.Position].Value):
			say("a report is to %q, and the CAA records do not say so", n.Property)
		}
		report, there := begun[n.Position]
		switch {
		case ended[n.Position] || n.Outcome == NoticeBegun && there:
			say("the report to %q was made twice", n.Property)
		case n.Outcome.Sent() && (!there || report != n.Report):
			say("the report to %q was %s and not begun", n.Property, n.Outcome)
		case n.Outcome == NoticeBegun:
			begun[n.Position] = n.Report
		}
		ended[n.Position] = ended[n.Position] || n.Outcome != NoticeBegun
	}
	return wrong
}
