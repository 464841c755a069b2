package gate

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// auditLines reads a log by event and record's number, each once.
func auditLines(t *testing.T, files ...string) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	next := 1.
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range bytes.Lines(text) {
			var one map[string]any
			require.NoError(t, json.Unmarshal(line, &one), string(line))
			require.Equal(t, next, one["seq"])
			next++
			key := fmt.Sprint(one["event"], " ", one["record"], " ", one["again"])
			require.NotContains(t, out, key, "each number once")
			out[key] = one
		}
	}
	return out
}

// TestF4_AuditLogAgreesWithTheRecords goes the whole way: configuration, REST, records, lines.
//
// Holds: F4, REC-02, REC-03, REC-05
func TestF4_AuditLogAgreesWithTheRecords(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "audit.jsonl")
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	keyFile := filepath.Join(dir, "permits.pem")
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	s := newSetup(t, fmt.Sprintf("audit_log: {destination: %q, required: true, gate: gate-1}\npermits: {key: %q}\n", file, keyFile))
	var secrets []string
	post := func(name string, m va.Method, publish bool) {
		req := s.request(name, m)
		secrets = append(secrets, req.Token, req.KeyAuthorization, req.Expected())
		if publish && m == va.DNS01 {
			require.NoError(t, s.world.Set("_acme-challenge."+name, dns.TypeTXT, req.Expected()))
		}
		s.post(req)
	}
	post("example.com", va.DNS01, true)
	post("example.org", va.HTTP01, false)
	post("bogus-caa.com", va.DNS01, true)
	post("no name", va.HTTP01, false)
	post("localhost", va.HTTP01, false)
	require.NoError(t, os.Rename(file, file+".1"))
	require.NoError(t, s.gate.ReopenAuditLog(t.Context()))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			req := s.request(fmt.Sprintf("host%d.example.com", i), va.HTTP01)
			if _, err := s.gate.Coordinator.Validate(t.Context(), mpic.Issuance, "rest:ra-1", req); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	permit := func(names ...string) map[string]any {
		_, reply := s.call("POST", "/v1/permits", map[string]any{"names": names, "account_uri": "https://ca.example/acct/1"})
		return reply
	}
	granted := permit("example.com")
	require.Equal(t, "granted", granted["outcome"], "%v", granted)
	permit("example.com", "example.net")
	status, _ := s.call("POST", fmt.Sprintf("/v1/permits/%v/certificate", granted["id"]), map[string]any{"certificate": string(pem.EncodeToMemory(
		&pem.Block{Type: "CERTIFICATE", Bytes: []byte("none")}))})
	require.Equal(t, 422, status)

	lines := auditLines(t, file+".1", file)
	attempts, err := s.gate.Store.List(t.Context(), db.Filter{})
	require.NoError(t, err)
	require.Len(t, attempts, 13)
	require.Len(t, lines, 1+13+2+1)
	for _, a := range attempts {
		line := lines[fmt.Sprintf("attempt %d <nil>", a.Number)]
		require.NotNil(t, line, a.Number)
		stored := s.stored(a.ID)
		decision, err := Recorded(stored)
		require.NoError(t, err)
		require.Equal(t, string(a.Outcome), line["outcome"])
		require.Equal(t, a.ID, line["attempt"])
		require.Equal(t, a.Identifier, line["identifier"])
		require.Equal(t, a.Caller, line["caller"])
		require.Equal(t, a.AccountURI, line["account_uri"])
		require.Equal(t, a.Method.String(), line["method"])
		require.Equal(t, a.Method.Section(), line["section"])
		require.Equal(t, a.Policy, line["policy"])
		require.Equal(t, "gate-1", line["gate"])
		for field, want := range map[string]string{"dcv": a.DCVQuorum, "caa": a.CAAQuorum} {
			if len(decision.Views) == 0 {
				require.NotContains(t, line, field)
				continue
			}
			require.Equal(t, want, line[field].(map[string]any)["quorum"])
		}
		require.Len(t, line["perspectives"], 6)
		for i, v := range decision.Views {
			p := line["perspectives"].([]any)[i].(map[string]any)
			require.Equal(t, v.Perspective, p["name"])
			require.Equal(t, v.Role.String(), p["role"])
			require.Equal(t, v.DCV.String(), p["dcv"])
			require.Equal(t, v.CAA.String(), p["caa"])
			if v.DCVProblem != nil {
				require.Equal(t, v.DCVProblem.Code, p["dcv_code"])
			}
			if v.CAAProblem != nil {
				require.Equal(t, v.CAAProblem.Code, p["caa_code"])
			}
		}
		codes, _ := line["reasons"].([]any)
		require.Equal(t, a.Outcome == db.Refused, len(codes) > 0)
		for _, c := range codes {
			require.Contains(t, a.Reasons, c)
		}
		require.Equal(t, a.Outcome == db.Granted, line["reuse_until"] != nil)
	}
	require.Equal(t, "granted", lines["permit 1 <nil>"]["outcome"])
	require.Equal(t, "refused", lines["permit 2 <nil>"]["outcome"])
	require.Equal(t, "refused", lines["certificate 1 <nil>"]["outcome"])
	for _, f := range []string{file, file + ".1"} {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, secret := range secrets {
			require.NotContains(t, string(text), secret)
		}
	}
}

// Holds: F3, F4
func TestF4_AbandonedAttemptsHaveTheirLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	s := newSetup(t)
	settings, err := config.LoadGate(s.yaml)
	require.NoError(t, err)
	a := mpic.Attempt{Kind: mpic.Issuance, Started: s.doors.Clock()().UTC().Round(0), Caller: "rest:ra-1", Software: "quorate test", Rules: mpic.RulesDigest(),
		Probe: va.Probe{Attempt: "LEFTOPEN", Nonce: "00", Request: s.request("example.com", va.HTTP01)}}
	a.Probe.Request.Issuers = []string{"ca.quorate.net"}
	number, err := s.gate.Store.Journal().Open(t.Context(), a, settings.Roster())
	require.NoError(t, err)
	require.NoError(t, s.gate.Close())
	settings.AuditLog = &config.AuditLog{Destination: file}
	g, err := New(t.Context(), settings, "quorate test", s.doors, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.NoError(t, g.Close())
	lines := auditLines(t, file)
	line := lines[fmt.Sprintf("attempt %d <nil>", number)]
	require.Equal(t, "refused", line["outcome"])
	require.Equal(t, []any{"attempt.abandoned"}, line["reasons"])
	require.Contains(t, lines, "stop <nil> <nil>")
}

// Holds: F4
func TestF4_WithoutARequiredLineTheAnswerIsNo(t *testing.T) {
	for _, required := range []bool{true, false} {
		s := newSetup(t, fmt.Sprintf("audit_log: {destination: audit.jsonl, required: %v}\n", required))
		require.NoError(t, s.gate.auditLog.Close(t.Context())) // from now on no line is taken
		req := s.request("example.com", va.DNS01)
		require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, req.Expected()))
		status, reply := s.post(req)
		if required {
			require.Equal(t, 503, status)
			require.Equal(t, "audit.unwritten", reply["code"])
		} else {
			require.Equal(t, 201, status)
		}
		require.EqualValues(t, db.Granted, s.stored("1").Outcome, "the record stands")
	}
}
