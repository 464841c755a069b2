package gate

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// A gate of a configuration with iodef reports what CAA refused, and has it on record.
//
// Holds: CAA-09
func TestCAA_09_AGateReportsWhatCAARefused(t *testing.T) {
	s := newSetup(t, "iodef: {organization: Example CA, contact: caa@ca.quorate.net, https: true, mail: {server: \"127.0.0.1:1\", from: caa@ca.quorate.net}}\n")
	s.host("example.com") // its certificate is nobody's that the system knows
	require.NoError(t, s.world.Set("example.com", dns.TypeCAA, `0 issue "other.example.net"`, `0 iodef "mailto:caa@example.com"`,
		`0 iodef "https://example.com/iodef"`, `0 iodef "http://example.com/"`))
	result, err := s.gate.Coordinator.Validate(t.Context(), mpic.Issuance, "test:1", s.request("example.com", va.DNS01))
	require.NoError(t, err)
	require.False(t, result.Decision.Granted())
	got := map[string]string{}
	require.Eventually(t, func() bool {
		r, err := s.gate.Store.Attempt(t.Context(), result.Evidence.Attempt.ID())
		require.NoError(t, err)
		for _, n := range r.Notices {
			got[n.Property] = string(n.Outcome) + " " + n.Code
		}
		return len(r.Notices) == 5
	}, 30*time.Second, 20*time.Millisecond)
	require.Equal(t, map[string]string{"mailto:caa@example.com": "failed notice.mail-server", "https://example.com/iodef": "failed tls.untrusted",
		"http://example.com/": "unusable notice.scheme"}, got)
}

func TestIODEFThatCannotWork(t *testing.T) {
	s := newSetup(t)
	text, err := os.ReadFile(s.yaml)
	require.NoError(t, err)
	for name, c := range map[string]struct{ mail, want string }{
		"no password file":         {`username: x, password_file: absent`, "iodef.mail.password_file"},
		"no roots":                 {`roots: absent`, "iodef.mail.roots"},
		"roots without any inside": {`roots: quorate.yaml`, "has no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(filepath.Dir(s.yaml), "other.yaml")
			other := strings.Replace(string(text), "records.db", "other.db", 1) +
				"iodef: {organization: CA, contact: caa@ca.quorate.net, mail: {server: \"127.0.0.1:1\", from: caa@ca.quorate.net, " + c.mail + "}}\n"
			require.NoError(t, os.WriteFile(file, []byte(other), 0o600))
			settings, err := config.LoadGate(file)
			require.NoError(t, err)
			_, err = New(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, c.want)
		})
	}
}
