package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
)

// grown is a warm measurement with so many records in store, or so many remotes.
type grown struct {
	records, remotes int
	cell
}

// measureGrowth measures what more records cost on each engine, and more remotes. It leaves all systems running.
func (b *bench) measureGrowth(ctx context.Context) error {
	var errs []error
	for _, s := range b.systems {
		if o, ok := s.(*ours); ok && ctx.Err() == nil {
			errs = append(errs, b.more(ctx, o))
		}
	}
	remotes, _ := numbers(b.Remotes) // checked before
	for i, n := range remotes {
		if ctx.Err() == nil {
			errs = append(errs, b.wider(ctx, 5+i, n))
		}
	}
	return errors.Join(errs...)
}

// more fills a store, in steps, with records that have real evidence (test/scale), and measures at each.
func (b *bench) more(ctx context.Context, o *ours) error {
	steps, _ := numbers(b.Records) // checked before
	for _, n := range steps {
		c, err := cell{}, b.fill(ctx, o, n)
		if err == nil {
			c, err = b.steady(ctx, o)
		}
		if err != nil {
			return fmt.Errorf("%s, %d records: %w", o.name(), n, err)
		}
		b.grown = append(b.grown, grown{records: n, cell: c})
	}
	return nil
}

// fill adds what is missing up to n records, while nothing else uses the store.
func (b *bench) fill(ctx context.Context, o *ours, n int) error {
	progress("%s: %d records", o.name(), n)
	if err := o.stop(); err != nil {
		return err
	}
	args := []string{"-fill", "-n", strconv.Itoa(n), "-dir", filepath.Join(o.dir, "gate")}
	if o.others != nil {
		args = append(args, "-postgres", b.Postgres)
	}
	_, err := command(ctx, "", filepath.Join(b.Dir, "scale"), args...)
	return errors.Join(err, o.start())
}

// steady is a warm cell.
func (b *bench) steady(ctx context.Context, o *ours) (cell, error) {
	if err := b.warm(ctx, o, "dns-01", false); err != nil {
		return cell{}, err
	}
	c, err := b.tried(ctx, o, cell{system: o.name(), method: "dns-01", cache: "warm", inFlight: 16}, b.Each)
	if err == nil {
		progress("%v: %.0f/s p50 %.1f ms, CPU %.1f, %.0f MiB", c, c.each(), c.times.at(50), c.cpu, c.memory)
	}
	return c, err
}

// wider measures a gate of its own with n remotes.
func (b *bench) wider(ctx context.Context, number, n int) (err error) {
	o, err := newOurs(ctx, b.stage, number, fmt.Sprintf("Quorate, %d remotes", n), "sqlite: records.db")
	if err != nil {
		return err
	}
	if err := o.grow(ctx, n); err != nil {
		return err
	}
	if err := o.start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.stop()) }()
	c, err := b.steady(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", o.name(), err)
	}
	b.grown = append(b.grown, grown{remotes: n, cell: c})
	return nil
}

func (b *bench) growthTable() {
	b.printf("Warm, dns-01, 16 in flight. Records are filled up to that number by test/scale, each with the real evidence of a primary and five remotes; those that " +
		"validations made before are among them, and the measurement itself adds some thousand. Columns are as above.\n\n" +
		"| In store | Engine | Validations/s | p50 ms | p99 ms | CPU s per 1000: gate | remotes | database | Gate's memory MiB |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, g := range b.grown {
		if g.records > 0 {
			b.printf("| %d records | %s | %.0f | %.1f | %.1f | %.2f | %.2f | %.2f | %.0f |\n", g.records, g.system, g.each(), g.times.at(50), g.times.at(99), g.cpu[0], g.cpu[1], g.cpu[3],
				g.memory[0])
		}
	}
	b.printf("\n| Remotes | Validations/s | p50 ms | p99 ms | CPU s per 1000: gate | remotes | for each remote | Gate's memory MiB | Queries |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, g := range b.grown {
		if g.remotes > 0 {
			b.printf("| %d | %.0f | %.1f | %.1f | %.2f | %.2f | %.2f | %.0f | %.1f |\n", g.remotes, g.each(), g.times.at(50), g.times.at(99), g.cpu[0], g.cpu[1], g.cpu[1]/float64(g.remotes),
				g.memory[0], g.queries)
		}
	}
}
