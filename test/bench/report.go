package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// loadAverage is the machine's over the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(b.report, format, args...) }

// validations has whole validations with the remotes beside the gate, and what the columns mean; farTable those with remotes far away.
func (b *bench) validations() {
	b.heading()
	b.table(false)
}

func (b *bench) farTable() { b.table(true) }

func (b *bench) heading() {
	b.printf("The machine: %s.\n\n", machine())
	b.printf("One validation is DCV and CAA of one name; five remotes, four needed; %d signed zones (ECDSA P-256, NSEC3) on NSD, everything on one machine in a "+
		"network namespace, name servers, web host and load included. A gate (or boulder-va) and each remote is a process. Quorate resolves by itself, "+
		"and writes each record durably to its log before it answers; it is asked over REST. Boulder (v0.20260901.0) has an Unbound beside each "+
		"VA, which remembers all answers for their TTL where it is warm, and keeps no records; it is asked by gRPC, DoDCV and then DoCAA, as its RA does.\n\n", b.Zones)
	b.printf("- Each cell is measured in %d turns, each system's once and then each again, for %s in all: what else happens on the machine is shared out.\n", b.Turns, b.Each)
	b.printf("- Warm: each name was validated shortly before. Quorate asks the name servers for challenges, addresses and CAA all the same, and remembers only " +
		"keys and delegations; Unbound has all answers in its memory, also the challenge, which in practice is another one each time. New: the same, but challenges, addresses and CAA " +
		"records have a TTL of 0, so that nobody can remember them: keys and delegations are known, and all else is asked for. Cold: Quorate's processes are started anew, Unbound's " +
		"memories are emptied, and then each name is validated once. Before each turn, twice as many validations as are in flight are made that do not count " +
		"(where it is cold, in other zones): connections are open by then. To open one costs gate and remote about a millisecond together, and at 128 in flight there are 640.\n")
	b.printf("- CPU is that of all processes of a system (/proc/PID/stat), in seconds for a thousand validations: in all, and of gate or VA, remotes, " +
		"Unbounds, and PostgreSQL. What asks, serves DNS and web, or delays is not in it.\n" +
		"- Memory is the most that was resident, in MiB, of gate or VA, of the largest remote, and of the largest Unbound.\n" +
		"- Queries are those that NSD counted, for each validation. Allocations are those of the gate and of one remote, in objects.\n" +
		"- To Boulder: validations per second, p50 and CPU, ours divided by theirs in the same cell; in parentheses the smallest and the largest rate's of one turn.\n\n")
}

// machine describes where this runs.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	var kib int64
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		_, _ = fmt.Sscanf(string(text), "MemTotal: %d kB", &kib)
	}
	first := func(name string, args ...string) string {
		out, err := exec.Command(program(name), args...).CombinedOutput()
		line, _, _ := strings.Cut(string(out), "\n")
		if line == "" && err != nil {
			line = name + " of an unknown version"
		}
		return strings.Replace(line, "Version", "Unbound", 1)
	}
	return fmt.Sprintf("%d processors (%s), %d GiB, Linux %s, %s, %s, %s", runtime.NumCPU(), model, kib>>20, strings.TrimSpace(string(kernel)), runtime.Version(),
		first("unbound", "-V"), first("nsd", "-v"))
}

// table has the rows of a distance, the systems of one cell below one another.
func (b *bench) table(far bool) {
	if !slices.ContainsFunc(b.cells, func(c cell) bool { return c.far == far }) {
		return
	}
	title := "Remotes beside the gate"
	if far {
		title = "Remotes 20, 60, 90, 150 and 200 ms away"
	}
	b.printf("### %s\n", title)
	if far {
		b.printf("\nFour of the five are needed: nobody can answer before the fourth, whose round trip is 150 ms, has.\n")
	}
	b.printf("\n| Method | Memory | In flight | System | Validations/s | p50 ms | p99 ms | CPU s per 1000 | of these | Memory MiB | Queries | Allocations | " +
		"To Boulder: rate, p50, CPU |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range b.cells {
		if c.far != far {
			continue
		}
		allocations, ratio := "", ""
		if c.mallocs[0] > 0 {
			allocations = fmt.Sprintf("%.0f + %.0f", c.mallocs[0], c.mallocs[1])
		}
		if peer, ok := b.peer(c); ok {
			ratio = fmt.Sprintf("%.2f%s, %.2f, %.2f", c.each()/peer.each(), spread(c.rates, peer.rates), c.times.at(50)/peer.times.at(50), c.cpuSum()/peer.cpuSum())
		}
		failures := ""
		if c.times.Failed > 0 {
			failures = fmt.Sprintf(" (%d failed)", c.times.Failed)
		}
		b.printf("| %s | %s | %d | %s | %.0f%s | %.1f | %.1f | %.1f | %.1f + %.1f + %.1f + %.1f | %.0f, %.0f, %.0f | %.1f | %s | %s |\n", c.method, c.cache, c.inFlight, c.system,
			c.each(), failures, c.times.at(50), c.times.at(99), c.cpuSum(), c.cpu[0], c.cpu[1], c.cpu[2], c.cpu[3], c.memory[0], c.memory[1], c.memory[2],
			c.queries, allocations, ratio)
	}
}

// peer is Boulder's measurement of the same cell.
func (b *bench) peer(c cell) (cell, bool) {
	for _, o := range b.cells {
		if o.system == boulderTitle && c.system != boulderTitle && o.method == c.method && o.cache == c.cache && o.inFlight == c.inFlight && o.far == c.far {
			return o, true
		}
	}
	return cell{}, false
}

// spread is the smallest and the largest ratio of two rates of the same turn.
func spread(ours, theirs []float64) string {
	if len(ours) < 2 || len(ours) != len(theirs) {
		return ""
	}
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	return fmt.Sprintf(" (%.2f to %.2f)", slices.Min(ratios), slices.Max(ratios))
}

func (b *bench) lookupTable() {
	if len(b.lookups) == 0 {
		return
	}
	b.printf("### Cold CAA lookups, validated: Quorate's resolver / Unbound\n\nBoth are asked over UDP; each zone once, with an empty memory at the start.\n\n" +
		"| In flight | p50 ms | p99 ms | Lookups/s | CPU ms per lookup | p50 to Unbound's |\n|---|---|---|---|---|---|\n")
	for _, l := range b.lookups {
		rate := func(t times) float64 { return float64(len(t.Took)) / t.All.Seconds() }
		b.printf("| %d | %.2f / %.2f | %.2f / %.2f | %.0f / %.0f | %.2f / %.2f | %.2f |\n", l.inFlight, l.times[0].at(50), l.times[1].at(50), l.times[0].at(99),
			l.times[1].at(99), rate(l.times[0]), rate(l.times[1]), l.cpu[0], l.cpu[1], l.times[0].at(50)/l.times[1].at(50))
	}
}
