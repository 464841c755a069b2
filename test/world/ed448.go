package world

import (
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/miekg/dns"
)

// ed448Signer signs with ED448 (RFC 8080), which the DNS library does not know. The library knows the form of what is signed
// (RFC 4034 section 3.1.8.1), in which the number of the algorithm is one octet; and it gives ED25519 keys all of it, without
// a digest, as ED448 wants it too. So it is told ED25519, and the number is put right before the signature is made.
type ed448Signer struct{ ed448.PrivateKey }

// algorithmOctet is where the algorithm's number stands in what is signed: behind the type covered.
const algorithmOctet = 2

// Sign implements crypto.Signer for data that the DNS library made for ED25519.
func (s ed448Signer) Sign(random io.Reader, data []byte, opts crypto.SignerOpts) ([]byte, error) {
	if len(data) <= algorithmOctet || data[algorithmOctet] != dns.ED25519 {
		return nil, errors.New("world: this is not what an RRSIG record signs")
	}
	own := append([]byte(nil), data...)
	own[algorithmOctet] = dns.ED448
	return s.PrivateKey.Sign(random, own, opts)
}

// generate makes the private key of k and puts the public one into k.
func generate(k *dns.DNSKEY, bits int) (crypto.PrivateKey, error) {
	if k.Algorithm != dns.ED448 {
		return k.Generate(bits)
	}
	public, private, err := ed448.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	k.PublicKey = base64.StdEncoding.EncodeToString(public)
	return ed448Signer{private}, nil
}

// complete makes the signature of s over set.
func complete(s *dns.RRSIG, signer crypto.Signer, set []dns.RR) error {
	if s.Algorithm != dns.ED448 {
		return s.Sign(signer, set)
	}
	if _, ok := signer.(ed448Signer); !ok {
		return fmt.Errorf("world: a key of the type %T does not sign with ED448", signer)
	}
	s.Algorithm = dns.ED25519
	err := s.Sign(signer, set)
	s.Algorithm = dns.ED448
	return err
}
