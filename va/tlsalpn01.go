package va

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const acmeTLS1 = "acme-tls/1"

// mostShown is how many certificates, and how many names of one, a record has of those that a server presents (D11): a handshake has
// room for a hundred thousand.
const mostShown = 10

// Object identifiers, in dotted form: asn1.ObjectIdentifier would be a variable.
const (
	oidAcmeIdentifier = "1.3.6.1.5.5.7.1.31"   // RFC 8737 section 6.1
	oidObsolete       = "1.3.6.1.5.5.7.1.30.1" // drafts of RFC 8737 before 05 (D7)
	oidSubjectAltName = "2.5.29.17"
)

// tlsALPN01 is RFC 8737 and BR 3.2.2.4.20 (DCV-18): the server at port 443 of the FQDN negotiates acme-tls/1 and
// presents one self-signed certificate for exactly the FQDN with the digest of the key authorization.
func (c *Checker) tlsALPN01(ctx context.Context, req Request, f *DCVFinding) (Outcome, *Problem) {
	considered, outcome, problem := c.addresses(ctx, req.FQDN(), f)
	f.Handshakes = append(f.Handshakes, Handshake{Considered: addrTexts(considered), ServerName: req.FQDN()})
	h := &f.Handshakes[len(f.Handshakes)-1]
	if problem == nil {
		outcome, problem = c.handshake(ctx, considered, req, f, h)
	}
	if problem != nil {
		h.Error = problem.Error()
		if problem.Address == "" {
			problem.Address = h.Address
		}
	}
	return outcome, problem
}

func (c *Checker) handshake(
	ctx context.Context, considered []netip.Addr, req Request, f *DCVFinding, h *Handshake,
) (Outcome, *Problem) {
	started := time.Now()
	defer func() { h.Milliseconds = milliseconds(started) }()
	ctx, cancel := context.WithTimeout(ctx, c.config.HopTimeout)
	defer cancel()
	conn, at, problem := c.dial(ctx, considered, 443)
	h.Address = at.String()
	if problem != nil {
		return Error, problem
	}
	defer conn.Close()
	// The certificate is not verified against anybody: RFC 8737 section 3 says what it must be. D7: TLS 1.2 at least.
	client := tls.Client(conn, &tls.Config{ServerName: req.FQDN(), NextProtos: []string{acmeTLS1},
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	if err := client.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return Error, refuse("tls.timeout", "the TLS handshake with %s was not complete in time", at)
		}
		return Fail, refuse("tls.handshake", "the TLS handshake with %s failed: %s", at, cut(err.Error(), 300))
	}
	state := client.ConnectionState()
	h.Version, h.Protocol = tls.VersionName(state.Version), state.NegotiatedProtocol
	for _, cert := range state.PeerCertificates[:min(len(state.PeerCertificates), mostShown)] {
		h.Certificates = append(h.Certificates, fingerprint(cert.Raw))
	}
	if problem := checkConnection(state); problem != nil {
		return Fail, problem
	}
	leaf := state.PeerCertificates[0]
	names, problem := checkCertificate(leaf, req)
	h.Names = names
	if problem != nil {
		f.Observed = cut(hex.EncodeToString(identifier(leaf)), maxObserved)
		return Fail, problem
	}
	f.Observed = req.Expected()
	return Pass, nil
}

// checkConnection looks at what was negotiated.
func checkConnection(state tls.ConnectionState) *Problem {
	if state.NegotiatedProtocol != acmeTLS1 {
		return refuse("tls.protocol", "the server negotiated the protocol %q and not %q", state.NegotiatedProtocol, acmeTLS1)
	}
	if len(state.PeerCertificates) != 1 {
		return refuse("tls.certificate",
			"the server sent %d certificates; exactly one is required", len(state.PeerCertificates))
	}
	return nil
}

// checkCertificate holds a certificate to RFC 8737 section 3. names are its subject alternative names, mostShown of them. It is pure.
func checkCertificate(cert *x509.Certificate, req Request) (names []string, problem *Problem) {
	names, err := AltNames(cert)
	if err != nil {
		return nil, refuse("tls.names", "the subject alternative names cannot be read: %v", err)
	}
	if n := len(names); n != 1 || !sameName(names[0], "DNS:"+req.FQDN()) {
		names = names[:min(n, mostShown)]
		return names, refuse("tls.names", "the certificate must be for %s and nothing else; it has %d names: %q", req.FQDN(), n, names)
	}
	if len(extensions(cert, oidObsolete)) > 0 {
		return names, refuse("tls.obsolete", "the certificate has the obsolete extension %s", oidObsolete)
	}
	found := extensions(cert, oidAcmeIdentifier)
	if len(found) != 1 || !found[0].Critical {
		return names, refuse("tls.identifier",
			"the certificate has the extension %s %d times; it must have it once, and critical",
			oidAcmeIdentifier, len(found))
	}
	digest := identifier(cert)
	if len(digest) != sha256.Size {
		return names, refuse("tls.identifier", "the acmeIdentifier is not a DER octet string of %d octets", sha256.Size)
	}
	if hex.EncodeToString(digest) != req.Expected() {
		return names, refuse("tls.digest", "the acmeIdentifier is %x; %s is expected", digest, req.Expected())
	}
	if !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
		return names, refuse("tls.certificate", "the certificate's issuer is not its subject; it must be self-signed")
	}
	if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		return names, refuse("tls.certificate", "the certificate's signature is not by its own key: %v", err)
	}
	return names, nil
}

// sameName compares without regard to the case of ASCII letters, and of no others (RFC 4343): to Unicode the Kelvin sign is
// a k.
func sameName(a, b string) bool {
	return len(a) == len(b) && dns.CanonicalName(a) == dns.CanonicalName(b)
}

func extensions(cert *x509.Certificate, oid string) []pkix.Extension {
	var out []pkix.Extension
	for _, e := range cert.Extensions {
		if e.Id.String() == oid {
			out = append(out, e)
		}
	}
	return out
}

// identifier gives the content of the acmeIdentifier extension, nil when it is not a single DER octet string.
func identifier(cert *x509.Certificate) []byte {
	for _, e := range extensions(cert, oidAcmeIdentifier) {
		value, content := cryptobyte.String(e.Value), cryptobyte.String(nil)
		if value.ReadASN1(&content, cryptobyteasn1.OCTET_STRING) && value.Empty() {
			return content
		}
	}
	return nil
}

// AltNames reads the subjectAltName extension itself, because crypto/x509 passes over kinds of names that it does not
// know. A dNSName is given as "DNS:name", any other kind by its tag.
func AltNames(cert *x509.Certificate) ([]string, error) {
	found := extensions(cert, oidSubjectAltName)
	if len(found) != 1 {
		return nil, fmt.Errorf("the extension is there %d times", len(found))
	}
	value, sequence := cryptobyte.String(found[0].Value), cryptobyte.String(nil)
	if !value.ReadASN1(&sequence, cryptobyteasn1.SEQUENCE) || !value.Empty() {
		return nil, errors.New("the extension is not a sequence")
	}
	var names []string
	for !sequence.Empty() {
		var name cryptobyte.String
		var tag cryptobyteasn1.Tag
		if !sequence.ReadAnyASN1(&name, &tag) {
			return nil, errors.New("a name is malformed")
		}
		if tag == cryptobyteasn1.Tag(2).ContextSpecific() { // dNSName, RFC 5280 section 4.2.1.6
			names = append(names, "DNS:"+cut(string(name), 300))
			continue
		}
		names = append(names, fmt.Sprintf("tag 0x%02x", uint8(tag)))
	}
	return names, nil
}
