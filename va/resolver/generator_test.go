package resolver_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// The generator signs one zone for each algorithm and kind of denial, asks the same questions of each, and lets one thing go
// wrong at a time. What must come of it is stated in testdata/faults.txt, by the fault and not by the code.

// genAlgorithms are all that are supported, by words that make good zone names (see genRecords).
var genAlgorithms = map[string]uint8{"rsa256": dns.RSASHA256, "rsa512": dns.RSASHA512, "p256": dns.ECDSAP256SHA256,
	"p384": dns.ECDSAP384SHA384, "ed25519": dns.ED25519, "eddsa448": dns.ED448}

// genDenials are the kinds of denial, by the words of testdata/faults.txt.
var genDenials = map[string]world.Zone{
	"nsec":    {Denial: world.NSEC},
	"nsec3":   {Denial: world.NSEC3},
	"salted":  {Denial: world.NSEC3, Salt: "fade", Iterations: 7},
	"opt-out": {Denial: world.NSEC3OptOut},
}

// The records, names and salts are so chosen that no NSEC3 record of an answer happens to prove two things.
const genRecords = `
@          CAA   0 issue "ca.example.net"
www        A     192.0.2.1
www        A     192.0.2.2
www        TXT   "one"
other      A     192.0.2.7
other      A     192.0.2.8
*.wild     A     192.0.2.3
*.wild     A     192.0.2.4
taken.wild TXT   "exists"
a.b.ent    TXT   "below empty non-terminals"
alias      CNAME www
old        DNAME tree
www.tree   A     192.0.2.9
`

// genQuestion is a question by its word in testdata/faults.txt; name is relative to the zone.
type genQuestion struct {
	name  string
	qtype uint16
	// from is the zone whose answers the fault concerns, and everywhere tells that it concerns all of them and not only the
	// answer to this very question: a referral says the same as the answer for DS.
	from       string
	everywhere bool
}

var genQuestions = map[string]genQuestion{
	"exists":           {"www", dns.TypeA, "", false},
	"caa":              {"", dns.TypeCAA, "", false},
	"no-data":          {"www", dns.TypeCAA, "", false},
	"no-name":          {"x.none", dns.TypeA, "", false},
	"wildcard":         {"uu.wild", dns.TypeA, "", false},
	"wildcard-no-data": {"uu.wild", dns.TypeCAA, "", false},
	"beside-wildcard":  {"taken.wild", dns.TypeA, "", false},
	"empty":            {"b.ent", dns.TypeA, "", false},
	"alias":            {"alias", dns.TypeA, "", false},
	"tree-alias":       {"www.old", dns.TypeA, "", false},
	"keys":             {"www", dns.TypeA, "", true},
	"signed-child":     {"www.child", dns.TypeA, "", true},
	"child-caa":        {"child", dns.TypeCAA, "child", false},
	"cut-caa":          {"child", dns.TypeCAA, "", true},
	"child-ds":         {"child", dns.TypeDS, "", false},
	"unsigned-child":   {"www.open", dns.TypeA, "", true},
	"no-ds":            {"open", dns.TypeDS, "", false},
}

// genWorld has a zone "ALGORITHM-DENIAL.gen." for each pair, with a signed child and an unsigned one on other servers.
func genWorld(t testing.TB) *world.World {
	t.Helper()
	server := func(host, addr string) []world.Server {
		return []world.Server{{Host: host, Addr: netip.MustParseAddr(addr)}}
	}
	parents, children := server("ns.gen", "127.0.53.121"), server("sub.gen", "127.0.53.122")
	cfg := world.Config{Zones: []world.Zone{
		{Name: ".", Servers: server("root.gen", "127.0.53.120"), Algorithm: dns.ECDSAP256SHA256},
		{Name: "gen", Servers: server("tld.gen", "127.0.53.123"), Algorithm: dns.ECDSAP256SHA256},
	}}
	for alg, number := range genAlgorithms {
		for kind, z := range genDenials {
			z.Name, z.Servers, z.Algorithm, z.Records = alg+"-"+kind+".gen.", parents, number, genRecords
			z.CSK = number == dns.RSASHA256 || number == dns.RSASHA512 // RSA keys take their time to make
			cfg.Zones = append(cfg.Zones, z,
				world.Zone{Name: "child." + z.Name, Servers: children, Algorithm: dns.ECDSAP256SHA256, Denial: z.Denial,
					Records: genRecords},
				world.Zone{Name: "open." + z.Name, Servers: children, Records: genRecords})
		}
	}
	return serve(t, cfg)
}

// genCase is one line of testdata/faults.txt for one zone.
type genCase struct {
	question, fault, status string
	// code is the response code of a usable answer, or the reasons' codes of which one must be given.
	code []string
}

// genCases reads testdata/faults.txt for one kind of denial.
func genCases(t testing.TB, kind string) []genCase {
	t.Helper()
	f, err := os.Open("testdata/faults.txt")
	require.NoError(t, err)
	defer f.Close()
	var all []genCase
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		require.GreaterOrEqual(t, len(fields), 6, s.Text())
		for _, k := range strings.Split(fields[0], ",") {
			require.Contains(t, append(slices.Collect(maps.Keys(genDenials)), "any"), k, s.Text())
			if k == kind || k == "any" {
				for _, q := range strings.Split(fields[1], ",") {
					all = append(all, genCase{q, fields[2], fields[3], strings.Split(fields[4], "|")})
				}
			}
		}
	}
	require.Greater(t, len(all), 200)
	return all
}

// Hundreds of signed zones with one fault each: the verdict follows from the fault. Whatever is found usable is the truth.
//
// Holds: DCV-04, DCV-05, DCV-06, DCV-07, DCV-08, CAA-07, C9
func TestRFC4035_5_OneFaultAtATime(t *testing.T) {
	require.ElementsMatch(t, slices.Collect(maps.Keys(dnssec.DefaultAlgorithms())), slices.Collect(maps.Values(genAlgorithms)))
	w := genWorld(t)
	for alg := range genAlgorithms {
		for kind := range genDenials {
			if racing && alg != "p256" && kind != "nsec3" { // all pairs are run without the race detector
				continue
			}
			zone := alg + "-" + kind + ".gen."
			t.Run(alg+" "+kind, func(t *testing.T) {
				t.Parallel()
				g := newGenerator(t, w, zone)
				for _, c := range genCases(t, kind) {
					t.Run(c.question+" "+c.fault, func(t *testing.T) { g.run(t, c) })
				}
			})
		}
	}
}

func (g *generator) run(t *testing.T, c genCase) {
	q, ok := genQuestions[c.question]
	require.True(t, ok, "no such question")
	name := dns.Fqdn(strings.TrimSuffix(q.name+"."+g.zone, "."))
	if q.name == "" {
		name = g.zone
	}
	f := world.Fault{Zone: g.zone, Name: name, Type: q.qtype}
	if q.from != "" {
		f.Zone = q.from + "." + g.zone
	}
	if q.everywhere {
		f.Name, f.Type = "", 0
	}
	struck := g.inject(t, f, c.fault, name, q.qtype)
	r := in(t, g.world, nil)
	a := r.Lookup(context.Background(), name, q.qtype)
	l := a.Lookup
	said := fmt.Sprintf("%s\n%s", l.Why, trace(l))
	require.True(t, struck(), "the fault had no occasion to strike: %s", said)
	require.Equal(t, c.status, l.Status.String(), said)
	if !l.Status.Usable() {
		require.Contains(t, c.code, l.Code, said)
		require.Empty(t, l.Answers)
		require.Empty(t, a.Records)
		return
	}
	require.Contains(t, c.code, l.Rcode, said)
	require.Equal(t, g.truth[c.question], genData(a), said)
	require.LessOrEqual(t, l.TTL, uint32(300), "no TTL above the one that was signed (RFC 4035 section 5.3.3)")
}

// genData is what an answer tells, without TTLs and order.
func genData(a *resolver.Answer) []string {
	data := []string{a.Lookup.Rcode}
	for _, rr := range slices.Concat(a.Aliases, a.Records) {
		c := dns.Copy(rr)
		c.Header().Ttl = 0
		data = append(data, strings.ToLower(c.String()))
	}
	slices.Sort(data)
	return data
}

// newGenerator learns the truth about a zone before anything goes wrong in it.
func newGenerator(t testing.TB, w *world.World, zone string) *generator {
	t.Helper()
	g := &generator{world: w, zone: zone, truth: map[string][]string{}, sets: map[string][]dns.RR{}}
	for _, z := range []string{zone, "child." + zone} {
		text, err := w.Export(z)
		require.NoError(t, err)
		p := dns.NewZoneParser(strings.NewReader(text), "", "")
		for rr, ok := p.Next(); ok; rr, ok = p.Next() {
			rrtype := rr.Header().Rrtype
			if sig, ok := rr.(*dns.RRSIG); ok {
				rrtype = sig.TypeCovered
			}
			id := z + " " + rr.Header().Name + " " + dns.Type(rrtype).String()
			g.sets[id] = append(g.sets[id], rr)
		}
		require.NoError(t, p.Err())
	}
	r := in(t, w, nil)
	for word, q := range genQuestions {
		a := r.Lookup(context.Background(), strings.TrimPrefix(q.name+"."+zone, "."), q.qtype)
		require.True(t, a.Lookup.Status == dnssec.Secure || a.Lookup.Status == dnssec.Insecure, trace(a.Lookup))
		g.truth[word] = genData(a)
	}
	return g
}
