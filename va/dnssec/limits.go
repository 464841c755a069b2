package dnssec

import (
	"fmt"
	"time"
)

// Limits bound the work that one answer may cause. Reaching one is a failure, never "insecure": a local limit is local
// policy, and the BRs let no local policy disable validation (DCV-09). A field left zero takes the default, which is also
// the maximum.
type Limits struct {
	// SignaturesPerRRset is how many RRSIG checks one RRset may cost: 8 (KeyTrap, CVE-2023-50387).
	SignaturesPerRRset int
	// Signatures is how many RRSIG checks one query may cost in all: 64.
	Signatures int
	// DSMismatches is how many DS records may name a key by tag and algorithm and not match its digest: 4.
	DSMismatches int
	// KeysPerTag is how many keys of one zone may share tag and algorithm: 4.
	KeysPerTag int
	// NSEC3Hashes is how many names one proof may hash: 8 (CVE-2023-50868).
	NSEC3Hashes int
	// NSEC3Iterations is the largest iteration count of a proof: 100 (RFC 9276 section 3.2).
	NSEC3Iterations int
	// Slack is how far the clock may be off when signature times are compared: 0 by default, at most 5 minutes.
	Slack time.Duration
}

// DefaultLimits are those of docs/design.md's DNSSEC list.
func DefaultLimits() Limits {
	return Limits{SignaturesPerRRset: 8, Signatures: 64, DSMismatches: 4, KeysPerTag: 4, NSEC3Hashes: 8, NSEC3Iterations: 100}
}

// MaxSlack is the largest clock slack.
const MaxSlack = 5 * time.Minute

// NamedLimit is one limit with its name as records give it.
type NamedLimit struct {
	Name  string
	Value *int
}

// Named gives the limits, to be read or set.
func (l *Limits) Named() []NamedLimit {
	return []NamedLimit{{"signatures_per_rrset", &l.SignaturesPerRRset}, {"signatures", &l.Signatures},
		{"ds_mismatches", &l.DSMismatches}, {"keys_per_tag", &l.KeysPerTag}, {"nsec3_hashes", &l.NSEC3Hashes},
		{"nsec3_iterations", &l.NSEC3Iterations}}
}

// Complete fills zero fields with the defaults and refuses negative values and values above the maximum.
func (l Limits) Complete() (Limits, error) {
	most := DefaultLimits()
	defaults := most.Named()
	for i, f := range l.Named() {
		if *f.Value == 0 {
			*f.Value = *defaults[i].Value
		}
		if *f.Value < 0 || *f.Value > *defaults[i].Value {
			return l, fmt.Errorf("dnssec: the limit %s is %d, and must be from 1 to %d", f.Name, *f.Value, *defaults[i].Value)
		}
	}
	if l.Slack < 0 || l.Slack > MaxSlack {
		return l, fmt.Errorf("dnssec: the clock slack is %s, and must be from 0 to %s", l.Slack, MaxSlack)
	}
	return l, nil
}
