// Package boulder speaks Boulder's gRPC: va.VA/DoDCV and va.CAA/DoCAA. Server stands where Boulder's RA has its VA, in front of a
// mpic.Coordinator; Remote asks Boulder's remoteva as a remote perspective. The messages are Boulder's own (va/proto, core/proto).
// docs/boulder.md says what changes in a CA that uses it.
package boulder

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
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

// Accounts are what stands before an account's number in its URI, as Boulder's accountURIPrefixes: the first is today's, the others are
// those of older accounts. Boulder's messages have the number alone.
type Accounts []string

// Check tells what is wrong with them: there is one at least and there are 16 at most; each is the beginning of an absolute URI; and none ends
// in a digit, so that no URI is that of two accounts.
func (a Accounts) Check() error {
	if len(a) == 0 || len(a) > 16 {
		return fmt.Errorf("%d account URI prefixes: 1 to 16 are needed, as Boulder's accountURIPrefixes has them", len(a))
	}
	var errs []error
	for i, p := range a {
		u, err := url.Parse(p)
		switch {
		case err != nil || !u.IsAbs() || u.Host == "" && u.Opaque == "" || strings.ContainsAny(p, " \t\r\n") || len(p) > 1024:
			errs = append(errs, fmt.Errorf("%q is not the beginning of an absolute URI", p))
		case p[len(p)-1] >= '0' && p[len(p)-1] <= '9':
			errs = append(errs, fmt.Errorf("%q ends in a digit: where the account's number begins could not be told", p))
		}
		for _, other := range a[:i] {
			if p == other {
				errs = append(errs, fmt.Errorf("%q is listed twice", p))
			}
		}
	}
	return errors.Join(errs...)
}

// uris gives an account's URI of today, and its older ones.
func (a Accounts) uris(id int64) (uri string, aliases []string) {
	for _, prefix := range a[1:] {
		aliases = append(aliases, prefix+strconv.FormatInt(id, 10))
	}
	return a[0] + strconv.FormatInt(id, 10), aliases
}

// id gives the number of the account that a URI is of.
func (a Accounts) id(uri string) (int64, error) {
	for _, prefix := range a {
		if rest, ok := strings.CutPrefix(uri, prefix); ok {
			if id, ok := number(rest); ok {
				return id, nil
			}
		}
	}
	return 0, fmt.Errorf("%q is none of the configured account URI prefixes with a number behind it", cut(uri, 200))
}

// number reads a number as Boulder writes one: decimal, 1 or more, without sign and leading zeros.
func number(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatInt(n, 10) == text
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
