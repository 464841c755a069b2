package merkle

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Cosigner returns the key as a note.Signer of cosignatures at this time (C2SP tlog-cosignature, Ed25519).
func (k *WitnessKey) Cosigner(at time.Time) note.Signer {
	return cosigner{WitnessKey: k, at: at}
}

type cosigner struct {
	*WitnessKey
	at time.Time
}

// Sign signs the text of a checkpoint, which it believes: whoever calls it has proven consistency.
func (c cosigner) Sign(text []byte) ([]byte, error) {
	if c.at.Unix() <= 0 {
		return nil, fmt.Errorf("cosignature by %s: the clock says %s, and a time after 1970 is needed", c.name, c.at.UTC())
	}
	timestamp := uint64(c.at.Unix())
	return append(binary.BigEndian.AppendUint64(nil, timestamp), ed25519.Sign(c.private, cosigned(timestamp, text))...), nil
}

// cosigned is the message that a cosignature signs ("Ed25519 signed message").
func cosigned(timestamp uint64, text []byte) []byte {
	return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", timestamp, text)
}

// Verifier returns the verifier of the key's cosignatures.
func (k *WitnessKey) Verifier() *WitnessVerifier {
	return &WitnessVerifier{ed25519Verifier{name: k.name, hash: k.KeyHash(), public: k.private.Public().(ed25519.PublicKey)}}
}

// WitnessVerifier verifies cosignatures of one witness. It is a note.Verifier.
type WitnessVerifier struct{ key ed25519Verifier }

// NewWitnessVerifier reads a witness's verifier key, of type 0x04. (For a log's key there is note.NewVerifier.)
func NewWitnessVerifier(text string) (*WitnessVerifier, error) {
	name, rest, _ := strings.Cut(text, "+")
	hash, encoded, _ := strings.Cut(rest, "+")
	public, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(public) != 1+ed25519.PublicKeySize {
		return nil, fmt.Errorf("witness key %q: it is not name+identifier+base64 of an Ed25519 key", text)
	}
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("witness key: name: %w", err)
	}
	if public[0] != typeWitness {
		return nil, fmt.Errorf("witness key %q: it has type %d, and a witness's has %d", text, public[0], typeWitness)
	}
	v := &WitnessVerifier{ed25519Verifier{name: name, hash: keyHash(name, typeWitness, public[1:]), public: public[1:]}}
	if hash != fmt.Sprintf("%08x", v.key.hash) {
		return nil, fmt.Errorf("witness key %q: its identifier is not %08x", text, v.key.hash)
	}
	return v, nil
}

// Name returns the witness's name.
func (v *WitnessVerifier) Name() string { return v.key.name }

// KeyHash returns the key's identifier.
func (v *WitnessVerifier) KeyHash() uint32 { return v.key.hash }

// Verify tells whether a signature is this witness's cosignature of a text. One without a time is none
// (C2SP tlog-witness: the timestamp must not be zero).
func (v *WitnessVerifier) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	timestamp := binary.BigEndian.Uint64(signature)
	return timestamp > 0 && timestamp <= math.MaxInt64 && ed25519.Verify(v.key.public, cosigned(timestamp, text), signature[8:])
}

// CosignedAt gives the time of a cosignature that was verified.
func CosignedAt(signature note.Signature) (time.Time, error) {
	raw, err := base64.StdEncoding.DecodeString(signature.Base64)
	if err != nil || len(raw) != 4+8+ed25519.SignatureSize {
		return time.Time{}, errors.New("cosignature: not a key identifier, a time and an Ed25519 signature in base64")
	}
	return time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC(), nil
}
