package badnetwork

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
)

var (
	table  = flag.Bool("table", false, "measure beside Unbound and write results.md")
	cold   = flag.Int("cold", 40, "lookups with an empty memory, for each condition and resolver")
	warm   = flag.Int("warm", 80, "lookups by a resolver that knows the zones, for each condition and resolver")
	only   = flag.String("only", "", "measure only the conditions whose name holds this, and write nothing")
	alone  = flag.Bool("alone", false, "measure without Unbound, at a free port, and write nothing")
	slots  = flag.Int("slots", 40, "lookups at a time")
	reason = flag.Bool("why", false, "print the account of our lookups that fail")
)

// Unbound follows referrals to this port alone.
const dnsPort = 53

// measured is what one resolver did in one condition.
type measured struct {
	mu      sync.Mutex
	right   int
	wrong   []string
	took    []time.Duration
	packets int64
}

func (m *measured) note(c condition, q question, got verdict, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took = append(m.took, took)
	if got == q.want {
		m.right++
	} else if got.usable() {
		m.wrong = append(m.wrong, fmt.Sprintf("%s: %s %d: %+v", c.name, q.name, q.qtype, got))
	}
}

// at gives a quantile of the times of all lookups, whatever came of them.
func (m *measured) at(percent int) float64 {
	slices.Sort(m.took)
	return m.took[(len(m.took)-1)*percent/100].Seconds()
}

func (m *measured) String() string {
	n := len(m.took)
	if n == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%d %% | %.2f | %.2f | %.2f | %.1f", 100*m.right/n, m.at(50), m.at(95), m.at(100),
		float64(m.packets)/float64(n))
}

// player is one resolver in a measurement: in each slot it does one lookup at a time, and only that is timed.
type player struct {
	// prepare makes ready for the lookup, and lookup does it.
	prepare func(slot int, q question)
	lookup  func(slot int, q question) verdict
}

// warmSlots is how many warm lookups run at a time: fewer than there are questions, or Unbound would ask once for two.
const warmSlots = 12

// play lets a resolver do lookups, the questions by turns, and some of them together.
func play(n network, c condition, lookups, together int, p player) *measured {
	m := &measured{}
	all := questions()
	before := n.packets()
	var next atomic.Int64
	var running sync.WaitGroup
	for slot := range together {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < lookups; i = int(next.Add(1)) - 1 {
				q := all[i%len(all)]
				p.prepare(slot, q)
				began := time.Now()
				got := p.lookup(slot, q)
				m.note(c, q, got, time.Since(began))
			}
		})
	}
	running.Wait()
	m.packets = n.packets() - before
	return m
}

// vain tells whether lookups wait in vain in a condition. Then one cold lookup in each slot must do.
func (c condition) vain() bool { return c.expect == signedFail || c.slow }

// measure gives what both resolvers did in a condition: ours and Unbound, cold and warm. Each has paths of its own, with the
// same seeds.
func measure(t *testing.T, w *world.World, c condition, unbounds []unbound) (lines [2]string, wrong []string) {
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	report := func(q question, v verdict, account string) verdict {
		if *reason && !v.usable() {
			t.Logf("%s %d: %+v\n%s", q.name, q.qtype, v, account)
		}
		return v
	}
	var all [4]*measured
	port := uint16(dnsPort)
	if *alone {
		port = 0
	}
	each := func(i, lookups int, players func(network) player) {
		if all[i] = (&measured{}); *alone && i%2 == 1 {
			return
		}
		n, leave := enter(t, w, c, 1, port)
		defer leave()
		p, together := players(n), *slots
		if i >= 2 { // what a resolver learns at first, with a question for each zone, is not measured
			together = warmSlots
			play(n, c, len(leafZones), together, p)
		}
		all[i] = play(n, c, lookups, together, p)
	}
	many := *cold
	if c.vain() {
		many = *slots
	}
	each(0, many, func(n network) player {
		return player{func(int, question) {}, func(_ int, q question) verdict {
			v, account := ours(n.newResolver(t, patience), q)
			return report(q, v, account)
		}}
	})
	each(1, many, func(network) player {
		return player{func(slot int, _ question) { must(unbounds[slot].forget()) },
			func(slot int, q question) verdict { return unbounds[slot].ask(q) }}
	})
	lines[0] = fmt.Sprintf("| %s | %v | %v |", c.name, all[0], all[1])
	if c.vain() {
		t.Log(lines[0])
		return lines, all[0].wrong
	}
	each(2, *warm, func(n network) player {
		r := n.newResolver(t, patience)
		return player{func(int, question) {}, func(_ int, q question) verdict {
			v, account := ours(r, q)
			return report(q, v, account)
		}}
	})
	each(3, *warm, func(network) player {
		must(unbounds[0].forget())
		return player{func(_ int, q question) { must(unbounds[0].forgetAnswer(q)) },
			func(_ int, q question) verdict { return unbounds[0].ask(q) }}
	})
	lines[1] = fmt.Sprintf("| %s | %v | %v |", c.name, all[2], all[3])
	t.Log(lines[0], lines[1])
	return lines, append(all[0].wrong, all[2].wrong...)
}

// TestTable measures, and writes results.md.
func TestTable(t *testing.T) {
	if !*table {
		t.Skip("run with -table: it takes minutes")
	}
	w := serve(t)
	var unbounds []unbound
	for range *slots {
		if *alone {
			break
		}
		unbounds = append(unbounds, runUnbound(t, w))
	}
	began := time.Now()
	var rows [2]strings.Builder
	for _, c := range conditions() {
		if c.expect == allFail || !strings.Contains(c.name, *only) { // what all fail in is for the test alone
			continue
		}
		lines, wrong := measure(t, w, c, unbounds)
		require.Empty(t, wrong, "our wrong verdicts")
		for i, l := range lines {
			if l != "" {
				rows[i].WriteString(l + "\n")
			}
		}
	}
	t.Logf("%s", time.Since(began))
	if *only == "" && !*alone {
		text := fmt.Sprintf(results, *cold, *warm, *slots, runtime.NumCPU(), rows[0].String(), rows[1].String(), warmSlots)
		require.NoError(t, os.WriteFile("results.md", []byte(text), 0o644))
	}
}

const results = `# In a bad network, beside Unbound

Written by ` + "`make badnetwork`" + `. Both resolvers ask the same name servers (` + "`test/world`" + `) behind the same paths
(` + "`test/delay`" + `), one after the other, with the same seeds. The zones have 2 to 4 name servers each; "one server" is one
of each zone, "leaf" are the zones below the top-level domains. Half of the questions are for signed zones with ECDSA or
RSA, and one in nine is for an answer that needs TCP. RTT is 20 ms where nothing else is said. Loss is that of each
datagram in each direction: at 20 %% loss, 36 %% of all exchanges fail; over TCP it costs time.

"Right" is how many lookups gave the very verdict of a good network; whoever fails says so, and the table's run fails at an
answer of ours that is used and wrong. Seconds are of all lookups, those that fail included; a client waits for 15 s.
Packets are datagrams and TCP connections to name servers for each lookup. Where signed zones cannot be resolved (EDNS
dropped, refused or ignored at all leaf servers), what is right is to fail.

%[1]d cold lookups each, %[3]d at a time, and %[2]d warm ones, %[7]d at a time, on %[4]d processors; where lookups wait in
vain, %[3]d cold ones.
Unbound is Debian's, with its defaults but for
discard-timeout (it would keep answers that took more than 1.9 s to itself) and aggressive-nsec (one proof would answer several
questions).

## Cold: nothing is known but the root's addresses and anchor

| | Quorate: right | p50 s | p95 s | max s | packets | Unbound: right | p50 s | p95 s | max s | packets |
|---|---|---|---|---|---|---|---|---|---|---|
%[5]s
## Warm: zones, keys and servers are known, the answer is not

| | Quorate: right | p50 s | p95 s | max s | packets | Unbound: right | p50 s | p95 s | max s | packets |
|---|---|---|---|---|---|---|---|---|---|---|
%[6]s`
