package second

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

var (
	rounds    = flag.Int("alterations", 6, "how often each proof is altered")
	forgeries = flag.Int("forgeries", 1500, "how many proofs are made of what no honest zone signs")
	seed      = flag.Uint64("seed", 1, "the seed that the alterations follow from")
	file      = flag.String("lines", "", "keep verify.py's input in this file")
)

// python is Debian's interpreter: its packages are not those of another one that may come first on the PATH.
const python = "/usr/bin/python3"

func needPython(t testing.TB) {
	t.Helper()
	out, err := exec.Command(python, "-c", "import dns, cryptography").CombinedOutput()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s has no dnspython and cryptography: .ci/run installs them: %v %s", python, err, out)
	}
	t.Skipf("%s has no dnspython and cryptography (.ci/run names the Debian packages)", python)
}

// verify runs verify.py over lines and gives what it prints, and its exit status.
func verify(t testing.TB, lines [][]byte) (string, int) {
	t.Helper()
	cmd := exec.Command(python, "verify.py", "-")
	cmd.Stdin = bytes.NewReader(append(bytes.Join(lines, []byte("\n")), '\n'))
	out, err := cmd.CombinedOutput()
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// tally is the last line that verify.py prints.
var tally = regexp.MustCompile(`(\d+) lookups: agreement on (\d+) \((\d+) proven, (\d+) without proof, (\d+) refused\), ` +
	`disagreement on (\d+), (\d+) could not be checked\n$`)

type counted struct{ all, agreed, proven, unproven, refused, differ, unchecked int }

func counts(t testing.TB, out string) counted {
	t.Helper()
	m := tally.FindStringSubmatch(out)
	require.NotNil(t, m, out)
	var n [7]int
	for i := range n {
		var err error
		n[i], err = strconv.Atoi(m[i+1])
		require.NoError(t, err)
	}
	return counted{n[0], n[1], n[2], n[3], n[4], n[5], n[6]}
}

// lookups asks the questions of va/resolver/testdata/world.txt, and some more, in the world that they are about.
func lookups(t *testing.T) (resolver.Prover, []*resolver.Answer) {
	t.Helper()
	w, err := world.New(world.Default())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)
	c := resolver.Config{Anchors: anchors, Port: w.Port(), AllowReserved: true, Timeout: 3 * time.Second}
	for _, s := range w.Hints() {
		c.Hints = append(c.Hints, resolver.Hint{Name: s.Host, Addrs: []netip.Addr{s.Addr}})
	}
	r, err := resolver.New(c)
	require.NoError(t, err)
	f, err := os.Open("../../va/resolver/testdata/world.txt")
	require.NoError(t, err)
	defer f.Close()
	var answers []*resolver.Answer
	var mu sync.Mutex
	var asking sync.WaitGroup
	ask := func(name string, qtype uint16) {
		asking.Go(func() {
			a := r.Lookup(context.Background(), name, qtype)
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, a)
		})
	}
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 1 && fields[0] != "#" {
			ask(fields[0], dns.StringToType[fields[1]])
		}
	}
	for _, q := range []struct {
		name  string
		qtype uint16
	}{
		{"a.b.c.nothing.net", dns.TypeCAA}, {"unsigned.net", dns.TypeDS}, {"nothing.net", dns.TypeDS}, {"optout.net", dns.TypeCAA},
		{"none.optout.net", dns.TypeTXT}, {"x.y.z.example.org", dns.TypeA}, {"unsigned.org", dns.TypeDS}, {"chain.alias.com", dns.TypeCAA},
		{"x.away.alias.com", dns.TypeTXT}, {"old.alias.com", dns.TypeDNAME}, {"x.old.alias.com", dns.TypeDNAME},
		{"old.alias.com", dns.TypeA}, {"www.alias.com", dns.TypeCNAME}, {"x.y.alias.wildcard.org", dns.TypeCAA},
		{"*.wildcard.com", dns.TypeTXT}, {"*.wildcard.org", dns.TypeTXT}, {"ent.example.com", dns.TypeTXT}, {"example.com", dns.TypeSOA},
		{"example.org", dns.TypeDNSKEY}, {"example.com", dns.TypeNSEC}, {"example.com", dns.TypeMX}, {"open.example.com", dns.TypeDS},
		{"a.b.island.com", dns.TypeCAA}, {"none.child.example.com", dns.TypeA}, {".", dns.TypeDS}, {"deep.sub.caa-tree.com", dns.TypeCAA},
	} {
		ask(q.name, q.qtype)
	}
	asking.Wait()
	slices.SortFunc(answers, func(a, b *resolver.Answer) int {
		return strings.Compare(a.Lookup.Name+a.Lookup.Type, b.Lookup.Name+b.Lookup.Type)
	})
	return resolver.Prover{Anchors: anchors}, answers
}

// copied is a record as an auditor reads it, to be altered.
func copied(t testing.TB, a *resolver.Answer) (resolver.Lookup, dnssec.Sets) {
	t.Helper()
	record, err := json.Marshal(a.Lookup)
	require.NoError(t, err)
	var l resolver.Lookup
	require.NoError(t, json.Unmarshal(record, &l))
	sets := dnssec.Sets{}
	for sum, octets := range a.Sets {
		sets[sum] = bytes.Clone(octets)
	}
	return l, sets
}

// data is what a lookup tells, without TTLs and order.
func data(l resolver.Lookup) []string {
	all := []string{l.Rcode}
	for _, answer := range l.Answers {
		fields := strings.SplitN(answer, "\t", 5)
		all = append(all, strings.ToLower(fields[0]+fields[3]+fields[4]))
	}
	slices.Sort(all)
	return all
}

// truthful tells that nothing which the altered record can be made to say is secure and not what the zone signed, and that it
// cannot say of a signed zone that it is unsigned.
func truthful(t testing.TB, truth, l resolver.Lookup) {
	t.Helper()
	if truth.Status != dnssec.Insecure {
		require.NotEqual(t, dnssec.Insecure, l.Status, "%s %s", l.Name, l.Type)
	}
	if l.Status == dnssec.Secure && truth.Status == dnssec.Secure {
		require.Equal(t, data(truth), data(l), "%s %s", l.Name, l.Type)
	}
}

// Both implementations come to the same for every lookup in a world, for altered records of them, and for altered records that
// say what the first implementation makes of the alteration, down to its steps.
//
// Holds: DCV-05, DCV-06, DCV-07, DCV-08, REC-04
func TestTwoImplementationsAgree(t *testing.T) {
	needPython(t)
	p, answers := lookups(t)
	var lines [][]byte
	memory := dnssec.NewMemory(nil, 0)
	add := func(p resolver.Prover, l resolver.Lookup, sets dnssec.Sets) {
		line, err := NewLine(p, l, sets)
		require.NoError(t, err)
		lines = append(lines, line)
		// A memory that all share, altered records among them, makes nothing else of it.
		want, failed := p.Explain(l, sets)
		p.Memory = memory
		got, err := p.Explain(l, sets)
		require.Equal(t, want, got)
		require.Equal(t, fmt.Sprint(failed), fmt.Sprint(err))
	}
	for _, a := range answers {
		l, sets := copied(t, a)
		add(p, l, sets)
	}
	out, status := verify(t, lines)
	t.Logf("as they are: %s", out)
	require.Equal(t, 0, status)
	n := counts(t, out)
	require.Equal(t, len(answers), n.proven+n.unproven, "our own prover proves what our own resolver says")
	require.Greater(t, n.proven, 80)

	alter := newAlteration(t, p, answers)
	kinds := map[string]int{}
	lines = nil
	for _, a := range answers {
		if len(a.Lookup.Proof) == 0 {
			continue
		}
		for range *rounds {
			l, sets := copied(t, a)
			kind, altered := alter.one(t, &l, sets)
			asked := l.Name
			kinds[kind]++
			if a.Lookup.Status.Usable() { // which code a bogus or failed verdict has is the first implementation's own matter
				add(altered, l, sets)
			}
			if claims(altered, &l, sets) {
				add(altered, l, sets)
				if kind != "what an auditor brings" && asked == a.Lookup.Name {
					truthful(t, a.Lookup, l)
				}
			}
		}
	}
	if *file != "" {
		require.NoError(t, os.WriteFile(*file, bytes.Join(lines, []byte("\n")), 0o600))
	}
	out, status = verify(t, lines)
	t.Logf("altered: %v\n%s", kinds, out)
	require.NotEqual(t, 1, status, "seed %d", *seed)
	n = counts(t, out)
	require.Zero(t, n.differ, "seed %d", *seed)
	require.Equal(t, len(lines), n.agreed+n.unchecked)
	require.Less(t, n.unchecked, len(lines)/100, "octets that one of the two libraries can read")
	require.Greater(t, n.refused, 200)
	require.Greater(t, n.proven, 200)
	for _, k := range alter.kinds() {
		require.NotZero(t, kinds[k], k)
	}
}

// A verifier that cannot refuse shows nothing: what a line says of a sound proof and of an altered one is told wrong, and what
// the second implementation cannot check is no agreement.
//
// Holds: REC-04
func TestDisagreementIsTold(t *testing.T) {
	needPython(t)
	p, answers := lookups(t)
	i := slices.IndexFunc(answers, func(a *resolver.Answer) bool { return a.Lookup.Name == "caa.example.com." })
	require.GreaterOrEqual(t, i, 0)
	for name, c := range map[string]struct {
		alter  func(*resolver.Prover, *resolver.Lookup, dnssec.Sets)
		prover string // in the place of what our prover says, if not empty
		status int
		says   string
	}{
		"a sound proof":                {nil, "proven", 0, "1 proven"},
		"a sound proof that was not":   {nil, "error: x", 1, "1 DIFFER: caa.example.com. CAA secure: proven"},
		"one that was said to be none": {nil, "no-proof", 1, "1 DIFFER"},
		"another TTL that was proven":  {anotherTTL, "proven", 1, "1 DIFFER: caa.example.com. CAA secure: error Differs"},
		"another TTL":                  {anotherTTL, "", 0, "1 refused"},
		"octets that only one reads":   {nil, "error: x is no DNS message", 2, "1 cannot check"},
		"an algorithm not to be had":   {unknownAlgorithm, "", 2, "CAA secure: unchecked signatures of algorithm 250"},
	} {
		t.Run(name, func(t *testing.T) {
			l, sets := copied(t, answers[i])
			p := p
			if c.alter != nil {
				c.alter(&p, &l, sets)
			}
			written, err := NewLine(p, l, sets)
			require.NoError(t, err)
			var line Line
			require.NoError(t, json.Unmarshal(written, &line))
			if c.prover != "" {
				line.Prover = c.prover
			}
			written, err = json.Marshal(line)
			require.NoError(t, err)
			out, status := verify(t, [][]byte{written})
			require.Equal(t, c.status, status, out)
			require.Contains(t, out, c.says)
		})
	}
}

func anotherTTL(_ *resolver.Prover, l *resolver.Lookup, _ dnssec.Sets) { l.TTL++ }

// unknownAlgorithm makes the root's key one of the algorithm 250, which all signatures satisfy.
func unknownAlgorithm(p *resolver.Prover, l *resolver.Lookup, sets dnssec.Sets) {
	p.Algorithms = dnssec.DefaultAlgorithms()
	p.Algorithms[250] = func([]byte) (dnssec.VerifyFunc, error) { return func(_, _ []byte) bool { return true }, nil }
	sum := l.Proof[0].Records
	rrs, err := dnssec.Records(sets[sum])
	if err != nil {
		return
	}
	for _, rr := range rrs {
		if k, ok := rr.(*dns.DNSKEY); ok && k.Flags&dns.SEP != 0 {
			k.Algorithm = 250
			anchor, err := dnssec.NewAnchor(k)
			if err != nil {
				return
			}
			p.Anchors = []dnssec.Anchor{anchor}
		}
	}
	for _, rr := range rrs {
		if sig, ok := rr.(*dns.RRSIG); ok {
			sig.Algorithm, sig.KeyTag = 250, p.Anchors[0].Tag()
		}
	}
	renamed(l, sets, sum, packed(rrs))
	claims(*p, l, sets)
}
