package resolver_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// through makes a resolver that asks an upstream about a world.
func through(t testing.TB, w *world.World, upstream string) proving {
	t.Helper()
	return in(t, w, func(c *resolver.Config) { c.Upstream = netip.MustParseAddrPort(upstream) })
}

// What an upstream resolver says is validated by the same code: the verdicts are those of resolution from the root.
//
// Holds: DCV-05, DCV-06, DCV-08
func TestThroughUnboundTheVerdictsAreTheSame(t *testing.T) {
	t.Parallel()
	w := serve(t, quick())
	up, own := through(t, w, unbound(t, w)), in(t, w, nil)
	asked, same := 0, 0
	for _, q := range questions(t, "testdata/world.txt") {
		if q.status == "failure" || dns.IsSubDomain("rsa.com.", dns.Fqdn(q.name)) {
			continue
		}
		asked++
		a, b := own.Lookup(context.Background(), q.name, q.qtype).Lookup, up.Lookup(context.Background(), q.name, q.qtype).Lookup
		require.Equal(t, "", a.Upstream)
		require.NotEqual(t, "", b.Upstream)
		if a.Status == b.Status {
			same++
			require.Equal(t, a.Rcode, b.Rcode, "%s %s", q.name, b.Type)
			require.Len(t, b.Answers, len(a.Answers), "%s %s", q.name, b.Type)
			continue
		}
		// An upstream withholds what it does not like in spite of CD; that is a failure, never another verdict.
		require.Equal(t, dnssec.Failure, b.Status, "%s %s: %s and %s\n%s", q.name, b.Type, a.Status, b.Why, trace(b))
		require.Equal(t, dnssec.Bogus, a.Status, "%s %s: %s\n%s", q.name, b.Type, b.Why, trace(b))
		t.Logf("%s %s: %s from the root's servers; upstream: %s", q.name, b.Type, a.Status, b.Why)
	}
	t.Logf("%d of %d verdicts are the same", same, asked)
	require.Greater(t, same, asked*9/10)
}

// Lookups of several types that begin at the same time ask the upstream once for each DS set and for each zone's keys on their way.
//
// Holds: DCV-05
func TestThroughUnboundTheWayDownIsShared(t *testing.T) {
	t.Parallel()
	w := serve(t, quick())
	upstream := unbound(t, w)
	asked := map[string]int{}
	for range 10 { // where the machine is slow, a question is put twice
		r := through(t, w, upstream)
		lookups := make([]resolver.Lookup, 8)
		var all sync.WaitGroup
		for i := range lookups {
			all.Go(func() {
				lookups[i] = r.Resolver.Lookup(context.Background(), "www.example.com", []uint16{dns.TypeA, dns.TypeCAA}[i%2]).Lookup
			})
		}
		all.Wait()
		clear(asked)
		for _, l := range lookups {
			require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
			for _, q := range l.Queries {
				asked[q.Question]++
			}
		}
		most := 0
		for _, question := range []string{". DNSKEY", "com. DS", "com. DNSKEY", "example.com. DS", "example.com. DNSKEY", "www.example.com. DS"} {
			require.Positive(t, asked[question], question)
			most = max(most, asked[question])
		}
		if most == 1 {
			return
		}
	}
	require.Fail(t, "the way was gone several times", "%v", asked)
}

// upstreamOf runs a recursive resolver that answers from the world's truth and alters each response as edit says.
func upstreamOf(t *testing.T, w *world.World, edit func(m *dns.Msg)) string {
	t.Helper()
	truth := unbound(t, w)
	conn, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", daemon.FreePort(t)))
	require.NoError(t, err)
	stream, err := net.Listen("tcp", conn.LocalAddr().String())
	require.NoError(t, err)
	handler := dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		c := &dns.Client{Net: "tcp", Timeout: 5 * time.Second}
		m, _, err := c.Exchange(q, truth)
		if err != nil {
			return // the one who asks sees silence
		}
		edit(m)
		_ = rw.WriteMsg(m) // who has gone away needs no answer
	})
	for _, s := range []*dns.Server{{PacketConn: conn, Handler: handler}, {Listener: stream, Handler: handler}} {
		done := make(chan error, 1)
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			require.NoError(t, s.Shutdown())
			require.NoError(t, <-done)
		})
	}
	return conn.LocalAddr().String()
}

func without(rrs []dns.RR, types ...uint16) []dns.RR {
	var out []dns.RR
	for _, rr := range rrs {
		drop := false
		for _, t := range types {
			drop = drop || rr.Header().Rrtype == t
		}
		if !drop {
			out = append(out, rr)
		}
	}
	return out
}

// A lying upstream can withhold; it cannot forge.
//
// Holds: DCV-05, DCV-08, CAA-07
func TestALyingUpstreamForgesNothing(t *testing.T) {
	t.Parallel()
	w := serve(t, quick())
	for _, c := range []struct {
		name string
		edit func(m *dns.Msg)
	}{
		{"no signatures", func(m *dns.Msg) { m.Answer, m.Ns = without(m.Answer, dns.TypeRRSIG), without(m.Ns, dns.TypeRRSIG) }},
		{"another address", func(m *dns.Msg) {
			for _, rr := range m.Answer {
				if a, ok := rr.(*dns.A); ok {
					a.A = net.IPv4(192, 0, 2, 66)
				}
			}
		}},
		{"nothing there", func(m *dns.Msg) {
			if m.Question[0].Qtype == dns.TypeA {
				m.Rcode, m.Answer, m.Ns = dns.RcodeNameError, nil, nil
			}
		}},
		{"no DS anywhere", func(m *dns.Msg) {
			if m.Question[0].Qtype == dns.TypeDS {
				m.Answer, m.Ns = nil, nil
			}
		}},
		{"no keys", func(m *dns.Msg) {
			if m.Question[0].Qtype == dns.TypeDNSKEY {
				m.Answer = nil
			}
		}},
		{"a proof without its signature", func(m *dns.Msg) { m.Ns = without(m.Ns, dns.TypeRRSIG) }},
		{"validated, it says, and not recursive", func(m *dns.Msg) { m.AuthenticatedData, m.RecursionAvailable = true, false }},
		{"SERVFAIL", func(m *dns.Msg) { m.Rcode, m.Answer, m.Ns = dns.RcodeServerFailure, nil, nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := through(t, w, upstreamOf(t, w, c.edit))
			truth := in(t, w, nil)
			for _, q := range []struct {
				name  string
				qtype uint16
			}{{"example.com", dns.TypeA}, {"caa.example.com", dns.TypeCAA}, {"example.org", dns.TypeCAA}, {"www.example.org", dns.TypeA}} {
				a := r.Lookup(context.Background(), q.name, q.qtype)
				if !a.Lookup.Status.Usable() {
					continue // the lie is seen
				}
				b := truth.Lookup(context.Background(), q.name, q.qtype)
				require.Equal(t, b.Lookup.Status, a.Lookup.Status, "%s %s\n%s", q.name, a.Lookup.Type, trace(a.Lookup))
				require.Equal(t, strings.ToLower(strings.Join(b.Lookup.Answers, "\n")), strings.ToLower(strings.Join(a.Lookup.Answers, "\n")))
			}
		})
	}
	honest := through(t, w, upstreamOf(t, w, func(*dns.Msg) {}))
	require.Equal(t, dnssec.Secure, honest.Lookup(context.Background(), "example.com", dns.TypeA).Lookup.Status)
	require.Equal(t, dnssec.Insecure, honest.Lookup(context.Background(), "unsigned.com", dns.TypeA).Lookup.Status)
	require.Equal(t, resolver.Upstream, honest.Settings().Mode)
	warm := honest.Lookup(context.Background(), "www.example.com", dns.TypeA).Lookup
	require.Equal(t, dnssec.Secure, warm.Status)
	require.LessOrEqual(t, len(warm.Queries), 3, "keys and delegations are remembered:\n%s", trace(warm))
}

func TestUpstreamMustBeAHost(t *testing.T) {
	for _, bad := range []string{"0.0.0.0:53", "127.0.0.1:0", "224.0.0.1:53", "[::]:53"} {
		_, err := resolver.New(resolver.Config{Upstream: netip.MustParseAddrPort(bad)})
		require.ErrorContains(t, err, "no address and port of a host", bad)
	}
}
