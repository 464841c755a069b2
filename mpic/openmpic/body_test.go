package openmpic

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
)

type nobody struct{ t *testing.T }

func (n nobody) Carry(context.Context, mpic.Call) (mpic.Result, error) {
	n.t.Error("an attempt was made of half a request")
	return mpic.Result{}, mpic.ErrClosed
}

// TestSlowBodiesAreCutOff: a client that sends half a body holds its place no longer than that.
//
// Holds: D11
func TestSlowBodiesAreCutOff(t *testing.T) {
	const key = "62af8704764faf8ea82fc61ce9c4c3908b6cb97d463a634e9e587d7c885db0ef" // the SHA-256 of "test-key"
	s, err := NewServer(Config{Validator: nobody{t}, Issuers: []string{"ca.example"}, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Clients: []front.Client{{Name: "slow", APIKeySHA256: key, InFlight: 1}}})
	require.NoError(t, err)
	s.patience = 20 * time.Millisecond
	server := httptest.NewTLSServer(s)
	defer server.Close()
	c, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	_, err = io.WriteString(c, "POST /mpic HTTP/1.1\r\nHost: gate.test\r\nX-Api-Key: test-key\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var p Problem
	require.NoError(t, json.Unmarshal(text, &p))
	require.Equal(t, 400, response.StatusCode)
	require.Equal(t, "request.body", p.Code)
	member := s.clients.ByKey("test-key")
	require.NotNil(t, member)
	leave, no := s.clients.Enter(member) // its only place is free again
	require.Nil(t, no)
	leave()
}
