package crash

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// trouble is what befalls a connection.
type trouble int

const (
	none trouble = iota
	// cut ends all connections, and lets none begin.
	cut
	// frozen carries nothing any more, and ends nothing: a machine that is gone, or a firewall.
	frozen
	// answerLost carries the next COMMIT to the server and ends the connection when the answer comes.
	answerLost
	// commitLost ends the connection at the next COMMIT, which does not reach the server.
	commitLost
)

// way is a TCP way to a server. delay.Proxy can be closed; here the way comes back at the same address, and knows what a COMMIT is.
type way struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu      sync.Mutex
	thawed  *sync.Cond
	trouble trouble
	conns   map[net.Conn]bool
	closed  bool
}

func newWay(t testing.TB, target string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &way{listener: l, target: target, conns: map[net.Conn]bool{}}
	w.thawed = sync.NewCond(&w.mu)
	w.work.Go(w.accept)
	t.Cleanup(func() {
		w.mu.Lock()
		w.closed = true
		w.mu.Unlock()
		w.set(cut)
		require.NoError(t, l.Close())
		w.work.Wait()
	})
	return w
}

func (w *way) addr() string { return w.listener.Addr().String() }

// set makes trouble, or ends it.
func (w *way) set(x trouble) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trouble = x
	if x == cut {
		for c := range w.conns {
			_ = c.Close()
		}
	}
	w.thawed.Broadcast()
}

// happened tells whether the one COMMIT was met.
func (w *way) happened() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trouble == none
}

func (w *way) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.work.Go(func() { w.carry(near) })
	}
}

// add keeps a connection; false where there shall be none.
func (w *way) add(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.trouble == cut || w.closed {
		return false
	}
	w.conns[c] = true
	return true
}

func (w *way) carry(near net.Conn) {
	defer near.Close()
	if !w.add(near) {
		return
	}
	far, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer far.Close()
	if !w.add(far) {
		return
	}
	// Each direction tells the other whether the next answer is the one that gets lost.
	var lose sync.Mutex
	var losing bool
	var both sync.WaitGroup
	pipe := func(to, from net.Conn, carried func(data []byte) bool) {
		defer near.Close()
		defer far.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil || !w.thaw() || !carried(buf[:n]) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	both.Go(func() {
		pipe(far, near, func(data []byte) bool {
			x := w.commit(data)
			lose.Lock()
			losing = losing || x == answerLost
			lose.Unlock()
			return x != commitLost
		})
	})
	both.Go(func() {
		pipe(near, far, func([]byte) bool {
			lose.Lock()
			defer lose.Unlock()
			return !losing
		})
	})
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, near)
	delete(w.conns, far)
}

// thaw waits until the way is not frozen; false when it is cut.
func (w *way) thaw() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.trouble == frozen {
		w.thawed.Wait()
	}
	return w.trouble != cut
}

// committing is how a COMMIT goes over the wire: in a Bind message without a portal's name, by the name under which pgx has prepared it.
var committing = fmt.Sprintf("\x00stmtcache_%x\x00", sha256.Sum256([]byte("COMMIT")))[:len("\x00stmtcache_")+48] + "\x00"

// commit takes the trouble that waits for a COMMIT, once.
func (w *way) commit(data []byte) trouble {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.trouble
	if x != answerLost && x != commitLost || !bytes.Contains(data, []byte(committing)) {
		return none
	}
	w.trouble = none
	return x
}
