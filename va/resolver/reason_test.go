package resolver_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// TestALimitTellsWhatTheServersSaid: the limit that ends a lookup is no help to the operator whose network is down; what
// went wrong before it is.
func TestALimitTellsWhatTheServersSaid(t *testing.T) {
	l, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	port := netip.MustParseAddrPort(l.LocalAddr().String()).Port()
	require.NoError(t, l.Close()) // nobody listens there now
	hint := resolver.Hint{Name: "a.root-servers.net."}
	for i := range 20 {
		hint.Addrs = append(hint.Addrs, netip.AddrFrom4([4]byte{127, 0, 77, byte(i + 1)}))
	}
	r, err := resolver.New(resolver.Config{Hints: []resolver.Hint{hint}, Port: port, AllowReserved: true})
	require.NoError(t, err)
	got := r.Lookup(t.Context(), "example.com", dns.TypeA).Lookup
	require.Equal(t, dnssec.Failure, got.Status)
	require.Equal(t, "dns.limit", got.Code)
	require.Contains(t, got.Why, "more than 32 packets; before that, a.root-servers.net.")
	require.Contains(t, got.Why, "connection refused")
}
