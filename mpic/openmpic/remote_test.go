package openmpic_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/mpic/openmpic"
	"github.com/quorate/quorate/va"
)

func probe(deadline time.Duration) va.Probe {
	return va.Probe{Attempt: "ATTEMPT1", Nonce: strings.Repeat("0a", 16), Deadline: time.Now().Add(deadline), CAAAlone: true,
		Request: va.Request{Identifier: "www.example.com", Issuers: []string{"ca.example"}}}
}

// connect gives the remotes of a server: one of a checker, or the members' of a coordinator.
func connect(t *testing.T, server *httptest.Server, log io.Writer, change func(*openmpic.ClientConfig), codes ...string) []*openmpic.Remote {
	t.Helper()
	c := openmpic.ClientConfig{APIKey: remoteKey, Roots: roots(server), Logger: slog.New(slog.NewTextHandler(log, nil)), Now: time.Now}
	if len(codes) == 0 {
		c.Members = []mpic.Member{{Name: "ashburn", URL: server.URL, Protocol: mpic.OpenMPICChecker}}
	}
	for i, code := range codes {
		c.Members = append(c.Members, mpic.Member{Name: fmt.Sprint("member-", i), Code: code, URL: server.URL, Protocol: mpic.OpenMPICCoordinator})
	}
	if change != nil {
		change(&c)
	}
	remotes, err := openmpic.NewRemotes(c)
	require.NoError(t, err)
	t.Cleanup(remotes[0].Close)
	return remotes
}

func passed(extra string) string {
	return fmt.Sprintf(`{"check_passed":true,"check_completed":true,"errors":[],"timestamp_ns":%d,"check_type":"caa",
		"details":{"caa_record_present":false,"found_at":null,"records_seen":null}%s}`, time.Now().UnixNano(), extra)
}

// TestHostileCheckers: whatever is answered, the gate is not led elsewhere, reads no more than it must, and has no statement.
//
// Holds: MPIC-08, F9, D11
func TestHostileCheckers(t *testing.T) {
	bomb := func(w http.ResponseWriter) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		chunk := make([]byte, 1<<20)
		for range 64 {
			if _, err := z.Write(chunk); err != nil {
				return // the client has gone, as it should
			}
		}
		_ = z.Close() // nobody reads it
	}
	var written atomic.Int64
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		state  mpic.State
		code   string
	}{
		"100 MB": {func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				n, err := w.Write(bytes.Repeat([]byte(" "), 1<<20))
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		}, mpic.Rejected, "perspective.too-large"},
		"a gzip bomb": {func(w http.ResponseWriter, _ *http.Request) { bomb(w) }, mpic.Rejected, "perspective.garbage"},
		"HTML": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, passed(""))
		}, mpic.Rejected, "perspective.garbage"},
		"HTML as JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html></html>") }, mpic.Rejected, "perspective.garbage"},
		"no type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, passed(""))
		}, mpic.Rejected, "perspective.garbage"},
		"no UTF-8": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"check_passed":"`+"\xff"+`"}`)
		}, mpic.Rejected, "perspective.garbage"},
		"two answers":    {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, passed("")+passed("")) }, mpic.Rejected, "perspective.garbage"},
		"a member twice": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, passed(`,"check_passed":true`)) }, mpic.Rejected, "perspective.garbage"},
		"nothing":        {func(http.ResponseWriter, *http.Request) {}, mpic.Rejected, "perspective.garbage"},
		"forbidden":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403); _, _ = io.WriteString(w, passed("")) }, mpic.Rejected, "perspective.status"},
		"created":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); _, _ = io.WriteString(w, passed("")) }, mpic.Rejected, "perspective.status"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, mpic.Rejected, "perspective.status"},
		"an end too early": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		}, mpic.Unreachable, "perspective.unreachable"},
		"a long header":     {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) }, mpic.Unreachable, "perspective.unreachable"},
		"broken off":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, mpic.Unreachable, "perspective.unreachable"},
		"what a checker is": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, passed("")) }, mpic.Answered, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/caa" || r.Header.Get("x-api-key") != remoteKey {
					t.Errorf("asked at %s", r.URL)
				}
				w.Header().Set("Content-Type", "application/json")
				c.answer(w, r)
			}))
			a := connect(t, server, io.Discard, nil)[0].Attest(t.Context(), probe(time.Minute))
			require.Equal(t, c.state, a.State, a.Problem)
			require.Equal(t, "ashburn", a.Perspective)
			require.False(t, a.Asked.IsZero() || a.Closed.IsZero())
			require.Equal(t, a.State == mpic.Answered, a.Statement != nil)
			if c.code != "" {
				require.Equal(t, c.code, a.Problem.Code, a.Problem.Detail)
				require.Less(t, len(a.Problem.Detail), 2000)
			}
		})
	}
	require.Less(t, written.Load(), int64(32<<20), "what is too large is not read on")
}

// TestASwitchOfProtocolsIsNoAnswer: what is behind one ends when the remote likes, and not when the probe does.
//
// Holds: D11, MPIC-03
func TestASwitchOfProtocolsIsNoAnswer(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // HTTP/2 knows none
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
		_, _ = io.Copy(io.Discard, c) // until the client goes
	}))
	t.Cleanup(server.Close)
	a := connect(t, server, io.Discard, nil)[0].Attest(t.Context(), probe(time.Minute))
	require.Equal(t, mpic.Rejected, a.State)
	require.Equal(t, "perspective.status", a.Problem.Code)
	require.Contains(t, a.Problem.Detail, "101")
}

// TestSlowAndMuteRemotesAreTimedOut: by headers that do not come, by a body that drips, and when the gate no longer waits.
//
// Holds: D11, MPIC-03
func TestSlowAndMuteRemotesAreTimedOut(t *testing.T) {
	drip := make(chan struct{})
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if _, err := io.ReadAll(r.Body); err != nil {
			return
		}
		if r.URL.Path == "/caa" {
			_, _ = io.WriteString(w, "{") // what is not written is not read
			w.(http.Flusher).Flush()
		}
		select {
		case <-drip:
		case <-r.Context().Done():
		}
	}))
	defer close(drip)
	for name, codes := range map[string][]string{"a checker": nil, "a coordinator": {"a", "b"}} {
		for _, remote := range connect(t, server, io.Discard, nil, codes...) {
			a := remote.Attest(t.Context(), probe(100*time.Millisecond))
			require.Equal(t, mpic.TimedOut, a.State, name)
			require.Equal(t, "perspective.timeout", a.Problem.Code)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			a = remote.Attest(ctx, probe(time.Minute))
			require.Equal(t, mpic.TimedOut, a.State, name)
			require.Contains(t, a.Problem.Detail, "stopped waiting")
		}
	}
}

// TestMPIC08_WhoAnswersIsKnownByNameAndKey.
//
// Holds: MPIC-08, F9
func TestMPIC08_WhoAnswersIsKnownByNameAndKey(t *testing.T) {
	asked := 0
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, passed("")) // what is not written is not read
	}))
	sum := sha256.Sum256(server.Certificate().RawSubjectPublicKeyInfo)
	log := &lines{}
	attest := func(change func(*openmpic.ClientConfig)) mpic.Attestation {
		return connect(t, server, log, change)[0].Attest(t.Context(), probe(time.Minute))
	}
	require.Equal(t, mpic.Answered, attest(func(c *openmpic.ClientConfig) { c.Members[0].TLSKey = hex.EncodeToString(sum[:]) }).State)
	require.Equal(t, 1, asked)
	for name, change := range map[string]func(*openmpic.ClientConfig){
		"another key":      func(c *openmpic.ClientConfig) { c.Members[0].TLSKey = strings.Repeat("ab", 32) },
		"the system's CAs": func(c *openmpic.ClientConfig) { c.Roots = nil },
		"another name": func(c *openmpic.ClientConfig) {
			c.Members[0].URL = strings.Replace(c.Members[0].URL, "127.0.0.1", "localhost", 1)
		},
	} {
		a := attest(change)
		require.Equal(t, mpic.Rejected, a.State, name)
		require.Equal(t, "perspective.identity", a.Problem.Code, name)
		require.Equal(t, 1, asked, "and the key was not shown")
	}
	require.Contains(t, log.String(), "another answers for a perspective")
	server.Close()
	a := attest(nil)
	require.Equal(t, mpic.Unreachable, a.State)
	require.Equal(t, "perspective.unreachable", a.Problem.Code)
}

// TestHostileCoordinators, over the whole way: is_valid is what this gate's own quorum says.
//
// Holds: F1, F9, MPIC-05, MPIC-08, MPIC-09, C1
func TestHostileCoordinators(t *testing.T) {
	each := func(reply object, change func(i int, p, r object)) object {
		for i, v := range reply["perspectives"].([]any) {
			change(i, v.(object), v.(object)["check_response"].(object))
		}
		return reply
	}
	deep := func(v object) (out object) {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &out))
		return out
	}
	for name, c := range map[string]struct {
		change func(object) object
		code   string // of the remotes' views; empty where they pass
	}{
		"is_valid false, and all pass": {func(r object) object { r["is_valid"] = false; return r }, ""},
		"no counts at all":             {func(r object) object { delete(r, "actual_orchestration_parameters"); delete(r, "is_valid"); return r }, ""},
		"is_valid true, and none passes": {func(r object) object {
			return each(r, func(_ int, _, r object) { r["check_passed"] = false })
		}, "perspective.check-failed"},
		"is_valid true, and nobody is there": {func(r object) object { r["perspectives"] = []any{}; return r }, "perspective.silent"},
		"one passes, by a quorum of one": {func(r object) object {
			r["actual_orchestration_parameters"] = object{"perspective_count": 1, "quorum_count": 1, "attempt_count": 1}
			return each(r, func(i int, _, r object) { r["check_passed"] = i == 0 })
		}, "perspective.check-failed"},
		"an unknown perspective": {func(r object) object {
			extra := deep(r["perspectives"].([]any)[0].(object))
			extra["perspective_code"] = "code-nowhere"
			r["perspectives"] = append(r["perspectives"].([]any), extra)
			return r
		}, "perspective.stranger"},
		"one perspective for all": {func(r object) object {
			return each(r, func(_ int, p, _ object) { p["perspective_code"] = "code-ashburn" })
		}, "perspective.garbage"},
		"another domain": {func(r object) object { r["domain_or_ip_target"] = "example.net"; return r }, "perspective.contradiction"},
		"stale": {func(r object) object {
			return each(r, func(_ int, _, r object) { r["timestamp_ns"] = time.Now().Add(-time.Hour).UnixNano() })
		}, "perspective.contradiction"},
		"of the future": {func(r object) object {
			return each(r, func(_ int, _, r object) { r["timestamp_ns"] = time.Now().Add(time.Hour).UnixNano() })
		}, "perspective.contradiction"},
		"without a time":    {func(r object) object { return each(r, func(_ int, _, r object) { delete(r, "timestamp_ns") }) }, "perspective.contradiction"},
		"the other check":   {func(r object) object { r["check_type"] = "dcv"; return r }, "perspective.garbage"},
		"without the check": {func(r object) object { return each(r, func(_ int, p, _ object) { delete(p, "check_response") }) }, "perspective.contradiction"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, options{remotes: []string{coordinator, coordinator, coordinator, coordinator, coordinator}, answers: c.change})
			status, reply := s.ask("/mpic", object{"check_type": "caa", "domain_or_ip_target": "example.com"})
			require.Equal(t, 200, status)
			require.Equal(t, c.code == "", reply["is_valid"])
			_, d := s.ledger.last()
			failed := 0
			for _, v := range d.Views()[1:] {
				if v.CAAProblem != nil {
					require.Equal(t, c.code, v.CAAProblem.Code, v.CAAProblem.Detail)
					failed++
				}
			}
			require.Equal(t, va.Pass, d.Views()[0].CAA)
			switch {
			case c.code == "":
				require.Zero(t, failed)
			case name == "one passes, by a quorum of one":
				require.Equal(t, 4, failed)
			default:
				require.Equal(t, 5, failed)
			}
		})
	}
}

func TestRemotesRefuseConfigurations(t *testing.T) {
	m := mpic.Member{Name: "a", URL: "https://open.test/v1", Protocol: mpic.OpenMPICCoordinator}
	good := openmpic.ClientConfig{Members: []mpic.Member{m}, APIKey: "k", Logger: slog.New(slog.DiscardHandler), Now: time.Now}
	_, err := openmpic.NewRemotes(good)
	require.NoError(t, err)
	with := func(change func(*mpic.Member)) []mpic.Member {
		other := m
		change(&other)
		return []mpic.Member{other}
	}
	for name, change := range map[string]func(*openmpic.ClientConfig){
		"nobody":     func(c *openmpic.ClientConfig) { c.Members = nil },
		"plain text": func(c *openmpic.ClientConfig) { c.Members = with(func(m *mpic.Member) { m.URL = "http://open.test" }) },
		"a query":    func(c *openmpic.ClientConfig) { c.Members = with(func(m *mpic.Member) { m.URL += "?x" }) },
		"a user": func(c *openmpic.ClientConfig) {
			c.Members = with(func(m *mpic.Member) { m.URL = "https://u@open.test" })
		},
		"another pin": func(c *openmpic.ClientConfig) { c.Members = with(func(m *mpic.Member) { m.TLSKey = "AB" }) },
		"ours":        func(c *openmpic.ClientConfig) { c.Members = with(func(m *mpic.Member) { m.Protocol = mpic.Native }) },
		"two checkers": func(c *openmpic.ClientConfig) {
			c.Members = append(with(func(m *mpic.Member) { m.Protocol = mpic.OpenMPICChecker }), with(func(m *mpic.Member) { m.Protocol = mpic.OpenMPICChecker; m.Name = "b" })...)
		},
		"two of one": func(c *openmpic.ClientConfig) { c.Members = append(c.Members, m) },
		"two URLs": func(c *openmpic.ClientConfig) {
			c.Members = append(c.Members, with(func(m *mpic.Member) { m.Name, m.URL = "b", "https://other.test" })...)
		},
		"no key":             func(c *openmpic.ClientConfig) { c.APIKey = "" },
		"a key of two lines": func(c *openmpic.ClientConfig) { c.APIKey = "a\nb" },
		"no logger":          func(c *openmpic.ClientConfig) { c.Logger = nil },
		"no clock":           func(c *openmpic.ClientConfig) { c.Now = nil },
	} {
		c := good
		c.Members = append([]mpic.Member(nil), good.Members...)
		change(&c)
		_, err := openmpic.NewRemotes(c)
		require.Error(t, err, name)
	}
}

// TestACheckerServesCoordinators: what it refuses, and that issuers are the coordinator's or the configured ones.
//
// Holds: D9, CAA-02
func TestACheckerServesCoordinators(t *testing.T) {
	s := newScene(t, options{})
	ask := func(server http.Handler, path, body string) (int, object) {
		r := httptest.NewRequest("POST", "https://perspective.test"+path, strings.NewReader(body))
		r.Header.Set("x-api-key", remoteKey)
		r.Header.Set("Content-Type", "application/json")
		rec := newRecorder()
		server.ServeHTTP(rec, r)
		var reply object
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &reply))
		return rec.Code, reply
	}
	without := s.checkerServer(1)
	with, err := openmpic.NewCheckerServer(openmpic.CheckerConfig{Issuers: []string{"ca.example.net"}, Logger: slog.New(slog.NewTextHandler(s.log, nil)), Now: time.Now,
		Clients: []openmpic.CheckerClient{{Client: front.Client{Name: "them", APIKeySHA256: digestOf(remoteKey)}, Checker: s.checker(2)}}})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		server     http.Handler
		path, body string
		status     int
		code       any
		passed     any
	}{
		"the configured issuer":  {with, "/caa", `{"domain_or_ip_target":"caa.example.com"}`, 200, nil, true},
		"an empty list":          {with, "/caa", `{"domain_or_ip_target":"caa.example.com","caa_check_parameters":{"caa_domains":[]}}`, 200, nil, true},
		"the coordinator's":      {with, "/caa", `{"domain_or_ip_target":"caa.example.com","caa_check_parameters":{"caa_domains":["theirs.example"]}}`, 200, nil, false},
		"the coordinator's, too": {without, "/caa", `{"check_type":"caa","domain_or_ip_target":"caa.example.com","caa_check_parameters":{"caa_domains":["ca.example.net"]},"trace_identifier":"tr-9"}`, 200, nil, true},
		"no issuer at all":       {without, "/caa", `{"domain_or_ip_target":"caa.example.com"}`, 400, "request.issuers", nil},
		"a wildcard by http":     {with, "/dcv", `{"domain_or_ip_target":"*.example.com","dcv_check_parameters":{"validation_method":"acme-http-01","token":"t","key_authorization":"k"}}`, 400, "name.wildcard", nil},
		"the other check":        {with, "/dcv", `{"check_type":"caa","domain_or_ip_target":"example.com"}`, 400, "request.check-type", nil},
		"orchestration":          {with, "/caa", `{"domain_or_ip_target":"example.com","orchestration_parameters":{"quorum_count":5}}`, 400, "request.unknown-member", nil},
		"header fields":          {with, "/dcv", `{"domain_or_ip_target":"example.com","dcv_check_parameters":{"validation_method":"acme-http-01","token":"t","key_authorization":"k","http_headers":{"a":"b"}}}`, 400, "request.http-headers", nil},
		"the coordinator's path": {with, "/mpic", `{}`, 404, "request.path", nil},
		"a bogus zone":           {with, "/caa", `{"domain_or_ip_target":"bogus-caa.com","trace_identifier":"tr-1"}`, 200, nil, false},
	} {
		status, reply := ask(c.server, c.path, c.body)
		require.Equal(t, c.status, status, "%s: %v", name, reply)
		require.Equal(t, c.code, reply["code"], name)
		require.Equal(t, c.passed, reply["check_passed"], name)
		if name == "a bogus zone" {
			require.Equal(t, false, reply["check_completed"])
			require.Contains(t, reply["errors"].([]any)[0].(object)["error_message"], "caa.bogus")
		}
	}
	require.Contains(t, s.log.String(), "trace=tr-1")
}
