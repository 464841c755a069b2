package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// grown is a warm measurement with so many records in store, or so many remotes. beside is that of a gate with few records, in turns with it.
type grown struct {
	records, remotes int
	cell
	beside cell
}

// few is how many records the gate beside has at first.
const few = 1000

// measureGrowth measures what more records cost on each engine, and more remotes. It leaves all systems running.
func (b *bench) measureGrowth(ctx context.Context) error {
	var errs []error
	beside, err := b.small(ctx)
	if err != nil {
		return err
	}
	for _, s := range b.systems {
		if o, ok := s.(*ours); ok && ctx.Err() == nil {
			errs = append(errs, b.more(ctx, o, beside))
		}
	}
	errs = append(errs, beside.stop())
	remotes, _ := numbers(b.Remotes) // checked before
	for i, n := range remotes {
		if ctx.Err() == nil {
			errs = append(errs, b.wider(ctx, 5+i, n))
		}
	}
	return errors.Join(errs...)
}

// small starts a gate with few records on SQLite.
func (b *bench) small(ctx context.Context) (*ours, error) {
	o, err := newOurs(ctx, b.stage, 8, "few records", "sqlite: records.db")
	if err != nil {
		return nil, err
	}
	if err := o.start(); err != nil {
		return nil, err
	}
	return o, b.fill(ctx, o, few)
}

// more fills a store, in steps, with records that have real evidence (test/scale), and measures at each, in turns with a gate that has few: filling
// takes long, and the machine may be slower or faster when it is done.
func (b *bench) more(ctx context.Context, o, beside *ours) error {
	steps, _ := numbers(b.Records) // checked before
	for _, n := range steps {
		g := grown{records: n, cell: cell{system: o.name()}, beside: cell{system: beside.name()}}
		err := b.fill(ctx, o, n)
		for range b.Turns {
			if err == nil {
				err = b.steady(ctx, o, &g.cell, b.Each/time.Duration(b.Turns))
			}
			if err == nil {
				err = b.steady(ctx, beside, &g.beside, b.Each/time.Duration(b.Turns))
			}
		}
		if err != nil {
			return fmt.Errorf("%s, %d records: %w", o.name(), n, err)
		}
		progress("%s, %d records: %.0f/s %.0f, p50 %.1f ms, CPU %.1f; with few %.0f/s %.0f, CPU %.1f", o.name(), n, g.each(), g.rates, g.times.at(50), g.cpu, g.beside.each(), g.beside.rates, g.beside.cpu)
		b.grown = append(b.grown, g)
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

// steady adds a turn of a warm cell.
func (b *bench) steady(ctx context.Context, o *ours, sum *cell, limit time.Duration) error {
	if len(sum.rates) == 0 {
		if err := b.warm(ctx, o, "dns-01", false); err != nil {
			return err
		}
	}
	c, err := b.tried(ctx, o, cell{system: o.name(), method: "dns-01", cache: "warm", inFlight: 16}, limit)
	if err == nil {
		sum.add(c)
	}
	return err
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
	c := cell{system: o.name()}
	if err := b.steady(ctx, o, &c, b.Each); err != nil {
		return fmt.Errorf("%s: %w", o.name(), err)
	}
	progress("%d remotes: %.0f/s p50 %.1f ms, CPU %.1f, %.0f MiB", n, c.each(), c.times.at(50), c.cpu, c.memory)
	b.grown = append(b.grown, grown{remotes: n, cell: c})
	return nil
}

func (b *bench) growthTable() {
	b.printf("Warm, dns-01, 16 in flight. Records are filled up to that number by test/scale, each with the real evidence of a primary and five remotes; those that "+
		"validations made before are among them, and the measurement itself adds some thousand. Columns are as above. Each is measured in turns with a gate that has about %d records on SQLite: the last "+
		"column is rate and CPU divided by that one's, in parentheses the smallest and the largest rate's of one turn; filling takes long, and the machine is not as quick in each minute.\n\n"+
		"| In store | Engine | Validations/s | p50 ms | p99 ms | CPU s per 1000: gate | remotes | database | Gate's memory MiB | To few records on SQLite |\n|---|---|---|---|---|---|---|---|---|---|\n", few)
	for _, g := range b.grown {
		if g.records > 0 {
			b.printf("| %d records | %s | %.0f | %.1f | %.1f | %.2f | %.2f | %.2f | %.0f | %.2f%s, %.2f |\n", g.records, g.system, g.each(), g.times.at(50), g.times.at(99), g.cpu[0], g.cpu[1], g.cpu[3],
				g.memory[0], g.each()/g.beside.each(), spread(g.rates, g.beside.rates), g.cpuSum()/g.beside.cpuSum())
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
