package gate

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
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
