package resolver_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// An attack leaves nothing behind: once it is over, a resolver that met it says what a fresh one says, at the latest when it is
// asked again, and never calls a signed zone insecure in between.
//
// Holds: DCV-04, DCV-05, C9
func TestAnAttackLeavesNothingBehind(t *testing.T) {
	drop := func(types ...uint16) func(*dns.Msg) {
		return func(m *dns.Msg) {
			for _, s := range []*[]dns.RR{&m.Answer, &m.Ns} {
				*s = slices.DeleteFunc(slices.Clone(*s), func(rr dns.RR) bool { return slices.Contains(types, rr.Header().Rrtype) })
			}
		}
	}
	forged := func(m *dns.Msg) {
		m.Rcode, m.Authoritative, m.Ns = dns.RcodeSuccess, true, nil
		m.Answer = records(t, m.Question[0].Name+` 300 IN CAA 0 issue "evil.example.net"`)
	}
	stolen := func(m *dns.Msg) { // a referral to a server of the attacker's, with everything else genuine
		for i, rr := range m.Ns {
			if ns, ok := rr.(*dns.NS); ok {
				c := *ns
				c.Ns = "ns.evil.unsigned.com."
				m.Ns[i] = &c
			}
		}
		m.Extra = nil
	}
	for _, c := range []struct {
		name  string
		fault world.Fault
		names []string
	}{
		{"DS left out of referrals", world.Fault{Zone: "com", Rewrite: drop(dns.TypeDS)}, []string{"example.com"}},
		{"everything signed left out", world.Fault{Zone: "com", Kind: world.StripDNSSEC}, []string{"example.com"}},
		{"keys left out", world.Fault{Type: dns.TypeDNSKEY, Rewrite: drop(dns.TypeDNSKEY)}, []string{"example.com"}},
		{"answers forged by the parent", world.Fault{Zone: "com", Rewrite: forged}, []string{"example.com", "www.example.com"}},
		{"answers forged by an opt-out parent", world.Fault{Zone: "net", Rewrite: forged}, []string{"optout.net", "www.optout.net"}},
		{"answers forged by the root", world.Fault{Zone: ".", Rewrite: forged}, []string{"example.org"}},
		{"answers forged by the zone", world.Fault{Zone: "child.example.com", Rewrite: forged},
			[]string{"child.example.com", "www.child.example.com"}},
		{"name servers stolen", world.Fault{Zone: "com", Rewrite: stolen}, []string{"example.com"}},
		{"name servers stolen below opt-out", world.Fault{Zone: "net", Rewrite: stolen}, []string{"optout.net"}},
		{"referrals without authority records", world.Fault{Zone: "org", Rewrite: func(m *dns.Msg) { m.Ns, m.Extra = nil, nil }},
			[]string{"example.org"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, quick())
			if c.fault.Kind == 0 {
				c.fault.Kind = world.Rewrite
			}
			for _, name := range c.names {
				for _, minimise := range []bool{true, false} {
					r := in(t, w, func(c *resolver.Config) { c.Timeout, c.NoQnameMinimisation = 2*time.Second, !minimise })
					remove, err := w.Inject(c.fault)
					require.NoError(t, err)
					for range 2 {
						a := r.Lookup(context.Background(), name, dns.TypeCAA)
						require.NotEqual(t, dnssec.Insecure, a.Lookup.Status, "%s\n%s", a.Lookup.Why, trace(a.Lookup))
						require.NotContains(t, fmt.Sprint(a.Records), "evil")
					}
					remove()
					l := r.Lookup(context.Background(), name, dns.TypeCAA).Lookup
					require.NotEqual(t, dnssec.Insecure, l.Status, "%s\n%s", l.Why, trace(l))
					if l.Status != dnssec.Secure {
						l = r.Lookup(context.Background(), name, dns.TypeCAA).Lookup
					}
					require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
				}
			}
		})
	}
}

// KeyTrap at the end of ten aliases: in the answer's signatures, in the keys, and in the DS set. The lookup ends in a failure
// that names the limit, and others beside it do not feel it.
//
// Holds: DCV-09
func TestCVE_2023_50387_BehindTenAliases(t *testing.T) {
	w := serve(t, quick())
	for i := range 10 {
		require.NoError(t, w.Set(fmt.Sprintf("k%d.alias.com", i), dns.TypeCNAME, fmt.Sprintf("k%d.alias.com.", i+1)))
	}
	require.NoError(t, w.Set("k10.alias.com", dns.TypeCNAME, "example.org."))
	ds := w.DS("example.org")[0].(*dns.DS)
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("%d %d 2 %064x", ds.KeyTag, ds.Algorithm, i))
	}
	copies := func(m *dns.Msg) {
		for _, rr := range slices.Clone(m.Answer) {
			for i := range 100 {
				c := dns.Copy(rr)
				if sig, ok := c.(*dns.RRSIG); ok {
					sig.Expiration -= uint32(i + 1)
				} else if rr.Header().Rrtype == dns.TypeDNSKEY {
					c.Header().Ttl = uint32(i)
				} else {
					continue
				}
				m.Answer = append([]dns.RR{c}, m.Answer...)
			}
		}
	}
	for _, c := range []struct {
		name  string
		fault world.Fault
		ds    []string
	}{
		{"answer", world.Fault{Zone: "example.org", Type: dns.TypeA}, nil},
		{"keys", world.Fault{Zone: "example.org", Type: dns.TypeDNSKEY}, nil},
		{"DS", world.Fault{Zone: "example.org", Type: dns.TypeTXT}, many},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.fault.Kind, c.fault.Rewrite = world.Rewrite, copies
			remove, err := w.Inject(c.fault)
			require.NoError(t, err)
			defer remove()
			if c.ds != nil {
				require.NoError(t, w.Edit("example.org", func(z *world.Zone) error {
					z.DS, z.DSRecords = world.DSGiven, c.ds
					return nil
				}))
			}
			r := in(t, w, nil)
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					l := r.Lookup(context.Background(), "k0.alias.com", dns.TypeA).Lookup
					assert.Equal(t, dnssec.Failure, l.Status, "%s\n%s", l.Why, trace(l))
					assert.Equal(t, dnssec.CodeLimit, l.Code, l.Why)
				})
				all.Go(func() {
					l := r.Lookup(context.Background(), "www.example.dev", dns.TypeA).Lookup
					assert.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
				})
			}
			all.Wait()
			require.True(t, strings.HasPrefix(r.Lookup(context.Background(), "k0.alias.com", dns.TypeCNAME).Lookup.Why, "signed by"))
		})
	}
}

// A referral to fifteen hundred name servers with long names, which is 64 KB as a message, takes several times that in memory, and
// counts for as much.
//
// Holds: C9
func TestLargeDelegationsCountForWhatTheyTake(t *testing.T) {
	w := serve(t, quick())
	_, err := w.Inject(world.Fault{Zone: "unsigned.com", Type: dns.TypeA, Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
		m.Answer, m.Ns, m.Extra, m.Authoritative, m.Rcode, m.Compress = nil, nil, nil, false, dns.RcodeSuccess, true
		name := strings.ToLower(m.Question[0].Name)
		for i := range 1500 {
			host := fmt.Sprintf("n%d.%s%s", i, strings.Repeat(strings.Repeat("a", 60)+".", 3), name)
			m.Ns = append(m.Ns, &dns.NS{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 3600}, Ns: host})
			if i < 400 {
				m.Extra = append(m.Extra, records(t, host+" 300 IN A 127.0.53.13")...)
			}
		}
	}})
	require.NoError(t, err)
	r := in(t, w, nil).Resolver
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int(s.HeapAlloc)
	}
	ask := func(name string) {
		l := r.Lookup(context.Background(), name, dns.TypeTXT).Lookup
		require.Equal(t, dnssec.Insecure, l.Status, "%s\n%s", l.Why, trace(l))
	}
	ask("t.unsigned.com")
	known, few := resolver.Remembered(r)
	before := heap()
	for i := range 20 {
		ask(fmt.Sprintf("t.x%d.unsigned.com", i))
	}
	took := heap() - before
	count, many := resolver.Remembered(r)
	require.Equal(t, known+20, count)
	require.Greater(t, took, 20*256<<10)
	require.InEpsilon(t, took, many-few, 0.5)
}

// Servers that keep silent about one type take no time from the lookups of others, which wait for the same referral.
//
// Holds: C9
func TestSilenceAboutOneTypeDoesNotHoldUpOthers(t *testing.T) {
	asked := make(chan struct{}, 1)
	cfg := quick()
	cfg.OnQuery = func(q world.Query) {
		if q.Type == dns.TypeCAA {
			select {
			case asked <- struct{}{}:
			default:
			}
		}
	}
	w := serve(t, cfg)
	_, err := w.Inject(world.Fault{Zone: "com", Type: dns.TypeCAA, Kind: world.Drop})
	require.NoError(t, err)
	r := in(t, w, func(c *resolver.Config) { c.Timeout = 4 * time.Second })
	require.Equal(t, dnssec.Secure, r.Lookup(context.Background(), "com", dns.TypeSOA).Lookup.Status)
	var all sync.WaitGroup
	all.Go(func() {
		assert.Equal(t, "dns.timeout", r.Resolver.Lookup(context.Background(), "example.com", dns.TypeCAA).Lookup.Code)
	})
	<-asked
	for name, qtype := range map[string]uint16{"example.com": dns.TypeA, "_acme-challenge.example.com": dns.TypeTXT} {
		all.Go(func() {
			l := r.Resolver.Lookup(context.Background(), name, qtype).Lookup
			assert.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
		})
	}
	all.Wait()
}
