package resolver_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
)

// together runs do b.N times, n at a time, and reports the time that each took.
func together(b *testing.B, n int, do func()) {
	var next atomic.Int64
	took := make([]time.Duration, b.N)
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range n {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				began := time.Now()
				do()
				took[i] = time.Since(began)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	report(b, took)
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// A cold lookup starts with an empty resolver; a warm one knows the zone and its keys. The world's name servers run, and its
// zones are signed, in the same process.
func BenchmarkLookup(b *testing.B) {
	w := serve(b, quick())
	ctx := context.Background()
	for _, qtype := range []uint16{dns.TypeCAA, dns.TypeTXT, dns.TypeA} {
		for _, n := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("cold/%s/%d", dns.Type(qtype), n), func(b *testing.B) {
				together(b, n, func() {
					require.Equal(b, dnssec.Secure, in(b, w, nil).Lookup(ctx, "example.com", qtype).Lookup.Status)
				})
			})
			b.Run(fmt.Sprintf("warm/%s/%d", dns.Type(qtype), n), func(b *testing.B) {
				r := in(b, w, nil)
				require.Equal(b, dnssec.Secure, r.Lookup(ctx, "example.com", qtype).Lookup.Status)
				together(b, n, func() {
					require.Equal(b, dnssec.Secure, r.Lookup(ctx, "example.com", qtype).Lookup.Status)
				})
			})
		}
	}
}

// The same cold lookups by this resolver and by Unbound, in one world, with name servers that are near and 20 ms away.
// Unbound asks at port 53 only, so this needs the right to listen there.
func BenchmarkColdBesideUnbound(b *testing.B) {
	unbound, err := exec.LookPath("unbound")
	if err != nil {
		b.Skip("unbound is not installed")
	}
	cfg := quick()
	cfg.Port = 53
	w, err := world.New(cfg)
	if err != nil {
		b.Skipf("no world at port 53: %v", err)
	}
	b.Cleanup(func() { require.NoError(b, w.Close()) })
	at, forget := runUnbound(b, unbound, w)
	ctx := context.Background()
	for _, away := range []time.Duration{0, 20 * time.Millisecond} {
		if away > 0 {
			_, err := w.Inject(world.Fault{Kind: world.Slow, Delay: away})
			require.NoError(b, err)
		}
		for _, name := range []string{"example.com", "www.example.org", "glueless.org"} {
			b.Run(fmt.Sprintf("%s/%s/quorate", away, name), func(b *testing.B) {
				together(b, 1, func() {
					require.Equal(b, dnssec.Secure, in(b, w, nil).Lookup(ctx, name, dns.TypeA).Lookup.Status)
				})
			})
			b.Run(fmt.Sprintf("%s/%s/unbound", away, name), func(b *testing.B) {
				m := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
				m.SetEdns0(1232, true)
				c := dns.Client{Timeout: 10 * time.Second}
				took := make([]time.Duration, 0, b.N)
				for range b.N {
					forget(b)
					r, rtt, err := c.Exchange(m, at)
					require.NoError(b, err)
					require.True(b, r.AuthenticatedData, r)
					took = append(took, rtt)
				}
				b.ReportMetric(0, "ns/op") // most of it is the emptying of the memories
				report(b, took)
			})
		}
	}
}

// runUnbound runs Unbound in w until the benchmark ends. forget empties all its memories.
func runUnbound(b *testing.B, binary string, w *world.World) (at string, forget func(testing.TB)) {
	b.Helper()
	dir := b.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(b, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	hints := ""
	for _, s := range w.Hints() {
		hints += fmt.Sprintf(". 3600 NS %s\n%s 3600 A %s\n", s.Host, s.Host, s.Addr)
	}
	port := daemon.FreePort(b)
	conf := write("conf", fmt.Sprintf(`server:
	interface: 127.0.0.1
	port: %d
	do-not-query-localhost: no
	do-daemonize: no
	use-syslog: no
	username: ""
	chroot: ""
	pidfile: ""
	directory: %q
	trust-anchor-file: %q
	root-hints: %q
	module-config: "validator iterator"
	do-ip6: no
	num-threads: 1
remote-control:
	control-enable: yes
	control-interface: %q
	control-use-cert: no
`, port, dir, write("anchor", w.AnchorText()), write("hints", hints), filepath.Join(dir, "control")))
	cmd := exec.Command(binary, "-d", "-c", conf)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: its status says nothing
	})
	at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String()
	require.Eventually(b, func() bool {
		c, err := net.Dial("unix", filepath.Join(dir, "control"))
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 20*time.Millisecond, "Unbound starts")
	return at, func(t testing.TB) {
		for _, what := range [][]string{{"flush_zone", "."}, {"flush_infra", "all"}} {
			out, err := exec.Command("unbound-control", append([]string{"-c", conf}, what...)...).CombinedOutput()
			require.NoError(t, err, string(out))
		}
	}
}
