package va

import (
	"net/netip"
	"strings"

	"github.com/weppos/publicsuffix-go/publicsuffix"
	"golang.org/x/net/idna"
)

// maxName is the length of the longest DNS name in presentation format without trailing dot (RFC 1035 section 2.3.4).
const maxName = 253

// specialUse are the domains that the IANA registry of Special-Use Domain Names takes out of the public DNS, with their
// source. Names for documentation that are delegated (example.com) are not here: they resolve like any other.
var specialUse = []struct{ domain, source string }{
	{"alt", "RFC 9476"}, {"example", "RFC 6761"}, {"invalid", "RFC 6761"}, {"local", "RFC 6762"}, {"localhost", "RFC 6761"},
	{"test", "RFC 6761"}, {"home.arpa", "RFC 8375"}, {"ipv4only.arpa", "RFC 8880"}, {"resolver.arpa", "RFC 9462"},
	{"service.arpa", "RFC 9665"},
}

// checkName tells why name is not a DNS name that the public DNS can hold; nil when it is one. It does no I/O.
func checkName(name string) *Problem {
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return refuse("name.address", "%q is an IP address; only DNS names are validated", cut(name, maxName))
	}
	if problem := checkSyntax(name); problem != nil {
		return problem
	}
	if within(name, "onion") { // DCV-02: by Appendix B of the BRs or not at all, and Appendix B is not here
		return refuse("name.onion", "%s is an Onion Domain Name; they are not supported", name)
	}
	for _, s := range specialUse {
		if within(name, s.domain) {
			return refuse("name.special-use", "%s lies in %s, which is not part of the public DNS (%s)", name, s.domain, s.source)
		}
	}
	if within(name, "in-addr.arpa") || within(name, "ip6.arpa") { // DCV-28
		return refuse("name.reverse-zone", "%s ends in an IP Reverse Zone Suffix (BR 4.2.2)", name)
	}
	// DCV-28: an Internal Name is one whose top-level domain the root zone does not have. The ICANN section of the Public
	// Suffix List holds every one that it has. The two labels in front make rules like "*.ck" match too.
	if icannRule("a.b."+name[strings.LastIndexByte(name, '.')+1:]) == nil {
		return refuse("name.internal",
			"%s does not end in a top-level domain of the IANA root zone: it is an Internal Name (BR 4.2.2)", name)
	}
	return nil
}

// checkSyntax holds a name to lower case, LDH labels and P-labels (BR 1.6.1, 7.1.4.2.1).
func checkSyntax(name string) *Problem {
	switch {
	case name == "":
		return refuse("name.syntax", "the name is empty")
	case len(name) > maxName:
		return refuse("name.syntax", "the name has %d characters; a DNS name has at most %d", len(name), maxName)
	case strings.HasSuffix(name, "."):
		return refuse("name.syntax", "%q ends in a dot; names are given without it", name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if why := badLabel(label); why != "" {
			return refuse("name.syntax", "label %q of %q %s", label, name, why)
		}
	}
	return nil
}

// badLabel says what is wrong with a label, and nothing when it is a Non-Reserved LDH Label or a P-Label in lower case.
func badLabel(label string) string {
	switch {
	case label == "":
		return "is empty"
	case len(label) > 63:
		return "is longer than 63 characters"
	case label[0] == '-' || label[len(label)-1] == '-':
		return "begins or ends with a hyphen"
	}
	for _, c := range []byte(label) {
		switch {
		case c >= 'A' && c <= 'Z':
			return "has upper case letters"
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-':
		default:
			return "has something other than letters, digits and hyphens (an international name is given in A-labels)"
		}
	}
	if len(label) < 4 || label[2:4] != "--" {
		return ""
	}
	if !strings.HasPrefix(label, "xn--") {
		return "is reserved: two hyphens in the third and fourth place"
	}
	// A P-Label is Punycode that says something: it decodes to a label that is not ASCII, and encodes to itself.
	decoded, err := idna.Punycode.ToUnicode(label)
	if err != nil || decoded == label {
		return "is not valid Punycode"
	}
	if again, err := idna.Punycode.ToASCII(decoded); err != nil || again != label {
		return "is not valid Punycode"
	}
	return ""
}

// RegistryControlled tells whether a registry hands out names directly below name, or below its children: a top-level domain,
// a public suffix of the ICANN section, or a name below which such suffixes stand (DCV-27).
func RegistryControlled(name string) bool { return checkWildcardBase(name) != nil }

// checkWildcardBase refuses a wildcard directly below a registry-controlled name or a public suffix, by the ICANN
// section alone and with no rule invented for what it does not have (DCV-27, BR 3.2.2.6). base is the name below the
// asterisk.
func checkWildcardBase(base string) *Problem {
	if rule := icannRule("a." + base); rule != nil && suffixOf(rule, "a."+base) == base {
		return refuse("name.public-suffix",
			"*.%s would cover every name that the registry of %s hands out (BR 3.2.2.6)", base, base)
	}
	// A rule like "*.kawasaki.jp" makes the wildcard itself a public suffix.
	if rule := icannRule("a.b." + base); rule != nil && suffixOf(rule, "a.b."+base) == "b."+base {
		return refuse("name.public-suffix", "*.%s stands for public suffixes, such as b.%s (BR 3.2.2.6)", base, base)
	}
	if !strings.Contains(base, ".") {
		return refuse("name.public-suffix", "%s is a top-level domain (BR 3.2.2.6)", base)
	}
	return nil
}

// PublicName tells why name is not a DNS name that the public DNS can hold: lower case, A-labels, no trailing dot. It is nil when it is one.
func PublicName(name string) *Problem { return checkName(name) }

// RegisteredDomain gives the name that was registered: one label more than the public suffix of name, by the ICANN section of the Public
// Suffix List. A name without one is its own.
func RegisteredDomain(name string) string {
	rule := icannRule(name)
	if rule == nil {
		return name
	}
	parts := rule.Decompose(name)
	if parts[1] == "" {
		return name
	}
	return parts[0][strings.LastIndexByte(parts[0], '.')+1:] + "." + parts[1]
}

func icannRule(name string) *publicsuffix.Rule {
	return publicsuffix.DefaultList.Find(name, &publicsuffix.FindOptions{IgnorePrivate: true})
}

func suffixOf(rule *publicsuffix.Rule, name string) string { return rule.Decompose(name)[1] }

// within tells whether name is domain or lies below it, label by label.
func within(name, domain string) bool {
	above, below := strings.CutSuffix(name, domain)
	return below && (above == "" || above[len(above)-1] == '.')
}
