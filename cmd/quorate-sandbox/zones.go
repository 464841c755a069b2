package main

import (
	"net/netip"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/test/world"
)

// webHost is where the names of the demonstration have their web server, and attackerHost where a hijack leads.
var (
	webHost      = netip.MustParseAddr("127.0.80.1")
	attackerHost = netip.MustParseAddr("127.0.80.66")
)

// newWorld starts the sandbox's DNS: a zone for each way to be signed, on a name server of its own.
//
//	example.com   ECDSA P-256, NSEC     shop, bank, pay, and *.here for clients of `up` on this machine
//	example.org   ECDSA P-256, NSEC3
//	example.net   RSA/SHA-256, NSEC
//	example.dev   unsigned, below a signed top-level domain
//	broken.com    bogus: the DS in the parent does not fit its key
func newWorld() (*world.World, error) {
	server := func(host, addr string) []world.Server {
		return []world.Server{{Host: host, Addr: netip.MustParseAddr(addr)}}
	}
	const web = "127.0.80.1"
	return world.New(world.Config{Zones: []world.Zone{
		{Name: ".", Servers: server("a.root-servers.net.", "127.0.53.1"), Algorithm: dns.ECDSAP256SHA256},
		{Name: "com", Servers: server("a.gtld-servers.net.", "127.0.53.2"), Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC3OptOut},
		{Name: "net", Servers: server("b.gtld-servers.net.", "127.0.53.3"), Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC3},
		{Name: "org", Servers: server("a.org-servers.net.", "127.0.53.4"), Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC3},
		{Name: "dev", Servers: server("a.dev-servers.net.", "127.0.53.5"), Algorithm: dns.RSASHA256, Denial: world.NSEC},
		{Name: "example.com", Servers: server("ns1.example.com.", "127.0.53.11"), Algorithm: dns.ECDSAP256SHA256,
			Records: "@ A " + web + "\nwww A " + web + "\nshop A " + web + "\nbank A " + web + "\npay A " + web + "\nblog A " + web +
				"\npay CAA 0 issue \"other-ca.example\"\n*.here A 127.0.0.1\nhere A 127.0.0.1\n"},
		{Name: "example.org", Servers: server("ns1.example.org.", "127.0.53.12"), Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC3,
			Records: "@ A " + web + "\nwww A " + web + "\n@ CAA 0 issue \"" + issuer + "\"\n"},
		{Name: "example.net", Servers: server("ns1.example.net.", "127.0.53.13"), Algorithm: dns.RSASHA256,
			Records: "@ A " + web + "\napi A " + web + "\n"},
		{Name: "example.dev", Servers: server("ns1.example.dev.", "127.0.53.14"),
			Records: "@ A " + web + "\nwww A " + web + "\n"},
		{Name: "broken.com", Servers: server("ns1.broken.com.", "127.0.53.15"), Algorithm: dns.ECDSAP256SHA256, DS: world.DSWrong,
			Records: "@ A " + web + "\nwww A " + web + "\n"},
	}})
}
