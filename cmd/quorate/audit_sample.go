package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/db"
)

type sampleCmd struct {
	Seed    string  `required:"" placeholder:"TEXT" help:"The seed that you published. It should be of after the population was closed, and none that the CA could choose."`
	Count   int     `xor:"size" placeholder:"N" help:"Draw so many."`
	Percent int     `xor:"size" placeholder:"P" help:"Draw so many percent, rounded up, and one at least: 3 for the quarterly self-audit of BR 8.7."`
	List    bool    `xor:"size" help:"Draw nothing and print the whole population, one member a line, for others to draw from."`
	Of      string  `enum:"certificates,attempts" default:"certificates" help:"certificates or attempts. Default: ${default}."`
	Since   instant `placeholder:"RFC3339" help:"Linked, or started, at this time or later."`
	Until   instant `placeholder:"RFC3339" help:"Linked, or started, before this time."`
	recordsFlags
}

// Help is shown below the flags' list.
func (sampleCmd) Help() string {
	return "Draws those members whose SHA-256 of seed and member is smallest; a member is a certificate's SHA-256 fingerprint in lower-case hexadecimal, or an " +
		"attempt's identifier. Anybody who has the list and the seed draws the same. Exit status: 0, 1 wrong usage, 3 the records cannot be read."
}

// drawnLine is one line of `quorate audit sample --json`.
type drawnLine struct {
	Key         string    `json:"key"`
	Member      string    `json:"member"`
	Certificate int64     `json:"certificate,omitempty"`
	Permit      int64     `json:"permit,omitempty"`
	Serial      string    `json:"serial,omitempty"`
	Issuer      string    `json:"issuer,omitempty"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	Record      int64     `json:"record,omitempty"`
	Identifier  string    `json:"identifier,omitempty"`
	Outcome     string    `json:"outcome,omitempty"`
}

func (c sampleCmd) Run(ctx context.Context, out console) (err error) {
	if err := period(c.Since, c.Until); err != nil {
		return err
	}
	switch {
	case c.Seed == "":
		return errors.New("--seed: an empty seed is none")
	case c.List:
	case c.Count < 1 && c.Percent == 0:
		return errors.New("one of --count, from 1 on, --percent and --list is needed")
	case c.Percent < 0 || c.Percent > 100:
		return fmt.Errorf("--percent: %d is not between 1 and 100", c.Percent)
	}
	store, err := c.open(ctx)
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	w := bufio.NewWriter(out.stdout)
	if err := errors.Join(c.draw(ctx, store, w, console{stdout: w, stderr: out.stderr, color: out.color}), w.Flush()); err != nil {
		return status{exitFailure, err}
	}
	return nil
}

func (c sampleCmd) draw(ctx context.Context, store *db.Store, w *bufio.Writer, out console) error {
	if c.List {
		return c.members(ctx, store, func(d drawnLine) error {
			_, err := fmt.Fprintln(w, d.Member)
			return err
		})
	}
	var population int64
	if err := c.members(ctx, store, func(drawnLine) error { population++; return nil }); err != nil {
		return err
	}
	count := int64(c.Count)
	if c.Percent > 0 {
		count = audit.PercentOf(population, c.Percent)
	}
	count = min(count, population)
	if count > 0 {
		sample, err := audit.NewSample[drawnLine](c.Seed, int(count))
		if err != nil {
			return err
		}
		if err := c.members(ctx, store, func(d drawnLine) error { sample.Offer(d.Member, d); return nil }); err != nil {
			return err
		}
		if err := c.write(out, sample.Drawn()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out.stderr, "%d of %d %s drawn by the seed %q\n", count, population, c.Of, c.Seed)
	return err
}

func (c sampleCmd) members(ctx context.Context, store *db.Store, each func(drawnLine) error) error {
	period := db.Period{Since: c.Since.Time, Until: c.Until.Time}
	if c.Of == "attempts" {
		return store.AttemptMembers(ctx, period, func(s db.Summary) error {
			return each(drawnLine{Member: s.ID, Record: s.Number, Identifier: s.Identifier, Outcome: string(s.Outcome)})
		})
	}
	return store.CertificateMembers(ctx, period, func(m db.CertificateMember) error {
		return each(drawnLine{Member: m.Fingerprint, Certificate: m.Number, Permit: m.Permit, Serial: m.Serial, Issuer: m.Issuer, NotBefore: m.NotBefore,
			NotAfter: m.NotAfter})
	})
}

func (c sampleCmd) write(out console, drawn []audit.Drawn[drawnLine]) error {
	if c.JSON {
		for _, d := range drawn {
			d.Value.Key = d.Hex()
			if err := encodeLine(out.stdout, d.Value); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(out.stdout, 0, 8, 2, ' ', 0)
	for _, d := range drawn {
		v := d.Value
		about := fmt.Sprintf("certificate %d\tserial %s\tpermit %d", v.Certificate, v.Serial, v.Permit)
		if c.Of == "attempts" {
			about = strings.Join([]string{"record " + number(v.Record), table.Clean(v.Identifier), v.Outcome}, "\t")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", d.Hex(), d.Member, about) // a tabwriter fails in Flush
	}
	return t.Flush()
}
