package va

import "fmt"

// CertificateType is what a certificate is for, and so which CAA properties decide on it. The zero value is TLSServer, so that a
// request that does not name a type is held to the rules for TLS.
type CertificateType uint8

const (
	// TLSServer: issue and issuewild decide (RFC 8659 section 4).
	TLSServer CertificateType = iota
	// SMIME: issuemail alone decides (CAA-10, RFC 9495 section 4). The identifier is the domain of the e-mail address. It is for
	// probes of CAA alone: control of a mailbox is not this program's to validate.
	SMIME
)

var certificateTypeNames = map[CertificateType]string{TLSServer: "tls-server", SMIME: "s-mime"}

// ParseCertificateType reads "tls-server" or "s-mime", the words of Open MPIC's certificate_type.
func ParseCertificateType(text string) (CertificateType, error) {
	for t, n := range certificateTypeNames {
		if n == text {
			return t, nil
		}
	}
	return 0, fmt.Errorf("va: %q is no certificate type (tls-server, s-mime)", text)
}

// String gives the type's name, or "no certificate type".
func (t CertificateType) String() string {
	if n, ok := certificateTypeNames[t]; ok {
		return n
	}
	return "no certificate type"
}

// MarshalText refuses a value that is no certificate type.
func (t CertificateType) MarshalText() ([]byte, error) {
	if n, ok := certificateTypeNames[t]; ok {
		return []byte(n), nil
	}
	return nil, fmt.Errorf("va: %d is no certificate type", uint8(t))
}

// UnmarshalText refuses everything but a type's name.
func (t *CertificateType) UnmarshalText(text []byte) error {
	v, err := ParseCertificateType(string(text))
	if err != nil {
		return err
	}
	*t = v
	return nil
}

// checkCertificateType tells why CAA cannot be evaluated for a request's type; nil when it can. RFC 9495 has no wildcards: a
// mailbox is in one domain.
func checkCertificateType(r Request) *Problem {
	switch _, known := certificateTypeNames[r.CertificateType]; {
	case !known:
		return refuse("request.certificate-type", "the certificate type is none of tls-server and s-mime")
	case r.CertificateType == SMIME && r.Wildcard():
		return refuse("request.certificate-type", "%s is a Wildcard Domain Name, and no mailbox of an S/MIME certificate is in one",
			cut(r.Identifier, maxName+len("*.")))
	}
	return nil
}
