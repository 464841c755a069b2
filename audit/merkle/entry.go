// Package merkle is the log over all records: an RFC 6962 Merkle tree with one leaf for each record, the checkpoints
// that its signer publishes, the signer's own memory of what it published, and the witness that cosigns.
//
// The tree's arithmetic and proofs are those of golang.org/x/mod/sumdb/tlog; the signed texts are those of
// golang.org/x/mod/sumdb/note. docs/log.md describes every form byte by byte.
package merkle

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// EntryVersion is the first line of a leaf's data. Another form gets another line.
const EntryVersion = "quorate-log/v1"

// Kind says what an entry recorded.
type Kind string

// The kinds of entries. A leaf with any other kind is malformed.
const (
	Intent      Kind = "intent"
	Decision    Kind = "decision"
	LateReply   Kind = "late-reply"
	Permit      Kind = "permit"
	Certificate Kind = "certificate"
	Notice      Kind = "notice"
	Removal     Kind = "removal"
)

// Kinds returns every kind that an entry may have.
func Kinds() []Kind {
	return []Kind{Intent, Decision, LateReply, Permit, Certificate, Notice, Removal}
}

// Entry is one line of the log: what was recorded, when, and the digest of its document.
type Entry struct {
	// Leaf is the entry's place in the log: 0-based and gapless.
	Leaf int64
	Kind Kind
	// Subject is the number of what was recorded: of the attempt, the permit and so on. It is not negative.
	Subject int64
	// Recorded is the gate's clock at the time of recording, in UTC, between the years 0 and 9999.
	Recorded time.Time
	// SHA256 is the digest of the document's stored bytes: 64 lower case hex digits.
	SHA256 string
}

// recordedLayout is RFC 3339 in UTC with all nine decimals, so that one time has one text.
const recordedLayout = "2006-01-02T15:04:05.000000000Z"

// Check reports what is wrong with an entry. Data of an entry that fails Check is not parsed by ParseEntry, so a
// writer checks an entry before it appends it.
func (e Entry) Check() error {
	switch {
	case e.Leaf < 0:
		return fmt.Errorf("log entry: leaf %d is negative", e.Leaf)
	case !slices.Contains(Kinds(), e.Kind):
		return fmt.Errorf("log entry: unknown kind %q", e.Kind)
	case e.Subject < 0:
		return fmt.Errorf("log entry: subject %d is negative", e.Subject)
	case e.Recorded.UTC().Year() < 0 || e.Recorded.UTC().Year() > 9999:
		return fmt.Errorf("log entry: the year of its time, %d, has not four digits", e.Recorded.UTC().Year())
	}
	return checkDigest(e.SHA256)
}

func checkDigest(digest string) error {
	raw, err := hex.DecodeString(digest)
	if err != nil || len(raw) != tlog.HashSize || hex.EncodeToString(raw) != digest {
		return fmt.Errorf("log entry: %q is not a SHA-256 of 64 lower case hex digits", digest)
	}
	return nil
}

// Data returns the leaf's data: the version's line and one line for each field, each with its name, a space and its
// value, and each ended by a newline. One entry has exactly one text (docs/log.md).
func (e Entry) Data() []byte {
	return fmt.Appendf(nil, "%s\nleaf %d\nkind %s\nsubject %d\nrecorded %s\nsha256 %s\n",
		EntryVersion, e.Leaf, e.Kind, e.Subject, e.Recorded.UTC().Format(recordedLayout), e.SHA256)
}

// ParseEntry is the strict inverse of Entry.Data: what it accepts, Data gives back byte for byte. Its times are UTC.
func ParseEntry(data []byte) (Entry, error) {
	values, err := entryValues(string(data))
	if err != nil {
		return Entry{}, err
	}
	entry := Entry{Kind: Kind(values[1]), SHA256: values[4]}
	if entry.Leaf, err = parseDecimal(values[0]); err != nil {
		return Entry{}, fmt.Errorf("log entry: leaf: %w", err)
	}
	if entry.Subject, err = parseDecimal(values[2]); err != nil {
		return Entry{}, fmt.Errorf("log entry: subject: %w", err)
	}
	if entry.Recorded, err = parseTime(values[3]); err != nil {
		return Entry{}, fmt.Errorf("log entry: recorded: %w", err)
	}
	if err := entry.Check(); err != nil {
		return Entry{}, err
	}
	return entry, nil
}

// entryValues splits a leaf's text into the values of its fields, in the order of its lines.
func entryValues(text string) ([]string, error) {
	body, found := strings.CutSuffix(text, "\n")
	if !found {
		return nil, fmt.Errorf("log entry: no newline at its end")
	}
	lines := strings.Split(body, "\n")
	if lines[0] != EntryVersion {
		return nil, fmt.Errorf("log entry: its first line is %q, not %q", lines[0], EntryVersion)
	}
	names := []string{"leaf", "kind", "subject", "recorded", "sha256"}
	if len(lines) != 1+len(names) {
		return nil, fmt.Errorf("log entry: %d lines, not %d", len(lines), 1+len(names))
	}
	values := make([]string, len(names))
	for i, name := range names {
		value, found := strings.CutPrefix(lines[i+1], name+" ")
		if !found {
			return nil, fmt.Errorf("log entry: line %d is %q, not the field %q", i+2, lines[i+1], name)
		}
		values[i] = value
	}
	return values, nil
}

// parseDecimal reads a number that is not negative, in its one shortest decimal form.
func parseDecimal(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return 0, fmt.Errorf("%q is not a number of 0 to 2^63-1 in its shortest decimal form", text)
	}
	return n, nil
}

// parseTime reads a time in recordedLayout and refuses every other text of the same moment.
func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(recordedLayout, text)
	if err != nil || t.Format(recordedLayout) != text {
		return time.Time{}, fmt.Errorf("%q is not an RFC 3339 time in UTC with nine decimals", text)
	}
	return t, nil
}

// Hash returns the leaf's hash: SHA-256 of a zero octet and the data (RFC 6962 section 2.1).
func (e Entry) Hash() tlog.Hash {
	return tlog.RecordHash(e.Data())
}
