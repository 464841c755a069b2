package bundle

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/db"
)

// Line is one attempt in a table. Times are RFC 3339 in UTC.
type Line struct {
	Number     int64  `json:"number"`
	Attempt    string `json:"attempt"`
	Kind       string `json:"kind"`
	Started    string `json:"started"`
	Decided    string `json:"decided,omitempty"`
	Caller     string `json:"caller"`
	Software   string `json:"software"`
	Identifier string `json:"identifier"`
	// AuthorizationDomainName to Requirements are what the decision says was validated.
	AuthorizationDomainName string `json:"authorization_domain_name,omitempty"`
	Derivation              string `json:"derivation,omitempty"`
	Queried                 string `json:"queried,omitempty"`
	Scope                   string `json:"scope,omitempty"`
	Method                  string `json:"method"`
	Section                 string `json:"section"`
	Requirements            string `json:"requirements,omitempty"`
	AccountURI              string `json:"account_uri"`
	Outcome                 string `json:"outcome"`
	Policy                  string `json:"policy,omitempty"`
	DCVQuorum               string `json:"dcv_quorum,omitempty"`
	CAAQuorum               string `json:"caa_quorum,omitempty"`
	// Reasons are codes.
	Reasons       []string          `json:"reasons"`
	ReusableUntil string            `json:"reusable_until,omitempty"`
	CAAFreshUntil string            `json:"caa_fresh_until,omitempty"`
	Perspectives  []LinePerspective `json:"perspectives"`
	// LateReplies is how many came after the decision.
	LateReplies int      `json:"late_replies"`
	Intent      LineLog  `json:"intent"`
	Decision    *LineLog `json:"decision,omitempty"`
	// Permits are the numbers of those that rest on the attempt, Certificates the SHA-256 fingerprints of theirs.
	Permits      []int64  `json:"permits"`
	Certificates []string `json:"certificates"`
}

// LinePerspective is one perspective's part in an attempt.
type LinePerspective struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Region  string `json:"region"`
	State   string `json:"state"`
	DCV     string `json:"dcv,omitempty"`
	CAA     string `json:"caa,omitempty"`
	DCVCode string `json:"dcv_code,omitempty"`
	CAACode string `json:"caa_code,omitempty"`
}

// LineLog is a document's place in the log.
type LineLog struct {
	Leaf     int64  `json:"leaf"`
	Recorded string `json:"recorded"`
	SHA256   string `json:"sha256"`
}

// Format is a form of table.
type Format string

const (
	// JSONL is one JSON object a line (Line).
	JSONL Format = "jsonl"
	// CSV has a line of names, and one for each attempt (RFC 4180). For each perspective that ever took part there are columns
	// of its own. A cell that a spreadsheet would take for a formula begins with an apostrophe.
	CSV Format = "csv"
)

// TableConfig says what is written, and how.
type TableConfig struct {
	Selection
	Format Format
	// Progress, if set, is told how many of how many attempts were written.
	Progress func(done, of int64)
}

// Table writes a line for each attempt that is selected, in the order of their numbers, as one view of the database has them. A selection that picks
// none is ErrNothing, so that a mistyped filter is not taken for an empty answer; of an empty database the table has no lines.
func Table(ctx context.Context, s *db.Store, out io.Writer, c TableConfig) (err error) {
	if c.Format != JSONL && c.Format != CSV {
		return fmt.Errorf("bundle: %q is no form of table", c.Format)
	}
	view, err := s.View(ctx)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	pick := &writer{config: Config{Selection: c.Selection}, view: view}
	everything := len(c.Certificates) == 0 && c.Filter == (db.Filter{})
	if err := pick.pick(ctx); err != nil && !(errors.Is(err, ErrNothing) && everything) {
		return fmt.Errorf("bundle: %w", err)
	}
	write, err := newTable(ctx, view, out, c.Format)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	done := 0
	for part := range slices.Chunk(pick.selected, 100) {
		lines, err := readLines(ctx, view, part)
		if err == nil {
			err = write(lines)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		if done += len(part); c.Progress != nil {
			c.Progress(int64(done), int64(len(pick.selected)))
		}
	}
	return nil
}

// readLines reads attempts, several at a time.
func readLines(ctx context.Context, view *db.View, numbers []int64) ([]Line, error) {
	filed, err := view.Filed(ctx, numbers)
	if err != nil {
		return nil, err
	}
	relying, err := view.Relying(ctx, numbers)
	if err != nil {
		return nil, err
	}
	lines, errs := make([]Line, len(filed)), make([]error, len(filed))
	parallel(runtime.GOMAXPROCS(0), len(filed), func(i int) {
		if lines[i], errs[i] = line(filed[i], relying[filed[i].Number]); errs[i] != nil {
			errs[i] = fmt.Errorf("record %d: %w", filed[i].Number, errs[i])
		}
	})
	return lines, errors.Join(errs...)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// line tells what an attempt's documents say.
func line(f db.Filed, relying []db.Relying) (l Line, err error) {
	r, err := f.Read()
	if err != nil {
		return l, err
	}
	closings, err := r.Closings()
	if err != nil {
		return l, err
	}
	subject := r.Validated()
	l = Line{Number: r.Number, Attempt: r.ID, Kind: r.Kind.String(), Started: stamp(r.Started), Decided: stamp(r.DecidedAt()), Caller: r.Caller,
		Software: r.Software, Identifier: r.Identifier, AuthorizationDomainName: subject.AuthorizationDomainName, Derivation: subject.Derivation,
		Queried: subject.Queried, Method: r.Method.String(), Section: r.Method.Section(), Requirements: subject.Requirements,
		AccountURI: r.AccountURI, Outcome: string(r.Outcome), Policy: r.Policy, DCVQuorum: r.DCVQuorum, CAAQuorum: r.CAAQuorum,
		Reasons: append([]string{}, r.Reasons...), LateReplies: len(r.Late), Permits: []int64{}, Certificates: []string{},
		Intent: LineLog{f.Intent.Leaf, stamp(f.Intent.Entry.Recorded), f.Intent.SHA256}}
	if subject.ReusableUntil != nil {
		l.Scope = subject.Scope.String()
		l.ReusableUntil = stamp(*subject.ReusableUntil)
	}
	if relied, err := r.Reliable(); err == nil {
		l.CAAFreshUntil = stamp(relied.CAAFreshUntil)
	}
	if f.Decision.SHA256 != "" {
		l.Decision = &LineLog{f.Decision.Leaf, stamp(f.Decision.Entry.Recorded), f.Decision.SHA256}
	}
	for _, p := range closings {
		l.Perspectives = append(l.Perspectives, LinePerspective{p.Name, p.Role.String(), string(p.Region), p.State, p.DCV, p.CAA, p.DCVCode, p.CAACode})
	}
	for _, x := range relying {
		l.Permits = append(l.Permits, x.Permit)
		l.Certificates = append(l.Certificates, x.Certificates...)
	}
	return l, nil
}

// newTable gives what writes lines.
func newTable(ctx context.Context, view *db.View, out io.Writer, f Format) (func([]Line) error, error) {
	if f == JSONL {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		return func(lines []Line) error {
			for _, l := range lines {
				if err := e.Encode(l); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}
	who, err := view.Perspectives(ctx)
	if err != nil {
		return nil, err
	}
	w := csv.NewWriter(out)
	w.UseCRLF = true // RFC 4180
	if err := w.Write(Safe(csvHeader(who))); err != nil {
		return nil, err
	}
	w.Flush()
	return func(lines []Line) error {
		for _, l := range lines {
			if err := w.Write(Safe(l.cells(who))); err != nil {
				return err
			}
		}
		w.Flush()
		return w.Error()
	}, w.Error()
}

func csvHeader(who []string) []string {
	all := []string{"number", "attempt", "kind", "started", "decided", "caller", "software", "identifier", "authorization_domain_name", "derivation",
		"queried", "scope", "method", "section", "requirements", "account_uri", "outcome", "policy", "dcv_quorum", "caa_quorum", "reasons", "reusable_until",
		"caa_fresh_until", "late_replies", "intent_leaf", "intent_recorded", "intent_sha256", "decision_leaf", "decision_recorded", "decision_sha256",
		"permits", "certificates"}
	for _, name := range who {
		all = append(all, name+" role", name+" region", name+" state", name+" dcv", name+" caa", name+" codes")
	}
	return all
}

// cells gives the line in the order of csvHeader. Several values in one cell have spaces between them.
func (l Line) cells(who []string) []string {
	permits := make([]string, len(l.Permits))
	for i, n := range l.Permits {
		permits[i] = strconv.FormatInt(n, 10)
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	all := []string{number(l.Number), l.Attempt, l.Kind, l.Started, l.Decided, l.Caller, l.Software, l.Identifier, l.AuthorizationDomainName, l.Derivation,
		l.Queried, l.Scope, l.Method, l.Section, l.Requirements, l.AccountURI, l.Outcome, l.Policy, l.DCVQuorum, l.CAAQuorum,
		strings.Join(l.Reasons, " "), l.ReusableUntil, l.CAAFreshUntil, strconv.Itoa(l.LateReplies), number(l.Intent.Leaf), l.Intent.Recorded, l.Intent.SHA256}
	if l.Decision == nil {
		all = append(all, "", "", "")
	} else {
		all = append(all, number(l.Decision.Leaf), l.Decision.Recorded, l.Decision.SHA256)
	}
	all = append(all, strings.Join(permits, " "), strings.Join(l.Certificates, " "))
	for _, name := range who {
		i := slices.IndexFunc(l.Perspectives, func(p LinePerspective) bool { return p.Name == name })
		if i < 0 {
			all = append(all, "", "", "", "", "", "")
			continue
		}
		p := l.Perspectives[i]
		all = append(all, p.Role, p.Region, p.State, p.DCV, p.CAA, strings.TrimSpace(p.DCVCode+" "+p.CAACode))
	}
	return all
}

// Safe puts an apostrophe in front of what a spreadsheet would take for a formula (OWASP, CSV Injection).
func Safe(cells []string) []string {
	for i, c := range cells {
		if c != "" && strings.ContainsRune("=+-@\t\r\n", rune(c[0])) {
			cells[i] = "'" + c
		}
	}
	return cells
}
