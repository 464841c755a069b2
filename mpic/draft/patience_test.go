package draft

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
)

// Who takes a connection and never shakes hands keeps none of ours: net/http goes on with a handshake after its request has ended.
//
// Holds: D11
func TestAHandshakeThatDoesNotEndIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewService(ServiceConfig{Key: secret, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
			Members: []mpic.Member{{Name: "lisbon", URL: "https://lisbon.example", Protocol: mpic.Draft00}}})
		require.NoError(t, err)
		defer s.Close()
		ours, theirs := net.Pipe()
		s.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
		closed := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, theirs) // to the end of the connection
			close(closed)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, f := s.ask(ctx, "ATTEMPT1", question{})
		require.Equal(t, mpic.TimedOut, f.state)
		select {
		case <-closed:
		case <-time.After(connectTime):
			t.Error("the connection is still open")
			require.NoError(t, theirs.Close())
		}
	})
}
