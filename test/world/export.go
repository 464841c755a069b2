package world

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Export gives a zone as a signed zone file, with its denial records and glue: what nsd or knot need to serve the very
// same zone. Faults and views are not part of it.
func (w *World) Export(zone string) (string, error) {
	z := w.state.Load().zone(dns.CanonicalName(zone), netip.Addr{})
	if z == nil {
		return "", fmt.Errorf("%w: %s", ErrNoZone, zone)
	}
	var sets []*rrset
	for _, n := range z.nodes {
		for rrtype, set := range n.sets {
			if rrtype != dns.TypeNSEC {
				sets = append(sets, set)
			}
		}
	}
	for _, l := range z.chain {
		sets = append(sets, l.set)
	}
	for _, glue := range z.glue {
		sets = append(sets, &rrset{rrs: glue})
	}
	var lines []string
	for _, set := range sets {
		for _, rr := range set.at(set.rrs[0].Header().Name, true) {
			if rr.Header().Rrtype != dns.TypeSOA {
				lines = append(lines, rr.String())
			}
		}
	}
	slices.Sort(lines)
	return z.soa().rrs[0].String() + "\n" + strings.Join(lines, "\n") + "\n", nil
}
