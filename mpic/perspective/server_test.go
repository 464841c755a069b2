package perspective

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Holds: MPIC-08
func TestServerAcceptsOnlyKnownGatesOverTLS13(t *testing.T) {
	stranger, err := GenerateGateIdentity("stranger", born)
	require.NoError(t, err)
	cases := []struct {
		name   string
		change func(*world, *tls.Config)
	}{
		{"no client certificate", func(_ *world, c *tls.Config) { c.Certificates = nil }},
		{"certificate of a stranger", func(_ *world, c *tls.Config) { c.Certificates = []tls.Certificate{stranger.certificate} }},
		{"the perspective's own certificate", func(w *world, c *tls.Config) { c.Certificates = []tls.Certificate{w.perspective.certificate} }},
		{"TLS 1.2", func(_ *world, c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
	}
	w := serve(t, func(context.Context, va.Probe) va.Report {
		t.Error("a check was made for nobody")
		return va.Report{}
	}, nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{w.gate.certificate}}
			c.change(w, config)
			conn, err := tls.Dial("tcp", w.address, config.Clone())
			if err == nil { // a TLS 1.3 client learns of the refusal after its own part of the handshake
				_, err = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}
			require.ErrorContains(t, err, "remote error: tls:")

			transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			response, err := (&http.Client{Transport: transport}).Post(w.url+probePath, "application/json", bytes.NewReader(marshal(t, newProbe())))
			if err == nil {
				_ = response.Body.Close()
			}
			require.Error(t, err)
		})
	}
	t.Run("plain text", func(t *testing.T) {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport}).Get("http://" + w.address + "/livez")
		if err == nil {
			_ = response.Body.Close()
		}
		require.Error(t, err)
	})
	t.Run("a handler outside of Serve", func(t *testing.T) {
		server, err := newServer(Config{Identity: w.perspective, Gates: []Gate{{Name: "g", TLSKey: w.gate.TLSKey()}},
			Logger: w.log.logger(), Now: time.Now}, pass)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodPost, probePath, bytes.NewReader(marshal(t, newProbe())))
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, r)
		require.Equal(t, "request.gate", problemOf(t, recorder.Result()).Code)
	})
}

func TestServerRefusesOtherRequests(t *testing.T) {
	w := serve(t, func(context.Context, va.Probe) va.Report {
		t.Error("a check was made for a request that is no probe")
		return va.Report{}
	}, nil)
	probe := string(marshal(t, newProbe()))
	cases := []struct {
		name, method, path, media, body string
		status                          int
		code                            string
	}{
		{"another path", "POST", "/v1/probes", "application/json", probe, 404, "request.path"},
		{"below the path", "POST", "/v1/probe/x", "application/json", probe, 404, "request.path"},
		{"GET", "GET", "/v1/probe", "", "", 405, "request.verb"},
		{"PUT", "PUT", "/v1/probe", "application/json", probe, 405, "request.verb"},
		{"livez by POST", "POST", "/livez", "application/json", probe, 405, "request.verb"},
		{"form", "POST", "/v1/probe", "application/x-www-form-urlencoded", probe, 415, "request.content-type"},
		{"no type", "POST", "/v1/probe", "", probe, 415, "request.content-type"},
		{"no JSON", "POST", "/v1/probe", "application/json", "hello", 400, "request.malformed"},
		{"too large", "POST", "/v1/probe", "application/json", strings.Repeat(" ", maxBody) + probe, 413, "request.too-large"},
		{"deadline passed", "POST", "/v1/probe", "application/json", `{"attempt":"a","nonce":"` + strings.Repeat("0a", 16) +
			`","deadline":"2026-07-01T00:00:00Z"}`, 400, "request.deadline"},
	}
	client := w.bare(t, w.gate)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequest(c.method, w.url+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			if c.media != "" {
				r.Header.Set("Content-Type", c.media)
			}
			response, err := client.Do(r)
			require.NoError(t, err)
			p := problemOf(t, response)
			require.Equal(t, c.status, response.StatusCode)
			require.Equal(t, c.code, p.Code)
			require.Equal(t, "urn:quorate:problem:"+c.code, p.Type)
			require.Equal(t, http.StatusText(c.status), p.Title)
			require.Equal(t, c.status == 405, response.Header.Get("Allow") != "")
		})
	}
	t.Run("livez", func(t *testing.T) {
		response, err := client.Get(w.url + "/livez")
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, "ok\n", string(body))
	})
	require.Contains(t, w.log.String(), "gate=gate-1")
}

// Holds: MPIC-09
func TestServerRefusesAReplayedProbe(t *testing.T) {
	w := serve(t, pass, nil)
	client := w.bare(t, w.gate)
	probe := newProbe()
	response, _ := w.post(t, client, marshal(t, probe))
	require.Equal(t, 200, response.StatusCode)
	response, p := w.post(t, client, marshal(t, probe))
	require.Equal(t, 409, response.StatusCode)
	require.Equal(t, "request.replay", p.Code)
	require.Equal(t, []string{"MPIC-09"}, p.Rules)

	probe.Request.Identifier = "shop.example.com" // the same attempt and nonce for something else
	response, _ = w.post(t, client, marshal(t, probe))
	require.Equal(t, 409, response.StatusCode)

	probe.Nonce = strings.Repeat("0c", 16)
	response, _ = w.post(t, client, marshal(t, probe))
	require.Equal(t, 200, response.StatusCode)
}

// Holds: MPIC-09
func TestProbesAreRememberedUntilTheirDeadline(t *testing.T) {
	gates, err := newAdmissions([]Gate{{Name: "g", TLSKey: strings.Repeat("0a", 32)}}, 0, pass)
	require.NoError(t, err)
	gate := gates[strings.Repeat("0a", 32)]
	deadline := born.Add(time.Minute)
	require.Nil(t, gate.remember("a", "n", deadline, born))
	for i := range 5000 { // enough to make it look for passed deadlines, more than once
		require.Nil(t, gate.remember("a", strings.Repeat("x", i), deadline, born))
	}
	require.Equal(t, "request.replay", gate.remember("a", "n", deadline, deadline.Add(-1)).Code)
	gate.sweepAt = len(gate.seen)
	require.Nil(t, gate.remember("b", "n", deadline.Add(time.Minute), deadline))
	require.Greater(t, len(gate.seen), 5000, "passed deadlines were looked for a moment ago: a gate that is full of them does not have each probe do so")
	require.Nil(t, gate.remember("b", "o", deadline.Add(time.Minute), deadline.Add(sweepTime)))
	require.Len(t, gate.seen, 2, "passed deadlines are forgotten")

	for i := range maxRemembered {
		gate.seen[[2]string{"c", string(rune(i))}] = deadline.Add(time.Hour)
	}
	for i := 0; len(gate.seen) < maxRemembered; i++ {
		gate.seen[[2]string{"d", strings.Repeat("y", i)}] = deadline.Add(time.Hour)
	}
	p := gate.remember("e", "n", deadline.Add(time.Minute), deadline)
	require.NotNil(t, p, "a probe that cannot be remembered is not answered")
	require.Equal(t, "perspective.overload", p.Code)
}

func TestGatesShareAPerspectiveWithLimitsOfTheirOwn(t *testing.T) {
	second, err := GenerateGateIdentity("gate-2", born)
	require.NoError(t, err)
	entered, release := make(chan string, 8), make(chan struct{})
	w := serve(t, func(_ context.Context, p va.Probe) va.Report {
		entered <- p.Attempt
		if strings.HasPrefix(p.Attempt, "held") {
			<-release
		}
		return passing(p)
	}, func(c *Config, w *world) {
		c.Gates = []Gate{{Name: "gate-1", TLSKey: w.gate.TLSKey(), InFlight: 2}, {Name: "gate-2", TLSKey: second.TLSKey(), InFlight: 1}}
	})
	one, two := w.remote(t, w.gate), w.remote(t, second)
	held := make(chan mpic.Attestation, 2)
	for _, attempt := range []string{"held-1", "held-2"} {
		probe := newProbe()
		probe.Attempt = attempt
		go func() { held <- one.Attest(context.Background(), probe) }()
		require.Contains(t, []string{"held-1", "held-2"}, <-entered)
	}
	third := newProbe()
	response, p := w.post(t, w.bare(t, w.gate), marshal(t, third))
	require.Equal(t, 503, response.StatusCode)
	require.Equal(t, "perspective.overload", p.Code)
	require.Equal(t, "1", response.Header.Get("Retry-After"))
	a := one.Attest(t.Context(), third)
	require.Equal(t, mpic.Rejected, a.State)
	require.Contains(t, a.Problem.Detail, "perspective.overload")

	a = two.Attest(t.Context(), third)
	require.Equal(t, mpic.Answered, a.State, "the other gate has places of its own: %v", a.Problem)

	close(release)
	require.Equal(t, mpic.Answered, (<-held).State)
	require.Equal(t, mpic.Answered, (<-held).State)
	a = one.Attest(t.Context(), third)
	require.Equal(t, mpic.Answered, a.State, "places are given back, and a refused probe is not remembered: %v", a.Problem)
	require.Contains(t, w.log.String(), "gate=gate-2")
}

func TestServerDoesNotWaitForSlowBodies(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, pass, func(c *Config, w *world) {
				c.BodyTimeout = 500 * time.Millisecond
				c.Gates[0].InFlight = 1
			})
			client := w.bare(t, w.gate)
			client.Transport.(*http.Transport).ForceAttemptHTTP2 = http2
			body, never := io.Pipe()
			go func() { _, _ = never.Write([]byte(`{"attempt":`)) }()
			response, err := client.Post(w.url+probePath, "application/json", body)
			require.NoError(t, err)
			require.Equal(t, map[bool]int{false: 1, true: 2}[http2], response.ProtoMajor)
			require.Equal(t, "request.slow", problemOf(t, response).Code)
			require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
			require.NoError(t, never.Close())
			a := w.remote(t, w.gate).Attest(t.Context(), newProbe())
			require.Equal(t, mpic.Answered, a.State, "the place of the slow body is free again: %v", a.Problem)
		})
	}
}

// A check that takes longer than the time for the body is not disturbed by that time.
func TestServerReadDeadlineEndsWithTheBody(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, func(ctx context.Context, p va.Probe) va.Report {
				select {
				case <-ctx.Done():
					t.Error("the check's context ended with the body's deadline")
				case <-time.After(700 * time.Millisecond):
				}
				return passing(p)
			}, func(c *Config, _ *world) { c.BodyTimeout = 500 * time.Millisecond })
			client := w.bare(t, w.gate)
			client.Transport.(*http.Transport).ForceAttemptHTTP2 = http2
			response, _ := w.post(t, client, marshal(t, newProbe()))
			require.Equal(t, 200, response.StatusCode)
		})
	}
}

func TestServerBoundsTheChecks(t *testing.T) {
	t.Parallel()
	check := func(ctx context.Context, p va.Probe) va.Report {
		<-ctx.Done()
		r := passing(p)
		r.DCV = va.DCVFinding{Outcome: va.Error, Queried: r.DCV.Queried, Problem: &va.Problem{Code: "dns.timeout", Detail: ctx.Err().Error()}}
		return r
	}
	t.Run("by its own maximum", func(t *testing.T) {
		w := serve(t, check, func(c *Config, _ *world) { c.MaxCheck = 20 * time.Millisecond })
		a := w.remote(t, w.gate).Attest(t.Context(), newProbe())
		require.Equal(t, mpic.Answered, a.State)
		require.Equal(t, context.DeadlineExceeded.Error(), a.Reply.Report().DCV.Problem.Detail)
	})
	t.Run("by the deadline", func(t *testing.T) {
		skew := time.Hour // both clocks of this test run ahead, so only the difference can end the check
		w := serve(t, check, func(c *Config, _ *world) { c.Now = func() time.Time { return time.Now().Add(skew) } })
		probe := newProbe()
		probe.Deadline = time.Now().Add(skew + time.Second)
		response, p := w.post(t, w.bare(t, w.gate), marshal(t, probe))
		require.Equal(t, 200, response.StatusCode, p.Detail)
	})
}

// Holds: F6, MPIC-09
func TestServerSignsNothingButAnAnswerToTheProbe(t *testing.T) {
	cases := []struct {
		name string
		edit func(*va.Report)
		code string
	}{
		{"another attempt", func(r *va.Report) { r.Attempt = "other" }, "perspective.internal"},
		{"another nonce", func(r *va.Report) { r.Nonce = "other" }, "perspective.internal"},
		{"another digest", func(r *va.Report) { r.Digest = "other" }, "perspective.internal"},
		{"no outcome", func(r *va.Report) { r.DCV.Outcome = 0 }, "perspective.internal"},
		{"too large", func(r *va.Report) { r.DCV.Observed = strings.Repeat("x", maxReply) }, "perspective.report-too-large"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := serve(t, func(_ context.Context, p va.Probe) va.Report {
				r := passing(p)
				c.edit(&r)
				return r
			}, nil)
			response, p := w.post(t, w.bare(t, w.gate), marshal(t, newProbe()))
			require.Equal(t, 500, response.StatusCode)
			require.Equal(t, c.code, p.Code)
		})
	}
}

func TestServeLetsProbesInFlightComeToTheirEnd(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	var answered mpic.Attestation
	done := make(chan struct{})
	t.Cleanup(func() { // runs after the perspective's own end
		<-done
		require.Equal(t, mpic.Answered, answered.State, "%v", answered.Problem)
	})
	w := serve(t, func(_ context.Context, p va.Probe) va.Report {
		close(entered)
		<-release
		return passing(p)
	}, nil)
	r := w.remote(t, w.gate)
	go func() {
		defer close(done)
		answered = r.Attest(context.Background(), newProbe())
	}()
	<-entered
	t.Cleanup(func() { time.AfterFunc(20*time.Millisecond, func() { close(release) }) })
}

func TestServeGivesTheListenersError(t *testing.T) {
	gate, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	server, err := newServer(Config{Identity: newIdentity(t, "fra"), Gates: []Gate{{Name: "gate-1", TLSKey: gate.TLSKey()}},
		Logger: (&journal{}).logger(), Now: time.Now}, pass)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	require.ErrorIs(t, server.Serve(t.Context(), listener), net.ErrClosed)

	// A connection on which a slow body could not be cut off is not read from.
	r := httptest.NewRequest(http.MethodPost, probePath, bytes.NewReader(marshal(t, newProbe())))
	r.Header.Set("Content-Type", "application/json")
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{gate.certificate.Leaf}}
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, r)
	require.Equal(t, "perspective.internal", problemOf(t, recorder.Result()).Code)
}

func TestNewServerRefuses(t *testing.T) {
	id := newIdentity(t, "fra")
	gate, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	key := gate.TLSKey()
	cases := []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"no identity", func(c *Config) { c.Identity = nil }, "no identity with a signing key"},
		{"a gate's identity", func(c *Config) { c.Identity = gate }, "no identity with a signing key"},
		{"no logger", func(c *Config) { c.Logger = nil }, "no logger"},
		{"no clock", func(c *Config) { c.Now = nil }, "no clock"},
		{"no gates", func(c *Config) { c.Gates = nil }, "no gate is configured"},
		{"gate without name", func(c *Config) { c.Gates[0].Name = "" }, "a name has 1 to 63"},
		{"gate without key", func(c *Config) { c.Gates[0].TLSKey = "" }, "is not the SHA-256"},
		{"key in capitals", func(c *Config) { c.Gates[0].TLSKey = strings.Repeat("AB", 32) }, "is not the SHA-256"},
		{"gate twice", func(c *Config) { c.Gates = append(c.Gates, c.Gates[0]) }, "configured twice"},
		{"key twice", func(c *Config) { c.Gates = append(c.Gates, Gate{Name: "other", TLSKey: key}) }, "the same TLS key"},
		{"negative places", func(c *Config) { c.Gates[0].InFlight = -1 }, "are not between 1 and 4096"},
		{"too many places", func(c *Config) { c.Gates[0].InFlight = 4097 }, "are not between 1 and 4096"},
		{"long checks", func(c *Config) { c.MaxCheck = time.Hour }, "MaxCheck 1h0m0s"},
		{"negative body time", func(c *Config) { c.BodyTimeout = -1 }, "BodyTimeout -1ns"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config := Config{Identity: id, Gates: []Gate{{Name: "gate-1", TLSKey: key}}, Logger: (&journal{}).logger(), Now: time.Now}
			c.edit(&config)
			_, err := newServer(config, pass)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err = NewServer(Config{Identity: id})
	require.ErrorContains(t, err, "no checker")
}
