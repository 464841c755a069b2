package resolver

import (
	"strings"

	"github.com/quorate/quorate/va/dnssec"
)

// specialUse are the names that are not resolved in the public DNS: RFC 6761 (localhost, invalid, test), 6762 (local), 7686
// (onion), 8375 (home.arpa), 9476 (alt).
var specialUse = []string{"onion.", "local.", "localhost.", "invalid.", "test.", "alt.", "home.arpa."}

// refuse gives the verdict on a name that is never asked about.
func (r *Resolver) refuse(name string) (dnssec.Verdict, bool) {
	for _, s := range specialUse {
		if s == "test." && r.config.AllowSpecialUse {
			continue
		}
		if name == s || strings.HasSuffix(name, "."+s) {
			return failed(codeSpecialUse, dnssec.EDEProhibited, "%s lies below the special-use name %q, which is not resolved",
				name, strings.TrimSuffix(s, ".")), true
		}
	}
	return dnssec.Verdict{}, false
}
