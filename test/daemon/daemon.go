// Package daemon finds and runs the programs of others that tests compare with and drive: name servers, validators and
// ACME clients.
package daemon

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
)

// Program gives the path of a program, and skips the test where it is absent; in CI, where .ci/run installs it, the test
// fails instead.
func Program(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/usr/local/sbin/", "/usr/bin/"} { // sbin is not on everybody's PATH
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: .ci/run installs it", name)
	}
	t.Skipf("%s is not installed (.ci/run names the Debian packages)", name)
	return ""
}

// FreePort finds a port that is free on UDP and TCP at 127.0.0.1. It lies below those that the kernel gives to sockets
// without a port of their own: among those, a resolver under test could take it before the program that it is for.
func FreePort(t testing.TB) uint16 {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(20000)
		at := fmt.Sprintf("127.0.0.1:%d", port)
		udp, err := net.ListenPacket("udp4", at)
		if err != nil {
			continue
		}
		tcp, err := net.Listen("tcp4", at)
		if closed := udp.Close(); closed != nil {
			t.Fatal(closed)
		}
		if err != nil {
			continue
		}
		if err := tcp.Close(); err != nil {
			t.Fatal(err)
		}
		return uint16(port)
	}
	t.Fatal("no free port was found")
	return 0
}

// Output gathers what a program writes.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String gives what was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Launch runs a program and asks it to end when the test does. What it wrote is shown when the test fails.
func Launch(t testing.TB, path string, args ...string) *Output {
	t.Helper()
	out := &Output{}
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = cmd.Wait()                          // ended by a signal: its status says nothing
		if t.Failed() && len(out.String()) < 4000 {
			t.Log(path, out)
		}
	})
	return out
}
