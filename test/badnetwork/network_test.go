// Package badnetwork puts the validating resolver into bad networks, beside Unbound from Debian in the same world and run:
// name servers behind paths that lose, delay and mangle, and servers that are mute, slow, lame or broken. results.md is
// the table; `make badnetwork` writes it anew.
package badnetwork

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/delay"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// patience is how long a client waits for one lookup, whoever does it: the resolver's default.
const patience = 15 * time.Second

// tldLabels is how many labels the names of top-level domains have: zones of more are leaf zones.
const tldLabels = 1

// plan states the world: a root, two top-level domains, and signed and unsigned leaf zones below both, of which one has its
// name servers in another. No test elsewhere uses its addresses.
func plan() world.Config {
	var zones []world.Zone
	add := func(z world.Zone, servers int, records string) {
		third := byte(len(zones))
		for i := range servers {
			host := strings.TrimSuffix(fmt.Sprintf("ns%d.%s", i+1, z.Name), ".")
			z.Servers = append(z.Servers, world.Server{Host: host, Addr: netip.AddrFrom4([4]byte{127, 44, third, byte(i + 1)})})
		}
		z.Records = records
		zones = append(zones, z)
	}
	const leaf = "@ A 192.0.2.1\n@ CAA 0 issue \"ca.example.net\"\nwww A 192.0.2.2\n_acme-challenge TXT \"token\"\n"
	large := leaf
	for i := range 15 {
		large += fmt.Sprintf("@ TXT \"%0100d\"\n", i)
	}
	const p256 = dns.ECDSAP256SHA256
	add(world.Zone{Name: ".", Algorithm: p256}, 3, "")
	add(world.Zone{Name: "aa", Algorithm: p256}, 2, "")
	add(world.Zone{Name: "bb", Algorithm: dns.RSASHA256, Denial: world.NSEC3OptOut}, 4, "")
	add(world.Zone{Name: "signed.aa", Algorithm: p256}, 2, large)
	add(world.Zone{Name: "unsigned.aa"}, 2, large)
	add(world.Zone{Name: "signed.bb", Algorithm: dns.RSASHA256, Denial: world.NSEC3}, 3, leaf)
	add(world.Zone{Name: "unsigned.bb"}, 2, leaf)
	add(world.Zone{Name: "hosting.aa", Algorithm: p256}, 2, leaf)
	hosting := zones[len(zones)-1].Servers
	zones = append(zones, world.Zone{Name: "glueless.bb", Algorithm: p256, Servers: hosting, Records: leaf})
	return world.Config{Zones: zones}
}

// question is a name and type, and what a good network lets one know of it.
type question struct {
	name  string
	qtype uint16
	want  verdict
}

func (q question) signed() bool { return q.want.status == "secure" }

// verdict is what a resolver makes of a question, in words that both have. status is one of secure, insecure, bogus and
// failure; records is how many there are of the type asked, and 0 where nothing of the answer may be used.
type verdict struct {
	status, rcode string
	records       int
}

func (v verdict) usable() bool { return v.status == "secure" || v.status == "insecure" }

// leafZones are those that questions are about.
var leafZones = []string{"signed.aa.", "unsigned.aa.", "signed.bb.", "unsigned.bb.", "glueless.bb."}

// questions are what is asked in each condition, the kinds of questions by turns.
func questions() []question {
	var all []question
	for _, what := range []struct {
		label string
		qtype uint16
		rcode string
		n     int
	}{
		{"", dns.TypeA, "NOERROR", 1},
		{"", dns.TypeCAA, "NOERROR", 1},
		{"_acme-challenge.", dns.TypeTXT, "NOERROR", 1},
		{"www.", dns.TypeCAA, "NOERROR", 0},
		{"none.", dns.TypeA, "NXDOMAIN", 0},
		{"", dns.TypeTXT, "NOERROR", 15}, // large: over TCP
	} {
		for _, zone := range leafZones {
			status := "secure"
			if strings.HasPrefix(zone, "unsigned") {
				status = "insecure"
			}
			if what.n > 1 && !strings.HasSuffix(zone, ".aa.") { // the large answers are there
				continue
			}
			all = append(all, question{what.label + zone, what.qtype, verdict{status, what.rcode, what.n}})
		}
	}
	return all
}

// network is a world behind paths, in one condition.
type network struct {
	world *world.World
	port  uint16
	hosts []*delay.Host
}

// serve runs the world until the test ends.
func serve(t testing.TB) *world.World {
	t.Helper()
	w, err := world.New(plan())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// enter puts the paths of a condition before the world's servers, at a port (a free one for 0). number tells conditions
// that are there at the same time apart. leave takes them away.
func enter(t testing.TB, w *world.World, c condition, number int, port uint16) (n network, leave func()) {
	t.Helper()
	source := netip.AddrFrom4([4]byte{127, 44, 100, byte(number)})
	var remove []func()
	addrs, bad := servers(w, c.who)
	if c.fault.Kind != 0 {
		for _, a := range bad {
			f := c.fault
			f.Server, f.Clients = a, []netip.Prefix{world.Client(source)}
			r, err := w.Inject(f)
			require.NoError(t, err)
			remove = append(remove, r)
		}
	}
	for tries := 0; ; tries++ {
		n = network{world: w, port: port}
		if port == 0 {
			n.port = daemon.FreePort(t)
		}
		err := n.open(c, addrs, bad, source)
		if err == nil {
			break
		}
		n.close(t)
		require.True(t, port == 0 && tries < 10, "no paths before the name servers: %v", err)
	}
	return n, func() {
		n.close(t)
		for _, r := range remove {
			r()
		}
	}
}

func (n *network) open(c condition, addrs, bad []netip.Addr, source netip.Addr) error {
	for i, a := range addrs {
		path := c.path
		path.Seed, path.Source = uint64(i), source
		if path.RTT == 0 {
			path.RTT = 20 * time.Millisecond
		}
		if c.worse != nil && slices.Contains(bad, a) {
			c.worse(&path)
		}
		h, err := delay.NewHost(netip.AddrPortFrom(a, n.port), netip.AddrPortFrom(a, n.world.Port()), path)
		if err != nil {
			return err
		}
		n.hosts = append(n.hosts, h)
	}
	return nil
}

func (n *network) close(t testing.TB) {
	t.Helper()
	for _, h := range n.hosts {
		require.NoError(t, h.Close())
	}
	n.hosts = nil
}

// packets gives how many datagrams and connections were sent to name servers.
func (n *network) packets() (sum int64) {
	for _, h := range n.hosts {
		datagrams, connections := h.Carried()
		sum += datagrams + connections
	}
	return sum
}

// servers gives the addresses of all name servers, and the bad ones among them.
func servers(w *world.World, who scope) (all, bad []netip.Addr) {
	for _, z := range w.Zones() {
		for i, s := range z.Servers {
			if slices.Contains(all, s.Addr) {
				continue
			}
			all = append(all, s.Addr)
			if who == everyone || who == oneOf && i == 0 || who == allBut && i != 0 ||
				who == leaves && dns.CountLabel(z.Name) > tldLabels {
				bad = append(bad, s.Addr)
			}
		}
	}
	return all, bad
}

// newResolver makes ours, with an empty memory.
func (n *network) newResolver(t testing.TB, timeout time.Duration) *resolver.Resolver {
	t.Helper()
	anchors, err := dnssec.ParseAnchors(strings.NewReader(n.world.AnchorText()))
	require.NoError(t, err)
	cfg := resolver.Config{Anchors: anchors, Port: n.port, AllowReserved: true, Timeout: timeout}
	for _, s := range n.world.Hints() {
		cfg.Hints = append(cfg.Hints, resolver.Hint{Name: s.Host, Addrs: []netip.Addr{s.Addr}})
	}
	r, err := resolver.New(cfg)
	require.NoError(t, err)
	return r
}

// ours asks our resolver. account is for people to read.
func ours(r *resolver.Resolver, q question) (v verdict, account string) {
	a := r.Lookup(context.Background(), q.name, q.qtype)
	l := a.Lookup
	v = verdict{status: l.Status.String(), rcode: l.Rcode, records: len(a.Records)}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", l.Code, l.Why)
	for _, s := range l.Queries {
		fmt.Fprintf(&b, "%s %s %s %s %.0f ms %s\n", s.Server, s.Transport, s.Question, s.Rcode, s.Milliseconds, s.Error)
	}
	return v, b.String()
}
