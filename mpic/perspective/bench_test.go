package perspective

import (
	"context"
	"fmt"
	"log/slog"
	"net"
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

	"github.com/quorate/quorate/mpic"
	testworld "github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// observed is a probe, and the report that a perspective makes of it: dns-01 and CAA in a signed zone that its resolver knows.
func observed(t testing.TB) (va.Probe, va.Report) {
	t.Helper()
	w, err := testworld.New(testworld.Default())
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)
	rc := resolver.Config{Anchors: anchors, Port: w.Port(), AllowReserved: true, SourceAddr: netip.MustParseAddr("127.0.9.1")}
	for _, s := range w.Hints() {
		rc.Hints = append(rc.Hints, resolver.Hint{Name: s.Host, Addrs: []netip.Addr{s.Addr}})
	}
	r, err := resolver.New(rc)
	require.NoError(t, err)
	c, err := va.New(va.Config{Name: "fra", Software: "quorate/test", Resolver: r, SourceAddr: rc.SourceAddr,
		World: va.World{HTTPPort: w.HTTPPort(), TLSPort: w.TLSPort(), AllowReserved: true}})
	require.NoError(t, err)
	probe := newProbe()
	probe.Request.Identifier, probe.Request.Method, probe.Request.Issuers = "example.com", va.DNS01, []string{"ca.example.net"}
	require.NoError(t, w.Set("_acme-challenge.example.com", dns.TypeTXT, probe.Request.Expected()))
	c.Check(t.Context(), probe)
	report := c.Check(t.Context(), probe)
	require.Equal(t, va.Pass, report.DCV.Outcome)
	require.Equal(t, va.Pass, report.CAA.Outcome)
	return probe, report
}

// cpu gives the time that the processors have spent on this process.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReading is what the gate does with the body of a reply.
func BenchmarkReading(b *testing.B) {
	id := newIdentity(b, "fra")
	probe, report := observed(b)
	sealer, err := newSealer(id)
	require.NoError(b, err)
	body, err := sealer.reply(&report)
	require.NoError(b, err)
	var verifier Verifier
	member := memberOf("fra", "https://fra.example", id)
	b.ReportAllocs()
	b.ReportMetric(float64(len(body)), "octets")
	for b.Loop() {
		answer, err := readReply(body)
		if err != nil {
			b.Fatal(err)
		}
		read, refused := verifier.Verify(answer.Report, member, nil, probe)
		if refused != nil {
			b.Fatal(refused)
		}
		if err := read.Bring(answer.Sets); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecorded is what an auditor does with an answer in a record, but for its proofs.
func BenchmarkRecorded(b *testing.B) {
	id := newIdentity(b, "fra")
	probe, report := observed(b)
	signed, err := id.sign(report)
	require.NoError(b, err)
	reply, err := mpic.ReadReply(signed)
	require.NoError(b, err)
	read := reply.Report()
	text := marshal(b, mpic.Attestation{Perspective: "fra", State: mpic.Answered, Signed: signed, Reply: reply, Report: &read})
	member := memberOf("fra", "https://fra.example", id)
	var verifier Verifier
	b.ReportAllocs()
	for b.Loop() {
		var a mpic.Attestation
		if err := a.UnmarshalJSON(text); err != nil {
			b.Fatal(err)
		}
		if p := verifier.VerifyReply(a.Reply, member, nil, probe); p != nil {
			b.Fatal(p)
		}
	}
}

// BenchmarkSigning is what a perspective does with the report that its checks gave.
func BenchmarkSigning(b *testing.B) {
	probe, report := observed(b)
	sealer, err := newSealer(newIdentity(b, "fra"))
	require.NoError(b, err)
	s := &Server{sealer: sealer}
	b.ReportAllocs()
	for b.Loop() {
		if _, p := s.seal(probe, report); p != nil {
			b.Fatal(p)
		}
	}
}

// BenchmarkReport writes and reads a report.
func BenchmarkReport(b *testing.B) {
	_, report := observed(b)
	text, err := report.MarshalJSON()
	require.NoError(b, err)
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := report.MarshalJSON(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var r va.Report
			if err := r.UnmarshalJSON(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkProbe reads a probe's body.
func BenchmarkProbe(b *testing.B) {
	now := time.Now()
	body := marshal(b, probeAt(now))
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, p := decodeProbe(body, now); p != nil {
				b.Fatal(p)
			}
		}
	})
	b.Run("digest", func(b *testing.B) {
		probe := probeAt(now)
		b.ReportAllocs()
		for b.Loop() {
			if probe.Digest() == "" {
				b.Fatal()
			}
		}
	})
}

// BenchmarkExchange is a probe and its reply, whose report is ready, over TLS: both sides, on warm connections.
func BenchmarkExchange(b *testing.B) {
	asked, report := observed(b)
	for _, inFlight := range []int{1, 16, 128} {
		b.Run(fmt.Sprint("inflight=", inFlight), func(b *testing.B) {
			answer := func(_ context.Context, p va.Probe) va.Report {
				r := report
				r.Attempt, r.Nonce, r.Digest = p.Attempt, p.Nonce, p.Digest()
				time.Sleep(2 * time.Millisecond)
				return r
			}
			id, err := GenerateIdentity("fra", born)
			require.NoError(b, err)
			gate, err := GenerateGateIdentity("gate-1", born)
			require.NoError(b, err)
			metrics, err := NewMetrics(prometheus.NewRegistry())
			require.NoError(b, err)
			server, err := newServer(Config{Identity: id, Gates: []Gate{{Name: "gate-1", TLSKey: gate.TLSKey(), InFlight: 1024}},
				Logger: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: metrics}, answer)
			require.NoError(b, err)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(b, err)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(ctx, listener) }()
			remote, err := NewRemote(ClientConfig{Member: memberOf("fra", "https://"+listener.Addr().String(), id), Identity: gate,
				Logger: slog.New(slog.DiscardHandler), Now: time.Now})
			require.NoError(b, err)
			var asks atomic.Int64
			ask := func() error {
				probe := asked
				probe.Attempt, probe.Deadline = fmt.Sprint("a", asks.Add(1)), time.Now().UTC().Add(ample)
				if a := remote.Attest(context.Background(), probe); a.Problem != nil {
					return a.Problem
				}
				return nil
			}
			run := func(n int) {
				var left atomic.Int64
				left.Store(int64(n))
				var all sync.WaitGroup
				for range inFlight {
					all.Go(func() {
						for left.Add(-1) >= 0 {
							if err := ask(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
			}
			run(4 * inFlight)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu(b)
			run(b.N)
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
			b.StopTimer()
			remote.Close()
			cancel()
			require.NoError(b, <-ended)
		})
	}
}
