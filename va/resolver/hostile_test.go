package resolver_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// A zone and its child on the same servers, and the grandchild elsewhere, as uk and co.uk are: the server's referral skips
// the child, whose keys vouch for it.
//
// Holds: DCV-04, DCV-05
func TestRFC4035_5_2_ReferralSkipsAChildOnTheSameServers(t *testing.T) {
	cfg := quick()
	elsewhere := netip.MustParseAddr("127.0.53.20")
	grand := func(name string, algorithm uint8, denial world.Denial) {
		cfg.Zones = append(cfg.Zones, world.Zone{Name: name, Algorithm: algorithm, Denial: denial, Records: "www A 192.0.2.1\n",
			Servers: []world.Server{{Host: "ns1." + name, Addr: elsewhere}}})
	}
	grand("grand.child.example.com", dns.ECDSAP256SHA256, world.NSEC)
	grand("open.child.example.com", 0, world.NSEC)
	grand("grand.open.example.com", 0, world.NSEC)
	grand("below.grand.child.example.com", dns.ECDSAP256SHA256, world.NSEC3)
	w := serve(t, cfg)
	for _, c := range []struct {
		name string
		want dnssec.Status
	}{
		{"www.grand.child.example.com", dnssec.Secure},
		{"www.open.child.example.com", dnssec.Insecure},
		{"www.grand.open.example.com", dnssec.Insecure},
		{"www.below.grand.child.example.com", dnssec.Secure},
	} {
		for _, plain := range []bool{false, true} {
			r := in(t, w, func(c *resolver.Config) { c.NoQnameMinimisation = plain })
			for range 2 {
				l := r.Lookup(context.Background(), c.name, dns.TypeA).Lookup
				require.Equal(t, c.want, l.Status, "%s\n%s", l.Why, trace(l))
				l = r.Lookup(context.Background(), c.name, dns.TypeCAA).Lookup
				require.Equal(t, c.want, l.Status, "%s\n%s", l.Why, trace(l))
			}
		}
	}
}
