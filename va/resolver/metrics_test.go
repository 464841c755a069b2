package resolver_test

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// metered is a resolver with metrics in a registry of its own.
func metered(t testing.TB, w *world.World, edit func(*resolver.Config)) (proving, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	r := in(t, w, func(c *resolver.Config) {
		m, err := resolver.NewMetrics(registry)
		require.NoError(t, err)
		c.Metrics = m
		if edit != nil {
			edit(c)
		}
	})
	return r, registry
}

// sum adds up the series of one metric.
func sum(all map[string]float64, name string) (total float64) {
	for s, v := range all {
		if strings.HasPrefix(s, name+"{") {
			total += v
		}
	}
	return total
}

// Every packet of the account is counted once, and so is everything else.
func TestMetricsAgreeWithTheAccounts(t *testing.T) {
	w := serve(t, quick())
	r, registry := metered(t, w, nil)
	require.Zero(t, scrape.Series(t, registry)["quorate_dns_packets_total{outcome=timeout,transport=udp}"], "there before the first")
	lookups, packets := 0, 0
	for _, q := range []struct {
		name  string
		qtype uint16
	}{{"example.com", dns.TypeCAA}, {"absent.example.org", dns.TypeA}, {"truncated.com", dns.TypeA}, {"bogus-expired.com", dns.TypeA},
		{"lame.com", dns.TypeA}, {"refused.com", dns.TypeA}, {"example.com", dns.TypeMX}} {
		l := r.Lookup(context.Background(), q.name, q.qtype).Lookup
		lookups, packets = lookups+1, packets+len(l.Queries)
	}
	scrape.Require(t, registry, map[string]float64{
		"quorate_dns_lookups_total{code=,status=secure,type=CAA}":                      1,
		"quorate_dns_lookups_total{code=,status=secure,type=other}":                    1,
		"quorate_dns_lookups_total{code=dnssec.signature-expired,status=bogus,type=A}": 1,
		"quorate_dns_lookups_total{code=dns.no-server,status=failure,type=A}":          2,
		"quorate_dns_lookup_duration_seconds{status=bogus}":                            1,
		"quorate_dns_lookup_packets{}":                                                 float64(lookups),
		"quorate_dns_unknown_root_key{}":                                               0,
		"quorate_dns_packets_total{outcome=servfail,transport=udp}":                    0,
	})
	all := scrape.Series(t, registry)
	for _, s := range []string{"quorate_dns_packets_total{outcome=truncated,transport=udp}", "quorate_dns_packets_total{outcome=noerror,transport=tcp}",
		"quorate_dns_packets_total{outcome=nxdomain,transport=udp}", "quorate_dns_packets_total{outcome=refused,transport=udp}",
		"quorate_dns_responses_refused_total{reason=lame}",
		"quorate_dns_responses_refused_total{reason=dnssec.signature-expired}", "quorate_dns_responses_refused_total{reason=rcode}",
		"quorate_dns_signature_checks_total{}", "quorate_dns_cached_zones{}", "quorate_dns_round_trip_seconds{transport=tcp}"} {
		require.Positive(t, all[s], s)
	}
	require.EqualValues(t, lookups, sum(all, "quorate_dns_lookups_total"))
	require.EqualValues(t, packets, sum(all, "quorate_dns_packets_total"))
}

func TestALimitIsCountedUnderItsCode(t *testing.T) {
	w := serve(t, quick())
	r, registry := metered(t, w, func(c *resolver.Config) { c.Limits.Sends = 2 })
	require.Equal(t, "dns.limit", r.Lookup(context.Background(), "example.com", dns.TypeA).Lookup.Code)
	require.Positive(t, scrape.Series(t, registry)["quorate_dns_limits_total{code=dns.limit}"])

	r, registry = metered(t, w, func(c *resolver.Config) { c.Limits.Restarts = 1 })
	require.Equal(t, "dns.limit", r.Lookup(context.Background(), "chain.alias.com", dns.TypeA).Lookup.Code)
	require.EqualValues(t, 1, scrape.Series(t, registry)["quorate_dns_limits_total{code=dns.limit}"], "of aliases")
}

func TestTheUnknownRootKeyIsAGauge(t *testing.T) {
	w := serve(t, quick())
	next := &dns.DNSKEY{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300}, Flags: dns.ZONE | dns.SEP,
		Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	_, err := next.Generate(256)
	require.NoError(t, err)
	require.NoError(t, w.Set(".", dns.TypeDNSKEY, strings.TrimPrefix(next.String(), next.Hdr.String())))
	r, registry := metered(t, w, nil)
	require.Equal(t, dnssec.Secure, r.Lookup(context.Background(), "example.com", dns.TypeA).Lookup.Status)
	require.EqualValues(t, 1, scrape.Series(t, registry)["quorate_dns_unknown_root_key{}"])
}

func TestTwoResolversDoNotShareMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := resolver.NewMetrics(registry)
	require.NoError(t, err)
	_, err = resolver.NewMetrics(registry)
	require.ErrorAs(t, err, new(prometheus.AlreadyRegisteredError))
}

// Whoever runs name servers, or picks names, makes no series: each faulty server and many names add only what is in the closed
// sets, and no label shows a name or an address.
func TestNoNameServerMakesSeries(t *testing.T) {
	w := serve(t, quick())
	r, registry := metered(t, w, func(c *resolver.Config) { c.Limits.SendsPerQuestion, c.Timeout = 4, 150*time.Millisecond })
	attack := func(round string) {
		for kind := world.Slow; kind < world.Flood; kind++ {
			if kind == world.Rewrite { // it needs to be told what
				continue
			}
			remove, err := w.Inject(world.Fault{Zone: "example.com", Kind: kind})
			require.NoError(t, err)
			var all sync.WaitGroup
			for _, qtype := range []uint16{dns.TypeA, dns.TypeMX, 65280} {
				all.Go(func() { r.Resolver.Lookup(context.Background(), round+".victim.example.com", qtype) })
			}
			all.Wait()
			remove()
		}
		for _, name := range []string{"", "..", "a.test", "chain.alias.com", "loop.alias.com", "unsigned.net", "bogus-caa.com", round + ".lame.com"} {
			r.Resolver.Lookup(context.Background(), name, dns.TypeCAA)
		}
	}
	attack("first")
	var labels []string
	seen := scrape.Series(t, registry)
	for s := range seen {
		labels = append(labels, s)
		require.NotContains(t, s, "victim")
		require.NotContains(t, s, "127.0.")
		require.NotRegexp(t, regexp.MustCompile(`=[^,}]*(com|net|org)\b`), s)
	}
	require.Less(t, len(labels), 150, "%v", slices.Sorted(slices.Values(labels)))
	attack("second")
	for s := range scrape.Series(t, registry) {
		if strings.HasPrefix(s, "quorate_dns_packets_total") { // the whole set is there from the start
			require.Contains(t, seen, s)
		}
	}
}

// A trace names the server that failed, and how; a lookup that is not traced writes nothing of its packets.
func TestTheTraceNamesWhichServerFailedHow(t *testing.T) {
	w := serve(t, quick())
	for _, c := range []struct{ name, line string }{
		{"refused.com", `level=DEBUG msg=packet name=refused.com. type=A server=127.0.53.15:PORT zone=refused.com. question="refused.com. [A-Z]+" transport=udp rcode=REFUSED ms=[0-9.]+ octets=[1-9]`},
		{"refused.com", `msg="response refused" name=refused.com. type=A server=127.0.53.15:PORT zone=refused.com. question="refused.com. [A-Z]+" reason=rcode detail=".*REFUSED"`},
		{"lame.com", `msg="response refused" name=lame.com. type=A server=127.0.53.15:PORT zone=lame.com. question="lame.com. [A-Z]+" reason=lame detail="not authoritative`},
		{"bogus-expired.com", `msg="response refused" name=bogus-expired.com. type=A server=127.0.53.14:PORT zone=bogus-expired.com. .* reason=dnssec.signature-expired`},
		{"truncated.com", `msg=packet name=truncated.com. type=A server=127.0.53.15:PORT zone=truncated.com. .* transport=udp error="truncated over UDP" ms=.* octets=`},
		{"truncated.com", `msg=packet name=truncated.com. type=A server=127.0.53.15:PORT zone=truncated.com. .* transport=tcp rcode=NOERROR`},
		{"glueless.org", `msg=packet name=glueless.org. type=A server=127.0.53.[34]:PORT zone=net. question="hosting.net. [A-Z]+" `},
		{"dead.com", `msg=packet name=dead.com. type=A server=127.0.53.15:PORT zone=dead.com. .* error="(no response within|given up)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := new(notes)
			r := in(t, w, func(cfg *resolver.Config) {
				cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				cfg.Limits.SendsPerQuestion = 2
			})
			l := r.Lookup(context.Background(), c.name, dns.TypeA).Lookup
			port := regexp.MustCompile(`:[0-9]+ zone`).ReplaceAllString(log.String(), ":PORT zone")
			require.Regexp(t, c.line, port)
			require.Equal(t, len(l.Queries), strings.Count(log.String(), "msg=packet"), "one line for each packet")
		})
	}
	log := new(notes)
	r := in(t, w, func(cfg *resolver.Config) { cfg.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	r.Lookup(context.Background(), "refused.com", dns.TypeA)
	require.Empty(t, log.String())
}

// A server that answers one question and is silent at the next: the first response was used, and the record says so.
func TestSilenceIsNotNotedAtAnEarlierResponse(t *testing.T) {
	w := serve(t, quick())
	_, err := w.Inject(world.Fault{Zone: "example.com", Type: dns.TypeCAA, Kind: world.Drop})
	require.NoError(t, err)
	r := in(t, w, func(c *resolver.Config) { c.Limits.SendsPerQuestion = 2 })
	l := r.Lookup(context.Background(), "example.com", dns.TypeCAA).Lookup
	require.Equal(t, dnssec.Failure, l.Status)
	keys := 0
	for _, q := range l.Queries {
		if q.Question == "example.com. DNSKEY" && q.Rcode == "NOERROR" {
			require.Empty(t, q.Error, trace(l))
			keys++
		}
	}
	require.Positive(t, keys, trace(l))
}
