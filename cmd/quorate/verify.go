package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/db"
)

type verifyCmd struct {
	Records     []string `arg:"" optional:"" name:"record" help:"Attempts' identifiers or records' numbers. Without any, all records."`
	TrustAnchor []string `type:"existingfile" placeholder:"FILE" sep:"none" help:"Trust anchors from a zone file of DS or DNSKEY records, instead of the IANA root's. May be repeated."`
	recordsFlags
}

// Help is shown below the flags' list.
func (verifyCmd) Help() string {
	return "Nothing is asked of anybody: each remote's signature, the decision, and every DNS answer are worked out again from the octets in the " +
		"records and the trust anchors. Exit status: 0 all of it holds, 1 wrong usage, 2 something does not hold, 3 a record cannot be read."
}

// verified is one line of `quorate audit verify --json`.
type verified struct {
	Number     int64  `json:"number"`
	Attempt    string `json:"attempt"`
	Identifier string `json:"identifier"`
	Outcome    string `json:"outcome"`
	Holds      bool   `json:"holds"`
	audit.Verdict
}

// verifying is the account of a run.
type verifying struct {
	out                                console
	records, wrong                     int
	replies, lookups, unproven, octets int
}

func (c verifyCmd) Run(ctx context.Context, out console) (err error) {
	auditor := audit.Auditor{}
	for _, file := range c.TrustAnchor {
		anchors, err := readAnchors(file)
		if err != nil {
			return fmt.Errorf("--trust-anchor %s: %w", file, err)
		}
		auditor.Anchors = append(auditor.Anchors, anchors...)
	}
	store, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	run := &verifying{out: out}
	for key, err := range c.keys(ctx, store) {
		if err == nil {
			err = run.one(ctx, auditor, store, key, c.JSON)
		}
		if errors.Is(err, db.ErrNotFound) {
			return fmt.Errorf("there is no record with the number or attempt %q; quorate audit list shows those that there are", key)
		} else if err != nil {
			return status{exitFailure, err}
		}
	}
	return run.end(c.JSON)
}

// keys gives the records to verify, the newest first where all are.
func (c verifyCmd) keys(ctx context.Context, store *db.Store) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		for _, key := range c.Records {
			if !yield(key, nil) {
				return
			}
		}
		for before := int64(0); len(c.Records) == 0; {
			page, err := store.List(ctx, db.Filter{BeforeNumber: before, Limit: db.MaxLimit})
			if err != nil || len(page) == 0 {
				if err != nil {
					yield("", err)
				}
				return
			}
			for _, s := range page {
				if !yield(strconv.FormatInt(s.Number, 10), nil) {
					return
				}
				before = s.Number
			}
		}
	}
}

func (v *verifying) one(ctx context.Context, auditor audit.Auditor, store *db.Store, key string, asJSON bool) error {
	v.records++
	r, err := store.Attempt(ctx, key)
	if errors.Is(err, db.ErrDamaged) {
		v.wrong++
		found := audit.Verdict{Wrong: []audit.Finding{{Check: audit.Record, Detail: err.Error()}}, Unproven: []audit.Finding{}}
		number, _ := strconv.ParseInt(key, 10, 64) // 0 where the attempt's identifier was given
		if asJSON {
			return v.line(verified{Number: number, Attempt: key, Verdict: found})
		}
		if _, err := fmt.Fprintf(v.out.stdout, "record %s: %s\n", table.Clean(key), table.Paint(v.out.color, table.Red, "DOES NOT HOLD")); err != nil {
			return err
		}
		return v.list(table.Red, found.Wrong)
	}
	if err != nil {
		return err
	}
	found := auditor.Verify(r.Evidence, r.Decision, r.LateAttestations())
	v.replies, v.lookups, v.unproven, v.octets = v.replies+found.Replies, v.lookups+found.Lookups, v.unproven+len(found.Unproven), v.octets+found.Octets
	if !found.Holds() {
		v.wrong++
	}
	if asJSON {
		return v.line(verified{r.Number, r.ID, r.Identifier, string(r.Outcome), found.Holds(), found})
	}
	return v.write(r, found)
}

// line writes one JSON object a line.
func (v *verifying) line(one verified) error {
	e := json.NewEncoder(v.out.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(one)
}

func (v *verifying) write(r db.Record, found audit.Verdict) error {
	word := table.Paint(v.out.color, table.Green, "holds")
	if !found.Holds() {
		word = table.Paint(v.out.color, table.Red, "DOES NOT HOLD")
	}
	_, err := fmt.Fprintf(v.out.stdout, "record %d, %s, %s, %s: %s; %d signed replies, %d lookups proven, %d without proof\n", r.Number,
		table.Clean(r.Identifier), r.Method, r.Outcome, word, found.Replies, found.Lookups, len(found.Unproven))
	return errors.Join(err, v.list(table.Red, found.Wrong), v.list(table.Yellow, found.Unproven))
}

func (v *verifying) list(color string, findings []audit.Finding) error {
	for _, f := range findings {
		where := string(f.Check)
		if f.Perspective != "" {
			where += ", " + f.Perspective
		}
		if f.Question != "" {
			where += ", " + f.Question
		}
		if _, err := fmt.Fprintf(v.out.stdout, "  %s: %s\n", table.Paint(v.out.color, color, table.Clean(where)), table.Clean(f.Detail)); err != nil {
			return err
		}
	}
	return nil
}

// end says what it all came to, and gives the exit status.
func (v *verifying) end(asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprintf(v.out.stdout, "%d records, %d of which do not hold; %d signed replies and %d lookups proven from %s, %d lookups without proof\n",
			v.records, v.wrong, v.replies, v.lookups, size(v.octets), v.unproven)
		if err != nil {
			return status{exitFailure, err}
		}
	}
	if v.wrong > 0 {
		return status{code: exitRefused}
	}
	return nil
}

func size(octets int) string {
	if octets < 10<<10 {
		return fmt.Sprintf("%d octets", octets)
	}
	return fmt.Sprintf("%d KiB", octets>>10)
}
