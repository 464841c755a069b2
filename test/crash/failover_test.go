package crash

import (
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/test/postgres"
)

// load is a gate in this process with sixteen attempts in flight, that goes on whatever happens: a call that fails is an answer
// of no.
type load struct {
	store  *db.Store
	quit   chan struct{}
	work   sync.WaitGroup
	failed atomic.Int64
	// answered is when the last call was acknowledged, slowest how long the longest call without success took.
	mu       sync.Mutex
	answered []time.Time
	slowest  time.Duration
	fault    error
	refusals map[string]int
}

func startLoad(t testing.TB, s *db.Store, l *ledger, name string) *load {
	t.Helper()
	o := &load{store: s, quit: make(chan struct{}), refusals: map[string]int{}}
	for w := range inFlight {
		o.work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-o.quit:
					return
				default:
				}
				began := time.Now()
				err := work(t, s.Journal(), func(word, rest string) { o.note(l, word, rest) }, fmt.Sprintf("%s-%d-%d", name, w, i), i+w)
				if err != nil {
					o.refuse(err, time.Since(began))
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	return o
}

func (o *load) note(l *ledger, word, rest string) {
	err := l.note(word, rest)
	o.mu.Lock()
	defer o.mu.Unlock()
	if word == granted || word == refused {
		o.answered = append(o.answered, time.Now())
	}
	if o.fault == nil {
		o.fault = err
	}
}

func (o *load) refuse(err error, after time.Duration) {
	o.failed.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slowest = max(o.slowest, after)
	o.refusals[err.Error()]++
}

// refused gives the reasons.
func (o *load) refused() (all string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for reason := range o.refusals {
		all += reason + "\n"
	}
	return all
}

// since gives the number of decisions that were acknowledged after a time, and when the first of them was.
func (o *load) since(at time.Time) (n int, first time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.answered {
		if a.After(at) {
			if n == 0 {
				first = a
			}
			n++
		}
	}
	return n, first
}

// goOn waits until so many more decisions are acknowledged, and gives the time of the first.
func (o *load) goOn(t testing.TB, after time.Time, many int) (first time.Time) {
	t.Helper()
	wait(t, func() (bool, error) {
		n, at := o.since(after)
		first = at
		return n >= many, nil
	}, "no answers")
	return first
}

func (o *load) end(t testing.TB) {
	t.Helper()
	close(o.quit)
	o.work.Wait()
	require.NoError(t, o.fault)
}

// both is the address of a database on the one of two servers that takes writes (libpq's form).
func both(t testing.TB, a, b, attributes string) string {
	t.Helper()
	first, err := url.Parse(a)
	require.NoError(t, err)
	second, err := url.Parse(b)
	require.NoError(t, err)
	q := first.Query()
	q.Set("host", q.Get("host")+","+second.Query().Get("host"))
	q.Set("port", q.Get("port")+","+second.Query().Get("port"))
	q.Set("target_session_attrs", attributes)
	first.RawQuery = q.Encode()
	return first.String()
}

// The primary server is killed under load, its synchronous standby promoted, and the gate goes on by itself on the new one.
//
// Holds: REC-05, F3, F4
func TestREC_05_PrimaryServerKilled(t *testing.T) {
	var fromKill, fromPromotion []time.Duration
	var refusals, acknowledged, unanswered, inRecord int
	for n := range *failovers {
		t.Run(fmt.Sprint(n+1), func(t *testing.T) {
			attributes := []string{"read-write", "primary"}[n%2]
			server := postgres.Start(t, postgres.Options{})
			d := postgresDatabase(t, server, "failover", 10*time.Second)
			standby := server.Standby(t)
			d.gate.Postgres = both(t, d.gate.Postgres, standby.DSN(gateUser, "failover"), attributes)
			s, err := db.Open(t.Context(), d.gate.config())
			require.NoError(t, err)
			p, memory, err := d.gate.publisher(t.Context(), s)
			require.NoError(t, err)
			l := newLedger()
			o := startLoad(t, s, l, "f")
			o.goOn(t, time.Time{}, 100)
			require.NoError(t, p.Publish(t.Context()))
			killed := time.Now()
			require.NoError(t, server.Kill())
			standby.Promote(t)
			promoted := time.Now()
			first := o.goOn(t, promoted, 100)
			fromKill = append(fromKill, first.Sub(killed))
			fromPromotion = append(fromPromotion, first.Sub(promoted))
			o.end(t)
			require.NoError(t, p.Close(t.Context()))
			require.NoError(t, memory.Close())
			require.NoError(t, s.Close())
			refusals += int(o.failed.Load())

			d.owner = standby.DSN("postgres", "failover")
			a := newAuditor(d.key.Verifier(), d.gate.Memory)
			d.whole(t, a, l, "after")
			pool := hand(t, d)
			d.sound(t, pool)
			require.NoError(t, pool.Close())
			judged(t, d)
			var out series
			out.add(a, l)
			acknowledged, unanswered, inRecord = acknowledged+out.decisions, unanswered+out.unanswered, inRecord+out.inRecord
			t.Logf("%s after the kill, %s after the promotion; refused: %v", first.Sub(killed), first.Sub(promoted), o.refusals)
		})
	}
	if t.Failed() {
		return
	}
	ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
	report(t, "4-failover", fmt.Sprintf(`## The primary server killed, its synchronous standby promoted

Sixteen attempts were in flight; the promotion was asked for at once. The gate's address names both servers.

| | median | worst |
|---|---|---|
| from the kill to the first answer of the new server | %s | %s |
| from the end of the promotion to the first answer | %s | %s |

Servers killed: %d. Decisions acknowledged before and after: %d; of these lost: 0. Calls that were answered with no meanwhile: %d.
Calls without an answer, or with no: %d; of them found in the record all the same: %d.`,
		ms(quantile(fromKill, 0.5)), ms(quantile(fromKill, 1)), ms(quantile(fromPromotion, 0.5)), ms(quantile(fromPromotion, 1)),
		*failovers, acknowledged, refusals, unanswered, inRecord))
}
