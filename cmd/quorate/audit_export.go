package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
)

type exportCmd struct {
	recordsFlags
	filterFlags
	Certificate    []string `placeholder:"HEX" sep:"none" help:"A certificate with all that it relies upon, by its serial number or SHA-256 fingerprint. May be repeated."`
	Certificates   string   `type:"existingfile" placeholder:"FILE" help:"Serial numbers or fingerprints, one a line; what follows a # is skipped."`
	Format         string   `enum:"bundle,jsonl,csv" default:"bundle" help:"bundle, which quorate audit verify --bundle reads; or a line for each attempt: jsonl or csv. Default: ${default}."`
	Output         string   `short:"o" required:"" placeholder:"FILE" help:"The file to make; it must not exist. A dash writes a table to standard output."`
	WithoutSecrets bool     `help:"Leave the tokens out of a bundle. Its hashes hold all the same; what only the tokens show is not judged again."`
	Unsigned       bool     `help:"Export records that no checkpoint covers yet, without one. The auditor then needs a checkpoint from elsewhere."`
	Checkpoint     []string `type:"existingfile" placeholder:"FILE" sep:"none" help:"A signed checkpoint that the auditor holds: the bundle proves that the log extends it. May be repeated."`
	Created        instant  `placeholder:"RFC3339" help:"The time that the bundle says it was made at, instead of now: all else in it follows from the records."`
}

// Help is shown below the flags' list.
func (exportCmd) Help() string {
	return "Without a filter everything is exported. A bundle has the documents as they were stored, their lines of the log with proofs to the newest checkpoint, " +
		"the DNS records that they rest on, and the permits and certificates that rely on them. Exit status: 0 written, 1 nothing was selected, records " +
		"that no checkpoint covers, or wrong usage, 3 the records cannot be read."
}

func (c exportCmd) Run(ctx context.Context, out console) (err error) {
	selection, err := c.selection()
	if err != nil {
		return err
	}
	held, err := readFiles(c.Checkpoint)
	if err != nil {
		return fmt.Errorf("--checkpoint: %w", err)
	}
	if c.Format != "bundle" && (c.WithoutSecrets || c.Unsigned || len(held) > 0 || !c.Created.IsZero()) {
		return errors.New("--without-secrets, --unsigned, --checkpoint and --created are of bundles: a table has no tokens and no proofs")
	}
	if c.Format == "bundle" && c.Output == "-" {
		return errors.New("--output: a bundle is written into a file")
	}
	store, err := c.open(ctx)
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	progress := newProgress(out.stderr, "records")
	defer progress.clear()
	if c.Format != "bundle" {
		table := bundle.TableConfig{Selection: selection, Format: bundle.Format(c.Format), Progress: progress.show}
		return exported(c.write(out, func(w io.Writer) error { return bundle.Table(ctx, store, w, table) }))
	}
	config := bundle.Config{Selection: selection, Software: software(), Created: c.Created.Time, WithoutSecrets: c.WithoutSecrets, Unsigned: c.Unsigned,
		Held: held, Progress: progress.show}
	if config.Created.IsZero() {
		config.Created = time.Now()
	}
	var m bundle.Manifest
	err = c.write(out, func(w io.Writer) error {
		m, err = bundle.Write(ctx, store, w, config)
		return err
	})
	if err != nil {
		return exported(err)
	}
	progress.clear()
	if c.JSON {
		return writeJSON(out.stdout, m)
	}
	signed := fmt.Sprintf("the checkpoint of %d lines, root %s", m.Size, m.Root)
	if !m.Signed {
		signed = fmt.Sprintf("NO signed checkpoint; the log has %d lines, root %s", m.Size, m.Root)
	}
	_, err = fmt.Fprintf(out.stdout, "%s: %d records (%d open), %d permits, %d certificates, %d files, under %s\n", c.Output, m.Counts.Attempts, m.Counts.Open,
		m.Counts.Permits, m.Counts.Certificates, m.Files, signed)
	return err
}

// exported tells whose fault it is that nothing was.
func exported(err error) error {
	switch {
	case err == nil, errors.Is(err, bundle.ErrNothing), errors.Is(err, os.ErrExist):
		return err
	case errors.Is(err, bundle.ErrAhead):
		return fmt.Errorf("%w. A running gate publishes one within seconds; --unsigned exports without", err)
	}
	return status{exitFailure, err}
}

func (c exportCmd) selection() (s bundle.Selection, err error) {
	if s.Filter, err = c.filter(); err != nil {
		return s, err
	}
	s.Certificates = c.Certificate
	if c.Certificates != "" {
		text, err := os.ReadFile(filepath.Clean(c.Certificates))
		if err != nil {
			return s, fmt.Errorf("--certificates: %w", err)
		}
		before := len(s.Certificates)
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line != "" {
				s.Certificates = append(s.Certificates, line)
			}
		}
		if len(s.Certificates) == before {
			return s, fmt.Errorf("--certificates: %s names none", c.Certificates)
		}
	}
	if len(s.Certificates) > 0 && s.Filter != (db.Filter{}) {
		return s, errors.New("either certificates or a filter of attempts: a certificate brings along what it relies upon")
	}
	return s, nil
}

func readFiles(names []string) (all [][]byte, err error) {
	for _, name := range names {
		text, err := os.ReadFile(filepath.Clean(name))
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

// write makes the file, readable by its owner alone because there may be tokens in it. It is there in full or not at all.
func (c exportCmd) write(out console, do func(io.Writer) error) (err error) {
	if c.Output == "-" {
		return do(out.stdout)
	}
	if _, err := os.Lstat(c.Output); err == nil {
		return fmt.Errorf("--output %s: %w", c.Output, os.ErrExist)
	}
	file, err := os.CreateTemp(filepath.Dir(c.Output), "."+filepath.Base(c.Output)+".")
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	buffered := bufio.NewWriterSize(file, 1<<20)
	err = do(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Link(file.Name(), c.Output) // which replaces no file
}
