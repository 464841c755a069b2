package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Criteria pick records of attempts, and through them what relied on these. A zero field does not restrict; all that are given must hold
// of one and the same record.
type Criteria struct {
	// Perspective took part, as the primary or a remote. With Counted only where what it saw counted as a pass: of DCV for a name whose
	// control rests on the record, of CAA for a name whose CAA does.
	Perspective string
	Counted     bool
	// Software is the gate's program and version. PerspectiveSoftware is that of the perspective, or with an empty Perspective of any of
	// them: no column has it, so that a decision's document is read for each record that a permit rests on.
	Software            string
	PerspectiveSoftware string
	Method              va.Method
	// Policy is the name of the rules that decided, for example "2026-06-15".
	Policy string
	// Since and Until bound the attempt's start; Until is excluded.
	Since, Until time.Time
	// Name is the identifier or its FQDN, as in Filter.
	Name    string
	Account string
	// Excused: a failed CAA lookup counted as permission (CAA-06). DCV does not rest on that.
	Excused bool
}

// Use is what a name of a permit rests on a record for.
type Use string

const (
	ForDCV Use = "dcv"
	ForCAA Use = "caa"
)

// ReliedOn is one name of a certificate with a record that it rests on.
type ReliedOn struct {
	Name   string `json:"name"`
	Record int64  `json:"record"`
	For    Use    `json:"for"`
}

// Affected is a certificate that relied on a record that was picked.
type Affected struct {
	// Number and Permit are the certificate's and the permit's in the records. Outcome is mpic.OutcomeLinked, or mpic.OutcomeRefused for
	// one that did not match its permit and exists all the same.
	Number, Permit int64
	Outcome        string
	// Fingerprint is the SHA-256 in lower-case hexadecimal, Serial hexadecimal without leading zeros.
	Fingerprint, Serial, Issuer string
	// Names are the certificate's own; NotBefore and NotAfter are zero where it cannot be read.
	Names               []string
	NotBefore, NotAfter time.Time
	Linked              time.Time
	Precertificate      bool
	DER                 []byte
	// Records are those of its names' records that were picked.
	Records []ReliedOn
	// Damaged says why its document cannot be believed. It is listed all the same, with the names of its permit, because what is not known
	// must not make a list of affected certificates shorter.
	Damaged string
}

// Affected gives each certificate that relied on a record that c picks, in the order of the certificates' numbers and from one goroutine.
// It reads one view of the database; memory does not grow with what is found.
func (s *Store) Affected(ctx context.Context, c Criteria, each func(Affected) error) error {
	return s.findAffected(ctx, c, true, each)
}

// AffectedLinks is Affected without Names, Precertificate and DER, and several times as quick: a document is read only where the certificate
// might have none of the names that count.
func (s *Store) AffectedLinks(ctx context.Context, c Criteria, each func(Affected) error) error {
	return s.findAffected(ctx, c, false, each)
}

func (s *Store) findAffected(ctx context.Context, c Criteria, documents bool, each func(Affected) error) error {
	return s.viewing(ctx, "affected", func(v *scan) error {
		picked, err := v.pick(ctx, c)
		if err != nil {
			return err
		}
		permits, err := v.permitsOn(ctx, picked)
		if err != nil || permits.count == 0 {
			return err
		}
		issued, err := v.certificatesOf(ctx, permits)
		if err != nil {
			return err
		}
		return v.affected(ctx, issued, picked, documents, each)
	})
}

// Unknown gives those conditions of c that no record at all fulfils, whatever the others, as text: "perspective \"tokio\"". What a perspective
// ran no column has.
func (s *Store) Unknown(ctx context.Context, c Criteria) (all []string, err error) {
	for _, term := range []struct{ what, value, query string }{
		{"perspective", c.Perspective, `SELECT EXISTS (SELECT 1 FROM perspectives WHERE name = $1)`},
		{"software", c.Software, `SELECT EXISTS (SELECT 1 FROM attempts WHERE software = $1)`},
		{"policy", c.Policy, `SELECT EXISTS (SELECT 1 FROM decisions WHERE policy = $1)`},
		{"name", column(c.Name), `SELECT EXISTS (SELECT 1 FROM attempts WHERE identifier = $1 OR fqdn = $1)`},
		{"account", column(c.Account), `SELECT EXISTS (SELECT 1 FROM attempts WHERE account_uri = $1)`},
	} {
		if term.value == "" {
			continue
		}
		var known bool
		if err := s.reads.QueryRowContext(ctx, term.query, term.value).Scan(&known); err != nil {
			return all, fmt.Errorf("db: %s: %w", term.what, err)
		}
		if !known {
			all = append(all, fmt.Sprintf("%s %q", term.what, term.value))
		}
	}
	return all, nil
}

// viewing reads in one view of the database.
func (s *Store) viewing(ctx context.Context, what string, do func(*scan) error) error {
	v, err := s.newScan(ctx)
	if err == nil {
		if err = v.bounded(ctx); err == nil {
			err = do(v)
		}
		err = errors.Join(err, v.close())
	}
	if err != nil {
		return fmt.Errorf("db: %s: %w", what, err)
	}
	return nil
}

// picked are the records that count, by what they are relied upon for; nil is all of them.
type picked struct{ dcv, caa *numbers }

// pick finds the records. Each condition is asked of one table by an index that has all that is asked for, and the answers are put
// together here: no engine has to find a way through a join of conditions that it knows no statistics of.
func (v *scan) pick(ctx context.Context, c Criteria) (p picked, err error) {
	base, err := v.attempts(ctx, c)
	if err != nil {
		return p, err
	}
	p = picked{base, base}
	if c.Counted && c.Perspective == "" {
		return p, errors.New("what counted is asked of a perspective, and none is named")
	}
	switch {
	case c.Counted:
		p = picked{&numbers{}, &numbers{}}
		err := v.query(ctx, `SELECT attempt, dcv, caa FROM reports WHERE perspective = $1`+base.span("attempt"), []any{c.Perspective}, func(rows *sql.Rows) error {
			var attempt int64
			var dcv, caa string
			err := rows.Scan(&attempt, &dcv, &caa)
			if dcv == va.Pass.String() {
				p.dcv.add(attempt)
			}
			if caa == va.Pass.String() {
				p.caa.add(attempt)
			}
			return err
		})
		if err != nil {
			return p, err
		}
		p = picked{base.and(p.dcv), base.and(p.caa)}
	case c.Perspective != "":
		took, err := v.set(ctx, `SELECT attempt FROM perspectives WHERE name = $1`+base.span("attempt"), c.Perspective)
		if err != nil {
			return p, err
		}
		p.dcv = base.and(took)
		p.caa = p.dcv
	}
	if c.Policy != "" {
		decided, err := v.set(ctx, `SELECT attempt FROM decisions WHERE policy = $1`+base.span("attempt"), c.Policy)
		if err != nil {
			return p, err
		}
		p = picked{p.dcv.and(decided), p.caa.and(decided)}
	}
	if c.Excused {
		excused, err := v.set(ctx, `SELECT attempt FROM decisions WHERE caa_excused > 0`+base.span("attempt"))
		if err != nil {
			return p, err
		}
		p = picked{&numbers{}, p.caa.and(excused)}
	}
	if c.PerspectiveSoftware != "" {
		return v.running(ctx, p, c)
	}
	return p, nil
}

// span is the condition that a number lies within a set's bounds.
func (s *numbers) span(column string) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf(" AND %s >= %d AND %s <= %d", column, s.low, column, s.high)
}

// attempts asks what the table of attempts says; nil where nothing is asked of it.
func (v *scan) attempts(ctx context.Context, c Criteria) (*numbers, error) {
	terms, args := c.terms()
	if len(terms) == 0 {
		return nil, nil
	}
	return v.set(ctx, `SELECT number FROM attempts WHERE `+strings.Join(terms, " AND "), args...)
}

func (c Criteria) terms() (terms []string, args []any) {
	add := func(term string, value any) {
		args = append(args, value)
		terms = append(terms, strings.ReplaceAll(term, "$", fmt.Sprintf("$%d", len(args))))
	}
	if c.Name != "" {
		add("(identifier = $ OR fqdn = $)", column(c.Name))
	}
	if c.Account != "" {
		add("account_uri = $", column(c.Account))
	}
	if !c.Since.IsZero() {
		add("started_at >= $", formatTime(c.Since))
	}
	if !c.Until.IsZero() {
		add("started_at < $", formatTime(c.Until))
	}
	if c.Method != 0 {
		add("method = $", c.Method.String())
	}
	if c.Software != "" {
		add("software = $", c.Software)
	}
	return terms, args
}

// set reads numbers.
func (v *scan) set(ctx context.Context, query string, args ...any) (*numbers, error) {
	rows, err := v.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	out := &numbers{}
	var n int64
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		out.add(n)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

// few is how many numbers are asked for one by one; more are found by reading a whole index in its order.
const few = 20_000

// chunk is how many numbers one query names.
const chunk = 500

// permitsOn gives the permits that rest on a record picked.
func (v *scan) permitsOn(ctx context.Context, p picked) (*numbers, error) {
	permits := &numbers{}
	for _, use := range []struct {
		column string
		on     *numbers
	}{{"attempt", p.dcv}, {"caa_attempt", p.caa}} {
		if use.on != nil && use.on.count <= few {
			for some := range use.on.chunks(chunk) {
				found, err := v.set(ctx, `SELECT permit FROM permit_names WHERE `+within(use.column, some))
				if err != nil {
					return nil, err
				}
				for n := range found.each {
					permits.add(n)
				}
			}
			continue
		}
		rows, err := v.tx.QueryContext(ctx, `SELECT permit, `+use.column+` FROM permit_names`)
		if err != nil {
			return nil, err
		}
		var permit, attempt int64
		for rows.Next() {
			if err := rows.Scan(&permit, &attempt); err != nil {
				return nil, errors.Join(err, rows.Close())
			}
			if use.on.has(attempt) {
				permits.add(permit)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, err
		}
	}
	return permits, nil
}

// certificatesOf gives the numbers of the certificates that are linked to permits, those that did not match among them.
func (v *scan) certificatesOf(ctx context.Context, permits *numbers) (*numbers, error) {
	issued := &numbers{}
	if permits.count <= few {
		for some := range permits.chunks(chunk) {
			found, err := v.set(ctx, `SELECT number FROM certificates WHERE `+within("permit", some))
			if err != nil {
				return nil, err
			}
			for n := range found.each {
				issued.add(n)
			}
		}
		return issued, nil
	}
	rows, err := v.tx.QueryContext(ctx, `SELECT permit, number FROM certificates`)
	if err != nil {
		return nil, err
	}
	var permit, number int64
	for rows.Next() {
		if err := rows.Scan(&permit, &number); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		if permits.has(permit) {
			issued.add(number)
		}
	}
	return issued, errors.Join(rows.Err(), rows.Close())
}

// affected reads the certificates, some at a time, and leaves out those whose own names rest on nothing that was picked: a certificate
// may have fewer names than its permit. While some are worked out, the next are read.
func (v *scan) affected(ctx context.Context, issued *numbers, p picked, documents bool, each func(Affected) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type batch struct {
		of  []raw
		err error
	}
	batches := make(chan batch, 2)
	go func() {
		defer close(batches)
		for some := range issued.chunks(chunk) {
			of, err := v.issued(ctx, some, p, documents)
			select {
			case batches <- batch{of, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var failed error
	for b := range batches { // to its end: nothing may read the view once this returns
		switch {
		case failed != nil:
		case b.err != nil:
			failed = b.err
		default:
			if failed = emit(workOut(b.of, p), each); failed != nil {
				cancel()
			}
		}
	}
	return failed
}

func emit(all []Affected, each func(Affected) error) error {
	for _, a := range all {
		if len(a.Records) == 0 {
			continue
		}
		if err := each(a); err != nil {
			return err
		}
	}
	return nil
}

// raw is a certificate as its rows have it.
type raw struct {
	Affected
	notBefore, notAfter sql.NullString
	linked              string
	doc                 Document
	names               []relying
}

// relying is a row of permit_names.
type relying struct {
	name     string
	dcv, caa int64
}

// issued reads certificates with the names of their permits; without documents where the names tell enough.
func (v *scan) issued(ctx context.Context, some []int64, p picked, documents bool) ([]raw, error) {
	columns := `number, leaf, permit, outcome, fingerprint, serial, issuer, not_before, not_after, linked_at, sha256`
	if documents {
		columns += `, document`
	}
	rows, err := v.tx.QueryContext(ctx, `SELECT `+columns+` FROM certificates WHERE `+within("number", some)+` ORDER BY number`)
	if err != nil {
		return nil, err
	}
	var permits []int64
	all, err := collect(rows, func(rows *sql.Rows) (r raw, err error) {
		into := []any{&r.Number, &r.doc.Leaf, &r.Permit, &r.Outcome, &r.Fingerprint, &r.Serial, &r.Issuer, &r.notBefore, &r.notAfter, &r.linked, &r.doc.SHA256}
		if documents {
			into = append(into, &r.doc.Bytes)
		}
		err = rows.Scan(into...)
		permits = append(permits, r.Permit)
		return r, err
	})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	slices.Sort(permits)
	names, err := v.relying(ctx, slices.Compact(permits))
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].names = names[all[i].Permit]
		if !documents && !all[i].certain(p) {
			one, err := v.issued(ctx, []int64{all[i].Number}, p, true)
			if err != nil {
				return nil, err
			}
			all[i] = one[0]
		}
	}
	return all, nil
}

// certain tells that each name of the permit rests on what was picked, so that a certificate of any of them does.
func (r raw) certain(p picked) bool {
	return !slices.ContainsFunc(r.names, func(n relying) bool { return !p.dcv.has(n.dcv) && !p.caa.has(n.caa) })
}

// relying gives the names of permits.
func (v *scan) relying(ctx context.Context, permits []int64) (map[int64][]relying, error) {
	rows, err := v.tx.QueryContext(ctx, `SELECT permit, name, attempt, caa_attempt FROM permit_names WHERE `+within("permit", permits))
	if err != nil {
		return nil, err
	}
	out := make(map[int64][]relying, len(permits))
	var permit int64
	var one relying
	for rows.Next() {
		if err := rows.Scan(&permit, &one.name, &one.dcv, &one.caa); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		out[permit] = append(out[permit], one)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

// workOut reads the certificates' documents, on all processors.
func workOut(all []raw, p picked) []Affected {
	out := make([]Affected, len(all))
	var group sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(all))
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(all); i += workers {
				out[i] = all[i].workOut(p)
			}
		})
	}
	group.Wait()
	return out
}

func (r raw) workOut(p picked) Affected {
	a := r.Affected
	var said mpic.CertificateRecord
	var err error
	if r.doc.Bytes != nil {
		if err = r.doc.check("certificate"); err == nil {
			err = r.doc.decode(&said, "certificate")
		}
	}
	var errs []error
	for _, t := range []struct {
		text sql.NullString
		into *time.Time
	}{{r.notBefore, &a.NotBefore}, {r.notAfter, &a.NotAfter}, {sql.NullString{String: r.linked, Valid: true}, &a.Linked}} {
		var bad error
		*t.into, bad = optionalTime(t.text)
		errs = append(errs, bad)
	}
	if err = errors.Join(append(errs, err)...); err != nil {
		a.Damaged = err.Error()
	}
	a.Names, a.Precertificate, a.DER = said.Names, said.Precertificate, said.DER
	slices.SortFunc(r.names, func(x, y relying) int { return strings.Compare(x.name, y.name) })
	for _, n := range r.names {
		// One that cannot be read, or does not match its permit, may rest on any of the permit's names.
		if a.Outcome == mpic.OutcomeLinked && len(a.Names) > 0 && !slices.Contains(a.Names, n.name) {
			continue
		}
		if p.dcv.has(n.dcv) {
			a.Records = append(a.Records, ReliedOn{n.name, n.dcv, ForDCV})
		}
		if p.caa.has(n.caa) {
			a.Records = append(a.Records, ReliedOn{n.name, n.caa, ForCAA})
		}
	}
	return a
}
