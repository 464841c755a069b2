package reviewer

import (
	"slices"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// wildcardAttacks are case 7: a wildcard replayed for a name that exists; more labels signed than the owner has.
func wildcardAttacks() map[string]attack {
	// The wildcard's host is the stranger's, www is not.
	hosted := func(tld string) func(*world.Config) {
		return func(c *world.Config) {
			edit(c, "shop."+tld, func(z *world.Zone) { z.Records += "* A " + evilPageAddr.String() + "\n" })
		}
	}
	replayed := func(tld string, proofs func(*stage) []dns.RR) attack {
		zone := "shop." + tld
		return attack{world: hosted(tld), strike: func(s *stage) {
			set, denial := s.set(zone, "*."+zone, dns.TypeA), proofs(s)
			s.rewrite(world.Fault{Zone: zone, Name: "www." + zone, Type: dns.TypeA}, func(m *dns.Msg) {
				answering(renamed(set, "www."+zone+"."))(m)
				m.Ns = copies(denial)
			})
		}}
	}
	caa := func(wildcard, www string) func(*world.Config) {
		return func(c *world.Config) {
			edit(c, "shop.com", func(z *world.Zone) { z.Records += "* CAA " + wildcard + "\nwww CAA " + www + "\n" })
		}
	}
	// above replays the wildcard for a name that does not exist, below one that does: the name between keeps the
	// wildcard off.
	above := func(tld string, proofs func(*stage) []dns.RR) attack {
		zone := "shop." + tld
		return attack{
			world: func(c *world.Config) {
				edit(c, zone, func(z *world.Zone) { z.Records += "* A " + evilPageAddr.String() + "\nb TXT there\n" })
			},
			strike: func(s *stage) {
				set, denial := s.set(zone, "*."+zone, dns.TypeA), proofs(s)
				s.rewrite(world.Fault{Zone: zone, Name: "a.b." + zone, Type: dns.TypeA}, func(m *dns.Msg) {
					answering(renamed(set, "a.b."+zone+"."))(m)
					m.Ns = copies(denial)
				})
			},
		}
	}
	return map[string]attack{
		"7a": replayed("com", func(*stage) []dns.RR { return nil }),
		"7b": replayed("com", func(s *stage) []dns.RR { return s.proof("shop.com", "else.shop.com") }),
		"7c": replayed("org", func(s *stage) []dns.RR {
			return slices.Concat(s.proof("shop.org", "shop.org"), s.proof("shop.org", "else.shop.org"),
				s.proof("shop.org", "www.shop.org"))
		}),
		"7d": {world: hosted("com")}, "7e": {world: hosted("org")},
		"7f": {world: caa(ours, theirs), strike: func(s *stage) {
			set, denial := s.set("shop.com", "*.shop.com", dns.TypeCAA), s.proof("shop.com", "else.shop.com")
			s.rewrite(world.Fault{Zone: "shop.com", Name: "www.shop.com", Type: dns.TypeCAA}, func(m *dns.Msg) {
				answering(renamed(set, "www.shop.com."))(m)
				m.Ns = copies(denial)
			})
		}},
		"7g": {world: caa(theirs, ours)},
		"7h": {
			world: func(c *world.Config) {
				edit(c, "shop.com", func(z *world.Zone) { z.Records += "* A 127.0.80.1\nwww CAA " + theirs + "\n" })
			},
			strike: func(s *stage) {
				expanded := renamed(s.proof("shop.com", "*.shop.com"), "www.shop.com.")
				s.rewrite(world.Fault{Zone: "shop.com", Name: "www.shop.com", Type: dns.TypeCAA},
					denying(dns.RcodeSuccess, expanded))
			},
		},
		"7i": {
			prepare: func(s *stage) { s.publish("x.tenant.shop.com") },
			strike: func(s *stage) {
				s.forged(renamed(s.set("shop.com", "x.tenant.shop.com", dns.TypeTXT), s.challenge()))
			},
		},
		"7j": {
			prepare: func(s *stage) { s.publish("*.tenant.shop.com") },
			strike: func(s *stage) {
				s.forged(renamed(s.set("shop.com", "*.tenant.shop.com", dns.TypeTXT), s.challenge()))
			},
		},
		"7k": {prepare: func(s *stage) {
			k := labelsKey(s.t, "shop.com.")
			owner{stage: s, zone: "shop.com.", keys: []zoneKey{k}, signers: []zoneKey{k}}.rule(ds(s.t, k.record, dns.SHA256))
		}},
		"7l": above("com", func(s *stage) []dns.RR { return s.proof("shop.com", "a.b.shop.com") }),
		"7m": above("org", func(s *stage) []dns.RR {
			return slices.Concat(s.proof("shop.org", "a.b.shop.org"), s.proof("shop.org", "b.shop.org"))
		}),
	}
}

// aliasAttacks are case 8: aliases through secure and insecure zones; a server's false CNAME below a DNAME; a bogus
// step in a climb.
func aliasAttacks() map[string]attack {
	around := func(s *stage) {
		require.NoError(s.t, s.world.Set(s.challenge(), dns.TypeCNAME, "hop.open.com."))
		require.NoError(s.t, s.world.Set("hop.open.com", dns.TypeCNAME, "end.shop.org."))
		s.publish("end.shop.org")
	}
	tree := func(c *world.Config) {
		edit(c, "shop.com", func(z *world.Zone) { z.Records += "old DNAME tree\n" })
	}
	untrue := func(s *stage) []dns.RR { return records(s.t, s.challenge()+" CNAME there.open.com.") }
	wanted := func(s *stage) []dns.RR { return s.wanted("there.open.com.") }
	climb := func(records string) func(*world.Config) {
		return func(c *world.Config) { edit(c, "shop.com", func(z *world.Zone) { z.Records += records }) }
	}
	return map[string]attack{
		"8a": {prepare: around},
		"8b": {prepare: around, strike: func(s *stage) {
			s.inject(world.Fault{Zone: "shop.org", Type: dns.TypeTXT, Kind: world.StripRRSIG})
		}},
		"8c": {world: tree, prepare: func(s *stage) { s.publish("there.open.com") }, strike: func(s *stage) {
			s.forged(s.set("shop.com", "old.shop.com", dns.TypeDNAME), untrue(s), wanted(s))
		}},
		"8d": {prepare: func(s *stage) { s.publish("there.open.com") }, strike: func(s *stage) {
			s.forged(untrue(s), wanted(s))
		}},
		"8e": {world: tree, prepare: func(s *stage) { s.publish("_acme-challenge.www.tree.shop.com") }, strike: func(s *stage) {
			s.forged(s.set("shop.com", "old.shop.com", dns.TypeDNAME), untrue(s))
		}},
		"8f": {world: climb("@ CAA " + ours + "\na.b A 127.0.80.1\n"), strike: func(s *stage) {
			s.rewrite(world.Fault{Zone: "shop.com", Name: "b.shop.com", Type: dns.TypeCAA}, denying(dns.RcodeSuccess))
		}},
		"8g": {world: climb("a.b CAA " + ours + "\n"), strike: func(s *stage) {
			s.install(world.Fault{Zone: "shop.com", Name: "b.shop.com", Type: dns.TypeCAA, Kind: world.StripDNSSEC})
			s.install(world.Fault{Zone: "shop.com", Name: "shop.com", Type: dns.TypeCAA, Kind: world.StripDNSSEC})
		}},
		"8h": {
			world: func(c *world.Config) {
				edit(c, "open.com", func(z *world.Zone) { z.Records += "@ CAA " + theirs + "\n" })
			},
			strike: func(s *stage) {
				s.rewrite(world.Fault{Zone: "open.com", Name: "b.open.com", Type: dns.TypeCAA}, denying(dns.RcodeNameError))
			},
		},
		"8i": {world: climb("alias CNAME host.victim.com.\n"), prepare: func(s *stage) {
			require.NoError(s.t, s.world.Set("host.victim.com", dns.TypeA, pageAddr.String()))
		}},
		"8j": {prepare: func(s *stage) {
			require.NoError(s.t, s.world.Set(s.challenge(), dns.TypeCNAME, "back.open.com."))
			require.NoError(s.t, s.world.Set("back.open.com", dns.TypeCNAME, s.challenge()))
		}},
	}
}

// signing is the time at which the zones of case 9 are signed.
var signing = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// wrap is when the seconds of RRSIG records start from 0 again (RFC 4034 section 3.1.5, RFC 1982).
var wrap = time.Unix(1<<32, 0).UTC()

// clockAttacks are case 9: the moment at which a signature begins and ends, a clock that is off, the wrap of the serial
// numbers that signatures tell the time by. The empty anchor file is TestAnEmptyAnchorFileIsRefused.
func clockAttacks() map[string]attack {
	at := func(signed time.Time, window world.Window, now time.Time) attack {
		return attack{signedAt: func() time.Time { return signed }, doors: doors{now: func() time.Time { return now }},
			world: func(c *world.Config) { edit(c, "shop.com", func(z *world.Zone) { z.Window = window }) }}
	}
	ends := world.Window{Before: time.Hour, After: 10 * time.Second}
	begins := world.Window{Before: -10 * time.Second, After: time.Hour}
	day := world.Window{Before: 12 * time.Hour, After: 12 * time.Hour}
	const nanosecond = time.Nanosecond
	reversed := at(signing, world.Window{}, signing)
	reversed.strike = func(s *stage) {
		s.rewrite(world.Fault{Zone: "shop.com", Type: dns.TypeTXT}, func(m *dns.Msg) {
			for _, rr := range m.Answer {
				if sig, ok := rr.(*dns.RRSIG); ok {
					sig.Inception, sig.Expiration = sig.Expiration, sig.Inception
				}
			}
		})
	}
	return map[string]attack{
		"9a": at(signing, ends, signing.Add(11*time.Second-nanosecond)),
		"9b": at(signing, ends, signing.Add(11*time.Second)),
		"9c": at(signing, begins, signing.Add(10*time.Second)),
		"9d": at(signing, begins, signing.Add(10*time.Second-nanosecond)),
		"9e": at(signing, day, signing.Add(24*time.Hour)),
		"9f": at(signing, day, signing.Add(-24*time.Hour)),
		"9g": at(wrap.Add(-time.Minute), day, wrap.Add(-30*time.Second)),
		"9h": at(wrap.Add(-time.Minute), day, wrap.Add(time.Minute)),
		"9i": at(wrap.Add(-time.Minute), day, wrap.Add(24*time.Hour)),
		"9j": at(wrap.Add(time.Minute), begins, wrap.Add(-time.Minute)),
		"9k": reversed,
	}
}

// serverAttacks are case 10: poisoned glue, referrals to strangers, floods, name servers that do not exist or answer
// all but CAA. publicAttacks has the name server at 169.254.169.254.
func serverAttacks() map[string]attack {
	untouched := func(s *stage, _ record) { require.Zero(s.t, s.asked(evilAddr), "the attacker's server was asked") }
	poison := func(s *stage) []dns.RR {
		return records(s.t, "a.ns.hosting.org. A "+evilAddr.String(), "a.ns.open.com. A "+evilAddr.String())
	}
	forbidding := func(c *world.Config) {
		edit(c, "open.com", func(z *world.Zone) { z.Records += "@ CAA " + theirs + "\n" })
	}
	aside := func(t uint16, ns string) attack {
		return attack{verify: untouched, strike: func(s *stage) {
			referral, glue := records(s.t, ns), poison(s)
			glue = append(glue, records(s.t, "a.ns.evil.com. A "+evilAddr.String())...)
			s.trap(world.Fault{Server: evilAddr}, s.evil)
			s.rewrite(world.Fault{Zone: "open.com", Type: t}, func(m *dns.Msg) {
				denying(dns.RcodeSuccess, referral)(m)
				m.Authoritative, m.Extra = false, copies(glue)
			})
		}}
	}
	flood := func(forge func(*dns.Msg, int)) attack {
		return attack{strike: func(s *stage) {
			s.inject(world.Fault{Zone: "open.com", Type: dns.TypeTXT, Kind: world.Flood, Flood: func(m *dns.Msg) []*dns.Msg {
				var all []*dns.Msg
				for i := range 200 {
					f := m.Copy()
					s.evil(f)
					forge(f, i)
					all = append(all, f)
				}
				return all
			}})
		}, verify: func(s *stage, r record) {
			l := lookups(r.primary, s.challenge(), "TXT")[0]
			used := slices.DeleteFunc(slices.Clone(l.Queries), func(q resolver.Query) bool { return q.Error != "" }) // not a hedge that came later
			require.NotEmpty(s.t, used, told(l))
			require.Equal(s.t, "tcp", used[len(used)-1].Transport, "who is flooded asks where nobody guesses: %s", told(l))
		}}
	}
	return map[string]attack{
		"10a": {verify: untouched, strike: func(s *stage) {
			s.trap(world.Fault{Server: evilAddr}, s.evil)
			s.rewrite(world.Fault{Zone: "com"}, func(m *dns.Msg) {
				if within(m, "glueless.com.") {
					m.Extra = poison(s)
				}
			})
		}},
		"10b": {first: "evil.com", strike: func(s *stage) {
			s.rewrite(world.Fault{Zone: "evil.com"}, func(m *dns.Msg) {
				m.Ns = append(m.Ns, records(s.t, "glueless.com. NS a.ns.hosting.org.", "open.com. NS a.ns.open.com.",
					"com. NS a.ns.evil.com.")...)
				m.Extra = append(m.Extra, poison(s)...)
			})
			s.trap(world.Fault{Server: evilAddr}, s.evil)
		}, verify: func(s *stage, r record) {
			for _, report := range append([]va.Report{r.primary}, r.remotes...) {
				require.NotContains(s.t, told(lookups(report, s.challenge(), "TXT")[0]), evilAddr.String())
			}
		}},
		"10c": aside(dns.TypeTXT, "glueless.com. NS a.ns.evil.com."),
		"10d": aside(dns.TypeTXT, "com. NS a.ns.evil.com."),
		"10e": aside(dns.TypeTXT, ". NS a.ns.evil.com."),
		"10f": flood(func(m *dns.Msg, i int) { m.Id += uint16(1 + i) }),
		"10g": flood(func(m *dns.Msg, _ int) { m.Question[0].Name = dns.CanonicalName(m.Question[0].Name) }),
		"10h": flood(func(m *dns.Msg, _ int) { m.Question[0].Name = "x" + m.Question[0].Name }),
		"10i": {
			world: func(c *world.Config) {
				edit(c, "evil.com", func(z *world.Zone) {
					for i := range 1000 {
						z.Records += "nxns NS a" + hex4(i) + ".b" + hex4(i) + ".shop.org.\n"
					}
				})
			},
			verify: func(s *stage, r record) {
				// TXT, and CAA of two names below the delegation: each costs the victim's servers a few packets, not thousands.
				require.Less(s.t, s.asked(victimAddr), 100*len(sites))
			},
		},
		"10j": {strike: func(s *stage) { s.inject(world.Fault{Zone: "shop.com", Type: dns.TypeCAA, Kind: world.ServFail}) }},
		"10k": {strike: func(s *stage) {
			s.inject(world.Fault{Zone: "victim.com", Type: dns.TypeCAA, Kind: world.TruncateNoTCP})
		}},
		"10l": {doors: doors{closed: true}, world: func(c *world.Config) {
			edit(c, "shop.com", func(z *world.Zone) { z.Records += "meta A 169.254.169.254\n" })
		}},
		"10m": {world: forbidding, strike: func(s *stage) {
			s.inject(world.Fault{Zone: "open.com", Type: dns.TypeCAA, Kind: world.TruncateNoTCP})
		}},
		"10n": {world: forbidding, strike: func(s *stage) {
			s.rewrite(world.Fault{Zone: "open.com", Type: dns.TypeCAA}, func(m *dns.Msg) {
				denying(dns.RcodeSuccess)(m)
				m.Authoritative = false
			})
		}},
		"10o": {world: forbidding, strike: func(s *stage) {
			s.rewrite(world.Fault{Zone: "open.com", Type: dns.TypeCAA}, answering(records(s.t, "else.open.com. CAA "+ours)))
		}},
	}
}
