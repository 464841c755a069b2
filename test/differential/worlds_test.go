package differential

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/test/world"
)

// kind is what is special about a zone.
type kind string

// kinds are drawn by weight. Those of the second part cannot be exported to other name servers: they are faults of a server.
var kinds = []struct {
	kind   kind
	weight int
	server bool
}{
	{"healthy", 40, false}, {"unsigned", 8, false}, {"island", 4, false}, {"one-key", 4, false},
	{"ds-wrong", 3, false}, {"ds-unknown-algorithm", 3, false}, {"ds-unknown-digest", 2, false}, {"ds-beside-unknown", 2, false},
	{"ds-sha1", 2, false}, {"expired", 2, false}, {"not-yet-valid", 2, false},
	{"iterations-120", 2, false}, {"iterations-600", 2, false},

	{"tampered", 2, true}, {"stripped", 2, true}, {"as-unsigned", 2, true}, {"no-keys", 2, true}, {"no-edns", 2, true},
	{"unsigned-no-edns", 2, true}, {"caa-servfail", 2, true}, {"refused", 1, true}, {"lame", 1, true}, {"truncated", 2, true},
	{"no-proofs", 2, true}, {"one-proof", 2, true}, {"proofs-stripped", 2, true}, {"all-twice", 2, true}, {"backwards", 2, true},
	{"says-no-name", 2, true}, {"says-no-error", 2, true}, {"soa-tampered", 2, true}, {"no-soa", 2, true},
	{"false-synthesis", 2, true}, {"ttl-raised", 2, true}, {"foreign-records", 2, true}, {"no-cut-proof", 2, true},
}

// ask is one question, with the zone that it was made for and what it is about.
type ask struct {
	name  string
	qtype uint16
	zone  string
	kind  kind
	about string
}

func (a ask) String() string {
	return fmt.Sprintf("%s %s (%s, %s zone %s)", a.name, dns.Type(a.qtype), a.about, a.kind, a.zone)
}

// plan is a world and the questions that are asked of it; it follows from the seed alone.
type plan struct {
	config world.Config
	asks   []ask
	kinds  map[string]kind
}

const perZone = 25

// addresses of the name servers, unlike those of other tests: more than one world may want port 53.
func address(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 63, byte(n)}) }

func at(host string, n int) []world.Server { return []world.Server{{Host: host, Addr: address(n)}} }

// generate draws a world with about as many questions as said; faults tells whether servers may misbehave.
func generate(seed uint64, questions int, faults bool) plan {
	r := rand.New(rand.NewPCG(seed, 20260701))
	p := plan{kinds: map[string]kind{}}
	p.config.Zones = []world.Zone{
		{Name: ".", Servers: at("root.ns-root", 1), Algorithm: dns.ECDSAP256SHA256},
		{Name: "aa", Servers: at("ns.aa", 2), Algorithm: dns.ECDSAP256SHA256},
		{Name: "bb", Servers: at("ns.bb", 2), Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC3},
		{Name: "cc", Servers: at("ns.cc", 3), Algorithm: dns.ECDSAP384SHA384, Denial: world.NSEC3OptOut},
		{Name: "dd", Servers: at("ns.dd", 3), Algorithm: dns.ED25519, Denial: world.NSEC3, Salt: "abcd", Iterations: 3},
		{Name: "ee", Servers: at("ns.ee", 4)},
	}
	for _, z := range p.config.Zones {
		p.kinds[dns.Fqdn(z.Name)] = "healthy"
	}
	var names []string
	for i := range questions/perZone + 1 {
		parent := []string{"aa", "bb", "cc", "dd", "ee"}[r.IntN(5)]
		if len(names) > 3 && r.IntN(4) == 0 {
			parent = names[r.IntN(len(names))]
		}
		names = append(names, fmt.Sprintf("z%d.%s", i, parent))
	}
	for i, name := range names {
		p.zone(r, name, names[r.IntN(len(names))], 10+i%6, faults)
	}
	r.Shuffle(len(p.asks), func(i, j int) { p.asks[i], p.asks[j] = p.asks[j], p.asks[i] })
	p.asks = p.asks[:min(len(p.asks), questions)]
	return p
}

func draw(r *rand.Rand, faults bool) kind {
	for {
		n := r.IntN(120)
		for _, k := range kinds {
			if n -= k.weight; n < 0 {
				if k.server && !faults {
					break
				}
				return k.kind
			}
		}
	}
}

func (p *plan) zone(r *rand.Rand, name, other string, server int, faults bool) {
	k := draw(r, faults)
	p.kinds[dns.Fqdn(name)] = k
	z := world.Zone{Name: name, Servers: at("ns."+name, server), Records: records(r, other),
		Algorithm: []uint8{dns.ECDSAP256SHA256, dns.ECDSAP384SHA384, dns.ED25519}[r.IntN(3)],
		Denial:    []world.Denial{world.NSEC, world.NSEC3, world.NSEC3OptOut}[r.IntN(3)]}
	if z.Denial != world.NSEC && r.IntN(2) == 0 {
		z.Salt, z.Iterations = "5a17", uint16(r.IntN(12))
	}
	iterate := func(n uint16) { z.Denial, z.Iterations = world.NSEC3, n }
	switch k {
	case "unsigned", "unsigned-no-edns":
		z.Algorithm = 0
	case "island":
		z.DS = world.DSAbsent
	case "one-key":
		z.CSK = true
	case "ds-wrong":
		z.DS = world.DSWrong
	case "ds-unknown-algorithm":
		z.DS, z.DSRecords = world.DSGiven, []string{"4711 200 2 " + strings.Repeat("ab", 32)}
	case "ds-unknown-digest":
		z.DS, z.DSRecords = world.DSGiven, []string{fmt.Sprintf("4711 %d 200 %s", z.Algorithm, strings.Repeat("ab", 32))}
	case "ds-sha1": // no key has it: the SHA-1 digest is a wrong one
		z.DS, z.DSRecords = world.DSGiven, []string{fmt.Sprintf("4711 %d 1 %s", z.Algorithm, strings.Repeat("ab", 20))}
	case "ds-beside-unknown":
		z.DS, z.DSRecords = world.DSGiven, []string{"4711 200 2 " + strings.Repeat("ab", 32),
			fmt.Sprintf("4712 %d 2 %s", z.Algorithm, strings.Repeat("ab", 32))}
	case "expired":
		z.Window = world.Window{Before: 72 * time.Hour, After: -24 * time.Hour}
	case "not-yet-valid":
		z.Window = world.Window{Before: -24 * time.Hour, After: 72 * time.Hour}
	case "iterations-120":
		iterate(120)
	case "iterations-600":
		iterate(600)
	}
	p.config.Zones = append(p.config.Zones, z)
	if f, ok := fault(k, dns.Fqdn(name)); ok {
		p.config.Faults = append(p.config.Faults, f)
	}
	for _, q := range about(r, dns.Fqdn(name), k) {
		q.zone, q.kind = dns.Fqdn(name), k
		p.asks = append(p.asks, q)
	}
}

func records(r *rand.Rand, other string) string {
	text := `
@        A     192.0.2.1
@        TXT   "apex" "two strings"
www      A     192.0.2.2
www      A     192.0.2.3
www      AAAA  2001:db8::1
www      CAA   0 issue "ca.example"
mixed    MX    10 WwW
*.w      A     192.0.2.4
*.w      TXT   "wild"
here.w   TXT   "not wild"
a.b.e    TXT   "deep"
al       CNAME www
none     CNAME gone
*.c      CNAME www
dn       DNAME e
loop1    CNAME loop2
loop2    CNAME loop1
cut      NS    ns.nowhere.invalid.
`
	text += fmt.Sprintf("out CNAME www.%s.\nfar DNAME %s.\nwout CNAME any.w.%s.\n", other, other, other)
	if r.IntN(2) == 0 {
		text += "@ CAA 0 issue \"ca.example\"\n@ CAA 0 iodef \"mailto:x@example\"\n"
	}
	if r.IntN(3) == 0 {
		text += "* TXT \"wild at the apex\"\n"
	}
	if r.IntN(4) == 0 {
		for i := range 8 {
			text += fmt.Sprintf("chain%d CNAME chain%d\n", i, i+1)
		}
		text += "chain8 A 192.0.2.9\n"
	}
	return text
}

// about gives the questions of a zone.
func about(r *rand.Rand, zone string, _ kind) []ask {
	q := func(label string, qtype uint16, about string) ask {
		return ask{name: strings.TrimPrefix(label+"."+zone, "."), qtype: qtype, about: about}
	}
	n := fmt.Sprintf("n%d", r.IntN(1000))
	all := []ask{
		q("", dns.TypeA, "exists"), q("", dns.TypeCAA, "apex"), q("", dns.TypeNS, "exists"), q("", dns.TypeSOA, "exists"),
		q("", dns.TypeDS, "cut"), q("", dns.TypeDNSKEY, "exists"), q("", dns.TypeMX, "apex"),
		q("www", dns.TypeA, "exists"), q("www", dns.TypeAAAA, "exists"), q("WwW", dns.TypeCAA, "exists"),
		q("www", dns.TypeTXT, "no data"), q("www", dns.TypeDS, "no data"), q("mixed", dns.TypeMX, "exists"),
		q(n, dns.TypeA, "no name"), q(n+".deep", dns.TypeCAA, "no name"), q("_acme-challenge", dns.TypeTXT, "no name"),
		q(n+".www", dns.TypeTXT, "no name"), q(n+".w", dns.TypeA, "wildcard"), q(n+".x.w", dns.TypeTXT, "wildcard"),
		q(n+".w", dns.TypeCAA, "wildcard no data"), q("here.w", dns.TypeA, "no data"), q(n+".here.w", dns.TypeA, "no name"),
		q("*.w", dns.TypeA, "wildcard itself"), q("b.e", dns.TypeA, "empty"), q("e", dns.TypeCAA, "empty"),
		q(n+".b.e", dns.TypeA, "no name"), q("al", dns.TypeA, "alias"), q("al", dns.TypeCNAME, "exists"),
		q("al", dns.TypeMX, "alias to no data"), q("none", dns.TypeA, "alias to no name"), q(n+".c", dns.TypeA, "wildcard alias"),
		q("a.b.dn", dns.TypeTXT, "tree alias"), q(n+".dn", dns.TypeTXT, "tree alias to no name"), q("dn", dns.TypeDNAME, "exists"),
		q("dn", dns.TypeA, "no data"), q("out", dns.TypeA, "alias out"), q("www.far", dns.TypeCAA, "tree alias out"),
		q("wout", dns.TypeTXT, "alias out to a wildcard"), q("loop1", dns.TypeA, "alias loop"), q("cut", dns.TypeDS, "unsigned cut"),
		q("chain0", dns.TypeA, "chain"),
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:perZone]
}

// fault gives what a zone's servers do wrong.
func fault(k kind, zone string) (world.Fault, bool) {
	f := world.Fault{Zone: zone}
	simple := map[kind]world.Kind{"tampered": world.Tamper, "stripped": world.StripRRSIG, "as-unsigned": world.StripDNSSEC,
		"no-edns": world.NoEDNS, "unsigned-no-edns": world.NoEDNS, "refused": world.Refused, "lame": world.Lame,
		"truncated": world.Truncate}
	if kind, ok := simple[k]; ok {
		f.Kind = kind
		return f, true
	}
	switch k {
	case "no-keys":
		f.Kind, f.Type = world.StripAnswer, dns.TypeDNSKEY
		return f, true
	case "caa-servfail":
		f.Kind, f.Type = world.ServFail, dns.TypeCAA
		return f, true
	}
	f.Kind, f.Rewrite = world.Rewrite, rewrites[k]
	return f, f.Rewrite != nil
}

func proof(rr dns.RR) bool {
	if s, ok := rr.(*dns.RRSIG); ok {
		return s.TypeCovered == dns.TypeNSEC || s.TypeCovered == dns.TypeNSEC3
	}
	return rr.Header().Rrtype == dns.TypeNSEC || rr.Header().Rrtype == dns.TypeNSEC3
}

func copies(section []dns.RR) []dns.RR {
	var all []dns.RR
	for _, rr := range section {
		all = append(all, dns.Copy(rr))
	}
	return all
}

var rewrites = map[kind]func(*dns.Msg){
	"no-proofs": func(m *dns.Msg) { m.Ns = slices.DeleteFunc(copies(m.Ns), proof) },
	"one-proof": func(m *dns.Msg) { // the first proof stays, with its signature
		first := ""
		m.Ns = slices.DeleteFunc(copies(m.Ns), func(rr dns.RR) bool {
			if proof(rr) && first == "" {
				first = rr.Header().Name
			}
			return proof(rr) && rr.Header().Name != first
		})
	},
	"proofs-stripped": func(m *dns.Msg) {
		m.Ns = slices.DeleteFunc(copies(m.Ns), func(rr dns.RR) bool { return proof(rr) && rr.Header().Rrtype == dns.TypeRRSIG })
	},
	"all-twice": func(m *dns.Msg) {
		m.Answer, m.Ns = append(copies(m.Answer), m.Answer...), append(copies(m.Ns), m.Ns...)
	},
	"backwards": func(m *dns.Msg) {
		m.Answer, m.Ns = copies(m.Answer), copies(m.Ns)
		slices.Reverse(m.Answer)
		slices.Reverse(m.Ns)
	},
	"says-no-name":  func(m *dns.Msg) { m.Rcode = rcodeIf(m, dns.RcodeSuccess, dns.RcodeNameError) },
	"says-no-error": func(m *dns.Msg) { m.Rcode = rcodeIf(m, dns.RcodeNameError, dns.RcodeSuccess) },
	"soa-tampered": func(m *dns.Msg) {
		m.Ns = copies(m.Ns)
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Serial++
			}
		}
	},
	"no-soa": func(m *dns.Msg) {
		m.Ns = slices.DeleteFunc(copies(m.Ns), func(rr dns.RR) bool {
			s, sig := rr.(*dns.RRSIG)
			return rr.Header().Rrtype == dns.TypeSOA || sig && s.TypeCovered == dns.TypeSOA
		})
	},
	"false-synthesis": func(m *dns.Msg) { // the CNAME that the server makes of a DNAME leads elsewhere
		m.Answer = copies(m.Answer)
		if len(m.Answer) == 0 || m.Answer[0].Header().Rrtype != dns.TypeDNAME {
			return
		}
		for _, rr := range m.Answer {
			if c, ok := rr.(*dns.CNAME); ok {
				c.Target = "www." + m.Answer[0].Header().Name
			}
		}
	},
	"ttl-raised": func(m *dns.Msg) {
		m.Answer = copies(m.Answer)
		for _, rr := range m.Answer {
			rr.Header().Ttl = 864000
		}
	},
	"foreign-records": func(m *dns.Msg) { // what was not asked, of another zone, unsigned
		more, err := dns.NewRR("www.z0.aa. 300 IN A 203.0.113.66")
		if err == nil {
			m.Answer, m.Ns = append(copies(m.Answer), more), append(copies(m.Ns), more)
		}
	},
	"no-cut-proof": func(m *dns.Msg) { // referrals show neither DS nor its denial; the question for DS is answered in full
		if !m.Authoritative {
			m.Ns = slices.DeleteFunc(copies(m.Ns), func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeNS })
		}
	},
}

func rcodeIf(m *dns.Msg, from, to int) int {
	if len(m.Answer) == 0 && m.Authoritative && m.Rcode == from {
		return to
	}
	return m.Rcode
}
