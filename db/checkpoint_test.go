package db_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// A witness that keeps silent while a checkpoint is published does not keep a gate from ending: what is being published ends with Close, which
// publishes once more, for as long as its context lets it.
//
// Holds: REC-06
func TestREC_06_ASilentWitnessKeepsNoGateFromEnding(t *testing.T) {
	var silent atomic.Bool
	asked, release := make(chan struct{}, 4), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !silent.Load() { // before the log grows
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		asked <- struct{}{}
		<-release
	}))
	defer server.Close()
	defer close(release)
	witnessKey, err := merkle.GenerateWitnessKey("witness.example")
	require.NoError(t, err)
	witness, err := merkle.NewWitness(merkle.WitnessConfig{URL: server.URL, Key: witnessKey.Verifier(), Timeout: time.Hour, Now: time.Now})
	require.NoError(t, err)
	key, err := merkle.GenerateLogKey("gate.example/log")
	require.NoError(t, err)
	memory, err := merkle.OpenMemory(filepath.Join(t.TempDir(), "memory"))
	require.NoError(t, err)
	defer func() { require.NoError(t, memory.Close()) }()
	signer, err := merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: key.Verifier(), Memory: memory})
	require.NoError(t, err)
	s := openStore(t, filepath.Join(t.TempDir(), "records.db"))
	p, err := s.NewPublisher(t.Context(), db.PublisherConfig{Signer: signer, Witnesses: []*merkle.Witness{witness}, Interval: time.Second})
	require.NoError(t, err)
	silent.Store(true)
	dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("FIRST", "example.com", mpic.Issuance)))
	<-asked
	closed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		closed <- p.Close(ctx)
	}()
	select {
	case err = <-closed:
	case <-time.After(5 * time.Second): // half of what a checkpoint may take
		require.Fail(t, "it waits for the witness")
	}
	require.Error(t, err, "no checkpoint has the last lines")
}
