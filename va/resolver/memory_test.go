package resolver_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// clocked is a resolver whose clock the test moves.
func clocked(t testing.TB, w *world.World) (ask func(name string, qtype uint16) resolver.Lookup, ahead *atomic.Int64) {
	ahead = new(atomic.Int64)
	r := in(t, w, func(c *resolver.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	return func(name string, qtype uint16) resolver.Lookup {
		return r.Lookup(context.Background(), name, qtype).Lookup
	}, ahead
}

// shorten gives the records of some types in a zone's responses, or all, a TTL.
func shorten(t testing.TB, w *world.World, f world.Fault, ttl uint32, types ...uint16) {
	t.Helper()
	f.Kind, f.Rewrite = world.Rewrite, func(m *dns.Msg) {
		for _, section := range []*[]dns.RR{&m.Answer, &m.Ns, &m.Extra} {
			*section = copies(*section)
			for _, rr := range *section {
				h := rr.Header()
				if h.Rrtype != dns.TypeOPT && (len(types) == 0 || slices.Contains(types, h.Rrtype)) {
					h.Ttl = ttl
				}
			}
		}
	}
	_, err := w.Inject(f)
	require.NoError(t, err)
}

// What a parent says of its child is good for no longer than what is known of the parent.
//
// Holds: DCV-04, C9
func TestAChildIsNotRememberedBeyondItsParent(t *testing.T) {
	w := serve(t, quick())
	shorten(t, w, world.Fault{Zone: "."}, 30) // com is delegated for half a minute, and island.com by com for five
	ask, ahead := clocked(t, w)
	require.Equal(t, dnssec.Insecure, ask("www.island.com", dns.TypeA).Status)
	require.NoError(t, w.Edit("island.com", func(z *world.Zone) error { z.DS = world.DSGenuine; return nil }))
	ahead.Store(int64(31 * time.Second))
	require.Equal(t, dnssec.Secure, ask("www.island.com", dns.TypeA).Status)
}

// The delegation of a child is good for no longer than the TTL of the records that say so: of NS, and of DS or its denial.
//
// Holds: DCV-04, C9
func TestADelegationIsRememberedForItsTTL(t *testing.T) {
	for _, short := range [][]uint16{{dns.TypeNS}, {dns.TypeNSEC}} {
		w := serve(t, quick())
		shorten(t, w, world.Fault{Zone: "com"}, 30, short...)
		ask, ahead := clocked(t, w)
		require.Equal(t, dnssec.Insecure, ask("www.island.com", dns.TypeA).Status)
		require.NoError(t, w.Edit("island.com", func(z *world.Zone) error { z.DS = world.DSGenuine; return nil }))
		ahead.Store(int64(31 * time.Second))
		require.Equal(t, dnssec.Secure, ask("www.island.com", dns.TypeA).Status, dns.Type(short[0]))
	}
	for _, short := range [][]uint16{{dns.TypeNS}, {dns.TypeDS}} {
		w := serve(t, quick())
		shorten(t, w, world.Fault{Zone: "com"}, 30, short...)
		ask, ahead := clocked(t, w)
		require.Equal(t, dnssec.Secure, ask("example.com", dns.TypeA).Status)
		require.NoError(t, w.Edit("example.com", func(z *world.Zone) error { z.DS = world.DSAbsent; return nil }))
		ahead.Store(int64(31 * time.Second))
		require.Equal(t, dnssec.Insecure, ask("example.com", dns.TypeA).Status, dns.Type(short[0]))
	}
}

// Keys are used no longer than the signature that vouches for them, not even for the few seconds that a lookup may take.
//
// Holds: DCV-05
func TestKeysAreRememberedUntilTheirSignatureExpires(t *testing.T) {
	began := time.Now()
	cfg := quick()
	cfg.Now = func() time.Time { return began }
	w := serve(t, cfg)
	window := func(after time.Duration) {
		require.NoError(t, w.Edit("example.com", func(z *world.Zone) error {
			z.Window = world.Window{Before: time.Hour, After: after}
			return nil
		}))
	}
	window(20 * time.Second)
	var ahead atomic.Int64
	r := in(t, w, func(c *resolver.Config) {
		c.Now = func() time.Time { return began.Add(time.Duration(ahead.Load())) }
	})
	ask := func() resolver.Lookup { return r.Lookup(context.Background(), "example.com", dns.TypeTXT).Lookup }
	ahead.Store(int64(18 * time.Second))
	require.Equal(t, dnssec.Secure, ask().Status)
	window(time.Hour) // the data is signed for an hour, and the keys are not
	_, err := w.Inject(world.Fault{Zone: "example.com", Type: dns.TypeDNSKEY, Kind: world.Expired})
	require.NoError(t, err)
	ahead.Store(int64(19 * time.Second))
	require.Equal(t, dnssec.Secure, ask().Status, "remembered")
	ahead.Store(int64(21500 * time.Millisecond))
	l := ask()
	require.Equal(t, dnssec.Bogus, l.Status, "%s\n%s", l.Why, trace(l))
	require.Equal(t, dnssec.CodeSignatureExpired, l.Code)
}

// An alias to a name that is not resolved in the public DNS ends there, without a query about it.
//
// Holds: DCV-04
func TestRFC6761_AliasesToSpecialUseNames(t *testing.T) {
	for _, name := range []string{"service.onion", "host.local", "a.localhost", "localhost", "x.invalid", "y.test",
		"z.alt", "printer.home.arpa"} {
		w, seen := counted(t)
		require.NoError(t, w.Set("special.example.com", dns.TypeCNAME, name+"."))
		l := in(t, w, nil).Lookup(context.Background(), "special.example.com", dns.TypeA).Lookup
		require.Equal(t, dnssec.Failure, l.Status, "%s: %s", name, l.Why)
		require.Equal(t, "dns.special-use", l.Code)
		require.Empty(t, l.Answers)
		require.Zero(t, seen.sought(name))
		for _, q := range seen.all() {
			require.Contains(t, []string{".", "com.", "example.com.", "special.example.com."}, dns.CanonicalName(q.Name))
		}
	}
}

// A lookup that is called off says nothing of the zone: what is known of it is not asked for anew.
func TestALookupThatIsCalledOffForgetsNothing(t *testing.T) {
	var queries atomic.Int64
	var callOff atomic.Value
	cfg := quick()
	cfg.OnQuery = func(q world.Query) {
		queries.Add(1)
		if cancel, ok := callOff.Load().(context.CancelFunc); ok && q.Type == dns.TypeCAA {
			cancel()
		}
	}
	w := serve(t, cfg)
	_, err := w.Inject(world.Fault{Zone: "com", Type: dns.TypeCAA, Kind: world.Drop})
	require.NoError(t, err)
	r := in(t, w, nil)
	require.Equal(t, dnssec.Secure, r.Lookup(context.Background(), "example.com", dns.TypeA).Lookup.Status)
	ctx, cancel := context.WithCancel(context.Background())
	callOff.Store(cancel)
	l := r.Lookup(ctx, "com", dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Failure, l.Status)
	require.Equal(t, "dns.timeout", l.Code)
	queries.Store(0)
	require.Equal(t, dnssec.Secure, r.Lookup(context.Background(), "com", dns.TypeSOA).Lookup.Status)
	require.EqualValues(t, 1, queries.Load(), "com and its keys are known")
}

// A signature is worked out once, as long as what it signs stays the same.
//
// Holds: DCV-05
func TestSignaturesAreRememberedAndTheirTimesAreNot(t *testing.T) {
	w := serve(t, quick())
	var worked atomic.Int64
	var ahead atomic.Int64
	ask := in(t, w, func(c *resolver.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		c.Algorithms = dnssec.Algorithms{}
		for n, read := range dnssec.DefaultAlgorithms() {
			c.Algorithms[n] = func(key []byte) (dnssec.VerifyFunc, error) {
				verify, err := read(key)
				return func(data, signature []byte) bool {
					worked.Add(1)
					return verify(data, signature)
				}, err
			}
		}
	}).Resolver
	is := func(what string, want dnssec.Status, work int64) {
		t.Helper()
		worked.Store(0)
		l := ask.Lookup(context.Background(), "note.example.com", dns.TypeTXT).Lookup
		require.Equal(t, want, l.Status, "%s: %s", what, l.Why)
		require.Equal(t, work, worked.Load(), what)
	}
	require.NoError(t, w.Set("note.example.com", dns.TypeTXT, "one"))
	require.Equal(t, dnssec.Secure, ask.Lookup(context.Background(), "example.com", dns.TypeA).Lookup.Status)
	is("the first time", dnssec.Secure, 1)
	is("the second time", dnssec.Secure, 0)
	_, err := w.Inject(world.Fault{Zone: "example.com", Type: dns.TypeTXT, Kind: world.Tamper})
	require.NoError(t, err)
	is("tampered with", dnssec.Bogus, 2) // and again, since what was remembered of the zone may be at fault
}

// What a zone says of its child is used no longer than the signature over the keys that said so: later, no record of the lookup could
// be proven.
//
// Holds: DCV-05, REC-04
func TestAChildIsRememberedUntilTheSignaturesAboveExpire(t *testing.T) {
	began := time.Now()
	cfg := quick()
	cfg.Now = func() time.Time { return began }
	w := serve(t, cfg)
	window := func(after time.Duration) {
		require.NoError(t, w.Edit("com", func(z *world.Zone) error {
			z.Window = world.Window{Before: time.Hour, After: after}
			return nil
		}))
	}
	var ahead atomic.Int64
	r := in(t, w, func(c *resolver.Config) {
		c.Now = func() time.Time { return began.Add(time.Duration(ahead.Load())) }
	})
	ask := func(name string, qtype uint16) resolver.Lookup {
		l := r.Lookup(context.Background(), name, qtype).Lookup // and its record is proven again
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
		return l
	}
	window(20 * time.Second)
	ask("com", dns.TypeSOA)
	window(time.Hour) // new signatures, as the zone had made them anew; what is known of its keys is of before
	ask("example.com", dns.TypeTXT)
	ahead.Store(int64(18 * time.Second))
	require.Len(t, ask("example.com", dns.TypeTXT).Queries, 1, "remembered")
	ahead.Store(int64(21 * time.Second))
	ask("example.com", dns.TypeTXT)
}
