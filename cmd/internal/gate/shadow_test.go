package gate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/va"
)

// TestAGateInTheShadowFromConfiguration: both incumbents answer, every other front refuses, what we decided is on record as a shadow's, and
// the records hold nothing upon which a certificate could be issued.
//
// Holds: MPIC-12, REC-05, DCV-01
func TestAGateInTheShadowFromConfiguration(t *testing.T) {
	dir := t.TempDir()
	certificates(t, dir, "va.boulder", "ra.boulder", "permits")
	load := func(name string) tls.Certificate {
		c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem"))
		require.NoError(t, err)
		return c
	}
	roots := x509.NewCertPool()
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(text))

	there, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	theirVA := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{load("va.boulder")}, ClientCAs: roots,
		ClientAuth: tls.RequireAndVerifyClientCert})))
	vapb.RegisterVAServer(theirVA, remoteVA{})
	vapb.RegisterCAAServer(theirVA, remoteVA{})
	go func() { _ = theirVA.Serve(there) }() // it ends by Stop
	t.Cleanup(theirVA.Stop)
	const said = `{"is_valid": false}`
	theirs := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != openKey {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, said) // the gate's connection is its own matter
	}))
	t.Cleanup(theirs.Close)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "theirs.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: theirs.Certificate().Raw}), 0o600))

	at := fmt.Sprintf("127.0.0.1:%d", daemon.FreePort(t))
	pair := func(name string) string {
		return fmt.Sprintf("{certificate: %[1]s/%[2]s.pem, key: %[1]s/%[2]s-key.pem}", dir, name)
	}
	sections := fmt.Sprintf("boulder: {listen: \"%s\", tls: %s, client_ca: %s/ca.pem, va_clients: [ra.boulder], caa_clients: [ra.boulder], "+
		"account_uri_prefixes: [\"https://ca.example/acct/\"], shadow: {address: \"%s\", server_name: va.boulder, tls: %s, ca: %[3]s/ca.pem}}\n",
		at, pair("va.boulder"), dir, there.Addr(), pair("ra.boulder")) +
		fmt.Sprintf("open_mpic: {clients: [{name: ejbca, api_key_sha256: \"%s\"}], shadow: {url: \"%s\", pass_api_key: true, roots: %s/theirs.pem}}\n",
			openDigest(), theirs.URL, dir) +
		fmt.Sprintf("permits: {key: %s/permits-key.pem}\nmetrics: {listen: \"127.0.0.1:0\"}\n", dir) +
		"draft_mpic: {clients: [{name: draft, api_key_sha256: \"" + openDigest() + "\"}]}\n"
	s := newSetup(t, sections)
	settings, err := config.LoadGate(s.yaml)
	require.NoError(t, err)
	require.True(t, settings.InShadow())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, served := make(chan string, 1), make(chan error, 1)
	go func() { served <- s.gate.Serve(ctx, settings, func(addr string) { ready <- addr }) }()
	<-ready

	// Boulder's RA is answered by its VA: DCV passes, which we did not see.
	conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots,
		ServerName: "va.boulder", Certificates: []tls.Certificate{load("ra.boulder")}})))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	req := s.request("example.com", va.DNS01)
	req.Token = (req.Token + req.Token)[:43]
	req.KeyAuthorization = req.Token + req.KeyAuthorization[len(req.KeyAuthorization)-44:]
	got, err := vapb.NewVAClient(conn).DoDCV(t.Context(), &vapb.PerformValidationRequest{
		Identifier: &corepb.Identifier{Type: "dns", Value: "example.com"}, Authz: &vapb.AuthzMeta{Id: 1, RegID: 1},
		Challenge: &corepb.Challenge{Type: "dns-01", Status: "pending", Token: req.Token}, ExpectedKeyAuthorization: req.KeyAuthorization})
	require.NoError(t, err)
	require.Nil(t, got.Problem)
	require.Equal(t, "dadaist", got.Perspective)

	fronts := httptest.NewTLSServer(s.gate.Fronts())
	t.Cleanup(fronts.Close)
	ask := func(path, name, key, body string) (int, string) {
		r, err := http.NewRequest("POST", fronts.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set(name, key)
		r.Header.Set("Content-Type", "application/json")
		response, err := fronts.Client().Do(r)
		require.NoError(t, err)
		answer, err := io.ReadAll(response.Body)
		require.NoError(t, errors.Join(err, response.Body.Close()))
		return response.StatusCode, string(answer)
	}
	// Open MPIC's client gets its incumbent's no, where we would have said yes.
	status, answer := ask("/mpic", "X-API-Key", openKey, `{"check_type":"caa","domain_or_ip_target":"example.com"}`)
	require.Equal(t, 200, status)
	require.Equal(t, said, answer)

	for name, body := range map[string]any{"/v1/validations": map[string]any{"identifier": map[string]string{"type": "dns", "value": "example.com"},
		"method": "dns-01", "token": req.Token, "key_authorization": req.KeyAuthorization, "token_created": time.Now().UTC(),
		"account_uri": "https://ca.example/acct/1"}, "/v1/permits": map[string]any{"names": []string{"example.com"}, "account_uri": "https://ca.example/acct/1"}} {
		status, reply := s.call("POST", name, body)
		require.Equal(t, 503, status, reply)
		require.Equal(t, "gate.shadow", reply["code"], reply)
	}
	status, answer = ask("/mpic/draft-00", "Authorization", "Bearer "+openKey, `{"method":"caa","domain":"example.com"}`)
	require.Equal(t, 503, status, answer)
	require.Contains(t, answer, "gate.shadow")
	require.NotContains(t, answer, `"success":true`)
	dry, err := s.gate.Coordinator.Validate(t.Context(), mpic.DryRun, "cli:test", req)
	require.NoError(t, err, "`quorate check` goes on")
	require.False(t, dry.Evidence.Attempt.Shadow)

	stop()
	require.NoError(t, <-served)
	require.NoError(t, s.gate.shadow.Close(t.Context()))
	series := func(c mpic.Comparison) string { return "quorate_shadow_comparisons_total{result=" + string(c) + "}" }
	scrape.Require(t, s.gate.registry, map[string]float64{series(mpic.OnlyIncumbent): 1, series(mpic.OnlyGate): 1, series(mpic.BothGranted): 0,
		series(mpic.Skipped): 0, series(mpic.NoGate): 0, series(mpic.NoIncumbent): 0})
	beside, err := s.gate.Store.List(t.Context(), db.Filter{Shadow: true})
	require.NoError(t, err)
	require.Len(t, beside, 2)
	all, err := s.gate.Store.List(t.Context(), db.Filter{})
	require.NoError(t, err)
	require.Len(t, all, 3)
	for _, one := range beside {
		require.True(t, one.Shadow)
		record := s.stored(one.ID)
		require.True(t, record.Evidence.Attempt.Shadow)
		decision, err := Recorded(record)
		require.NoError(t, err)
		verdict := s.auditor().Verify(record.Evidence, record.Decision, nil)
		require.True(t, verdict.Holds(), "%v", verdict.Wrong)
		var shown bytes.Buffer
		require.NoError(t, table.Write(&shown, table.Attempt{Number: record.Number, Evidence: record.Evidence, Decision: decision}, false))
		require.Contains(t, shown.String(), "(shadow: another system answered, and nothing can be issued upon it)")
		document, err := json.Marshal(record.Evidence.Attempt)
		require.NoError(t, err)
		require.Contains(t, string(document), `"shadow":true`)
	}
	require.NoError(t, besideRecords{}.Ready(t.Context()), "the way to the incumbent is there without records")
}
