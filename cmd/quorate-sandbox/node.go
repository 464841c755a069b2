package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// serveCmd and perspectiveCmd are those of cmd/quorate with the doors of a world in a box: what test/bench measures. They end
// like those, and say "ready" on standard output when they listen.
type serveCmd struct {
	Config string `required:"" type:"existingfile" help:"The gate's configuration, quorate.yaml."`
	Doors  string `required:"" type:"existingfile" help:"The world's root and ports, as JSON."`
}

type perspectiveCmd struct {
	Config string `required:"" type:"existingfile" help:"The perspective's configuration, perspective.yaml."`
	Doors  string `required:"" type:"existingfile" help:"The world's root and ports, as JSON."`
}

func (c serveCmd) Run(ctx context.Context) (err error) {
	settings, err := config.LoadGate(c.Config)
	if err != nil {
		return err
	}
	open, err := loadDoors(c.Doors)
	if err != nil {
		return err
	}
	defer node.KeepHeap(node.GateHeap)()
	gate, err := node.NewGate(ctx, settings, software(), open, nodeLogger())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.Close()) }()
	return gate.Serve(ctx, settings, func(string) { fmt.Println("ready") })
}

func (c perspectiveCmd) Run(ctx context.Context) error {
	settings, err := config.LoadPerspective(c.Config)
	if err != nil {
		return err
	}
	open, err := loadDoors(c.Doors)
	if err != nil {
		return err
	}
	defer node.KeepHeap(node.PerspectiveHeap)()
	p, err := node.NewPerspective(ctx, settings, software(), open, nodeLogger())
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return p.Serve(ctx)
}

// nodeLogger writes what production's nodes write: the default of their configuration.
func nodeLogger() *slog.Logger { return slog.New(slog.NewJSONHandler(os.Stderr, nil)) }

func loadDoors(file string) (node.Doors, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return node.Doors{}, err
	}
	var d doors
	if err := json.Unmarshal(text, &d); err != nil {
		return node.Doors{}, fmt.Errorf("%s: %w", file, err)
	}
	anchors, err := dnssec.ParseAnchors(strings.NewReader(d.Anchors))
	if err != nil {
		return node.Doors{}, fmt.Errorf("%s: %w", file, err)
	}
	return node.Doors{Hints: d.Hints, Anchors: anchors, DNSPort: d.DNSPort, AllowReserved: true,
		World: va.World{HTTPPort: d.HTTPPort, TLSPort: d.TLSPort, AllowReserved: true}}, nil
}
