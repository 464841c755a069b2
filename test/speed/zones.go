package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/test/child"
	"github.com/quorate/quorate/test/world"
)

// place is what a resolver must know of the world.
type place struct {
	Port    uint16
	Hints   []world.Server
	Anchors string
}

const (
	// leaves are the zones below com that cold lookups ask, each once: zone 17 is z17.com.
	leaves = 4000
	// names are those of the zone warm.com that warm lookups ask: n17.warm.com.
	names = 6000
)

func server(host string, last byte) world.Server {
	return world.Server{Host: host, Addr: netip.AddrFrom4([4]byte{127, 0, 54, last})}
}

// signed is a zone with ECDSA P-256 and NSEC3.
func signed(name, records string, servers ...world.Server) world.Zone {
	return world.Zone{Name: name, Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC3, Records: records, Servers: servers}
}

// top is the root and com, each on two servers.
func top() []world.Zone {
	return []world.Zone{
		signed(".", "", server("a.root-servers.net", 1), server("b.root-servers.net", 2)),
		signed("com", "", server("a.nic.com", 3), server("b.nic.com", 4)),
	}
}

// records are those that the lookups ask for at a name: an address, CAA, a challenge, and a name below that has no CAA.
func records(name string) string {
	below := strings.TrimPrefix("."+name, ".@")
	return fmt.Sprintf("%[1]s A 192.0.2.1\n%[1]s CAA 0 issue \"ca.example.net\"\n"+
		"_acme-challenge%[2]s TXT \"token\"\nwww%[2]s A 192.0.2.2\n", name, below)
}

// table is the world of the table of lookups.
func table() []world.Zone {
	zones := top()
	for i := range leaves {
		zones = append(zones, signed(leaf(i), records("@"), server("ns1."+leaf(i), 10), server("ns2."+leaf(i), 11)))
	}
	var many strings.Builder
	for i := range names {
		many.WriteString(records(fmt.Sprintf("n%d", i)))
	}
	return append(zones, signed("warm.com", many.String(), server("ns1.warm.com", 10), server("ns2.warm.com", 11)))
}

func leaf(i int) string { return fmt.Sprintf("z%d.com", i) }
func warm(i int) string { return fmt.Sprintf("n%d.warm.com", i) }

// beWorld is the process of the name servers, at port 53 of 127.0.54.0/24. "delay 20ms" makes all of them answer so much
// later from then on.
func beWorld(in io.Reader, out io.Writer) error {
	w, err := world.New(world.Config{Zones: append(table(), attackZones()...), Faults: attackFaults(), Port: 53})
	if err != nil {
		return fmt.Errorf("name servers at port 53, which needs the right to listen there: %w", err)
	}
	defer w.Close()
	first, remove := true, func() {}
	return child.Obey(in, out, func(command string) (any, error) {
		if first {
			first = false
			return place{Port: w.Port(), Hints: w.Hints(), Anchors: w.AnchorText()}, prepareAttacks(w)
		}
		text, ok := strings.CutPrefix(command, "delay ")
		if !ok {
			return nil, fmt.Errorf("unknown command %q", command)
		}
		delay, err := time.ParseDuration(text)
		if err != nil {
			return nil, err
		}
		remove()
		if remove = func() {}; delay > 0 {
			remove, err = w.Inject(world.Fault{Kind: world.Slow, Delay: delay})
		}
		return struct{}{}, err
	})
}
