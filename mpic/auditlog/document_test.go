package auditlog

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

var update = flag.Bool("update", false, "write the examples of docs/audit-log.md anew")

const document = "../../docs/audit-log.md"

// lookup is a secure answer.
func lookup(name, kind, data string) resolver.Lookup {
	return resolver.Lookup{Name: name + ".", Type: kind, Status: dnssec.Secure, Rcode: "NOERROR", TTL: 300,
		Answers: []string{name + ".\t300\tIN\t" + kind + "\t" + data}}
}

func passing(t *testing.T, p va.Probe, name string) va.Report {
	t.Helper()
	const record = "example.com.\t300\tIN\tCAA\t0 issue \"ca.example\""
	permits, problem := va.EvaluateCAA([]string{record}, p.Request)
	require.Nil(t, problem)
	at := noon.Add(time.Second)
	return va.Report{Perspective: name, Software: "quorate test", Attempt: p.Attempt, Nonce: p.Nonce, Digest: p.Digest(), Started: at, Finished: at,
		Resolver: resolver.Settings{Mode: resolver.Iterative},
		DCV: va.DCVFinding{Outcome: va.Pass, Queried: p.Request.Queried(), Observed: p.Request.Expected(), Started: at, Finished: at,
			Lookups: []resolver.Lookup{lookup(p.Request.Queried(), "TXT", fmt.Sprintf("%q", p.Request.Expected()))}},
		CAA: va.CAAFinding{Outcome: va.Pass, Name: "example.com", Found: "example.com", Records: []string{record}, Permits: permits, TTL: 300,
			FreshUntil: at.Add(8 * time.Hour), Started: at, Finished: at, Lookups: []resolver.Lookup{lookup("example.com", "CAA", "0 issue \"ca.example\"")}}}
}

// wildcard is an attempt that is granted if nobody else fails: one of five remotes gives no answer, and one is forbidden by CAA where
// forbidden.
func wildcard(t *testing.T, number int64, forbidden bool) mpic.Result {
	t.Helper()
	r := result(number, func(e *mpic.Evidence) {
		req := &e.Attempt.Probe.Request
		req.Identifier, req.Method = "*.example.com", va.DNS01
		e.Attempt.Trace = "order-4711"
		e.Roster.Primary, e.Roster.Remotes, e.Remotes = at("zurich", mpic.RIPE, 47.4, 8.5), nil, nil
		for i, m := range []mpic.Member{at("ashburn", mpic.ARIN, 39, -77.5), at("tokyo", mpic.APNIC, 35.7, 139.7), at("sao-paulo", mpic.LACNIC, -23.5, -46.6),
			at("johannesburg", mpic.AFRINIC, -26.2, 28), at("helsinki", mpic.RIPE, 60.2, 24.9)} {
			m.URL, m.TLSKey, m.SigningKey = "https://"+m.Name+".example", fmt.Sprintf("%064x", i+1), fmt.Sprintf("%043d", i+1)
			e.Roster.Remotes = append(e.Roster.Remotes, m)
			report := passing(t, e.Attempt.Probe, m.Name)
			if forbidden && i < 2 {
				report.CAA.Outcome, report.CAA.Problem = va.Fail, &va.Problem{Code: "caa.forbidden", Detail: "another CA is named"}
			}
			e.Remotes = append(e.Remotes, mpic.Attestation{Perspective: m.Name, State: mpic.Answered, Report: &report})
		}
		e.Remotes[4] = mpic.Attestation{Perspective: "helsinki", State: mpic.TimedOut, Problem: &va.Problem{Code: "perspective.timeout", Detail: "no answer"}}
		text, err := passing(t, e.Attempt.Probe, "zurich").MarshalJSON()
		require.NoError(t, err)
		e.Primary = new(mpic.PrimaryReport)
		require.NoError(t, json.Unmarshal(text, e.Primary)) // as an auditor has it
	})
	require.Equal(t, !forbidden, r.Decision.Granted(), "%v", r.Decision.Reasons())
	return r
}

func at(name string, region mpic.Region, lat, lon float64) mpic.Member {
	p := mpic.Place{Region: region, Latitude: lat, Longitude: lon}
	return mpic.Member{Name: name, Place: p, Resolver: p}
}

// TestTheDocumentHasTheseLines: what docs/audit-log.md shows is what is written; and it explains each field.
//
// Holds: F4, REC-02
func TestTheDocumentHasTheseLines(t *testing.T) {
	f := newFixture(t, true)
	f.log.run = "EXAMPLERUN"
	require.NoError(t, f.log.Attempt(wildcard(t, 17, false)))
	require.NoError(t, f.log.Attempt(wildcard(t, 18, true)))
	require.NoError(t, f.log.Permit(aPermit()))
	require.NoError(t, f.log.Certificate(aCertificate(), 4, false))
	require.NoError(t, f.log.Close(t.Context()))
	all := f.lines(f.file)
	require.Equal(t, []any{nil, "granted", "refused", "granted", "linked", nil}, pick(all, "outcome"))
	require.Equal(t, "example.com", all[1]["adn"])
	require.Equal(t, "4/5", all[1]["dcv"].(map[string]any)["quorum"])
	require.Equal(t, "2/5", all[2]["caa"].(map[string]any)["quorum"])
	require.Equal(t, []any{"quorum.missed"}, all[2]["reasons"])
	require.NotEmpty(t, all[1]["reuse_until"])

	text, err := os.ReadFile(document)
	require.NoError(t, err)
	lines, err := os.ReadFile(f.file)
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```json\n(.*?)```")
	written := bytes.Split(bytes.TrimSpace(lines), []byte("\n"))[1:5]
	if *update {
		i := -1
		text = block.ReplaceAllFunc(text, func([]byte) []byte {
			var pretty bytes.Buffer
			i++
			require.NoError(t, json.Indent(&pretty, written[i], "", "  "))
			return []byte("```json\n" + pretty.String() + "\n```")
		})
		require.NoError(t, os.WriteFile(document, text, 0o600))
	}
	blocks := block.FindAllSubmatch(text, -1)
	require.Len(t, blocks, len(written))
	for i, b := range blocks {
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, b[1]))
		require.Equal(t, string(written[i]), compact.String())
	}
	for _, event := range []any{marker{}, attempt{}, permit{}, certificate{}} {
		explained(t, string(text), reflect.TypeOf(event))
	}
}

func explained(t *testing.T, text string, form reflect.Type) {
	t.Helper()
	switch form.Kind() {
	case reflect.Pointer, reflect.Slice:
		explained(t, text, form.Elem())
		return
	case reflect.Struct:
	default:
		return
	}
	for i := range form.NumField() {
		tag, _, _ := strings.Cut(form.Field(i).Tag.Get("json"), ",")
		if tag != "" {
			require.Contains(t, text, "`"+tag+"`", "a field that docs/audit-log.md does not explain")
		}
		explained(t, text, form.Field(i).Type)
	}
}
