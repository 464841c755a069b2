package gate

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/va"
)

const openKey = "the-key-of-an-open-mpic-client"

func openDigest() string {
	sum := sha256.Sum256([]byte(openKey))
	return hex.EncodeToString(sum[:])
}

// webPair writes a certificate for 127.0.0.1 with its key.
func webPair(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	shape := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, shape, shape, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "web.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "web-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// openPerspective starts a perspective that answers Open MPIC coordinators too, and gives the URL where it does.
func (s *setup) openPerspective(i int) (url, roots string) {
	s.t.Helper()
	dir := s.t.TempDir()
	webPair(s.t, dir)
	id, err := perspective.GenerateIdentity(sites[i].name, time.Now())
	require.NoError(s.t, err)
	require.NoError(s.t, id.Save(perspective.Files{Certificate: filepath.Join(dir, "tls.pem"), TLSKey: filepath.Join(dir, "tls-key.pem"),
		SigningKey: filepath.Join(dir, "signing-key.pem")}))
	file := filepath.Join(dir, "perspective.yaml")
	require.NoError(s.t, os.WriteFile(file, fmt.Appendf(nil, "name: %s\nlisten: \"127.0.0.1:0\"\ntls: {certificate: tls.pem, key: tls-key.pem}\n"+
		"signing_key: signing-key.pem\ngates: [{name: gate, tls_key: \"%s\"}]\nsource_address: %s\nopen_mpic:\n  listen: \"127.0.0.1:0\"\n"+
		"  tls: {certificate: web.pem, key: web-key.pem}\n  clients: [{name: them, api_key_sha256: \"%s\"}]\n  issuers: [theirs.example]\n",
		sites[i].name, strings.Repeat("ab", 32), sites[i].source, openDigest()), 0o600))
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
	return "https://" + p.OpenMPICAddr(), filepath.Join(dir, "web.pem")
}

func openFront() string {
	return "open_mpic: {clients: [{name: ejbca, api_key_sha256: \"" + openDigest() + "\"}], max_attempts: 2}\n"
}

// withCheckers gives the gate's configuration with two of its remotes as Open MPIC checkers, and records of its own.
func (s *setup) withCheckers() []byte {
	t := s.t
	t.Helper()
	text, err := os.ReadFile(s.yaml)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(s.yaml), "open.key"), []byte(openKey+"\n"), 0o600))
	for i, name := range map[int]string{2: "sao-paulo", 4: "singapore"} {
		url, roots := s.openPerspective(i)
		entry := regexp.MustCompile(`  - \{name: ` + name + `, .*\}\n`)
		require.True(t, entry.Match(text))
		text = entry.ReplaceAll(text, fmt.Appendf(nil, "  - {name: %s, title: %s, url: \"%s\", region: %s, latitude: %v, longitude: %v, "+
			"protocol: open-mpic-checker, api_key_file: open.key, roots: \"%s\"}\n", name, name, url, sites[i].region, sites[i].lat, sites[i].lon, roots))
	}
	return bytes.Replace(text, []byte("records.db"), []byte("other.db"), 1)
}

func (s *setup) openGate(text []byte) *Gate {
	s.t.Helper()
	settings, err := config.ParseGate(s.yaml, text)
	require.NoError(s.t, err)
	gate, err := New(s.t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, gate.Close()) })
	return gate
}

// openClient asks a gate as ejbca.
func (s *setup) openClient(gate *Gate) func(path, body string) (int, map[string]any) {
	t := s.t
	server := httptest.NewTLSServer(gate.Fronts())
	t.Cleanup(server.Close)
	return func(path, body string) (int, map[string]any) {
		r, err := http.NewRequest("POST", server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("X-API-Key", openKey)
		r.Header.Set("Content-Type", "application/json")
		response, err := server.Client().Do(r)
		require.NoError(t, err)
		answer, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		var reply map[string]any
		require.NoError(t, json.Unmarshal(answer, &reply))
		return response.StatusCode, reply
	}
}

// TestOpenMPICFromConfiguration: an Open MPIC client asks the gate, and two of the gate's remotes are Open MPIC checkers, all from
// configuration files.
//
// Holds: MPIC-01, MPIC-12, F1
func TestOpenMPICFromConfiguration(t *testing.T) {
	s := newSetup(t, openFront())
	text := s.withCheckers()
	gate := s.openGate(text)
	ask := s.openClient(gate)
	for _, path := range []string{"/mpic", "/v1/mpic"} {
		status, reply := ask(path, `{"check_type":"caa","domain_or_ip_target":"example.com"}`)
		require.Equal(t, 200, status, reply)
		require.Equal(t, true, reply["is_valid"], reply)
		require.Len(t, reply["perspectives"], 6)
	}
	status, reply := ask("/mpic", `{"check_type":"caa","domain_or_ip_target":"example.com","orchestration_parameters":{"max_attempts":3}}`)
	require.Equal(t, 400, status, reply)
	status, _ = ask("/v1/validations", `{}`)
	require.Equal(t, 401, status, "the native front has clients of its own")
	record, err := gate.Store.Attempt(t.Context(), "1")
	require.NoError(t, err)
	require.Equal(t, "openmpic:ejbca", record.Evidence.Attempt.Caller)
	stated := 0
	for _, a := range record.Evidence.Remotes {
		if a.Statement != nil {
			stated++
		}
	}
	require.Equal(t, 2, stated)

	for name, c := range map[string]struct{ old, new, want string }{
		"another's key file": {"open.key, roots: \"", "open.key, roots: \"/nowhere/", "roots: open"},
		"an open key file":   {"open.key", "public.key", "may be read by others"},
	} {
		dir := filepath.Dir(s.yaml)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "public.key"), []byte(openKey), 0o644))
		settings, err := config.ParseGate(s.yaml, bytes.Replace(text, []byte(c.old), []byte(c.new), 1))
		require.NoError(t, err)
		_, err = New(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, c.want, name)
	}
}

// TestStatementsWithoutTokens: where the records leave tokens out, what was exchanged with an Open MPIC checker has none either, and an
// auditor works out what is left.
//
// Holds: REC-06, REC-04
func TestStatementsWithoutTokens(t *testing.T) {
	s := newSetup(t, openFront())
	text := bytes.Replace(s.withCheckers(), []byte("{sqlite: other.db}"), []byte("{sqlite: other.db, tokens: digests}"), 1)
	gate := s.openGate(text)
	ask := s.openClient(gate)
	req := s.request("example.org", va.HTTP01)
	defer s.host("example.org").AddToken(req.Token, req.KeyAuthorization)()
	status, reply := ask("/mpic", `{"check_type":"dcv","domain_or_ip_target":"example.org","dcv_check_parameters":{"validation_method":"acme-http-01","token":"`+
		req.Token+`","key_authorization":"`+req.KeyAuthorization+`"}}`)
	require.Equal(t, 200, status, reply)
	require.Equal(t, true, reply["is_valid"], reply)
	result, err := gate.Coordinator.Validate(t.Context(), mpic.Issuance, "test:ra", req)
	require.NoError(t, err)
	require.True(t, result.Decision.Granted(), "%v", result.Decision.Reasons())
	for number, statements := range map[string]int{"1": 0, "2": 2} { // of the first one everything depends on the token
		record, err := gate.Store.Attempt(t.Context(), number)
		require.NoError(t, err)
		kept, err := json.Marshal(record.Evidence)
		require.NoError(t, err)
		require.NotContains(t, string(kept), req.Token)
		v := s.auditor().Verify(record.Evidence, record.Decision, record.LateAttestations())
		require.Empty(t, v.Wrong)
		require.NotEmpty(t, v.Withheld)
		require.Equal(t, statements, v.Statements)

		for i, a := range record.Evidence.Remotes { // what is left is still held to what was exchanged
			if a.Statement != nil && a.Statement.CAA != nil {
				a.Statement.CAA.Seen = []string{"example.org. 300 IN CAA 0 issue \"other.example\""}
				v := s.auditor().Verify(record.Evidence, record.Decision, nil)
				require.NotEmpty(t, v.Wrong, i)
				break
			}
		}
	}
}
