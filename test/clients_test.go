package test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
)

func certbot(t *testing.T, st sandboxState, want bool, args ...string) string {
	dir := t.TempDir()
	args = append([]string{"certonly", "--non-interactive", "--agree-tos", "--register-unsafely-without-email", "--server", st.Directory,
		"--config-dir", dir, "--work-dir", dir, "--logs-dir", dir}, args...)
	return run(t, want, []string{"REQUESTS_CA_BUNDLE=" + st.CA}, daemon.Program(t, "certbot"), args...)
}

func lego(t *testing.T, st sandboxState, want bool, args ...string) (dir, out string) {
	dir = t.TempDir()
	args = append([]string{"--server", st.Directory, "--accept-tos", "--email", "you@example.com", "--path", dir}, args...)
	return dir, run(t, want, []string{"LEGO_CA_CERTIFICATES=" + st.CA, "HTTPREQ_ENDPOINT=" + st.Records}, daemon.Program(t, "lego"), append(args, "run")...)
}

// TestClientsIssueThroughTheGate has Debian's certbot and lego obtain certificates, by http-01 and dns-01.
//
// Holds: DCV-11, DCV-17
func TestClientsIssueThroughTheGate(t *testing.T) {
	daemon.Program(t, "certbot")
	daemon.Program(t, "lego")
	curl := daemon.Program(t, "curl")
	st := up(t)
	port := fmt.Sprint(st.HTTPPort)

	t.Run("certbot http-01", func(t *testing.T) {
		out := certbot(t, st, true, "--standalone", "--http-01-address", st.HTTPAddress, "--http-01-port", port, "-d", "a.here.example.com")
		require.Contains(t, out, "Successfully received certificate")
	})
	t.Run("certbot dns-01 wildcard", func(t *testing.T) {
		hook := filepath.Join(t.TempDir(), "hook")
		require.NoError(t, os.WriteFile(hook, []byte("#!/bin/sh\nexec "+curl+" -sS --fail-with-body -d "+
			`"{\"fqdn\":\"_acme-challenge.$CERTBOT_DOMAIN.\",\"value\":\"$CERTBOT_VALIDATION\"}" `+st.Records+"/present\n"), 0o755))
		out := certbot(t, st, true, "--manual", "--preferred-challenges", "dns", "--manual-auth-hook", hook, "-d", "*.here.example.com")
		require.Contains(t, out, "Successfully received certificate")
	})
	t.Run("lego http-01", func(t *testing.T) {
		dir, _ := lego(t, st, true, "--http", "--http.port", st.HTTPAddress+":"+port, "-d", "b.here.example.com")
		require.FileExists(t, filepath.Join(dir, "certificates", "b.here.example.com.crt"))
	})
	t.Run("lego dns-01 wildcard", func(t *testing.T) {
		// lego looks for the zone by itself: in the sandbox's DNS, not in the machine's.
		dir, _ := lego(t, st, true, "--dns", "httpreq", "--dns.disable-cp", "--dns.resolvers", fmt.Sprintf("127.0.53.1:%d", st.DNSPort), "-d", "*.here.example.com")
		require.FileExists(t, filepath.Join(dir, "certificates", "_.here.example.com.crt"))
	})
	t.Run("refused by CAA, and told why", func(t *testing.T) {
		setCAA(t, st, "here.example.com", `0 issue "other-ca.example"`)
		defer setCAA(t, st, "here.example.com")
		_, out := lego(t, st, false, "--http", "--http.port", st.HTTPAddress+":"+port, "-d", "c.here.example.com")
		require.Contains(t, out, "urn:ietf:params:acme:error:caa")
		require.Contains(t, out, "other-ca.example")
	})
	t.Run("nobody serves the token", func(t *testing.T) {
		out := certbot(t, st, false, "--manual", "--preferred-challenges", "http", "--manual-auth-hook", "/bin/true", "-d", "d.here.example.com")
		require.Contains(t, out, "d.here.example.com")
	})
}
