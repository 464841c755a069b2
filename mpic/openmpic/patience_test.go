package openmpic

import (
	"context"
	"io"
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
		client := newHTTPClient(mpic.Member{Name: "sydney"}, nil)
		ours, theirs := net.Pipe()
		client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
		closed := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, theirs) // to the end of the connection
			close(closed)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l := &line{members: []mpic.Member{{Name: "sydney"}}, client: client, now: time.Now}
		_, _, o := l.post(ctx, "https://sydney.example/dcv", "{}")
		require.Equal(t, mpic.TimedOut, o.state)
		select {
		case <-closed:
		case <-time.After(connectTime):
			t.Error("the connection is still open")
			require.NoError(t, theirs.Close())
		}
	})
}
