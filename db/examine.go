package db

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// examine works one attempt out: documents against the log, columns against documents, and the record itself.
func (v *verification) examine(ctx context.Context, f *folder) examined {
	x := examination{out: examined{there: f.attempt != nil, seen: f.documents(v.sum.Removed)}, folder: f}
	if f.broken > 0 {
		x.found(audit.Rows, "%d rows have a number that is no whole one", f.broken)
	}
	for _, table := range f.again {
		x.found(audit.Rows, "%s has several rows of it", table)
	}
	if f.attempt == nil {
		x.found(audit.Rows, "%d rows belong to an attempt that is not there", len(f.perspectives)+len(f.reports)+len(f.authorizations)+len(f.reliances)+len(f.late)+len(f.notices)+
			map[bool]int{true: 1}[f.decision != nil])
		return x.out
	}
	filed, err := f.filed()
	if err != nil {
		x.found(audit.Log, "%v", err)
		return x.out
	}
	if v.config.Depth == DepthLog || filed.below(v.before) {
		if err := filed.Check(); err != nil {
			x.found(audit.Log, "%v", err)
		}
		return x.out
	}
	if filed.Large() {
		v.large.Lock()
		defer v.large.Unlock()
	}
	record, err := filed.Read()
	if err != nil {
		x.found(audit.Record, "%v", err)
		return x.out
	}
	x.rows(record)
	needs := append(record.Evidence.Needs(), lateNeeds(record)...)
	sets, err := v.sets.get(ctx, needs)
	if err != nil {
		x.out.err = err
		return x.out
	}
	if err := record.supply(sets); err != nil {
		x.found(audit.Record, "%v", err)
		return x.out
	}
	x.out.judged = true
	if x.out.record.Summary = record.Summary; v.config.Record != nil { // decoded, a record is large, and a hundred wait for their turn
		x.out.record = record
	}
	x.out.verdict = v.config.Auditor.Verify(record.Evidence, record.Decision, record.LateAttestations())
	x.out.verdict.Wrong = append(x.out.verdict.Wrong, filed.Times(record)...)
	x.notices(record)
	return x.out
}

// notices holds reports of a refusal to what was decided upon.
func (x *examination) notices(r Record) {
	for _, w := range r.CheckNotices() {
		x.found(audit.Reliance, "%s", w)
	}
}

type examination struct {
	out    examined
	folder *folder
}

func (x *examination) found(check audit.Check, format string, args ...any) {
	x.out.found = append(x.out.found, Finding{x.folder.number, audit.Finding{Check: check, Detail: fmt.Sprintf(format, args...)}})
}

// documents counts those from a line of the log on.
func (f *folder) documents(first int64) map[merkle.Kind]int64 {
	n := map[merkle.Kind]int64{}
	if f.attempt == nil {
		return n
	}
	count := func(kind merkle.Kind, all ...stored) {
		for _, r := range all {
			if r != nil && r.int("leaf") >= first {
				n[kind]++
			}
		}
	}
	count(merkle.Intent, f.attempt)
	count(merkle.Decision, f.decision)
	count(merkle.LateReply, f.late...)
	count(merkle.Notice, f.notices...)
	return n
}

// filed gives the documents of a folder with their lines.
func (f *folder) filed() (Filed, error) {
	out := Filed{Number: f.number}
	var err error
	if out.Intent, err = f.attempt.sheet(); err != nil {
		return out, fmt.Errorf("attempt: %w", err)
	}
	if f.decision != nil {
		if out.Decision, err = f.decision.sheet(); err != nil {
			return out, fmt.Errorf("decision: %w", err)
		}
	}
	for _, r := range f.late {
		s, err := r.sheet()
		if err != nil {
			return out, fmt.Errorf("late reply of %s: %w", r.text("perspective"), err)
		}
		out.Late = append(out.Late, s)
	}
	for _, r := range f.notices {
		s, err := r.sheet()
		if err != nil {
			return out, fmt.Errorf("notice: %w", err)
		}
		out.Notices = append(out.Notices, s)
	}
	return out, nil
}

// below tells whether the record is decided, and all of its documents stand below a line of the log.
func (f Filed) below(line int64) bool {
	if f.Decision.SHA256 == "" || f.Decision.Leaf >= line || f.Intent.Leaf >= line {
		return false
	}
	return !slices.ContainsFunc(slices.Concat(f.Late, f.Notices), func(s Sheet) bool { return s.Leaf >= line })
}

// Check holds the documents against their lines.
func (f Filed) Check() error {
	if err := f.Intent.check("attempt", merkle.Intent, f.Number); err != nil {
		return err
	}
	if f.Decision.SHA256 != "" {
		if err := f.Decision.check("decision", merkle.Decision, f.Number); err != nil {
			return err
		}
	}
	for _, s := range f.Late {
		if err := s.check("late reply", merkle.LateReply, f.Number); err != nil {
			return err
		}
	}
	for _, s := range f.Notices {
		if err := s.check("notice", merkle.Notice, f.Number); err != nil {
			return err
		}
	}
	return nil
}

// unpacked is how many octets the documents' texts have together. It is an error where they have more than the longest document may have, as
// hundreds of late replies could.
func (f Filed) unpacked() (total int, err error) {
	for _, s := range slices.Concat([]Sheet{f.Intent, f.Decision}, f.Late, f.Notices) {
		if s.SHA256 == "" {
			continue
		}
		n, err := s.Document.unpacked()
		if total += n; err == nil && total > maxDocument {
			err = fmt.Errorf("%w: its documents unpack to more than %d octets", ErrDamaged, maxDocument)
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// Large tells a record that takes so much memory while it is worked out that whoever works out several at a time takes one such only.
func (f Filed) Large() bool {
	const large = 16 << 20
	n, err := f.unpacked()
	return err == nil && n > large
}

// Read checks the documents against their lines of the log, and decodes them. The DNS records come from f.Sets, where they are there.
// What the columns of tables add to a record is made of the documents too.
func (f Filed) Read() (Record, error) {
	if err := f.Check(); err != nil {
		return Record{}, err
	}
	if _, err := f.unpacked(); err != nil {
		return Record{}, err
	}
	r := Record{Opening: f.Intent.Document, Closing: f.Decision.Document}
	r.Number, r.Outcome = f.Number, StillOpen
	if f.Decision.SHA256 != "" {
		r.Outcome = Refused
	}
	if err := r.decode(); err != nil {
		return Record{}, err
	}
	r.summarize()
	for _, s := range f.Late {
		var late lateReply
		if err := s.decode(&late, "late reply"); err != nil {
			return Record{}, err
		}
		if late.Attempt != r.ID {
			return Record{}, fmt.Errorf("%w: a late reply is to the attempt %q", ErrDamaged, late.Attempt)
		}
		r.Late = append(r.Late, Late{Perspective: late.Reply.Perspective, State: late.Reply.State.String(), Recorded: s.Entry.Recorded,
			Attestation: late.Reply, Document: s.Document})
	}
	for _, s := range f.Notices {
		n := Noted{Document: s.Document}
		if err := s.decode(&n.Notice, "notice"); err != nil {
			return Record{}, err
		}
		r.Notices = append(r.Notices, n)
		r.noticed = append(r.noticed, s.Entry.Recorded)
	}
	if f.Sets != nil {
		return r, r.supply(f.Sets)
	}
	return r, nil
}

// summarize fills the summary from the documents.
func (r *Record) summarize() {
	a := r.Evidence.Attempt
	req := a.Probe.Request
	s := &r.Summary
	s.ID, s.Kind, s.Started, s.Caller, s.Software = a.ID(), a.Kind, a.Started, a.Caller, a.Software
	s.Identifier, s.FQDN, s.Method, s.AccountURI = req.Identifier, req.FQDN(), req.Method, req.AccountURI
	if len(r.Decision) == 0 {
		return
	}
	d := r.said
	s.Outcome, s.DCVQuorum, s.CAAQuorum, s.Policy = Outcome(d.Outcome), d.DCV.String(), d.CAA.String(), d.Policy
	for _, p := range d.Reasons {
		s.Reasons = append(s.Reasons, p.Code)
	}
}

// supply gives the record the DNS records that its proofs rest on.
func (r *Record) supply(sets dnssec.Sets) error {
	if err := r.Evidence.Supply(sets); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	for i := range r.Late {
		late := mpic.Evidence{Remotes: []mpic.Attestation{r.Late[i].Attestation}}
		if err := late.Supply(sets); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return nil
}

func lateNeeds(r Record) []string {
	late := mpic.Evidence{Remotes: r.LateAttestations()}
	return late.Needs()
}

// Times holds the times that the log gives against those in the record: an attempt is recorded before its first packet, and a
// decision when it was made.
func (f Filed) Times(r Record) []audit.Finding {
	var all []audit.Finding
	wrong := func(who, format string, args ...any) {
		all = append(all, audit.Finding{Check: audit.Times, Perspective: who, Detail: fmt.Sprintf(format, args...)})
	}
	started, intent := r.Evidence.Attempt.Started, f.Intent.Entry.Recorded
	if intent.Before(started.Add(-lateness)) || intent.After(started.Add(lateness)) {
		wrong("", "the attempt began at %s, and was recorded at %s", formatTime(started), formatTime(intent))
	}
	if p := r.Evidence.Primary; p != nil && p.Report().Started.Before(intent.Add(-lateness)) {
		wrong(r.Evidence.Roster.Primary.Name, "its report began at %s, before the attempt was recorded at %s", formatTime(p.Report().Started), formatTime(intent))
	}
	for i, n := range r.Notices {
		if recorded := r.noticed[i]; n.At.After(recorded.Add(lateness)) || n.At.Before(recorded.Add(-lateness)) {
			wrong("", "a notice was made at %s, and recorded at %s", formatTime(n.At), formatTime(recorded))
		}
	}
	if f.Decision.SHA256 == "" {
		return all
	}
	if decided := f.Decision.Entry.Recorded; decided.Before(intent) || r.decided.After(decided.Add(lateness)) || r.decided.Before(decided.Add(-lateness)) {
		wrong("", "the decision was made at %s, and recorded at %s", formatTime(r.decided), formatTime(decided))
	}
	return all
}

// rows makes all rows of a record again out of its documents, and compares.
func (x *examination) rows(r Record) {
	f := x.folder
	intent := document{bytes: r.Opening.Bytes, secrets: r.Opening.Secrets, sha256: r.Opening.SHA256}
	x.same(attemptRow(f.number, r.Opening.Leaf, r.gate, r.Evidence.Attempt, intent), f.attempt)
	x.sameRows("perspectives", "name", perspectiveRows(f.number, r.Evidence.Roster), f.perspectives)
	var late []row
	for _, l := range r.Late {
		doc := document{bytes: l.Document.Bytes, secrets: l.Document.Secrets, sha256: l.Document.SHA256}
		late = append(late, lateRow(f.number, l.Document.Leaf, l.Attestation, l.Recorded, doc))
	}
	x.sameRows("late_reports", "perspective", late, f.late)
	var notices []row
	for i, n := range r.Notices {
		doc := document{bytes: n.Document.Bytes, secrets: n.Document.Secrets, sha256: n.Document.SHA256}
		notices = append(notices, noticeRow(f.number, n.Document.Leaf, n.Notice, r.noticed[i], doc))
	}
	x.sameRows("notices", "leaf", notices, f.notices)
	var reports, authorizations, reliances []row
	if r.Outcome != StillOpen {
		d := r.said
		closed, err := closedReports(r.Evidence, d)
		if err != nil {
			x.found(audit.Rows, "the decision's document makes no rows: %v", err)
			return
		}
		c := closing{Number: f.number, Gate: r.closedBy, Decided: r.decided}
		reports, authorizations = reportRows(f.number, closed, r.decided), authorizationRows(c, r.Evidence.Attempt, d)
		again := r.judged()
		if reliances, err = relianceRows(r.Evidence, again, f.number, r.Closing.SHA256); err != nil {
			x.found(audit.Rows, "the decision's document makes no rows: %v", err)
		}
		if relied, ok := mpic.Reliable(r.Evidence, again, f.number, r.Closing.SHA256); ok {
			x.out.relied = &relied
		}
		doc := document{bytes: r.Closing.Bytes, secrets: r.Closing.Secrets, sha256: r.Closing.SHA256}
		decided, err := decisionRow(r.Closing.Leaf, c, r.Evidence.Attempt, d, closed, doc)
		if err != nil {
			x.found(audit.Rows, "the decision's document makes no row: %v", err)
		} else {
			x.same(decided, f.decision)
		}
	}
	x.sameRows("reports", "perspective", reports, f.reports)
	x.sameRows("authorizations", "attempt", authorizations, f.authorizations)
	x.sameRows("reliances", "attempt", reliances, f.reliances)
}

// sameRows compares rows by a key.
func (x *examination) sameRows(table, key string, want []row, got []stored) {
	name := func(v any) string { return fmt.Sprint(v) }
	left := map[string]stored{}
	for _, r := range got {
		k := name(r[key])
		if left[k] != nil { // whoever writes what is false may have dropped the table's key
			x.found(audit.Rows, "%s has several rows for %s", table, k)
		}
		left[k] = r
	}
	for _, w := range want {
		k := name(w.values[slices.Index(w.columns, key)])
		r, ok := left[k]
		delete(left, k)
		if !ok {
			x.found(audit.Rows, "%s has no row for %s, which the documents name", table, k)
			continue
		}
		x.same(w, r)
	}
	for k := range left {
		x.found(audit.Rows, "%s has a row for %s, which no document names", table, k)
	}
}

// same compares one row by its columns.
func (x *examination) same(want row, got stored) {
	var differ []string
	for i, column := range want.columns {
		if !equal(want.values[i], got[column]) {
			differ = append(differ, column)
		}
	}
	if len(differ) > 0 {
		x.found(audit.Rows, "%s: the columns %s do not say what the document says", want.table, strings.Join(differ, ", "))
	}
}

// equal compares a value as it is written with one as it is read.
func equal(want, got any) bool {
	if b, ok := want.([]byte); ok {
		g, ok := got.([]byte)
		return (ok || got == nil) && bytes.Equal(b, g)
	}
	return want == got
}
