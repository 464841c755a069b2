package dnssec

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"
)

// RRset is the records of one owner, type and class, with the signatures that claim to cover them (RFC 4035 section 2.2).
type RRset struct {
	// Name is the canonical owner.
	Name  string
	Type  uint16
	RRs   []dns.RR
	Sigs  []*dns.RRSIG
	class uint16
}

// shortSection is how many RRsets of a section are looked through one by one.
const shortSection = 8

// Group sorts a section into RRsets, in the order of their first record. Each owner has its own: a copied signature never
// covers a neighbour. Records of another class than IN, and OPT, are dropped. Signatures without records make an RRset
// without RRs.
func Group(section []dns.RR) []*RRset {
	type id struct {
		name string
		typ  uint16
	}
	var index map[id]*RRset // for sections so long that looking through them costs more
	var sets []*RRset
	for _, rr := range section {
		h := rr.Header()
		if h.Class != dns.ClassINET || h.Rrtype == dns.TypeOPT {
			continue
		}
		k := id{lower(h.Name), h.Rrtype}
		sig, isSig := rr.(*dns.RRSIG)
		if isSig {
			k.typ = sig.TypeCovered
		}
		s := index[k]
		if index == nil {
			if i := slices.IndexFunc(sets, func(s *RRset) bool { return s.Type == k.typ && s.Name == k.name }); i >= 0 {
				s = sets[i]
			}
		}
		if s == nil {
			s = &RRset{Name: k.name, Type: k.typ, class: dns.ClassINET}
			sets = append(sets, s)
			switch {
			case index != nil:
				index[k] = s
			case len(sets) > shortSection:
				index = map[id]*RRset{}
				for _, s := range sets {
					index[id{s.Name, s.Type}] = s
				}
			}
		}
		if isSig {
			s.Sigs = append(s.Sigs, sig)
		} else {
			s.RRs = append(s.RRs, rr)
		}
	}
	return sets
}

// Find gives the RRset of an owner and type that has records, or nil.
func Find(sets []*RRset, name string, qtype uint16) *RRset {
	for _, s := range sets {
		if s.Type == qtype && s.Name == name && len(s.RRs) > 0 {
			return s
		}
	}
	return nil
}

// TTL is the smallest TTL of the records.
func (s *RRset) TTL() uint32 {
	ttl := ^uint32(0)
	for _, rr := range s.RRs {
		ttl = min(ttl, rr.Header().Ttl)
	}
	return ttl
}

// signedData is what an RRSIG signs (RFC 4034 section 3.1.8.1): its own RDATA without the signature, then the RRset in
// canonical form and order with the original TTL, and with the wildcard owner where one was expanded.
func (s *RRset) signedData(rdatas [][]byte, sig *dns.RRSIG) ([]byte, bool) {
	if len(rdatas) == 0 { // a record cannot be put into canonical form, so that nothing is known to be signed
		return nil, false
	}
	size := 18 + len(sig.SignerName) + 1
	for _, rdata := range rdatas {
		size += len(s.Name) + 3 + 10 + len(rdata) // "*." may come before the owner
	}
	buf := make([]byte, 18, size)
	binary.BigEndian.PutUint16(buf[0:], sig.TypeCovered)
	buf[2], buf[3] = sig.Algorithm, sig.Labels
	binary.BigEndian.PutUint32(buf[4:], sig.OrigTtl)
	binary.BigEndian.PutUint32(buf[8:], sig.Expiration)
	binary.BigEndian.PutUint32(buf[12:], sig.Inception)
	binary.BigEndian.PutUint16(buf[16:], sig.KeyTag)
	var name [256]byte
	n, err := dns.PackDomainName(lower(sig.SignerName), name[:], 0, nil, false)
	if err != nil {
		return nil, false
	}
	buf = append(buf, name[:n]...)

	owner := s.Name
	if labels := dns.CountLabel(owner); int(sig.Labels) < labels && !(int(sig.Labels) == labels-1 && wildcard(owner)) {
		if rest := Ancestor(owner, int(sig.Labels)); rest == "." {
			owner = "*."
		} else {
			owner = "*." + rest
		}
	}
	if n, err = dns.PackDomainName(owner, name[:], 0, nil, false); err != nil {
		return nil, false
	}
	for _, rdata := range rdatas {
		buf = append(buf, name[:n]...)
		buf = binary.BigEndian.AppendUint16(buf, s.Type)
		buf = binary.BigEndian.AppendUint16(buf, s.class)
		buf = binary.BigEndian.AppendUint32(buf, sig.OrigTtl)
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(rdata)))
		buf = append(buf, rdata...)
	}
	return buf, true
}

// canonicalRdatas gives the RDATA of the records in canonical form and order, each once (RFC 4034 section 6.3); an empty list
// when a record has no canonical form.
func (s *RRset) canonicalRdatas() [][]byte {
	rdatas := make([][]byte, 0, len(s.RRs))
	for _, rr := range s.RRs {
		rdata, ok := canonicalRdata(rr)
		if !ok {
			return [][]byte{}
		}
		rdatas = append(rdatas, rdata)
	}
	slices.SortFunc(rdatas, bytes.Compare)
	return slices.CompactFunc(rdatas, bytes.Equal)
}

func wildcard(owner string) bool { return len(owner) >= 2 && owner[0] == '*' && owner[1] == '.' }

// canonicalRdata is the RDATA in wire form with the names of the types of RFC 4034 section 6.2, as corrected by RFC 6840
// section 5.1, in lower case.
func canonicalRdata(rr dns.RR) ([]byte, bool) {
	switch x := rr.(type) {
	case *dns.NS:
		c := *x
		c.Ns, rr = lower(c.Ns), &c
	case *dns.CNAME:
		c := *x
		c.Target, rr = lower(c.Target), &c
	case *dns.DNAME:
		c := *x
		c.Target, rr = lower(c.Target), &c
	case *dns.SOA:
		c := *x
		c.Ns, c.Mbox, rr = lower(c.Ns), lower(c.Mbox), &c
	case *dns.PTR:
		c := *x
		c.Ptr, rr = lower(c.Ptr), &c
	case *dns.MX:
		c := *x
		c.Mx, rr = lower(c.Mx), &c
	case *dns.SRV:
		c := *x
		c.Target, rr = lower(c.Target), &c
	case *dns.NAPTR:
		c := *x
		c.Replacement, rr = lower(c.Replacement), &c
	case *dns.MB:
		c := *x
		c.Mb, rr = lower(c.Mb), &c
	case *dns.MD:
		c := *x
		c.Md, rr = lower(c.Md), &c
	case *dns.MF:
		c := *x
		c.Mf, rr = lower(c.Mf), &c
	case *dns.MG:
		c := *x
		c.Mg, rr = lower(c.Mg), &c
	case *dns.MR:
		c := *x
		c.Mr, rr = lower(c.Mr), &c
	case *dns.MINFO:
		c := *x
		c.Rmail, c.Email, rr = lower(c.Rmail), lower(c.Email), &c
	case *dns.RP:
		c := *x
		c.Mbox, c.Txt, rr = lower(c.Mbox), lower(c.Txt), &c
	case *dns.AFSDB:
		c := *x
		c.Hostname, rr = lower(c.Hostname), &c
	case *dns.RT:
		c := *x
		c.Host, rr = lower(c.Host), &c
	case *dns.PX:
		c := *x
		c.Map822, c.Mapx400, rr = lower(c.Map822), lower(c.Mapx400), &c
	case *dns.KX:
		c := *x
		c.Exchanger, rr = lower(c.Exchanger), &c
	case *dns.RRSIG:
		c := *x
		c.SignerName, rr = lower(c.SignerName), &c
	}
	// dns.PackRR would write the length into the record's header, and others read the record at the same time; packing a message leaves it.
	wire, err := (&dns.Msg{Answer: []dns.RR{rr}}).Pack()
	if err != nil {
		return nil, false
	}
	const header, fixed = 12, 10 // of a message (RFC 1035 section 4.1.1); type, class, TTL and length of a record (section 4.1.3)
	var owner [256]byte
	name, err := dns.PackDomainName(rr.Header().Name, owner[:], 0, nil, false)
	start := header + name + fixed
	if err != nil || start > len(wire) {
		return nil, false
	}
	return wire[start:], true
}
