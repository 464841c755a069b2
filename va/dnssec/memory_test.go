package dnssec_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// shared is a proof of "www.com. A" whose stages hold at several times for several reasons.
type shared struct {
	roots  []*signer
	stages []dnssec.Stage
	sets   dnssec.Sets
	answer *dns.Msg
	// edges are the times at which something comes out otherwise, in whole seconds.
	edges []time.Time
}

func newShared(t testing.TB) *shared {
	s := &shared{roots: []*signer{p256(t, "."), p256(t, ".")}, sets: dnssec.Sets{}, edges: []time.Time{now}}
	com := p256(t, "com.")
	valid := func(from, until time.Duration) func(*dns.RRSIG) {
		s.edges = append(s.edges, now.Add(from), now.Add(until))
		return func(sig *dns.RRSIG) {
			sig.Inception, sig.Expiration = uint32(now.Add(from).Unix()), uint32(now.Add(until).Unix())
		}
	}
	root := []dns.RR{s.roots[0].key, s.roots[1].key}
	rootKeys := append(slices.Clone(root), s.roots[0].sign(root, valid(-5*time.Hour, 2*time.Hour)), s.roots[1].sign(root, valid(-time.Hour, 9*time.Hour)))
	ds := []dns.RR{com.key.ToDS(dns.SHA256), com.key.ToDS(dns.SHA384)}
	for _, rr := range ds {
		rr.Header().Ttl = 300
	}
	cut := append(slices.Clone(ds), s.roots[0].sign(ds, valid(-4*time.Hour, 8*time.Hour)))
	comKeys := append([]dns.RR{com.key}, com.sign([]dns.RR{com.key}, valid(-6*time.Hour, 7*time.Hour)))
	for range 2 { // two that do not hold, which count all the same
		broken := com.sign([]dns.RR{com.key}, valid(-7*time.Hour, 6*time.Hour))
		raw, err := base64.StdEncoding.DecodeString(broken.Signature)
		require.NoError(t, err)
		raw[0] ^= 1
		broken.Signature = base64.StdEncoding.EncodeToString(raw)
		comKeys = append(comKeys, broken)
	}
	s.answer = new(dns.Msg).SetQuestion("www.com.", dns.TypeA)
	address := rrs(t, "www.com. A 192.0.2.1")
	s.answer.Answer = append(address, com.sign(address, valid(-8*time.Hour, 20*time.Hour)))

	v := verifier(t)
	keys, verdict := v.Keys(dnssec.Group(rootKeys)[0], dnssec.FromAnchors(s.anchors(t, 0, 1), "."))
	require.Equal(t, dnssec.Secure, verdict.Status, verdict.Reason.Text)
	d, _, verdict := v.Delegation(dnssec.Group(cut), keys, "com.")
	require.Equal(t, dnssec.Secure, verdict.Status, verdict.Reason.Text)
	keys, verdict = v.Keys(dnssec.Group(comKeys)[0], d)
	require.Equal(t, dnssec.Secure, verdict.Status, verdict.Reason.Text)
	a := v.Answer(dnssec.Message{Msg: s.answer, Query: 1}, keys, "www.com.", dns.TypeA)
	require.Equal(t, dnssec.Secure, a.Verdict.Status, a.Verdict.Reason.Text)
	s.stages = a.Verdict.Proof.Stages(now, s.sets)
	require.Len(t, s.stages, 4)
	return s
}

func (s *shared) anchors(t testing.TB, which ...int) (anchors []dnssec.Anchor) {
	for _, i := range which {
		a, err := dnssec.NewAnchor(s.roots[i].key.ToDS(dns.SHA256))
		require.NoError(t, err)
		anchors = append(anchors, a)
	}
	return anchors
}

// trial is one way to prove it.
type trial struct {
	prover dnssec.Prover
	at     time.Time
	stages []dnssec.Stage
	sets   dnssec.Sets
}

// prove tells all that comes of a trial.
func (s *shared) prove(x trial, m *dnssec.Memory) string {
	x.prover.Memory = m
	stages := slices.Clone(x.stages)
	for i := range stages {
		stages[i].At = x.at
	}
	got, err := x.prover.Prove(dnssec.Question{Name: "www.com.", Type: dns.TypeA, Started: x.at, Finished: x.at.Add(time.Second),
		Response: func(int) (*dns.Msg, error) { return s.answer.Copy(), nil }}, stages, x.sets)
	text := fmt.Sprint(err, got.Verdict.Status, got.Verdict.Reason, got.Rcode, got.Aliases, got.Records, got.TTL)
	for _, z := range got.Zones {
		text += fmt.Sprint("\n", z.Zone, z.Verdict.Status, z.Verdict.Reason, z.DS, z.Keys, z.Algorithm, z.Until)
	}
	for _, f := range got.Stages {
		text += fmt.Sprintf("\n%+v", f)
	}
	return text
}

// random makes a trial: at, before and after each edge, with and without slack, with other anchors, other limits, and altered records.
func (s *shared) random(t testing.TB, r *rand.Rand, algorithms dnssec.Algorithms) trial {
	limits := dnssec.Limits{SignaturesPerRRset: 1 + r.IntN(4), Signatures: 1 + r.IntN(6), Slack: []time.Duration{0, 0, time.Minute}[r.IntN(3)]}
	if r.IntN(2) == 0 {
		limits.SignaturesPerRRset, limits.Signatures = 0, 0
	}
	limits, err := limits.Complete()
	require.NoError(t, err)
	x := trial{prover: dnssec.Prover{Algorithms: algorithms, Limits: limits}, stages: slices.Clone(s.stages), sets: maps.Clone(s.sets)}
	begins := s.edges[r.IntN(len(s.edges))]
	x.prover.Anchors = [][]dnssec.Anchor{s.anchors(t, 0, 1), s.anchors(t, 0), s.anchors(t, 1), dnssec.RootAnchors(),
		{s.anchors(t, 0)[0].Since(begins), s.anchors(t, 1)[0]}, {s.anchors(t, 0)[0], s.anchors(t, 1)[0].Since(begins.Add(time.Millisecond))},
	}[r.IntN(6)]
	x.at = s.edges[r.IntN(len(s.edges))].Add([]time.Duration{0, time.Second, -time.Second, time.Minute, -time.Minute, 61 * time.Second,
		-61 * time.Second, 500 * time.Millisecond}[r.IntN(8)])
	if r.IntN(20) == 0 {
		x.at = x.at.AddDate([]int{-60, -30, 30, 60, 68, 69, 100}[r.IntN(7)], 0, 0)
	}
	i := r.IntN(3)
	switch r.IntN(12) {
	case 0: // other octets under their own digest
		octets := slices.Clone(x.sets[x.stages[i].Records])
		octets[r.IntN(len(octets))] ^= 1 << r.IntN(8)
		sum := sha256.Sum256(octets)
		x.stages[i].Records = hex.EncodeToString(sum[:])
		x.sets[x.stages[i].Records] = octets
	case 1: // and under the digest of what is remembered
		octets := slices.Clone(x.sets[x.stages[i].Records])
		octets[r.IntN(len(octets))] ^= 1 << r.IntN(8)
		x.sets[x.stages[i].Records] = octets
	case 2:
		delete(x.sets, x.stages[i].Records)
	case 3:
		x.stages[i].Records = x.stages[r.IntN(3)].Records
	case 4:
		x.stages = slices.Delete(x.stages, i, i+1)
	case 5:
		x.sets[x.stages[i].Records] = nil
	}
	return x
}

// What is remembered is what would be worked out: at each edge of each signature's and anchor's time, with and without slack, under
// all limits, with other anchors and with altered records, whatever was proven before.
//
// Holds: DCV-05, REC-04
func TestAMemoryChangesNoResult(t *testing.T) {
	s := newShared(t)
	algorithms := dnssec.DefaultAlgorithms()
	memory, small := dnssec.NewMemory(algorithms, 0), dnssec.NewMemory(algorithms, 16_000)
	rounds := 4000
	if testing.Short() {
		rounds = 400
	}
	var results sync.Map
	var group sync.WaitGroup
	for w := range 2 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 3))
			for range rounds {
				x := s.random(t, r, algorithms)
				want := s.prove(x, nil)
				results.Store(want, true)
				for _, m := range []*dnssec.Memory{memory, small, memory} {
					if got := s.prove(x, m); got != want {
						t.Errorf("at %s, limits %+v, anchors %v:\nwith a memory %s\nwithout %s", x.at, x.prover.Limits, x.prover.Anchors, got, want)
						return
					}
				}
			}
		})
	}
	group.Wait()
	different := 0
	results.Range(func(any, any) bool { different++; return true })
	hits, misses := memory.Counts()
	t.Logf("%d different results; %d stages remembered, %d worked out", different, hits, misses)
	require.Greater(t, different, 50)
	require.Greater(t, hits, misses/4)
}

// Holds: DCV-05, REC-04
func TestAWarmMemoryIsOfItsTimeAnchorsAndLimits(t *testing.T) {
	s := newShared(t)
	algorithms := dnssec.DefaultAlgorithms()
	limits, err := dnssec.Limits{}.Complete()
	require.NoError(t, err)
	tight := limits
	tight.SignaturesPerRRset = 1
	plain := dnssec.Prover{Anchors: s.anchors(t, 0, 1), Algorithms: algorithms, Limits: limits}
	with := func(edit func(p *dnssec.Prover)) dnssec.Prover {
		p := plain
		edit(&p)
		return p
	}
	narrow := dnssec.DefaultAlgorithms()
	delete(narrow, dns.ECDSAP256SHA256)
	altered := maps.Clone(s.sets)
	altered[s.stages[1].Records] = append(slices.Clone(s.sets[s.stages[1].Records]), 0)
	for _, c := range []struct {
		name  string
		trial trial
		say   string
	}{
		{"after a signature expired", trial{plain, now.Add(7*time.Hour + time.Second), s.stages, s.sets}, "expired at"},
		{"before one begins", trial{plain, now.Add(-4*time.Hour - time.Second), s.stages, s.sets}, "is valid from"},
		{"anchors of others", trial{with(func(p *dnssec.Prover) { p.Anchors = dnssec.RootAnchors() }), now, s.stages, s.sets}, "no key of . matches"},
		{"an anchor of later", trial{with(func(p *dnssec.Prover) { p.Anchors = []dnssec.Anchor{s.anchors(t, 0)[0].Since(now.Add(time.Second))} }),
			now, s.stages, s.sets}, "no key of . matches"},
		{"tighter limits", trial{with(func(p *dnssec.Prover) { p.Limits = tight }), now, s.stages, s.sets}, "needs more than 1 signature checks"},
		{"fewer algorithms", trial{with(func(p *dnssec.Prover) { p.Algorithms = narrow }), now, s.stages, s.sets}, "no key of . matches"},
		{"records altered", trial{plain, now, s.stages, altered}, "have another one"},
		{"records missing", trial{plain, now, s.stages, nil}, "are missing"},
		{"without the stage above", trial{plain, now, s.stages[1:], s.sets}, "the keys of . are not proven"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := dnssec.NewMemory(algorithms, 0)
			for range 2 {
				require.Contains(t, s.prove(trial{plain, now, s.stages, s.sets}, m), "and the chain of trust holds")
			}
			hits, misses := m.Counts()
			require.Equal(t, []int{4, 4}, []int{hits, misses}, "anchors and three stages, once worked out and once remembered")
			got := s.prove(c.trial, m)
			require.Contains(t, got, c.say)
			require.Equal(t, s.prove(c.trial, nil), got)
		})
	}
}

// Holds: DCV-05, REC-04
func TestAWarmMemoryIsNoAnchorBeforeItBegins(t *testing.T) {
	s := newShared(t)
	algorithms := dnssec.DefaultAlgorithms()
	limits, err := dnssec.Limits{}.Complete()
	require.NoError(t, err)
	for name, begins := range map[string]time.Time{"whole": now.Add(-time.Hour), "not whole": now.Add(-time.Hour - time.Millisecond)} {
		t.Run(name, func(t *testing.T) {
			m := dnssec.NewMemory(algorithms, 0)
			p := dnssec.Prover{Anchors: []dnssec.Anchor{s.anchors(t, 0)[0].Since(begins)}, Algorithms: algorithms, Limits: limits}
			require.Contains(t, s.prove(trial{p, now, s.stages, s.sets}, m), "and the chain of trust holds")
			require.Contains(t, s.prove(trial{p, now.Add(-time.Hour), s.stages, s.sets}, m), "and the chain of trust holds")
			require.Contains(t, s.prove(trial{p, now.Add(-time.Hour - time.Second), s.stages, s.sets}, m), "no key of . matches")
		})
	}
}

// A stage whose result would be another at another time is not remembered, and so nothing may be remembered of what builds on it.
//
// Holds: DCV-05, REC-04
func TestNothingIsRememberedUponWhatIsNot(t *testing.T) {
	s, stranger := newShared(t), p256(t, ".")
	algorithms := dnssec.DefaultAlgorithms()
	limits, err := dnssec.Limits{}.Complete()
	require.NoError(t, err)
	anchor, err := dnssec.NewAnchor(stranger.key.ToDS(dns.SHA256))
	require.NoError(t, err)
	later := s.anchors(t, 1)[0].Since(now.Add(time.Hour)) // an anchor that does not count yet
	set := []dns.RR{stranger.key}
	_, verdict := verifier(t).Keys(dnssec.Group(append(set, stranger.sign(set, nil)))[0], dnssec.FromAnchors([]dnssec.Anchor{anchor}, "."))
	theirs := trial{dnssec.Prover{Anchors: []dnssec.Anchor{anchor, later}, Algorithms: algorithms, Limits: limits}, now, slices.Clone(s.stages), s.sets}
	theirs.stages[0].Records = verdict.Proof.Stages(now, s.sets)[0].Records

	m := dnssec.NewMemory(algorithms, 0)
	ours := trial{dnssec.Prover{Anchors: []dnssec.Anchor{s.anchors(t, 0)[0], later}, Algorithms: algorithms, Limits: limits}, now, s.stages, s.sets}
	for range 2 {
		require.Contains(t, s.prove(ours, m), "and the chain of trust holds")
	}
	got := s.prove(theirs, m)
	require.Contains(t, got, "the stage before comes to bogus", "the keys of another root signed no delegation of com.")
	require.Equal(t, s.prove(theirs, nil), got)
}
