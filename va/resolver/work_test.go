package resolver

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Those who wait for work that a lookup was called off in do not all do it by themselves: one of them does. Where it failed, each tries
// for himself, at once.
//
// Holds: DCV-04
func TestWorkOfALookupThatIsCalledOffIsDoneOnceMore(t *testing.T) {
	for _, c := range []struct {
		name    string
		callOff bool
		atOnce  int64
	}{
		{"called off", true, 1},
		{"failed", false, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &work{r: &Resolver{calls: map[scoped]*call{}}}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				failed := make(chan struct{})
				go w.share(ctx, frame{}, "key", func() (any, bool) {
					select {
					case <-ctx.Done():
					case <-failed:
					}
					return nil, false
				})
				synctest.Wait()
				var working, all atomic.Int64
				done := make(chan struct{})
				for range 8 {
					go w.share(t.Context(), frame{}, "key", func() (any, bool) {
						all.Add(1)
						working.Add(1)
						<-done
						working.Add(-1)
						return "value", true
					})
				}
				synctest.Wait()
				require.Zero(t, all.Load(), "they wait")
				if c.callOff {
					cancel()
				} else {
					close(failed)
				}
				synctest.Wait()
				require.Equal(t, c.atOnce, working.Load())
				close(done)
				synctest.Wait()
				require.Equal(t, c.atOnce, all.Load())
				require.Empty(t, w.r.calls)
			})
		})
	}
}
