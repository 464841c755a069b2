package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority is a CA as Boulder's internal one.
type authority struct {
	dir   string
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	file  string
	given map[string]issued
}

// issued are the files of a certificate and its key.
type issued struct{ file, key string }

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, key: key, file: filepath.Join(dir, "ca.pem"), given: map[string]issued{}}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "internal CA"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 1), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, writePEM(a.file, "CERTIFICATE", der)
}

// issue gives the certificate of a name, and of 127.0.0.1 and other addresses.
func (a *authority) issue(name string, addrs ...string) (issued, error) {
	if got, ok := a.given[name]; ok {
		return got, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return issued{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(len(a.given) + 2)), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 1), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, text := range append([]string{"127.0.0.1"}, addrs...) {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(text))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return issued{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return issued{}, err
	}
	got := issued{file: filepath.Join(a.dir, name+".pem"), key: filepath.Join(a.dir, name+"-key.pem")}
	if err := writePEM(got.file, "CERTIFICATE", der); err != nil {
		return issued{}, err
	}
	a.given[name] = got
	return got, writePEM(got.key, "PRIVATE KEY", pkcs8)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// section is the `tls` section of Boulder's configurations.
func (a *authority) section(name string) (map[string]string, error) {
	c, err := a.issue(name)
	return map[string]string{"caCertFile": a.file, "certFile": c.file, "keyFile": c.key}, err
}
