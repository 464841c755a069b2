package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
)

// held is a signed checkpoint with where it comes from.
type held struct {
	from, root string
	cosigned   bool
	// verified tells that it is VerifyConfig.Verified.
	verified bool
}

// bySize are checkpoints that are to be compared, by their size.
type bySize map[int64][]held

// log reads all lines, and compares the tree with what is stored of it and with every checkpoint. Of these there is one every few seconds,
// for years: those that were published are read as the tree grows.
func (v *verification) log(ctx context.Context) error {
	held := v.brought()
	if err := v.published(ctx, held, `size <= $1`, 0); err != nil {
		return err
	}
	var tree merkle.Tree
	v.compare(held, tree)
	last, unsigned, upto := "", "", int64(0)
	const page = 5000
	for next := int64(0); ; {
		if err := v.published(ctx, held, `size > $1 AND size <= $2`, upto, tree.Size()+page); err != nil {
			return err
		}
		upto = tree.Size() + page
		rows, err := v.scan.tx.QueryContext(ctx, `SELECT leaf, kind, subject, recorded_at, sha256, hashes FROM log WHERE leaf >= $1 ORDER BY leaf LIMIT $2`, next, page)
		if err != nil {
			return err
		}
		read := 0
		for rows.Next() {
			var e merkle.Entry
			var kind, recorded string
			var hashes []byte
			if err := rows.Scan(&e.Leaf, &kind, &e.Subject, &recorded, &e.SHA256, &hashes); err != nil {
				return errors.Join(err, rows.Close())
			}
			read++
			e.Kind = merkle.Kind(kind)
			if e.Leaf != next {
				v.found(0, audit.Log, "after the line %d of the log comes %d (F4)", next-1, e.Leaf)
			}
			next = e.Leaf + 1
			if e.Recorded, err = parseTime(recorded); err != nil || e.Check() != nil {
				v.found(0, audit.Log, "the line %d of the log is none: %v", e.Leaf, errors.Join(err, e.Check()))
			}
			if recorded < last {
				v.found(0, audit.Log, "the line %d of the log is of %s, and the one before it of %s", e.Leaf, recorded, last)
			}
			last = recorded
			if tree.Size() == v.sum.Covered {
				unsigned = recorded
			}
			if e.Leaf >= v.sum.Removed {
				v.lines[e.Kind]++
			}
			if completed := tree.Append(e.Hash()); !bytes.Equal(joinHashes(completed), hashes) {
				v.found(aboutAttempt(e), audit.Log, "the line %d of the log, %s %d, was changed: its hash or that of a subtree that it completes is not the stored one",
					e.Leaf, e.Kind, e.Subject)
			}
			v.compare(held, tree)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		if read < page {
			break
		}
	}
	v.sum.Root = tree.Root().String()
	if v.recorded != last {
		v.found(0, audit.Log, "the head says that the last line of the log is of %q, and it is of %q", v.recorded, last)
	}
	if err := v.published(ctx, held, `size > $1 ORDER BY size LIMIT 100`, upto); err != nil {
		return err
	}
	for _, size := range slices.Sorted(maps.Keys(held)) {
		for _, h := range held[size] {
			v.found(0, audit.Log, "%s is of a log with %d lines, and this one has %d: it was cut off or rolled back", h.from, size, tree.Size())
		}
	}
	v.signed(unsigned, last)
	return nil
}

// longestUnsigned is far longer than a gate leaves lines of its log unsigned: an hour (checkpoints.interval).
const longestUnsigned = 2 * time.Hour

// signed finds a log of which too little is signed by the key that the auditor has: what comes behind the newest checkpoint can be made anew by
// whoever takes the later ones away. unsigned is the time of the first line behind it, last that of the last line.
func (v *verification) signed(unsigned, last string) {
	switch {
	case v.config.LogKey == nil:
	case v.sum.Checkpoints == 0:
		v.found(0, audit.Log, "no checkpoint that the log's key signed is of this log: nothing shows that it was not made anew")
	case v.sum.Covered < v.sum.Lines:
		from, err := parseTime(unsigned)
		to, err2 := parseTime(last)
		if err == nil && err2 == nil && to.Sub(from) > longestUnsigned {
			v.found(0, audit.Log, "no checkpoint is of the lines from %d on, of %s to %s, and one was due every hour: nothing shows that they were not made anew",
				v.sum.Covered, unsigned, last)
		}
	}
}

// aboutAttempt gives the number of the attempt that a line is about, 0 for other lines.
func aboutAttempt(e merkle.Entry) int64 {
	switch e.Kind {
	case merkle.Intent, merkle.Decision, merkle.LateReply, merkle.Notice:
		return e.Subject
	}
	return 0
}

// brought gives the checkpoints that the auditor has.
func (v *verification) brought() bySize {
	d := bySize{}
	for i, signed := range v.config.Held {
		v.open(d, held{from: fmt.Sprintf("the auditor's checkpoint %d", i+1)}, signed, nil)
	}
	if v.config.Verified != nil {
		v.open(d, held{from: "the checkpoint that was verified before", verified: true}, v.config.Verified, nil)
	}
	return d
}

// published adds those in the database that a condition picks.
func (v *verification) published(ctx context.Context, d bySize, where string, args ...any) error {
	rows, err := v.scan.rows(ctx, `SELECT size, note FROM checkpoints WHERE `+where, args...)
	for _, r := range rows {
		size := r.int("size")
		v.open(d, held{from: fmt.Sprintf("the published checkpoint of size %d", size)}, r.bytes("note"), &size)
	}
	return err
}

// open reads a signed checkpoint, and checks the signatures of those whose keys are known. size is the one under which it is kept.
func (v *verification) open(d bySize, h held, signed []byte, size *int64) {
	var c merkle.Checkpoint
	var by []string
	var err error
	if v.config.LogKey != nil {
		c, by, err = merkle.OpenCheckpoint(signed, v.config.LogKey, v.config.Witnesses...)
	} else {
		text, _, _ := strings.Cut(string(signed), "\n\n")
		c, err = merkle.ParseCheckpoint(text + "\n")
	}
	if err != nil || size != nil && c.Size != *size {
		v.found(0, audit.Log, "%s is none of this log: %v", h.from, errors.Join(err, fmt.Errorf("it is of size %d", c.Size)))
		return
	}
	h.root, h.cosigned = c.Root.String(), len(by) > 0
	d[c.Size] = append(d[c.Size], h)
}

// compare holds the checkpoints of the tree's size against it, and what a removal says of it.
func (v *verification) compare(d bySize, tree merkle.Tree) {
	if root, ok := v.roots[tree.Size()]; ok && root != tree.Root().String() {
		v.found(0, audit.Log, "a removal says that the log had another root at %d lines", tree.Size())
	}
	for _, h := range d[tree.Size()] {
		if h.root != tree.Root().String() {
			v.found(0, audit.Log, "%s has another root than the log at %d lines: the log was changed", h.from, tree.Size())
			continue
		}
		v.sum.Checkpoints++
		v.sum.Covered = tree.Size()
		if h.cosigned {
			v.sum.Cosigned++
		}
		if h.verified {
			v.before = tree.Size()
		}
	}
	delete(d, tree.Size())
}
