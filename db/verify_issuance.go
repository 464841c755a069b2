package db

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/mpic"
)

// reliedCache keeps what the newest attempts may be relied upon for: permits mostly come soon after their evidence.
type reliedCache struct {
	kept  map[int64]mpic.Relied
	order []int64
}

const maxRelied = 100_000

func (c *reliedCache) keep(r mpic.Relied) {
	if c.kept == nil {
		c.kept = map[int64]mpic.Relied{}
	}
	c.kept[r.Number] = r
	if c.order = append(c.order, r.Number); len(c.order) > maxRelied {
		delete(c.kept, c.order[0])
		c.order = c.order[1:]
	}
}

// reliance gives what an attempt may be relied upon for, out of its record.
func (v *verification) reliance(ctx context.Context, number int64) (mpic.Relied, error) {
	if r, ok := v.relied.kept[number]; ok {
		return r, nil
	}
	record, err := v.store.Attempt(ctx, strconv.FormatInt(number, 10))
	if err != nil {
		return mpic.Relied{}, err
	}
	r, err := record.Reliable()
	if err != nil {
		return r, err
	}
	v.relied.keep(r)
	return r, nil
}

// permits holds each permit against its line, its rows and its evidence.
func (v *verification) permits(ctx context.Context) error {
	return v.pages(ctx, "permits", merkle.Permit, func(r stored, names []stored) error {
		v.sum.Permits++
		number := r.int("number")
		wrong := func(check audit.Check, format string, args ...any) {
			v.found(0, check, "permit %d: %s", number, fmt.Sprintf(format, args...))
		}
		sheet, err := r.sheet()
		if err = errors.Join(err, sheet.check("permit", merkle.Permit, number)); err != nil {
			wrong(audit.Log, "%v", err)
			return nil
		}
		if v.config.Depth == DepthLog || sheet.Leaf < v.before {
			return nil
		}
		var p mpic.PermitRecord
		if err := sheet.decode(&p, "permit"); err != nil {
			wrong(audit.Record, "%v", err)
			return nil
		}
		x := examination{folder: &folder{}}
		x.same(permitRow(number, sheet.Leaf, p, document{bytes: sheet.Bytes, sha256: sheet.SHA256}), r)
		x.sameRows("permit_names", "name", permitNameRows(number, p), names)
		for _, f := range x.out.found {
			wrong(f.Check, "%s", f.Detail)
		}
		if p.Outcome == mpic.OutcomeGranted {
			return v.permitted(ctx, p, sheet.Entry.Recorded, func(format string, args ...any) { wrong(audit.Reliance, format, args...) })
		}
		return nil
	}, "permit_names", "permit")
}

// permitted is CheckPermit over the records of the database.
func (v *verification) permitted(ctx context.Context, p mpic.PermitRecord, recorded time.Time, wrong func(string, ...any)) error {
	for _, w := range CheckPermit(p, recorded, func(number int64) (mpic.Relied, error) { return v.reliance(ctx, number) }) {
		wrong("%s", w)
	}
	return ctx.Err()
}

// CheckPermit works out again whether each name of a granted permit had its evidence: in scope, of this account, inside the reuse
// period of the day, and CAA fresh (DCV-03, CAA-05, D5). recorded is the time of its line in the log; reliance gives what an attempt
// may be relied upon for, by its number. It returns what does not hold.
func CheckPermit(p mpic.PermitRecord, recorded time.Time, reliance func(number int64) (mpic.Relied, error)) (all []string) {
	wrong := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if p.Issued.After(recorded.Add(lateness)) || p.Issued.Before(recorded.Add(-lateness)) {
		wrong("it was issued at %s, and recorded at %s", formatTime(p.Issued), formatTime(recorded))
	}
	if len(p.Names) == 0 || !p.Expires.After(p.Issued) || p.Expires.Sub(p.Issued) > mpic.MaxPermitLifetime {
		wrong("it is for %d names, from %s to %s", len(p.Names), formatTime(p.Issued), formatTime(p.Expires))
	}
	for _, n := range p.Names {
		if n.DCV == nil || n.CAA == nil {
			wrong("%s has no evidence", n.Name)
			continue
		}
		var candidates []mpic.Relied
		for _, on := range []struct {
			number int64
			sha256 string
		}{{n.DCV.Number, n.DCV.SHA256}, {n.CAA.Number, n.CAA.SHA256}} {
			r, err := reliance(on.number)
			if err != nil {
				wrong("%s rests on record %d, on which nothing may rest: %v", n.Name, on.number, err)
				continue
			}
			candidates = append(candidates, r)
		}
		if len(candidates) == 2 {
			checkName(p, n, candidates, wrong)
		}
	}
	return all
}

func checkName(p mpic.PermitRecord, n mpic.PermitName, candidates []mpic.Relied, wrong func(string, ...any)) {
	// Issued is in whole seconds, and the evidence was good within that second.
	at := p.Issued.Add(time.Second)
	want := mpic.Wanted{Names: []string{n.Name}, Account: p.Account, Issuers: candidates[1].Issuers, At: at, Until: later(at, p.Expires)}
	again := mpic.Rely(want, candidates)[0]
	switch {
	case again.Problem != nil:
		wrong("%s: %s: %s", n.Name, again.Problem.Code, again.Problem.Detail)
	case again.DCV.Number != n.DCV.Number || again.DCV.SHA256 != n.DCV.SHA256 || again.CAA.Number != n.CAA.Number || again.CAA.SHA256 != n.CAA.SHA256:
		wrong("%s: it names other documents than those it rests on", n.Name)
	}
}

// CheckCertificate holds a certificate against its permit again, and the time of linking against that of its line in the log.
func CheckCertificate(c mpic.CertificateRecord, permit mpic.PermitRecord, recorded time.Time) (all []audit.Finding, err error) {
	wrong := func(check audit.Check, format string, args ...any) {
		all = append(all, audit.Finding{Check: check, Detail: fmt.Sprintf(format, args...)})
	}
	again, err := json.Marshal(mpic.MatchCertificate(permit, c.Caller, c.DER, c.Linked))
	if err != nil {
		return nil, err
	}
	said, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, said) {
		wrong(audit.Reliance, "held against its permit again, it comes to something else than %s", c.Outcome)
	}
	if c.Linked.After(recorded.Add(lateness)) || c.Linked.Before(recorded.Add(-lateness)) {
		wrong(audit.Times, "it was linked at %s, and recorded at %s", formatTime(c.Linked), formatTime(recorded))
	}
	return all, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// certificates holds each certificate against its line, its rows and its permit.
func (v *verification) certificates(ctx context.Context) error {
	return v.pages(ctx, "certificates", merkle.Certificate, func(r stored, _ []stored) error {
		v.sum.Certificates++
		number := r.int("number")
		wrong := func(check audit.Check, format string, args ...any) {
			v.found(0, check, "certificate %d, %s: %s", number, r.text("fingerprint"), fmt.Sprintf(format, args...))
		}
		sheet, err := r.sheet()
		if err = errors.Join(err, sheet.check("certificate", merkle.Certificate, number)); err != nil {
			wrong(audit.Log, "%v", err)
			return nil
		}
		if v.config.Depth == DepthLog || sheet.Leaf < v.before {
			return nil
		}
		var c mpic.CertificateRecord
		if err := sheet.decode(&c, "certificate"); err != nil {
			wrong(audit.Record, "%v", err)
			return nil
		}
		permit, err := v.store.findPermit(ctx, `SELECT number, leaf, document, sha256 FROM permits WHERE id = $1`, column(c.Permit))
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			wrong(audit.Reliance, "its permit %s: %v", c.Permit, err)
			return nil
		}
		x := examination{folder: &folder{}}
		x.same(certificateRow(number, sheet.Leaf, permit.Number, c, document{bytes: sheet.Bytes, sha256: sheet.SHA256}), r)
		for _, f := range x.out.found {
			wrong(f.Check, "%s", f.Detail)
		}
		found, err := CheckCertificate(c, permit, sheet.Entry.Recorded)
		for _, f := range found {
			wrong(f.Check, "%s", f.Detail)
		}
		if err != nil {
			return err
		}
		return nil
	}, "", "")
}

// removals come first: what they say was removed is not looked for. Each must follow the one before, say in its columns what its
// document says, and have taken nothing before its time (REC-04).
func (v *verification) removals(ctx context.Context) error {
	rows, err := v.scan.rows(ctx, `SELECT t.*`+logged+` FROM removals AS t LEFT JOIN log AS l ON l.leaf = t.leaf ORDER BY t.number`)
	if err != nil {
		return err
	}
	for i, r := range rows {
		number := r.int("number")
		sheet, err := r.sheet()
		var said Removed
		if err = errors.Join(err, sheet.check("removal", merkle.Removal, number)); err == nil {
			err = sheet.decode(&said, "removal")
		}
		if err != nil {
			v.found(0, audit.Log, "removal %d: %v", number, err)
			continue
		}
		x := examination{folder: &folder{}}
		x.same(removalRow(number, sheet.Leaf, said, sheet.Entry.Recorded, document{bytes: sheet.Bytes, sha256: sheet.SHA256}), r)
		if number != int64(i+1) || said.First != v.sum.Removed || said.Empty() || said.Past > sheet.Leaf {
			x.found(audit.Log, "it is of the lines from %d and below %d, and those from %d on were next", said.First, said.Past, v.sum.Removed)
		}
		var newest string
		if err := v.scan.one(ctx, `SELECT coalesce(max(recorded_at), '') FROM log WHERE leaf >= $1 AND leaf < $2 AND kind <> 'removal'`,
			[]any{said.First, said.Past}, &newest); err != nil {
			return err
		}
		// The records' own times are within lateness of their lines'.
		if at := said.At; at.After(sheet.Entry.Recorded.Add(2*lateness)) || at.Before(sheet.Entry.Recorded.Add(-2*lateness)) ||
			newest > formatTime(keptSince(at).Add(2*lateness)) {
			x.found(audit.Times, "it was due at %s, recorded at %s, and took what was recorded until %s", formatTime(at), formatTime(sheet.Entry.Recorded), newest)
		}
		// Of a day to come, it would take everything for removed in time. Clocks may differ by less.
		if now := v.store.now(); sheet.Entry.Recorded.After(now.AddDate(0, 0, 1)) {
			x.found(audit.Times, "it was recorded at %s, and it is %s by the auditor's clock", formatTime(sheet.Entry.Recorded), formatTime(now))
		}
		for _, f := range x.out.found {
			v.found(0, f.Check, "removal %d: %s", number, f.Detail)
		}
		if len(x.out.found) > 0 {
			continue // nothing is taken for removed because of it
		}
		v.sum.Removed, v.roots[said.Past] = said.Past, said.Root
		v.removed = append(v.removed, sheet.Leaf)
	}
	return nil
}

// pages reads a table with numbers and its lines of the log, in the order of the numbers, and with it the rows of another that
// belong to each; those that belong to none are found too.
func (v *verification) pages(ctx context.Context, table string, kind merkle.Kind, each func(r stored, children []stored) error, children, key string) error {
	const page = 500
	highest := v.counts[kind]
	for first := int64(1); first <= highest; first += page {
		rows, err := v.scan.rows(ctx, `SELECT t.*`+logged+` FROM `+table+` AS t LEFT JOIN log AS l ON l.leaf = t.leaf
			WHERE t.number >= $1 AND t.number < $2 ORDER BY t.number`, first, first+page)
		if err != nil {
			return err
		}
		belong := map[int64][]stored{}
		if children != "" {
			found, err := v.scan.rows(ctx, `SELECT * FROM `+children+` WHERE `+key+` >= $1 AND `+key+` < $2`, first, first+page)
			if err != nil {
				return err
			}
			for _, r := range found {
				belong[r.int(key)] = append(belong[r.int(key)], r)
			}
		}
		for _, r := range rows {
			if _, whole := r["number"].(int64); whole && r.int("leaf") >= v.sum.Removed {
				v.seen[kind]++
			}
			if err := each(r, belong[r.int("number")]); err != nil {
				return err
			}
			delete(belong, r.int("number"))
		}
		for number := range belong {
			v.found(0, audit.Rows, "%s has rows of number %d in %s, which is not there", children, number, table)
		}
	}
	if children == "" {
		return nil
	}
	stray, err := v.scan.rows(ctx, `SELECT DISTINCT `+key+` FROM `+children+` WHERE `+key+` < 1 OR `+key+` > $1 LIMIT 100`, highest)
	for _, r := range stray {
		v.found(0, audit.Rows, "%s has rows of number %d in %s, which is not there", children, r.int(key), table)
	}
	return err
}
