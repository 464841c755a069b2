package mpic

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// told are members of a report that explain and decide nothing. All others are held against the request or each other.
var told = []string{"perspective", "software", "started", "finished", "fresh_until", "ttl", "rcode", "why", "queries", "chain",
	"certificates.0", "ms", "answers.0.another"}

// TestEachPieceOfEvidenceIsRead changes one value of a passing report at a time, and takes one away at a time: what is
// not only told makes a pass that is not believed.
//
// Holds: MPIC-10, MPIC-11, F6
func TestEachPieceOfEvidenceIsRead(t *testing.T) {
	for m := va.Method(1); m <= va.TLSALPN01+1; m++ {
		alone := m > va.TLSALPN01
		t.Run(m.String(), func(t *testing.T) {
			asked, pass, least := attemptAt(december), va.Pass, 40
			if alone {
				asked, pass, least = recheckOf(asked), va.NotChecked, 20
			} else {
				asked.Probe.Request = request(m, december)
			}
			probe := asked.Probe
			report := passing(t, probe, "tokyo")
			if m == va.HTTP01 {
				redirected(&report.DCV, 301, "https://www.example.com/x", "https://www.example.com/x", "www.example.com")
			}
			text, err := json.Marshal(report)
			require.NoError(t, err)
			var tree map[string]any
			require.NoError(t, json.Unmarshal(text, &tree))
			read := 0
			eachLeaf(tree, "", func(path string, value any, set func(any)) {
				// How a remote's resolver is set is told too: the primary's alone is held to a rule.
				if strings.HasPrefix(path, ".resolver") || slices.ContainsFunc(told, func(s string) bool { return strings.HasSuffix(path, "."+s) }) {
					return
				}
				changes := []any{nil}
				switch v := value.(type) {
				case string:
					changes = []any{"", v + "x", "x" + v}
				case float64:
					changes = []any{0, v + 1000}
				}
				for _, c := range changes {
					if c == value { // what is empty already
						continue
					}
					set(c)
					changed, err := json.Marshal(tree)
					require.NoError(t, err)
					var r va.Report
					if json.Unmarshal(changed, &r) == nil {
						v := question(asked).judgeReport(&r, "tokyo", RemoteRole)
						require.NotEqual(t, said{true, true}, said{v.DCV == pass, v.CAA == va.Pass}, "%s as %v", path, c)
						read++
					}
				}
				set(value)
			})
			require.Greater(t, read, least)
			v := question(asked).judgeReport(&report, "tokyo", RemoteRole)
			require.Nil(t, v.DCVProblem)
			require.Nil(t, v.CAAProblem)
		})
	}
}

// eachLeaf visits the strings, numbers and lists of a JSON value, outer ones first. path has a dot before each step; an
// answer that only stands beside the one that counts is named by what is in it.
func eachLeaf(value any, path string, visit func(path string, value any, set func(any))) {
	switch v := value.(type) {
	case map[string]any:
		for key, child := range v {
			if _, inner := child.(map[string]any); !inner {
				visit(path+"."+key, child, func(c any) { v[key] = c })
			}
			eachLeaf(child, path+"."+key, visit)
		}
	case []any:
		for i, child := range v {
			at := fmt.Sprintf("%s.%d", path, i)
			if text, ok := child.(string); ok {
				if strings.Contains(text, `"another"`) {
					at += ".another"
				}
				visit(at, child, func(c any) { v[i] = c })
			}
			eachLeaf(child, at, visit)
		}
	}
}
