package resolver_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

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
