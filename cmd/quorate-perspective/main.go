// Command quorate-perspective is a remote perspective and nothing else: `quorate perspective` without the gate's database, fronts and tools,
// for hosts that run nothing but a perspective. It is half the program, and needs less memory.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/quorate/quorate/cmd/internal/node"
)

// version is set by the linker.
var version = "unknown"

func software() string { return "quorate-perspective " + version }

type flags struct {
	Config  string           `required:"" type:"existingfile" placeholder:"FILE" help:"The perspective's configuration, perspective.yaml."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

const description = `A remote perspective of a certification authority's validation.

It answers the gates that its configuration names, until SIGINT or SIGTERM, when running probes have come to their end; a second signal ends it at
once. Exit status: 0 done; 1 wrong usage or configuration, or the program could not do its work.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "quorate-perspective: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	var f flags
	parser, err := kong.New(&f, kong.Name("quorate-perspective"), kong.Vars{"version": software()}, kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}))
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil {
		return fmt.Errorf("%w\nquorate-perspective --help says more", err)
	}
	return node.RunPerspective(ctx, f.Config, software(), node.Doors{}, stderr, nil)
}
