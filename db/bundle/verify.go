package bundle

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// Verify holds a bundle against itself and against what the auditor brings along: the log's key, checkpoints, witnesses' keys and
// trust anchors. Nothing in it is believed for being in it. c.LogKey is needed. What does not hold is a finding; an error means that
// the file cannot be read. Memory grows by a few octets for each record.
func Verify(ctx context.Context, file io.ReaderAt, size int64, c db.VerifyConfig) (db.Verified, Manifest, error) {
	if c.LogKey == nil {
		return db.Verified{}, Manifest{}, errors.New("bundle: the key of the log's signer is needed")
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	c.Auditor.SkipProofs = c.Depth != db.DepthProofs
	c.Auditor = c.Auditor.ForRun()
	v := &verification{config: c, relied: map[int64]mpic.Relied{}, named: map[[32]byte]bool{}}
	v.index = readIndex(file, size, v.bounded())
	for _, step := range []func(context.Context) error{v.readManifest, v.head, v.sums, v.attempts, v.permits, v.certificates, v.complete} {
		if err := errors.Join(step(ctx), ctx.Err()); errors.Is(err, errNoBundle) {
			break
		} else if err != nil {
			return v.sum, v.manifest, fmt.Errorf("bundle: verify: %w", err)
		}
	}
	return v.sum, v.manifest, nil
}

// errNoBundle: there is nothing to go on with.
var errNoBundle = errors.New("no bundle")

type verification struct {
	config   db.VerifyConfig
	index    *index
	manifest Manifest
	sum      db.Verified
	// large is held by who works out a large record.
	large sync.Mutex
	// size and root are the log's, as far as they are proven.
	size int64
	root tlog.Hash
	// relied are what attempts may be relied upon for.
	relied map[int64]mpic.Relied
	// named are the DNS records that documents name.
	named map[[32]byte]bool
	late  int64
	// notices counts those of reports of refusals.
	notices int64
}

func (v *verification) found(number int64, check audit.Check, format string, args ...any) {
	v.report(db.Finding{Number: number, Finding: audit.Finding{Check: check, Detail: fmt.Sprintf(format, args...)}})
}

// maxFindings bounds what is told of a bundle's members: of one that is no bundle, each could be a finding.
const maxFindings = 1000

// bounded tells the first findings about members, and that there are more.
func (v *verification) bounded() func(format string, args ...any) {
	told := 0
	return func(format string, args ...any) {
		switch told++; {
		case told <= maxFindings:
			v.found(0, audit.Bundle, format, args...)
		case told == maxFindings+1:
			v.found(0, audit.Bundle, "there are more members that do not hold")
		}
	}
}

func (v *verification) report(f db.Finding) {
	v.sum.Findings++
	if v.config.Finding != nil {
		v.config.Finding(f)
	}
}

func (v *verification) readManifest(context.Context) error {
	if v.index.manifest == nil || v.index.sums == nil {
		v.found(0, audit.Bundle, "%s or %s is missing: the bundle was cut off, or is none", sumsName, manifestName)
		return errNoBundle
	}
	text, err := v.index.read(*v.index.manifest)
	if err != nil {
		return err
	}
	if v.manifest, err = readManifest(text); err != nil {
		v.found(0, audit.Bundle, "%s: %v", manifestName, err)
		return errNoBundle
	}
	return nil
}

func (v *verification) sums(ctx context.Context) error {
	return v.index.checkSums(ctx, v.manifest, v.bounded())
}

// head verifies the checkpoint, and holds it against those that the auditor has.
func (v *verification) head(context.Context) error {
	m := v.manifest
	v.size = m.Size
	root, err := tlog.ParseHash(m.Root)
	if err != nil || m.Size < 0 {
		v.found(0, audit.Bundle, "%s names no log: %d lines, root %.80q", manifestName, m.Size, m.Root)
		return errNoBundle
	}
	v.root = root
	defer func() { v.sum.Lines, v.sum.Root = v.size, v.root.String() }()
	signed := false
	if v.index.checkpoint == nil {
		if m.Signed {
			v.found(0, audit.Bundle, "%s is missing", checkpointName)
		}
	} else {
		text, err := v.index.read(*v.index.checkpoint)
		if err != nil {
			return err
		}
		c, by, err := merkle.OpenCheckpoint(text, v.config.LogKey, v.config.Witnesses...)
		switch {
		case err != nil:
			v.found(0, audit.Log, "the bundle's checkpoint: %v", err)
		case c.Size != m.Size || c.Root != root || c.Origin != m.Origin || !m.Signed:
			v.found(0, audit.Bundle, "%s and the checkpoint name different logs", manifestName)
			v.size, v.root = c.Size, c.Root // what is signed counts
			signed = true
		default:
			signed = true
		}
		if signed {
			v.sum.Checkpoints++
			v.sum.Cosigned += min(1, len(by))
		}
	}
	if err := v.held(&signed); err != nil {
		return err
	}
	if !signed { // and nothing is unpacked that anybody could have written
		v.found(0, audit.Log, "no checkpoint that the log's key signed stands behind this bundle: nothing shows that its records are in the log")
		return errNoBundle
	}
	v.sum.Covered = v.size
	return nil
}

// held: the bundle's log extends those that the auditor holds, or is extended by them.
func (v *verification) held(signed *bool) error {
	for i, text := range v.config.Held {
		c, by, err := merkle.OpenCheckpoint(text, v.config.LogKey, v.config.Witnesses...)
		if err != nil {
			v.found(0, audit.Log, "the auditor's checkpoint %d is none of this log: %v", i+1, err)
			continue
		}
		if c.Size == v.size {
			if c.Root != v.root {
				v.found(0, audit.Log, "the auditor's checkpoint %d has another root than the bundle's log at %d lines: the log was changed", i+1, c.Size)
				continue
			}
		} else {
			at, there := v.index.consistency[c.Size]
			if !there {
				v.found(0, audit.Log, "the auditor's checkpoint %d is of %d lines and the bundle's of %d, and there is no proof that one log extends the other: "+
					"export with --checkpoint", i+1, c.Size, v.size)
				continue
			}
			text, err := v.index.read(at)
			if err != nil {
				return err
			}
			proof, err := readHashes(text)
			small, large := merkle.Checkpoint{Size: c.Size, Root: c.Root}, merkle.Checkpoint{Size: v.size, Root: v.root}
			if small.Size > large.Size {
				small, large = large, small
			}
			if err == nil {
				err = merkle.CheckTree(proof, large.Size, large.Root, small.Size, small.Root)
			}
			if err != nil {
				v.found(0, audit.Log, "the auditor's checkpoint %d, of %d lines: %v", i+1, c.Size, err)
				continue
			}
		}
		// A log that the auditor's checkpoint is only a beginning of could have been continued by anybody: a proof of that needs no key.
		*signed = *signed || c.Size >= v.size
		v.sum.Checkpoints++
		v.sum.Cosigned += min(1, len(by))
	}
	return nil
}

// proven gives a document that is in the log, with its line.
func (v *verification) proven(parts map[string][]byte, document string) (s db.Sheet, err error) {
	packed, ok := parts[document+documentPart]
	text, ok2 := parts[document+proofPart]
	if !ok || !ok2 {
		return s, fmt.Errorf("%s: document or proof is missing", document)
	}
	entry, proof, err := readProof(text)
	if err != nil {
		return s, fmt.Errorf("%s%s: %w", document, proofPart, err)
	}
	s = db.Sheet{Document: db.Document{Bytes: packed, SHA256: entry.SHA256, Leaf: entry.Leaf, Secrets: parts[document+secretsPart]}, Entry: entry}
	if entry.Leaf >= v.size {
		return s, fmt.Errorf("%s: line %d is not in a log of %d lines", document, entry.Leaf, v.size)
	}
	if err := tlog.CheckRecord(proof, v.size, v.root, entry.Leaf, entry.Hash()); err != nil {
		return s, fmt.Errorf("%s: line %d is not in the log: %w", document, entry.Leaf, err)
	}
	return s, nil
}

// filed puts a record together. Nothing is unpacked that is not in the log.
func (v *verification) filed(number int64, parts map[string][]byte) (f db.Filed, err error) {
	f.Number = number
	known := map[string]bool{}
	take := func(document string) (db.Sheet, error) {
		s, err := v.proven(parts, document)
		for _, p := range []string{documentPart, proofPart, secretsPart} {
			known[document+p] = true
		}
		return s, err
	}
	if f.Intent, err = take("intent"); err != nil {
		return f, err
	}
	_, decided := parts["decision"+documentPart]
	_, proof := parts["decision"+proofPart]
	if decided || proof {
		if f.Decision, err = take("decision"); err != nil {
			return f, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		document, isProof := strings.CutSuffix(key, proofPart)
		if !isProof || known[key] {
			continue
		}
		s, err := take(document)
		what, line, _ := strings.Cut(document, "-")
		if err == nil && line != strconv.FormatInt(s.Leaf, 10) {
			err = fmt.Errorf("%s is of line %d", document, s.Leaf)
		}
		if err != nil {
			return f, err
		}
		if what == "notice" {
			f.Notices = append(f.Notices, s)
		} else {
			f.Late = append(f.Late, s)
		}
	}
	for _, sheets := range [][]db.Sheet{f.Late, f.Notices} {
		slices.SortFunc(sheets, func(a, b db.Sheet) int { return int(a.Leaf - b.Leaf) })
	}
	for key := range parts {
		if !known[key] {
			return f, fmt.Errorf("%s belongs to no document", key)
		}
	}
	return f, f.Check()
}

// examined is what came of one attempt.
type examined struct {
	found   []db.Finding
	record  db.Record
	verdict audit.Verdict
	judged  bool
	relied  *mpic.Relied
	needs   []string
	late    int
	notices int
	err     error
}

func (v *verification) attempts(ctx context.Context) error {
	all := v.index.records[attempts]
	done := 0
	for part := range slices.Chunk(all, 100) {
		results := make([]examined, len(part))
		parallel(v.config.Workers, len(part), func(i int) { results[i] = v.examine(part[i]) })
		for _, r := range results {
			if r.err != nil {
				return r.err
			}
			v.take(r)
		}
		if done += len(part); v.config.Progress != nil {
			v.config.Progress(int64(done), int64(len(all)))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (v *verification) examine(r record) (x examined) {
	found := func(check audit.Check, format string, args ...any) {
		x.found = append(x.found, db.Finding{Number: r.number, Finding: audit.Finding{Check: check, Detail: fmt.Sprintf(format, args...)}})
	}
	parts, err := v.index.parts(attempts, r)
	if err != nil {
		found(audit.Bundle, "its members cannot be read: %v", err)
		return x
	}
	filed, err := v.filed(r.number, parts)
	x.late, x.notices = len(filed.Late), len(filed.Notices)
	if err != nil {
		found(audit.Log, "%v", err)
		return x
	}
	if v.config.Depth == db.DepthLog {
		return x
	}
	if filed.Large() {
		v.large.Lock()
		defer v.large.Unlock()
	}
	record, err := filed.Read()
	if err != nil {
		found(audit.Record, "%v", err)
		return x
	}
	x.needs = record.Needs()
	sets, err := v.sets(x.needs)
	if err != nil {
		x.err = err
		return x
	}
	if err := record.Supply(sets); err != nil {
		found(audit.Record, "%v", err)
		return x
	}
	x.judged = true
	if x.record.Summary = record.Summary; v.config.Record != nil { // decoded, a record is large, and a hundred wait for their turn
		x.record = record
	}
	x.verdict = v.config.Auditor.Verify(record.Evidence, record.Decision, record.LateAttestations())
	x.verdict.Wrong = append(x.verdict.Wrong, filed.Times(record)...)
	for _, w := range record.CheckNotices() {
		found(audit.Reliance, "%s", w)
	}
	if relied, err := record.Reliable(); err == nil {
		x.relied = &relied
	}
	return x
}

// sets reads DNS records; those that are missing are left out. That each has its digest, Supply finds.
func (v *verification) sets(sums []string) (dnssec.Sets, error) {
	sets := dnssec.Sets{}
	for _, sum := range sums {
		key, err := digestKey(sum)
		if err != nil {
			continue // no member has such a name
		}
		if p, ok := v.index.sets[key]; ok {
			if sets[sum], err = v.index.read(p); err != nil {
				return nil, err
			}
		}
	}
	return sets, nil
}

// maxRelied bounds what is kept of attempts for permits; the rest is read again.
const maxRelied = 100_000

func (v *verification) take(r examined) {
	v.sum.Records++
	v.late += int64(r.late)
	v.notices += int64(r.notices)
	for _, f := range r.found {
		v.report(f)
	}
	for _, sum := range r.needs {
		if key, err := digestKey(sum); err == nil {
			v.named[key] = true
		}
	}
	if r.relied != nil && len(v.relied) < maxRelied {
		v.relied[r.relied.Number] = *r.relied
	}
	if !r.judged {
		return
	}
	for _, f := range r.verdict.Wrong {
		v.report(db.Finding{Number: r.record.Number, Finding: f})
	}
	if r.record.Outcome == db.StillOpen {
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

// find gives a record's place by its number.
func (x *index) find(s section, number int64) (record, bool) {
	all := x.records[s]
	i := sort.Search(len(all), func(i int) bool { return all[i].number >= number })
	if i == len(all) || all[i].number != number {
		return record{}, false
	}
	return all[i], true
}

// reliance gives what an attempt may be relied upon for, out of its record.
func (v *verification) reliance(number int64) (mpic.Relied, error) {
	if r, ok := v.relied[number]; ok {
		return r, nil
	}
	at, ok := v.index.find(attempts, number)
	if !ok {
		return mpic.Relied{}, errors.New("it is not in the bundle")
	}
	parts, err := v.index.parts(attempts, at)
	if err != nil {
		return mpic.Relied{}, err
	}
	filed, err := v.filed(number, parts)
	if err != nil {
		return mpic.Relied{}, err
	}
	record, err := filed.Read()
	if err != nil {
		return mpic.Relied{}, err
	}
	return record.Reliable()
}

// permit gives a permit that is in the log.
func (v *verification) permit(number int64) (p mpic.PermitRecord, s db.Sheet, err error) {
	at, ok := v.index.find(permits, number)
	if !ok {
		return p, s, errors.New("it is not in the bundle")
	}
	parts, err := v.index.parts(permits, at)
	if err != nil {
		return p, s, err
	}
	if s, err = v.proven(parts, "permit"); err == nil {
		p, err = s.Permit(number)
	}
	return p, s, err
}

func (v *verification) permits(ctx context.Context) error {
	for _, at := range v.index.records[permits] {
		v.sum.Permits++
		wrong := func(check audit.Check, format string, args ...any) {
			v.found(0, check, "permit %d: %s", at.number, fmt.Sprintf(format, args...))
		}
		p, s, err := v.permit(at.number)
		if err != nil {
			wrong(audit.Log, "%v", err)
			continue
		}
		if v.config.Depth == db.DepthLog || p.Outcome != mpic.OutcomeGranted {
			continue
		}
		for _, w := range db.CheckPermit(p, s.Entry.Recorded, v.reliance) {
			wrong(audit.Reliance, "%s", w)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (v *verification) certificates(ctx context.Context) error {
	byID := map[string]int64{}
	if v.config.Depth != db.DepthLog {
		for _, at := range v.index.records[permits] {
			if p, _, err := v.permit(at.number); err == nil {
				byID[p.ID] = at.number
			}
		}
	}
	for _, at := range v.index.records[certificates] {
		v.sum.Certificates++
		wrong := func(check audit.Check, format string, args ...any) {
			v.found(0, check, "certificate %d: %s", at.number, fmt.Sprintf(format, args...))
		}
		parts, err := v.index.parts(certificates, at)
		if err != nil {
			wrong(audit.Bundle, "its members cannot be read: %v", err)
			continue
		}
		s, err := v.proven(parts, "certificate")
		var c mpic.CertificateRecord
		if err == nil {
			c, err = s.Certificate(at.number)
		}
		if err != nil {
			wrong(audit.Log, "%v", err)
			continue
		}
		if v.config.Depth == db.DepthLog {
			continue
		}
		p, _, err := v.permit(byID[c.Permit])
		if err != nil {
			wrong(audit.Reliance, "its permit %.80q: %v", c.Permit, err)
			continue
		}
		all, err := db.CheckCertificate(c, p, s.Entry.Recorded)
		if err != nil {
			return err
		}
		for _, f := range all {
			wrong(f.Check, "%s", f.Detail)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// complete holds what is there against what the manifest names.
func (v *verification) complete(context.Context) error {
	m := v.manifest
	for _, part := range []struct {
		what    string
		section section
		names   []string
	}{{"record", attempts, []string{m.Selected, m.Beside}}, {"permit", permits, []string{m.Permits}}, {"certificate", certificates, []string{m.Issued}}} {
		var said []span
		for _, text := range part.names {
			all, err := readRanges(text)
			if err != nil {
				v.found(0, audit.Bundle, "%s: %v", manifestName, err)
			}
			said = append(said, all...)
		}
		v.compare(part.what, said, v.index.records[part.section])
	}
	got := Counts{int64(len(v.index.records[attempts])), m.Counts.Open, v.late, v.notices, v.sum.Permits, v.sum.Certificates, int64(len(v.index.sets))}
	if v.config.Depth != db.DepthLog {
		got.Open = v.sum.Open
		for key := range v.index.sets {
			if !v.named[key] {
				v.found(0, audit.Bundle, "rrsets/%s belongs to no document", hex.EncodeToString(key[:]))
			}
		}
	}
	if got != m.Counts {
		v.found(0, audit.Bundle, "there are %+v, and the manifest counts %+v", got, m.Counts)
	}
	return nil
}

// compare finds numbers that were named and are not there, and the other way round.
func (v *verification) compare(what string, said []span, there []record) {
	slices.SortFunc(said, func(a, b span) int { return int(max(-1, min(1, a.from-b.from))) })
	tell := v.bounded()
	i := 0
	for _, s := range said {
		for ; i < len(there) && there[i].number < s.from; i++ {
			tell("%s %d is there, and the manifest does not name it", what, there[i].number)
		}
		next := s.from
		for ; i < len(there) && there[i].number <= s.to; i++ {
			if there[i].number > next {
				tell("%ss %d to %d are named in the manifest, and are not there", what, next, there[i].number-1)
			}
			next = there[i].number + 1
		}
		if next <= s.to {
			tell("%ss %d to %d are named in the manifest, and are not there", what, next, s.to)
		}
	}
	for ; i < len(there); i++ {
		tell("%s %d is there, and the manifest does not name it", what, there[i].number)
	}
}
