package openmpic

import (
	"context"
	"sync"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// shared asks a coordinator once for each probe and check, whichever of its members is asked first: each of them reads its own part of
// the one answer. Nothing is kept for another probe (MPIC-09).
type shared struct {
	line *line
	work sync.WaitGroup

	mu    sync.Mutex
	calls map[string]*sharedCall
}

// sharedCall is one probe's. It is kept until all members have had its result, or the probe's deadline has come.
type sharedCall struct {
	done   chan struct{}
	result outcome
	cancel context.CancelFunc
	forget *time.Timer
	// waiting counts those that wait for it now, taken those that have been given it.
	waiting, taken int
}

func (s *shared) close() {
	s.work.Wait()
	s.line.close()
}

func (s *shared) exchange(ctx context.Context, p va.Probe) outcome {
	key := p.Attempt + " " + p.Nonce + " " + p.Digest()
	c := s.join(ctx, key, p)
	select {
	case <-c.done:
		s.leave(key, c, true)
		return c.result
	case <-ctx.Done():
		s.leave(key, c, false)
		return s.line.broken(ctx, s.line.members[0].URL, ctx.Err())
	}
}

// join gives the probe's call, and begins it where nobody has.
func (s *shared) join(ctx context.Context, key string, p va.Probe) *sharedCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.calls[key]; c != nil {
		c.waiting++
		return c
	}
	left := p.Deadline.Sub(s.line.now())
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), left)
	c := &sharedCall{done: make(chan struct{}), cancel: cancel, waiting: 1}
	s.calls[key] = c
	c.forget = time.AfterFunc(left, func() { s.drop(key, c) })
	s.work.Go(func() {
		defer cancel()
		defer close(c.done)
		defer func() {
			if v := recover(); v != nil { // nobody above this goroutine could
				c.result = outcome{state: mpic.Unreachable, problem: channelProblem("", "panic", "asking broke down: %v", v)}
			}
		}()
		c.result = s.line.exchange(work, p)
	})
	return c
}

// leave ends the call when nobody waits for it any more, and forgets it when all have had its result.
func (s *shared) leave(key string, c *sharedCall, given bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.waiting--
	if given {
		c.taken++
	} else if c.waiting == 0 {
		c.cancel()
	}
	if c.taken >= len(s.line.members) || !given && c.waiting == 0 {
		c.forget.Stop()
		if s.calls[key] == c {
			delete(s.calls, key)
		}
	}
}

func (s *shared) drop(key string, c *sharedCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[key] == c {
		delete(s.calls, key)
	}
}
