package world

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// alpnProtocol is the protocol of RFC 8737 section 6.2.
const alpnProtocol = "acme-tls/1"

// ALPN is a host's answer to a tls-alpn-01 challenge (RFC 8737). The fields from Names on make it a wrong one; their zero
// values make it right.
type ALPN struct {
	// Domain is the name validated, and KeyAuthorization what is proven.
	Domain, KeyAuthorization string
	// Clients are those who are answered so, by their source address; all where it is empty.
	Clients []netip.Prefix

	// Names are the certificate's names instead of Domain alone.
	Names []string
	// OID is the identifier of the extension instead of id-pe-acmeIdentifier.
	OID asn1.ObjectIdentifier
	// NotCritical clears the critical flag of the extension, NoExtension leaves it out.
	NotCritical, NoExtension bool
	// NoProtocol does not negotiate acme-tls/1; Protocol negotiates another one instead.
	NoProtocol bool
	Protocol   string
	// MaxVersion is the highest TLS version, for example tls.VersionTLS11.
	MaxVersion uint16

	certificate *tls.Certificate
}

// AddALPN answers tls-alpn-01 handshakes for a domain; remove stops that. Where several fit, the one added last answers.
func (h *Host) AddALPN(a ALPN) (remove func(), err error) {
	if err := a.makeCertificate(); err != nil {
		return nil, err
	}
	a.Clients = slices.Clone(a.Clients)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alpn = append(h.alpn, &a)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.alpn = slices.DeleteFunc(h.alpn, func(o *ALPN) bool { return o == &a })
	}, nil
}

// tlsConfig picks the answer to a handshake: the challenge's, where acme-tls/1 is offered for a domain with one, and
// else the host's own certificate.
func (h *Host) tlsConfig(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if slices.Contains(hello.SupportedProtos, alpnProtocol) {
		a := h.challenge(hello)
		if a == nil {
			return nil, fmt.Errorf("world: no tls-alpn-01 answer for %q", hello.ServerName)
		}
		return a.config(), nil
	}
	return &tls.Config{Certificates: []tls.Certificate{*h.fallback}, NextProtos: []string{"http/1.1"}}, nil
}

func (h *Host) challenge(hello *tls.ClientHelloInfo) *ALPN {
	client := source(hello.Conn.RemoteAddr().String())
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range slices.Backward(h.alpn) {
		if strings.EqualFold(a.Domain, hello.ServerName) && (len(a.Clients) == 0 || contains(a.Clients, client)) {
			return a
		}
	}
	return nil
}

func (a *ALPN) config() *tls.Config {
	cfg := &tls.Config{Certificates: []tls.Certificate{*a.certificate}, NextProtos: []string{alpnProtocol}}
	if a.NoProtocol {
		cfg.NextProtos = nil
	}
	if a.Protocol != "" {
		cfg.NextProtos = []string{a.Protocol}
	}
	if a.MaxVersion != 0 {
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, a.MaxVersion
	}
	return cfg
}

func (a *ALPN) makeCertificate() error {
	oid := a.OID
	if oid == nil {
		oid = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
	}
	digest := sha256.Sum256([]byte(a.KeyAuthorization))
	value, err := asn1.Marshal(digest[:])
	if err != nil {
		return fmt.Errorf("world: tls-alpn-01: %w", err)
	}
	var extensions []pkix.Extension
	if !a.NoExtension {
		extensions = []pkix.Extension{{Id: oid, Critical: !a.NotCritical, Value: value}}
	}
	names := a.Names
	if names == nil {
		names = []string{a.Domain}
	}
	a.certificate, err = certificate(names, extensions)
	return err
}

func selfSigned(name string) (*tls.Certificate, error) { return certificate([]string{name}, nil) }

// certificate makes a self-signed certificate with a key of its own. It counts from the machine's clock, as TLS does,
// not from the world's.
func certificate(names []string, extensions []pkix.Extension) (*tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("world: certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "world"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		DNSNames: names, ExtraExtensions: extensions,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, fmt.Errorf("world: certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}
