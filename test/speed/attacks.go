package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/test/world"
)

// attack is one hostile zone, or a few, and the question that sets it off.
type attack struct {
	name, what string
	ask        string
	qtype      uint16
	// status and code are the outcome due.
	status, code string

	zones  []world.Zone
	faults []world.Fault
	// prepare changes the running world where a zone must know the keys made for it.
	prepare func(*world.World) error
}

func attackZones() []world.Zone {
	var all []world.Zone
	for _, a := range attacks() {
		all = append(all, a.zones...)
	}
	return all
}

func attackFaults() []world.Fault {
	var all []world.Fault
	for _, a := range attacks() {
		all = append(all, a.faults...)
	}
	return all
}

func prepareAttacks(w *world.World) error {
	for _, a := range attacks() {
		if a.prepare != nil {
			if err := a.prepare(w); err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
		}
	}
	return nil
}

// attacks are all of them, costs of an ordinary lookup first. Each name server of an attacker has an address of its own,
// from 127.0.54.20 on.
func attacks() []attack {
	all := []attack{{name: "none", what: "an ordinary zone", ask: "www.plain.com", qtype: dns.TypeA, status: "secure",
		zones: []world.Zone{signed("plain.com", "www A 192.0.2.1\n", server("ns1.plain.com", 20))}}}
	all = append(all, keyTraps()...)
	all = append(all, denials()...)
	all = append(all, delegations()...)
	all = append(all, aliases()...)
	all = append(all, floods()...)
	return append(all, sizes()...)
}

// hostile is an attacker's zone on one server.
func hostile(name string, last byte, records string) world.Zone {
	return signed(name, records, server("ns1."+name, last))
}

func rewrite(zone string, qtype uint16, how func(*dns.Msg)) world.Fault {
	return world.Fault{Zone: zone, Type: qtype, Kind: world.Rewrite, Rewrite: how}
}

// forge puts copies of each signature of the answer before it that are due and do not hold.
func forge(copies int) func(*dns.Msg) {
	return func(m *dns.Msg) {
		for _, rr := range slices.Clone(m.Answer) {
			if sig, ok := rr.(*dns.RRSIG); ok {
				for i := range copies {
					c := *sig
					c.Expiration -= uint32(i + 1)
					m.Answer = append([]dns.RR{&c}, m.Answer...)
				}
			}
		}
	}
}

// collide makes keys with the tag of the zone's own key: other keys of the algorithm, whose tags are brought to the one
// wanted by the flags that are reserved and that nobody looks at (RFC 4034 section 2.1.1).
func collide(copies int) func(*dns.Msg) {
	var once sync.Once
	var made []dns.RR
	return func(m *dns.Msg) {
		once.Do(func() {
			for _, rr := range m.Answer {
				if k, ok := rr.(*dns.DNSKEY); ok && k.Flags&dns.SEP != 0 {
					made = colliding(k, copies)
					return
				}
			}
		})
		m.Answer = append(slices.Clone(made), m.Answer...)
	}
}

func colliding(own *dns.DNSKEY, copies int) []dns.RR {
	var made []dns.RR
	for len(made) < copies {
		k := &dns.DNSKEY{Hdr: own.Hdr, Flags: dns.ZONE, Protocol: 3, Algorithm: own.Algorithm}
		if _, err := k.Generate(map[uint8]int{dns.ECDSAP256SHA256: 256, dns.ECDSAP384SHA384: 384}[own.Algorithm]); err != nil {
			panic(err) // the world has made such keys already
		}
		for carry := range uint16(3) { // a tag is a sum of words whose carry is added in
			k.Flags = dns.ZONE + own.KeyTag() - k.KeyTag() - 1 + carry
			if k.KeyTag() == own.KeyTag() && k.Flags&(dns.ZONE|dns.REVOKE) == dns.ZONE {
				made = append(made, k)
				break
			}
			k.Flags = dns.ZONE
		}
	}
	return made
}

func both(a, b func(*dns.Msg)) func(*dns.Msg) { return func(m *dns.Msg) { a(m); b(m) } }

func keyTraps() []attack {
	chain := ""
	for i := range 10 {
		chain += fmt.Sprintf("k%d CNAME k%d\n", i, i+1)
	}
	trap := func(name, what string, last byte, records string) attack {
		zone := fmt.Sprintf("keytrap%d.com", last)
		return attack{name: "KeyTrap, " + name, what: what, ask: "www." + zone, qtype: dns.TypeA, status: "failure",
			code: "dnssec.limit", zones: []world.Zone{hostile(zone, last, "www A 192.0.2.1\n"+records)}}
	}
	keys := trap("keys", "100 keys with one tag, 100 signatures over them", 21, "")
	keys.faults = []world.Fault{rewrite("keytrap21.com", dns.TypeDNSKEY, both(forge(100), collide(100)))}
	ds := trap("DS", "100 DS records with one tag, 4 such keys, 100 signatures", 22, "")
	ds.faults = []world.Fault{rewrite("keytrap22.com", dns.TypeDNSKEY, both(forge(100), collide(3)))}
	ds.prepare = func(w *world.World) error {
		own := w.DS("keytrap22.com")[0].(*dns.DS)
		return w.Edit("keytrap22.com", func(z *world.Zone) error {
			z.DS = world.DSGiven
			for i := range 100 {
				z.DSRecords = append(z.DSRecords, fmt.Sprintf("%d %d 2 %064x", own.KeyTag, own.Algorithm, i))
			}
			return nil
		})
	}
	answer := trap("answer", "100 signatures over the answer", 23, "")
	answer.faults = []world.Fault{rewrite("keytrap23.com", dns.TypeA, forge(100))}
	behind := trap("behind ten aliases", "the same after ten aliases", 24, chain+"k10 A 192.0.2.1\n")
	behind.ask = "k0.keytrap24.com"
	behind.faults = []world.Fault{{Zone: "keytrap24.com", Name: "k10.keytrap24.com", Kind: world.Rewrite,
		Rewrite: forge(100)}}
	fitted := trap("fitted to our limits", "ECDSA P-384; ten aliases and the keys, 7 signatures in vain before each that holds",
		25, chain+"k10 A 192.0.2.1\n")
	fitted.ask = "k0.keytrap25.com"
	fitted.zones[0].Algorithm = dns.ECDSAP384SHA384
	fitted.faults = []world.Fault{rewrite("keytrap25.com", 0, forge(7))}
	return []attack{keys, ds, answer, behind, fitted}
}

// denials are CVE-2023-50868: the ancestors of a long name must be hashed to find the last one that exists. It lies in the
// middle, so that it is far from either end.
func denials() []attack {
	there := strings.Repeat("a.", 55)
	deep := strings.Repeat("b.", 55) + there
	nsec3 := func(last byte, iterations uint16, what, code string) attack {
		zone := fmt.Sprintf("nsec3-%d.com", last)
		z := hostile(zone, last, strings.TrimSuffix(there, ".")+" A 192.0.2.1\n")
		z.Iterations, z.Salt = iterations, strings.Repeat("ff", 255)
		return attack{name: fmt.Sprintf("CVE-2023-50868, %d iterations", iterations), what: what, ask: deep + zone,
			qtype: dns.TypeA, status: "failure", code: code, zones: []world.Zone{z}}
	}
	return []attack{
		nsec3(30, 100, "112 labels, salt of 255 octets", "dnssec.limit"),
		nsec3(31, 101, "the same, one iteration above the limit", "dnssec.nsec3-iterations"),
		nsec3(32, 2500, "the same, far above the limit", "dnssec.nsec3-iterations"),
	}
}

// delegations are NXNS: a delegation to a thousand name servers without addresses, each in some other zone.
func delegations() []attack {
	nxns := func(name, what string, last byte, host, code string, with ...world.Zone) attack {
		zone := fmt.Sprintf("nxns%d.com", last)
		var ns strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&ns, "sub NS "+host+".\n", i, i%len(with))
		}
		return attack{name: "NXNS, " + name, what: what, ask: "www.sub." + zone, qtype: dns.TypeA, status: "failure",
			code: code, zones: append([]world.Zone{hostile(zone, last, ns.String())}, with...)}
	}
	victims := func(prefix, records string, last byte) []world.Zone {
		var all []world.Zone
		for i := range 64 {
			zone := fmt.Sprintf("%s%d.com", prefix, i)
			all = append(all, signed(zone, fmt.Sprintf(records, i+1), server("ns1."+zone, last)))
		}
		return all
	}
	return []attack{
		nxns("no such names", "1000 name servers that do not exist, in 64 zones", 35, "ns%d.none%d.com", "dns.limit",
			victims("none", "x%d A 192.0.2.1\n", 36)...),
		nxns("names without servers", "1000 name servers in 64 zones, at 64 addresses where none is", 37, "ns%d.dead%d.com",
			"dns.limit", victims("dead", "* A 127.0.55.%d\n", 38)...),
		nxns("nested", "1000 name servers in 64 zones, each delegated to 16 more such", 39, "ns%d.x.deep%d.com", "dns.limit",
			victims("deep", nested()+"x%d A 192.0.2.1\n", 40)...),
	}
}

func nested() string {
	var ns strings.Builder
	for i := range 16 {
		fmt.Fprintf(&ns, "x NS ns%d.x.deep%d.com.\n", i, i*3)
	}
	return ns.String()
}

// aliases are chains of 11 and more, within one zone and through zones that each must be proven.
func aliases() []attack {
	chain := func(last byte, links int, status, code string) attack {
		zone, text := fmt.Sprintf("chain%d.com", last), ""
		for i := range links {
			text += fmt.Sprintf("a%d CNAME a%d\n", i, i+1)
		}
		return attack{name: fmt.Sprintf("%d aliases", links), what: "in one zone", ask: "a0." + zone, qtype: dns.TypeA,
			status: status, code: code, zones: []world.Zone{hostile(zone, last, text+fmt.Sprintf("a%d A 192.0.2.1\n", links))}}
	}
	through := func(last byte, links int, status, code string) attack {
		a := attack{name: fmt.Sprintf("%d aliases, each to another zone", links), what: "each zone with its own chain of trust",
			qtype: dns.TypeA, status: status, code: code}
		zone := func(i int) string { return fmt.Sprintf("through%d-%d.com", last, i) }
		a.ask = "go." + zone(0)
		for i := range links {
			a.zones = append(a.zones, hostile(zone(i), last, fmt.Sprintf("go CNAME go.%s.\n", zone(i+1))))
		}
		a.zones = append(a.zones, hostile(zone(links), last, "go A 192.0.2.1\n"))
		return a
	}
	return []attack{
		chain(45, 11, "secure", ""), chain(46, 12, "failure", "dns.limit"), chain(47, 100, "failure", "dns.limit"),
		through(48, 11, "secure", ""), through(49, 20, "failure", "dns.limit"),
	}
}

// floods are many records that no check is due for.
func floods() []attack {
	sigs := attack{name: "RRSIG flood", what: "500 signatures by keys that are not there, before the one that holds",
		ask: "www.flood50.com", qtype: dns.TypeA, status: "secure",
		zones: []world.Zone{hostile("flood50.com", 50, "www A 192.0.2.1\n")}}
	sigs.faults = []world.Fault{rewrite("flood50.com", dns.TypeA, func(m *dns.Msg) {
		for _, rr := range slices.Clone(m.Answer) {
			if sig, ok := rr.(*dns.RRSIG); ok {
				for i := range 500 {
					c := *sig
					c.KeyTag += uint16(i + 1)
					m.Answer = append([]dns.RR{&c}, m.Answer...)
				}
			}
		}
	})}
	ds := dsFlood("DS and DNSKEY flood", "1000 DS records and 400 keys beside those that fit",
		hostile("flood51.com", 51, "www A 192.0.2.1\n"))
	many := dsFlood("DS and DNSKEY flood, from 16 servers", "the same from each of 16 servers", farm("flood110.com", 16, 110,
		"www A 192.0.2.1\n"))
	many.status, many.code = "failure", "dns.limit"
	return []attack{sigs, ds, many}
}

// dsFlood is a DS set and a DNSKEY set as large as they come. The keys are not signed, so that another server is asked.
func dsFlood(name, what string, zone world.Zone) attack {
	a := attack{name: name, what: what, ask: "www." + zone.Name, qtype: dns.TypeA, status: "bogus",
		code: "dnssec.signature-invalid", zones: []world.Zone{zone}}
	a.faults = []world.Fault{rewrite(zone.Name, dns.TypeDNSKEY, func(m *dns.Msg) {
		for _, rr := range slices.Clone(m.Answer) {
			if k, ok := rr.(*dns.DNSKEY); ok && k.Flags&dns.SEP != 0 {
				for i := range 400 {
					c := *k
					c.Flags = dns.ZONE | uint16(i)<<9
					m.Answer = append([]dns.RR{&c}, m.Answer...)
				}
			}
		}
	})}
	a.prepare = func(w *world.World) error {
		own := w.DS(zone.Name)[0].(*dns.DS)
		return w.Edit(zone.Name, func(z *world.Zone) error {
			z.DS = world.DSGiven
			z.DSRecords = []string{fmt.Sprintf("%d %d 2 %s", own.KeyTag, own.Algorithm, own.Digest)}
			for i := range 1000 {
				z.DSRecords = append(z.DSRecords, fmt.Sprintf("%d %d 2 %064x", own.KeyTag+uint16(i+1), own.Algorithm, i))
			}
			return nil
		})
	}
	return a
}

// longest is a name of 255 octets below a zone, of as many labels as go in.
func longest(zone string) string {
	return strings.Repeat("a.", (254-len(zone)-1)/2) + zone + "."
}

// bulk makes an answer of n small records, which no zone's key signed.
func bulk(owner string, n int) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.Answer, m.Ns = nil, nil
		for i := range n {
			h := dns.RR_Header{Name: owner, Rrtype: uint16(60000 + i), Class: dns.ClassINET}
			m.Answer = append(m.Answer, &dns.RFC3597{Hdr: h})
		}
	}
}

// sizes are messages as large as they come.
func sizes() []attack {
	set := attack{name: "one large RRset", what: "1800 addresses and 100 signatures that do not hold", ask: "www.large60.com",
		qtype: dns.TypeA, status: "failure", code: "dnssec.limit",
		zones: []world.Zone{hostile("large60.com", 60, "www A 192.0.2.1\n")}}
	set.faults = []world.Fault{rewrite("large60.com", dns.TypeA, both(forge(100), func(m *dns.Msg) {
		owner := m.Answer[0].Header().Name
		for i := range 1800 {
			h := dns.RR_Header{Name: owner, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}
			m.Answer = append(m.Answer, &dns.A{Hdr: h, A: []byte{10, 0, byte(i >> 8), byte(i)}})
		}
	}))}
	small := attack{name: "64 KiB, smallest records", what: "5200 records whose owner is a name of 255 octets, compressed",
		ask: "www.large61.com", qtype: dns.TypeA, status: "failure", code: "dns.no-server",
		zones:  []world.Zone{hostile("large61.com", 61, "www A 192.0.2.1\n")},
		faults: []world.Fault{rewrite("large61.com", dns.TypeA, bulk(longest("large61.com"), 5200))}}
	return []attack{set, small, everywhere(), everywhereAliased(), twice()}
}

// farm is a zone on n servers.
func farm(zone string, n, from byte, records string) world.Zone {
	z := signed(zone, records)
	for i := range n {
		z.Servers = append(z.Servers, server(fmt.Sprintf("ns%d.%s", i, zone), from+i))
	}
	return z
}

func everywhere() attack {
	return attack{name: "1990 records, from 16 servers", what: "such records, as many as are read, from each of 16 servers", ask: "www.large70.com",
		qtype: dns.TypeA, status: "failure", code: "dns.limit",
		zones:  []world.Zone{farm("large70.com", 16, 70, "www A 192.0.2.1\n")},
		faults: []world.Fault{rewrite("large70.com", dns.TypeA, bulk(longest("large70.com"), 1990))}}
}

// everywhereAliased gives each answer the 16th time that it is asked for, so that each alias costs 15 messages in vain.
func everywhereAliased() attack {
	text := ""
	for i := range 10 {
		text += fmt.Sprintf("k%d CNAME k%d\n", i, i+1)
	}
	var mu sync.Mutex
	asked := map[string]int{}
	junk := bulk(longest("large90.com"), 1990)
	return attack{name: "1990 records, from 15 servers, ten aliases",
		what: "the same for each of ten aliases, which the last server gives", ask: "k0.large90.com", qtype: dns.TypeA, status: "failure", code: "dns.limit",
		zones: []world.Zone{farm("large90.com", 16, 90, text+"k10 A 192.0.2.1\n")},
		faults: []world.Fault{
			{Zone: "large90.com", Type: dns.TypeA, Transport: "udp", Kind: world.Truncate},
			{Zone: "large90.com", Type: dns.TypeA, Transport: "tcp", Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
				name := strings.ToLower(m.Question[0].Name)
				mu.Lock()
				asked[name]++
				vain := asked[name]%16 != 0
				mu.Unlock()
				if vain {
					junk(m)
				}
			}},
		}}
}

// twice asks for each server to be asked over UDP and then over TCP.
func twice() attack {
	return attack{name: "40 servers that truncate", what: "and are lame over TCP", ask: "www.twice130.com", qtype: dns.TypeA,
		status: "failure", code: "dns.limit",
		zones: []world.Zone{farm("twice130.com", 40, 130, "www A 192.0.2.1\n")},
		faults: []world.Fault{
			{Zone: "twice130.com", Type: dns.TypeA, Transport: "udp", Kind: world.Truncate},
			{Zone: "twice130.com", Type: dns.TypeA, Transport: "tcp", Kind: world.Lame},
		}}
}
