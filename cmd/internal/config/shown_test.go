package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pairOf makes the texts of a certificate that is good until a time, and of its key.
func pairOf(t *testing.T, serial int64, until time.Time) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"gate.example"}, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// A renewed certificate is shown without a restart, whichever of its files comes first; what cannot be used is told once, and the one that was read
// before is shown further.
func TestARenewedCertificateIsShown(t *testing.T) {
	dir := t.TempDir()
	p := Pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	write := func(file string, text []byte, mode os.FileMode) {
		t.Helper()
		require.NoError(t, os.WriteFile(file+".new", text, 0o600))
		require.NoError(t, os.Chmod(file+".new", mode))
		require.NoError(t, os.Rename(file+".new", file))
	}
	until := time.Now().Add(time.Hour)
	firstCertificate, firstKey := pairOf(t, 1, until)
	write(p.Certificate, firstCertificate, 0o600)
	write(p.Key, firstKey, 0o600)
	now := time.Now()
	var log bytes.Buffer
	_, err := Pair{p.Certificate, p.Certificate}.show("tls", slog.New(slog.NewTextHandler(&log, nil)), time.Now)
	require.ErrorContains(t, err, "tls.certificate")
	s, err := p.show("tls", slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	require.NoError(t, err)
	shown := func() int64 {
		t.Helper()
		c, err := s.ForServer(nil)
		require.NoError(t, err)
		return c.Leaf.SerialNumber.Int64()
	}
	later := func() { now = now.Add(lookTime) }
	told := func() string {
		text := log.String()
		log.Reset()
		return text
	}
	later()
	require.EqualValues(t, 1, shown())
	require.Empty(t, told())

	nextCertificate, nextKey := pairOf(t, 2, until)
	write(p.Certificate, nextCertificate, 0o600)
	require.EqualValues(t, 1, shown(), "nobody looked yet")
	require.Empty(t, told())
	later()
	require.EqualValues(t, 1, shown(), "the key is still the old one's")
	require.Contains(t, told(), "level=ERROR")
	later()
	require.EqualValues(t, 1, shown())
	require.Empty(t, told(), "it is told once")
	write(p.Key, nextKey, 0o600)
	later()
	require.EqualValues(t, 2, shown())
	require.Contains(t, told(), "read anew")

	for name, change := range map[string]func(){
		"cut off":                    func() { write(p.Certificate, nextCertificate[:100], 0o600) },
		"no certificate":             func() { require.NoError(t, os.Remove(p.Certificate)) },
		"no key":                     func() { require.NoError(t, os.Remove(p.Key)) },
		"everybody may read the key": func() { write(p.Key, nextKey, 0o644) },
		"the key of another":         func() { write(p.Key, firstKey, 0o600) },
		"expired": func() {
			certificate, key := pairOf(t, 3, time.Now().Add(-time.Minute))
			write(p.Certificate, certificate, 0o600)
			write(p.Key, key, 0o600)
		},
	} {
		change()
		later()
		require.EqualValues(t, 2, shown(), name)
		require.Contains(t, told(), "cannot be used", name)
		write(p.Certificate, nextCertificate, 0o600)
		write(p.Key, nextKey, 0o600)
		later()
		require.EqualValues(t, 2, shown(), name)
		require.Contains(t, told(), "read anew", name)
	}

	// A directory of Kubernetes' kind, in which a link is turned to other files.
	for i, serial := range []int64{4, 5} {
		certificate, key := pairOf(t, serial, until)
		version := filepath.Join(dir, []string{"a", "b"}[i])
		require.NoError(t, os.Mkdir(version, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(version, "tls.crt"), certificate, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(version, "tls.key"), key, 0o600))
		link := filepath.Join(dir, "data")
		require.NoError(t, os.Symlink(version, link+".new"))
		require.NoError(t, os.Rename(link+".new", link))
		if i == 0 {
			s, err = Pair{filepath.Join(link, "tls.crt"), filepath.Join(link, "tls.key")}.show("tls", slog.New(slog.DiscardHandler), func() time.Time { return now })
			require.NoError(t, err)
		}
		later()
		require.Equal(t, serial, shown())
	}
}
