package db

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Outcome is how an attempt stands in the records.
type Outcome string

const (
	Granted Outcome = "granted"
	Refused Outcome = "refused"
	// StillOpen: no decision is recorded. The attempt is running, or its gate died or could not write; nothing was
	// granted.
	StillOpen Outcome = "open"
)

// DefaultLimit and MaxLimit bound the answer of List.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Summary is one line of a list.
type Summary struct {
	Number int64
	ID     string
	Kind   mpic.Kind
	// Shadow tells that another system answered for this call.
	Shadow   bool
	Started  time.Time
	Caller   string
	Software string
	// Identifier is the name applied for, with "*." for a wildcard; FQDN is it without.
	Identifier string
	FQDN       string
	Method     va.Method
	AccountURI string
	Outcome    Outcome
	// DCVQuorum and CAAQuorum have the form "4/5" (REC-02). These and what follows are empty while the attempt is open.
	DCVQuorum string
	CAAQuorum string
	Policy    string
	// Reasons are the codes of the decision's problems, the weightiest first; none when it is granted.
	Reasons []string
	Decided time.Time
}

// Filter picks records. A zero field does not restrict.
type Filter struct {
	// Name is the identifier or its FQDN: "example.com" finds "*.example.com" too, and "*.example.com" only itself.
	Name string
	// Account is the account's URI.
	Account string
	// Since and Until bound the attempt's start; Until is excluded.
	Since, Until time.Time
	Outcome      Outcome
	Method       va.Method
	Kind         mpic.Kind
	// Shadow gives only attempts beside an incumbent, which answered for them.
	Shadow bool
	// Caller is who asked, with the front in front.
	Caller string
	// Perspective is one that took part.
	Perspective string
	// Certificate is a certificate's serial number or SHA-256 fingerprint in hexadecimal: the attempts that its permit rests on.
	Certificate string
	// Code is one of the reasons of a refusal.
	Code string
	// BeforeLeaf gives attempts whose intent stands below this line of the log.
	BeforeLeaf int64
	// BeforeNumber gives records with a lower number only: the last number of a page asks for the next page.
	BeforeNumber int64
	// Limit is at most MaxLimit; DefaultLimit when zero.
	Limit int
}

// summaryColumns are those that scanSummary reads, of attempts a and decisions d.
const summaryColumns = `a.number, a.id, a.kind, a.shadow, a.started_at, a.caller, a.software, a.identifier, a.fqdn, a.method,
	a.account_uri, coalesce(d.outcome, 'open'), coalesce(d.dcv_quorum, ''), coalesce(d.caa_quorum, ''),
	coalesce(d.policy, ''), coalesce(d.reasons, ''), d.decided_at`

// List gives records, the newest first. It refuses a filter that means nothing.
func (s *Store) List(ctx context.Context, f Filter) ([]Summary, error) {
	where, args, err := f.where()
	if err != nil {
		return nil, fmt.Errorf("db: list: %w", err)
	}
	rows, err := s.reads.QueryContext(ctx, `SELECT `+summaryColumns+`
		FROM attempts AS a LEFT JOIN decisions AS d ON d.attempt = a.number`+where, args...)
	if err != nil {
		return nil, fmt.Errorf("db: list: %w", err)
	}
	defer rows.Close()
	out := []Summary{}
	for rows.Next() {
		one, err := scanSummary(rows)
		if err != nil {
			return nil, fmt.Errorf("db: list: %w", err)
		}
		out = append(out, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("db: list: %w", err)
	}
	return out, nil
}

// where gives the end of the query, from WHERE on, and its arguments.
func (f Filter) where() (string, []any, error) {
	text, args, err := f.terms()
	if err != nil {
		return "", nil, err
	}
	limit := f.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 0 || limit > MaxLimit {
		return "", nil, fmt.Errorf("a limit of %d: it must lie between 1 and %d", limit, MaxLimit)
	}
	args = append(args, limit)
	return fmt.Sprintf("%s ORDER BY a.number DESC LIMIT $%d", text, len(args)), args, nil
}

// terms gives the WHERE, with " WHERE " in front where there is one, and its arguments. Values never become part of the text.
func (f Filter) terms() (string, []any, error) {
	var terms []string
	var args []any
	add := func(term string, value any) {
		args = append(args, value)
		terms = append(terms, strings.ReplaceAll(term, "$", fmt.Sprintf("$%d", len(args))))
	}
	switch f.Outcome {
	case "":
	case Granted, Refused:
		add("d.outcome = $", string(f.Outcome))
	case StillOpen:
		terms = append(terms, "d.attempt IS NULL")
	default:
		return "", nil, fmt.Errorf("%q is no outcome (granted, refused, open)", f.Outcome)
	}
	if f.Name != "" {
		add("(a.identifier = $ OR a.fqdn = $)", column(f.Name))
	}
	if f.Account != "" {
		add("a.account_uri = $", column(f.Account))
	}
	if !f.Since.IsZero() {
		add("a.started_at >= $", formatTime(f.Since))
	}
	if !f.Until.IsZero() {
		add("a.started_at < $", formatTime(f.Until))
	}
	if f.Method != 0 {
		add("a.method = $", f.Method.String())
	}
	if f.Kind != 0 {
		add("a.kind = $", f.Kind.String())
	}
	if f.Shadow {
		terms = append(terms, "a.shadow = 1")
	}
	if f.Caller != "" {
		add("a.caller = $", column(f.Caller))
	}
	if f.Perspective != "" {
		add("EXISTS (SELECT 1 FROM perspectives AS p WHERE p.attempt = a.number AND p.name = $)", f.Perspective)
	}
	if f.Certificate != "" {
		add(`a.number IN (SELECT n.attempt FROM permit_names AS n JOIN certificates AS c ON c.permit = n.permit WHERE c.serial = $ OR c.fingerprint = $
			UNION SELECT n.caa_attempt FROM permit_names AS n JOIN certificates AS c ON c.permit = n.permit WHERE c.serial = $ OR c.fingerprint = $)`,
			CertificateKey(f.Certificate))
	}
	if f.Code != "" {
		add("' ' || d.reasons || ' ' LIKE '% ' || $ || ' %'", f.Code)
	}
	if f.BeforeLeaf != 0 {
		add("a.leaf < $", f.BeforeLeaf)
	}
	if f.BeforeNumber != 0 {
		add("a.number < $", f.BeforeNumber)
	}
	if len(terms) == 0 {
		return "", args, nil
	}
	return " WHERE " + strings.Join(terms, " AND "), args, nil
}

// CertificateKey gives a serial number or fingerprint the form of the records: lower case hexadecimal, without colons and, in a serial
// number, leading zeros.
func CertificateKey(text string) string {
	key := strings.ToLower(strings.ReplaceAll(text, ":", ""))
	if len(key) == 64 {
		return key
	}
	return strings.TrimLeft(key, "0")
}

type scanner interface{ Scan(...any) error }

// scanSummary reads summaryColumns and what the query has beyond them.
func scanSummary(row scanner, more ...any) (Summary, error) {
	var s Summary
	var kind, started, method, reasons string
	var decided sql.NullString
	var shadow int64
	err := row.Scan(append([]any{&s.Number, &s.ID, &kind, &shadow, &started, &s.Caller, &s.Software, &s.Identifier, &s.FQDN, &method,
		&s.AccountURI, &s.Outcome, &s.DCVQuorum, &s.CAAQuorum, &s.Policy, &reasons, &decided}, more...)...)
	if err != nil {
		return Summary{}, err
	}
	s.Reasons, s.Shadow = strings.Fields(reasons), shadow == 1
	if err := s.Kind.UnmarshalText([]byte(kind)); err != nil {
		return Summary{}, err
	}
	if method == va.Method(0).String() { // CAA alone was asked for, for no method in particular
		s.Method = 0
	} else if err := s.Method.UnmarshalText([]byte(method)); err != nil {
		return Summary{}, err
	}
	if s.Started, err = parseTime(started); err != nil {
		return Summary{}, err
	}
	s.Decided, err = optionalTime(decided)
	return s, err
}

// optionalTime gives the zero time for NULL.
func optionalTime(s sql.NullString) (time.Time, error) {
	if !s.Valid {
		return time.Time{}, nil
	}
	return parseTime(s.String)
}
