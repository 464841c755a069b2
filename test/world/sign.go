package world

import (
	"crypto"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// key is one DNSKEY with its private half.
type key struct {
	record *dns.DNSKEY
	signer crypto.Signer
}

// keyring holds the keys of one zone (or of the attacker who pretends to own it) and the signatures made with them.
type keyring struct {
	algorithm uint8
	csk       bool
	ksk, zsk  key
	// made keeps signatures by what was signed and when, so that a change signs only what it changed. Guarded by
	// World.mu, as all signing is.
	made map[string]*dns.RRSIG
}

// madeLimit bounds keyring.made; a zone that changes often would fill memory with signatures of the past.
const madeLimit = 8192

// newKeyring makes keys for a zone. It returns nil for an unsigned zone.
func newKeyring(z Zone) (*keyring, error) {
	if z.Algorithm == 0 {
		return nil, nil
	}
	r := &keyring{algorithm: z.Algorithm, csk: z.CSK, made: map[string]*dns.RRSIG{}}
	var err error
	if r.ksk, err = newKey(z, dns.ZONE|dns.SEP); err != nil {
		return nil, err
	}
	r.zsk = r.ksk
	if !z.CSK {
		r.zsk, err = newKey(z, dns.ZONE)
	}
	return r, err
}

func newKey(z Zone, flags uint16) (key, error) {
	bits := map[uint8]int{
		dns.RSASHA1: 2048, dns.RSASHA1NSEC3SHA1: 2048, dns.RSASHA256: 2048, dns.RSASHA512: 2048,
		dns.ECDSAP256SHA256: 256, dns.ECDSAP384SHA384: 384, dns.ED25519: 256,
		dns.ED448: 456,
	}[z.Algorithm]
	if bits == 0 {
		return key{}, fmt.Errorf("world: zone %s: cannot sign with algorithm %d", z.Name, z.Algorithm)
	}
	k := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: z.Name, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: ttl},
		Flags: flags, Protocol: 3, Algorithm: z.Algorithm,
	}
	private, err := generate(k, bits)
	for err == nil && k.KeyTag() == 0 { // the DNS library refuses to sign with such a key, one of 65,536
		private, err = generate(k, bits)
	}
	if err != nil {
		return key{}, fmt.Errorf("world: zone %s: key: %w", z.Name, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return key{}, fmt.Errorf("world: zone %s: a key of algorithm %d does not sign", z.Name, z.Algorithm)
	}
	return key{record: k, signer: signer}, nil
}

// fits tells whether the keys can sign the zone as it is now stated.
func (r *keyring) fits(z Zone) bool {
	if r == nil {
		return z.Algorithm == 0
	}
	return r.algorithm == z.Algorithm && r.csk == z.CSK
}

// records gives the zone's DNSKEY set.
func (r *keyring) records() []dns.RR {
	if r.csk {
		return []dns.RR{r.ksk.record}
	}
	return []dns.RR{r.ksk.record, r.zsk.record}
}

// sign gives the signature over one RRset, made at the time given.
func (r *keyring) sign(set []dns.RR, window Window, at time.Time) (*dns.RRSIG, error) {
	k := r.zsk
	if set[0].Header().Rrtype == dns.TypeDNSKEY {
		k = r.ksk
	}
	var id strings.Builder
	fmt.Fprintf(&id, "%d %v\n", at.Unix(), window)
	for _, rr := range set {
		id.WriteString(rr.String())
		id.WriteByte('\n')
	}
	if s, ok := r.made[id.String()]; ok {
		return s, nil
	}
	s, err := signWith(k, set, window, at)
	if err != nil {
		return nil, err
	}
	if len(r.made) >= madeLimit {
		clear(r.made)
	}
	r.made[id.String()] = s
	return s, nil
}

func signWith(k key, set []dns.RR, window Window, at time.Time) (*dns.RRSIG, error) {
	window = window.orDefault()
	s := &dns.RRSIG{
		Hdr:        dns.RR_Header{Ttl: set[0].Header().Ttl},
		Algorithm:  k.record.Algorithm,
		Inception:  uint32(at.Add(-window.Before).Unix()),
		Expiration: uint32(at.Add(window.After).Unix()),
		KeyTag:     k.record.KeyTag(),
		SignerName: k.record.Hdr.Name,
	}
	if err := complete(s, k.signer, set); err != nil {
		return nil, fmt.Errorf("world: sign %s %s: %w", set[0].Header().Name, dns.Type(set[0].Header().Rrtype), err)
	}
	return s, nil
}

// delegationSigner gives the DS records that a parent publishes for the zone; none for an unsigned zone.
func delegationSigner(z Zone, r *keyring) ([]dns.RR, error) {
	if z.DS == DSGiven {
		return givenDS(z)
	}
	if r == nil || z.DS == DSAbsent {
		return nil, nil
	}
	ds := r.ksk.record.ToDS(dns.SHA256)
	ds.Hdr.Ttl = ttl
	if z.DS == DSWrong {
		ds.Digest = strings.Map(rotateHex, ds.Digest)
	}
	return []dns.RR{ds}, nil
}

func givenDS(z Zone) ([]dns.RR, error) {
	var all []dns.RR
	for _, text := range z.DSRecords {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN DS %s", z.Name, ttl, text))
		if err != nil {
			return nil, fmt.Errorf("world: zone %s: DS %q: %w", z.Name, text, err)
		}
		all = append(all, rr)
	}
	return all, nil
}

// rotateHex changes a hexadecimal digit into another one.
func rotateHex(d rune) rune {
	if d == '0' {
		return '1'
	}
	return '0'
}
