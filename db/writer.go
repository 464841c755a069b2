package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// batchLimit is how many calls one transaction may carry.
const batchLimit = 64

// write is one call's statements. They stand or fall together, inside a transaction that other calls share.
type write struct {
	ctx  context.Context
	do   func(context.Context, *session) error
	done chan error
}

// writer is the only one that writes. Calls that wait while a transaction is being made durable go into the next one
// together, so that under load many share one wait for the disk (F4).
type writer struct {
	pool    *sql.DB
	log     *slog.Logger
	metrics *Metrics
	in      chan write
	// open belongs to run; nil before the first transaction and after a fault.
	open *session

	once sync.Once
	quit chan struct{}
	over chan struct{}
}

func newWriter(pool *sql.DB, log *slog.Logger, metrics *Metrics) *writer {
	w := &writer{pool: pool, log: log, metrics: metrics, in: make(chan write), quit: make(chan struct{}), over: make(chan struct{})}
	go w.run()
	return w
}

// submit returns when what do wrote is durable, or when nothing of it was written. Once the statements have begun, the
// end of ctx is not waited for: only the outcome tells what is in the record.
func (w *writer) submit(ctx context.Context, do func(context.Context, *session) error) error {
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
			w.forget(nil)
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

// commit carries out a batch and tells each call what became of it. A call that is refused takes only its own
// statements back; a fault of the transaction refuses the whole batch.
func (w *writer) commit(batch []write) {
	results := make([]error, len(batch))
	began := time.Now()
	err := w.transact(func(ctx context.Context, tx *session) error {
		for i, one := range batch {
			if results[i] = one.ctx.Err(); results[i] != nil {
				continue
			}
			if _, err := tx.exec(ctx, "SAVEPOINT one"); err != nil {
				return err
			}
			if results[i] = one.do(ctx, tx); results[i] != nil {
				// A full disk can end the whole transaction; then this fails, and with it the batch.
				if _, err := tx.exec(ctx, "ROLLBACK TO one"); err != nil {
					return fmt.Errorf("%w (after: %w)", err, results[i])
				}
			}
			if _, err := tx.exec(ctx, "RELEASE one"); err != nil {
				return err
			}
		}
		return nil
	})
	w.metrics.transaction(len(batch), err, time.Since(began))
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
func (w *writer) transact(do func(context.Context, *session) error) (err error) {
	ctx := context.Background() // a caller's end must not interrupt what others share
	if w.open == nil {
		conn, err := w.pool.Conn(ctx)
		if err != nil {
			return err
		}
		w.open = &session{conn: conn, statements: map[string]*sql.Stmt{}}
	}
	tx, err := w.open.conn.BeginTx(ctx, nil)
	if err != nil {
		w.forget(driver.ErrBadConn)
		return err
	}
	if err = do(ctx, w.open); err == nil {
		err = tx.Commit()
	} else {
		err = errors.Join(err, tx.Rollback())
	}
	if err != nil {
		w.forget(driver.ErrBadConn)
	}
	return err
}

// forget ends the session. With driver.ErrBadConn its connection is closed rather than used again.
func (w *writer) forget(reason error) {
	if w.open == nil {
		return
	}
	if err := w.open.close(reason); err != nil {
		w.log.Warn("closing the database connection", "error", err)
	}
	w.open = nil
}

// session is the writer's connection with the statements that it has prepared: to prepare them costs more than to run
// them, since each carries the guards' text. Inside transact all of it runs in the transaction.
type session struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
}

// prepare is for the queries of this package, which are constants: the map does not grow.
func (s *session) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := s.statements[query]; ok {
		return st, nil
	}
	st, err := s.conn.PrepareContext(ctx, query)
	if err == nil {
		s.statements[query] = st
	}
	return st, err
}

func (s *session) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	st, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

// scan reads the one row of a query; sql.ErrNoRows when there is none.
func (s *session) scan(ctx context.Context, query string, args []any, into ...any) error {
	st, err := s.prepare(ctx, query)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(into...)
}

func (s *session) close(reason error) error {
	var errs []error
	for _, st := range s.statements {
		errs = append(errs, st.Close())
	}
	if reason == nil {
		return errors.Join(append(errs, s.conn.Close())...)
	}
	if err := s.conn.Raw(func(any) error { return reason }); !errors.Is(err, reason) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
