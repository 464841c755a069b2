package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// post sends a request to the gate whose log is in a file, once that log tells the address, and writes the status line and
// the body to the file "reply": post LOG METHOD PATH BODYFILE|- [HEADER: VALUE]... The gate's certificate is dir/gate/tls.pem.
func post(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: post LOG METHOD PATH BODYFILE|- HEADER...")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ts.ReadFile("dir/gate/tls.pem"))) {
		ts.Fatalf("no certificate of the gate")
	}
	var body io.Reader
	if args[3] != "-" {
		body = bytes.NewReader([]byte(ts.ReadFile(args[3])))
	}
	r, err := http.NewRequest(args[1], "https://"+address(ts, args[0])+args[2], body)
	ts.Check(err)
	for _, h := range args[4:] {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: time.Minute}
	response, err := client.Do(r)
	ts.Check(err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("reply"), fmt.Appendf(nil, "%s\n%s", response.Status, text), 0o600))
}

// keep puts what a regular expression's group matches in the file "reply" into an environment variable: keep NAME EXPRESSION
func keep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keep NAME EXPRESSION")
	}
	match := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("reply"))
	if len(match) != 2 {
		ts.Fatalf("the reply has no %s:\n%s", args[1], ts.ReadFile("reply"))
	}
	ts.Setenv(args[0], match[1])
}

// stranger connects to a perspective without a key that it knows, and is not let in (MPIC-08): stranger LOG
func stranger(ts *testscript.TestScript, _ bool, args []string) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: time.Minute} // whom it meets does not matter
	response, err := client.Get("https://" + address(ts, args[0]) + "/livez")
	if err == nil {
		_ = response.Body.Close()
		ts.Fatalf("a stranger was answered: %s", response.Status)
	}
	if !strings.Contains(err.Error(), "tls: ") {
		ts.Fatalf("the connection did not fail in TLS: %v", err)
	}
}

// asRA is post with the API key of the client ra-1 and the type of JSON: asra LOG METHOD PATH BODYFILE|-
func asRA(ts *testscript.TestScript, neg bool, args []string) {
	key := strings.TrimSpace(ts.ReadFile("dir/gate/ra-1.api-key"))
	post(ts, neg, append(args, "Authorization: Bearer "+key, "Content-Type: application/json"))
}

// monitor reads a page for operators, and writes the status line and the body to the file "reply": monitor LOG PATH
func monitor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: monitor LOG PATH")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	response, err := client.Get("http://" + told(ts, args[0], "metrics_address") + args[1])
	ts.Check(err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("reply"), fmt.Appendf(nil, "%s\n%s", response.Status, text), 0o600))
}

// address waits until a log tells where its program listens.
func address(ts *testscript.TestScript, file string) string { return told(ts, file, "address") }

// told waits until a program is ready, and gives what its log tells under a key.
func told(ts *testscript.TestScript, file, key string) string {
	for range 600 {
		log, err := os.ReadFile(ts.MkAbs(file))
		if err == nil && strings.Contains(string(log), "ready") {
			_, rest, ok := strings.Cut(string(log), `"`+key+`":"`)
			addr, _, closed := strings.Cut(rest, `"`)
			if ok && closed {
				return addr
			}
		}
		time.Sleep(50 * time.Millisecond) // another process is waited for: there is no channel to it
	}
	ts.Fatalf("%s never tells that the program is ready:\n%s", file, ts.ReadFile(file))
	return ""
}

// pointing replaces text in a file: pointing FILE OLD NEW.
func pointing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pointing FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}
