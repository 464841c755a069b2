package table

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

func attempt() Attempt {
	at := time.Date(2026, 11, 1, 13, 0, 0, 5e6, time.FixedZone("CET", 3600))
	member := func(name string) mpic.Member {
		return mpic.Member{Name: name, Place: mpic.Place{Region: mpic.ARIN}}
	}
	slow := &va.Problem{Code: "perspective.timeout", Detail: "gave no answer", Rules: []string{"MPIC-03"}}
	forged := &va.Problem{Code: "perspective.key", Detail: "signed with the key of two"}
	return Attempt{Number: 12, Evidence: mpic.Evidence{
		Attempt: mpic.Attempt{Kind: mpic.Issuance, Started: at, Caller: "acme:x\x1b[31m", Probe: va.Probe{Attempt: "A1",
			Request: va.Request{Identifier: "example.com", Method: va.HTTP01}}},
		Roster: mpic.Roster{Primary: member("home"), Remotes: []mpic.Member{member("one"), member("two"), member("three")}},
		// The order is not the roster's: rows go by name and role.
		Remotes: []mpic.Attestation{{Perspective: "two", State: mpic.Rejected, Asked: at, Closed: at.Add(1500 * time.Microsecond)}, {Perspective: "three", State: mpic.Outstanding, Asked: at, Closed: at},
			{Perspective: "one", State: mpic.TimedOut, Asked: at, Closed: at.Add(20 * time.Second)}}},
		Decision: &mpic.RecordedDecision{Outcome: "refused", Policy: "2026-06-15", DCV: mpic.Quorum{Attempted: 3, Allowed: 1}, CAA: mpic.Quorum{Attempted: 3, Allowed: 1},
			Reasons: []*va.Problem{slow}, Views: []mpic.View{
				{Perspective: "home", Role: mpic.Primary, DCV: va.Fail, CAA: va.Error, DCVProblem: &va.Problem{Code: "http.status", Detail: "a"},
					CAAProblem: &va.Problem{Code: "caa.lookup", Detail: "b"}},
				{Perspective: "one", Role: mpic.RemoteRole, DCV: va.Error, CAA: va.Error, DCVProblem: slow, CAAProblem: slow},
				{Perspective: "two", Role: mpic.RemoteRole, DCV: va.Error, CAA: va.Error, DCVProblem: forged, CAAProblem: forged},
				{Perspective: "three", Role: mpic.RemoteRole, DCV: va.Error, CAA: va.Error, DCVProblem: slow, CAAProblem: slow}}}}
}

func text(t *testing.T, a Attempt, color bool) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Write(&b, a, color))
	return b.String()
}

// Holds: REC-02, REC-03
func TestRefusedAttempt(t *testing.T) {
	require.Equal(t, `REFUSED  example.com by http-01, record 12
  2026-11-01T12:00:00.005Z, attempt A1, rules of 2026-06-15
  asked by acme:x�[31m
           perspective  region  DCV            CAA            time      what it saw
  primary  home         ARIN    ✗ fail         ! error        –         http.status, caa.lookup: b
  remote   one          ARIN    ! timed-out    ! timed-out    20000 ms  perspective.timeout: gave no answer
  remote   two          ARIN    ! rejected     ! rejected     1.5 ms    perspective.key: signed with the key of two
  remote   three        ARIN    ! outstanding  ! outstanding  –         perspective.timeout: gave no answer
           quorum               0/3            0/3                      at most 1 may fail; regions: DCV 0, CAA 0
  because perspective.timeout
    gave no answer (MPIC-03)
`, text(t, attempt(), false))
}

func TestColourIsOnlyColour(t *testing.T) {
	plain := text(t, attempt(), false)
	color := text(t, attempt(), true)
	require.NotEqual(t, plain, color)
	for _, sgr := range []string{"0", Green, Red, Yellow, Bold, Dim, Bold + ";" + Red, Bold + ";" + Green} {
		color = string(bytes.ReplaceAll([]byte(color), []byte("\x1b["+sgr+"m"), nil))
	}
	require.Equal(t, plain, color, "the text alone carries everything")
}

func TestRowsFitATerminal(t *testing.T) {
	a := attempt()
	long := strings.Repeat("é", 300)
	a.Decision.Views[0].DCVProblem.Detail, a.Decision.Views[2].DCVProblem.Detail, a.Decision.Reasons[0].Detail = long, long, "two "+strings.Repeat("é ", 200)
	out := text(t, a, false)
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), rowWidth, line)
	}
	require.Regexp(t, "(?m)^  remote   two .*é…$", out, "a cut is shown")
}

func TestOpenAttempt(t *testing.T) {
	a := attempt()
	a.Decision, a.Evidence.Remotes = nil, nil
	out := text(t, a, false)
	require.Contains(t, out, "OPEN  example.com")
	require.Contains(t, out, "remote   three        ARIN    pending  pending")
	require.NotContains(t, out, "quorum")
}

// TestRolesCount: a remote that bears the primary's name does not get the primary's row, nor the reverse.
//
// Holds: F2
func TestRolesCount(t *testing.T) {
	a := attempt()
	a.Evidence.Roster.Remotes[0].Name, a.Evidence.Remotes[2].Perspective = "home", "home"
	a.Decision.Views[1].Perspective = "home"
	require.Regexp(t, `(?m)^  primary  home .*http.status, caa.lookup`, text(t, a, false))
	require.Regexp(t, `(?m)^  remote   home .*timed-out`, text(t, a, false))
}

func TestClean(t *testing.T) {
	for name, c := range map[string][2]string{
		"plain":     {"São Paulo ✓", "São Paulo ✓"},
		"escape":    {"a\x1b[2Jb", "a�[2Jb"},
		"line":      {"a\nb\r\tc\x00", "a�b��c�"},
		"C1":        {"a\u009bb", "a�b"},
		"direction": {"a\u202eb\u2066", "a�b�"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c[1], Clean(c[0])) })
	}
}

func TestWrap(t *testing.T) {
	require.Equal(t, []string{"one two", "three", "muchtoolong", "é é é"}, Wrap("one two  three muchtoolong é é é", 8))
	require.Equal(t, []string{""}, Wrap("", 8))
}
