package mpic

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Holds: F6
func TestValuesOutsideTheirNamesHaveNoForm(t *testing.T) {
	for _, v := range []fmt.Stringer{Kind(0), Kind(6), Kind(255), State(0), State(8), State(255), Role(0), Role(3), Role(255)} {
		_, err := json.Marshal(v)
		require.Error(t, err, "%T %d", v, v)
		require.Regexp(t, "^no (kind|state|role)$", v.String())
	}
	for _, text := range []string{`""`, `"0"`, `"no kind"`, `"no state"`, `"no role"`, `"Answered"`, `" answered"`, `"PRIMARY"`,
		`"issuance "`, `"passed"`, `1`, `true`, `{}`, `[]`} {
		var k Kind
		var s State
		var r Role
		require.Error(t, json.Unmarshal([]byte(text), &k), text)
		require.Error(t, json.Unmarshal([]byte(text), &s), text)
		require.Error(t, json.Unmarshal([]byte(text), &r), text)
		require.Zero(t, k)
		require.Zero(t, s)
		require.Zero(t, r)
	}
	for _, k := range []Kind{Issuance, DryRun, CAARecheck, DCVAlone, CAAAlone} {
		b, err := json.Marshal(k)
		require.NoError(t, err)
		var again Kind
		require.NoError(t, json.Unmarshal(b, &again))
		require.Equal(t, k, again)
		require.Equal(t, string(b), `"`+k.String()+`"`)
	}
	for s := Answered; s <= NotAsked; s++ {
		b, err := json.Marshal(s)
		require.NoError(t, err)
		var again State
		require.NoError(t, json.Unmarshal(b, &again))
		require.Equal(t, s, again)
	}
	for _, r := range []Role{Primary, RemoteRole} {
		b, err := json.Marshal(r)
		require.NoError(t, err)
		var again Role
		require.NoError(t, json.Unmarshal(b, &again))
		require.Equal(t, r, again)
	}
}

// Holds: REC-02, F2
func TestRecordedDecisionNamesQuorumAndRoles(t *testing.T) {
	e := unanimous(t, fiveRegions(), december)
	e.Remotes[3] = silent("johannesburg")
	b, err := json.Marshal(Judge(e))
	require.NoError(t, err)
	var got struct {
		Attempt, Outcome, Policy string
		DCV                      struct {
			Corroborated, Attempted, Allowed int
			Regions                          []string
		}
		Views []struct{ Perspective, Role, DCV, CAA string }
	}
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, "granted", got.Outcome)
	require.Equal(t, "2026-12-15", got.Policy)
	require.Equal(t, []string{"APNIC", "ARIN", "LACNIC", "RIPE NCC"}, got.DCV.Regions)
	require.Equal(t, [3]int{4, 5, 1}, [3]int{got.DCV.Corroborated, got.DCV.Attempted, got.DCV.Allowed})
	require.Len(t, got.Views, 6)
	for i, v := range got.Views {
		require.Equal(t, map[bool]string{true: "primary", false: "remote"}[i == 0], v.Role)
		require.Equal(t, map[bool]string{true: "error", false: "pass"}[v.Perspective == "johannesburg"], v.DCV)
	}
	require.Equal(t, "4/5", Judge(e).DCV().String())
}
