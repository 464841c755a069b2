package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

type policyCmd struct {
	On     string `placeholder:"YYYY-MM-DD" help:"The day, in UTC; today if left out."`
	Config string `type:"existingfile" placeholder:"FILE" help:"A gate's configuration to hold against the rules."`
}

// Help is shown below the flags' list.
func (policyCmd) Help() string {
	return "Exit status: 0, or 2 when the configuration given cannot be used on that day."
}

func (c policyCmd) Run(out console) error {
	at := time.Now()
	if c.On != "" {
		var err error
		if at, err = time.Parse(time.DateOnly, c.On); err != nil {
			return fmt.Errorf("--on: %q is no day in the form YYYY-MM-DD", c.On)
		}
	}
	var roster mpic.Roster
	var cohort mpic.Cohort
	if c.Config != "" {
		g, err := config.LoadGate(c.Config)
		if err != nil {
			return err
		}
		roster = g.Roster()
		if g.Cohort != nil { // whether enough go together depends on no secret
			cohort = mpic.Cohort{Size: g.Cohort.Size, Secret: make([]byte, sha256.Size)}
		}
	}
	o := mpic.OutlookOn(roster, cohort, at)
	if err := writeOutlook(out.stdout, o, c.Config, out.color); err != nil {
		return status{exitFailure, err}
	}
	if c.Config != "" && len(o.Breaks) > 0 {
		return status{code: exitRefused}
	}
	return nil
}

func writeOutlook(w io.Writer, o mpic.Outlook, file string, color bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", table.Paint(color, table.Bold, "Rules on "+o.At.Format(time.DateOnly)))
	if o.Policy.MinRemotes == 0 {
		b.WriteString("  No policy for corroboration is in force on this day: nothing could be granted.\n")
	} else {
		fmt.Fprintf(&b, "  At least %d remote perspectives (since %s), corroborating from at least %d region(s).\n", o.Policy.MinRemotes,
			o.Policy.MinRemotesSince.Format(time.DateOnly), o.Policy.MinRegions)
		for _, n := range []int{o.Policy.MinRemotes, 6} {
			if allowed, ok := mpic.AllowedNonCorroborations(n); ok {
				fmt.Fprintf(&b, "  With %d remotes, %d may fail to corroborate.\n", n, allowed)
			}
		}
	}
	b.WriteString("\n")
	for _, r := range o.Rules {
		writeRule(&b, r, r.Section(o.At), "", color)
	}
	if len(o.Coming) > 0 {
		fmt.Fprintf(&b, "\n%s\n", table.Paint(color, table.Bold, "Still to come"))
		for _, r := range o.Coming {
			writeRule(&b, r, r.Section(r.From), r.From.Format(time.DateOnly)+"  ", color)
		}
	}
	if file != "" {
		fmt.Fprintf(&b, "\n%s\n", table.Paint(color, table.Bold, file))
		writeBreaks(&b, "On "+o.At.Format(time.DateOnly), o.Breaks, color)
		if !o.Next.IsZero() {
			writeBreaks(&b, "From "+o.Next.Format(time.DateOnly)+", over and above", o.NextBreaks, color)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRule(b *strings.Builder, r mpic.Rule, section, date string, color bool) {
	for i, line := range table.Wrap(r.Text, 88-len(date)) {
		id, place := r.ID, section
		if i > 0 {
			id, place, date = "", "", strings.Repeat(" ", len(date))
		}
		fmt.Fprintf(b, "  %s%-8s %-14s %s\n", date, id, place, table.Paint(color, "", line))
	}
}

func writeBreaks(b *strings.Builder, when string, breaks []*va.Problem, color bool) {
	if len(breaks) == 0 {
		fmt.Fprintf(b, "  %s: %s\n", when, table.Paint(color, table.Green, "nothing in this configuration breaks the rules"))
		return
	}
	fmt.Fprintf(b, "  %s: %s\n", when, table.Paint(color, table.Red, fmt.Sprintf("%d thing(s) break the rules", len(breaks))))
	for _, p := range breaks {
		for i, line := range table.Wrap(fmt.Sprintf("%s: %s (%s)", p.Code, p.Detail, strings.Join(p.Rules, ", ")), 100) {
			indent := "      "
			if i == 0 {
				indent = "    - "
			}
			b.WriteString(indent + table.Clean(line) + "\n")
		}
	}
}
