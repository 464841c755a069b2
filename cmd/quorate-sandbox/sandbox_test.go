package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/test/delay"
	"github.com/quorate/quorate/va"
)

// TestMain lets this test's binary be the perspectives' program as well: startAgent runs the program that it is part of.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "agent" {
		if err := (agentCmd{}).Run(); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(tb testing.TB) *sandbox {
	tb.Helper()
	s, err := newSandbox(context.Background(), tb.TempDir(), anyPort, false, func(string) {})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

// request is a dns-01 request whose TXT record stands in the world.
func request(tb testing.TB, s *sandbox, name string) va.Request {
	tb.Helper()
	const token = "gDwTdhGVTQWPVxpFLNQtWg8fKcvTnxYx7l1Z0q5m3bc"
	req := va.Request{Identifier: name, Method: va.DNS01, Token: token, TokenCreated: time.Now(),
		KeyAuthorization: token + ".LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ", AccountURI: "https://ca.quorate.net/acct/1"}
	require.NoError(tb, s.world.Set(req.Queried(), dns.TypeTXT, req.Expected()))
	return req
}

// TestPerspectivesThatEnd ends perspectives' processes one after the other: one may be missing, two may not, and each
// record has every perspective's row.
//
// Holds: MPIC-03, REC-01, REC-02, F3
func TestPerspectivesThatEnd(t *testing.T) {
	s := start(t)
	req := request(t, s, "www.example.org")
	validate := func() (mpic.Result, db.Record) {
		t.Helper()
		result, err := s.gateway.Validate(t.Context(), mpic.Issuance, "test", req)
		require.NoError(t, err)
		record, err := s.store.Attempt(t.Context(), fmt.Sprint(result.Number))
		require.NoError(t, err)
		require.Len(t, record.Perspectives, 6, "a row for each perspective")
		return result, record
	}
	result, _ := validate()
	require.True(t, result.Decision.Granted(), "%v", result.Decision.Reasons())
	require.Equal(t, "5/5", result.Decision.DCV().String())

	require.NoError(t, s.agents[0].stop())
	result, _ = validate()
	require.True(t, result.Decision.Granted(), "%v", result.Decision.Reasons())
	require.Equal(t, "4/5", result.Decision.CAA().String())
	require.Equal(t, mpic.Unreachable, result.Evidence.Remotes[0].State)

	require.NoError(t, s.agents[3].stop())
	result, record := validate()
	require.False(t, result.Decision.Granted())
	require.Equal(t, "3/5", result.Decision.DCV().String())
	require.Equal(t, "quorum.missed", result.Decision.Reasons()[0].Code)
	require.Equal(t, result.Decision.Reasons(), mpic.Judge(record.Evidence).Reasons(), "the record is judged as the attempt was")

	var err error
	s.agents[3], err = s.startRemote(context.Background(), 3, s.keys[3])
	require.NoError(t, err)
	result, _ = validate()
	require.True(t, result.Decision.Granted(), "%v", result.Decision.Reasons())
}

// BenchmarkValidation is a whole validation: primary and five remotes in processes of their own, dns-01 and CAA in a
// signed zone, every record durable on SQLite. The number of validations in flight is in the name.
func BenchmarkValidation(b *testing.B) {
	for _, inFlight := range []int{1, 16} {
		b.Run(fmt.Sprint("inflight=", inFlight), func(b *testing.B) {
			s := start(b)
			req := request(b, s, "www.example.org")
			gate, err := s.coordinator(s.roster, s.store, time.Now)
			require.NoError(b, err)
			defer func() { require.NoError(b, gate.Close(context.Background())) }()
			left := atomic.Int64{}
			left.Store(int64(b.N))
			done := make(chan error, inFlight)
			b.ResetTimer()
			for range inFlight {
				go func() {
					for left.Add(-1) >= 0 {
						result, err := gate.Validate(context.Background(), mpic.Issuance, "bench", req)
						if err == nil && !result.Decision.Granted() {
							err = fmt.Errorf("refused: %v", result.Decision.Reasons()[0])
						}
						if err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range inFlight {
				require.NoError(b, <-done)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "validations/s")
		})
	}
}

// BenchmarkAddedLatency is what the gate adds to the slower of the primary and the remote that completes the quorum, the
// fourth, where the remotes are 20, 60, 90, 150 and 200 ms away: signatures, decision, and the record on SQLite.
func BenchmarkAddedLatency(b *testing.B) {
	s := start(b)
	req := request(b, s, "www.example.org")
	roster := mpic.Roster{Primary: s.roster.Primary}
	var remotes []mpic.Remote
	for i, rtt := range []int{20, 60, 90, 150, 200} {
		m := s.roster.Remotes[i]
		proxy, err := delay.New("127.0.0.1", m.URL[len("https://"):], time.Duration(rtt)*time.Millisecond)
		require.NoError(b, err)
		defer func() { require.NoError(b, proxy.Close()) }()
		m.URL = "https://" + proxy.Addr()
		link, err := perspective.NewRemote(perspective.ClientConfig{Member: m, Identity: s.gate, Logger: s.log, Now: time.Now})
		require.NoError(b, err)
		defer link.Close()
		roster.Remotes, remotes = append(roster.Remotes, m), append(remotes, link)
	}
	checker, err := newChecker(s.doors, roster.Primary.Name, sites[0].addr(), s.log)
	require.NoError(b, err)
	gate, err := mpic.New(mpic.Config{Roster: roster, Primary: checker, Remotes: remotes, Journal: s.store.Journal(), Issuers: []string{issuer},
		Software: software(), Now: time.Now})
	require.NoError(b, err)
	defer func() { require.NoError(b, gate.Close(context.Background())) }()
	_, err = gate.Validate(context.Background(), mpic.Issuance, "bench", req) // opens the connections
	require.NoError(b, err)
	var total, added []time.Duration
	for b.Loop() {
		started := time.Now()
		result, err := gate.Validate(context.Background(), mpic.Issuance, "bench", req)
		took := time.Since(started)
		require.NoError(b, err)
		require.True(b, result.Decision.Granted(), "%v", result.Decision.Reasons())
		own := result.Evidence.Primary.Report()
		slowest := own.Finished.Sub(own.Started)
		var answered []time.Duration
		for _, a := range result.Evidence.Remotes {
			if a.State == mpic.Answered {
				answered = append(answered, a.Closed.Sub(a.Asked))
			}
		}
		slices.Sort(answered)
		slowest = max(slowest, answered[3])
		total, added = append(total, took), append(added, took-slowest)
	}
	slices.Sort(total)
	slices.Sort(added)
	b.ReportMetric(float64(total[len(total)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(added[len(added)/2].Microseconds())/1000, "added-p50-ms")
	b.ReportMetric(float64(added[len(added)*99/100].Microseconds())/1000, "added-p99-ms")
}

// TestMemoryIsEachProcessesOwn: a perspective's peak is its own, not that of the process that it was forked from.
func TestMemoryIsEachProcessesOwn(t *testing.T) {
	s := start(t)
	ballast := bytes.Repeat([]byte{1}, 40<<20)
	own, theirs := peak("self"), peak(strconv.Itoa(s.agents[0].cmd.Process.Pid))
	runtime.KeepAlive(ballast)
	require.Greater(t, own, 40)
	require.Positive(t, theirs)
	require.Less(t, theirs, own)
	require.Contains(t, s.memory(), "largest perspective")
	require.Zero(t, peak("none"))
}

func TestStateFileIsCheckedBeforeAnythingStarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	err := upCmd{Dir: dir, State: filepath.Join(t.TempDir(), "absent", "state.json")}.Run(t.Context())
	require.ErrorContains(t, err, "--state: ")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoDirExists(t, dir)
}

// TestAnInterruptedDemonstrationEndsInGoodOrder: one error that says what happened, and no perspective that was killed.
func TestAnInterruptedDemonstrationEndsInGoodOrder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := demoCmd{Dir: filepath.Join(t.TempDir(), "demo")}.Run(ctx)
	require.EqualError(t, err, "interrupted before the last application")
}

// TestRecordsOverHTTP: what clients may set, and what is said about a mistake.
func TestRecordsOverHTTP(t *testing.T) {
	s := start(t)
	handler := recordsHandler(s)
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/records", `{"name":"here.example.com","type":"caa","data":["0 issue \";\""]}`, 200, "ok"},
		{"/records", `{"name":"here.example.com","type":"CAA"}`, 200, "ok"},
		{"/present", `{"fqdn":"_acme-challenge.here.example.com.","value":"v"}`, 200, "ok"},
		{"/cleanup", `{"fqdn":"_acme-challenge.here.example.com.","value":"v"}`, 200, "ok"},
		{"/records", ``, 400, "the body is empty"},
		{"/records", `{"type":"A","data":["192.0.2.1"]}`, 400, "name: a name is needed"},
		{"/records", `{"name":"here.example.com","type":"CAAA"}`, 400, `type: "CAAA" is no record type`},
		{"/records", `{"name":"here.example.com","type":"CAA","data":["x"]}`, 400, `here.example.com. CAA "x"`},
		{"/records", `{"nam":"here.example.com"}`, 400, `unknown field "nam"`},
		{"/records", `{"name":"example.invalid","type":"A","data":["192.0.2.1"]}`, 400, "no zone holds the name"},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body)))
		require.Equal(t, c.status, w.Code, c.body)
		require.Contains(t, w.Body.String(), c.says)
	}
}
