package va

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Method is a validation method. The zero value is no method.
type Method uint8

const (
	HTTP01 Method = iota + 1
	DNS01
	TLSALPN01
)

// methodFacts are the names that a method goes by.
var methodFacts = map[Method]struct{ label, section string }{
	HTTP01:    {"http-01", "3.2.2.4.19"},
	DNS01:     {"dns-01", "3.2.2.4.7"},
	TLSALPN01: {"tls-alpn-01", "3.2.2.4.20"},
}

// Methods lists all methods, in the order of their numbers.
func Methods() []Method { return []Method{HTTP01, DNS01, TLSALPN01} }

// ParseMethod reads the registered ACME label, in lower case.
func ParseMethod(label string) (Method, error) {
	for m, f := range methodFacts {
		if f.label == label {
			return m, nil
		}
	}
	return 0, fmt.Errorf("va: %q is no method (http-01, dns-01, tls-alpn-01)", label)
}

// String gives the registered ACME label, for example "http-01".
func (m Method) String() string {
	if f, ok := methodFacts[m]; ok {
		return f.label
	}
	return "no method"
}

// Section gives the method's section of the Baseline Requirements for DNS names, for example "3.2.2.4.19".
func (m Method) Section() string { return methodFacts[m].section }

// MarshalText refuses a value that is no method.
func (m Method) MarshalText() ([]byte, error) {
	if f, ok := methodFacts[m]; ok {
		return []byte(f.label), nil
	}
	return nil, fmt.Errorf("va: %d is no method", uint8(m))
}

// UnmarshalText refuses everything but a registered label.
func (m *Method) UnmarshalText(text []byte) error {
	v, err := ParseMethod(string(text))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// Request is one name to be checked by one method. Where the probe is for CAA alone, it has no token and what is made of one, and need
// have neither method nor account: nothing in CAA records that names one is then satisfied.
type Request struct {
	// Identifier is the name applied for: a DNS name in A-labels and lower case, without trailing dot, with "*." in front
	// for a Wildcard Domain Name.
	Identifier string `json:"identifier"`
	Method     Method `json:"method,omitzero"`
	// Token is the challenge's token (RFC 8555 section 8.1): base64url, at least 112 bits by BR 1.6.1.
	Token string `json:"token"`
	// KeyAuthorization is Token, a dot and the account key's thumbprint (RFC 8555 section 8.1).
	KeyAuthorization string `json:"key_authorization"`
	// KeyAuthorizationDigest is the SHA-256 of the key authorization, in base64url without padding. It stands in the place of token and
	// key authorization where a caller asks for DCV alone and keeps both to itself, as Open MPIC's clients do; empty otherwise.
	KeyAuthorizationDigest string `json:"key_authorization_digest,omitempty"`
	// TokenCreated is when the token was made. BR 1.6.1 refuses it 30 days later. It may be missing where DCV alone is asked for, by a
	// protocol that does not tell it: then the caller answers for its tokens' age, and no authorization is made.
	TokenCreated time.Time `json:"token_created,omitzero"`
	// AccountURI is the ACME account's URL, compared with CAA's accounturi (RFC 8657 section 3).
	AccountURI string `json:"account_uri"`
	// AccountAliases are other URIs of the same account, which CAA's accounturi may name as well; 16 at most. They come from the gate's
	// configuration, and only where CAA alone is asked for, by a protocol that tells an account's number and not its URI.
	AccountAliases []string `json:"account_aliases,omitempty"`
	// Issuers are the CA's Issuer Domain Names (BR 3.2.2.8), in lower case; any of them in a CAA issue property permits.
	// They come from the gate's configuration, never from a caller.
	Issuers []string `json:"issuers"`
	// CertificateType says which CAA properties decide. It is left out where it is TLSServer; SMIME is for CAA alone.
	CertificateType CertificateType `json:"certificate_type,omitempty"`
}

// Wildcard tells whether the name applied for is a Wildcard Domain Name.
func (r Request) Wildcard() bool { return strings.HasPrefix(r.Identifier, "*.") }

// FQDN is Identifier without "*.": the Authorization Domain Name that is validated, and the name that CAA is looked up for.
func (r Request) FQDN() string { return strings.TrimPrefix(r.Identifier, "*.") }

// Probe is what one attempt sends to each perspective.
type Probe struct {
	// Attempt is the attempt's identifier, unique for ever.
	Attempt string `json:"attempt"`
	// Nonce is 128 random bits in hexadecimal, new for each attempt; a reply repeats it.
	Nonce string `json:"nonce"`
	// Deadline is when an answer is no longer of use.
	Deadline time.Time `json:"deadline"`
	Request  Request   `json:"request"`
	// CAALookupFailure is what a failed CAA lookup counts for (CAA-06). It comes from the gate's configuration, never from a
	// caller. Without it, as in probes of before there was such a rule, a failure is never permission.
	CAALookupFailure FailureRule `json:"caa_lookup_failure,omitempty"`
	// CAAAlone asks for CAA and not for DCV. It comes from the attempt's kind, never from a caller.
	CAAAlone bool `json:"caa_alone,omitempty"`
	// DCVAlone asks for DCV and not for CAA, for a caller whose protocol asks for each by a call of its own. It comes from the
	// attempt's kind.
	DCVAlone bool `json:"dcv_alone,omitempty"`
}

// Admit tells why a probe's request cannot be checked at all; nil when it can. See the function Admit.
func (p Probe) Admit(at time.Time) *Problem {
	switch {
	case p.CAAAlone && p.DCVAlone:
		return refuse("request.kind", "the probe asks for CAA alone and for DCV alone")
	case p.CAAAlone:
		return admit(p.Request, at, caaRules())
	case p.DCVAlone:
		return admit(p.Request, at, dcvRules(p.Request))
	default:
		return Admit(p.Request, at)
	}
}

// account tells whether a URI is one of the account's (CAA-04).
func (r Request) account(uri string) bool {
	return uri == r.AccountURI || slices.Contains(r.AccountAliases, uri)
}
