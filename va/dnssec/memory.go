package dnssec

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Memory remembers stages that proofs have in common: the keys of the root, the delegation of "com.", its keys. A million records
// rest on the same few. It changes no result. What is remembered is found again only for the very same octets, the very same
// anchors or remembered stage above, the same limits and slack, and at a time at which each comparison with a signature's or an anchor's
// time comes out as it did. Only stages that are usable are remembered, and no answers.
//
// Limits need no account: signature checks and hashes are counted for each stage alone, so that none is spent for another.
//
// It also remembers which signatures hold (Signatures).
//
// A Memory is safe for concurrent use, and belongs to whoever makes it: it holds for one table of algorithms.
type Memory struct {
	algorithms Algorithms
	most       int
	mu         sync.Mutex
	serial     uint64
	// stages has two generations: when the young one is full it becomes the old one, and that is forgotten.
	stages, oldStages map[stageKey]*remembered
	size              int
	hits, misses      int
	signatures        *Signatures
}

// DefaultMemory is how many octets of records a Memory keeps at most, by default.
const DefaultMemory = 8 << 20

// stageCost is added to the octets of each stage, for what is made of them.
const stageCost = 1024

// mostSignatures bounds the signatures of a Memory; one takes about 60 octets.
const mostSignatures = 1 << 17

// NewMemory makes an empty memory for provers with these algorithms; nil takes DefaultAlgorithms(). The table must not change
// afterwards. most bounds the octets of records that are kept; 0 takes DefaultMemory.
func NewMemory(algorithms Algorithms, most int) *Memory {
	if algorithms == nil {
		algorithms = DefaultAlgorithms()
	}
	if most <= 0 {
		most = DefaultMemory
	}
	m := &Memory{algorithms: algorithms, most: most, stages: map[stageKey]*remembered{}, signatures: NewSignatures(mostSignatures)}
	return m
}

// Algorithms are those that the memory is for.
func (m *Memory) Algorithms() Algorithms { return m.algorithms }

// of tells whether a prover's table is the memory's own. Functions cannot be compared, so that another table is another one, whatever
// is in it.
func (m *Memory) of(a Algorithms) bool {
	return m != nil && reflect.ValueOf(m.algorithms).Pointer() == reflect.ValueOf(a).Pointer()
}

// Counts are how many stages were found and how many were worked out.
func (m *Memory) Counts() (hits, misses int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hits, m.misses
}

// stageKey is all that a stage's result depends on beside octets, time and algorithms.
type stageKey struct {
	kind StageKind
	// above is what is known from above: the serial number of a remembered stage, or of anchors.
	above      uint64
	zone, name string
	records    string
	limits     Limits
}

const stageAnchors StageKind = "anchors"

// remembered is a stage's result, or anchors. It is immutable once it is kept.
type remembered struct {
	serial uint64
	octets []byte
	span   span
	// keys are those of a keys stage, cut is what a delegation stage, or anchors, give.
	keys    *Keys
	cut     *Delegation
	verdict Verdict
}

// span is the time, in seconds since 1970, within which all comparisons with times come out as they did at the time of the work. It
// belongs to one piece of work; a nil span notes nothing.
type span struct {
	from, until int64
	// never tells that one came out against a signature or an anchor, or lies too far off.
	never bool
}

// far keeps serial arithmetic (RFC 1982) from turning over: 17 years.
const far = 1 << 29

func spanAbout(now time.Time) *span { return &span{from: now.Unix() - far, until: now.Unix() + far} }

func (s *span) has(at time.Time) bool { return !s.never && s.from <= at.Unix() && at.Unix() <= s.until }

// refused notes a signature or an anchor that counts at another time.
func (s *span) refused() {
	if s != nil {
		s.never = true
	}
}

// signature notes a signature whose time includes now, give or take slack seconds.
func (s *span) signature(now int64, sig *dns.RRSIG, slack int32) {
	if s == nil {
		return
	}
	since, left := int64(int32(uint32(now)-sig.Inception)), int64(int32(sig.Expiration-uint32(now)))
	if since > far || left > far {
		s.never = true
		return
	}
	s.from, s.until = max(s.from, now-since-int64(slack)), min(s.until, now+left+int64(slack))
}

// anchor notes an anchor that holds from a time on, the zero Time for always.
func (s *span) anchor(from time.Time) {
	if s == nil || from.IsZero() {
		return
	}
	first := from.Unix()
	if from.Nanosecond() > 0 {
		first++
	}
	s.from = max(s.from, first)
}

// find gives a stage, nil where it is not remembered for these octets and this time.
func (m *Memory) find(k stageKey, octets []byte, at time.Time) *remembered {
	if m == nil || k.above == 0 && k.kind != stageAnchors {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.get(k)
	if r == nil || !r.span.has(at) || !bytes.Equal(r.octets, octets) {
		m.misses++
		return nil
	}
	m.hits++
	return r
}

func (m *Memory) get(k stageKey) *remembered {
	r := m.stages[k]
	if r == nil {
		if r = m.oldStages[k]; r != nil {
			delete(m.oldStages, k)
			m.put(k, r)
		}
	}
	return r
}

func (m *Memory) put(k stageKey, r *remembered) {
	if m.stages[k] == nil {
		m.size += len(r.octets) + len(k.records) + stageCost
	}
	m.stages[k] = r
	if m.size > m.most/2 {
		m.oldStages, m.stages, m.size = m.stages, map[stageKey]*remembered{}, 0
	}
}

// keep remembers a stage that was worked out at a time and gives what is to be used: where somebody else was quicker, his.
func (m *Memory) keep(k stageKey, r *remembered, at time.Time) *remembered {
	if m == nil || k.above == 0 && k.kind != stageAnchors || !r.span.has(at) || len(r.octets) > m.most/4 {
		return r
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if other := m.get(k); other != nil && other.span.has(at) && bytes.Equal(other.octets, r.octets) {
		return other
	}
	r.octets = bytes.Clone(r.octets)
	m.serial++
	r.serial = m.serial
	m.put(k, r)
	return r
}

// anchors gives the anchors of a zone with their serial number; nil where there is none.
func (m *Memory) anchors(anchors []Anchor, zone string) *remembered {
	if m == nil {
		return &remembered{cut: FromAnchors(anchors, zone)}
	}
	var text strings.Builder
	for _, a := range anchors {
		if a.zone == zone {
			fmt.Fprintf(&text, "%s %s\n", a, a.from.UTC().Format(time.RFC3339Nano))
		}
	}
	k := stageKey{kind: stageAnchors, zone: zone, records: text.String()}
	if r := m.find(k, nil, time.Time{}); r != nil {
		return r
	}
	always := span{from: time.Time{}.Unix(), until: time.Time{}.Unix()}
	return m.keep(k, &remembered{cut: FromAnchors(anchors, zone), span: always}, time.Time{})
}
