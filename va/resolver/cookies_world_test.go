package resolver_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// front stands before the root's server of a world, and speaks of cookies as its answer function says.
type front struct {
	mu      sync.Mutex
	cookies []string // of the queries over UDP, in hexadecimal, empty without
	answer  func(f *front, transport, cookie string, reply *dns.Msg) []*dns.Msg
}

// serverHalf is the one server cookie that the front knows.
var serverHalf = strings.Repeat("c0", 16)

func withCookie(m *dns.Msg, cookie string) *dns.Msg {
	m = m.Copy()
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie}}
	return m
}

func rcode(m *dns.Msg, rcode int) *dns.Msg {
	m = m.Copy()
	m.Rcode, m.Answer, m.Ns = rcode, nil, nil
	return m
}

func (f *front) ServeDNS(rw dns.ResponseWriter, query *dns.Msg, upstream string) {
	transport := rw.LocalAddr().Network()
	cookie := ""
	if opt := query.IsEdns0(); opt != nil && len(opt.Option) > 0 {
		cookie = opt.Option[0].(*dns.EDNS0_COOKIE).Cookie
		opt.Option = nil
	}
	reply, _, err := (&dns.Client{Net: transport}).Exchange(query, upstream)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if transport == "udp" {
		f.cookies = append(f.cookies, cookie)
	}
	for _, m := range f.answer(f, transport, cookie, reply) {
		_ = rw.WriteMsg(m) // a client that has what it wants is gone
	}
}

// before puts a front before the root of w, and gives a resolver that knows no other root server.
func before(t *testing.T, w *world.World, f *front, timeout time.Duration) proving {
	t.Helper()
	addr := netip.MustParseAddr("127.0.77.1")
	at := netip.AddrPortFrom(addr, w.Port())
	u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	require.NoError(t, err)
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
	require.NoError(t, err)
	upstream := netip.AddrPortFrom(w.Hints()[0].Addr, w.Port()).String()
	handler := dns.HandlerFunc(func(rw dns.ResponseWriter, m *dns.Msg) { f.ServeDNS(rw, m, upstream) })
	for _, s := range []*dns.Server{{PacketConn: u, Handler: handler}, {Listener: l, Handler: handler}} {
		ready, ended := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(ready) }
		go func() { ended <- s.ActivateAndServe() }()
		<-ready
		t.Cleanup(func() {
			require.NoError(t, s.Shutdown())
			require.NoError(t, <-ended)
		})
	}
	return in(t, w, func(c *resolver.Config) {
		c.Hints = []resolver.Hint{{Name: "front.", Addrs: []netip.Addr{addr}}}
		c.Timeout = timeout
	})
}

// toFront gives the transports and outcomes of the packets to the front, for example "udp BADCOOKIE".
func toFront(l resolver.Lookup) string {
	var all []string
	for _, q := range l.Queries {
		if strings.HasPrefix(q.Server, "127.0.77.1:") {
			all = append(all, strings.TrimSpace(q.Transport+" "+q.Rcode))
		}
	}
	return strings.Join(all, ", ")
}

func demanding(_ *front, transport, cookie string, reply *dns.Msg) []*dns.Msg {
	switch {
	case cookie == "":
		return []*dns.Msg{reply}
	case transport == "udp" && cookie[16:] != serverHalf:
		return []*dns.Msg{withCookie(rcode(reply, dns.RcodeBadCookie), cookie[:16]+serverHalf)}
	}
	return []*dns.Msg{withCookie(reply, cookie[:16]+serverHalf)}
}

// Holds: DCV-04, C3
func TestRFC7873_CookiesWithAServerThat(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(f *front, transport, cookie string, reply *dns.Msg) []*dns.Msg
		// first and second tell what may be among the packets of a lookup below com and of one below org, and what may not.
		first, notFirst, second, notSecond string
		want                               dnssec.Status
	}{
		{name: "demands its cookie", answer: demanding, first: "udp BADCOOKIE", notFirst: "tcp", second: "udp NOERROR",
			notSecond: "BADCOOKIE", want: dnssec.Secure},
		{name: "is never content over UDP", answer: func(f *front, transport, cookie string, reply *dns.Msg) []*dns.Msg {
			if transport == "udp" {
				return []*dns.Msg{withCookie(rcode(reply, dns.RcodeBadCookie), cookie[:16]+serverHalf)}
			}
			return demanding(f, transport, cookie, reply)
		}, first: "tcp NOERROR", second: "tcp NOERROR", want: dnssec.Secure},
		{name: "is never content", answer: func(_ *front, _, cookie string, reply *dns.Msg) []*dns.Msg {
			return []*dns.Msg{withCookie(rcode(reply, dns.RcodeBadCookie), cookie[:16]+serverHalf)}
		}, first: "tcp BADCOOKIE", second: "tcp BADCOOKIE", want: dnssec.Failure},
		{name: "demands cookies and gives none", answer: func(_ *front, _, _ string, reply *dns.Msg) []*dns.Msg {
			return []*dns.Msg{rcode(reply, dns.RcodeBadCookie)}
		}, first: "tcp BADCOOKIE", second: "tcp BADCOOKIE", want: dnssec.Failure},
		{name: "is overtaken by forged answers", answer: func(f *front, transport, cookie string, reply *dns.Msg) []*dns.Msg {
			forged := rcode(reply, dns.RcodeNameError)
			return append([]*dns.Msg{withCookie(forged, "0123456789abcdef"+serverHalf), withCookie(forged, "0123456789abcdef"),
				withCookie(forged, cookie[:14])}, demanding(f, "tcp", cookie, reply)...)
		}, first: "udp NOERROR", notFirst: "tcp", second: "udp NOERROR", notSecond: "NXDOMAIN", want: dnssec.Secure},
		{name: "repeats another client's cookie", answer: func(_ *front, _, _ string, reply *dns.Msg) []*dns.Msg {
			return []*dns.Msg{withCookie(reply, "0123456789abcdef"+serverHalf)}
		}, first: "udp", notFirst: "NOERROR", second: "udp", notSecond: "NOERROR", want: dnssec.Failure},
		{name: "takes the option for a mistake", answer: func(_ *front, _, cookie string, reply *dns.Msg) []*dns.Msg {
			if cookie != "" {
				return []*dns.Msg{rcode(reply, dns.RcodeFormatError)}
			}
			return []*dns.Msg{reply}
		}, first: "udp FORMERR", notFirst: "tcp", second: "udp NOERROR", notSecond: "FORMERR", want: dnssec.Secure},
		{name: "knows no cookies", answer: func(_ *front, _, _ string, reply *dns.Msg) []*dns.Msg { return []*dns.Msg{reply} },
			first: "udp NOERROR", notFirst: "tcp", second: "udp NOERROR", notSecond: "tcp", want: dnssec.Secure},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := serve(t, quick())
			timeout := time.Duration(0)
			if c.name == "repeats another client's cookie" { // this one is silence, which takes its time
				timeout = time.Second
			}
			r := before(t, w, &front{answer: c.answer}, timeout)
			for _, ask := range []struct{ name, has, hasNot string }{
				{"example.com", c.first, c.notFirst}, {"example.org", c.second, c.notSecond},
			} {
				l := r.Lookup(context.Background(), ask.name, dns.TypeCAA).Lookup
				require.Equal(t, c.want, l.Status, "%s\n%s", l.Why, trace(l))
				require.Contains(t, toFront(l), ask.has)
				if ask.hasNot != "" {
					require.NotContains(t, toFront(l), ask.hasNot)
				}
			}
		})
	}
}

// A datagram without a cookie, from a server that gave one before, is not believed: the question goes over TCP. When the
// server has none there either, it has lost them, and UDP is good again.
//
// Holds: C3
func TestRFC7873_5_3_MissingCookieIsNotBelieved(t *testing.T) {
	w := serve(t, quick())
	lost := false
	f := &front{}
	f.answer = func(f *front, transport, cookie string, reply *dns.Msg) []*dns.Msg {
		if lost && transport == "udp" {
			return []*dns.Msg{rcode(reply, dns.RcodeNameError)}
		}
		if lost {
			return []*dns.Msg{reply}
		}
		return demanding(f, transport, cookie, reply)
	}
	r := before(t, w, f, 0)
	l := r.Lookup(context.Background(), "example.com", dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Secure, l.Status, l.Why)
	f.mu.Lock()
	lost = true
	f.mu.Unlock()
	l = r.Lookup(context.Background(), "example.org", dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
	require.Contains(t, toFront(l), "udp, tcp NOERROR")
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Len(t, f.cookies[len(f.cookies)-1], 48, "the server cookie was sent until then")
}
