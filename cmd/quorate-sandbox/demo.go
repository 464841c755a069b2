package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"golang.org/x/term"

	"github.com/quorate/quorate/acme/pebble"
	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// errUnexpected is told by the summary already.
var errUnexpected = errors.New("an outcome was not the expected one")

// legend is what a person needs to read the tables.
const legend = `  Each application below is for a certificate. The gate's own perspective (primary) and five remote ones check it:
    DCV  does the applicant control the name?          CAA  does the name's owner let this CA issue?
  A certificate needs both from the primary, and both from four of the five remotes, each counted by itself.
`

type demoCmd struct {
	Dir     string `placeholder:"DIR" help:"Keep keys and journal in this directory, which must be empty or missing. Default: a temporary directory, removed at the end."`
	Verbose bool   `short:"v" help:"Print the gate's and the perspectives' logs."`
}

// Run plays all scenarios and tells whether each came out as expected.
func (d demoCmd) Run(ctx context.Context) error {
	started := time.Now()
	dir, remove, err := workDir(d.Dir)
	if err != nil {
		return err
	}
	p := printer{colour: term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""}
	p.line(p.bold("Quorate: a world on this machine"))
	p.line(legend)
	s, err := newSandbox(context.WithoutCancel(ctx), dir, anyPort, d.Verbose, func(step string) { p.line("  starting " + step) })
	if err != nil {
		return errors.Join(err, remove())
	}
	failed, err := d.play(ctx, s, p)
	if ctx.Err() != nil {
		err = errors.New("interrupted before the last application")
	}
	used := s.memory()
	if err == nil {
		err = d.end(ctx, s, p)
	}
	err = errors.Join(err, s.Close(), remove())
	p.line("")
	p.line(fmt.Sprintf("%.1f s; %s", time.Since(started).Seconds(), used))
	if d.Dir != "" {
		p.line("records: " + productionBinary() + " audit list --database " + dir + "/journal.sqlite")
	}
	switch {
	case err != nil:
		return err
	case failed > 0:
		p.line(p.red(fmt.Sprintf("%d of %d outcomes were not the expected ones", failed, len(scenarios()))))
		return errUnexpected
	default:
		p.line(p.green(fmt.Sprintf("all %d outcomes were the expected ones: what had to be issued was, what had to be refused was", len(scenarios()))))
		return nil
	}
}

// end lets the gate finish, so that the records are complete, and has them verified.
func (d demoCmd) end(ctx context.Context, s *sandbox, p printer) error {
	ending, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if err := s.quiet(ending); err != nil {
		return err
	}
	return d.audit(ctx, s, p)
}

func (d demoCmd) play(ctx context.Context, s *sandbox, p printer) (failed int, err error) {
	a, err := newApplicant(ctx, s.acmeURL, s.roots)
	if err != nil {
		return 0, err
	}
	for i, sc := range scenarios() {
		if err := ctx.Err(); err != nil {
			return failed, err
		}
		p.line("")
		p.line(p.bold(fmt.Sprintf("%d. %s", i+1, sc.title)))
		p.line("   " + sc.story)
		p.line("")
		out, err := sc.run(ctx, s, a)
		if err != nil {
			return failed, fmt.Errorf("scenario %d, %s: %w", i+1, sc.title, err)
		}
		if err := p.outcome(out); err != nil {
			return failed, err
		}
		if wrong := sc.unexpected(out); wrong != "" {
			failed++
			p.line(p.red("  UNEXPECTED: " + wrong))
		} else if out.issued {
			p.line(p.green("  issued, as it must be"))
		} else {
			p.line(p.green("  refused, as it must be: " + sc.code))
		}
	}
	return failed, nil
}

// outcome shows what came of a scenario.
func (p printer) outcome(out outcome) error {
	if out.result != nil {
		if err := table.Write(os.Stdout, table.Of(*out.result), p.colour); err != nil {
			return err
		}
	}
	if out.issuance != nil {
		p.line("  " + issuanceText(*out.issuance))
	}
	if out.permit != nil {
		p.line("  " + permitText(*out.permit))
		for _, n := range out.permit.Names {
			if n.Problem != nil {
				p.wrapped("  because "+n.Problem.Code, n.Problem.Detail)
			}
		}
	}
	if out.told != nil {
		p.wrapped("  the ACME client was told", toldText(out.told))
	}
	return nil
}

// wrapped prints a text in lines of a terminal's width below its heading.
func (p printer) wrapped(heading, text string) {
	p.line(heading)
	for _, line := range table.Wrap(table.Clean(text), 112) {
		p.line("    " + line)
	}
}

// permitText is a permit in one line.
func permitText(p mpic.Permit) string {
	var names []string
	for _, n := range p.Names {
		names = append(names, n.Name)
	}
	return fmt.Sprintf("permit %d %s for %s", p.Number, p.Outcome, table.Clean(strings.Join(names, ", ")))
}

// issuanceText is what became of an order that was finalized.
func issuanceText(i pebble.Issuance) string {
	switch {
	case i.Certificate.Outcome != "":
		return fmt.Sprintf("%s; certificate %s %s", permitText(i.Permit), i.Certificate.Serial, i.Certificate.Outcome)
	case i.Err != nil:
		return table.Clean(i.Err.Error())
	}
	return permitText(i.Permit)
}

// audit verifies everything on record, as an auditor would with the world's trust anchor, the logs' public keys and nothing else.
func (d demoCmd) audit(ctx context.Context, s *sandbox, p printer) error {
	anchors, err := dnssec.ParseAnchors(strings.NewReader(s.doors.Anchors))
	if err != nil {
		return err
	}
	p.line("")
	p.line(p.bold("An auditor with nothing but the records, the log's public key and the DNS root's trust anchor verifies everything"))
	for _, b := range s.books {
		if err := b.publisher.Publish(ctx); err != nil {
			return err
		}
		var found []string
		sum, err := b.store.Verify(ctx, db.VerifyConfig{Auditor: audit.Auditor{Anchors: anchors}, LogKey: b.verifier(),
			Finding: func(f db.Finding) {
				found = append(found, fmt.Sprintf("record %d: %s: %s", f.Number, f.Check, f.Detail))
			}})
		if err != nil {
			return err
		}
		if d.Dir != "" { // a command to copy; without --dir what it is about is gone when it can be
			p.line(b.verify(s.dir + "/root.anchor"))
		}
		for line := range strings.Lines(table.Verified(sum, p.colour)) {
			p.line("  " + strings.TrimSuffix(line, "\n"))
		}
		if sum.Findings > 0 {
			return fmt.Errorf("the records in %s do not hold:\n%s", b.database, strings.Join(found, "\n"))
		}
	}
	return nil
}

// unexpected says how an outcome differs from what the scenario demands; empty when it does not.
func (sc scenario) unexpected(out outcome) string {
	granted, codes := false, []string{}
	switch {
	case out.permit != nil:
		granted = out.permit.Outcome == mpic.OutcomeGranted
		for _, n := range out.permit.Names {
			if n.Problem != nil {
				codes = append(codes, n.Problem.Code)
			}
		}
	case out.result != nil:
		granted = out.result.Decision.Granted()
		for _, r := range out.result.Decision.Reasons() {
			codes = append(codes, r.Code)
		}
	}
	switch {
	case sc.code == "" && !granted:
		return "the gate refused"
	case sc.code == "" && !out.issued:
		return "the gate granted, and no certificate came"
	case sc.code == "":
		return ""
	case out.issued:
		return "a certificate was issued"
	case granted:
		return "the gate granted"
	case !slices.Contains(codes, sc.code):
		return fmt.Sprintf("refused for %v, not for %s", codes, sc.code)
	}
	return ""
}

// toldText is what an ACME client shows to its user: the problem's type and its detail, without the subproblems.
func toldText(err error) string {
	var problem acme.Problem
	if pointer := (*acme.Problem)(nil); errors.As(err, &pointer) { // an order's; an authorization's is a value
		problem = *pointer
	} else if !errors.As(err, &problem) {
		return err.Error()
	}
	return strings.TrimPrefix(problem.Type, "urn:ietf:params:acme:error:") + ": " + problem.Detail
}

// workDir gives the directory to work in, and what removes it if it is temporary.
func workDir(dir string) (string, func() error, error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "quorate-sandbox-")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, err
	}
	if len(entries) > 0 {
		return "", nil, fmt.Errorf("%s is not empty: keys and records are never overwritten", dir)
	}
	return dir, func() error { return nil }, nil
}

// memory tells the peak resident memory of this process and of the largest perspective that runs. A perspective is asked
// through /proc: what getrusage tells of a child begins with the peak of the process that it was forked from.
func (s *sandbox) memory() string {
	own, largest := peak("self"), 0
	for _, a := range s.agents {
		largest = max(largest, peak(strconv.Itoa(a.cmd.Process.Pid)))
	}
	if own == 0 || largest == 0 {
		return "peak memory unknown"
	}
	return fmt.Sprintf("peak memory: %d MB for world, gate and Pebble together, %d MB for the largest perspective", own, largest)
}

// peak gives the most resident memory that a running process has had, in MB (proc(5), VmHWM); 0 where it cannot be had.
func peak(pid string) int {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if size, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(size), " kB"))
			if err != nil {
				return 0
			}
			return kb / 1024
		}
	}
	return 0
}

// printer writes to standard output, in colour on a terminal.
type printer struct{ colour bool }

func (p printer) line(text string) { fmt.Println(text) }

func (p printer) paint(code, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p printer) bold(text string) string  { return p.paint("1", text) }
func (p printer) red(text string) string   { return p.paint("31", text) }
func (p printer) green(text string) string { return p.paint("32", text) }
