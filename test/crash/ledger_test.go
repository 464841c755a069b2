package crash

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// entry is what the caller of one attempt knows: what it asked for, and what was acknowledged.
type entry struct {
	opening, opened, closing  bool
	number                    int64
	outcome                   string // granted or refused, once acknowledged
	sendsLate, keptLate, lost bool
}

// unanswered counts the calls of which nobody knows what became of them.
func (e entry) unanswered() (n int) {
	for _, b := range []bool{e.opening && !e.opened && !e.lost, e.closing && e.outcome == "" && !e.lost, e.sendsLate && !e.keptLate} {
		if b {
			n++
		}
	}
	return n
}

// ledger is all that gates acknowledged.
type ledger struct {
	mu        sync.Mutex
	attempts  map[string]*entry
	published []int64
}

func newLedger() *ledger { return &ledger{attempts: map[string]*entry{}} }

// note keeps what a child said.
func (l *ledger) note(word, rest string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, number, _ := strings.Cut(rest, " ")
	e := l.attempts[id]
	switch word {
	case ready, publishing:
		return nil
	case published:
		size, err := strconv.ParseInt(rest, 10, 64)
		l.published = append(l.published, size)
		return err
	case opening:
		if e != nil {
			return fmt.Errorf("%s was opened twice", id)
		}
		l.attempts[id] = &entry{opening: true}
		return nil
	}
	if e == nil {
		return fmt.Errorf("the child says %q", word+" "+rest)
	}
	var err error
	switch word {
	case opened:
		e.opened = true
		e.number, err = strconv.ParseInt(number, 10, 64)
	case closing:
		e.closing = true
	case granted, refused:
		e.outcome = word
	case sendsLate:
		e.sendsLate = true
	case keptLate:
		e.keptLate = true
	case lost:
		e.lost = true
	default:
		err = fmt.Errorf("the child says %q", word+" "+rest)
	}
	return err
}

// snapshot gives what is acknowledged so far.
func (l *ledger) snapshot() (map[string]entry, []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]entry, len(l.attempts))
	for id, e := range l.attempts {
		out[id] = *e
	}
	return out, append([]int64(nil), l.published...)
}

// child is a gate in a process of its own.
type child struct {
	gate gate
	cmd  *exec.Cmd
	// lines are what it says, until it has ended.
	lines chan [2]string
}

// start starts a gate.
func start(t testing.TB, g gate) *child {
	t.Helper()
	text, err := json.Marshal(g)
	require.NoError(t, err)
	c := &child{gate: g, cmd: exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.timeout=10m"), lines: make(chan [2]string, 4096)}
	c.cmd.Env = append(os.Environ(), childConfig+"="+string(text))
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.cmd.Stderr = c.cmd.Stdout
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // after a failed test; it has ended otherwise
	go func() {
		defer close(c.lines)
		in := bufio.NewReader(out)
		for {
			line, err := in.ReadString('\n')
			if err != nil { // what is not a whole line was not said
				return
			}
			word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			c.lines <- [2]string{word, rest}
		}
	}()
	return c
}

// kill sends SIGKILL, notes what the child had still said, and waits for its end.
func (c *child) kill(t testing.TB, l *ledger) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	for line := range c.lines {
		require.NoError(t, l.note(line[0], line[1]))
	}
	require.ErrorContains(t, c.cmd.Wait(), "killed")
}

// step is where a gate is killed: after a word was said so many times, and then a moment later.
type step struct {
	// word is empty for a kill during the start, before anything is said.
	word  string
	times int
	after time.Duration
}

// steps are those of an attempt, and of a checkpoint.
func steps() []string {
	return []string{"", ready, opening, opened, closing, granted, refused, sendsLate, keptLate, publishing, published}
}

// randomStep takes the n-th step in turn, with a random place in it.
func randomStep(r *rand.Rand, n int, startTime time.Duration) step {
	all := steps()
	s := step{word: all[n%len(all)], times: 1 + r.IntN(60), after: time.Duration(r.ExpFloat64() * float64(time.Millisecond))}
	switch s.word {
	case "":
		s.after = time.Duration(r.Float64() * float64(startTime))
	case ready:
		s.times = 1
	case publishing, published:
		s.times = 1 + r.IntN(5)
	case sendsLate, keptLate, refused:
		s.times = 1 + r.IntN(20)
	}
	return s
}

// killAt lets a child work until a step, and kills it there. heard is called with each line before.
func (c *child) killAt(t testing.TB, l *ledger, s step, heard func(word, rest string)) {
	t.Helper()
	said := 0
	for s.word != "" && said < s.times {
		select {
		case line, more := <-c.lines:
			if !more {
				t.Fatalf("the child ended by itself: %v", c.cmd.Wait())
			}
			require.NoError(t, l.note(line[0], line[1]))
			if heard != nil {
				heard(line[0], line[1])
			}
			if line[0] == s.word {
				said++
			}
		case <-time.After(time.Minute):
			c.kill(t, l)
			t.Fatalf("the child did not come to %q within a minute", s.word)
		}
	}
	time.Sleep(s.after)
	c.kill(t, l)
}
