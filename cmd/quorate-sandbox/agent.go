package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/cmd/quorate-sandbox/internal/doors"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/va"
)

// newChecker makes what one perspective checks with: a resolver of its own (MPIC-07), sending from its own address.
func newChecker(d doors.Doors, name string, source netip.Addr, log *slog.Logger) (*va.Checker, error) {
	open, err := d.Open()
	if err != nil {
		return nil, err
	}
	return node.NewChecker(node.Identity{Name: name, Software: software(), Source: source.String()}, open, log)
}

// agentConfig is all that a perspective's process is told, as JSON on its standard input.
type agentConfig struct {
	Name string `json:"name"`
	// Listen is the address of its probe endpoint; Source is where its probes come from.
	Listen  string             `json:"listen"`
	Source  netip.Addr         `json:"source"`
	Keys    perspective.Files  `json:"keys"`
	Gates   []perspective.Gate `json:"gates"`
	Doors   doors.Doors        `json:"doors"`
	Verbose bool               `json:"verbose"`
}

// agentCmd is the hidden command that runs one perspective until its standard input ends: so that none outlives a sandbox
// that was killed.
type agentCmd struct{}

func (agentCmd) Run() error {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading the perspective's configuration from standard input: %w", err)
	}
	var c agentConfig
	if err := json.Unmarshal(line, &c); err != nil {
		return fmt.Errorf("the perspective's configuration: %w", err)
	}
	log := logger(os.Stderr, c.Verbose).With("perspective", c.Name)
	id, err := perspective.LoadIdentity(c.Keys)
	if err != nil {
		return err
	}
	checker, err := newChecker(c.Doors, c.Name, c.Source, log)
	if err != nil {
		return err
	}
	server, err := perspective.NewServer(perspective.Config{Checker: checker, Identity: id, Gates: c.Gates, Logger: log, Now: time.Now})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	if _, err := fmt.Println("ready"); err != nil {
		return errors.Join(err, listener.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, in) // until the sandbox closes it or is gone
		stop()
	}()
	return server.Serve(ctx, listener)
}

// agent is a running perspective.
type agent struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	once  sync.Once
	err   error
}

// startAgent starts a perspective as a process of its own, from this very program, and returns when it listens.
func startAgent(ctx context.Context, c agentConfig, stderr io.Writer) (*agent, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	// A sandbox that is interrupted ends its perspectives in good order, by stop.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "agent")
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("perspective %s: %w", c.Name, err)
	}
	a := &agent{name: c.Name, cmd: cmd, stdin: stdin}
	if _, err := stdin.Write(append(text, '\n')); err != nil {
		return nil, errors.Join(fmt.Errorf("perspective %s: %w", c.Name, err), a.stop())
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		return nil, errors.Join(fmt.Errorf("perspective %s did not start: %q, %v", c.Name, line, err), a.stop())
	}
	return a, nil
}

// stop ends the perspective and waits for it. Later calls give the first one's result.
func (a *agent) stop() error {
	a.once.Do(func() {
		_ = a.stdin.Close() // the perspective ends when its standard input does
		if err := a.cmd.Wait(); err != nil {
			a.err = fmt.Errorf("perspective %s: %w", a.name, err)
		}
	})
	return a.err
}
