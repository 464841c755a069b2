package va

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"time"
)

const (
	// minToken is 132 bits in base64url: above the 112 bits of BR 1.6.1 and the 128 of RFC 8555 section 8.
	minToken = 22
	maxToken = 256
	// thumbprint is the length of a SHA-256 in base64url without padding (RFC 7638, RFC 8555 section 8.1).
	thumbprint = 43
	// TokenLife is how long after its creation a token is good for (BR 1.6.1; BR 3.2.2.4.7, .19 and .20).
	TokenLife = 30 * 24 * time.Hour
	// TokenSkew is how far in the future a token's creation may lie, because another machine's clock told it.
	TokenSkew = 5 * time.Minute
)

// Admit tells why a request cannot be validated at all; nil when it can. It does no I/O and reads no clock: the gate
// asks it before the first packet, a perspective when the probe arrives, and the judge again from the record. at is the
// time of asking. The problem's Field names the field of the request.
//
// It is for DCV and CAA together; Probe.Admit knows which of both are asked for.
func Admit(r Request, at time.Time) *Problem {
	return admit(r, at, []fieldRule{
		{"certificate_type", admitTLSServer},
		{"method", admitMethod},
		{"identifier", admitIdentifier},
		{"token", admitToken},
		{"token_created", admitTokenAge},
		{"key_authorization", admitKeyAuthorization},
		{"key_authorization_digest", admitNoDigest},
		{"account_uri", admitAccount},
		{"issuers", admitIssuers},
		{"account_aliases", admitNoAliases},
	})
}

// caaRules are those of a probe for CAA alone: all of the others', and nothing that belongs to a challenge.
func caaRules() []fieldRule {
	return []fieldRule{
		{"certificate_type", admitCertificateType},
		{"method", optional(func(r Request) bool { return r.Method == 0 }, admitMethod)},
		{"identifier", admitIdentifier},
		{"token", admitNoToken},
		{"token_created", admitNoTokenAge},
		{"key_authorization", admitNoKeyAuthorization},
		{"key_authorization_digest", admitNoDigest},
		{"account_uri", optional(func(r Request) bool { return r.AccountURI == "" }, admitAccount)},
		{"account_aliases", admitAliases},
		{"issuers", admitIssuers},
	}
}

// dcvRules are those of a probe for DCV alone: the challenge may come as a digest, where the method compares no more than that, and
// its date be unknown.
func dcvRules(r Request) []fieldRule {
	rules := []fieldRule{
		{"certificate_type", admitTLSServer},
		{"method", admitMethod},
		{"identifier", admitIdentifier},
		{"token", admitToken},
		{"token_created", optional(func(r Request) bool { return r.TokenCreated.IsZero() }, admitTokenAge)},
		{"key_authorization", admitKeyAuthorization},
		{"key_authorization_digest", admitNoDigest},
		{"account_uri", optional(func(r Request) bool { return r.AccountURI == "" }, admitAccount)},
		{"issuers", admitIssuers},
		{"account_aliases", admitNoAliases},
	}
	if r.KeyAuthorizationDigest != "" {
		rules[3].check, rules[5].check, rules[6].check = admitNoToken, admitNoKeyAuthorization, admitDigest
	}
	return rules
}

// optional applies a rule unless there is nothing to apply it to.
func optional(missing func(Request) bool, rule func(Request, time.Time) *Problem) func(Request, time.Time) *Problem {
	return func(r Request, at time.Time) *Problem {
		if missing(r) {
			return nil
		}
		return rule(r, at)
	}
}

// fieldRule is what one field of a request is held to.
type fieldRule struct {
	name  string
	check func(Request, time.Time) *Problem
}

func admit(r Request, at time.Time, rules []fieldRule) *Problem {
	for _, field := range rules {
		if p := field.check(r, at); p != nil {
			p.Field = field.name
			return p
		}
	}
	return nil
}

func admitCertificateType(r Request, _ time.Time) *Problem { return checkCertificateType(r) }

// admitTLSServer: DCV together with CAA is for TLS. An S/MIME certificate rests on a mailbox, which no method here validates, and
// an authorization must not rest on issuemail.
func admitTLSServer(r Request, _ time.Time) *Problem {
	if r.CertificateType != TLSServer {
		return refuse("request.certificate-type", "the certificate type is %s, for which CAA alone can be checked", r.CertificateType)
	}
	return nil
}

// admitMethod: DCV-01, only methods that are here, and so permitted on every day on which this program runs.
func admitMethod(r Request, at time.Time) *Problem {
	if r.Method.Section() == "" {
		return refuse("request.method", "the method (%s) is none of http-01, dns-01 and tls-alpn-01, which are those of %s",
			r.Method, at.UTC().Format(time.DateOnly))
	}
	return nil
}

// AdmitName tells why an identifier is none that a certificate can have, whatever the method: nil when it is a DNS name in
// A-labels and lower case, or "*." and such a name. It does no I/O.
func AdmitName(identifier string) *Problem {
	r := Request{Identifier: identifier}
	if p := admitBase(r); p != nil || !r.Wildcard() {
		return p
	}
	return checkWildcardBase(r.FQDN())
}

// AdmitAccount tells why a text is no account URI; nil when it is one.
func AdmitAccount(uri string) *Problem { return admitAccount(Request{AccountURI: uri}, time.Time{}) }

func admitBase(r Request) *Problem {
	if strings.Contains(r.FQDN(), "*") {
		return refuse("name.wildcard", "%q: an asterisk may only be the whole leftmost label",
			cut(r.Identifier, maxName))
	}
	if p := checkName(r.FQDN()); p != nil {
		p.Name = cut(r.Identifier, maxName+len("*."))
		return p
	}
	if len(r.Identifier) > maxName { // the asterisk stands for a label, which has a place in the DNS
		return refuse("name.syntax", "%s has %d characters; a DNS name has at most %d", r.Identifier, len(r.Identifier), maxName)
	}
	return nil
}

func admitIdentifier(r Request, _ time.Time) *Problem {
	if p := admitBase(r); p != nil {
		return p
	}
	if r.Method == DNS01 && len(r.Queried()) > maxName {
		return refuse("name.syntax", "%s is too long to have an %s label in front", r.FQDN(), acmeChallenge)
	}
	if !r.Wildcard() {
		return nil
	}
	if r.Method != DNS01 && r.Method != 0 { // DCV-19; without method, CAA alone is asked for
		return refuse("name.wildcard", "%s is a Wildcard Domain Name; %s (BR %s) does not validate those, dns-01 does",
			r.Identifier, r.Method, r.Method.Section())
	}
	return checkWildcardBase(r.FQDN())
}

// admitToken: DCV-12, RFC 8555 section 8.1. Entropy cannot be seen; a token too short to hold it can.
func admitToken(r Request, _ time.Time) *Problem {
	if len(r.Token) < minToken || len(r.Token) > maxToken {
		return refuse("request.token",
			"the token has %d characters, and must have %d to %d", len(r.Token), minToken, maxToken)
	}
	if !base64url(r.Token) {
		return refuse("request.token", "the token has characters outside the base64url alphabet")
	}
	return nil
}

// admitTokenAge: DCV-12 (D6).
func admitTokenAge(r Request, at time.Time) *Problem {
	switch {
	case r.TokenCreated.IsZero():
		return refuse("request.token-age", "it is not said when the token was created")
	case r.TokenCreated.After(at.Add(TokenSkew)):
		return refuse("request.token-age", "the token was created at %s, which is still to come at %s",
			r.TokenCreated.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case at.Sub(r.TokenCreated) >= TokenLife:
		return refuse("request.token-age", "the token was created at %s; at %s it is 30 days old or older",
			r.TokenCreated.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	return nil
}

func admitKeyAuthorization(r Request, _ time.Time) *Problem {
	rest, ok := strings.CutPrefix(r.KeyAuthorization, r.Token+".")
	_, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(rest) != thumbprint || !base64url(rest) {
		return refuse("request.key-authorization",
			"the key authorization is not the token, a dot and a thumbprint of %d characters", thumbprint)
	}
	return nil
}

func admitNoToken(r Request, _ time.Time) *Problem {
	if r.Token != "" {
		return refuse("request.token", "what is checked has no token: it is CAA alone, or the digest of a key authorization")
	}
	return nil
}

func admitNoTokenAge(r Request, _ time.Time) *Problem {
	if !r.TokenCreated.IsZero() {
		return refuse("request.token-age", "CAA alone is checked, which has no token that was created at any time")
	}
	return nil
}

func admitNoKeyAuthorization(r Request, _ time.Time) *Problem {
	if r.KeyAuthorization != "" {
		return refuse("request.key-authorization", "what is checked has no key authorization: it is CAA alone, or the digest of one")
	}
	return nil
}

func admitNoDigest(r Request, _ time.Time) *Problem {
	if r.KeyAuthorizationDigest != "" {
		return refuse("request.key-authorization", "the digest of a key authorization stands for one only where DCV alone is checked")
	}
	return nil
}

// admitDigest: http-01 compares the key authorization itself, which no digest gives.
func admitDigest(r Request, _ time.Time) *Problem {
	if r.Method == HTTP01 {
		return refuse("request.key-authorization", "http-01 needs the key authorization, and there is only its digest")
	}
	sum, err := base64.RawURLEncoding.Strict().DecodeString(r.KeyAuthorizationDigest)
	if err != nil || len(sum) != sha256.Size || !base64url(r.KeyAuthorizationDigest) {
		return refuse("request.key-authorization", "the digest of the key authorization is not a SHA-256 in base64url without padding")
	}
	return nil
}

func admitAccount(r Request, _ time.Time) *Problem {
	u, err := url.Parse(r.AccountURI)
	if err != nil || !u.IsAbs() || u.Host == "" && u.Opaque == "" || !printable(r.AccountURI) || len(r.AccountURI) > 2048 {
		return refuse("request.account", "%q is not an absolute URI", cut(r.AccountURI, 200))
	}
	return nil
}

// maxAliases bounds Request.AccountAliases.
const maxAliases = 16

func admitAliases(r Request, at time.Time) *Problem {
	if len(r.AccountAliases) > maxAliases || len(r.AccountAliases) > 0 && r.AccountURI == "" {
		return refuse("request.account", "there are %d other URIs of an account; at most %d are read, and only beside its URI",
			len(r.AccountAliases), maxAliases)
	}
	for _, uri := range r.AccountAliases {
		if p := admitAccount(Request{AccountURI: uri}, at); p != nil {
			return p
		}
	}
	return nil
}

func admitNoAliases(r Request, _ time.Time) *Problem {
	if len(r.AccountAliases) > 0 {
		return refuse("request.account", "an account has other URIs only where CAA alone is checked")
	}
	return nil
}

func admitIssuers(r Request, _ time.Time) *Problem {
	if len(r.Issuers) == 0 {
		return refuse("request.issuers", "there is no issuer domain name, so that no CAA record could permit")
	}
	for _, issuer := range r.Issuers {
		if len(issuer) > maxName || issuer != strings.ToLower(issuer) || !issuerDomain(issuer) {
			return refuse("request.issuers",
				"%q is not an issuer domain name in lower case (RFC 8659 section 4.2)", cut(issuer, 200))
		}
	}
	return nil
}

func base64url(s string) bool { return alphanumericOr(s, '-', '_') }

// printable tells whether s is visible ASCII without spaces.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
