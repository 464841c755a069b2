package dnssec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha1" // linked for crypto.SHA1, which old zones sign with (RFC 3110)
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"math/big"
	"sync"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/miekg/dns"
)

// Algorithms is the table of supported DNSSEC algorithms (RFC 8624). A zone whose DS records name only algorithms outside
// the table is insecure (RFC 4035 section 5.2), so that narrowing the table weakens a validator: it is an argument for
// dated policy and for tests, never configuration.
type Algorithms map[uint8]Algorithm

// Algorithm turns the public key field of a DNSKEY record, in its wire form, into a check of signatures. It refuses keys
// that this platform cannot or must not use.
type Algorithm func(publicKey []byte) (VerifyFunc, error)

// VerifyFunc tells whether signature, in its RRSIG form, is the key's over data.
type VerifyFunc func(data, signature []byte) bool

// DefaultAlgorithms are RSASHA256 and RSASHA512 (RFC 5702, DCV-07), ECDSAP256SHA256 and ECDSAP384SHA384 (RFC 6605),
// ED25519 and ED448 (RFC 8080). RSASHA1 and RSASHA1-NSEC3-SHA1 are not among them: since RFC 9905, of November 2025, they are to be
// taken as unsupported, and no attempt was ever made before.
func DefaultAlgorithms() Algorithms {
	return Algorithms{
		dns.RSASHA256:       RSA(crypto.SHA256),
		dns.RSASHA512:       RSA(crypto.SHA512),
		dns.ECDSAP256SHA256: ECDSA(elliptic.P256(), crypto.SHA256),
		dns.ECDSAP384SHA384: ECDSA(elliptic.P384(), crypto.SHA384),
		dns.ED25519:         ed25519Key,
		dns.ED448:           ed448Key,
	}
}

// WithSHA1 adds RSASHA1 and RSASHA1-NSEC3-SHA1 (RFC 3110, RFC 5155): for zones of the past and for tests.
func (a Algorithms) WithSHA1() Algorithms {
	wide := Algorithms{dns.RSASHA1: RSA(crypto.SHA1), dns.RSASHA1NSEC3SHA1: RSA(crypto.SHA1)}
	for n, alg := range a {
		wide[n] = alg
	}
	return wide
}

// errKey is a public key that cannot be used: malformed, or outside the sizes that are safe to use.
var errKey = errors.New("the public key is malformed or of a size that is not used")

// RSA reads keys by RFC 3110. Keys below 1024 bits are refused by crypto/rsa, those above 4096 bits or with an exponent
// above 32 bits here, because their check costs an attacker nothing and us much.
func RSA(hash crypto.Hash) Algorithm {
	return func(b []byte) (VerifyFunc, error) {
		if len(b) < 1 {
			return nil, errKey
		}
		explen, off := int(b[0]), 1
		if explen == 0 {
			if len(b) < 3 {
				return nil, errKey
			}
			explen, off = int(b[1])<<8|int(b[2]), 3
		}
		if explen == 0 || explen > 4 || len(b) <= off+explen {
			return nil, errKey
		}
		exponent := new(big.Int).SetBytes(b[off : off+explen])
		modulus := new(big.Int).SetBytes(b[off+explen:])
		if bits := modulus.BitLen(); bits < 1024 || bits > 4096 || exponent.BitLen() > 31 || exponent.Bit(0) == 0 {
			return nil, errKey
		}
		key := &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}
		if key.E < 3 {
			return nil, errKey
		}
		return func(data, sig []byte) bool {
			h := hash.New()
			h.Write(data)
			return rsa.VerifyPKCS1v15(key, hash, h.Sum(nil), sig) == nil
		}, nil
	}
}

// ECDSA reads keys by RFC 6605: the two coordinates, each in the field's length.
func ECDSA(curve elliptic.Curve, hash crypto.Hash) Algorithm {
	return func(b []byte) (VerifyFunc, error) {
		size := (curve.Params().BitSize + 7) / 8
		if len(b) != 2*size {
			return nil, errKey
		}
		key, err := ecdsa.ParseUncompressedPublicKey(curve, append([]byte{4}, b...))
		if err != nil {
			return nil, errKey
		}
		return func(data, sig []byte) bool {
			if len(sig) != 2*size {
				return false
			}
			h := hash.New()
			h.Write(data)
			r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
			return ecdsa.Verify(key, h.Sum(nil), r, s)
		}, nil
	}
}

func ed25519Key(b []byte) (VerifyFunc, error) {
	if len(b) != ed25519.PublicKeySize {
		return nil, errKey
	}
	key := ed25519.PublicKey(b)
	return func(data, sig []byte) bool {
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(key, data, sig)
	}, nil
}

func ed448Key(b []byte) (VerifyFunc, error) {
	if len(b) != ed448.PublicKeySize {
		return nil, errKey
	}
	key := ed448.PublicKey(b)
	return func(data, sig []byte) bool {
		return len(sig) == ed448.SignatureSize && ed448.Verify(key, data, sig, "")
	}, nil
}

// key is a DNSKEY that may sign a zone's data.
type key struct {
	rr  *dns.DNSKEY
	tag uint16
	// verify gives the check of the key's signatures, nil when the platform cannot use the key. The public key is read when it
	// is first needed: a set of a thousand keys that sign nothing costs little (CVE-2023-50387).
	verify func() VerifyFunc
}

func (a Algorithms) key(rr *dns.DNSKEY) key {
	return key{rr: rr, tag: rr.KeyTag(), verify: sync.OnceValue(func() VerifyFunc {
		alg, known := a[rr.Algorithm]
		if !known {
			return nil
		}
		raw, ok := unbase64(rr.PublicKey)
		if !ok {
			return nil
		}
		verify, err := alg(raw)
		if err != nil {
			return nil
		}
		return verify
	})}
}

// digestLength is the length of a DS digest in octets, 0 for a type that is not supported: SHA-1 (RFC 4034), SHA-256 (RFC
// 4509, DCV-07) and SHA-384 (RFC 6605).
func digestLength(digestType uint8) int {
	switch digestType {
	case dns.SHA1:
		return 20
	case dns.SHA256:
		return 32
	case dns.SHA384:
		return 48
	}
	return 0
}

// AlgorithmName gives the mnemonic of the IANA registry, for example "ECDSAP256SHA256".
func AlgorithmName(n uint8) string {
	if s, ok := dns.AlgorithmToString[n]; ok {
		return s
	}
	return "algorithm " + big.NewInt(int64(n)).String()
}
