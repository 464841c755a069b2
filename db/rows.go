package db

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// row is a row of a table, by column. Rows are made here and nowhere else, out of what the documents say and the little that
// they do not: writing inserts them, and verifying holds the stored ones against them.
type row struct {
	table   string
	columns []string
	values  []any
}

// newRow takes columns and values in turn.
func newRow(table string, pairs ...any) row {
	r := row{table, make([]string, 0, len(pairs)/2), make([]any, 0, len(pairs)/2)}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.columns = append(r.columns, pairs[i].(string))
		r.values = append(r.values, pairs[i+1])
	}
	return r
}

func logRow(l line) row {
	return newRow("log", "leaf", l.entry.Leaf, "kind", string(l.entry.Kind), "subject", l.entry.Subject,
		"recorded_at", formatTime(l.entry.Recorded), "sha256", l.entry.SHA256, "hashes", joinHashes(l.hashes))
}

// attemptRow: REC-03, time, identity and description stand in columns of their own.
func attemptRow(number, leaf int64, gate string, a mpic.Attempt, doc document) row {
	req := a.Probe.Request
	return newRow("attempts", "number", number, "leaf", leaf, "id", column(a.ID()), "gate", gate, "kind", a.Kind.String(),
		"shadow", number01(a.Shadow), "started_at", formatTime(a.Started), "caller", column(a.Caller), "software", column(a.Software),
		"identifier", column(req.Identifier), "fqdn", column(req.FQDN()), "wildcard", number01(req.Wildcard()),
		"method", req.Method.String(), "section", req.Method.Section(), "account_uri", column(req.AccountURI),
		"document", doc.bytes, "secrets", doc.secrets, "sha256", doc.sha256)
}

func number01(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func perspectiveRows(number int64, roster mpic.Roster) []row {
	var rows []row
	role := mpic.Primary
	for i, m := range append([]mpic.Member{roster.Primary}, roster.Remotes...) {
		if i > 0 {
			role = mpic.RemoteRole
		}
		rows = append(rows, newRow("perspectives", "attempt", number, "name", column(m.Name), "role", role.String(),
			"position", int64(i), "region", column(string(m.Place.Region))))
	}
	return rows
}

// closedReport is what the closing row of one perspective says.
type closedReport struct {
	perspective string
	role        mpic.Role
	state       string
	// dcv and caa are an outcome's name, or "none" where Judge did not come to judge reports.
	dcv, caa         string
	dcvCode, caaCode string
	// asked is zero when the perspective was not asked, closed when nobody noted the time.
	asked, closed time.Time
}

// closedReports gives one for each perspective of the roster, the primary first. Evidence that has no attestation of a
// remote, or has two, or has a stranger's, is refused: an attempt closes only with all rows closed (F3).
func closedReports(e mpic.Evidence, d mpic.RecordedDecision) ([]closedReport, error) {
	if len(e.Remotes) != len(e.Roster.Remotes) {
		return nil, fmt.Errorf("%w: %d attestations for %d remotes", ErrMismatch, len(e.Remotes), len(e.Roster.Remotes))
	}
	views := map[string]mpic.View{}
	for _, v := range d.Views {
		views[v.Role.String()+" "+v.Perspective] = v // F2: by role and name, not by place
	}
	all := []closedReport{closedPrimary(e)}
	for i, a := range e.Remotes {
		if name := e.Roster.Remotes[i].Name; a.Perspective != name {
			return nil, fmt.Errorf("%w: the attestation of %q stands in the place of %q", ErrMismatch, a.Perspective, name)
		}
		all = append(all, closedReport{perspective: a.Perspective, role: mpic.RemoteRole, state: a.State.String(),
			asked: a.Asked, closed: a.Closed})
	}
	token := e.Attempt.Probe.Request.Token
	for i, r := range all {
		v, judged := views[r.role.String()+" "+r.perspective]
		all[i].dcv, all[i].dcvCode = judgedAs(judged, v.DCV, v.DCVProblem, token)
		all[i].caa, all[i].caaCode = judgedAs(judged, v.CAA, v.CAAProblem, token)
	}
	return all, nil
}

// closedPrimary: "not-asked" is an attempt that was refused before its first packet; "abandoned" one whose gate ended; "missing" a
// primary that made no report though remotes were asked.
func closedPrimary(e mpic.Evidence) closedReport {
	c := closedReport{perspective: e.Roster.Primary.Name, role: mpic.Primary, state: mpic.NotAsked.String()}
	if e.Primary != nil {
		r := e.Primary.Report()
		c.state, c.asked, c.closed = mpic.Answered.String(), r.Started, r.Finished
		return c
	}
	for _, a := range e.Remotes {
		switch a.State {
		case mpic.NotAsked:
		case mpic.Abandoned:
			c.state, c.closed = mpic.Abandoned.String(), a.Closed
		default:
			c.state = "missing"
		}
	}
	return c
}

func judgedAs(judged bool, o va.Outcome, p *va.Problem, token string) (outcome, code string) {
	if !judged {
		return "none", ""
	}
	if p != nil {
		code = codeColumn(p.Code, token)
	}
	return o.String(), code
}

// noCode stands for a code that is none: a remote names codes too, and could write a token in the place of one.
const noCode = "unnamed"

// codeColumn makes a copy of a code: the same, whether the document still has the token or not.
func codeColumn(code, token string) string {
	if !va.IsCode(code) || maskable(token) && holds(code, token, forms(token), 3) {
		return noCode
	}
	return code
}

// reportRows: REC-01, who, what became of the question, and when. What nobody noted a time for was closed with the decision.
func reportRows(number int64, all []closedReport, decided time.Time) []row {
	var rows []row
	for _, r := range all {
		var asked any
		if !r.asked.IsZero() {
			asked = formatTime(r.asked)
		}
		closed := r.closed
		if closed.IsZero() {
			closed = decided
		}
		rows = append(rows, newRow("reports", "attempt", number, "perspective", column(r.perspective), "role", r.role.String(),
			"state", r.state, "dcv", r.dcv, "caa", r.caa, "dcv_code", r.dcvCode, "caa_code", r.caaCode, "asked_at", asked,
			"closed_at", formatTime(closed)))
	}
	return rows
}

// decisionRow: REC-02, the quorum of each check stands in the row as "corroborated/attempted".
func decisionRow(leaf int64, c closing, a mpic.Attempt, d mpic.RecordedDecision, reports []closedReport, doc document) (row, error) {
	var codes []string
	for _, p := range d.Reasons {
		codes = append(codes, codeColumn(p.Code, a.Probe.Request.Token))
	}
	excused := 0
	for _, v := range d.Views {
		excused += len(v.CAAExcused)
	}
	var policy mpic.Policy
	if d.Policy != "" {
		var problem *va.Problem
		if policy, problem = mpic.PolicyAt(a.Started); problem != nil {
			return row{}, fmt.Errorf("%w: %s", ErrMismatch, problem.Detail)
		}
	}
	req, primary := a.Probe.Request, reports[0]
	return newRow("decisions", "attempt", c.Number, "leaf", leaf, "gate", c.Gate, "outcome", d.Outcome, "kind", a.Kind.String(),
		"identifier", column(req.Identifier), "account_uri", column(req.AccountURI), "method", req.Method.String(),
		"policy", d.Policy, "min_remotes", int64(policy.MinRemotes), "min_regions", int64(policy.MinRegions),
		"primary_name", column(primary.perspective), "primary_role", primary.role.String(), "primary_dcv", primary.dcv,
		"primary_caa", primary.caa, "dcv_corroborated", int64(d.DCV.Corroborated), "dcv_attempted", int64(d.DCV.Attempted),
		"dcv_allowed", int64(d.DCV.Allowed), "caa_corroborated", int64(d.CAA.Corroborated), "caa_attempted", int64(d.CAA.Attempted),
		"caa_allowed", int64(d.CAA.Allowed), "dcv_quorum", d.DCV.String(), "caa_quorum", d.CAA.String(),
		"reasons", strings.Join(codes, " "), "caa_excused", int64(excused), "decided_at", formatTime(c.Decided),
		"document", doc.bytes, "secrets", doc.secrets, "sha256", doc.sha256), nil
}

// authorizationRows gives the one row of a granted decision for issuance, and none for any other.
func authorizationRows(c closing, a mpic.Attempt, d mpic.RecordedDecision) []row {
	if d.Outcome != string(Granted) || a.Kind != mpic.Issuance {
		return nil
	}
	req := a.Probe.Request
	return []row{newRow("authorizations", "attempt", c.Number, "outcome", d.Outcome, "kind", a.Kind.String(),
		"identifier", column(req.Identifier), "account_uri", column(req.AccountURI), "method", req.Method.String(),
		"granted_at", formatTime(c.Decided))}
}

// relianceRows gives the one row of what an attempt may be relied upon for, and none where that is nothing.
func relianceRows(e mpic.Evidence, d mpic.RecordedDecision, number int64, sha256 string) ([]row, error) {
	r, ok := mpic.Reliable(e, d, number, sha256)
	if !ok {
		return nil, nil
	}
	facts, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return []row{newRow("reliances", "attempt", number, "kind", r.Kind.String(), "identifier", column(r.Identifier), "account_uri", column(r.Account),
		"method", r.Method.String(), "checked_at", formatTime(r.Checked), "caa_fresh_until", formatTime(r.CAAFreshUntil),
		"reusable_until", timeOrNull(r.ReusableUntil), "facts", facts)}, nil
}

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return formatTime(t)
}

func permitRow(number, leaf int64, p mpic.PermitRecord, doc document) row {
	return newRow("permits", "number", number, "leaf", leaf, "id", column(p.ID), "outcome", p.Outcome, "caller", column(p.Caller),
		"account_uri", column(p.Account), "issued_at", formatTime(p.Issued), "expires_at", timeOrNull(p.Expires), "document", doc.bytes,
		"sha256", doc.sha256)
}

// permitNameRows: each name of a granted permit has its own evidence (D5). A refused permit has none.
func permitNameRows(number int64, p mpic.PermitRecord) []row {
	if p.Outcome != mpic.OutcomeGranted {
		return nil
	}
	var rows []row
	for _, n := range p.Names {
		if n.DCV == nil || n.CAA == nil { // the guards refuse a permit without evidence
			continue
		}
		rows = append(rows, newRow("permit_names", "permit", number, "outcome", p.Outcome, "name", column(n.Name), "attempt", n.DCV.Number,
			"caa_attempt", n.CAA.Number))
	}
	return rows
}

func certificateRow(number, leaf, permit int64, c mpic.CertificateRecord, doc document) row {
	return newRow("certificates", "number", number, "leaf", leaf, "permit", permit, "outcome", c.Outcome, "fingerprint", c.SHA256,
		"serial", column(c.Serial), "issuer", column(c.Issuer), "not_before", timeOrNull(c.NotBefore), "not_after", timeOrNull(c.NotAfter),
		"linked_at", formatTime(c.Linked), "document", doc.bytes, "sha256", doc.sha256)
}

func lateRow(number, leaf int64, a mpic.Attestation, recorded time.Time, doc document) row {
	return newRow("late_reports", "attempt", number, "leaf", leaf, "perspective", column(a.Perspective),
		"role", mpic.RemoteRole.String(), "state", a.State.String(), "recorded_at", formatTime(recorded),
		"document", doc.bytes, "secrets", doc.secrets, "sha256", doc.sha256)
}

func noticeRow(number, leaf int64, n mpic.Notice, recorded time.Time, doc document) row {
	stage := "ended"
	if n.Outcome == mpic.NoticeBegun {
		stage = "begun"
	}
	return newRow("notices", "attempt", number, "leaf", leaf, "position", int64(n.Position), "stage", stage, "outcome", string(n.Outcome),
		"code", column(n.Code), "recorded_at", formatTime(recorded), "document", doc.bytes, "secrets", doc.secrets, "sha256", doc.sha256)
}

// maxColumn bounds a copy, in octets: Postgres has no place in an index for two that are much longer.
const maxColumn = 1024

// column makes a copy to query by out of what a caller sent: a request that is refused for its bytes is recorded too,
// and Postgres keeps neither NUL nor broken UTF-8 in text. JSON does the same to the document's strings. Of a long text the copy has the
// beginning and the digest, so that two are the same only if the texts are.
func column(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= maxColumn {
		return s
	}
	end := "...sha256:" + digest([]byte(s))
	return strings.ToValidUTF8(s[:maxColumn-len(end)], "") + end
}
