package resolver_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// FuzzProve gives the auditor's prover records that nobody wrote. Whatever is in one, no answer is proven that the zones did not
// sign.
//
// Holds: DCV-05, REC-04
func FuzzProve(f *testing.F) {
	w := serve(f, world.Default())
	r := in(f, w, nil)
	type record struct {
		Lookup resolver.Lookup `json:"lookup"`
		Sets   dnssec.Sets     `json:"sets"`
	}
	// TTLs and the case of names are not signed.
	meaning := func(answer string) string {
		rr, err := dns.NewRR(answer)
		if err != nil || rr == nil {
			return answer
		}
		rr.Header().Ttl = 0
		return strings.ToLower(rr.String())
	}
	signed := map[string]bool{}
	for _, q := range []struct {
		name  string
		qtype uint16
	}{{"caa.example.com", dns.TypeCAA}, {"none.example.org", dns.TypeA}, {"www.old.alias.com", dns.TypeA}, {"any.wildcard.org", dns.TypeTXT},
		{"unsigned.com", dns.TypeCAA}, {"child.example.com", dns.TypeDS}, {"optout.net", dns.TypeA}} {
		a := r.Lookup(context.Background(), q.name, q.qtype)
		for _, text := range a.Lookup.Answers {
			signed[meaning(text)] = true
		}
		text, err := json.Marshal(record{a.Lookup, a.Sets})
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var one record
		if json.Unmarshal(text, &one) != nil || r.prover.Prove(one.Lookup, one.Sets) != nil {
			return
		}
		if one.Lookup.Status == dnssec.Secure {
			for _, answer := range one.Lookup.Answers {
				require.True(t, signed[meaning(answer)], "%s", answer)
			}
		}
	})
}
