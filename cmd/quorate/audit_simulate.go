package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/db"
)

type simulateCmd struct {
	On string `required:"" placeholder:"YYYY-MM-DD" help:"The day whose rules decide, in UTC."`
	criteriaFlags
	Brief bool `help:"Only the counts, without a line for each record and permit that would come out otherwise."`
	recordsFlags
}

// Help is shown below the flags' list.
func (simulateCmd) Help() string {
	return "Judges recorded attempts again as if they had started on another day. What was seen stays as it was, and nothing is written. --json prints one " +
		"object a line, the counts at the end. Exit status: 0, 1 wrong usage, 3 the records cannot be read."
}

func (c simulateCmd) Run(ctx context.Context, out console) (err error) {
	on, err := time.Parse(time.DateOnly, c.On)
	if err != nil {
		return fmt.Errorf("--on: %q is no day in the form YYYY-MM-DD", c.On)
	}
	criteria, err := c.criteria()
	if err != nil {
		return err
	}
	store, err := c.open(ctx)
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	w := bufio.NewWriter(out.stdout)
	var each func(db.Changed) error
	switch {
	case c.Brief:
	case c.JSON:
		each = func(x db.Changed) error { return encodeLine(w, x) }
	default:
		each = func(x db.Changed) error {
			what := fmt.Sprintf("record %d", x.Record)
			if x.Permit != 0 {
				what = fmt.Sprintf("permit %d", x.Permit)
			}
			_, err := fmt.Fprintf(w, "%s, %s, %s: %s, and would be %s: %s\n", what, day(x.Started), table.Clean(x.Identifier), table.Clean(x.Was),
				x.Would, table.Clean(strings.Join(x.Codes, " ")))
			return err
		}
	}
	var show func(done, of int64)
	progress := newProgress(out.stderr, "records")
	if c.Brief { // lines tell by themselves how far it is
		show = progress.show
	}
	sum, err := store.Simulate(ctx, criteria, on, each, show)
	progress.clear()
	if err == nil && c.JSON {
		err = encodeLine(w, map[string]any{"summary": sum})
	} else if err == nil {
		_, err = fmt.Fprintf(w, "by the rules of %s: of %d attempts %d would be granted, and %d were%s\n%d permits looked at, %d would not have been given%s\n"+
			"%d attempts are open, %d cannot be judged again; %d permits rest on what cannot be\n", c.On, sum.Attempts, sum.GrantedOn, sum.GrantedThen,
			codeList(sum.Codes), sum.Permits, sum.Withheld, codeList(sum.PermitCodes), sum.Open, sum.Unjudged, sum.UnknownPermits)
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		return status{exitFailure, err}
	}
	if sum.Attempts+sum.Open+sum.Unjudged == 0 {
		return unknown(ctx, store, criteria, out)
	}
	return nil
}

// codeList gives counts by code, for the end of a sentence.
func codeList(codes map[string]int64) string {
	var all []string
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		all = append(all, fmt.Sprintf("%d for %s", codes[code], code))
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}
