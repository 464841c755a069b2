package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"strings"
	"time"
)

// link is the connection that the writer writes on, in the way that is cheapest on an engine.
type link interface {
	// begin begins a transaction and asks a first query in it, for one row that stays locked until its end: whoever else wants it waits.
	begin(ctx context.Context, query string, into ...any) error
	exec(ctx context.Context, query string, args ...any) (sql.Result, error)
	// scan reads the one row of a query; sql.ErrNoRows when there is none.
	scan(ctx context.Context, query string, args []any, into ...any) error
	// insert writes rows, one table after the other.
	insert(ctx context.Context, tables []tableRows) error
	// finish writes rows, carries out a last statement unless it is empty, and commits. After an error of the commit itself, which
	// over tells, nobody knows what is in the database.
	finish(ctx context.Context, tables []tableRows, query string, args ...any) (over bool, err error)
	// rollback is an error where there is no transaction, or none any more.
	rollback(ctx context.Context) error
	// close gives the connection back; with a reason it is closed rather than used again.
	close(reason error) error
}

// tableRows are rows of one table, all with the same columns.
type tableRows struct {
	table   string
	columns []string
	values  [][]any
}

// closeConn gives a connection back to its pool, or with a reason closes it.
func closeConn(conn *sql.Conn, reason error) error {
	if reason == nil {
		return conn.Close()
	}
	if err := conn.Raw(func(any) error { return reason }); !errors.Is(err, reason) {
		return err
	}
	return nil
}

// sqliteLink keeps the statements that it has prepared: to prepare them costs more than to run them, since each carries the guards' text.
type sqliteLink struct {
	conn *sql.Conn
	// wal is the file of what was committed and is not yet in the database's own; longest is how long it may be before it is begun anew.
	wal        string
	longest    int64
	tx         *sql.Tx
	statements map[string]*sql.Stmt
	inserts    map[insertKey]*sql.Stmt
	args       []any
}

// insertKey names the statement that inserts so many rows.
type insertKey struct {
	table string
	rows  int
}

func newSQLiteLink(conn *sql.Conn, wal string) link {
	return &sqliteLink{conn: conn, wal: wal, longest: walLimit, statements: map[string]*sql.Stmt{}, inserts: map[insertKey]*sql.Stmt{}}
}

// begin: a transaction has SQLite's one write lock from its beginning (dataSource).
func (l *sqliteLink) begin(ctx context.Context, query string, into ...any) (err error) {
	if l.tx, err = l.conn.BeginTx(ctx, nil); err != nil {
		l.tx = nil
		return err
	}
	return l.scan(ctx, query, nil, into...)
}

// prepare is for the queries of this package, which are few: the map does not grow.
func (l *sqliteLink) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := l.statements[query]; ok {
		return st, nil
	}
	st, err := l.conn.PrepareContext(ctx, query)
	if err == nil {
		l.statements[query] = st
	}
	return st, err
}

func (l *sqliteLink) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	st, err := l.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

func (l *sqliteLink) scan(ctx context.Context, query string, args []any, into ...any) error {
	st, err := l.prepare(ctx, query)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(into...)
}

// maxInsert is how many rows one statement inserts at most. Others have 1, 2, 4 and so on, so that there are few of them.
const maxInsert = 32

func (l *sqliteLink) insert(ctx context.Context, tables []tableRows) error {
	for _, t := range tables {
		for values := t.values; len(values) > 0; {
			n := min(maxInsert, 1<<(bits.Len(uint(len(values)))-1))
			if err := l.insertSome(ctx, t, values[:n]); err != nil {
				return err
			}
			values = values[n:]
		}
	}
	return nil
}

func (l *sqliteLink) insertSome(ctx context.Context, t tableRows, values [][]any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	key := insertKey{t.table, len(values)}
	st, ok := l.inserts[key]
	if !ok {
		var err error
		if st, err = l.conn.PrepareContext(ctx, insertText(t.table, t.columns, len(values))); err != nil {
			return err
		}
		l.inserts[key] = st
	}
	l.args = l.args[:0]
	for _, v := range values {
		l.args = append(l.args, v...)
	}
	// Nothing keeps an insertion waiting, and the driver starts a goroutine for each statement that could be interrupted.
	_, err := st.ExecContext(context.WithoutCancel(ctx), l.args...)
	clear(l.args)
	return err
}

func insertText(table string, columns []string, rows int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", table, strings.Join(columns, ", "))
	for i := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(?" + strings.Repeat(", ?", len(columns)-1) + ")")
	}
	return b.String()
}

func (l *sqliteLink) finish(ctx context.Context, tables []tableRows, query string, args ...any) (over bool, err error) {
	if err := l.insert(ctx, tables); err != nil {
		return false, err
	}
	if query != "" {
		if _, err := l.exec(ctx, query, args...); err != nil {
			return false, err
		}
	}
	tx := l.tx
	l.tx = nil
	if err := tx.Commit(); err != nil {
		return true, err
	}
	l.shorten(context.WithoutCancel(ctx)) // its waiting is bounded, and must not end between the two time-outs
	return true, nil
}

const (
	// walLimit is how long the WAL may stay, in octets.
	walLimit = 64 << 20
	// busyTimeout is how long another process's transaction is waited for, and readerPatience readers, so that the WAL can be begun anew.
	busyTimeout    = 5 * time.Second
	readerPatience = 250 * time.Millisecond
)

// shorten begins the WAL anew where it has become long: SQLite does so by itself only if it meets no reader, and where one begins before another
// ends, it never does. A reader that takes its time, as an auditor does, is asked for again when the WAL has doubled. An error is nobody's:
// what was committed is durable.
func (l *sqliteLink) shorten(ctx context.Context) {
	info, err := os.Stat(l.wal)
	if err != nil || info.Size() <= l.longest {
		return
	}
	l.longest = 2 * info.Size()
	if _, err := l.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", readerPatience.Milliseconds())); err != nil {
		return
	}
	var busy, frames, copied int
	err = l.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &copied)
	if err == nil && busy == 0 {
		l.longest = walLimit
	}
	_, _ = l.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()))
}

func (l *sqliteLink) rollback(context.Context) error {
	if l.tx == nil {
		return driver.ErrBadConn
	}
	tx := l.tx
	l.tx = nil
	return tx.Rollback()
}

func (l *sqliteLink) close(reason error) error {
	var errs []error
	for _, st := range l.statements {
		errs = append(errs, st.Close())
	}
	for _, st := range l.inserts {
		errs = append(errs, st.Close())
	}
	return errors.Join(append(errs, closeConn(l.conn, reason))...)
}
