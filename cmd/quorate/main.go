// Command quorate is a validation authority for certification authorities: the gate (serve), its remote perspectives
// (perspective), and what operators and auditors need beside them. docs/cli.md describes each command.
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
	"golang.org/x/term"
)

// version is set by the linker.
var version = "unknown"

func software() string { return "quorate " + version }

// Exit statuses. --help lists them.
const (
	exitUsage   = 1
	exitRefused = 2
	exitFailure = 3
)

const exitHelp = `Exit status: 0 done, granted, or an answer that may be used (secure, insecure); 1 wrong usage or configuration, or the
program could not do its work; 2 refused, bogus, or not meeting the rules; 3 a lookup or an attempt that failed.`

type commands struct {
	Serve       serveCmd       `cmd:"" help:"Run the gate: primary perspective, coordinator, records and the REST front."`
	Perspective perspectiveCmd `cmd:"" help:"Run a remote perspective."`
	Witness     witnessCmd     `cmd:"" help:"Run a witness that cosigns other people's logs of records."`
	Init        initCmd        `cmd:"" help:"Write keys, certificates and commented configuration for a gate and five perspectives into a new directory."`
	Check       checkCmd       `cmd:"" help:"Validate a name as a dry run, through primary and remotes. It is recorded, and nothing can be issued upon it."`
	Resolve     resolveCmd     `cmd:"" help:"Resolve and validate one question from the root, as a perspective does, and show why the answer counts or not."`
	CAA         caaCmd         `cmd:"" name:"caa" help:"Look CAA up as a perspective does, and tell whether an issuer may issue."`
	Policy      policyCmd      `cmd:"" help:"Print the rules that hold on a day, and what they break in a configuration."`
	Audit       auditCmd       `cmd:"" help:"Read the records."`
	Health      healthCmd      `cmd:"" help:"Ask a URL whether a gate or a perspective is well: exit status 0, or 1."`
	Records     recordsCmd     `cmd:"" help:"Look after the database of records."`

	Color   string           `enum:"auto,always,never" default:"auto" help:"Colours: ${enum}; auto means on a terminal."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

// console is where a command writes, and how.
type console struct {
	stdout, stderr io.Writer
	color          bool
}

// status is an error that ends the program with a status of its own. err may be nil when all has been said.
type status struct {
	code int
	err  error
}

func (s status) Error() string {
	if s.err == nil {
		return fmt.Sprintf("exit status %d", s.code)
	}
	return s.err.Error()
}

func (s status) Unwrap() error { return s.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	var c commands
	parser := kong.Must(&c, kong.Name("quorate"), kong.Vars{"version": software()},
		kong.Description("A validation authority for certification authorities.\n\n"+exitHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}),
		kong.BindTo(ctx, (*context.Context)(nil)))
	call, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "quorate: %v\nquorate --help, and --help behind a command, say more.\n", err)
		os.Exit(exitUsage)
	}
	out := console{stdout: os.Stdout, stderr: os.Stderr,
		color: c.Color == "always" || c.Color == "auto" && term.IsTerminal(int(os.Stdout.Fd()))}
	if err := call.Run(out); err != nil {
		code := exitUsage
		var s status
		if errors.As(err, &s) {
			code = s.code
		}
		if !errors.As(err, &s) || s.err != nil {
			fmt.Fprintf(os.Stderr, "quorate: %v\n", err)
		}
		stop()
		os.Exit(code)
	}
}

// logger writes what operators want to know to standard error.
func logger(w io.Writer, level, format string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil { // the configuration allows "" and slog's own names
		l = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: l}
	log := slog.New(slog.NewTextHandler(w, options))
	if format == "json" {
		log = slog.New(slog.NewJSONHandler(w, options))
	}
	// What net/http says of a peer's mistakes, with the peer's own octets, it says to package log: here in the form and at the level of the rest.
	slog.SetDefault(log)
	return log
}
