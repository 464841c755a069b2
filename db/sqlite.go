package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite" // which registers itself as "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// readers bounds the connections that read side by side.
const readers = 8

// sqlite is an embedded database in one file.
type sqlite struct {
	path string
	// file is the one that was opened.
	file fs.FileInfo
}

func openSQLite(path string, readOnly bool) (engine, error) {
	if err := checkFile(path, readOnly); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("db: %w", err)
	}
	return sqlite{path, info}, nil
}

func (e sqlite) String() string         { return e.path }
func (e sqlite) dialect() goose.Dialect { return goose.DialectSQLite3 }
func (e sqlite) migrations() fs.FS      { return migrationFiles(sqliteGuards(), forSQLite) }
func (e sqlite) migrates() bool         { return true }

// conflict: a transaction takes SQLite's one write lock at its beginning, for which busy_timeout has waited already.
func (e sqlite) conflict(error) bool { return false }

func (e sqlite) refused(err error) bool {
	var s *driver.Error
	return errors.As(err, &s) && s.Code()&0xff == sqlite3.SQLITE_CONSTRAINT // the lowest octet of an extended code is the primary one
}

func (e sqlite) link(conn *sql.Conn) link { return newSQLiteLink(conn, e.path+"-wal") }

// afterCommit finds out that the file was replaced or removed: what is written to the old one is lost when it is closed.
func (e sqlite) afterCommit() error {
	info, err := os.Stat(e.path)
	if err == nil && !os.SameFile(info, e.file) {
		err = fmt.Errorf("%s is another file than the one that was opened", e.path)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLog, err)
	}
	return nil
}

// dataSource gives the driver's name for a file. Pragmas count per connection, so they stand in the name:
//   - foreign_keys, recursive_triggers: SQLite has both off unless told;
//   - journal_mode WAL, so that readers and the writer do not wait for each other;
//   - synchronous FULL: a commit returns when it is on the disk (REC-05); in WAL mode NORMAL would not wait for it;
//   - busy_timeout, in milliseconds, for another process that writes.
func dataSource(path string, extra ...string) string {
	pragmas := append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "foreign_keys(1)", "recursive_triggers(1)", "synchronous(FULL)",
		"trusted_schema(0)"}, extra...)
	query := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

func (e sqlite) openWrites() (*sql.DB, error) {
	return e.openPool(1, "journal_mode(WAL)", fmt.Sprintf("journal_size_limit(%d)", walLimit))
}

func (e sqlite) openReads() (*sql.DB, error) { return e.openPool(readers, "query_only(1)") }

func (e sqlite) openPool(connections int, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(e.path)
	if err != nil {
		return nil, err
	}
	pool, err := sql.Open("sqlite", dataSource(abs, pragmas...))
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return pool, nil
}

func (e sqlite) tables(ctx context.Context, pool *sql.DB) (all, ours int, err error) {
	const count = `SELECT count(*), coalesce(sum(name = 'goose_db_version'), 0) FROM sqlite_schema WHERE type = 'table'`
	err = pool.QueryRowContext(ctx, count).Scan(&all, &ours)
	return all, ours, err
}

// claim shares a lock on a file beside the database with every other gate that has it open. Who gets it for itself first knows that
// all gates before it are dead, whatever their leases say: the system gives a lock back with the process, however that ends.
func (e sqlite) claim(context.Context, *sql.DB) (alone bool, release func() error, err error) {
	f, err := os.OpenFile(e.path+".gate", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, nil, fmt.Errorf("the lock of the database: %w", err)
	}
	alone = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		return false, nil, errors.Join(fmt.Errorf("locking %s: %w", f.Name(), err), f.Close())
	}
	return alone, f.Close, nil
}

// checkFile finds what SQLite would say less clearly, or not until the first attempt, and makes the file when it is not
// there: readable by its owner alone, for it holds tokens.
func checkFile(path string, readOnly bool) error {
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("db: the directory %s of the database does not exist", dir)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && readOnly:
		return fmt.Errorf("db: there is no database at %s", path)
	case errors.Is(err, fs.ErrNotExist):
		return createFile(path, dir)
	case err != nil:
		return fmt.Errorf("db: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("db: %s is not a file", path)
	case readOnly:
		return nil
	case info.Mode().Perm()&0o222 == 0: // root could write to it all the same; whoever set this did not want that
		return fmt.Errorf("db: %s is read-only (mode %04o)", path, info.Mode().Perm())
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("db: the database cannot be written to: %w", err)
	}
	return f.Close()
}

// createFile makes the file and its entry in the directory durable: synchronous=FULL is about the file's content.
func createFile(path, dir string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("db: the database cannot be made: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return errors.Join(fmt.Errorf("db: %w", err), f.Close())
	}
	return errors.Join(d.Sync(), d.Close(), f.Close())
}
