package dnssec

import (
	"github.com/miekg/dns"
)

// Denial is the NSEC and NSEC3 records of one answer that the zone's keys vouch for. Records that do not verify, that were
// expanded from a wildcard (CVE-2017-15105) or that use an unknown hash or unknown flags prove nothing and are left out.
type Denial struct {
	v      *Verifier
	zone   string
	nsec   []*dns.NSEC
	nsec3  []nsec3
	params params
	known  map[string]string // hashes computed so far, by name
	// fault is why records were left out; limited is a verdict that ends every proof.
	fault   Verdict
	limited Verdict
	ttl     uint32
	steps   []Step // what verified, then what it proves
}

// Existence is what a proof of non-existence says.
type Existence uint8

const (
	// NoData: the name exists, the type does not.
	NoData Existence = iota + 1
	// NoName: the name does not exist, and no wildcard stands for it.
	NoName
	// NoDSCut: a delegation without DS stands at the name (RFC 4035 section 5.2).
	NoDSCut
	// NoCut: there is no delegation at the name: it is data of the zone, an empty non-terminal or an alias.
	NoCut
	// NoDSOptOut: an opt-out span (RFC 5155 section 6) may hide an unsigned delegation here.
	NoDSOptOut
)

// Denial verifies what an authority section holds for proofs.
func (v *Verifier) Denial(authority []*RRset, keys *Keys) *Denial {
	d := &Denial{v: v, zone: keys.Zone, ttl: ^uint32(0)}
	for _, set := range authority {
		if (set.Type != dns.TypeNSEC && set.Type != dns.TypeNSEC3) || len(set.RRs) == 0 {
			continue
		}
		if set.Type == dns.TypeNSEC3 && !d.plausible3(set) {
			continue
		}
		sig := v.RRset(set, keys)
		if sig.Status == Failure {
			d.limited = sig.Verdict
			return d
		}
		if sig.Status != Secure {
			d.fault = sig.Verdict
			continue
		}
		if sig.Expanded {
			d.fault = bogus(CodeDenialInvalid, EDEBogus, "the NSEC record at %s was expanded from a wildcard", set.Name)
			continue
		}
		d.ttl = min(d.ttl, sig.TTL, set.TTL())
		d.steps = append(d.steps, sig.Step)
		for _, rr := range set.RRs {
			switch rr := rr.(type) {
			case *dns.NSEC:
				if next := lower(rr.NextDomain); within(next, d.zone) {
					c := *rr
					c.Hdr.Name, c.NextDomain = set.Name, next
					d.nsec = append(d.nsec, &c)
				}
			case *dns.NSEC3:
				d.add3(rr, set.Name)
			}
		}
	}
	return d
}

func (d *Denial) note(kind StepKind, name, by string) {
	d.steps = append(d.steps, Step{Kind: kind, Name: name, By: by})
}

// TTL bounds how long what the proof says may be remembered.
func (d *Denial) TTL() uint32 { return d.ttl }

func bit(types []uint16, t uint16) bool {
	for _, b := range types {
		if b == t {
			return true
		}
	}
	return false
}

// parentSide tells that a type bitmap is that of a delegation, seen from the parent (RFC 6840 section 4.1).
func parentSide(types []uint16) bool { return bit(types, dns.TypeNS) && !bit(types, dns.TypeSOA) }

// noType tells whether a bitmap at a name proves that the name has no records of the type (RFC 4035 section 5.4, RFC 6840
// sections 4.1, 4.3 and 4.4). Parent-side bitmaps speak only of DS, and the child's apex does not speak of DS. DCV-08, C9.
func (d *Denial) noType(name string, types []uint16, qtype uint16) bool {
	if bit(types, qtype) || bit(types, dns.TypeCNAME) {
		return false
	}
	if qtype == dns.TypeDS {
		return name == "." || !bit(types, dns.TypeSOA)
	}
	return !parentSide(types)
}

// covers tells whether an NSEC record proves that name does not exist, apart from wildcards: it lies between owner and
// next, and neither a delegation nor a DNAME at the owner takes the name out of the record's reach.
func (d *Denial) covers(n *dns.NSEC, name string) bool {
	if !within(name, d.zone) || compareNames(n.Hdr.Name, name) >= 0 {
		return false
	}
	if Below(name, n.Hdr.Name) && (parentSide(n.TypeBitMap) || bit(n.TypeBitMap, dns.TypeDNAME)) {
		return false
	}
	if n.NextDomain == d.zone { // the last record of the zone
		return true
	}
	return compareNames(name, n.NextDomain) < 0
}

func (d *Denial) match(name string) *dns.NSEC {
	for _, n := range d.nsec {
		if n.Hdr.Name == name {
			return n
		}
	}
	return nil
}

func (d *Denial) cover(name string) *dns.NSEC {
	for _, n := range d.nsec {
		if d.covers(n, name) {
			return n
		}
	}
	return nil
}

// encloser is the closest encloser that a covering NSEC record implies: the longest name that name shares with either end.
func encloser(n *dns.NSEC, name string) string {
	a, b := commonAncestor(name, n.Hdr.Name), commonAncestor(name, n.NextDomain)
	if dns.CountLabel(a) >= dns.CountLabel(b) {
		return a
	}
	return b
}

func asterisk(encloser string) string {
	if encloser == "." {
		return "*."
	}
	return "*." + encloser
}

func (d *Denial) missing(name string, qtype uint16) Verdict {
	switch {
	case d.limited.Status != 0:
		return d.limited
	case d.fault.Status != 0:
		return bogus(d.fault.Reason.Code, d.fault.Reason.EDE, "nothing proves that %s has no %s record: %s", name,
			typeName(qtype), d.fault.Reason.Text)
	case len(d.nsec)+len(d.nsec3) == 0:
		return bogus(CodeDenialMissing, EDENSECMissing, "no signed NSEC or NSEC3 record of %s came to prove that %s has no %s "+
			"record", d.zone, name, typeName(qtype))
	}
	return bogus(CodeDenialInvalid, EDENSECMissing, "the NSEC or NSEC3 records of %s that came do not prove that %s has no "+
		"%s record", d.zone, name, typeName(qtype))
}

// Negative judges an answer without records of the type: nxdomain tells whether the response code said so. The response code is
// not signed: a response counts for what it proves, that the type is missing or that the name is.
func (d *Denial) Negative(name string, qtype uint16, nxdomain bool) (Existence, Verdict) {
	if d.limited.Status != 0 {
		return 0, d.limited
	}
	if !within(name, d.zone) {
		return 0, d.missing(name, qtype)
	}
	if d.noDataNSEC(name, qtype) {
		return NoData, secure()
	}
	if d.noNameNSEC(name) {
		return NoName, secure()
	}
	if len(d.nsec3) > 0 {
		return d.negative3(name, qtype, nxdomain)
	}
	return 0, d.missing(name, qtype)
}

func (d *Denial) noDataNSEC(name string, qtype uint16) bool {
	if n := d.match(name); n != nil {
		if !d.noType(name, n.TypeBitMap, qtype) {
			return false
		}
		d.note(StepNSECNoData, name, n.Hdr.Name)
		return true
	}
	n := d.cover(name)
	if n == nil {
		return false
	}
	if Below(n.NextDomain, name) { // an empty non-terminal: something exists below it
		d.note(StepNSECEmpty, name, n.Hdr.Name)
		return true
	}
	// Wildcard no data (RFC 4035 section 3.1.3.4): the wildcard at the closest encloser exists without the type, or without
	// any, when it is an empty non-terminal itself (RFC 4592 section 2.2.2).
	wild := asterisk(encloser(n, name))
	w := d.match(wild)
	if w != nil && (!d.noType(wild, w.TypeBitMap, qtype) || parentSide(w.TypeBitMap)) {
		return false
	}
	if w == nil {
		if w = d.cover(wild); w == nil || !Below(w.NextDomain, wild) {
			return false
		}
	}
	d.note(StepNSECNoName, name, n.Hdr.Name)
	d.note(StepNSECWildcard, wild, w.Hdr.Name)
	return true
}

func (d *Denial) noNameNSEC(name string) bool {
	n := d.cover(name)
	if n == nil || Below(n.NextDomain, name) {
		return false
	}
	wild := asterisk(encloser(n, name))
	w := d.cover(wild)
	if w == nil || Below(w.NextDomain, wild) {
		return false
	}
	d.note(StepNSECNoName, name, n.Hdr.Name)
	d.note(StepNSECWildcard, wild, w.Hdr.Name)
	return true
}

// Expansion judges an answer that was expanded from the wildcard whose encloser is the name's last labels labels: no closer
// name may exist (RFC 4035 section 5.3.4, RFC 5155 section 8.8).
func (d *Denial) Expansion(name string, qtype uint16, labels int) Verdict {
	if d.limited.Status != 0 {
		return d.limited
	}
	for _, n := range d.nsec {
		if d.covers(n, name) && !Below(n.NextDomain, name) && encloser(n, name) == Ancestor(name, labels) {
			d.note(StepNSECNoName, name, n.Hdr.Name)
			return secure()
		}
	}
	if len(d.nsec3) > 0 {
		return d.expansion3(name, qtype, labels)
	}
	v := d.missing(name, qtype)
	if v.Status == Bogus {
		v.Reason.Text = "the answer for " + name + " was expanded from a wildcard, and nothing proves that no closer name exists"
	}
	return v
}

// NoDS judges a proof that a name has no DS record, seen from the parent zone: whether an insecure delegation stands there,
// or no delegation at all (RFC 4035 section 5.2, RFC 6840 section 4.4).
func (d *Denial) NoDS(name string) (Existence, Verdict) {
	if d.limited.Status != 0 {
		return 0, d.limited
	}
	if !Below(name, d.zone) {
		return 0, d.missing(name, dns.TypeDS)
	}
	if n := d.match(name); n != nil {
		return d.cutBits(name, n.TypeBitMap, StepNSECNoData, n.Hdr.Name)
	}
	if n := d.cover(name); n != nil {
		if Below(n.NextDomain, name) {
			d.note(StepNSECEmpty, name, n.Hdr.Name)
			return NoCut, secure()
		}
		d.note(StepNSECNoName, name, n.Hdr.Name)
		return NoName, secure()
	}
	if len(d.nsec3) > 0 {
		return d.noDS3(name)
	}
	return 0, d.missing(name, dns.TypeDS)
}

// cutBits reads the bitmap at a name for a delegation: insecure when NS is set and DS and SOA are clear.
func (d *Denial) cutBits(name string, types []uint16, kind StepKind, by string) (Existence, Verdict) {
	if bit(types, dns.TypeDS) || bit(types, dns.TypeSOA) {
		return 0, bogus(CodeDenialInvalid, EDEBogus, "the record at %s that should prove that there is no DS record is the "+
			"child's own, or shows one", name)
	}
	d.note(kind, name, by)
	if bit(types, dns.TypeNS) {
		return NoDSCut, insecure(CodeInsecureDelegation, 0, "%s proves that the delegation of %s has no DS record", d.zone, name)
	}
	return NoCut, secure()
}
