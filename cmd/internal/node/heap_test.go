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
		"little lives":            {9 * mb, 1 * mb, 550},
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

// TestGrowHeap: a collection is due at the floor or above, and stays so: garbage of ten times the floor is collected at most every half of
// it, however much other tests have left alive. Where the operator has set something, nothing is.
func TestGrowHeap(t *testing.T) {
	var kept []byte
	collections := func() uint32 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range 10 * gateHeap / 4096 {
			kept = make([]byte, 4096)
		}
		runtime.ReadMemStats(&after)
		return after.NumGC - before.NumGC
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	stop := GrowHeap()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(goal)
	require.Greater(t, goal[0].Value.Uint64(), uint64(gateHeap/8*7))
	grown := collections()
	stop()
	require.Equal(t, goPercent, debug.SetGCPercent(goPercent), "as it was")
	require.Less(t, grown, uint32(25))
	for _, set := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(set, func(t *testing.T) {
			t.Setenv(set, "100")
			defer GrowHeap()()
			require.Equal(t, goPercent, debug.SetGCPercent(goPercent))
		})
	}
	runtime.KeepAlive(kept)
}
