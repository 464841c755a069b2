package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/term"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/va/dnssec"
)

// exitFound is audit verify's own: something does not hold.
const exitFound = 1

type verifyCmd struct {
	Records     []string `arg:"" optional:"" name:"record" help:"Attempts' identifiers or records' numbers. Without any, everything: the log, all records, permits and certificates."`
	Depth       string   `enum:"log,decisions,dnssec" default:"dnssec" help:"How deep: log (the log and the documents' digests), decisions (signatures, decisions, columns and reliance too), dnssec (every DNS answer too). Default: ${default}."`
	LogKey      string   `type:"existingfile" placeholder:"FILE" help:"The public key of the log's signer, log.key.pub: the signatures of checkpoints are verified."`
	Checkpoint  []string `type:"existingfile" placeholder:"FILE" sep:"none" help:"A signed checkpoint that you hold from elsewhere: the log must extend it. May be repeated."`
	Verified    string   `type:"existingfile" placeholder:"FILE" help:"A signed checkpoint up to which you have verified everything before: the documents below it are only held against the log, which shows that they are the same."`
	Witness     []string `placeholder:"KEY" sep:"none" help:"The verifier key of a witness whose cosignatures are looked for. May be repeated."`
	TrustAnchor []string `type:"existingfile" placeholder:"FILE" sep:"none" help:"Trust anchors from a zone file of DS or DNSKEY records, instead of the IANA root's. May be repeated."`
	Bundle      string   `xor:"where" required:"" type:"existingfile" placeholder:"FILE" help:"A file that quorate audit export wrote, instead of a database. It needs --log-key and nothing else."`
	All         bool     `help:"Print a line for each record, not only for those that do not hold."`
	recordsFlags
}

// Help is shown below the flags' list.
func (verifyCmd) Help() string {
	return "Nothing is asked of anybody: log, columns, each remote's signature, the decisions, permits, and every DNS answer are worked out again from " +
		"the documents, the checkpoints and keys that you hold, and the trust anchors. Exit status: 0 all of it holds, 1 something does not hold (or " +
		"wrong usage), 3 the records cannot be read."
}

// verified is one line of `quorate audit verify --json`: a record, or a finding that is about none.
type verified struct {
	Number     int64  `json:"number,omitempty"`
	Attempt    string `json:"attempt,omitempty"`
	Identifier string `json:"identifier,omitempty"`
	Outcome    string `json:"outcome,omitempty"`
	Holds      bool   `json:"holds"`
	audit.Verdict
}

func (c verifyCmd) Run(ctx context.Context, out console) (err error) {
	if err := c.usable(); err != nil {
		return err
	}
	settings, err := c.settings()
	if err != nil {
		return err
	}
	run := &verifying{out: out, json: c.JSON, all: c.All || len(c.Records) > 0}
	if c.Bundle != "" {
		return c.bundle(ctx, run, settings)
	}
	store, err := c.open(ctx)
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if len(c.Records) > 0 {
		settings.Auditor.SkipProofs = settings.Depth == db.DepthDecisions
		return run.some(ctx, store, settings.Auditor, c.Records)
	}
	return run.everything(settings, func(s db.VerifyConfig) (db.Verified, error) { return store.Verify(ctx, s) })
}

// usable refuses flags that would verify less than whoever gives them believes.
func (c verifyCmd) usable() error {
	held := c.LogKey != "" || c.Verified != "" || len(c.Checkpoint) > 0 || len(c.Witness) > 0
	switch {
	case c.Bundle != "" && len(c.Records) > 0:
		return errors.New("--bundle is verified as a whole: name no records")
	case c.Bundle != "" && c.LogKey == "":
		return errors.New("--bundle needs --log-key: the key of the log's signer, which you were given before")
	case c.Bundle != "" && c.Verified != "":
		return errors.New("--verified is for databases: of a bundle all is verified. A checkpoint that it must be held against is a --checkpoint")
	case len(c.Records) > 0 && (held || c.Depth == "log"):
		return errors.New("named records are worked out without the log around them: --log-key, --checkpoint, --witness, --verified and --depth log " +
			"are for everything; name no records")
	case c.LogKey == "" && c.Verified != "":
		return errors.New("--verified needs --log-key: a checkpoint without a verified signature shows nothing")
	case c.LogKey == "" && len(c.Witness) > 0:
		return errors.New("--witness needs --log-key: cosignatures are looked for where the log's own signature is verified")
	}
	return nil
}

// bundle verifies a file.
func (c verifyCmd) bundle(ctx context.Context, run *verifying, settings db.VerifyConfig) (err error) {
	file, err := os.Open(c.Bundle)
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return status{exitFailure, err}
	}
	return run.everything(settings, func(s db.VerifyConfig) (db.Verified, error) {
		sum, _, err := bundle.Verify(ctx, file, info.Size(), s)
		return sum, err
	})
}

// settings reads what the auditor brings along.
func (c verifyCmd) settings() (s db.VerifyConfig, err error) {
	s.Depth = map[string]db.Depth{"log": db.DepthLog, "decisions": db.DepthDecisions, "dnssec": db.DepthProofs}[c.Depth]
	if s.Auditor.Anchors, err = readAllAnchors(c.TrustAnchor); err != nil {
		return s, err
	}
	if c.LogKey != "" {
		if s.LogKey, err = readLogKey(c.LogKey); err != nil {
			return s, fmt.Errorf("--log-key %s: %w", c.LogKey, err)
		}
	}
	for _, text := range c.Witness {
		w, err := merkle.NewWitnessVerifier(text)
		if err != nil {
			return s, fmt.Errorf("--witness %s: %w", text, err)
		}
		s.Witnesses = append(s.Witnesses, w)
	}
	if c.Verified != "" {
		if s.Verified, err = os.ReadFile(filepath.Clean(c.Verified)); err != nil {
			return s, fmt.Errorf("--verified: %w", err)
		}
	}
	for _, file := range c.Checkpoint {
		signed, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return s, fmt.Errorf("--checkpoint: %w", err)
		}
		s.Held = append(s.Held, signed)
	}
	return s, nil
}

func readAllAnchors(files []string) (all []dnssec.Anchor, err error) {
	for _, file := range files {
		anchors, err := readAnchors(file)
		if err != nil {
			return nil, fmt.Errorf("--trust-anchor %s: %w", file, err)
		}
		all = append(all, anchors...)
	}
	return all, nil
}

func readLogKey(file string) (note.Verifier, error) {
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(strings.TrimSpace(string(text)))
}

// verifying prints what a run comes to.
type verifying struct {
	out   console
	json  bool
	all   bool
	wrong int
	err   error
}

// some works single records out, without the log around them.
func (v *verifying) some(ctx context.Context, store *db.Store, auditor audit.Auditor, keys []string) error {
	for _, key := range keys {
		r, err := store.Attempt(ctx, key)
		switch {
		case errors.Is(err, db.ErrNotFound):
			return fmt.Errorf("there is no record with the number or attempt %q; quorate audit list shows those that there are", key)
		case errors.Is(err, db.ErrDamaged):
			v.record(db.Summary{ID: key}, audit.Verdict{Wrong: []audit.Finding{{Check: audit.Record, Detail: err.Error()}},
				Unproven: []audit.Finding{}})
		case err != nil:
			return status{exitFailure, err}
		default:
			v.record(r.Summary, auditor.Verify(r.Evidence, r.Decision, r.LateAttestations()))
		}
	}
	const alone = "worked out alone: that they stand in the log, and that nothing is missing beside them, verify shows where no record is named"
	if _, err := fmt.Fprintln(v.out.stderr, alone); err != nil {
		return status{exitFailure, err}
	}
	return v.end()
}

// everything verifies a database or a bundle. Garbage may wait until it is four times what is alive: a fifth less time, for 0.9 GB at a million records.
func (v *verifying) everything(settings db.VerifyConfig, verify func(db.VerifyConfig) (db.Verified, error)) error {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	progress := newProgress(v.out.stderr, "records")
	settings.Progress = progress.show
	settings.Finding = func(f db.Finding) {
		progress.clear()
		v.finding(f)
	}
	if v.all {
		settings.Summary = func(r db.Summary, found audit.Verdict) {
			if found.Holds() {
				v.record(r, found)
			}
		}
	}
	sum, err := verify(settings)
	progress.clear()
	if err != nil {
		return status{exitFailure, err}
	}
	if v.json {
		v.line(map[string]any{"summary": sum})
	} else {
		v.print("%s", table.Verified(sum, v.out.color))
	}
	v.wrong = sum.Findings
	return v.end()
}

func (v *verifying) print(format string, args ...any) {
	if _, err := fmt.Fprintf(v.out.stdout, format, args...); err != nil && v.err == nil {
		v.err = err
	}
}

// line writes one JSON object a line.
func (v *verifying) line(one any) {
	e := json.NewEncoder(v.out.stdout)
	e.SetEscapeHTML(false)
	if err := e.Encode(one); err != nil && v.err == nil {
		v.err = err
	}
}

func (v *verifying) finding(f db.Finding) {
	if v.json {
		v.line(f)
		return
	}
	where := string(f.Check)
	if f.Number != 0 {
		where = fmt.Sprintf("record %d, %s", f.Number, where)
	}
	v.list(table.Red, where, f.Finding)
}

func (v *verifying) record(r db.Summary, found audit.Verdict) {
	if !found.Holds() {
		v.wrong++
	}
	if v.json {
		v.line(verified{r.Number, r.ID, r.Identifier, string(r.Outcome), found.Holds(), found})
		return
	}
	word := table.Paint(v.out.color, table.Green, "holds")
	if !found.Holds() {
		word = table.Paint(v.out.color, table.Red, "DOES NOT HOLD")
	}
	name := fmt.Sprintf("record %d, %s, %s, %s", r.Number, table.Clean(r.Identifier), r.Method, table.Clean(string(r.Outcome)))
	if r.Number == 0 {
		name = "record " + table.Clean(r.ID)
	}
	v.print("%s: %s; %d signed replies, %d lookups proven, %d without proof\n", name, word, found.Replies, found.Lookups, len(found.Unproven))
	for _, f := range found.Wrong {
		v.list(table.Red, "  "+string(f.Check), f)
	}
	for _, f := range found.Withheld {
		v.list(table.Yellow, "  "+string(f.Check), f)
	}
	for _, f := range found.Unproven {
		v.list(table.Yellow, "  "+string(f.Check), f)
	}
}

func (v *verifying) list(color, where string, f audit.Finding) {
	if f.Perspective != "" {
		where += ", " + f.Perspective
	}
	if f.Question != "" {
		where += ", " + f.Question
	}
	v.print("%s: %s\n", table.Paint(v.out.color, color, table.Clean(where)), table.Clean(f.Detail))
}

// end gives the exit status.
func (v *verifying) end() error {
	switch {
	case v.err != nil:
		return status{exitFailure, v.err}
	case v.wrong > 0:
		return status{code: exitFound}
	}
	return nil
}

// progress shows on a terminal how far a long work is.
type progress struct {
	out   io.Writer // nil where it is no terminal
	what  string
	began time.Time
	last  time.Time
}

func newProgress(out io.Writer, what string) *progress {
	p := &progress{what: what, began: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.out = f
	}
	return p
}

func (p *progress) show(done, of int64) {
	if p.out == nil || time.Since(p.last) < 200*time.Millisecond {
		return
	}
	p.last = time.Now()
	rate := float64(done) / time.Since(p.began).Seconds()
	left := time.Duration(float64(of-done) / max(rate, 1) * float64(time.Second))
	fmt.Fprintf(p.out, "\r\033[K%d of %d %s, %.0f/s, about %s left", done, of, p.what, rate, left.Round(time.Second)) // a terminal that fails shows nothing
}

func (p *progress) clear() {
	if p.out != nil && !p.last.IsZero() {
		fmt.Fprint(p.out, "\r\033[K")
	}
}
