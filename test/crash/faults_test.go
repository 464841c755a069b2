package crash

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/postgres"
)

// bound is how long a call of the journal may take when something is wrong: mpic waits 10 s for its turn, and a transaction that has
// begun ends within 10 s more. The rest is for a busy machine.
const bound = 25 * time.Second

// together is how long one attempt's three calls may take.
const together = 3 * bound

// scene is a gate on a Postgres, over a way that can be disturbed.
type scene struct {
	database
	server *postgres.Server
	way    *way
	store  *db.Store
	ledger *ledger
	load   *load
}

func newScene(t *testing.T, options postgres.Options) *scene {
	t.Helper()
	options.TCP = true
	s := &scene{server: postgres.Start(t, options), ledger: newLedger()}
	s.database = postgresDatabase(t, s.server, "faults", 30*time.Second)
	s.way = newWay(t, s.server.Addr())
	beginLog(t, s.database)
	direct := s.gate.Postgres
	s.gate.Postgres = s.server.DSNAt(s.way.addr(), gateUser, "faults")
	store, err := db.Open(t.Context(), s.gate.config())
	require.NoError(t, err)
	s.store = store
	s.gate.Postgres = direct
	return s
}

// end holds what is there against what was acknowledged.
func (s *scene) end(t *testing.T) {
	t.Helper()
	require.NoError(t, s.store.Close())
	a := newAuditor(s.key.Verifier(), s.gate.Memory)
	s.whole(t, a, s.ledger, "after")
	pool := hand(t, s.database)
	s.sound(t, pool)
	require.NoError(t, pool.Close())
	judged(t, s.database)
}

// no asks for an attempt, and wants a refusal within the bound.
func (s *scene) no(t *testing.T, id string) {
	t.Helper()
	e, _ := evidence(t, id, 0)
	require.NoError(t, s.ledger.note(opening, id))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began := time.Now()
	_, err := s.store.Journal().Open(ctx, e.Attempt, e.Roster)
	require.Error(t, err)
	require.Less(t, time.Since(began), bound)
}

// Each fault comes under load, and ends. Meanwhile the answer is no, and then service returns by itself: the same store goes on.
//
// Holds: REC-05, F4
func TestREC_05_PostgresFaults(t *testing.T) {
	lock := func(statement string) func(*testing.T, *scene) func() {
		return func(t *testing.T, s *scene) func() {
			pool := hand(t, s.database)
			tx, err := pool.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = tx.Exec(statement)
			require.NoError(t, err)
			return func() {
				require.NoError(t, tx.Rollback())
				require.NoError(t, pool.Close())
			}
		}
	}
	var mu sync.Mutex
	var rows []string
	t.Cleanup(func() { // after the parallel ones
		slices.Sort(rows)
		report(t, "5-faults", "## Faults under load, on Postgres\n\nSixteen attempts were in flight. All tests of this table run at once.\n\n"+
			"| | slowest answer of no | from the fault's end to the next answer |\n|---|---|---|\n"+strings.Join(rows, "\n"))
	})
	for name, c := range map[string]struct {
		options postgres.Options
		begin   func(*testing.T, *scene) (end func())
		says    string
		// slow faults are over when the time of a whole transaction is.
		slow bool
	}{
		"the connection is cut": {begin: func(_ *testing.T, s *scene) func() {
			s.way.set(cut)
			return func() { s.way.set(none) }
		}, says: "connect"},
		"the server's machine is silent": {begin: func(_ *testing.T, s *scene) func() {
			s.way.set(frozen)
			return func() { s.way.set(cut); s.way.set(none) }
		}, says: "deadline", slow: true},
		"the server is stopped": {begin: func(t *testing.T, s *scene) func() {
			require.NoError(t, s.server.Stop())
			return func() { s.server.Restart(t) }
		}, says: "connect"},
		"the server is killed": {begin: func(t *testing.T, s *scene) func() {
			require.NoError(t, s.server.Kill())
			return func() { s.server.Restart(t) }
		}, says: "connect"},
		"the log's head is locked by another session": {begin: lock(`SELECT * FROM log_head FOR UPDATE`), says: "lock timeout", slow: true},
		"a table is locked by another session":        {begin: lock(`LOCK TABLE attempts IN EXCLUSIVE MODE`), says: "lock timeout", slow: true},
		"a statement takes too long": {begin: func(t *testing.T, s *scene) func() {
			pool := hand(t, s.database)
			_, err := pool.Exec(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
				CREATE TRIGGER slow BEFORE INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION slow()`)
			require.NoError(t, err)
			return func() {
				_, err := pool.Exec(`DROP TRIGGER slow ON attempts; DROP FUNCTION slow()`)
				require.NoError(t, err)
				require.NoError(t, pool.Close())
			}
		}, says: "statement timeout", slow: true},
		"the disk is full": {options: postgres.Options{DiskLimit: 160 << 20}, begin: func(t *testing.T, s *scene) func() {
			s.server.FillDisk(t)
			return func() {
				s.server.FreeDisk(t)
				s.server.Restart(t) // the server may have ended; the gate does nothing
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.slow && *write == "" {
				t.Skip("takes half a minute: make crash runs it")
			}
			t.Parallel()
			s := newScene(t, c.options)
			s.load = startLoad(t, s.store, s.ledger, "w")
			s.load.goOn(t, time.Time{}, 20)
			end := c.begin(t, s)
			wait(t, func() (bool, error) { return s.load.failed.Load() > 0, nil }, "nothing is refused")
			s.no(t, "alone")
			end()
			over := time.Now()
			s.load.goOn(t, over, 20)
			_, first := s.load.since(over)
			s.load.end(t)
			require.Less(t, s.load.slowest, together)
			require.Contains(t, s.load.refused(), c.says)
			s.end(t)
			mu.Lock()
			defer mu.Unlock()
			rows = append(rows, fmt.Sprintf("| %s | %s | %s |", name, s.load.slowest.Round(time.Millisecond), first.Sub(over).Round(time.Millisecond)))
		})
	}
}

// The answer to a COMMIT is lost, or the COMMIT itself. Who asked is told no. What was committed all the same stays as it is: nobody
// can decide it again.
//
// Holds: REC-05, F3
func TestREC_05_LostCommit(t *testing.T) {
	for name, c := range map[string]struct {
		trouble trouble
		// committed tells whether the server had it.
		committed bool
	}{"the answer is lost": {answerLost, true}, "the commit is lost": {commitLost, false}} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, postgres.Options{})
			j := s.store.Journal()
			e, _ := evidence(t, "A1", 0)
			say := func(word, rest string) { require.NoError(t, s.ledger.note(word, rest)) }
			say(opening, "A1")
			s.way.set(c.trouble)
			_, err := j.Open(t.Context(), e.Attempt, e.Roster)
			require.True(t, s.way.happened())
			if c.committed {
				require.ErrorContains(t, err, "duplicate key", "it was tried once more, and found itself")
			} else {
				require.NoError(t, err, "it was tried once more")
				say(opened, "A1 1")
			}

			e, _ = evidence(t, "A2", 0)
			say(opening, "A2")
			_, err = j.Open(t.Context(), e.Attempt, e.Roster)
			require.NoError(t, err)
			say(opened, "A2 2")
			d := mpic.Judge(e)
			require.True(t, d.Granted())
			say(closing, "A2")
			s.way.set(c.trouble)
			err = j.Close(t.Context(), e, d)
			require.True(t, s.way.happened())
			if c.committed {
				require.ErrorIs(t, err, db.ErrDecided)
			} else {
				require.NoError(t, err)
				say(granted, "A2")
			}
			worse, _ := evidence(t, "A2", 2)
			require.ErrorIs(t, j.Close(t.Context(), worse, mpic.Judge(worse)), db.ErrDecided)
			require.ErrorIs(t, j.Close(t.Context(), e, d), db.ErrDecided)
			r, err := s.store.Attempt(t.Context(), "A2")
			require.NoError(t, err)
			require.Equal(t, db.Granted, r.Outcome)
			s.end(t)
		})
	}
}

// A commit waits for a standby that is gone, and somebody cancels the wait: Postgres says that it is committed, and a warning. A
// promoted standby would not have it, so it is no acknowledgement.
//
// Holds: REC-05
func TestREC_05_CommitWithoutStandby(t *testing.T) {
	server := postgres.Start(t, postgres.Options{})
	d := postgresDatabase(t, server, "alone", 30*time.Second)
	standby := server.Standby(t)
	s, err := db.Open(t.Context(), d.gate.config())
	require.NoError(t, err)
	l := newLedger()
	beginLog(t, d)
	require.NoError(t, work(t, s.Journal(), func(word, rest string) { require.NoError(t, l.note(word, rest)) }, "A1", 0))
	require.NoError(t, standby.Kill())
	pool := hand(t, d)
	cancelled := make(chan error, 1)
	go func() { cancelled <- cancelWaiting(t.Context(), pool) }()
	e, _ := evidence(t, "A2", 0)
	require.NoError(t, l.note(opening, "A2"))
	_, err = s.Journal().Open(t.Context(), e.Attempt, e.Roster)
	require.NoError(t, <-cancelled)
	require.Error(t, err)
	_, err = pool.Exec(`ALTER SYSTEM SET synchronous_standby_names = ''`) // an operator decides to go on without
	require.NoError(t, err)
	_, err = pool.Exec(`SELECT pg_reload_conf()`)
	require.NoError(t, err)
	wait(t, func() (bool, error) {
		e, _ := evidence(t, "A3", 0)
		if err := l.note(opening, "A3"); err != nil {
			return false, err
		}
		_, err := s.Journal().Open(t.Context(), e.Attempt, e.Roster)
		return err == nil, nil
	}, "service does not return")
	require.NoError(t, pool.Close())
	require.NoError(t, s.Close())
	d.whole(t, newAuditor(d.key.Verifier(), d.gate.Memory), l, "after")
}

// cancelWaiting cancels the gate's commit when it waits for the standby.
func cancelWaiting(ctx context.Context, pool *sql.DB) error {
	for {
		var n int
		err := pool.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity
			WHERE application_name = 'quorate gate' AND wait_event = 'SyncRep'`).Scan(&n)
		if err != nil || n > 0 {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}
