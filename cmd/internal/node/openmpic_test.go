package node

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
	"github.com/quorate/quorate/mpic/perspective"
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
	p, err := NewPerspective(s.t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
	require.NoError(s.t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	s.t.Cleanup(func() {
		stop()
		require.NoError(s.t, <-served)
	})
	return "https://" + p.open.listener.Addr().String(), filepath.Join(dir, "web.pem")
}

// TestOpenMPICFromConfiguration: an Open MPIC client asks the gate, and two of the gate's remotes are Open MPIC checkers, all from
// configuration files.
//
// Holds: MPIC-01, MPIC-12, F1
func TestOpenMPICFromConfiguration(t *testing.T) {
	s := newSetup(t, "open_mpic: {clients: [{name: ejbca, api_key_sha256: \""+openDigest()+"\"}], max_attempts: 2}\n")
	text, err := os.ReadFile(s.yaml)
	require.NoError(t, err)
	dir := filepath.Dir(s.yaml)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "open.key"), []byte(openKey+"\n"), 0o600))
	for i, name := range map[int]string{2: "sao-paulo", 4: "singapore"} {
		url, roots := s.openPerspective(i)
		entry := regexp.MustCompile(`  - \{name: ` + name + `, .*\}\n`)
		require.True(t, entry.Match(text))
		text = entry.ReplaceAll(text, fmt.Appendf(nil, "  - {name: %s, title: %s, url: \"%s\", region: %s, latitude: %v, longitude: %v, protocol: open-mpic-checker, "+
			"api_key_file: open.key, roots: \"%s\"}\n", name, name, url, sites[i].region, sites[i].lat, sites[i].lon, roots))
	}
	text = bytes.Replace(text, []byte("records.db"), []byte("other.db"), 1)
	file := filepath.Join(dir, "other.yaml")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	settings, err := config.LoadGate(file)
	require.NoError(t, err)
	gate, err := NewGate(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, gate.Close()) })
	server := httptest.NewTLSServer(gate.Fronts())
	t.Cleanup(server.Close)
	ask := func(path, body string) (int, map[string]any) {
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
		require.NoError(t, os.WriteFile(filepath.Join(dir, "public.key"), []byte(openKey), 0o644))
		require.NoError(t, os.WriteFile(file, bytes.Replace(text, []byte(c.old), []byte(c.new), 1), 0o600))
		settings, err := config.LoadGate(file)
		require.NoError(t, err)
		_, err = NewGate(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, c.want, name)
	}
}
