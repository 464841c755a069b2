// Package boulder speaks Boulder's gRPC: va.VA/DoDCV and va.CAA/DoCAA. Server stands where Boulder's RA has its VA, in front of a
// mpic.Coordinator; Remote asks Boulder's remoteva as a remote perspective. The messages are Boulder's own (va/proto, core/proto).
// docs/boulder.md says what changes in a CA that uses it.
package boulder

import (
	"math"
	"strings"

	corepb "github.com/letsencrypt/boulder/core/proto"

	"github.com/quorate/quorate/mpic"
)

// The services and methods, as gRPC names them.
const (
	vaService     = "va.VA"
	caaService    = "va.CAA"
	healthService = "grpc.health.v1.Health"

	doDCV = "/va.VA/DoDCV"
	doCAA = "/va.CAA/DoCAA"
)

// tracePrefix stands before an authorization's number where it is a call's trace.
const tracePrefix = "authz:"

// pending is the status of a challenge that may be validated (RFC 8555 section 7.1.6).
const pending = "pending"

// identifierDNS is RFC 8555's identifier type of a domain name.
const identifierDNS = "dns"

// ripe is what Boulder calls the region that the roster calls RIPE NCC; the other four have one name.
const ripe = "RIPE"

func rir(r mpic.Region) string {
	if r == mpic.RIPE {
		return ripe
	}
	return string(r)
}

// region reads Boulder's name of a region. What is none stays as it is, and is then no region of the roster.
func region(rir string) mpic.Region {
	if rir == ripe {
		return mpic.RIPE
	}
	return mpic.Region(rir)
}

// attemptNumber is what stands for the authorization's number where a remoteva is asked: it must be there, is written to the remoteva's log, and
// means nothing to the check. It is made of the attempt's identifier, so that both logs can be laid side by side.
func attemptNumber(attempt string) int64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	sum := uint64(offset)
	for _, c := range []byte(attempt) {
		sum = (sum ^ uint64(c)) * prime
	}
	return max(1, int64(sum&math.MaxInt64))
}

func dnsName(name string) *corepb.Identifier {
	return &corepb.Identifier{Type: identifierDNS, Value: name}
}

// cut shortens a text to so many octets, and leaves it UTF-8.
func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
