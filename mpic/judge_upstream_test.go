package mpic

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// The primary resolves from the root by itself; what it was told by an upstream resolver counts for nothing. A remote may ask one.
//
// Holds: DCV-04, MPIC-12
func TestBR_3_2_2_4_ThePrimaryRestsOnItsOwnResolution(t *testing.T) {
	for name, alter := range map[string]func(r *va.Report){
		"set to ask an upstream": func(r *va.Report) { r.Resolver.Mode = resolver.Upstream },
		"it does not say":        func(r *va.Report) { r.Resolver = resolver.Settings{} },
		"one DCV lookup":         func(r *va.Report) { r.DCV.Lookups[0].Upstream = "192.0.2.53:53" },
		"one CAA lookup":         func(r *va.Report) { r.CAA.Lookups[0].Upstream = "192.0.2.53:53" },
	} {
		t.Run(name, func(t *testing.T) {
			e := unanimous(t, fiveRegions(), december)
			require.True(t, Judge(e).Granted())
			for i := range e.Remotes {
				alter(e.Remotes[i].Report)
			}
			require.True(t, Judge(e).Granted(), "all remotes may ask an upstream of their own")
			alter(&e.Primary.report)
			d := Judge(e)
			require.False(t, d.Granted())
			require.Equal(t, []string{"primary.upstream", "primary.upstream"}, codes(d))
			require.Contains(t, d.Reasons()[0].Rules, "DCV-04")
		})
	}
	e := unanimous(t, fiveRegions(), december)
	e.Primary.report.Resolver.Mode = resolver.Upstream
	e.Primary.report.DCV = va.DCVFinding{Outcome: va.Fail, Problem: noToken, Queried: e.Attempt.Probe.Request.Queried()}
	require.Equal(t, []string{noToken.Code, "primary.upstream"}, codes(Judge(e)), "a failure keeps its own reason")
}
