package merkle

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxSignedCheckpoint bounds a signed checkpoint in octets, its cosignatures included.
const MaxSignedCheckpoint = 64 << 10

// Checkpoint is what the log's signer signs: the log has Size leaves and this root (C2SP tlog-checkpoint).
type Checkpoint struct {
	// Origin names the log and its key: 1 to 255 octets, without spaces, control characters and plus.
	Origin string
	Size   int64
	// Root is the RFC 6962 root of the log at this size.
	Root tlog.Hash
	// Time is the signer's clock, in UTC: its own claim. It stands in the one extension line.
	Time time.Time
}

// Check reports what is wrong with a checkpoint. ParseCheckpoint does not parse the text of one that fails Check.
func (c Checkpoint) Check() error {
	if err := checkName(c.Origin); err != nil {
		return fmt.Errorf("checkpoint: origin: %w", err)
	}
	if c.Size < 0 {
		return fmt.Errorf("checkpoint of %s: size %d is negative", c.Origin, c.Size)
	}
	if c.Size == 0 && c.Root != emptyRoot() {
		return fmt.Errorf("checkpoint of %s: the root of an empty log is not the SHA-256 of nothing", c.Origin)
	}
	if year := c.Time.UTC().Year(); year < 0 || year > 9999 {
		return fmt.Errorf("checkpoint of %s: the year of its time, %d, has not four digits", c.Origin, year)
	}
	return nil
}

// checkName holds the name of a key to what a note can carry (C2SP signed-note); the length is that of tlog-cosignature.
func checkName(name string) error {
	if name == "" || len(name) > 255 || !utf8.ValidString(name) || strings.Contains(name, "+") ||
		strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return fmt.Errorf("%q is not 1 to 255 octets of UTF-8 without spaces, control characters and plus", name)
	}
	return nil
}

// Text returns the text to sign: origin, size, root and time, each a line.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\ntime %s\n", c.Origin, c.Size, c.Root, c.Time.UTC().Format(recordedLayout))
}

// ParseCheckpoint is the strict inverse of Checkpoint.Text.
func ParseCheckpoint(text string) (Checkpoint, error) {
	h, err := parseHead(text)
	if err != nil {
		return Checkpoint{}, err
	}
	if len(h.extensions) != 1 {
		return Checkpoint{}, fmt.Errorf("checkpoint of %s: %d extension lines, not one with the time", h.origin, len(h.extensions))
	}
	value, found := strings.CutPrefix(h.extensions[0], "time ")
	if !found {
		return Checkpoint{}, fmt.Errorf("checkpoint of %s: its extension line is %q, not the time", h.origin, h.extensions[0])
	}
	checkpoint := Checkpoint{Origin: h.origin, Size: h.size, Root: h.root}
	if checkpoint.Time, err = parseTime(value); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint of %s: time: %w", h.origin, err)
	}
	if err := checkpoint.Check(); err != nil {
		return Checkpoint{}, err
	}
	return checkpoint, nil
}

// head is what every checkpoint has, of whatever log. A witness needs no more.
type head struct {
	origin     string
	size       int64
	root       tlog.Hash
	extensions []string
}

// parseHead reads the text of any checkpoint (C2SP tlog-checkpoint, "Note text").
func parseHead(text string) (head, error) {
	body, found := strings.CutSuffix(text, "\n")
	lines := strings.Split(body, "\n")
	if !found || len(lines) < 3 {
		return head{}, errors.New("checkpoint: less than three lines, each with a newline at its end")
	}
	for i, line := range lines {
		if line == "" {
			return head{}, fmt.Errorf("checkpoint: line %d is empty", i+1)
		}
	}
	size, err := parseDecimal(lines[1])
	if err != nil {
		return head{}, fmt.Errorf("checkpoint: size: %w", err)
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return head{}, fmt.Errorf("checkpoint: root: %w", err)
	}
	return head{origin: lines[0], size: size, root: root, extensions: lines[3:]}, nil
}

// parseHash reads a hash in base64 and refuses each other text of the same octets, which tlog.ParseHash takes.
func parseHash(text string) (tlog.Hash, error) {
	hash, err := tlog.ParseHash(text)
	if err != nil || hash.String() != text {
		return tlog.Hash{}, fmt.Errorf("%q is not 32 octets in base64", text)
	}
	return hash, nil
}

// OpenCheckpoint verifies a signed checkpoint by the log's verifier and gives it with the names of those witnesses, of
// the ones given, that cosigned it. Signatures by other keys count for nothing. The origin must be the name of the
// log's key. A wrong signature by one of the given keys makes the whole an error.
func OpenCheckpoint(signed []byte, log note.Verifier, witnesses ...*WitnessVerifier) (Checkpoint, []string, error) {
	if len(signed) > MaxSignedCheckpoint {
		return Checkpoint{}, nil, fmt.Errorf("signed checkpoint: %d octets, more than %d", len(signed), MaxSignedCheckpoint)
	}
	known := []note.Verifier{log}
	for _, w := range witnesses {
		known = append(known, w)
	}
	opened, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("signed checkpoint: %w", err)
	}
	ours := false
	var cosigners []string
	for _, sig := range opened.Sigs {
		if sig.Name == log.Name() && sig.Hash == log.KeyHash() {
			ours = true
		} else {
			cosigners = append(cosigners, sig.Name)
		}
	}
	if !ours {
		return Checkpoint{}, nil, fmt.Errorf("signed checkpoint: it is not signed by %s", log.Name())
	}
	checkpoint, err := ParseCheckpoint(opened.Text)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	if checkpoint.Origin != log.Name() {
		return Checkpoint{}, nil, fmt.Errorf("signed checkpoint: it is of %s and signed by %s", checkpoint.Origin, log.Name())
	}
	return checkpoint, cosigners, nil
}
