package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALoadAsksNoMoreThanItIsTold(t *testing.T) {
	var asked atomic.Int64
	got, err := load{InFlight: 4, Limit: time.Minute, Most: 10}.run(t.Context(), func(i int) error {
		asked.Add(1)
		if i == 3 {
			return errors.New("refused")
		}
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 10, asked.Load())
	require.Len(t, got.Took, 9)
	require.Equal(t, 1, got.Failed)
	require.ErrorContains(t, got.check(), "1 of 10, one of them: refused", "one in ten is no measurement")
	require.Error(t, times{Failed: 1, Why: "all"}.check())
	require.NoError(t, times{Took: make([]time.Duration, 100), Failed: 1}.check())
}

// TestProcessorTimeIsThatOfTheWholeTree: what a child's child uses, and what one used that has ended, is counted.
func TestProcessorTimeIsThatOfTheWholeTree(t *testing.T) {
	const work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
	cmd := exec.Command("sh", "-c", "sh -c '"+work+"'; sh -c '"+work+"; echo done; read end'; true")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 5))
	require.NoError(t, err)
	pids, err := tree([]int{cmd.Process.Pid})
	require.NoError(t, err)
	require.Len(t, pids, 2)
	all, err := cpu([]int{cmd.Process.Pid})
	require.NoError(t, err)
	running, err := cpu(pids[1:])
	require.NoError(t, err)
	require.Positive(t, running)
	require.Greater(t, all, running)
	most, err := peak(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, most, 1.0)
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
}

func TestTheTableComparesWithBoulderInTheSameCell(t *testing.T) {
	var out strings.Builder
	second := func(n int) times { return times{Took: make([]time.Duration, n), All: time.Second} }
	slow := second(100)
	for i := range slow.Took {
		slow.Took[i] = 2 * time.Millisecond
	}
	quick := second(200)
	for i := range quick.Took {
		quick.Took[i] = time.Millisecond
	}
	b := &bench{report: &out, cells: []cell{
		{system: "Quorate, SQLite", method: "dns-01", cache: "warm", inFlight: 16, times: quick, cpu: [4]float64{1, 1}},
		{system: boulderTitle, method: "dns-01", cache: "warm", inFlight: 16, times: slow, cpu: [4]float64{2, 1, 1}},
		{system: boulderTitle, method: "dns-01", cache: "warm", inFlight: 1, times: quick, cpu: [4]float64{9}},
		{system: boulderTitle, method: "dns-01", cache: "warm", inFlight: 16, far: true, times: quick, cpu: [4]float64{9}},
	}}
	b.table(false)
	require.Contains(t, out.String(), "| dns-01 | warm | 16 | Quorate, SQLite | 200 | 1.0 | 1.0 | 2.0 | 1.0 + 1.0 + 0.0 + 0.0 | 0, 0, 0 | 0.0 |  | 2.00, 0.50, 0.50 |\n")
	require.Contains(t, out.String(), "| dns-01 | warm | 16 | Boulder | 100 | 2.0 | 2.0 | 4.0 | 2.0 + 1.0 + 1.0 + 0.0 | 0, 0, 0 | 0.0 |  |  |\n")
	require.NotContains(t, out.String(), "150 ms")
	b.table(true)
	require.Contains(t, out.String(), "150 ms")
}

// TestTurnsOfACellAreOneMeasurement: what is told for each validation counts each of them once, peaks are the highest, and how far the turns lie apart is told.
func TestTurnsOfACellAreOneMeasurement(t *testing.T) {
	turn := func(granted int, took time.Duration, cpu float64, mib float64) cell {
		c := cell{cpu: [4]float64{cpu}, queries: cpu, mallocs: [2]float64{cpu, 2 * cpu}, memory: [3]float64{mib}, times: times{All: time.Second}}
		for range granted {
			c.times.Took = append(c.times.Took, took)
		}
		return c
	}
	var ours, theirs cell
	ours.add(turn(300, 2*time.Millisecond, 1, 9))
	failing := turn(100, time.Millisecond, 5, 4)
	failing.times.Failed, failing.times.Why, failing.times.No, failing.times.Codes = 2, "why", []time.Duration{1, 2}, map[string]int{"503": 2}
	ours.add(failing)
	require.Equal(t, 200.0, ours.each())
	require.Equal(t, []float64{300, 100}, ours.rates)
	require.InDelta(t, (300*1+102*5)/402.0, ours.cpu[0], 1e-9)
	require.InDelta(t, ours.cpu[0], ours.queries, 1e-9)
	require.InDelta(t, 2*ours.cpu[0], ours.mallocs[1], 1e-9)
	require.Equal(t, 9.0, ours.memory[0])
	require.Equal(t, time.Millisecond, ours.times.Took[0], "in order")
	require.Equal(t, 2.0, ours.times.at(50))
	require.Equal(t, times{Took: ours.times.Took, All: 2 * time.Second, Failed: 2, No: []time.Duration{1, 2}, Codes: map[string]int{"503": 2}, Why: "why"}, ours.times)
	theirs.add(turn(100, time.Millisecond, 1, 1))
	theirs.add(turn(200, time.Millisecond, 1, 1))
	require.Equal(t, " (0.50 to 3.00)", spread(ours.rates, theirs.rates))
	require.Empty(t, spread([]float64{1}, []float64{1}), "one turn has no spread")
}

// TestALoadAsksTheZonesThatItIsTold: those whose answers nobody may remember are others.
func TestALoadAsksTheZonesThatItIsTold(t *testing.T) {
	require.Equal(t, "z1.com", load{Zones: 4}.name(5))
	require.Equal(t, "n1.com", load{Zones: 4, Fresh: true}.name(5))
}

// TestARateDoesNotWaitForAnswers: what would find too many unanswered is not begun, and counted.
func TestARateDoesNotWaitForAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, err := load{InFlight: 5, Limit: time.Second, Rate: 100}.run(t.Context(), func(i int) error {
			time.Sleep(10 * time.Second)
			if i == 0 {
				return coded{"503 gate.overload", "no"}
			}
			return nil
		})
		require.NoError(t, err)
		require.Len(t, got.Took, 4)
		require.Equal(t, []time.Duration{10 * time.Second}, got.No)
		require.Equal(t, 95, got.Unbegun)
		require.Equal(t, "1 503 gate.overload", got.codes())
	})
}

// TestALoadEndsWithItsContext, and asks no more.
func TestALoadEndsWithItsContext(t *testing.T) {
	for _, l := range []load{{InFlight: 2, Limit: time.Hour}, {InFlight: 2, Limit: time.Hour, Rate: 10}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			_, err := l.run(ctx, func(int) error { time.Sleep(300 * time.Millisecond); return nil })
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Less(t, time.Since(began), 2*time.Second)
		})
	}
}

func TestTheMostFrequentCodesAreTold(t *testing.T) {
	require.Empty(t, times{}.codes())
	require.Equal(t, "9 e; 3 a; 3 b; 2 c", times{Codes: map[string]int{"a": 3, "b": 3, "c": 2, "d": 1, "e": 9}}.codes())
	require.Equal(t, 2.0, percentile([]time.Duration{time.Millisecond, 2 * time.Millisecond}, 50))
	require.Zero(t, percentile(nil, 99))
}

func TestSettingsThatSayNothingAreRefused(t *testing.T) {
	good := settings{Parts: "near,soak", Systems: "boulder", Methods: "dns-01", Caches: "warm", InFlight: "1,16", Records: "10", Remotes: "5,20", Each: time.Second, Turns: 2}
	require.NoError(t, good.check())
	for name, change := range map[string]func(*settings){
		"no such part":      func(s *settings) { s.Parts = "near,all" },
		"no system":         func(s *settings) { s.Systems = "" },
		"no method":         func(s *settings) { s.Methods = "dns-02" },
		"no cache":          func(s *settings) { s.Caches = "warm," },
		"no number":         func(s *settings) { s.InFlight = "1,x" },
		"nothing in flight": func(s *settings) { s.InFlight = "0" },
		"few remotes":       func(s *settings) { s.Remotes = "4" },
		"many remotes":      func(s *settings) { s.Remotes = "21" },
		"no turn":           func(s *settings) { s.Turns = 0 },
		"short turns":       func(s *settings) { s.Turns = 100 },
		"no rate":           func(s *settings) { s.SoakRate = -1 },
	} {
		s := good
		change(&s)
		require.Error(t, s.check(), name)
	}
}

// TestAPartThatFailsIsToldInItsSection, and nowhere else.
func TestAPartThatFailsIsToldInItsSection(t *testing.T) {
	b := &bench{took: map[string]time.Duration{}, failures: []failure{{"bench-above", "Boulder: no\nmore"}, {"bench", "else"}}}
	text := b.section(part{section: "bench-above", write: (*bench).aboveTable})
	require.Contains(t, text, "Not measured: Boulder: no\n")
	require.NotContains(t, text, "else")
	require.NotContains(t, text, "more\n")
}

// TestEachSectionIsWrittenOnceAndHasItsPlace: docs/performance.md has the marks of all parts.
func TestEachSectionIsWrittenOnceAndHasItsPlace(t *testing.T) {
	text, err := os.ReadFile("../../docs/performance.md")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "performance.md")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	sections := map[string]string{}
	for _, p := range parts() {
		sections[p.section] = "what came of " + p.section + "\n"
	}
	n := len(sections)
	require.NoError(t, settings{Write: file}.publish(sections))
	text, err = os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, n, strings.Count(string(text), "what came of "))
}

func TestRulesOfPackets(t *testing.T) {
	require.Equal(t, "add table ip bench\ndelete table ip bench\n", ruleset(nil), "none are left")
	text := ruleset([]string{"got tcp dport 1 drop", "sent tcp dport 2 counter name ask"})
	_, got, ok := strings.Cut(text, "hook input priority 0; policy accept;\n")
	require.True(t, ok)
	require.True(t, strings.HasPrefix(got, "tcp dport 1 drop\n}\n"))
	_, sent, ok := strings.Cut(text, "hook output priority 0; policy accept;\n")
	require.True(t, ok)
	require.True(t, strings.HasPrefix(sent, "tcp dport 2 counter name ask\n}\n"))

	const counters = `{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"counter": {"family": "ip", "name": "answer", "table": "bench", "handle": 2, "packets": 3, "bytes": 400}},
		{"counter": {"name": "ask", "packets": 1, "bytes": 2}}, {"counter": {"name": "probe", "packets": 0, "bytes": 0}}%s]}`
	all, err := readCounters(fmt.Sprintf(counters, `, {"counter": {"name": "report", "packets": 5, "bytes": 6}}`))
	require.NoError(t, err)
	require.Equal(t, [4]traffic{{1, 2}, {3, 400}, {}, {5, 6}}, all)
	_, err = readCounters(fmt.Sprintf(counters, ""))
	require.ErrorContains(t, err, "3 of 4")
	_, err = readCounters("")
	require.Error(t, err)
}

// TestTheRemotesThatDieAreTheLast: of five, so that four or three are left.
func TestTheRemotesThatDieAreTheLast(t *testing.T) {
	o := &ours{number: 1}
	require.Equal(t, []string{"got tcp dport 9105 reject with tcp reset"}, dead(1, false)(o))
	require.Equal(t, []string{"got tcp dport 9104 drop", "got tcp sport 9104 drop", "got tcp dport 9105 drop", "got tcp sport 9105 drop"}, dead(2, true)(o))
}

func TestALineIsFoundAmongNoise(t *testing.T) {
	var at, flat, rising []float64
	for i := range 100 {
		noise := []float64{-1, 2, 0, -2, 1}[i%5]
		at, flat, rising = append(at, float64(10+i)), append(flat, 50+noise), append(rising, 50+noise+.1*float64(i))
	}
	f, r := line(at, flat), line(at, rising)
	require.InDelta(t, 50, f.middle, .1)
	require.InDelta(t, 0, f.rise, 3*f.err)
	require.False(t, f.rises())
	require.InDelta(t, 9.9, r.rise, 3*r.err)
	require.True(t, r.rises())
	require.False(t, trend{middle: 1000, rise: 1, err: .1}.rises(), "a thousandth is nothing")
	exact := line([]float64{0, 1, 2}, []float64{1, 3, 5})
	require.InDelta(t, 4, exact.rise, 1e-9)
	require.InDelta(t, 0, exact.err, 1e-9)
	require.Zero(t, line([]float64{1, 2}, []float64{1, 2}), "two points are no line through noise")
}

func TestAGrantWithoutQuorumIsTold(t *testing.T) {
	var out strings.Builder
	b := &bench{report: &out, troubled: []troubled{
		{system: "Quorate, SQLite", trouble: trouble{title: "two remotes silent", cache: "warm", no: true, rules: dead(2, true)}, healed: -1, wrong: "1 were granted without a quorum",
			times: times{Took: []time.Duration{time.Second}, All: 2 * time.Second, Failed: 3, No: make([]time.Duration, 3), Codes: map[string]int{"422 quorum.missed": 3}, Why: "422\nno"}}}}
	b.failingTable()
	require.Contains(t, out.String(),
		"| two remotes silent | warm | Quorate | 0 | 1000.0 | 1000.0 | 75.0% | 0.0 | 0.0 | 3 422 quorum.missed; 1 were granted without a quorum | more than 60 |\n")
	require.Contains(t, out.String(), "- Quorate, two remotes silent: `422 no`\n")
}

// TestGrowthHasTwoTables: of a store that grows, and of remotes that are added.
func TestGrowthHasTwoTables(t *testing.T) {
	var out strings.Builder
	quick := times{Took: []time.Duration{time.Millisecond}, All: time.Second}
	b := &bench{report: &out, grown: []grown{
		{records: 1000, cell: cell{system: "Quorate, Postgres", times: quick, cpu: [4]float64{1, 2, 0, 3}, rates: []float64{1, 3}},
			beside: cell{times: times{Took: make([]time.Duration, 2), All: time.Second}, cpu: [4]float64{2, 2}, rates: []float64{2, 2}}},
		{remotes: 20, cell: cell{system: "Quorate, 20 remotes", times: quick, cpu: [4]float64{1, 40}}}}}
	b.growthTable()
	require.Contains(t, out.String(), "| 1000 records | Quorate, Postgres | 1 | 1.0 | 1.0 | 1.00 | 2.00 | 3.00 | 0 | 0.50 (0.50 to 1.50), 1.50 |\n")
	require.Contains(t, out.String(), "| 20 | 1 | 1.0 | 1.0 | 1.00 | 40.00 | 2.00 | 0 | 0.0 |\n")
}

func TestGaugesAreReadFromMetrics(t *testing.T) {
	require.Equal(t, map[string]float64{"go_goroutines": 12, "go_memstats_heap_alloc_bytes": 1.5e6},
		gauges("# HELP go_goroutines Number of goroutines.\ngo_goroutines 12\nx{a=\"b c\"} 3\ngo_memstats_heap_alloc_bytes 1.5e+06\n"))
	got, err := between(`{name: x, tls_key: "abc", y: "z"}`, `tls_key: "`, `"`)
	require.NoError(t, err)
	require.Equal(t, "abc", got)
	_, err = between("nothing", "a", "b")
	require.Error(t, err)
}
