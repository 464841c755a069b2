package draft

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

// carrier refuses all attempts, as Judge does where there is no primary's report, and remembers what was asked.
type carrier struct {
	mu    sync.Mutex
	calls []mpic.Call
	carry func(mpic.Call) (mpic.Result, error)
}

func (c *carrier) Carry(_ context.Context, call mpic.Call) (mpic.Result, error) {
	c.mu.Lock()
	c.calls = append(c.calls, call)
	c.mu.Unlock()
	if c.carry != nil {
		return c.carry(call)
	}
	e := mpic.Evidence{Attempt: mpic.Attempt{Kind: call.Kind, Caller: call.Caller, Probe: va.Probe{Attempt: "A" + call.Kind.String(), Request: call.Request}}}
	return mpic.Result{Number: 7, Evidence: e, Decision: mpic.Judge(e)}, nil
}

func (c *carrier) since() []mpic.Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.calls
	c.calls = nil
	return out
}

type scene struct {
	t       *testing.T
	carrier *carrier
	server  *httptest.Server
}

func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func newFront(t *testing.T, change ...func(*Config)) *scene {
	f := &scene{t: t, carrier: &carrier{}}
	c := Config{Carrier: f.carrier, Logger: slog.New(slog.DiscardHandler),
		Clients: []front.Client{{Name: "ra-1", APIKeySHA256: digest("key-1")}, {Name: "ra-2", APIKeySHA256: digest("key-2"), InFlight: 1}}}
	for _, g := range change {
		g(&c)
	}
	s, err := NewServer(c)
	require.NoError(t, err)
	f.server = httptest.NewTLSServer(s)
	t.Cleanup(f.server.Close)
	return f
}

func (f *scene) ask(body string, change ...func(*http.Request)) (status int, a answer, header http.Header) {
	f.t.Helper()
	r, err := http.NewRequest(http.MethodPost, f.server.URL+Path, strings.NewReader(body))
	require.NoError(f.t, err)
	r.Header.Set("Authorization", "Bearer key-1")
	r.Header.Set("Content-Type", "application/json")
	for _, g := range change {
		g(r)
	}
	response, err := f.server.Client().Do(r)
	require.NoError(f.t, err)
	defer func() { require.NoError(f.t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(f.t, err)
	require.Equal(f.t, "application/json", response.Header.Get("Content-Type"))
	require.NoError(f.t, json.Unmarshal(text, &a), string(text))
	_, err = readReply(text)
	require.NoError(f.t, err, "our client reads it, whatever it is")
	return response.StatusCode, a, response.Header
}

// Holds: F1, F7, REC-03
func TestRequestsBecomeAttempts(t *testing.T) {
	f := newFront(t)
	http01 := va.Request{Method: va.HTTP01, Identifier: "www.example.com", Token: token, KeyAuthorization: keyAuth}
	dns01 := va.Request{Method: va.DNS01, Identifier: "*.example.com", KeyAuthorizationDigest: "X"}
	asksHTTP := `{"method":"http-acme","domain_or_ip":"www.example.com","token":"` + token + `","key_authorization":"` + keyAuth + `"`
	asksDNS := `{"method":"dns","domain":"*.example.com","record-type":"TXT","prefix":"_acme-challenge","expected":"X"`
	alone := func(k mpic.Kind, r va.Request) mpic.Call { return mpic.Call{Kind: k, Caller: "draft:ra-1", Request: r} }
	caaOf := func(r va.Request) mpic.Call {
		return alone(mpic.CAAAlone, va.Request{Identifier: r.Identifier, Method: r.Method})
	}
	onAddress := http01
	onAddress.Identifier = "192.0.2.1"
	for name, c := range map[string]struct {
		body string
		want []mpic.Call
	}{
		"caa":                     {`{"method":"caa","domain":"some.example.com"}`, []mpic.Call{alone(mpic.CAAAlone, va.Request{Identifier: "some.example.com"})}},
		"http-acme":               {asksHTTP + `}`, []mpic.Call{alone(mpic.DCVAlone, http01), caaOf(http01)}},
		"http-acme with CAA":      {asksHTTP + `,"caa_check":true}`, []mpic.Call{alone(mpic.DCVAlone, http01), caaOf(http01)}},
		"http-acme without CAA":   {asksHTTP + `,"caa_check":false}`, []mpic.Call{alone(mpic.DCVAlone, http01)}},
		"http-acme of an address": {strings.Replace(asksHTTP, "www.example.com", "192.0.2.1", 1) + `}`, []mpic.Call{alone(mpic.DCVAlone, onAddress)}},
		"dns":                     {asksDNS + `}`, []mpic.Call{alone(mpic.DCVAlone, dns01), caaOf(dns01)}},
		"dns without CAA":         {asksDNS + `,"caa":false}`, []mpic.Call{alone(mpic.DCVAlone, dns01)}},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			status, a, _ := f.ask(c.body)
			require.Equal(t, 200, status)
			require.ElementsMatch(t, c.want, f.carrier.since())
			require.False(t, a.Success)
			require.NotEmpty(t, a.Error)
			require.Len(t, a.Attempts, len(c.want))
			for i, r := range a.Attempts {
				require.Equal(t, reference{c.want[i].Kind, 7, "A" + c.want[i].Kind.String()}, r)
			}
		})
	}
}

// Holds: F7
func TestRequestsThatAreRefused(t *testing.T) {
	f := newFront(t)
	const caa = `{"method":"caa","domain":"example.com"}`
	asksDNS := `{"method":"dns","domain":"example.com","record-type":"TXT","prefix":"_acme-challenge","expected":"X"}`
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, c := range map[string]struct {
		body   string
		change func(*http.Request)
		status int
		says   string
	}{
		"no key":               {caa, func(r *http.Request) { r.Header.Del("Authorization") }, 401, "Bearer"},
		"another's key":        {caa, set("Authorization", "Bearer key-3"), 401, "no known client"},
		"an empty key":         {caa, set("Authorization", "Bearer "), 401, "Bearer"},
		"Basic":                {caa, set("Authorization", "Basic key-1"), 401, "Bearer"},
		"two keys":             {caa, func(r *http.Request) { r.Header.Add("Authorization", "Bearer key-2") }, 401, "once"},
		"GET":                  {caa, func(r *http.Request) { r.Method = http.MethodGet }, 405, "POST"},
		"a form":               {caa, set("Content-Type", "application/x-www-form-urlencoded"), 415, "application/json"},
		"compressed":           {caa, set("Content-Encoding", "gzip"), 415, "without encoding"},
		"large":                {strings.Repeat(" ", maxBody+1), nil, 413, "16384"},
		"empty":                {"", nil, 400, "too early"},
		"a list":               {"[]", nil, 400, "not a JSON object"},
		"no UTF-8":             {"{\"method\":\"\xff\"}", nil, 400, "UTF-8"},
		"two objects":          {caa + caa, nil, 400, "follows"},
		"a member twice":       {`{"method":"caa","domain":"a.example","domain":"b.example"}`, nil, 400, "twice"},
		"no method":            {`{"domain":"example.com"}`, nil, 400, "method: a text is required"},
		"another method":       {`{"method":"tls-alpn"}`, nil, 400, "none of caa, http-acme, dns"},
		"no domain":            {`{"method":"caa"}`, nil, 400, "domain: a text is required"},
		"a domain of numbers":  {`{"method":"caa","domain":5}`, nil, 400, "domain: a text is required"},
		"a quorum":             {`{"method":"caa","domain":"example.com","quorum":1}`, nil, 400, `"quorum": unknown here`},
		"issuers":              {`{"method":"caa","domain":"example.com","caa_domains":["x"]}`, nil, 400, "unknown here"},
		"another case":         {`{"method":"caa","Domain":"example.com","domain":"example.com"}`, nil, 400, `"Domain": unknown`},
		"caa_check as a text":  {`{"method":"http-acme","domain_or_ip":"a","token":"b","key_authorization":"c","caa_check":"false"}`, nil, 400, "true or false"},
		"caa as null":          {strings.Replace(asksDNS, "}", `,"caa":null}`, 1), nil, 400, "true or false"},
		"a CNAME":              {strings.Replace(asksDNS, "TXT", "CNAME", 1), nil, 400, `record-type: "CNAME" is not supported`},
		"another prefix":       {strings.Replace(asksDNS, "_acme-challenge", "_validation", 1), nil, 400, `prefix: "_validation" is not supported`},
		"no prefix":            {strings.Replace(asksDNS, "_acme-challenge", "", 1), nil, 400, "prefix: a text is required"},
		"http without a token": {`{"method":"http-acme","domain_or_ip":"a","key_authorization":"c"}`, nil, 400, "token: a text is required"},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			change := c.change
			if change == nil {
				change = func(*http.Request) {}
			}
			status, a, header := f.ask(c.body, change)
			require.Equal(t, c.status, status, a.Error)
			require.Contains(t, a.Error, c.says)
			require.False(t, a.Success)
			require.Empty(t, a.Perspectives)
			require.Empty(t, f.carrier.since(), "nothing is carried out")
			require.Equal(t, status == 401, header.Get("WWW-Authenticate") != "")
			require.Equal(t, status == 405, header.Get("Allow") != "")
		})
	}
	s, err := NewServer(Config{Carrier: f.carrier, Logger: slog.New(slog.DiscardHandler), Clients: []front.Client{{Name: "ra-1", APIKeySHA256: digest("key-1")}}})
	require.NoError(t, err)
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, Path, bytes.NewReader([]byte(caa)))
	r.Header.Set("Authorization", "Bearer key-1")
	s.ServeHTTP(w, r)
	require.Equal(t, http.StatusForbidden, w.Code, "not over plain text")
}

// Holds: REC-05
func TestFaultsAreNo(t *testing.T) {
	f := newFront(t)
	for name, carry := range map[string]func(mpic.Call) (mpic.Result, error){
		"no record":     func(mpic.Call) (mpic.Result, error) { return mpic.Result{}, mpic.ErrRecord },
		"no audit line": func(mpic.Call) (mpic.Result, error) { return mpic.Result{}, mpic.ErrAuditLog },
		"one of both": func(c mpic.Call) (mpic.Result, error) {
			if c.Kind == mpic.CAAAlone {
				return mpic.Result{}, errors.New("x")
			}
			return mpic.Result{}, nil
		},
		"a panic": func(mpic.Call) (mpic.Result, error) { panic("x") },
	} {
		t.Run(name, func(t *testing.T) {
			f.t, f.carrier.carry = t, carry
			status, a, header := f.ask(`{"method":"dns","domain":"example.com","record-type":"TXT","prefix":"_acme-challenge","expected":"X"}`)
			require.Equal(t, 503, status)
			require.Equal(t, "5", header.Get("Retry-After"))
			require.False(t, a.Success)
			require.Empty(t, a.Attempts)
		})
	}
}

func TestABusyGateAsksToComeAgain(t *testing.T) {
	f := newFront(t)
	f.carrier.carry = func(mpic.Call) (mpic.Result, error) { return mpic.Result{}, mpic.ErrBusy }
	status, _, header := f.ask(`{"method":"dns","domain":"example.com","record-type":"TXT","prefix":"_acme-challenge","expected":"X"}`)
	require.Equal(t, 503, status)
	require.Equal(t, "2", header.Get("Retry-After"))
}

func TestClientsHaveTheirShares(t *testing.T) {
	f := newFront(t, func(c *Config) { c.MaxInFlight = 2 })
	begun, release := make(chan struct{}), make(chan struct{})
	f.carrier.carry = func(mpic.Call) (mpic.Result, error) {
		begun <- struct{}{}
		<-release
		return mpic.Result{}, mpic.ErrClosed
	}
	const caa = `{"method":"caa","domain":"example.com"}`
	as := func(key string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }
	}
	var all sync.WaitGroup
	begin := func(key string) {
		r, err := http.NewRequest(http.MethodPost, f.server.URL+Path, strings.NewReader(caa))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		as(key)(r)
		all.Go(func() {
			response, err := f.server.Client().Do(r)
			if err == nil {
				err = response.Body.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
		<-begun
	}
	begin("key-2")
	status, _, header := f.ask(caa, as("key-2"))
	require.Equal(t, 429, status)
	require.Equal(t, "1", header.Get("Retry-After"))
	begin("key-1")
	status, _, header = f.ask(caa, as("key-1"))
	require.Equal(t, 503, status)
	require.Equal(t, "2", header.Get("Retry-After"))
	close(release)
	all.Wait()
}

// TestABodyThatBreaksOff: nothing is carried out upon half a body.
func TestABodyThatBreaksOff(t *testing.T) {
	f := newFront(t)
	r, err := http.NewRequest(http.MethodPost, f.server.URL+Path, io.MultiReader(strings.NewReader(`{"meth`), broken{}))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer key-1")
	r.Header.Set("Content-Type", "application/json")
	response, err := f.server.Client().Do(r)
	if err == nil {
		require.Equal(t, 400, response.StatusCode)
		require.NoError(t, response.Body.Close())
	}
	require.Empty(t, f.carrier.since())
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the line is cut") }

func TestNewServerRefuses(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	one := front.Client{Name: "ra-1", APIKeySHA256: digest("a")}
	for name, c := range map[string]struct {
		config Config
		says   string
	}{
		"nobody to carry":  {Config{Logger: logger, Clients: []front.Client{one}}, "nobody to carry"},
		"no client":        {Config{Carrier: &carrier{}, Logger: logger}, "no client"},
		"less than none":   {Config{Carrier: &carrier{}, Logger: logger, Clients: []front.Client{one}, MaxInFlight: -1}, "in flight"},
		"a name":           {Config{Carrier: &carrier{}, Logger: logger, Clients: []front.Client{{Name: "a b", APIKeySHA256: digest("a")}}}, "its name"},
		"no digest":        {Config{Carrier: &carrier{}, Logger: logger, Clients: []front.Client{{Name: "a", APIKeySHA256: "ab"}}}, "the digest"},
		"two of a name":    {Config{Carrier: &carrier{}, Logger: logger, Clients: []front.Client{one, {Name: "ra-1", APIKeySHA256: digest("b")}}}, "another's"},
		"two of a key":     {Config{Carrier: &carrier{}, Logger: logger, Clients: []front.Client{one, {Name: "ra-2", APIKeySHA256: digest("a")}}}, "another's"},
		"a negative share": {Config{Carrier: &carrier{}, Logger: logger, Clients: []front.Client{{Name: "a", APIKeySHA256: digest("a"), InFlight: -1}}}, "requests in flight are not between"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewServer(c.config)
			require.ErrorContains(t, err, c.says)
		})
	}
}
