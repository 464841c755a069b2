package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresLink sends what needs no answer in between together: a transaction of any size is two round trips, one that takes the log's
// head, and one that writes and commits. pgx keeps prepared statements by their text.
type postgresLink struct {
	conn  *sql.Conn
	texts map[string]string
}

func newPostgresLink(conn *sql.Conn) link { return &postgresLink{conn, map[string]string{}} }

func (l *postgresLink) raw(do func(*pgx.Conn) error) error {
	return l.conn.Raw(func(c any) error { return do(c.(*stdlib.Conn).Conn()) })
}

func (l *postgresLink) begin(ctx context.Context, query string, into ...any) error {
	return l.raw(func(c *pgx.Conn) error {
		batch := &pgx.Batch{}
		batch.Queue("BEGIN")
		batch.Queue(query).QueryRow(func(row pgx.Row) error { return row.Scan(into...) })
		return c.SendBatch(ctx, batch).Close()
	})
}

func (l *postgresLink) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	var tag pgconn.CommandTag
	err := l.raw(func(c *pgx.Conn) (err error) {
		tag, err = c.Exec(ctx, query, args...)
		return err
	})
	return driver.RowsAffected(tag.RowsAffected()), err
}

func (l *postgresLink) scan(ctx context.Context, query string, args []any, into ...any) error {
	return l.raw(func(c *pgx.Conn) error { return c.QueryRow(ctx, query, args...).Scan(into...) })
}

func (l *postgresLink) insert(ctx context.Context, tables []tableRows) error {
	if len(tables) == 0 {
		return nil
	}
	return l.raw(func(c *pgx.Conn) error {
		batch := &pgx.Batch{}
		l.queue(batch, tables)
		return c.SendBatch(ctx, batch).Close()
	})
}

// queue has one statement for each table, whose arguments are columns.
func (l *postgresLink) queue(batch *pgx.Batch, tables []tableRows) {
	for _, t := range tables {
		args, types := make([]any, len(t.columns)), make([]string, len(t.columns))
		for i := range t.columns {
			args[i], types[i] = columnArray(t.values, i)
		}
		text, ok := l.texts[t.table]
		if !ok {
			for i := range types {
				types[i] = fmt.Sprintf("$%d::%s[]", i+1, types[i])
			}
			text = fmt.Sprintf("INSERT INTO %s (%s) SELECT * FROM unnest(%s)", t.table, strings.Join(t.columns, ", "), strings.Join(types, ", "))
			l.texts[t.table] = text
		}
		batch.Queue(text, args...)
	}
}

// columnArray gives a column of rows as an array, with the type of its elements. The type of a column's values is always the same; a
// text may be NULL.
func columnArray(values [][]any, i int) (array any, of string) {
	switch values[0][i].(type) {
	case int64:
		column := make([]int64, len(values))
		for j, v := range values {
			column[j] = v[i].(int64)
		}
		return column, "bigint"
	case []byte:
		column := make([][]byte, len(values))
		for j, v := range values {
			column[j] = v[i].([]byte)
		}
		return column, "bytea"
	}
	column := make([]*string, len(values))
	for j, v := range values {
		if text, ok := v[i].(string); ok {
			column[j] = &text
		}
	}
	return column, "text"
}

func (l *postgresLink) finish(ctx context.Context, tables []tableRows, query string, args ...any) (over bool, err error) {
	err = l.raw(func(c *pgx.Conn) error {
		batch := &pgx.Batch{}
		l.queue(batch, tables)
		if query != "" {
			batch.Queue(query, args...)
		}
		before := batch.Len()
		batch.Queue("COMMIT")
		results := c.SendBatch(ctx, batch)
		for range before {
			if _, err := results.Exec(); err != nil {
				return errors.Join(err, ignore(results.Close(), err))
			}
		}
		over = true
		tag, err := results.Exec()
		if err == nil && tag.String() != "COMMIT" { // the server answers ROLLBACK to a COMMIT of a transaction that failed
			err = fmt.Errorf("the server answered the commit with %q", tag)
		}
		return errors.Join(err, ignore(results.Close(), err))
	})
	return over, err
}

// ignore leaves out an error that says again what another one says.
func ignore(err, said error) error {
	if said != nil {
		return nil
	}
	return err
}

func (l *postgresLink) rollback(ctx context.Context) error {
	return l.raw(func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "ROLLBACK")
		return err
	})
}

func (l *postgresLink) close(reason error) error { return closeConn(l.conn, reason) }
