package va

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/child"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// benchZones is how many leaf zones below com the benchmark's world has.
const benchZones = 32

func benchZone(i int) string { return fmt.Sprintf("z%d.com", i%benchZones) }

// benchPlace is what a perspective must know of the benchmark's world.
type benchPlace struct {
	Port, HTTPPort, TLSPort uint16
	Hints                   []world.Server
	Anchors                 string
}

// beBenchWorld is a process of its own with name servers and a web host, so that what a probe costs does not have their work in it.
// The zones are those of test/bench: ECDSA P-256 and NSEC3, with CAA records at the apex, and none at com.
func beBenchWorld(in io.Reader, out io.Writer) error {
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 57, last}) }
	signed := func(name, host string, last byte, records string) world.Zone {
		return world.Zone{Name: name, Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC3, Records: records,
			Servers: []world.Server{{Host: "ns1." + host, Addr: at(last)}, {Host: "ns2." + host, Addr: at(last + 1)}}}
	}
	zones := []world.Zone{signed(".", "root-servers.net", 1, ""), signed("com", "com", 3, "")}
	for i := range benchZones {
		zones = append(zones, signed(benchZone(i), benchZone(i), 5,
			fmt.Sprintf("@ A %s\n@ CAA 0 issue \"ca.example.net\"\n_acme-challenge TXT %q\n", at(9), txtValue())))
	}
	w, err := world.New(world.Config{Zones: zones})
	if err != nil {
		return err
	}
	defer w.Close()
	host, err := w.Host(at(9))
	if err != nil {
		return err
	}
	host.AddToken(token, secret)
	for i := range benchZones {
		if _, err := host.AddALPN(world.ALPN{Domain: benchZone(i), KeyAuthorization: secret}); err != nil {
			return err
		}
	}
	return child.Obey(in, out, func(string) (any, error) {
		return benchPlace{w.Port(), w.HTTPPort(), w.TLSPort(), w.Hints(), w.AnchorText()}, nil
	})
}

// benchPerspective makes a Checker that knows nothing of the world yet.
func benchPerspective(b *testing.B, at benchPlace, metrics *resolver.Metrics) *Checker {
	anchors, err := dnssec.ParseAnchors(strings.NewReader(at.Anchors))
	require.NoError(b, err)
	rc := resolver.Config{Anchors: anchors, Port: at.Port, AllowReserved: true, Metrics: metrics}
	for _, s := range at.Hints {
		rc.Hints = append(rc.Hints, resolver.Hint{Name: s.Host, Addrs: []netip.Addr{s.Addr}})
	}
	r, err := resolver.New(rc)
	require.NoError(b, err)
	c, err := New(Config{Name: "bench", Software: "quorate/test", Resolver: r,
		World: World{HTTPPort: at.HTTPPort, TLSPort: at.TLSPort, AllowReserved: true}})
	require.NoError(b, err)
	return c
}

func benchCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProbe is one perspective's DCV and CAA of one name, with its resolver and without JSON, signature and gate. What counts
// is cpu-us/op, of which the system's work for the sockets is a part: ns/op has the waiting for name servers in it. A cold probe
// starts with an empty resolver; a warm one knows the zone and its keys.
func BenchmarkProbe(b *testing.B) {
	var at benchPlace
	w, err := child.Spawn("bench-world", nil, &at)
	require.NoError(b, err)
	defer func() { require.NoError(b, w.Stop()) }()
	for _, method := range []Method{DNS01, HTTP01, TLSALPN01} {
		for _, cache := range []string{"warm", "cold"} {
			for _, inflight := range []int{1, 16} {
				b.Run(fmt.Sprintf("%s/%s/%d", method, cache, inflight), func(b *testing.B) { benchProbes(b, at, method, cache == "warm", inflight) })
			}
		}
	}
}

func benchProbes(b *testing.B, at benchPlace, method Method, warm bool, inflight int) {
	perspectives := make([]*Checker, 1)
	if !warm {
		perspectives = make([]*Checker, b.N)
	}
	metrics, err := resolver.NewMetrics(prometheus.NewRegistry())
	require.NoError(b, err)
	for i := range perspectives {
		perspectives[i] = benchPerspective(b, at, metrics)
	}
	var queries atomic.Int64
	one := func(i int) {
		r := perspectives[i%len(perspectives)].Check(b.Context(), live(benchZone(i), method))
		if r.DCV.Outcome != Pass || r.CAA.Outcome != Pass {
			b.Errorf("%s: DCV %v, CAA %v", benchZone(i), r.DCV.Problem, r.CAA.Problem)
		}
		for _, l := range r.Lookups() {
			queries.Add(int64(len(l.Queries)))
		}
	}
	if warm {
		for i := range benchZones {
			one(i)
		}
	}
	queries.Store(0)
	var next atomic.Int64
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	began := benchCPU(b)
	for range inflight {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				one(int(i))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64((benchCPU(b)-began).Microseconds())/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(queries.Load())/float64(b.N), "recorded-queries/op")
}
