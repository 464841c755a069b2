package delay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// EDNS says what a path does to DNS queries over UDP that carry an OPT record (RFC 6891).
type EDNS uint8

const (
	// EDNSPass leaves them as they are.
	EDNSPass EDNS = iota
	// EDNSStrip takes the OPT record out and lets the rest pass.
	EDNSStrip
	// EDNSRefuse answers them with FORMERR, as servers do that are older than EDNS.
	EDNSRefuse
	// EDNSDrop lets them vanish.
	EDNSDrop
)

// Path states what lies between a client and a host. The zero Path is a perfect one.
type Path struct {
	// RTT is the round-trip time, half of it in each direction. Each datagram takes up to Jitter longer in each direction,
	// so that datagrams overtake one another.
	RTT, Jitter time.Duration
	// Loss is the probability, from 0 to 1, that a datagram is lost, in each direction by itself. TCP makes up for it, and
	// takes the time that repeating takes.
	Loss float64
	// MaxResponse, where it is not 0, is the largest datagram in octets that comes back, like behind a firewall that drops
	// fragments.
	MaxResponse int
	// EDNS is for datagrams alone: what looks into them seldom looks into TCP.
	EDNS EDNS
	// NoTCP refuses TCP connections.
	NoTCP bool
	// Seed is what the losses and delays follow from: the n-th datagram in a direction has the same fate in every run.
	Seed uint64
	// Source is the address that the target sees; the system's choice where it is the zero Addr.
	Source netip.Addr
}

// Host stands for a host at the end of a Path: it carries datagrams and TCP connections to a target and back.
type Host struct {
	path        Path
	udp         *net.UDPConn
	tcp         *Proxy
	target      netip.AddrPort
	there, back *way
	queries     atomic.Int64
	ctx         context.Context
	cancel      context.CancelFunc
	work        sync.WaitGroup

	mu    sync.Mutex
	flows map[netip.AddrPort]*net.UDPConn // to the target, by client
}

// flowIdle is how long the way back to a client is kept after its last datagram.
const flowIdle = 5 * time.Second

// maxDatagram is the largest datagram in octets that is carried: no DNS over UDP has larger ones.
const maxDatagram = 9000

// NewHost listens at an address and a port of choice, for datagrams and, unless path says no, for TCP connections. Close ends it.
// Errors: those of listening, and of a probability that is none.
func NewHost(at, target netip.AddrPort, path Path) (*Host, error) {
	if !(path.Loss >= 0 && path.Loss <= 1) {
		return nil, fmt.Errorf("delay: a loss of %v is no probability", path.Loss)
	}
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	h := &Host{path: path, udp: u, target: target, there: newWay(path, 3), back: newWay(path, 4),
		flows: map[netip.AddrPort]*net.UDPConn{}}
	if !path.NoTCP {
		here := u.LocalAddr().(*net.UDPAddr).AddrPort()
		if h.tcp, err = newProxy(here.String(), target.String(), path); err != nil {
			return nil, errors.Join(err, u.Close())
		}
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.work.Go(h.listen)
	return h, nil
}

// Addr is where the host listens.
func (h *Host) Addr() netip.AddrPort { return h.udp.LocalAddr().(*net.UDPAddr).AddrPort() }

// Carried gives how many datagrams clients have sent, lost ones included, and how many connections they have opened.
func (h *Host) Carried() (datagrams, connections int64) {
	if h.tcp != nil {
		connections = h.tcp.opened.Load()
	}
	return h.queries.Load(), connections
}

// Close ends all, what is under way too, and waits until nothing of the host runs any more.
func (h *Host) Close() error {
	h.cancel()
	err := h.udp.Close()
	h.mu.Lock()
	for _, f := range h.flows {
		f.Close()
	}
	h.mu.Unlock()
	if h.tcp != nil {
		err = errors.Join(err, h.tcp.Close())
	}
	h.work.Wait()
	return err
}

func (h *Host) listen() {
	buf := make([]byte, maxDatagram+1)
	for {
		n, from, err := h.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP message about an earlier datagram
		}
		h.queries.Add(1)
		query := append([]byte(nil), buf[:n]...)
		takes, lost := h.there.datagram()
		if lost || n > maxDatagram {
			continue
		}
		due := time.Now().Add(takes)
		h.work.Go(func() { h.deliver(query, from, due) })
	}
}

// deliver gives a datagram to the target, or does with it what the path does instead.
func (h *Host) deliver(query []byte, from netip.AddrPort, due time.Time) {
	if !wait(h.ctx, due) {
		return
	}
	forward, answer := h.path.EDNS.mangle(query)
	if answer != nil {
		h.bring(answer, from)
	}
	if forward == nil {
		return
	}
	flow, err := h.flow(from)
	if err != nil {
		return // like a datagram lost: who sent it asks again
	}
	_, _ = flow.Write(forward) // a target that is not there answers nothing
}

// flow gives the socket whose responses go back to a client.
func (h *Host) flow(client netip.AddrPort) (*net.UDPConn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	f, ok := h.flows[client]
	if !ok {
		var source *net.UDPAddr
		if h.path.Source.IsValid() {
			source = net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.path.Source, 0))
		}
		var err error
		if f, err = net.DialUDP("udp", source, net.UDPAddrFromAddrPort(h.target)); err != nil {
			return nil, err
		}
		h.flows[client] = f
		h.work.Go(func() { h.responses(f, client) })
	}
	return f, f.SetReadDeadline(time.Now().Add(flowIdle))
}

// responses brings back what the target says to one client, until it has been idle.
func (h *Host) responses(flow *net.UDPConn, client netip.AddrPort) {
	buf := make([]byte, maxDatagram+1)
	for {
		n, err := flow.Read(buf)
		if err != nil && (errors.Is(err, net.ErrClosed) || isTimeout(err)) {
			break
		}
		if err != nil {
			continue // the target is not there yet
		}
		h.bring(append([]byte(nil), buf[:n]...), client)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.flows, client)
	flow.Close()
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// bring takes a response back to the client, unless the path does not.
func (h *Host) bring(response []byte, client netip.AddrPort) {
	takes, lost := h.back.datagram()
	if lost || len(response) > maxDatagram || h.path.MaxResponse > 0 && len(response) > h.path.MaxResponse {
		return
	}
	due := time.Now().Add(takes)
	h.work.Go(func() {
		if wait(h.ctx, due) {
			_, _ = h.udp.WriteToUDPAddrPort(response, client) // a client that has gone is its own affair
		}
	})
}

// mangle gives what goes on to the target of a query, and what is answered in the target's place; nil for nothing. What is
// no DNS message with an OPT record passes as it is.
func (e EDNS) mangle(query []byte) (forward, answer []byte) {
	m := new(dns.Msg)
	if e == EDNSPass || m.Unpack(query) != nil || m.Response || m.IsEdns0() == nil {
		return query, nil
	}
	switch e {
	case EDNSStrip:
		m.Extra = slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
		forward, _ = m.Pack()
	case EDNSRefuse:
		answer, _ = new(dns.Msg).SetRcodeFormatError(m).Pack()
	}
	return forward, answer
}
