package crash

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// watched is a child whose words are taken down as they come, while something else is waited for.
type watched struct {
	*child
	ledger *ledger
	said   atomic.Int64
	mu     sync.Mutex
	words  map[string]int
	fault  error
	over   chan struct{}
}

func watch(t testing.TB, g gate, l *ledger) *watched {
	t.Helper()
	w := &watched{child: start(t, g), ledger: l, words: map[string]int{}, over: make(chan struct{})}
	go func() {
		defer close(w.over)
		for line := range w.lines {
			err := l.note(line[0], line[1])
			w.said.Add(1)
			w.mu.Lock()
			w.words[line[0]]++
			if w.fault == nil {
				w.fault = err
			}
			w.mu.Unlock()
		}
	}()
	return w
}

func (w *watched) count(word string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.words[word], w.fault
}

// until waits until a step from now on. A gate is ready once.
func (w *watched) until(t testing.TB, s step) {
	t.Helper()
	before, err := w.count(s.word)
	require.NoError(t, err)
	if s.word == ready {
		before = 0
	}
	wait(t, func() (bool, error) {
		n, err := w.count(s.word)
		return n >= before+s.times, err
	}, "the child does not come to "+s.word)
	time.Sleep(s.after)
}

func (w *watched) kill(t testing.TB) {
	t.Helper()
	require.NoError(t, w.cmd.Process.Kill())
	<-w.over
	require.ErrorContains(t, w.cmd.Wait(), "killed")
	_, err := w.count("")
	require.NoError(t, err)
}
