package resolver

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
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
				go w.share(ctx, frame{}, "key", func() (shareable, bool) {
					select {
					case <-ctx.Done():
					case <-failed:
					}
					return cutResult{}, false
				})
				synctest.Wait()
				var working, all atomic.Int64
				done := make(chan struct{})
				for range 8 {
					go w.share(t.Context(), frame{}, "key", func() (shareable, bool) {
						all.Add(1)
						working.Add(1)
						<-done
						working.Add(-1)
						return cutResult{}, true
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

// What somebody else's lookup found is used no longer than it holds: a lookup that began after the signature over the keys had expired,
// or the delegation, while the server took its time to answer, finds out by itself.
//
// Holds: DCV-05, REC-04
func TestSharedWorkThatHasExpiredIsDoneAnew(t *testing.T) {
	began := time.Now().Truncate(time.Second)
	until := began.Add(time.Second)
	for _, c := range []struct {
		name    string
		found   shareable
		started time.Time
		anew    bool
	}{
		{"keys", keysResult{keys: &dnssec.Keys{Until: until}}, until.Add(time.Second - 1), false},
		{"keys, too late", keysResult{keys: &dnssec.Keys{Until: until}}, until.Add(time.Second), true},
		{"a referral", referResult{zone: &zone{expires: until}}, until.Add(-1), false},
		{"a referral, too late", referResult{zone: &zone{expires: until}}, until, true},
		{"a cut", cutResult{zone: &zone{expires: until}}, until.Add(-1), false},
		{"a cut, too late", cutResult{zone: &zone{expires: until}}, until, true},
		{"no cut", cutResult{}, until.Add(time.Hour), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &Resolver{calls: map[scoped]*call{}}
				answered := make(chan struct{})
				go (&work{r: r, started: began}).share(t.Context(), frame{}, "key", func() (shareable, bool) {
					<-answered
					return c.found, true
				})
				synctest.Wait()
				anew := false
				go (&work{r: r, started: c.started}).share(t.Context(), frame{}, "key", func() (shareable, bool) {
					anew = true
					return c.found, true
				})
				synctest.Wait()
				close(answered)
				synctest.Wait()
				require.Equal(t, c.anew, anew)
			})
		})
	}
}
