package resolver_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// inside tells that this process runs in a network namespace of its own, which has a route to the IPv6 Internet or none.
var inside = flag.String("inside", "", "run the cases that need a network namespace in this one: routed or unrouted")

// Addresses of the namespace's Internet. The resolver's doors are closed in it, as in production: port 53 of public
// addresses.
var (
	rootV6  = netip.MustParseAddr("2001:500:2::c") // c.root-servers.net, to which the resolver looks for a route
	rootV4  = netip.MustParseAddr("198.41.0.4")
	comV6   = netip.MustParseAddr("2001:503:a83e::2:30")
	comV4   = netip.MustParseAddr("192.5.6.30")
	siteV6  = netip.MustParseAddr("2a02:53::1")
	otherV6 = netip.MustParseAddr("2a02:53::2")
	siteV4  = netip.MustParseAddr("199.43.135.53")
	sender6 = netip.MustParseAddr("2a02:53:ffff::7")
	sender4 = netip.MustParseAddr("199.43.133.53")
	closed6 = netip.MustParseAddr("2a02:53::dead") // the host is there, and nobody listens
	closed4 = netip.MustParseAddr("199.43.134.53")
	far6    = netip.MustParseAddr("2a02:53:0:dead::1") // there is no route
	far4    = netip.MustParseAddr("203.1.2.3")
	ula     = netip.MustParseAddr("fd00:53::1")
	lo6     = netip.MustParseAddr("::1")
	nat10   = netip.MustParseAddr("64:ff9b::a00:1")       // NAT64 of 10.0.0.1
	natMeta = netip.MustParseAddr("64:ff9b::a9fe:a9fe")   // of 169.254.169.254
	natSite = netip.MustParseAddr("64:ff9b::c72b:8735")   // of siteV4
	nat64lo = netip.MustParseAddr("64:ff9b:1::c72b:8735") // local-use NAT64 of the same
	sixTo4  = netip.MustParseAddr("2002:a00:1::1")        // 6to4 of 10.0.0.1
	meta    = netip.MustParseAddr("169.254.169.254")
)

const large = "v=large; " + "0123456789012345678901234567890123456789012345678901234567890123456789"

// internet is the world of these tests. All zones but trap and its like are signed.
func internet() world.Config {
	const p256 = dns.ECDSAP256SHA256
	records := "@ A 192.0.2.1\nwww A 192.0.2.2\n@ CAA 0 issue \"ca.example.net\"\n"
	for i := range 20 {
		records += fmt.Sprintf("@ TXT \"%d %s\"\n", i, large)
	}
	zone := func(name, host string, algorithm uint8, addrs ...netip.Addr) world.Zone {
		z := world.Zone{Name: name, Algorithm: algorithm, Records: records}
		for _, a := range addrs {
			z.Servers = append(z.Servers, world.Server{Host: host, Addr: a})
		}
		return z
	}
	com := zone("com", "a.gtld", p256, comV6, comV4)
	com.Records = ""
	// A second name server of these zones is known from glue alone, and does not answer.
	for name, a := range map[string]netip.Addr{"closed6": closed6, "closed4": closed4, "far6": far6, "far4": far4} {
		com.Records += name + " NS dead." + name + "\ndead." + name + " " + family(a) + " " + a.String() + "\n"
	}
	com.Records += "mapped NS ns.mapped\nns.mapped AAAA ::ffff:169.254.169.254\n"
	cfg := world.Config{Port: 53, AnyAddress: true, Zones: []world.Zone{
		zone(".", "c.root", p256, rootV6, rootV4), com,
		zone("glue.com", "ns.glue.com", p256, siteV6),
		zone("plain.com", "ns.plain.com", 0, siteV6),
		zone("nsec3.com", "ns.nsec3.com", p256, siteV6),
		zone("four.com", "ns.four.com", p256, siteV4),
		zone("both.com", "ns.both.com", p256, siteV6, siteV4),
		// The name servers of these have names in another zone, so that their addresses are looked up.
		zone("host.com", "ns.host.com", p256, otherV6),
		zone("looked.com", "six.host.com", p256, siteV6),
		zone("lookedboth.com", "two.host.com", p256, siteV6, siteV4),
		zone("lookedfour.com", "four.host.com", p256, siteV4),
	}}
	for _, name := range []string{"closed6", "closed4", "far6", "far4"} {
		cfg.Zones = append(cfg.Zones, zone(name+".com", "ns."+name+".com", p256, siteV4, siteV6))
	}
	for name, a := range traps {
		cfg.Zones = append(cfg.Zones, zone(name+".com", "ns."+name+".com", 0, a))
	}
	return cfg
}

// traps are zones whose only name server is at a reserved address, and would answer.
var traps = map[string]netip.Addr{"ula": ula, "lo6": lo6, "nat10": nat10, "natmeta": natMeta, "nat64lo": nat64lo,
	"natsite":    natSite, // the registry calls it globally reachable; BR 1.6.1 counts every entry
	"sixto4":     sixTo4,
	"linklocal4": meta}

func family(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

// The test runs itself again in network namespaces, where it may take any address and nothing leaves the machine.
//
// Holds: D10, DCV-04, DCV-28
func TestIPv6NameServers(t *testing.T) {
	if *inside != "" {
		t.Skip("this is the namespace")
	}
	for mode, cases := range map[string][]string{"routed": caseNames(routedCases()),
		"unrouted": caseNames(unroutedCases())} {
		t.Run(mode, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := world.Isolated(ctx, os.Args[0], "-test.run=^TestInsideANamespace$", "-test.v",
				"-inside="+mode).CombinedOutput()
			if world.NoNamespace(err) {
				require.NotEqual(t, "true", os.Getenv("CI"), "CI lets nobody make a network namespace")
				t.Skipf("no network namespace is to be had here: %v", err)
			}
			require.NoError(t, err, "%s", out)
			for _, name := range cases {
				require.Contains(t, string(out), "--- PASS: TestInsideANamespace/"+strings.ReplaceAll(name, " ",
					"_")+" ", "%s", out)
			}
		})
	}
}

func caseNames(cases []networkCase) []string {
	var names []string
	for _, c := range cases {
		names = append(names, c.name)
	}
	return names
}

// networkCase is a lookup in the namespace.
type networkCase struct {
	name   string
	source netip.Addr
	faults []world.Fault
	ask    string
	qtype  uint16
	status dnssec.Status
	code   string
	// asked are servers that must have been asked, over the transport given; never are those that must not.
	asked     []netip.Addr
	transport string
	never     []netip.Addr
	// dead is a server that cannot answer. Servers that are not known are asked in any order, so that the lookup is
	// repeated
	// until this one was tried.
	dead netip.Addr
	// trap tells that a server stands at the reserved address, and would answer.
	trap bool
}

func routedCases() []networkCase {
	mute := func(a netip.Addr) []world.Fault { return []world.Fault{{Server: a, Kind: world.Drop}} }
	truncated := []world.Fault{{Zone: "glue.com", Kind: world.Truncate}}
	s, i, f := dnssec.Secure, dnssec.Insecure, dnssec.Failure
	at := func(addrs ...netip.Addr) []netip.Addr { return addrs }
	cases := []networkCase{
		{name: "AAAA glue alone", ask: "www.glue.com", status: s, asked: at(siteV6)},
		{name: "AAAA glue alone in an unsigned zone", ask: "www.plain.com", status: i, asked: at(siteV6)},
		{name: "a denial over IPv6", ask: "none.nsec3.com", status: s, asked: at(siteV6)},
		{name: "too large for UDP over IPv6", ask: "glue.com", qtype: dns.TypeTXT, status: s, asked: at(siteV6),
			transport: "tcp"},
		{name: "all truncated over IPv6", faults: truncated, ask: "www.glue.com", status: s, asked: at(siteV6),
			transport: "tcp"},
		{name: "truncated over IPv6 and no TCP", faults: []world.Fault{{Zone: "glue.com", Kind: world.TruncateNoTCP}},
			ask: "www.glue.com", status: f, code: "dns.no-server", asked: at(siteV6)},
		{name: "AAAA looked up", ask: "www.looked.com", status: s, asked: at(siteV6, otherV6)},
		{name: "AAAA looked up while A fails", faults: []world.Fault{{Zone: "host.com", Type: dns.TypeA,
			Name: "six.host.com",
			Kind: world.ServFail}}, ask: "www.looked.com", status: s, asked: at(siteV6)},
		{name: "AAAA forged and A missing", faults: []world.Fault{{Zone: "host.com", Type: dns.TypeAAAA,
			Name: "six.host.com",
			Kind: world.Tamper}}, ask: "www.looked.com", status: f, code: "dns.no-server", never: at(siteV6)},
		{name: "A and AAAA looked up and IPv4 mute", faults: mute(siteV4), dead: siteV4, ask: "www.lookedboth.com",
			status: s, asked: at(siteV6)},
		{name: "A and AAAA looked up and IPv6 mute", faults: mute(siteV6), dead: siteV6, ask: "www.lookedboth.com",
			status: s, asked: at(siteV4)},
		{name: "dual stack and IPv4 mute", faults: mute(siteV4), dead: siteV4, ask: "www.both.com", status: s,
			asked: at(siteV6)},
		{name: "dual stack and IPv6 mute", faults: mute(siteV6), dead: siteV6, ask: "www.both.com", status: s,
			asked: at(siteV4)},
		{name: "dual stack and both mute", faults: append(mute(siteV4), mute(siteV6)...), ask: "www.both.com", status: f,
			asked: at(siteV4, siteV6)},
		{name: "dual stack and IPv6 answers SERVFAIL", faults: []world.Fault{{Server: siteV6, Kind: world.ServFail}},
			ask:    "www.both.com",
			status: s, asked: at(siteV4)},
		{name: "dual stack and IPv6 strips signatures", faults: []world.Fault{{Server: siteV6, Kind: world.StripDNSSEC}},
			ask: "www.both.com", status: s, asked: at(siteV4)},
		{name: "the whole of IPv4 mute", faults: slices.Concat(mute(rootV4), mute(comV4), mute(siteV4)),
			ask: "www.both.com", status: s,
			asked: at(rootV6, comV6, siteV6)},
		{name: "the whole of IPv6 mute", faults: slices.Concat(mute(rootV6), mute(comV6), mute(siteV6)),
			ask: "www.both.com", status: s,
			asked: at(rootV4, comV4, siteV4)},
		{name: "IPv6 source", source: sender6, ask: "www.both.com", status: s, asked: at(rootV6, comV6, siteV6),
			never: at(rootV4, comV4, siteV4)},
		{name: "IPv6 source over TCP", source: sender6, ask: "both.com", qtype: dns.TypeTXT, status: s,
			asked: at(siteV6), transport: "tcp",
			never: at(siteV4)},
		{name: "IPv6 source and AAAA looked up", source: sender6, ask: "www.lookedboth.com", status: s,
			asked: at(siteV6), never: at(siteV4)},
		{name: "IPv6 source and an IPv4 server", source: sender6, ask: "www.four.com", status: f,
			code:  "dns.reserved-server",
			never: at(siteV4)},
		{name: "IPv6 source and an IPv4 server looked up", source: sender6, ask: "www.lookedfour.com", status: f,
			code:  "dns.reserved-server",
			never: at(siteV4)},
		{name: "IPv4 source", source: sender4, ask: "www.both.com", status: s, asked: at(rootV4, comV4, siteV4),
			never: at(rootV6, comV6, siteV6)},
		{name: "IPv4 source and an IPv6 server", source: sender4, ask: "www.glue.com", status: f,
			code:  "dns.reserved-server",
			never: at(siteV6)},
		{name: "mapped", ask: "www.mapped.com", status: f, code: "dns.reserved-server", never: at(meta)},
	}
	for name, a := range map[string]netip.Addr{"closed6": closed6, "closed4": closed4, "far6": far6, "far4": far4} {
		cases = append(cases, networkCase{name: name, ask: "www." + name + ".com", status: s, dead: a})
	}
	for name, a := range traps {
		cases = append(cases, networkCase{name: "reserved " + name, ask: "www." + name + ".com", status: f,
			code:  "dns.reserved-server",
			never: at(a), trap: true})
	}
	return cases
}

// unroutedCases are those of a host without IPv6: servers with IPv6 addresses are there, and not asked.
func unroutedCases() []networkCase {
	return []networkCase{
		{name: "IPv6 alone", ask: "www.glue.com", status: dnssec.Failure, code: "dns.reserved-server",
			never: []netip.Addr{siteV6}},
		{name: "IPv6 alone and looked up", ask: "www.looked.com", status: dnssec.Failure, never: []netip.Addr{siteV6,
			otherV6}},
		{name: "dual stack", ask: "www.both.com", status: dnssec.Secure, asked: []netip.Addr{siteV4},
			never: []netip.Addr{siteV6, comV6}},
		{name: "IPv4 alone", ask: "www.four.com", status: dnssec.Secure, asked: []netip.Addr{siteV4}},
	}
}

func TestInsideANamespace(t *testing.T) {
	if *inside == "" {
		t.Skip("TestIPv6NameServers runs this in a network namespace")
	}
	addrs := []netip.Addr{rootV4, comV6, comV4, siteV6, otherV6, siteV4, sender6, sender4, closed6, closed4, ula,
		nat10, natMeta, natSite,
		nat64lo, sixTo4, meta}
	cfg, cases := internet(), unroutedCases()
	if *inside == "routed" {
		addrs, cases = append(addrs, rootV6), routedCases()
	} else {
		cfg.Zones[0].Servers = cfg.Zones[0].Servers[1:]
	}
	require.NoError(t, world.Settle(addrs...))
	seen := new(packets)
	cfg.OnQuery = seen.note
	w := serve(t, cfg)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, w, seen) })
	}
	if *inside == "unrouted" {
		_, err := resolver.New(resolver.Config{SourceAddr: sender6, Hints: []resolver.Hint{{Name: "root",
			Addrs: []netip.Addr{rootV4}}}})
		require.ErrorContains(t, err, "no root server has an address that may be asked")
	}
}

func (c networkCase) run(t *testing.T, w *world.World, seen *packets) {
	for _, f := range c.faults {
		remove, err := w.Inject(f)
		require.NoError(t, err)
		defer remove()
	}
	seen.clear()
	if c.qtype == 0 {
		c.qtype = dns.TypeA
	}
	var l resolver.Lookup
	for tries := 0; ; tries++ {
		l = in(t, w, func(cfg *resolver.Config) {
			cfg.AllowReserved, cfg.Port, cfg.SourceAddr = false, 0, c.source
			if c.status == dnssec.Failure {
				cfg.Timeout = 3 * time.Second
			}
		}).Lookup(context.Background(), c.ask, c.qtype).Lookup
		tried := func(q resolver.Query) bool {
			return q.Server == netip.AddrPortFrom(c.dead, 53).String() && q.Error != ""
		}
		if !c.dead.IsValid() || slices.ContainsFunc(l.Queries, tried) || l.Status != c.status {
			break
		}
		require.Less(t, tries, 100, "the dead server is never asked")
	}
	said := fmt.Sprintf("%s\n%s", l.Why, trace(l))
	require.Equal(t, c.status, l.Status, said)
	if c.code != "" {
		require.Equal(t, c.code, l.Code, said)
	}
	for _, a := range c.asked {
		require.True(t, seen.at(a, c.transport), "%v was not asked: %s", a, said)
	}
	for _, a := range c.never {
		require.False(t, seen.at(a, ""), "%v was asked: %s", a, said)
		if c.trap {
			requireServes(t, a, strings.TrimPrefix(c.ask, "www."))
		}
	}
	for _, q := range seen.all() {
		require.True(t, !c.source.IsValid() || q.Client == c.source || c.trap, "from %v", q.Client)
	}
}

func requireServes(t *testing.T, a netip.Addr, zone string) {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	reply, err := dns.ExchangeContext(t.Context(), m, netip.AddrPortFrom(a, 53).String())
	require.NoError(t, err)
	require.Len(t, reply.Answer, 1)
}

// at tells whether a server was asked, over one transport or ("") any.
func (p *packets) at(server netip.Addr, transport string) bool {
	return slices.ContainsFunc(p.all(), func(q world.Query) bool {
		return q.Server == server && (transport == "" || q.Transport == transport)
	})
}

func (p *packets) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
}
