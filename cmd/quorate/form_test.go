package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

func keysOf(t *testing.T, v any) string {
	t.Helper()
	m, ok := v.(map[string]any)
	require.True(t, ok, "%v is no object", v)
	return strings.Join(slices.Sorted(maps.Keys(m)), " ")
}

func decoded(t *testing.T, l resolver.Lookup, evidence bool) map[string]any {
	t.Helper()
	r, err := resolver.New(resolver.Config{})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, writeJSON(&b, printed(&resolver.Answer{Lookup: l, Sets: dnssec.Sets{"00": {1}}}, r, evidence)))
	var m map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &m))
	return m
}

// Programs read what `quorate resolve --json` prints: its form is that of docs/design.md, "Commands", and docs/cli.md.
func TestResolveJSONForm(t *testing.T) {
	now := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	lookup := resolver.Lookup{Name: "example.com.", Type: "CAA", Status: dnssec.Secure, Rcode: "NOERROR",
		Answers: []string{`example.com. 300 IN CAA 0 issue "<ca>"`}, TTL: 300, Why: "because", Code: "code", EDE: 6,
		Queries: []resolver.Query{{Server: "192.0.2.1:53", Transport: "udp", Question: "example.com. CAA", Rcode: "NOERROR",
			Milliseconds: 1.5, Error: "none", At: now, Query: []byte{1}, Response: []byte{2}}},
		Chain: []resolver.Link{{Zone: ".", DS: []uint16{20326}, DNSKEY: []uint16{20326, 1}, Algorithm: "RSASHA256",
			Result: dnssec.Secure, Why: "because", Until: now}},
		Proof: []dnssec.Stage{{Kind: dnssec.StageKeys}}, Started: now, Finished: now}
	full := decoded(t, lookup, false)
	require.Equal(t, "answers chain code ede finished name queries rcode started status ttl type why", keysOf(t, full))
	require.Equal(t, "at error ms question rcode server transport", keysOf(t, full["queries"].([]any)[0]))
	require.Equal(t, "algorithm dnskey ds result until why zone", keysOf(t, full["chain"].([]any)[0]))
	require.Equal(t, []any{`example.com. 300 IN CAA 0 issue "<ca>"`}, full["answers"])
	require.Equal(t, "2026-11-21T06:00:00Z", full["started"])
	require.EqualValues(t, 1.5, full["queries"].([]any)[0].(map[string]any)["ms"])
	require.Equal(t, []any{20326.0, 1.0}, full["chain"].([]any)[0].(map[string]any)["dnskey"])

	all := decoded(t, lookup, true)
	require.Equal(t, "answers chain code ede finished found name proof queries rcode resolver sets started status ttl type why", keysOf(t, all))
	require.Equal(t, "at error ms query question rcode response server transport", keysOf(t, all["queries"].([]any)[0]))
	require.Equal(t, "algorithms anchors cache_cap limits mode qname_minimisation slack timeout", keysOf(t, all["resolver"]))

	for s, word := range map[dnssec.Status]string{dnssec.Secure: "secure", dnssec.Insecure: "insecure",
		dnssec.Bogus: "bogus", dnssec.Failure: "failure"} {
		bare := decoded(t, resolver.Lookup{Name: ".", Type: "NS", Status: s}, false)
		require.Equal(t, word, bare["status"])
		require.Equal(t, "answers chain finished name queries rcode started status ttl type why", keysOf(t, bare),
			"what every answer has")
		for _, list := range []string{"answers", "queries", "chain"} {
			require.Equal(t, []any{}, bare[list], "never null")
		}
	}
}
