package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
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
