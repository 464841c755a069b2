package va

import (
	"context"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxObserved is how much of what was there instead a finding keeps, in octets.
const maxObserved = 1024

// dns01 is RFC 8555 section 8.4 and BR 3.2.2.4.7 (DCV-11): a TXT record at the FQDN's _acme-challenge label has the
// SHA-256 of the key authorization. Aliases are followed by the resolver. The Authorization Domain Name is the FQDN
// itself: labels are not pruned, and no alias target is taken for it (DCV-13 leaves both to the CA).
func (c *Checker) dns01(ctx context.Context, req Request, f *DCVFinding) (Outcome, *Problem) {
	name := req.Queried()
	if !strings.HasPrefix(name, "_") { // D2
		return Error, refuse("name.syntax", "%q does not begin with an underscore; a host could answer there", name)
	}
	answer := c.ask(ctx, name, dns.TypeTXT)
	f.Lookups = append(f.Lookups, answer.Lookup)
	if p := unusable(answer.Lookup); p != nil {
		return Error, p
	}
	var values []string
	for _, rr := range answer.Records {
		if txt, ok := rr.(*dns.TXT); ok {
			// RFC 8555 does not say how the strings of one record go together; all clients and servers join them.
			values = append(values, strings.Join(txt.Txt, ""))
		}
	}
	expected := req.Expected()
	at := func(p *Problem) *Problem {
		p.Name, p.Type = name, "TXT"
		return p
	}
	switch {
	case len(values) == 0:
		return Fail, at(refuse("txt.missing", "there is no TXT record at %s (%s)", name, answer.Lookup.Rcode))
	case slices.Contains(values, expected):
		f.Observed = expected
		return Pass, nil
	}
	f.Observed = cut(strings.Join(values, "\n"), maxObserved)
	return Fail, at(refuse("txt.mismatch", "none of the %d TXT records at %s has the value %s; the first is %q",
		len(values), name, expected, cut(values[0], 100)))
}
