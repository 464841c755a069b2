// Package differential compares the validating resolver with Unbound, in worlds that follow from a seed: zones of all kinds,
// healthy and broken, and names of all kinds in them. Every class of difference is explained in differences.md; a
// difference of no class fails.
package differential

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

var (
	names = flag.Int("names", 500, "how many questions the world of test/world is asked")
	only  = flag.String("only", "", "ask only the questions whose name ends so, to look into a difference")
	seed  = flag.Uint64("seed", 1, "the seed that the world follows from")
)

// verdict is what a resolver makes of a question. data is empty where the answer must not be used.
type verdict struct {
	status, rcode string
	data          []string
	why           string
}

func (v verdict) usable() bool { return v.status == "secure" || v.status == "insecure" }

func (v verdict) String() string {
	return fmt.Sprintf("%s %s %v [%s]", v.status, v.rcode, v.data, v.why)
}

// agrees tells whether two verdicts say the same to a CA: the same security, response code and data, or both that there is
// nothing to go by.
func agrees(a, b verdict) bool {
	if !a.usable() || !b.usable() {
		return a.usable() == b.usable()
	}
	return a.status == b.status && a.rcode == b.rcode && slices.Equal(a.data, b.data)
}

// data is what an answer says, without TTLs, order, signatures and what a server makes of a DNAME.
func data(answer []dns.RR, a ask) []string {
	var lines, trees []string
	for _, rr := range answer {
		if rr.Header().Rrtype == dns.TypeDNAME {
			trees = append(trees, strings.ToLower(rr.Header().Name))
		}
	}
	for _, rr := range answer {
		name := strings.ToLower(rr.Header().Name)
		below := func(tree string) bool { return name != tree && dns.IsSubDomain(tree, name) }
		if rr.Header().Rrtype == dns.TypeRRSIG && a.qtype != dns.TypeRRSIG ||
			rr.Header().Rrtype == dns.TypeCNAME && slices.ContainsFunc(trees, below) {
			continue
		}
		c := dns.Copy(rr)
		c.Header().Ttl = 0
		lines = append(lines, strings.Join(strings.Fields(strings.ToLower(c.String())), " "))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func ours(r *resolver.Resolver, a ask) verdict {
	l := r.Lookup(context.Background(), a.name, a.qtype)
	return verdict{l.Lookup.Status.String(), l.Lookup.Rcode, data(slices.Concat(l.Aliases, l.Records), a),
		l.Lookup.Code + ": " + l.Lookup.Why}
}

func resolverIn(t *testing.T, w *world.World, port uint16) *resolver.Resolver {
	t.Helper()
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)
	c := resolver.Config{Anchors: anchors, Port: port, AllowReserved: true}
	for _, s := range w.Hints() {
		c.Hints = append(c.Hints, resolver.Hint{Name: s.Host, Addrs: []netip.Addr{s.Addr}})
	}
	r, err := resolver.New(c)
	require.NoError(t, err)
	return r
}

// Holds: DCV-04, DCV-05, DCV-06, DCV-08
func TestUnboundAgrees(t *testing.T) {
	daemon.Program(t, "unbound")
	p := generate(*seed, *names, true)
	p.asks = slices.DeleteFunc(p.asks, func(a ask) bool { return !strings.HasSuffix(a.name, *only) })
	w, err := world.New(p.config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	compare(t, w, relay(t, w, p), p)
}

// compare asks both and looks for an explanation where they differ.
func compare(t *testing.T, w *world.World, port uint16, p plan) {
	t.Helper()
	r, at := resolverIn(t, w, port), unbound(t, w, port)
	type pair struct{ ours, theirs verdict }
	pairs := make([]pair, len(p.asks))
	next := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				pairs[i] = pair{ours(r, p.asks[i]), theirs(t, at, p.asks[i])}
			}
		}()
	}
	for i := range p.asks {
		next <- i
	}
	close(next)
	wg.Wait()
	count := map[string]int{}
	for i, a := range p.asks {
		o, th := pairs[i].ours, pairs[i].theirs
		if agrees(o, th) {
			word := "agree: " + o.status
			if !o.usable() {
				word = "agree: refused"
			}
			count[word]++
			continue
		}
		class := explain(p, a, o, th)
		count["differ: "+class]++
		if class == "" {
			t.Errorf("%v\n  ours:   %v\n  theirs: %v", a, o, th)
		}
	}
	var lines []string
	for k, n := range count {
		lines = append(lines, fmt.Sprintf("%5d %s", n, k))
	}
	sort.Strings(lines)
	t.Logf("%d questions to %d zones, seed %d\n%s", len(p.asks), len(p.config.Zones), *seed, strings.Join(lines, "\n"))
}

// Each class that the code knows is explained in differences.md, and each that is explained there is known.
func TestEveryClassOfDifferenceIsExplained(t *testing.T) {
	text, err := os.ReadFile("differences.md")
	require.NoError(t, err)
	var explained, known []string
	for _, line := range strings.Split(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			explained = append(explained, name)
		}
	}
	for _, c := range classes {
		known = append(known, c.name)
	}
	require.ElementsMatch(t, known, explained)
}
