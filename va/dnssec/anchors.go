package dnssec

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Anchor is one trust anchor: a DS or a DNSKEY record whose owner is the zone that it anchors, the root or any other.
type Anchor struct {
	zone string
	ds   *dns.DS
	key  *dns.DNSKEY
	from time.Time // the zero Time for always
}

// From is when the anchor begins to hold, the zero Time where it always does: an answer of before is not proven by it.
func (a Anchor) From() time.Time { return a.from }

// NewAnchor takes a DS or a DNSKEY record of class IN with the zone as its owner. A key without the zone flag, or a revoked
// one (RFC 5011), anchors nothing and is refused.
func NewAnchor(rr dns.RR) (Anchor, error) {
	if rr == nil {
		return Anchor{}, errors.New("dnssec: an anchor must be a DS or a DNSKEY record")
	}
	if rr.Header().Class != dns.ClassINET {
		return Anchor{}, fmt.Errorf("dnssec: an anchor must be of class IN, not %s", dns.Class(rr.Header().Class))
	}
	zone, err := Canonical(rr.Header().Name)
	if err != nil {
		return Anchor{}, err
	}
	switch rr := rr.(type) {
	case *dns.DS:
		if n := digestLength(rr.DigestType); n == 0 || len(rr.Digest) != 2*n {
			return Anchor{}, fmt.Errorf("dnssec: the digest of the anchor for %s, tag %d, is of an unknown type or of a "+
				"wrong length", zone, rr.KeyTag)
		}
		return Anchor{zone: zone, ds: rr}, nil
	case *dns.DNSKEY:
		if rr.Flags&dns.ZONE == 0 || rr.Flags&dns.REVOKE != 0 || rr.Protocol != 3 {
			return Anchor{}, fmt.Errorf("dnssec: the key of the anchor for %s, tag %d, is no zone key or is revoked", zone,
				rr.KeyTag())
		}
		return Anchor{zone: zone, key: rr}, nil
	}
	return Anchor{}, fmt.Errorf("dnssec: an anchor must be a DS or a DNSKEY record, not %s",
		dns.TypeToString[rr.Header().Rrtype])
}

// Zone is the zone that the anchor stands for: lower case, absolute.
func (a Anchor) Zone() string { return a.zone }

// Tag is the key tag of the anchor's key.
func (a Anchor) Tag() uint16 {
	if a.key != nil {
		return a.key.KeyTag()
	}
	if a.ds != nil {
		return a.ds.KeyTag
	}
	return 0
}

// Algorithm is the number of the algorithm of the anchor's key.
func (a Anchor) Algorithm() uint8 {
	if a.key != nil {
		return a.key.Algorithm
	}
	if a.ds != nil {
		return a.ds.Algorithm
	}
	return 0
}

// String gives the record in presentation format.
func (a Anchor) String() string {
	if a.key != nil {
		return a.key.String()
	}
	if a.ds != nil {
		return a.ds.String()
	}
	return ""
}

// ParseAnchors reads DS and DNSKEY records in zone-file presentation format (RFC 1035 section 5), comments allowed,
// $INCLUDE not. An input without any record is an error, and errors name the line.
func ParseAnchors(r io.Reader) ([]Anchor, error) {
	p := dns.NewZoneParser(r, ".", "")
	p.SetDefaultTTL(0)
	var anchors []Anchor
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		a, err := NewAnchor(rr)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(anchors)+1, err)
		}
		anchors = append(anchors, a)
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("dnssec: trust anchors: %w", err)
	}
	if len(anchors) == 0 {
		return nil, errors.New("dnssec: no trust anchor in the input: without one nothing can be validated")
	}
	return anchors, nil
}

// rootAnchors are published by IANA at https://data.iana.org/root-anchors/root-anchors.xml, KSK-2017 and KSK-2024, each with the
// time from which it is valid. Neither has an end there.
const rootAnchors = `
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
`

// RootAnchors are the IANA root's trust anchors that are built into this program, each from the time that it is valid.
func RootAnchors() []Anchor {
	anchors, err := ParseAnchors(strings.NewReader(rootAnchors))
	if err != nil {
		panic(err) // the constant above is malformed: no program may start with it
	}
	anchors[0].from = time.Date(2017, 2, 2, 0, 0, 0, 0, time.UTC)
	anchors[1].from = time.Date(2024, 7, 18, 0, 0, 0, 0, time.UTC)
	return anchors
}
