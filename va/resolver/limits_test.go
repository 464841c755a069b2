package resolver_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// The limits by number, and no configuration has more.
//
// Holds: DCV-09
func TestLimitsByNumber(t *testing.T) {
	require.Equal(t, resolver.Limits{Limits: dnssec.Limits{SignaturesPerRRset: 8, Signatures: 64, DSMismatches: 4,
		KeysPerTag:  4,
		NSEC3Hashes: 8, NSEC3Iterations: 100}, Targets: 64, TargetsPerDelegation: 16, MissingTargets: 5,
		SendsPerQuestion: 32, Sends: 200, Octets: 256 << 10,
		Restarts: 11, Depth: 6}, resolver.DefaultLimits())
	require.Equal(t, 5*time.Minute, dnssec.MaxSlack)
	more := resolver.DefaultLimits()
	for _, field := range []*int{&more.Octets, &more.Targets, &more.TargetsPerDelegation, &more.MissingTargets,
		&more.SendsPerQuestion, &more.Sends,
		&more.Restarts, &more.Depth, &more.Signatures, &more.SignaturesPerRRset, &more.DSMismatches, &more.KeysPerTag,
		&more.NSEC3Hashes,
		&more.NSEC3Iterations} {
		was := *field
		for _, n := range []int{was + 1, -1} {
			*field = n
			_, err := resolver.New(resolver.Config{Limits: more})
			require.ErrorContains(t, err, "the limit ")
		}
		*field = was
	}
	_, err := resolver.New(resolver.Config{Limits: more})
	require.NoError(t, err)
}

// sought counts the names with a prefix that were asked about, each once.
func (p *packets) sought(prefix string) int {
	names := map[string]bool{}
	for _, q := range p.all() {
		if n := strings.ToLower(q.Name); strings.HasPrefix(n, prefix) {
			names[n] = true
		}
	}
	return len(names)
}

// Of sixty name servers that do not exist five are looked for.
//
// Holds: DCV-09
func TestNXNS_FiveMissingServersAreEnough(t *testing.T) {
	w, seen := counted(t)
	var ns []string
	for i := range 60 {
		ns = append(ns, fmt.Sprintf("absent%d.example.org.", i))
	}
	require.NoError(t, w.Set("nxns.example.com", dns.TypeNS, ns...))
	l := in(t, w, nil).Lookup(context.Background(), "www.nxns.example.com", dns.TypeA).Lookup
	require.Equal(t, dnssec.Failure, l.Status, trace(l))
	require.Equal(t, "dns.limit", l.Code)
	require.Equal(t, 5, seen.sought("absent"))
}

// nested is a world in which zone i has its only name server in zone i+1, and only the last has glue.
func nested(t testing.TB, zones int) *world.World {
	t.Helper()
	server := func(host, addr string) []world.Server {
		return []world.Server{{Host: host,
			Addr: netip.MustParseAddr(addr)}}
	}
	cfg := world.Config{Zones: []world.Zone{
		{Name: ".", Servers: server("root.ns-root", "127.0.53.140"), Algorithm: dns.ECDSAP256SHA256},
	}}
	for i := range zones {
		host := fmt.Sprintf("ns.in%d", i+1)
		if i == zones-1 {
			host = fmt.Sprintf("ns.in%d", i)
		}
		cfg.Zones = append(cfg.Zones, world.Zone{Name: fmt.Sprintf("in%d", i), Algorithm: dns.ECDSAP256SHA256,
			Records: "www A 192.0.2.1\n",
			Servers: server(host, fmt.Sprintf("127.0.53.%d", 141+i))})
	}
	return serve(t, cfg)
}

// Holds: DCV-09
func TestAddressLookupsNestToADepth(t *testing.T) {
	w := nested(t, 10)
	for i, want := range map[int]dnssec.Status{9: dnssec.Secure, 8: dnssec.Secure, 3: dnssec.Secure, 2: dnssec.Failure,
		0: dnssec.Failure} {
		l := in(t, w, nil).Lookup(context.Background(), fmt.Sprintf("www.in%d", i), dns.TypeA).Lookup
		require.Equal(t, want, l.Status, "in%d, %d deep: %s\n%s", i, 9-i, l.Why, trace(l))
	}
}

// Holds: DCV-09
func TestTargetsOfALookupAreCounted(t *testing.T) {
	w := nested(t, 6)
	for targets, want := range map[int]dnssec.Status{5: dnssec.Secure, 4: dnssec.Failure} {
		l := in(t, w, func(c *resolver.Config) { c.Limits.Targets = targets }).Lookup(context.Background(), "www.in0",
			dns.TypeA).Lookup
		require.Equal(t, want, l.Status, "%s\n%s", l.Why, trace(l))
		if want == dnssec.Failure {
			require.Contains(t, l.Why, "the lookup needs the addresses of more than 4 name servers")
		}
	}
}

// A delegation to forty name servers elsewhere, all of which exist and answer nothing: at most sixteen addresses are
// looked up.
//
// Holds: DCV-09
func TestTargetsOfADelegationAreCounted(t *testing.T) {
	w, seen := counted(t)
	var ns []string
	for i := range 40 {
		name := fmt.Sprintf("target%d.example.org", i)
		ns = append(ns, name+".")
		require.NoError(t, w.Set(name, dns.TypeA, fmt.Sprintf("127.0.53.%d", 180+i))) // nobody listens there
	}
	require.NoError(t, w.Set("many.example.com", dns.TypeNS, ns...))
	l := in(t, w, nil).Lookup(context.Background(), "www.many.example.com", dns.TypeA).Lookup
	require.Equal(t, dnssec.Failure, l.Status, trace(l))
	require.Equal(t, "dns.limit", l.Code, l.Why)
	require.LessOrEqual(t, seen.sought("target"), 16, "%s\n%s", l.Why, trace(l))
}
