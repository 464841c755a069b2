package main

import (
	"context"
	"errors"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
)

type serveCmd struct {
	Config string `required:"" type:"existingfile" placeholder:"FILE" help:"The gate's configuration, quorate.yaml."`
}

// Help is shown below the flags' list.
func (serveCmd) Help() string {
	return "Ends on SIGINT or SIGTERM, when running attempts have come to their end; a second signal ends it at once."
}

func (c serveCmd) Run(ctx context.Context, out console) (err error) {
	settings, err := config.LoadGate(c.Config)
	if err != nil {
		return err
	}
	log := logger(out.stderr, settings.Log.Level, settings.Log.Format)
	gate, err := node.NewGate(ctx, settings, software(), node.Doors{}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.Close()) }()
	return gate.Serve(ctx, settings, func(addr string) {
		log.Info("the gate is ready", "address", addr, "software", software(), "remotes", len(settings.Perspectives))
	})
}

type perspectiveCmd struct {
	Config string `required:"" type:"existingfile" placeholder:"FILE" help:"The perspective's configuration, perspective.yaml."`
}

// Help is shown below the flags' list.
func (perspectiveCmd) Help() string { return serveCmd{}.Help() }

func (c perspectiveCmd) Run(ctx context.Context, out console) error {
	settings, err := config.LoadPerspective(c.Config)
	if err != nil {
		return err
	}
	log := logger(out.stderr, settings.Log.Level, settings.Log.Format)
	p, err := node.NewPerspective(ctx, settings, software(), node.Doors{}, log)
	if err != nil {
		return err
	}
	log.Info("the perspective is ready", "name", settings.Name, "address", p.Addr(), "software", software(), "gates", len(settings.Gates))
	return p.Serve(ctx)
}
