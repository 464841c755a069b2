package resolver_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// countingUpstream truncates every answer over UDP, and counts the connections that the same answers come over. With brief it
// closes each after one answer.
func countingUpstream(t *testing.T, w *world.World, brief bool) (at string, connections func() int) {
	t.Helper()
	truth := unbound(t, w)
	packets, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", daemon.FreePort(t)))
	require.NoError(t, err)
	listener, err := net.Listen("tcp", packets.LocalAddr().String())
	require.NoError(t, err)
	seen := make(chan string, 10000)
	handler := dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		if rw.RemoteAddr().Network() == "udp" {
			m := new(dns.Msg).SetReply(q)
			m.Truncated = true
			_ = rw.WriteMsg(m)
			return
		}
		seen <- rw.RemoteAddr().String()
		c := &dns.Client{Net: "tcp", Timeout: 5 * time.Second}
		if m, _, err := c.Exchange(q, truth); err == nil {
			_ = rw.WriteMsg(m)
		}
		if brief {
			_ = rw.Close()
		}
	})
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: listener, Handler: handler}} {
		started, done := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			require.NoError(t, s.Shutdown())
			require.NoError(t, <-done)
		})
	}
	return packets.LocalAddr().String(), func() int {
		different := map[string]bool{}
		for len(seen) > 0 {
			different[<-seen] = true
		}
		return len(different)
	}
}

// Holds: C3
func TestRFC7766_6_2_1_TCPConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	w := serve(t, quick())
	for _, brief := range []bool{false, true} {
		at, connections := countingUpstream(t, w, brief)
		r := through(t, w, at)
		overTCP := 0
		for _, q := range []string{"example.com", "www.example.com", "caa.example.com", "example.org"} {
			l := r.Lookup(context.Background(), q, dns.TypeA).Lookup
			require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
			for _, q := range l.Queries {
				if q.Transport == "tcp" && q.Error == "" {
					overTCP++
				}
			}
		}
		require.Greater(t, overTCP, 8)
		n := connections()
		if brief {
			require.GreaterOrEqual(t, n, overTCP, "each answer closes its connection, and nothing is lost by that")
		} else {
			require.LessOrEqual(t, n, 4, "%d answers over %d connections", overTCP, n)
		}
	}
}

// An idle connection that a server has closed costs no lookup, and a resolver holds on to none for long.
func TestIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	w := serve(t, quick())
	r := in(t, w, nil)
	for range 10 {
		l := r.Lookup(context.Background(), "truncated.com", dns.TypeCAA).Lookup
		require.Equal(t, dnssec.Secure, l.Status, trace(l))
		require.True(t, strings.Contains(trace(l), " tcp "), trace(l))
		if resolver.IdleStreams(r.Resolver) > 0 { // on a machine that stands still for seconds there may be none
			break
		}
	}
	require.Eventually(t, func() bool { return resolver.IdleStreams(r.Resolver) == 0 }, 20*time.Second, 50*time.Millisecond)
}
