package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
)

type dueCmd struct{ recordsFlags }

// Help is shown below the flags' list.
func (dueCmd) Help() string {
	return "What is due is the oldest part of the log, in whole segments. Nothing in it can be relied upon any more, and everything that did was over two years ago (REC-04)."
}

func (c dueCmd) Run(ctx context.Context, out console) (err error) {
	store, err := c.open(ctx)
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	due, err := store.Due(ctx, 0)
	if err != nil {
		return status{exitFailure, err}
	}
	if c.JSON {
		return writeJSON(out.stdout, due)
	}
	if due.Empty() {
		_, err = fmt.Fprintf(out.stdout, "nothing is due; the documents of the log begin at line %d\n", due.First)
		return err
	}
	_, err = fmt.Fprintf(out.stdout, "due: the lines %d to %d of the log, with all their records\n", due.First, due.Past-1)
	return err
}

type removeCmd struct {
	recordsFlags
	Export      string   `required:"" placeholder:"FILE" help:"The bundle to export them to first; it must not exist. Keep it: nothing else has these records afterwards."`
	LogKey      string   `required:"" type:"existingfile" placeholder:"FILE" help:"The public key of the log's signer, log.key.pub, to verify the export with."`
	TrustAnchor []string `type:"existingfile" placeholder:"FILE" sep:"none" help:"Trust anchors from a zone file of DS or DNSKEY records, instead of the IANA root's. May be repeated."`
	Lines       int64    `placeholder:"N" help:"At most so many lines of the log at a time. Default: all that are due."`
}

// Help is shown below the flags' list.
func (removeCmd) Help() string {
	return "On PostgreSQL the user needs " + db.RetentionRole + " instead of the gate's role. Exit status: 0 removed, or nothing is due, 1 wrong usage, 2 the export does " +
		"not hold and nothing was removed, 3 the records cannot be read or written."
}

func (c removeCmd) Run(ctx context.Context, out console) (err error) {
	if c.Lines < 0 {
		return fmt.Errorf("--lines: %d is no number of lines", c.Lines)
	}
	auditor := audit.Auditor{}
	if auditor.Anchors, err = readAllAnchors(c.TrustAnchor); err != nil {
		return err
	}
	key, err := readLogKey(c.LogKey)
	if err != nil {
		return fmt.Errorf("--log-key %s: %w", c.LogKey, err)
	}
	records, err := c.config()
	if err != nil {
		return err
	}
	return c.remove(ctx, out, records, db.VerifyConfig{Auditor: auditor, LogKey: key})
}

// remove does it by the records' clock, which is the system's unless it is set.
func (c removeCmd) remove(ctx context.Context, out console, records db.Config, settings db.VerifyConfig) (err error) {
	if records.Now == nil {
		records.Now = time.Now
	}
	records.Retention, records.Software, records.Logger = true, software(), node.StartLog(out.stderr, config.Log{Level: "warn"})
	store, err := db.Open(ctx, records)
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	due, err := store.Due(ctx, c.Lines)
	if err != nil {
		return status{exitFailure, err}
	}
	if due.Empty() {
		if all, err := store.Due(ctx, 0); err != nil {
			return status{exitFailure, err}
		} else if !all.Empty() {
			return fmt.Errorf("--lines: records go in whole segments, and %d lines are less than one; %d lines are due", c.Lines, all.Past-all.First)
		}
		_, err = fmt.Fprintln(out.stdout, "nothing is due")
		return err
	}
	manifest, sum, err := c.export(ctx, store, due)
	if errors.Is(err, bundle.ErrNothing) {
		_, err = fmt.Fprintf(out.stdout, "nothing is removed: the lines %d to %d are due, and are all of refused permits, which stay\n", due.First, due.Past-1)
		return err
	}
	if err != nil {
		return status{exitFailure, err}
	}
	if err := c.prove(ctx, out, settings); err != nil {
		return err
	}
	removed, err := store.Remove(ctx, db.Removed{Due: due, Export: sum, Proven: records.Now().UTC().Round(0), By: software()})
	if err != nil {
		return status{exitFailure, err}
	}
	_, err = fmt.Fprintf(out.stdout, "removed the lines %d to %d: %d attempts, %d permits, %d certificates; %s has %d attempts and the SHA-256 %s\n", removed.First, removed.Past-1,
		removed.Rows["attempts"], removed.Rows["permits"], removed.Rows["certificates"], c.Export, manifest.Counts.Attempts, sum)
	return err
}

// export writes the bundle, durably, and gives its digest.
func (c removeCmd) export(ctx context.Context, store *db.Store, due db.Due) (m bundle.Manifest, sum string, err error) {
	f, err := os.OpenFile(filepath.Clean(c.Export), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return m, "", err
	}
	hash, buffer := sha256.New(), bufio.NewWriter(f)
	m, err = bundle.Write(ctx, store, io.MultiWriter(buffer, hash), bundle.Config{Selection: bundle.Selection{Filter: db.Filter{BeforeLeaf: due.Past}},
		Software: software(), Created: due.At})
	if err == nil {
		err = errors.Join(buffer.Flush(), f.Sync())
	}
	// The file's name must last too: what it has is removed from the records.
	if err = errors.Join(err, f.Close()); err == nil {
		err = syncDir(filepath.Dir(c.Export))
	}
	if err != nil {
		return m, "", fmt.Errorf("--export: %w", errors.Join(err, os.Remove(c.Export)))
	}
	return m, hex.EncodeToString(hash.Sum(nil)), nil
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// prove reads the bundle back from the disk and verifies all of it.
func (c removeCmd) prove(ctx context.Context, out console, settings db.VerifyConfig) (err error) {
	f, err := os.Open(filepath.Clean(c.Export))
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return status{exitFailure, err}
	}
	run := &verifying{out: out}
	settings.Finding = run.finding
	sum, _, err := bundle.Verify(ctx, f, info.Size(), settings)
	switch {
	case err != nil:
		return status{exitFailure, err}
	case sum.Findings > 0:
		return status{exitRefused, fmt.Errorf("the export %s does not hold (%d findings): nothing was removed", c.Export, sum.Findings)}
	}
	return nil
}
