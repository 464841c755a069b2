package gate

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/test/greedy"
)

// lines gives each line that a gate logs.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// TestStrangersKeepLittleOfAGate: whoever has no key has few answers under way, however many it asks for, and does not hold up the gate's end.
//
// Holds: D11, MPIC-08
func TestStrangersKeepLittleOfAGate(t *testing.T) {
	s := newSetup(t)
	text, err := os.ReadFile(s.yaml)
	require.NoError(t, err)
	file := filepath.Join(filepath.Dir(s.yaml), "short.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.NewReplacer("limits: {", "limits: {shutdown: 5s, ", "records.db", "short.db").
		Replace(string(text))), 0o600))
	settings, err := config.LoadGate(file)
	require.NoError(t, err)
	said := make(lines, 1024)
	gate, err := New(t.Context(), settings, "quorate test", s.doors, slog.New(slog.NewTextHandler(said, nil)))
	require.NoError(t, err)
	defer func() { require.NoError(t, gate.Close()) }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, served := make(chan string, 1), make(chan error, 1)
	go func() { served <- gate.Serve(ctx, settings, func(addr string) { ready <- addr }) }()
	address := <-ready

	for _, path := range []string{"/livez", "/v1/checkpoint", "/nowhere"} {
		asked := greedy.Dial(t, address)
		asked.Ask(path, 100)
		asked.Reset(96)
		asked.Close()
	}
	slow, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer func() { _ = slow.Close() }()
	_, err = io.WriteString(slow, "POST /v1/permits HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 1000\r\n\r\n{")
	require.NoError(t, err)
	for !strings.Contains(<-said, "path=/v1/permits") {
	}
	stop()
	require.NoError(t, <-served, "what a stranger does not send is not waited for")
}

// TestAStartThatFailsGivesTheLogsMemoryBack, so that whoever begins again in the same process finds it free.
//
// Holds: REC-06
func TestAStartThatFailsGivesTheLogsMemoryBack(t *testing.T) {
	s := newSetup(t)
	dir := filepath.Dir(s.yaml)
	key, err := merkle.GenerateLogKey("ca.example/test")
	require.NoError(t, err)
	require.NoError(t, key.Save(filepath.Join(dir, "log.key")))
	text, err := os.ReadFile(s.yaml)
	require.NoError(t, err)
	file := filepath.Join(dir, "nowhere.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), "records.db", "absent/records.db", 1)+
		"checkpoints: {key: log.key, memory: log.memory}\n"), 0o600))
	settings, err := config.LoadGate(file)
	require.NoError(t, err)
	_, err = New(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "absent")
	memory, err := merkle.OpenMemory(settings.Checkpoints.Memory)
	require.NoError(t, err)
	require.NoError(t, memory.Close())
}
