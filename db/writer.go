package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	batch = due(batch)
	if len(batch) == 0 {
		return
	}
	results := make([]error, len(batch))
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), transactionTime) // a caller's end must not interrupt what others share
	defer cancel()
	err := w.transact(ctx, func(ctx context.Context, tx *session) error {
		for _, one := range batch {
			if err := one.do(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrLog) {
		again := w.transact(ctx, func(ctx context.Context, tx *session) error {
			tx.alone = true
			return eachAlone(ctx, tx, batch, results)
		})
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

// due leaves out the calls whose time ended while they waited: nothing of theirs was written, and no other call is tried once more
// because of them.
func due(batch []write) []write {
	return slices.DeleteFunc(batch, func(one write) bool {
		err := one.ctx.Err()
		if err != nil {
			one.done <- err
		}
		return err != nil
	})
}

// eachAlone carries out the calls of a batch, each in a savepoint, and gives what became of each.
func eachAlone(ctx context.Context, tx *session, batch []write, results []error) error {
	for i, one := range batch {
		if _, err := tx.exec(ctx, "SAVEPOINT one"); err != nil {
			return err
		}
		before := tx.mark()
		if results[i] = one.do(ctx, tx); results[i] == nil {
			results[i] = tx.flush(ctx)
		}
		if results[i] != nil {
			tx.back(before)
			tx.waiting = waiting{}
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
		w.open = &session{link: w.engine.link(conn)}
	}
	if err = w.open.begin(ctx, w.now(), &w.acknowledged); err == nil {
		err = do(ctx, w.open)
	}
	over := false
	if err == nil {
		over, err = w.open.finish(ctx)
	}
	if err != nil {
		w.open.tree = merkle.Tree{} // what it has beyond the table must not be taken for written
		if over {
			w.forget(driver.ErrBadConn)
		} else if undone := w.open.link.rollback(ctx); undone != nil || ctx.Err() != nil {
			w.forget(driver.ErrBadConn)
		}
		return err
	}
	if err = w.engine.afterCommit(); err != nil {
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
	if err := w.open.link.close(reason); err != nil {
		w.log.Warn("closing the database connection", "error", err)
	}
	w.open = nil
}

// session is the writer's connection. Inside transact all of it runs in the transaction, which holds the log's head.
type session struct {
	link link
	// continued: the log was found to be the one that this gate had committed to before.
	continued bool
	// alone tells that each call of the batch has a savepoint of its own, after one was refused.
	alone bool
	waiting
	appender
}

// tableOrder gives the tables' places in the order in which they are written.
var tableOrder = sync.OnceValue(func() map[string]int {
	order := map[string]int{}
	for i, name := range append([]string{"gates"}, tableNames()...) {
		order[name] = i
	}
	return order
})

// waiting are rows to be written: those of all calls of a batch together, one table after the other. Each of the tables is written after
// those that its guards ask.
type waiting struct {
	tables [][]row
	// sets are the digests of DNS records that are stored, or wait or were written in this transaction.
	sets map[string]bool
}

// insert notes rows of one table. They are written before anything else that a call does in the database, and at the end.
func (s *session) insert(rows ...row) error {
	order := tableOrder()
	if s.tables == nil {
		s.tables = make([][]row, len(order))
	}
	i, ok := order[rows[0].table]
	if !ok {
		return fmt.Errorf("there is no table %q to insert into", rows[0].table)
	}
	s.tables[i] = append(s.tables[i], rows...)
	return nil
}

// take gives the rows that wait, which then wait no more.
func (w *waiting) take() []tableRows {
	var all []tableRows
	for i, rows := range w.tables {
		if len(rows) == 0 {
			continue
		}
		t := tableRows{table: rows[0].table, columns: rows[0].columns}
		for _, r := range rows {
			t.values = append(t.values, r.values)
		}
		all = append(all, t)
		clear(rows)
		w.tables[i] = rows[:0]
	}
	return all
}

func (s *session) flush(ctx context.Context) error { return s.link.insert(ctx, s.take()) }

func (s *session) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	return s.link.exec(ctx, query, args...)
}

// scan reads the one row of a query; sql.ErrNoRows when there is none.
func (s *session) scan(ctx context.Context, query string, args []any, into ...any) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	return s.link.scan(ctx, query, args, into...)
}
