package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Roles of the records on Postgres. They are groups: an operator grants one of them to a user who may log in.
const (
	// GateRole appends records and reads them; it can neither change nor remove one.
	GateRole = "quorate_gate"
	// AuditorRole reads.
	AuditorRole = "quorate_auditor"
	// RetentionRole may remove what a removal on record covers.
	RetentionRole = "quorate_retention"
)

// Time-outs of one statement, and of waiting for another gate's commit. A statement beyond them is an error, and the answer no.
const (
	statementTimeout = 8 * time.Second
	lockTimeout      = 5 * time.Second
)

// postgres is a database on a server.
type postgres struct {
	config *pgx.ConnConfig
	// owner tells that the connection is the tables' owner's, for migrating; retention that it is to remove what is due.
	owner, retention bool
	// unreplicated is set by a server that gave up waiting for its synchronous standby.
	unreplicated *atomic.Bool
}

// parsePostgres reads a connection URL or keywords (libpq's form). password, if not empty, takes the place of one in it.
func parsePostgres(dsn, password string) (postgres, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil { // pgx leaves the password out of its error
		return postgres{}, fmt.Errorf("db: the address of the database: %w", err)
	}
	if password != "" {
		c.Password = password
	}
	return postgres{config: c, unreplicated: new(atomic.Bool)}, nil
}

func (e postgres) String() string {
	return fmt.Sprintf("postgres database %s at %s:%d as %s", e.config.Database, e.config.Host, e.config.Port, e.config.User)
}

func (e postgres) dialect() goose.Dialect { return goose.DialectPostgres }
func (e postgres) migrations() fs.FS      { return migrationFiles(postgresGuards(), strings.NewReplacer()) }
func (e postgres) migrates() bool         { return e.owner }

// conflict: serialization_failure, deadlock_detected (class 40), lock_not_available.
func (e postgres) conflict(err error) bool {
	var p *pgconn.PgError
	return errors.As(err, &p) && (strings.HasPrefix(p.Code, "40") && p.Code != "40002" && p.Code != "40003" || p.Code == "55P03")
}

// refused: integrity constraint violation, which guards raise too.
func (e postgres) refused(err error) bool {
	var p *pgconn.PgError
	return errors.As(err, &p) && strings.HasPrefix(p.Code, "23")
}

// openWrites: synchronous_commit is asked for whatever the server's default is (REC-05), so that a commit returns when it is on
// the disk, and on the synchronous standby's where there is one. A server with "remote_apply" keeps that.
func (e postgres) openWrites() (*sql.DB, error) {
	c := e.config.Copy()
	c.RuntimeParams["application_name"] = "quorate gate"
	c.RuntimeParams["statement_timeout"] = fmt.Sprint(statementTimeout.Milliseconds())
	c.RuntimeParams["lock_timeout"] = fmt.Sprint(lockTimeout.Milliseconds())
	c.RuntimeParams["idle_in_transaction_session_timeout"] = fmt.Sprint(statementTimeout.Milliseconds())
	c.RuntimeParams["synchronous_commit"] = "on"
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Routine == "SyncRepWaitForLSN" { // its text depends on lc_messages, and its code is that of any warning
			e.unreplicated.Store(true)
		}
	}
	return e.openPool(c, 1), nil
}

func (e postgres) link(conn *sql.Conn) link { return newPostgresLink(conn) }

// afterCommit: when somebody cancels a commit that waits for the synchronous standby (pg_cancel_backend), the server answers that it
// is committed, with a warning; a standby that is promoted then does not have it.
func (e postgres) afterCommit() error {
	if e.unreplicated.Swap(false) {
		return errors.New("the server did not wait for its synchronous standby: the commit may be lost with the server (REC-05)")
	}
	return nil
}

// openReads: that a session only reads is set when it is connected. Before, "target_session_attrs=read-write" in the address, which
// finds the primary among several servers, would take any of them for a standby.
func (e postgres) openReads() (*sql.DB, error) {
	c := e.config.Copy()
	c.RuntimeParams["application_name"] = "quorate reader"
	// Reads are seldom: a connection that has idled is asked whether it still stands, before a read fails because the server is another one now.
	idled := stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool { return p.IdleDuration > 100*time.Millisecond })
	return e.openPool(c, readers, idled, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET default_transaction_read_only = on")
		return err
	})), nil
}

func (e postgres) openPool(c *pgx.ConnConfig, connections int, options ...stdlib.OptionOpenDB) *sql.DB {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	pool := stdlib.OpenDB(*c, options...)
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return pool
}

func (e postgres) tables(ctx context.Context, pool *sql.DB) (all, ours int, err error) {
	const count = `SELECT count(*), count(*) FILTER (WHERE tablename = 'goose_db_version') FROM pg_tables WHERE schemaname = current_schema()`
	err = pool.QueryRowContext(ctx, count).Scan(&all, &ours)
	return all, ours, err
}

// claim refuses a server that forgets commits, and a user who could change or remove records: whoever runs the gate must not be
// able to (REC-06).
func (e postgres) claim(ctx context.Context, writes *sql.DB) (alone bool, release func() error, err error) {
	var fsync, commit string
	if err := writes.QueryRowContext(ctx, `SELECT current_setting('fsync'), current_setting('synchronous_commit')`).Scan(&fsync, &commit); err != nil {
		return false, nil, err
	}
	if fsync != "on" || commit == "off" {
		return false, nil, fmt.Errorf("the server has fsync=%s and synchronous_commit=%s: a commit would be lost in a crash (REC-05)", fsync, commit)
	}
	for _, table := range tableNames() {
		var may sql.NullString
		const held = `SELECT string_agg(p, ', ') FROM unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS p
			WHERE has_table_privilege(current_user, $1, p) AND NOT (p = 'DELETE' AND $2)`
		if err := writes.QueryRowContext(ctx, held, table, e.retention).Scan(&may); err != nil {
			return false, nil, err
		}
		if may.Valid {
			return false, nil, fmt.Errorf("the user %s has %s on %s: a gate must not be able to change or remove records (REC-06); grant it %s and nothing else",
				e.config.User, may.String, table, GateRole)
		}
	}
	return false, func() error { return nil }, nil
}

// grants makes the roles and gives them their rights. Making a role needs CREATEROLE; those that exist are left as they are.
func (e postgres) grants(ctx context.Context, pool *sql.DB) error {
	records := strings.Join(tableNames(), ", ")
	var removable []string
	for _, t := range recordTables() {
		if t.removable != "" {
			removable = append(removable, t.name)
		}
	}
	var statements []string
	for _, role := range []string{GateRole, AuditorRole, RetentionRole} {
		statements = append(statements, fmt.Sprintf(`DO $$ BEGIN
			IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '%[1]s') THEN CREATE ROLE %[1]s NOLOGIN; END IF; END $$`, role),
			fmt.Sprintf(`GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s`, "public", role))
	}
	statements = append(statements,
		`REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC`,
		fmt.Sprintf(`GRANT INSERT ON %s, gates TO %s, %s`, records, GateRole, RetentionRole),
		fmt.Sprintf(`GRANT UPDATE ON log_head TO %s, %s`, GateRole, RetentionRole),
		fmt.Sprintf(`GRANT UPDATE (lease_until, settled) ON gates TO %s, %s`, GateRole, RetentionRole),
		fmt.Sprintf(`GRANT DELETE ON %s TO %s`, strings.Join(removable, ", "), RetentionRole))
	for _, s := range statements {
		if _, err := pool.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("granting: %w", err)
		}
	}
	return nil
}
