package node

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How large a heap grows before its garbage is collected, in octets. Of a gate's little lives: 10 MB at 16 validations in flight, 30 MB at
// 128. Go's own rule, twice what lives, has it collected seven times a second at 16, for 9 % of the gate's CPU time. Perspectives are
// small, 5 MB live in them, and there are five for each gate: at 8 MB they were collected seven times a second, too, for 15 % of their CPU time.
const (
	GateHeap        = 44 << 20
	PerspectiveHeap = 12 << 20
)

// KeepHeap lets the heap grow to a size before it is collected, until stop is called. One of which more lives is collected when it has grown by two fifths,
// so that garbage never needs much. It does nothing where the operator has set GOGC or GOMEMLIMIT.
func KeepHeap(size uint64) (stop func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	h := &heap{size: size, before: debug.SetGCPercent(leastPercent)}
	h.adjust()
	quit := make(chan struct{})
	go func() {
		ticker := time.NewTicker(heapTime)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				h.adjust()
			case <-quit:
				debug.SetGCPercent(h.before)
				close(quit)
				return
			}
		}
	}()
	return func() { quit <- struct{}{}; <-quit }
}

const (
	// leastPercent is for heaps of which much lives.
	leastPercent = 40
	// mostPercent bounds how far the heap grows when much more lives all at once than at the last look: to four times that.
	mostPercent = 300
	// heapTime is how often is looked at what lives.
	heapTime = 250 * time.Millisecond
)

type heap struct {
	size    uint64
	before  int
	percent int // as it was set last
}

// adjust sets the percentage upon which the next collection begins at the size. Each setting stops all goroutines for a moment, so that
// small differences are left.
func (h *heap) adjust() {
	read := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(read)
	percent := gcPercent(h.size, read[0].Value.Uint64(), read[1].Value.Uint64()+read[2].Value.Uint64())
	if d := percent - h.percent; d*8 > h.percent || -d*8 > h.percent {
		h.percent = percent
		debug.SetGCPercent(percent)
	}
}

// gcPercent is the GOGC by which a heap is collected next when it has a size. What else is scanned, stacks and globals, counts in Go's rule
// (runtime, GC Guide): goal = live + (live + else) * GOGC / 100.
func gcPercent(size, live, others uint64) int {
	if live >= size || live+others == 0 {
		return leastPercent
	}
	return min(mostPercent, max(leastPercent, int((size-live)*100/(live+others))))
}
