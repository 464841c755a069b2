package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/audit/merkle"
)

// RetentionYears is how long records are kept after the last certificate that relies on them expired, or, where none does, after
// nothing could rely on them any more (REC-04).
const RetentionYears = 2

// DefaultSegment is what the length of a removed segment is a multiple of, in lines of the log.
const DefaultSegment = 1024

// Due is a segment of the log whose records may be removed: all lines from First on and below Past.
type Due struct {
	First int64 `json:"first_leaf"`
	Past  int64 `json:"past_leaf"`
	// At is when that was found out; every record in the segment was due by then.
	At time.Time `json:"due_at"`
}

// Empty tells that nothing may be removed.
func (d Due) Empty() bool { return d.Past <= d.First }

// Removed is the document of a removal.
type Removed struct {
	Due
	// Root is the log's root at Past: with the lines it shows what was removed.
	Root string `json:"root"`
	// Export is the SHA-256 of the file to which the segment was exported, and Proven when that was verified.
	Export string    `json:"export_sha256"`
	Proven time.Time `json:"proven"`
	// Rows counts what was removed, by table. Some rows of the segment stay until a later one takes them: those that belong to a
	// record that reaches beyond it.
	Rows map[string]int64 `json:"rows"`
	// By is the program and version.
	By string `json:"by"`
}

// Due finds the oldest segment whose records may all be removed: two years have passed since the last certificate that relies on one
// of them expired, since each permit and each possibility of reuse ended, and since each record was made. limit is how many lines a
// segment has at most; 0 for any.
func (s *Store) Due(ctx context.Context, limit int64) (Due, error) {
	now := s.now().UTC().Round(0)
	d := Due{At: now}
	err := s.reads.QueryRowContext(ctx, `SELECT coalesce(max(past_leaf), 0) FROM removals`).Scan(&d.First)
	if err != nil {
		return d, fmt.Errorf("db: due: %w", err)
	}
	if err := s.reads.QueryRowContext(ctx, `SELECT size FROM log_head WHERE id = 1`).Scan(&d.Past); err != nil {
		return d, fmt.Errorf("db: due: %w", err)
	}
	for _, kept := range keptFrom {
		var leaf sql.NullInt64
		if err := s.reads.QueryRowContext(ctx, kept, formatTime(keptSince(now))).Scan(&leaf); err != nil {
			return d, fmt.Errorf("db: due: %w", err)
		}
		if leaf.Valid {
			d.Past = min(d.Past, leaf.Int64)
		}
	}
	if limit > 0 {
		d.Past = min(d.Past, d.First+limit)
	}
	d.Past -= (d.Past - d.First) % s.segment
	return d, nil
}

// keptSince gives the time two years before another: what ended by then was kept for two years. 29 February has no counterpart then, and 1 March
// is not two years ago yet.
func keptSince(at time.Time) time.Time {
	since := at.AddDate(-RetentionYears, 0, 0)
	if since.Day() != at.Day() {
		return time.Date(since.Year(), since.Month(), since.Day(), 0, 0, 0, 0, time.UTC).Add(-time.Nanosecond)
	}
	return since
}

// keptFrom give the first line of which each kind of record must be kept, where $1 is the day two years ago.
var keptFrom = []string{
	`SELECT min(a.leaf) FROM attempts AS a LEFT JOIN decisions AS d ON d.attempt = a.number LEFT JOIN reliances AS r ON r.attempt = a.number
		WHERE d.attempt IS NULL OR d.decided_at > $1 OR r.reusable_until > $1 OR r.caa_fresh_until > $1
			OR EXISTS (SELECT 1 FROM permit_names AS n JOIN permits AS p ON p.number = n.permit WHERE n.attempt = a.number AND p.expires_at > $1)
			OR EXISTS (SELECT 1 FROM permit_names AS n JOIN permits AS p ON p.number = n.permit WHERE n.caa_attempt = a.number AND p.expires_at > $1)
			OR EXISTS (SELECT 1 FROM permit_names AS n JOIN certificates AS c ON c.permit = n.permit WHERE n.attempt = a.number AND c.not_after > $1)
			OR EXISTS (SELECT 1 FROM permit_names AS n JOIN certificates AS c ON c.permit = n.permit WHERE n.caa_attempt = a.number AND c.not_after > $1)`,
	`SELECT min(leaf) FROM late_reports WHERE recorded_at > $1`,
	`SELECT min(leaf) FROM notices WHERE recorded_at > $1`,
	`SELECT min(p.leaf) FROM permits AS p WHERE p.issued_at > $1 OR p.expires_at > $1
		OR EXISTS (SELECT 1 FROM certificates AS c WHERE c.permit = p.number AND c.not_after > $1)`,
	`SELECT min(leaf) FROM certificates WHERE linked_at > $1 OR not_after > $1`,
}

// removal is one table's part, in an order that no foreign key forbids. $1 is the segment's end. A record that reaches beyond it
// stays whole.
var removal = []struct{ table, where string }{
	{"certificates", `leaf < $1`},
	{"permit_names", `permit IN (SELECT number FROM permits AS p WHERE p.leaf < $1 AND NOT EXISTS (SELECT 1 FROM certificates AS c WHERE c.permit = p.number))`},
	// A refused permit rests on nothing, so that no export of attempts has it: it stays.
	{"permits", `leaf < $1 AND outcome = 'granted' AND NOT EXISTS (SELECT 1 FROM certificates AS c WHERE c.permit = permits.number)`},
	{"late_reports", `leaf < $1`},
	{"notices", `leaf < $1`},
	{"authorizations", finished("authorizations.attempt")},
	{"reliances", finished("reliances.attempt")},
	{"decisions", finished("decisions.attempt")},
	{"reports", undecidedBelow("reports.attempt")},
	{"perspectives", undecidedBelow("perspectives.attempt")},
	{"attempts", undecidedBelow("attempts.number")},
}

// finished are the attempts whose decision lies in the segment, with nothing left that refers to it.
func finished(attempt string) string {
	return attempt + ` IN (SELECT d.attempt FROM decisions AS d WHERE d.leaf < $1
		AND NOT EXISTS (SELECT 1 FROM late_reports AS l WHERE l.attempt = d.attempt)
		AND NOT EXISTS (SELECT 1 FROM notices AS n WHERE n.attempt = d.attempt)
		AND NOT EXISTS (SELECT 1 FROM permit_names AS n WHERE n.attempt = d.attempt)
		AND NOT EXISTS (SELECT 1 FROM permit_names AS n WHERE n.caa_attempt = d.attempt))`
}

// undecidedBelow are the attempts in the segment whose decisions are gone: an attempt that is still open is never due.
func undecidedBelow(attempt string) string {
	return attempt + ` IN (SELECT a.number FROM attempts AS a WHERE a.leaf < $1
		AND NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.attempt = a.number))`
}

// Remove records the removal of a segment and removes it, in one transaction. The segment must be due now as well. The caller has
// exported it and verified the export; r says so. On Postgres the store is one of a user with RetentionRole.
func (s *Store) Remove(ctx context.Context, r Removed) (Removed, error) {
	now, err := s.Due(ctx, 0)
	if err != nil {
		return r, err
	}
	if r.Empty() || r.First != now.First || r.Past > now.Past || r.Export == "" || r.Proven.IsZero() {
		return r, fmt.Errorf("db: remove: %w: of the lines %d to %d, those from %d and below %d are due (REC-04), and an export must be proven first",
			ErrMismatch, r.First, r.Past, now.First, now.Past)
	}
	tree, err := s.Tree(ctx, r.Past)
	if err != nil {
		return r, err
	}
	r.At, r.Root = now.At, tree.Root().String()
	if r.Rows, err = s.countRemoval(ctx, r.Past); err != nil {
		return r, fmt.Errorf("db: remove: %w", err)
	}
	doc, err := s.sealer.seal(r, "")
	if err != nil {
		return r, err
	}
	err = s.submit(ctx, func(ctx context.Context, tx *session) error {
		number := tx.head.removals + 1
		leaf, err := tx.append(merkle.Removal, number, doc.sha256)
		if err != nil {
			return err
		}
		if err := tx.insert(removalRow(number, leaf, r, tx.at, doc)); err != nil {
			return err
		}
		tx.head.removals = number
		for _, part := range removal {
			out, err := tx.exec(ctx, `DELETE FROM `+part.table+` WHERE `+part.where, r.Past)
			if err != nil {
				return fmt.Errorf("%s: %w", part.table, err)
			}
			if n, err := out.RowsAffected(); err != nil || n != r.Rows[part.table] {
				return errors.Join(fmt.Errorf("%w: %d rows of %s go, and %d were counted", ErrMismatch, n, part.table, r.Rows[part.table]), err)
			}
		}
		return nil
	})
	if err != nil {
		return r, fmt.Errorf("db: remove: %w", err)
	}
	return r, nil
}

// countRemoval tries the removal out and takes it back, to know what it comes to.
func (s *Store) countRemoval(ctx context.Context, past int64) (map[string]int64, error) {
	rows := map[string]int64{}
	errTried := errors.New("tried")
	err := s.submit(ctx, func(ctx context.Context, tx *session) error {
		trial := Removed{Due: Due{Past: past, At: tx.at}}
		if err := tx.scan(ctx, `SELECT coalesce(max(past_leaf), 0) FROM removals`, nil, &trial.First); err != nil {
			return err
		}
		doc, err := s.sealer.seal(trial, "")
		if err != nil {
			return err
		}
		leaf, err := tx.append(merkle.Removal, tx.head.removals+1, doc.sha256)
		if err != nil {
			return err
		}
		if err := tx.insert(removalRow(tx.head.removals+1, leaf, trial, tx.at, doc)); err != nil {
			return err
		}
		for _, part := range removal {
			out, err := tx.exec(ctx, `DELETE FROM `+part.table+` WHERE `+part.where, past)
			if err != nil {
				return fmt.Errorf("%s: %w", part.table, err)
			}
			if rows[part.table], err = out.RowsAffected(); err != nil {
				return err
			}
		}
		return errTried
	})
	if !errors.Is(err, errTried) {
		return nil, err
	}
	return rows, nil
}

func removalRow(number, leaf int64, r Removed, at time.Time, doc document) row {
	return newRow("removals", "number", number, "leaf", leaf, "first_leaf", r.First, "past_leaf", r.Past, "due_at", formatTime(r.At),
		"removed_at", formatTime(at), "document", doc.bytes, "sha256", doc.sha256)
}
