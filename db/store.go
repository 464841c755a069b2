// Package db keeps the records of attempts: the attempt before its first packet, each perspective's report, the
// decision and the authorization (docs/records.md). It implements mpic.Journal, and reads records for the fronts and
// for auditors.
//
// What must never be possible is held by the schema (migrations/), also against SQL written by hand: an authorization
// without a granted decision, a granted decision without the primary's passes and the quorum's rows (MPIC-12), a
// change or a removal (REC-06).
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

var (
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("db: no such record")
	// ErrDecided: the attempt has its decision; a second one is refused.
	ErrDecided = errors.New("db: the attempt is already decided")
	// ErrMismatch: evidence, decision and the attempt that was opened do not belong together.
	ErrMismatch = errors.New("db: evidence, decision and attempt do not belong together")
	// ErrDamaged: stored bytes do not have the digest stored beside them.
	ErrDamaged = errors.New("db: the record does not match its digest")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("db: the store is closed")
	// ErrReadOnly: the store was opened for reading.
	ErrReadOnly = errors.New("db: the store is open for reading only")
)

// Config says where the records are.
type Config struct {
	// Path is the SQLite database's file. Its directory must exist; the file is made, readable by its owner alone, if
	// it does not. Beside it stand two more files of SQLite's, with "-wal" and "-shm" appended.
	Path string
	// ReadOnly opens an existing database for reading, as `quorate audit` does, also while a gate is writing to it.
	ReadOnly bool
	// Logger gets migrations and failed commits. Default: nothing is logged.
	Logger *slog.Logger
	// Metrics count transactions; nil counts nothing. They are one Store's alone.
	Metrics *Metrics
	// Now is the clock for the time of recording and of deciding. Default: time.Now.
	Now func() time.Time
}

// Store is one database of records. Its methods may be called concurrently.
type Store struct {
	now    func() time.Time
	log    *slog.Logger
	reads  *sql.DB
	writer *writer // nil when the store is open for reading only
	known  known
}

// Open opens the database and brings its schema up to date. It refuses, with the path in the error: a directory that
// does not exist, a path that is no file, a file that must not be written to, a file that is no database or somebody
// else's, and a schema that is newer than this program knows (or, with ReadOnly, older).
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkFile(c.Path, c.ReadOnly); err != nil {
		return nil, err
	}
	s := &Store{now: c.Now, log: c.Logger}
	if !c.ReadOnly {
		writes, err := openWrites(c.Path)
		if err != nil {
			return nil, fmt.Errorf("db: opening %s: %w", c.Path, err)
		}
		if err := migrate(ctx, writes, c.Logger); err != nil {
			return nil, errors.Join(fmt.Errorf("db: opening %s: %w", c.Path, err), writes.Close())
		}
		s.writer = newWriter(writes, c.Logger, c.Metrics)
	}
	var err error
	if s.reads, err = openReads(c.Path); err == nil {
		err = checkVersion(ctx, s.reads)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("db: opening %s: %w", c.Path, err), s.Close())
	}
	return s, nil
}

// Close waits for what is being written, and closes the database. Calls that come later return ErrClosed.
func (s *Store) Close() error {
	var errs []error
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.reads != nil {
		errs = append(errs, s.reads.Close())
	}
	return errors.Join(errs...)
}

// Ping tells whether the database can be read, for a readiness check.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.reads.QueryRowContext(ctx, "SELECT 1 FROM attempts UNION SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("db: %w", err)
	}
	return nil
}

// timeLayout is RFC 3339 in UTC with nine decimals always, so that times sort as text (REC-03).
const timeLayout = "2006-01-02T15:04:05.000000000Z"

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

func parseTime(s string) (time.Time, error) { return time.Parse(timeLayout, s) }
