package node

import (
	"bytes"
	"encoding/json"
	"log"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
)

// A peer that answers what was not asked has net/http write its octets to package log. They are one line in the configured form, or none.
//
// Holds: D11
func TestPackageLogWritesInTheConfiguredForm(t *testing.T) {
	own, to, flags := slog.Default(), log.Writer(), log.Flags()
	t.Cleanup(func() {
		slog.SetDefault(own)
		log.SetOutput(to)
		log.SetFlags(flags)
	})
	var b bytes.Buffer
	StartLog(&b, config.Log{Level: "info", Format: "json"})
	log.Printf("Unsolicited response starting with %s", "HTTP/1.1 200 OK\n{\"level\":\"ERROR\"}")
	var line map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &line), "one line, and nothing of the peer's outside of its text")
	require.Equal(t, "INFO", line["level"])
	require.Contains(t, line["msg"], "Unsolicited response")
	b.Reset()
	StartLog(&b, config.Log{Level: "warn", Format: "text"})
	log.Print("Unsolicited response")
	require.Empty(t, b.String())
}
