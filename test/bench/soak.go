package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"
)

// measures are what is sampled of each process over time. The heap is what is alive after a garbage collection.
var measures = [4]string{"resident MiB", "heap MiB", "goroutines", "open files"}

// sample is what a process had at a time since the beginning.
type sample struct {
	who    string
	at     time.Duration
	values [len(measures)]float64
}

// measureSoak has 16 validations in flight for as long as the settings say, and looks at gate and remotes meanwhile.
func (b *bench) measureSoak(ctx context.Context) error {
	var o *ours
	for _, s := range b.storing(1) {
		if one, ok := s.(*ours); ok {
			o = one
		}
	}
	if o == nil {
		return errors.New("there is none of ours among -systems")
	}
	if err := b.warm(ctx, o, "dns-01", false); err != nil {
		return err
	}
	type result struct {
		t   times
		err error
	}
	done, began := make(chan result, 1), time.Now()
	go func() {
		t, err := o.drive(ctx, load{Method: "dns-01", InFlight: 16, Zones: b.Zones, Limit: b.Soak, Rate: b.SoakRate})
		done <- result{t, err}
	}()
	tick := time.NewTicker(max(2*time.Second, b.Soak/240))
	defer tick.Stop()
	for {
		select {
		case r := <-done:
			b.soaked = r.t
			return errors.Join(r.err, r.t.check())
		case <-tick.C:
		}
		for i, who := range append([]string{"gate"}, o.names...) {
			if i > 1 {
				break // one remote is like another
			}
			one := sample{who: who, at: time.Since(began)}
			var err error
			if one.values, err = o.sample(ctx, i); err != nil {
				if ctx.Err() != nil {
					continue // the load ends, too
				}
				return fmt.Errorf("%s: %w", who, err)
			}
			b.samples = append(b.samples, one)
		}
	}
}

// sample looks at the gate, or at the remote i.
func (o *ours) sample(ctx context.Context, i int) (values [len(measures)]float64, err error) {
	pid := o.gate.pid()
	if i > 0 {
		pid = o.agents[i-1].pid()
	}
	if values[0], err = resident(pid); err != nil {
		return values, err
	}
	if _, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/heap?gc=1", o.metrics(i))); err != nil { // which collects first
		return values, err
	}
	g, err := o.gauges(ctx, i)
	if err != nil {
		return values, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	values[1], values[2], values[3] = g["go_memstats_heap_alloc_bytes"]/(1<<20), g["go_goroutines"], float64(len(files))
	return values, err
}

// trend is a line through values over time, by least squares: its value in the middle, how much it rises from the first to the last, and the standard
// error of that.
type trend struct{ middle, rise, err float64 }

func line(at, values []float64) trend {
	n := float64(len(at))
	if n < 3 {
		return trend{}
	}
	var mt, mv float64
	for i := range at {
		mt, mv = mt+at[i]/n, mv+values[i]/n
	}
	var tt, tv float64
	for i := range at {
		tt, tv = tt+(at[i]-mt)*(at[i]-mt), tv+(at[i]-mt)*(values[i]-mv)
	}
	slope, rest := tv/tt, 0.0
	for i := range at {
		d := values[i] - mv - slope*(at[i]-mt)
		rest += d * d
	}
	long := at[len(at)-1] - at[0]
	return trend{middle: mv, rise: slope * long, err: math.Sqrt(rest/(n-2)/tt) * long}
}

// rises tells whether a line goes up by more than noise does: by more than three standard errors, and by more than a twentieth of what there is.
func (t trend) rises() bool { return t.rise > 3*t.err && t.rise > t.middle/20 }

func (b *bench) soakTable() {
	why := ""
	if b.soaked.Failed > 0 {
		why = " (" + b.soaked.codes() + ")"
	}
	how := "16 in flight"
	if b.SoakRate > 0 {
		how = fmt.Sprintf("%g arriving in a second", b.SoakRate)
	}
	b.printf("%s of load: warm, dns-01, %s, records in SQLite; %.0f validations/s, %d in all, %d not granted%s. Gate and one remote were looked at %d times. "+
		"Rise is that of a line through the second half, from its first to its last moment, with its standard error; it counts as one where it is more than three of these and more than a "+
		"twentieth of the value. Memory that is resident is what Go keeps, too, and the heap what is alive after a garbage collection.\n\n"+
		"| Process | What | First | Most | Second half: mean | Rise | Does it rise? |\n|---|---|---|---|---|---|---|\n", b.Soak, how, rate(len(b.soaked.Took), b.soaked.All), len(b.soaked.Took)+b.soaked.Failed,
		b.soaked.Failed, why, len(b.samples)/2)
	done := map[string]bool{}
	for _, s := range b.samples {
		if done[s.who] {
			continue
		}
		done[s.who] = true
		for i, what := range measures {
			var at, values []float64
			most := 0.0
			for _, o := range b.samples {
				if o.who != s.who {
					continue
				}
				most = max(most, o.values[i])
				if o.at >= b.Soak/2 {
					at, values = append(at, o.at.Seconds()), append(values, o.values[i])
				}
			}
			t, verdict := line(at, values), "no"
			if t.rises() {
				verdict = "yes"
			}
			b.printf("| %s | %s | %.1f | %.1f | %.1f | %+.2f ± %.2f | %s |\n", s.who, what, s.values[i], most, t.middle, t.rise, t.err, verdict)
		}
	}
}
