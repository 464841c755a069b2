package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/quorate/quorate/mpic"
)

// Record is all that is kept of one attempt.
type Record struct {
	Summary
	// Opening is the exact document of attempt and roster, Closing that of the decision; Closing is empty while the
	// attempt is open.
	Opening Document
	Closing Document
	// Perspectives has the primary first, then the remotes in the roster's order.
	Perspectives []Perspective
	// Late has the replies that came after the decision, in the order of their recording.
	Late []Late
	// Notices are the steps of reports of the refusal, in the order of their recording.
	Notices []Noted
	// Evidence is decoded from the documents, for Judge. While the attempt is open it has neither Primary nor Remotes.
	Evidence mpic.Evidence
	// Decision is mpic.Decision's JSON form as it was recorded; empty while the attempt is open.
	Decision json.RawMessage
	// gate is the lease that opened the attempt, closedBy the one that closed it, decided when.
	gate, closedBy string
	decided        time.Time
	// said is Decision, decoded; zero while the attempt is open.
	said mpic.RecordedDecision
	// noticed are the times of the notices' lines in the log, where these were read.
	noticed []time.Time
}

// Perspective is one perspective's part in an attempt.
type Perspective struct {
	Name   string
	Role   mpic.Role
	Region mpic.Region
	// State is mpic.State's name, or "missing" for a primary that made no report, or "pending" while the attempt is
	// open.
	State string
	// DCV and CAA are what the decision made of the report: "pass", "fail", "error", or "none" where it was not judged;
	// empty while the attempt is open. DCVCode and CAACode are the problems' codes, empty for a pass.
	DCV, CAA         string
	DCVCode, CAACode string
	// Asked is zero when the perspective was not asked, Closed while the attempt is open.
	Asked, Closed time.Time
}

// Late is a reply that came after the decision.
type Late struct {
	Perspective string
	State       string
	Recorded    time.Time
	// Attestation is decoded from Document.
	Attestation mpic.Attestation
	Document    Document
}

// LateAttestations gives the late replies alone.
func (r Record) LateAttestations() []mpic.Attestation {
	var late []mpic.Attestation
	for _, l := range r.Late {
		late = append(late, l.Attestation)
	}
	return late
}

// Attempt reads one record by the attempt's identifier or by the record's number in decimal. It returns ErrNotFound,
// and ErrDamaged where bytes and digest differ.
func (s *Store) Attempt(ctx context.Context, key string) (Record, error) {
	r, err := s.attempt(ctx, key)
	if err != nil {
		return Record{}, fmt.Errorf("db: record %q: %w", key, err)
	}
	return r, nil
}

// attempt reads in one transaction, so that a decision that is being written is there in full or not at all.
func (s *Store) attempt(ctx context.Context, key string) (r Record, err error) {
	tx, err := s.reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()

	var closingSum sql.NullString
	var closingLeaf sql.NullInt64
	number, numErr := strconv.ParseInt(key, 10, 64)
	if numErr != nil {
		number = 0
	}
	row := tx.QueryRowContext(ctx, `SELECT `+summaryColumns+`, a.document, a.sha256, a.leaf, a.secrets, d.document, d.sha256, d.leaf, d.secrets
		FROM attempts AS a LEFT JOIN decisions AS d ON d.attempt = a.number
		WHERE a.id = $1 OR a.number = $2 ORDER BY a.id = $1 DESC LIMIT 1`, key, number)
	r.Summary, err = scanSummary(row, &r.Opening.Bytes, &r.Opening.SHA256, &r.Opening.Leaf, &r.Opening.Secrets,
		&r.Closing.Bytes, &closingSum, &closingLeaf, &r.Closing.Secrets)
	if errors.Is(err, sql.ErrNoRows) {
		return r, ErrNotFound
	} else if err != nil {
		return r, err
	}
	if err := r.Opening.check("attempt"); err != nil {
		return r, err
	}
	if closingSum.Valid {
		r.Closing.SHA256, r.Closing.Leaf = closingSum.String, closingLeaf.Int64
		if err := r.Closing.check("decision"); err != nil {
			return r, err
		}
	}
	if r.Perspectives, err = readPerspectives(ctx, tx, r.Number); err != nil {
		return r, err
	}
	if r.Late, err = readLate(ctx, tx, r.Number); err != nil {
		return r, err
	}
	if r.Notices, err = readNotices(ctx, tx, r.Number); err != nil {
		return r, err
	}
	if err := r.decode(); err != nil {
		return r, err
	}
	if err := supply(ctx, tx, &r.Evidence); err != nil {
		return r, err
	}
	for i := range r.Late {
		late := mpic.Evidence{Remotes: []mpic.Attestation{r.Late[i].Attestation}}
		if err := supply(ctx, tx, &late); err != nil {
			return r, err
		}
	}
	return r, nil
}

func readPerspectives(ctx context.Context, tx *sql.Tx, number int64) ([]Perspective, error) {
	rows, err := tx.QueryContext(ctx, `SELECT p.name, p.role, p.region, coalesce(r.state, 'pending'), coalesce(r.dcv, ''), coalesce(r.caa, ''),
		coalesce(r.dcv_code, ''), coalesce(r.caa_code, ''), r.asked_at, r.closed_at
		FROM perspectives AS p LEFT JOIN reports AS r ON r.attempt = p.attempt AND r.perspective = p.name
		WHERE p.attempt = $1 ORDER BY p.position`, number)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Perspective
	for rows.Next() {
		var p Perspective
		var role string
		var asked, closed sql.NullString
		err := rows.Scan(&p.Name, &role, &p.Region, &p.State, &p.DCV, &p.CAA, &p.DCVCode, &p.CAACode, &asked, &closed)
		if err == nil {
			err = p.Role.UnmarshalText([]byte(role))
		}
		if err == nil {
			p.Asked, err = optionalTime(asked)
		}
		if err == nil {
			p.Closed, err = optionalTime(closed)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

func readLate(ctx context.Context, tx *sql.Tx, number int64) ([]Late, error) {
	rows, err := tx.QueryContext(ctx, `SELECT perspective, state, recorded_at, document, sha256, leaf, secrets FROM late_reports
		WHERE attempt = $1 ORDER BY recorded_at, perspective`, number)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Late
	for rows.Next() {
		var l Late
		var recorded string
		err := rows.Scan(&l.Perspective, &l.State, &recorded, &l.Document.Bytes, &l.Document.SHA256, &l.Document.Leaf, &l.Document.Secrets)
		if err == nil {
			l.Recorded, err = parseTime(recorded)
		}
		if err == nil {
			err = l.Document.check("late reply of " + l.Perspective)
		}
		var late lateReply
		if err == nil {
			err = l.Document.decode(&late, "late reply of "+l.Perspective)
		}
		l.Attestation = late.Reply
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

// decode makes Evidence and Decision out of the documents.
func (r *Record) decode() error {
	var o opening
	if err := r.Opening.decode(&o, "attempt"); err != nil {
		return err
	}
	r.gate, r.Evidence.Attempt, r.Evidence.Roster = o.Gate, o.Attempt, o.Roster
	if r.Outcome == StillOpen {
		return nil
	}
	var c closing
	if err := r.Closing.decode(&c, "decision"); err != nil {
		return err
	}
	if c.Number != r.Number || c.Intent != (reference{r.Opening.Leaf, r.Opening.SHA256}) {
		return fmt.Errorf("%w: the decision's document is of another record", ErrDamaged)
	}
	r.Decision, r.Evidence.Primary, r.Evidence.Remotes = c.Decision, c.Primary, c.Remotes
	r.closedBy, r.decided = c.Gate, c.Decided
	if err := json.Unmarshal(c.Decision, &r.said); err != nil {
		return fmt.Errorf("%w: the decision: %w", ErrDamaged, err)
	}
	return nil
}
