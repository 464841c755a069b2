package dnssec

import (
	"crypto/sha1"
	"encoding/base32"
	"encoding/hex"
	"strings"

	"github.com/miekg/dns"
)

// nsec3 is one NSEC3 record that the zone's keys vouch for, with its hashes as octets in a string.
type nsec3 struct {
	name        string // the record's owner
	owner, next string
	optOut      bool
	types       []uint16
}

const optOutFlag = 1 // RFC 5155 section 3.1.2.1

// params are those of the first NSEC3 record that counts; all records of a proof must agree (RFC 5155 section 8.2).
type params struct {
	iterations uint16
	salt       string
}

var base32hex = base32.HexEncoding.WithPadding(base32.NoPadding)

// plausible3 drops sets that could not count anyway, before a signature is checked: an unknown hash algorithm or flags
// (RFC 5155 sections 8.1 and 8.2), an owner that is no hash directly below the zone.
func (d *Denial) plausible3(set *RRset) bool {
	for _, rr := range set.RRs {
		r, ok := rr.(*dns.NSEC3)
		if !ok || r.Hash != dns.SHA1 || r.Flags&^optOutFlag != 0 {
			d.fault = bogus(CodeDenialInvalid, EDEBogus, "the NSEC3 record at %s uses an unknown hash algorithm or flags", set.Name)
			return false
		}
	}
	_, ok := d.hashOf(set.Name)
	return ok
}

func (d *Denial) hashOf(owner string) (string, bool) {
	if !Below(owner, d.zone) || dns.CountLabel(owner) != dns.CountLabel(d.zone)+1 {
		return "", false
	}
	label, _, _ := strings.Cut(owner, ".")
	h, err := base32hex.DecodeString(strings.ToUpper(label))
	return string(h), err == nil && len(h) == sha1.Size
}

// add3 takes one verified record. Too many iterations end every proof of the answer (RFC 9276 section 3.2), and so do mixed
// parameters. DCV-06.
func (d *Denial) add3(r *dns.NSEC3, owner string) {
	if d.limited.Status != 0 {
		return
	}
	if int(r.Iterations) > d.v.limits.NSEC3Iterations {
		d.limited = failure(CodeIterations, EDEUnsupportedIterations, "NSEC3 of %s uses %d iterations, and at most %d are done",
			d.zone, r.Iterations, d.v.limits.NSEC3Iterations)
		return
	}
	h, ok := d.hashOf(owner)
	next, err := base32hex.DecodeString(strings.ToUpper(r.NextDomain))
	if !ok || err != nil || len(next) != sha1.Size {
		return
	}
	p := params{r.Iterations, strings.ToLower(r.Salt)}
	if len(d.nsec3) > 0 && d.params != p {
		d.limited = bogus(CodeDenialInvalid, EDEBogus, "the NSEC3 records of %s differ in salt or iterations", d.zone)
		return
	}
	d.params = p
	d.nsec3 = append(d.nsec3, nsec3{name: owner, owner: h, next: string(next), optOut: r.Flags&optOutFlag != 0, types: r.TypeBitMap})
}

// hash is RFC 5155 section 5. An empty string means that the budget of hashes is spent; limited then says so.
func (d *Denial) hash(name string) string {
	if h, ok := d.known[name]; ok {
		return h
	}
	if len(d.known) >= d.v.limits.NSEC3Hashes {
		d.limited = failure(CodeLimit, EDEUnsupportedIterations, "a proof of %s needs more than %d NSEC3 hashes", d.zone,
			d.v.limits.NSEC3Hashes)
		return ""
	}
	var buf [256]byte
	n, err := dns.PackDomainName(name, buf[:], 0, nil, false)
	salt, errSalt := hex.DecodeString(d.params.salt)
	if err != nil || errSalt != nil {
		d.limited = bogus(CodeDenialInvalid, EDEBogus, "the NSEC3 records of %s cannot be read", d.zone)
		return ""
	}
	sum := sha1.Sum(append(buf[:n:n], salt...))
	for range d.params.iterations {
		sum = sha1.Sum(append(sum[:], salt...))
	}
	if d.known == nil {
		d.known = map[string]string{}
	}
	d.known[name] = string(sum[:])
	return d.known[name]
}

func (d *Denial) match3(name string) *nsec3 {
	h := d.hash(name)
	for i := range d.nsec3 {
		if h != "" && d.nsec3[i].owner == h {
			return &d.nsec3[i]
		}
	}
	return nil
}

func (d *Denial) cover3(name string) *nsec3 {
	h := d.hash(name)
	if h == "" {
		return nil
	}
	for i := range d.nsec3 {
		r := &d.nsec3[i]
		switch {
		case r.owner < r.next && r.owner < h && h < r.next,
			r.owner >= r.next && r.owner != h && (h > r.owner || h < r.next): // the last record of the zone, or the only one
			return r
		}
	}
	return nil
}

// closestEncloser is the proof of RFC 5155 section 8.3 for a name that does not match: the longest ancestor that exists, and
// the record that covers the next closer name. A closest encloser that is a delegation or a DNAME is refused, because the
// name would then not be this zone's to deny.
func (d *Denial) closestEncloser(name string) (ce string, cover *nsec3) {
	top, bottom := dns.CountLabel(d.zone), dns.CountLabel(name)-1
	if bottom-top >= d.v.limits.NSEC3Hashes-2 {
		return d.closestFromAbove(name, top, bottom)
	}
	for n := bottom; n >= top; n-- {
		m := d.match3(Ancestor(name, n))
		if d.limited.Status != 0 {
			return "", nil
		}
		if m != nil {
			return d.enclosed(name, n, m, d.cover3(Ancestor(name, n+1)))
		}
	}
	return "", nil
}

// closestFromAbove is for a name so deep that to hash all its ancestors is too much: the first ancestor that is covered is the
// next closer name, since nothing exists below it, and its parent must match.
func (d *Denial) closestFromAbove(name string, top, bottom int) (ce string, cover *nsec3) {
	for n := top; n <= bottom; n++ {
		cover := d.cover3(Ancestor(name, n+1))
		if d.limited.Status != 0 {
			return "", nil
		}
		if cover == nil {
			continue
		}
		m := d.match3(Ancestor(name, n))
		if m == nil {
			return "", nil
		}
		return d.enclosed(name, n, m, cover)
	}
	return "", nil
}

// enclosed judges the last n labels of a name as its closest encloser, with the record that matches them and the one that covers
// the next closer name.
func (d *Denial) enclosed(name string, n int, m, cover *nsec3) (string, *nsec3) {
	if parentSide(m.types) || bit(m.types, dns.TypeDNAME) || cover == nil {
		return "", nil
	}
	d.note(StepNSEC3Closest, Ancestor(name, n), m.name)
	d.noteNext(Ancestor(name, n+1), cover)
	return Ancestor(name, n), cover
}

func (d *Denial) noteNext(next string, cover *nsec3) {
	kind := StepNSEC3Next
	if cover.optOut {
		kind = StepNSEC3OptOut
	}
	d.note(kind, next, cover.name)
}

func (d *Denial) optedOut(name string) Verdict {
	return insecure(CodeOptOut, 0, "%s lies in an opt-out span of %s, so that nothing about it is signed", name, d.zone)
}

func (d *Denial) negative3(name string, qtype uint16, nxdomain bool) (Existence, Verdict) {
	if m := d.match3(name); m != nil {
		if d.noType(name, m.types, qtype) {
			d.note(StepNSEC3NoData, name, m.name)
			return NoData, secure()
		}
		return 0, d.missing(name, qtype)
	}
	ce, cover := d.closestEncloser(name)
	if cover == nil {
		return 0, d.missing(name, qtype)
	}
	verdict := secure()
	if cover.optOut {
		verdict = d.optedOut(name)
	}
	wild := asterisk(ce)
	if w := d.match3(wild); w != nil {
		if d.noType(wild, w.types, qtype) && !parentSide(w.types) {
			d.note(StepNSEC3Wild, wild, w.name)
			return NoData, verdict
		}
		return 0, d.missing(name, qtype)
	}
	if d.limited.Status != 0 {
		return 0, d.limited
	}
	if !nxdomain && cover.optOut {
		// RFC 5155 sections 8.6 and 7.2.4: within an opt-out span an unsigned delegation, or an empty non-terminal above only
		// such ones, has no record of its own.
		return NoData, verdict
	}
	w := d.cover3(wild)
	if w == nil {
		return 0, d.missing(name, qtype)
	}
	d.note(StepNSEC3Wild, wild, w.name)
	if w.optOut {
		verdict = d.optedOut(name)
	}
	return NoName, verdict
}

func (d *Denial) expansion3(name string, qtype uint16, labels int) Verdict {
	if labels >= dns.CountLabel(name) || labels < dns.CountLabel(d.zone) {
		return d.missing(name, qtype)
	}
	next := Ancestor(name, labels+1)
	cover := d.cover3(next)
	if cover == nil {
		return d.missing(name, qtype)
	}
	d.noteNext(next, cover)
	if cover.optOut {
		return d.optedOut(name)
	}
	return secure()
}

func (d *Denial) noDS3(name string) (Existence, Verdict) {
	if m := d.match3(name); m != nil {
		return d.cutBits(name, m.types, StepNSEC3NoData, m.name)
	}
	_, cover := d.closestEncloser(name)
	if cover == nil {
		return 0, d.missing(name, dns.TypeDS)
	}
	if cover.optOut {
		return NoDSOptOut, d.optedOut(name)
	}
	return NoName, secure()
}
