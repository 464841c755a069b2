package gate

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

const apiKey = "the-key-of-ra-1"

// sites have the primary first; each sends from an address of its own, by which the world tells them apart.
var sites = []struct {
	name, region string
	lat, lon     float64
	source       string
}{
	{"prague", "RIPE NCC", 50.08, 14.44, "127.2.0.100"},
	{"ashburn", "ARIN", 39.04, -77.49, "127.2.0.1"},
	{"sao-paulo", "LACNIC", -23.55, -46.63, "127.2.0.2"},
	{"johannesburg", "AFRINIC", -26.20, 28.05, "127.2.0.3"},
	{"singapore", "APNIC", 1.35, 103.82, "127.2.0.4"},
	{"stockholm", "RIPE NCC", 59.33, 18.07, "127.2.0.5"},
}

// setup is a gate and five perspectives, each from a configuration file, in a world of their own.
type setup struct {
	t     *testing.T
	world *world.World
	gate  *Gate
	rest  *httptest.Server
	yaml  string
	doors node.Doors
}

// newSetup puts lines at the end of the gate's configuration.
func newSetup(t *testing.T, lines ...string) *setup {
	t.Helper()
	w, err := world.New(world.Default())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	s := &setup{t: t, world: w, doors: node.Doors{DNSPort: w.Port(), AllowReserved: true,
		World: va.World{HTTPPort: w.HTTPPort(), TLSPort: w.TLSPort(), AllowReserved: true}}}
	for _, h := range w.Hints() {
		s.doors.Hints = append(s.doors.Hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
	}
	s.doors.Anchors, err = dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)

	dir := t.TempDir()
	id, err := perspective.GenerateGateIdentity("gate", time.Now())
	require.NoError(t, err)
	require.NoError(t, id.Save(perspective.Files{Certificate: filepath.Join(dir, "id.pem"), TLSKey: filepath.Join(dir, "id-key.pem")}))
	sum := sha256.Sum256([]byte(apiKey))
	var b strings.Builder
	fmt.Fprintf(&b, "listen: \"127.0.0.1:0\"\ntls: {certificate: id.pem, key: id-key.pem}\nidentity: {certificate: id.pem, key: id-key.pem}\n"+
		"clients: [{name: ra-1, api_key_sha256: \"%s\"}]\njournal: {sqlite: records.db}\nissuers: [ca.quorate.net]\n"+
		"limits: {attempt: 10s, refusal_grace: 3s, grant_grace: 3s}\nsource_address: %s\n"+
		"primary: {name: %s, title: Prague, region: %s, latitude: %v, longitude: %v}\nperspectives:\n", hex.EncodeToString(sum[:]), sites[0].source,
		sites[0].name, sites[0].region, sites[0].lat, sites[0].lon)
	for i, site := range sites[1:] {
		url, pins := s.startPerspective(filepath.Join(dir, site.name), i+1, id.TLSKey())
		fmt.Fprintf(&b, "  - {name: %s, title: %s, url: \"%s\", region: %s, latitude: %v, longitude: %v, tls_key: \"%s\", signing_key: \"%s\"}\n",
			site.name, site.name, url, site.region, site.lat, site.lon, pins.TLSKey(), pins.SigningKey())
	}
	s.yaml = filepath.Join(dir, "quorate.yaml")
	require.NoError(t, os.WriteFile(s.yaml, []byte(b.String()+strings.Join(lines, "")), 0o600))
	settings, err := config.LoadGate(s.yaml)
	require.NoError(t, err)
	s.gate, err = New(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.gate.Close()) })
	s.rest = httptest.NewTLSServer(s.gate.Handler)
	t.Cleanup(s.rest.Close)
	return s
}

func (s *setup) startPerspective(dir string, i int, gateKey string) (url string, id *perspective.Identity) {
	s.t.Helper()
	require.NoError(s.t, os.Mkdir(dir, 0o700))
	id, err := perspective.GenerateIdentity(sites[i].name, time.Now())
	require.NoError(s.t, err)
	require.NoError(s.t, id.Save(perspective.Files{Certificate: filepath.Join(dir, "tls.pem"), TLSKey: filepath.Join(dir, "tls-key.pem"),
		SigningKey: filepath.Join(dir, "signing-key.pem")}))
	file := filepath.Join(dir, "perspective.yaml")
	require.NoError(s.t, os.WriteFile(file, fmt.Appendf(nil, "name: %s\nlisten: \"127.0.0.1:0\"\ntls: {certificate: tls.pem, key: tls-key.pem}\n"+
		"signing_key: signing-key.pem\ngates: [{name: gate, tls_key: \"%s\"}]\nsource_address: %s\n", sites[i].name, gateKey, sites[i].source), 0o600))
	settings, err := config.LoadPerspective(file)
	require.NoError(s.t, err)
	p, err := node.NewPerspective(s.t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
	require.NoError(s.t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	s.t.Cleanup(func() {
		stop()
		require.NoError(s.t, <-served)
	})
	return "https://" + p.Addr(), id
}

func (s *setup) request(name string, method va.Method) va.Request {
	raw := make([]byte, 32)
	rand.Read(raw)
	token := base64.RawURLEncoding.EncodeToString(raw[:24])
	return va.Request{Identifier: name, Method: method, Token: token, KeyAuthorization: token + "." + base64.RawURLEncoding.EncodeToString(raw),
		TokenCreated: time.Now().UTC(), AccountURI: "https://ca.example/acct/1"}
}

// call asks the REST front as ra-1.
func (s *setup) call(method, path string, body any) (status int, reply map[string]any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(s.t, err)
	r, err := http.NewRequest(method, s.rest.URL+path, bytes.NewReader(text))
	require.NoError(s.t, err)
	r.Header.Set("Authorization", "Bearer "+apiKey)
	r.Header.Set("Content-Type", "application/json")
	response, err := s.rest.Client().Do(r)
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, response.Body.Close()) }()
	text, err = io.ReadAll(response.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, json.Unmarshal(text, &reply), string(text))
	return response.StatusCode, reply
}

func (s *setup) post(req va.Request) (int, map[string]any) {
	s.t.Helper()
	return s.call("POST", "/v1/validations", map[string]any{"identifier": map[string]string{"type": "dns", "value": req.Identifier},
		"method": req.Method, "token": req.Token, "key_authorization": req.KeyAuthorization, "token_created": req.TokenCreated,
		"account_uri": req.AccountURI})
}

// host gives the web host of a zone's apex.
func (s *setup) host(zone string) *world.Host {
	s.t.Helper()
	for _, z := range s.world.Zones() {
		if z.Name != zone && z.Name != zone+"." {
			continue
		}
		fields := strings.Fields(z.Records)
		h, err := s.world.Host(netip.MustParseAddr(fields[2]))
		require.NoError(s.t, err)
		return h
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

// TestGateFromConfiguration goes the whole way: configuration files, REST, primary, five remotes, records, and the table.
//
// Holds: MPIC-01, MPIC-12, REC-02, REC-03, F1, F2
func TestGateFromConfiguration(t *testing.T) {
	s := newSetup(t)
	t.Run("granted by dns-01 for a wildcard", func(t *testing.T) {
		req := s.request("*.example.com", va.DNS01)
		require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, req.Expected()))
		status, reply := s.post(req)
		require.Equal(t, 201, status, reply)
		require.Equal(t, "granted", reply["outcome"])
		require.Equal(t, "5/5", reply["dcv"].(map[string]any)["quorum"])
		require.Equal(t, "5/5", reply["caa"].(map[string]any)["quorum"])
		require.Len(t, reply["perspectives"], 6)
		for i, p := range reply["perspectives"].([]any) {
			require.Equal(t, sites[i].name, p.(map[string]any)["name"])
			require.Equal(t, "pass", p.(map[string]any)["dcv"])
		}
		status, stored := s.call("GET", fmt.Sprintf("/v1/validations/%v", reply["attempt"]), nil)
		require.Equal(t, 200, status)
		for _, p := range stored["perspectives"].([]any) {
			for _, finding := range []string{"dcv_finding", "caa_finding"} {
				require.NotEmpty(t, p.(map[string]any)[finding].(map[string]any)["lookups"])
				delete(p.(map[string]any), finding)
			}
		}
		require.Equal(t, reply, stored, "the answer is what the record holds, but for the findings")
	})
	t.Run("refused when only the remotes see the token", func(t *testing.T) {
		req := s.request("example.org", va.HTTP01)
		defer s.host("example.org").AddToken(req.Token, req.KeyAuthorization, clients(1, 6)...)()
		status, reply := s.post(req)
		require.Equal(t, 422, status)
		require.Equal(t, "http.status", reply["code"])
		require.Equal(t, "5/5", reply["dcv"].(map[string]any)["quorum"], "and the quorum alone does not help")
	})
	t.Run("the table of an attempt", func(t *testing.T) {
		req := s.request("example.org", va.HTTP01)
		defer s.host("example.org").AddToken(req.Token, req.KeyAuthorization, clients(0, 4)...)()
		result, err := s.gate.Coordinator.Validate(t.Context(), mpic.DryRun, "cli:test", req)
		require.NoError(t, err)
		var plain, color bytes.Buffer
		require.NoError(t, table.Write(&plain, table.Of(result), false))
		require.NoError(t, table.Write(&color, table.Of(result), true))
		for _, want := range []string{
			`(?m)^REFUSED  example.org by http-01, record \d+ \(dry run: nothing can be issued upon it\)$`,
			`(?m)^  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z, attempt \w+, rules of \d{4}-\d\d-\d\d\n  asked by cli:test$`,
			`(?m)^ +perspective +region +DCV +CAA +time +what it saw$`,
			`(?m)^  primary  Prague +RIPE NCC +✓ pass +✓ pass +[\d.]+ ms +token at 127.0.80.\d+:\d+, status 200; no CAA$`,
			`(?m)^  remote   singapore +APNIC +✗ fail +✓ pass +[\d.]+ ms +http.status: `,
			`(?m)^ +quorum +3/5 +5/5 +at most 1 may fail`,
			`(?m)^  because quorum.missed$`,
		} {
			require.Regexp(t, want, plain.String())
		}
		require.NotContains(t, plain.String(), "\x1b")
		require.Contains(t, color.String(), "\x1b[32m✓ pass\x1b[0m")
		for line := range strings.Lines(plain.String()) {
			require.LessOrEqual(t, len([]rune(line)), 150, line)
		}
		t.Log("\n" + plain.String())
	})
	t.Run("the rules refuse the roster", func(t *testing.T) {
		settings, err := config.LoadGate(s.yaml)
		require.NoError(t, err)
		settings.Perspectives = settings.Perspectives[:3]
		settings.Journal.SQLite = filepath.Join(t.TempDir(), "records.db")
		_, err = New(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, "roster.too-few")
		require.NoFileExists(t, settings.Journal.SQLite)
	})
}
