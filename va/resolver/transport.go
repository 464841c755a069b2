package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// udpSize is what DNS flag day 2020 recommends and RFC 9715 confirms: no fragments.
const udpSize = 1232

// maxDatagram is the room for a datagram: some servers send more than they were asked to.
const maxDatagram = 4096

// maxRecords is how many records a message may have: more than any zone needs, and fewer than cost an attacker little and us much.
const maxRecords = 2000

// maxStrays is how many datagrams that answer something else one socket tolerates before the question goes over TCP: a
// flood of guesses (RFC 5452) must not be waited out.
const maxStrays = 16

// Errors of one exchange.
var (
	errStrays   = errors.New("too many datagrams that answer another question")
	errCase     = errors.New("the response does not repeat the case of the question (0x20)")
	errTrunc    = errors.New("truncated over UDP")
	errTruncTCP = errors.New("truncated over TCP")
	errSilent   = errors.New("no response")
	errGivenUp  = errors.New("given up: no longer needed")
	errSpent    = errors.New("the question may cost no more packets")
	errMangled  = errors.New("the response is no DNS message")
	errCrowded  = fmt.Errorf("the response has more than %d records", maxRecords)
	errQuestion = errors.New("the response answers another question")
)

// newQuery makes a question with a random identifier and random case (RFC 5452, draft-vixie-dnsext-dns0x20). An upstream is
// asked to recurse, and to leave validation to the one who asks (RFC 4035 section 3.2.2).
func newQuery(name string, qtype uint16, edns, upstream bool) *dns.Msg {
	var seed [34]byte
	rand.Read(seed[:])
	mixed := []byte(name)
	for i, c := range mixed {
		if c >= 'a' && c <= 'z' && seed[2+i/8%32]>>(i%8)&1 == 1 {
			mixed[i] = c - 'a' + 'A'
		}
	}
	m := &dns.Msg{Question: []dns.Question{{Name: string(mixed), Qtype: qtype, Qclass: dns.ClassINET}}}
	m.Id = binary.BigEndian.Uint16(seed[:])
	m.RecursionDesired, m.CheckingDisabled = upstream, upstream
	if edns {
		m.SetEdns0(udpSize, true)
	}
	return m
}

func (w *work) dial(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
	var local netip.AddrPort
	if src := w.r.config.SourceAddr; src.IsValid() {
		local = netip.AddrPortFrom(src, 0)
	}
	if network == udp {
		return dialed(new(net.Dialer).DialUDP(ctx, network, local, server))
	}
	return dialed(new(net.Dialer).DialTCP(ctx, network, local, server))
}

// dialed gives a connection as an interface that is nil where there is none.
func dialed[C net.Conn](conn C, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// minTCP is the least time for a question over TCP: a lost SYN alone costs a second.
const minTCP = 4 * time.Second

// exchange puts the question to one server: over UDP from a fresh connected socket, and over TCP where UDP was truncated or
// did not repeat the question's case or cookie, or cannot be read. A truncated answer is never used (C3). A server that
// wants another cookie, or none, is asked once more. In later rounds silence may be due to the size of the answer (RFC 9715 section
// 3.2): then a smaller one is asked for, so that a larger is truncated, and every other time TCP is asked at once.
//
// first is the query over UDP that has been sent to the server already; nil where none was.
func (q *asking) exchange(ctx context.Context, first *flight, server netip.AddrPort, round int, edns bool,
	timeout time.Duration) (dnssec.Message, error) {
	if first == nil && round > 0 && round%2 == 0 {
		query := q.fresh(round, edns)
		m, err := q.overTCP(ctx, server, query, timeout)
		if err == nil && aboutCookies(m.Msg, query) {
			return q.overTCP(ctx, server, q.fresh(round, edns), timeout)
		}
		return m, err
	}
	if first == nil {
		first = q.launch(ctx, server, q.fresh(round, edns), timeout)
	}
	q.land(ctx, first, timeout)
	if first.err == nil && aboutCookies(first.m.Msg, first.query) {
		first = q.launch(ctx, server, q.fresh(round, edns), timeout)
		q.land(ctx, first, timeout)
	}
	switch err := first.err; {
	case errors.Is(err, errTrunc), errors.Is(err, errCase), errors.Is(err, errStrays), errors.Is(err, errMangled),
		errors.Is(err, errNoCookie), err == nil && first.m.Rcode == dns.RcodeBadCookie:
		return q.overTCP(ctx, server, first.query, timeout)
	}
	return first.m, first.err
}

// fresh makes the question anew, in later rounds with room for a small answer only.
func (q *asking) fresh(round int, edns bool) *dns.Msg {
	m := newQuery(q.name, q.qtype, edns, q.r.stub())
	if opt := m.IsEdns0(); opt != nil && round > 0 {
		opt.SetUDPSize(dns.MinMsgSize)
	}
	return m
}

// overTCP sends one query over TCP, within the limits of sends, and keeps the account of it.
func (q *asking) overTCP(ctx context.Context, server netip.AddrPort, query *dns.Msg, timeout time.Duration) (dnssec.Message, error) {
	timeout = max(2*timeout, minTCP)
	if q.packets.Add(1) > int64(q.r.config.Limits.SendsPerQuestion) {
		return dnssec.Message{}, errSpent
	}
	i, err := q.begin("tcp", server, q.asks())
	if err != nil {
		return dnssec.Message{}, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	x, err := q.deliver(ctx, server, query)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w within %s", errSilent, timeout)
		if errors.Is(context.Cause(ctx), context.Canceled) {
			err = errGivenUp
		}
	}
	q.account(ctx, "tcp", server, query, i, x, err, time.Since(began))
	return dnssec.Message{Msg: x.m, Query: i + 1}, err
}

// account keeps what came of a query, by its place from 0, in the lookup's account and in the statistics of its server.
func (q *asking) account(ctx context.Context, transport string, server netip.AddrPort, query *dns.Msg, place int, x exchanged, err error,
	took time.Duration) {
	q.end(place, x, err, took)
	q.told(transport, server, query, x, err, took)
	if errors.Is(context.Cause(ctx), context.Canceled) {
		q.r.stats.outlasted(server, took)
	} else {
		q.r.stats.note(server, took, x.m != nil || errors.Is(err, errTrunc) || errors.Is(err, errCase))
	}
}

// deliver puts the query over TCP, through a connection that waits for one, if there is any. One that the server has closed meanwhile is
// replaced.
func (w *work) deliver(ctx context.Context, server netip.AddrPort, query *dns.Msg) (exchanged, error) {
	if conn := w.r.streams.take(server); conn != nil {
		if x, err := w.through(ctx, conn, server, query); err == nil || x.received != nil || ctx.Err() != nil {
			return x, err
		}
	}
	conn, err := w.dial(ctx, "tcp", server)
	if err != nil {
		return exchanged{}, err
	}
	return w.through(ctx, conn, server, query)
}

func (w *work) through(ctx context.Context, conn net.Conn, server netip.AddrPort, query *dns.Msg) (x exchanged, err error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	var p path
	if p, _, x.sent, err = w.prepare(conn, server, query, time.Now()); err == nil {
		if err = x.overTCP(conn, query); err == nil {
			err = w.cookied(&x, query, p, false)
		}
	}
	if stop() && err == nil {
		w.r.streams.put(server, conn)
	} else {
		conn.Close()
	}
	return x, err
}

// exchanged is what went over the wire: the query as it was sent, and the last datagram or message that came back, whether or
// not it could be used. m is nil unless it is a response to the query.
type exchanged struct {
	sent, received []byte
	m              *dns.Msg
}

// prepare puts the cookie for a server into a query, and gives its octets. expected tells whether the server has given a cookie.
func (w *work) prepare(conn net.Conn, server netip.AddrPort, query *dns.Msg, now time.Time) (p path, expected bool, octets []byte, err error) {
	p.server = server.Addr()
	if local, ok := conn.LocalAddr().(interface{ AddrPort() netip.AddrPort }); ok {
		p.local = local.AddrPort().Addr().Unmap()
	}
	expected = w.r.cookies.attach(query, p, now)
	octets, err = query.Pack()
	return p, expected, octets, err
}

// cookied refuses a datagram without the cookie that is expected, and learns from any other response.
func (w *work) cookied(x *exchanged, query *dns.Msg, p path, expected bool) error {
	if expected {
		if _, ok := cookieOf(x.m); !ok {
			x.m = nil
			return errNoCookie
		}
	}
	w.r.cookies.learn(query, x.m, p, time.Now())
	return nil
}

func (x *exchanged) overTCP(conn net.Conn, query *dns.Msg) error {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(x.sent))), x.sent...)); err != nil {
		return err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return err
	}
	x.received = buf
	m, err := accept(buf, query)
	if errors.Is(err, errCase) { // some servers never keep it, and a connection proves what the case is there to prove
		err = nil
	}
	if err == nil && m.Truncated {
		return errTruncTCP
	}
	if err == nil {
		x.m = m
	}
	return err
}

// accept reads a response and tells whether it answers the query: identifier, response bit, opcode, and the question in its
// very case. Octets after the last record, or fewer records than the header counts, are no DNS message; a truncated one
// need not be whole. Where nothing but the case differs, the error is errCase and the message comes with it.
func accept(wire []byte, query *dns.Msg) (*dns.Msg, error) {
	if len(wire) < 12 || binary.BigEndian.Uint16(wire) != query.Id {
		return nil, errQuestion
	}
	const response, truncated = 0x80, 0x02
	if wire[2]&response == 0 || wire[2]&0x78 != 0 {
		return nil, errQuestion
	}
	m := new(dns.Msg)
	if wire[2]&truncated != 0 {
		q, err := question(wire)
		if err != nil || !sameQuestion(q, query.Question[0]) {
			return nil, errQuestion
		}
		m.Truncated = true
		return m, sameCase(q, query)
	}
	if counted(wire) > maxRecords {
		return nil, errCrowded
	}
	if !whole(wire) {
		return nil, errMangled
	}
	if err := m.Unpack(wire); err != nil {
		return nil, fmt.Errorf("%w: %w", errMangled, err)
	}
	if !sameCookie(m, query) { // like a wrong identifier (RFC 7873 section 5.3)
		return nil, errQuestion
	}
	if len(m.Question) == 0 && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		return m, nil // such servers do not get as far as the question; their answer is never used
	}
	if len(m.Question) != 1 || !sameQuestion(m.Question[0], query.Question[0]) {
		return nil, errQuestion
	}
	return m, sameCase(m.Question[0], query)
}

func sameCase(q dns.Question, query *dns.Msg) error {
	if q.Name != query.Question[0].Name {
		return errCase
	}
	return nil
}

func question(wire []byte) (dns.Question, error) {
	if binary.BigEndian.Uint16(wire[4:]) != 1 {
		return dns.Question{}, errQuestion
	}
	name, off, err := dns.UnpackDomainName(wire, 12)
	if err != nil || off+4 > len(wire) {
		return dns.Question{}, errQuestion
	}
	return dns.Question{Name: name, Qtype: binary.BigEndian.Uint16(wire[off:]),
		Qclass: binary.BigEndian.Uint16(wire[off+2:])}, nil
}

func sameQuestion(a, b dns.Question) bool {
	return strings.EqualFold(a.Name, b.Name) && a.Qtype == b.Qtype && a.Qclass == b.Qclass
}

// whole tells whether a message holds exactly the records that its header counts. The message library forgives less and
// more.
func whole(wire []byte) bool {
	off := 12
	for range int(binary.BigEndian.Uint16(wire[4:])) {
		if off = skipName(wire, off); off < 0 || off+4 > len(wire) {
			return false
		}
		off += 4
	}
	for range counted(wire) {
		if off = skipName(wire, off); off < 0 || off+10 > len(wire) {
			return false
		}
		off += 10 + int(binary.BigEndian.Uint16(wire[off+8:]))
		if off > len(wire) {
			return false
		}
	}
	return off == len(wire)
}

// counted is the number of records that a header counts.
func counted(wire []byte) int {
	records := 0
	for i := 6; i < 12; i += 2 {
		records += int(binary.BigEndian.Uint16(wire[i:]))
	}
	return records
}

func skipName(wire []byte, off int) int {
	for off < len(wire) {
		switch c := wire[off]; {
		case c == 0:
			return off + 1
		case c&0xc0 == 0xc0:
			if off+2 > len(wire) {
				return -1
			}
			return off + 2
		case c&0xc0 != 0:
			return -1
		default:
			off += int(c) + 1
		}
	}
	return -1
}
