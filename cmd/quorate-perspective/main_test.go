package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic/perspective"
)

// lines is what a perspective tells its operators.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAPerspectiveOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	id, err := perspective.GenerateIdentity("ashburn", time.Now())
	require.NoError(t, err)
	require.NoError(t, id.Save(perspective.Files{Certificate: filepath.Join(dir, "tls.pem"), TLSKey: filepath.Join(dir, "tls-key.pem"),
		SigningKey: filepath.Join(dir, "signing-key.pem")}))
	file := filepath.Join(dir, "perspective.yaml")
	require.NoError(t, os.WriteFile(file, []byte("name: ashburn\nlisten: \"127.0.0.1:0\"\ntls: {certificate: tls.pem, key: tls-key.pem}\nsigning_key: signing-key.pem\n"+
		"gates: [{name: gate, tls_key: \""+id.TLSKey()+"\"}]\n"), 0o600))
	ctx, stop := context.WithCancel(t.Context())
	var log lines
	served := make(chan error, 1)
	go func() { served <- run(ctx, []string{"--config", file}, &log) }()
	address := regexp.MustCompile(`msg="the perspective is ready" name=ashburn address=(\S+) software="quorate-perspective unknown" gates=1`)
	require.Eventually(t, func() bool { return address.MatchString(log.String()) }, time.Minute, time.Millisecond, "%s", &log)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP)) // ends nothing
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "SIGHUP: nothing is read anew") }, time.Minute, time.Millisecond)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls-key.pem"))
	require.NoError(t, err)
	// The gate's key is the perspective's own here; what is shown is that it answers, and the certificate is another test's.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true,
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}}}}
	reply, err := client.Get("https://" + address.FindStringSubmatch(log.String())[1] + "/livez")
	require.NoError(t, err)
	require.NoError(t, reply.Body.Close())
	require.Equal(t, http.StatusOK, reply.StatusCode)
	stop()
	require.NoError(t, <-served)
}

func TestWrongUsage(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "perspective.yaml")
	require.NoError(t, os.WriteFile(empty, []byte("listen: 9\nname: x\n"), 0o600))
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing":            {nil, "--config"},
		"no such file":       {[]string{"--config", "none.yaml"}, "none.yaml"},
		"another flag":       {[]string{"--config", empty, "--root-hints", "x"}, "root-hints"},
		"a wrong file":       {[]string{"--config", empty}, empty + ":1:9: listen: a text"},
		"a word beside flag": {[]string{"--config", empty, "serve"}, "serve"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, run(t.Context(), c.args, &lines{}), c.want)
		})
	}
}

// TestNoDoors: the program names the doors of a world in a box once, closed.
//
// Holds: F10, DCV-09
func TestNoDoors(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	named, closed := 0, 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if n.Sel.Name == "Doors" {
					named++
				}
			case *ast.CompositeLit:
				if s, ok := n.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Doors" && len(n.Elts) == 0 {
					closed++
				}
			}
			return true
		})
	}
	require.Equal(t, 1, named)
	require.Equal(t, 1, closed)
}
