package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// overload is what came of validations that arrive at a rate of several times the capacity.
type overload struct {
	system string
	// capacity is what was granted in a second with 128 in flight; factor is how many times that arrives.
	capacity, factor float64
	got              times
	memory           [3]float64
	cpu              [4]float64 // in processors
	// calm is what was granted in a second with 16 in flight before, and back how long after the end it took until nine tenths of that were; below 0 if
	// they were not within 15 s.
	calm float64
	back time.Duration
}

// mostWaiting is how many answers are waited for at a time; what would arrive beyond them is not sent.
const mostWaiting = 2000

// measureAbove has more validations arrive than can be carried out.
func (b *bench) measureAbove(ctx context.Context) error {
	var errs []error
	for _, s := range b.storing(1) {
		if err := b.above(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name(), err))
		}
	}
	return errors.Join(errs...)
}

func (b *bench) above(ctx context.Context, s system) error {
	if err := b.warm(ctx, s, "dns-01", false); err != nil {
		return err
	}
	at := load{Method: "dns-01", InFlight: 128, Zones: b.Zones, Limit: b.Each}
	most, err := s.drive(ctx, at)
	if err == nil {
		err = most.check()
	}
	if err != nil {
		return err
	}
	at.InFlight = 16
	calm, err := s.drive(ctx, at)
	if err == nil {
		err = calm.check()
	}
	if err != nil {
		return err
	}
	for _, factor := range []float64{1, 2, 10} {
		o := overload{system: s.name(), capacity: rate(len(most.Took), most.All), factor: factor, calm: rate(len(calm.Took), calm.All)}
		if err := b.arrive(ctx, s, &o); err != nil {
			return err
		}
		progress("%-17s %2.0f x %.0f/s: %.0f/s granted, p50 %.0f p99 %.0f ms; %.0f/s not, p50 %.0f p99 %.0f ms (%s); %d not sent; %.0f MiB; back after %s", o.system, factor, o.capacity,
			rate(len(o.got.Took), o.got.All), o.got.at(50), o.got.at(99), rate(o.got.Failed, o.got.All), percentile(o.got.No, 50), percentile(o.got.No, 99), o.got.codes(), o.got.Unbegun, o.memory, o.back)
		b.loads = append(b.loads, o)
	}
	return nil
}

func (b *bench) arrive(ctx context.Context, s system, o *overload) error {
	before, err := b.meter(ctx, s, true)
	if err != nil {
		return err
	}
	if o.got, err = s.drive(ctx, load{Method: "dns-01", InFlight: mostWaiting, Zones: b.Zones, Limit: 2 * b.Each, Rate: o.factor * o.capacity}); err != nil {
		return err
	}
	ended := time.Now()
	after, err := b.meter(ctx, s, false)
	if err != nil {
		return err
	}
	o.memory = after.memory
	for i := range o.cpu {
		o.cpu[i] = (after.cpu[i] - before.cpu[i]).Seconds() / o.got.All.Seconds()
	}
	for o.back = -1; time.Since(ended) < 15*time.Second; {
		t, err := s.drive(ctx, load{Method: "dns-01", InFlight: 16, Zones: b.Zones, Limit: time.Second})
		if err != nil {
			return err
		}
		if t.check() == nil && rate(len(t.Took), t.All) >= .9*o.calm {
			o.back = time.Since(ended)
			break
		}
	}
	return nil
}

func (b *bench) aboveTable() {
	b.printf("Capacity is what is granted in a second with 128 in flight. Then validations arrive at a multiple of it for %s, answered or not; up to %d answers are waited for at a time, "+
		"and what would arrive beyond is not sent. What makes the load runs on the same processors, and takes more of them the more arrives. Back: how long after the last answer "+
		"until, with 16 in flight, nine tenths of what was granted before were granted in a second (one second is the least that is measured).\n\n"+
		"| System | Capacity/s | Arriving | Granted/s | p50 ms | p99 ms | Not granted/s | p50 ms | p99 ms | how many, as what | Not sent | Memory MiB | Processors used | Back s |\n"+
		"|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n", 2*b.Each, mostWaiting)
	for _, o := range b.loads {
		t, back := o.got, "more than 15"
		if o.back >= 0 {
			back = fmt.Sprintf("%.1f", o.back.Seconds())
		}
		b.printf("| %s | %.0f | x %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %s | %d | %.0f, %.0f, %.0f | %.1f | %s |\n", o.system, o.capacity, o.factor, rate(len(t.Took), t.All), t.at(50), t.at(99),
			rate(t.Failed, t.All), percentile(t.No, 50), percentile(t.No, 99), strings.ReplaceAll(t.codes(), "|", "/"), t.Unbegun, o.memory[0], o.memory[1], o.memory[2],
			o.cpu[0]+o.cpu[1]+o.cpu[2]+o.cpu[3], back)
	}
}
