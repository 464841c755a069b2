// Package crash holds the records to what they promise when something dies: a gate at any step, a server, a disk, a connection;
// and when somebody restores a backup. `make crash` repeats it often and writes results.md.
package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/test/postgres"
)

var (
	kills     = flag.Int("kills", 12, "gates killed on each engine")
	pairs     = flag.Int("pairs", 3, "gates killed beside another one on one Postgres")
	failovers = flag.Int("failovers", 1, "Postgres servers killed under load")
	seed      = flag.Uint64("seed", 1, "where gates are killed")
	write     = flag.String("write", "", "a folder that gets a part of results.md from each test")
)

// series is a run of kills.
type series struct {
	kills, audits, databases        int
	acknowledged, decisions, grants int
	unanswered, inRecord            int
	checkpoints                     int
	lines                           int64
	settled                         []time.Duration
	took                            time.Duration
	at                              map[string]int
}

func (s *series) add(a *auditor, l *ledger) {
	attempts, _ := l.snapshot()
	for _, e := range attempts {
		if e.opened {
			s.acknowledged++
		}
		if e.outcome != "" {
			s.decisions++
		}
		if e.outcome == granted {
			s.grants++
		}
	}
	s.unanswered += a.unanswered
	s.inRecord += a.inRecord
	s.checkpoints += a.published
	s.lines += a.tree.Size()
	s.databases++
}

const (
	// Each database sees a hundred kills, so that also young ones are hit.
	killsEach = 100
	// The first ones come while the tables are made.
	youngKills = 2
	// startTime is about how long a start takes on a busy machine.
	startTime = 200 * time.Millisecond
)

// killSeries kills gates on databases that fresh makes.
func killSeries(t *testing.T, fresh func(n int) database) series {
	r := rand.New(rand.NewPCG(*seed, 4))
	out := series{at: map[string]int{}}
	began := time.Now()
	for out.kills < *kills {
		d := fresh(out.databases)
		l, a := newLedger(), newAuditor(d.key.Verifier(), d.gate.Memory)
		for n := 0; n < killsEach && out.kills < *kills; n++ {
			g := d.gate
			g.Name = fmt.Sprint("k", out.kills)
			c := start(t, g)
			// The first starts make the tables (on SQLite), all others settle what the one before left.
			s := randomStep(r, out.kills, startTime)
			if n < youngKills {
				s = randomStep(r, 0, startTime)
			}
			c.killAt(t, l, s, func(word, rest string) {
				if word == ready && d.owner == "" {
					require.Equal(t, "0", rest, "a gate that has a SQLite database to itself settles all at its start")
				}
			})
			out.kills++
			out.at[s.word]++
			if r.IntN(3) == 0 {
				d.whole(t, a, l, fmt.Sprint("audit", out.kills))
				out.audits++
			}
		}
		d.whole(t, a, l, "last")
		pool := hand(t, d)
		d.sound(t, pool)
		again := newAuditor(d.key.Verifier(), d.gate.Memory) // once more from leaf 0
		again.audit(t, pool, l)
		require.NoError(t, pool.Close())
		require.Equal(t, a.tree.Root(), again.tree.Root())
		judged(t, d)
		out.audits += 2
		out.add(a, l)
		t.Logf("%d kills, %d lines, %s", out.kills, out.lines, time.Since(began).Round(time.Second))
	}
	out.took = time.Since(began)
	require.NotZero(t, out.grants)
	return out
}

// judged reads each record as auditors do, and has Judge decide again.
func judged(t testing.TB, d database) {
	t.Helper()
	s, err := db.Open(t.Context(), db.Config{Path: d.gate.Path, Postgres: d.gate.Postgres, ReadOnly: true})
	require.NoError(t, err)
	dbtest.Whole(t, s)
	require.NoError(t, s.Close())
}

// Holds: REC-01, REC-05, REC-06, F3, F4
func TestREC_05_GateKilledOnSQLite(t *testing.T) {
	out := killSeries(t, func(int) database { return sqliteDatabase(t) })
	report(t, "1-sqlite", "## Gates killed on SQLite\n\n"+out.table())
}

// Holds: REC-01, REC-05, REC-06, F3, F4
func TestREC_05_GateKilledOnPostgres(t *testing.T) {
	server := postgres.Start(t, postgres.Options{})
	out := killSeries(t, func(n int) database { return postgresDatabase(t, server, numbered(n), 500*time.Millisecond) })
	report(t, "2-postgres", "## Gates killed on Postgres\n\n"+out.table())
}

// report keeps a part of results.md.
func report(t testing.TB, part, text string) {
	t.Helper()
	t.Log("\n" + text)
	if *write != "" && !t.Failed() {
		require.NoError(t, os.WriteFile(filepath.Join(*write, part+".md"), []byte(strings.TrimSuffix(text, "\n")+"\n\n"), 0o644))
	}
}

// table is the series as Markdown.
func (s series) table() string {
	out := "| | |\n|---|---|\n"
	row := func(what string, value any) { out += fmt.Sprintf("| %s | %v |\n", what, value) }
	row("gates killed", s.kills)
	for _, w := range steps() {
		what := map[string]string{"": "at a random moment of the start", ready: "when the gate was ready", opening: "when an intent was about to be written",
			opened: "when an intent was acknowledged", closing: "when a decision was about to be written", granted: "when a granted decision was acknowledged",
			refused: "when a refused decision was acknowledged", sendsLate: "when a late reply was about to be written", keptLate: "when a late reply was acknowledged",
			publishing: "when a checkpoint was about to be signed", published: "when a checkpoint was published"}[w]
		if s.at[w] > 0 {
			row("... "+what, s.at[w])
		}
	}
	row("databases", s.databases)
	row("audits of all tables and the whole log", s.audits)
	row("lines of the log", s.lines)
	row("attempts acknowledged", s.acknowledged)
	row("decisions acknowledged", s.decisions)
	row("... of them granted", s.grants)
	row("checkpoints published", s.checkpoints)
	row("calls that the kill left without an answer", s.unanswered)
	row("... of them found in the record all the same", s.inRecord)
	for i, w := range []string{"median", "worst"} {
		if len(s.settled) > 0 {
			row(w+" time until the other gate had closed what the dead one left open", quantile(s.settled, []float64{0.5, 1}[i]).Round(time.Millisecond))
		}
	}
	row("acknowledged and lost, or false in any other way", 0)
	row("time", s.took.Round(time.Second))
	return out
}
