package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const preface = `## The resolver

Written by %s (folder %s); run it again for figures of your own machine. Times say something
only beside others of the same run: the machine has few processors, and everything shares them.

- Machine: %d processors (%s), %s; load average at the start %s.
- Quorate at commit %s, %s. Unbound %s from Debian, in its default configuration with one thread for each processor,
  and without RFC 8145 signals, which Quorate does not send either.
- Four processes on this machine: the world's name servers (Go, a signed root, com, %d zones below it and one zone of
  %d names; ECDSA P-256, NSEC3), Quorate's resolver, Unbound, and the one that asks. Both resolvers are asked over UDP
  by the same client. Quorate's has a small front for the purpose, whose cost is counted as its own; the CA calls the
  resolver within its process.
- Both follow referrals from the root, with QNAME minimisation, and validate. An answer that was not validated, or not
  the one due, is a failure: its time is left out, it is told beside the figure, and one in a hundred ends the run.
- CPU is that of the resolver's process alone, as the scheduler counts it (/proc/PID/task/*/schedstat); memory is VmRSS
  and VmHWM. In all columns with two figures, the first is Quorate's and the second Unbound's.
`

func (b *bench) heading(place) error {
	b.printf(preface, "`make speed`", "`test/speed`", runtime.NumCPU(), processor(), kernel(), load(), commit(),
		runtime.Version(), b.unbound.version, leaves, names)
	return nil
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return "Linux " + strings.TrimSpace(string(text))
}

func commit() string {
	out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// kind is a question of the table: a label before the name, a type, and how many records answer it.
type kind struct {
	title, before string
	qtype         uint16
	records       int
}

var kinds = []kind{
	{"CAA", "", dns.TypeCAA, 1},
	{"CAA, none", "www.", dns.TypeCAA, 0},
	{"TXT", "_acme-challenge.", dns.TypeTXT, 1},
	{"A", "", dns.TypeA, 1},
}

// The states of a resolver's memory.
const (
	empty   = "empty"
	zone    = "new zone"
	name    = "new name"
	sameOne = "same name"
)

const legend = `
Memory before each lookup:

- **%s**: nothing is known, neither the root's keys nor com; n lookups of different zones start at once, and the memory
  is emptied after them. The cost of emptying is measured alone and taken away.
- **%s**: the root and com are known; each lookup is of a zone below com that was not asked before.
- **%s**: the zone, its servers and its keys are known; each lookup is of a name in it that was not asked before. This is
  the warm lookup that can be compared: Quorate never keeps answers, and this way Unbound has none to give either.
- **%s**: the same name again and again. Quorate fetches and validates the answer each time, as a CA must; Unbound gives it
  from its memory. (Unbound's cache-max-ttl: 0 would forget keys and delegations too, and so compares nothing.)

Where a question is not for A, Unbound's QNAME minimisation asks for A at the name first; Quorate's does not.
`

// lookups writes the table of lookups beside Unbound.
func (b *bench) lookups() error {
	b.printf("\n## Lookups beside Unbound\n"+legend, empty, zone, name, sameOne)
	start, err := b.memories()
	if err != nil {
		return err
	}
	if err := b.lookupTable("Name servers near", b.each, kinds); err != nil {
		return err
	}
	full, err := b.memories()
	if err != nil {
		return err
	}
	const away = 20 * time.Millisecond
	if err := b.world.Call("delay "+away.String(), nil); err != nil {
		return err
	}
	title := fmt.Sprintf("Name servers that answer %s later", away)
	if err := b.lookupTable(title, 2*b.each, []kind{kinds[0], kinds[3]}); err != nil {
		return err
	}
	if err := b.world.Call("delay 0s", nil); err != nil {
		return err
	}
	b.printf("\n### Memory\n\n| | Quorate's resolver, MiB | Unbound, MiB |\n|---|---|---|\n")
	b.printf("| at the start | %.0f | %.0f |\n", start[0], start[2])
	b.printf("| after the table of near name servers | %.0f | %.0f |\n", full[0], full[2])
	b.printf("| at the most | %.0f | %.0f |\n", full[1], full[3])
	return nil
}

// memories are the resident memory of Quorate's resolver, its peak, and those of Unbound.
func (b *bench) memories() (m [4]float64, err error) {
	if m[0], m[1], err = memory(b.quorate.pid()); err != nil {
		return m, err
	}
	m[2], m[3], err = memory(b.unbound.pid())
	return m, err
}

func (b *bench) lookupTable(title string, each time.Duration, kinds []kind) error {
	b.printf("\n### %s\n\nLoad average before: %s.\n\n", title, load())
	b.printf("| Memory | Question | In flight | p50 ms | p99 ms | Lookups/s | CPU ms per lookup | p50 to Unbound's |\n" +
		"|---|---|---|---|---|---|---|---|\n")
	worst := 0.0 // of the cold lookups
	for _, state := range []string{empty, zone, name, sameOne} {
		for i, k := range kinds {
			if state == sameOne && i > 0 {
				continue // one will do for what a memory of answers is worth
			}
			for _, n := range []int{1, 16, 128} {
				progress("%s, %s, %s, %d", title, state, k.title, n)
				var ours, theirs cell
				var err error
				if ours, err = b.cell(b.quorate, state, k, n, each); err == nil {
					theirs, err = b.cell(b.unbound, state, k, n, each)
				}
				if err != nil {
					return fmt.Errorf("%s, %s, %d: %w", state, k.title, n, err)
				}
				ratio := "-" // an answer from memory is another thing
				if state != sameOne {
					ratio = fmt.Sprintf("%.1f", ours.at(50)/theirs.at(50))
				}
				if state == empty || state == zone {
					worst = max(worst, ours.at(50)/theirs.at(50))
				}
				b.printf("| %s | %s | %d | %.2f / %.2f | %.2f / %.2f | %.0f%s / %.0f%s | %.2f / %.2f | %s |\n", state, k.title, n,
					ours.at(50), theirs.at(50), ours.at(99), theirs.at(99), ours.each, ours.failures(),
					theirs.each, theirs.failures(),
					milliseconds(ours.cpu), milliseconds(theirs.cpu), ratio)
			}
		}
	}
	b.printf("\nLoad average after: %s. The goal is a cold lookup (%s, %s) within 1.5 times Unbound's latency; the largest "+
		"ratio of the p50 is %.1f.\n", load(), empty, zone, worst)
	return nil
}

// cell is one measurement of one system.
type cell struct {
	times
	cpu time.Duration // per lookup
}

func (b *bench) cell(s system, state string, k kind, n int, limit time.Duration) (cell, error) {
	if state == empty {
		return b.emptyCell(s, k, n, limit)
	}
	if err := b.prime(s, k); err != nil {
		return cell{}, err
	}
	questions := map[string]int{zone: leaves, name: names - 1, sameOne: 1 << 30}[state]
	before, err := cpu(s.pid())
	if err != nil {
		return cell{}, err
	}
	t, err := together(s.address(), n, questions, limit, func(conn net.Conn, i int) (time.Duration, error) {
		switch state {
		case zone:
			return proven(conn, k.before+leaf(i), k.qtype, k.records)
		case name:
			return proven(conn, k.before+warm(i), k.qtype, k.records)
		}
		return proven(conn, k.before+warm(names-1), k.qtype, k.records)
	})
	if err != nil {
		return cell{}, err
	}
	after, err := cpu(s.pid())
	return cell{t, (after - before) / time.Duration(max(len(t.took), 1))}, err
}

// prime empties a memory and looks one name of the warm zone up, so that its chain is known.
func (b *bench) prime(s system, k kind) error {
	if err := s.reset(); err != nil {
		return err
	}
	conn, err := net.Dial("udp", s.address())
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = proven(conn, k.before+warm(names-1), k.qtype, k.records)
	return err
}

// emptyCell empties the memory before each n lookups that go out at once.
func (b *bench) emptyCell(s system, k kind, n int, limit time.Duration) (cell, error) {
	reset, err := resetCost(s)
	if err != nil {
		return cell{}, err
	}
	var c cell
	var busy time.Duration
	before, err := cpu(s.pid())
	if err != nil {
		return c, err
	}
	resets := 0
	for began := time.Now(); time.Since(began) < limit; resets++ {
		if err := s.reset(); err != nil {
			return c, err
		}
		first := resets * n
		round, err := together(s.address(), n, n, time.Hour, func(conn net.Conn, i int) (time.Duration, error) {
			return proven(conn, k.before+leaf((first+i)%leaves), k.qtype, k.records)
		})
		if err != nil {
			return c, err
		}
		c.took = append(c.took, round.took...)
		c.failed += round.failed
		busy += time.Duration(float64(len(round.took)) / round.each * float64(time.Second))
	}
	after, err := cpu(s.pid())
	slices.Sort(c.took)
	c.each = float64(len(c.took)) / busy.Seconds()
	c.cpu = max(after-before-time.Duration(resets)*reset, 0) / time.Duration(len(c.took))
	return c, err
}

// resetCost is the CPU of emptying a memory.
func resetCost(s system) (time.Duration, error) {
	const times = 20
	if err := s.reset(); err != nil {
		return 0, err
	}
	before, err := cpu(s.pid())
	if err != nil {
		return 0, err
	}
	for range times {
		if err := s.reset(); err != nil {
			return 0, err
		}
	}
	after, err := cpu(s.pid())
	return (after - before) / times, err
}
