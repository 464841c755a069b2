package reviewer

import (
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/test/world"
)

// cutAttacks are case 1: the parent's genuine denial at a zone cut, replayed as "no CAA" for the child.
func cutAttacks() map[string]attack {
	return map[string]attack{
		"1a": deniedByChild("com"), "1b": deniedByParent("com"), "1c": deniedByChild("org"), "1d": deniedByParent("org"),
		"1e": deniedByChild("net"), "1f": deniedByParent("net"),
		"1g": deniedByParent("com"), "1h": deniedByParent("org"),
		"1i": {strike: func(s *stage) {
			s.rewrite(world.Fault{Zone: "sub.victim.com", Type: dns.TypeCAA},
				denying(dns.RcodeSuccess, s.proof("victim.com", "sub.victim.com")))
		}},
		"1j": {strike: func(s *stage) {
			s.rewrite(world.Fault{Zone: "sub.victim.org", Type: dns.TypeCAA},
				denying(dns.RcodeSuccess, s.proof("victim.org", "sub.victim.org")))
		}},
		"1k": unsigned("com", func(s *stage) []dns.RR { return s.proof("victim.com", "victim.com") }),
		"1l": unsigned("com", func(s *stage) []dns.RR { return s.proof("com", "open.com") }),
		"1m": unsigned("org", func(s *stage) []dns.RR { return s.proof("org", "open.org") }),
		"1n": {}, "1o": {},
	}
}

// deniedByChild has the child's server answer with its parent's record at the cut.
func deniedByChild(tld string) attack {
	return attack{strike: func(s *stage) {
		zone := "victim." + tld
		s.rewrite(world.Fault{Zone: zone, Name: zone, Type: dns.TypeCAA}, denying(dns.RcodeSuccess, s.proof(tld, zone)))
	}}
}

// deniedByParent has the parent's servers answer for the child as if they had the zone: with the child's genuine data
// and keys, and for CAA with their own record at the cut: no data for the child's apex, and for names below that they
// do not exist. Whatever is asked for DS is answered honestly.
func deniedByParent(tld string) attack {
	return attack{strike: func(s *stage) {
		zone := "victim." + tld + "."
		below := slices.Concat(s.proof(tld, zone), s.proof(tld, "www."+zone), s.proof(tld, "*."+zone), s.proof(tld, "*."+tld))
		apex := s.proof(tld, zone)
		s.relay(tld, zone)
		s.rewrite(world.Fault{Zone: tld, Type: dns.TypeCAA}, func(m *dns.Msg) {
			switch {
			case within(m, "www."+zone):
				denying(dns.RcodeNameError, below)(m)
			case within(m, zone):
				denying(dns.RcodeSuccess, apex)(m)
			}
		})
	}}
}

// relay has the servers of a zone answer for its child, in the place of a referral, what the child's own would say.
func (s *stage) relay(parent, child string) {
	s.t.Helper()
	s.rewrite(world.Fault{Zone: parent}, func(m *dns.Msg) {
		q := m.Question[0]
		if q.Qtype == dns.TypeDS || !within(m, child) {
			return
		}
		if set := s.world.RRset(child, q.Name, q.Qtype); len(set) > 0 {
			answering(set)(m)
		} else {
			denying(dns.RcodeSuccess, s.world.RRset(child, child, dns.TypeSOA), s.world.Proof(child, q.Name))(m)
		}
	})
}

// unsigned has the parent's servers show a record of another place as the proof that victim has no DS, and the child's
// server answer as an unsigned one that has no CAA.
func unsigned(tld string, proof func(*stage) []dns.RR) attack {
	return attack{strike: func(s *stage) {
		zone := "victim." + tld + "."
		refer(s, tld, zone, s.set(tld, zone, dns.TypeNS), proof(s))
		s.trap(world.Fault{Zone: zone}, func(m *dns.Msg) {
			m.Answer = slices.DeleteFunc(m.Answer, isSignature)
			m.Ns = slices.DeleteFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeSOA })
			if t := m.Question[0].Qtype; t == dns.TypeCAA || t == dns.TypeDNSKEY {
				m.Answer = nil
			}
		})
	}}
}

// refer has the servers of parent refer to child's name servers with these proofs, and deny its DS records with them.
func refer(s *stage, parent, child string, ns []dns.RR, proofs ...[]dns.RR) {
	s.t.Helper()
	s.rewrite(world.Fault{Zone: parent}, func(m *dns.Msg) {
		switch {
		case !within(m, child):
		case m.Question[0].Qtype == dns.TypeDS:
			denying(dns.RcodeSuccess, proofs...)(m)
		default:
			extra := m.Extra
			denying(dns.RcodeSuccess, append([][]dns.RR{ns}, proofs...)...)(m)
			m.Authoritative, m.Extra = false, extra
		}
	})
}

// spanAttacks are case 5: an opt-out span that hides a signed delegation; a closest encloser that is a delegation or a
// DNAME.
func spanAttacks() map[string]attack {
	older := func(window world.Window) attack {
		return attack{
			world: func(c *world.Config) {
				edit(c, "shop.net", func(z *world.Zone) { z.DS = world.DSAbsent })
				edit(c, "net", func(z *world.Zone) { z.Window = window })
			},
			prepare: func(s *stage) {
				s.kept = slices.Concat(s.proof("net", "net"), s.proof("net", "shop.net"))
				s.edit("net", func(z *world.Zone) { z.Window = world.Window{} })
				s.edit("shop.net", func(z *world.Zone) { z.DS = world.DSGenuine })
			},
			strike: func(s *stage) {
				refer(s, "net", "shop.net.", s.set("net", "shop.net", dns.TypeNS), s.kept)
				s.trap(world.Fault{Zone: "shop.net", Name: s.challenge(), Type: dns.TypeTXT}, answering(s.wanted(s.challenge())))
				s.install(world.Fault{Zone: "shop.net", Kind: world.StripDNSSEC})
			},
		}
	}
	return map[string]attack{
		"5a": hidden(func(s *stage) []dns.RR {
			return slices.Concat(s.proof("net", "victim.net"), s.proof("net", "www.victim.net"))
		}),
		"5b": hidden(func(s *stage) []dns.RR {
			return slices.Concat(s.proof("net", "net"), s.proof("net", "www.victim.net"))
		}),
		"5c": hidden(func(s *stage) []dns.RR { return slices.Concat(s.proof("net", "net"), s.proof("net", "open.net")) }),
		"5d": older(world.Window{Before: 72 * time.Hour, After: -24 * time.Hour}),
		"5e": older(world.Window{}),
		"5f": {},
		"5g": deniedByParent("net"),
		"5h": besideDNAME("com"), "5i": besideDNAME("org"),
	}
}

// hidden has net's servers pass over the signed delegation of victim.net, whose data they give themselves, and refer
// www.victim.net to the attacker's server, as if an opt-out span held it.
func hidden(proofs func(*stage) []dns.RR) attack {
	return attack{strike: func(s *stage) {
		ns := records(s.t, "www.victim.net. NS a.ns.evil.com.")
		s.relay("net", "victim.net.")
		refer(s, "net", "www.victim.net.", ns, proofs(s))
		s.trap(world.Fault{Server: evilAddr}, s.evil)
	}}
}

// evil is what the attacker's own server says of any name: what the applicant wants.
func (s *stage) evil(m *dns.Msg) {
	q := m.Question[0]
	switch {
	case within(m, "evil.com."):
	case q.Qtype == dns.TypeTXT:
		answering(s.wanted(q.Name))(m)
	case q.Qtype == dns.TypeA:
		answering(records(s.t, q.Name+" A "+evilPageAddr.String()))(m)
	default:
		denying(dns.RcodeSuccess)(m)
	}
}

// besideDNAME has the server of shop deny the name below a DNAME with the genuine record that stands at the DNAME.
func besideDNAME(tld string) attack {
	zone := "shop." + tld
	return attack{
		world: func(c *world.Config) {
			edit(c, zone, func(z *world.Zone) { z.Records += "old DNAME tree\nwww.tree CAA " + theirs + "\n" })
		},
		prepare: func(s *stage) { s.publish("_acme-challenge.www.tree." + zone) },
		strike: func(s *stage) {
			proofs := [][]dns.RR{s.proof(zone, "old."+zone), s.proof(zone, "www.old."+zone), s.proof(zone, "*.old."+zone)}
			s.rewrite(world.Fault{Zone: zone, Name: "www.old." + zone, Type: dns.TypeCAA},
				denying(dns.RcodeNameError, proofs...))
		},
	}
}
