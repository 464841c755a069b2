package reviewer

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
)

// inside tells that this process runs in a network namespace of its own.
var inside = flag.Bool("inside", false, "run the cases that need a network namespace, in this one")

// Addresses of the namespace's Internet: a root and a server of com that are where public ones are, and reserved ones.
var (
	publicRoot   = netip.MustParseAddr("198.41.0.4")
	publicTLD    = netip.MustParseAddr("192.5.6.30")
	publicServer = netip.MustParseAddr("199.43.135.53")
	metadata     = netip.MustParseAddr("169.254.169.254")
	private      = netip.MustParseAddr("10.0.0.1")
	loopback     = netip.MustParseAddr("127.0.53.99")
)

// publicAttacks are those of case 10 that want a resolver whose doors are closed: it asks port 53 of public
// addresses, as in production, and no other.
func publicAttacks() map[string]attack {
	at := func(addrs ...netip.Addr) attack {
		return attack{inside: true, doors: doors{production: true}, world: func(c *world.Config) {
			c.AnyAddress, c.Port = true, 53
			zone := func(name string, addrs ...netip.Addr) world.Zone {
				z := world.Zone{Name: name}
				for i, a := range addrs {
					z.Servers = append(z.Servers, world.Server{Host: string(rune('a'+i)) + ".ns." + name, Addr: a})
				}
				return z
			}
			root, com := zone(".", publicRoot), zone("com", publicTLD)
			root.Servers[0].Host, root.Algorithm, com.Algorithm = "a.root", dns.ECDSAP256SHA256, dns.ECDSAP256SHA256
			com.Records = "mapped NS ns.mapped\nns.mapped AAAA ::ffff:169.254.169.254\n"
			c.Zones = []world.Zone{root, com, zone("trap.com", addrs...)}
		}, verify: func(s *stage, _ record) {
			for _, a := range addrs {
				if a == publicServer {
					continue
				}
				require.Zero(s.t, s.asked(a), "%s was asked", a)
				m := new(dns.Msg).SetQuestion("trap.com.", dns.TypeSOA)
				reply, err := dns.ExchangeContext(s.t.Context(), m, netip.AddrPortFrom(a, 53).String())
				require.NoError(s.t, err, "a server is there, and would answer")
				require.Len(s.t, reply.Answer, 1)
			}
		}}
	}
	return map[string]attack{
		"10p": at(metadata), "10q": at(private), "10r": at(loopback), "10s": at(metadata),
		"10t": at(metadata, publicServer, private),
	}
}

// The test runs itself again where it may give itself any address, and nothing leaves the machine.
//
// Holds: D10, DCV-04, DCV-28
func TestNameServersAtReservedAddresses(t *testing.T) {
	if *inside {
		t.Skip("this is the namespace")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := world.Isolated(ctx, os.Args[0], "-test.run=^TestTheTenCases$", "-test.v", "-inside")
	out, err := cmd.CombinedOutput()
	if world.NoNamespace(err) {
		require.NotEqual(t, "true", os.Getenv("CI"), "CI lets nobody make a network namespace")
		t.Skipf("no network namespace is to be had here: %v", err)
	}
	require.NoError(t, err, "%s", out)
	for id := range publicAttacks() {
		require.Contains(t, string(out), "--- PASS: TestTheTenCases/"+id+"_", "%s", out)
	}
}

// settle gives the namespace the addresses of its Internet.
func settle(t *testing.T) {
	t.Helper()
	require.NoError(t, world.Settle(publicRoot, publicTLD, publicServer, metadata, private))
}
