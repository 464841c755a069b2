// Package bundle exports records with all that is needed to verify them elsewhere: the documents as they were stored, their lines of
// the log with proofs to a signed checkpoint, and the DNS records that they rest on. It reads such a bundle again, and holds it
// against public keys and trust anchors alone. docs/audit.md describes the form.
//
// A bundle is a tar file (POSIX ustar) in one order: checkpoint, proofs of consistency, attempts, each after the DNS records that it
// is the first to need, permits, certificates, SHA256SUMS, manifest. It is written and read from front to back; nothing grows with it
// but a few octets for each record.
package bundle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
)

// Version is the form's name, the first member of a manifest.
const Version = "quorate-bundle/v1"

// Names of members that are there once.
const (
	checkpointName = "checkpoint"
	sumsName       = "SHA256SUMS"
	manifestName   = "manifest.json"
)

// Limits of a member's length in octets. Documents are packed; what they unpack to is limited by db.
const (
	maxDocument = 64 << 20
	maxSet      = 1 << 20
	maxProof    = 16 << 10
	maxManifest = 64 << 20
	// maxMembers and maxRecord are how many members one record has at most, and how many octets.
	maxMembers = 1000
	maxRecord  = 256 << 20
)

// Manifest says what a bundle is and what is in it. It is its last member.
type Manifest struct {
	Format string `json:"format"`
	// Software is the program and version that made it, Created when. All else follows from records and selection.
	Software string    `json:"software"`
	Created  time.Time `json:"created"`
	// Origin, Size and Root are the checkpoint's. Without Signed there is no checkpoint: Size and Root are the database's own.
	Origin string `json:"origin,omitempty"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
	Signed bool   `json:"signed"`
	// Consistency has the sizes of the auditor's checkpoints for which there is a proof of consistency.
	Consistency []int64 `json:"consistency,omitempty"`
	// Filter and Certificates are what was asked for.
	Filter       map[string]string `json:"filter,omitempty"`
	Certificates []string          `json:"certificates,omitempty"`
	// Secrets tells that the tokens are beside the documents.
	Secrets bool `json:"secrets"`
	// Selected are the numbers of the attempts that were asked for, Beside those on which the permits rest besides. Numbers are
	// written as ranges: "1-17,19".
	Selected string `json:"selected"`
	Beside   string `json:"beside"`
	// Permits and Issued are the numbers of permits and certificates.
	Permits string `json:"permits"`
	Issued  string `json:"issued"`
	Counts  Counts `json:"counts"`
	// Files are the members but SHA256SUMS and the manifest, SumsSHA256 the digest of SHA256SUMS, which lists them.
	Files      int64  `json:"files"`
	SumsSHA256 string `json:"sums_sha256"`
}

// Counts are how many of each there are.
type Counts struct {
	Attempts     int64 `json:"attempts"`
	Open         int64 `json:"open"`
	LateReplies  int64 `json:"late_replies"`
	Notices      int64 `json:"notices"`
	Permits      int64 `json:"permits"`
	Certificates int64 `json:"certificates"`
	RRsets       int64 `json:"rrsets"`
}

// section is a place in the order of members.
type section int

const (
	checkpoints section = iota + 1
	consistency
	attempts // with the DNS records between them
	permits
	certificates
	sums
	manifest
)

// member is a name in a bundle, taken apart.
type member struct {
	name string
	section
	number int64
	// set is the digest of DNS records; empty for others.
	set string
	// document is "intent", "decision", "late-17", "notice-18", "permit" or "certificate"; part is documentPart, proofPart or secretsPart.
	document, part string
}

const (
	documentPart = ".json.zst"
	proofPart    = ".proof"
	secretsPart  = ".secrets.json"
)

var names = regexp.MustCompile(`^(?:(consistency)/(0|[1-9][0-9]{0,17})\.proof|rrsets/([0-9a-f]{64})|` +
	`(attempts|permits|certificates)/([1-9][0-9]{0,17})/(intent|decision|(?:late|notice)-(?:0|[1-9][0-9]{0,17})|permit|certificate)(\.json\.zst|\.proof|\.secrets\.json))$`)

// parseName takes only names that a bundle can have.
func parseName(name string) (member, error) {
	m := member{name: name}
	switch name {
	case checkpointName:
		m.section = checkpoints
		return m, nil
	case sumsName:
		m.section = sums
		return m, nil
	case manifestName:
		m.section = manifest
		return m, nil
	}
	part := names.FindStringSubmatch(name)
	if part == nil {
		return m, fmt.Errorf("%q is no member that a bundle has", name)
	}
	var err error
	switch {
	case part[1] != "":
		m.section = consistency
		m.number, err = strconv.ParseInt(part[2], 10, 64)
	case part[3] != "":
		m.section, m.set = attempts, part[3]
	default:
		m.section = map[string]section{"attempts": attempts, "permits": permits, "certificates": certificates}[part[4]]
		m.number, err = strconv.ParseInt(part[5], 10, 64)
		m.document, m.part = part[6], part[7]
		alone := map[section]string{permits: "permit", certificates: "certificate"}[m.section]
		if err == nil && (alone != "" && m.document != alone || alone != "" && m.part == secretsPart ||
			alone == "" && (m.document == "permit" || m.document == "certificate")) {
			err = fmt.Errorf("%q is no member that a bundle has", name)
		}
	}
	return m, err
}

// limit is how long the member may be.
func (m member) limit() int64 {
	switch {
	case m.section == sums:
		return 1 << 33 // it is read line by line; the form of tar ends there
	case m.section == manifest:
		return maxManifest
	case m.set != "":
		return maxSet
	case m.part == documentPart || m.part == secretsPart:
		return maxDocument
	case m.section == checkpoints:
		return merkle.MaxSignedCheckpoint
	}
	return maxProof
}

// order compares the places of two members; equal ones are only in order as DNS records, or within a record.
func (m member) order(o member) int {
	if c := cmp.Compare(m.section, o.section); c != 0 || m.set != "" || o.set != "" {
		return c
	}
	return cmp.Compare(m.number, o.number)
}

func recordName(section string, number int64, document, part string) string {
	return section + "/" + strconv.FormatInt(number, 10) + "/" + document + part
}

// writeProof gives the text of a line of the log, an empty line, and the hashes of its proof in base64, one a line.
func writeProof(e merkle.Entry, proof tlog.RecordProof) []byte {
	var b bytes.Buffer
	b.Write(e.Data())
	b.WriteByte('\n')
	for _, h := range proof {
		b.WriteString(h.String() + "\n")
	}
	return b.Bytes()
}

// readProof is its strict inverse.
func readProof(text []byte) (e merkle.Entry, proof tlog.RecordProof, err error) {
	leaf, hashes, found := bytes.Cut(text, []byte("\n\n"))
	if !found {
		return e, nil, errors.New("there is no empty line between the line of the log and its proof")
	}
	if e, err = merkle.ParseEntry(append(leaf, '\n')); err != nil {
		return e, nil, err
	}
	proof, err = readHashes(hashes)
	return e, proof, err
}

// readHashes reads hashes in base64, one a line.
func readHashes(text []byte) (proof []tlog.Hash, err error) {
	for line := range strings.Lines(string(text)) {
		h, err := tlog.ParseHash(strings.TrimSuffix(line, "\n"))
		if err != nil || h.String()+"\n" != line || len(proof) == 128 {
			return nil, fmt.Errorf("%q is no hash of a proof", line[:min(len(line), 80)])
		}
		proof = append(proof, h)
	}
	return proof, nil
}

// ranges writes numbers, which are in order and each there once.
func ranges(numbers []int64) string {
	var b strings.Builder
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(numbers[i], 10))
		if j > i {
			b.WriteString("-" + strconv.FormatInt(numbers[j], 10))
		}
		i = j + 1
	}
	return b.String()
}

// span is a range of numbers, both ends included.
type span struct{ from, to int64 }

// readRanges is the strict inverse of ranges, without writing the numbers out.
func readRanges(text string) (all []span, err error) {
	if text == "" {
		return nil, nil
	}
	last := int64(-1)
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		s := span{}
		s.from, err = strconv.ParseInt(from, 10, 64)
		if err == nil {
			s.to, err = strconv.ParseInt(to, 10, 64)
		}
		if err != nil || s.from < 1 || s.from <= last+1 && last >= 0 || isRange && s.to <= s.from {
			return nil, fmt.Errorf("%q are no ranges of numbers", text[:min(len(text), 80)])
		}
		last = s.to
		all = append(all, s)
	}
	return all, nil
}

// words tells a filter's terms, for the manifest.
func words(f db.Filter) map[string]string {
	out := map[string]string{}
	add := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	add("name", f.Name)
	add("account", f.Account)
	add("since", at(f.Since))
	add("until", at(f.Until))
	add("outcome", string(f.Outcome))
	if f.Method != 0 {
		add("method", f.Method.String())
	}
	if f.Kind != 0 {
		add("kind", f.Kind.String())
	}
	if f.Shadow {
		add("shadow", "true")
	}
	add("caller", f.Caller)
	add("perspective", f.Perspective)
	add("certificate", f.Certificate)
	add("code", f.Code)
	if f.BeforeNumber != 0 {
		add("before", strconv.FormatInt(f.BeforeNumber, 10))
	}
	if f.BeforeLeaf != 0 {
		add("before_leaf", strconv.FormatInt(f.BeforeLeaf, 10))
	}
	return out
}

// text is the manifest as it stands in a bundle.
func (m Manifest) text() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	return append(text, '\n'), err
}

// readManifest refuses what it does not know.
func readManifest(text []byte) (m Manifest, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err = d.Decode(&m); err == nil && d.More() {
		err = errors.New("there is more than one object")
	}
	if err == nil {
		var again []byte
		if again, err = m.text(); err == nil && !bytes.Equal(again, text) {
			err = errors.New("it is not set as this program sets it")
		}
	}
	if err == nil && m.Format != Version {
		err = fmt.Errorf("its format is %q, and this program reads %q", m.Format, Version)
	}
	return m, err
}
