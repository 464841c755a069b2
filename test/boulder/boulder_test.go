// Package boulder holds the tests with Boulder itself: its remoteva as remotes, with Unbound as their resolver, and its gRPC client calling our
// server. All of it runs in a network namespace with a DNS and web hosts at public addresses: a remoteva asks ports 80 and 443 alone,
// and takes no reserved address.
package boulder

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/world"
)

var (
	inside  = flag.Bool("inside", false, "this process runs in the network namespace")
	program = flag.String("program", "", "what test/boulder/program was built to")
)

// build builds Boulder's parts from their own module.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "boulder")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".")
	cmd.Dir = "program"
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off") // whatever holds for our own module
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// The test runs itself again where it may give itself any address, and nothing leaves the machine.
//
// Holds: MPIC-01, MPIC-08, MPIC-12, F1, F6, F9
func TestWithBoulderItself(t *testing.T) {
	if *inside {
		t.Skip("this is the namespace")
	}
	daemon.Program(t, "unbound")
	path := build(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := world.Isolated(ctx, os.Args[0], "-test.run=^TestInside", "-test.v", "-inside", "-program", path)
	out, err := cmd.CombinedOutput()
	if world.NoNamespace(err) {
		require.NotEqual(t, "true", os.Getenv("CI"), "CI lets nobody make a network namespace")
		t.Skipf("no network namespace is to be had here: %v", err)
	}
	require.NoError(t, err, "%s", out)
	for _, name := range []string{"TestInside/mixed/", "TestInside/Boulder's_alone/", "TestInside/tokens_withheld", "TestInside/Boulder's_RA_calls"} {
		require.Contains(t, string(out), "--- PASS: "+name, "%s", out)
	}
	if testing.Verbose() {
		t.Log("\n" + strings.TrimSpace(string(out)))
	}
}
