package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/gate"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

type auditCmd struct {
	List     listCmd     `cmd:"" help:"List records, the newest first."`
	Show     showCmd     `cmd:"" help:"Show one record: what each perspective saw, and why it was enough or not."`
	Verify   verifyCmd   `cmd:"" help:"Work records out again: signatures, decisions, and DNSSEC from the octets of the messages."`
	Report   reportCmd   `cmd:"" help:"Figures of a period: attempts, quorums, refusals, CAA, reuse, and certificates without a record."`
	Affected affectedCmd `cmd:"" help:"List the certificates that relied on a perspective, program, method, policy or period."`
	Sample   sampleCmd   `cmd:"" help:"Draw a random sample that anybody can repeat from a published seed."`
	Simulate simulateCmd `cmd:"" help:"Tell what the rules of another day would have decided."`
	Export   exportCmd   `cmd:"" help:"Write records with their proofs into one file that verifies elsewhere, or a table of attempts."`
}

// recordsFlags say where the records are. They are opened for reading alone, also beside a running gate.
type recordsFlags struct {
	Config   string `xor:"where" required:"" type:"existingfile" placeholder:"FILE" help:"The gate's configuration, which names the records."`
	Database string `xor:"where" required:"" type:"existingfile" placeholder:"FILE" help:"The SQLite database of records."`
	Postgres string `xor:"where" required:"" placeholder:"URL" help:"The PostgreSQL database of records, as an auditor; PGPASSFILE and its like are honoured."`
	JSON     bool   `name:"json" help:"Print JSON."`
}

func (f recordsFlags) open(ctx context.Context) (*db.Store, error) {
	records, err := f.config()
	if err != nil {
		return nil, err
	}
	records.ReadOnly = true
	return db.Open(ctx, records)
}

// config says where the records are.
func (f recordsFlags) config() (db.Config, error) {
	if f.Config == "" {
		return db.Config{Path: f.Database, Postgres: f.Postgres}, nil
	}
	g, err := config.LoadGate(f.Config)
	if err != nil {
		return db.Config{}, err
	}
	return gate.RecordsConfig(g.Journal)
}

// filterFlags pick attempts.
type filterFlags struct {
	Name        string  `help:"This name; without an asterisk its wildcard too."`
	Account     string  `placeholder:"URI" help:"This account."`
	Since       instant `placeholder:"RFC3339" help:"Started at this time or later."`
	Until       instant `placeholder:"RFC3339" help:"Started before this time."`
	Outcome     string  `enum:",granted,refused,open" default:"" help:"granted, refused or open."`
	Method      string  `placeholder:"METHOD" help:"http-01, dns-01 or tls-alpn-01."`
	Kind        string  `enum:",issuance,dry-run,caa-recheck,dcv,caa" default:"" help:"issuance, dry-run, caa-recheck, dcv or caa."`
	Shadow      bool    `help:"Beside an incumbent, which answered for it (docs/shadow.md)."`
	Caller      string  `help:"Asked for by this caller, for example rest:ra-1."`
	Perspective string  `placeholder:"NAME" help:"This perspective took part."`
	Code        string  `help:"Refused for this reason, for example caa.forbidden."`
}

// filter refuses what means nothing.
func (c filterFlags) filter() (f db.Filter, err error) {
	f = db.Filter{Name: strings.ToLower(strings.TrimSuffix(c.Name, ".")), Account: c.Account, Since: c.Since.Time, Until: c.Until.Time,
		Outcome: db.Outcome(c.Outcome), Shadow: c.Shadow, Caller: c.Caller, Perspective: c.Perspective, Code: c.Code}
	if err := period(c.Since, c.Until); err != nil {
		return f, err
	}
	if c.Method != "" {
		if f.Method, err = va.ParseMethod(c.Method); err != nil {
			return f, fmt.Errorf("--method: %w", err)
		}
	}
	if c.Kind != "" {
		if err := f.Kind.UnmarshalText([]byte(c.Kind)); err != nil {
			return f, fmt.Errorf("--kind: %w", err)
		}
	}
	return f, nil
}

type listCmd struct {
	recordsFlags
	filterFlags
	Certificate string `placeholder:"HEX" help:"The attempts that this certificate relies upon, by its serial number or SHA-256 fingerprint."`
	Before      int64  `placeholder:"NUMBER" help:"Records below this number: the next page."`
	Limit       int    `default:"100" help:"How many at most (${default})."`
}

// listed is one line of `quorate audit list --json`.
type listed struct {
	Number     int64     `json:"number"`
	Attempt    string    `json:"attempt"`
	Kind       mpic.Kind `json:"kind"`
	Shadow     bool      `json:"shadow,omitempty"`
	Started    time.Time `json:"started"`
	Caller     string    `json:"caller"`
	Identifier string    `json:"identifier"`
	Method     va.Method `json:"method"`
	AccountURI string    `json:"account_uri"`
	Outcome    string    `json:"outcome"`
	DCV        string    `json:"dcv_quorum"`
	CAA        string    `json:"caa_quorum"`
	Policy     string    `json:"policy"`
	Reasons    []string  `json:"reasons"`
}

func (c listCmd) Run(ctx context.Context, out console) (err error) {
	f, err := c.filter()
	if err != nil {
		return err
	}
	f.Certificate, f.BeforeNumber, f.Limit = c.Certificate, c.Before, c.Limit
	if c.Limit < 1 || c.Limit > db.MaxLimit {
		return fmt.Errorf("--limit: %d is not between 1 and %d", c.Limit, db.MaxLimit)
	}
	store, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	records, err := store.List(ctx, f)
	if err != nil {
		return err
	}
	if c.JSON {
		lines := []listed{}
		for _, r := range records {
			lines = append(lines, listed{r.Number, r.ID, r.Kind, r.Shadow, r.Started.UTC(), r.Caller, r.Identifier, r.Method, r.AccountURI, string(r.Outcome),
				r.DCVQuorum, r.CAAQuorum, r.Policy, append([]string{}, r.Reasons...)})
		}
		return writeJSON(out.stdout, lines)
	}
	return writeList(out.stdout, records)
}

// writeList: REC-03 asks for date and time, identity and description on each record; they are shown on each line.
func writeList(w io.Writer, records []db.Summary) error {
	if len(records) == 0 {
		_, err := fmt.Fprintln(w, "no records")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "record\tstarted (UTC)\tkind\tcaller\tidentifier\tmethod\toutcome\tDCV\tCAA\treasons") // a tabwriter fails in Flush
	for _, r := range records {
		reasons := slices.Compact(slices.Clone(r.Reasons)) // DCV and CAA may fail alike
		kind := r.Kind.String()
		if r.Shadow {
			kind += " (shadow)"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Number, table.Time(r.Started), kind, table.Clean(r.Caller),
			table.Clean(r.Identifier), r.Method, table.Clean(string(r.Outcome)), dash(r.DCVQuorum), dash(r.CAAQuorum),
			table.Clean(strings.Join(reasons, " ")))
	}
	return t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return table.Clean(s)
}

type showCmd struct {
	Record string `arg:"" help:"The attempt's identifier, or the record's number."`
	recordsFlags
}

// shown is what `quorate audit show --json` prints: the documents, decoded, with the digests of their stored bytes.
type shown struct {
	Number   int64              `json:"number"`
	Evidence mpic.Evidence      `json:"evidence"`
	Decision json.RawMessage    `json:"decision"`
	Late     []mpic.Attestation `json:"late"`
	// Notices are the steps of reports of the refusal (CAA-09), in the order of their recording.
	Notices []mpic.Notice `json:"notices,omitempty"`
	// Sets are the DNS records that the proofs in the reports rest on, by the SHA-256 of their octets.
	Sets           dnssec.Sets `json:"sets"`
	OpeningSHA256  string      `json:"opening_sha256"`
	DecisionSHA256 string      `json:"decision_sha256,omitempty"`
}

func (c showCmd) Run(ctx context.Context, out console) (err error) {
	store, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	r, err := store.Attempt(ctx, c.Record)
	if errors.Is(err, db.ErrNotFound) {
		return fmt.Errorf("there is no record with the number or attempt %q; quorate audit list shows those that there are", c.Record)
	} else if err != nil {
		return err
	}
	late := r.LateAttestations()
	decision, err := gate.Recorded(r)
	if err != nil {
		return err
	}
	if c.JSON {
		if len(r.Decision) == 0 {
			r.Decision = json.RawMessage("null")
		}
		sets, err := recordSets(r.Evidence, late)
		if err != nil {
			return status{exitFailure, err}
		}
		return writeJSON(out.stdout, shown{r.Number, r.Evidence, r.Decision, append([]mpic.Attestation{}, late...), noticesOf(r), sets,
			r.Opening.SHA256, r.Closing.SHA256})
	}
	a := table.Attempt{Number: r.Number, Evidence: r.Evidence, Decision: decision}
	if err := table.Write(out.stdout, a, out.color); err != nil {
		return err
	}
	if err := writeDetail(out.stdout, a, late, out.color); err != nil {
		return err
	}
	return writeNotices(out.stdout, noticesOf(r), out.color)
}

// noticesOf gives the notices of a record without their documents.
func noticesOf(r db.Record) (all []mpic.Notice) {
	for _, n := range r.Notices {
		all = append(all, n.Notice)
	}
	return all
}

// recordSets gives the DNS records of a whole record.
func recordSets(e mpic.Evidence, late []mpic.Attestation) (dnssec.Sets, error) {
	sets, err := e.Sets()
	if err != nil {
		return nil, err
	}
	after := mpic.Evidence{Remotes: late}
	more, err := after.Sets()
	maps.Copy(sets, more)
	return sets, err
}
