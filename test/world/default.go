package world

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Default gives the zones and faults of the world of the demonstration and of most tests. Change the Config as needed
// and hand it to New.
//
// Its top-level domains are com (NSEC), org (NSEC3), net (NSEC3 with opt-out), dev (signed with ED25519) and info
// (unsigned below a signed root). Web hosts have an address of their own, 127.0.80.1 and up; each zone's apex has the
// A record of its host.
//
//	healthy and signed
//	example.com       ECDSA P-256, NSEC; www is a CNAME to the apex; caa.example.com has CAA for ca.example.net;
//	                  a.b.ent.example.com makes empty non-terminals
//	example.org       ECDSA P-256, NSEC3
//	salted.org        ECDSA P-384, NSEC3 with 5 iterations and a salt, one key for all (CSK)
//	example.dev       ED25519, NSEC
//	rsa.com           RSA/SHA-256 of 2048 bits, NSEC
//	wildcard.com      *.wildcard.com has A and TXT; alias.wildcard.com is below a wildcard CNAME *.alias.wildcard.com
//	wildcard.org      the same under NSEC3
//	child.example.com signed zone on the same server as its parent; open.example.com is an unsigned one there
//	glueless.org      its name server is ns.hosting.net, in another zone
//	hosting.net       the zone of that name server
//	optout.net        signed, below an opt-out parent
//	alias.com         www -> example.org (secure to secure), open -> unsigned.net (secure to insecure), chain -> three
//	                  links, old is a DNAME to example.com, away is a DNAME to unsigned.net, loop is a loop
//
//	unsigned, by proof
//	unsigned.com      below NSEC: the parent proves that there is no DS
//	unsigned.org      below NSEC3
//	unsigned.net      below an opt-out span
//	island.com        signed, but the parent has no DS
//	plain.info        below the unsigned info
//
//	bogus
//	bogus-tampered.com   records changed after they were signed
//	bogus-stripped.com   signatures left out
//	bogus-unsigned.com   answers as if it were unsigned
//	bogus-nokeys.com     no DNSKEY
//	bogus-ds.com         a DS that fits no key
//	bogus-expired.com    signatures that ended a day ago
//	bogus-future.com     signatures that start in a day
//	bogus-caa.com        only the CAA answer lacks its signatures
//
//	failing
//	dead.com             no server answers
//	lame.com             answers without AA
//	refused.com          REFUSED
//	servfail-caa.com     SERVFAIL for CAA, all else is well
//	truncated.com        TC over UDP, and TCP works
//	notcp.com            TC over UDP, and TCP does not work
//	noedns.com           unsigned, FORMERR to EDNS
//	slow.com             answers after 300 ms
//	large.com            TXT at large.com is beyond what UDP carries
//
//	certification
//	caa-other.com        CAA 0 issue "other-ca.example.net"
//	caa-none.com         CAA 0 issue ";"
//	caa-critical.com     a critical CAA record of an unknown tag
//	caa-tree.com         CAA at the apex, none below: the climb finds it from deep.sub.caa-tree.com
func Default() Config {
	d := &defaults{}
	d.top()
	d.healthy()
	d.unsigned()
	d.bogus()
	d.failing()
	d.certification()
	return Config{Zones: d.zones, Faults: d.faults}
}

// defaults gathers the default world.
type defaults struct {
	zones  []Zone
	faults []Fault
	hosts  byte
}

// The name servers of the default world: leaf zones of one kind share a server.
var (
	rootAddr    = netip.AddrFrom4([4]byte{127, 0, 53, 1})
	root2Addr   = netip.AddrFrom4([4]byte{127, 0, 53, 2})
	tldAddr     = netip.AddrFrom4([4]byte{127, 0, 53, 3})
	tld2Addr    = netip.AddrFrom4([4]byte{127, 0, 53, 4})
	healthyAddr = netip.AddrFrom4([4]byte{127, 0, 53, 10})
	otherAddr   = netip.AddrFrom4([4]byte{127, 0, 53, 11})
	hostingAddr = netip.AddrFrom4([4]byte{127, 0, 53, 12})
	openAddr    = netip.AddrFrom4([4]byte{127, 0, 53, 13})
	bogusAddr   = netip.AddrFrom4([4]byte{127, 0, 53, 14})
	failingAddr = netip.AddrFrom4([4]byte{127, 0, 53, 15})
)

func (d *defaults) top() {
	d.zones = append(d.zones, Zone{
		Name: ".", Algorithm: dns.ECDSAP256SHA256,
		Servers: []Server{{"a.root-servers.net", rootAddr}, {"b.root-servers.net", root2Addr}},
	})
	tld := func(name string, algorithm uint8, denial Denial) {
		d.zones = append(d.zones, Zone{
			Name: name, Algorithm: algorithm, Denial: denial,
			Servers: []Server{{"a.nic." + name, tldAddr}, {"b.nic." + name, tld2Addr}},
		})
	}
	tld("com", dns.ECDSAP256SHA256, NSEC)
	tld("org", dns.ECDSAP256SHA256, NSEC3)
	tld("net", dns.ECDSAP256SHA256, NSEC3OptOut)
	tld("dev", dns.ED25519, NSEC)
	tld("info", 0, NSEC)
}

// leaf adds a zone with a web host of its own at the apex.
func (d *defaults) leaf(z Zone, addr netip.Addr, records string) {
	d.hosts++
	z.Servers = []Server{{"ns1." + z.Name, addr}}
	z.Records = fmt.Sprintf("@ A 127.0.80.%d\n%s", d.hosts, records)
	d.zones = append(d.zones, z)
}

const wildcardRecords = `
* A 127.0.80.1
* TXT "wildcard"
*.alias CNAME www.example.com.
exists TXT "not the wildcard"
`

func (d *defaults) healthy() {
	p256 := func(name string, denial Denial) Zone {
		return Zone{Name: name, Algorithm: dns.ECDSAP256SHA256, Denial: denial}
	}
	d.leaf(p256("example.com", NSEC), healthyAddr, `
www CNAME @
caa CAA 0 issue "ca.example.net"
a.b.ent TXT "below empty non-terminals"
`)
	d.leaf(p256("example.org", NSEC3), otherAddr, `
www CNAME @
caa CAA 0 issue "ca.example.net"
a.b.ent TXT "below empty non-terminals"
`)
	d.leaf(Zone{
		Name: "salted.org", Algorithm: dns.ECDSAP384SHA384, CSK: true, Denial: NSEC3, Iterations: 5, Salt: "aabbccdd",
	}, otherAddr, "www A 127.0.80.1\n")
	d.leaf(Zone{Name: "example.dev", Algorithm: dns.ED25519}, otherAddr, "www CNAME @\n")
	d.leaf(Zone{Name: "rsa.com", Algorithm: dns.RSASHA256}, otherAddr, "www CNAME @\n")
	d.leaf(p256("wildcard.com", NSEC), healthyAddr, wildcardRecords)
	d.leaf(p256("wildcard.org", NSEC3), otherAddr, wildcardRecords)
	d.leaf(p256("child.example.com", NSEC), healthyAddr, "www CNAME @\n")
	d.leaf(Zone{Name: "open.example.com"}, healthyAddr, "www CNAME @\n")
	d.leaf(p256("glueless.org", NSEC3), hostingAddr, "www CNAME @\n")
	d.zones[len(d.zones)-1].Servers = []Server{{"ns.hosting.net", hostingAddr}}
	d.leaf(p256("hosting.net", NSEC), hostingAddr, "")
	d.leaf(p256("optout.net", NSEC3OptOut), otherAddr, "www CNAME @\n")
	d.leaf(p256("alias.com", NSEC), otherAddr, `
www CNAME example.org.
open CNAME unsigned.net.
chain CNAME one
one CNAME two
two CNAME example.org.
old DNAME example.com.
away DNAME unsigned.net.
loop CNAME loop2
loop2 CNAME loop
`)
}

func (d *defaults) unsigned() {
	for _, name := range []string{"unsigned.com", "unsigned.org", "unsigned.net", "plain.info"} {
		d.leaf(Zone{Name: name}, openAddr, "www CNAME @\n")
	}
	d.leaf(Zone{Name: "island.com", Algorithm: dns.ECDSAP256SHA256, DS: DSAbsent}, openAddr, "www CNAME @\n")
}

func (d *defaults) bogus() {
	signed := func(name string) Zone { return Zone{Name: name, Algorithm: dns.ECDSAP256SHA256} }
	wrongDS, expired, future := signed("bogus-ds.com"), signed("bogus-expired.com"), signed("bogus-future.com")
	wrongDS.DS = DSWrong
	expired.Window = Window{Before: 72 * time.Hour, After: -24 * time.Hour}
	future.Window = Window{Before: -24 * time.Hour, After: 72 * time.Hour}
	for _, z := range []Zone{
		signed("bogus-tampered.com"), signed("bogus-stripped.com"), signed("bogus-unsigned.com"),
		signed("bogus-nokeys.com"), wrongDS, expired, future, signed("bogus-caa.com"),
	} {
		d.leaf(z, bogusAddr, "www CNAME @\n@ TXT \"genuine\"\n@ CAA 0 issue \"ca.example.net\"\n")
	}
	d.faults = append(d.faults,
		Fault{Zone: "bogus-tampered.com", Type: dns.TypeA, Kind: Tamper},
		Fault{Zone: "bogus-tampered.com", Type: dns.TypeTXT, Kind: Tamper},
		Fault{Zone: "bogus-tampered.com", Type: dns.TypeCAA, Kind: Tamper},
		Fault{Zone: "bogus-stripped.com", Kind: StripRRSIG},
		Fault{Zone: "bogus-unsigned.com", Kind: StripDNSSEC},
		Fault{Zone: "bogus-unsigned.com", Type: dns.TypeDNSKEY, Kind: StripAnswer},
		Fault{Zone: "bogus-nokeys.com", Type: dns.TypeDNSKEY, Kind: StripAnswer},
		Fault{Zone: "bogus-caa.com", Type: dns.TypeCAA, Kind: StripRRSIG},
	)
}

func (d *defaults) failing() {
	faults := map[string]Fault{
		"dead.com":         {Kind: Drop},
		"lame.com":         {Kind: Lame},
		"refused.com":      {Kind: Refused},
		"servfail-caa.com": {Kind: ServFail, Type: dns.TypeCAA},
		"truncated.com":    {Kind: Truncate},
		"notcp.com":        {Kind: TruncateNoTCP},
		"noedns.com":       {Kind: NoEDNS},
		"slow.com":         {Kind: Slow, Delay: 300 * time.Millisecond},
	}
	for _, name := range []string{
		"dead.com", "lame.com", "refused.com", "servfail-caa.com", "truncated.com", "notcp.com", "noedns.com", "slow.com",
	} {
		z := Zone{Name: name, Algorithm: dns.ECDSAP256SHA256}
		if name == "noedns.com" {
			z.Algorithm = 0
		}
		d.leaf(z, failingAddr, "www CNAME @\n@ TXT \"here\"\n@ CAA 0 issue \"ca.example.net\"\n")
		f := faults[name]
		f.Zone = name
		d.faults = append(d.faults, f)
	}
	large := ""
	for i := range 40 {
		large += fmt.Sprintf("@ TXT \"%0100d\"\n", i)
	}
	d.leaf(Zone{Name: "large.com", Algorithm: dns.ECDSAP256SHA256}, failingAddr, large)
}

func (d *defaults) certification() {
	for _, c := range []struct{ name, records string }{
		{"caa-other.com", "@ CAA 0 issue \"other-ca.example.net\"\n"},
		{"caa-none.com", "@ CAA 0 issue \";\"\n"},
		{"caa-critical.com", "@ CAA 128 unknowntag \"value\"\n"},
		{"caa-tree.com", "@ CAA 0 issue \"other-ca.example.net\"\ndeep.sub A 127.0.80.1\n"},
	} {
		d.leaf(Zone{Name: c.name, Algorithm: dns.ECDSAP256SHA256}, healthyAddr, c.records)
	}
}
