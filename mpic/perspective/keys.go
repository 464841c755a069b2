package perspective

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// Identity is what one side of the protocol keeps secret. A perspective has a TLS key and a signing key; a gate has a TLS
// key alone, because it signs nothing.
type Identity struct {
	certificate tls.Certificate
	signer      crypto.Signer
	thumbprint  string
}

// Files are the paths of an identity's PEM files. Save gives key files mode 0600 and never overwrites one; LoadIdentity
// refuses key files that others than their owner may read or write.
type Files struct {
	// Certificate is the TLS certificate; TLSKey its private key in PKCS #8.
	Certificate, TLSKey string
	// SigningKey is the private key in PKCS #8 that signs reports: Ed25519, or ECDSA on P-256. Empty for a gate.
	SigningKey string
}

// maxKeyFile is far above any of these files, and keeps a wrong path from being read whole.
const maxKeyFile = 64 << 10

// noExpiry is "no well-defined expiration date" (RFC 5280 section 4.1.2.5): the pin in the other side's configuration, not
// the date, says for how long a certificate is good.
var noExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// GenerateIdentity makes a perspective's identity: an ECDSA P-256 key with a self-signed certificate for TLS, and an
// Ed25519 key that signs. The name, for people only, becomes the certificate's common name; at is its notBefore.
func GenerateIdentity(name string, at time.Time) (*Identity, error) {
	id, err := GenerateGateIdentity(name, at)
	if err != nil {
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("perspective: making the signing key of %s: %w", name, err)
	}
	id.signer = key
	if id.thumbprint, err = Thumbprint(key.Public()); err != nil {
		return nil, err
	}
	return id, nil
}

// GenerateGateIdentity makes a gate's identity: as GenerateIdentity, without a signing key.
func GenerateGateIdentity(name string, at time.Time) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("perspective: making the TLS key of %s: %w", name, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("perspective: making the TLS certificate of %s: %w", name, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    at.UTC(),
		NotAfter:     noExpiry,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("perspective: making the TLS certificate of %s: %w", name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("perspective: reading the new TLS certificate of %s: %w", name, err)
	}
	return &Identity{certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}, nil
}

// TLSKey is the pin that the other side's configuration must carry: the SHA-256 of the certificate's
// SubjectPublicKeyInfo in lower-case hexadecimal.
func (id *Identity) TLSKey() string { return TLSKey(id.certificate.Leaf) }

// SigningKey is the RFC 7638 thumbprint of the signing key, SHA-256 in base64url; empty for a gate.
func (id *Identity) SigningKey() string { return id.thumbprint }

// TLSKey is the SHA-256 of a certificate's SubjectPublicKeyInfo in lower-case hexadecimal.
func TLSKey(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// Thumbprint is the RFC 7638 thumbprint of a public key, SHA-256 in base64url without padding.
func Thumbprint(key crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("perspective: thumbprint of the signing key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// Save writes the identity's files. It fails when one of them exists: keys are not overwritten.
func (id *Identity) Save(files Files) error {
	if (id.signer == nil) != (files.SigningKey == "") {
		return errors.New("perspective: a perspective's identity has a file for its signing key, and a gate's has none")
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.certificate.Certificate[0]})
	if err := writeNew(files.Certificate, certificate, 0o644); err != nil {
		return err
	}
	if err := writeKey(files.TLSKey, id.certificate.PrivateKey); err != nil {
		return err
	}
	if id.signer == nil {
		return nil
	}
	return writeKey(files.SigningKey, id.signer)
}

func writeKey(path string, key any) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("perspective: encoding the key for %s: %w", path, err)
	}
	return writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func writeNew(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("perspective: %w", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("perspective: writing %s: %w", path, err)
	}
	return nil
}

// LoadIdentity reads an identity from its files; without a path for the signing key it is a gate's. Errors name the file
// and what is wrong with it.
func LoadIdentity(files Files) (*Identity, error) {
	id := &Identity{}
	der, err := readPEM(files.Certificate, "CERTIFICATE", false)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("perspective: %s: %w", files.Certificate, err)
	}
	key, err := readKey(files.TLSKey)
	if err != nil {
		return nil, err
	}
	certified, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !certified.Equal(key.Public()) {
		return nil, fmt.Errorf("perspective: the certificate %s is not for the key %s", files.Certificate, files.TLSKey)
	}
	id.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	if files.SigningKey == "" {
		return id, nil
	}
	if id.signer, err = readKey(files.SigningKey); err != nil {
		return nil, err
	}
	if certified.Equal(id.signer.Public()) {
		return nil, fmt.Errorf("perspective: %s and %s hold the same key: TLS and signing keys are distinct", files.TLSKey, files.SigningKey)
	}
	id.thumbprint, err = Thumbprint(id.signer.Public())
	return id, err
}

func readKey(path string) (crypto.Signer, error) {
	der, err := readPEM(path, "PRIVATE KEY", true)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("perspective: %s: %w", path, err)
	}
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	return nil, fmt.Errorf("perspective: %s: the key is neither Ed25519 nor ECDSA on P-256", path)
}

// readPEM gives the single block of a file. The mode is read from the open file, so that it is the one of what is read.
func readPEM(path, kind string, secret bool) ([]byte, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("perspective: %w", err)
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing is lost
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("perspective: %w", err)
	}
	if mode := info.Mode().Perm(); secret && mode&0o077 != 0 {
		return nil, fmt.Errorf("perspective: %s has mode %04o: a private key must be its owner's alone (chmod 600 %s)", path, mode, path)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("perspective: reading %s: %w", path, err)
	}
	block, rest := pem.Decode(content)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("perspective: %s does not begin with a PEM block %q", path, kind)
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, fmt.Errorf("perspective: %s holds more than one PEM block", path)
	}
	return block.Bytes, nil
}
