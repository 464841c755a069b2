package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load is what one cell asks. test/boulder/program has the same for Boulder.
type load struct {
	Method   string
	InFlight int
	Zones    int
	// Fresh asks the zones whose answers nobody may remember.
	Fresh bool
	// Limit is how long new validations are begun; Most, if not 0, is how many at most.
	Limit time.Duration
	Most  int
	// Rate, if not 0, is how many are begun in a second whether or not earlier ones have been answered, but for those that would
	// find InFlight of them unanswered: these are not begun.
	Rate float64
}

// name is what the i-th validation is for.
func (l load) name(i int) string {
	if l.Fresh {
		return freshZone(i % l.Zones)
	}
	return zone(i % l.Zones)
}

// times are how long validations took, in order, and how long all of them together.
type times struct {
	Took []time.Duration
	All  time.Duration
	// Failed were not granted: No is how long each of them took, in order, and Codes how many there were of each kind.
	Failed int
	No     []time.Duration
	Codes  map[string]int
	Why    string // of one that failed
	// Unbegun is how many a Rate would have had more.
	Unbegun int
}

// coded is an answer that is no grant: its kind, in a few words, and all of it.
type coded struct {
	code, text string
}

func (c coded) Error() string { return c.code + ": " + c.text }

// run keeps InFlight validations in flight, or begins them at a Rate; do carries out the i-th. With ctx it ends, once those in flight have.
func (l load) run(ctx context.Context, do func(i int) error) (times, error) {
	t := tally{times: times{Codes: map[string]int{}}}
	began := time.Now()
	if l.Rate > 0 {
		l.open(ctx, &t, began, do)
	} else {
		l.closed(ctx, &t, began, do)
	}
	t.All = time.Since(began)
	slices.Sort(t.Took)
	slices.Sort(t.No)
	return t.times, ctx.Err()
}

func (l load) closed(ctx context.Context, t *tally, began time.Time, do func(i int) error) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range l.InFlight {
		workers.Go(func() {
			for time.Since(began) < l.Limit && ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if l.Most > 0 && i >= l.Most {
					return
				}
				t.add(i, do)
			}
		})
	}
	workers.Wait()
}

func (l load) open(ctx context.Context, t *tally, began time.Time, do func(i int) error) {
	places := make(chan struct{}, l.InFlight)
	var workers sync.WaitGroup
	for i := 0; l.Most == 0 || i < l.Most; i++ {
		due := time.Duration(float64(i) / l.Rate * float64(time.Second))
		if due >= l.Limit {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(due - time.Since(began)):
		}
		if ctx.Err() != nil {
			break
		}
		select {
		case places <- struct{}{}:
			workers.Go(func() {
				defer func() { <-places }()
				t.add(i, do)
			})
		default:
			t.Unbegun++
		}
	}
	workers.Wait()
}

// tally gathers times. Unbegun is not for mu.
type tally struct {
	mu sync.Mutex
	times
}

func (t *tally) add(i int, do func(i int) error) {
	asked := time.Now()
	err := do(i)
	took := time.Since(asked)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.Took = append(t.Took, took)
		return
	}
	code := "no answer"
	if c, ok := errors.AsType[coded](err); ok {
		code = c.code
	}
	t.Failed, t.Why, t.No = t.Failed+1, err.Error(), append(t.No, took)
	t.Codes[code]++
}

// add joins what was measured at another time.
func (t *times) add(o times) {
	t.Took, t.No = append(t.Took, o.Took...), append(t.No, o.No...)
	slices.Sort(t.Took)
	slices.Sort(t.No)
	t.All, t.Failed, t.Unbegun = t.All+o.All, t.Failed+o.Failed, t.Unbegun+o.Unbegun
	if o.Why != "" {
		t.Why = o.Why
	}
	for code, n := range o.Codes {
		if t.Codes == nil {
			t.Codes = map[string]int{}
		}
		t.Codes[code] += n
	}
}

func (t times) at(percent int) float64 { return percentile(t.Took, percent) }

// percentile is one of what is in order, in milliseconds.
func percentile(took []time.Duration, percent int) float64 {
	if len(took) == 0 {
		return 0
	}
	return float64(took[len(took)*percent/100]) / float64(time.Millisecond)
}

// count is how many were answered.
func (t times) count() int { return len(t.Took) + t.Failed }

// codes tells how many of which kind, the most frequent first, and no more than four.
func (t times) codes() string {
	kinds := slices.SortedFunc(maps.Keys(t.Codes), func(a, b string) int {
		if d := t.Codes[b] - t.Codes[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var out []string
	for _, k := range kinds[:min(len(kinds), 4)] {
		out = append(out, fmt.Sprintf("%d %s", t.Codes[k], k))
	}
	return strings.Join(out, "; ")
}

var errFailed = errors.New("too much failed")

// check refuses times of which more than one in a hundred failed: that is no measurement.
func (t times) check() error {
	if t.Failed > len(t.Took)/100 {
		return fmt.Errorf("%w: %d of %d, one of them: %s", errFailed, t.Failed, t.Failed+len(t.Took), t.Why)
	}
	return nil
}
