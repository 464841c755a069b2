// Package account knows an account by its URI and by the number that Boulder has for it. It stands apart from package boulder so that who reads
// configurations need not have gRPC.
package account

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Prefixes are what stand before an account's number in its URI, as Boulder's accountURIPrefixes: the first is today's, the others are
// those of older accounts. Boulder's messages have the number alone.
type Prefixes []string

// Check tells what is wrong with them: there is one at least and there are 16 at most; each is the beginning of an absolute URI; and none ends
// in a digit, so that no URI is that of two accounts.
func (a Prefixes) Check() error {
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

// URIs gives an account's URI of today, and its older ones.
func (a Prefixes) URIs(id int64) (uri string, aliases []string) {
	for _, prefix := range a[1:] {
		aliases = append(aliases, prefix+strconv.FormatInt(id, 10))
	}
	return a[0] + strconv.FormatInt(id, 10), aliases
}

// Number gives the number of the account that a URI is of; an error for one that is of none.
func (a Prefixes) Number(uri string) (int64, error) {
	for _, prefix := range a {
		if rest, ok := strings.CutPrefix(uri, prefix); ok {
			if id, ok := ParseNumber(rest); ok {
				return id, nil
			}
		}
	}
	return 0, fmt.Errorf("%q is none of the configured account URI prefixes with a number behind it", uri[:min(len(uri), 200)])
}

// ParseNumber reads a number as Boulder writes one: decimal, 1 or more, without sign and leading zeros.
func ParseNumber(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatInt(n, 10) == text
}
