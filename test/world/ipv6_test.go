package world

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// A server of the world may have IPv6 addresses, and a host both kinds.
func TestServersWithIPv6(t *testing.T) {
	four, six := netip.MustParseAddr("127.0.53.132"), netip.MustParseAddr("::1")
	if l, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skipf("this machine has no IPv6, not even on loopback: %v", err)
	} else {
		require.NoError(t, l.Close())
	}
	var texts string
	for i := range 30 {
		texts += fmt.Sprintf("@ TXT %d\n", i)
	}
	w := start(t, Config{Zones: []Zone{
		{Name: ".", Servers: []Server{{Host: "root.ns-root", Addr: four}}, Algorithm: dns.ECDSAP256SHA256},
		{Name: "six", Servers: []Server{{Host: "ns.six", Addr: six}}, Algorithm: dns.ECDSAP256SHA256, Records: texts},
		{Name: "both", Servers: []Server{{Host: "ns.both", Addr: four}, {Host: "ns.both", Addr: six}}},
	}})
	referral := ask{name: "six", qtype: dns.TypeA, server: four}.must(t, w)
	require.Equal(t, []string{"AAAA", "OPT"}, types(referral.Extra))
	require.Equal(t, "::1", referral.Extra[0].(*dns.AAAA).AAAA.String())
	require.Equal(t, []string{"AAAA", "RRSIG"}, types(ask{name: "ns.six", qtype: dns.TypeAAAA, server: six}.must(t, w).Answer))
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		require.Len(t, ask{name: "ns.both", qtype: qtype, server: four}.must(t, w).Answer, 1)
	}
	for _, transport := range []string{"udp", "tcp"} {
		m := ask{name: "both", qtype: dns.TypeNS, server: six, transport: transport}.must(t, w)
		require.True(t, m.Authoritative, transport)
	}
	remove, err := w.Inject(Fault{Server: six, Transport: "udp", Kind: Truncate})
	require.NoError(t, err)
	require.True(t, ask{name: "six", qtype: dns.TypeTXT, server: six}.must(t, w).Truncated)
	require.Len(t, ask{name: "six", qtype: dns.TypeTXT, server: six, transport: "tcp"}.must(t, w).Answer, 31)
	remove()
	v := w.View(Client(six))
	require.NoError(t, v.Set("both", ByOwner, dns.TypeTXT, "for IPv6 clients"))
	require.Len(t, ask{name: "both", qtype: dns.TypeTXT, server: six}.must(t, w).Answer, 1)
	require.Empty(t, ask{name: "both", qtype: dns.TypeTXT, server: four}.must(t, w).Answer)
}

func TestAddressesThatNoServerMayHave(t *testing.T) {
	for _, addr := range []string{"192.0.2.1", "2001:db8::1", "::ffff:127.0.0.1", "fe80::1%lo"} {
		_, err := New(Config{Zones: []Zone{{Name: ".", Servers: []Server{{Host: "root.", Addr: netip.MustParseAddr(addr)}}}}})
		require.ErrorContains(t, err, "is no loopback address", addr)
	}
	_, err := New(Config{Zones: []Zone{{Name: ".", Servers: []Server{{Host: "root."}}}}})
	require.Error(t, err)
}
