package resolver_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// A zone and its child on the same servers, and the grandchild elsewhere, as uk and co.uk are: the server's referral skips
// the child, whose keys vouch for it.
//
// Holds: DCV-04, DCV-05
func TestRFC4035_5_2_ReferralSkipsAChildOnTheSameServers(t *testing.T) {
	cfg := quick()
	elsewhere := netip.MustParseAddr("127.0.53.20")
	grand := func(name string, algorithm uint8, denial world.Denial) {
		cfg.Zones = append(cfg.Zones, world.Zone{Name: name, Algorithm: algorithm, Denial: denial, Records: "www A 192.0.2.1\n",
			Servers: []world.Server{{Host: "ns1." + name, Addr: elsewhere}}})
	}
	grand("grand.child.example.com", dns.ECDSAP256SHA256, world.NSEC)
	grand("open.child.example.com", 0, world.NSEC)
	grand("grand.open.example.com", 0, world.NSEC)
	grand("below.grand.child.example.com", dns.ECDSAP256SHA256, world.NSEC3)
	for _, tld := range []string{"org", "net"} { // NSEC3, and with opt-out
		both := func(name string, algorithm uint8) {
			cfg.Zones = append(cfg.Zones, world.Zone{Name: name + "." + tld, Algorithm: algorithm, Denial: world.NSEC3OptOut,
				Servers: []world.Server{{Host: "a.nic." + tld, Addr: netip.MustParseAddr("127.0.53.3")},
					{Host: "b.nic." + tld, Addr: netip.MustParseAddr("127.0.53.4")}}})
			grand("signed."+name+"."+tld, dns.ECDSAP256SHA256, world.NSEC)
			grand("open."+name+"."+tld, 0, world.NSEC)
		}
		both("co", dns.ECDSAP256SHA256)
		both("un", 0)
	}
	w := serve(t, cfg)
	cases := []struct {
		name string
		want dnssec.Status
	}{
		{"www.grand.child.example.com", dnssec.Secure},
		{"www.open.child.example.com", dnssec.Insecure},
		{"www.grand.open.example.com", dnssec.Insecure},
		{"www.below.grand.child.example.com", dnssec.Secure},
		{"www.signed.co.org", dnssec.Secure},
		{"www.open.co.org", dnssec.Insecure},
		{"www.signed.un.org", dnssec.Insecure},
		{"www.open.un.org", dnssec.Insecure},
		{"www.signed.co.net", dnssec.Secure},
		{"www.open.co.net", dnssec.Insecure},
		{"www.signed.un.net", dnssec.Insecure},
		{"www.open.un.net", dnssec.Insecure},
	}
	for _, c := range cases {
		for _, plain := range []bool{false, true} {
			r := in(t, w, func(c *resolver.Config) { c.NoQnameMinimisation = plain })
			for range 2 {
				l := r.Lookup(context.Background(), c.name, dns.TypeA).Lookup
				require.Equal(t, c.want, l.Status, "%s\n%s", l.Why, trace(l))
				l = r.Lookup(context.Background(), c.name, dns.TypeCAA).Lookup
				require.Equal(t, c.want, l.Status, "%s\n%s", l.Why, trace(l))
			}
		}
	}
	for range 5 { // all at once, cold: what they share on the way down is the same for each
		r := in(t, w, nil)
		var all sync.WaitGroup
		for _, c := range cases {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeCAA} {
				all.Go(func() {
					l := r.Lookup(context.Background(), c.name, qtype).Lookup
					assert.Equal(t, c.want, l.Status, "%s\n%s", l.Why, trace(l))
				})
			}
		}
		all.Wait()
	}
}

// What name servers of unsigned zones may not do: an answer that does not speak of the question is no proof that there is
// nothing, and CAA must not be lost by it.
//
// Holds: CAA-07, C9
func TestUnsignedZonesAnswerTheQuestionOrNothing(t *testing.T) {
	w := serve(t, quick())
	ask := func(t *testing.T, name string, qtype uint16, answer func(*dns.Msg)) *resolver.Answer {
		t.Helper()
		remove, err := w.Inject(world.Fault{Zone: "unsigned.com", Type: qtype, Kind: world.Rewrite, Rewrite: answer})
		require.NoError(t, err)
		defer remove()
		return in(t, w, func(c *resolver.Config) { c.Timeout = 3 * time.Second }).Lookup(context.Background(), name, qtype)
	}
	for _, c := range []struct {
		name   string
		answer []dns.RR
	}{
		{"another owner", records(t, `other.unsigned.com. CAA 0 issue "ca.example.net"`)},
		{"another type", records(t, "unsigned.com. A 192.0.2.1")},
		{"another class", records(t, `unsigned.com. CH CAA 0 issue "ca.example.net"`)},
		{"an alias of another owner", records(t, "other.unsigned.com. CNAME caa.example.com.")},
		{"a DNAME above the zone", records(t, "com. DNAME example.org.")},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ask(t, "unsigned.com", dns.TypeCAA, func(m *dns.Msg) {
				m.Rcode, m.Authoritative, m.Answer, m.Ns = dns.RcodeSuccess, true, c.answer, nil
			}).Lookup
			require.Equal(t, dnssec.Failure, l.Status, "%s\n%s", l.Why, trace(l))
		})
	}
	a := ask(t, "unsigned.com", dns.TypeCAA, func(m *dns.Msg) {
		m.Answer = append(records(t, `unsigned.com. CAA 0 issue "one.example.net"`), records(t, "unsigned.com. A 192.0.2.1")...)
	})
	require.Equal(t, dnssec.Insecure, a.Lookup.Status, a.Lookup.Why)
	require.Len(t, a.Records, 1, "records beside the answer are dropped")
}

// The verdict is that of the worst link, wherever in the chain it stands.
//
// Holds: DCV-05
func TestSecureInsecureSecureIsInsecure(t *testing.T) {
	w := serve(t, quick())
	require.NoError(t, w.Set("back.unsigned.net", dns.TypeCNAME, "caa.example.com."))
	require.NoError(t, w.Set("around.alias.com", dns.TypeCNAME, "back.unsigned.net."))
	require.NoError(t, w.Set("broken.unsigned.net", dns.TypeCNAME, "bogus-expired.com."))
	r := in(t, w, nil)
	l := r.Lookup(context.Background(), "around.alias.com", dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Insecure, l.Status, l.Why)
	require.Len(t, l.Answers, 3)
	l = r.Lookup(context.Background(), "broken.unsigned.net", dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Bogus, l.Status, l.Why)
}

// Holds: DCV-05
func TestRFC6672_2_2_DNAMEMakesNamesOnlyWithin255Octets(t *testing.T) {
	w := serve(t, quick())
	label := strings.Repeat("a", 61) + "."
	require.NoError(t, w.Set("up.alias.com", dns.TypeDNAME, "a.b.ent.example.com."))
	for _, rcode := range []int{dns.RcodeSuccess, dns.RcodeYXDomain} { // whatever the server makes of it
		l := longAlias(t, w, strings.Repeat(label, 3)+strings.Repeat("b", 48)+".up.alias.com", rcode)
		require.Equal(t, "dns.alias-too-long", l.Code, "%s\n%s", l.Why, trace(l))
		require.Equal(t, dnssec.Failure, l.Status)
	}
	l := in(t, w, nil).Lookup(context.Background(), strings.Repeat(label, 3)+"b.up.alias.com", dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))        // and nothing there
	long := strings.Repeat(label, 3) + strings.Repeat("b", 55) + ".example.com" // 255 octets on the wire
	l = in(t, w, nil).Lookup(context.Background(), long, dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
	require.Equal(t, "NXDOMAIN", l.Rcode)
	l = in(t, w, nil).Lookup(context.Background(), "b"+long, dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Failure, l.Status)
	require.Equal(t, "dns.bad-name", l.Code)
}

// A DNAME redirects the question about itself too, when it is asked below.
//
// Holds: DCV-05
func TestRFC6672_2_3_DNAMEAskedBelowItself(t *testing.T) {
	w := serve(t, quick())
	a := in(t, w, nil).Lookup(context.Background(), "a.b.ent.old.alias.com", dns.TypeDNAME)
	require.Equal(t, dnssec.Secure, a.Lookup.Status, a.Lookup.Why)
	require.Len(t, a.Aliases, 1)
	require.Empty(t, a.Records)
	a = in(t, w, nil).Lookup(context.Background(), "old.alias.com", dns.TypeDNAME)
	require.Equal(t, dnssec.Secure, a.Lookup.Status, a.Lookup.Why)
	require.Len(t, a.Records, 1)
}

// longAlias asks for a name that a DNAME of alias.com would make too long. The world's server cannot say it: it is told to.
func longAlias(t *testing.T, w *world.World, name string, rcode int) resolver.Lookup {
	t.Helper()
	dname := genuine(t, w, "alias.com.", func(rr dns.RR) bool {
		sig, ok := rr.(*dns.RRSIG)
		return rr.Header().Name == "up.alias.com." && (rr.Header().Rrtype == dns.TypeDNAME || ok && sig.TypeCovered == dns.TypeDNAME)
	})
	require.Len(t, dname, 2)
	remove, err := w.Inject(world.Fault{Zone: "alias.com", Name: name, Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
		m.Rcode, m.Authoritative, m.Answer, m.Ns = rcode, true, dname, nil
	}})
	require.NoError(t, err)
	defer remove()
	return in(t, w, nil).Lookup(context.Background(), name, dns.TypeCAA).Lookup
}

// Odd octets, dots inside labels, and names that look special are names like any other.
//
// Holds: DCV-05
func TestOddNamesAreProvenLikeAnyOther(t *testing.T) {
	w := serve(t, quick())
	for _, name := range []string{`a\.b.example.com`, `\000.example.com`, `\255.example.com`, `\000\255\".example.org`,
		`*.example.com`, `*.*.example.org`, `x\.example.com`, `_acme-challenge.\*.wildcard.org`} {
		l := in(t, w, nil).Lookup(context.Background(), name, dns.TypeMX).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s: %s\n%s", name, l.Why, trace(l))
		require.Contains(t, []string{"NXDOMAIN", "NOERROR"}, l.Rcode)
	}
	for _, q := range []struct {
		name  string
		qtype uint16
	}{{".", dns.TypeDS}, {".", dns.TypeCAA}, {".", dns.TypeDNSKEY}, {"com", dns.TypeDS}, {"com", dns.TypeDNSKEY},
		{"example.com", dns.TypeNSEC}, {"example.com", dns.TypeSOA}, {"*.wildcard.com", dns.TypeTXT}} {
		l := in(t, w, nil).Lookup(context.Background(), q.name, q.qtype).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s: %s\n%s", q.name, l.Why, trace(l))
	}
	for _, qtype := range []uint16{0, dns.TypeOPT, dns.TypeRRSIG, dns.TypeNSEC3, dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR,
		dns.TypeTSIG} {
		l := in(t, w, nil).Lookup(context.Background(), "example.com", qtype).Lookup
		require.Equal(t, dnssec.Failure, l.Status)
		require.Empty(t, l.Queries)
	}
}

// What the memory holds ends with its time: a delegation that was insecure is not insecure for ever, nor a secure one secure.
//
// Holds: DCV-04, C9
func TestMemoryEndsWithItsTime(t *testing.T) {
	w := serve(t, quick())
	var ahead atomic.Int64
	r := in(t, w, func(c *resolver.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		c.CacheCap = time.Minute
	})
	set := func(ds world.DSMode) {
		require.NoError(t, w.Edit("island.com", func(z *world.Zone) error { z.DS = ds; return nil }))
	}
	ask := func() dnssec.Status {
		return r.Lookup(context.Background(), "www.island.com", dns.TypeA).Lookup.Status
	}
	require.Equal(t, dnssec.Insecure, ask())
	set(world.DSGenuine)
	ahead.Store(int64(61 * time.Second))
	require.Equal(t, dnssec.Secure, ask())
	set(world.DSWrong)
	ahead.Store(int64(122 * time.Second))
	require.Equal(t, dnssec.Bogus, ask())
	set(world.DSAbsent)
	ahead.Store(int64(183 * time.Second))
	require.Equal(t, dnssec.Insecure, ask())
}

// Who gives up early takes nobody along.
//
// Holds: DCV-04
func TestACancelledLookupHarmsNoOther(t *testing.T) {
	w := serve(t, quick())
	_, err := w.Inject(world.Fault{Zone: "com", Kind: world.Slow, Delay: 60 * time.Millisecond})
	require.NoError(t, err)
	for range 5 {
		r := in(t, w, nil)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if i%2 == 0 {
					time.AfterFunc(time.Duration(20+10*i)*time.Millisecond, cancel)
				}
				l := r.Lookup(ctx, "example.com", dns.TypeCAA).Lookup
				if i%2 == 1 {
					assert.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
				}
			})
		}
		all.Wait()
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	require.Equal(t, dnssec.Failure, in(t, w, nil).Lookup(done, "example.com", dns.TypeCAA).Lookup.Status)
}

// Records of no octets, names of none: a server's nonsense ends in failure and not in a crash.
//
// Holds: C3
func TestEmptyRecordsInReferrals(t *testing.T) {
	for _, rr := range []dns.RR{
		&dns.NS{Hdr: dns.RR_Header{Name: "unsigned.com.", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 300}, Ns: "."},
		&dns.NS{Hdr: dns.RR_Header{Name: "unsigned.com.", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 300}, Ns: "unsigned.com."},
	} {
		w := serve(t, quick())
		_, err := w.Inject(world.Fault{Zone: "com", Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
			if len(m.Ns) > 0 && m.Ns[0].Header().Name == "unsigned.com." {
				m.Ns = append([]dns.RR{rr}, slices.DeleteFunc(slices.Clone(m.Ns), func(r dns.RR) bool {
					return r.Header().Rrtype == dns.TypeNS
				})...)
				m.Extra = nil
			}
		}})
		require.NoError(t, err)
		l := in(t, w, func(c *resolver.Config) { c.Timeout = 3 * time.Second }).Lookup(context.Background(), "unsigned.com",
			dns.TypeA).Lookup
		require.Equal(t, dnssec.Failure, l.Status, "%s\n%s", l.Why, trace(l))
	}
}

// A server that never keeps the case of the question is believed over TCP, where nobody guesses.
//
// Holds: DCV-04
func TestCaseIsNotNeededOverTCP(t *testing.T) {
	w := serve(t, quick())
	for _, zone := range []string{"example.com", "truncated.com"} {
		_, err := w.Inject(world.Fault{Zone: zone, Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
			m.Question[0].Name = strings.ToLower(m.Question[0].Name)
		}})
		require.NoError(t, err)
		l := in(t, w, nil).Lookup(context.Background(), "www."+zone, dns.TypeA).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
	}
}
