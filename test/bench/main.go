// Command bench measures whole validations, Quorate beside Boulder, in one world and one run, and writes its part of
// docs/performance.md:
//
//	go run ./test/bench -write docs/performance.md
//
// The world is 600 signed zones (ECDSA P-256, NSEC3) below a signed root and com, on three NSDs, and a web host. All of it is in a
// network namespace, at public addresses and the usual ports, because Boulder asks no others. In it run
//
//   - Quorate: a gate and five remotes, each a process, as `quorate serve` and `quorate perspective` are but for the DNS root; once with
//     SQLite and once with Postgres. Each record is durable and in the log before the answer;
//   - Boulder: boulder-va and five remoteva, each a process with an Unbound of its own, which it asks over DNS over HTTPS. They keep no records.
//
// Beside whole validations (the parts near, far and lookups) it measures what comes of slow and dead remotes, of name servers that are silent and
// of lost packets (failing), what goes over the wire (upstream), what more records and more remotes cost (growth), more load than can be
// borne (above), and memory over time (soak). Each can be run alone: -parts.
//
// Quorate is asked over its REST front, Boulder over gRPC: DoDCV and then DoCAA, as Boulder's RA does. The processes that ask, the world's and
// those that delay are not counted. It needs root (network namespaces, port 53) and Debian's nsd, unbound, postgresql and nftables.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/quorate/quorate/test/world"
)

// settings are what the flags say.
type settings struct {
	Each     time.Duration // for one cell, all its turns together
	Turns    int
	Zones    int
	Systems  string
	Methods  string
	InFlight string
	Caches   string
	Parts    string
	Records  string
	Remotes  string
	Soak     time.Duration
	SoakRate float64
	Profile  string
	Write    string
	// Dir, Postgres, PostgresPID and Revision are found by the process outside of the namespace.
	Dir         string
	Postgres    string
	PostgresPID int
	Revision    string
}

func main() {
	var s settings
	role := flag.String("role", "", "what this process is for another one of this program")
	flag.DurationVar(&s.Each, "each", 6*time.Second, "how long each cell is measured, in all its turns; a cold turn asks each zone once, for no longer than its share")
	flag.IntVar(&s.Turns, "turns", 3, "in how many turns a cell is measured: each system's once, then each again")
	flag.IntVar(&s.Zones, "zones", 600, "how many zones there are")
	flag.StringVar(&s.Systems, "systems", "sqlite,postgres,boulder", "who is measured")
	flag.StringVar(&s.Methods, "methods", "dns-01,http-01,tls-alpn-01", "by which methods")
	flag.StringVar(&s.InFlight, "inflight", "1,16,128", "how many validations are in flight")
	flag.StringVar(&s.Caches, "caches", "warm,new,cold", "what the resolvers remember")
	flag.StringVar(&s.Parts, "parts", "near,upstream,failing,growth,above,soak,far,lookups", "what is measured")
	flag.StringVar(&s.Records, "records", "1000,10000,100000", "growth: with how many records in store, in rising order")
	flag.StringVar(&s.Remotes, "remotes", "5,10,20", "growth: with how many remotes, at most 20")
	flag.DurationVar(&s.Soak, "soak", 2*time.Minute, "soak: for how long")
	flag.Float64Var(&s.SoakRate, "soakrate", 0, "soak: how many validations arrive in a second; 0 for as many as 16 in flight make")
	flag.StringVar(&s.Profile, "profile", "", "write CPU and allocation profiles of gate and a remote to this directory, and nothing else")
	flag.StringVar(&s.Write, "write", "", "the document whose part is written; standard output by default")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: what is %q?\n", flag.Args())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *role, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, role string, s settings) error {
	switch role {
	case "":
		return outside(ctx, s)
	case "inside":
		return inside(ctx, os.Stdin, os.Stdout)
	case "web":
		return beWeb(os.Stdin, os.Stdout)
	case "far":
		return beFar(os.Stdin, os.Stdout)
	case "resolver":
		return beResolver(os.Stdin, os.Stdout)
	}
	return fmt.Errorf("unknown role %q", role)
}

// outside builds what is measured, starts Postgres, which is reached over a Unix socket, and runs the rest in the namespace.
func outside(ctx context.Context, s settings) (err error) {
	if s.Dir, err = os.MkdirTemp("", "quorate-bench-"); err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\nconfigurations and logs are left in %s", err, s.Dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(s.Dir))
	}()
	if err := s.check(); err != nil {
		return err
	}
	root, err := command(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	if s.Revision, err = revision(ctx, root); err != nil {
		return err
	}
	for _, b := range []struct{ dir, out, of string }{
		{root, "quorate", "./cmd/quorate"},
		{root, "quorate-sandbox", "./cmd/quorate-sandbox"},
		{root, "perspective", "./cmd/quorate-sandbox/perspective"},
		{root, "scale", "./test/scale"},
		{filepath.Join(root, "test", "boulder", "program"), "boulder", "."},
	} {
		progress("building %s", b.out)
		if _, err := command(ctx, b.dir, "go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(s.Dir, b.out), b.of); err != nil {
			return err
		}
	}
	if s.has("postgres") {
		end, err := s.startPostgres(ctx)
		if err != nil {
			return fmt.Errorf("postgres: %w", err)
		}
		defer end()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := world.Isolated(ctx, self, "-role", "inside")
	// Without this process the run has nobody to tell: it ends, and all that it started with it.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Stderr = os.Stderr
	return s.hand(cmd)
}

func (s settings) has(system string) bool { return contains(s.Systems, system) }

func (s settings) part(name string) bool { return contains(s.Parts, name) }

// contains tells whether a list with commas has an entry.
func contains(list, entry string) bool { return strings.Contains(","+list+",", ","+entry+",") }

// command runs a program and gives what it wrote, without the line's end.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// revision is the commit that is measured, with "-dirty" where anything but a document differs from it: what a run before this one wrote does not.
func revision(ctx context.Context, root string) (string, error) {
	commit, err := command(ctx, root, "git", "describe", "--always")
	if err != nil {
		return "", err
	}
	changed, err := command(ctx, root, "git", "status", "--porcelain", "--", ".", ":!*.md")
	if err == nil && changed != "" {
		commit += "-dirty"
	}
	return commit, err
}

// progress tells whoever waits how far the run is.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}
