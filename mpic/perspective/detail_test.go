package perspective

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// Why a reply was rejected stands in the evidence, in the decision twice, and in the log: a perspective cannot fill them with what it wrote.
//
// Holds: D11, F4
func TestReasonsForRejectionAreShort(t *testing.T) {
	id, gate := newIdentity(t, "fra"), newIdentity(t, "gate-1")
	long := strings.Repeat("x", 1<<20)
	proven := func(p va.Probe, sum string) va.Report {
		r := passing(p)
		r.CAA.Lookups[0].Proof = []dnssec.Stage{{Kind: dnssec.StageKeys, Zone: ".", Records: sum}}
		return r
	}
	sign := func(payload string) string {
		s, err := newSealer(id)
		require.NoError(t, err)
		signed, err := s.appendSigned(nil, []byte(payload))
		require.NoError(t, err)
		return string(signed)
	}
	member := func(p va.Probe, more string) string {
		text, err := passing(p).MarshalJSON()
		require.NoError(t, err)
		return sign(strings.TrimSuffix(string(text), "}") + more + "}")
	}
	problem := func(code, detail string) string {
		text, err := json.Marshal(map[string]string{"code": code, "detail": detail})
		require.NoError(t, err)
		return string(text)
	}
	for name, c := range map[string]struct {
		status int
		body   func(va.Probe) string
	}{
		"a report that rests on records with a long name": {200, func(p va.Probe) string {
			signed, err := id.sign(proven(p, long))
			require.NoError(t, err)
			return inReply(t, signed)
		}},
		"a long member of a report":             {200, func(p va.Probe) string { return inReply(t, member(p, `,"`+long+`":1`)) }},
		"a long member that stands twice":       {200, func(p va.Probe) string { return inReply(t, member(p, `,"`+long+`":1,"`+long+`":2`)) }},
		"a long outcome":                        {200, func(va.Probe) string { return inReply(t, sign(`{"dcv":{"outcome":"`+long+`"}}`)) }},
		"a long time":                           {200, func(va.Probe) string { return inReply(t, sign(`{"started":"`+long+`"}`)) }},
		"a long number":                         {200, func(va.Probe) string { return inReply(t, sign(`{"caa":{"ttl":`+strings.Repeat("1", 1<<20)+`}}`)) }},
		"a long member of the reply":            {200, func(va.Probe) string { return `{"` + long + `":1}` }},
		"a long name in the escapes of a reply": {200, func(va.Probe) string { return `{"` + strings.Repeat(`\u0061`, 1<<18) + `":1}` }},
		"a long problem":                        {400, func(va.Probe) string { return problem(long[:8<<10], long[:4<<10]) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := hostile(t, id, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				probe, p := decodeProbe(body, time.Now())
				require.Nil(t, p)
				w.Header().Set("Content-Type", contentType)
				if c.status != 200 {
					w.Header().Set("Content-Type", problemType)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body(probe))
			})
			a := newClient(t, memberOf("fra", s.URL, id), gate, (&journal{}).logger()).Attest(t.Context(), newProbe())
			require.Equal(t, mpic.Rejected, a.State)
			require.Less(t, len(a.Problem.Detail), 2000)
			require.LessOrEqual(t, len(a.Signed), maxRejected)
		})
	}
}
