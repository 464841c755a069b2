package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/mpic"
)

// DefaultLease is how long a gate that has fallen silent keeps its open attempts to itself.
const DefaultLease = 30 * time.Second

// lease is a gate's place in the table of gates. It renews itself three times within its length. Where the lease of another gate
// is over, this one closes the attempts that it left open (F3): nothing was granted for them, and nothing can be any more.
type lease struct {
	store    *Store
	length   time.Duration
	software string
	host     string
	// told is Config's Abandoned.
	told func(int64, mpic.Evidence, mpic.Decision)
	// id is this gate's name in the table. A gate whose attempts another one has closed takes a new one.
	id atomic.Pointer[string]
	// alone tells that no other gate was running when this one began.
	alone bool
	// unlock gives back what the engine claimed.
	unlock   func() error
	once     sync.Once
	released sync.Once
	quit     chan struct{}
	over     chan struct{}
	began    bool
	// left are attempts of dead gates that cannot be closed, of which the log was told.
	left map[int64]bool
}

func newLease(s *Store, c Config, unlock func() error) *lease {
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &lease{store: s, length: c.Lease, software: c.Software, host: host, told: c.Abandoned, unlock: unlock, quit: make(chan struct{}), over: make(chan struct{})}
}

// gate is the lease's name.
func (l *lease) gate() string { return *l.id.Load() }

// enter adds the gate to the table.
func (l *lease) enter(ctx context.Context) error {
	id, now := newSalt(), l.store.now()
	err := l.store.submit(ctx, func(ctx context.Context, tx *session) error {
		return tx.insert(newRow("gates", "id", id, "software", column(l.software), "host", column(l.host), "started_at", formatTime(now),
			"lease_until", formatTime(now.Add(l.length)), "settled", int64(0)))
	})
	if err == nil {
		l.id.Store(&id)
	}
	return err
}

// begin enters the gate, settles what dead gates left, and goes on doing so. Where this gate has the database to itself, all
// others are dead whatever their leases say.
func (l *lease) begin(ctx context.Context) error {
	if err := l.enter(ctx); err != nil {
		return fmt.Errorf("entering the gate: %w", err)
	}
	l.began = true
	limit := l.store.now()
	if l.alone {
		limit = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) // after every lease
	}
	err := l.settle(ctx, limit)
	go l.run()
	return err
}

func (l *lease) run() {
	defer close(l.over)
	ticker := time.NewTicker(l.length / 3)
	defer ticker.Stop()
	for {
		select {
		case <-l.quit:
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), l.length)
		if err := errors.Join(l.renew(ctx, l.store.now().Add(l.length)), l.settle(ctx, l.store.now())); err != nil {
			l.store.log.Error("the gate's lease could not be renewed, or a dead gate's attempts not closed", "error", err)
		}
		cancel()
	}
}

// renew lengthens the lease. Where another gate took this one for dead and closed its attempts, it begins anew.
func (l *lease) renew(ctx context.Context, until time.Time) error {
	var lost bool
	err := l.store.submit(ctx, func(ctx context.Context, tx *session) error {
		out, err := tx.exec(ctx, `UPDATE gates SET lease_until = $1 WHERE id = $2 AND settled = 0`, formatTime(until), l.gate())
		if err != nil {
			return err
		}
		n, err := out.RowsAffected()
		lost = n == 0
		return err
	})
	if err == nil && lost {
		l.store.log.Error("this gate was taken for dead, and its open attempts were closed by another one", "gate", l.gate())
		return l.enter(ctx)
	}
	return err
}

// settle closes the open attempts of gates whose lease ended before a limit.
func (l *lease) settle(ctx context.Context, limit time.Time) error {
	gates, err := l.dead(ctx, limit)
	if err != nil {
		return err
	}
	for _, gate := range gates {
		closed, err := l.abandon(ctx, gate)
		if err != nil {
			return fmt.Errorf("closing the attempts of the gate %s: %w", gate, err)
		}
		err = l.store.submit(ctx, func(ctx context.Context, tx *session) error {
			// It may have come back meanwhile, and opened another one: then its attempts are looked for again.
			_, err := tx.exec(ctx, `UPDATE gates SET settled = 1 WHERE id = $1 AND lease_until < $2 AND NOT EXISTS
				(SELECT 1 FROM attempts AS a WHERE a.gate = $1 AND NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.attempt = a.number))`,
				gate, formatTime(limit))
			return err
		})
		if err != nil {
			return err
		}
		if closed > 0 {
			l.store.log.Warn("attempts that a dead gate had left open were closed as refused", "gate", gate, "attempts", closed)
		}
	}
	return nil
}

func (l *lease) dead(ctx context.Context, limit time.Time) ([]string, error) {
	rows, err := l.store.reads.QueryContext(ctx, `SELECT id FROM gates WHERE settled = 0 AND lease_until < $1 AND id <> $2 ORDER BY started_at`,
		formatTime(limit), l.gate())
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r *sql.Rows) (id string, err error) { return id, r.Scan(&id) })
}

// collect reads all rows of a query.
func collect[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) (all []T, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// abandon closes what a dead gate left open. An attempt that cannot be read or decided upon stays open, which grants nothing, and keeps no other from
// being closed, nor a gate from beginning.
func (l *lease) abandon(ctx context.Context, gate string) (closed int, err error) {
	for past := int64(0); ; {
		rows, err := l.store.reads.QueryContext(ctx, `SELECT a.number FROM attempts AS a LEFT JOIN decisions AS d ON d.attempt = a.number
			WHERE a.gate = $1 AND a.number > $2 AND d.attempt IS NULL ORDER BY a.number LIMIT 100`, gate, past)
		if err != nil {
			return closed, err
		}
		numbers, err := collect(rows, func(r *sql.Rows) (n int64, err error) { return n, r.Scan(&n) })
		if err != nil || len(numbers) == 0 {
			return closed, err
		}
		for _, past = range numbers {
			err := l.abandonOne(ctx, past)
			switch {
			case errors.Is(err, ErrDamaged), errors.Is(err, ErrMismatch), l.store.engine.refused(err):
				l.leave(gate, past, err)
			case err != nil && !errors.Is(err, ErrDecided): // another gate may be at it too
				return closed, fmt.Errorf("record %d: %w", past, err)
			default:
				closed++
			}
		}
	}
}

func (l *lease) abandonOne(ctx context.Context, number int64) error {
	e, err := l.store.abandoned(ctx, number)
	if err != nil {
		return err
	}
	d := mpic.Judge(e)
	c, err := prepareClose(e, d)
	if err == nil {
		err = l.store.write(ctx, c)
	}
	if err == nil && l.told != nil {
		l.told(number, e, d)
	}
	return err
}

// leave tells once of an attempt that stays open.
func (l *lease) leave(gate string, number int64, why error) {
	if l.left == nil {
		l.left = map[int64]bool{}
	}
	if !l.left[number] {
		l.store.log.Error("an attempt that a dead gate left open cannot be closed; it stays open, which grants nothing: quorate audit verify tells more",
			"gate", gate, "record", number, "error", why)
	}
	l.left[number] = true
}

// abandoned gives the evidence of an attempt that its gate left open.
func (s *Store) abandoned(ctx context.Context, number int64) (mpic.Evidence, error) {
	var doc Document
	err := s.reads.QueryRowContext(ctx, `SELECT document, sha256, secrets FROM attempts WHERE number = $1`, number).
		Scan(&doc.Bytes, &doc.SHA256, &doc.Secrets)
	if err == nil {
		err = doc.check("attempt")
	}
	var o opening
	if err == nil {
		err = doc.decode(&o, "attempt")
	}
	if err != nil {
		return mpic.Evidence{}, err
	}
	return mpic.AbandonedEvidence(o.Attempt, o.Roster, s.now().UTC().Round(0)), nil
}

// end gives the lease back: what is still open of this gate may be closed at once.
func (l *lease) end() (err error) {
	l.once.Do(func() {
		close(l.quit)
		if !l.began {
			return
		}
		<-l.over
		ctx, cancel := context.WithTimeout(context.Background(), transactionTime)
		defer cancel()
		err = l.renew(ctx, l.store.now())
	})
	return err
}

// release gives back what the engine claimed, when the writer has ended.
func (l *lease) release() (err error) {
	l.released.Do(func() { err = l.unlock() })
	return err
}
