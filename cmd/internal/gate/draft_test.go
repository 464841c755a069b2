package gate

import (
	"bytes"
	"context"
	"crypto/sha256"
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
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
)

const draftKey = "the-key-of-gate-b"

// behind makes a second gate, in Madrid, whose roster has the first one's remotes where mixed, and what stands behind a service.
func (s *setup) behind(service *httptest.Server, mixed bool, codes ...string) *Gate {
	s.t.Helper()
	dir := filepath.Dir(s.yaml)
	text, err := os.ReadFile(s.yaml)
	require.NoError(s.t, err)
	head, remotes, _ := strings.Cut(string(text), "perspectives:\n")
	remotes, _, _ = strings.Cut(remotes, "draft_mpic:")
	head = strings.NewReplacer("records.db", "records-b.db", sites[0].source, "127.2.0.77", "name: prague, title: Prague", "name: madrid, title: Madrid",
		"latitude: 50.08, longitude: 14.44", "latitude: 40.42, longitude: -3.7").Replace(head)
	if !mixed {
		remotes = "  []\n"
	}
	sum := sha256.Sum256(service.Certificate().RawSubjectPublicKeyInfo)
	require.NoError(s.t, os.WriteFile(filepath.Join(dir, "service.key"), []byte(draftKey+"\n"), 0o600))
	var b strings.Builder
	fmt.Fprintf(&b, "%sperspectives:\n%sdraft_mpic:\n  services:\n    - url: %s\n      key_file: service.key\n      tls_key: \"%s\"\n      perspectives:\n", head,
		remotes, service.URL, hex.EncodeToString(sum[:]))
	for _, code := range codes {
		fmt.Fprintf(&b, "        - %s\n", code)
	}
	file := filepath.Join(dir, "b.yaml")
	require.NoError(s.t, os.WriteFile(file, []byte(b.String()), 0o600))
	settings, err := config.LoadGate(file)
	require.NoError(s.t, err)
	g, err := New(s.t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, g.Close()) })
	return g
}

// draftGate is a gate that serves the draft to gate-b.
func draftGate(t *testing.T) (*setup, *httptest.Server) {
	sum := sha256.Sum256([]byte(draftKey))
	s := newSetup(t, fmt.Sprintf("draft_mpic:\n  clients: [{name: gate-b, api_key_sha256: \"%s\"}]\n", hex.EncodeToString(sum[:])))
	front := httptest.NewTLSServer(s.gate.Fronts())
	t.Cleanup(front.Close)
	return s, front
}

// TestGateServesTheDraft asks a whole gate as the draft's examples do.
//
// Holds: F1, MPIC-12, REC-03
func TestGateServesTheDraft(t *testing.T) {
	s, front := draftGate(t)
	ask := func(body map[string]any) (out struct {
		Success      bool
		Error        string
		Perspectives map[string]struct{ Success bool }
		CAA          *struct {
			Domain  string
			Records []string
		}
		Attempts []struct {
			Kind    mpic.Kind
			Attempt string
		}
	}) {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		r, err := http.NewRequest(http.MethodPost, front.URL+"/mpic/draft-00", bytes.NewReader(text))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+draftKey)
		r.Header.Set("Content-Type", "application/json")
		response, err := front.Client().Do(r)
		require.NoError(t, err)
		defer func() { require.NoError(t, response.Body.Close()) }()
		require.Equal(t, 200, response.StatusCode)
		require.NoError(t, json.NewDecoder(response.Body).Decode(&out))
		return out
	}
	req := s.request("example.org", va.HTTP01)
	asked := map[string]any{"method": "http-acme", "domain_or_ip": "example.org", "token": req.Token, "key_authorization": req.KeyAuthorization}
	remove := s.host("example.org").AddToken(req.Token, req.KeyAuthorization, clients(1, 6)...)
	a := ask(asked)
	require.False(t, a.Success, "the remotes alone see the token")
	require.False(t, a.Perspectives["prague"].Success)
	require.True(t, a.Perspectives["ashburn"].Success)
	require.NotEmpty(t, a.Error)
	remove()
	defer s.host("example.org").AddToken(req.Token, req.KeyAuthorization)()
	a = ask(asked)
	require.True(t, a.Success, a.Error)
	require.Len(t, a.Perspectives, 6)
	require.NotNil(t, a.CAA)
	require.Len(t, a.Attempts, 2)
	for i, kind := range []mpic.Kind{mpic.DCVAlone, mpic.CAAAlone} {
		require.Equal(t, kind, a.Attempts[i].Kind)
		stored := s.stored(a.Attempts[i].Attempt)
		require.Equal(t, "draft:gate-b", stored.Caller)
		require.Empty(t, s.auditor().Verify(stored.Evidence, stored.Decision, nil).Wrong)
		require.Nil(t, mustDecision(t, stored).Validated.ReusableUntil, "no authorization")
	}
	dns01 := s.request("example.com", va.DNS01)
	require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, dns01.Expected()))
	a = ask(map[string]any{"method": "dns", "domain": "example.com", "record-type": "TXT", "prefix": "_acme-challenge", "expected": dns01.Expected()})
	require.True(t, a.Success, a.Error)
	a = ask(map[string]any{"method": "caa", "domain": "bogus-caa.com"})
	require.False(t, a.Success)
	require.Nil(t, a.CAA, "what could not be looked up is not told")
	a = ask(map[string]any{"method": "http-acme", "domain_or_ip": "192.0.2.1", "token": req.Token, "key_authorization": req.KeyAuthorization})
	require.False(t, a.Success)
	require.Contains(t, a.Error, "name.address")
}

func mustDecision(t *testing.T, r db.Record) mpic.RecordedDecision {
	t.Helper()
	d, err := Recorded(r)
	require.NoError(t, err)
	return *d
}

// TestGateAsksAServiceOfTheDraft: the second gate's remotes are those behind the first one, its primary included. What they say is on
// record, and an auditor reads it again, also where tokens were taken out.
//
// Holds: F1, F2, F6, MPIC-01, MPIC-12, REC-04
func TestGateAsksAServiceOfTheDraft(t *testing.T) {
	s, front := draftGate(t)
	var codes []string
	for _, site := range sites {
		codes = append(codes, fmt.Sprintf("{name: a-%s, title: A, code: %s, region: %s, latitude: %v, longitude: %v}", site.name, site.name, site.region, site.lat, site.lon))
	}
	b := s.behind(front, false, codes...)
	key, err := merkle.GenerateLogKey("gate.example/log")
	require.NoError(t, err)
	verifier, err := note.NewVerifier(key.VerifierKey())
	require.NoError(t, err)
	memory, err := merkle.OpenMemory(filepath.Join(t.TempDir(), "memory"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, memory.Close()) })
	signer, err := merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: verifier, Memory: memory})
	require.NoError(t, err)
	publisher, err := b.Store.NewPublisher(t.Context(), db.PublisherConfig{Signer: signer, Interval: time.Hour})
	require.NoError(t, err)
	outcomes := map[string]db.Outcome{}
	try := func(req va.Request, granted bool) mpic.Result {
		t.Helper()
		r, err := b.Coordinator.Validate(t.Context(), mpic.Issuance, "rest:ra-1", req)
		require.NoError(t, err)
		require.Equal(t, granted, r.Decision.Granted(), "%v", r.Decision.Reasons())
		outcomes[r.Evidence.Attempt.ID()] = db.Refused
		if granted {
			outcomes[r.Evidence.Attempt.ID()] = db.Granted
		}
		return r
	}
	req := s.request("*.example.com", va.DNS01)
	require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, req.Expected()))
	r := try(req, true)
	require.Equal(t, "6/6", r.Decision.DCV().String())
	require.Equal(t, "6/6", r.Decision.CAA().String())

	req = s.request("example.org", va.HTTP01)
	remove := s.host("example.org").AddToken(req.Token, req.KeyAuthorization, clients(0, 6)...)
	r = try(req, false)
	require.Equal(t, "6/6", r.Decision.DCV().String())
	require.Equal(t, "http.status", r.Decision.Reasons()[0].Code, "the primary did not see it")
	remove()
	remove = s.host("example.org").AddToken(req.Token, req.KeyAuthorization)
	try(req, true)
	remove()
	try(s.request("bogus-caa.com", va.HTTP01), false)
	require.Equal(t, "perspective.method", try(s.request("example.net", va.TLSALPN01), false).Evidence.Remotes[0].Problem.Code)

	for id, outcome := range outcomes {
		stored, err := b.Store.Attempt(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, outcome, stored.Outcome)
		v := s.auditor().Verify(stored.Evidence, stored.Decision, nil)
		require.Empty(t, v.Wrong)
		if outcome == db.Granted {
			require.Equal(t, 6, v.Statements)
			altered := stored.Evidence.Remotes[2]
			altered.Statement.Exchanges[0].Received = strings.ReplaceAll(altered.Statement.Exchanges[0].Received, "true", "false")
			require.NotEmpty(t, s.auditor().Verify(stored.Evidence, stored.Decision, nil).Wrong, "an altered exchange is found")
		}
	}
	require.NoError(t, publisher.Close(t.Context()))
	for _, without := range []bool{false, true} {
		var file bytes.Buffer
		var statements int
		_, err := bundle.Write(t.Context(), b.Store, &file, bundle.Config{Software: "quorate test", Created: time.Unix(1, 0), WithoutSecrets: without})
		require.NoError(t, err)
		sum, _, err := bundle.Verify(t.Context(), bytes.NewReader(file.Bytes()), int64(file.Len()), db.VerifyConfig{Auditor: audit.Auditor{Anchors: s.doors.Anchors}, LogKey: verifier,
			Record:  func(_ db.Record, v audit.Verdict) { statements += v.Statements },
			Finding: func(f db.Finding) { t.Errorf("without secrets %v: %+v", without, f) }})
		require.NoError(t, err)
		require.EqualValues(t, len(outcomes), sum.Records)
		require.GreaterOrEqual(t, statements, 18)
	}
}

// TestALyingServiceAmongOurOwn: two perspectives behind a service say yes to everything, beside five of our own.
//
// Holds: F1, MPIC-03
func TestALyingServiceAmongOurOwn(t *testing.T) {
	s, _ := draftGate(t)
	var answers string
	service := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // whatever it is
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answers)
	}))
	defer service.Close()
	b := s.behind(service, true, "{name: sydney, title: Sydney, code: syd, region: APNIC, latitude: -33.9, longitude: 151.2}",
		"{name: tokyo, title: Tokyo, code: hnd, region: APNIC, latitude: 35.7, longitude: 139.7}")
	const yes = `{"success":true,"caa":{"records":[]},"perspectives":{"syd":{"success":true},"hnd":{"success":true}}}`
	for name, c := range map[string]struct {
		answers string
		published
		granted bool
		dcv     string
	}{
		"everybody":                     {yes, published{0, 6, true}, true, "7/7"},
		"the service alone":             {yes, published{0, 0, false}, false, "2/7"},
		"it and two of ours":            {yes, published{1, 3, true}, false, "4/7"},
		"a stranger makes it nothing":   {strings.Replace(yes, `"syd"`, `"lhr":{"success":true},"syd"`, 1), published{0, 6, true}, true, "5/7"},
		"it says no, and ours suffice":  {strings.ReplaceAll(yes, `"success":true}`, `"success":false}`), published{0, 6, true}, true, "5/7"},
		"it says no, and one of ours":   {strings.ReplaceAll(yes, `"success":true}`, `"success":false}`), published{0, 5, true}, false, "4/7"},
		"it is not there, ours suffice": {"", published{0, 6, true}, true, "5/7"},
	} {
		t.Run(name, func(t *testing.T) {
			answers = c.answers
			req := s.request("example.org", va.HTTP01)
			if c.any {
				to := clients(c.from, c.to)
				if c.from == 0 {
					to = append(to, world.Client(netip.MustParseAddr("127.2.0.77")))
				}
				defer s.host("example.org").AddToken(req.Token, req.KeyAuthorization, to...)()
			}
			r, err := b.Coordinator.Validate(context.Background(), mpic.Issuance, "rest:ra-1", req)
			require.NoError(t, err)
			require.Equal(t, c.granted, r.Decision.Granted(), "%v", r.Decision.Reasons())
			require.Equal(t, c.dcv, r.Decision.DCV().String())
		})
	}
}

// published says which sites see a token; with 0 the second gate does too.
type published struct {
	from, to int
	any      bool
}

// Holds: MPIC-08
func TestServicesWithoutTheirFiles(t *testing.T) {
	s, front := draftGate(t)
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	settings, err := config.LoadGate(s.yaml)
	require.NoError(t, err)
	settings.Journal.SQLite = filepath.Join(dir, "records.db")
	key := file("key", draftKey, 0o600)
	for name, c := range map[string]struct {
		service config.DraftService
		says    string
	}{
		"no key":               {config.DraftService{KeyFile: filepath.Join(dir, "absent")}, "draft_mpic.services[0].key_file"},
		"a key for everybody":  {config.DraftService{KeyFile: file("open", draftKey, 0o644)}, "may be read by others"},
		"an empty key":         {config.DraftService{KeyFile: file("empty", "\n", 0o600)}, "the key for the service is missing"},
		"no roots":             {config.DraftService{KeyFile: key, Roots: filepath.Join(dir, "absent")}, "draft_mpic.services[0].roots"},
		"roots that are none":  {config.DraftService{KeyFile: key, Roots: key}, "has no certificate"},
		"nobody stands behind": {config.DraftService{KeyFile: key}, "there are no members"},
	} {
		t.Run(name, func(t *testing.T) {
			c.service.URL = front.URL
			if !strings.HasPrefix(name, "nobody") {
				c.service.Perspectives = []config.DraftRemote{{Name: "lisbon"}}
			}
			settings.DraftMPIC = &config.DraftMPIC{Services: []config.DraftService{c.service}}
			_, err := New(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, c.says)
			require.NoFileExists(t, settings.Journal.SQLite)
		})
	}
}
