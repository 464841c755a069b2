package mpic

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/va"
)

// Scope says which names a granted validation may be relied upon for (D4). The zero value is no scope, and covers nothing.
type Scope uint8

const (
	// Exact: the Authorization Domain Name alone.
	Exact Scope = iota + 1
	// WildcardScope: the Authorization Domain Name, and the Wildcard Domain Name directly above its children.
	WildcardScope
	// Subtree: the Authorization Domain Name, all names below it, and the Wildcard Domain Names among them (the note in BR
	// 3.2.2.4.7).
	Subtree
)

var scopeNames = map[Scope]string{Exact: "exact", WildcardScope: "wildcard", Subtree: "subtree"}

// String gives "exact", "wildcard", "subtree", or "no scope".
func (s Scope) String() string {
	if n, ok := scopeNames[s]; ok {
		return n
	}
	return "no scope"
}

// MarshalText refuses a value that is no scope.
func (s Scope) MarshalText() ([]byte, error) {
	if n, ok := scopeNames[s]; ok {
		return []byte(n), nil
	}
	return nil, fmt.Errorf("mpic: %d is no scope", uint8(s))
}

// UnmarshalText refuses everything but a scope's name.
func (s *Scope) UnmarshalText(text []byte) error {
	for v, n := range scopeNames {
		if n == string(text) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("mpic: %q is no scope", text)
}

// Granting gives the scope that an attempt has if it is granted: none for a CAARecheck. http-01 and tls-alpn-01 show control of
// one host, and never of another name (DCV-19, D4). A subtree never begins at a name below which a registry hands out names.
func Granting(a Attempt) Scope {
	req := a.Probe.Request
	switch {
	case !a.Kind.dcv() || req.Method.Section() == "":
		return 0
	case req.Method != va.DNS01:
		return Exact
	case a.Subtree && !va.RegistryControlled(req.FQDN()):
		return Subtree
	case req.Wildcard():
		return WildcardScope
	default:
		return Exact
	}
}

// Covers tells whether a validation of an Authorization Domain Name may be relied upon for a name, "*." in front for a Wildcard
// Domain Name. Names are compared label by label and exactly: in A-labels and lower case, without trailing dot. A subtree ends
// where a registry hands out names, whoever is above.
func Covers(s Scope, authorizationDomainName, name string) bool {
	base, wildcard := strings.CutPrefix(name, "*.")
	if !labels(authorizationDomainName) || !labels(base) {
		return false
	}
	switch s {
	case Exact:
		return !wildcard && base == authorizationDomainName
	case WildcardScope:
		return base == authorizationDomainName
	case Subtree:
		if base != authorizationDomainName && !strings.HasSuffix(base, "."+authorizationDomainName) {
			return false
		}
		for at := base; at != "" && !va.RegistryControlled(at); at = parent(at) {
			if at == authorizationDomainName {
				return true
			}
		}
	}
	return false
}

// labels tells whether a name consists of labels, none of which is empty or has an asterisk.
func labels(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.Contains(label, "*") {
			return false
		}
	}
	return true
}

// CoveringNames gives the identifiers whose validation can cover a name, in any scope: the name itself, the wildcard of a plain
// name and the base of a wildcard, and the names above it with their wildcards.
func CoveringNames(name string) []string {
	base, wildcard := strings.CutPrefix(name, "*.")
	if !labels(base) {
		return nil
	}
	out := []string{base, "*." + base}
	if wildcard {
		out = []string{"*." + base, base}
	}
	for at := parent(base); at != "" && !va.RegistryControlled(at); at = parent(at) {
		out = append(out, at, "*."+at)
	}
	return out
}
