package db

import (
	"context"
	"database/sql"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// engine is what differs between SQLite and Postgres. The queries do not.
type engine interface {
	// String names the database for errors and logs, without passwords.
	String() string
	dialect() goose.Dialect
	// migrations are the schema's, as goose runs them.
	migrations() fs.FS
	// migrates tells that the gate brings the schema up to date itself. Elsewhere the tables' owner does, who is not the gate.
	migrates() bool
	// openWrites gives a pool of one connection, openReads one of several that cannot write.
	openWrites() (*sql.DB, error)
	openReads() (*sql.DB, error)
	// tables counts the tables of the database, and those named goose_db_version among them.
	tables(ctx context.Context, pool *sql.DB) (all, ours int, err error)
	// claim makes sure that this gate may write here, and refuses one that could change records. alone tells that no other gate was
	// running; release gives back what was taken.
	claim(ctx context.Context, writes *sql.DB) (alone bool, release func() error, err error)
	// unguarded finds guards of the records that are not as they have to be.
	unguarded(ctx context.Context, pool *sql.DB) ([]flaw, error)
	// link is how the writer uses its connection.
	link(conn *sql.Conn) link
	// afterCommit tells why a commit that returned does not count; nil where it does.
	afterCommit() error
	// conflict tells whether a transaction failed only because of others beside it, and may be tried again.
	conflict(err error) bool
	// refused tells whether a constraint or a guard refused a row.
	refused(err error) bool
}
