package db

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/audit"
)

// issuance counts permits and certificates.
func (r *report) issuance(ctx context.Context) error {
	for _, t := range []struct{ what, table, column string }{{"permit", "permits", "issued_at"}, {"certificate", "certificates", "linked_at"}} {
		where, args := r.period.where(t.column)
		err := r.query(ctx, `SELECT outcome, count(*) FROM `+t.table+where+` GROUP BY outcome`, args, func(rows *sql.Rows) error {
			c := OutcomeCount{What: t.what}
			err := rows.Scan(&c.Outcome, &c.Count)
			r.out.Issuance = append(r.out.Issuance, c)
			return err
		})
		if err != nil {
			return err
		}
	}
	r.sort()
	return nil
}

// sort gives the tables an order that is not the engine's.
func (r *report) sort() {
	slices.SortFunc(r.out.Attempts, func(a, b AttemptCount) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Outcome, b.Outcome))
	})
	slices.SortFunc(r.out.Quorums, func(a, b QuorumCount) int {
		return cmp.Or(cmp.Compare(b.Check, a.Check), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(b.Quorum, a.Quorum))
	})
	slices.SortFunc(r.out.Refusals, func(a, b CodeCount) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
	slices.SortFunc(r.out.Perspectives, func(a, b PerspectiveCount) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Region, b.Region), cmp.Compare(a.State, b.State),
			cmp.Compare(a.DCV, b.DCV), cmp.Compare(a.CAA, b.CAA))
	})
	slices.SortFunc(r.out.Issuance, func(a, b OutcomeCount) int {
		return cmp.Or(cmp.Compare(b.What, a.What), cmp.Compare(a.Outcome, b.Outcome))
	})
}

// reuse looks at each name of each granted permit: how old its evidence was when the permit was issued (DCV-03, CAA-05).
func (r *report) reuse(ctx context.Context) error {
	days := map[int64]int64{}
	caa := ages{of: "permit"}
	reused, rechecked := &numbers{}, &numbers{}
	where, args := r.period.where("p.issued_at", "p.outcome = 'granted'")
	err := r.query(ctx, `SELECT p.number, p.issued_at, n.attempt, n.caa_attempt, d.checked_at, c.checked_at, c.caa_fresh_until
		FROM permits AS p JOIN permit_names AS n ON n.permit = p.number LEFT JOIN reliances AS d ON d.attempt = n.attempt
		LEFT JOIN reliances AS c ON c.attempt = n.caa_attempt`+where, args, func(rows *sql.Rows) error {
		var number, attempt, caaAttempt int64
		var issuedText string
		var checked, caaChecked, fresh sql.NullString
		if err := rows.Scan(&number, &issuedText, &attempt, &caaAttempt, &checked, &caaChecked, &fresh); err != nil {
			return err
		}
		issued, err := parseTime(issuedText)
		if err != nil {
			return err
		}
		if attempt != caaAttempt {
			rechecked.add(number)
		}
		if !checked.Valid || !caaChecked.Valid {
			r.out.Unknown++
			return nil
		}
		at, err := parseTime(checked.String)
		if err != nil {
			return err
		}
		// The permit's time is cut to a whole second, so that its evidence may seem to be a moment younger than nothing.
		days[int64(max(issued.Sub(at), 0)/(24*time.Hour))]++
		if checked.String[:10] < issuedText[:10] {
			reused.add(number)
		}
		return caa.add(number, issued, caaChecked.String, fresh.String)
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Sorted(maps.Keys(days)) {
		r.out.DCVAges = append(r.out.DCVAges, AgeCount{d, days[d]})
	}
	r.out.Reused, r.out.Rechecked = reused.count, rechecked.count
	r.out.CAAAges = append(r.out.CAAAges, caa.result())
	return nil
}

// linked looks at the names of linked certificates: how old CAA was by notBefore, which is the CA's word, and by the time of linking,
// which is the gate's and comes after issuance. What is stale by notBefore was issued too late; the time of linking proves nothing alone.
func (r *report) linked(ctx context.Context) error {
	before, linked := ages{of: "certificate by notBefore"}, ages{of: "certificate by linking"}
	where, args := r.period.where("t.linked_at", "t.outcome = 'linked'")
	err := r.query(ctx, `SELECT t.number, t.not_before, t.linked_at, c.checked_at, c.caa_fresh_until FROM certificates AS t
		JOIN permit_names AS n ON n.permit = t.permit LEFT JOIN reliances AS c ON c.attempt = n.caa_attempt`+where, args, func(rows *sql.Rows) error {
		var number int64
		var notBefore, linkedAt string
		var checked, fresh sql.NullString
		if err := rows.Scan(&number, &notBefore, &linkedAt, &checked, &fresh); err != nil || !checked.Valid {
			return err
		}
		for _, one := range []struct {
			ages *ages
			at   string
		}{{&before, notBefore}, {&linked, linkedAt}} {
			at, err := parseTime(one.at)
			if err == nil {
				err = one.ages.add(number, at, checked.String, fresh.String)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	r.out.CAAAges = append(r.out.CAAAges, before.result(), linked.result())
	return err
}

// ages gathers how old CAA was.
type ages struct {
	of     string
	spread audit.Spread
	stale  int64
	first  numbers
}

func (a *ages) add(number int64, at time.Time, checked, fresh string) error {
	from, err := parseTime(checked)
	if err != nil {
		return err
	}
	until, err := parseTime(fresh)
	if err != nil {
		return err
	}
	a.spread.Add(max(at.Sub(from), 0))
	if at.After(until) { // CAA-05
		a.stale++
		if a.first.count < staleLimit {
			a.first.add(number)
		}
	}
	return nil
}

func (a *ages) result() Ages {
	seconds := func(p int) float64 { return a.spread.Percentile(p).Seconds() }
	return Ages{Of: a.of, Names: a.spread.Count(), P50: seconds(50), P95: seconds(95), P99: seconds(99), Max: a.spread.Max().Seconds(),
		Over8Hours: a.spread.Above(8 * time.Hour), Stale: a.stale, StaleNumbers: slices.AppendSeq([]int64{}, a.first.each)}
}

// prevented finds the attempts of the period in which a perspective's CAA forbade, and those of them that CAA kept from being granted: the
// columns say which to read, and the documents what was found (CAA-08).
func (r *report) prevented(ctx context.Context, each func(audit.Prevented) error) error {
	span := ""
	if r.in != nil {
		span = r.in.span("attempt")
	}
	found, err := r.set(ctx, `SELECT attempt FROM reports WHERE caa = 'fail'`+span)
	if err != nil {
		return err
	}
	found = r.in.and(found)
	for number := range found.each {
		record, err := r.record(ctx, number)
		if err != nil {
			return err
		}
		p, ok := audit.PreventedByCAA(number, record.Evidence, record.said)
		if !ok {
			continue
		}
		r.out.Prevented++
		if each != nil {
			if err := each(p); err != nil {
				return err
			}
		}
	}
	return nil
}
