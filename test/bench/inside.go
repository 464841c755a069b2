package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/test/child"
	"github.com/quorate/quorate/test/delay"
	"github.com/quorate/quorate/test/world"
)

// processes are those that work for one system.
type processes struct {
	main, remotes, resolvers, others []int
}

func (p processes) all() [][]int { return [][]int{p.main, p.remotes, p.resolvers, p.others} }

// system is whom the same load is given.
type system interface {
	name() string
	// empty empties the memories of its resolvers.
	empty() error
	// move gives the remotes the addresses that far gives for their own, and starts anew whoever asks them.
	move(far func(i int, at string) (string, error)) error
	// remote is where the remote i listens.
	remote(i int) string
	pids() processes
	drive(ctx context.Context, l load) (times, error)
	stop() error
}

// bench is one run.
type bench struct {
	settings
	stage    *stage
	systems  []system
	far      *child.Child
	cells    []cell
	lookups  []lookup
	flows    []flow
	troubled []troubled
	grown    []grown
	loads    []overload
	samples  []sample
	soaked   times
	failures []failure
	took     map[string]time.Duration // by section
	before   string                   // the load average
	report   io.Writer
}

// inside measures, in the namespace.
func inside(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	b := &bench{before: loadAverage(), took: map[string]time.Duration{}}
	if err := json.NewDecoder(in).Decode(&b.settings); err != nil {
		return err
	}
	if err := world.Settle(addresses()...); err != nil {
		return err
	}
	progress("signing %d zones", b.Zones)
	if b.stage, err = newStage(b.settings); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	if b.Profile != "" {
		return b.profile(ctx)
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	sections := b.all(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(sections)
}

func (b *bench) measureNear(ctx context.Context) error {
	b.measure(ctx, false, b.Methods)
	return nil
}

func (b *bench) measureFar(ctx context.Context) error {
	if err := b.goFar(); err != nil {
		return err
	}
	b.measure(ctx, true, "dns-01")
	return nil
}

func near(_ int, at string) (string, error) { return at, nil }

func (b *bench) start(ctx context.Context) error {
	for number, s := range []struct {
		name, title, journal string
		others               []int
	}{{"sqlite", "Quorate, SQLite", "sqlite: records.db", nil},
		{"postgres", "Quorate, Postgres", "postgres: " + strconv.Quote(b.Postgres), []int{b.PostgresPID}}} {
		if !b.has(s.name) {
			continue
		}
		progress("starting %s", s.title)
		o, err := newOurs(ctx, b.stage, number, s.title, s.journal)
		if err != nil {
			return err
		}
		o.others = s.others
		if err := o.start(); err != nil {
			return err
		}
		b.systems = append(b.systems, o)
	}
	if b.has("boulder") {
		progress("starting Boulder")
		s, err := startBoulder(b.stage, near)
		if err != nil {
			return err
		}
		b.systems = append(b.systems, s)
	}
	return nil
}

func (b *bench) stop() error {
	var errs []error
	for _, s := range b.systems {
		errs = append(errs, s.stop())
	}
	if b.far != nil {
		errs = append(errs, b.far.Stop())
	}
	return errors.Join(append(errs, b.stage.close())...)
}

// trips are the round trips to the remotes.
var trips = []time.Duration{20 * time.Millisecond, 60 * time.Millisecond, 90 * time.Millisecond, 150 * time.Millisecond, 200 * time.Millisecond}

// goFar puts each system's remotes behind ways of 20 to 200 ms.
func (b *bench) goFar() error {
	for _, s := range b.systems {
		if err := s.move(func(i int, at string) (string, error) { return b.behind(at, trips[i-1]) }); err != nil {
			return err
		}
	}
	return nil
}

// behind gives an address behind which another one is that far away.
func (b *bench) behind(at string, trip time.Duration) (addr string, err error) {
	if b.far == nil {
		if b.far, err = child.Spawn("far", []string{}, nil); err != nil {
			return "", err
		}
	}
	err = b.far.Ask([]string{at, trip.String()}, &addr)
	return addr, err
}

// beFar is the process that delays: each command is a target and a round trip, its answer the address in front of it.
func beFar(in io.Reader, out io.Writer) (err error) {
	var ways []*delay.Proxy
	defer func() {
		for _, p := range ways {
			err = errors.Join(err, p.Close())
		}
	}()
	return child.Obey(in, out, func(command string) (any, error) {
		var args []string
		if err := json.Unmarshal([]byte(command), &args); err != nil || len(args) != 2 {
			return nil, err
		}
		rtt, err := time.ParseDuration(args[1])
		if err != nil {
			return nil, err
		}
		p, err := delay.New("127.0.0.1", args[0], rtt)
		if err != nil {
			return nil, err
		}
		ways = append(ways, p)
		return p.Addr(), nil
	})
}

// profile has CPU and allocation profiles of gate and first remote written while as many validations are in flight as -inflight says first.
func (b *bench) profile(ctx context.Context) error {
	if err := os.MkdirAll(b.Profile, 0o700); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	counts, _ := numbers(b.InFlight) // checked before
	o, ok := b.systems[0].(*ours)
	if !ok {
		return errors.New("-profile is of Quorate: -systems sqlite or postgres")
	}
	for cache := range strings.SplitSeq(b.Caches, ",") {
		if cache == "cold" {
			if err := o.empty(); err != nil {
				return err
			}
		} else if err := b.warm(ctx, o, "dns-01", cache == "new"); err != nil {
			return err
		}
		limit := b.Each
		most := 0
		if cache == "cold" {
			most = b.Zones
		}
		type result struct {
			t   times
			err error
		}
		done := make(chan result, 1)
		go func() {
			t, err := o.drive(ctx, load{Method: "dns-01", InFlight: counts[0], Zones: b.Zones, Fresh: cache == "new", Limit: limit, Most: most})
			done <- result{t, err}
		}()
		files := make(chan error, 2)
		for i, who := range []string{"gate", "remote"} {
			go func() {
				text, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%d", o.metrics(i), int(limit.Seconds())))
				if err == nil {
					err = os.WriteFile(filepath.Join(b.Profile, who+"-"+cache+".cpu"), text, 0o600)
				}
				if err == nil {
					text, err = get(ctx, fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/allocs", o.metrics(i)))
				}
				if err == nil {
					err = os.WriteFile(filepath.Join(b.Profile, who+"-"+cache+".allocs"), text, 0o600)
				}
				files <- err
			}()
		}
		r := <-done
		if err := errors.Join(r.err, r.t.check(), <-files, <-files); err != nil {
			return err
		}
		progress("%s: %d validations in %s, p50 %.1f ms", cache, len(r.t.Took), r.t.All.Round(time.Millisecond), r.t.at(50))
	}
	return nil
}
