package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
)

// witnessDir is a directory with a witness's configuration and a log's key.
func witnessDir(t *testing.T) (string, *merkle.LogKey) {
	t.Helper()
	dir := t.TempDir()
	log, err := merkle.GenerateLogKey("gate.example.com/log")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "state"), 0o700))
	text := fmt.Sprintf("listen: 127.0.0.1:0\nstate: state\nkey: witness-key\nlog: {format: json}\nlogs:\n"+
		"  - {origin: gate.example.com/log, key: %q}\n", log.VerifierKey())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "witness.yaml"), []byte(text), 0o600))
	return dir, log
}

func runWitness(t *testing.T, dir string, args ...string) (string, string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.Command("quorate", append([]string{"witness", "--config", filepath.Join(dir, "witness.yaml")}, args...)...)
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	return stdout.String(), stderr.String(), err
}

// running is a witness in a process of its own.
type running struct {
	url    string
	signal func(syscall.Signal)
	wait   func() error
}

func startWitnessProcess(t *testing.T, dir string) running {
	t.Helper()
	command := exec.Command("quorate", "witness", "--config", filepath.Join(dir, "witness.yaml"))
	stderr, err := command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = command.Process.Kill() // the test failed
			_ = command.Wait()
		}
	})
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadBytes('\n')
	require.NoError(t, err)
	var ready struct{ Msg, Address string }
	require.NoError(t, json.Unmarshal(line, &ready))
	require.Equal(t, "the witness is ready", ready.Msg)
	drained := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, lines); close(drained) }()
	return running{url: "http://" + ready.Address,
		signal: func(s syscall.Signal) { require.NoError(t, command.Process.Signal(s)) },
		wait:   func() error { <-drained; ended = true; return command.Wait() }}
}

// TestWitnessCommand runs the real program: it is begun, cosigns, is killed, and still knows what it cosigned.
//
// Holds: REC-06
func TestWitnessCommand(t *testing.T) {
	dir, log := witnessDir(t)
	_, stderr, err := runWitness(t, dir)
	require.Error(t, err)
	require.Contains(t, stderr, "witness-key: no such file")
	stdout, stderr, err := runWitness(t, dir, "--new-key", "witness.example.org/w1")
	require.NoError(t, err, stderr)
	key, err := merkle.NewWitnessVerifier(strings.TrimSpace(stdout))
	require.NoError(t, err)
	require.Equal(t, "witness.example.org/w1", key.Name())
	_, stderr, err = runWitness(t, dir, "--new-key", "witness.example.org/w1")
	require.Error(t, err)
	require.Contains(t, stderr, "exists")

	_, stderr, err = runWitness(t, dir)
	require.Error(t, err)
	require.Contains(t, stderr, "begin the log if nothing of it was ever cosigned")
	_, stderr, err = runWitness(t, dir, "--begin", "other.example")
	require.Error(t, err)
	require.Contains(t, stderr, `has no log with the origin "other.example"`)
	stdout, stderr, err = runWitness(t, dir, "--begin", "gate.example.com/log")
	require.NoError(t, err, stderr)
	require.Contains(t, stdout, "is begun")
	_, stderr, err = runWitness(t, dir, "--begin", "gate.example.com/log")
	require.Error(t, err)
	require.Contains(t, stderr, "was begun already")

	tree, rows := merkle.Tree{}, map[int64][]tlog.Hash{}
	grow := func(size int64) []byte {
		for tree.Size() < size {
			leaf := tree.Size()
			rows[leaf] = tree.Append(tlog.RecordHash([]byte{byte(leaf)}))
		}
		signed, err := note.Sign(&note.Note{Text: merkle.Checkpoint{Origin: log.Name(), Size: size, Root: tree.Root(), Time: time.Now()}.Text()}, log)
		require.NoError(t, err)
		return signed
	}
	prove := func(old, next int64) (tlog.TreeProof, error) {
		return merkle.ProveTree(next, old, merkle.Reader(func([]int64) (map[int64][]tlog.Hash, error) { return rows, nil }))
	}
	ask := func(url string, signed []byte) error {
		client, err := merkle.NewWitness(merkle.WitnessConfig{URL: url, Key: key, Now: time.Now})
		require.NoError(t, err)
		defer client.Close()
		cosigned, err := client.Cosign(context.Background(), signed, prove)
		if err == nil {
			_, cosigners, err := merkle.OpenCheckpoint(cosigned, log.Verifier(), key)
			require.NoError(t, err)
			require.Equal(t, []string{"witness.example.org/w1"}, cosigners)
		}
		return err
	}

	w := startWitnessProcess(t, dir)
	response, err := http.Get(w.url + "/livez")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 200, response.StatusCode)
	five := grow(5)
	require.NoError(t, ask(w.url, five))
	require.NoError(t, ask(w.url, grow(9)))
	_, stderr, err = runWitness(t, dir)
	require.Error(t, err)
	require.Contains(t, stderr, "another process has it")
	w.signal(syscall.SIGKILL)
	require.Error(t, w.wait())

	w = startWitnessProcess(t, dir)
	require.ErrorIs(t, ask(w.url, five), merkle.ErrWitnessAhead)
	require.NoError(t, ask(w.url, grow(12)))
	w.signal(syscall.SIGTERM)
	require.NoError(t, w.wait(), "an end in good order")
}

// A witness shows its own certificate where it has one; its client trusts the CAs that it is told.
func TestWitnessOverTLS(t *testing.T) {
	dir, _ := witnessDir(t)
	require.NoError(t, initCmd{Host: []string{"127.0.0.1"}}.writeREST(dir, time.Now()))
	file := filepath.Join(dir, "witness.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(text, "tls: {certificate: tls.pem, key: tls-key.pem}\n"...), 0o600))
	_, stderr, err := runWitness(t, dir, "--new-key", "w")
	require.NoError(t, err, stderr)
	_, stderr, err = runWitness(t, dir, "--begin", "gate.example.com/log")
	require.NoError(t, err, stderr)
	w := startWitnessProcess(t, dir)
	stranger := &http.Client{Timeout: time.Minute}
	_, err = stranger.Get(strings.Replace(w.url, "http:", "https:", 1) + "/livez")
	require.ErrorContains(t, err, "certificate")
	trusting := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: trustOf(t, filepath.Join(dir, "tls.pem"))}}
	response, err := trusting.Get(strings.Replace(w.url, "http:", "https:", 1) + "/livez")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 200, response.StatusCode)
	trusting.CloseIdleConnections()
	w.signal(syscall.SIGINT)
	require.NoError(t, w.wait())

	require.NoError(t, os.Remove(filepath.Join(dir, "tls-key.pem")))
	_, stderr, err = runWitness(t, dir)
	require.Error(t, err)
	require.Contains(t, stderr, "tls.certificate")
}

func trustOf(t *testing.T, file string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(file)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	return &tls.Config{RootCAs: roots}
}
