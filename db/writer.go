package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// batchLimit is how many calls one transaction may carry.
const batchLimit = 64

// write is one call's statements. They stand or fall together, inside a transaction that other calls share.
type write struct {
	ctx  context.Context
	do   func(context.Context, *sql.Tx) error
	done chan error
}

// writer is the only one that writes. Calls that wait while a transaction is being made durable go into the next one
// together, so that under load many share one wait for the disk (F4).
type writer struct {
	pool *sql.DB
	log  *slog.Logger
	in   chan write

	once sync.Once
	quit chan struct{}
	over chan struct{}
}

func newWriter(pool *sql.DB, log *slog.Logger) *writer {
	w := &writer{pool: pool, log: log, in: make(chan write), quit: make(chan struct{}), over: make(chan struct{})}
	go w.run()
	return w
}

// submit returns when what do wrote is durable, or when nothing of it was written. Once the statements have begun, the
// end of ctx is not waited for: only the outcome tells what is in the record.
func (w *writer) submit(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	one := write{ctx: ctx, do: do, done: make(chan error, 1)}
	select {
	case <-w.quit:
		return ErrClosed
	default:
	}
	select {
	case w.in <- one:
		return <-one.done
	case <-ctx.Done():
		return ctx.Err()
	case <-w.quit:
		return ErrClosed
	}
}

func (w *writer) close() error {
	w.once.Do(func() { close(w.quit) })
	<-w.over
	return w.pool.Close()
}

func (w *writer) run() {
	defer close(w.over)
	for {
		select {
		case <-w.quit:
			return
		case first := <-w.in:
			w.commit(w.gather(first))
		}
	}
}

// gather takes the calls that are waiting already; it does not wait for more.
func (w *writer) gather(first write) []write {
	batch := []write{first}
	for len(batch) < batchLimit {
		select {
		case next := <-w.in:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// commit carries out a batch and tells each call what became of it. A call that is refused takes only its own statements
// back; a fault of the transaction refuses the whole batch.
func (w *writer) commit(batch []write) {
	results := make([]error, len(batch))
	err := w.transact(func(ctx context.Context, tx *sql.Tx) error {
		for i, one := range batch {
			if results[i] = one.ctx.Err(); results[i] != nil {
				continue
			}
			if _, err := tx.ExecContext(ctx, "SAVEPOINT one"); err != nil {
				return err
			}
			if results[i] = one.do(ctx, tx); results[i] != nil {
				// A full disk can end the whole transaction; then this fails, and with it the batch.
				if _, err := tx.ExecContext(ctx, "ROLLBACK TO one"); err != nil {
					return fmt.Errorf("%w (after: %w)", err, results[i])
				}
			}
			if _, err := tx.ExecContext(ctx, "RELEASE one"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.log.Error("a transaction was not committed", "error", err, "calls", len(batch))
	}
	for i, one := range batch {
		if results[i] == nil {
			results[i] = err
		}
		one.done <- results[i]
	}
}

// transact runs do in one transaction on the one connection. After a fault the connection is closed, which takes back
// whatever it still held: a commit that failed may leave its transaction open.
func (w *writer) transact(do func(context.Context, *sql.Tx) error) error {
	ctx := context.Background() // a caller's end must not interrupt what others share
	conn, err := w.pool.Conn(ctx)
	if err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	if err = do(ctx, tx); err == nil {
		err = tx.Commit()
	} else {
		err = errors.Join(err, tx.Rollback())
	}
	if err != nil {
		if bad := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(bad, driver.ErrBadConn) {
			err = errors.Join(err, bad)
		}
		return err // Raw has closed the connection
	}
	return conn.Close()
}
