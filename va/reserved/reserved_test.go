package reserved_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/reserved"
)

// Holds: DCV-28, D10
func TestBR_4_2_2_ReservedAddresses(t *testing.T) {
	for _, c := range []struct {
		name, addr, reason string
	}{
		{"this network", "0.0.0.0", "this network"},
		{"this network, end", "0.255.255.255", "this network"},
		{"ten", "10.0.0.1", "private"},
		{"ten, end", "10.255.255.255", "private"},
		{"CGN, start", "100.64.0.0", "shared"},
		{"CGN, end", "100.127.255.255", "shared"},
		{"loopback", "127.0.0.1", "loopback"},
		{"loopback, other", "127.8.9.10", "loopback"},
		{"cloud metadata", "169.254.169.254", "link local"},
		{"172.16, start", "172.16.0.0", "private"},
		{"172.16, end", "172.31.255.255", "private"},
		{"IETF", "192.0.0.8", "IETF"},
		{"documentation 1", "192.0.2.1", "documentation"},
		{"documentation 2", "198.51.100.1", "documentation"},
		{"documentation 3", "203.0.113.1", "documentation"},
		{"6to4 relay", "192.88.99.1", "6to4"},
		{"192.168", "192.168.1.1", "private"},
		{"benchmark", "198.19.255.255", "benchmark"},
		{"multicast", "224.0.0.1", "multicast"},
		{"class E", "240.0.0.1", "future"},
		{"broadcast", "255.255.255.255", "broadcast"},
		{"v6 unspecified", "::", "unspecified"},
		{"v6 loopback", "::1", "loopback"},
		{"ULA", "fd12:3456::1", "unique local"},
		{"v6 link local", "fe80::1", "link local"},
		{"v6 link local with zone", "fe80::1%eth0", "scope"},
		{"global with zone", "2606:4700::1%eth0", "scope"},
		{"site local", "fec0::1", "site local"},
		{"v6 multicast", "ff02::1", "multicast"},
		{"v6 documentation", "2001:db8::1", "documentation"},
		{"v6 documentation, new", "3fff:fff::1", "documentation"},
		{"discard", "100::1", "discard"},
		{"segment routing", "5f00::1", "segment"},
		{"Teredo", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "IETF"},
		{"ORCHIDv2", "2001:20::1", "IETF"},
		{"not allocated", "4000::1", "not allocated"},
		{"mapped private", "::ffff:10.0.0.1", "private"},
		{"mapped public", "::ffff:8.8.8.8", "mapped"},
		{"compatible", "::8.8.8.8", "compatible"},
		{"NAT64 private", "64:ff9b::10.0.0.1", "NAT64"},
		{"NAT64 metadata", "64:ff9b::a9fe:a9fe", "NAT64"},
		{"NAT64 local use", "64:ff9b:1::808:808", "NAT64"},
		{"NAT64 public", "64:ff9b::8.8.8.8", "NAT64"},
		{"beside NAT64", "64:ff9b::1:0:0", "not allocated"},
		{"6to4 public", "2002:808:808::1", "6to4"},
		{"6to4 private", "2002:c0a8:0101::1", "6to4"},
		{"6to4 loopback", "2002:7f00:0001::1", "6to4"},
		{"ISATAP private", "2606:4700::5efe:10.0.0.1", "ISATAP"},
		{"ISATAP private, global flag", "2606:4700::200:5efe:10.0.0.1", "ISATAP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reason, bad := reserved.Reserved(netip.MustParseAddr(c.addr))
			require.True(t, bad, c.addr)
			require.Contains(t, reason, c.reason)
		})
	}
}

func TestBR_4_2_2_PublicAddresses(t *testing.T) {
	for _, s := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.1", "192.167.255.255", "192.169.0.0",
		"198.17.255.255", "198.20.0.0", "198.41.0.4", "223.255.255.255",
		"2606:4700:4700::1111", "2a00:1450::1", "2001:503:ba3e::2:30", "2001:7fd::1", "2003::1",
		"2606:4700::5efe:8.8.8.8",
	} {
		reason, bad := reserved.Reserved(netip.MustParseAddr(s))
		require.False(t, bad, "%s: %s", s, reason)
		require.Empty(t, reason, s)
	}
}

func TestZeroAddrIsReserved(t *testing.T) {
	reason, bad := reserved.Reserved(netip.Addr{})
	require.True(t, bad)
	require.Equal(t, "not an address", reason)
}

// No address is public in one of its forms and reserved in another that reaches the same host.
func FuzzMappedAgreesWithPlain(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1})
	f.Add([]byte{8, 8, 8, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 4 {
			return
		}
		plain := netip.AddrFrom4([4]byte(b))
		_, bad := reserved.Reserved(plain)
		_, mapped := reserved.Reserved(netip.AddrFrom16(plain.As16()))
		require.True(t, mapped)
		sixteen := [16]byte{0x00, 0x64, 0xff, 0x9b, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
		_, nat := reserved.Reserved(netip.AddrFrom16(sixteen))
		require.True(t, nat)
		_, isatap := reserved.Reserved(netip.AddrFrom16([16]byte{0x26, 0x06, 0x47, 10: 0x5e, 11: 0xfe, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}))
		require.Equal(t, bad, isatap)
	})
}
