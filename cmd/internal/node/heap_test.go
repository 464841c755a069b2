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
		"a third, stacks beside":  {20 * mb, 20 * mb, 110},
		"half":                    {32 * mb, 0, 100},
		"more than half":          {50 * mb, 1 * mb, 40},
		"more than all":           {500 * mb, 10 * mb, 40},
		"nothing was read so far": {0, 0, 40},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, gcPercent(64*mb, c.live, c.others)) })
	}
}

// TestKeepHeap: a heap is collected when it has its size, and afterwards as before. Where the operator has set something, nothing is changed.
func TestKeepHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	read := func() (goal, live uint64) {
		s := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64(), s[1].Value.Uint64()
	}
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	kept := make([]byte, 16<<20)
	runtime.GC()
	_, live := read()
	for _, size := range []uint64{live * 2, live * 3} {
		stop := KeepHeap(size)
		goal, _ := read()
		stop()
		require.InEpsilon(t, size, goal, 0.25, "stacks and globals beside %d that live", live)
		require.Equal(t, 100, debug.SetGCPercent(100), "as it was")
	}
	for _, set := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(set, func(t *testing.T) {
			t.Setenv(set, "100")
			defer KeepHeap(GateHeap)()
			require.Equal(t, 100, debug.SetGCPercent(100))
		})
	}
	runtime.KeepAlive(kept)
}
