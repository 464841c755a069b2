package db

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// reportRow is the closing row of one perspective.
type reportRow struct {
	perspective string
	role        mpic.Role
	state       string
	// dcv and caa are an outcome's name, or "none" where Judge did not come to judge reports.
	dcv, caa         string
	dcvCode, caaCode string
	// asked is zero when the perspective was not asked, closed when nobody noted the time.
	asked, closed time.Time
	doc           document
}

// reportRows gives one row for each perspective of the roster, the primary first. Evidence that has no attestation of a
// remote, or has two, or has a stranger's, is refused: an attempt closes only with all rows closed (F3).
func reportRows(e mpic.Evidence, d mpic.Decision) ([]reportRow, error) {
	if len(e.Remotes) != len(e.Roster.Remotes) {
		return nil, fmt.Errorf("%w: %d attestations for %d remotes", ErrMismatch, len(e.Remotes), len(e.Roster.Remotes))
	}
	views := map[string]mpic.View{}
	for _, v := range d.Views() {
		views[v.Role.String()+" "+v.Perspective] = v // F2: by role and name, not by place
	}
	primary, err := primaryRow(e)
	if err != nil {
		return nil, err
	}
	rows := []reportRow{primary}
	for i, a := range e.Remotes {
		if name := e.Roster.Remotes[i].Name; a.Perspective != name {
			return nil, fmt.Errorf("%w: the attestation of %q stands in the place of %q", ErrMismatch, a.Perspective, name)
		}
		doc, err := newDocument(a)
		if err != nil {
			return nil, err
		}
		rows = append(rows, reportRow{perspective: a.Perspective, role: mpic.RemoteRole, state: a.State.String(),
			asked: a.Asked, closed: a.Closed, doc: doc})
	}
	for i, r := range rows {
		v, judged := views[r.role.String()+" "+r.perspective]
		rows[i].dcv, rows[i].dcvCode = judgedAs(judged, v.DCV, v.DCVProblem)
		rows[i].caa, rows[i].caaCode = judgedAs(judged, v.CAA, v.CAAProblem)
	}
	return rows, nil
}

// primaryRow: "not-asked" is an attempt that was refused before its first packet; "missing" a primary that made no
// report though remotes were asked.
func primaryRow(e mpic.Evidence) (reportRow, error) {
	doc, err := newDocument(e.Primary)
	row := reportRow{perspective: e.Roster.Primary.Name, role: mpic.Primary, state: mpic.NotAsked.String(), doc: doc}
	if e.Primary != nil {
		r := e.Primary.Report()
		row.state, row.asked, row.closed = mpic.Answered.String(), r.Started, r.Finished
		return row, err
	}
	for _, a := range e.Remotes {
		if a.State != mpic.NotAsked {
			row.state = "missing"
		}
	}
	return row, err
}

func judgedAs(judged bool, o va.Outcome, p *va.Problem) (outcome, code string) {
	if !judged {
		return "none", ""
	}
	if p != nil {
		code = column(p.Code)
	}
	return o.String(), code
}

// insertReport: REC-01, who, what became of the question, and when.
func insertReport(ctx context.Context, tx *session, number int64, r reportRow, now time.Time) error {
	var asked sql.NullString
	if !r.asked.IsZero() {
		asked = sql.NullString{String: formatTime(r.asked), Valid: true}
	}
	closed := r.closed
	if closed.IsZero() {
		closed = now
	}
	_, err := tx.exec(ctx, `INSERT INTO reports (attempt, perspective, role, state, dcv, caa, dcv_code, caa_code,
		asked_at, closed_at, document, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		number, column(r.perspective), r.role.String(), r.state, r.dcv, r.caa, r.dcvCode, r.caaCode, asked,
		formatTime(closed), r.doc.bytes, r.doc.sha256)
	return err
}
