package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// forbidden are wishes that a configuration may not have, by the keys that other software has for them. All would be
// refused as unknown; these get the reason. A key matches by its letters and digits alone, in lower case.
var forbidden = []struct {
	// words match the whole key; parts match anywhere in it.
	words, parts []string
	rule, text   string
}{
	{
		// DCV-09: no local policy can switch DNSSEC validation off. The words are those of unbound, BIND, knot-resolver,
		// systemd-resolved and dnsmasq.
		words: []string{"nta", "ntas", "permissive", "permissivemode", "valpermissivemode", "domaininsecure", "insecuredomains",
			"insecurezones", "validateexcept", "trustanchorfile", "checkingdisabled", "cdflag", "ignorecdflag", "validatesignatures",
			"disablevalidation", "skipvalidation", "novalidation"},
		parts: []string{"dnssec", "negativetrustanchor", "negativeanchor", "negativetrust"},
		rule:  "DCV-09",
		text: "DNSSEC validation is always on, for every zone: there is no setting for it, no negative trust anchor and no " +
			"permissive mode",
	},
	{
		words: []string{"quorum", "minremotes", "minimumremotes", "remotes", "requiredremotes", "maxfailures", "perspectivecount",
			"minregions", "quorumcount", "policy", "policydate", "skipcaa", "caa", "requirecaa", "bypass", "alwaysvalid"},
		parts: []string{"noncorroboration"},
		rule:  "MPIC-03",
		text: "the quorum, the counts and the checks come from the rules of the day and cannot be set; list more perspectives " +
			"to ask for more",
	},
	{
		words: []string{"port", "dnsport", "httpport", "httpsport", "tlsport", "alpnport", "roothints", "rootservers", "root",
			"trustanchor", "trustanchors", "anchors", "allowreserved", "reserved", "allowprivate", "clock", "now", "time", "upstream",
			"forwarder", "forwarders", "forwardzone", "nameserver", "nameservers"},
		rule: "docs/design.md, invariant 8",
		text: "the ports, the DNS root, its servers, its trust anchors, reserved addresses and the clock are not a matter of " +
			"configuration",
	},
	{
		words: []string{"insecure", "insecureskipverify", "skipverify", "plaintext", "tlsskipverify", "notls", "disabletls"},
		rule:  "MPIC-08",
		text:  "each channel is authenticated and encrypted, and there is no setting for it",
	},
}

// refuseForbidden looks at every key of the file, wherever it stands.
func (d *document) refuseForbidden(n ast.Node, field string) {
	switch n := n.(type) {
	case *ast.SequenceNode:
		for i, item := range n.Values {
			d.refuseForbidden(item, fmt.Sprintf("%s[%d]", field, i))
		}
	case *ast.AnchorNode:
		d.refuseForbidden(n.Value, field)
	case *ast.TagNode:
		d.refuseForbidden(n.Value, field)
	case ast.MapNode:
		for i := n.MapRange(); i.Next(); {
			key := i.Key().GetToken()
			name := join(field, key.Value)
			bare := bareKey(key.Value)
			for _, f := range forbidden {
				if slices.Contains(f.words, bare) ||
					slices.ContainsFunc(f.parts, func(p string) bool { return strings.Contains(bare, p) }) {
					d.refuseAt(key, name, f.rule, "%s", f.text)
					break
				}
			}
			d.refuseForbidden(i.Value(), name)
		}
	}
}

func bareKey(key string) string {
	return strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return -1
	}, strings.ToLower(key))
}
