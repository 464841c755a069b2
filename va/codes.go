package va

import (
	"fmt"
	"regexp"
	"slices"
)

// Code documents one value of Problem.Code that this package gives.
type Code struct {
	Code string
	// Means is one sentence for the reader of the documentation.
	Means string
	// Rules are the ids of docs/requirements.tsv behind it; every Problem with this code carries them.
	Rules []string
}

// codeForm is that of all codes of this program, and maxCode is longer than any.
var codeForm = regexp.MustCompile(`^[a-z]+(-[a-z]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)+$`)

const maxCode = 48

// IsCode tells whether a text has the form of a problem's code: another perspective's report names codes too, and may name anything.
func IsCode(s string) bool { return len(s) <= maxCode && codeForm.MatchString(s) }

// Codes lists the problem codes of this package, area by area. Codes are stable: one may be added, none changes its
// meaning.
func Codes() []Code {
	return []Code{
		{"request.kind", "the attempt is of no kind, or asks for other checks than its kind has", []string{"MPIC-01"}},
		{"request.method", "the method is none that this program knows", []string{"DCV-01"}},
		{"request.token", "the token is not base64url, or carries less than 112 bits", []string{"DCV-12"}},
		{"request.token-age", "the token was created 30 days ago or earlier, in the future, or at no known time",
			[]string{"DCV-12"}},
		{"request.key-authorization", "the key authorization is not the token, a dot and a SHA-256 thumbprint",
			[]string{"DCV-17"}},
		{"request.account", "the account URI is not an absolute URI", []string{"CAA-04"}},
		{"request.issuers", "the issuer domain names are missing, or one of them is none", []string{"CAA-02"}},
		{"request.certificate-type", "the certificate type is unknown, or not one for which this can be checked", []string{"CAA-10"}},
		{"request.deadline", "the probe's deadline had passed before the check began", nil},

		{"name.syntax", "the identifier is not a DNS name in A-labels and lower case", []string{"DCV-01"}},
		{"name.address", "the identifier is an IP address, which this program does not validate", []string{"DCV-01"}},
		{"name.onion", "Onion Domain Names are not supported", []string{"DCV-02"}},
		{"name.special-use", "the name lies in a domain that is not part of the public DNS by an RFC", []string{"DCV-28"}},
		{"name.reverse-zone", "the name ends in an IP Reverse Zone Suffix", []string{"DCV-28"}},
		{"name.internal", "the name does not end in a top-level domain of the IANA root zone", []string{"DCV-28"}},
		{"name.wildcard", "the asterisk is not the whole leftmost label, or the method does not validate wildcards",
			[]string{"DCV-19"}},
		{"name.public-suffix", "the wildcard would cover what a registry hands out", []string{"DCV-27"}},

		{"dns.lookup", "a lookup gave no answer that may be used", []string{"DCV-04"}},
		{"dnssec.bogus", "an answer did not pass DNSSEC validation", []string{"DCV-04", "DCV-05"}},
		{"address.missing", "the host has no address", nil},
		{"address.reserved", "the host has a Reserved IP Address", []string{"DCV-28"}},
		{"address.unreachable", "no connection could be made", nil},

		{"http.redirect", "a status of 3xx that is not followed, or a redirect without one clear target", []string{"DCV-16"}},
		{"http.scheme", "a redirect to something other than http or https", []string{"DCV-16"}},
		{"http.port", "a redirect to a port other than 80 and 443", []string{"DCV-16"}},
		{"http.host", "a redirect to a host that is not a public DNS name, or with user information", []string{"DCV-16"}},
		{"http.hops", "too many redirects", []string{"DCV-16"}},
		{"http.loop", "a redirect to a URL that was fetched before", []string{"DCV-16"}},
		{"http.echo", "a redirect whose URL holds the key authorization", []string{"DCV-17"}},
		{"http.status", "the status is not 2xx", []string{"DCV-17"}},
		{"http.body", "the body is not the key authorization", []string{"DCV-17"}},
		{"http.size", "the body is larger than a key authorization can be", []string{"DCV-17"}},
		{"http.broken", "the response is not acceptable HTTP, its headers are too large, or it broke off", nil},
		{"http.timeout", "the response was not complete in time", nil},

		{"txt.missing", "there is no TXT record", []string{"DCV-11"}},
		{"txt.mismatch", "no TXT record has the expected value", []string{"DCV-11"}},

		{"tls.handshake", "the TLS handshake failed", []string{"DCV-18"}},
		{"tls.timeout", "the TLS handshake was not complete in time", nil},
		{"tls.protocol", "acme-tls/1 was not negotiated", []string{"DCV-18"}},
		{"tls.certificate", "the server sent no certificate or more than one, or one that it did not sign itself",
			[]string{"DCV-18"}},
		{"tls.names", "the certificate's subject alternative names are not exactly the one name", []string{"DCV-18"}},
		{"tls.obsolete", "the certificate has the acmeIdentifier extension of an obsolete draft", []string{"DCV-18"}},
		{"tls.identifier", "the acmeIdentifier extension is missing, repeated, not critical, or not a DER octet string of 32 octets",
			[]string{"DCV-18"}},
		{"tls.digest", "the acmeIdentifier is not the SHA-256 of the key authorization", []string{"DCV-18"}},

		{"tls.untrusted", "the certificate of a server to which a report is posted does not verify", []string{"CAA-09"}},

		{"caa.forbidden", "CAA records exist, and none of them permits this CA", []string{"CAA-02"}},
		{"caa.account", "CAA permits this CA for another account", []string{"CAA-04"}},
		{"caa.method", "CAA permits this CA by another validation method", []string{"CAA-04"}},
		{"caa.critical", "a critical CAA property is unknown", []string{"CAA-03"}},
		{"caa.malformed", "a CAA property cannot be read, and so permits nobody", []string{"CAA-02"}},
		{"caa.bogus", "a CAA answer did not pass DNSSEC validation", []string{"CAA-07"}},
		{"caa.lookup", "a CAA lookup gave no answer that may be used", []string{"CAA-01", "CAA-07"}},

		{"perspective.panic", "a check came to a halt by a fault in the program", nil},
	}
}

// maxDetail is how long a detail is, in octets. Zones and web servers write into some, and mpic.Judge takes no long reason for one.
const maxDetail = 1000

// refuse makes a Problem with the rules that the table of Codes has for code.
func refuse(code, format string, args ...any) *Problem {
	p := &Problem{Code: code, Detail: cut(fmt.Sprintf(format, args...), maxDetail)}
	table := Codes()
	if i := slices.IndexFunc(table, func(c Code) bool { return c.Code == code }); i >= 0 {
		p.Rules = table[i].Rules
	}
	return p
}
