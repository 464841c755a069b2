package reviewer

import (
	"slices"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
)

// forged has shop.com's server answer the challenge's question with these sets.
func (s *stage) forged(sets ...[]dns.RR) {
	s.t.Helper()
	s.rewrite(world.Fault{Zone: "shop.com", Name: s.challenge(), Type: dns.TypeTXT}, answering(sets...))
}

// signatureAttacks are case 2: a genuine RRset beside a forged one with a copied signature; a signer that is not the
// zone.
func signatureAttacks() map[string]attack {
	return map[string]attack{
		"2a": {strike: func(s *stage) {
			genuine := s.set("shop.com", "www.shop.com", dns.TypeTXT)
			s.forged(s.wanted(s.challenge()), renamed(signaturesOf(genuine), s.challenge()), genuine)
		}},
		"2b": {strike: func(s *stage) {
			s.forged(s.wanted(s.challenge()), s.set("shop.com", "www.shop.com", dns.TypeTXT))
		}},
		"2c": {
			world: func(c *world.Config) {
				edit(c, "shop.com", func(z *world.Zone) { z.Records += "_acme-challenge TXT earlier\n" })
			},
			strike: func(s *stage) {
				s.forged(s.wanted(s.challenge()), s.set("shop.com", s.challenge(), dns.TypeTXT))
			},
		},
		"2d": {
			world: func(c *world.Config) {
				c.Zones = append(c.Zones, world.Zone{Name: "op.com", Algorithm: dns.ECDSAP256SHA256,
					Servers: []world.Server{{Host: "a.ns.op.com", Addr: evilAddr}}})
			},
			strike: func(s *stage) { s.signedBy("op.com.") },
		},
		"2e": {strike: func(s *stage) { s.signedBy("com.") }},
		"2f": {
			world: func(c *world.Config) {
				c.Zones = append(c.Zones, world.Zone{Name: "sub.shop.com", Algorithm: dns.ECDSAP256SHA256,
					Servers: []world.Server{{Host: "a.ns.sub.shop.com", Addr: evilAddr}}})
			},
			strike: func(s *stage) { s.signedBy("sub.shop.com.") },
		},
		"2g": {
			world: func(c *world.Config) {
				edit(c, "sub.victim.com", func(z *world.Zone) { z.Records = "@ CAA " + ours + "\n" })
			},
			strike: func(s *stage) {
				permitting := s.set("sub.victim.com", "sub.victim.com", dns.TypeCAA)
				s.rewrite(world.Fault{Zone: "victim.com", Name: "victim.com", Type: dns.TypeCAA},
					answering(renamed(permitting, "victim.com.")))
			},
		},
		"2h": {strike: func(s *stage) {
			k := p256Key(s.t, "shop.com.")
			wanted := s.wanted(s.challenge())
			s.forged(wanted, []dns.RR{k.sign(s.t, wanted, nil)})
			s.rewrite(world.Fault{Zone: "shop.com", Type: dns.TypeDNSKEY}, func(m *dns.Msg) {
				m.Answer = append([]dns.RR{dns.Copy(k.record)}, m.Answer...)
			})
		}},
		"2i": {strike: func(s *stage) {
			k := p256Key(s.t, "shop.com.")
			owner{stage: s, zone: "shop.com.", keys: []zoneKey{k}, signers: []zoneKey{k}}.pretend()
			wanted := s.wanted(s.challenge())
			s.forged(wanted, []dns.RR{k.sign(s.t, wanted, nil)})
		}},
		"2j": {strike: func(s *stage) {
			genuine := s.set("shop.com", s.challenge(), dns.TypeTXT)
			address := s.set("shop.com", "www.shop.com", dns.TypeA)
			s.forged(records(s.t, "www.shop.com. TXT forged", s.challenge()+" A 192.0.2.66"),
				renamed(signaturesOf(address), s.challenge()), genuine)
		}},
	}
}

// signedBy has shop.com's server answer the challenge's question with what the applicant wants, signed by a genuine
// key of another zone in that zone's name.
func (s *stage) signedBy(zone string) {
	s.t.Helper()
	k := p256Key(s.t, zone)
	o := owner{stage: s, zone: zone, keys: []zoneKey{k}, signers: []zoneKey{k}}
	o.publish(ds(s.t, k.record, dns.SHA256))
	s.trap(world.Fault{Zone: zone}, o.resign)
	wanted := s.wanted(s.challenge())
	s.forged(wanted, []dns.RR{k.sign(s.t, wanted, nil)})
}

// strippingAttacks are case 3: a DS record exists, and the child's server withholds signatures or keys, or will not
// speak EDNS or DO.
func strippingAttacks() map[string]attack {
	forging := func(faults ...world.Fault) attack {
		return attack{strike: func(s *stage) {
			s.forged(s.wanted(s.challenge()))
			for _, f := range faults {
				s.inject(f)
			}
		}}
	}
	return map[string]attack{
		"3a": forging(),
		"3b": forging(world.Fault{Zone: "shop.com", Kind: world.StripDNSSEC},
			world.Fault{Zone: "shop.com", Type: dns.TypeDNSKEY, Kind: world.StripAnswer}),
		"3c": {strike: func(s *stage) {
			s.inject(world.Fault{Zone: "com", Kind: world.StripDNSSEC})
			s.trap(world.Fault{Zone: "shop.com", Name: s.challenge(), Type: dns.TypeTXT}, answering(s.wanted(s.challenge())))
			s.install(world.Fault{Zone: "shop.com", Kind: world.StripDNSSEC})
		}},
		"3d": {strike: func(s *stage) {
			s.inject(world.Fault{Zone: "shop.com", Type: dns.TypeDNSKEY, Kind: world.StripAnswer})
		}},
		"3e": forging(world.Fault{Zone: "shop.com", Kind: world.NoEDNS}),
		"3f": forging(world.Fault{Zone: "shop.com", Kind: world.IgnoreEDNS}),
		"3g": forging(world.Fault{Zone: "shop.com", Kind: world.NoDO}),
		"3h": {strike: func(s *stage) {
			s.rewrite(world.Fault{Zone: "victim.com", Type: dns.TypeCAA}, denying(dns.RcodeSuccess))
		}},
		"3i": {strike: func(s *stage) { s.inject(world.Fault{Zone: "open.com", Kind: world.NoEDNS}) }},
		"3j": {strike: func(s *stage) { // whether that server is asked at all is chance
			s.install(world.Fault{Zone: "com", Server: tldAddr, Kind: world.StripDNSSEC})
		}},
	}
}

// algorithmAttacks are case 4: algorithms, digests, key sizes and NSEC3 parameters that are not supported, alone and
// beside some that are.
func algorithmAttacks() map[string]attack {
	given := func(zone string, rdata ...string) attack {
		return attack{world: func(c *world.Config) {
			edit(c, zone, func(z *world.Zone) { z.DS, z.DSRecords = world.DSGiven, rdata })
		}}
	}
	without16 := dnssec.DefaultAlgorithms()
	delete(without16, dns.ED448)
	digests := func(how func(sha1, sha256 string) []string) attack {
		return attack{prepare: func(s *stage) {
			k := s.entry("shop.com")
			s.edit("shop.com", func(z *world.Zone) {
				z.DS, z.DSRecords = world.DSGiven, how(ds(s.t, k, dns.SHA1), ds(s.t, k, dns.SHA256))
			})
		}}
	}
	denials := func(zone string, change func(*dns.NSEC3)) attack {
		return attack{prepare: func(s *stage) {
			k := p256Key(s.t, dns.Fqdn(zone))
			owner{stage: s, zone: dns.Fqdn(zone), keys: []zoneKey{k}, signers: []zoneKey{k}, edit: func(rr dns.RR) {
				if n, ok := rr.(*dns.NSEC3); ok {
					change(n)
				}
			}}.rule(ds(s.t, k.record, dns.SHA256))
		}}
	}
	hash7 := func(n *dns.NSEC3) { n.Hash = 7 }
	endless := func(n *dns.NSEC3) { n.Iterations = 65535 }
	iterations := func(n uint16) attack {
		return attack{world: func(c *world.Config) { edit(c, "shop.org", func(z *world.Zone) { z.Iterations = n }) }}
	}
	ed448Alone := func(table dnssec.Algorithms, beside bool) attack {
		return attack{doors: doors{algorithms: table}, prepare: func(s *stage) {
			k := ed448Key(s.t, "shop.com.")
			o := owner{stage: s, zone: "shop.com.", keys: []zoneKey{k}, signers: []zoneKey{k}}
			set := []string{ds(s.t, k.record, dns.SHA256)}
			if beside {
				silent := p256Key(s.t, "shop.com.")
				o.keys = append(o.keys, silent)
				set = append(set, ds(s.t, silent.record, dns.SHA256))
			}
			o.rule(set...)
		}}
	}
	const digest = "abababababababababababababababababababababababababababababababab"
	return map[string]attack{
		"4a": given("shop.com", "4711 200 2 "+digest),
		"4b": given("shop.com", "4711 13 99 "+digest),
		"4c": given("shop.com", "4711 200 2 "+digest, "4711 13 2 "+digest),
		"4d": given("shop.com", "4711 16 2 "+digest),
		"4e": ed448Alone(nil, false),
		"4f": ed448Alone(without16, false),
		"4g": ed448Alone(nil, true),
		"4h": ed448Alone(without16, true),
		"4i": digests(func(sha1, sha256 string) []string { return []string{sha1, wrong(sha256)} }),
		"4j": digests(func(sha1, sha256 string) []string { return []string{wrong(sha1), sha256} }),
		"4k": digests(func(sha1, _ string) []string { return []string{sha1} }),
		"4l": {prepare: func(s *stage) {
			k := rsaKey(s.t, "shop.com.", 512)
			owner{stage: s, zone: "shop.com.", keys: []zoneKey{k}, signers: []zoneKey{k}}.rule(ds(s.t, k.record, dns.SHA256))
		}},
		"4m": {prepare: func(s *stage) { // the same with a size that is used, so that 4l is refused for the size
			k := rsaKey(s.t, "shop.com.", 1024)
			owner{stage: s, zone: "shop.com.", keys: []zoneKey{k}, signers: []zoneKey{k}}.rule(ds(s.t, k.record, dns.SHA256))
		}},
		"4n": denials("shop.org", hash7), "4o": denials("org", hash7),
		"4p": denials("shop.org", endless), "4q": denials("org", endless),
		"4r": iterations(100), "4s": iterations(101),
	}
}

// costAttacks are case 6: a hundred colliding keys times a hundred signatures, in DNSKEY, DS and answer, behind ten
// aliases.
func costAttacks() map[string]attack {
	signed := func(c *world.Config) {
		edit(c, "evil.com", func(z *world.Zone) { z.Algorithm = dns.ECDSAP256SHA256 })
	}
	// bomb makes evil.com a zone of so many keys with one tag, DS records of that tag that fit none of them, and
	// signatures that are none before the genuine one of the challenge.
	bomb := func(keys, mismatches, signatures int) func(*stage) {
		return func(s *stage) {
			k := rsaKey(s.t, "evil.com.", 1024)
			genuine := ds(s.t, k.record, dns.SHA256)
			o := owner{stage: s, zone: "evil.com.", signers: []zoneKey{k}}
			o.keys = append(colliding("evil.com.", k.record.KeyTag(), keys), k)
			rdata := []string{genuine}
			for i := range mismatches {
				rdata = append(rdata, wrong(genuine)[:len(genuine)-4]+hex4(i))
			}
			o.rule(rdata...)
			s.trap(world.Fault{Zone: "evil.com", Type: dns.TypeTXT}, func(m *dns.Msg) {
				m.Answer = crowd(m.Answer, signatures)
			})
		}
	}
	chain := func(links int) func(*stage) {
		return func(s *stage) {
			at := func(i int) string { return string(rune('a'+i)) + ".links.shop.com." }
			name := s.challenge()
			for i := range links - 1 {
				require.NoError(s.t, s.world.Set(name, dns.TypeCNAME, at(i)))
				name = at(i)
			}
			require.NoError(s.t, s.world.Set(name, dns.TypeCNAME, "end.evil.com."))
			s.publish("end.evil.com")
		}
	}
	return map[string]attack{
		"6a": {world: signed, prepare: bomb(100, 0, 0)},
		"6b": {world: signed, prepare: bomb(3, 100, 0)},
		"6c": {world: signed, prepare: bomb(3, 0, 100)},
		"6d": {world: signed, prepare: bomb(100, 100, 100)},
		"6e": {world: signed, prepare: chain(10), strike: bomb(100, 100, 100)},
		"6f": {world: signed, prepare: chain(10), strike: bomb(3, 0, 100)},
		"6g": {world: signed, prepare: bomb(3, 0, 1)},
		"6h": {world: signed, prepare: chain(11)},
		"6i": {world: signed, prepare: chain(12)},
	}
}

// hex4 gives four hexadecimal digits.
func hex4(i int) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[i>>12&15], digits[i>>8&15], digits[i>>4&15], digits[i&15]})
}

// crowd puts n signatures that are none before each that is one.
func crowd(answer []dns.RR, n int) []dns.RR {
	var out []dns.RR
	for _, rr := range answer {
		for i := range n {
			if sig, ok := rr.(*dns.RRSIG); ok {
				untrue := dns.Copy(sig).(*dns.RRSIG)
				untrue.Expiration -= uint32(i + 1)
				out = append(out, untrue)
			}
		}
		out = append(out, rr)
	}
	return slices.Clip(out)
}
