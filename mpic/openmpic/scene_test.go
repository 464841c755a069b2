package openmpic_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/mpic/openmpic"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type object = map[string]any

const (
	clientKey = "the-key-of-ejbca"
	remoteKey = "the-key-of-the-gate"
)

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// specification is the official one. Its own example of a reply does not hold to it, so that examples are not validated.
func specification(t testing.TB) *openapi3.T {
	t.Helper()
	text, err := os.ReadFile("testdata/open-mpic-3.5.0.yaml")
	require.NoError(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(context.Background(), openapi3.DisableExamplesValidation()))
	return doc
}

type schemas struct{ request, reply, dcv, caa *openapi3.Schema }

func official(t testing.TB) schemas {
	doc := specification(t)
	post := doc.Paths.Find("/mpic").Post
	return schemas{request: post.RequestBody.Value.Content["application/json"].Schema.Value,
		reply: post.Responses.Status(200).Value.Content["application/json"].Schema.Value,
		dcv:   doc.Components.Schemas["CheckResponseDCV"].Value, caa: doc.Components.Schemas["CheckResponseCAA"].Value}
}

func requireSchema(t testing.TB, s *openapi3.Schema, text []byte) {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(text, &v))
	require.NoError(t, s.VisitJSON(v), string(text))
}

// sites have the primary first; each sends from an address of its own, by which the world tells them apart.
var sites = []struct {
	name     string
	region   mpic.Region
	lat, lon float64
	source   string
}{
	{"prague", mpic.RIPE, 50.08, 14.44, "127.2.0.100"},
	{"ashburn", mpic.ARIN, 39.04, -77.49, "127.2.0.1"},
	{"sao-paulo", mpic.LACNIC, -23.55, -46.63, "127.2.0.2"},
	{"johannesburg", mpic.AFRINIC, -26.20, 28.05, "127.2.0.3"},
	{"singapore", mpic.APNIC, 1.35, 103.82, "127.2.0.4"},
	{"stockholm", mpic.RIPE, 59.33, 18.07, "127.2.0.5"},
}

// ledger is a Journal in memory.
type ledger struct {
	mu     sync.Mutex
	opened []mpic.Attempt
	closed []mpic.Evidence
	made   []mpic.Decision
	broken error
	// recorded is called behind each record that was closed, with how many there are.
	recorded func(n int)
}

func (l *ledger) Open(_ context.Context, a mpic.Attempt, _ mpic.Roster) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened = append(l.opened, a)
	return int64(len(l.opened)), nil
}

func (l *ledger) Close(_ context.Context, e mpic.Evidence, d mpic.Decision) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	l.closed, l.made = append(l.closed, e), append(l.made, d)
	if l.recorded != nil {
		l.recorded(len(l.closed))
	}
	return nil
}

func (l *ledger) Late(context.Context, mpic.Attempt, mpic.Attestation) error { return nil }

func (l *ledger) last() (mpic.Evidence, mpic.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed[len(l.closed)-1], l.made[len(l.made)-1]
}

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// How a remote of a scene is reached. All that begin with "coordinator" stand behind one coordinator.
const (
	native      = "native"
	checker     = "checker"
	coordinator = "coordinator"
)

// scene is a world, a gate with five remotes, and its front for Open MPIC's clients, over real sockets.
type scene struct {
	t       *testing.T
	world   *world.World
	ledger  *ledger
	log     *lines
	front   *httptest.Server
	schemas schemas
	roster  mpic.Roster
	// gate is the coordinator of this gate, behind the one that its remotes may stand behind.
	gate *mpic.Coordinator
	// behind is the coordinator, if there is one.
	behind *behind
	start  time.Time
}

type options struct {
	remotes []string
	// answers changes what the coordinator answers.
	answers func(object) object
	change  func(*mpic.Config)
}

func newScene(t *testing.T, o options) *scene {
	t.Helper()
	w, err := world.New(world.Default())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	s := &scene{t: t, world: w, ledger: &ledger{}, log: &lines{}, schemas: official(t), start: time.Now()}
	if len(o.remotes) == 0 {
		o.remotes = []string{native, native, native, native, native}
	}
	remotes := s.remotes(o)
	config := mpic.Config{Roster: s.roster, Primary: s.checker(0), Remotes: remotes, Journal: s.ledger, Issuers: []string{"ca.example.net", "ca2.example.net"},
		Software: "quorate test", Logger: slog.New(slog.NewTextHandler(s.log, nil)), Deadline: 20 * time.Second, GrantGrace: 15 * time.Second,
		RefusalGrace: 15 * time.Second}
	if o.change != nil {
		o.change(&config)
	}
	c, err := mpic.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	s.gate = c
	front, err := openmpic.NewServer(openmpic.Config{Validator: c, Issuers: config.Issuers, Logger: config.Logger, Now: time.Now,
		Clients: []front.Client{{Name: "ejbca-1", APIKeySHA256: digestOf(clientKey)}, {Name: "other", APIKeySHA256: digestOf("another")}}})
	require.NoError(t, err)
	s.front = httptest.NewTLSServer(front)
	t.Cleanup(s.front.Close)
	return s
}

func (s *scene) checker(i int) *va.Checker {
	s.t.Helper()
	var hints []resolver.Hint
	for _, h := range s.world.Hints() {
		hints = append(hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
	}
	source := netip.MustParseAddr(sites[i].source)
	r, err := resolver.New(resolver.Config{Hints: hints, Anchors: s.anchors(), Port: s.world.Port(), AllowReserved: true, SourceAddr: source})
	require.NoError(s.t, err)
	c, err := va.New(va.Config{Name: sites[i].name, Software: "quorate test", Resolver: r, SourceAddr: source,
		World: va.World{HTTPPort: s.world.HTTPPort(), TLSPort: s.world.TLSPort(), AllowReserved: true}})
	require.NoError(s.t, err)
	return c
}

func (s *scene) anchors() []dnssec.Anchor {
	anchors, err := dnssec.ParseAnchors(strings.NewReader(s.world.AnchorText()))
	require.NoError(s.t, err)
	return anchors
}

func member(i int) mpic.Member {
	p := mpic.Place{Region: sites[i].region, Latitude: sites[i].lat, Longitude: sites[i].lon}
	return mpic.Member{Name: sites[i].name, Title: sites[i].name, Place: p, Resolver: p}
}

// checkerServer is one perspective that answers coordinators and gates.
func (s *scene) checkerServer(i int) *openmpic.CheckerServer {
	s.t.Helper()
	c, err := openmpic.NewCheckerServer(openmpic.CheckerConfig{Clients: []openmpic.CheckerClient{{
		Client: front.Client{Name: "gate", APIKeySHA256: digestOf(remoteKey)}, Checker: s.checker(i)}}, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	require.NoError(s.t, err)
	return c
}

func roots(server *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return pool
}

func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// remotes starts the five remotes and connects to them.
func (s *scene) remotes(o options) []mpic.Remote {
	s.t.Helper()
	s.roster = mpic.Roster{Primary: member(0)}
	s.behind = &behind{t: s.t, schemas: s.schemas, checkers: map[string]*openmpic.CheckerServer{}, change: o.answers}
	at := serve(s.t, s.behind)
	gate, err := perspective.GenerateGateIdentity("gate", time.Now())
	require.NoError(s.t, err)
	out := make([]mpic.Remote, len(o.remotes))
	var grouped []mpic.Member
	log := slog.New(slog.NewTextHandler(s.log, nil))
	for i, kind := range o.remotes {
		m := member(i + 1)
		switch kind {
		case native:
			out[i], m = s.native(i+1, m, gate)
		case checker:
			server := serve(s.t, s.held(s.checkerServer(i+1)))
			m.Protocol, m.URL = mpic.OpenMPICChecker, server.URL
			remotes, err := openmpic.NewRemotes(openmpic.ClientConfig{Members: []mpic.Member{m}, APIKey: remoteKey, Roots: roots(server), Logger: log, Now: time.Now})
			require.NoError(s.t, err)
			s.t.Cleanup(remotes[0].Close)
			out[i] = remotes[0]
		case coordinator:
			m.Protocol, m.URL, m.Code = mpic.OpenMPICCoordinator, at.URL+"/v1", "code-"+m.Name
			s.behind.checkers[m.Code] = s.checkerServer(i + 1)
			grouped = append(grouped, m)
		}
		s.roster.Remotes = append(s.roster.Remotes, m)
	}
	if len(grouped) == 0 {
		return out
	}
	remotes, err := openmpic.NewRemotes(openmpic.ClientConfig{Members: grouped, APIKey: remoteKey, Roots: roots(at), Logger: log, Now: time.Now})
	require.NoError(s.t, err)
	s.t.Cleanup(remotes[0].Close)
	for i, kind := range o.remotes {
		if kind == coordinator {
			out[i], remotes = remotes[0], remotes[1:]
		}
	}
	return out
}

func (s *scene) native(i int, m mpic.Member, gate *perspective.Identity) (mpic.Remote, mpic.Member) {
	s.t.Helper()
	id, err := perspective.GenerateIdentity(m.Name, time.Now())
	require.NoError(s.t, err)
	server, err := perspective.NewServer(perspective.Config{Checker: s.checker(i), Identity: id, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Gates: []perspective.Gate{{Name: "gate", TLSKey: gate.TLSKey()}}})
	require.NoError(s.t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	s.t.Cleanup(func() {
		stop()
		require.NoError(s.t, <-served)
	})
	m.URL, m.TLSKey, m.SigningKey = "https://"+listener.Addr().String(), id.TLSKey(), id.SigningKey()
	remote, err := perspective.NewRemote(perspective.ClientConfig{Member: m, Identity: gate, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	require.NoError(s.t, err)
	s.t.Cleanup(remote.Close)
	return remote, m
}

// held holds what a checker is asked and answers to the specification.
func (s *scene) held(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			s.t.Error(err)
		}
		requireSchema(s.t, s.schemas.request, body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := newRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code == 200 {
			requireSchema(s.t, map[string]*openapi3.Schema{"/dcv": s.schemas.dcv, "/caa": s.schemas.caa}[r.URL.Path], rec.Body.Bytes())
		}
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()) // what is not written fails the attempt
	})
}

// behind is an Open MPIC coordinator, as Open MPIC's own: it asks its checkers and hands on what they say. It has no primary.
type behind struct {
	t        *testing.T
	schemas  schemas
	checkers map[string]*openmpic.CheckerServer
	// change is what a test makes of the answer.
	change func(object) object

	mu    sync.Mutex
	asked []object
}

func (b *behind) requests() []object {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

func (b *behind) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/v1/mpic" || r.Header.Get("x-api-key") != remoteKey || r.Method != "POST" {
		http.Error(w, `{"message":"Forbidden"}`, http.StatusForbidden)
		return
	}
	requireSchema(b.t, b.schemas.request, body)
	var q object
	if err := json.Unmarshal(body, &q); err != nil {
		b.t.Error(err)
	}
	b.mu.Lock()
	b.asked = append(b.asked, q)
	b.mu.Unlock()
	check := q["check_type"].(string)
	inner := object{}
	for k, v := range q {
		if k != "orchestration_parameters" {
			inner[k] = v
		}
	}
	text, err := json.Marshal(inner)
	if err != nil {
		b.t.Error(err)
	}
	var all []any
	for code, c := range b.checkers {
		r := httptest.NewRequest("POST", "https://checker.test/"+check, bytes.NewReader(text))
		r.Header.Set("x-api-key", remoteKey)
		r.Header.Set("Content-Type", "application/json")
		rec := newRecorder()
		c.ServeHTTP(rec, r)
		var one object
		if err := json.Unmarshal(rec.Body.Bytes(), &one); err != nil || rec.Code != 200 {
			b.t.Errorf("%d %s", rec.Code, rec.Body)
		}
		all = append(all, object{"perspective_code": code, "check_response": one})
	}
	reply := object{"request_orchestration_parameters": q["orchestration_parameters"], "is_valid": true, "mpic_completed": true,
		"actual_orchestration_parameters": object{"perspective_count": len(all), "quorum_count": 1, "attempt_count": 1},
		"domain_or_ip_target":             q["domain_or_ip_target"], "check_type": check, "perspectives": all, "trace_identifier": q["trace_identifier"]}
	reply[check+"_check_parameters"] = q[check+"_check_parameters"]
	if b.change != nil {
		reply = b.change(reply)
	} else if text, err := json.Marshal(reply); err == nil {
		requireSchema(b.t, b.schemas.reply, text)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(reply); err != nil {
		b.t.Error(err)
	}
}

// ask sends a body to the front as ejbca-1, and holds both ways to the specification where the path is the specification's.
func (s *scene) ask(path string, body any) (int, object) {
	s.t.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		require.NoError(s.t, err)
		text = string(b)
	}
	r, err := http.NewRequest("POST", s.front.URL+path, strings.NewReader(text))
	require.NoError(s.t, err)
	r.Header.Set("x-api-key", clientKey)
	r.Header.Set("Content-Type", "application/json")
	response, err := s.front.Client().Do(r)
	require.NoError(s.t, err)
	got, err := io.ReadAll(response.Body)
	require.NoError(s.t, errors.Join(err, response.Body.Close()))
	var reply object
	require.NoError(s.t, json.Unmarshal(got, &reply), string(got))
	if response.StatusCode == 200 {
		require.Equal(s.t, "application/json", response.Header.Get("Content-Type"))
		if path == "/mpic" {
			requireSchema(s.t, s.schemas.request, []byte(text))
			requireSchema(s.t, s.schemas.reply, got)
		}
		s.holds(reply["is_valid"])
	} else {
		require.Equal(s.t, "application/problem+json", response.Header.Get("Content-Type"))
		require.NotContains(s.t, reply, "is_valid")
	}
	return response.StatusCode, reply
}

// holds: what was answered is what Judge decided, and an auditor finds the same in the record.
func (s *scene) holds(granted any) {
	s.t.Helper()
	e, d := s.ledger.last()
	require.Equal(s.t, d.Granted(), granted)
	text, err := json.Marshal(e)
	require.NoError(s.t, err)
	var again mpic.Evidence
	require.NoError(s.t, json.Unmarshal(text, &again))
	sets, err := e.Sets()
	require.NoError(s.t, err)
	require.NoError(s.t, again.Supply(sets))
	require.Equal(s.t, d.Recorded(), mpic.Judge(again).Recorded())
	decision, err := json.Marshal(d)
	require.NoError(s.t, err)
	v := audit.Auditor{Anchors: s.anchors()}.Verify(again, decision, nil)
	require.Empty(s.t, v.Wrong)
	stated := 0
	for _, a := range e.Remotes {
		if a.Statement != nil {
			stated++
		}
	}
	require.Equal(s.t, stated, v.Statements, "each statement is made again from what was exchanged")
}

type challenge struct{ token, authorization string }

func newChallenge() challenge {
	raw := make([]byte, 32)
	rand.Read(raw)
	token := base64.RawURLEncoding.EncodeToString(raw[:24])
	return challenge{token, token + "." + base64.RawURLEncoding.EncodeToString(raw)}
}

func (c challenge) sum() []byte {
	sum := sha256.Sum256([]byte(c.authorization))
	return sum[:]
}

func (c challenge) value() string { return base64.RawURLEncoding.EncodeToString(c.sum()) }

// parameters are what a caller sends for a method.
func (c challenge) parameters(m va.Method) object {
	p := object{"validation_method": "acme-" + m.String()}
	switch m {
	case va.HTTP01:
		p["token"], p["key_authorization"] = c.token, c.authorization
	case va.DNS01:
		p["key_authorization_hash"] = c.value()
	default:
		p["key_authorization_hash"] = hex.EncodeToString(c.sum())
	}
	return p
}

func (s *scene) host(zone string) *world.Host {
	s.t.Helper()
	for _, z := range s.world.Zones() {
		if strings.TrimSuffix(z.Name, ".") == zone {
			h, err := s.world.Host(netip.MustParseAddr(strings.Fields(z.Records)[2]))
			require.NoError(s.t, err)
			return h
		}
	}
	s.t.Fatalf("no zone %s", zone)
	return nil
}

func clients(from, to int) []netip.Prefix {
	var out []netip.Prefix
	for _, site := range sites[from:to] {
		out = append(out, world.Client(netip.MustParseAddr(site.source)))
	}
	return out
}

// result gives a perspective's part of a reply, in either form.
func result(t testing.TB, reply object, name string) object {
	t.Helper()
	for _, v := range reply["perspectives"].([]any) {
		p := v.(object)
		if p["perspective_code"] == name {
			if inner, ok := p["check_response"].(object); ok {
				return inner
			}
			return p
		}
	}
	t.Fatalf("%s is not among the perspectives", name)
	return nil
}

// recorder is a connection whose other side never keeps waiting.
type recorder struct{ *httptest.ResponseRecorder }

func newRecorder() recorder { return recorder{httptest.NewRecorder()} }

func (recorder) SetReadDeadline(time.Time) error { return nil }
