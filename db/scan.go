package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/va/dnssec"
)

// Sheet is a document with its line of the log, from the tables or from a bundle.
type Sheet struct {
	Document
	Entry merkle.Entry
}

// check finds a document that is not the one in its line.
func (s Sheet) check(what string, kind merkle.Kind, subject int64) error {
	if err := s.Document.check(what); err != nil {
		return err
	}
	if s.Entry.Leaf != s.Leaf || s.Entry.Kind != kind || s.Entry.Subject != subject || s.Entry.SHA256 != s.SHA256 {
		return fmt.Errorf("%w: the line %d of the log does not hold the document of the %s", ErrDamaged, s.Leaf, what)
	}
	return nil
}

// Filed is one record as documents.
type Filed struct {
	Number   int64
	Intent   Sheet
	Decision Sheet // without bytes while the attempt is open
	Late     []Sheet
	Notices  []Sheet
	// Sets are the DNS records that the proofs in the documents rest on.
	Sets dnssec.Sets
}

// stored is a row as it was read: by column, int64, string, []byte or nil.
type stored map[string]any

func (r stored) int(column string) int64    { n, _ := r[column].(int64); return n }
func (r stored) text(column string) string  { s, _ := r[column].(string); return s }
func (r stored) bytes(column string) []byte { b, _ := r[column].([]byte); return b }

// sheet takes the document out of a row that was read with its line of the log.
func (r stored) sheet() (Sheet, error) {
	s := Sheet{Document: Document{Bytes: r.bytes("document"), SHA256: r.text("sha256"), Leaf: r.int("leaf"), Secrets: r.bytes("secrets")},
		Entry: merkle.Entry{Leaf: r.int("log_leaf"), Kind: merkle.Kind(r.text("log_kind")), Subject: r.int("log_subject"), SHA256: r.text("log_sha256")}}
	if r["log_leaf"] == nil {
		return s, fmt.Errorf("%w: the log has no line %d", ErrDamaged, s.Leaf)
	}
	var err error
	s.Entry.Recorded, err = parseTime(r.text("log_recorded_at"))
	return s, err
}

// scan reads a database in one view of it, in which nothing is written meanwhile.
type scan struct {
	tx   *sql.Tx
	conn *sql.Conn
}

// newScan begins. On Postgres the view is that of a REPEATABLE READ transaction; on SQLite every transaction has one.
func (s *Store) newScan(ctx context.Context) (*scan, error) {
	conn, err := s.reads.Conn(ctx)
	if err != nil {
		return nil, err
	}
	options := &sql.TxOptions{ReadOnly: true}
	if _, ok := s.engine.(postgres); ok {
		options.Isolation = sql.LevelRepeatableRead
	}
	tx, err := conn.BeginTx(ctx, options)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &scan{tx, conn}, nil
}

func (s *scan) close() error { return errors.Join(s.tx.Rollback(), s.conn.Close()) }

// one reads a single row.
func (s *scan) one(ctx context.Context, query string, args []any, into ...any) error {
	return s.tx.QueryRowContext(ctx, query, args...).Scan(into...)
}

// rows reads rows as they are.
func (s *scan) rows(ctx context.Context, query string, args ...any) ([]stored, error) {
	found, err := s.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	columns, err := found.Columns()
	if err != nil {
		return nil, errors.Join(err, found.Close())
	}
	return collect(found, func(r *sql.Rows) (stored, error) {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := r.Scan(into...); err != nil {
			return nil, err
		}
		row := make(stored, len(columns))
		for i, c := range columns {
			row[c] = values[i]
		}
		return row, nil
	})
}

// logged joins a table's rows with their lines of the log.
const logged = `, l.leaf AS log_leaf, l.kind AS log_kind, l.subject AS log_subject, l.recorded_at AS log_recorded_at, l.sha256 AS log_sha256`

// folder is all that the tables have of one attempt.
type folder struct {
	number                                int64
	attempt, decision                     stored
	perspectives, reports, authorizations []stored
	reliances                             []stored
	late, notices                         []stored
	// broken counts rows whose number is no whole one, which SQLite keeps in an integer's column.
	broken int
	// again are the tables that have further rows where there is one at most.
	again []string
}

// only keeps the first row.
func (f *folder) only(into *stored, r stored, table string) {
	if *into != nil {
		f.again = append(f.again, table)
		return
	}
	*into = r
}

// folders reads the attempts with numbers from first on and below past. Rows of an attempt that is not there come in a folder
// without an attempt.
func (s *scan) folders(ctx context.Context, first, past int64) ([]*folder, error) {
	all := make([]*folder, past-first)
	at := func(number int64) *folder {
		if number < first || number >= past {
			return &folder{}
		}
		f := &all[number-first]
		if *f == nil {
			*f = &folder{number: number}
		}
		return *f
	}
	for _, part := range []struct {
		query string
		keep  func(*folder, stored)
		key   string
	}{
		{`SELECT a.*` + logged + ` FROM attempts AS a LEFT JOIN log AS l ON l.leaf = a.leaf WHERE a.number >= $1 AND a.number < $2`,
			func(f *folder, r stored) { f.only(&f.attempt, r, "attempts") }, "number"},
		{`SELECT d.*` + logged + ` FROM decisions AS d LEFT JOIN log AS l ON l.leaf = d.leaf WHERE d.attempt >= $1 AND d.attempt < $2`,
			func(f *folder, r stored) { f.only(&f.decision, r, "decisions") }, "attempt"},
		{`SELECT * FROM perspectives WHERE attempt >= $1 AND attempt < $2 ORDER BY attempt, position`,
			func(f *folder, r stored) { f.perspectives = append(f.perspectives, r) }, "attempt"},
		{`SELECT * FROM reports WHERE attempt >= $1 AND attempt < $2 ORDER BY attempt`,
			func(f *folder, r stored) { f.reports = append(f.reports, r) }, "attempt"},
		{`SELECT * FROM authorizations WHERE attempt >= $1 AND attempt < $2`,
			func(f *folder, r stored) { f.authorizations = append(f.authorizations, r) }, "attempt"},
		{`SELECT * FROM reliances WHERE attempt >= $1 AND attempt < $2`,
			func(f *folder, r stored) { f.reliances = append(f.reliances, r) }, "attempt"},
		{`SELECT r.*` + logged + ` FROM late_reports AS r LEFT JOIN log AS l ON l.leaf = r.leaf WHERE r.attempt >= $1 AND r.attempt < $2 ORDER BY r.leaf`,
			func(f *folder, r stored) { f.late = append(f.late, r) }, "attempt"},
		{`SELECT n.*` + logged + ` FROM notices AS n LEFT JOIN log AS l ON l.leaf = n.leaf WHERE n.attempt >= $1 AND n.attempt < $2 ORDER BY n.leaf`,
			func(f *folder, r stored) { f.notices = append(f.notices, r) }, "attempt"},
	} {
		rows, err := s.rows(ctx, part.query, first, past)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if fraction, ok := r[part.key].(float64); ok {
				at(int64(fraction)).broken++
				continue
			}
			part.keep(at(r.int(part.key)), r)
		}
	}
	return all, nil
}
