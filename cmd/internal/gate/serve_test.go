package gate

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
)

// TestServeLetsRunningAttemptsEnd tells the gate to end while an attempt waits for its answers: the attempt is decided,
// recorded and answered, and only then does Serve return.
func TestServeLetsRunningAttemptsEnd(t *testing.T) {
	s := newSetup(t)
	settings, err := config.LoadGate(s.yaml)
	require.NoError(t, err)
	req := s.request("example.dev", va.HTTP01)
	asked, release := make(chan struct{}, 16), make(chan struct{})
	defer s.host("example.dev").Add(world.Page{Path: "/.well-known/acme-challenge/" + req.Token, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			<-release
			_, _ = io.WriteString(w, req.KeyAuthorization) // what is not written fails the attempt
		})})()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, served := make(chan string, 1), make(chan error, 1)
	go func() { served <- s.gate.Serve(ctx, settings, func(addr string) { ready <- addr }) }()
	body, err := json.Marshal(map[string]any{"identifier": map[string]string{"type": "dns", "value": req.Identifier}, "method": req.Method,
		"token": req.Token, "key_authorization": req.KeyAuthorization, "token_created": req.TokenCreated, "account_uri": req.AccountURI})
	require.NoError(t, err)
	r, err := http.NewRequest("POST", "https://"+<-ready+"/v1/validations", bytes.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+apiKey)
	r.Header.Set("Content-Type", "application/json")
	// The gate of this test shows a certificate without names.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	answered := make(chan *http.Response, 1)
	go func() {
		response, err := client.Do(r)
		if err != nil {
			t.Error(err)
		}
		answered <- response
	}()
	<-asked
	stop()
	close(release)
	response := <-answered
	require.NotNil(t, response)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusCreated, response.StatusCode)
	require.NoError(t, <-served)
	record, err := s.gate.Store.Attempt(t.Context(), "1")
	require.NoError(t, err)
	require.EqualValues(t, "granted", record.Outcome)
}

// TestServeShowsARenewedCertificate: a certificate that was put into the place of another is what the next client sees, and the one who was
// connected before goes on.
func TestServeShowsARenewedCertificate(t *testing.T) {
	s := newSetup(t)
	settings, err := config.LoadGate(s.yaml)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, served := make(chan string, 1), make(chan error, 1)
	go func() { served <- s.gate.Serve(ctx, settings, func(addr string) { ready <- addr }) }()
	address := <-ready
	shown := func() (serial string) {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := shown()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxConnsPerHost: 1}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	alive := func() {
		response, err := client.Get("https://" + address + "/livez")
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode)
	}
	alive()
	id, err := perspective.GenerateGateIdentity("gate", time.Now())
	require.NoError(t, err)
	next := perspective.Files{Certificate: settings.TLS.Certificate + ".new", TLSKey: settings.TLS.Key + ".new"}
	require.NoError(t, id.Save(next))
	require.NoError(t, os.Rename(next.Certificate, settings.TLS.Certificate))
	require.NoError(t, os.Rename(next.TLSKey, settings.TLS.Key))
	require.Eventually(t, func() bool { return shown() != before }, 30*time.Second, 500*time.Millisecond)
	alive()
	stop()
	require.NoError(t, <-served)
}
