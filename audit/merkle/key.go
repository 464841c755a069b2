package merkle

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Types of keys (C2SP signed-note, "Signature types"). The type is part of a key's identifier and of its file, so that
// a key of one kind is never used as one of the other.
const (
	typeLog     = 0x01
	typeWitness = 0x04
)

// maxKeyFile is far above any key file, and keeps a wrong path from being read whole.
const maxKeyFile = 4 << 10

// key is an Ed25519 private key with its name and type.
type key struct {
	name    string
	kind    byte
	private ed25519.PrivateKey
}

// LogKey signs checkpoints. It is a note.Signer; its name is the log's origin.
type LogKey struct{ key }

// WitnessKey cosigns checkpoints.
type WitnessKey struct{ key }

// GenerateLogKey makes a key for the log of this origin.
func GenerateLogKey(origin string) (*LogKey, error) {
	k, err := generate(origin, typeLog)
	return &LogKey{k}, err
}

// GenerateWitnessKey makes a key for the witness of this name.
func GenerateWitnessKey(name string) (*WitnessKey, error) {
	k, err := generate(name, typeWitness)
	return &WitnessKey{k}, err
}

func generate(name string, kind byte) (key, error) {
	if err := checkName(name); err != nil {
		return key{}, fmt.Errorf("key name: %w", err)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return key{}, fmt.Errorf("making the key of %s: %w", name, err)
	}
	return key{name: name, kind: kind, private: private}, nil
}

// LoadLogKey reads a file of Save. It refuses one that others than its owner may read or write.
func LoadLogKey(path string) (*LogKey, error) {
	k, err := loadKey(path, typeLog)
	return &LogKey{k}, err
}

// LoadWitnessKey reads a file of Save, as LoadLogKey does.
func LoadWitnessKey(path string) (*WitnessKey, error) {
	k, err := loadKey(path, typeWitness)
	return &WitnessKey{k}, err
}

// Name returns the key's name.
func (k key) Name() string { return k.name }

// KeyHash returns the key's identifier: it stands in each signature.
func (k key) KeyHash() uint32 {
	return keyHash(k.name, k.kind, k.private.Public().(ed25519.PublicKey))
}

// keyHash is "Ed25519 signatures" of C2SP signed-note, and "Format" of tlog-cosignature.
func keyHash(name string, kind byte, public ed25519.PublicKey) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), append([]byte{kind}, public...)...))
	return binary.BigEndian.Uint32(sum[:])
}

// VerifierKey returns the public key as text, "name+identifier+base64" (C2SP signed-note, "Verifier keys"): what
// auditors and witnesses are given.
func (k key) VerifierKey() string {
	public := append([]byte{k.kind}, k.private.Public().(ed25519.PublicKey)...)
	return fmt.Sprintf("%s+%08x+%s", k.name, k.KeyHash(), base64.StdEncoding.EncodeToString(public))
}

// Sign signs the text of a checkpoint.
func (k *LogKey) Sign(text []byte) ([]byte, error) {
	return ed25519.Sign(k.private, text), nil
}

// Verifier returns the verifier of the key's signatures.
func (k *LogKey) Verifier() note.Verifier {
	return ed25519Verifier{name: k.name, hash: k.KeyHash(), public: k.private.Public().(ed25519.PublicKey)}
}

type ed25519Verifier struct {
	name   string
	hash   uint32
	public ed25519.PublicKey
}

func (v ed25519Verifier) Name() string               { return v.name }
func (v ed25519Verifier) KeyHash() uint32            { return v.hash }
func (v ed25519Verifier) Verify(text, s []byte) bool { return ed25519.Verify(v.public, text, s) }

// Save writes the private key to path, with mode 0600, and the verifier key to path with ".pub" behind it. It fails
// when one of the two exists: keys are not overwritten.
func (k key) Save(path string) error {
	secret := append([]byte{k.kind}, k.private.Seed()...)
	text := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s\n", k.name, k.KeyHash(), base64.StdEncoding.EncodeToString(secret))
	if err := writeNewFile(path, text, 0o600); err != nil {
		return err
	}
	return writeNewFile(path+".pub", k.VerifierKey()+"\n", 0o644)
}

func writeNewFile(path, content string, mode os.FileMode) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("key file: writing %s: %w", path, err)
	}
	return nil
}

func loadKey(path string, kind byte) (key, error) {
	text, err := readSecret(path)
	if err != nil {
		return key{}, err
	}
	k, err := parseKey(strings.TrimSuffix(text, "\n"), kind)
	if err != nil {
		return key{}, fmt.Errorf("key file: %s: %w", path, err)
	}
	return k, nil
}

// readSecret reads the mode from the open file, so that it is the one of what is read.
func readSecret(path string) (string, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return "", fmt.Errorf("key file: %w", err)
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing is lost
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("key file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("key file: %s has mode %04o: a private key must be its owner's alone (chmod 600 %s)", path, mode, path)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return "", fmt.Errorf("key file: reading %s: %w", path, err)
	}
	return string(content), nil
}

// parseKey reads the text of Save: for a log's key it is the form of golang.org/x/mod/sumdb/note, and for a witness's
// the same with its own type. Errors never hold the text.
func parseKey(text string, kind byte) (key, error) {
	parts := strings.Split(text, "+")
	if len(parts) < 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" {
		return key{}, errors.New("it does not begin with PRIVATE+KEY+")
	}
	// The base64 may hold plus signs; a name may not.
	secret, err := base64.StdEncoding.DecodeString(strings.Join(parts[4:], "+"))
	if err != nil || len(secret) != 1+ed25519.SeedSize {
		return key{}, errors.New("its last part is not a type and an Ed25519 seed in base64")
	}
	if secret[0] != kind {
		return key{}, fmt.Errorf("the key has type %d and not %d: a log's key has type %d and a witness's %d",
			secret[0], kind, typeLog, typeWitness)
	}
	k := key{name: parts[2], kind: kind, private: ed25519.NewKeyFromSeed(secret[1:])}
	if err := checkName(k.name); err != nil {
		return key{}, fmt.Errorf("key name: %w", err)
	}
	if parts[3] != fmt.Sprintf("%08x", k.KeyHash()) {
		return key{}, fmt.Errorf("its identifier is %q and not %08x", parts[3], k.KeyHash())
	}
	return k, nil
}
