package resolver_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Holds: DCV-09
func TestBR_3_2_2_4_ConfigurationCannotSwitchValidationOff(t *testing.T) {
	unsupported, err := dnssec.NewAnchor(&dns.DS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeDS, Class: dns.ClassINET},
		KeyTag: 1, Algorithm: 3, DigestType: 1, Digest: "0000000000000000000000000000000000000000"})
	require.NoError(t, err)
	loopback := []resolver.Hint{{Name: "root.", Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}}
	for name, c := range map[string]resolver.Config{
		"no anchors":                {Anchors: []dnssec.Anchor{}},
		"an anchor that is none":    {Anchors: []dnssec.Anchor{{}}},
		"an unsupported anchor":     {Anchors: []dnssec.Anchor{unsupported}},
		"no root server":            {Hints: []resolver.Hint{}},
		"root servers on loopback":  {Hints: loopback},
		"too many signatures":       {Limits: resolver.Limits{Limits: dnssec.Limits{Signatures: 1000}}},
		"too many iterations":       {Limits: resolver.Limits{Limits: dnssec.Limits{NSEC3Iterations: 150}}},
		"too many packets":          {Limits: resolver.Limits{Sends: 201}},
		"negative restarts":         {Limits: resolver.Limits{Restarts: -1}},
		"too much slack":            {Limits: resolver.Limits{Limits: dnssec.Limits{Slack: 10 * time.Minute}}},
		"a timeout beyond a minute": {Timeout: time.Hour},
		"a cache beyond a day":      {CacheCap: 48 * time.Hour},
		"a negative timeout":        {Timeout: -1},
	} {
		r, err := resolver.New(c)
		require.Error(t, err, name)
		require.Nil(t, r, name)
	}
	r, err := resolver.New(resolver.Config{})
	require.NoError(t, err)
	require.NotNil(t, r)
}

// What is no question to ask is refused without a packet. The resolver of this test could send none: its root servers are
// those of the Internet, and no packet may go there.
//
// Holds: DCV-28
func TestRFC6761_RefusedWithoutAQuery(t *testing.T) {
	r, err := resolver.New(resolver.Config{})
	require.NoError(t, err)
	for _, c := range []struct {
		name  string
		qtype uint16
		code  string
	}{
		{"pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion", dns.TypeA, "dns.special-use"},
		{"printer.local", dns.TypeA, "dns.special-use"},
		{"localhost", dns.TypeA, "dns.special-use"},
		{"a.LOCALHOST.", dns.TypeAAAA, "dns.special-use"},
		{"x.invalid", dns.TypeTXT, "dns.special-use"},
		{"x.test", dns.TypeTXT, "dns.special-use"},
		{"x.alt", dns.TypeCAA, "dns.special-use"},
		{"router.home.arpa", dns.TypeCAA, "dns.special-use"},
		{"", dns.TypeA, "dns.bad-name"},
		{"a..example.com", dns.TypeA, "dns.bad-name"},
		{"example.com", dns.TypeANY, "dns.bad-type"},
		{"example.com", dns.TypeAXFR, "dns.bad-type"},
		{"example.com", dns.TypeOPT, "dns.bad-type"},
		{"example.com", dns.TypeRRSIG, "dns.bad-type"},
		{"example.com", 0, "dns.bad-type"},
	} {
		a := r.Lookup(context.Background(), c.name, c.qtype)
		require.Equal(t, dnssec.Failure, a.Lookup.Status, c.name)
		require.Equal(t, c.code, a.Lookup.Code, c.name)
		require.Empty(t, a.Lookup.Queries, c.name)
		require.Empty(t, a.Records)
	}
}
