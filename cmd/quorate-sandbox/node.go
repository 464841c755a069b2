package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/gate"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/cmd/quorate-sandbox/internal/doors"
)

// serveCmd is that of cmd/quorate with the doors of a world in a box: what test/bench measures. It ends like that one, and says "ready" on
// standard output when it listens.
type serveCmd struct {
	Config string `required:"" type:"existingfile" help:"The gate's configuration, quorate.yaml."`
	Doors  string `required:"" type:"existingfile" help:"The world's root and ports, as JSON."`
}

func (c serveCmd) Run(ctx context.Context) (err error) {
	settings, err := config.LoadGate(c.Config)
	if err != nil {
		return err
	}
	open, err := doors.Load(c.Doors)
	if err != nil {
		return err
	}
	defer node.KeepHeap(node.GateHeap)()
	g, err := gate.New(ctx, settings, software(), open, node.StartLog(os.Stderr, settings.Log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	return g.Serve(ctx, settings, func(string) { fmt.Println("ready") })
}
