package dnssec

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// Canonical gives a domain name in the one form that this package compares: absolute, lower case (RFC 4034 section 6.2),
// with the escapes that reading the name from the wire would give, so that equal names are equal strings. Errors: the
// name is no domain name (RFC 1035 section 2.3.4: labels of 63 octets, 255 in all).
func Canonical(name string) (string, error) {
	var buf [256]byte
	n, err := dns.PackDomainName(dns.Fqdn(name), buf[:], 0, nil, false)
	if err != nil {
		return "", fmt.Errorf("dnssec: %q is no domain name: %w", name, err)
	}
	s, _, err := dns.UnpackDomainName(buf[:n], 0)
	if err != nil {
		return "", fmt.Errorf("dnssec: %q is no domain name: %w", name, err)
	}
	return strings.ToLower(s), nil
}

// lower is Canonical for a name that was read from the wire.
func lower(name string) string { return strings.ToLower(name) }

// Below tells whether name lies strictly below parent. Both are canonical.
func Below(name, parent string) bool { return name != parent && dns.IsSubDomain(parent, name) }

// within tells whether name is parent or lies below it.
func within(name, parent string) bool { return name == parent || dns.IsSubDomain(parent, name) }

// Ancestor gives the name of the last n labels of a canonical name; n is at most the name's own number of labels.
func Ancestor(name string, n int) string {
	if n == 0 {
		return "."
	}
	labels := dns.Split(name)
	if n >= len(labels) {
		return name
	}
	return name[labels[len(labels)-n]:]
}

// wireLabels gives a name's labels as octets, the one next to the root first, as the canonical order compares them.
func wireLabels(name string) [][]byte {
	var buf [256]byte
	n, err := dns.PackDomainName(name, buf[:], 0, nil, false)
	if err != nil {
		return nil // impossible for a canonical name; an empty list sorts as the root and covers nothing
	}
	var labels [][]byte
	for off := 0; off < n && buf[off] != 0; off += int(buf[off]) + 1 {
		labels = append(labels, bytes.ToLower(buf[off+1:off+1+int(buf[off])]))
	}
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	return labels
}

// compareNames is the canonical order of names (RFC 4034 section 6.1).
func compareNames(a, b string) int {
	la, lb := wireLabels(a), wireLabels(b)
	for i := 0; i < len(la) && i < len(lb); i++ {
		if c := bytes.Compare(la[i], lb[i]); c != 0 {
			return c
		}
	}
	return len(la) - len(lb)
}

// commonAncestor is the longest name that both names are within.
func commonAncestor(a, b string) string { return Ancestor(a, dns.CompareDomainName(a, b)) }
