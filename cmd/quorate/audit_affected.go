package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/va"
)

// criteriaFlags pick records.
type criteriaFlags struct {
	Perspective         string  `placeholder:"NAME" help:"This perspective took part, as the primary or a remote."`
	Counted             bool    `help:"With --perspective: only where what it saw counted as a pass, of DCV or of CAA."`
	Software            string  `placeholder:"VERSION" help:"The gate ran this program and version."`
	PerspectiveSoftware string  `placeholder:"VERSION" help:"The perspective, or any, ran this program and version. It reads documents, which takes longer."`
	Method              string  `placeholder:"METHOD" help:"http-01, dns-01 or tls-alpn-01."`
	Policy              string  `placeholder:"NAME" help:"Decided by these rules, for example 2026-06-15."`
	Since               instant `placeholder:"RFC3339" help:"The attempt started at this time or later."`
	Until               instant `placeholder:"RFC3339" help:"The attempt started before this time."`
	Name                string  `aliases:"identifier" help:"The attempt was for this name; without an asterisk for its wildcard too."`
	Account             string  `placeholder:"URI" help:"The attempt was for this account."`
	Excused             bool    `help:"A failed CAA lookup counted as permission."`
}

func (f criteriaFlags) criteria() (c db.Criteria, err error) {
	c = db.Criteria{Perspective: f.Perspective, Counted: f.Counted, Software: f.Software, PerspectiveSoftware: f.PerspectiveSoftware, Policy: f.Policy,
		Since: f.Since.Time, Until: f.Until.Time, Name: strings.ToLower(strings.TrimSuffix(f.Name, ".")), Account: f.Account, Excused: f.Excused}
	if f.Counted && f.Perspective == "" {
		return c, errors.New("--counted needs --perspective")
	}
	if err := period(f.Since, f.Until); err != nil {
		return c, err
	}
	if f.Method != "" {
		if c.Method, err = va.ParseMethod(f.Method); err != nil {
			return c, fmt.Errorf("--method: %w", err)
		}
	}
	return c, nil
}

type affectedCmd struct {
	criteriaFlags
	Authorizations bool    `xor:"form" help:"List the authorizations that permits could still rest on, instead of certificates."`
	CCADB          bool    `name:"ccadb" xor:"form" help:"Print the CSV of certificates that the CCADB asks for in an incident report."`
	Links          bool    `xor:"form" help:"Print a crt.sh link for each certificate, as the CCADB allows from 10000 on."`
	Expired        bool    `help:"With --ccadb and --links: those too that have expired."`
	At             instant `placeholder:"RFC3339" help:"The time at which certificates are expired or not; now if left out."`
	recordsFlags
}

// Help is shown below the flags' list.
func (affectedCmd) Help() string {
	return "Lists the certificates that relied on a record of an attempt for which all of this holds; without any condition, on any record. --json prints " +
		"one object a line. Exit status: 0 the list is complete, also where it is empty; 1 wrong usage; 3 the records could not be read to the end, and " +
		"the list is not complete."
}

func (c affectedCmd) Run(ctx context.Context, out console) (err error) {
	criteria, err := c.criteria()
	if err != nil {
		return err
	}
	if c.JSON && (c.CCADB || c.Links) {
		return errors.New("--json, --ccadb and --links are different forms")
	}
	at := c.At.Time
	if at.IsZero() {
		at = time.Now()
	}
	store, err := c.open(ctx)
	if err != nil {
		return status{exitFailure, err}
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	w := bufio.NewWriterSize(out.stdout, 64<<10)
	list := &affectedList{at: at, w: w, expired: c.Expired}
	switch {
	case c.Authorizations:
		err = store.AffectedAuthorizations(ctx, criteria, at, c.authorization(list))
	case c.CCADB:
		if err = store.Affected(ctx, criteria, list.row); err == nil {
			err = list.writeIncident()
		}
	case c.Links:
		err = store.AffectedLinks(ctx, criteria, list.link)
	case c.JSON:
		err = store.Affected(ctx, criteria, list.line)
	default:
		err = store.Affected(ctx, criteria, list.text)
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		return status{exitFailure, fmt.Errorf("the list is not complete: %w", err)}
	}
	// The report asks for both totals; the list itself stays free of them.
	what := "certificates"
	if c.Authorizations {
		what = "authorizations"
	}
	if _, err := fmt.Fprintf(out.stderr, "%d %s affected, %d of them not expired on %s\n", list.total, what, list.valid, at.UTC().Format(time.RFC3339)); err != nil {
		return status{exitFailure, err}
	}
	if list.total == 0 {
		return unknown(ctx, store, criteria, out)
	}
	return nil
}

// unknown tells of conditions that no record fulfils at all: whoever mistypes a name gets an empty list, and should not take it for an answer.
func unknown(ctx context.Context, store *db.Store, c db.Criteria, out console) error {
	all, err := store.Unknown(ctx, c)
	for _, condition := range all {
		if _, err := fmt.Fprintf(out.stderr, "no record at all has the %s\n", condition); err != nil {
			return status{exitFailure, err}
		}
	}
	if err != nil {
		return status{exitFailure, err}
	}
	return nil
}

// affectedList writes what is affected.
type affectedList struct {
	at           time.Time
	w            io.Writer
	expired      bool
	total, valid int
	rows         []audit.IncidentRow
}

// count tells whether a certificate is still good by its time: one that cannot be read might be.
func (l *affectedList) count(a db.Affected) (valid bool) {
	l.total++
	if valid = a.NotAfter.IsZero() || !a.NotAfter.Before(l.at); valid {
		l.valid++
	}
	return valid
}

func timeStatus(valid bool) string {
	if valid {
		return "not expired"
	}
	return "expired"
}

// affectedLine is one line of `quorate audit affected --json`.
type affectedLine struct {
	Certificate    int64         `json:"certificate"`
	Permit         int64         `json:"permit"`
	Outcome        string        `json:"outcome"`
	SHA256         string        `json:"sha256"`
	Serial         string        `json:"serial"`
	Issuer         string        `json:"issuer"`
	Names          []string      `json:"names"`
	Precertificate bool          `json:"precertificate"`
	NotBefore      time.Time     `json:"not_before,omitzero"`
	NotAfter       time.Time     `json:"not_after,omitzero"`
	Linked         time.Time     `json:"linked"`
	Status         string        `json:"status"`
	Records        []db.ReliedOn `json:"records"`
	Damaged        string        `json:"damaged,omitempty"`
}

func (l *affectedList) line(a db.Affected) error {
	return encodeLine(l.w, affectedLine{a.Number, a.Permit, a.Outcome, a.Fingerprint, a.Serial, a.Issuer, append([]string{}, a.Names...), a.Precertificate,
		a.NotBefore, a.NotAfter, a.Linked, timeStatus(l.count(a)), a.Records, a.Damaged})
}

func encodeLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (l *affectedList) text(a db.Affected) error {
	var records []string
	for _, r := range a.Records {
		records = append(records, fmt.Sprintf("%d %s of %s", r.Record, strings.ToUpper(string(r.For)), table.Clean(r.Name)))
	}
	valid := l.count(a)
	kind := "certificate"
	if a.Precertificate {
		kind = "precertificate"
	}
	if a.Damaged != "" {
		kind += ", the record of which is DAMAGED"
	}
	_, err := fmt.Fprintf(l.w, "%s, serial %s, %s\n  %s %s, good from %s to %s, %s; permit %d\n  relied on record %s\n", table.Clean(a.Fingerprint),
		dash(a.Serial), table.Clean(strings.Join(a.Names, " ")), table.Clean(a.Outcome), kind, day(a.NotBefore), day(a.NotAfter), timeStatus(valid), a.Permit, strings.Join(records, ", "))
	return err
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func (l *affectedList) link(a db.Affected) error {
	if valid := l.count(a); !valid && !l.expired {
		return nil
	}
	_, err := fmt.Fprintln(l.w, audit.CrtShLink(a.Fingerprint))
	return err
}

// maxIncidentRows bounds the list that is held in memory to bring precertificates and certificates together.
const maxIncidentRows = 100_000

func (l *affectedList) row(a db.Affected) error {
	if valid := l.count(a); !valid && !l.expired {
		return nil
	}
	if len(l.rows) == maxIncidentRows {
		return fmt.Errorf("there are more than %d certificates; the CCADB takes links from %d on: use --links", maxIncidentRows, audit.IncidentLinks)
	}
	r, err := audit.NewIncidentRow(a.DER, a.Fingerprint)
	if err != nil {
		return fmt.Errorf("%w; --links and --json list it", err)
	}
	l.rows = append(l.rows, r)
	return nil
}

// writeIncident brings precertificates and certificates together and writes the list, the latest first.
func (l *affectedList) writeIncident() error {
	byKey := map[string]int{}
	var rows []audit.IncidentRow
	for _, r := range l.rows {
		key := r.Serial.Text(16) + " " + r.Issuer
		i, ok := byKey[key]
		if !ok {
			byKey[key] = len(rows)
			rows = append(rows, r)
			continue
		}
		// A precertificate begins, and its certificate takes its place.
		if r.Certificate != "" && rows[i].Certificate == "" {
			r.Precertificate = rows[i].Precertificate
			rows[i] = r
		} else if r.Precertificate != "" && rows[i].Precertificate == "" {
			rows[i].Precertificate = r.Precertificate
		}
	}
	slices.SortStableFunc(rows, func(a, b audit.IncidentRow) int { return b.NotBefore.Compare(a.NotBefore) })
	c := csv.NewWriter(l.w)
	if err := c.Write(audit.IncidentColumns()); err != nil {
		return err
	}
	for _, r := range rows {
		if err := c.Write(r.Fields(l.at)); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// reusableLine is one line of `quorate audit affected --authorizations --json`.
type reusableLine struct {
	Record        int64     `json:"record"`
	Identifier    string    `json:"identifier"`
	Account       string    `json:"account_uri"`
	Method        string    `json:"method"`
	Checked       time.Time `json:"checked"`
	ReusableUntil time.Time `json:"reusable_until,omitzero"`
	CAAFreshUntil time.Time `json:"caa_fresh_until"`
	For           []db.Use  `json:"for"`
}

func (c affectedCmd) authorization(l *affectedList) func(db.Reusable) error {
	return func(r db.Reusable) error {
		l.total++
		l.valid++
		if c.JSON {
			return encodeLine(l.w, reusableLine(r))
		}
		var uses []string
		for _, u := range r.For {
			uses = append(uses, strings.ToUpper(string(u)))
		}
		_, err := fmt.Fprintf(l.w, "record %d, %s by %s of %s, account %s: good for %s, DCV until %s, CAA until %s\n", r.Record, table.Clean(r.Identifier),
			r.Method, day(r.Checked), table.Clean(r.Account), strings.Join(uses, " and "), day(r.ReusableUntil), day(r.CAAFreshUntil))
		return err
	}
}
