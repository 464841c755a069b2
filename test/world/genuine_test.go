package world

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// What an attacker can replay is what the zone's keys signed, whatever its servers say at the moment.
func TestGenuineRecords(t *testing.T) {
	w := start(t, Default())
	_, err := w.Inject(Fault{Zone: "example.com", Kind: StripDNSSEC})
	require.NoError(t, err)
	set := w.RRset("example.com", "WWW.example.com", dns.TypeCNAME)
	require.Equal(t, []string{"CNAME", "RRSIG"}, types(set))
	require.NoError(t, set[1].(*dns.RRSIG).Verify(w.rings["example.com."].zsk.record, set[:1]))
	require.Empty(t, w.RRset("example.com", "www.example.com", dns.TypeA))
	require.Empty(t, w.RRset("example.com", "none.example.com", dns.TypeA))
	require.Empty(t, w.RRset("absent.com", "absent.com", dns.TypeA))
	require.Equal(t, []string{"A"}, types(w.RRset("unsigned.com", "unsigned.com", dns.TypeA)))

	at, over := w.Proof("com", "example.com"), w.Proof("com", "examplea.com")
	require.Equal(t, "example.com.", at[0].Header().Name)
	require.Equal(t, []string{"NSEC", "RRSIG"}, types(at))
	require.Equal(t, at[0].String(), over[0].String(), "the record whose span holds the name")
	require.Equal(t, []string{"NSEC3", "RRSIG"}, types(w.Proof("org", "example.org")))
	require.Empty(t, w.Proof("unsigned.com", "unsigned.com"))
	require.Empty(t, w.Proof("absent.com", "absent.com"))
	at[0].Header().Name = "changed."
	require.Equal(t, "example.com.", w.Proof("com", "example.com")[0].Header().Name, "copies")
}

func TestServersStandOnLoopbackUnlessAnyAddressIsAsked(t *testing.T) {
	z := Zone{Name: ".", Servers: []Server{{Host: "root", Addr: netip.MustParseAddr("192.0.2.1")}}}
	_, err := z.normal(false)
	require.ErrorContains(t, err, "loopback")
	_, err = z.normal(true)
	require.NoError(t, err)
	z.Servers[0].Addr = netip.MustParseAddr("2001:db8::1")
	_, err = z.normal(true)
	require.NoError(t, err)
	for _, addr := range []string{"::ffff:192.0.2.1", "fe80::1%lo"} { // no such address travels, or it needs an interface
		z.Servers[0].Addr = netip.MustParseAddr(addr)
		_, err = z.normal(true)
		require.Error(t, err, addr)
	}
}
