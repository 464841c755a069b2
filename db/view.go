package db

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// View reads one view of a database, in which nothing is written meanwhile, for exports of any size. Its methods are not called
// concurrently.
type View struct {
	store *Store
	scan  *scan
	// hashes are rows of the log that were read for proofs: neighbours share most of theirs.
	hashes map[int64][]tlog.Hash
}

// maxHashes bounds the rows of the log that a View keeps.
const maxHashes = 100_000

// Batch is how many numbers a View's methods take at most.
const Batch = 500

// View begins one. The caller closes it.
func (s *Store) View(ctx context.Context) (*View, error) {
	view, err := s.newScan(ctx)
	if err != nil {
		return nil, fmt.Errorf("db: view: %w", err)
	}
	return &View{store: s, scan: view, hashes: map[int64][]tlog.Hash{}}, nil
}

// Close ends the view.
func (v *View) Close() error { return v.scan.close() }

// LogSize gives the number of lines that the log has.
func (v *View) LogSize(ctx context.Context) (size int64, err error) {
	if err = v.scan.one(ctx, `SELECT size FROM log_head WHERE id = 1`, nil, &size); err != nil {
		err = fmt.Errorf("db: the log's head: %w", err)
	}
	return size, err
}

// Checkpoint gives the newest that was published, ErrNotFound where there is none.
func (v *View) Checkpoint(ctx context.Context) (Published, error) {
	rows, err := v.scan.rows(ctx, `SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1`)
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("%w: no checkpoint was published", ErrNotFound)
	}
	if err != nil {
		return Published{}, fmt.Errorf("db: %w", err)
	}
	return Published{rows[0].int("size"), rows[0].bytes("note")}, nil
}

// Hashes reads the log's stored hashes, for proofs.
func (v *View) Hashes(ctx context.Context) tlog.HashReader {
	return merkle.Reader(func(leaves []int64) (map[int64][]tlog.Hash, error) {
		missing := slices.DeleteFunc(slices.Clone(leaves), func(l int64) bool { return v.hashes[l] != nil })
		if len(v.hashes)+len(missing) > maxHashes {
			clear(v.hashes)
			missing = leaves
		}
		if len(missing) > 0 {
			marks, args := list(missing)
			rows, err := v.scan.rows(ctx, `SELECT leaf, hashes FROM log WHERE leaf IN (`+marks+`)`, args...)
			if err != nil {
				return nil, err
			}
			for _, r := range rows {
				if v.hashes[r.int("leaf")], err = splitHashes(r.bytes("hashes")); err != nil {
					return nil, err
				}
			}
		}
		out := make(map[int64][]tlog.Hash, len(leaves))
		for _, l := range leaves {
			if out[l] = v.hashes[l]; out[l] == nil {
				return nil, fmt.Errorf("%w: line %d of the log", ErrNotFound, l)
			}
		}
		return out, nil
	})
}

// Tree gives the log's head at a size, from the stored hashes.
func (v *View) Tree(ctx context.Context, size int64) (merkle.Tree, error) {
	t, err := merkle.Load(size, func(leaf int64) (hashes []tlog.Hash, err error) {
		rows, err := v.scan.rows(ctx, `SELECT hashes FROM log WHERE leaf = $1`, leaf)
		if err == nil && len(rows) == 0 {
			err = fmt.Errorf("%w: line %d of the log", ErrNotFound, leaf)
		}
		if err != nil {
			return nil, err
		}
		return splitHashes(rows[0].bytes("hashes"))
	})
	if err != nil {
		return t, fmt.Errorf("db: the log at size %d: %w", size, err)
	}
	return t, nil
}

// list gives placeholders and arguments for numbers.
func list[T any](values []T) (marks string, args []any) {
	var b strings.Builder
	for i, n := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
		args = append(args, n)
	}
	return b.String(), args
}

// numbers reads one column of numbers, of queries with (%s) in the place of a list.
func (v *View) numbers(ctx context.Context, query string, of []int64) (all []int64, err error) {
	for part := range slices.Chunk(of, Batch) {
		marks, args := list(part)
		rows, err := v.scan.rows(ctx, strings.ReplaceAll(query, "(%s)", "("+marks+")"), args...)
		if err != nil {
			return nil, fmt.Errorf("db: view: %w", err)
		}
		for _, r := range rows {
			all = append(all, r.int("number"))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Attempts gives the numbers of all attempts that a filter picks, in order. Its BeforeNumber counts and its Limit does not.
func (v *View) Attempts(ctx context.Context, f Filter) ([]int64, error) {
	where, args, err := f.terms()
	if err != nil {
		return nil, fmt.Errorf("db: view: %w", err)
	}
	if where == "" {
		where = " WHERE 1 = 1"
	}
	var all []int64
	last := int64(0)
	for {
		const page = 10_000
		paged := append(slices.Clone(args), last, page)
		rows, err := v.scan.rows(ctx, fmt.Sprintf(`SELECT a.number FROM attempts AS a LEFT JOIN decisions AS d ON d.attempt = a.number%s AND a.number > $%d
			ORDER BY a.number LIMIT $%d`, where, len(args)+1, len(args)+2), paged...)
		if err != nil {
			return nil, fmt.Errorf("db: view: %w", err)
		}
		for _, r := range rows {
			last = r.int("number")
			all = append(all, last)
		}
		if len(rows) < page {
			return all, nil
		}
	}
}

// CertificatesBy gives the numbers of the certificates with a serial number or SHA-256 fingerprint in hexadecimal.
func (v *View) CertificatesBy(ctx context.Context, key string) (all []int64, err error) {
	rows, err := v.scan.rows(ctx, `SELECT number FROM certificates WHERE serial = $1 OR fingerprint = $1 ORDER BY number`, CertificateKey(key))
	for _, r := range rows {
		all = append(all, r.int("number"))
	}
	return all, err
}

// PermitsOn gives the permits that rest on attempts, CertificatesOn the certificates that rest on permits, PermitsOf the permits that
// certificates rest on, and AttemptsOf the attempts that permits rest on: numbers by numbers, in order and each once.
func (v *View) PermitsOn(ctx context.Context, attempts []int64) ([]int64, error) {
	found, err := v.numbers(ctx, `SELECT permit AS number FROM permit_names WHERE attempt IN (%s)`, attempts)
	if err != nil {
		return nil, err
	}
	more, err := v.numbers(ctx, `SELECT permit AS number FROM permit_names WHERE caa_attempt IN (%s)`, attempts)
	return merged(found, more), err
}

func (v *View) CertificatesOn(ctx context.Context, permits []int64) ([]int64, error) {
	return v.numbers(ctx, `SELECT number FROM certificates WHERE permit IN (%s)`, permits)
}

func (v *View) PermitsOf(ctx context.Context, certificates []int64) ([]int64, error) {
	return v.numbers(ctx, `SELECT permit AS number FROM certificates WHERE number IN (%s)`, certificates)
}

func (v *View) AttemptsOf(ctx context.Context, permits []int64) ([]int64, error) {
	found, err := v.numbers(ctx, `SELECT attempt AS number FROM permit_names WHERE permit IN (%s)`, permits)
	if err != nil {
		return nil, err
	}
	more, err := v.numbers(ctx, `SELECT caa_attempt AS number FROM permit_names WHERE permit IN (%s)`, permits)
	return merged(found, more), err
}

func merged(a, b []int64) []int64 {
	all := append(a, b...)
	slices.Sort(all)
	return slices.Compact(all)
}

// Filed gives attempts as documents with their lines of the log, in the order of the numbers, at most Batch. The DNS records are
// read apart (Sets). A number that is not there is ErrNotFound.
func (v *View) Filed(ctx context.Context, numbers []int64) ([]Filed, error) {
	marks, args := list(numbers)
	at := make(map[int64]*folder, len(numbers))
	for _, part := range []struct {
		query string
		keep  func(*folder, stored)
		key   string
	}{
		{`SELECT a.number, a.leaf, a.document, a.sha256, a.secrets` + logged + ` FROM attempts AS a LEFT JOIN log AS l ON l.leaf = a.leaf WHERE a.number IN (`,
			func(f *folder, r stored) { f.attempt = r }, "number"},
		{`SELECT d.attempt, d.leaf, d.document, d.sha256, d.secrets` + logged + ` FROM decisions AS d LEFT JOIN log AS l ON l.leaf = d.leaf WHERE d.attempt IN (`,
			func(f *folder, r stored) { f.decision = r }, "attempt"},
		{`SELECT r.attempt, r.perspective, r.leaf, r.document, r.sha256, r.secrets` + logged + ` FROM late_reports AS r LEFT JOIN log AS l ON l.leaf = r.leaf
			WHERE r.attempt IN (`, func(f *folder, r stored) { f.late = append(f.late, r) }, "attempt"},
		{`SELECT n.attempt, n.leaf, n.document, n.sha256, n.secrets` + logged + ` FROM notices AS n LEFT JOIN log AS l ON l.leaf = n.leaf
			WHERE n.attempt IN (`, func(f *folder, r stored) { f.notices = append(f.notices, r) }, "attempt"},
	} {
		rows, err := v.scan.rows(ctx, part.query+marks+`) ORDER BY l.leaf`, args...)
		if err != nil {
			return nil, fmt.Errorf("db: view: %w", err)
		}
		for _, r := range rows {
			n := r.int(part.key)
			if at[n] == nil {
				at[n] = &folder{number: n}
			}
			part.keep(at[n], r)
		}
	}
	out := make([]Filed, len(numbers))
	for i, n := range numbers {
		if at[n] == nil || at[n].attempt == nil {
			return nil, fmt.Errorf("db: view: %w: record %d", ErrNotFound, n)
		}
		var err error
		if out[i], err = at[n].filed(); err != nil {
			return nil, fmt.Errorf("db: view: record %d: %w", n, err)
		}
	}
	return out, nil
}

// Sets reads DNS records by their digests; those that are missing are left out.
func (v *View) Sets(ctx context.Context, sums []string) (dnssec.Sets, error) {
	sets, err := readSets(ctx, v.scan.tx, sums)
	if err != nil {
		return nil, fmt.Errorf("db: view: %w", err)
	}
	return sets, nil
}

// Permits and Certificates give the documents of permits and certificates with their lines of the log, in the order of the numbers.
func (v *View) Permits(ctx context.Context, numbers []int64) ([]Sheet, error) {
	return v.sheets(ctx, "permits", numbers)
}

func (v *View) Certificates(ctx context.Context, numbers []int64) ([]Sheet, error) {
	return v.sheets(ctx, "certificates", numbers)
}

func (v *View) sheets(ctx context.Context, table string, numbers []int64) ([]Sheet, error) {
	marks, args := list(numbers)
	rows, err := v.scan.rows(ctx, `SELECT t.number, t.leaf, t.document, t.sha256`+logged+` FROM `+table+` AS t LEFT JOIN log AS l ON l.leaf = t.leaf
		WHERE t.number IN (`+marks+`) ORDER BY t.number`, args...)
	if err == nil && len(rows) != len(numbers) {
		err = fmt.Errorf("%w: %d of %d in %s", ErrNotFound, len(numbers)-len(rows), len(numbers), table)
	}
	if err != nil {
		return nil, fmt.Errorf("db: view: %w", err)
	}
	out := make([]Sheet, len(rows))
	for i, r := range rows {
		if out[i], err = r.sheet(); err != nil {
			return nil, fmt.Errorf("db: view: number %d of %s: %w", r.int("number"), table, err)
		}
	}
	return out, nil
}

// Perspectives gives the names of all perspectives that took part in any attempt, in order.
func (v *View) Perspectives(ctx context.Context) ([]string, error) {
	rows, err := v.scan.rows(ctx, `SELECT DISTINCT name FROM perspectives ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("db: view: %w", err)
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.text("name"))
	}
	slices.Sort(names) // engines sort as they like
	return names, nil
}

// Permit reads a permit's document after holding it against its line of the log.
func (s Sheet) Permit(number int64) (p mpic.PermitRecord, err error) {
	if err = s.check("permit", merkle.Permit, number); err == nil {
		err = s.decode(&p, "permit")
	}
	p.Number = number
	return p, err
}

// Certificate reads a certificate's document likewise.
func (s Sheet) Certificate(number int64) (c mpic.CertificateRecord, err error) {
	if err = s.check("certificate", merkle.Certificate, number); err == nil {
		err = s.decode(&c, "certificate")
	}
	return c, err
}

// Needs gives the digests of the DNS records that a record's proofs rest on, those of late replies too.
func (r *Record) Needs() []string { return append(r.Evidence.Needs(), lateNeeds(*r)...) }

// Supply gives the record the DNS records that its proofs rest on.
func (r *Record) Supply(sets dnssec.Sets) error { return r.supply(sets) }

// Reliable gives what an attempt may be relied upon for, worked out from its record; ErrMismatch where that is nothing. Where its token was left
// out, the decision is the one that the record has.
func (r *Record) Reliable() (mpic.Relied, error) {
	if r.Outcome != Granted {
		return mpic.Relied{}, fmt.Errorf("%w: record %d is %s", ErrMismatch, r.Number, r.Outcome)
	}
	relied, ok := mpic.Reliable(r.Evidence, r.judged(), r.Number, r.Closing.SHA256)
	if !ok {
		return relied, fmt.Errorf("%w: nothing may rest on record %d", ErrMismatch, r.Number)
	}
	return relied, nil
}

// judged is what Judge makes of the evidence now, and the decision that the record has where the token was left out.
func (r *Record) judged() mpic.RecordedDecision {
	if r.Withheld() {
		return r.said
	}
	return mpic.Judge(r.Evidence).Recorded()
}

// Withheld tells whether the attempt's token was taken out of the record and is not kept beside it.
func (r *Record) Withheld() bool {
	return commitment.MatchString(r.Evidence.Attempt.Probe.Request.Token)
}

// Concealed makes sure that no document of an attempt shows its token in any form; ErrDamaged where one does. A token that is not
// kept cannot be searched for: those were taken out when the documents were made.
func (f Filed) Concealed(r *Record) error {
	if r.Withheld() {
		return nil
	}
	token := r.Evidence.Attempt.Probe.Request.Token
	if !maskable(token) {
		return nil
	}
	for _, s := range slices.Concat([]Sheet{f.Intent, f.Decision}, f.Late, f.Notices) {
		if s.SHA256 == "" {
			continue
		}
		text, err := s.Text()
		if err != nil {
			return err
		}
		if exposes(text, token) {
			return fmt.Errorf("%w: the document of line %d of the log shows a token that should have been taken out", ErrDamaged, s.Leaf)
		}
	}
	return nil
}

// Relying is a permit that rests on an attempt, with the SHA-256 fingerprints of its certificates.
type Relying struct {
	Permit       int64
	Certificates []string
}

// Relying gives, by attempt, the permits that rest on it for DCV or for CAA, in order.
func (v *View) Relying(ctx context.Context, attempts []int64) (map[int64][]Relying, error) {
	marks, args := list(attempts)
	rows, err := v.scan.rows(ctx, `SELECT attempt AS number, permit FROM permit_names WHERE attempt IN (`+marks+`)
		UNION SELECT caa_attempt AS number, permit FROM permit_names WHERE caa_attempt IN (`+marks+`) ORDER BY 1, 2`, args...)
	if err != nil {
		return nil, fmt.Errorf("db: view: %w", err)
	}
	var permits []int64
	for _, r := range rows {
		permits = append(permits, r.int("permit"))
	}
	slices.Sort(permits)
	issued := map[int64][]string{}
	for part := range slices.Chunk(slices.Compact(permits), Batch) {
		marks, args := list(part)
		rows, err := v.scan.rows(ctx, `SELECT permit, fingerprint FROM certificates WHERE permit IN (`+marks+`) ORDER BY number`, args...)
		if err != nil {
			return nil, fmt.Errorf("db: view: %w", err)
		}
		for _, r := range rows {
			issued[r.int("permit")] = append(issued[r.int("permit")], r.text("fingerprint"))
		}
	}
	out := map[int64][]Relying{}
	for _, r := range rows {
		out[r.int("number")] = append(out[r.int("number")], Relying{r.int("permit"), issued[r.int("permit")]})
	}
	return out, nil
}

// Closings gives each perspective's part in a record, worked out from its documents: the primary first, then the remotes in the
// roster's order. While the attempt is open they have no outcome.
func (r *Record) Closings() ([]Perspective, error) {
	members := append([]mpic.Member{r.Evidence.Roster.Primary}, r.Evidence.Roster.Remotes...)
	out := make([]Perspective, len(members))
	var closed []closedReport
	if r.Outcome != StillOpen {
		var err error
		if closed, err = closedReports(r.Evidence, r.said); err != nil {
			return nil, err
		}
	}
	for i, m := range members {
		out[i] = Perspective{Name: m.Name, Role: mpic.RemoteRole, Region: m.Place.Region, State: "pending"}
		if i == 0 {
			out[i].Role = mpic.Primary
		}
		if closed != nil {
			c := closed[i]
			out[i].State, out[i].DCV, out[i].CAA, out[i].DCVCode, out[i].CAACode = c.state, c.dcv, c.caa, c.dcvCode, c.caaCode
			out[i].Asked, out[i].Closed = c.asked, c.closed
		}
	}
	return out, nil
}

// Validated gives what the decision says was validated; zero while the attempt is open.
func (r *Record) Validated() mpic.Subject { return r.said.Validated }

// DecidedAt gives when the decision was made, by the gate's clock; zero while the attempt is open.
func (r *Record) DecidedAt() time.Time { return r.decided }
