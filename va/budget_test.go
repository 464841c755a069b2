package va

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// deep is a name of as many labels as there can be: CAA is looked up for each of its ancestors.
var deep = strings.Repeat("a.", 125) + "com"

// TestAProbesLookupsAreBoundedTogether: each has limits of its own, and whoever holds a name chooses how many there are. Three megabytes
// for each of 126 lookups, of each perspective, would stand in the memory of a gate, and in its records.
//
// Holds: D11
func TestAProbesLookupsAreBoundedTogether(t *testing.T) {
	require.Len(t, deep, 253)
	for what, c := range map[string]struct {
		queries  int
		octets   int
		sets     bool
		atMost   int
		complete bool
	}{
		"answers as they are":  {3, 500, false, 126, true},
		"large responses":      {4, 64 << 10, false, 8 + climbers, false},
		"large records":        {1, 256 << 10, true, 8 + climbers, false},
		"many small responses": {200, 12, false, 10 + climbers, false},
	} {
		t.Run(what, func(t *testing.T) {
			s := &table{answer: func(name, qtype string, _ int) *resolver.Answer {
				a := answered(resolver.Lookup{Name: name + ".", Type: qtype, Status: dnssec.Insecure, Rcode: "NOERROR"})
				for range c.queries {
					a.Lookup.Queries = append(a.Lookup.Queries, resolver.Query{})
					if !c.sets {
						a.Lookup.Queries[0].Response = append(a.Lookup.Queries[0].Response, make([]byte, c.octets)...)
					}
				}
				if c.sets {
					a.Sets = dnssec.Sets{name: make([]byte, c.octets)}
				}
				return a
			}}
			p := recheck(HTTP01)
			p.Request.Identifier = deep
			r := checker(t, s).Check(t.Context(), p)
			f := r.CAA
			text, err := r.MarshalJSON()
			require.NoError(t, err)
			require.NoError(t, new(Report).UnmarshalJSON(text), "the record can be read")
			require.Less(t, len(text), 8<<20)
			asked := 0
			for _, n := range s.asked {
				asked += n
			}
			require.LessOrEqual(t, asked, c.atMost)
			if c.complete {
				require.Equal(t, Pass, f.Outcome, "%v", f.Problem)
				return
			}
			require.Equal(t, Error, f.Outcome)
			require.Equal(t, "caa.lookup", code(f.Problem))
			require.Contains(t, f.Problem.Detail, "dns.limit")
			last := f.Lookups[len(f.Lookups)-1]
			require.Equal(t, dnssec.Failure, last.Status)
			require.Empty(t, last.Queries)
		})
	}
}
