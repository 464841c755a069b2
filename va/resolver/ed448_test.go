package resolver_test

import (
	"context"
	"crypto"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// p256Key is a key of algorithm 13 that stands beside the ED448 keys of a zone.
type p256Key struct {
	record *dns.DNSKEY
	signer crypto.Signer
}

func newP256Key(t testing.TB, zone string, flags uint16) p256Key {
	t.Helper()
	k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: flags, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	private, err := k.Generate(256)
	require.NoError(t, err)
	return p256Key{k, private.(crypto.Signer)}
}

// sign adds the key's signature to each RRset of a section that another key of the same zone signed.
func (k p256Key) sign(section []dns.RR) []dns.RR {
	var more []dns.RR
	for _, set := range rrsets(copies(section)) {
		signatures := signaturesOf(set)
		if len(signatures) == 0 {
			continue
		}
		s := signatures[0].(*dns.RRSIG)
		s.Algorithm, s.KeyTag = dns.ECDSAP256SHA256, k.record.KeyTag()
		if s.SignerName == k.record.Hdr.Name && s.Sign(k.signer, recordsOf(set)) == nil {
			more = append(more, s)
		}
	}
	return append(slices.Clone(section), more...)
}

func rdata(rr dns.RR) string { return strings.TrimPrefix(rr.String(), rr.Header().String()) }

// A zone's DS records name ED448 (16) and perhaps ECDSAP256SHA256 (13); the resolver knows both, or no 16.
//
// Holds: DCV-05, DCV-07, DCV-09
func TestRFC4035_5_2_AlgorithmsOfDSAndOfSignatures(t *testing.T) {
	const zone = "two.alg."
	server := func(host, addr string) []world.Server {
		return []world.Server{{Host: host, Addr: netip.MustParseAddr(addr)}}
	}
	type keys struct {
		genuine string // the DS of the zone's own KSK
		zone    p256Key
	}
	absent := newP256Key(t, zone, dns.ZONE|dns.SEP)
	for _, c := range []struct {
		name string
		// algorithm is that of the zone's own keys, which sign everything.
		algorithm uint8
		ds        func(keys) []string
		// Whether the set of keys holds one of algorithm 13 too, and what that key signs.
		beside            bool
		signsKeys, signed bool
		with, without     dnssec.Status
		code              string // without 16
	}{
		{name: "DS {16}", algorithm: dns.ED448, ds: func(k keys) []string { return []string{k.genuine} },
			with: dnssec.Secure, without: dnssec.Insecure, code: dnssec.CodeUnsupportedAlgorithm},
		{name: "DS {16} of another key", algorithm: dns.ED448,
			ds:   func(keys) []string { return []string{"4711 16 2 " + strings.Repeat("ab", 32)} },
			with: dnssec.Bogus, without: dnssec.Insecure, code: dnssec.CodeUnsupportedAlgorithm},
		{name: "DS {16}, with a key of 13 that signs all", algorithm: dns.ED448,
			ds:     func(k keys) []string { return []string{k.genuine} },
			beside: true, signsKeys: true, signed: true,
			with: dnssec.Secure, without: dnssec.Insecure, code: dnssec.CodeUnsupportedAlgorithm},
		{name: "DS {16, 13}, the zone has no key of 13", algorithm: dns.ED448,
			ds:   func(k keys) []string { return []string{k.genuine, rdata(absent.record.ToDS(dns.SHA256))} },
			with: dnssec.Secure, without: dnssec.Bogus, code: dnssec.CodeDSMismatch},
		{name: "DS {16, 13}, signed by 16 alone", algorithm: dns.ED448,
			ds:     func(k keys) []string { return []string{k.genuine, rdata(k.zone.record.ToDS(dns.SHA256))} },
			beside: true, with: dnssec.Secure, without: dnssec.Bogus, code: dnssec.CodeKeyMissing},
		{name: "DS {16, 13}, data signed by 16 alone", algorithm: dns.ED448,
			ds:     func(k keys) []string { return []string{k.genuine, rdata(k.zone.record.ToDS(dns.SHA256))} },
			beside: true, signsKeys: true, with: dnssec.Secure, without: dnssec.Bogus, code: dnssec.CodeKeyUnusable},
		{name: "DS {16, 13}, signed by both", algorithm: dns.ED448,
			ds:     func(k keys) []string { return []string{k.genuine, rdata(k.zone.record.ToDS(dns.SHA256))} },
			beside: true, signsKeys: true, signed: true, with: dnssec.Secure, without: dnssec.Secure},
		{name: "DS {16, 13}, signed by 13 alone", algorithm: dns.ECDSAP256SHA256,
			ds:   func(k keys) []string { return []string{"4711 16 2 " + strings.Repeat("ab", 32), k.genuine} },
			with: dnssec.Secure, without: dnssec.Secure},
		{name: "DS {13}, with a key of 16 that signs all", algorithm: dns.ED448,
			ds:     func(k keys) []string { return []string{rdata(k.zone.record.ToDS(dns.SHA256))} },
			beside: true, with: dnssec.Bogus, without: dnssec.Bogus, code: dnssec.CodeKeyMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, world.Config{Zones: []world.Zone{
				{Name: ".", Servers: server("root.alg", "127.0.53.125"), Algorithm: dns.ECDSAP256SHA256},
				{Name: "alg", Servers: server("ns.alg", "127.0.53.126"), Algorithm: dns.ECDSAP256SHA256},
				{Name: zone, Servers: server("ns."+zone, "127.0.53.127"), Algorithm: c.algorithm, Denial: world.NSEC3,
					Records: genRecords},
			}})
			k := keys{genuine: rdata(w.DS(zone)[0]), zone: newP256Key(t, zone, dns.ZONE|dns.SEP)}
			require.NoError(t, w.Edit(zone, func(z *world.Zone) error {
				if c.beside {
					z.Records += "@ DNSKEY " + rdata(k.zone.record) + "\n"
				}
				z.DS, z.DSRecords = world.DSGiven, c.ds(k)
				return nil
			}))
			add := func(f world.Fault, yes bool) {
				if yes {
					f.Zone, f.Kind, f.Rewrite = zone, world.Rewrite, func(m *dns.Msg) {
						m.Answer, m.Ns = k.zone.sign(m.Answer), k.zone.sign(m.Ns)
					}
					_, err := w.Inject(f)
					require.NoError(t, err)
				}
			}
			add(world.Fault{Type: dns.TypeDNSKEY}, c.signsKeys)
			add(world.Fault{Type: dns.TypeA}, c.signed)
			narrow := dnssec.DefaultAlgorithms()
			delete(narrow, dns.ED448)
			for name, table := range map[string]dnssec.Algorithms{"with": nil, "without": narrow} {
				want := c.with
				if table != nil {
					want = c.without
				}
				for ask, rcode := range map[string]string{"www." + zone: "NOERROR", "no.none." + zone: "NXDOMAIN",
					"u.wild." + zone: "NOERROR"} {
					l := in(t, w, func(c *resolver.Config) { c.Algorithms = table }).Lookup(context.Background(), ask,
						dns.TypeA).Lookup
					said := fmt.Sprintf("%s 16: %s\n%s", name, l.Why, trace(l))
					require.Equal(t, want, l.Status, said)
					switch {
					case l.Status.Usable():
						require.Equal(t, rcode, l.Rcode, said)
					case table != nil:
						require.Equal(t, c.code, l.Code, said)
					}
					if l.Status == dnssec.Insecure {
						require.Equal(t, c.code, l.Code, said)
						require.EqualValues(t, dnssec.EDEUnsupportedAlgorithm, l.EDE, said)
					}
				}
			}
		})
	}
}

// A chain of ED448 from the root down, of which each link is needed; and a root that is anchored by ED448 alone is
// refused by a
// resolver that does not know it, before anything is asked.
//
// Holds: DCV-04, DCV-09
func TestRFC8080_AChainOfED448(t *testing.T) {
	server := func(host, addr string) []world.Server {
		return []world.Server{{Host: host, Addr: netip.MustParseAddr(addr)}}
	}
	w := serve(t, world.Config{Zones: []world.Zone{
		{Name: ".", Servers: server("root.alg", "127.0.53.125"), Algorithm: dns.ED448},
		{Name: "alg", Servers: server("ns.alg", "127.0.53.126"), Algorithm: dns.ED448, Denial: world.NSEC3OptOut},
		{Name: "one.alg", Servers: server("ns.one.alg", "127.0.53.127"), Algorithm: dns.ED448, CSK: true,
			Records: genRecords},
		{Name: "open.alg", Servers: server("ns.open.alg", "127.0.53.127"), Records: genRecords},
	}})
	ask := func(name string) resolver.Lookup {
		return in(t, w, func(c *resolver.Config) { c.Timeout = 5 * time.Second }).Lookup(context.Background(), name,
			dns.TypeA).Lookup
	}
	l := ask("www.one.alg")
	require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
	require.Len(t, l.Chain, 3)
	for _, link := range l.Chain {
		require.Equal(t, "ED448", link.Algorithm)
	}
	require.Equal(t, dnssec.Insecure, ask("www.open.alg").Status)
	for _, zone := range []string{".", "alg", "one.alg"} {
		remove, err := w.Inject(world.Fault{Zone: zone, Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
			for _, section := range []*[]dns.RR{&m.Answer, &m.Ns} {
				*section = copies(*section)
				for _, s := range signaturesOf(*section) {
					s.(*dns.RRSIG).Signature = flip(s.(*dns.RRSIG).Signature)
				}
			}
		}})
		require.NoError(t, err)
		l := ask("www.one.alg")
		require.Equal(t, dnssec.Bogus, l.Status, l.Why)
		require.Equal(t, dnssec.CodeSignatureInvalid, l.Code, l.Why)
		remove()
	}
	narrow := dnssec.DefaultAlgorithms()
	delete(narrow, dns.ED448)
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)
	_, err = resolver.New(resolver.Config{Anchors: anchors, Algorithms: narrow})
	require.ErrorContains(t, err, "not supported")
}
