package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// trouble is something that is broken beside the validations.
type trouble struct {
	title, cache string
	// rules are for the packets, for the system that is measured.
	rules func(s system) []string
	// trip, if not 0, is how far the last remote is away.
	trip time.Duration
	// no says that nothing may be granted.
	no bool
}

// dead has rules for the last n remotes. One that refuses is a host whose process is gone; one that is silent is a host, or a way, that is.
func dead(n int, silent bool) func(s system) []string {
	return func(s system) (rules []string) {
		for i := len(sites) - n; i < len(sites); i++ {
			p := port(s.remote(i))
			if silent {
				rules = append(rules, "got tcp dport "+p+" drop", "got tcp sport "+p+" drop")
			} else {
				rules = append(rules, "got tcp dport "+p+" reject with tcp reset")
			}
		}
		return rules
	}
}

// server has a rule for one of the two addresses of the leaf zones' servers.
func server(verdict string) func(system) []string {
	return func(system) []string { return []string{"got ip daddr " + levels[2][1].String() + " " + verdict} }
}

// lossy loses packets to and from all name servers, each with that probability in percent.
func lossy(percent int) func(system) []string {
	return func(system) (rules []string) {
		for _, way := range []string{"daddr", "saddr"} {
			rules = append(rules, fmt.Sprintf("got ip %s %s numgen random mod 100 < %d drop", way, nameServers(), percent))
		}
		return rules
	}
}

func troubles() []trouble {
	return []trouble{
		{title: "nothing", cache: "warm"},
		{title: "one remote 2 s away", cache: "warm", trip: 2 * time.Second},
		{title: "one remote refuses connections", cache: "warm", rules: dead(1, false)},
		{title: "one remote silent", cache: "warm", rules: dead(1, true)},
		{title: "two remotes refuse", cache: "warm", rules: dead(2, false), no: true},
		{title: "two remotes silent", cache: "warm", rules: dead(2, true), no: true},
		{title: "nothing", cache: "cold"},
		{title: "one of two name servers refuses (ICMP)", cache: "cold", rules: server("reject with icmp type port-unreachable")},
		{title: "one of two name servers silent", cache: "cold", rules: server("drop")},
		{title: "10% of DNS packets lost", cache: "cold", rules: lossy(10)},
		{title: "30% of DNS packets lost", cache: "cold", rules: lossy(30)},
	}
}

// troubled is what came of a trouble.
type troubled struct {
	system string
	trouble
	times times
	// healed is how long after its end 16 validations together were granted again; below 0 if they were not within a minute.
	healed time.Duration
	wrong  string
}

// measureFailing has 16 validations in flight while something is broken, and then waits until all is well again.
func (b *bench) measureFailing(ctx context.Context) error {
	for _, t := range troubles() {
		for _, s := range b.storing(1) {
			got, err := b.suffer(ctx, s, t)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				progress("%s, %s: %v", s.name(), t.title, err)
				b.failures = append(b.failures, failure{"bench-failing", fmt.Sprintf("%s, %s: %v", s.name(), t.title, err)})
				continue
			}
			progress("%-17s %-38s %s: %3.0f/s p50 %.1f ms, %d of %d refused (%s), p50 %.1f ms, well after %s %s", s.name(), t.title, t.cache, rate(len(got.times.Took), got.times.All),
				got.times.at(50), got.times.Failed, got.times.Failed+len(got.times.Took), got.times.codes(), percentile(got.times.No, 50), got.healed.Round(time.Millisecond), got.wrong)
			b.troubled = append(b.troubled, got)
		}
	}
	return nil
}

func rate(n int, in time.Duration) float64 { return float64(n) / in.Seconds() }

func (b *bench) suffer(ctx context.Context, s system, t trouble) (got troubled, err error) {
	got = troubled{system: s.name(), trouble: t}
	l := load{Method: "dns-01", InFlight: 16, Zones: b.Zones, Limit: b.Each}
	// Whoever asks is started anew: what it has learned of remotes by the trouble before would change this one.
	if err := s.move(func(i int, at string) (string, error) {
		if i == len(sites)-1 && t.trip > 0 {
			return b.behind(at, t.trip)
		}
		return near(i, at)
	}); err != nil {
		return got, err
	}
	if t.trip > 0 {
		defer func() { err = errors.Join(err, s.move(near)) }()
	}
	if t.cache == "cold" {
		if err := s.empty(); err != nil {
			return got, err
		}
		l.Most = b.Zones
	} else if err := b.pass(ctx, s); err != nil {
		return got, err
	}
	if t.rules != nil {
		if err := filter(ctx, t.rules(s)...); err != nil {
			return got, err
		}
		defer func() { err = errors.Join(err, filter(context.WithoutCancel(ctx))) }()
	}
	if got.times, err = s.drive(ctx, l); err != nil {
		return got, err
	}
	if t.no && len(got.times.Took) > 0 {
		got.wrong = fmt.Sprintf("%d were granted without a quorum", len(got.times.Took))
	}
	if t.rules != nil {
		err = errors.Join(filter(ctx), b.heal(ctx, s, &got))
	}
	return got, err
}

// pass has names validated that will be asked for again; one slow remote may keep some of them out.
func (b *bench) pass(ctx context.Context, s system) error {
	t, err := s.drive(ctx, load{Method: "dns-01", InFlight: 16, Zones: b.Zones, Limit: b.Each, Most: b.Zones})
	if err == nil {
		err = t.check()
	}
	return err
}

// heal waits until validations are granted again.
func (b *bench) heal(ctx context.Context, s system, got *troubled) error {
	began := time.Now()
	for time.Since(began) < time.Minute {
		t, err := s.drive(ctx, load{Method: "dns-01", InFlight: 16, Zones: b.Zones, Limit: time.Minute, Most: 16})
		if err != nil {
			return err
		}
		if t.Failed == 0 {
			got.healed = time.Since(began)
			return nil
		}
	}
	got.healed = -1
	return nil
}

func (b *bench) failingTable() {
	b.printf("By dns-01, 16 in flight, remotes beside the gate; Quorate keeps its records in SQLite. The troubles begin when all is well and running, "+
		"and are those of nftables (and of a proxy that delays), the same for both. A remote that refuses is a process that is gone; a silent one has lost all packets, those of "+
		"connections that stand too. Lost packets are lost in each direction by itself, to and from all name servers. Warm cells take %s, and Unbound, beside Boulder, then answers from "+
		"its memory; cold ones ask each name once. Well again: how long after the end of the trouble 16 validations at once were all granted.\n\n"+
		"| Trouble | Memory | System | Granted/s | p50 ms | p99 ms | Not granted | p50 ms | p99 ms | how many, as what | Well again s |\n|---|---|---|---|---|---|---|---|---|---|---|\n", b.Each)
	for _, g := range b.troubled {
		healed := ""
		switch {
		case g.rules == nil:
		case g.healed < 0:
			healed = "more than 60"
		default:
			healed = fmt.Sprintf("%.1f", g.healed.Seconds())
		}
		t := g.times
		b.printf("| %s | %s | %s | %.0f | %.1f | %.1f | %.1f%% | %.1f | %.1f | %s | %s |\n", g.title, g.cache, strings.Split(g.system, ",")[0], rate(len(t.Took), t.All), t.at(50), t.at(99),
			100*float64(t.Failed)/float64(max(1, t.Failed+len(t.Took))), percentile(t.No, 50), percentile(t.No, 99), join(t.codes(), g.wrong), healed)
	}
	b.printf("\nWith two of five remotes dead four cannot corroborate, and nothing may be granted. What the callers are told then:\n\n")
	for _, g := range b.troubled {
		if g.no && g.times.Failed > 0 {
			b.printf("- %s, %s: `%.300s`\n", strings.Split(g.system, ",")[0], g.title, strings.ReplaceAll(g.times.Why, "\n", " "))
		}
	}
}

// join puts a semicolon between texts that are there.
func join(texts ...string) string {
	var out []string
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return strings.Join(out, "; ")
}
