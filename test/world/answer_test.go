package world

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

func dialerFrom(from netip.Addr, transport string) *net.Dialer {
	d := &net.Dialer{Timeout: 5 * time.Second}
	if transport == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	} else {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d
}

func TestRFC1034_4_3_2_Answers(t *testing.T) {
	w := start(t, Default())
	cases := []struct {
		name   string
		ask    ask
		rcode  int
		aa     bool
		answer []string
		ns     []string
		extra  []string
	}{
		{
			name: "a signed answer", ask: ask{name: "example.com", qtype: dns.TypeA, server: healthyAddr},
			aa: true, answer: []string{"A", "RRSIG"}, ns: []string{}, extra: []string{"OPT"},
		}, {
			name: "without DO no DNSSEC records", ask: ask{name: "example.com", qtype: dns.TypeA, server: healthyAddr, plain: true},
			aa: true, answer: []string{"A"}, ns: []string{}, extra: []string{},
		}, {
			name: "referral with DS and glue", ask: ask{name: "www.example.com", qtype: dns.TypeA, server: tldAddr},
			answer: []string{}, ns: []string{"NS", "DS", "RRSIG"}, extra: []string{"A", "OPT"},
		}, {
			name: "referral without DS has the NSEC", ask: ask{name: "unsigned.com", qtype: dns.TypeA, server: tldAddr},
			answer: []string{}, ns: []string{"NS", "NSEC", "RRSIG"}, extra: []string{"A", "OPT"},
		}, {
			name: "referral without DS below NSEC3", ask: ask{name: "unsigned.org", qtype: dns.TypeA, server: tldAddr},
			answer: []string{}, ns: []string{"NS", "NSEC3", "RRSIG"}, extra: []string{"A", "OPT"},
		}, {
			name: "referral in an opt-out span", ask: ask{name: "unsigned.net", qtype: dns.TypeA, server: tldAddr},
			answer: []string{}, ns: []string{"NS", "NSEC3", "RRSIG", "NSEC3", "RRSIG"}, extra: []string{"A", "OPT"},
		}, {
			name: "referral without glue", ask: ask{name: "glueless.org", qtype: dns.TypeA, server: tldAddr},
			answer: []string{}, ns: []string{"NS", "DS", "RRSIG"}, extra: []string{"OPT"},
		}, {
			name: "DS at the parent", ask: ask{name: "example.com", qtype: dns.TypeDS, server: tldAddr},
			aa: true, answer: []string{"DS", "RRSIG"}, ns: []string{}, extra: []string{"OPT"},
		}, {
			name: "DS where parent and child share a server", ask: ask{name: "child.example.com", qtype: dns.TypeDS, server: healthyAddr},
			aa: true, answer: []string{"DS", "RRSIG"}, ns: []string{}, extra: []string{"OPT"},
		}, {
			name: "DS at a server that has the child alone", ask: ask{name: "example.com", qtype: dns.TypeDS, server: healthyAddr},
			aa: true, answer: []string{}, ns: []string{"SOA", "RRSIG", "NSEC", "RRSIG"}, extra: []string{"OPT"},
		}, {
			name: "no data", ask: ask{name: "example.com", qtype: dns.TypeMX, server: healthyAddr},
			aa: true, answer: []string{}, ns: []string{"SOA", "RRSIG", "NSEC", "RRSIG"}, extra: []string{"OPT"},
		}, {
			name: "no data at an empty non-terminal", ask: ask{name: "ent.example.org", qtype: dns.TypeTXT, server: otherAddr},
			aa: true, answer: []string{}, ns: []string{"SOA", "RRSIG", "NSEC3", "RRSIG"}, extra: []string{"OPT"},
		}, {
			name: "no such name", ask: ask{name: "none.a.b.ent.example.com", qtype: dns.TypeTXT, server: healthyAddr},
			rcode: dns.RcodeNameError, aa: true, answer: []string{}, ns: []string{"SOA", "RRSIG", "NSEC", "RRSIG"}, extra: []string{"OPT"},
		}, {
			name: "wildcard with the proof that the name does not exist", ask: ask{name: "any.wildcard.com", qtype: dns.TypeTXT, server: healthyAddr},
			aa: true, answer: []string{"TXT", "RRSIG"}, ns: []string{"NSEC", "RRSIG"}, extra: []string{"OPT"},
		}, {
			name: "alias inside of the zone", ask: ask{name: "www.example.com", qtype: dns.TypeA, server: healthyAddr},
			aa: true, answer: []string{"CNAME", "RRSIG", "A", "RRSIG"}, ns: []string{}, extra: []string{"OPT"},
		}, {
			name: "DNAME with its CNAME", ask: ask{name: "www.old.alias.com", qtype: dns.TypeA, server: otherAddr},
			aa: true, answer: []string{"DNAME", "RRSIG", "CNAME"}, ns: []string{}, extra: []string{"OPT"},
		}, {
			name: "a zone that the server does not have", ask: ask{name: "example.org", qtype: dns.TypeA, server: healthyAddr},
			rcode: dns.RcodeRefused, answer: []string{}, ns: []string{}, extra: []string{"OPT"},
		},
	}
	for _, c := range cases {
		for _, transport := range []string{"udp", "tcp"} {
			t.Run(c.name+" by "+transport, func(t *testing.T) {
				c.ask.transport = transport
				r := c.ask.must(t, w)
				require.Equal(t, dns.RcodeToString[c.rcode], dns.RcodeToString[r.Rcode])
				require.Equal(t, c.aa, r.Authoritative)
				require.Equal(t, c.answer, types(r.Answer))
				require.Equal(t, c.ns, types(r.Ns))
				require.Equal(t, c.extra, types(r.Extra))
			})
		}
	}
}

func TestQuestionIsEchoedAsWritten(t *testing.T) {
	w := start(t, Default())
	r := ask{name: "eXaMpLe.CoM", qtype: dns.TypeA, server: healthyAddr}.must(t, w)
	require.Equal(t, "eXaMpLe.CoM.", r.Question[0].Name)
	require.Len(t, r.Answer, 2)
}

func TestRFC6891_OverflowIsTruncated(t *testing.T) {
	w := start(t, Default())
	a := ask{name: "large.com", qtype: dns.TypeTXT, server: failingAddr}
	r := a.must(t, w)
	require.True(t, r.Truncated)
	require.Empty(t, r.Answer)
	a.transport = "tcp"
	r = a.must(t, w)
	require.False(t, r.Truncated)
	require.Len(t, r.Answer, 41)
}
