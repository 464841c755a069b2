package perspective

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A few octets of a report stand for some hundred in memory: what a report may hold is counted before it is read.
//
// Holds: D11
func TestAShortReportDoesNotFillTheMemory(t *testing.T) {
	id := newIdentity(t, "fra")
	s, err := newSealer(id)
	require.NoError(t, err)
	for name, payload := range map[string]string{
		"lookups": `{"caa":{"lookups":[` + strings.Repeat("{},", 900_000) + `{}]}}`,
		"queries": `{"caa":{"lookups":[{"queries":[` + strings.Repeat("{},", 900_000) + `{}]}]}}`,
		"fetches": `{"dcv":{"fetches":[` + strings.Repeat("{},", 900_000) + `{}]}}`,
		"stages":  `{"stages":[` + strings.Repeat("{},", 900_000) + `{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			signed, err := s.appendSigned(nil, []byte(payload))
			require.NoError(t, err)
			require.Less(t, len(signed), maxReply)
			reply := string(signed)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, problem := Verify(reply, memberOf("fra", "", id), nil, newProbe())
			runtime.ReadMemStats(&after)
			require.Equal(t, "perspective.garbage", problem.Code)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20))
			require.Contains(t, problem.Detail, "objects")
		})
	}
}

// Braces in a page or a record are its holder's, and make no honest report one that is refused.
func TestOnlyObjectsAreCounted(t *testing.T) {
	many := strings.Repeat("{", mostObjects+1)
	for name, c := range map[string]struct {
		text    string
		crowded bool
	}{
		"as many as may be":            {strings.Repeat("{},", mostObjects), false},
		"one more":                     {strings.Repeat("{},", mostObjects+1), true},
		"in a string":                  {`{"a":"` + many + `"}`, false},
		"in a string with a quotation": {`{"a":"\"` + many + `"}`, false},
		"behind an escaped backslash":  {`{"a":"\\",` + many, true},
		"behind a string":              {`{"a":"x",` + many, true},
		"in a name":                    {`{"` + many + `":1}`, false},
		"in a string that has no end":  {`{"a":"` + many, false},
		"an escape at the end":         {many[1:] + `"{{\`, false},
		"a quotation mark at the end":  {many[1:] + `"`, false},
		"in two strings":               {`["` + many + `","` + many + `"]`, false},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.crowded, crowded(c.text)) })
	}
}
