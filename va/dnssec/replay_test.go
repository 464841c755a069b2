package dnssec_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
)

// contents is a signed zone as its owner knows it: which types stand where, and the denial records an attacker may replay.
type contents struct {
	zone    string
	types   map[string][]uint16 // by owner; empty for an empty non-terminal
	denials [][]dns.RR          // each NSEC or NSEC3 record with its signature
	keys    *dnssec.Keys
}

func load(t *testing.T, w *world.World, zone string) *contents {
	t.Helper()
	text, err := w.Export(zone)
	require.NoError(t, err)
	c := &contents{zone: zone, types: map[string][]uint16{}}
	var apex []dns.RR
	denials := map[string][]dns.RR{}
	p := dns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name, covered := dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype
		sig, isSig := rr.(*dns.RRSIG)
		if isSig {
			covered = sig.TypeCovered
		}
		switch {
		case covered == dns.TypeNSEC || covered == dns.TypeNSEC3:
			denials[name] = append(denials[name], rr)
			if covered == dns.TypeNSEC3 {
				continue
			}
		case covered == dns.TypeDNSKEY:
			apex = append(apex, rr)
		}
		if !isSig {
			c.types[name] = append(c.types[name], covered)
		}
	}
	require.NoError(t, p.Err())
	for name := range c.types {
		for up := dnssec.Ancestor(name, dns.CountLabel(name)-1); dnssec.Below(up, zone); {
			c.types[up] = append([]uint16{}, c.types[up]...)
			up = dnssec.Ancestor(up, dns.CountLabel(up)-1)
		}
	}
	for _, set := range denials {
		require.Len(t, set, 2)
		c.denials = append(c.denials, set)
	}
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.DS(zone)[0].String()))
	require.NoError(t, err)
	limits, err := dnssec.Limits{}.Complete()
	require.NoError(t, err)
	v0 := dnssec.NewVerifier(remembering(), limits, time.Now())
	keys, v := v0.Keys(dnssec.Group(apex)[0], dnssec.FromAnchors(anchors, zone))
	require.Equal(t, dnssec.Secure, v.Status, v.Reason.Text)
	c.keys = keys
	return c
}

// remembering are the default algorithms, each signature checked once: the same records are replayed again and again.
func remembering() dnssec.Algorithms {
	seen := map[string]bool{}
	all := dnssec.Algorithms{}
	for n, algorithm := range dnssec.DefaultAlgorithms() {
		all[n] = func(key []byte) (dnssec.VerifyFunc, error) {
			verify, err := algorithm(key)
			return func(data, sig []byte) bool {
				id := string(key) + string(sig) + string(data)
				if _, ok := seen[id]; !ok {
					seen[id] = verify(data, sig)
				}
				return seen[id]
			}, err
		}
	}
	return all
}

func at(t *testing.T, now time.Time) *dnssec.Verifier { return verifierAt(t, now, dnssec.Limits{}) }

func (c *contents) has(name string, qtype uint16) bool { return slices.Contains(c.types[name], qtype) }

// cutAbove is the delegation at or above a name, or the DNAME above it, if there is one: what stands there is not the zone's.
func (c *contents) cutAbove(name string) string {
	for n := dns.CountLabel(c.zone) + 1; n <= dns.CountLabel(name); n++ {
		up := dnssec.Ancestor(name, n)
		if c.has(up, dns.TypeNS) || up != name && c.has(up, dns.TypeDNAME) {
			return up
		}
	}
	if name != c.zone && c.has(c.zone, dns.TypeDNAME) {
		return c.zone
	}
	return ""
}

// truth says what may be proven about a question: the zone holds it, does not hold it, or has nothing to say.
func (c *contents) truth(name string, qtype uint16) dnssec.Existence {
	if cut := c.cutAbove(name); cut != "" && (cut != name || qtype != dns.TypeDS) || qtype == dns.TypeDS && name == c.zone {
		return 0
	}
	if types, ok := c.types[name]; ok {
		if slices.Contains(types, qtype) || slices.Contains(types, dns.TypeCNAME) {
			return 0
		}
		return dnssec.NoData
	}
	for n := dns.CountLabel(name) - 1; ; n-- {
		if up := dnssec.Ancestor(name, n); up == c.zone || c.types[up] != nil {
			if types, ok := c.types["*."+up]; ok {
				if slices.Contains(types, qtype) || slices.Contains(types, dns.TypeCNAME) {
					return 0
				}
				return dnssec.NoData
			}
			return dnssec.NoName
		}
	}
}

// check holds what the verifier makes of some records of the zone against what the zone holds.
func (c *contents) check(t *testing.T, name string, qtype uint16, section []dns.RR, optOut bool) {
	t.Helper()
	sets := dnssec.Group(section)
	// In an opt-out zone an insecure verdict stands for "nothing signed is here", and no more.
	unsigned := func(s dnssec.Status) bool { return optOut && s == dnssec.Insecure }
	bare := c.cutAbove(name) != "" && !c.has(c.cutAbove(name), dns.TypeDS) && c.has(c.cutAbove(name), dns.TypeNS)
	exists := c.types[name] != nil
	for _, nx := range []bool{false, true} {
		got, v := at(t, time.Now()).Denial(sets, c.keys).Negative(name, qtype, nx)
		want := c.truth(name, qtype)
		switch {
		case got == 0:
			require.False(t, v.Status.Usable())
		case unsigned(v.Status):
			require.True(t, bare || !exists, "%s %s: %s\n%v", name, dns.Type(qtype), v.Reason.Text, section)
		default:
			require.Equal(t, dnssec.Secure, v.Status, "%s %s", name, dns.Type(qtype))
			require.Equal(t, want, got, "%s %s %t\n%v", name, dns.Type(qtype), nx, section)
		}
	}
	if !dnssec.Below(name, c.zone) {
		return
	}
	got, v := at(t, time.Now()).Denial(sets, c.keys).NoDS(name)
	cut := c.cutAbove(name)
	switch got {
	case dnssec.NoDSCut:
		require.True(t, cut == name && c.has(name, dns.TypeNS) && !c.has(name, dns.TypeDS), "%s\n%v", name, section)
	case dnssec.NoDSOptOut:
		require.True(t, optOut && (bare || !exists), "%s\n%v", name, section)
	case dnssec.NoCut:
		require.True(t, cut == "" && exists, "%s\n%v", name, section)
	case dnssec.NoName:
		require.True(t, cut == "" && !exists, "%s\n%v", name, section)
	default:
		require.False(t, v.Status.Usable())
	}
}

// Every genuine denial record of a zone, alone and in any company, replayed for every name and type: nothing that the zone
// holds is ever denied, no signed delegation becomes an insecure one, and nothing below a cut or a DNAME is spoken of.
//
// Holds: DCV-05, DCV-06, DCV-08, C9
func TestReplayedDenialsNeverDenyWhatIs(t *testing.T) {
	cfg := world.Default()
	cfg.Zones = slices.DeleteFunc(cfg.Zones, func(z world.Zone) bool { return z.Algorithm == dns.RSASHA256 })
	w, err := world.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	rnd := rand.New(rand.NewPCG(7, 7))
	for _, zone := range []string{"com.", "org.", "net.", "example.com.", "example.org.", "salted.org.", "wildcard.com.",
		"wildcard.org.", "alias.com.", "optout.net."} {
		t.Run(zone, func(t *testing.T) {
			c := load(t, w, zone)
			var names []string
			for name := range c.types {
				names = append(names, name, "x."+name, "x.y."+name, "*."+strings.TrimPrefix(name, "*."))
			}
			slices.Sort(names)
			proven := 0
			for range 250 {
				name := names[rnd.IntN(len(names))]
				qtype := []uint16{dns.TypeA, dns.TypeCAA, dns.TypeTXT, dns.TypeDS, dns.TypeCNAME, dns.TypeNS}[rnd.IntN(6)]
				var some []dns.RR
				for _, i := range rnd.Perm(len(c.denials))[:min(len(c.denials), 1+rnd.IntN(6))] {
					some = append(some, c.denials[i]...)
				}
				c.check(t, name, qtype, some, zone == "net." || zone == "optout.net.")
				if len(c.denials) <= 40 { // all of them: whatever can be proven is
					some = slices.Concat(c.denials...)
				}
				c.check(t, name, qtype, some, zone == "net." || zone == "optout.net.")
				if got, _ := at(t, time.Now()).Denial(dnssec.Group(some), c.keys).Negative(name, qtype, true); got != 0 {
					proven++
				}
			}
			require.Positive(t, proven, "some proofs hold")
		})
	}
}
