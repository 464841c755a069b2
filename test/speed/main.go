// Command speed measures va/resolver beside Debian's Unbound and under attack, in one world and one run, and writes its part of
// docs/performance.md:
//
//	go run ./test/speed -write docs/performance.md
//
// Four processes take part, all of them on this machine: the world's name servers, Quorate's resolver, Unbound, and this
// one, which asks both resolvers over UDP in the same way. The first two are this program with -role. CPU and memory are
// those of a resolver's process, as the kernel counts them. Unbound follows referrals to port 53 alone, so that the run
// needs the right to listen there (at 127.0.54.0/24).
//
// Times are never asserted. What can be counted about the attacks (packets, signature checks, outcomes) is, by this
// folder's tests.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/quorate/quorate/test/child"
	"github.com/quorate/quorate/test/document"
)

// settings are what the flags say.
type settings struct {
	each   time.Duration // for one cell of the tables
	only   string        // "lookups" or "attacks"; both where it is empty
	filter string        // attacks whose name contains it
	write  string
}

func main() {
	var s settings
	role := flag.String("role", "", `"world" or "quorate": what this process is for another one of this program`)
	flag.DurationVar(&s.each, "each", 600*time.Millisecond, "how long each cell of the table of lookups is measured")
	flag.StringVar(&s.only, "only", "", `"lookups" or "attacks"; both by default`)
	flag.StringVar(&s.filter, "attack", "", "only the attacks whose name contains this")
	flag.StringVar(&s.write, "write", "", "the document whose part is written; to standard output by default")
	flag.Parse()
	if err := run(*role, s); err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

func run(role string, s settings) error {
	switch role {
	case "world":
		return beWorld(os.Stdin, os.Stdout)
	case "quorate":
		return beQuorate(os.Stdin, os.Stdout)
	case "":
		return measure(s)
	}
	return fmt.Errorf("unknown role %q", role)
}

// bench is the processes of one run.
type bench struct {
	settings
	world   *child.Child
	quorate *quorate
	unbound *unbound
	out     bytes.Buffer
}

func measure(s settings) (err error) {
	b := &bench{settings: s}
	began := time.Now()
	at, err := b.start()
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return err
	}
	if err := b.heading(at); err != nil {
		return err
	}
	if s.only != "attacks" {
		if err := b.lookups(); err != nil {
			return err
		}
	}
	if s.only != "lookups" {
		if err := b.attacks(); err != nil {
			return err
		}
	}
	b.printf("\nThe run took %s.\n", time.Since(began).Round(time.Second))
	if s.write == "" {
		_, err = os.Stdout.Write(b.out.Bytes())
		return err
	}
	return document.Replace(s.write, "speed", b.out.String())
}

func (b *bench) start() (place, error) {
	var at place
	var err error
	if b.world, err = child.Spawn("world", nil, &at); err != nil {
		return at, fmt.Errorf("the world: %w", err)
	}
	if b.quorate, err = startQuorate(at); err != nil {
		return at, fmt.Errorf("quorate's resolver: %w", err)
	}
	if b.unbound, err = startUnbound(at); err != nil {
		return at, fmt.Errorf("unbound: %w", err)
	}
	return at, nil
}

func (b *bench) stop() error {
	var errs []error
	if b.unbound != nil {
		errs = append(errs, b.unbound.stop())
	}
	if b.quorate != nil {
		errs = append(errs, b.quorate.child.Stop())
	}
	if b.world != nil {
		errs = append(errs, b.world.Stop())
	}
	return errors.Join(errs...)
}

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(&b.out, format, args...) }

// progress tells whoever waits how far the run is.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
