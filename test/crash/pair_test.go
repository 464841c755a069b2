package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/test/postgres"
)

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// pairLease is longer than any pause of a gate that lives, on a machine that is busy with other tests.
const pairLease = 2 * time.Second

// Two gates are on one Postgres, one is killed, and the other goes on and closes what the dead one left open.
//
// Holds: REC-05, F3, F4
func TestREC_05_OneGateOfTwoKilled(t *testing.T) {
	server := postgres.Start(t, postgres.Options{})
	d := postgresDatabase(t, server, "pair", pairLease)
	first, second := d.gate, d.gate
	second.Memory = filepath.Join(t.TempDir(), "memory")
	beginLog(t, d)
	signed, err := os.ReadFile(first.Memory)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(second.Memory, signed, 0o600))

	r := rand.New(rand.NewPCG(*seed, 5))
	out := series{at: map[string]int{}}
	began := time.Now()
	l, a := newLedger(), newAuditor(d.key.Verifier(), first.Memory, second.Memory)
	pool := hand(t, d)
	defer func() { require.NoError(t, pool.Close()) }()
	gates := [2]*watched{}
	for i, g := range []gate{first, second} {
		g.Name = fmt.Sprintf("p%d", i)
		gates[i] = watch(t, g, l)
	}
	for out.kills < *pairs {
		victim, other := gates[out.kills%2], gates[(out.kills+1)%2]
		s := randomStep(r, 1+r.IntN(len(steps())-1), 0)
		out.at[s.word]++
		victim.until(t, s)
		victim.kill(t)
		out.kills++
		before := other.said.Load()
		var open, most int
		took := wait(t, func() (bool, error) {
			err := pool.QueryRow(`SELECT count(*) FROM attempts AS a WHERE (a.id LIKE $1 OR a.id LIKE 'no-' || $1)
				AND NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.attempt = a.number)`, victim.gate.Name+"-%").Scan(&open)
			most = max(most, open)
			return open == 0, err
		}, "attempts of the killed gate stay open")
		if most > 0 {
			out.settled = append(out.settled, took)
		}
		wait(t, func() (bool, error) { return other.said.Load() > before+inFlight, nil }, "the other gate does not go on")
		a.audit(t, pool, l, other.gate.Name)
		out.audits++
		g := victim.gate
		g.Name = fmt.Sprintf("p%d", out.kills+1)
		gates[(out.kills-1)%2] = watch(t, g, l)
	}
	for _, g := range gates {
		g.until(t, step{word: ready, times: 1})
		g.kill(t)
	}
	d.whole(t, newAuditor(d.key.Verifier(), first.Memory, second.Memory), l, "last")
	d.sound(t, pool)
	judged(t, d)
	a.audit(t, pool, l)
	out.audits += 2
	out.took = time.Since(began)
	out.add(a, l)
	report(t, "3-pair", "## One gate of two killed, on one Postgres\n\nThe lease is "+pairLease.String()+".\n\n"+out.table())
}

// beginLog publishes the empty log, so that its memory can be given to others.
func beginLog(t testing.TB, d database) {
	t.Helper()
	s, err := db.Open(t.Context(), d.gate.config())
	require.NoError(t, err)
	_, memory, err := d.gate.publisher(t.Context(), s)
	require.NoError(t, err)
	require.NoError(t, memory.Close())
	require.NoError(t, s.Close())
}
