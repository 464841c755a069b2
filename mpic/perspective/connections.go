package perspective

import (
	"errors"
	"net"
	"net/netip"
	"sync"
)

const (
	// maxHandshakes bounds the connections of which it is not yet known whose they are: those of everybody who knocks. Of one
	// address, or one /64 of IPv6, there are at most maxKnocking.
	maxHandshakes = 4096
	maxKnocking   = 256
)

// errConnections is why a gate gets no further connection.
var errConnections = errors.New("perspective: the gate has as many connections as it may")

// doorway is a listener that bounds connections until their handshake is done. From then on each is bounded as its gate's, so that
// neither strangers nor one gate take those of another.
type doorway struct {
	net.Listener
	closed chan struct{}
	once   sync.Once
	slots  chan struct{}

	mu       sync.Mutex
	knocking map[netip.Prefix]int
}

func newDoorway(l net.Listener) *doorway {
	return &doorway{Listener: l, closed: make(chan struct{}), slots: make(chan struct{}, maxHandshakes), knocking: map[netip.Prefix]int{}}
}

// Accept gives the next connection. One more of an address that has too many unfinished handshakes is closed at once.
func (d *doorway) Accept() (net.Conn, error) {
	for {
		select {
		case d.slots <- struct{}{}:
		case <-d.closed:
			return nil, net.ErrClosed
		}
		inner, err := d.Listener.Accept()
		if err != nil {
			<-d.slots
			return nil, err
		}
		c := &connection{Conn: inner, door: d, from: network(inner.RemoteAddr())}
		if d.knock(c.from) {
			return c, nil
		}
		<-d.slots
		_ = inner.Close() // it was never used
	}
}

// Close ends Accept, also one that waits for a place.
func (d *doorway) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.Listener.Close()
}

func (d *doorway) knock(from netip.Prefix) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.knocking[from] >= maxKnocking {
		return false
	}
	d.knocking[from]++
	return true
}

func (d *doorway) pass(from netip.Prefix) {
	d.mu.Lock()
	if d.knocking[from]--; d.knocking[from] == 0 {
		delete(d.knocking, from)
	}
	d.mu.Unlock()
	<-d.slots
}

// network is where a connection comes from: an IPv4 address, or the /64 of an IPv6 address.
func network(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // the zero Prefix for what is no address: these share one count
	return p
}

// connection is one that came through the doorway. It is counted there, or as its gate's, until it is closed.
type connection struct {
	net.Conn
	door *doorway
	from netip.Prefix

	mu     sync.Mutex
	gate   *admission
	closed bool
}

// belongs makes the connection its gate's, once its handshake has shown whose it is.
func (c *connection) belongs(gate *admission) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.gate != nil {
		return net.ErrClosed
	}
	if !gate.connect() {
		return errConnections
	}
	c.gate = gate
	c.door.pass(c.from)
	return nil
}

// Close gives the place back, once.
func (c *connection) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		if c.gate != nil {
			c.gate.disconnect()
		} else {
			c.door.pass(c.from)
		}
	}
	c.mu.Unlock()
	return c.Conn.Close()
}
