package perspective

import (
	"context"
	"crypto/tls"
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

// doorway is a listener that gives connections whose handshake is done, and bounds them until then. From then on each is bounded as its
// gate's, so that neither strangers nor one gate take those of another. The handshake must be over before a connection counts as a
// gate's: of a certificate that is shown, it is not known before that whoever shows it has its key (RFC 8446 section 4.4.3).
type doorway struct {
	net.Listener
	// config is the TLS configuration. welcome makes a connection a gate's, or says why not; failed is told of handshakes that failed.
	config  *tls.Config
	welcome func(*connection, tls.ConnectionState) error
	failed  func(remote net.Addr, err error)

	ready chan net.Conn
	errs  chan error
	// open ends when the doorway is closed, and with it each handshake.
	open  context.Context
	close context.CancelFunc
	slots chan struct{}

	mu       sync.Mutex
	knocking map[netip.Prefix]int
}

// openDoorway takes connections from a listener until it is closed. The Close that ends it does not wait for handshakes, which end soon.
func openDoorway(ctx context.Context, l net.Listener, config *tls.Config, welcome func(*connection, tls.ConnectionState) error,
	failed func(net.Addr, error)) *doorway {
	d := &doorway{Listener: l, config: config, welcome: welcome, failed: failed, ready: make(chan net.Conn), errs: make(chan error),
		slots: make(chan struct{}, maxHandshakes), knocking: map[netip.Prefix]int{}}
	d.open, d.close = context.WithCancel(context.WithoutCancel(ctx))
	go d.take()
	return d
}

// Accept gives the next connection, a *tls.Conn.
func (d *doorway) Accept() (net.Conn, error) {
	select {
	case c := <-d.ready:
		return c, nil
	case err := <-d.errs:
		return nil, err
	case <-d.open.Done():
		return nil, net.ErrClosed
	}
}

// Close ends Accept and all handshakes.
func (d *doorway) Close() error {
	d.close()
	return d.Listener.Close()
}

// take accepts connections. An error goes to whoever calls Accept, who goes on after it or closes the doorway.
func (d *doorway) take() {
	for {
		select {
		case d.slots <- struct{}{}:
		case <-d.open.Done():
			return
		}
		inner, err := d.Listener.Accept()
		if err != nil {
			<-d.slots
			select {
			case d.errs <- err:
				continue
			case <-d.open.Done():
				return
			}
		}
		c := &connection{Conn: inner, door: d, from: network(inner.RemoteAddr())}
		if !d.knock(c.from) { // one more of an address that has too many unfinished handshakes
			<-d.slots
			_ = inner.Close() // it was never used
			continue
		}
		go d.shake(c)
	}
}

// shake carries out a handshake, and gives the connection to Accept where it is a gate's.
func (d *doorway) shake(c *connection) {
	secured := tls.Server(c, d.config)
	ctx, cancel := context.WithTimeout(d.open, headerTimeout)
	defer cancel()
	err := secured.HandshakeContext(ctx)
	if err != nil {
		d.failed(c.RemoteAddr(), err)
	} else {
		err = d.welcome(c, secured.ConnectionState())
	}
	if err != nil {
		_ = c.Close() // the failure is told already
		return
	}
	select {
	case d.ready <- secured:
	case <-d.open.Done():
		_ = c.Close() // nobody is there to answer on it
	}
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
