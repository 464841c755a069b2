package dnssec

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"math"
	"strings"
	"time"

	"github.com/miekg/dns"
)

func unbase64(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	return b, err == nil
}

// Delegation is what is known of a child zone's keys: the parent's DS set, or the anchors that stand in its place, or the
// proof that the chain of signatures ends.
type Delegation struct {
	Zone string
	// Verdict is Secure where a chain must continue below, and Insecure, with the reason, where it ends.
	Verdict Verdict
	// TTL is how long the parent's word may be remembered, in seconds: no longer than the signatures over it and over the keys that
	// made them hold.
	TTL  uint32
	ds   []*dns.DS
	keys []*dns.DNSKEY // from anchors in DNSKEY form
	tags []uint16
	// from has, for records that stand for anchors, when they begin to hold.
	from map[dns.RR]time.Time
}

// FromAnchors gathers the anchors of a zone, nil when there is none.
func FromAnchors(anchors []Anchor, zone string) *Delegation {
	d := &Delegation{Zone: zone, from: map[dns.RR]time.Time{}}
	var ds, keys []uint16
	for _, a := range anchors {
		if a.zone != zone {
			continue
		}
		if a.ds != nil {
			d.ds, d.from[a.ds] = append(d.ds, a.ds), a.from
			ds = append(ds, a.ds.KeyTag)
		} else if a.key != nil {
			d.keys, d.from[a.key] = append(d.keys, a.key), a.from
			keys = append(keys, a.key.KeyTag())
		}
	}
	if len(d.ds)+len(d.keys) == 0 {
		return nil
	}
	d.Verdict, d.tags = secure(), append(ds, keys...)
	return d
}

// FromDS takes a DS set that was found secure.
func FromDS(set *RRset) *Delegation {
	d := &Delegation{Zone: set.Name}
	for _, rr := range set.RRs {
		if ds, ok := rr.(*dns.DS); ok {
			d.ds, d.tags = append(d.ds, ds), append(d.tags, ds.KeyTag)
		}
	}
	return d
}

// Tags are the key tags of the DS records, then those of anchors in DNSKEY form. They are shared, and to be read.
func (d *Delegation) Tags() []uint16 { return d.tags }

// usable gives the DS records that count: of a supported algorithm and digest, and no SHA-1 one where a SHA-2 one that
// counts stands beside it (RFC 4509 section 3, DCV-07).
func (v *Verifier) usable(d *Delegation) []*dns.DS {
	var sha2, sha1 []*dns.DS
	for _, ds := range d.ds {
		switch {
		case v.algorithms[ds.Algorithm] == nil || digestLength(ds.DigestType) == 0 || v.before(d.from[ds]):
		case ds.DigestType == dns.SHA1:
			sha1 = append(sha1, ds)
		default:
			sha2 = append(sha2, ds)
		}
	}
	if len(sha2) > 0 {
		return sha2
	}
	return sha1
}

// before tells whether an anchor begins to hold only later.
func (v *Verifier) before(from time.Time) bool {
	if v.now.Before(from) {
		v.span.refused()
		return true
	}
	v.span.anchor(from)
	return false
}

// Delegation judges what the zone of keys says of name, which lies below it, by the records of an answer or authority section:
// a DS set, or the proof that there is none (RFC 4035 section 5.2). The delegation is nil where none stands at the name: the
// existence then says why, and where the verdict is not usable that is not known either.
func (v *Verifier) Delegation(section []*RRset, keys *Keys, name string) (*Delegation, Existence, Verdict) {
	used := bearing(section, name)
	d, what, steps, verdict := v.delegation(used, keys, name)
	stage := Found{Stage: Stage{Kind: StageDelegation, Zone: keys.Zone, Name: name}, About: name, Steps: steps}
	if d == nil {
		verdict.Proof = v.proof(keys.Proof, stage, used, verdict)
		return nil, what, verdict
	}
	if d.Verdict.Status == Insecure {
		stage.Steps = append(stage.Steps, Step{Kind: StepInsecureCut, Name: name})
	}
	d.Verdict.Proof = v.proof(keys.Proof, stage, used, d.Verdict)
	d.TTL = min(d.TTL, v.left(keys.Until))
	return d, what, d.Verdict
}

// left is how long it is until a time, in seconds; 0 where it has passed.
func (v *Verifier) left(until time.Time) uint32 {
	return uint32(min(max(until.Sub(v.now)/time.Second, 0), math.MaxUint32))
}

// bearing gives the RRsets that speak of a delegation at a name: its DS set, or else the proofs, and the alias there, if any.
func bearing(section []*RRset, name string) []*RRset {
	if set := Find(section, name, dns.TypeDS); set != nil {
		return ordered([]*RRset{set})
	}
	var sets []*RRset
	if alias := aliasAt(section, name); alias != nil {
		sets = append(sets, alias)
	}
	for _, set := range section {
		if set.Type == dns.TypeNSEC || set.Type == dns.TypeNSEC3 {
			sets = append(sets, set)
		}
	}
	return ordered(sets)
}

// aliasAt finds a DNAME above a name, of which the server makes an alias for it that nobody signs, or else an alias at the name.
func aliasAt(section []*RRset, name string) *RRset {
	for _, set := range section {
		if set.Type == dns.TypeDNAME && len(set.RRs) > 0 && Below(name, set.Name) {
			return set
		}
	}
	return Find(section, name, dns.TypeCNAME)
}

func (v *Verifier) delegation(used []*RRset, keys *Keys, name string) (*Delegation, Existence, []Step, Verdict) {
	if !Below(name, keys.Zone) {
		return nil, 0, nil, bogus(CodeDenialInvalid, EDEBogus, "%s does not lie below the zone %s", name, keys.Zone)
	}
	if set := Find(used, name, dns.TypeDS); set != nil {
		sig := v.RRset(set, keys)
		if sig.Status == Secure && sig.Expanded {
			sig.Verdict = bogus(CodeSignatureInvalid, EDEBogus, "the DS record at %s was expanded from a wildcard", name)
		}
		if sig.Status != Secure {
			return nil, 0, nil, sig.Verdict
		}
		d := FromDS(set)
		d.Verdict, d.TTL = v.Delegated(d), min(set.TTL(), sig.TTL)
		return d, 0, []Step{sig.Step}, d.Verdict
	}
	if set := aliasAt(used, name); set != nil { // where an alias stands, or a DNAME above, no delegation does
		sig := v.RRset(set, keys)
		steps := []Step{sig.Step}
		if sig.Status == Secure && sig.Expanded {
			denial := v.Denial(used, keys)
			sig.Verdict = denial.Expansion(set.Name, set.Type, sig.Labels)
			steps = append(steps, denial.steps...)
		}
		switch {
		case !sig.Status.Usable():
			return nil, 0, nil, sig.Verdict
		case set.Type == dns.TypeDNAME:
			return nil, NoName, steps, sig.Verdict
		}
		return nil, NoCut, steps, sig.Verdict
	}
	denial := v.Denial(used, keys)
	what, verdict := denial.NoDS(name)
	if what == NoDSCut || what == NoDSOptOut {
		return &Delegation{Zone: name, Verdict: verdict, TTL: denial.TTL()}, what, denial.steps, verdict
	}
	return nil, what, denial.steps, verdict
}

// Delegated tells whether a chain continues below the delegation. It is insecure when no DS record is of a supported
// algorithm and digest (RFC 4035 section 5.2, RFC 6840 section 5.2); otherwise the child must be signed.
func (v *Verifier) Delegated(d *Delegation) Verdict {
	if len(v.usable(d)) > 0 || len(d.keys) > 0 {
		return secure()
	}
	return insecure(CodeUnsupportedAlgorithm, EDEUnsupportedAlgorithm,
		"all DS records of %s name algorithms or digests that are not supported", d.Zone)
}

// Keys validates a DNSKEY set against the delegation: a key that a DS record or anchor names must sign the set (RFC 4035
// section 5.2). The first path that holds is enough (RFC 6840 section 5.11).
func (v *Verifier) Keys(set *RRset, d *Delegation) (*Keys, Verdict) {
	var used []*RRset
	if set != nil {
		used = ordered([]*RRset{set})
		set = used[0]
	}
	keys, steps, verdict := v.zoneKeys(set, d)
	proof := v.proof(d.Verdict.Proof, Found{Stage: Stage{Kind: StageKeys, Zone: d.Zone}, About: d.Zone, Steps: steps}, used, verdict)
	verdict.Proof = proof
	if keys != nil {
		keys.Proof, proof.keys = proof, keys
	}
	return keys, verdict
}

func (v *Verifier) zoneKeys(set *RRset, d *Delegation) (*Keys, []Step, Verdict) {
	if set == nil || len(set.RRs) == 0 {
		return nil, nil, bogus(CodeKeyMissing, EDEDNSKEYMissing, "%s has a DS record, and no DNSKEY record came", d.Zone)
	}
	all := &Keys{Zone: d.Zone}
	perTag := map[[2]uint16]int{}
	for _, rr := range set.RRs {
		k, ok := rr.(*dns.DNSKEY)
		if !ok || k.Protocol != 3 || k.Flags&dns.REVOKE != 0 || k.Flags&dns.ZONE == 0 { // RFC 4034 2.1, RFC 5011 2.1
			continue
		}
		kk := v.algorithms.key(k)
		id := [2]uint16{kk.tag, uint16(k.Algorithm)}
		if perTag[id]++; perTag[id] > v.limits.KeysPerTag {
			return nil, nil, failure(CodeLimit, 0, "%s has more than %d keys with tag %d", d.Zone, v.limits.KeysPerTag, kk.tag)
		}
		all.keys = append(all.keys, kk)
		all.Tags = append(all.Tags, kk.tag)
	}
	if len(all.keys) == 0 {
		return nil, nil, bogus(CodeKeyMissing, EDENoZoneKeyBit, "no DNSKEY record of %s is a zone key", d.Zone)
	}
	entry, matches, verdict := v.entries(all, d)
	if verdict.Status != Secure {
		return nil, nil, verdict
	}
	sig := v.RRset(set, entry)
	if sig.Status != Secure {
		return nil, matches, sig.Verdict
	}
	if sig.Expanded || set.Name != d.Zone {
		return nil, nil, bogus(CodeSignatureInvalid, EDEBogus, "the DNSKEY set of %s is not the zone's own", d.Zone)
	}
	all.Algorithm, all.Until, all.TTL = sig.Algorithm, sig.Until, sig.TTL
	return all, append(matches, sig.Step), secure()
}

// Strangers gives the secure entry points (RFC 4034 section 2.1.1) of a DNSKEY set that d does not name: keys that would
// take over from those named when the zone rolls. It proves nothing; it is for sets that Keys has validated against d.
func (d *Delegation) Strangers(set *RRset) []*dns.DNSKEY {
	var strangers []*dns.DNSKEY
	for _, rr := range set.RRs {
		k, ok := rr.(*dns.DNSKEY)
		if ok && k.Protocol == 3 && k.Flags&(dns.ZONE|dns.SEP|dns.REVOKE) == dns.ZONE|dns.SEP && !d.names(k) {
			strangers = append(strangers, k)
		}
	}
	return strangers
}

func (d *Delegation) names(k *dns.DNSKEY) bool {
	for _, a := range d.keys {
		if a.Algorithm == k.Algorithm && a.PublicKey == k.PublicKey {
			return true
		}
	}
	for _, ds := range d.ds {
		if ds.Algorithm == k.Algorithm && ds.KeyTag == k.KeyTag() &&
			strings.EqualFold(digest(d.Zone, k, ds.DigestType), ds.Digest) {
			return true
		}
	}
	return false
}

// entries picks the keys that the delegation names, and tells what names them.
func (v *Verifier) entries(all *Keys, d *Delegation) (*Keys, []Step, Verdict) {
	entry := &Keys{Zone: d.Zone}
	mismatches := 0
	unusable := false
	var matches []Step
	usable := v.usable(d)
	for _, k := range all.keys {
		var match *Step
		for _, a := range d.keys {
			if a.Algorithm == k.rr.Algorithm && a.PublicKey == k.rr.PublicKey && !v.before(d.from[a]) {
				match = &Step{Kind: StepAnchor, Name: d.Zone, Tag: k.tag, Algorithm: a.Algorithm}
			}
		}
		for _, ds := range usable {
			if match != nil || ds.KeyTag != k.tag || ds.Algorithm != k.rr.Algorithm {
				continue
			}
			if digest(d.Zone, k.rr, ds.DigestType) == strings.ToLower(ds.Digest) {
				match = &Step{Kind: StepDSMatch, Name: d.Zone, Tag: k.tag, Algorithm: ds.Algorithm, Digest: ds.DigestType}
				if d.Verdict.Proof == nil {
					match.Kind = StepAnchor
				}
			} else if mismatches++; mismatches > v.limits.DSMismatches {
				return nil, nil, failure(CodeLimit, 0, "more than %d DS records of %s match no key", v.limits.DSMismatches, d.Zone)
			}
		}
		if match != nil && k.verify() == nil {
			unusable = true
		} else if match != nil {
			entry.keys = append(entry.keys, k)
			matches = append(matches, *match)
		}
	}
	if len(entry.keys) > 0 {
		return entry, matches, secure()
	}
	if unusable {
		return nil, nil, bogus(CodeKeyUnusable, EDEBogus, "the key of %s that its DS record names cannot be used: it is "+
			"malformed, or of a size that is not safe", d.Zone)
	}
	return nil, nil, bogus(CodeDSMismatch, EDEDNSKEYMissing, "no key of %s matches a DS record of its parent", d.Zone)
}

// digest is a DS digest (RFC 4034 section 5.1.4) in lower-case hexadecimal, empty for an unknown type.
func digest(owner string, k *dns.DNSKEY, digestType uint8) string {
	var name [256]byte
	n, err := dns.PackDomainName(owner, name[:], 0, nil, false)
	rdata, ok := canonicalRdata(k)
	if err != nil || !ok {
		return ""
	}
	data := append(name[:n:n], rdata...)
	switch digestType {
	case dns.SHA1:
		h := sha1.Sum(data)
		return hex.EncodeToString(h[:])
	case dns.SHA256:
		h := sha256.Sum256(data)
		return hex.EncodeToString(h[:])
	case dns.SHA384:
		h := sha512.Sum384(data)
		return hex.EncodeToString(h[:])
	}
	return ""
}
