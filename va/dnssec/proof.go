package dnssec

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// StageKind says what a stage of a proof establishes.
type StageKind string

const (
	// StageKeys: the keys of a zone, from its DNSKEY set and what was established of its delegation.
	StageKeys StageKind = "keys"
	// StageDelegation: the word of a zone on one name below it: its DS set, or the signed proof that it has none.
	StageDelegation StageKind = "delegation"
	// StageAnswer: the answer of a zone to a question, aliases not followed.
	StageAnswer StageKind = "answer"
)

// Stage is one part of a proof in the form that is kept. A proof is a list of stages, each of which builds on those before
// it and, at the beginning, on trust anchors.
type Stage struct {
	Kind StageKind `json:"stage"`
	// Zone is whose keys vouch: for keys their own zone, for a delegation the parent, for an answer the zone that answers.
	Zone string `json:"zone"`
	// Name is the delegated name, and empty for the other kinds: keys are of their zone, and an answer is for the name that is due.
	Name string `json:"name,omitempty"`
	// Records is the SHA-256, in hexadecimal, of the records judged, in the form of Sets. An answer has none.
	Records string `json:"records,omitempty"`
	// Query is, for an answer, the place of the response judged in the account of the lookup's queries, from 1.
	Query int `json:"query,omitempty"`
	// At is the time that signatures were compared with; UTC, whole seconds.
	At time.Time `json:"at"`
}

// Found is what a stage amounts to. It follows from the octets, so that no record keeps it: a Prover gives it.
type Found struct {
	Stage
	// About is the zone, the delegated name, or the name asked; Type is the type asked, for an answer.
	About string `json:"about"`
	Type  string `json:"type,omitempty"`
	// Status and Code are what was found; anything that is not usable ends the proof.
	Status Status `json:"status"`
	Code   string `json:"code,omitempty"`
	// Steps are what held, in the order in which it was found.
	Steps []Step `json:"steps,omitempty"`
}

// StepKind says what held.
type StepKind string

// The kinds of steps. By is the owner of the record that shows it.
const (
	StepAnchor       StepKind = "anchor_match"    // a key of the zone Name is named by a trust anchor
	StepDSMatch      StepKind = "ds_match"        // a key of the zone Name has the digest that its parent published
	StepVerify       StepKind = "verify"          // the key with this tag signed the RRset Name, Type
	StepInsecureCut  StepKind = "insecure_cut"    // the chain of signatures ends at the delegation of Name
	StepNSECNoData   StepKind = "nsec_nodata"     // Name exists without the type
	StepNSECEmpty    StepKind = "nsec_ent"        // Name is an empty non-terminal
	StepNSECNoName   StepKind = "nsec_cover"      // Name does not exist
	StepNSECWildcard StepKind = "nsec_wc"         // the wildcard Name does not exist, or has no such type
	StepNSEC3NoData  StepKind = "nsec3_nodata"    // Name exists without the type
	StepNSEC3Closest StepKind = "nsec3_ce"        // Name is the closest encloser
	StepNSEC3Next    StepKind = "nsec3_nc"        // Name, the next closer name, does not exist
	StepNSEC3OptOut  StepKind = "nsec3_nc_optout" // Name, the next closer name, is not signed, if it exists
	StepNSEC3Wild    StepKind = "nsec3_wc"        // the wildcard Name does not exist, or has no such type
)

// Step is one thing that held.
type Step struct {
	Kind StepKind `json:"step"`
	Name string   `json:"name"`
	Type string   `json:"type,omitempty"`
	By   string   `json:"by,omitempty"`
	// Tag and Algorithm are a key's; Digest is the type of a DS record's digest.
	Tag       uint16 `json:"tag,omitempty"`
	Algorithm uint8  `json:"algorithm,omitempty"`
	Digest    uint8  `json:"digest,omitempty"`
}

// Proof is what a verdict rests on: a stage and those before it. It is immutable, so that what is remembered is shared.
type Proof struct {
	before *Proof
	stage  Found
	keys   *Keys // of a keys stage, where they were established
	sets   []*RRset
	packed func() (octets []byte, sum string)
}

// Keys gives the keys of a zone that the proof establishes, or nil.
func (p *Proof) Keys(zone string) *Keys {
	for ; p != nil; p = p.before {
		if p.keys != nil && p.keys.Zone == zone {
			return p.keys
		}
	}
	return nil
}

// Takes is about how much memory the records of a proof's last stage take, in octets. Where nothing is proven it is 0.
func (p *Proof) Takes() int {
	if p == nil {
		return 0
	}
	octets := 0
	for _, s := range p.sets {
		for _, rr := range s.RRs {
			octets += taken(rr)
		}
		for _, rr := range s.Sigs {
			octets += taken(rr)
		}
	}
	return octets
}

// taken counts a record as it was read, as it is packed, and its name beside.
func taken(rr dns.RR) int { return 128 + 3*dns.Len(rr) }

func (v *Verifier) proof(before *Proof, s Found, sets []*RRset, verdict Verdict) *Proof {
	s.At, s.Status, s.Code = v.now.UTC().Truncate(time.Second), verdict.Status, verdict.Reason.Code
	p := &Proof{before: before, stage: s}
	if s.Kind != StageAnswer {
		p.sets = sets
		p.packed = sync.OnceValues(func() ([]byte, string) {
			octets := packSets(sets)
			sum := sha256.Sum256(octets)
			return octets, hex.EncodeToString(sum[:])
		})
	}
	return p
}

// Stages gives a proof in the form that is kept, the first stage first, and puts the records that it rests on into sets. What
// was remembered from before started was used at started, and is given that time: it must still have held then.
func (p *Proof) Stages(started time.Time, sets Sets) []Stage {
	n := 0
	for q := p; q != nil; q = q.before {
		n++
	}
	if n == 0 {
		return nil
	}
	stages := make([]Stage, n)
	started = started.UTC().Truncate(time.Second)
	for ; p != nil; p = p.before {
		s := p.stage.Stage
		if p.packed != nil {
			octets, sum := p.packed()
			sets[sum], s.Records = octets, sum
		}
		if s.At.Before(started) {
			s.At = started
		}
		n--
		stages[n] = s
	}
	return stages
}

// Sets are resource records by the SHA-256 of their octets, in hexadecimal. Their form is that of RFC 1035 section 4.1.3
// without compression, one record after the other, in canonical form (RFC 4034 section 6): RRsets one after the other, the
// records of each in canonical order with the TTL that was signed, and then its RRSIG records in the same order. What servers say in another
// order, or another case, therefore has the same digest.
type Sets map[string][]byte

// Check tells whether each digest is that of its octets.
func (s Sets) Check() error {
	var text [2 * sha256.Size]byte
	for sum, octets := range s {
		got := sha256.Sum256(octets)
		if hex.Encode(text[:], got[:]); string(text[:]) != sum {
			return fmt.Errorf("dnssec: the records with the digest %s have another one", sum)
		}
	}
	return nil
}

// Records reads records in the form of Sets.
func Records(octets []byte) ([]dns.RR, error) {
	var rrs []dns.RR
	for off := 0; off < len(octets); {
		rr, end, err := dns.UnpackRR(octets, off)
		if err != nil || end <= off {
			return nil, fmt.Errorf("dnssec: no record at octet %d: %w", off, err)
		}
		rrs, off = append(rrs, rr), end
	}
	return rrs, nil
}

// ordered gives RRsets in the order of Sets. What is judged from records that are kept is judged in this order in the first
// place, so that a proof that has a limit, or two signatures that hold, comes to the same when it is worked out again.
func ordered(sets []*RRset) []*RRset {
	out := make([]*RRset, len(sets))
	for i, s := range sets {
		c := *s
		c.RRs, c.Sigs = canonicalOrder(s.RRs), canonicalOrder(s.Sigs)
		out[i] = &c
	}
	slices.SortStableFunc(out, func(a, b *RRset) int {
		if c := compareNames(a.Name, b.Name); c != 0 {
			return c
		}
		return int(a.Type) - int(b.Type)
	})
	return out
}

func canonicalOrder[R dns.RR](rrs []R) []R {
	if len(rrs) < 2 {
		return rrs
	}
	type keyed struct {
		rr    R
		rdata []byte
	}
	list := make([]keyed, len(rrs))
	for i, rr := range rrs {
		rdata, _ := canonicalRdata(rr) // one without a canonical form sorts first, and its RRset is never verified
		list[i] = keyed{rr, rdata}
	}
	slices.SortStableFunc(list, func(a, b keyed) int { return bytes.Compare(a.rdata, b.rdata) })
	out := make([]R, len(list))
	for i, k := range list {
		out[i] = k.rr
	}
	return out
}

func packSets(sets []*RRset) []byte {
	var out []byte
	for _, s := range sets {
		ttl := s.TTL()
		for i, sig := range s.Sigs {
			if i == 0 || sig.OrigTtl < ttl {
				ttl = sig.OrigTtl
			}
		}
		var owner [256]byte
		n, err := dns.PackDomainName(s.Name, owner[:], 0, nil, false)
		if err != nil {
			continue // cannot be: the name was read from the wire
		}
		put := func(rr dns.RR) {
			rdata, ok := canonicalRdata(rr)
			if !ok {
				return
			}
			out = append(out, owner[:n]...)
			out = binary.BigEndian.AppendUint16(out, rr.Header().Rrtype)
			out = binary.BigEndian.AppendUint16(out, dns.ClassINET)
			out = binary.BigEndian.AppendUint32(out, ttl)
			out = binary.BigEndian.AppendUint16(out, uint16(len(rdata)))
			out = append(out, rdata...)
		}
		for _, rr := range s.RRs {
			put(rr)
		}
		for _, sig := range s.Sigs {
			put(sig)
		}
	}
	return out
}
