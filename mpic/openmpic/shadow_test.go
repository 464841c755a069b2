package openmpic_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/mpic/openmpic"
	"github.com/quorate/quorate/test/scrape"
)

// incumbent is a system that stands where the gate will, and does what a test says.
type incumbent struct {
	mu     sync.Mutex
	does   http.HandlerFunc
	bodies []string
	heads  []http.Header
	paths  []string
}

func (i *incumbent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	i.mu.Lock()
	i.bodies, i.heads, i.paths = append(i.bodies, string(body)), append(i.heads, r.Header.Clone()), append(i.paths, r.URL.RequestURI())
	does := i.does
	i.mu.Unlock()
	does(w, r)
}

func (i *incumbent) set(does http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.does = does
}

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.Header().Set("X-Amzn-Trace", "1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // a caller that went away is no matter of this test
	}
}

const (
	incumbentKey = "the-key-of-the-incumbent"
	yes          = "{ \"is_valid\":true,\n\t\"perspectives\" : [] }"
	no           = `{"is_valid":false,"perspectives":[]}`
)

// shady is a scene whose front runs in an incumbent's shadow.
type shady struct {
	*scene
	incumbent *incumbent
	behind    *httptest.Server
	shadow    *mpic.Shadow
	metrics   *prometheus.Registry
	front     *httptest.Server
}

// newShady takes changes of the coordinator, of the incumbent's side, and of the shadow.
func newShady(t *testing.T, gate func(*mpic.Config), change func(*openmpic.IncumbentConfig), shadow func(*mpic.ShadowConfig)) *shady {
	t.Helper()
	x := &shady{incumbent: &incumbent{}, metrics: prometheus.NewRegistry()}
	x.scene = newScene(t, options{change: func(c *mpic.Config) {
		c.Shadow, c.GrantGrace, c.RefusalGrace = true, 0, time.Millisecond
		if gate != nil {
			gate(c)
		}
	}})
	m, err := mpic.NewShadowMetrics(x.metrics)
	require.NoError(t, err)
	sc := mpic.ShadowConfig{Coordinator: x.gate, Logger: slog.New(slog.NewTextHandler(x.log, nil)), Metrics: m}
	if shadow != nil {
		shadow(&sc)
	}
	x.shadow, err = mpic.NewShadow(sc)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, x.shadow.Close(context.Background())) })
	x.behind = serve(t, x.incumbent)
	ic := openmpic.IncumbentConfig{URL: x.behind.URL + "/stage", APIKey: incumbentKey, Roots: roots(x.behind), Shadow: x.shadow}
	if change != nil {
		change(&ic)
	}
	i, err := openmpic.NewIncumbent(ic)
	require.NoError(t, err)
	t.Cleanup(i.Close)
	server, err := openmpic.NewServer(openmpic.Config{Incumbent: i, Issuers: []string{"ca.example.net"}, Logger: sc.Logger, Now: time.Now,
		Clients: []front.Client{{Name: "ejbca-1", APIKeySHA256: digestOf(clientKey), InFlight: 1}}})
	require.NoError(t, err)
	x.front = serve(t, server)
	return x
}

// post asks by the octets given, and gives the status, the header and the octets of the answer.
func (x *shady) post(path, contentType, body string) (int, http.Header, string) {
	x.t.Helper()
	status, header, text, err := x.try(path, contentType, body)
	require.NoError(x.t, err)
	return status, header, text
}

func (x *shady) try(path, contentType, body string) (int, http.Header, string, error) {
	r, err := http.NewRequest("POST", x.front.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("x-api-key", clientKey)
	response, err := x.front.Client().Do(r)
	if err != nil {
		return 0, nil, "", err
	}
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(text), errors.Join(err, response.Body.Close())
}

// compared waits until nothing runs, and tells what the comparisons gave.
func (x *shady) compared(want map[mpic.Comparison]float64) {
	x.t.Helper()
	require.NoError(x.t, x.shadow.Close(context.Background()))
	for _, c := range mpic.Comparisons() {
		scrape.Require(x.t, x.metrics, map[string]float64{"quorate_shadow_comparisons_total{result=" + string(c) + "}": want[c]})
	}
}

// A request for CAA of a name whose records permit, in octets that no encoder of ours would write.
const (
	permitted = "{\"domain_or_ip_target\" : \"caa.example.com\",  \"check_type\":\"caa\", \"trace_identifier\":\"t-1\"}\n"
	forbidden = `{"check_type":"caa","domain_or_ip_target":"caa-none.com"}`
)

// TestTheIncumbentAnswersAndTheGateOnlyCompares: the caller is given the incumbent's octets and nothing of ours, whatever either says.
//
// Holds: REC-05, MPIC-12
func TestTheIncumbentAnswersAndTheGateOnlyCompares(t *testing.T) {
	const json = "application/json; charset=utf-8"
	for name, c := range map[string]struct {
		ask        string
		status     int
		kind, body string
		want       mpic.Comparison
		log        string
	}{
		"both say yes":                  {permitted, 200, json, yes, mpic.BothGranted, "the gate and the incumbent agree"},
		"both say no":                   {forbidden, 200, json, no, mpic.BothRefused, "the gate and the incumbent agree"},
		"the incumbent alone says yes":  {forbidden, 200, json, yes, mpic.OnlyIncumbent, "reasons=\"[caa.forbidden: "},
		"the gate alone says yes":       {permitted, 200, json, no, mpic.OnlyGate, "the gate and the incumbent disagree"},
		"garbage":                       {permitted, 200, "text/html", "<html>\x00\xff", mpic.NoIncumbent, "cannot be read"},
		"no content type":               {permitted, 200, "", "<html>", mpic.NoIncumbent, "cannot be read"},
		"no is_valid":                   {permitted, 200, json, `{"valid":true}`, mpic.NoIncumbent, "has no is_valid"},
		"is_valid is no truth value":    {permitted, 200, json, `{"is_valid":"true"}`, mpic.NoIncumbent, "neither true nor false"},
		"is_valid twice":                {permitted, 200, json, `{"is_valid":true,"is_valid":false}`, mpic.NoIncumbent, "cannot be read"},
		"nothing":                       {permitted, 200, json, "", mpic.NoIncumbent, "cannot be read"},
		"a failure":                     {permitted, 500, "text/plain", "oh no", mpic.NoIncumbent, "the status 500"},
		"a yes with another status":     {permitted, 400, json, yes, mpic.NoIncumbent, "the status 400"},
		"a redirect, which nobody goes": {permitted, 302, json, yes, mpic.NoIncumbent, "the status 302"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newShady(t, nil, nil, nil)
			x.incumbent.set(says(c.status, c.kind, c.body))
			status, header, body := x.post("/mpic?a=b%20c", "application/json", c.ask)
			require.Equal(t, c.status, status)
			require.Equal(t, c.body, body)
			require.Equal(t, c.kind, header.Get("Content-Type"))
			require.Empty(t, header.Get("X-Amzn-Trace"))
			require.Equal(t, []string{c.ask}, x.incumbent.bodies)
			require.Equal(t, []string{"/stage/mpic?a=b%20c"}, x.incumbent.paths)
			require.Equal(t, "application/json", x.incumbent.heads[0].Get("Content-Type"))
			require.Equal(t, []string{incumbentKey}, x.incumbent.heads[0].Values("X-Api-Key"))
			require.Empty(t, x.incumbent.heads[0].Get("Accept-Encoding"), "a packed answer could not be compared")
			x.compared(map[mpic.Comparison]float64{c.want: 1})
			require.Contains(t, x.log.String(), c.log)
			e, _ := x.ledger.last()
			require.True(t, e.Attempt.Shadow)
			require.Equal(t, mpic.CAAAlone, e.Attempt.Kind)
			require.Equal(t, "openmpic:ejbca-1", e.Attempt.Caller)
		})
	}
}

// TestAnIncumbentThatFailsIsA502: never our answer, although there is one.
//
// Holds: REC-05
func TestAnIncumbentThatFailsIsA502(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	for name, c := range map[string]struct {
		does http.HandlerFunc
		log  string
	}{
		"dies before it answers": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "the incumbent gave no answer"},
		"dies in the middle": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, yes)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, "did not come in full"},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-release:
			}
		}, "deadline exceeded"},
		"hangs in the middle": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, yes)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-release:
			}
		}, "did not come in full"},
		"does not end": {func(w http.ResponseWriter, _ *http.Request) {
			for range 4 << 10 {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<10)); err != nil {
					return
				}
			}
		}, "more than 1048576 octets"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newShady(t, nil, func(c *openmpic.IncumbentConfig) { c.Timeout = time.Second }, nil)
			x.incumbent.set(c.does)
			status, _, body := x.post("/v1/mpic", "application/json", permitted)
			require.Equal(t, 502, status)
			require.Contains(t, body, `"code":"shadow.incumbent"`)
			require.NotContains(t, body, "is_valid")
			x.compared(map[mpic.Comparison]float64{mpic.NoIncumbent: 1})
			require.Contains(t, x.log.String(), c.log)
			_, d := x.ledger.last()
			require.True(t, d.Granted(), "our own would have been yes")
		})
	}
	t.Run("is not there", func(t *testing.T) {
		x := newShady(t, nil, nil, nil)
		x.behind.Close()
		status, _, _ := x.post("/mpic", "application/json", permitted)
		require.Equal(t, 502, status)
		x.compared(map[mpic.Comparison]float64{mpic.NoIncumbent: 1})
	})
	t.Run("is another, by its key", func(t *testing.T) {
		x := newShady(t, nil, func(c *openmpic.IncumbentConfig) { c.TLSKey = strings.Repeat("ab", 32) }, nil)
		x.incumbent.set(says(200, "application/json", yes))
		status, _, _ := x.post("/mpic", "application/json", permitted)
		require.Equal(t, 502, status)
		require.Empty(t, x.incumbent.bodies)
		x.compared(map[mpic.Comparison]float64{mpic.NoIncumbent: 1})
	})
	t.Run("is another, by its name", func(t *testing.T) {
		x := newShady(t, nil, func(c *openmpic.IncumbentConfig) { c.Roots = nil }, nil)
		status, _, _ := x.post("/mpic", "application/json", permitted)
		require.Equal(t, 502, status)
		x.compared(map[mpic.Comparison]float64{mpic.NoIncumbent: 1})
	})
}

// TestWhatTheGateCannotReadIsPassedOnAllTheSame, and counted with its reason.
//
// Holds: REC-05
func TestWhatTheGateCannotReadIsPassedOnAllTheSame(t *testing.T) {
	for name, c := range map[string]struct{ kind, body, log string }{
		"no JSON":                 {"application/json", "\x00\xff{", "request.json"},
		"no body":                 {"application/json", "", "request.json"},
		"another content type":    {"text/plain", permitted, "request.content-type"},
		"a member that we lack":   {"application/json", `{"check_type":"caa","domain_or_ip_target":"example.com","later":1}`, "request.unknown-member"},
		"a method that we lack":   {"application/json", `{"check_type":"dcv","domain_or_ip_target":"example.com","dcv_check_parameters":{"validation_method":"website-change"}}`, "request.validation-method"},
		"an issuer of another CA": {"application/json", `{"check_type":"caa","domain_or_ip_target":"example.com","caa_check_parameters":{"caa_domains":["other.example"]}}`, "request.issuers"},
		"monitoring":              {"application/json", `{"check_type":"caa","domain_or_ip_target":"example.com","orchestration_parameters":{"quorum_count":0}}`, "request.lowered"},
		"more than we would read": {"application/json", permitted + strings.Repeat(" ", 64<<10), ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := newShady(t, nil, nil, nil)
			x.incumbent.set(says(200, "application/json", yes))
			status, _, body := x.post("/mpic", c.kind, c.body)
			require.Equal(t, 200, status)
			require.Equal(t, yes, body)
			require.Equal(t, []string{c.body}, x.incumbent.bodies)
			require.Equal(t, c.kind, x.incumbent.heads[0].Get("Content-Type"))
			if c.log == "" {
				x.compared(map[mpic.Comparison]float64{mpic.BothGranted: 1})
				return
			}
			x.compared(map[mpic.Comparison]float64{mpic.Skipped: 1})
			require.Contains(t, x.log.String(), `a call has no attempt beside the incumbent's" caller=openmpic:ejbca-1 reason="`+c.log)
			require.Empty(t, x.ledger.opened)
		})
	}
	x := newShady(t, nil, nil, nil)
	x.incumbent.set(says(200, "application/json", yes))
	status, _, _ := x.post("/mpic", "application/json", strings.Repeat(" ", 1<<20+1))
	require.Equal(t, 413, status)
	require.Empty(t, x.incumbent.bodies)
	x.compared(nil)
}

// TestOnlyOurClientsReachTheIncumbent, by their keys with us; the incumbent is shown its own, or theirs where that is configured.
//
// Holds: MPIC-08
func TestOnlyOurClientsReachTheIncumbent(t *testing.T) {
	x := newShady(t, nil, func(c *openmpic.IncumbentConfig) { c.APIKey, c.PassKey = "", true }, nil)
	x.incumbent.set(says(200, "application/json", yes))
	for _, key := range []string{"", "guessed", incumbentKey} {
		r, err := http.NewRequest("POST", x.front.URL+"/mpic", strings.NewReader(permitted))
		require.NoError(t, err)
		r.Header.Set("x-api-key", key)
		response, err := x.front.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Contains(t, []int{401, 403}, response.StatusCode)
	}
	r, err := http.NewRequest("GET", x.front.URL+"/mpic", nil)
	require.NoError(t, err)
	r.Header.Set("x-api-key", clientKey)
	response, err := x.front.Client().Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 405, response.StatusCode)
	require.Empty(t, x.incumbent.bodies)
	status, _, _ := x.post("/mpic", "application/json", permitted)
	require.Equal(t, 200, status)
	require.Equal(t, []string{clientKey}, x.incumbent.heads[0].Values("X-Api-Key"))
	x.compared(map[mpic.Comparison]float64{mpic.BothGranted: 1})
}

// stuck is a Journal that writes nothing until it is released.
type stuck struct {
	mpic.Journal
	entered chan struct{}
	release chan struct{}
}

func (s *stuck) Open(ctx context.Context, a mpic.Attempt, r mpic.Roster) (int64, error) {
	s.entered <- struct{}{}
	<-s.release
	return s.Journal.Open(ctx, a, r)
}

// TestAGateAtItsLimitsDelaysNobody: with all its places taken, by attempts that do not end, the incumbent's answers go through; and the
// shadow's end waits for what runs, and no longer than it may.
//
// Holds: REC-05
func TestAGateAtItsLimitsDelaysNobody(t *testing.T) {
	block := &stuck{entered: make(chan struct{}, 16), release: make(chan struct{})}
	x := newShady(t, func(c *mpic.Config) {
		block.Journal, c.Journal, c.MaxInFlight = c.Journal, block, 1
	}, nil, func(c *mpic.ShadowConfig) { c.MaxInFlight = 2 })
	x.incumbent.set(says(200, "application/json", yes))
	for range 5 { // the first runs, the second waits for its turn, the others are skipped
		status, _, body := x.post("/mpic", "application/json", permitted)
		require.Equal(t, 200, status)
		require.Equal(t, yes, body)
	}
	<-block.entered
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, x.shadow.Close(over), context.Canceled)
	close(block.release)
	x.compared(map[mpic.Comparison]float64{mpic.Skipped: 3, mpic.BothGranted: 2})
	status, _, _ := x.post("/mpic", "application/json", permitted)
	require.Equal(t, 200, status, "the incumbent answers also after the shadow's end")
	x.compared(map[mpic.Comparison]float64{mpic.Skipped: 4, mpic.BothGranted: 2})
}

// TestAClientsShareHoldsUpNothing: the bounds of our own work are not the incumbent's.
func TestAClientsShareHoldsUpNothing(t *testing.T) {
	x := newShady(t, nil, nil, nil) // its client has a share of one
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	x.incumbent.set(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		says(200, "application/json", yes)(w, r)
	})
	var all sync.WaitGroup
	got := make([]int, 4)
	for i := range got {
		all.Go(func() { got[i], _, _, _ = x.try("/mpic", "application/json", permitted) })
	}
	for range got {
		<-arrived
	}
	close(release)
	all.Wait()
	require.Equal(t, []int{200, 200, 200, 200}, got)
	x.compared(map[mpic.Comparison]float64{mpic.BothGranted: 4})
}

// TestWithoutARecordTheIncumbentStillAnswers: what fails of ours is counted, and concerns nobody else.
//
// Holds: REC-05
func TestWithoutARecordTheIncumbentStillAnswers(t *testing.T) {
	x := newShady(t, nil, nil, nil)
	x.ledger.broken = errors.New("disk full")
	x.incumbent.set(says(200, "application/json", yes))
	status, _, body := x.post("/mpic", "application/json", permitted)
	require.Equal(t, 200, status)
	require.Equal(t, yes, body)
	x.compared(map[mpic.Comparison]float64{mpic.NoGate: 1})
	require.Contains(t, x.log.String(), "disk full")
}

// TestACallerThatGoesAwayTakesTheIncumbentsCallWithIt, as without us; our own attempt is decided and recorded.
//
// Holds: REC-05
func TestACallerThatGoesAwayTakesTheIncumbentsCallWithIt(t *testing.T) {
	x := newShady(t, nil, nil, nil)
	arrived, left := make(chan struct{}), make(chan struct{})
	x.incumbent.set(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(left)
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", x.front.URL+"/mpic", strings.NewReader(permitted))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("x-api-key", clientKey)
	gone := make(chan error, 1)
	go func() {
		response, err := x.front.Client().Do(r)
		if err == nil {
			err = response.Body.Close()
		}
		gone <- err
	}()
	<-arrived
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	<-left
	x.compared(map[mpic.Comparison]float64{mpic.NoIncumbent: 1})
	e, _ := x.ledger.last()
	require.True(t, e.Attempt.Shadow)
}

// TestAnIncumbentIsOneBehindTLS, and what contradicts itself is refused.
//
// Holds: MPIC-08
func TestAnIncumbentIsOneBehindTLS(t *testing.T) {
	x := newShady(t, nil, nil, nil)
	good := openmpic.IncumbentConfig{URL: "https://mpic.example", APIKey: "k", Shadow: x.shadow}
	for name, change := range map[string]func(*openmpic.IncumbentConfig){
		"plain text":         func(c *openmpic.IncumbentConfig) { c.URL = "http://mpic.example" },
		"no URL":             func(c *openmpic.IncumbentConfig) { c.URL = "" },
		"a query":            func(c *openmpic.IncumbentConfig) { c.URL += "/?a" },
		"no key":             func(c *openmpic.IncumbentConfig) { c.APIKey = "" },
		"two keys":           func(c *openmpic.IncumbentConfig) { c.PassKey = true },
		"a key of two lines": func(c *openmpic.IncumbentConfig) { c.APIKey = "a\nb" },
		"no shadow":          func(c *openmpic.IncumbentConfig) { c.Shadow = nil },
		"too much time":      func(c *openmpic.IncumbentConfig) { c.Timeout = time.Hour },
		"no digest":          func(c *openmpic.IncumbentConfig) { c.TLSKey = "ab" },
	} {
		c := good
		change(&c)
		_, err := openmpic.NewIncumbent(c)
		require.Error(t, err, name)
	}
	i, err := openmpic.NewIncumbent(good)
	require.NoError(t, err)
	both := openmpic.Config{Incumbent: i, Issuers: []string{"ca.example"}, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Clients: []front.Client{{Name: "a", APIKeySHA256: digestOf("a")}}}
	_, err = openmpic.NewServer(both)
	require.NoError(t, err)
	both.Validator = desk(nil)
	_, err = openmpic.NewServer(both)
	require.ErrorContains(t, err, "one of them answers")
}

// TestAnIncumbentOverHTTP1: EJBCA's and others' servers need not speak HTTP/2.
func TestAnIncumbentOverHTTP1(t *testing.T) {
	var old *httptest.Server
	does := &incumbent{does: says(200, "application/json", yes)}
	old = httptest.NewUnstartedServer(does)
	old.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
	old.StartTLS()
	t.Cleanup(old.Close)
	x := newShady(t, nil, func(c *openmpic.IncumbentConfig) { c.URL, c.Roots = old.URL, roots(old) }, nil)
	status, _, body := x.post("/v1/mpic", "application/json", permitted)
	require.Equal(t, 200, status)
	require.Equal(t, yes, body)
	require.Equal(t, []string{"/v1/mpic"}, does.paths)
	does.set(func(w http.ResponseWriter, _ *http.Request) { // cut off below HTTP
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, err = buffered.WriteString("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n" + yes)
		if err = errors.Join(err, buffered.Flush(), conn.Close()); err != nil {
			panic(err)
		}
	})
	status, _, _ = x.post("/v1/mpic", "application/json", permitted)
	require.Equal(t, 502, status)
	x.compared(map[mpic.Comparison]float64{mpic.BothGranted: 1, mpic.NoIncumbent: 1})
}
