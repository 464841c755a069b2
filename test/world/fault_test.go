package world

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

func TestFaultsStrikeAndEnd(t *testing.T) {
	w := start(t, Default())
	question := ask{name: "example.com", qtype: dns.TypeA, server: healthyAddr}
	byTCP := question
	byTCP.transport = "tcp"
	genuine := question.must(t, w)
	cases := []struct {
		name  string
		fault Fault
		sees  func(t *testing.T, r *dns.Msg)
	}{
		{"tampered", Fault{Kind: Tamper}, func(t *testing.T, r *dns.Msg) {
			require.NotEqual(t, genuine.Answer[0].String(), r.Answer[0].String())
		}},
		{"signatures stripped", Fault{Kind: StripRRSIG}, func(t *testing.T, r *dns.Msg) {
			require.Equal(t, []string{"A"}, types(r.Answer))
		}},
		{"DNSSEC stripped", Fault{Kind: StripDNSSEC}, func(t *testing.T, r *dns.Msg) {
			require.Equal(t, []string{"A"}, types(r.Answer))
		}},
		{"answer stripped", Fault{Kind: StripAnswer}, func(t *testing.T, r *dns.Msg) { require.Empty(t, r.Answer) }},
		{"expired", Fault{Kind: Expired}, func(t *testing.T, r *dns.Msg) {
			sig := r.Answer[1].(*dns.RRSIG)
			require.Less(t, int64(sig.Expiration), time.Now().Unix())
			require.NoError(t, sig.Verify(w.rings["example.com."].zsk.record, r.Answer[:1]), "only the time is wrong")
		}},
		{"future", Fault{Kind: Future}, func(t *testing.T, r *dns.Msg) {
			require.Greater(t, int64(r.Answer[1].(*dns.RRSIG).Inception), time.Now().Unix())
		}},
		{"SERVFAIL", Fault{Kind: ServFail}, rcodeIs(dns.RcodeServerFailure)},
		{"REFUSED", Fault{Kind: Refused}, rcodeIs(dns.RcodeRefused)},
		{"FORMERR", Fault{Kind: FormErr}, rcodeIs(dns.RcodeFormatError)},
		{"NOTIMP", Fault{Kind: NotImp}, rcodeIs(dns.RcodeNotImplemented)},
		{"FORMERR to EDNS", Fault{Kind: NoEDNS}, func(t *testing.T, r *dns.Msg) {
			require.Equal(t, dns.RcodeFormatError, r.Rcode)
			require.Nil(t, r.IsEdns0())
			plain := question
			plain.plain = true
			require.Equal(t, dns.RcodeSuccess, plain.must(t, w).Rcode)
		}},
		{"EDNS ignored", Fault{Kind: IgnoreEDNS}, func(t *testing.T, r *dns.Msg) {
			require.Nil(t, r.IsEdns0())
			require.Equal(t, []string{"A"}, types(r.Answer))
		}},
		{"lame", Fault{Kind: Lame}, func(t *testing.T, r *dns.Msg) { require.False(t, r.Authoritative) }},
		{"upward referral", Fault{Kind: Upward}, func(t *testing.T, r *dns.Msg) {
			require.Empty(t, r.Answer)
			require.Equal(t, ".", r.Ns[0].Header().Name)
		}},
		{"truncated, with TCP", Fault{Kind: Truncate}, func(t *testing.T, r *dns.Msg) {
			require.True(t, r.Truncated)
			require.Len(t, byTCP.must(t, w).Answer, 2)
		}},
		{"truncated, without TCP", Fault{Kind: TruncateNoTCP}, func(t *testing.T, r *dns.Msg) {
			require.True(t, r.Truncated)
			_, err := byTCP.send(w)
			require.Error(t, err)
		}},
		{"wrong question", Fault{Kind: WrongQuestion}, func(t *testing.T, r *dns.Msg) {
			require.Equal(t, "wrong.example.com.", r.Question[0].Name)
		}},
		{"rewritten", Fault{Kind: Rewrite, Rewrite: func(m *dns.Msg) { m.RecursionAvailable = true }},
			func(t *testing.T, r *dns.Msg) { require.True(t, r.RecursionAvailable) }},
		{"no DO", Fault{Kind: NoDO}, func(t *testing.T, r *dns.Msg) {
			require.Equal(t, dns.RcodeServerFailure, r.Rcode)
			plain := question
			plain.plain = true
			require.Equal(t, dns.RcodeSuccess, plain.must(t, w).Rcode)
		}},
		{"flooded", Fault{Kind: Flood, Flood: func(m *dns.Msg) []*dns.Msg {
			m.Answer = nil
			return []*dns.Msg{m}
		}}, func(t *testing.T, r *dns.Msg) {
			require.Empty(t, r.Answer, "what came first")
			require.Len(t, byTCP.must(t, w).Answer, 2)
		}},
		{"slow", Fault{Kind: Slow, Delay: time.Millisecond}, func(t *testing.T, r *dns.Msg) { require.Len(t, r.Answer, 2) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.fault.Zone = "example.com"
			remove, err := w.Inject(c.fault)
			require.NoError(t, err)
			c.sees(t, question.must(t, w))
			remove()
			remove()
			require.Equal(t, types(genuine.Answer), types(question.must(t, w).Answer))
		})
	}
}

func rcodeIs(rcode int) func(*testing.T, *dns.Msg) {
	return func(t *testing.T, r *dns.Msg) {
		require.Equal(t, rcode, r.Rcode)
		require.Empty(t, r.Answer)
	}
}

// TestRawFaults looks at the octets: a client library drops such answers.
func TestRawFaults(t *testing.T) {
	w := start(t, Default())
	query, err := new(dns.Msg).SetQuestion("example.com.", dns.TypeTXT).SetEdns0(1232, true).Pack()
	require.NoError(t, err)
	exchange := func(fault Fault) []byte {
		remove, err := w.Inject(fault)
		require.NoError(t, err)
		defer remove()
		e := &exchange{server: healthyAddr, client: netip.MustParseAddr("127.0.0.1"), transport: "udp"}
		return w.exchange(e, query)
	}
	require.Nil(t, exchange(Fault{Kind: Drop}))
	require.Greater(t, len(exchange(Fault{Kind: Oversized})), 3000)
	require.Error(t, new(dns.Msg).Unpack(exchange(Fault{Kind: Garbage})))
	require.NotEqual(t, query[:2], exchange(Fault{Kind: WrongID})[:2])
	require.Equal(t, query[:2], exchange(Fault{Kind: Slow})[:2])
}

func TestFaultConditions(t *testing.T) {
	w := start(t, Default())
	client := netip.MustParseAddr("127.1.0.3")
	question := ask{name: "example.com", qtype: dns.TypeA, server: healthyAddr, transport: "udp", from: client}
	cases := []struct {
		name    string
		fault   Fault
		strikes bool
	}{
		{"no condition", Fault{}, true},
		{"this zone", Fault{Zone: "Example.com"}, true},
		{"another zone", Fault{Zone: "com"}, false},
		{"this name", Fault{Name: "example.com."}, true},
		{"another name", Fault{Name: "www.example.com."}, false},
		{"this type", Fault{Type: dns.TypeA}, true},
		{"another type", Fault{Type: dns.TypeCAA}, false},
		{"this server", Fault{Server: healthyAddr}, true},
		{"another server", Fault{Server: otherAddr}, false},
		{"this transport", Fault{Transport: "udp"}, true},
		{"another transport", Fault{Transport: "tcp"}, false},
		{"this client", Fault{Clients: []netip.Prefix{Client(client)}}, true},
		{"a network of clients", Fault{Clients: []netip.Prefix{netip.MustParsePrefix("127.1.0.0/24")}}, true},
		{"another client", Fault{Clients: []netip.Prefix{Client(netip.MustParseAddr("127.1.0.4"))}}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.fault.Kind = ServFail
			remove, err := w.Inject(c.fault)
			require.NoError(t, err)
			defer remove()
			require.Equal(t, c.strikes, question.must(t, w).Rcode == dns.RcodeServerFailure)
		})
	}
}

func TestImpossibleFaultsAreRefused(t *testing.T) {
	w := start(t, Default())
	for name, f := range map[string]Fault{
		"no kind": {}, "unknown kind": {Kind: Flood + 1}, "no function": {Kind: Rewrite}, "no flood": {Kind: Flood},
		"unknown transport": {Kind: Drop, Transport: "quic"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Inject(f)
			require.Error(t, err)
		})
	}
	remove, err := w.Inject(Fault{Zone: "unsigned.com", Kind: Expired})
	require.NoError(t, err)
	defer remove()
	r := ask{name: "unsigned.com", qtype: dns.TypeA, server: openAddr}.must(t, w)
	require.Equal(t, dns.RcodeServerFailure, r.Rcode, "an unsigned answer cannot expire")
}

func TestTamperChangesEachType(t *testing.T) {
	for _, text := range []string{
		"a. A 192.0.2.1", "a. AAAA 2001:db8::1", "a. TXT x", `a. CAA 0 issue "x"`, "a. CNAME b.", "a. DNAME b.", "a. NS b.",
		"a. MX 1 b.", "a. SOA b. c. 1 2 3 4 5", "a. DS 1 13 2 " + digest, "a. DNSKEY 257 3 13 AAAA", "a. NSEC b. A",
	} {
		rr, err := dns.NewRR(text)
		require.NoError(t, err)
		before := rr.String()
		m := &dns.Msg{Answer: []dns.RR{rr}}
		tamper(m)
		require.NotEqual(t, before, m.Answer[0].String())
	}
}

const digest = "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"

func TestViewsShowOneClientAnotherWorld(t *testing.T) {
	w := start(t, Default())
	victim, other := netip.MustParseAddr("127.1.0.3"), netip.MustParseAddr("127.1.0.4")
	question := ask{name: "_acme-challenge.example.com", qtype: dns.TypeTXT, server: healthyAddr}
	from := func(client netip.Addr) *dns.Msg {
		a := question
		a.from = client
		return a.must(t, w)
	}
	genuine := w.rings["example.com."].zsk.record
	for _, c := range []struct {
		name   string
		signer Signer
		types  []string
		valid  bool
	}{
		{"signed by the owner", ByOwner, []string{"TXT", "RRSIG"}, true},
		{"signed by the attacker", ByAttacker, []string{"TXT", "RRSIG"}, false},
		{"not signed", ByNobody, []string{"TXT"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := w.View(Client(victim))
			require.NoError(t, v.Set(question.name, c.signer, dns.TypeTXT, "forged"))
			r := from(victim)
			require.Equal(t, c.types, types(r.Answer))
			require.Equal(t, []string{"forged"}, r.Answer[0].(*dns.TXT).Txt)
			if len(r.Answer) > 1 {
				require.Equal(t, c.valid, r.Answer[1].(*dns.RRSIG).Verify(genuine, r.Answer[:1]) == nil)
			}
			require.Equal(t, dns.RcodeNameError, from(other).Rcode)
			require.NoError(t, v.Close())
			require.Equal(t, dns.RcodeNameError, from(victim).Rcode)
		})
	}
	t.Run("changes of the zone shine through", func(t *testing.T) {
		v := w.View(Client(victim))
		require.NoError(t, v.Set("www.example.com", ByOwner, dns.TypeCNAME))
		require.NoError(t, w.Set(question.name, dns.TypeTXT, "genuine"))
		require.Len(t, from(victim).Answer, 2)
		require.NoError(t, v.Close())
	})
	t.Run("what cannot be shown is refused", func(t *testing.T) {
		v := w.View(Client(victim))
		require.Error(t, v.Edit("no.such.zone", ByOwner, func(*Zone) error { return nil }))
		require.Error(t, v.Edit("example.com", 0, func(*Zone) error { return nil }))
		require.Error(t, v.Edit("example.com", ByOwner, func(z *Zone) error { z.Records = "@ A no"; return nil }))
		require.Error(t, v.Edit("example.com", ByOwner, func(z *Zone) error { return z.Set("x.org", dns.TypeA) }))
		require.False(t, slices.Contains(types(from(victim).Answer), "SOA"))
		require.NoError(t, w.Set("still.example.com", dns.TypeTXT, "served"), "a refused edit leaves no trace")
	})
}
