package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// Depth is how far Verify goes. The zero value is the deepest.
type Depth int

const (
	// DepthProofs: all of it.
	DepthProofs Depth = iota
	// DepthDecisions leaves out to prove the DNS answers.
	DepthDecisions
	// DepthLog holds the log and the documents' digests together, and looks into no document.
	DepthLog
)

// VerifyConfig says what an auditor brings along, and how far to go.
type VerifyConfig struct {
	Auditor audit.Auditor
	Depth   Depth
	// LogKey verifies checkpoints. Without it they are compared, and nobody's signature is checked.
	LogKey note.Verifier
	// Witnesses are those whose cosignature is looked for.
	Witnesses []*merkle.WitnessVerifier
	// Held are signed checkpoints that the auditor has from elsewhere: a log that does not extend them was changed.
	Held [][]byte
	// Verified is a signed checkpoint up to which the auditor has verified everything before. Where the log extends it, the documents
	// below it are still the same, so that they are only held against their lines; their columns are not compared again.
	Verified []byte
	// Workers is how many records are worked on at a time. Default (0): one for each processor.
	Workers int
	// Finding gets what does not hold, in the order of the records' numbers and from one goroutine.
	Finding func(Finding)
	// Progress, if set, is told how many of how many records were done; likewise.
	Progress func(done, of int64)
	// Summary and Record, if set, get each record that was worked out, likewise; not at DepthLog. With Record some hundred records are in
	// memory as a whole.
	Summary func(Summary, audit.Verdict)
	Record  func(Record, audit.Verdict)
}

// Finding is something that does not hold, with the number of the record that it is about.
type Finding struct {
	// Number is an attempt's; 0 where it is about none, or about several.
	Number int64 `json:"record,omitempty"`
	audit.Finding
}

// Verified counts what was verified.
type Verified struct {
	// Lines is the log's size, Root its root at that size.
	Lines int64  `json:"lines"`
	Root  string `json:"root"`
	// Checkpoints were found to be of this log: those in the database, and those that the auditor holds.
	Checkpoints int `json:"checkpoints"`
	// Cosigned is how many of them a known witness cosigned. Covered is the size of the largest: nobody signed the lines from there on.
	Cosigned int   `json:"cosigned"`
	Covered  int64 `json:"covered_lines"`
	// Records are attempts, Open those of them without a decision.
	Records int64 `json:"records"`
	Open    int64 `json:"open"`
	// Removed is where the log's lines begin that still have their documents.
	Removed      int64 `json:"removed_lines"`
	Permits      int64 `json:"permits"`
	Certificates int64 `json:"certificates"`
	Replies      int   `json:"replies"`
	Lookups      int   `json:"lookups"`
	Unproven     int   `json:"unproven"`
	// Withheld are the records of which not all could be judged again, because their tokens are withheld.
	Withheld int64 `json:"withheld,omitempty"`
	// Octets are those of the DNS messages and records that proofs were made from.
	Octets   int64 `json:"octets"`
	Findings int   `json:"findings"`
}

// Verify holds everything in the database against everything else, and against what the auditor brings along: the lines of the log
// make up the tree that was signed and observed; each line has its document and each document its line; each column says what the
// document says; each record's signatures, decision, times and DNS proofs hold; and permits and certificates rest on what they
// say. It reads one view of the database, also beside running gates, in bounded memory. An error means that it could not do its work;
// what does not hold is a finding.
func (s *Store) Verify(ctx context.Context, c VerifyConfig) (Verified, error) {
	view, err := s.newScan(ctx)
	if err != nil {
		return Verified{}, fmt.Errorf("db: verify: %w", err)
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	c.Auditor.SkipProofs = c.Depth != DepthProofs
	c.Auditor = c.Auditor.ForRun()
	v := &verification{store: s, scan: view, config: c, lines: map[merkle.Kind]int64{}, seen: map[merkle.Kind]int64{}, counts: map[merkle.Kind]int64{},
		roots: map[int64]string{}, sets: setCache{store: s}}
	for _, step := range []func(context.Context) error{v.removals, v.head, v.log, v.records, v.permits, v.certificates, v.strays, v.rrsets} {
		if err = step(ctx); err != nil {
			break
		}
	}
	if err = errors.Join(err, view.close()); err != nil {
		return v.sum, fmt.Errorf("db: verify: %w", err)
	}
	return v.sum, nil
}

type verification struct {
	store  *Store
	scan   *scan
	config VerifyConfig
	sum    Verified
	sets   setCache
	// large is held by who works out a large record.
	large sync.Mutex
	// lines counts the lines of each kind from Removed on, seen the documents there that were held against theirs.
	lines, seen map[merkle.Kind]int64
	// counts are the lines of each kind, all of them: numbers beyond are nobody's.
	counts map[merkle.Kind]int64
	// removed are the lines of the removals that hold.
	removed []int64
	// roots are those that removals say the log had, by its size.
	roots map[int64]string
	// recorded is the time that the log's head says the last line is of.
	recorded string
	relied   reliedCache
	// before is the size of the log up to which everything was verified before.
	before int64
	// numbers is the highest number that an attempt can have.
	numbers int64
}

func (v *verification) found(number int64, check audit.Check, format string, args ...any) {
	v.report(Finding{number, audit.Finding{Check: check, Detail: fmt.Sprintf(format, args...)}})
}

func (v *verification) report(f Finding) {
	v.sum.Findings++
	if v.config.Finding != nil {
		v.config.Finding(f)
	}
}

// head holds the counters against what is there.
func (v *verification) head(ctx context.Context) error {
	var h head
	err := v.scan.one(ctx, `SELECT size, attempts, permits, certificates, removals, recorded_at FROM log_head WHERE id = 1`, nil,
		&h.size, &h.attempts, &h.permits, &h.certificates, &h.removals, &h.recorded)
	if err != nil {
		return fmt.Errorf("the log's head: %w", err)
	}
	for _, c := range []struct {
		name  string
		kind  merkle.Kind
		query string
		says  int64
	}{
		{"line of the log", "", `SELECT coalesce(max(leaf) + 1, 0), count(*) FROM log`, h.size},
		{"attempt", merkle.Intent, `SELECT coalesce(max(subject), 0), count(*) FROM log WHERE kind = 'intent'`, h.attempts},
		{"permit", merkle.Permit, `SELECT coalesce(max(subject), 0), count(*) FROM log WHERE kind = 'permit'`, h.permits},
		{"certificate", merkle.Certificate, `SELECT coalesce(max(subject), 0), count(*) FROM log WHERE kind = 'certificate'`, h.certificates},
		{"removal", merkle.Removal, `SELECT coalesce(max(subject), 0), count(*) FROM log WHERE kind = 'removal'`, h.removals},
	} {
		var highest, count int64
		if err := v.scan.one(ctx, c.query, nil, &highest, &count); err != nil {
			return err
		}
		if highest != c.says || count != c.says { // F4
			v.found(0, audit.Log, "the head counts to %s %d, and the log has %d of them up to number %d", c.name, c.says, count, highest)
		}
		v.counts[c.kind] = count
	}
	v.sum.Lines, v.recorded, v.numbers = h.size, h.recorded, v.counts[merkle.Intent]
	return nil
}

// page is how many attempts are read at a time.
const page = 100

// records works all attempts out, in pages, several at a time. The next page is read meanwhile.
func (v *verification) records(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	pages := v.ahead(ctx)
	defer func() {
		cancel()
		for range pages { // until nothing reads any more
		}
	}()
	done := int64(0)
	for p := range pages {
		if p.err != nil {
			return p.err
		}
		all := p.folders
		results := make([]examined, len(all))
		var group sync.WaitGroup
		next := make(chan int)
		for range v.config.Workers {
			group.Go(func() {
				for i := range next {
					results[i] = v.examine(ctx, all[i])
				}
			})
		}
		for i := range all {
			if all[i] != nil {
				next <- i
			}
		}
		close(next)
		group.Wait()
		for _, r := range results {
			if r.err != nil {
				return r.err
			}
			v.take(r)
		}
		if done += int64(len(all)); v.config.Progress != nil {
			v.config.Progress(done, v.numbers)
		}
	}
	return ctx.Err()
}

// ahead reads all attempts, one page ahead of who takes them; after an error or the end of ctx there are no more.
func (v *verification) ahead(ctx context.Context) <-chan pageRead {
	out := make(chan pageRead)
	go func() {
		defer close(out)
		for first := int64(1); first <= v.numbers; first += page {
			var p pageRead
			p.folders, p.err = v.scan.folders(ctx, first, min(first+page, v.numbers+1))
			select {
			case out <- p:
			case <-ctx.Done():
				return
			}
			if p.err != nil {
				return
			}
		}
	}()
	return out
}

type pageRead struct {
	folders []*folder
	err     error
}

// examined is what came of one attempt.
type examined struct {
	found []Finding
	there bool
	// seen counts the documents from the end of the removed lines on.
	seen    map[merkle.Kind]int64
	record  Record
	verdict audit.Verdict
	judged  bool
	// relied is what the attempt may be relied upon for, nil where that is nothing.
	relied *mpic.Relied
	err    error
}

func (v *verification) take(r examined) {
	if !r.there && len(r.found) == 0 {
		return
	}
	if r.there {
		v.sum.Records++
	}
	for kind, n := range r.seen {
		v.seen[kind] += n
	}
	for _, f := range r.found {
		v.report(f)
	}
	if r.relied != nil {
		v.relied.keep(*r.relied)
	}
	if r.judged {
		for _, f := range r.verdict.Wrong {
			v.report(Finding{r.record.Number, f})
		}
		if r.record.Outcome == StillOpen {
			v.sum.Open++
		}
		v.sum.Replies, v.sum.Lookups = v.sum.Replies+r.verdict.Replies, v.sum.Lookups+r.verdict.Lookups
		v.sum.Unproven, v.sum.Octets = v.sum.Unproven+len(r.verdict.Unproven), v.sum.Octets+int64(r.verdict.Octets)
		if len(r.verdict.Withheld) > 0 {
			v.sum.Withheld++
		}
		if v.config.Summary != nil {
			v.config.Summary(r.record.Summary, r.verdict)
		}
		if v.config.Record != nil {
			v.config.Record(r.record, r.verdict)
		}
	}
}

// strays are rows that belong to no attempt, and lines without their documents.
func (v *verification) strays(ctx context.Context) error {
	for _, table := range []string{"perspectives", "reports", "decisions", "authorizations", "reliances", "late_reports", "notices"} {
		rows, err := v.scan.rows(ctx, `SELECT DISTINCT attempt FROM `+table+` WHERE attempt < 1 OR attempt > $1 ORDER BY attempt LIMIT 100`, v.numbers)
		if err != nil {
			return err
		}
		for _, r := range rows {
			v.found(r.int("attempt"), audit.Rows, "%s has rows of an attempt that is not there", table)
		}
		if table != "decisions" && table != "late_reports" && table != "notices" || len(rows) == 0 {
			continue
		}
		// Those with a line of the log say there whose they are.
		lines, err := v.scan.rows(ctx, `SELECT t.attempt, l.leaf, l.subject FROM `+table+` AS t JOIN log AS l ON l.leaf = t.leaf
			WHERE t.attempt < 1 OR t.attempt > $1 ORDER BY l.leaf LIMIT 100`, v.numbers)
		if err != nil {
			return err
		}
		for _, r := range lines {
			v.found(r.int("subject"), audit.Rows, "its row in %s, line %d of the log, says that it is of attempt %d", table, r.int("leaf"), r.int("attempt"))
		}
	}
	for _, kind := range []struct {
		kind          merkle.Kind
		table, number string
	}{{merkle.Intent, "attempts", "number"}, {merkle.Decision, "decisions", "attempt"}, {merkle.LateReply, "late_reports", "attempt"}, {merkle.Notice, "notices", "attempt"},
		{merkle.Permit, "permits", "number"}, {merkle.Certificate, "certificates", "number"}, {merkle.Removal, "removals", "number"}} {
		if kind.number == "number" {
			if err := v.misnumbered(ctx, kind.table, kind.kind); err != nil {
				return err
			}
		}
		var count int64
		if err := v.scan.one(ctx, `SELECT count(*) FROM `+kind.table+` WHERE leaf >= $1`, []any{v.sum.Removed}, &count); err != nil {
			return err
		}
		if kind.kind == merkle.Removal {
			for _, leaf := range v.removed {
				if leaf >= v.sum.Removed {
					v.seen[kind.kind]++
				}
			}
		}
		if v.seen[kind.kind] != v.lines[kind.kind] { // a row whose number is none is not come upon
			v.found(0, audit.Log, "%s has documents for %d lines of the log under their numbers, and there are %d", kind.table, v.seen[kind.kind], v.lines[kind.kind])
		}
		if count == v.lines[kind.kind] {
			continue // each row has a line of its own, so that none is left over
		}
		rows, err := v.scan.rows(ctx, `SELECT l.leaf, l.subject FROM log AS l LEFT JOIN `+kind.table+` AS t ON t.leaf = l.leaf
			WHERE l.kind = $1 AND l.leaf >= $2 AND t.leaf IS NULL ORDER BY l.leaf LIMIT 100`, string(kind.kind), v.sum.Removed)
		if err != nil {
			return err
		}
		for _, r := range rows {
			number := aboutAttempt(merkle.Entry{Kind: kind.kind, Subject: r.int("subject")})
			v.found(number, audit.Log, "the document of the line %d of the log, %s %d, is missing", r.int("leaf"), kind.kind, r.int("subject"))
		}
		if len(rows) == 0 {
			v.found(0, audit.Log, "%s has %d documents, and the log %d lines for them", kind.table, count, v.lines[kind.kind])
		}
	}
	return nil
}

// misnumbered finds rows with a number that none of its kind has.
func (v *verification) misnumbered(ctx context.Context, table string, kind merkle.Kind) error {
	rows, err := v.scan.rows(ctx, `SELECT t.number, t.leaf, l.kind, l.subject FROM `+table+` AS t LEFT JOIN log AS l ON l.leaf = t.leaf
		WHERE t.number < 1 OR t.number > $1 ORDER BY t.number LIMIT 100`, v.counts[kind])
	for _, r := range rows {
		e := merkle.Entry{Kind: merkle.Kind(r.text("kind")), Subject: r.int("subject")}
		v.found(aboutAttempt(e), audit.Rows, "%s has the number %d, which none has; by its line of the log, %d, it is %s %d", table, r.int("number"), r.int("leaf"),
			e.Kind, e.Subject)
	}
	return err
}

// rrsets holds each stored set against its digest, and finds those that no document names.
func (v *verification) rrsets(ctx context.Context) error {
	last := ""
	for {
		rows, err := v.scan.rows(ctx, `SELECT sha256, octets FROM rrsets WHERE sha256 > $1 ORDER BY sha256 LIMIT 1000`, last)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			last = r.text("sha256")
			switch {
			case digest(r.bytes("octets")) != last:
				v.found(0, audit.Record, "the DNS records %s have another digest", last)
			case v.config.Depth != DepthLog && v.sum.Removed == 0 && v.before == 0 && !v.sets.named[last]:
				v.found(0, audit.Rows, "the DNS records %s belong to no document", last)
			}
		}
	}
}

// setCache keeps DNS records that many documents name.
type setCache struct {
	store *Store
	mu    sync.Mutex
	kept  dnssec.Sets
	size  int
	// named are all digests that documents name.
	named map[string]bool
}

// maxCached bounds the cache in octets.
const maxCached = 32 << 20

func (c *setCache) get(ctx context.Context, sums []string) (dnssec.Sets, error) {
	out := dnssec.Sets{}
	var missing []string
	c.mu.Lock()
	if c.named == nil {
		c.named, c.kept = map[string]bool{}, dnssec.Sets{}
	}
	for _, sum := range sums {
		c.named[sum] = true
		if octets, ok := c.kept[sum]; ok {
			out[sum] = octets
		} else {
			missing = append(missing, sum)
		}
	}
	c.mu.Unlock()
	read, err := readSets(ctx, c.store.reads, missing)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, read)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sum := range missing {
		if octets, ok := out[sum]; ok {
			if c.size += len(octets); c.size > maxCached {
				c.kept, c.size = dnssec.Sets{}, len(octets)
			}
			c.kept[sum] = octets
		}
	}
	return out, nil
}

// lateness is how long after its beginning an attempt may have been recorded at the most: the journal's own time, and the clocks'.
const lateness = time.Minute
