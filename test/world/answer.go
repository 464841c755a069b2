package world

import (
	"github.com/miekg/dns"
)

// chainLimit bounds the aliases that one response follows inside of its zone.
const chainLimit = 16

// reply gathers one authoritative response of a zone (RFC 1034 section 4.3.2, RFC 4035 section 3.1).
type reply struct {
	zone *signedZone
	msg  *dns.Msg
	do   bool
}

// answer fills msg, which carries the question, with the zone's response.
func (s *signedZone) answer(msg *dns.Msg, do bool) {
	r := reply{zone: s, msg: msg, do: do && s.signed}
	msg.Authoritative = true
	name, qtype := dns.CanonicalName(msg.Question[0].Name), msg.Question[0].Qtype
	for links := 0; links < chainLimit; links++ {
		next := r.step(name, qtype, links > 0)
		if next == "" || !dns.IsSubDomain(s.name, next) {
			return
		}
		name = next
	}
}

// step answers for one name; it returns the target of an alias that remains to be followed.
func (r *reply) step(name string, qtype uint16, aliased bool) (next string) {
	if cut := r.zone.cutFor(name, qtype); cut != nil {
		// After an alias the answer stands as it is; the client asks for the target itself.
		if !aliased {
			r.refer(cut)
		}
		return ""
	}
	if d := r.zone.dnameAbove(name); d != nil {
		return r.redirect(d, name)
	}
	if n := r.zone.nodes[name]; n != nil && !n.occluded {
		return r.fromNode(n, name, qtype, "")
	}
	encloser := parentOf(name)
	for r.zone.nodes[encloser] == nil {
		encloser = parentOf(encloser)
	}
	if w := r.zone.nodes[below("*", encloser)]; w != nil {
		return r.fromNode(w, name, qtype, encloser)
	}
	r.msg.Rcode = dns.RcodeNameError
	r.negative()
	if r.do {
		r.prove(r.zone.proveNoName(name, encloser))
	}
	return ""
}

// fromNode answers from a node that is the name itself, or the wildcard of the encloser where one is given.
func (r *reply) fromNode(n *node, name string, qtype uint16, encloser string) (next string) {
	var found []*rrset
	switch cname := n.sets[dns.TypeCNAME]; {
	case qtype == dns.TypeANY || qtype == dns.TypeRRSIG:
		for _, set := range n.sets {
			found = append(found, set)
		}
	case n.sets[qtype] != nil:
		found = append(found, n.sets[qtype])
	case cname != nil && qtype != dns.TypeNSEC:
		found = append(found, cname)
		next = dns.CanonicalName(cname.rrs[0].(*dns.CNAME).Target)
	}
	for _, set := range found {
		if qtype == dns.TypeRRSIG {
			set = set.signatureAlone()
		}
		r.msg.Answer = append(r.msg.Answer, set.at(name, r.do || qtype == dns.TypeRRSIG)...)
	}
	switch {
	case len(found) == 0:
		r.noData(name, encloser)
	case encloser != "" && r.do:
		r.prove(r.zone.proveExpansion(name, encloser))
	}
	return next
}

func (r *reply) noData(name, encloser string) {
	r.negative()
	switch {
	case !r.do:
	case encloser == "":
		r.prove(r.zone.proveNoData(name))
	default:
		r.prove(r.zone.proveWildcardNoData(name, encloser))
	}
}

// refer makes a referral: NS, then DS or the proof that there is none, and glue.
func (r *reply) refer(cut *node) {
	r.msg.Authoritative = false
	ns := cut.sets[dns.TypeNS]
	r.msg.Ns = append(r.msg.Ns, ns.rrs...)
	if r.do {
		if ds := cut.sets[dns.TypeDS]; ds != nil {
			r.msg.Ns = append(r.msg.Ns, ds.at(cut.name, true)...)
		} else {
			r.prove(r.zone.proveNoData(cut.name))
		}
	}
	for _, rr := range ns.rrs {
		host := dns.CanonicalName(rr.(*dns.NS).Ns)
		r.msg.Extra = append(r.msg.Extra, r.zone.glue[host]...)
		if n := r.zone.nodes[host]; n != nil {
			for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
				if set := n.sets[t]; set != nil {
					r.msg.Extra = append(r.msg.Extra, set.at(host, r.do)...)
				}
			}
		}
	}
}

// redirect follows a DNAME: the record, and the CNAME that it makes (RFC 6672 section 3.1).
func (r *reply) redirect(d *node, name string) (next string) {
	set := d.sets[dns.TypeDNAME]
	r.msg.Answer = append(r.msg.Answer, set.at(d.name, r.do)...)
	target := dns.CanonicalName(set.rrs[0].(*dns.DNAME).Target)
	next = name[:len(name)-len(d.name)] + target
	if target == "." {
		next = name[:len(name)-len(d.name)]
	}
	if _, ok := dns.IsDomainName(next); !ok {
		r.msg.Rcode = dns.RcodeYXDomain
		return ""
	}
	r.msg.Answer = append(r.msg.Answer, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: next})
	return next
}

func (r *reply) negative() {
	r.msg.Ns = append(r.msg.Ns, r.zone.soa().at(r.zone.name, r.do)...)
}

// prove adds denial records, each once.
func (r *reply) prove(sets []*rrset) {
	seen := map[*rrset]bool{}
	for _, set := range sets {
		if set != nil && !seen[set] {
			r.msg.Ns = append(r.msg.Ns, set.at(set.rrs[0].Header().Name, true)...)
		}
		seen[set] = true
	}
}

// cutFor gives the delegation at or above a name, the highest one; a question for DS at the delegation itself is
// answered by this side of it (RFC 4035 section 3.1.4.1).
func (s *signedZone) cutFor(name string, qtype uint16) *node {
	var cut *node
	for up := name; up != s.name; up = parentOf(up) {
		if n := s.nodes[up]; n != nil && n.cut && !(up == name && qtype == dns.TypeDS) {
			cut = n
		}
	}
	return cut
}

// dnameAbove gives the highest DNAME above a name.
func (s *signedZone) dnameAbove(name string) *node {
	var found *node
	for up := name; up != s.name; {
		up = parentOf(up)
		if n := s.nodes[up]; n != nil && n.sets[dns.TypeDNAME] != nil {
			found = n
		}
	}
	return found
}

// at gives copies of the set's records, with the owner as asked where a wildcard stands for it, and its signature if
// signed is set and there is one.
func (set *rrset) at(owner string, signed bool) []dns.RR {
	var all []dns.RR
	for _, rr := range set.rrs {
		all = append(all, dns.Copy(rr))
	}
	if signed && set.sig != nil {
		all = append(all, dns.Copy(set.sig))
	}
	for _, rr := range all {
		rr.Header().Name = owner
	}
	return all
}

func (set *rrset) signatureAlone() *rrset { return &rrset{sig: set.sig} }
