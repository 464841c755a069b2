package node

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGCPercent(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		live, others uint64
		want         int
	}{
		"little lives":            {9 * mb, 1 * mb, 300},
		"nearly a quarter":        {15 * mb, 5 * mb, 245},
		"a third":                 {20 * mb, 2 * mb, 200},
		"a third, stacks beside":  {20 * mb, 24 * mb, 100},
		"half":                    {32 * mb, 0, 100},
		"more than half":          {50 * mb, 1 * mb, 100},
		"more than all":           {500 * mb, 10 * mb, 100},
		"nothing was read so far": {0, 0, 100},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, gcPercent(64*mb, c.live, c.others)) })
	}
}

// TestGrowHeap: garbage is collected more seldom than by Go's own rule, and afterwards as before. Where the operator has set something,
// nothing is changed.
func TestGrowHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	live := make([]byte, 6<<20)
	runtime.GC()
	stop := GrowHeap()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(goal)
	require.GreaterOrEqual(t, goal[0].Value.Uint64(), min(gateHeap/8*7, 4*goal[1].Value.Uint64()), "other tests may have left more alive than the floor")
	stop()
	require.Equal(t, goPercent, debug.SetGCPercent(goPercent), "as it was")
	for _, set := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(set, func(t *testing.T) {
			t.Setenv(set, "100")
			defer GrowHeap()()
			require.Equal(t, goPercent, debug.SetGCPercent(goPercent))
		})
	}
	runtime.KeepAlive(live)
}
