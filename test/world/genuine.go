package world

import (
	"net/netip"

	"github.com/miekg/dns"
)

// RRset gives an RRset of a zone with its signature, as everybody gets it: what an attacker has to replay. Faults and
// views are not part of it. It gives nothing where there is no such RRset; for NSEC and NSEC3 records see Proof.
func (w *World) RRset(zone, name string, rrtype uint16) []dns.RR {
	z, name := w.state.Load().zone(dns.CanonicalName(zone), netip.Addr{}), dns.CanonicalName(name)
	if z == nil || z.nodes[name] == nil || z.nodes[name].sets[rrtype] == nil {
		return nil
	}
	return z.nodes[name].sets[rrtype].at(name, true)
}

// Proof gives the record of a signed zone's NSEC or NSEC3 chain that stands at name, or whose span holds it, with its
// signature. It gives nothing for a zone that is not signed or not there.
func (w *World) Proof(zone, name string) []dns.RR {
	z := w.state.Load().zone(dns.CanonicalName(zone), netip.Addr{})
	if z == nil || !z.signed {
		return nil
	}
	set := z.cover(dns.CanonicalName(name))
	return set.at(set.rrs[0].Header().Name, true)
}
