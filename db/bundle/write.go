package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
)

// ErrAhead: documents that were selected are newer than the newest checkpoint.
var ErrAhead = errors.New("bundle: records are newer than the newest checkpoint")

// ErrNothing: the selection picks nothing.
var ErrNothing = errors.New("bundle: nothing is selected")

// Selection says what is exported.
type Selection struct {
	// Filter picks attempts; its Limit does not count. With Certificates it must be empty.
	Filter db.Filter
	// Certificates are serial numbers or SHA-256 fingerprints in hexadecimal: they are exported with all that they rest on.
	Certificates []string
}

// Config says how.
type Config struct {
	Selection
	// Software is the program and version, Created the time to be named.
	Software string
	Created  time.Time
	// WithoutSecrets leaves the tokens out.
	WithoutSecrets bool
	// Unsigned exports records that no checkpoint covers, without any: nothing then shows that they are in the log.
	Unsigned bool
	// Held are signed checkpoints that the auditor holds: the bundle gets proofs that the log extends them.
	Held [][]byte
	// Progress, if set, is told how many of how many records were written.
	Progress func(done, of int64)
}

// Write exports what is selected as one view of the database has it, and gives the manifest. The same records, selection and Created
// give the same octets. It refuses records that do not match their digests, or that would show a token in spite of WithoutSecrets.
func Write(ctx context.Context, s *db.Store, out io.Writer, c Config) (m Manifest, err error) {
	view, err := s.View(ctx)
	if err != nil {
		return m, fmt.Errorf("bundle: %w", err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	spool, err := os.CreateTemp("", "quorate-sums-")
	if err != nil {
		return m, fmt.Errorf("bundle: %w", err)
	}
	defer func() { err = errors.Join(err, spool.Close(), os.Remove(spool.Name())) }()
	w := &writer{config: c, view: view, tar: tar.NewWriter(out), sums: spool, sumsHash: sha256.New(), sets: map[[32]byte]bool{}}
	w.manifest = Manifest{Format: Version, Software: c.Software, Created: c.Created.UTC(), Filter: words(c.Filter), Certificates: c.Certificates,
		Secrets: !c.WithoutSecrets}
	for _, step := range []func(context.Context) error{w.pick, w.head, w.consistency, w.attempts, w.permits, w.certificates, w.end} {
		if err := step(ctx); err != nil {
			return w.manifest, fmt.Errorf("bundle: %w", err)
		}
	}
	return w.manifest, nil
}

type writer struct {
	config   Config
	view     *db.View
	tar      *tar.Writer
	manifest Manifest
	// sums are the lines of SHA256SUMS, which come at the end.
	sums     *os.File
	sumsHash interface {
		io.Writer
		Sum([]byte) []byte
	}
	sumsSize int64
	// sets are the DNS records that were written.
	sets                          map[[32]byte]bool
	selected, all, permit, issued []int64
	reader                        tlog.HashReader
	root                          tlog.Hash
}

// pick finds all numbers.
func (w *writer) pick(ctx context.Context) (err error) {
	c := w.config
	if len(c.Certificates) > 0 {
		if len(words(c.Filter)) > 0 {
			return errors.New("either certificates or a filter of attempts, not both")
		}
		for _, key := range c.Certificates {
			found, err := w.view.CertificatesBy(ctx, key)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return fmt.Errorf("%w: there is no certificate with the serial number or fingerprint %s", ErrNothing, key)
			}
			w.issued = append(w.issued, found...)
		}
		slices.Sort(w.issued)
		w.issued = slices.Compact(w.issued)
		if w.permit, err = w.view.PermitsOf(ctx, w.issued); err != nil {
			return err
		}
		w.selected, err = w.view.AttemptsOf(ctx, w.permit)
		w.all = w.selected
	} else {
		if w.selected, err = w.view.Attempts(ctx, c.Filter); err != nil {
			return err
		}
		if w.permit, err = w.view.PermitsOn(ctx, w.selected); err != nil {
			return err
		}
		if w.issued, err = w.view.CertificatesOn(ctx, w.permit); err != nil {
			return err
		}
		var more []int64
		if more, err = w.view.AttemptsOf(ctx, w.permit); err == nil {
			w.all = append(slices.Clone(w.selected), more...)
			slices.Sort(w.all)
			w.all = slices.Compact(w.all)
		}
	}
	if err == nil && len(w.all) == 0 && len(w.issued) == 0 {
		err = ErrNothing
	}
	m := &w.manifest
	m.Selected, m.Permits, m.Issued = ranges(w.selected), ranges(w.permit), ranges(w.issued)
	m.Beside = ranges(slices.DeleteFunc(slices.Clone(w.all), func(n int64) bool { _, there := slices.BinarySearch(w.selected, n); return there }))
	return err
}

// head writes the checkpoint.
func (w *writer) head(ctx context.Context) error {
	w.reader = w.view.Hashes(ctx)
	m := &w.manifest
	if w.config.Unsigned {
		size, err := w.view.LogSize(ctx)
		if err != nil {
			return err
		}
		tree, err := w.view.Tree(ctx, size)
		m.Size, w.root, m.Root = size, tree.Root(), tree.Root().String()
		return err
	}
	newest, err := w.view.Checkpoint(ctx)
	if errors.Is(err, db.ErrNotFound) {
		return fmt.Errorf("%w: none was published", ErrAhead)
	} else if err != nil {
		return err
	}
	c, err := plainCheckpoint(newest.Note)
	if err != nil {
		return fmt.Errorf("the newest checkpoint: %w", err)
	}
	tree, err := w.view.Tree(ctx, c.Size)
	if err != nil {
		return err
	}
	if tree.Root() != c.Root {
		return errors.New("the log is not the one that the newest checkpoint signs: run quorate audit verify")
	}
	m.Origin, m.Size, m.Root, m.Signed, w.root = c.Origin, c.Size, c.Root.String(), true, c.Root
	return w.add(checkpointName, newest.Note)
}

// plainCheckpoint reads a checkpoint without verifying it.
func plainCheckpoint(signed []byte) (merkle.Checkpoint, error) {
	text, _, _ := strings.Cut(string(signed), "\n\n")
	return merkle.ParseCheckpoint(text + "\n")
}

// consistency writes proofs for the checkpoints that the auditor holds.
func (w *writer) consistency(ctx context.Context) error {
	sizes := map[int64]bool{}
	newest, err := w.view.LogSize(ctx)
	if err != nil {
		return err
	}
	for i, signed := range w.config.Held {
		c, err := plainCheckpoint(signed)
		if err != nil {
			return fmt.Errorf("the auditor's checkpoint %d: %w", i+1, err)
		}
		if c.Size > newest {
			return fmt.Errorf("the auditor's checkpoint %d is of a log with %d lines, and this one has %d", i+1, c.Size, newest)
		}
		sizes[c.Size] = c.Size != w.manifest.Size
	}
	for _, size := range slices.Sorted(maps.Keys(sizes)) {
		if !sizes[size] {
			continue
		}
		proof, err := merkle.ProveTree(max(size, w.manifest.Size), min(size, w.manifest.Size), w.reader)
		if err != nil {
			return err
		}
		w.manifest.Consistency = append(w.manifest.Consistency, size)
		if err := w.add("consistency/"+strconv.FormatInt(size, 10)+proofPart, hashLines(proof)); err != nil {
			return err
		}
	}
	return nil
}

func hashLines(proof []tlog.Hash) []byte {
	var b bytes.Buffer
	for _, h := range proof {
		b.WriteString(h.String() + "\n")
	}
	return b.Bytes()
}

// prepared is a record, ready to be written.
type prepared struct {
	filed db.Filed
	needs []string
	open  bool
	err   error
}

func (w *writer) attempts(ctx context.Context) error {
	done := int64(0)
	for part := range slices.Chunk(w.all, 100) {
		if err := ctx.Err(); err != nil {
			return err
		}
		filed, err := w.view.Filed(ctx, part)
		if err != nil {
			return err
		}
		ready := make([]prepared, len(filed))
		parallel(runtime.GOMAXPROCS(0), len(filed), func(i int) { ready[i] = w.prepare(filed[i]) })
		for _, p := range ready {
			if p.err != nil {
				return fmt.Errorf("record %d cannot be exported: %w", p.filed.Number, p.err)
			}
			if err := w.attempt(ctx, p); err != nil {
				return fmt.Errorf("record %d: %w", p.filed.Number, err)
			}
		}
		if done += int64(len(part)); w.config.Progress != nil {
			w.config.Progress(done, int64(len(w.all)))
		}
	}
	return nil
}

// parallel does n things, so many at a time.
func parallel(workers, n int, do func(int)) {
	var group sync.WaitGroup
	next := make(chan int)
	for range workers {
		group.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
}

// prepare reads a record through, which finds what is damaged, and what it needs.
func (w *writer) prepare(f db.Filed) prepared {
	record, err := f.Read()
	if err == nil && w.config.WithoutSecrets {
		err = f.Concealed(&record)
	}
	return prepared{f, record.Needs(), record.Outcome == db.StillOpen, err}
}

func (w *writer) attempt(ctx context.Context, p prepared) error {
	var fresh []string
	for _, sum := range p.needs {
		key, err := digestKey(sum)
		if err != nil {
			return err
		}
		if !w.sets[key] {
			w.sets[key] = true
			fresh = append(fresh, sum)
		}
	}
	sets, err := w.view.Sets(ctx, fresh)
	if err != nil {
		return err
	}
	for _, sum := range fresh {
		octets, ok := sets[sum]
		if !ok {
			return fmt.Errorf("%w: the DNS records %s, on which it rests, are missing", db.ErrDamaged, sum)
		}
		if err := w.add("rrsets/"+sum, octets); err != nil {
			return err
		}
		w.manifest.Counts.RRsets++
	}
	w.manifest.Counts.Attempts++
	w.manifest.Counts.LateReplies += int64(len(p.filed.Late))
	w.manifest.Counts.Notices += int64(len(p.filed.Notices))
	if p.open {
		w.manifest.Counts.Open++
	}
	if err := w.sheet("attempts", p.filed.Number, "intent", p.filed.Intent); err != nil {
		return err
	}
	if !p.open {
		if err := w.sheet("attempts", p.filed.Number, "decision", p.filed.Decision); err != nil {
			return err
		}
	}
	for _, late := range p.filed.Late {
		if err := w.sheet("attempts", p.filed.Number, "late-"+strconv.FormatInt(late.Leaf, 10), late); err != nil {
			return err
		}
	}
	for _, n := range p.filed.Notices {
		if err := w.sheet("attempts", p.filed.Number, "notice-"+strconv.FormatInt(n.Leaf, 10), n); err != nil {
			return err
		}
	}
	return nil
}

func digestKey(sum string) (key [32]byte, err error) {
	b, err := hex.DecodeString(sum)
	if err != nil || len(b) != len(key) {
		return key, fmt.Errorf("%q is no digest of DNS records", sum)
	}
	copy(key[:], b)
	return key, nil
}

// sheet writes a document, what was taken out of it, and its line of the log with the proof.
func (w *writer) sheet(section string, number int64, document string, s db.Sheet) error {
	if s.Entry.Leaf >= w.manifest.Size {
		return fmt.Errorf("%w: line %d of the log, and the checkpoint is of %d lines", ErrAhead, s.Entry.Leaf, w.manifest.Size)
	}
	proof, err := tlog.ProveRecord(w.manifest.Size, s.Entry.Leaf, w.reader)
	if err == nil {
		err = tlog.CheckRecord(proof, w.manifest.Size, w.root, s.Entry.Leaf, s.Entry.Hash())
	}
	if err != nil {
		return fmt.Errorf("%w: the proof of line %d of the log: %w", db.ErrDamaged, s.Entry.Leaf, err)
	}
	if err := w.add(recordName(section, number, document, documentPart), s.Bytes); err != nil {
		return err
	}
	if err := w.add(recordName(section, number, document, proofPart), writeProof(s.Entry, proof)); err != nil {
		return err
	}
	if len(s.Secrets) == 0 || w.config.WithoutSecrets {
		return nil
	}
	return w.add(recordName(section, number, document, secretsPart), s.Secrets)
}

func (w *writer) permits(ctx context.Context) error {
	return w.sheets(ctx, "permits", "permit", w.permit, w.view.Permits, &w.manifest.Counts.Permits, func(s db.Sheet, number int64) error {
		_, err := s.Permit(number)
		return err
	})
}

func (w *writer) certificates(ctx context.Context) error {
	return w.sheets(ctx, "certificates", "certificate", w.issued, w.view.Certificates, &w.manifest.Counts.Certificates,
		func(s db.Sheet, number int64) error {
			_, err := s.Certificate(number)
			return err
		})
}

func (w *writer) sheets(ctx context.Context, section, document string, numbers []int64, read func(context.Context, []int64) ([]db.Sheet, error),
	count *int64, check func(db.Sheet, int64) error) error {
	for part := range slices.Chunk(numbers, db.Batch) {
		all, err := read(ctx, part)
		if err != nil {
			return err
		}
		for i, s := range all {
			if err := check(s, part[i]); err != nil {
				return fmt.Errorf("%s %d cannot be exported: %w", document, part[i], err)
			}
			if err := w.sheet(section, part[i], document, s); err != nil {
				return fmt.Errorf("%s %d: %w", document, part[i], err)
			}
			*count++
		}
	}
	return nil
}

// add writes a member, and its line in SHA256SUMS.
func (w *writer) add(name string, octets []byte) error {
	sum := sha256.Sum256(octets)
	line := hex.EncodeToString(sum[:]) + "  " + name + "\n"
	if _, err := io.WriteString(io.MultiWriter(w.sums, w.sumsHash), line); err != nil {
		return err
	}
	w.sumsSize += int64(len(line))
	w.manifest.Files++
	return w.member(name, int64(len(octets)), bytes.NewReader(octets))
}

// header is the same for all members but for name and length: who exported, and where, is nobody's concern.
func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
}

func (w *writer) member(name string, size int64, octets io.Reader) error {
	if err := w.tar.WriteHeader(header(name, size)); err != nil {
		return err
	}
	_, err := io.Copy(w.tar, octets)
	return err
}

func (w *writer) end(context.Context) error {
	if _, err := w.sums.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := w.member(sumsName, w.sumsSize, w.sums); err != nil {
		return err
	}
	w.manifest.SumsSHA256 = hex.EncodeToString(w.sumsHash.Sum(nil))
	text, err := w.manifest.text()
	if err != nil {
		return err
	}
	if err := w.member(manifestName, int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	return w.tar.Close()
}
