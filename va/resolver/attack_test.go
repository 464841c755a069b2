package resolver_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// quick is the default world without its RSA zone, whose keys take longer to make than all the rest.
func quick() world.Config {
	cfg := world.Default()
	cfg.Zones = slices.DeleteFunc(cfg.Zones, func(z world.Zone) bool { return z.Algorithm == dns.RSASHA256 })
	return cfg
}

// genuine gives the records of a zone, as it is signed, that fit.
func genuine(t testing.TB, w *world.World, zone string, fits func(dns.RR) bool) []dns.RR {
	t.Helper()
	text, err := w.Export(zone)
	require.NoError(t, err)
	var found []dns.RR
	p := dns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if fits(rr) {
			found = append(found, rr)
		}
	}
	require.NoError(t, p.Err())
	return found
}

// denials gives the NSEC or NSEC3 record at an owner, with its signature.
func denials(t testing.TB, w *world.World, zone, owner string) []dns.RR {
	found := genuine(t, w, zone, func(rr dns.RR) bool {
		covered := rr.Header().Rrtype
		if sig, ok := rr.(*dns.RRSIG); ok {
			covered = sig.TypeCovered
		}
		return rr.Header().Name == owner && (covered == dns.TypeNSEC || covered == dns.TypeNSEC3)
	})
	require.Len(t, found, 2, owner)
	return found
}

// noData makes an answer an authoritative "no data" with these proofs.
func noData(proofs []dns.RR) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.Rcode, m.Authoritative, m.Answer, m.Ns, m.Extra = dns.RcodeSuccess, true, nil, nil, nil
		for _, rr := range proofs {
			m.Ns = append(m.Ns, dns.Copy(rr))
		}
		m.SetEdns0(1232, true)
	}
}

func records(t testing.TB, texts ...string) []dns.RR {
	t.Helper()
	var all []dns.RR
	for _, s := range texts {
		rr, err := dns.NewRR(s)
		require.NoError(t, err)
		all = append(all, rr)
	}
	return all
}

// Holds: DCV-04, DCV-05, DCV-08, CAA-07, C3, C9
func TestAttacksByNameServers(t *testing.T) {
	const never = "bogus failure" // either refuses; the reason depends on which step of the attacker is found out first
	fixed := func(f world.Fault) func(*testing.T, *world.World) []world.Fault {
		return func(*testing.T, *world.World) []world.Fault { return []world.Fault{f} }
	}
	rewrite := func(f world.Fault, how func(*dns.Msg)) func(*testing.T, *world.World) []world.Fault {
		f.Kind, f.Rewrite = world.Rewrite, how
		return fixed(f)
	}
	hash := func(name, zone string) string {
		return strings.ToLower(dns.HashName(name, dns.SHA1, 0, "")) + "." + zone
	}
	for _, c := range []struct {
		name   string
		faults func(*testing.T, *world.World) []world.Fault
		ask    string
		want   string
		code   string
	}{
		{"parent's NSEC replayed by the child's server", func(t *testing.T, w *world.World) []world.Fault {
			return []world.Fault{{Zone: "child.example.com", Type: dns.TypeCAA, Kind: world.Rewrite,
				Rewrite: noData(denials(t, w, "example.com.", "child.example.com."))}}
		}, "child.example.com CAA", never, ""},
		{"parent's NSEC replayed by the parent's server", func(t *testing.T, w *world.World) []world.Fault {
			return []world.Fault{{Zone: "com", Name: "example.com", Type: dns.TypeCAA, Kind: world.Rewrite,
				Rewrite: noData(denials(t, w, "com.", "example.com."))}}
		}, "example.com CAA", never, ""},
		{"parent's NSEC3 replayed by the child's server", func(t *testing.T, w *world.World) []world.Fault {
			return []world.Fault{{Zone: "example.org", Type: dns.TypeCAA, Kind: world.Rewrite,
				Rewrite: noData(denials(t, w, "org.", hash("example.org.", "org.")))}}
		}, "example.org CAA", never, ""},
		{"parent's NSEC3 replayed by the parent's server", func(t *testing.T, w *world.World) []world.Fault {
			return []world.Fault{{Zone: "org", Name: "example.org", Type: dns.TypeCAA, Kind: world.Rewrite,
				Rewrite: noData(denials(t, w, "org.", hash("example.org.", "org.")))}}
		}, "example.org CAA", never, ""},
		{"unsigned delegation's NSEC3 replayed for a signed one", func(t *testing.T, w *world.World) []world.Fault {
			return []world.Fault{{Zone: "org", Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
				if len(m.Ns) > 0 && strings.EqualFold(m.Ns[0].Header().Name, "example.org.") || m.Question[0].Qtype == dns.TypeDS {
					m.Answer, m.Ns = nil, append(records(t, "example.org. NS ns1.example.org."),
						denials(t, w, "org.", hash("unsigned.org.", "org."))...)
				}
			}}}
		}, "example.org A", "bogus", ""},
		{"DS and its proof stripped from the referral alone", rewrite(world.Fault{Zone: "com", Type: dns.TypeA},
			func(m *dns.Msg) { m.Ns = records(t, "example.com. NS ns1.example.com.") }), "example.com A", "secure", ""},
		{"DS stripped everywhere", fixed(world.Fault{Zone: "com", Kind: world.StripDNSSEC}), "example.com A", never, ""},
		{"one of two servers strips", fixed(world.Fault{Zone: "com", Server: netip.MustParseAddr("127.0.53.3"),
			Kind: world.StripDNSSEC}), "example.com A", "secure", ""},
		{"one of two servers tampers", fixed(world.Fault{Zone: "com", Server: netip.MustParseAddr("127.0.53.3"),
			Kind: world.Tamper}), "com NS", "secure", ""},
		{"one of two servers is mute", fixed(world.Fault{Zone: "com", Server: netip.MustParseAddr("127.0.53.3"),
			Kind: world.Drop}), "example.com A", "secure", ""},
		{"one of two servers is lame", fixed(world.Fault{Zone: "com", Server: netip.MustParseAddr("127.0.53.3"),
			Kind: world.Lame}), "com NS", "secure", ""},
		{"all TTLs are zero", rewrite(world.Fault{}, func(m *dns.Msg) {
			for _, section := range []*[]dns.RR{&m.Answer, &m.Ns, &m.Extra} {
				for i, rr := range *section {
					if (*section)[i] = dns.Copy(rr); rr.Header().Rrtype != dns.TypeOPT {
						(*section)[i].Header().Ttl = 0
					}
				}
			}
		}), "glueless.org A", "secure", ""},
		{"EDNS refused in a signed zone", fixed(world.Fault{Zone: "example.com", Kind: world.NoEDNS}), "example.com A",
			"failure", "dns.no-server"},
		{"EDNS ignored in a signed zone", fixed(world.Fault{Zone: "example.com", Kind: world.IgnoreEDNS}), "example.com A",
			never, ""},
		{"wrong identifier", fixed(world.Fault{Zone: "example.com", Kind: world.WrongID}), "example.com A", never, ""},
		{"wrong question", fixed(world.Fault{Zone: "example.com", Kind: world.WrongQuestion}), "example.com A", never, ""},
		{"no DNS message", fixed(world.Fault{Zone: "example.com", Kind: world.Garbage}), "example.com A", never, ""},
		{"far too large over UDP", fixed(world.Fault{Zone: "example.com", Transport: "udp", Kind: world.Oversized}),
			"example.com A", "secure", ""},
		{"case of the question lost over UDP", rewrite(world.Fault{Zone: "example.com", Transport: "udp"}, func(m *dns.Msg) {
			m.Question[0].Name = strings.ToLower(m.Question[0].Name)
		}), "example.com A", "secure", ""},
		{"upward referral", fixed(world.Fault{Zone: "example.com", Kind: world.Upward}), "example.com A", "failure",
			"dns.no-server"},
		{"sideways referral", rewrite(world.Fault{Zone: "example.com", Type: dns.TypeA}, func(m *dns.Msg) {
			m.Authoritative, m.Answer, m.Ns = false, nil, records(t, "example.org. NS ns1.example.org.")
		}), "example.com A", "failure", "dns.no-server"},
		{"answer in the additional section", rewrite(world.Fault{Zone: "example.com", Type: dns.TypeTXT}, func(m *dns.Msg) {
			m.Extra = append(m.Extra, records(t, `example.com. TXT "unasked"`)...)
		}), "example.com TXT", "secure", ""},
		{"a second record slipped into a signed set", rewrite(world.Fault{Zone: "example.com", Type: dns.TypeA},
			func(m *dns.Msg) {
				if strings.EqualFold(m.Question[0].Name, "example.com.") {
					m.Answer = append(m.Answer, records(t, "example.com. A 192.0.2.66")...)
				}
			}), "example.com A", "bogus", dnssec.CodeSignatureInvalid},
		{"false CNAME below a DNAME", rewrite(world.Fault{Zone: "alias.com", Name: "www.old.alias.com"}, func(m *dns.Msg) {
			for _, rr := range m.Answer {
				if c, ok := rr.(*dns.CNAME); ok {
					c.Target = "unsigned.net."
				}
			}
		}), "www.old.alias.com A", "secure", ""},
		{"SERVFAIL for CAA only", fixed(world.Fault{Zone: "example.com", Type: dns.TypeCAA, Kind: world.ServFail}),
			"example.com CAA", "failure", "dns.no-server"},
		{"a hundred broken signatures", rewrite(world.Fault{Zone: "example.com", Type: dns.TypeA}, func(m *dns.Msg) {
			for _, rr := range m.Answer {
				sig, ok := rr.(*dns.RRSIG)
				for i := 0; ok && i < 100; i++ {
					c := dns.Copy(sig).(*dns.RRSIG)
					c.Expiration -= uint32(i + 1)
					m.Answer = append([]dns.RR{c}, m.Answer...)
				}
			}
		}), "example.com A", "failure", dnssec.CodeLimit},
		{"a hundred keys with one tag", rewrite(world.Fault{Zone: "example.com", Type: dns.TypeDNSKEY}, func(m *dns.Msg) {
			for i := range 100 {
				k := dns.Copy(m.Answer[0])
				k.Header().Ttl = uint32(i)
				m.Answer = append(m.Answer, k)
			}
		}), "example.com A", "failure", dnssec.CodeLimit},
		{"silence for minimised names only", fixed(world.Fault{Zone: "example.com", Name: "b.ent.example.com",
			Type: dns.TypeA, Kind: world.ServFail}), "a.b.ent.example.com TXT", "secure", ""},
		{"NXDOMAIN for an empty non-terminal", rewrite(world.Fault{Zone: "example.com", Name: "b.ent.example.com",
			Type: dns.TypeA}, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }), "a.b.ent.example.com TXT", "secure", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, quick())
			for _, f := range c.faults(t, w) {
				_, err := w.Inject(f)
				require.NoError(t, err)
			}
			name, typ, _ := strings.Cut(c.ask, " ")
			l := in(t, w, func(c *resolver.Config) { c.Timeout = 2 * time.Second }).Lookup(context.Background(), name,
				dns.StringToType[typ]).Lookup
			require.Contains(t, c.want, l.Status.String(), "%s\n%s", l.Why, trace(l))
			if c.code != "" {
				require.Equal(t, c.code, l.Code, "%s\n%s", l.Why, trace(l))
			}
		})
	}
}

// packets counts what arrives at a world's name servers.
type packets struct {
	mu   sync.Mutex
	seen []world.Query
}

func (p *packets) note(q world.Query) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, q)
}

func (p *packets) count(name string, qtype uint16) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, q := range p.seen {
		if (name == "" || strings.EqualFold(q.Name, name)) && (qtype == 0 || q.Type == qtype) {
			n++
		}
	}
	return n
}

func (p *packets) all() []world.Query {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

func counted(t testing.TB) (*world.World, *packets) {
	p := new(packets)
	cfg := quick()
	cfg.OnQuery = p.note
	return serve(t, cfg), p
}

// Glue for a name outside the delegation is a stranger's word about a third zone.
//
// Holds: DCV-04
func TestRFC5452_PoisonedGlueIsIgnored(t *testing.T) {
	w, seen := counted(t)
	evil := netip.MustParseAddr("127.0.53.14") // serves other zones, and refuses this one
	_, err := w.Inject(world.Fault{Zone: "org", Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
		m.Extra = append(records(t, "ns.hosting.net. A "+evil.String()), m.Extra...)
	}})
	require.NoError(t, err)
	l := in(t, w, nil).Lookup(context.Background(), "glueless.org", dns.TypeA).Lookup
	require.Equal(t, dnssec.Secure, l.Status, l.Why)
	for _, q := range seen.all() {
		require.NotEqual(t, evil, q.Server)
	}
}

// Holds: MPIC-07
func TestMPIC07_ResolversShareNothing(t *testing.T) {
	w, seen := counted(t)
	ctx := context.Background()
	a, b := in(t, w, nil), in(t, w, nil)
	require.Equal(t, dnssec.Secure, a.Lookup(ctx, "example.com", dns.TypeCAA).Lookup.Status)
	first := seen.count("", 0)
	require.Equal(t, dnssec.Secure, b.Lookup(ctx, "example.com", dns.TypeCAA).Lookup.Status)
	require.GreaterOrEqual(t, seen.count("", 0), 2*first-1, "the second asks for everything itself")
	require.Equal(t, 2, seen.count("com.", dns.TypeDNSKEY))
}

// Holds: DCV-05
func TestAliasesAndTheirLimit(t *testing.T) {
	w := serve(t, quick())
	for i := range 14 {
		require.NoError(t, w.Set(fmt.Sprintf("a%d.alias.com", i), dns.TypeCNAME, fmt.Sprintf("a%d.alias.com.", i+1)))
	}
	require.NoError(t, w.Set("a14.alias.com", dns.TypeA, "192.0.2.1"))
	r := in(t, w, nil)
	ok := r.Lookup(context.Background(), "a3.alias.com", dns.TypeA)
	require.Equal(t, dnssec.Secure, ok.Lookup.Status, ok.Lookup.Why)
	require.Len(t, ok.Aliases, 11)
	require.Len(t, ok.Lookup.Answers, 12)
	long := r.Lookup(context.Background(), "a2.alias.com", dns.TypeA)
	require.Equal(t, dnssec.Failure, long.Lookup.Status)
	require.Equal(t, "dns.limit", long.Lookup.Code)
	require.Empty(t, long.Aliases)
}

// NXNS: a delegation to many name servers that do not exist costs little and ends in failure.
//
// Holds: DCV-09
func TestNXNSIsBounded(t *testing.T) {
	w, _ := counted(t)
	var ns []string
	for i := range 60 {
		ns = append(ns, fmt.Sprintf("ns%d.nothing%d.example.org.", i, i))
	}
	require.NoError(t, w.Set("nxns.example.com", dns.TypeNS, ns...))
	l := in(t, w, nil).Lookup(context.Background(), "www.nxns.example.com", dns.TypeA).Lookup
	require.Equal(t, dnssec.Failure, l.Status, trace(l))
	require.Equal(t, "dns.limit", l.Code)
	require.Less(t, len(l.Queries), 60)
}

// Holds: DCV-04
func TestIslandsOfTrust(t *testing.T) {
	w := serve(t, quick())
	only := func(zone string) func(*resolver.Config) {
		return func(c *resolver.Config) {
			a, err := dnssec.NewAnchor(w.DS(zone)[0])
			require.NoError(t, err)
			c.Anchors = []dnssec.Anchor{a}
		}
	}
	for _, minimise := range []bool{true, false} {
		r := in(t, w, func(c *resolver.Config) {
			only("island.com")(c)
			c.NoQnameMinimisation = !minimise
		})
		require.Equal(t, dnssec.Secure, r.Lookup(context.Background(), "www.island.com", dns.TypeA).Lookup.Status)
		l := r.Lookup(context.Background(), "example.com", dns.TypeA).Lookup
		require.Equal(t, dnssec.Failure, l.Status, "no anchor is no proof of being unsigned")
		require.Equal(t, dnssec.CodeNoAnchor, l.Code)
	}
	wrong := in(t, w, func(c *resolver.Config) { c.Anchors = nil }) // IANA's anchors fit no key of this world
	l := wrong.Lookup(context.Background(), "example.com", dns.TypeA).Lookup
	require.Equal(t, dnssec.Bogus, l.Status)
	require.Equal(t, dnssec.CodeDSMismatch, l.Code)
}

// Holds: DCV-04
func TestSourceAddress(t *testing.T) {
	w, seen := counted(t)
	src := netip.MustParseAddr("127.0.99.7")
	r := in(t, w, func(c *resolver.Config) { c.SourceAddr = src })
	require.Equal(t, dnssec.Secure, r.Lookup(context.Background(), "large.com", dns.TypeTXT).Lookup.Status)
	require.NotEmpty(t, seen.all())
	for _, q := range seen.all() {
		require.Equal(t, src, q.Client)
	}
}

// A server that denied the zone cut once must not keep later lookups from the right servers.
//
// Holds: C9
func TestALiarIsNotRemembered(t *testing.T) {
	w := serve(t, quick())
	remove, err := w.Inject(world.Fault{Zone: "com", Name: "example.com", Type: dns.TypeCAA, Kind: world.Rewrite,
		Rewrite: noData(denials(t, w, "com.", "example.com."))})
	require.NoError(t, err)
	r := in(t, w, nil)
	l := r.Lookup(context.Background(), "example.com", dns.TypeCAA).Lookup
	require.False(t, l.Status.Usable(), l.Why)
	remove()
	l = r.Lookup(context.Background(), "example.com", dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
}

// Holds: DCV-04
func TestLookupIsACompleteAccount(t *testing.T) {
	w, seen := counted(t)
	a := in(t, w, nil).Lookup(context.Background(), "WWW.Alias.com.", dns.TypeA)
	l := a.Lookup
	require.Equal(t, "www.alias.com.", l.Name)
	require.Equal(t, "A", l.Type)
	require.Equal(t, dnssec.Secure, l.Status, l.Why)
	require.Len(t, l.Queries, seen.count("", 0), "every packet is in the account")
	require.Len(t, a.Aliases, 1)
	require.Len(t, l.Answers, 2)
	require.Contains(t, l.Answers[0], "CNAME")
	require.EqualValues(t, 300, l.TTL)
	require.False(t, l.Finished.Before(l.Started))
	var zones []string
	for _, c := range l.Chain {
		zones = append(zones, c.Zone)
		require.Equal(t, dnssec.Secure, c.Result)
		require.NotEmpty(t, c.DS, c.Zone)
		require.NotEmpty(t, c.DNSKEY, c.Zone)
		require.Equal(t, "ECDSAP256SHA256", c.Algorithm)
	}
	require.Equal(t, []string{".", "com.", "alias.com.", "org.", "example.org."}, zones)

	l = in(t, w, nil).Lookup(context.Background(), "unsigned.com", dns.TypeA).Lookup
	last := l.Chain[len(l.Chain)-1]
	require.Equal(t, "unsigned.com.", last.Zone)
	require.Equal(t, dnssec.Insecure, last.Result)
	require.Contains(t, last.Why, "no DS record")
	require.Equal(t, dnssec.CodeInsecureDelegation, l.Code)

	l = in(t, w, nil).Lookup(context.Background(), "bogus-ds.com", dns.TypeA).Lookup
	last = l.Chain[len(l.Chain)-1]
	require.Equal(t, dnssec.Bogus, last.Result)
	require.NotEmpty(t, last.Why)
}

// A signature is good to its last second, by the resolver's own clock.
//
// Holds: DCV-05
func TestTheClockIsAnArgument(t *testing.T) {
	w := serve(t, quick())
	for _, c := range []struct {
		ahead time.Duration
		want  dnssec.Status
	}{{0, dnssec.Secure}, {24 * time.Hour, dnssec.Secure}, {72 * time.Hour, dnssec.Bogus}, {-24 * time.Hour, dnssec.Bogus}} {
		r := in(t, w, func(rc *resolver.Config) { rc.Now = func() time.Time { return time.Now().Add(c.ahead) } })
		l := r.Lookup(context.Background(), "example.com", dns.TypeCAA).Lookup
		require.Equal(t, c.want, l.Status, "%s: %s", c.ahead, l.Why)
	}
}

// The question and the fetch of the zone's keys need the address of the same name server at the same time.
//
// Holds: DCV-04
func TestGluelessServersAreFoundByAllWhoNeedThem(t *testing.T) {
	w := serve(t, quick())
	for range 150 {
		l := in(t, w, nil).Lookup(context.Background(), "glueless.org", dns.TypeA).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
	}
}

// What a zone's operator publishes decides between insecure, bogus and failure.
//
// Holds: DCV-06, DCV-07, DCV-09
func TestUnsupportedParameters(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	for _, c := range []struct {
		name   string
		zone   string
		edit   func(*world.Zone)
		ask    string
		status dnssec.Status
		code   string
	}{
		{"101 iterations, denial", "salted.org", func(z *world.Zone) { z.Iterations = 101 }, "none.salted.org",
			dnssec.Failure, dnssec.CodeIterations},
		{"101 iterations, answer", "salted.org", func(z *world.Zone) { z.Iterations = 101 }, "www.salted.org",
			dnssec.Secure, ""},
		{"100 iterations, denial", "salted.org", func(z *world.Zone) { z.Iterations = 100 }, "none.salted.org",
			dnssec.Secure, ""},
		{"DS of an unknown algorithm alone", "example.org", func(z *world.Zone) {
			z.DS, z.DSRecords = world.DSGiven, []string{"4711 200 2 " + digest}
		}, "example.org", dnssec.Insecure, dnssec.CodeUnsupportedAlgorithm},
		{"DS of an unknown digest alone", "example.org", func(z *world.Zone) {
			z.DS, z.DSRecords = world.DSGiven, []string{"4711 13 99 " + digest}
		}, "example.org", dnssec.Insecure, dnssec.CodeUnsupportedAlgorithm},
		{"DS of an unknown algorithm beside one that fits no key", "example.org", func(z *world.Zone) {
			z.DS, z.DSRecords = world.DSGiven, []string{"4711 200 2 " + digest, "4711 13 2 " + digest}
		}, "example.org", dnssec.Bogus, dnssec.CodeDSMismatch},
		{"DS of ED448, which is supported", "example.org", func(z *world.Zone) {
			z.DS, z.DSRecords = world.DSGiven, []string{"4711 16 2 " + digest}
		}, "example.org", dnssec.Bogus, dnssec.CodeDSMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := serve(t, quick())
			require.NoError(t, w.Edit(c.zone, func(z *world.Zone) error { c.edit(z); return nil }))
			l := in(t, w, nil).Lookup(context.Background(), c.ask, dns.TypeA).Lookup
			require.Equal(t, c.status, l.Status, "%s\n%s", l.Why, trace(l))
			require.Equal(t, c.code, l.Code, l.Why)
		})
	}
}

// A key rollover that leaves an old key in the memory costs no lookup, and trusts nothing the less.
//
// Holds: DCV-04
func TestRolloverUnderAWarmResolver(t *testing.T) {
	w := serve(t, quick())
	r := in(t, w, nil)
	ask := func() resolver.Lookup { return r.Lookup(context.Background(), "example.com", dns.TypeCAA).Lookup }
	require.Equal(t, dnssec.Secure, ask().Status)
	for _, zone := range []string{"example.com", "com"} {
		require.NoError(t, w.Rollover(zone))
		l := ask()
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
	}
}
