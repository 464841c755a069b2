package bundle

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// place is where a member's octets are in the file.
type place struct{ offset, size int64 }

// record is where the members of one attempt, permit or certificate are.
type record struct {
	number int64
	// at is where the first member's header begins, members how many there are.
	at      int64
	members int
}

// index is what a first reading of a bundle finds: where things are. It has a few octets for each record.
type index struct {
	file        io.ReaderAt
	size        int64
	checkpoint  *place
	consistency map[int64]place
	sets        map[[32]byte]place
	records     map[section][]record
	sums        *place
	manifest    *place
	files       int64
}

// blockSize is tar's.
const blockSize = 512

// walk reads the members of a tar file from an offset on. each returns false to end it. An error says what is no bundle's.
func walk(file io.ReaderAt, from, size int64, each func(h *tar.Header, at, data int64) bool) error {
	in := io.NewSectionReader(file, from, size-from)
	t := tar.NewReader(in)
	for next := from; ; {
		begins, err := in.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		h, err := t.Next()
		at, err2 := in.Seek(0, io.SeekCurrent)
		switch {
		case errors.Is(err, io.EOF):
			return ended(file, from+at, size)
		case err != nil || err2 != nil:
			return fmt.Errorf("at octet %d: %w", from+begins, errors.Join(err, err2))
		}
		if at+from+h.Size > size {
			return fmt.Errorf("the file ends within the member %q", h.Name)
		}
		if from+at-blockSize != next { // tar has headers of further headers, which no member shows
			return fmt.Errorf("there is something in front of the member %q", h.Name)
		}
		if err := exact(file, h, from+at); err != nil {
			return err
		}
		next = from + at + h.Size + (blockSize-h.Size%blockSize)%blockSize
		if !each(h, from+at-blockSize, from+at) {
			return nil
		}
	}
}

// exact: header and padding are octet for octet those that this program writes, so that nothing can be hidden in them.
func exact(file io.ReaderAt, h *tar.Header, data int64) error {
	var want bytes.Buffer
	if err := tar.NewWriter(&want).WriteHeader(header(h.Name, h.Size)); err != nil {
		return err
	}
	got := make([]byte, blockSize)
	if _, err := file.ReadAt(got, data-blockSize); err != nil {
		return err
	}
	if !bytes.Equal(got, want.Bytes()) {
		return fmt.Errorf("the member %q has another header than this program writes", h.Name)
	}
	padding := got[:(blockSize-h.Size%blockSize)%blockSize]
	if _, err := file.ReadAt(padding, data+h.Size); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(bytes.Trim(padding, "\x00")) > 0 {
		return fmt.Errorf("there is something behind the member %q", h.Name)
	}
	return nil
}

// ended: two blocks of zeros, and nothing behind them.
func ended(file io.ReaderAt, at, size int64) error {
	var zeros [2 * blockSize]byte
	var end [2 * blockSize]byte
	if at != size || size < int64(len(end)) {
		return fmt.Errorf("the end of the archive is at octet %d, and the file has %d", at, size)
	}
	if _, err := file.ReadAt(end[:], size-int64(len(end))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if end != zeros {
		return errors.New("the file is cut off")
	}
	return nil
}

// readIndex finds all members. wrong gets what is not in order; what is unknown, or twice there, is left out.
func readIndex(file io.ReaderAt, size int64, wrong func(format string, args ...any)) *index {
	x := &index{file: file, size: size, consistency: map[int64]place{}, sets: map[[32]byte]place{}, records: map[section][]record{}}
	var last member
	err := walk(file, 0, size, func(h *tar.Header, at, data int64) bool {
		m, err := parseName(h.Name)
		switch {
		case err != nil:
			wrong("%v", err)
		case h.Size > m.limit():
			wrong("%s has %d octets; at most %d are read", m.name, h.Size, m.limit())
		case m.order(last) < 0:
			wrong("%s does not stand in its place: it comes after %s", m.name, last.name)
		default:
			x.keep(m, at, place{data, h.Size}, wrong)
			if m.set != "" && last.section == m.section { // they stand between attempts, which are in order all the same
				m.number = last.number
			}
			m.set = ""
			last = m
		}
		if m.section != sums && m.section != manifest {
			x.files++
		}
		return true
	})
	if err != nil {
		wrong("this is no whole bundle: %v", err)
	}
	return x
}

func (x *index) keep(m member, at int64, p place, wrong func(string, ...any)) {
	once := func(into **place) {
		if *into != nil {
			wrong("%s is there twice", m.name)
			return
		}
		*into = &p
	}
	switch {
	case m.section == checkpoints:
		once(&x.checkpoint)
	case m.section == sums:
		once(&x.sums)
	case m.section == manifest:
		once(&x.manifest)
	case m.section == consistency:
		x.consistency[m.number] = p
	case m.set != "":
		key, err := digestKey(m.set)
		if _, twice := x.sets[key]; err != nil || twice {
			wrong("%s is there twice", m.name)
			return
		}
		x.sets[key] = p
	default:
		all := x.records[m.section]
		if n := len(all); n > 0 && all[n-1].number == m.number {
			all[n-1].members++
		} else {
			x.records[m.section] = append(all, record{m.number, at, 1})
		}
	}
}

// read gives a member's octets.
func (x *index) read(p place) ([]byte, error) {
	b := make([]byte, p.size)
	if _, err := x.file.ReadAt(b, p.offset); err != nil && (!errors.Is(err, io.EOF) || p.size > 0 && p.offset+p.size > x.size) {
		return nil, err
	}
	return b, nil
}

// parts reads the members of one record, by what they are.
func (x *index) parts(s section, r record) (map[string][]byte, error) {
	if r.members > maxMembers {
		return nil, fmt.Errorf("%d members; at most %d are read", r.members, maxMembers)
	}
	out := map[string][]byte{}
	var total int64
	var failed error
	err := walk(x.file, r.at, x.size, func(h *tar.Header, _, data int64) bool {
		m, err := parseName(h.Name)
		if err != nil || m.section != s || m.number != r.number || m.set != "" {
			return false
		}
		key := m.document + m.part
		if total += h.Size; total > maxRecord || h.Size > m.limit() {
			failed = fmt.Errorf("more than %d octets", maxRecord)
			return false
		}
		if _, twice := out[key]; twice {
			failed = fmt.Errorf("%s is there twice", m.name)
			return false
		}
		out[key], failed = x.read(place{data, h.Size})
		return failed == nil && len(out) < r.members
	})
	if len(out) == r.members && failed == nil {
		err = nil // what comes behind it is not this record's concern
	} else if failed == nil && err == nil {
		failed = fmt.Errorf("%d members stand together, and there are %d", len(out), r.members)
	}
	return out, errors.Join(err, failed)
}

// lookAhead is how many lines of SHA256SUMS are searched for a member that is not in its place.
const lookAhead = 1000

// sumLines reads SHA256SUMS.
type sumLines struct {
	in    *bufio.Scanner
	hash  hash.Hash
	ahead []string
}

func (x *index) sumLines() *sumLines {
	l := &sumLines{hash: sha256.New()}
	l.in = bufio.NewScanner(io.TeeReader(io.NewSectionReader(x.file, x.sums.offset, x.sums.size), l.hash))
	l.in.Buffer(make([]byte, 4096), 64<<10)
	return l
}

// fill reads lines until so many are there.
func (l *sumLines) fill(n int) {
	for len(l.ahead) < n && l.in.Scan() {
		l.ahead = append(l.ahead, l.in.Text())
	}
}

// find gives the digest of a member, and those lines before it whose members did not come.
func (l *sumLines) find(name string) (sum string, skipped []string, ok bool) {
	for n := 1; n <= lookAhead; n++ {
		l.fill(n)
		if len(l.ahead) < n {
			return "", nil, false
		}
		if s, found := strings.CutSuffix(l.ahead[n-1], "  "+name); found {
			skipped = l.ahead[:n-1]
			l.ahead = l.ahead[n:]
			return s, skipped, true
		}
	}
	return "", nil, false
}

// checkSums holds each member against its line. It reads the whole file, and ends with its context.
func (x *index) checkSums(ctx context.Context, m Manifest, wrong func(format string, args ...any)) error {
	lines := x.sumLines()
	missing := func(all []string) {
		for _, line := range all {
			_, name, _ := strings.Cut(line, "  ")
			wrong("%.200q stands in %s, and is missing", name, sumsName)
		}
	}
	var failed error
	err := walk(x.file, 0, x.size, func(h *tar.Header, _, data int64) bool {
		if h.Name == sumsName || h.Name == manifestName {
			return true
		}
		sum, skipped, ok := lines.find(h.Name)
		missing(skipped)
		if !ok {
			wrong("%.200q does not stand in %s: it was added, or moved", h.Name, sumsName)
			return true
		}
		if failed = ctx.Err(); failed != nil {
			return false
		}
		own := sha256.New()
		if _, failed = io.Copy(own, io.NewSectionReader(x.file, data, h.Size)); failed != nil {
			return false
		}
		if got := hex.EncodeToString(own.Sum(nil)); got != sum {
			wrong("%s was changed: its digest is %s, and %s has %.64s", h.Name, got, sumsName, sum)
		}
		return true
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return nil //nolint:nilerr // readIndex told it
	}
	missing(lines.ahead)
	for lines.in.Scan() {
		missing([]string{lines.in.Text()})
	}
	if err := lines.in.Err(); err != nil {
		wrong("%s cannot be read: %v", sumsName, err)
	}
	if got := hex.EncodeToString(lines.hash.Sum(nil)); got != m.SumsSHA256 {
		wrong("%s was changed: its digest is %s, and the manifest has %.64s", sumsName, got, m.SumsSHA256)
	}
	if x.files != m.Files {
		wrong("there are %d members, and the manifest counts %d", x.files, m.Files)
	}
	return nil
}
