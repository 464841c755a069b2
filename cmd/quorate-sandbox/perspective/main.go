// Command perspective is quorate-perspective with the doors of a world in a box: what test/bench measures. It says "ready" on standard
// output when it listens.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/cmd/quorate-sandbox/internal/doors"
)

type flags struct {
	Config string `required:"" type:"existingfile" help:"The perspective's configuration, perspective.yaml."`
	Doors  string `required:"" type:"existingfile" help:"The world's root and ports, as JSON."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var f flags
	kong.Parse(&f)
	if err := f.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "perspective:", err)
		stop()
		os.Exit(1)
	}
}

func (f flags) run(ctx context.Context) error {
	open, err := doors.Load(f.Doors)
	if err != nil {
		return err
	}
	return node.RunPerspective(ctx, f.Config, "quorate-perspective of a sandbox", open, os.Stderr, func() { fmt.Println("ready") })
}
