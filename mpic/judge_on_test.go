package mpic

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBR_3_2_2_9_JudgeOnIsJudgeByTheRulesOfADay: at an attempt's own start it says what Judge decides; on another day the numbers of that
// day count, and the plain rule says the same.
//
// Holds: MPIC-02, MPIC-03, MPIC-04
func TestBR_3_2_2_9_JudgeOnIsJudgeByTheRulesOfADay(t *testing.T) {
	days := []string{"2025-09-14", "2025-09-15", "2026-03-14", "2026-03-15", "2026-06-15", "2026-12-14", "2026-12-15", "2030-01-01"}
	rosters := map[string][]Region{"two of one region": {RIPE, RIPE}, "two": {RIPE, ARIN}, "three of one region": {ARIN, ARIN, ARIN},
		"three": {ARIN, APNIC, RIPE}, "four": {ARIN, APNIC, RIPE, LACNIC}, "five": {ARIN, APNIC, LACNIC, AFRINIC, RIPE}}
	compared := 0
	for name, regions := range rosters {
		for silentOnes := range 3 {
			for _, began := range days {
				start, err := time.Parse(time.DateOnly, began)
				require.NoError(t, err)
				e := unanimous(t, ofRegions(regions...), start.Add(time.Hour))
				said, names := make([]said, len(regions)), make([]string, len(regions))
				for i, r := range regions {
					said[i].dcv, said[i].caa, names[i] = i >= silentOnes, i >= silentOnes, string(r)
					if i < silentOnes {
						e.Remotes[i] = silent(e.Roster.Remotes[i].Name)
					}
				}
				require.Equal(t, Judge(e).Recorded(), JudgeOn(e, e.Attempt.Started))
				for _, day := range days {
					at, err := time.Parse(time.DateOnly, day)
					require.NoError(t, err)
					d := JudgeOn(e, at)
					what := fmt.Sprintf("%s, %d silent, of %s, by the rules of %s", name, silentOnes, began, day)
					granted := plainRule(day, plainPass, names, said)
					require.Equal(t, granted, d.Outcome == OutcomeGranted, "%s: %v", what, d.Reasons)
					require.Equal(t, granted, len(d.Reasons) == 0, what)
					if granted {
						require.Equal(t, ReusableUntil(e.Attempt.Probe.Request.Method, at), *d.Validated.ReusableUntil, what)
					}
					compared++
				}
			}
		}
	}
	require.Equal(t, len(rosters)*3*len(days)*len(days), compared)
}

var plainPass = said{true, true}

// TestBR_1_6_1_JudgeOnMeasuresTokensAgainstTheRealStart: a token that was fresh then is not made old by asking about a later day, nor an
// old one fresh.
//
// Holds: DCV-12, D6
func TestBR_1_6_1_JudgeOnMeasuresTokensAgainstTheRealStart(t *testing.T) {
	e := unanimous(t, fiveRegions(), december)
	require.Equal(t, OutcomeGranted, JudgeOn(e, december.AddDate(3, 0, 0)).Outcome)
	require.Equal(t, OutcomeGranted, JudgeOn(e, december.AddDate(0, -6, 0)).Outcome, "the token is of after that day")
	e.Attempt.Probe.Request.TokenCreated = december.AddDate(0, 0, -31)
	e = unanimousFor(t, e)
	for _, at := range []time.Time{december, december.AddDate(0, 0, -20), december.AddDate(1, 0, 0)} {
		d := JudgeOn(e, at)
		require.Equal(t, OutcomeRefused, d.Outcome)
		require.Equal(t, "request.token-age", d.Reasons[0].Code)
	}
}

// TestJudgeOnLeavesTheEvidenceAlone: the same evidence gives the same decision afterwards.
//
// Holds: MPIC-12
func TestJudgeOnLeavesTheEvidenceAlone(t *testing.T) {
	e := unanimous(t, fiveRegions(), december)
	before, err := json.Marshal(e)
	require.NoError(t, err)
	require.Equal(t, OutcomeRefused, JudgeOn(e, time.Time{}).Outcome, "before the first policy nothing is granted")
	after, err := json.Marshal(e)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.True(t, Judge(e).Granted())
}

// TestOnlyJudgeMakesADecisionByAnyDay: within this package judge is called by Judge, with the attempt's own start, and by JudgeOn, which
// gives no Decision. Production code could not lower the bar with it.
//
// Holds: MPIC-12, F7
func TestOnlyJudgeMakesADecisionByAnyDay(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	callers := map[string]int{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && id.Name == "judge" && id != f.Name {
					callers[f.Name.Name]++
				}
				return true
			})
		}
	}
	require.Equal(t, map[string]int{"Judge": 1, "JudgeOn": 1}, callers)
}
