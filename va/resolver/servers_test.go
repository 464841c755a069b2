package resolver_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Zones whose name servers are only to be found through each other, or through themselves, cost a few packets and end in
// failure; a server that can be found takes none of it ill.
//
// Holds: DCV-09
func TestNameServersThatDependOnEachOther(t *testing.T) {
	w, seen := counted(t)
	for name, ns := range map[string][]string{
		"one.example.com": {"ns.two.example.com."}, "two.example.com": {"ns.one.example.com."},
		"self.example.com":  {"ns.self.example.com."},
		"three.example.com": {"ns.four.example.com."}, "four.example.com": {"ns.five.example.com."},
		"five.example.com": {"ns.three.example.com."}, "mixed.example.com": {"ns.one.example.com.",
			"ns.mixed.example.com.", "ns.hosting.net."},
	} {
		require.NoError(t, w.Set(name, dns.TypeNS, ns...))
	}
	hosting := netip.MustParseAddr("127.0.53.12")
	_, err := w.Inject(world.Fault{Server: hosting, Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
		if strings.EqualFold(m.Question[0].Name, "www.mixed.example.com.") && m.Question[0].Qtype == dns.TypeA {
			m.Rcode, m.Authoritative, m.Answer, m.Ns = dns.RcodeSuccess, true, records(t,
				"www.mixed.example.com. A 192.0.2.1"), nil
		}
	}})
	require.NoError(t, err)
	for _, name := range []string{"www.one.example.com", "www.self.example.com", "www.three.example.com"} {
		seen.clear()
		l := in(t, w, nil).Lookup(context.Background(), name, dns.TypeA).Lookup
		require.Equal(t, dnssec.Failure, l.Status, "%s\n%s", l.Why, trace(l))
		require.NotEqual(t, "dns.limit", l.Code, "the circle is seen, and not only cut off: %s", l.Why)
		require.Less(t, len(l.Queries), 20, trace(l))
	}
	l := in(t, w, nil).Lookup(context.Background(), "www.mixed.example.com", dns.TypeA).Lookup
	require.Equal(t, dnssec.Insecure, l.Status, "%s\n%s", l.Why, trace(l))
	require.Len(t, l.Answers, 1)
}

// While a server is mute the next is asked beside it: its time is not waited out.
//
// Holds: DCV-04
func TestAMuteServerHoldsNothingUp(t *testing.T) {
	w := serve(t, quick())
	mute := netip.MustParseAddr("127.0.53.3") // one of the two of com, org, net and dev
	_, err := w.Inject(world.Fault{Server: mute, Kind: world.Drop})
	require.NoError(t, err)
	tried := 0
	for n := 0; tried < 3; n++ {
		require.Less(t, n, 200, "the mute server is never asked")
		l := in(t, w, nil).Lookup(context.Background(), "example.com", dns.TypeA).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
		for _, q := range l.Queries {
			if strings.HasPrefix(q.Server, mute.String()+":") {
				require.Equal(t, "given up: no longer needed", q.Error, trace(l))
				tried++
			}
		}
	}
}

// What one server of a zone answers is used where the others strip, forge, fail or are lame, whatever they are asked about.
//
// Holds: DCV-04, DCV-05
func TestOneGoodServerIsEnough(t *testing.T) {
	bad := netip.MustParseAddr("127.0.53.3")
	for name, kind := range map[string]world.Kind{"strips": world.StripDNSSEC, "strips signatures": world.StripRRSIG,

		"expired": world.Expired, "not yet valid": world.Future, "SERVFAIL": world.ServFail, "REFUSED": world.Refused,
		"FORMERR": world.FormErr,
		"NOTIMP":  world.NotImp, "lame": world.Lame, "upward": world.Upward, "no EDNS": world.NoEDNS,
		"EDNS ignored": world.IgnoreEDNS,
		"no DO":        world.NoDO, "empty": world.StripAnswer, "another question": world.WrongQuestion,
		"no message":        world.Garbage,
		"truncated, no TCP": world.TruncateNoTCP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, quick())
			_, err := w.Inject(world.Fault{Server: bad, Kind: kind})
			require.NoError(t, err)
			for range 4 { // the order of unknown servers is left to chance
				r := in(t, w, func(c *resolver.Config) {})
				for _, q := range []struct {
					name  string
					qtype uint16
				}{{"example.com", dns.TypeCAA}, {"com", dns.TypeSOA}, {"none.com", dns.TypeA}, {"example.org",
					dns.TypeDS}} {
					l := r.Lookup(context.Background(), q.name, q.qtype).Lookup
					require.Equal(t, dnssec.Secure, l.Status, "%s %s: %s\n%s", q.name, dns.Type(q.qtype), l.Why, trace(l))
				}
			}
		})
	}
}

// Of a name with many labels ten are asked about one by one, at most.
//
// Holds: DCV-04
func TestRFC9156_2_3_LabelsAreAskedAboutWithinBounds(t *testing.T) {
	w, seen := counted(t)
	name := strings.Repeat("l.", 40) + "example.com"
	require.NoError(t, w.Set(name, dns.TypeTXT, "deep"))
	l := in(t, w, nil).Lookup(context.Background(), name, dns.TypeTXT).Lookup
	require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
	require.Len(t, l.Answers, 1)
	require.LessOrEqual(t, seen.sought(""), 10+4, "com, example.com, the keys and the whole name beside")
}
