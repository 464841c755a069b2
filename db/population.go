package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/mpic"
)

// Period is a span of time; zero ends are open. Until is excluded.
type Period struct {
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// terms gives the condition that a column of times lies in the period. It compares texts of one fixed form: digits sort alike in any
// collation.
func (p Period) terms(column string, args *[]any) (terms []string) {
	for _, end := range []struct {
		at time.Time
		is string
	}{{p.Since, ">="}, {p.Until, "<"}} {
		if !end.at.IsZero() {
			*args = append(*args, formatTime(end.at))
			terms = append(terms, fmt.Sprintf("%s %s $%d", column, end.is, len(*args)))
		}
	}
	return terms
}

func (p Period) where(column string, more ...string) (string, []any) {
	var args []any
	terms := append(p.terms(column, &args), more...)
	if len(terms) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(terms, " AND "), args
}

// AttemptCount counts attempts of one UTC day, kind and method that came to one outcome.
type AttemptCount struct {
	Day     string `json:"day"`
	Kind    string `json:"kind"`
	Method  string `json:"method"`
	Outcome string `json:"outcome"`
	Count   int64  `json:"count"`
}

// QuorumCount counts decided attempts with one quorum result (REC-02).
type QuorumCount struct {
	Check   string `json:"check"`
	Quorum  string `json:"quorum"`
	Outcome string `json:"outcome"`
	Count   int64  `json:"count"`
}

// CodeCount counts refusals for one reason. One refusal may have several.
type CodeCount struct {
	What  string `json:"what"`
	Code  string `json:"code"`
	Count int64  `json:"count"`
}

// PerspectiveCount counts what became of the questions to one perspective, and what its answers counted for.
type PerspectiveCount struct {
	Name   string `json:"perspective"`
	Role   string `json:"role"`
	Region string `json:"region"`
	State  string `json:"state"`
	DCV    string `json:"dcv"`
	CAA    string `json:"caa"`
	Count  int64  `json:"count"`
}

// OutcomeCount counts permits or certificates by outcome.
type OutcomeCount struct {
	What    string `json:"what"`
	Outcome string `json:"outcome"`
	Count   int64  `json:"count"`
}

// AgeCount counts names of permits whose evidence had one age, in whole days.
type AgeCount struct {
	Days  int64 `json:"days"`
	Names int64 `json:"names"`
}

// Ages is how old the CAA results were; Of says at what time, over the names of permits or of certificates.
type Ages struct {
	Of         string  `json:"of"`
	Names      int64   `json:"names"`
	P50        float64 `json:"p50_seconds"`
	P95        float64 `json:"p95_seconds"`
	P99        float64 `json:"p99_seconds"`
	Max        float64 `json:"max_seconds"`
	Over8Hours int64   `json:"over_8_hours"`
	// Stale is how many came after the end of freshness: its TTL or 8 hours, whichever is greater (CAA-05). StaleNumbers are the numbers of
	// the first of these permits or certificates.
	Stale        int64   `json:"stale"`
	StaleNumbers []int64 `json:"stale_numbers"`
}

// Population is what the records have of a period. Attempts count by their start, permits by their issue, certificates by their linking.
type Population struct {
	Period
	// FirstRecord is the lowest number of an attempt that is still there: those before were removed in whole segments (REC-04).
	FirstRecord  int64              `json:"first_record"`
	Attempts     []AttemptCount     `json:"attempts"`
	Quorums      []QuorumCount      `json:"quorums"`
	Refusals     []CodeCount        `json:"refusals"`
	Perspectives []PerspectiveCount `json:"perspectives"`
	LateReplies  int64              `json:"late_replies"`
	// Excused counts decided attempts in which a failed CAA lookup counted as permission (CAA-06), ExcusedGranted those that were granted.
	Excused        int64          `json:"caa_excused"`
	ExcusedGranted int64          `json:"caa_excused_granted"`
	Prevented      int64          `json:"caa_prevented"`
	Issuance       []OutcomeCount `json:"issuance"`
	// Reused counts granted permits that rest on DCV of an earlier UTC day, Rechecked those that rest on CAA of another record than their DCV.
	Reused    int64      `json:"permits_with_earlier_evidence"`
	Rechecked int64      `json:"permits_with_other_caa"`
	DCVAges   []AgeCount `json:"dcv_ages"`
	CAAAges   []Ages     `json:"caa_ages"`
	// Unknown counts names whose evidence was removed, so that its age is not known.
	Unknown int64 `json:"names_with_removed_evidence"`
}

// staleLimit is how many numbers of stale ones are kept.
const staleLimit = 1000

// Population works the figures out, from columns by SQL and from documents only where no column has it. prevented, if set, gets each
// issuance that CAA prevented, in the order of the records' numbers. It reads one view of the database, in bounded memory.
func (s *Store) Population(ctx context.Context, p Period, prevented func(audit.Prevented) error) (out Population, err error) {
	out.Period = p
	err = s.viewing(ctx, "population", func(v *scan) error {
		r := report{scan: v, period: p, out: &out}
		for _, part := range []func(context.Context) error{r.attempts, r.quorums, r.refusals, r.perspectives, r.issuance, r.reuse, r.linked} {
			if err := part(ctx); err != nil {
				return err
			}
		}
		return r.prevented(ctx, prevented)
	})
	return out, err
}

type report struct {
	*scan
	period Period
	out    *Population
	// in are the attempts of the period; nil for all.
	in *numbers
}

// query reads rows one by one.
func (v *scan) query(ctx context.Context, query string, args []any, each func(*sql.Rows) error) error {
	rows, err := v.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := each(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

func (r *report) attempts(ctx context.Context) error {
	if err := r.one(ctx, `SELECT coalesce(min(number), 0) FROM attempts`, nil, &r.out.FirstRecord); err != nil {
		return err
	}
	where, args := r.period.where("a.started_at")
	var err error
	if where != "" {
		if r.in, err = r.set(ctx, `SELECT a.number FROM attempts AS a`+where, args...); err != nil {
			return err
		}
	}
	// A day is the text's first ten characters: the form is fixed, and in UTC.
	return r.query(ctx, `SELECT substr(a.started_at, 1, 10), a.kind, a.method, coalesce(d.outcome, 'open'), count(*)
		FROM attempts AS a LEFT JOIN decisions AS d ON d.attempt = a.number`+where+`
		GROUP BY substr(a.started_at, 1, 10), a.kind, a.method, coalesce(d.outcome, 'open')`, args, func(rows *sql.Rows) error {
		var c AttemptCount
		err := rows.Scan(&c.Day, &c.Kind, &c.Method, &c.Outcome, &c.Count)
		r.out.Attempts = append(r.out.Attempts, c)
		return err
	})
}

func (r *report) quorums(ctx context.Context) error {
	where, args := r.period.where("a.started_at")
	counts := map[QuorumCount]int64{}
	err := r.query(ctx, `SELECT d.outcome, d.dcv_quorum, d.caa_quorum, CASE WHEN d.caa_excused > 0 THEN 1 ELSE 0 END, count(*)
		FROM attempts AS a JOIN decisions AS d ON d.attempt = a.number`+where+`
		GROUP BY d.outcome, d.dcv_quorum, d.caa_quorum, CASE WHEN d.caa_excused > 0 THEN 1 ELSE 0 END`, args, func(rows *sql.Rows) error {
		var outcome, dcv, caa string
		var excused, n int64
		if err := rows.Scan(&outcome, &dcv, &caa, &excused, &n); err != nil {
			return err
		}
		counts[QuorumCount{Check: "dcv", Quorum: dcv, Outcome: outcome}] += n
		counts[QuorumCount{Check: "caa", Quorum: caa, Outcome: outcome}] += n
		if excused == 1 {
			r.out.Excused += n
			if outcome == string(Granted) {
				r.out.ExcusedGranted += n
			}
		}
		return nil
	})
	for c, n := range counts {
		c.Count = n
		r.out.Quorums = append(r.out.Quorums, c)
	}
	return err
}

// refusals counts the reasons of attempts from their column, and those of permits and certificates from their documents.
func (r *report) refusals(ctx context.Context) error {
	counts := map[CodeCount]int64{}
	add := func(what string, codes []string, n int64) {
		slices.Sort(codes)
		for _, code := range slices.Compact(codes) { // DCV and CAA may fail alike
			counts[CodeCount{What: what, Code: code}] += n
		}
	}
	where, args := r.period.where("a.started_at", "d.outcome = 'refused'")
	err := r.query(ctx, `SELECT d.reasons, count(*) FROM attempts AS a JOIN decisions AS d ON d.attempt = a.number`+where+` GROUP BY d.reasons`, args,
		func(rows *sql.Rows) error {
			var reasons string
			var n int64
			if err := rows.Scan(&reasons, &n); err != nil {
				return err
			}
			add("attempt", strings.Fields(reasons), n)
			return nil
		})
	if err != nil {
		return err
	}
	where, args = r.period.where("issued_at", "outcome = 'refused'")
	err = r.query(ctx, `SELECT document, sha256 FROM permits`+where, args, func(rows *sql.Rows) error {
		var p mpic.PermitRecord
		if err := readDocument(rows, &p, "permit"); err != nil {
			return err
		}
		var codes []string
		if p.Problem != nil {
			codes = append(codes, p.Problem.Code)
		}
		for _, n := range p.Names {
			if n.Problem != nil {
				codes = append(codes, n.Problem.Code)
			}
		}
		add("permit", codes, 1)
		return nil
	})
	if err != nil {
		return err
	}
	where, args = r.period.where("linked_at", "outcome = 'refused'")
	err = r.query(ctx, `SELECT document, sha256 FROM certificates`+where, args, func(rows *sql.Rows) error {
		var c mpic.CertificateRecord
		if err := readDocument(rows, &c, "certificate"); err != nil {
			return err
		}
		var codes []string
		for _, p := range c.Problems {
			codes = append(codes, p.Code)
		}
		add("certificate", codes, 1)
		return nil
	})
	for c, n := range counts {
		c.Count = n
		r.out.Refusals = append(r.out.Refusals, c)
	}
	return err
}

// readDocument reads the document of a row that has it and its digest.
func readDocument(rows *sql.Rows, into any, what string) error {
	var d Document
	if err := rows.Scan(&d.Bytes, &d.SHA256); err != nil {
		return err
	}
	if err := d.check(what); err != nil {
		return err
	}
	return d.decode(into, what)
}

// perspectives counts by perspective. Where the attempts of the period have all numbers from one on to another, as they mostly do, no
// attempt is looked up.
func (r *report) perspectives(ctx context.Context) error {
	from, where, args := "", "", []any{}
	switch {
	case r.in == nil:
	case r.in.count == 0:
		return nil
	case r.in.high-r.in.low+1 == r.in.count:
		where = " WHERE " + strings.TrimPrefix(r.in.span("p.attempt"), " AND ")
	default:
		from = " JOIN attempts AS a ON a.number = p.attempt"
		where, args = r.period.where("a.started_at")
	}
	err := r.query(ctx, `SELECT p.name, p.role, p.region, coalesce(r.state, 'pending'), coalesce(r.dcv, ''), coalesce(r.caa, ''), count(*)
		FROM perspectives AS p LEFT JOIN reports AS r ON r.attempt = p.attempt AND r.perspective = p.name`+from+where+`
		GROUP BY p.name, p.role, p.region, coalesce(r.state, 'pending'), coalesce(r.dcv, ''), coalesce(r.caa, '')`, args, func(rows *sql.Rows) error {
		var c PerspectiveCount
		err := rows.Scan(&c.Name, &c.Role, &c.Region, &c.State, &c.DCV, &c.CAA, &c.Count)
		r.out.Perspectives = append(r.out.Perspectives, c)
		return err
	})
	if err != nil {
		return err
	}
	return r.query(ctx, `SELECT attempt FROM late_reports`, nil, func(rows *sql.Rows) error {
		var n int64
		err := rows.Scan(&n)
		if r.in.has(n) {
			r.out.LateReplies++
		}
		return err
	})
}
