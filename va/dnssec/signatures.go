package dnssec

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/miekg/dns"
)

// Signatures remembers which signatures hold. That follows from the key, the octets that are signed and the signature, whatever the
// time: what is remembered is found again only for the very same three, and each use is counted like a check (Limits) and compared
// with the clock like any other. Signatures that do not hold are not remembered, so that nobody displaces others' with random
// octets. It is safe for concurrent use, and belongs to whoever makes it: it holds for one table of algorithms. A nil *Signatures
// remembers nothing.
type Signatures struct {
	most int
	mu   sync.Mutex
	// When the young generation is full it becomes the old one, and that is forgotten. What is used is young again.
	young, old map[signatureID]struct{}
}

// signatureID is the SHA-256 of a key, a signature and what is signed.
type signatureID [sha256.Size]byte

// DefaultSignatures is how many signatures a resolver remembers at most: about 2 MB.
const DefaultSignatures = 1 << 15

// NewSignatures makes an empty memory of at most so many signatures; 0 takes DefaultSignatures.
func NewSignatures(most int) *Signatures {
	if most <= 0 {
		most = DefaultSignatures
	}
	return &Signatures{most: most, young: map[signatureID]struct{}{}}
}

// holds tells whether a signature is a key's, from memory or by verify.
func (s *Signatures) holds(key *dns.DNSKEY, data, signature []byte, verify VerifyFunc) bool {
	if s == nil {
		return verify(data, signature)
	}
	id := idOf(key, data, signature)
	if s.knows(id) {
		return true
	}
	if !verify(data, signature) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(id)
	return true
}

// idOf has the length of each part that could be any, so that no two triples have the same octets.
func idOf(key *dns.DNSKEY, data, signature []byte) signatureID {
	octets := make([]byte, 0, 512)
	octets = append(octets, key.Algorithm)
	octets = binary.BigEndian.AppendUint64(octets, uint64(len(key.PublicKey)))
	octets = binary.BigEndian.AppendUint64(octets, uint64(len(signature)))
	octets = append(octets, key.PublicKey...)
	octets = append(octets, signature...)
	octets = append(octets, data...)
	return sha256.Sum256(octets)
}

func (s *Signatures) knows(id signatureID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.young[id]; ok {
		return true
	}
	_, ok := s.old[id]
	if ok {
		s.put(id)
	}
	return ok
}

func (s *Signatures) put(id signatureID) {
	if len(s.young) >= max(s.most/2, 1) {
		s.old, s.young = s.young, make(map[signatureID]struct{})
	}
	s.young[id] = struct{}{}
}
