package node

import (
	"runtime"
	"runtime/debug"
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

// TestGrowHeap: garbage of ten times the floor is collected about ten times, and as often as Go would where the operator says so.
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
	grown := collections()
	stop()
	require.Equal(t, goPercent, debug.SetGCPercent(goPercent), "as it was")
	require.Less(t, grown, uint32(20))
	require.Greater(t, collections(), 2*grown)
	for _, set := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(set, func(t *testing.T) {
			t.Setenv(set, "100")
			defer GrowHeap()()
			require.Equal(t, goPercent, debug.SetGCPercent(goPercent))
		})
	}
	runtime.KeepAlive(kept)
}
