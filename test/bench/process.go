package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is a program of which nothing is wanted but to run.
type daemon struct {
	cmd *exec.Cmd
	log string
}

// launch starts a program, whose words go to a file. Where it says "ready" when it is, that is waited for.
func launch(log string, saysReady bool, path string, args ...string) (*daemon, error) {
	file, err := os.OpenFile(filepath.Clean(log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	d := &daemon{cmd: exec.Command(path, args...), log: log}
	d.cmd.Stdout, d.cmd.Stderr = file, file
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var out io.ReadCloser
	if saysReady {
		d.cmd.Stdout = nil
		if out, err = d.cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	if saysReady {
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			_ = d.stop()
			text, _ := os.ReadFile(log)
			return nil, fmt.Errorf("%s did not start: %q %w\n%s", filepath.Base(path), line, err, tail(string(text)))
		}
	}
	return d, nil
}

// tail is the end of a log.
func tail(text string) string { return text[max(0, len(text)-2000):] }

func (d *daemon) pid() int { return d.cmd.Process.Pid }

// stop asks the program to end, and waits.
func (d *daemon) stop() error {
	if d == nil {
		return nil
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = d.cmd.Wait() // ended by a signal: its status says nothing
	return nil
}

// tree gives processes with all that descend from them.
func tree(roots []int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, file := range files {
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err != nil {
			return nil, err
		}
		if f, err := stat(pid); err == nil { // it may have ended meanwhile
			if parent, err := strconv.Atoi(f[1]); err == nil {
				children[parent] = append(children[parent], pid)
			}
		}
	}
	var all []int
	for next := roots; len(next) > 0; {
		pid := next[0]
		all, next = append(all, pid), append(next[1:len(next):len(next)], children[pid]...)
	}
	return all, nil
}

// stat gives the fields of /proc/PID/stat from the third on (proc(5)): state, parent and so on.
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields, nil
}

// tick is that of /proc/PID/stat: USER_HZ is 100 on all of Go's platforms.
const tick = 10 * time.Millisecond

// cpu is what processes and their descendants have used so far, those that have ended and were waited for included.
func cpu(roots []int) (time.Duration, error) {
	pids, err := tree(roots)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range pids {
		fields, err := stat(pid)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}

// forget makes a process's peak its present memory (proc(5), clear_refs).
func forget(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
}

// peak is a process's largest resident memory since forget, in MiB.
func peak(pid int) (float64, error) { return status(pid, "VmHWM") }

// resident is its memory at the moment, in MiB.
func resident(pid int) (float64, error) { return status(pid, "VmRSS") }

// status reads a line of /proc/PID/status that is in kB, in MiB.
func status(pid int, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, name+": %f kB", &kib); err == nil {
			return kib / 1024, nil
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, name)
}
