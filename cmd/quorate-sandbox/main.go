// Command quorate-sandbox is a whole world on one machine: a signed DNS of its own, a gate with its primary perspective,
// five remote perspectives as processes of their own, and Pebble as the ACME CA. It needs no privilege, no network and no
// other program. It is the only program that opens the doors that docs/design.md lists under invariant 8; nothing that it
// issues is worth anything outside of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker.
var version = "unknown"

func software() string { return "quorate-sandbox " + version }

const exitHelp = `Exit status: 0 every outcome of the demonstration was the expected one, or "up" was told to end; 1 if not, on wrong usage,
or when the world cannot be started.`

type commands struct {
	Demo  demoCmd  `cmd:"" help:"Issue certificates and refuse attacks, from nothing."`
	Up    upCmd    `cmd:"" help:"Start the same world, print how to use it with certbot, lego and curl, and keep it running until it is interrupted."`
	Agent agentCmd `cmd:"" hidden:"" help:"Run one perspective; used by demo and up."`
	Serve serveCmd `cmd:"" hidden:"" help:"Run the gate of a configuration in a world; used by test/bench."`

	Health  healthCmd        `cmd:"" help:"Ask a URL of a sandbox that runs whether it is well: exit status 0, or 1."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // a reader that goes away (| head) is an error of a write: keys are still removed at the end
	var c commands
	parser := kong.Must(&c, kong.Name("quorate-sandbox"), kong.Vars{"version": software()},
		kong.Description("A whole world on one machine: DNS, perspectives, gate and ACME CA.\n\n"+exitHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}),
		kong.BindTo(ctx, (*context.Context)(nil)))
	call, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "quorate-sandbox: %v\nquorate-sandbox --help, and --help behind a command, say more.\n", err)
		os.Exit(1)
	}
	if err := call.Run(); err != nil {
		if !errors.Is(err, errUnexpected) {
			fmt.Fprintln(os.Stderr, "quorate-sandbox:", err)
		}
		stop()
		os.Exit(1)
	}
}

// logger writes what operators want to know to w, if it is asked for: the tables tell a person the same.
func logger(w io.Writer, verbose bool) *slog.Logger {
	if !verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo}))
}
