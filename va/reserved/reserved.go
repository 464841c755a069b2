// Package reserved tells which IP addresses are reserved: those in any block of the IANA registries of special-purpose addresses,
// and those that carry such an address inside. A perspective never sends to a reserved address (BR 4.2.2, "Reserved IP
// Address"; failures D10).
package reserved

import "net/netip"

type block struct {
	prefix netip.Prefix
	reason string
}

// blocks are the entries of the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), and the multicast blocks (RFC 5771, RFC 4291
// section 2.7). BR 1.6.1 counts every entry of the two registries, also the few that these call globally reachable: anycast of AS112 and AMT,
// 6to4 and what is translated (NAT64), behind which an address of any kind may be.
var blocks = []block{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network (RFC 791)"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private use (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared address space (RFC 6598)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link local (RFC 3927)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private use (RFC 1918)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "IETF protocol assignments (RFC 6890)"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("192.31.196.0/24"), "AS112 anycast (RFC 7535)"},
	{netip.MustParsePrefix("192.52.193.0/24"), "AMT anycast (RFC 7450)"},
	{netip.MustParsePrefix("192.88.99.0/24"), "deprecated 6to4 relay anycast (RFC 7526)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private use (RFC 1918)"},
	{netip.MustParsePrefix("192.175.48.0/24"), "AS112 direct delegation (RFC 7534)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking (RFC 2544)"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved for future use, and broadcast (RFC 1112, RFC 8190)"},

	{netip.MustParsePrefix("::/128"), "unspecified (RFC 4291)"},
	{netip.MustParsePrefix("::1/128"), "loopback (RFC 4291)"},
	{netip.MustParsePrefix("64:ff9b::/96"), "NAT64 (RFC 6052)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local-use NAT64 (RFC 8215)"},
	{netip.MustParsePrefix("100::/64"), "discard only (RFC 6666)"},
	{netip.MustParsePrefix("100:0:0:1::/64"), "dummy prefix (RFC 9780)"},
	{netip.MustParsePrefix("2001::/23"), "IETF protocol assignments (RFC 2928)"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation (RFC 3849)"},
	{netip.MustParsePrefix("2002::/16"), "6to4 (RFC 3056)"},
	{netip.MustParsePrefix("2620:4f:8000::/48"), "AS112 direct delegation (RFC 7534)"},
	{netip.MustParsePrefix("3fff::/20"), "documentation (RFC 9637)"},
	{netip.MustParsePrefix("5f00::/16"), "segment routing identifiers (RFC 9602)"},
	{netip.MustParsePrefix("fc00::/7"), "unique local (RFC 4193)"},
	{netip.MustParsePrefix("fe80::/10"), "link local (RFC 4291)"},
	{netip.MustParsePrefix("fec0::/10"), "deprecated site local (RFC 3879)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291)"},
}

var (
	compat = netip.MustParsePrefix("::/96")    // RFC 4291 section 2.5.5.1, deprecated
	isatap = [4]byte{0x00, 0x00, 0x5e, 0xfe}   // RFC 5214: interface identifier 0000:5efe or 0200:5efe, then IPv4
	global = netip.MustParsePrefix("2000::/3") // the only IPv6 space that IANA allocates for global unicast
)

// Reserved tells whether addr must never be contacted, and why. An IPv4 address inside an IPv6 one is reserved, but
// for that of ISATAP, which is judged. The zero Addr, an address with a zone, and IPv6 space that
// nobody has been given are reserved. reason is a short phrase with its source, empty when the address is not reserved.
func Reserved(addr netip.Addr) (reason string, reserved bool) {
	if !addr.IsValid() {
		return "not an address", true
	}
	if addr.Zone() != "" {
		return "an address with a scope zone is local (RFC 4007)", true
	}
	if addr.Is4In6() {
		if why, bad := Reserved(addr.Unmap()); bad {
			return "IPv4-mapped: " + why, true
		}
		// RFC 4291 section 2.5.5.2: no such address travels on the wire; the caller dials what it checked, so that the
		// plain IPv4 form is the one to use.
		return "IPv4-mapped address (RFC 4291)", true
	}
	for _, b := range blocks {
		if b.prefix.Contains(addr) {
			return b.reason, true
		}
	}
	if addr.Is4() {
		return "", false
	}
	return unicast(addr)
}

// unicast judges an IPv6 address outside of all blocks.
func unicast(addr netip.Addr) (string, bool) {
	b := addr.As16()
	switch {
	case compat.Contains(addr):
		return "IPv4-compatible address, deprecated (RFC 4291)", true
	case !global.Contains(addr):
		return "not allocated for global unicast (RFC 4291)", true
	case b[8]&^0x02 == isatap[0] && [3]byte(b[9:12]) == [3]byte(isatap[1:]):
		if why, bad := Reserved(netip.AddrFrom4([4]byte(b[12:]))); bad {
			return "ISATAP of a reserved address: " + why, true
		}
	}
	return "", false
}
