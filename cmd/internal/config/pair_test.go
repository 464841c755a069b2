package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/config"
)

func TestAKeyThatEverybodyMayReadIsRefused(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"gate.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	pair := config.Pair{Certificate: filepath.Join(t.TempDir(), "tls.crt"), Key: filepath.Join(t.TempDir(), "tls.key")}
	require.NoError(t, os.WriteFile(pair.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(pair.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	for mode, said := range map[os.FileMode]string{0o600: "", 0o640: "", 0o644: "may be read by everybody (mode 0644)", 0o604: "may be read by everybody"} {
		require.NoError(t, os.Chmod(pair.Key, mode))
		certificate, err := pair.Load("boulder.tls")
		if said == "" {
			require.NoError(t, err, "%o", mode)
			require.Equal(t, der, certificate.Certificate[0])
			continue
		}
		require.ErrorContains(t, err, "boulder.tls.certificate "+pair.Certificate+" with boulder.tls.key "+pair.Key)
		require.ErrorContains(t, err, said)
	}
	_, err = config.Pair{Certificate: pair.Certificate, Key: filepath.Join(t.TempDir(), "none")}.Load("tls")
	require.ErrorIs(t, err, os.ErrNotExist)
}
