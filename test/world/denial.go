package world

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// link is one record of the NSEC or NSEC3 chain.
type link struct {
	// owner is the name whose types the record lists; key is what the chain is ordered by: the labels of the name for
	// NSEC, its hash alone for NSEC3.
	owner string
	key   []string
	set   *rrset
}

// addChain makes the NSEC or NSEC3 records. The sets are signed by signAll.
func (s *signedZone) addChain() error {
	owners := s.provable()
	for _, name := range owners {
		l := link{owner: name, key: labelsOf(name)}
		if s.denial != NSEC {
			hash := s.hash(name)
			if hash == "" {
				return fmt.Errorf("world: zone %s: cannot hash %s for NSEC3 (salt %q)", s.name, name, s.salt)
			}
			l.key = []string{hash}
		}
		s.chain = append(s.chain, l)
	}
	slices.SortFunc(s.chain, func(a, b link) int { return slices.Compare(a.key, b.key) })
	for i := range s.chain {
		next := s.chain[(i+1)%len(s.chain)]
		if s.denial == NSEC {
			s.chain[i].set = s.nsec(s.chain[i].owner, next.owner)
		} else {
			s.chain[i].set = s.nsec3(s.chain[i].owner, s.chain[i].key[0], next.key[0])
		}
	}
	return nil
}

// provable lists the names that have a record in the chain: for NSEC all with authoritative data or a delegation; for
// NSEC3 the empty non-terminals too, and with opt-out no unsigned delegation (RFC 5155 section 7.1).
func (s *signedZone) provable() []string {
	names := map[string]bool{}
	for name, n := range s.nodes {
		optedOut := s.denial == NSEC3OptOut && n.cut && n.sets[dns.TypeDS] == nil
		if n.occluded || len(n.sets) == 0 || optedOut {
			continue
		}
		names[name] = true
		for up := name; s.denial != NSEC && up != s.name; {
			up = parentOf(up)
			names[up] = true
		}
	}
	all := make([]string, 0, len(names))
	for name := range names {
		all = append(all, name)
	}
	return all
}

func (s *signedZone) nsec(owner, next string) *rrset {
	n := s.nodes[owner]
	types := append(n.types(), dns.TypeRRSIG, dns.TypeNSEC)
	slices.Sort(types)
	set := &rrset{rrs: []dns.RR{&dns.NSEC{Hdr: header(owner, dns.TypeNSEC), NextDomain: next, TypeBitMap: types}}}
	n.sets[dns.TypeNSEC] = set
	return set
}

func (s *signedZone) nsec3(owner, hash, next string) *rrset {
	n := s.nodes[owner]
	types := n.types()
	if len(types) > 0 && (!n.cut || n.sets[dns.TypeDS] != nil) {
		types = append(types, dns.TypeRRSIG)
		slices.Sort(types)
	}
	var flags uint8
	if s.denial == NSEC3OptOut {
		flags = 1
	}
	return &rrset{rrs: []dns.RR{&dns.NSEC3{
		Hdr: header(below(strings.ToLower(hash), s.name), dns.TypeNSEC3), Hash: dns.SHA1, Flags: flags,
		Iterations: s.iters, SaltLength: uint8(len(s.salt) / 2), Salt: s.salt,
		HashLength: 20, NextDomain: next, TypeBitMap: types,
	}}}
}

// types lists the types of the node that the chain may show: at a delegation NS and DS alone.
func (n *node) types() []uint16 {
	var types []uint16
	for t := range n.sets {
		if !n.cut || t == dns.TypeNS || t == dns.TypeDS {
			types = append(types, t)
		}
	}
	return types
}

func (s *signedZone) hash(name string) string { return dns.HashName(name, dns.SHA1, s.iters, s.salt) }

// match gives the record of the chain that stands at name, or nil.
func (s *signedZone) match(name string) *rrset {
	if i, found := s.search(name); found {
		return s.chain[i].set
	}
	return nil
}

// cover gives the record of the chain whose span holds name, or that stands at it.
func (s *signedZone) cover(name string) *rrset {
	i, found := s.search(name)
	if !found {
		i = (i - 1 + len(s.chain)) % len(s.chain)
	}
	return s.chain[i].set
}

func (s *signedZone) search(name string) (int, bool) {
	key := labelsOf(name)
	if s.denial != NSEC {
		key = []string{s.hash(name)}
	}
	return slices.BinarySearchFunc(s.chain, key, func(l link, k []string) int { return slices.Compare(l.key, k) })
}

// proveNoData proves that an existing name lacks a type. For a name without a record of its own (an empty non-terminal
// under NSEC; what lies in an opt-out span) it proves what can be proven of it.
func (s *signedZone) proveNoData(name string) []*rrset {
	if m := s.match(name); m != nil {
		return []*rrset{m}
	}
	if s.denial == NSEC {
		return []*rrset{s.cover(name)}
	}
	return s.closest(name)
}

// closest is the closest encloser proof of RFC 5155 section 7.2.1: a record that matches the closest provable encloser,
// and one that covers the next closer name.
func (s *signedZone) closest(name string) []*rrset {
	next := name
	for up := parentOf(name); up != ""; next, up = up, parentOf(up) {
		if m := s.match(up); m != nil {
			return []*rrset{m, s.cover(next)}
		}
	}
	return nil
}

// proveNoName proves that name does not exist and that no wildcard of its closest encloser makes it up.
func (s *signedZone) proveNoName(name, encloser string) []*rrset {
	wildcard := s.cover(below("*", encloser))
	if s.denial == NSEC {
		return []*rrset{s.cover(name), wildcard}
	}
	return append(s.closest(name), wildcard)
}

// proveExpansion proves that name itself does not exist, which must accompany an answer made from a wildcard of the
// encloser (RFC 4035 section 3.1.3.3, RFC 5155 section 7.2.6).
func (s *signedZone) proveExpansion(name, encloser string) []*rrset {
	if s.denial == NSEC {
		return []*rrset{s.cover(name)}
	}
	return []*rrset{s.cover(nextCloser(name, encloser))}
}

// proveWildcardNoData proves that the wildcard that would answer for name lacks a type.
func (s *signedZone) proveWildcardNoData(name, encloser string) []*rrset {
	wildcard := s.match(below("*", encloser))
	if s.denial == NSEC {
		return []*rrset{s.cover(name), wildcard}
	}
	return append(s.closest(name), wildcard)
}

// nextCloser gives the name one label longer than the encloser on the way to name (RFC 5155 section 1.3).
func nextCloser(name, encloser string) string {
	for up := parentOf(name); up != encloser && up != ""; up = parentOf(up) {
		name = up
	}
	return name
}
