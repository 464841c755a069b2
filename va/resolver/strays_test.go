package resolver_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Sixteen datagrams that answer something else are a flood of guesses: the question goes over TCP at once, and the
// genuine answer
// over UDP, if it still comes, is not waited for. Fifteen are bad luck.
//
// Holds: DCV-04
func TestRFC5452_9_AFloodOfGuessesIsNotWaitedOut(t *testing.T) {
	for guesses, tcp := range map[int]bool{0: false, 15: false, 16: true, 200: true} {
		w := serve(t, quick())
		_, err := w.Inject(world.Fault{Zone: "example.com", Type: dns.TypeTXT, Kind: world.Flood,
			Flood: func(m *dns.Msg) []*dns.Msg {
				var all []*dns.Msg
				for i := range guesses {
					guess := m.Copy()
					guess.Id ^= uint16(i + 1)
					guess.Answer = records(t, `example.com. TXT "guessed"`)
					all = append(all, guess)
				}
				return all
			}})
		require.NoError(t, err)
		l := in(t, w, nil).Lookup(context.Background(), "example.com", dns.TypeTXT).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
		require.NotContains(t, l.Answers, "guessed")
		asked := slices.DeleteFunc(slices.Clone(l.Queries), func(q resolver.Query) bool {
			return q.Question != "example.com. TXT" || !strings.HasPrefix(q.Server, "127.0.53.10:")
		})
		require.Equal(t, "udp", asked[0].Transport)
		require.Equal(t, tcp, asked[0].Error == "too many datagrams that answer another question", trace(l))
		require.Equal(t, tcp, asked[len(asked)-1].Transport == "tcp", trace(l))
	}
}

// Each query leaves from a socket, and so a port, of its own.
//
// Holds: DCV-04
func TestRFC5452_9_2_EachQueryHasItsOwnPort(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 53, 160)})
	require.NoError(t, err)
	var ports []uint16
	var running sync.WaitGroup
	running.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			query := new(dns.Msg)
			if query.Unpack(buf[:n]) != nil {
				continue
			}
			ports = append(ports, from.Port())
			if wire, err := new(dns.Msg).SetRcode(query, dns.RcodeServerFailure).Pack(); err == nil {
				_, _ = server.WriteToUDPAddrPort(wire, from)
			}
		}
	})
	at := server.LocalAddr().(*net.UDPAddr).AddrPort()
	r, err := resolver.New(resolver.Config{Hints: []resolver.Hint{{Name: "root.", Addrs: []netip.Addr{at.Addr().Unmap()}}},
		Port: at.Port(), AllowReserved: true})
	require.NoError(t, err)
	for range 10 {
		require.Equal(t, dnssec.Failure, r.Lookup(context.Background(), "example.com", dns.TypeA).Lookup.Status)
	}
	require.NoError(t, server.Close())
	running.Wait()
	require.GreaterOrEqual(t, len(ports), 20)
	slices.Sort(ports)
	require.Greater(t, len(slices.Compact(slices.Clone(ports))), len(ports)*3/4, "%v", ports)
}
