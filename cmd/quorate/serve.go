package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/gate"
	"github.com/quorate/quorate/cmd/internal/node"
)

type serveCmd struct {
	Config string `required:"" type:"existingfile" placeholder:"FILE" help:"The gate's configuration, quorate.yaml."`
}

// Help is shown below the flags' list.
func (serveCmd) Help() string {
	return ending + " SIGHUP opens the file of the audit log anew."
}

const ending = "Ends on SIGINT or SIGTERM, when running attempts have come to their end; a second signal ends it at once."

func (c serveCmd) Run(ctx context.Context, out console) (err error) {
	settings, err := config.LoadGate(c.Config)
	if err != nil {
		return err
	}
	defer node.KeepHeap(node.GateHeap)()
	log := node.StartLog(out.stderr, settings.Log)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // from here on: a rotation while the gate starts, or where there is no audit log, must not end it
	defer signal.Stop(hup)
	g, err := gate.New(ctx, settings, software(), node.Doors{}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	reopen := g.ReopenAuditLog
	if settings.AuditLog == nil {
		reopen = func(context.Context) error { return errors.New("the configuration has none") }
	}
	defer onRotation(hup, reopen, log)()
	return g.Serve(ctx, settings, func(addr string) {
		log.Info("the gate is ready", "address", addr, "software", software(), "remotes", len(settings.Roster().Remotes))
	})
}

// onRotation opens the audit log's file anew on each signal, until stop is called.
func onRotation(hup <-chan os.Signal, reopen func(context.Context) error, log *slog.Logger) (stop func()) {
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-quit:
				return
			case <-hup:
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			if err := reopen(ctx); err != nil {
				log.Error("SIGHUP: the audit log could not be opened anew", "error", err)
			} else {
				log.Info("SIGHUP: the audit log was opened anew")
			}
			cancel()
		}
	}()
	return func() {
		close(quit)
		<-over
	}
}

type perspectiveCmd struct {
	Config string `required:"" type:"existingfile" placeholder:"FILE" help:"The perspective's configuration, perspective.yaml."`
}

// Help is shown below the flags' list.
func (perspectiveCmd) Help() string { return ending }

func (c perspectiveCmd) Run(ctx context.Context, out console) error {
	return node.RunPerspective(ctx, c.Config, software(), node.Doors{}, out.stderr, nil)
}
