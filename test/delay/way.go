package delay

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// way is one direction of a path. The n-th that goes it has the same fate in every run with the same seed.
type way struct {
	oneWay, jitter time.Duration
	loss           float64

	mu     sync.Mutex
	random *rand.Rand
}

// newWay makes a direction of p; which tells the directions of one path apart.
func newWay(p Path, which uint64) *way {
	return &way{oneWay: p.RTT / 2, jitter: p.Jitter, loss: p.Loss, random: rand.New(rand.NewPCG(p.Seed, which))}
}

// datagram tells how long one datagram takes, and whether it is lost.
func (w *way) datagram() (takes time.Duration, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Both are drawn for each, so that another loss rate leaves the delays as they are.
	lost = w.random.Float64() < w.loss
	takes = w.oneWay + time.Duration(w.random.Float64()*float64(w.jitter))
	return takes, lost
}

const (
	openTimeout = time.Second            // RFC 6298 section 2.1, before a round trip was measured
	dataTimeout = 200 * time.Millisecond // Linux's least, on top of the round-trip time
	maxSends    = 7                      // Linux gives a connection up after 6 repetitions of its first segment
)

// segment tells how long a piece of a TCP stream takes. What is lost is sent again after the timeout, and then each time
// after twice as long (RFC 6298 section 5.5): for who reads the stream, loss is delay.
func (w *way) segment(timeout time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	takes := w.oneWay
	for sends := 1; sends < maxSends && w.random.Float64() < w.loss; sends++ {
		takes += timeout
		timeout *= 2
	}
	return takes
}

// wait sleeps until a time, and tells whether ctx is still open then.
func wait(ctx context.Context, until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
