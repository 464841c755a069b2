package gate

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/va"
)

// One attempt by the primary and five remotes, as its operator sees it: each part of a gate counts into one registry.
func TestOperatorsReadTheMetricsOfAGate(t *testing.T) {
	const line = "metrics: {listen: \"127.0.0.1:0\"}\n"
	s := newSetup(t, line)
	req := s.request("example.com", va.DNS01)
	require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, req.Expected()))
	status, reply := s.post(req)
	require.Equal(t, 201, status, "%v", reply)
	scrape.Require(t, s.gate.registry, map[string]float64{
		"quorate_attempts_total{kind=issuance,method=dns-01,outcome=granted,reason=}":    1,
		"quorate_findings_total{check=dcv,outcome=pass,perspective=prague,role=primary}": 1,
		"quorate_remote_replies_total{perspective=singapore,state=answered}":             1,
		"quorate_quorums_total{check=caa,result=full}":                                   1,
		"quorate_journal_commit_failures_total{}":                                        0,
		"quorate_dns_lookups_total{code=,status=secure,type=CAA}":                        2, // its own and that of com
		"quorate_dns_lookups_total{code=,status=secure,type=TXT}":                        1,
	})
	families, err := s.gate.registry.Gather()
	require.NoError(t, err)
	var text strings.Builder
	for _, f := range families {
		text.WriteString(f.String() + "\n")
	}
	for _, want := range []string{"quorate_journal_commit_duration_seconds", "go_goroutines", "process_open_fds", "quorate_dns_unknown_root_key"} {
		require.Contains(t, text.String(), want)
	}
	require.NotContains(t, text.String(), "example.com", "no label that others choose")
}
