package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
)

const (
	openFront = `open_mpic:
  clients:
    - {name: ejbca, api_key_sha256: "` + digest + `"}
  max_attempts: 2
`
	nativeKeys = "    tls_key: \"" + digest + "\"\n    signing_key: " + thumbprint + "\n"
	openKeys   = "    protocol: open-mpic-coordinator\n    code: us-east-1\n    api_key_file: open.key\n"
	openDoor   = `open_mpic:
  listen: ":8448"
  tls: {certificate: web.pem, key: web-key.pem}
  clients:
    - {name: them, api_key_sha256: "` + digest + `"}
  issuers: [theirs.example]
`
)

func TestOpenMPICIsRead(t *testing.T) {
	g, err := ParseGate("/etc/q/quorate.yaml", []byte(strings.Replace(goodGate, nativeKeys, openKeys, 1)+openFront))
	require.NoError(t, err)
	m := g.Roster().Remotes[0]
	require.Equal(t, mpic.OpenMPICCoordinator, m.Protocol)
	require.Equal(t, "us-east-1", m.Code)
	require.Empty(t, m.TLSKey, "the certificate is verified by name")
	require.Equal(t, "/etc/q/open.key", g.Perspectives[0].APIKeyFile)
	require.Equal(t, 2, g.OpenMPIC.MaxAttempts)
	p, err := ParsePerspective("/etc/q/perspective.yaml", []byte(goodPerspective+openDoor))
	require.NoError(t, err)
	require.Equal(t, "/etc/q/web.pem", p.OpenMPIC.TLS.Certificate)
}

// Holds: MPIC-08, F7
func TestMistakesInOpenMPIC(t *testing.T) {
	gate, perspective := strings.Replace(goodGate, nativeKeys, openKeys, 1)+openFront, goodPerspective+openDoor
	for name, c := range map[string]struct{ old, new, want string }{
		"no such protocol":     {"open-mpic-coordinator", "open-mpic", `perspectives[0].protocol: "open-mpic" is no protocol of a remote`},
		"no key file":          {"    api_key_file: open.key\n", "", "perspectives[0].api_key_file: this field is required"},
		"a signing key":        {"    code: us-east-1\n", "    code: us-east-1\n    signing_key: " + thumbprint + "\n", "perspectives[0].signing_key: Open MPIC signs nothing (MPIC-08)"},
		"a checker's code":     {"open-mpic-coordinator", "open-mpic-checker", "perspectives[0].code: a checker does not say"},
		"an empty code":        {"code: us-east-1", "code: ''", "perspectives[0].code: the coordinator's perspective_code is needed"},
		"a pin that is none":   {"    code: us-east-1\n", "    code: us-east-1\n    tls_key: abc\n", "perspectives[0].tls_key: the SHA-256"},
		"plain text":           {"https://a.example.com:8444", "http://a.example.com", "is not https"},
		"ours, with a code":    {openKeys, nativeKeys + "    code: x\n", "perspectives[0].code: a perspective of ours is called by its name"},
		"ours, with roots":     {openKeys, nativeKeys + "    roots: x\n", "perspectives[0].roots: a perspective of ours"},
		"ours, without a key":  {openKeys, "    tls_key: \"" + digest + "\"\n", "perspectives[0].signing_key: this field is required"},
		"too many attempts":    {"max_attempts: 2", "max_attempts: 11", "open_mpic.max_attempts: 11 is not between 1 and 10"},
		"no attempt":           {"max_attempts: 2", "max_attempts: 0", "open_mpic.max_attempts: 0 is not between 1 and 10"},
		"a plain key":          {"{name: ejbca, api_key_sha256: \"" + digest, "{name: ejbca, api_key_sha256: \"hunter2", "open_mpic.clients[0].api_key_sha256: a SHA-256 digest"},
		"a client's name":      {"name: ejbca", "name: 'ej bca'", "open_mpic.clients[0].name"},
		"no clients":           {"  clients:\n    - {name: ejbca, api_key_sha256: \"" + digest + "\"}\n", "  clients: []\n", "open_mpic.clients: one client at least"},
		"two of one key":       {"  max_attempts", "    - {name: other, api_key_sha256: \"" + digest + "\"}\n  max_attempts", "this is the key of client \"ejbca\" already"},
		"too much work":        {"name: ejbca,", "name: ejbca, in_flight: 5000,", "open_mpic.clients[0].in_flight: 5000"},
		"a quorum":             {"max_attempts: 2", "quorum_count: 2", "the quorum, the counts and the checks"},
		"a number of remotes":  {"max_attempts: 2", "perspective_count: 2", "the quorum, the counts and the checks"},
		"somebody's own names": {"max_attempts: 2", "issuers: [a.b]", "open_mpic.issuers: unknown key"},
	} {
		require.Contains(t, gate, c.old, name)
		_, err := ParseGate("quorate.yaml", []byte(strings.Replace(gate, c.old, c.new, 1)))
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "hunter2")
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"no address": {"  listen: \":8448\"\n", "", "open_mpic.listen: this field is required"},
		"no pair":    {"  tls: {certificate: web.pem, key: web-key.pem}\n", "", "open_mpic.tls: this field is required"},
		"an issuer":  {"theirs.example", "Theirs.example", "open_mpic.issuers[0]"},
		"much work":  {"  issuers", "  in_flight: 100000\n  issuers", "open_mpic.in_flight: 100000"},
		"attempts":   {"  issuers", "  max_attempts: 2\n  issuers", "open_mpic.max_attempts: unknown key"},
	} {
		require.Contains(t, perspective, c.old, name)
		_, err := ParsePerspective("perspective.yaml", []byte(strings.Replace(perspective, c.old, c.new, 1)))
		require.ErrorContains(t, err, c.want, name)
	}
}
