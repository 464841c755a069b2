// Package child has a program run in several processes, which take commands from the one that started them: benchmarks
// measure each by itself.
package child

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// maxLine bounds a command and an answer: the times of a hundred thousand lookups fit.
const maxLine = 64 << 20

// Child is another process, which reads one line a command and answers each with one line of JSON (Obey). It ends when its
// input does. Its methods are for one goroutine at a time.
type Child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// Spawn starts this very program with -role, gives it its first command, as JSON, and waits for its answer.
func Spawn(role string, first, answer any) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c, err := Start(exec.Command(self, "-role", role))
	if err != nil {
		return nil, err
	}
	if err := c.Ask(first, answer); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", role, err), c.Stop())
	}
	return c, nil
}

// Start starts a command as a child. Its errors are shown. An interrupt at the terminal is not for it: it ends by Stop.
func Start(cmd *exec.Cmd) (*Child, error) {
	c := &Child{cmd: cmd}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewScanner(out)
	c.out.Buffer(nil, maxLine)
	return c, cmd.Start()
}

// PID is the process's.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Call gives a command of one line, and reads the answer unless that is nil.
func (c *Child) Call(command string, answer any) error {
	if _, err := fmt.Fprintln(c.in, command); err != nil {
		return err
	}
	if !c.out.Scan() {
		return fmt.Errorf("no answer to %.80q: %w", command, errors.Join(c.out.Err(), io.EOF))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(c.out.Bytes(), answer)
}

// Ask is Call with a command in JSON.
func (c *Child) Ask(command, answer any) error {
	text, err := json.Marshal(command)
	if err != nil {
		return err
	}
	return c.Call(string(text), answer)
}

// Stop ends the process, and waits for it.
func (c *Child) Stop() error { return errors.Join(c.in.Close(), c.cmd.Wait()) }

// Obey is the other side: do answers each command, until there are no more.
func Obey(in io.Reader, out io.Writer, do func(command string) (any, error)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		answer, err := do(lines.Text())
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}
