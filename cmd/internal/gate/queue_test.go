package gate

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
)

// TestTheQueueOfTheConfiguration: of three requests to a gate with one place and one that waits, the third is refused while the first is
// still carried out, and nothing of it is on record.
func TestTheQueueOfTheConfiguration(t *testing.T) {
	s := newSetup(t)
	text, err := os.ReadFile(s.yaml)
	require.NoError(t, err)
	small := filepath.Join(filepath.Dir(s.yaml), "small.yaml")
	require.NoError(t, os.WriteFile(small, []byte(strings.NewReplacer("limits: {", "limits: {in_flight: 1, waiting: 1, ", "records.db", "small.db").
		Replace(string(text))), 0o600))
	settings, err := config.LoadGate(small)
	require.NoError(t, err)
	gate, err := New(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, gate.Close()) }()
	s.rest.Close()
	s.rest = httptest.NewTLSServer(gate.Handler)
	t.Cleanup(s.rest.Close)

	req := s.request("example.dev", va.HTTP01)
	asked, release := make(chan struct{}, 64), make(chan struct{})
	defer s.host("example.dev").Add(world.Page{Path: "/.well-known/acme-challenge/" + req.Token, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			<-release
			_, _ = io.WriteString(w, req.KeyAuthorization) // what is not written fails the attempt
		})})()
	first := make(chan int, 1)
	go func() {
		status, _ := s.post(req)
		first <- status
	}()
	<-asked
	type answer struct {
		status int
		code   any
	}
	others := make(chan answer, 2)
	for range 2 {
		go func() {
			status, reply := s.post(req)
			others <- answer{status, reply["code"]}
		}()
	}
	require.Equal(t, answer{503, "gate.overload"}, <-others)
	require.Empty(t, first)
	close(release)
	require.Equal(t, 201, <-first)
	<-others // it had its turn, or waited too long for it on a slow machine
	records, err := gate.Store.List(t.Context(), db.Filter{})
	require.NoError(t, err)
	require.LessOrEqual(t, len(records), 2)
}
