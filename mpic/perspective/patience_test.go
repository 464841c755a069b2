package perspective

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

// Who takes a connection and never shakes hands (a process that was stopped, or a stranger at the address of one) keeps none of ours: net/http
// goes on with a handshake after the request that it was begun for has ended.
//
// Holds: D11
func TestRemoteGivesUpAHandshakeThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id, gate := newIdentity(t, "fra"), newIdentity(t, "gate-1")
		r := newClient(t, memberOf("fra", "https://fra.example", id), gate, (&journal{}).logger())
		ours, theirs := net.Pipe()
		r.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
		closed := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, theirs) // to the end of the connection
			close(closed)
		}()
		probe := newProbe()
		probe.Deadline = time.Now().Add(time.Second)
		a := r.Attest(t.Context(), probe)
		require.Equal(t, mpic.TimedOut, a.State)
		select {
		case <-closed:
		case <-time.After(connectTime):
			t.Error("the connection is still open")
			require.NoError(t, theirs.Close())
		}
	})
}
