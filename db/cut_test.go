package db

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// A decision's document that is read in one pass is JSON, and says what encoding/json reads in it.
//
// Holds: REC-01
func TestADecisionsDocumentIsReadTheSameInOnePass(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	report := va.Report{Perspective: "zurich", Started: at, Finished: at}
	report.DCV.Outcome, report.CAA.Outcome = va.Pass, va.Fail
	report.DCV.Observed = `brackets ] } and "quotes\" \\`
	primaryText, err := report.MarshalJSON()
	require.NoError(t, err)
	primary := new(mpic.PrimaryReport)
	require.NoError(t, primary.UnmarshalJSON(primaryText))
	whole := closing{Number: 7, Intent: reference{3, "ab"}, Gate: "g", Primary: primary, Decided: at, Decision: json.RawMessage(`{"outcome":"refused","a":[1,"]"]}`),
		Remotes: []mpic.Attestation{{Perspective: "tokyo", State: mpic.TimedOut, Asked: at, Closed: at},
			{Perspective: "a,b]", State: mpic.Unreachable, Asked: at, Closed: at, Problem: &va.Problem{Code: "x", Detail: `}"{`}}}}
	good, err := json.Marshal(whole)
	require.NoError(t, err)
	var c closing
	require.True(t, c.read(good), "what we write: %s", good)
	var slow closing
	require.NoError(t, json.Unmarshal(good, &slow))
	require.Equal(t, slow, c)

	for name, text := range map[string]string{
		"nothing": "", "an open object": "{", "no object": "[]", "an empty object": "{}", "a name twice": strings.Replace(string(good), `{"number":7`, `{"number":7,"number":8`, 1),
		"another name": `{"x":1,` + string(good[1:]), "another case": strings.Replace(string(good), `"gate"`, `"Gate"`, 1), "white space": strings.Replace(string(good), ",", ", ", 1),
		"something behind": string(good) + "{}", "an open string": string(good[:len(good)-30]) + `"`, "null": strings.Replace(string(good), `"primary":{`, `"primary":null,"x":{`, 1),
	} {
		require.False(t, new(closing).read([]byte(text)), name)
	}
	random, taken := rand.New(rand.NewPCG(5, 5)), 0
	snippets := []string{`"`, `{`, `}`, `[`, `]`, `,`, `:`, ` `, `\`, `null`, `"number":1,`, `"gate":null,`, `"x":1,`, `"a"`, `1`, `{"a":1}`, "\xff", "\n"}
	for range 20000 {
		b := bytes.Clone(good)
		for range 1 + random.IntN(2) {
			at := random.IntN(len(b))
			switch s := snippets[random.IntN(len(snippets))]; random.IntN(3) {
			case 0:
				b = slices.Insert(b, at, []byte(s)...)
			case 1:
				b = slices.Delete(b, at, min(len(b), at+1+random.IntN(12)))
			case 2:
				b[at] = s[0]
			}
		}
		var quick, slow closing
		if !quick.read(b) {
			continue
		}
		taken++
		require.True(t, json.Valid(b), "%s", b)
		require.NoError(t, json.Unmarshal(b, &slow), "%s", b)
		require.Equal(t, slow, quick, "%s", b)
	}
	t.Logf("%d altered texts were read in one pass", taken)
	require.Greater(t, taken, 100)
}
