package second

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const protocolVectors = "../../mpic/perspective/testdata/vectors"

func protocol(t *testing.T, directory string) (string, int) {
	t.Helper()
	cmd := exec.Command(python, "protocol.py", directory)
	out, err := cmd.CombinedOutput()
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s", out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestTheProtocolsPageSuffices: who knows docs/perspective-protocol.md alone makes the same digests and signatures, takes the same
// answers, and refuses the others for the same reasons.
//
// Holds: MPIC-08, MPIC-09, F6
func TestTheProtocolsPageSuffices(t *testing.T) {
	needPython(t)
	out, status := protocol(t, protocolVectors)
	require.Zero(t, status, out)
	require.Contains(t, out, ": 0 without agreement\n")
	for _, what := range []string{" keys, ", " probes, ", " replies, ", " signatures, ", " refusals, ", " rejected: "} {
		require.Contains(t, out, what)
		require.NotContains(t, out, " 0"+what)
	}
}

// TestTheSecondImplementationNotices: it disagrees where a vector is changed.
func TestTheSecondImplementationNotices(t *testing.T) {
	needPython(t)
	for name, c := range map[string]struct{ file, old, new string }{
		"a pin":                        {"keys.json", `"tls_key": "`, `"tls_key": "0`},
		"a thumbprint":                 {"keys.json", `"thumbprint": "`, `"thumbprint": "A`},
		"a digest":                     {"probes.json", `"digest": "`, `"digest": "0`},
		"a probe":                      {"probes.json", `\"identifier\":\"example.com\"`, `\"identifier\":\"example.org\"`},
		"a report":                     {"replies.json", `\"software\":\"quorate/vectors\"`, `\"software\":\"quorate/Vectors\"`},
		"a signed reply":               {"replies.json", `{\"report\":\"ey`, `{\"report\":\"eyA`},
		"a refusal":                    {"refusals.json", `"code": "request.nonce"`, `"code": "request.attempt"`},
		"what is refused for its form": {"refusals.json", `\"nonce\":\"0011\"`, `\"nonce\":\"00112233445566778899aabbccddeeff\"`},
		"a rejection":                  {"rejected.json", `"code": "perspective.key"`, `"code": "perspective.signature"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(protocolVectors)))
			file := filepath.Join(dir, c.file)
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Contains(t, string(text), c.old)
			require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o600))
			out, status := protocol(t, dir)
			require.Equal(t, 1, status, out)
		})
	}
}
