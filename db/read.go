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
	// Evidence is decoded from the documents, for Judge. While the attempt is open it has neither Primary nor Remotes.
	Evidence mpic.Evidence
	// Decision is mpic.Decision's JSON form as it was recorded; empty while the attempt is open.
	Decision json.RawMessage
}

// Document is stored bytes with the digest that was stored beside them; reading has found that they agree.
type Document struct {
	Bytes []byte
	// SHA256 is in hexadecimal; empty where there is no document.
	SHA256 string
}

// Perspective is one perspective's part in an attempt.
type Perspective struct {
	Name     string
	Role     mpic.Role
	Place    mpic.Place
	Resolver mpic.Place
	// State is mpic.State's name, or "missing" for a primary that made no report, or "pending" while the attempt is
	// open.
	State string
	// DCV and CAA are what the decision made of the report: "pass", "fail", "error", or "none" where it was not judged;
	// empty while the attempt is open. DCVCode and CAACode are the problems' codes, empty for a pass.
	DCV, CAA         string
	DCVCode, CAACode string
	// Asked is zero when the perspective was not asked, Closed while the attempt is open.
	Asked, Closed time.Time
	// Document is the JSON of the primary's va.Report, or of the remote's mpic.Attestation with its signed reply.
	Document Document
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

	var opening, closing []byte
	var closingSum sql.NullString
	number, numErr := strconv.ParseInt(key, 10, 64)
	if numErr != nil {
		number = 0
	}
	row := tx.QueryRowContext(ctx, `SELECT `+summaryColumns+`, a.document, a.sha256, d.document, d.sha256
		FROM attempts AS a LEFT JOIN decisions AS d ON d.attempt = a.number
		WHERE a.id = $1 OR a.number = $2 ORDER BY a.id = $1 DESC LIMIT 1`, key, number)
	r.Summary, err = scanSummary(row, &opening, &r.Opening.SHA256, &closing, &closingSum)
	if errors.Is(err, sql.ErrNoRows) {
		return r, ErrNotFound
	} else if err != nil {
		return r, err
	}
	if err := r.Opening.set(opening, "attempt"); err != nil {
		return r, err
	}
	if closingSum.Valid {
		r.Closing.SHA256 = closingSum.String
		if err := r.Closing.set(closing, "decision"); err != nil {
			return r, err
		}
	}
	if r.Perspectives, err = readPerspectives(ctx, tx, r.Number); err != nil {
		return r, err
	}
	if r.Late, err = readLate(ctx, tx, r.Number); err != nil {
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

// set keeps bytes that have the stored digest, and refuses others.
func (d *Document) set(b []byte, what string) error {
	if digest(b) != d.SHA256 {
		return fmt.Errorf("%w: the document of the %s", ErrDamaged, what)
	}
	d.Bytes = b
	return nil
}

func readPerspectives(ctx context.Context, tx *sql.Tx, number int64) ([]Perspective, error) {
	rows, err := tx.QueryContext(ctx, `SELECT p.name, p.role, p.region, p.latitude, p.longitude, p.resolver_region,
		p.resolver_latitude, p.resolver_longitude, coalesce(r.state, 'pending'), coalesce(r.dcv, ''), coalesce(r.caa, ''),
		coalesce(r.dcv_code, ''), coalesce(r.caa_code, ''), r.asked_at, r.closed_at, r.document, r.sha256
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
		var asked, closed, sum sql.NullString
		var doc []byte
		err := rows.Scan(&p.Name, &role, &p.Place.Region, &p.Place.Latitude, &p.Place.Longitude, &p.Resolver.Region,
			&p.Resolver.Latitude, &p.Resolver.Longitude, &p.State, &p.DCV, &p.CAA, &p.DCVCode, &p.CAACode, &asked, &closed,
			&doc, &sum)
		if err == nil {
			err = p.Role.UnmarshalText([]byte(role))
		}
		if err == nil {
			p.Asked, err = optionalTime(asked)
		}
		if err == nil {
			p.Closed, err = optionalTime(closed)
		}
		if err == nil && sum.Valid {
			p.Document.SHA256 = sum.String
			err = p.Document.set(doc, "perspective "+p.Name)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

func readLate(ctx context.Context, tx *sql.Tx, number int64) ([]Late, error) {
	rows, err := tx.QueryContext(ctx, `SELECT perspective, state, recorded_at, document, sha256 FROM late_reports
		WHERE attempt = $1 ORDER BY recorded_at, perspective`, number)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Late
	for rows.Next() {
		var l Late
		var recorded string
		var doc []byte
		err := rows.Scan(&l.Perspective, &l.State, &recorded, &doc, &l.Document.SHA256)
		if err == nil {
			l.Recorded, err = parseTime(recorded)
		}
		if err == nil {
			err = l.Document.set(doc, "late reply of "+l.Perspective)
		}
		if err == nil {
			err = json.Unmarshal(l.Document.Bytes, &l.Attestation)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

// decode makes Evidence and Decision out of the documents, and holds the decision's list of digests against the rows.
func (r *Record) decode() error {
	var o opening
	if err := json.Unmarshal(r.Opening.Bytes, &o); err != nil {
		return fmt.Errorf("the attempt's document: %w", err)
	}
	r.Evidence.Attempt, r.Evidence.Roster = o.Attempt, o.Roster
	if r.Outcome == StillOpen {
		return nil
	}
	var c closing
	if err := json.Unmarshal(r.Closing.Bytes, &c); err != nil {
		return fmt.Errorf("the decision's document: %w", err)
	}
	r.Decision = c.Decision
	if c.Number != r.Number || c.Opening != r.Opening.SHA256 || len(c.Reports) != len(r.Perspectives) {
		return fmt.Errorf("%w: the decision's document is of another record", ErrDamaged)
	}
	for i, p := range r.Perspectives {
		if want := c.Reports[i]; want != (closingReport{p.Name, p.Role, p.State, p.Document.SHA256}) {
			return fmt.Errorf("%w: the decision was made upon another report of %s", ErrDamaged, want.Perspective)
		}
		if err := addReport(&r.Evidence, p); err != nil {
			return err
		}
	}
	return nil
}

// addReport decodes one perspective's document into the evidence; the role says what it is (F2).
func addReport(e *mpic.Evidence, p Perspective) error {
	var err error
	switch p.Role {
	case mpic.Primary:
		err = json.Unmarshal(p.Document.Bytes, &e.Primary)
	case mpic.RemoteRole:
		var a mpic.Attestation
		err = json.Unmarshal(p.Document.Bytes, &a)
		e.Remotes = append(e.Remotes, a)
	default:
		err = fmt.Errorf("%d is no role", p.Role)
	}
	if err != nil {
		return fmt.Errorf("the document of perspective %s: %w", p.Name, err)
	}
	return nil
}
