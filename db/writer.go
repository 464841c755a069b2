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

	"github.com/quorate/quorate/audit/merkle"
)

const (
	// batchLimit is how many calls one transaction may carry.
	batchLimit = 64
	// transactionTime bounds a transaction, its repetitions included: what a commit waits for may never come.
	transactionTime = 10 * time.Second
	// tries is how often a transaction is tried that fails only because of others beside it.
	tries = 5
)

// write is one call's statements. They stand or fall together, inside a transaction that other calls share. do may run several
// times, and only what the last run wrote is kept.
type write struct {
	ctx  context.Context
	do   func(context.Context, *session) error
	done chan error
}

// writer is the only one of this process that writes. Calls that wait while a transaction is being made durable go into the next
// one together, so that under load many share one wait for the disk (F4).
type writer struct {
	pool    *sql.DB
	engine  engine
	log     *slog.Logger
	metrics *Metrics
	now     func() time.Time
	in      chan write
	// open belongs to run; nil before the first transaction and after a fault.
	open *session
	// acknowledged is the log at the end of the last transaction that was committed.
	acknowledged merkle.Tree

	once sync.Once
	quit chan struct{}
	over chan struct{}
}

func newWriter(pool *sql.DB, e engine, log *slog.Logger, metrics *Metrics, now func() time.Time) *writer {
	w := &writer{pool: pool, engine: e, log: log, metrics: metrics, now: now, in: make(chan write), quit: make(chan struct{}),
		over: make(chan struct{})}
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
	if w.closed() {
		return ErrClosed
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

// closed tells that close was called.
func (w *writer) closed() bool {
	select {
	case <-w.quit:
		return true
	default:
		return false
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

// commit carries out a batch and tells each call what became of it. Calls are seldom refused, so that they are first put
// together as they are; if one is, or only the database, they are tried once more with a savepoint for each, so that a refusal takes
// only its own statements back. A fault of the transaction refuses the whole batch.
func (w *writer) commit(batch []write) {
	results := make([]error, len(batch))
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), transactionTime) // a caller's end must not interrupt what others share
	defer cancel()
	err := w.transact(ctx, func(ctx context.Context, tx *session) error {
		for _, one := range batch {
			if err := one.ctx.Err(); err != nil {
				return err
			}
			if err := one.do(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrLog) {
		again := w.transact(ctx, func(ctx context.Context, tx *session) error { return eachAlone(ctx, tx, batch, results) })
		if again != nil && ctx.Err() != nil { // the time was over, and the first error says what took it
			again = fmt.Errorf("%w (after: %w)", again, err)
		}
		err = again
	}
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

// eachAlone carries out the calls of a batch, each in a savepoint, and gives what became of each.
func eachAlone(ctx context.Context, tx *session, batch []write, results []error) error {
	for i, one := range batch {
		if results[i] = one.ctx.Err(); results[i] != nil {
			continue
		}
		if _, err := tx.exec(ctx, "SAVEPOINT one"); err != nil {
			return err
		}
		before := tx.mark()
		if results[i] = one.do(ctx, tx); results[i] != nil {
			tx.back(before)
			// A full disk can end the whole transaction; then this fails, and with it the batch.
			if _, err := tx.exec(ctx, "ROLLBACK TO SAVEPOINT one"); err != nil {
				return fmt.Errorf("%w (after: %w)", err, results[i])
			}
		}
		if _, err := tx.exec(ctx, "RELEASE SAVEPOINT one"); err != nil {
			return err
		}
	}
	return nil
}

// transact runs do in one transaction, again where it failed only because of others beside it.
func (w *writer) transact(ctx context.Context, do func(context.Context, *session) error) error {
	var before error
	for try := 1; ; try++ {
		err := w.attempt(ctx, do)
		if err != nil && before != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w (after: %w)", err, before)
		}
		before = err
		if err == nil || try == tries || ctx.Err() != nil || !w.engine.conflict(err) {
			return err
		}
		w.log.Debug("a transaction met another one and is tried again", "error", err, "try", try)
	}
}

// attempt runs do in one transaction on the one connection. After a fault the connection is closed, which takes back
// whatever it still held: a commit that failed may leave its transaction open.
func (w *writer) attempt(ctx context.Context, do func(context.Context, *session) error) (err error) {
	if w.open == nil {
		conn, err := w.pool.Conn(ctx)
		if err != nil {
			return err
		}
		w.open = &session{conn: conn, prepares: w.engine.prepares(), statements: map[string]*sql.Stmt{}}
	}
	tx, err := w.open.conn.BeginTx(ctx, nil)
	if err != nil {
		w.forget(driver.ErrBadConn)
		return err
	}
	w.open.tx = tx
	if err = w.open.begin(ctx, w.now(), &w.acknowledged); err == nil {
		err = do(ctx, w.open)
	}
	if err == nil {
		err = w.open.finish(ctx)
	}
	if err != nil {
		w.open.tree = merkle.Tree{} // what it has beyond the table must not be taken for written
		if undone := tx.Rollback(); undone != nil || ctx.Err() != nil {
			w.forget(driver.ErrBadConn)
		}
		return err
	}
	if err = tx.Commit(); err == nil {
		err = w.engine.afterCommit()
	}
	if err != nil {
		w.forget(driver.ErrBadConn)
		return err
	}
	w.acknowledged = w.open.tree.Clone()
	return nil
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
// them, since each carries the guards' text. Inside transact all of it runs in the transaction, which holds the log's head.
type session struct {
	conn *sql.Conn
	// tx is the transaction that goes on.
	tx *sql.Tx
	// prepares: the driver prepares. Then statements run on tx: one that runs on conn beside it and finds the connection broken waits
	// until tx is over before it says so (database/sql), which is until the time is up.
	prepares   bool
	statements map[string]*sql.Stmt
	// continued: the log was found to be the one that this gate had committed to before.
	continued bool
	appender
}

// prepare is for the queries of this package, which are few: the map does not grow.
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
	if s.prepares {
		return s.tx.ExecContext(ctx, query, args...)
	}
	st, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

// scan reads the one row of a query; sql.ErrNoRows when there is none.
func (s *session) scan(ctx context.Context, query string, args []any, into ...any) error {
	if s.prepares {
		return s.tx.QueryRowContext(ctx, query, args...).Scan(into...)
	}
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
