package db

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Reusable is a record that permits may still rest on, and that was picked.
type Reusable struct {
	Record     int64
	Identifier string
	Account    string
	Method     string
	Checked    time.Time
	// ReusableUntil is the last moment for DCV; CAAFreshUntil that for CAA.
	ReusableUntil time.Time
	CAAFreshUntil time.Time
	For           []Use
}

// AffectedAuthorizations gives the records of authorizations that c picks and that a permit could still rest on at a time, in the order of
// their numbers.
func (s *Store) AffectedAuthorizations(ctx context.Context, c Criteria, at time.Time, each func(Reusable) error) error {
	return s.viewing(ctx, "affected authorizations", func(v *scan) error {
		p, err := v.pick(ctx, c)
		if err != nil {
			return err
		}
		const page = 5000
		for last := int64(0); ; {
			rows, err := v.tx.QueryContext(ctx, `SELECT attempt, identifier, account_uri, method, checked_at, reusable_until, caa_fresh_until FROM reliances
				WHERE attempt > $1 ORDER BY attempt LIMIT $2`, last, page)
			if err != nil {
				return err
			}
			all, err := collect(rows, scanReusable)
			if err != nil {
				return err
			}
			for _, r := range all {
				last = r.Record
				if p.dcv.has(r.Record) && !r.ReusableUntil.Before(at) {
					r.For = append(r.For, ForDCV)
				}
				if p.caa.has(r.Record) && !r.CAAFreshUntil.Before(at) {
					r.For = append(r.For, ForCAA)
				}
				if len(r.For) == 0 {
					continue
				}
				if err := each(r); err != nil {
					return err
				}
			}
			if len(all) < page {
				return nil
			}
		}
	})
}

func scanReusable(rows *sql.Rows) (r Reusable, err error) {
	var checked, fresh string
	var until sql.NullString
	if err := rows.Scan(&r.Record, &r.Identifier, &r.Account, &r.Method, &checked, &until, &fresh); err != nil {
		return r, err
	}
	if r.Checked, err = parseTime(checked); err == nil {
		r.CAAFreshUntil, err = parseTime(fresh)
	}
	if err == nil {
		r.ReusableUntil, err = optionalTime(until)
	}
	if err != nil {
		err = fmt.Errorf("record %d: %w", r.Record, err)
	}
	return r, err
}
