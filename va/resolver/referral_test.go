package resolver_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// What com's servers say in the place of the referral to example.com, and whether that may be followed. In each case
// the servers
// that are named would answer for example.com with data of the attacker.
//
// Holds: DCV-04, DCV-05
func TestRFC1034_5_3_3_ReferralsLeadDownToTheName(t *testing.T) {
	attacker := netip.MustParseAddr("127.0.53.13") // serves unsigned.com
	for _, c := range []struct {
		name string
		say  func(*world.World) []dns.RR
	}{
		{"to a zone beside, with the genuine proof that it is unsigned", func(w *world.World) []dns.RR {
			return append(records(t, "unsigned.com. NS ns1.unsigned.com."), w.Proof("com", "unsigned.com")...)
		}},
		{"to the name and to a zone beside", func(w *world.World) []dns.RR {
			return append(records(t, "example.com. NS ns1.unsigned.com.", "unsigned.com. NS ns1.unsigned.com."),
				w.Proof("com", "unsigned.com")...)
		}},
		{"to com itself", func(*world.World) []dns.RR { return records(t, "com. NS ns1.unsigned.com.") }},
		{"to the root", func(*world.World) []dns.RR { return records(t, ". NS ns1.unsigned.com.") }},
		{"below the name", func(w *world.World) []dns.RR {
			return append(records(t, "www.example.com. NS ns1.unsigned.com."), w.Proof("com", "unsigned.com")...)
		}},
		{"with an SOA record, as a denial has it", func(w *world.World) []dns.RR {
			return append(append(records(t, "example.com. NS ns1.unsigned.com."), w.RRset("com", "com", dns.TypeSOA)...),
				w.Proof("com", "unsigned.com")...)
		}},
		{"of another class", func(w *world.World) []dns.RR {
			ns := records(t, "example.com. NS ns1.unsigned.com.")
			ns[0].Header().Class = dns.ClassCHAOS
			return append(ns, w.Proof("com", "unsigned.com")...)
		}},
	} {
		for _, minimise := range []bool{true, false} {
			t.Run(c.name, func(t *testing.T) {
				w, seen := counted(t)
				said := c.say(w)
				_, err := w.Inject(world.Fault{Zone: "com", Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
					q := m.Question[0]
					if strings.EqualFold(q.Name, "example.com.") && q.Qtype != dns.TypeDS || q.Name == "www.example.com." {
						m.Authoritative, m.Answer, m.Ns, m.Extra = false, nil, copies(said), records(t,
							"ns1.unsigned.com. A "+attacker.String())
					}
				}})
				require.NoError(t, err)
				_, err = w.Inject(world.Fault{Server: attacker, Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
					m.Rcode, m.Authoritative, m.Answer = dns.RcodeSuccess, true, records(t, "example.com. A 192.0.2.66")
				}})
				require.NoError(t, err)
				l := in(t, w, func(c *resolver.Config) {
					c.NoQnameMinimisation, c.Timeout = !minimise,
						3*time.Second
				}).Lookup(
					context.Background(), "example.com", dns.TypeA).Lookup
				require.Equal(t, dnssec.Failure, l.Status, "%s\n%s", l.Why, trace(l))
				require.Equal(t, "dns.no-server", l.Code)
				for _, q := range seen.all() {
					require.False(t, q.Server == attacker && strings.HasSuffix(strings.ToLower(q.Name),
						"example.com."), trace(l))
				}
			})
		}
	}
}

// The same from the servers of an unsigned zone, where nothing but the direction of the referral protects.
//
// Holds: DCV-04
func TestRFC1034_5_3_3_ReferralsOfUnsignedZones(t *testing.T) {
	server := func(host, addr string) []world.Server {
		return []world.Server{{Host: host,
			Addr: netip.MustParseAddr(addr)}}
	}
	for _, to := range []string{"evil.open", "victim.open", "open", "."} {
		w := serve(t, world.Config{Zones: []world.Zone{
			{Name: ".", Servers: server("root.ns-root", "127.0.53.150"), Algorithm: dns.ECDSAP256SHA256},
			{Name: "open", Servers: server("ns.open", "127.0.53.151")},
			{Name: "evil.open", Servers: server("ns.evil.open", "127.0.53.152")},
			{Name: "victim.open", Servers: server("ns.victim.open", "127.0.53.153"), Records: "@ A 192.0.2.1\n"},
		}})
		_, err := w.Inject(world.Fault{Zone: "open", Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
			if strings.EqualFold(m.Question[0].Name, "victim.open.") {
				m.Ns = records(t, dns.Fqdn(to)+" NS ns.evil.open.")
				m.Authoritative, m.Answer, m.Extra = false, nil, records(t, "ns.evil.open. A 127.0.53.152")
			}
		}})
		require.NoError(t, err)
		_, err = w.Inject(world.Fault{Server: netip.MustParseAddr("127.0.53.152"), Name: "victim.open", Kind: world.Rewrite,
			Rewrite: func(m *dns.Msg) {
				m.Rcode, m.Authoritative, m.Answer = dns.RcodeSuccess, true, records(t, "victim.open. A 192.0.2.66")
			}})
		require.NoError(t, err)
		l := in(t, w, nil).Lookup(context.Background(), "victim.open", dns.TypeA).Lookup
		if to == "victim.open" { // the parent's word on its child
			require.Equal(t, dnssec.Insecure, l.Status, trace(l))
			require.Contains(t, l.Answers[0], "192.0.2.66")
			continue
		}
		require.Equal(t, dnssec.Failure, l.Status, "%s: %s\n%s", to, l.Why, trace(l))
	}
}

// Queries say that answers of 1232 octets are welcome, with signatures, and nothing that a resolver's client says.
//
// Holds: DCV-04
func TestRFC9715_QueriesToNameServers(t *testing.T) {
	w := serve(t, quick())
	l := in(t, w, nil).Lookup(context.Background(), "example.com", dns.TypeA).Lookup
	require.Equal(t, dnssec.Secure, l.Status)
	ids := map[uint16]bool{}
	for _, q := range l.Queries {
		m := new(dns.Msg)
		require.NoError(t, m.Unpack(q.Query))
		opt := m.IsEdns0()
		require.NotNil(t, opt)
		require.EqualValues(t, 1232, opt.UDPSize())
		require.True(t, opt.Do())
		require.EqualValues(t, 0, opt.Version())
		require.False(t, m.RecursionDesired || m.CheckingDisabled || m.AuthenticatedData)
		require.Len(t, m.Question, 1)
		ids[m.Id] = true
	}
	require.Greater(t, len(ids), 3, "identifiers are drawn for each query")
}
