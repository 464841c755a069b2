package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/test/document"
	"github.com/quorate/quorate/test/world"
)

// part is what is measured and written by itself.
type part struct {
	name    string
	measure func(b *bench, ctx context.Context) error
	// section is the part of the document that write fills.
	section string
	write   func(b *bench)
}

// parts are in the order in which they are measured: those that move remotes away for good are the last.
func parts() []part {
	return []part{
		{"near", (*bench).measureNear, "bench", (*bench).validations},
		{"upstream", (*bench).measureUpstream, "bench-upstream", (*bench).upstreamTable},
		{"failing", (*bench).measureFailing, "bench-failing", (*bench).failingTable},
		{"above", (*bench).measureAbove, "bench-above", (*bench).aboveTable},
		{"soak", (*bench).measureSoak, "bench-soak", (*bench).soakTable},
		{"growth", (*bench).measureGrowth, "bench-growth", (*bench).growthTable},
		{"lookups", (*bench).measureLookups, "bench-lookups", (*bench).lookupTable},
		{"far", (*bench).measureFar, "bench-far", (*bench).farTable},
	}
}

// check refuses settings that say nothing.
func (s settings) check() error {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	for name, list := range map[string][2]string{"parts": {s.Parts, strings.Join(names, ",")}, "systems": {s.Systems, "sqlite,postgres,boulder"},
		"methods": {s.Methods, "dns-01,http-01,tls-alpn-01"}, "caches": {s.Caches, "warm,new,cold"}} {
		for entry := range strings.SplitSeq(list[0], ",") {
			if entry == "" || !contains(list[1], entry) {
				return fmt.Errorf("-%s: %q is none of %s", name, entry, list[1])
			}
		}
	}
	for name, list := range map[string]string{"inflight": s.InFlight, "records": s.Records, "remotes": s.Remotes} {
		if _, err := numbers(list); err != nil {
			return fmt.Errorf("-%s: %w", name, err)
		}
	}
	if s.Turns < 1 || s.Each < time.Duration(s.Turns)*100*time.Millisecond {
		return fmt.Errorf("-turns and -each: %d turns in %s: there is at least one, and none of less than 100 ms", s.Turns, s.Each)
	}
	if s.SoakRate < 0 || s.SoakRate > 10000 {
		return fmt.Errorf("-soakrate: %g is no rate that could be kept", s.SoakRate)
	}
	remotes, _ := numbers(s.Remotes)
	if most := len(allSites) - 1; slices.Min(remotes) < 5 || slices.Max(remotes) > most {
		return fmt.Errorf("-remotes: there can be 5 to %d", most)
	}
	return nil
}

// numbers reads a list with commas.
func numbers(list string) ([]int, error) {
	var out []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no number of something", text)
		}
		out = append(out, n)
	}
	return out, nil
}

// all measures the parts that are wanted. One that fails says so in its section, and the others are measured all the same.
func (b *bench) all(ctx context.Context) map[string]string {
	sections := map[string]string{}
	for _, p := range parts() {
		if !b.part(p.name) || ctx.Err() != nil {
			continue
		}
		progress("part %s", p.name)
		began := time.Now()
		if err := p.measure(b, ctx); err != nil {
			progress("part %s: %v", p.name, err)
			b.failures = append(b.failures, failure{p.section, fmt.Sprintf("%s: %v", p.name, err)})
		}
		b.took[p.section] += time.Since(began)
		sections[p.section] = b.section(p)
	}
	return sections
}

// failure is a part, or one measurement of it, that came to nothing.
type failure struct{ section, text string }

// section writes one, with when and where and what failed.
func (b *bench) section(p part) string {
	var out strings.Builder
	b.report = &out
	p.write(b)
	for _, f := range b.failures {
		if f.section == p.section {
			first, _, _ := strings.Cut(f.text, "\n")
			b.printf("\nNot measured: %.300s\n", first)
		}
	}
	b.printf("\nMeasured on %s at %s, in %s; load average before %s, after %s.\n", time.Now().UTC().Format(time.DateOnly), b.Revision,
		b.took[p.section].Round(time.Second), b.before, loadAverage())
	return out.String()
}

// hand runs this program inside of the namespace, and puts what it writes where it belongs.
func (s settings) hand(cmd *exec.Cmd) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	cmd.Stdin = strings.NewReader(string(text))
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		if world.NoNamespace(err) {
			return fmt.Errorf("a network namespace is needed, for which one must be root: %w", err)
		}
		return fmt.Errorf("%w\n%s", err, tail(out.String()))
	}
	if s.Profile != "" {
		return nil
	}
	var sections map[string]string
	if err := json.Unmarshal([]byte(out.String()), &sections); err != nil {
		return err
	}
	return s.publish(sections)
}

// publish writes sections, in the order of parts.
func (s settings) publish(sections map[string]string) error {
	var errs []error
	for _, p := range parts() {
		text, ok := sections[p.section]
		if !ok {
			continue
		}
		delete(sections, p.section)
		if s.Write != "" {
			errs = append(errs, document.Replace(s.Write, p.section, text))
		} else if _, err := os.Stdout.WriteString(text + "\n"); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
