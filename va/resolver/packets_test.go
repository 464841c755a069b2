package resolver_test

import (
	"context"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Holds: DCV-04
func TestWarmLookupCostsOnePacketAndAnswersAreNotKept(t *testing.T) {
	w, seen := counted(t)
	r := in(t, w, nil)
	ctx := context.Background()
	require.Equal(t, dnssec.Secure, r.Lookup(ctx, "example.com", dns.TypeCAA).Lookup.Status)
	for range 3 {
		before := seen.count("example.com.", dns.TypeCAA)
		l := r.Lookup(ctx, "example.com", dns.TypeCAA).Lookup
		require.Equal(t, dnssec.Secure, l.Status)
		require.Len(t, l.Queries, 1)
		require.Equal(t, before+1, seen.count("example.com.", dns.TypeCAA), "each answer is fetched anew")
		require.Len(t, l.Chain, 3)
	}
	require.NoError(t, w.Set("example.com", dns.TypeCAA, `0 issue "new.example.net"`))
	a := r.Lookup(ctx, "example.com", dns.TypeCAA)
	require.Len(t, a.Records, 1)
}

// That a name is no zone cut is learnt once, and a cut that appears there later is found all the same.
//
// Holds: DCV-04
func TestRFC9156_KnownNamesAreNotAskedAboutAgain(t *testing.T) {
	w, seen := counted(t)
	r := in(t, w, nil)
	ask := func() resolver.Lookup {
		l := r.Lookup(context.Background(), "a.child.of.example.com", dns.TypeTXT).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
		return l
	}
	require.NoError(t, w.Set("a.child.of.example.com", dns.TypeTXT, "here"))
	require.Len(t, ask().Answers, 1)
	for _, name := range []string{"of.example.com.", "child.of.example.com."} {
		require.Positive(t, seen.count(name, dns.TypeA), name)
	}
	require.Len(t, ask().Queries, 1)

	require.NoError(t, w.Set("of.example.com", dns.TypeNS, "ns.hosting.net."))
	l := r.Lookup(context.Background(), "a.child.of.example.com", dns.TypeTXT).Lookup
	require.False(t, l.Status == dnssec.Secure, "the name lies in another zone now, which its servers do not have")
	require.Contains(t, trace(l), "127.0.53.12", "they were asked")
}

// Holds: DCV-04
func TestParallelLookupsShareTheWayDown(t *testing.T) {
	w, seen := counted(t)
	r := in(t, w, nil)
	var all sync.WaitGroup
	for range 16 {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeCAA, dns.TypeTXT} {
			all.Go(func() {
				l := r.Lookup(context.Background(), "example.com", qtype).Lookup
				require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
			})
		}
	}
	all.Wait()
	require.Less(t, seen.count("", dns.TypeDNSKEY), 12, "keys are fetched once, and again only where a server was slow")
}

// The way to a name server is gone once for its A and AAAA records. Twelve packets are: org, glueless.org, net and hosting.net
// from above, the keys of these four and of the root, A and AAAA of the server, and the question.
//
// Holds: DCV-04
func TestGluelessServersAreSoughtOnce(t *testing.T) {
	w := serve(t, quick())
	var l resolver.Lookup
	for range 10 { // where the machine is slow, a question goes to a second server as well
		l = in(t, w, nil).Lookup(context.Background(), "glueless.org", dns.TypeA).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
		if len(l.Queries) <= 12 {
			return
		}
	}
	t.Fatal("twelve packets would do\n" + trace(l))
}
