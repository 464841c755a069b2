package world

import (
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// rrset is one RRset with its signature; sig is nil where it is not signed.
type rrset struct {
	rrs []dns.RR
	sig *dns.RRSIG
}

// node is one name of a zone. An empty non-terminal has no sets.
type node struct {
	name string
	sets map[uint16]*rrset
	// cut marks a delegation: an NS set below the apex.
	cut bool
	// occluded marks a name below a cut or below a DNAME: glue, never an answer.
	occluded bool
}

// signedZone is one version of a zone, ready to be served. It is never changed once made, so that lookups need no lock.
type signedZone struct {
	name    string
	servers []Server
	nodes   map[string]*node
	signed  bool
	// ring is kept for faults that sign on the fly (see Fault), nil for an unsigned zone.
	ring   *keyring
	denial Denial
	// chain is the NSEC or NSEC3 chain in canonical order; empty in an unsigned zone.
	chain []link
	salt  string
	iters uint16
	glue  map[string][]dns.RR
}

// surroundings are what a zone must know of the rest of the world.
type surroundings struct {
	// children are the zones that the zone delegates to, with the DS records to publish.
	children []delegation
	// hosts are the addresses of all name servers of the world, and owner says in which zone a host's name lies.
	hosts map[string][]Server
	owner func(host string) string
	// serial is the SOA serial; at is the time of signing.
	serial uint32
	at     time.Time
}

type delegation struct {
	zone Zone
	ds   []dns.RR
}

// build makes the served version of a zone.
func build(z Zone, ring *keyring, around surroundings) (*signedZone, error) {
	s := &signedZone{
		name: z.Name, servers: z.Servers, nodes: map[string]*node{}, signed: ring != nil, ring: ring,
		denial: z.Denial, salt: z.Salt, iters: z.Iterations, glue: map[string][]dns.RR{},
	}
	records, err := z.records()
	if err != nil {
		return nil, err
	}
	for _, rr := range records {
		s.add(rr)
	}
	s.addApex(z, ring, around.serial)
	for _, c := range around.children {
		s.addDelegation(c)
	}
	s.addHosts(around)
	s.markCuts()
	if !s.signed {
		return s, nil
	}
	if err := s.addChain(); err != nil {
		return nil, err
	}
	return s, s.signAll(ring, z.Window, around.at)
}

// add puts a record into its set, unless the same record is there already, and makes the empty non-terminals above it.
func (s *signedZone) add(rr dns.RR) {
	name := rr.Header().Name
	for n := name; ; n = parentOf(n) {
		if s.nodes[n] == nil {
			s.nodes[n] = &node{name: n, sets: map[uint16]*rrset{}}
		}
		if n == s.name {
			break
		}
	}
	sets := s.nodes[name].sets
	set := sets[rr.Header().Rrtype]
	if set == nil {
		set = &rrset{}
		sets[rr.Header().Rrtype] = set
	}
	same := func(other dns.RR) bool { return dns.IsDuplicate(rr, other) }
	if !slices.ContainsFunc(set.rrs, same) {
		set.rrs = append(set.rrs, rr)
	}
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

func (s *signedZone) addApex(z Zone, ring *keyring, serial uint32) {
	if s.nodes[z.Name] == nil || s.nodes[z.Name].sets[dns.TypeSOA] == nil {
		s.add(&dns.SOA{
			Hdr: header(z.Name, dns.TypeSOA), Ns: z.Servers[0].Host, Mbox: below("hostmaster", z.Name),
			Serial: serial, Refresh: 3600, Retry: 600, Expire: 604800, Minttl: ttl,
		})
	}
	for _, server := range z.Servers {
		s.add(&dns.NS{Hdr: header(z.Name, dns.TypeNS), Ns: server.Host})
	}
	if ring == nil {
		return
	}
	for _, k := range ring.records() {
		s.add(k)
	}
	if z.Denial != NSEC {
		s.add(&dns.NSEC3PARAM{
			Hdr: header(z.Name, dns.TypeNSEC3PARAM), Hash: dns.SHA1,
			Iterations: z.Iterations, SaltLength: uint8(len(z.Salt) / 2), Salt: z.Salt,
		})
	}
}

func (s *signedZone) addDelegation(d delegation) {
	for _, server := range d.zone.Servers {
		s.add(&dns.NS{Hdr: header(d.zone.Name, dns.TypeNS), Ns: server.Host})
	}
	for _, ds := range d.ds {
		s.add(ds)
	}
}

// addHosts adds the addresses of name servers whose names lie in the zone, and collects glue for those below a cut.
func (s *signedZone) addHosts(around surroundings) {
	for host, servers := range around.hosts {
		if !dns.IsSubDomain(s.name, host) {
			continue
		}
		for _, server := range servers {
			var a dns.RR = &dns.A{Hdr: header(host, dns.TypeA), A: server.Addr.AsSlice()}
			if server.Addr.Is6() {
				a = &dns.AAAA{Hdr: header(host, dns.TypeAAAA), AAAA: server.Addr.AsSlice()}
			}
			if around.owner(host) == s.name {
				s.add(a)
			} else {
				s.glue[host] = append(s.glue[host], a)
			}
		}
	}
}

func (s *signedZone) markCuts() {
	for name, n := range s.nodes {
		n.cut = name != s.name && n.sets[dns.TypeNS] != nil
	}
	for name, n := range s.nodes {
		for up := name; up != s.name; {
			up = parentOf(up)
			above := s.nodes[up]
			n.occluded = n.occluded || above.cut || above.sets[dns.TypeDNAME] != nil
		}
	}
}

// signable tells whether a set of a node gets a signature: not glue, and not the NS set of a delegation (RFC 4035
// section 2.2).
func (n *node) signable(rrtype uint16) bool {
	return !n.occluded && (!n.cut || rrtype == dns.TypeDS || rrtype == dns.TypeNSEC)
}

func (s *signedZone) signAll(ring *keyring, window Window, at time.Time) error {
	for _, n := range s.nodes {
		for rrtype, set := range n.sets {
			if !n.signable(rrtype) {
				continue
			}
			var err error
			if set.sig, err = ring.sign(set.rrs, window, at); err != nil {
				return err
			}
		}
	}
	for _, l := range s.chain {
		if l.set.sig != nil {
			continue
		}
		var err error
		if l.set.sig, err = ring.sign(l.set.rrs, window, at); err != nil {
			return fmt.Errorf("world: zone %s: denial: %w", s.name, err)
		}
	}
	return nil
}

// soa gives the zone's SOA set.
func (s *signedZone) soa() *rrset { return s.nodes[s.name].sets[dns.TypeSOA] }
