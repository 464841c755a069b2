package mpic

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// ownResolution tells why a report does not rest on resolution from the root by the perspective itself, as the primary's must
// (DCV-04): an upstream resolver's answers are validated too, and yet it is the upstream that saw the name servers.
func ownResolution(r *va.Report) *va.Problem {
	upstream := r.Resolver.Mode
	if upstream == resolver.Iterative {
		upstream = ""
	}
	for l := range r.EachLookup() {
		if l.Upstream != "" {
			upstream = l.Upstream
		}
	}
	if upstream == "" && r.Resolver.Mode == resolver.Iterative {
		return nil
	}
	return &va.Problem{Code: "primary.upstream", Rules: []string{"DCV-04"},
		Detail: fmt.Sprintf("the primary's report rests on a resolver that is not the primary's own (%q)", upstream)}
}

// answers gives the records of one type out of the account of a lookup, in presentation format, none where the answer
// was that there are none. It gives an error unless the account is of this very question (C1), may be relied upon
// (DCV-04, CAA-07), and holds nothing but aliases that lead on from the name, and the records at their end. name has no
// trailing dot.
func answers(l *resolver.Lookup, name, kind string) ([]string, error) {
	if asked, rooted := strings.CutSuffix(l.Name, "."); !rooted || asked != name || l.Type != kind {
		return nil, fmt.Errorf("where the lookup of %s. %s belongs, that of %s %s stands", name, kind, l.Name, l.Type)
	}
	name = l.Name
	if !l.Status.Usable() {
		return nil, fmt.Errorf("the lookup of %s %s is %s", name, kind, l.Status)
	}
	var out []string
	for _, text := range l.Answers {
		// A tab in an owner name would be escaped: what stands before the fourth is the header.
		owner, rest, _ := strings.Cut(text, "\t")
		_, rest, _ = strings.Cut(rest, "\t")
		class, rest, _ := strings.Cut(rest, "\t")
		what, _, whole := strings.Cut(rest, "\t")
		if !whole || class != "IN" {
			return nil, fmt.Errorf("the lookup of %s %s holds what is no record: %q", l.Name, kind, text)
		}
		owner = dns.CanonicalName(owner)
		if owner == name && what == kind {
			out = append(out, text)
			continue
		}
		next := alias(text, owner, what, name)
		if next == "" || len(out) > 0 {
			return nil, fmt.Errorf("the lookup of %s %s holds a record that does not belong there: %q", l.Name, kind, text)
		}
		name = next
	}
	return out, nil
}

// alias gives the name that a CNAME record at a name, or a DNAME record above it (RFC 6672 section 2.2), makes of it;
// empty where the record is neither.
func alias(text, owner, what, name string) string {
	if (what != "CNAME" || owner != name) && (what != "DNAME" || owner == name || !dnssec.Below(name, owner)) {
		return ""
	}
	rr, _ := dns.NewRR(text) // nil where it cannot be read
	switch rr := rr.(type) {
	case *dns.CNAME:
		return dns.CanonicalName(rr.Target)
	case *dns.DNAME:
		above := name[:len(name)-len(strings.TrimPrefix(owner, "."))]
		return dns.CanonicalName(above + strings.TrimPrefix(rr.Target, "."))
	default:
		return ""
	}
}
