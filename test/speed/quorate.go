package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/test/child"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// account is what one lookup cost Quorate's resolver.
type account struct {
	Status, Code, Why string
	// Packets are the queries sent upstream, Most those for the question that took most of them.
	Packets, Most int
	// Checks are the signature checks, Keys the public keys read for them.
	Checks, Keys int64
	// CPU is that of the whole process meanwhile, Took the time on the clock.
	CPU, Took time.Duration
}

// counter counts what a resolver does with keys.
type counter struct{ checks, keys atomic.Int64 }

// algorithms is the default table, counted.
func (c *counter) algorithms() dnssec.Algorithms {
	counted := dnssec.Algorithms{}
	for number, algorithm := range dnssec.DefaultAlgorithms() {
		counted[number] = func(public []byte) (dnssec.VerifyFunc, error) {
			c.keys.Add(1)
			verify, err := algorithm(public)
			if err != nil {
				return nil, err
			}
			return func(data, signature []byte) bool {
				c.checks.Add(1)
				return verify(data, signature)
			}, nil
		}
	}
	return counted
}

// newResolver makes a resolver with an empty memory for the world at a place; the default timeout for 0.
func newResolver(at place, c *counter, timeout time.Duration) (*resolver.Resolver, error) {
	anchors, err := dnssec.ParseAnchors(strings.NewReader(at.Anchors))
	if err != nil {
		return nil, err
	}
	cfg := resolver.Config{Anchors: anchors, Port: at.Port, AllowReserved: true, Algorithms: c.algorithms(),
		Timeout: timeout}
	for _, h := range at.Hints {
		cfg.Hints = append(cfg.Hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
	}
	return resolver.New(cfg)
}

// ask makes one lookup and accounts for it. Nothing else may go on in this process.
func ask(r *resolver.Resolver, c *counter, name string, qtype uint16) (account, error) {
	checks, keys := c.checks.Load(), c.keys.Load()
	used, err := ownCPU()
	if err != nil {
		return account{}, err
	}
	began := time.Now()
	l := r.Lookup(context.Background(), name, qtype).Lookup
	a := account{Status: l.Status.String(), Code: l.Code, Why: l.Why, Packets: len(l.Queries), Took: time.Since(began),
		Checks: c.checks.Load() - checks, Keys: c.keys.Load() - keys}
	after, err := ownCPU()
	a.CPU = after - used
	each := map[string]int{}
	for _, q := range l.Queries {
		each[q.Question]++
		a.Most = max(a.Most, each[q.Question])
	}
	return a, err
}

// ownCPU is getrusage(2) of this process.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// front answers DNS queries over UDP from the resolver, so that it is asked as Unbound is. Quorate itself calls Lookup and
// has no such door.
type front struct {
	at      place
	counter counter
	current atomic.Pointer[resolver.Resolver]
	running sync.WaitGroup
}

func (f *front) reset() error {
	r, err := newResolver(f.at, &f.counter, 0)
	if err == nil {
		f.current.Store(r)
	}
	return err
}

func (f *front) serve(conn *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return // closed
		}
		query := new(dns.Msg)
		if err := query.Unpack(buf[:n]); err != nil || len(query.Question) != 1 {
			continue
		}
		f.running.Go(func() {
			a := f.current.Load().Lookup(context.Background(), query.Question[0].Name, query.Question[0].Qtype)
			m := new(dns.Msg).SetReply(query)
			m.RecursionAvailable = true
			m.Rcode = dns.RcodeServerFailure
			if a.Lookup.Status.Usable() {
				m.Rcode = dns.StringToRcode[a.Lookup.Rcode]
				m.AuthenticatedData = a.Lookup.Status == dnssec.Secure
				m.Answer = append(append(m.Answer, a.Aliases...), a.Records...)
			}
			m.Truncate(dns.DefaultMsgSize)
			if wire, err := m.Pack(); err == nil {
				_, _ = conn.WriteToUDPAddrPort(wire, from) // who asked sees that nothing comes
			}
		})
	}
}

// beQuorate is the process of Quorate's resolver. It is told the place first and gives the address of its front; then
// "reset" empties its memory, and "ask NAME TYPE" gives an account.
func beQuorate(in io.Reader, out io.Writer) error {
	f := &front{}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer f.running.Wait()
	defer conn.Close()
	f.running.Go(func() { f.serve(conn) })
	first := true
	return child.Obey(in, out, func(command string) (any, error) {
		if first {
			first = false
			if err := json.Unmarshal([]byte(command), &f.at); err != nil {
				return nil, err
			}
			return conn.LocalAddr().String(), f.reset()
		}
		switch words := strings.Fields(command); {
		case len(words) == 1 && words[0] == "reset":
			return struct{}{}, f.reset()
		case len(words) == 3 && words[0] == "ask":
			return ask(f.current.Load(), &f.counter, words[1], dns.StringToType[words[2]])
		}
		return nil, fmt.Errorf("unknown command %q", command)
	})
}

// quorate is that process, seen from outside.
type quorate struct {
	child *child.Child
	at    string
}

func startQuorate(at place) (*quorate, error) {
	q := &quorate{}
	var err error
	q.child, err = child.Spawn("quorate", at, &q.at)
	return q, err
}

func (q *quorate) address() string { return q.at }
func (q *quorate) pid() int        { return q.child.PID() }
func (q *quorate) reset() error    { return q.child.Call("reset", nil) }

// cold is the account of one lookup with an empty memory.
func (q *quorate) cold(name string, qtype uint16) (account, error) {
	var a account
	err := errors.Join(q.reset(), q.child.Call("ask "+name+" "+dns.Type(qtype).String(), &a))
	return a, err
}
