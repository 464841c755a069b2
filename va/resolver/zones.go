package resolver

import (
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// zones are validated delegations, by name (never answers). Their memory is bounded by octets: one delegation can have more than a
// thousand name servers with long names, and a lookup can meet several. When the young generation is full it becomes the old one, and
// that is forgotten, which costs time and nothing else. What is used is young again, so that whoever makes up zones displaces none of
// those that others' lookups go through. They are guarded by Resolver.mu.
type zones struct {
	young, old map[string]*zone
	octets     int // of the young
}

const (
	// mostZoneOctets bounds one generation. A zone takes 5 KB, as a rule.
	mostZoneOctets = 32 << 20
	// usualZone is what a zone is taken to hold at the most. The children of one that holds more count for that too: they keep it.
	usualZone = 32 << 10
)

// find gives a zone that is remembered and has not expired, or nil.
func (s *zones) find(name string, now time.Time) *zone {
	z := s.young[name]
	old := z == nil
	if old {
		z = s.old[name]
	}
	switch {
	case z == nil:
		return nil
	case !now.Before(z.expires):
		s.drop(z)
		return nil
	case old:
		s.put(z)
	}
	return z
}

// put takes a zone in, in the place of any other of its name.
func (s *zones) put(z *zone) {
	if s.young == nil || s.octets+z.octets > mostZoneOctets {
		s.old, s.young, s.octets = s.young, map[string]*zone{}, 0
	}
	delete(s.old, z.name)
	s.young[z.name] = z
	s.octets += z.octets
}

// grew notes that a zone has learnt something.
func (s *zones) grew(z *zone, octets int) {
	z.octets += octets
	if s.young[z.name] == z {
		s.octets += octets
	}
}

// drop forgets a zone, unless it is remembered no longer. What it counted for is counted until the next generation.
func (s *zones) drop(z *zone) {
	for _, generation := range []map[string]*zone{s.young, s.old} {
		if generation[z.name] == z {
			delete(generation, z.name)
		}
	}
}

func (s *zones) len() int { return len(s.young) + len(s.old) }

// takes is about how much memory a zone takes that was found below another.
func (z *zone) takes() int {
	octets := 512
	for _, h := range z.hosts {
		octets += h.takes()
	}
	if z.delegation != nil {
		octets += z.delegation.Verdict.Proof.Takes()
	}
	if z.parent.parent != nil {
		octets += max(0, z.parent.octets-usualZone)
	}
	return octets
}

func (h host) takes() int { return 96 + len(h.name) + 32*len(h.addrs) }

// grew notes what a zone has learnt: keys, or addresses.
func (r *Resolver) grew(z *zone, octets int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.zones.grew(z, octets)
}

// closest gives the deepest remembered zone that name lies in. DS records belong to the parent (RFC 4035 section 2.4).
func (r *Resolver) closest(name string, qtype uint16) *zone {
	now := r.config.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	labels := dns.CountLabel(name)
	if qtype == dns.TypeDS && labels > 0 {
		labels--
	}
	for ; labels > 0; labels-- {
		if z := r.zones.find(dnssec.Ancestor(name, labels), now); z != nil {
			return z
		}
	}
	return r.root
}

// remember keeps a zone for its TTL, bounded by the cap and by its parent's, from the time that signatures were compared with.
func (r *Resolver) remember(z *zone, ttl uint32, since time.Time) *zone {
	z.expires = since.Add(min(time.Duration(ttl)*time.Second, r.config.CacheCap))
	if z.parent.parent != nil && z.parent.expires.Before(z.expires) { // the root is built in and does not expire
		z.expires = z.parent.expires
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	z.octets = z.takes()
	r.zones.put(z)
	return z
}

// forget drops a zone in which a lookup came to nothing, and the zones above it whose servers were only assumed, so that a
// liar among a zone's servers, or a delegation that has moved, harms no later lookup.
func (r *Resolver) forget(z *zone) {
	if z != nil && z.parent == nil { // the root stays; its keys are fetched anew
		z.mu.Lock()
		z.keys, z.uncut = nil, nil
		z.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for last := true; z != nil && z.parent != nil; z, last = z.parent, false {
		z.mu.Lock()
		shared := z.shared
		z.mu.Unlock()
		if last || shared {
			r.zones.drop(z)
		}
	}
}
