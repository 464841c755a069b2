package va

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// climbers is how many names of one climb are looked up at once.
	climbers = 8
	// hintLasts is how long a lookup may take until those above it begin all the same, whatever is expected of it: so that what was
	// found lately costs no climb the time that is left for it.
	hintLasts = 500 * time.Millisecond
)

// climbing is one climb's lookups: those of several names run side by side, and are taken in order.
type climbing struct {
	c     *Checker
	ctx   context.Context
	names []string
	rule  FailureRule

	running sync.WaitGroup
	mu      sync.Mutex
	// steps has a channel for each name whose lookup has begun beside others, and nil for one that was not beside any.
	steps []chan step
	over  bool
	// beside is the context of lookups beside others, and cancel ends it; nil as long as there was none.
	beside context.Context
	cancel context.CancelFunc
}

// end calls off what is still running, and waits for it.
func (l *climbing) end() {
	l.mu.Lock()
	l.over = true
	cancel := l.cancel
	l.mu.Unlock()
	if cancel != nil {
		cancel()
		l.running.Wait()
	}
}

// take gives the step of the name in a place; places are taken from 0. The lookups of further names begin with it: as far as records
// are expected to stand, and otherwise, or if that takes long, a few names.
func (l *climbing) take(i int) step {
	all := min(i+climbers, len(l.names))
	last := all
	if expected := l.c.found.first(l.names[i:all]); expected >= 0 {
		last = i + expected + 1
	}
	if last < all {
		late := time.AfterFunc(hintLasts, func() { l.begin(i, all) })
		defer late.Stop()
	}
	if came := l.begin(i, last); came != nil {
		return <-came
	}
	return l.c.askCAA(l.ctx, l.names[i], l.rule)
}

// begin has the lookups of the names before a place begin that have not, but for that of the name in the place i, which is the
// caller's where no channel comes back.
func (l *climbing) begin(i, last int) (came chan step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.steps) == i {
		l.steps = append(l.steps, nil)
	}
	if l.cancel == nil && len(l.steps) < last {
		l.beside, l.cancel = context.WithCancel(l.ctx)
	}
	for n := len(l.steps); n < last && !l.over; n++ {
		came := make(chan step, 1)
		l.steps = append(l.steps, came)
		l.running.Go(func() { came <- l.c.askCAA(l.beside, l.names[n], l.rule) })
	}
	return l.steps[i]
}

// found remembers names at which CAA records were found lately, so that the lookups of names above them are not begun in vain. It is
// a hint: where no records stand there any more, the climb goes on as ever, and whatever it says each name is looked up anew.
type found struct {
	mu sync.Mutex
	// When the young generation is full it becomes the old one, and that is forgotten.
	young, old map[string]struct{}
}

// mostFound bounds each generation. One name takes about 100 octets.
const mostFound = 1 << 13

// first gives the place of the first name that is remembered, -1 where none is.
func (f *found) first(names []string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.IndexFunc(names, f.has)
}

func (f *found) has(name string) bool {
	_, ok := f.young[name]
	if !ok {
		_, ok = f.old[name]
	}
	return ok
}

// note remembers whether records were found at a name.
func (f *found) note(name string, there bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch _, known := f.young[name]; {
	case !there:
		delete(f.young, name)
		delete(f.old, name)
	case known:
	case len(f.young) >= mostFound || f.young == nil:
		f.young, f.old = map[string]struct{}{name: {}}, f.young
	default:
		f.young[name] = struct{}{}
	}
}
