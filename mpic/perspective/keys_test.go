package perspective

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func filesIn(dir string) Files {
	return Files{Certificate: filepath.Join(dir, "tls.crt"), TLSKey: filepath.Join(dir, "tls.key"), SigningKey: filepath.Join(dir, "signing.key")}
}

func TestIdentitySurvivesItsFiles(t *testing.T) {
	files := filesIn(t.TempDir())
	made := newIdentity(t, "fra")
	require.NoError(t, made.Save(files))
	loaded, err := LoadIdentity(files)
	require.NoError(t, err)
	require.Equal(t, made.TLSKey(), loaded.TLSKey())
	require.Equal(t, made.SigningKey(), loaded.SigningKey())
	require.Len(t, loaded.TLSKey(), 64)
	require.Len(t, loaded.SigningKey(), 43)
	for _, f := range []string{files.TLSKey, files.SigningKey} {
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	require.ErrorIs(t, newIdentity(t, "fra").Save(files), os.ErrExist, "keys are not overwritten")
}

func TestGateIdentityHasNoSigningKey(t *testing.T) {
	files := filesIn(t.TempDir())
	gate, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	require.ErrorContains(t, gate.Save(files), "a gate's has none")
	files.SigningKey = ""
	require.NoError(t, gate.Save(files))
	loaded, err := LoadIdentity(files)
	require.NoError(t, err)
	require.Equal(t, gate.TLSKey(), loaded.TLSKey())
	require.Empty(t, loaded.SigningKey())
}

// Holds: MPIC-08
func TestLoadIdentityRefuses(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	rsaDER, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	require.NoError(t, err)
	cases := []struct {
		name  string
		spoil func(*testing.T, Files)
		want  string
	}{
		{"group may read the signing key", func(t *testing.T, f Files) { require.NoError(t, os.Chmod(f.SigningKey, 0o640)) },
			"signing.key has mode 0640: a private key must be its owner's alone"},
		{"world may read the TLS key", func(t *testing.T, f Files) { require.NoError(t, os.Chmod(f.TLSKey, 0o604)) }, "tls.key has mode 0604"},
		{"group may write the TLS key", func(t *testing.T, f Files) { require.NoError(t, os.Chmod(f.TLSKey, 0o620)) }, "tls.key has mode 0620"},
		{"no signing key file", func(t *testing.T, f Files) { require.NoError(t, os.Remove(f.SigningKey)) }, "signing.key"},
		{"no certificate file", func(t *testing.T, f Files) { require.NoError(t, os.Remove(f.Certificate)) }, "tls.crt"},
		{"certificate of another key", func(t *testing.T, f Files) {
			other := filesIn(t.TempDir())
			require.NoError(t, newIdentity(t, "other").Save(other))
			replace(t, f.Certificate, read(t, other.Certificate))
		}, "is not for the key"},
		{"certificate is no certificate", func(t *testing.T, f Files) { replace(t, f.Certificate, []byte("hello")) }, `does not begin with a PEM block "CERTIFICATE"`},
		{"certificate is damaged", func(t *testing.T, f Files) {
			replace(t, f.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}))
		}, "tls.crt: x509"},
		{"key is damaged", func(t *testing.T, f Files) {
			replace(t, f.SigningKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))
		}, "signing.key: "},
		{"RSA signs", func(t *testing.T, f Files) {
			replace(t, f.SigningKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rsaDER}))
		}, "neither Ed25519 nor ECDSA on P-256"},
		{"two keys in one file", func(t *testing.T, f Files) {
			replace(t, f.SigningKey, append(read(t, f.SigningKey), read(t, f.TLSKey)...))
		}, "more than one PEM block"},
		{"one key for both", func(t *testing.T, f Files) { replace(t, f.SigningKey, read(t, f.TLSKey)) }, "hold the same key"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files := filesIn(t.TempDir())
			require.NoError(t, newIdentity(t, "fra").Save(files))
			c.spoil(t, files)
			_, err := LoadIdentity(files)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, content, 0o600))
}
