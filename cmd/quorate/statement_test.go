package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// What a remote of another protocol said is shown with what was exchanged, and its text does not reach the terminal as it came.
func TestAStatementIsShown(t *testing.T) {
	at := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	s := &mpic.Statement{DCV: &mpic.Said{Outcome: va.Pass, Name: "example.com", Perspective: "dadaist", Seen: []string{"example.com by 10.77.77.77:8343"}},
		CAA: &mpic.Said{Outcome: va.Fail, Perspective: "dadaist", Problem: &va.Problem{Code: "boulder.caa", Detail: "tokyo says: no\x1b[2J"}},
		Exchanges: []mpic.Exchange{{Target: "https://rva1:9397/va.CAA/DoCAA", Sent: `{"a":1}`, Received: "{}\x1b", Started: at,
			Finished: at.Add(time.Second)}}}
	e := mpic.Evidence{Remotes: []mpic.Attestation{{Perspective: "tokyo", State: mpic.Answered, Statement: s}, {Perspective: "lagos", State: mpic.TimedOut}}}
	var b strings.Builder
	require.NoError(t, writeDetail(&b, table.Attempt{Evidence: e}, []mpic.Attestation{{Perspective: "late", State: mpic.Answered, Statement: s}}, false))
	require.Contains(t, b.String(), "\n  DCV pass for example.com, as dadaist, by its own word\n    saw example.com by 10.77.77.77:8343\n"+
		"  CAA fail, as dadaist, by its own word\n    boulder.caa: tokyo says: no")
	require.Contains(t, b.String(), "\n    https://rva1:9397/va.CAA/DoCAA: status 0, 2026-11-21T06:00:00.000Z to 2026-11-21T06:00:01.000Z\n      > {\"a\":1}\n      < {}")
	require.NotContains(t, b.String(), "\x1b")
	require.Equal(t, 2, strings.Count(b.String(), "CAA fail"))
}
