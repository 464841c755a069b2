package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/mpic"
)

// Noted is a notice on record: a step of a report of a refused request.
type Noted struct {
	mpic.Notice
	Document Document
}

// Notice keeps a step of a report of a refused request (CAA-09). It refuses one about an attempt that is unknown (ErrNotFound), or of
// another number (ErrMismatch), or that was not refused because of CAA records that the primary saw; a second one of the same step; and
// an end that does not go with whether the report was begun.
func (j *Journal) Notice(ctx context.Context, n mpic.Notice) error {
	if err := j.notice(ctx, n); err != nil {
		return fmt.Errorf("db: notice of attempt %s, property %d: %w", n.Attempt, n.Position, err)
	}
	return nil
}

func (j *Journal) notice(ctx context.Context, n mpic.Notice) error {
	var number int64
	var intent Document
	err := j.store.reads.QueryRowContext(ctx, `SELECT number, document, secrets FROM attempts WHERE id = $1`, column(n.Attempt)).
		Scan(&number, &intent.Bytes, &intent.Secrets)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case err != nil:
		return err
	case number != n.Number:
		return fmt.Errorf("%w: the attempt has the number %d, not %d", ErrMismatch, number, n.Number)
	}
	var opened opening
	if err := intent.decode(&opened, "attempt"); err != nil {
		return err
	}
	doc, err := j.store.sealer.seal(n, opened.Attempt.Probe.Request.Token)
	if err != nil {
		return err
	}
	return j.store.submit(ctx, func(ctx context.Context, tx *session) error {
		leaf, err := tx.append(merkle.Notice, number, doc.sha256)
		if err != nil {
			return err
		}
		return tx.insert(noticeRow(number, leaf, n, tx.at, doc))
	})
}

func readNotices(ctx context.Context, tx *sql.Tx, number int64) ([]Noted, error) {
	rows, err := tx.QueryContext(ctx, `SELECT document, sha256, leaf, secrets FROM notices WHERE attempt = $1 ORDER BY leaf`, number)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r *sql.Rows) (n Noted, err error) {
		if err = r.Scan(&n.Document.Bytes, &n.Document.SHA256, &n.Document.Leaf, &n.Document.Secrets); err == nil {
			err = n.Document.check("notice")
		}
		if err == nil {
			err = n.Document.decode(&n.Notice, "notice")
		}
		return n, err
	})
}

// notes gives the notices of a record, without their documents.
func (r Record) notes() []mpic.Notice {
	var all []mpic.Notice
	for _, n := range r.Notices {
		all = append(all, n.Notice)
	}
	return all
}

// CheckNotices tells what of a record's notices does not follow from what was decided upon.
func (r Record) CheckNotices() []string {
	if len(r.Notices) == 0 {
		return nil
	}
	return mpic.CheckNotices(r.Evidence, r.said, r.Number, r.notes())
}
