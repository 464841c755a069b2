package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// flow is what goes over the wire for one validation.
type flow struct {
	system, method, cache string
	queries               float64
	packets, octets       [4]float64 // by counter
}

// measureUpstream has each name validated once, by each system, while packets are counted. That is by itself because counting costs time.
func (b *bench) measureUpstream(ctx context.Context) error {
	for _, method := range []string{"dns-01", "http-01"} {
		for _, cache := range []string{"warm", "cold"} {
			for _, s := range b.storing(1) {
				f, err := b.flow(ctx, s, method, cache)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					b.failures = append(b.failures, failure{"bench-upstream", fmt.Sprintf("%s, %s, %s: %v", s.name(), method, cache, err)})
					continue
				}
				progress("%-17s %s %s: %.1f queries, octets %.0f", s.name(), method, cache, f.queries, f.octets)
				b.flows = append(b.flows, f)
			}
		}
	}
	return nil
}

// storing has the systems with no more than so many of ours: whether SQLite or Postgres keeps the records makes no difference to what is measured.
func (b *bench) storing(most int) []system {
	var out []system
	for _, s := range b.systems {
		if _, ok := s.(*ours); ok {
			if most--; most < 0 {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

func (b *bench) flow(ctx context.Context, s system, method, cache string) (f flow, err error) {
	f = flow{system: s.name(), method: method, cache: cache}
	if cache == "warm" {
		err = b.warm(ctx, s, method, false)
	} else {
		err = s.empty()
	}
	if err != nil {
		return f, err
	}
	if err := filter(ctx, count(s)...); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, filter(context.WithoutCancel(ctx))) }()
	before, err := b.stage.queries()
	if err != nil {
		return f, err
	}
	if err := b.warm(ctx, s, method, false); err != nil { // each name once more
		return f, err
	}
	after, err := b.stage.queries()
	if err != nil {
		return f, err
	}
	all, err := counted(ctx)
	f.queries = float64(after-before) / float64(b.Zones)
	for i, t := range all {
		f.packets[i], f.octets[i] = float64(t.packets)/float64(b.Zones), float64(t.octets)/float64(b.Zones)
	}
	return f, err
}

func (b *bench) upstreamTable() {
	b.printf("For one validation, all perspectives together, each name once, 16 in flight, counted by nftables and NSD; octets are with the headers of IP, " +
		"UDP and TCP. Queries are what NSD had; packets and octets are those to and from the name servers, and between gate and remotes (TCP, its " +
		"acknowledgements, TLS, and new connections where the processes were started anew).\n\n" +
		"| Method | Memory | System | Queries | Packets to name servers | KB to | KB from | KB to remotes | KB from remotes |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range b.flows {
		b.printf("| %s | %s | %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f |\n", f.method, f.cache, strings.Split(f.system, ",")[0], f.queries, f.packets[0], f.octets[0]/1000,
			f.octets[1]/1000, f.octets[2]/1000, f.octets[3]/1000)
	}
}
