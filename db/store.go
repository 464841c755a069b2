// Package db keeps the records of attempts: the attempt before its first packet, the decision with each perspective's
// report, the authorization, the permits and certificates that rely on it (docs/records.md). Each document is a line of a Merkle
// log that is written with it (docs/log.md). It implements mpic.Journal on SQLite and on Postgres, and reads records for the
// fronts and for auditors.
//
// What must never be possible is held by the schema (migrations/), also against SQL written by hand: an authorization
// without a granted decision, a granted decision without the primary's passes and the quorum's rows (MPIC-12), a
// change or a removal (REC-06).
package db

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/mpic"
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
	// ErrClock: the gate's clock is behind the time of the last record.
	ErrClock = errors.New("db: the clock is behind the last record")
	// ErrReadOnly: the store was opened for reading.
	ErrReadOnly = errors.New("db: the store is open for reading only")
)

// Config says where the records are.
type Config struct {
	// Path is the SQLite database's file. Its directory must exist; the file is made, readable by its owner alone, if
	// it does not. Beside it stand files with "-wal", "-shm" and ".gate" appended: SQLite's two, and a lock that tells whether a gate is running.
	Path string
	// Postgres is the address of a database on a server, as a URL or as keywords (libpq's form). Exactly one of Path and Postgres
	// is given. PostgresPassword, if not empty, takes the place of a password in it.
	Postgres         string
	PostgresPassword string
	// ReadOnly opens an existing database for reading, as `quorate audit` does, also while a gate is writing to it.
	ReadOnly bool
	// TokenDigests keeps tokens as salted digests alone. What is then lost: nobody can judge a decision again that was made of
	// a token, and no reply's signature over one can be verified again.
	TokenDigests bool
	// Retention opens the store to remove what is due (Remove), on Postgres as a user with RetentionRole.
	Retention bool
	// SegmentLines is what the length of a removed segment is a multiple of, in lines of the log. Default (0): 1024.
	SegmentLines int64
	// Software is the gate's program and version, for its lease.
	Software string
	// Lease is how long a gate that has fallen silent keeps its open attempts to itself; on SQLite a dead gate's are known at once.
	// Default (0): 30 s.
	Lease time.Duration
	// Logger gets migrations, failed commits and what was settled. Default: nothing is logged.
	Logger *slog.Logger
	// Abandoned is told of each attempt of a dead gate that was closed, with its record's number, once that is durable; nil for nobody.
	Abandoned func(number int64, e mpic.Evidence, d mpic.Decision)
	// Metrics count transactions; nil counts nothing. They are one Store's alone.
	Metrics *Metrics
	// Now is the clock for the time of recording and of deciding. Default: time.Now.
	Now func() time.Time
}

// Store is one database of records. Its methods may be called concurrently.
type Store struct {
	now    func() time.Time
	log    *slog.Logger
	engine engine
	sealer sealer
	// segment is Config's SegmentLines.
	segment int64
	reads   *sql.DB
	writer  *writer // nil when the store is open for reading only
	lease   *lease  // likewise
	known   known
	opened  openedAttempts
	// halted is set once the log was found to be another one than was signed.
	halted atomic.Pointer[error]
}

// Open opens the database and, where it is the gate's to do so, brings its schema up to date. Then it claims the database and
// closes, as refused, the open attempts of dead gates. It refuses, with the database in the error: a directory that does not exist,
// a path that is no file, a file that must not be written to, a database that is somebody else's, a schema that is newer
// than this program knows (or older, where the gate may not change it), guards that are not whole (ErrUnguarded), and a user of Postgres who could
// change records.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := newStore(&c)
	if err != nil {
		return nil, err
	}
	if !c.ReadOnly {
		err = s.openWriter(ctx, c)
	}
	if err == nil {
		if s.reads, err = s.engine.openReads(); err == nil {
			err = checkVersion(ctx, s.engine, s.reads)
		}
	}
	if err == nil && !c.ReadOnly {
		err = s.lease.begin(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("db: opening %s: %w", s.engine, err), s.Close())
	}
	return s, nil
}

func newStore(c *Config) (*Store, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	e, err := c.engine()
	return &Store{now: c.Now, log: c.Logger, engine: e, sealer: sealer{digestsOnly: c.TokenDigests}, segment: cmp.Or(c.SegmentLines, DefaultSegment)}, err
}

func (c Config) engine() (engine, error) {
	switch {
	case (c.Path == "") == (c.Postgres == ""):
		return nil, errors.New("db: the database is either a file or on a server, and one of the two has to be named")
	case c.Postgres != "":
		e, err := parsePostgres(c.Postgres, c.PostgresPassword)
		e.retention = c.Retention
		return e, err
	}
	return openSQLite(c.Path, c.ReadOnly)
}

func (s *Store) openWriter(ctx context.Context, c Config) error {
	writes, err := s.engine.openWrites()
	if err != nil {
		return err
	}
	if !s.engine.migrates() {
		err = checkVersion(ctx, s.engine, writes)
	}
	if err != nil {
		return errors.Join(err, writes.Close())
	}
	alone, release, err := s.engine.claim(ctx, writes)
	if err != nil {
		return errors.Join(err, writes.Close())
	}
	if s.engine.migrates() {
		if err := migrate(ctx, s.engine, writes, c.Logger); err != nil {
			return errors.Join(err, release(), writes.Close())
		}
	}
	wrong, err := s.engine.unguarded(ctx, writes)
	if err = errors.Join(err, unguarded(wrong)); err != nil {
		return errors.Join(err, release(), writes.Close())
	}
	s.writer = newWriter(writes, s.engine, c.Logger, c.Metrics, c.Now)
	s.lease = newLease(s, c, release)
	s.lease.alone = alone
	return nil
}

// Migrate brings the schema on a Postgres server up to date, and makes the roles of gates, auditors and retention with their
// rights. c.Postgres is the tables' owner's address; the gate itself is not the owner.
func Migrate(ctx context.Context, c Config) error {
	s, err := newStore(&c)
	if err != nil {
		return err
	}
	e, ok := s.engine.(postgres)
	if !ok {
		return errors.New("db: a gate migrates its own SQLite database when it opens it")
	}
	e.owner = true
	pool := e.openPool(e.config.Copy(), 2) // goose holds one and asks with another
	err = migrate(ctx, e, pool, s.log)
	if err == nil {
		err = e.grants(ctx, pool)
	}
	if err = errors.Join(err, pool.Close()); err != nil {
		return fmt.Errorf("db: migrating %s: %w", e, err)
	}
	return nil
}

// Close waits for what is being written, gives the lease back, and closes the database. Calls that come later return ErrClosed.
func (s *Store) Close() error {
	var errs []error
	if s.lease != nil {
		errs = append(errs, s.lease.end())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.reads != nil {
		errs = append(errs, s.reads.Close())
	}
	if s.lease != nil {
		errs = append(errs, s.lease.release())
	}
	return errors.Join(errs...)
}

// Ping tells whether the database can be read, and records written as far as is known, for a readiness check.
func (s *Store) Ping(ctx context.Context) error {
	if halted := s.halted.Load(); halted != nil {
		return *halted
	}
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
