package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
)

// TestMain lets scripts run this very program as "quorate".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quorate": main})
}

// TestScripts runs testdata/script: the real binary, with a DNS world on loopback for the commands that resolve.
//
// Holds: DCV-09, MPIC-08, CAA-01, CAA-02, CAA-06, CAA-07, REC-03
func TestScripts(t *testing.T) {
	w, err := world.New(world.Default())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	_, err = w.Inject(world.Fault{Zone: "unsigned.org", Type: dns.TypeCAA, Kind: world.ServFail})
	require.NoError(t, err)
	var hints strings.Builder
	for _, s := range w.Hints() {
		kind := "A"
		if s.Addr.Is6() {
			kind = "AAAA"
		}
		fmt.Fprintf(&hints, ". 3600 IN NS %s\n%s 3600 IN %s %s\n", s.Host, s.Host, kind, s.Addr)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("DIAGNOSE", fmt.Sprintf("--root-hints root.hints --trust-anchor anchor.txt --allow-reserved --port %d", w.Port()))
			return errors.Join(
				os.WriteFile(filepath.Join(env.WorkDir, "root.hints"), []byte(hints.String()), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "anchor.txt"), []byte(w.AnchorText()+"\n"), 0o600))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "diagnose": diagnose, "post": post, "asra": asRA, "keep": keep, "stranger": stranger, "monitor": monitor, "pointing": pointing},
	})
}

// exits runs a command and holds it to an exit status: exits STATUS COMMAND ARGUMENT...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND ARGUMENT...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// diagnose is exits with the flags that lead into the world: diagnose STATUS resolve|caa ARGUMENT...
func diagnose(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: diagnose STATUS COMMAND ARGUMENT...")
	}
	all := append([]string{args[0], "quorate", args[1]}, strings.Fields(ts.Getenv("DIAGNOSE"))...)
	exits(ts, neg, append(all, args[2:]...))
}
