package va

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/resolver"
)

// TestTheTextOfARecordPermitsNoMoreThanItsOctets: what is evaluated, recorded and judged again is the text that the DNS library makes of a
// record. Whatever the octets of flags, tag and value are, it permits nothing that they do not.
//
// Holds: CAA-02, CAA-03, CAA-04
func TestTheTextOfARecordPermitsNoMoreThanItsOctets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	tags := []string{"issue", "ISSUE", "issuewild", "issuemail", "iodef", "other", ""}
	values := []string{"ca.example", "ca2.example; validationmethods=http-01", "other.example", ";", "",
		"ca.example;accounturi=https://ca.example/acct/1", `ca.example\059`, `ca.example\; x=1`, `c\097.example`}
	spoil := func(s string) string {
		for r.IntN(3) == 0 {
			at := r.IntN(len(s) + 1)
			odd := string([]byte{byte(r.IntN(256))})
			if r.IntN(2) == 0 {
				odd = string(" \t\"\\;=,.\x00"[r.IntN(9)])
			}
			s = s[:at] + odd + s[at:]
		}
		return s
	}
	permitted := 0
	for range 30_000 {
		flags, tag, value := []byte{0, 1, 128, 255}[r.IntN(4)], spoil(tags[r.IntN(len(tags))]), spoil(values[r.IntN(len(values))])
		rr := caaOnTheWire(t, append([]byte{flags, byte(len(tag))}, tag+value...))
		req := request(HTTP01)
		if r.IntN(4) == 0 {
			req.Identifier, req.Method = "*.shop.example.com", DNS01
		}
		records, unclear := caaRecords(&resolver.Answer{Records: []dns.RR{rr}}, TLSServer)
		_, problem := EvaluateCAA(records, req)
		if unclear != "" || problem != nil {
			continue
		}
		permitted++
		p := property{flags: flags, tag: strings.ToLower(tag), value: value}
		switch {
		case p.tag == "issue" || p.tag == "issuewild" && req.Wildcard():
			require.Nil(t, p.refuses(req), "%q", rr)
		case !slices.Contains(known, p.tag):
			require.Zero(t, flags&critical, "%q", rr)
		}
	}
	require.Greater(t, permitted, 1000)
}
