package rest

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// askTime bounds a question to the records that anybody may put.
const askTime = 5 * time.Second

// shared puts a question that anybody may put: those who come while it is asked have its answer, so that however many ask, the records are asked by
// one at a time.
type shared[T any] struct {
	mu  sync.Mutex
	now *asked[T] // nil while nobody asks
}

type asked[T any] struct {
	done   chan struct{} // closed behind the two below
	answer T
	err    error
}

// ask gives the answer, or ctx's error.
func (s *shared[T]) ask(ctx context.Context, put func(context.Context) (T, error)) (answer T, err error) {
	s.mu.Lock()
	a := s.now
	if a == nil {
		a = &asked[T]{done: make(chan struct{})}
		s.now = a
		go s.put(context.WithoutCancel(ctx), a, put) // who asked first may go away
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.answer, a.err
	case <-ctx.Done():
		return answer, ctx.Err()
	}
}

func (s *shared[T]) put(ctx context.Context, a *asked[T], put func(context.Context) (T, error)) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	defer func() {
		if v := recover(); v != nil { // nobody above this goroutine could
			a.err = fmt.Errorf("rest: the question broke down: %v", v)
		}
		s.mu.Lock()
		s.now = nil
		s.mu.Unlock()
		close(a.done)
	}()
	a.answer, a.err = put(ctx)
}
