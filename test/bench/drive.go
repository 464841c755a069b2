package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what one cell asks. test/boulder/program has the same for Boulder.
type load struct {
	Method   string
	InFlight int
	Zones    int
	// Limit is how long new validations are begun; Most, if not 0, is how many at most.
	Limit time.Duration
	Most  int
}

// times are how long validations took, in order, and how long all of them together. Those that failed are only counted.
type times struct {
	Took   []time.Duration
	All    time.Duration
	Failed int
	Why    string // of one that failed
}

// run keeps InFlight validations in flight; do carries out the i-th.
func (l load) run(do func(i int) error) (times, error) {
	var next atomic.Int64
	var mu sync.Mutex
	var all times
	var workers sync.WaitGroup
	began := time.Now()
	for range l.InFlight {
		workers.Go(func() {
			for time.Since(began) < l.Limit {
				i := int(next.Add(1) - 1)
				if l.Most > 0 && i >= l.Most {
					return
				}
				asked := time.Now()
				err := do(i)
				took := time.Since(asked)
				mu.Lock()
				if err != nil {
					all.Failed, all.Why = all.Failed+1, err.Error()
				} else {
					all.Took = append(all.Took, took)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	all.All = time.Since(began)
	slices.Sort(all.Took)
	return all, nil
}

func (t times) at(percent int) float64 {
	if len(t.Took) == 0 {
		return 0
	}
	return float64(t.Took[len(t.Took)*percent/100]) / float64(time.Millisecond)
}

var errFailed = errors.New("too much failed")

// check refuses times of which more than one in a hundred failed: that is no measurement.
func (t times) check() error {
	if t.Failed > len(t.Took)/100 {
		return fmt.Errorf("%w: %d of %d, one of them: %s", errFailed, t.Failed, t.Failed+len(t.Took), t.Why)
	}
	return nil
}
