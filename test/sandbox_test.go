// Package test holds the end-to-end tests: real clients, real name servers, real processes.
package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "quorate-test-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, "../cmd/quorate", "../cmd/quorate-sandbox")
	out, err := cmd.CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
	}
	return dir, err
})

// binary gives the path of one of our programs, built from the tree that is tested.
func binary(t *testing.T, name string) string {
	t.Helper()
	dir, err := build()
	require.NoError(t, err)
	return filepath.Join(dir, name)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := build(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// sandboxState is what `quorate-sandbox up --state` writes.
type sandboxState struct {
	Directory   string
	CA          string
	Records     string
	HTTPAddress string `json:"http_address"`
	HTTPPort    uint16 `json:"http_port"`
	DNSPort     uint16 `json:"dns_port"`
	Journal     string
}

// up starts a sandbox and ends it with the test.
func up(t *testing.T) sandboxState {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "state.json")
	cmd := exec.Command(binary(t, "quorate-sandbox"), "up", "--dir", filepath.Join(dir, "sandbox"), "--state", file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil || t.Failed() {
				t.Logf("quorate-sandbox up: %v\n%s", err, out.String())
			}
			require.NoError(t, err, "the sandbox ends in good order")
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			t.Errorf("the sandbox did not end\n%s", out.String())
		}
	})
	var st sandboxState
	require.Eventually(t, func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the sandbox ended: %v\n%s", err, out.String())
		default:
		}
		text, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(text, &st) == nil
	}, time.Minute, 20*time.Millisecond, "the sandbox is up")
	return st
}

// run runs a program and gives its output; want says whether it must succeed.
func run(t *testing.T, want bool, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if want {
		require.NoError(t, err, "%s %s\n%s", name, strings.Join(args, " "), out)
	} else {
		require.Error(t, err, "%s %s\n%s", name, strings.Join(args, " "), out)
	}
	return string(out)
}

// setCAA sets the CAA records of a name of the sandbox; none removes them.
func setCAA(t *testing.T, st sandboxState, name string, data ...string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "type": "CAA", "data": data})
	require.NoError(t, err)
	reply, err := http.Post(st.Records+"/records", "application/json", bytes.NewReader(body))
	require.NoError(t, err)
	defer reply.Body.Close()
	require.Equal(t, http.StatusOK, reply.StatusCode)
}

// Holds: F1, MPIC-12, MPIC-02, MPIC-03, CAA-04, DCV-04
func TestDemoExpectsEveryOutcome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	out := run(t, true, nil, binary(t, "quorate-sandbox"), "demo", "--dir", dir)
	require.NotContains(t, out, "UNEXPECTED")
	require.NotContains(t, out, "\x1b[", "plain in a pipe")
	issued, refused := 0, 0
	for in := bufio.NewScanner(strings.NewReader(out)); in.Scan(); {
		if !strings.Contains(in.Text(), " --database ") { // a command to copy is not broken
			require.LessOrEqual(t, utf8.RuneCountInString(in.Text()), 120, "a terminal's line: %s", in.Text())
		}
		switch {
		case strings.Contains(in.Text(), "issued, as it must be"):
			issued++
		case strings.Contains(in.Text(), "refused, as it must be"):
			refused++
		}
	}
	granted, _, _ := strings.Cut(out, "REFUSED")
	require.NotRegexp(t, `! error|✗`, granted, "where nothing is wrong, every perspective that answers corroborates")
	require.Equal(t, 4, issued)
	require.Equal(t, 9, refused)
	require.Contains(t, out, "5/5")
	require.Contains(t, out, "3/5")
	require.Regexp(t, `permit 1 granted for shop\.example\.com; certificate [0-9a-f]+ linked`, out)
	require.Equal(t, 4, strings.Count(out, " linked\n"), "each certificate has its permit")

	// What the demonstration's auditor says, the very command that it prints says too, afterwards and by itself.
	verified := 0
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) < 3 || words[1] != "audit" || words[2] != "verify" {
			continue
		}
		verified++
		said := run(t, true, nil, words[0], words[1:]...)
		require.Contains(t, said, "all of it holds")
		require.Contains(t, out, "  "+strings.ReplaceAll(strings.TrimSuffix(said, "\n"), "\n", "\n  "))
	}
	require.Equal(t, 2, verified, "the gate's records, and those of the day in December")
}
