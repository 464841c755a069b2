package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
)

type reportCmd struct {
	Since        instant  `placeholder:"RFC3339" help:"From this time on: attempts by their start, permits by their issue, certificates by their linking."`
	Until        instant  `placeholder:"RFC3339" help:"Before this time."`
	Certificates []string `type:"path" placeholder:"PATH" sep:"none" help:"Certificates that you have from elsewhere, in PEM: a file, or a directory of them. Those that no permit on record is linked to are listed. May be repeated."`
	Brief        bool     `help:"Only count the issuances that CAA prevented, instead of showing each."`
	CSV          string   `name:"csv" placeholder:"TABLE" enum:",attempts,quorums,refusals,perspectives,issuance,dcv-ages,caa-ages,prevented,without-record" default:"" help:"Print one table as CSV: attempts, quorums, refusals, perspectives, issuance, dcv-ages, caa-ages, prevented or without-record."`
	recordsFlags
}

// Help is shown below the flags' list.
func (reportCmd) Help() string {
	return "--json prints one object a line: each issuance that CAA prevented, each certificate without a record, and at the end the figures. Exit status: 0, " +
		"or 2 where one of --certificates has no record; 1 wrong usage, 3 the records cannot be read."
}

func (c reportCmd) Run(ctx context.Context, out console) (err error) {
	if err := period(c.Since, c.Until); err != nil {
		return err
	}
	held, err := readHeld(c.Certificates)
	if err != nil {
		return err
	}
	if c.JSON && c.CSV != "" {
		return errors.New("--json and --csv are different forms")
	}
	store, err := c.open(ctx)
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	w := bufio.NewWriter(out.stdout)
	r := &reporting{reportCmd: c, w: w, color: out.color, csv: csv.NewWriter(w)}
	err = r.write(ctx, store, held)
	if err = errors.Join(err, w.Flush()); err != nil {
		return status{exitFailure, err}
	}
	if r.missing > 0 {
		return status{code: exitRefused}
	}
	return nil
}

// readHeld reads bundles and directories of them. What it cannot read, and a path that has no certificate to be looked for, is refused: nothing
// is left out that somebody believes to be looked for.
func readHeld(paths []string) (all []audit.Held, err error) {
	seen := map[string]bool{}
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			entries, err := os.ReadDir(path)
			if err != nil {
				return nil, fmt.Errorf("--certificates: %w", err)
			}
			files = nil
			for _, e := range entries {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
		found := 0
		for _, file := range files {
			text, err := os.ReadFile(filepath.Clean(file))
			if err != nil {
				return nil, fmt.Errorf("--certificates: %w", err)
			}
			held, err := audit.ReadCertificates(text)
			if err != nil {
				return nil, fmt.Errorf("--certificates %s: %w", file, err)
			}
			found += len(held)
			for _, h := range held {
				if !seen[h.Fingerprint] {
					seen[h.Fingerprint] = true
					all = append(all, h)
				}
			}
		}
		if found == 0 {
			return nil, fmt.Errorf("--certificates: %s has no certificate but those of CAs", path)
		}
	}
	return all, nil
}

// reporting writes a report.
type reporting struct {
	reportCmd
	w       io.Writer
	color   bool
	csv     *csv.Writer
	missing int
	begun   bool
}

func (r *reporting) write(ctx context.Context, store *db.Store, held []audit.Held) error {
	var each func(audit.Prevented) error
	if !r.Brief && (r.CSV == "" || r.CSV == "prevented") {
		each = r.prevented
	}
	if r.CSV == "prevented" {
		if err := r.csv.Write(preventedColumns); err != nil {
			return err
		}
	}
	p, err := store.Population(ctx, db.Period{Since: r.Since.Time, Until: r.Until.Time}, each)
	if err != nil {
		return err
	}
	without, err := withoutRecord(ctx, store, held)
	if err != nil {
		return err
	}
	r.missing = len(without)
	if r.JSON {
		for _, h := range without {
			if err := encodeLine(r.w, map[string]any{"without_record": h}); err != nil {
				return err
			}
		}
		return encodeLine(r.w, map[string]any{"figures": p, "certificates_given": len(held), "certificates_without_record": len(without)})
	}
	tables := tablesOf(p, without)
	if r.CSV != "" {
		for _, t := range tables {
			if t.name != r.CSV {
				continue
			}
			for _, row := range append([][]string{t.columns}, t.rows...) {
				if err := r.csv.Write(bundle.Safe(row)); err != nil {
					return err
				}
			}
		}
		r.csv.Flush()
		return r.csv.Error()
	}
	return r.text(p, tables, len(held))
}

func withoutRecord(ctx context.Context, store *db.Store, held []audit.Held) (without []audit.Held, err error) {
	var sums []string
	for _, h := range held {
		sums = append(sums, h.Fingerprint)
	}
	linked, err := store.Linked(ctx, sums)
	for _, h := range held {
		if !linked[h.Fingerprint] {
			without = append(without, h)
		}
	}
	return without, err
}

// figures is one table of a report.
type figures struct {
	name, title string
	columns     []string
	rows        [][]string
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func duration(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// tablesOf lays the figures out.
func tablesOf(p db.Population, without []audit.Held) []figures {
	attempts := figures{name: "attempts", title: "Attempts", columns: []string{"day", "kind", "method", "outcome", "attempts"}}
	for _, c := range p.Attempts {
		attempts.rows = append(attempts.rows, []string{c.Day, c.Kind, c.Method, c.Outcome, number(c.Count)})
	}
	quorums := figures{name: "quorums", title: "Quorum results", columns: []string{"check", "outcome", "quorum", "attempts"}}
	for _, c := range p.Quorums {
		quorums.rows = append(quorums.rows, []string{c.Check, c.Outcome, c.Quorum, number(c.Count)})
	}
	refusals := figures{name: "refusals", title: "Reasons of refusals", columns: []string{"of", "code", "refusals"}}
	for _, c := range p.Refusals {
		refusals.rows = append(refusals.rows, []string{c.What, c.Code, number(c.Count)})
	}
	perspectives := figures{name: "perspectives", title: "Perspectives", columns: []string{"perspective", "role", "region", "state", "dcv", "caa", "attempts"}}
	for _, c := range p.Perspectives {
		perspectives.rows = append(perspectives.rows, []string{c.Name, c.Role, c.Region, c.State, c.DCV, c.CAA, number(c.Count)})
	}
	issuance := figures{name: "issuance", title: "Permits and certificates", columns: []string{"of", "outcome", "count"}}
	for _, c := range p.Issuance {
		issuance.rows = append(issuance.rows, []string{c.What, c.Outcome, number(c.Count)})
	}
	dcv := figures{name: "dcv-ages", title: "Age of DCV when a permit was issued", columns: []string{"days", "names"}}
	for _, c := range p.DCVAges {
		dcv.rows = append(dcv.rows, []string{number(c.Days), number(c.Names)})
	}
	caa := figures{name: "caa-ages", title: "Age of CAA at issuance", columns: []string{"of", "names", "p50", "p95", "p99", "max", "over 8 h", "beyond max(TTL, 8 h)", "numbers"}}
	for _, c := range p.CAAAges {
		var stale []string
		for _, n := range c.StaleNumbers {
			stale = append(stale, number(n))
		}
		caa.rows = append(caa.rows, []string{c.Of, number(c.Names), duration(c.P50), duration(c.P95), duration(c.P99), duration(c.Max), number(c.Over8Hours),
			number(c.Stale), strings.Join(stale, " ")})
	}
	none := figures{name: "without-record", title: "Certificates without a record", columns: []string{"sha256", "serial", "issuer", "names"}}
	for _, h := range without {
		none.rows = append(none.rows, []string{h.Fingerprint, h.Serial, h.Issuer, strings.Join(h.Names, " ")})
	}
	return []figures{attempts, quorums, refusals, perspectives, issuance, dcv, caa, none}
}

func (r *reporting) text(p db.Population, tables []figures, held int) error {
	var b strings.Builder
	for _, t := range tables {
		if t.name == "without-record" && held == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s\n", table.Paint(r.color, table.Bold, t.title))
		if len(t.rows) == 0 {
			b.WriteString("  none\n\n")
			continue
		}
		w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
		for _, row := range slices.Insert(slices.Clone(t.rows), 0, t.columns) {
			cells := make([]string, len(row))
			for i, cell := range row {
				cells[i] = dash(cell)
			}
			fmt.Fprintf(w, "  %s\n", strings.Join(cells, "\t")) // a tabwriter fails in Flush
		}
		if err := w.Flush(); err != nil {
			return err
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%d issuances prevented by CAA; a failed CAA lookup counted as permission in %d attempts, %d of them granted\n", p.Prevented, p.Excused,
		p.ExcusedGranted)
	fmt.Fprintf(&b, "%d permits rest on evidence of an earlier day, %d on CAA that was checked apart; %d replies came late\n", p.Reused, p.Rechecked, p.LateReplies)
	if held > 0 {
		fmt.Fprintf(&b, "%d certificates were looked for, %d of them have no record\n", held, r.missing)
	}
	if p.FirstRecord > 1 {
		fmt.Fprintf(&b, "the records below %d were removed when their time was over, and are in no figure; of %d names of permits the evidence is among them\n",
			p.FirstRecord, p.Unknown)
	}
	_, err := io.WriteString(r.w, b.String())
	return err
}

var preventedColumns = []string{"record", "started", "identifier", "method", "account", "caa quorum", "perspective", "role", "region", "caa", "code", "found", "ttl", "records"}

// prevented shows an issuance that CAA prevented, with what every perspective saw (CAA-08).
func (r *reporting) prevented(p audit.Prevented) error {
	if r.JSON {
		return encodeLine(r.w, map[string]any{"prevented": p})
	}
	if r.CSV == "" && !r.begun {
		r.begun = true
		if _, err := fmt.Fprintf(r.w, "%s\n", table.Paint(r.color, table.Bold, "Issuances prevented by CAA")); err != nil {
			return err
		}
	}
	if r.CSV == "" {
		if _, err := fmt.Fprintf(r.w, "  record %d, %s, %s by %s for %s (%s), CAA %s\n", p.Record, table.Time(p.Started), table.Clean(p.Identifier), p.Method,
			table.Clean(p.Account), table.Clean(strings.Join(p.Issuers, ", ")), p.Quorum); err != nil {
			return err
		}
	}
	for _, v := range p.Views {
		code, detail := "", ""
		if v.Problem != nil {
			code, detail = v.Problem.Code, v.Problem.Detail
		}
		if r.CSV == "prevented" {
			row := []string{number(p.Record), p.Started.Format(time.RFC3339Nano), p.Identifier, p.Method.String(), p.Account, p.Quorum, v.Perspective,
				v.Role.String(), string(v.Region), v.Outcome.String(), code, v.Found, number(int64(v.TTL)), strings.Join(v.Records, "\n")}
			if err := r.csv.Write(bundle.Safe(row)); err != nil {
				return err
			}
			continue
		}
		found := "no CAA records"
		if v.Found != "" {
			found = fmt.Sprintf("at %s, TTL %d: %s", v.Found, v.TTL, strings.Join(v.Records, " | "))
		}
		if _, err := fmt.Fprintf(r.w, "    %s, %s, %s: %s %s; %s %s\n", v.Perspective, v.Role, v.Region, v.Outcome, table.Clean(code), table.Clean(found),
			table.Clean(detail)); err != nil {
			return err
		}
	}
	return nil
}
