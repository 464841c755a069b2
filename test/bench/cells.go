package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// cell is one measurement of one system.
type cell struct {
	system, method, cache string
	inFlight              int
	far                   bool
	times                 times
	// rates are the validations granted in a second, turn by turn.
	rates []float64
	// cpu is that of gate or VA, remotes, resolvers beside them, and the database's server, in seconds for a thousand validations.
	cpu [4]float64
	// memory is the largest of gate or VA, of any remote, and of any resolver beside it, in MiB.
	memory [3]float64
	// queries are those that reached the name servers, for each validation; mallocs those of gate and one remote, 0 where unknown.
	queries float64
	mallocs [2]float64
}

func (c cell) each() float64 { return float64(len(c.times.Took)) / c.times.All.Seconds() }

func (c cell) cpuSum() float64 { return c.cpu[0] + c.cpu[1] + c.cpu[2] + c.cpu[3] }

// measure fills all cells. The same cell is measured of each system before the next, in several turns: a machine that others use is slower in one moment
// than in another, and turns share that out. What fails is left out, and told.
func (b *bench) measure(ctx context.Context, far bool, methods string) {
	counts, _ := numbers(b.InFlight) // checked before
	for method := range strings.SplitSeq(methods, ",") {
		for cache := range strings.SplitSeq(b.Caches, ",") {
			for n, inFlight := range counts {
				c := cell{method: method, cache: cache, inFlight: inFlight, far: far}
				if ctx.Err() == nil {
					b.cells = append(b.cells, b.turns(ctx, c, n == 0)...)
				}
			}
		}
	}
}

// turns measures a cell of all systems. The first of one cache is preceded by what makes it so.
func (b *bench) turns(ctx context.Context, c cell, first bool) (cells []cell) {
	failed := map[system]bool{}
	fail := func(s system, c cell, err error) {
		failed[s] = true
		if ctx.Err() == nil {
			progress("%v: %v", c, err)
			section := "bench"
			if c.far {
				section = "bench-far"
			}
			b.failures = append(b.failures, failure{section, fmt.Sprintf("%v: %v", c, err)})
		}
	}
	sum := map[system]*cell{}
	for _, s := range b.systems {
		c := c
		c.system = s.name()
		sum[s] = &c
		if first && c.cache != "cold" {
			if err := b.warm(ctx, s, c.method, c.cache == "new"); err != nil {
				fail(s, c, err)
			}
		}
	}
	for range b.Turns {
		for _, s := range b.systems {
			if failed[s] {
				continue
			}
			c := c
			c.system = s.name()
			c, err := b.tried(ctx, s, c, b.Each/time.Duration(b.Turns))
			if err != nil {
				fail(s, c, err)
				continue
			}
			sum[s].add(c)
		}
	}
	for _, s := range b.systems {
		if c := *sum[s]; !failed[s] {
			progress("%v: %6.0f/s %.0f p50 %6.1f p99 %6.1f ms, CPU %.1f s/1000 %.1f, %.0f MiB, %.1f queries, %.0f mallocs", c, c.each(), c.rates, c.times.at(50), c.times.at(99),
				c.cpuSum(), c.cpu, c.memory, c.queries, c.mallocs)
			cells = append(cells, c)
		}
	}
	return cells
}

// add joins a further turn.
func (c *cell) add(o cell) {
	n, m := float64(c.times.count()), float64(o.times.count())
	mean := func(a *float64, b float64) { *a = (*a*n + b*m) / (n + m) }
	for i := range c.cpu {
		mean(&c.cpu[i], o.cpu[i])
	}
	for i := range c.mallocs {
		mean(&c.mallocs[i], o.mallocs[i])
	}
	mean(&c.queries, o.queries)
	for i := range c.memory {
		c.memory[i] = max(c.memory[i], o.memory[i])
	}
	c.rates = append(c.rates, o.each())
	c.times.add(o.times)
}

func (c cell) String() string {
	far := ""
	if c.far {
		far = ", far"
	}
	return fmt.Sprintf("%-17s %s %s, %3d in flight%s", c.system, c.method, c.cache, c.inFlight, far)
}

// warm has each name validated once.
func (b *bench) warm(ctx context.Context, s system, method string, fresh bool) error {
	t, err := s.drive(ctx, load{Method: method, InFlight: 16, Zones: b.Zones, Fresh: fresh, Limit: 2 * time.Minute, Most: b.Zones})
	if err != nil {
		return err
	}
	return t.check()
}

// tried measures a cell, and once more where too much failed: on a loaded machine packets are lost in bursts.
func (b *bench) tried(ctx context.Context, s system, c cell, limit time.Duration) (cell, error) {
	got, err := b.one(ctx, s, c, limit)
	if errors.Is(err, errFailed) && ctx.Err() == nil {
		progress("%v, once more: %v", c, err)
		got, err = b.one(ctx, s, c, limit)
	}
	return got, err
}

func (b *bench) one(ctx context.Context, s system, c cell, limit time.Duration) (cell, error) {
	l := load{Method: c.method, InFlight: c.inFlight, Zones: b.Zones, Fresh: c.cache == "new", Limit: limit}
	// Connections are opened, as many as are used at a time, by validations that do not count. Where nothing may be known, they are in other
	// zones, and have the keys of root and com fetched, too.
	lead := load{Method: c.method, InFlight: c.inFlight, Zones: b.Zones, Fresh: l.Fresh, Limit: time.Minute, Most: min(2*c.inFlight, b.Zones)}
	if c.cache == "cold" {
		if err := s.empty(); err != nil {
			return c, err
		}
		lead.Fresh = true
		l.Most = b.Zones
	}
	if t, err := s.drive(ctx, lead); err != nil {
		return c, err
	} else if err := t.check(); err != nil {
		return c, err
	}
	before, err := b.meter(ctx, s, true)
	if err != nil {
		return c, err
	}
	if c.times, err = s.drive(ctx, l); err != nil {
		return c, err
	}
	after, err := b.meter(ctx, s, false)
	if err != nil {
		return c, err
	}
	if err := c.times.check(); err != nil {
		return c, err
	}
	done := float64(c.times.count())
	for i := range c.cpu {
		c.cpu[i] = (after.cpu[i] - before.cpu[i]).Seconds() * 1000 / done
	}
	for i := range c.mallocs {
		c.mallocs[i] = float64(after.mallocs[i]-before.mallocs[i]) / done
	}
	c.memory, c.queries = after.memory, float64(after.queries-before.queries)/done
	return c, nil
}

// reading is what the kernel and the name servers have counted so far.
type reading struct {
	cpu     [4]time.Duration
	memory  [3]float64
	queries int64
	mallocs [2]int64
}

// meter reads all counters; anew begins the peaks of memory again.
func (b *bench) meter(ctx context.Context, s system, anew bool) (r reading, err error) {
	if o, ok := s.(*ours); ok { // before the processors' time is read, since it takes some
		if r.mallocs[0], r.mallocs[1], err = o.mallocs(ctx); err != nil {
			return r, err
		}
	}
	for i, pids := range s.pids().all() {
		if r.cpu[i], err = cpu(pids); err != nil {
			return r, err
		}
		for _, pid := range pids {
			if i == len(r.memory) {
				break // the database's server
			}
			if anew {
				if err := forget(pid); err != nil {
					return r, err
				}
			}
			most, err := peak(pid)
			if err != nil {
				return r, err
			}
			r.memory[i] = max(r.memory[i], most)
		}
	}
	r.queries, err = b.stage.queries()
	return r, err
}
