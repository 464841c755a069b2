package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/test/child"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// lookup is one measurement of CAA lookups with an empty memory, each of another zone: of Quorate's resolver, and of Unbound.
type lookup struct {
	inFlight int
	times    [2]times
	cpu      [2]float64 // milliseconds each
}

// root is what a resolver must know of the world.
type root struct {
	Anchors string
	Hints   []world.Server
}

// measureLookups asks both over UDP in the same way.
func (b *bench) measureLookups(ctx context.Context) (err error) {
	var front string
	mine, err := child.Spawn("resolver", root{b.stage.anchors, b.stage.hints}, &front)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mine.Stop()) }()
	dir := filepath.Join(b.Dir, "unbound.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	const at = "127.0.2.1:5300"
	socket, file := filepath.Join(dir, "control"), filepath.Join(dir, "conf")
	conf := "server:\n interface: " + strings.Replace(at, ":", "@", 1) + "\n outgoing-interface: " + source(0).String() +
		"\n access-control: 127.0.0.0/8 allow\n" + b.stage.unboundSettings(dir, socket)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return err
	}
	theirs, err := launch(filepath.Join(dir, "log"), false, program("unbound"), "-d", "-c", file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, theirs.stop()) }()
	if err := eventually(func() error { return flush(socket) }); err != nil {
		return err
	}
	for _, inFlight := range []int{1, 16, 128} {
		l := lookup{inFlight: inFlight}
		for i, s := range []struct {
			at    string
			pid   int
			empty func() error
		}{{front, mine.PID(), func() error { return mine.Ask(root{}, nil) }}, {at, theirs.pid(), func() error { return flush(socket) }}} {
			if err := s.empty(); err != nil {
				return err
			}
			before, err := cpu([]int{s.pid})
			if err != nil {
				return err
			}
			if l.times[i], err = b.ask(ctx, s.at, inFlight); err != nil {
				return err
			}
			after, err := cpu([]int{s.pid})
			if err != nil {
				return err
			}
			if err := l.times[i].check(); err != nil {
				return err
			}
			l.cpu[i] = (after - before).Seconds() * 1000 / float64(len(l.times[i].Took))
		}
		progress("cold CAA lookups, c=%d: Quorate p50 %.2f ms, Unbound %.2f ms", inFlight, l.times[0].at(50), l.times[1].at(50))
		b.lookups = append(b.lookups, l)
	}
	return nil
}

// ask looks up the CAA records of each zone once, each of which must be proven.
func (b *bench) ask(ctx context.Context, at string, inFlight int) (times, error) {
	sockets := make(chan net.Conn, inFlight)
	for range inFlight {
		c, err := net.Dial("udp", at)
		if err != nil {
			return times{}, err
		}
		defer c.Close()
		sockets <- c
	}
	client := dns.Client{Timeout: 10 * time.Second, UDPSize: 4096}
	return load{InFlight: inFlight, Limit: time.Minute, Most: b.Zones}.run(ctx, func(i int) error {
		c := <-sockets
		defer func() { sockets <- c }()
		m := new(dns.Msg).SetQuestion(zone(i)+".", dns.TypeCAA)
		m.SetEdns0(1232, true)
		r, _, err := client.ExchangeWithConn(m, &dns.Conn{Conn: c, UDPSize: 4096})
		if err == nil && (!r.AuthenticatedData || len(r.Answer) == 0) {
			err = fmt.Errorf("not the validated answer that is due:\n%s", r)
		}
		return err
	})
}

// beResolver is the process of Quorate's resolver, with a door over UDP that it has nowhere else. Its first command is the world's root,
// and each further one empties its memory.
func beResolver(in io.Reader, out io.Writer) error {
	var current atomic.Pointer[resolver.Resolver]
	var config resolver.Config
	var conn *net.UDPConn
	return child.Obey(in, out, func(command string) (any, error) {
		if conn == nil {
			var err error
			if config, err = resolverConfig(command); err != nil {
				return nil, err
			}
			if conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 2, 2)}); err != nil {
				return nil, err
			}
			go serve(conn, &current)
		}
		r, err := resolver.New(config)
		if err != nil {
			return nil, err
		}
		current.Store(r)
		return conn.LocalAddr().String(), nil
	})
}

func resolverConfig(command string) (resolver.Config, error) {
	var r root
	if err := json.Unmarshal([]byte(command), &r); err != nil {
		return resolver.Config{}, err
	}
	anchors, err := dnssec.ParseAnchors(strings.NewReader(r.Anchors))
	c := resolver.Config{Anchors: anchors, SourceAddr: source(0)}
	for _, h := range r.Hints {
		c.Hints = append(c.Hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
	}
	return c, err
}

// serve answers until the process ends. AD says that an answer was proven.
func serve(conn *net.UDPConn, current *atomic.Pointer[resolver.Resolver]) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		query := new(dns.Msg)
		if err := query.Unpack(buf[:n]); err != nil || len(query.Question) != 1 {
			continue
		}
		go func() {
			a := current.Load().Lookup(context.Background(), query.Question[0].Name, query.Question[0].Qtype)
			m := new(dns.Msg).SetReply(query)
			m.Rcode = dns.RcodeServerFailure
			if a.Lookup.Status.Usable() {
				m.Rcode, m.Answer, m.AuthenticatedData = dns.RcodeSuccess, a.Records, a.Lookup.Status == dnssec.Secure
			}
			if wire, err := m.Pack(); err == nil {
				_, _ = conn.WriteToUDPAddrPort(wire, from) // a client that has gone is its own affair
			}
		}()
	}
}
