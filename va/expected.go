package va

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Expected is the challenge information that a perspective must have seen for the request: what a passing
// DCVFinding.Observed is compared with (MPIC-10). It is empty, and equals nothing that was seen, for a method that is
// none.
func (r Request) Expected() string {
	sum := sha256.Sum256([]byte(r.KeyAuthorization))
	if r.KeyAuthorizationDigest != "" {
		given, err := base64.RawURLEncoding.Strict().DecodeString(r.KeyAuthorizationDigest)
		if err != nil || len(given) != sha256.Size || r.KeyAuthorization != "" {
			return ""
		}
		sum = [sha256.Size]byte(given)
	}
	switch r.Method {
	case HTTP01:
		return r.KeyAuthorization // RFC 8555 section 8.3
	case DNS01:
		return base64.RawURLEncoding.EncodeToString(sum[:]) // RFC 8555 section 8.4
	case TLSALPN01:
		return hex.EncodeToString(sum[:]) // RFC 8737 section 3
	default:
		return ""
	}
}

// Queried is the name whose record or host the method examines, without trailing dot: the challenge label before the
// FQDN for dns-01 (RFC 8555 section 8.4), otherwise the FQDN itself.
func (r Request) Queried() string {
	if r.Method == DNS01 {
		return underscored(acmeChallenge, r.FQDN())
	}
	return r.FQDN()
}

const acmeChallenge = "_acme-challenge"

// underscored puts a label in front of an FQDN. It is the one place where such names are made. A label without
// underscore gives the empty name, which no check accepts (BR 3.2.2.4.7; D2): anybody who can register a host name
// below the FQDN could otherwise answer for it.
func underscored(label, fqdn string) string {
	if !strings.HasPrefix(label, "_") {
		return ""
	}
	return label + "." + fqdn
}
