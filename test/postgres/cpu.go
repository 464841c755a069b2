package postgres

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// CPUTime is what all of the server's processes have used so far, those that have ended included, to a hundredth of a second.
func (s *Server) CPUTime(t testing.TB) time.Duration {
	t.Helper()
	family, err := children(s.pid)
	var ticks int64
	for _, pid := range append(pids(family), s.pid) {
		if err == nil {
			var n int64
			n, err = ticksOf(pid, pid == s.pid)
			ticks += n
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ is 100 on Linux
}

// ticksOf gives utime and stime of a process (proc(5), /proc/PID/stat), and of its children that have ended.
func ticksOf(pid int, ended bool) (ticks int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	last := 13
	if ended {
		last = 15
	}
	for _, f := range fields[11:last] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return ticks, nil
}
