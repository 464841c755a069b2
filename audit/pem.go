package audit

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// Held is a certificate that an auditor brings along.
type Held struct {
	// Fingerprint is the SHA-256 in lower-case hexadecimal, Serial hexadecimal without leading zeros.
	Fingerprint string   `json:"sha256"`
	Serial      string   `json:"serial"`
	Issuer      string   `json:"issuer"`
	Names       []string `json:"names"`
}

// ReadCertificates reads a bundle of certificates in PEM. Other blocks, and certificates of CAs, are left out; a text without any block,
// and a block that is no certificate, are refused.
func ReadCertificates(text []byte) (all []Held, err error) {
	blocks, begun := 0, bytes.Count(text, []byte("-----BEGIN "))
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		blocks++
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("audit: certificate %d: %w", blocks, err)
		}
		if c.IsCA {
			continue
		}
		sum := sha256.Sum256(block.Bytes)
		all = append(all, Held{hex.EncodeToString(sum[:]), c.SerialNumber.Text(16), c.Issuer.String(), append([]string{}, c.DNSNames...)})
	}
	switch { // a block that is damaged is passed over by its reader
	case blocks == 0:
		return nil, errors.New("audit: this is no PEM")
	case blocks != begun:
		return nil, fmt.Errorf("audit: %d blocks of PEM begin, and %d can be read", begun, blocks)
	}
	return all, nil
}
