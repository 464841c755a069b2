// Package delay gives loopback the troubles of a long way: Proxy carries TCP connections and holds back what it
// carries; Host carries TCP and datagrams, and loses and mangles some of them. The kernel of the machines that this
// project is built on has no netem.
package delay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy carries connections to a target and back, each octet late.
type Proxy struct {
	listener    net.Listener
	target      string
	dialer      net.Dialer
	rtt         time.Duration
	there, back *way
	opened      atomic.Int64
	ctx         context.Context
	cancel      context.CancelFunc
	work        sync.WaitGroup
}

// chunk is what was read at once, and when it may be written.
type chunk struct {
	data []byte
	due  time.Time
}

// New listens on a free port of an address, for example "127.0.0.1", and carries what comes to target ("host:port"), with a
// round-trip time of rtt: half of it in each direction. Opening a connection costs one round trip more, as it does
// on a long way. Close ends it.
func New(address, target string, rtt time.Duration) (*Proxy, error) {
	return newProxy(net.JoinHostPort(address, "0"), target, Path{RTT: rtt})
}

// newProxy listens at an address and port. Of path it heeds what concerns TCP.
func newProxy(at, target string, path Path) (*Proxy, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{listener: l, target: target, rtt: path.RTT, there: newWay(path, 1), back: newWay(path, 2),
		ctx: ctx, cancel: cancel}
	if path.Source.IsValid() {
		p.dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(path.Source, 0))
	}
	p.work.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens, as "host:port".
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends all connections and waits until nothing of the proxy runs any more.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.listener.Close()
	p.work.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.opened.Add(1)
		p.work.Go(func() { p.carry(near) })
	}
}

// carry serves one connection until one side ends it or the proxy is closed.
func (p *Proxy) carry(near net.Conn) {
	defer near.Close()
	if !wait(p.ctx, time.Now().Add(p.there.segment(openTimeout)+p.back.segment(openTimeout))) { // the handshake
		return
	}
	far, err := p.dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return // the near side sees the connection closed, as with a host that is not there
	}
	defer far.Close()
	stop := context.AfterFunc(p.ctx, func() { near.Close(); far.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { p.pipe(far, near, p.there) })
	both.Go(func() { p.pipe(near, far, p.back) })
	both.Wait()
}

// pipe moves octets from one side to the other, each later than it was read by what the way takes.
func (p *Proxy) pipe(to, from net.Conn, by *way) {
	late := make(chan chunk, 1024)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(late)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				late <- chunk{buf[:n], time.Now().Add(by.segment(dataTimeout + p.rtt))}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range late {
		if !wait(p.ctx, c.due) {
			continue // drain, so that the reader can end
		}
		if _, err := to.Write(c.data); err != nil {
			from.Close()
		}
	}
	reader.Wait()
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil && !errors.Is(err, io.EOF) {
			to.Close()
		}
	}
}
