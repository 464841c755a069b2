package world

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// ports are the ports of a world.
type ports struct{ dns, http, tls uint16 }

// sentinel is the address where each world holds its ports, so that no two worlds have a port in common and servers and
// hosts can be added to a running world at any address.
var sentinel = netip.MustParseAddr("127.0.53.254")

const (
	// Ports are looked for below the range that the system takes for outgoing connections.
	lowestPort, highestPort = 10240, 32000
	portTries               = 200
	// udpLimit is the largest UDP answer (RFC 9715).
	udpLimit = 1232
	// tcpIdle ends a TCP connection on which nothing is asked.
	tcpIdle = 10 * time.Second
)

// sockets are what Close must close.
type sockets struct {
	mu     sync.Mutex
	open   map[io.Closer]bool
	closed bool
}

// add registers c, or closes it where the world is closed already.
func (s *sockets) add(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	if s.open == nil {
		s.open = map[io.Closer]bool{}
	}
	s.open[c] = true
	return true
}

func (s *sockets) close(c io.Closer) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	c.Close()
}

func (s *sockets) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
}

// listen finds the world's ports and starts its servers. The caller holds mu.
func (w *World) listen(cfg Config) error {
	var err error
	if w.ports.http, err = w.reserve(cfg.HTTPPort); err != nil {
		return err
	}
	if w.ports.tls, err = w.reserve(cfg.TLSPort); err != nil {
		return err
	}
	if w.ports.dns, err = w.reserve(cfg.Port); err != nil {
		return err
	}
	return w.bindServers()
}

// reserve holds a port, or a free one for 0, at the sentinel address until the world is closed.
func (w *World) reserve(port uint16) (uint16, error) {
	var last error
	for range portTries {
		p := port
		if p == 0 {
			n, err := rand.Int(rand.Reader, big.NewInt(highestPort-lowestPort))
			if err != nil {
				return 0, fmt.Errorf("world: port: %w", err)
			}
			p = uint16(lowestPort + n.Int64())
		}
		if port == 0 && taken(p) {
			last = fmt.Errorf("port %d is taken", p)
			continue
		}
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(sentinel, p)))
		if err == nil {
			w.sockets.add(l)
			return p, nil
		}
		last = err
		if port != 0 {
			break
		}
	}
	return 0, fmt.Errorf("world: no free port: %w", last)
}

// taken tells whether some program has the port at any address.
func taken(port uint16) bool {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: int(port)})
	if err != nil {
		return true
	}
	defer l.Close()
	u, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return true
	}
	u.Close()
	return false
}

// bindServers listens at the addresses of all zones that are not listened at yet. The caller holds mu.
func (w *World) bindServers() error {
	for _, z := range w.zones {
		for _, s := range z.Servers {
			if w.bound[s.Addr] {
				continue
			}
			if err := w.bind(s.Addr); err != nil {
				return err
			}
			w.bound[s.Addr] = true
		}
	}
	return nil
}

func (w *World) bind(addr netip.Addr) error {
	at := netip.AddrPortFrom(addr, w.ports.dns)
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return fmt.Errorf("world: name server: %w", err)
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		u.Close()
		return fmt.Errorf("world: name server: %w", err)
	}
	if !w.sockets.add(u) || !w.sockets.add(l) {
		return errors.New("world: closed")
	}
	w.running.Go(func() { w.serveUDP(u, addr) })
	w.running.Go(func() { w.serveTCP(l, addr) })
	return nil
}

func (w *World) serveUDP(u *net.UDPConn, server netip.Addr) {
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err != nil {
			if w.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		query := append([]byte(nil), buf[:n]...)
		w.running.Go(func() {
			e := &exchange{server: server, client: from.Addr().Unmap(), transport: "udp"}
			out := w.exchange(e, query)
			// A client that has gone is its own affair.
			for _, m := range e.flood {
				if wire, err := m.Pack(); err == nil {
					_, _ = u.WriteToUDPAddrPort(wire, from)
				}
			}
			if out != nil {
				_, _ = u.WriteToUDPAddrPort(out, from)
			}
		})
	}
}

func (w *World) serveTCP(l *net.TCPListener, server netip.Addr) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			if w.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !w.sockets.add(c) {
			return
		}
		w.running.Go(func() {
			defer w.sockets.close(c)
			w.serveConn(c, server)
		})
	}
}

func (w *World) serveConn(c *net.TCPConn, server netip.Addr) {
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return
	}
	for {
		if err := c.SetDeadline(time.Now().Add(tcpIdle)); err != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		e := &exchange{server: server, client: from.Addr().Unmap(), transport: "tcp"}
		out := w.exchange(e, query)
		if e.hangUp {
			return
		}
		if out == nil {
			continue
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}

// exchange is one query and its answer.
type exchange struct {
	server, client netip.Addr
	transport      string
	now            time.Time
	request        *dns.Msg
	answer         *dns.Msg

	// What faults make of it.
	delay                                             time.Duration
	drop, hangUp, truncate, noOPT, oversized, garbage bool
	flood                                             []*dns.Msg
	err                                               error
}

// fail makes the answer one with this response code and nothing else.
func (e *exchange) fail(rcode int) {
	a := e.answer
	a.Rcode, a.Authoritative, a.Answer, a.Ns, a.Extra = rcode, false, nil, nil, nil
}

// exchange gives the octets to answer a query with, or nil for silence.
func (w *World) exchange(e *exchange, query []byte) []byte {
	e.request, e.answer, e.now = new(dns.Msg), new(dns.Msg), w.now()
	if len(query) < 12 || query[2]&0x80 != 0 {
		return nil
	}
	if err := e.request.Unpack(query); err != nil || len(e.request.Question) != 1 {
		e.answer.Id, e.answer.Response, e.answer.Rcode = binary.BigEndian.Uint16(query), true, dns.RcodeFormatError
		return e.pack()
	}
	e.answer.SetReply(e.request)
	e.answer.Question = append([]dns.Question(nil), e.request.Question...)
	w.respond(e)
	if e.err != nil {
		e.fail(dns.RcodeServerFailure)
	}
	if e.delay > 0 && !wait(w.ctx, e.delay) || e.drop {
		return nil
	}
	return e.pack()
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *World) respond(e *exchange) {
	q, opt := e.request.Question[0], e.request.IsEdns0()
	if w.onQuery != nil {
		w.onQuery(Query{Server: e.server, Client: e.client, Transport: e.transport, Name: q.Name, Type: q.Qtype})
	}
	switch {
	case e.request.Opcode != dns.OpcodeQuery:
		e.fail(dns.RcodeNotImplemented)
		return
	case opt != nil && opt.Version() != 0:
		e.fail(dns.RcodeBadVers)
		return
	case q.Qclass != dns.ClassINET:
		e.fail(dns.RcodeRefused)
		return
	}
	st := w.current(e.now)
	zone := st.serving(e.server, e.client, q)
	name := ""
	if zone == nil {
		e.fail(dns.RcodeRefused)
	} else {
		name = zone.name
		zone.answer(e.answer, opt != nil && opt.Do())
	}
	for _, f := range st.faults {
		if f.strikes(e, name) {
			f.spoil(e, zone)
		}
	}
}

// current gives the state of the world, signed anew where the signatures have come of age.
func (w *World) current(now time.Time) *state {
	st := w.state.Load()
	if age := now.Sub(st.epoch); age > -resignAfter && age < resignAfter {
		return st
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if age := now.Sub(w.epoch); age <= -resignAfter || age >= resignAfter {
		// A failure leaves the old signatures in place: clients then see what is wrong.
		_ = w.resign()
	}
	return w.state.Load()
}

// serving gives the deepest zone above a name that the server at addr has; for DS the one on the parent's side where it
// has that too (RFC 4035 section 3.1.4.1).
func (s *state) serving(addr, client netip.Addr, q dns.Question) *signedZone {
	name := dns.CanonicalName(q.Name)
	var apex *signedZone
	for up := name; up != ""; up = parentOf(up) {
		z := s.zone(up, client)
		if z == nil || !z.servedAt(addr) {
			continue
		}
		if q.Qtype == dns.TypeDS && up == name {
			apex = z
			continue
		}
		return z
	}
	return apex
}

func (s *signedZone) servedAt(addr netip.Addr) bool {
	for _, server := range s.servers {
		if server.Addr == addr {
			return true
		}
	}
	return false
}

// pack gives the answer's octets, cut to what the client takes over UDP.
func (e *exchange) pack() []byte {
	if e.garbage {
		return append(binary.BigEndian.AppendUint16(nil, e.answer.Id), 0xff, 0xff, 0xff, 0xff)
	}
	limit := dns.MaxMsgSize
	if e.transport == "udp" {
		limit = dns.MinMsgSize
	}
	if opt := e.request.IsEdns0(); opt != nil && !e.noOPT {
		if e.transport == "udp" {
			limit = min(udpLimit, max(limit, int(opt.UDPSize())))
		}
		e.answer.SetEdns0(udpLimit, opt.Do())
	}
	e.answer.Compress = true
	out, err := e.answer.Pack()
	if err == nil && !e.truncate && (len(out) <= limit || e.oversized) {
		return out
	}
	if err != nil {
		e.fail(dns.RcodeServerFailure)
	} else {
		e.answer.Truncated = true
		e.answer.Answer, e.answer.Ns, e.answer.Extra = nil, nil, onlyOPT(e.answer)
	}
	out, err = e.answer.Pack()
	if err != nil {
		return nil
	}
	return out
}

func onlyOPT(m *dns.Msg) []dns.RR {
	if opt := m.IsEdns0(); opt != nil {
		return []dns.RR{opt}
	}
	return nil
}
