package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// flight is one query over UDP from a fresh connected socket, from its sending until it is settled: its response was judged fit or
// unfit, or it was given up. It belongs to one goroutine at a time.
type flight struct {
	server   netip.AddrPort
	query    *dns.Msg
	place    int // in the account, from 0; -1 where nothing was to be sent
	began    time.Time
	timeout  time.Duration
	conn     net.Conn
	path     path
	expected bool // the server has given a cookie
	strays   int
	x        exchanged

	settled bool
	m       dnssec.Message
	err     error
}

// launch sends one query, within the limits of sends. Where that fails, the flight is settled.
func (q *asking) launch(ctx context.Context, server netip.AddrPort, query *dns.Msg, timeout time.Duration) *flight {
	f := &flight{server: server, query: query, place: -1, timeout: timeout}
	if q.packets.Add(1) > int64(q.r.config.Limits.SendsPerQuestion) {
		f.settled, f.err = true, errSpent
		return f
	}
	var err error
	if f.place, err = q.begin(udp, server, q.asks()); err != nil {
		f.place, f.settled, f.err = -1, true, err
		return f
	}
	f.began = time.Now()
	if f.conn, err = q.dial(ctx, udp, server); err == nil {
		if f.path, f.expected, f.x.sent, err = q.prepare(f.conn, server, query, f.began); err == nil {
			_, err = f.conn.Write(f.x.sent)
		}
	}
	if err != nil {
		q.settle(ctx, f, err)
	}
	return f
}

// land waits for the response to a query, for so long from its sending, and tells whether the flight is settled: a longer wait may
// follow, unless ctx has ended or the query's own time is up.
func (q *asking) land(ctx context.Context, f *flight, wait time.Duration) bool {
	if f.settled {
		return true
	}
	until := f.began.Add(min(wait, f.timeout))
	err := f.conn.SetReadDeadline(until)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = f.conn.SetReadDeadline(time.Unix(1, 0)) }) // a closed socket needs none
		buf := q.r.datagrams.Get().(*[maxDatagram]byte)
		err = f.receive(buf[:])
		q.r.datagrams.Put(buf)
		stop()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil && wait < f.timeout {
		return false
	}
	if err == nil {
		err = q.cookied(&f.x, f.query, f.path, f.expected)
	}
	q.settle(ctx, f, err)
	return true
}

// receive reads datagrams until one is the response, or cannot be followed by a better one.
func (f *flight) receive(buf []byte) error {
	for ; f.strays < maxStrays; f.strays++ {
		n, err := f.conn.Read(buf)
		if err != nil {
			return err
		}
		f.x.received = bytes.Clone(buf[:n])
		m, err := accept(f.x.received, f.query)
		if err == nil && m.Truncated {
			return errTrunc
		}
		if err == nil {
			f.x.m = m
		}
		if err == nil || errors.Is(err, errCase) || errors.Is(err, errMangled) || errors.Is(err, errCrowded) {
			return err
		}
	}
	return errStrays
}

// settle closes the socket and keeps the account of the query.
func (q *asking) settle(ctx context.Context, f *flight, err error) {
	if f.conn != nil {
		f.conn.Close()
	}
	if err != nil {
		f.x.m = nil
	}
	if (ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded)) && err != nil && !errors.Is(err, errTrunc) && !errors.Is(err, errCase) {
		err = fmt.Errorf("%w within %s", errSilent, f.timeout)
		if errors.Is(ctx.Err(), context.Canceled) {
			err = errGivenUp
		}
	}
	q.account(ctx, udp, f.server, f.query, f.place, f.x, err, time.Since(f.began))
	f.settled, f.m, f.err = true, dnssec.Message{Msg: f.x.m, Query: f.place + 1}, err
}

// plain tells that a settled flight has brought a response that answers, whatever it is worth.
func (f *flight) plain() bool { return f.settled && f.err == nil && speaks(f.m.Rcode) }
