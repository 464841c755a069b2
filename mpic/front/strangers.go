package front

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// mostStrangers is how many connections of one server are open whose other side has not shown who it is. One more closes the oldest of
	// them: a client shows its key at once, so that whoever only holds connections does not keep it out.
	mostStrangers = 512
	// mostAnswers is how many answers to strangers are under way on one connection. HTTP/2 lets whoever comes have 250 requests at a time,
	// and take none of the answers.
	mostAnswers = 4
	// answerTime is how long a stranger may take to receive one, bodyTime how long to send the body that nobody reads.
	answerTime = 10 * time.Second
	bodyTime   = time.Second
	// strangerLines and strangerBurst bound the log lines about strangers in a second, and at once: what anybody can send must not fill the
	// disk, nor push out the lines about clients.
	strangerLines, strangerBurst = 10, 100
)

// Strangers bounds what those have of one server who have not shown who they are: connections, and what is kept for answers. Clients
// count no more once they have come (Member.Come). It is safe for concurrent use.
type Strangers struct {
	most int

	mu     sync.Mutex
	oldest list.List // of *guest, the oldest first
}

// NewStrangers makes the bounds of one server.
func NewStrangers() *Strangers { return &Strangers{most: mostStrangers} }

// Listener counts a listener's connections. ConnContext is for the http.Server that has it.
func (s *Strangers) Listener(l net.Listener) net.Listener { return counted{l, s} }

// ConnContext lets handlers find the connection of a request.
func (s *Strangers) ConnContext(ctx context.Context, c net.Conn) context.Context {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	return context.WithValue(ctx, guestKey{}, c)
}

type guestKey struct{}

type counted struct {
	net.Listener
	strangers *Strangers
}

func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c.strangers.come(conn), nil
}

// guest is a connection, and a stranger's until it is known.
type guest struct {
	net.Conn
	strangers *Strangers
	// What is below, up to known, is guarded by strangers.mu. place is nil where it does not count.
	place   *list.Element
	leaving func()
	closed  bool

	known   atomic.Bool
	answers atomic.Int32
}

func (s *Strangers) come(c net.Conn) *guest {
	g := &guest{Conn: c, strangers: s}
	s.mu.Lock()
	g.place = s.oldest.PushBack(g)
	var gone *guest
	if s.oldest.Len() > s.most {
		gone = s.oldest.Front().Value.(*guest)
		gone.drop()
	}
	s.mu.Unlock()
	if gone != nil {
		_ = gone.Conn.Close() // whoever serves it finds out
	}
	return g
}

// drop takes it out of the count. The caller holds strangers.mu.
func (g *guest) drop() {
	if g.place != nil {
		g.strangers.oldest.Remove(g.place)
		g.place = nil
	}
}

// Close gives the place back.
func (g *guest) Close() error {
	g.strangers.mu.Lock()
	g.drop()
	leaving := g.leaving
	g.leaving, g.closed = nil, true
	g.strangers.mu.Unlock()
	if leaving != nil {
		leaving()
	}
	return g.Conn.Close()
}

// Leaving makes a connection of a Strangers' listener a client's, and has something done when it is closed; false where it is closed already.
// Other connections it leaves alone.
func Leaving(c net.Conn, do func()) bool {
	g, ok := c.(*guest)
	if !ok {
		return true
	}
	g.strangers.mu.Lock()
	defer g.strangers.mu.Unlock()
	if g.closed {
		return false
	}
	g.drop()
	g.leaving = do
	return true
}

// Answer is called before something is answered to whoever asks, and leave, by defer, when that is written. Where as many answers wait on the connection
// to be taken as may, it ends the request by http.ErrAbortHandler.
func Answer(w http.ResponseWriter, r *http.Request) (leave func()) {
	g, _ := r.Context().Value(guestKey{}).(*guest)
	if g != nil && g.answers.Add(1) > mostAnswers {
		g.answers.Add(-1)
		panic(http.ErrAbortHandler)
	}
	control := http.NewResponseController(w) // what has no deadlines is no connection, and waits for nobody
	_ = control.SetWriteDeadline(time.Now().Add(answerTime))
	if r.ContentLength != 0 { // net/http reads what is left of a body before it answers
		_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	}
	return func() {
		if g != nil {
			defer g.answers.Add(-1)
		}
		if v := recover(); v != nil { // nothing is sent before what the front says of it
			panic(v)
		}
		_ = control.Flush() // here, where it counts: the connection's error is net/http's to find
	}
}

// Lines says which log lines about strangers are written. The zero Lines is ready; it is safe for concurrent use.
type Lines struct {
	mu   sync.Mutex
	at   time.Time
	room float64
	left int
}

// Tell says whether a line is to be written, and how many were left out before it.
func (l *Lines) Tell() (left int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.at.IsZero() {
		l.room = strangerBurst
	} else {
		l.room = min(strangerBurst, l.room+now.Sub(l.at).Seconds()*strangerLines)
	}
	l.at = now
	if l.room < 1 {
		l.left++
		return 0, false
	}
	l.room--
	left, l.left = l.left, 0
	return left, true
}
