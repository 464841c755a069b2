package mpic

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// FuzzReport changes the report of a perspective as a record or a reply holds it. Whatever it says, the judge comes to
// an end, and believes no pass without the challenge information, a usable status on every lookup, and lookups of every
// name up to the relevant records.
func FuzzReport(f *testing.F) {
	var evidence []Evidence
	for i, m := range va.Methods() {
		e := unanimous(f, fiveRegions(), december)
		e.Attempt.Probe.Request.Method = m
		e = unanimousFor(f, e)
		evidence = append(evidence, e)
		report := e.Primary.report
		if m == va.HTTP01 {
			redirected(&report.DCV, 301, "https://www.example.com/x#y", "https://www.example.com/x", "www.example.com")
		}
		text, err := json.Marshal(report)
		require.NoError(f, err)
		f.Add(uint8(i), text)
		f.Add(uint8(i), []byte(strings.Replace(string(text), `\tTXT\t`, `\tCNAME\t`, 1)))
		f.Add(uint8(i), []byte(strings.Replace(string(text), "0 issue", `128 issue`, 2)))
	}
	f.Fuzz(func(t *testing.T, method uint8, text []byte) {
		var r va.Report
		if json.Unmarshal(text, &r) != nil {
			return
		}
		e := evidence[int(method)%len(evidence)]
		e.Primary = &PrimaryReport{report: r}
		e.Remotes = slices.Clone(e.Remotes)
		e.Remotes[0] = answered("ashburn", r)
		d := Judge(e)
		primary, remote := d.Views()[0], d.Views()[1]
		want := said{remote.DCV == va.Pass, remote.CAA == va.Pass}
		if ownResolution(&r) != nil {
			want = said{}
		}
		require.Equal(t, want, said{primary.DCV == va.Pass, primary.CAA == va.Pass},
			"a report is judged the same wherever it comes from, but that the primary resolves by itself (DCV-04)")
		require.Equal(t, primary.DCV == va.Pass && primary.CAA == va.Pass, d.Granted())
		if primary.DCV == va.Pass {
			require.Equal(t, e.Attempt.Probe.Request.Expected(), r.DCV.Observed)
			require.NotEmpty(t, r.DCV.Lookups)
			for _, l := range r.DCV.Lookups {
				require.True(t, l.Status.Usable())
			}
		}
		if primary.CAA == va.Pass {
			require.Equal(t, "example.com.", r.CAA.Lookups[0].Name)
			require.True(t, r.CAA.Found != "" || len(r.CAA.Lookups) == 2)
			for _, l := range r.CAA.Lookups {
				require.True(t, l.Status.Usable())
			}
		}
	})
}
