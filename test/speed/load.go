package main

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// patience is how long an answer is waited for: longer than Quorate's lookups may take.
const patience = 20 * time.Second

// system is a resolver that is measured.
type system interface {
	address() string // of its UDP port
	pid() int
	reset() error // empties its memory
}

// query puts one question over UDP.
func query(conn net.Conn, name string, qtype uint16, patience time.Duration) (*dns.Msg, time.Duration, error) {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	m.SetEdns0(1232, true)
	m.AuthenticatedData = true
	c := dns.Client{Timeout: patience, UDPSize: 4096}
	return c.ExchangeWithConn(m, &dns.Conn{Conn: conn, UDPSize: 4096})
}

// proven puts a question whose answer must be validated and hold so many records of the type.
func proven(conn net.Conn, name string, qtype uint16, records int) (time.Duration, error) {
	m, took, err := query(conn, name, qtype, patience)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", name, dns.Type(qtype), err)
	}
	found := 0
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == qtype {
			found++
		}
	}
	if !m.AuthenticatedData || m.Rcode != dns.RcodeSuccess || found != records {
		return 0, fmt.Errorf("%s %s: not the validated answer that is due:\n%s", name, dns.Type(qtype), m)
	}
	return took, nil
}

// times are how long lookups took, in order, and how many a second there were. Those that failed are only counted.
type times struct {
	took   []time.Duration
	each   float64 // lookups a second
	failed int
	why    error // of one that failed
}

// add notes one lookup.
func (t *times) add(took time.Duration, err error) {
	if err != nil {
		t.failed, t.why = t.failed+1, err
		return
	}
	t.took = append(t.took, took)
}

// failures tells of lookups that failed, and nothing where there were none.
func (t times) failures() string {
	if t.failed == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d failed)", t.failed)
}

func (t times) at(percent int) float64 {
	if len(t.took) == 0 {
		return 0
	}
	return milliseconds(t.took[len(t.took)*percent/100])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// together lets n workers ask the questions 0, 1, 2 ... of do until the time is up or there are no more, each on a socket of
// its own and each asking the next when it has its answer.
func together(address string, n, questions int, limit time.Duration,
	do func(conn net.Conn, i int) (time.Duration, error)) (times, error) {
	var next atomic.Int64
	var mu sync.Mutex
	var all times
	var workers sync.WaitGroup
	began := time.Now()
	for range n {
		workers.Go(func() {
			conn, err := net.Dial("udp", address)
			if err != nil {
				mu.Lock()
				all.add(0, err)
				mu.Unlock()
				return
			}
			defer conn.Close()
			for time.Since(began) < limit {
				i := int(next.Add(1) - 1)
				if i >= questions {
					return
				}
				took, err := do(conn, i)
				mu.Lock()
				all.add(took, err)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	slices.Sort(all.took)
	all.each = float64(len(all.took)) / time.Since(began).Seconds()
	if all.failed > len(all.took)/100 { // a loaded machine may lose a few; more is no measurement
		return all, fmt.Errorf("%d of %d lookups failed, one of them: %w", all.failed, all.failed+len(all.took), all.why)
	}
	return all, nil
}

// steadily begins so many lookups a second for a time, whether or not those before have their answers, and waits for all.
func steadily(address string, each int, limit time.Duration,
	do func(conn net.Conn, i int) (time.Duration, error)) times {
	var mu sync.Mutex
	var all times
	var running sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(each))
	defer ticker.Stop()
	for i := range int(limit.Seconds() * float64(each)) {
		running.Go(func() {
			conn, err := net.Dial("udp", address)
			var took time.Duration
			if err == nil {
				took, err = do(conn, i)
				conn.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			all.add(took, err)
		})
		<-ticker.C
	}
	running.Wait()
	slices.Sort(all.took)
	return all
}
