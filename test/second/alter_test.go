package second

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// alteration changes one thing in a record, by a seed.
type alteration struct {
	rnd    *rand.Rand
	prover resolver.Prover
	others []dnssec.Anchor // of another world
	// replays are the records that servers said, by the zone that said them; sets are all records that were kept.
	replays map[string][][]dns.RR
	sets    dnssec.Sets
	answers []*resolver.Answer
}

func newAlteration(t *testing.T, p resolver.Prover, answers []*resolver.Answer) *alteration {
	t.Helper()
	a := &alteration{rnd: rand.New(rand.NewPCG(*seed, 2)), prover: p, others: dnssec.RootAnchors(), sets: dnssec.Sets{},
		answers: answers, replays: map[string][][]dns.RR{}}
	for _, l := range a.answers {
		maps.Copy(a.sets, l.Sets)
		for _, s := range l.Lookup.Proof {
			if s.Kind != dnssec.StageAnswer || s.Query == 0 {
				continue
			}
			m := new(dns.Msg)
			if err := m.Unpack(l.Lookup.Queries[s.Query-1].Response); err == nil {
				a.replays[s.Zone] = append(a.replays[s.Zone], m.Ns, m.Answer)
			}
		}
	}
	return a
}

type alter func(a *alteration, l *resolver.Lookup, sets dnssec.Sets, p *resolver.Prover)

var alterations = map[string]alter{
	"an octet of a response": (*alteration).octet,
	"a response":             (*alteration).response,
	"an octet of the sets":   (*alteration).setOctet,
	"the records of a set":   (*alteration).setRecords,
	"what the record says":   (*alteration).words,
	"the stages":             (*alteration).stages,
	"the time":               (*alteration).times,
	"what an auditor brings": (*alteration).auditor,
}

func (a *alteration) kinds() []string { return slices.Sorted(maps.Keys(alterations)) }

// one alters a record and gives the kind of the alteration, and the prover for it.
func (a *alteration) one(t *testing.T, l *resolver.Lookup, sets dnssec.Sets) (string, resolver.Prover) {
	t.Helper()
	kind := a.kinds()[a.rnd.IntN(len(alterations))]
	p := a.prover
	alterations[kind](a, l, sets, &p)
	require.NoError(t, sets.Check())
	return kind, p
}

func pick[E any](a *alteration, list []E) E { return list[a.rnd.IntN(len(list))] }

// judged gives the queries whose responses the proof judges; none where it ends before.
func judged(l *resolver.Lookup) []*resolver.Query {
	var queries []*resolver.Query
	for _, s := range l.Proof {
		if s.Query > 0 && len(l.Queries[s.Query-1].Response) > 0 {
			queries = append(queries, &l.Queries[s.Query-1])
		}
	}
	return queries
}

func (a *alteration) octet(l *resolver.Lookup, _ dnssec.Sets, _ *resolver.Prover) {
	if queries := judged(l); len(queries) > 0 {
		octets := pick(a, queries).Response
		octets[a.rnd.IntN(len(octets))] ^= 1 << a.rnd.IntN(8)
	}
}

// response makes a message of other records, or of the same in another way.
func (a *alteration) response(l *resolver.Lookup, _ dnssec.Sets, _ *resolver.Prover) {
	queries := judged(l)
	if len(queries) == 0 {
		return
	}
	q := pick(a, queries)
	m := new(dns.Msg)
	if m.Unpack(q.Response) != nil {
		return
	}
	zone := ""
	for _, s := range l.Proof {
		if s.Query > 0 && &l.Queries[s.Query-1] == q {
			zone = s.Zone
		}
	}
	section := pick(a, []*[]dns.RR{&m.Answer, &m.Ns, &m.Ns})
	switch n := a.rnd.IntN(9); {
	case n == 0:
		m.Rcode = pick(a, []int{dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeYXDomain, dns.RcodeServerFailure})
	case n == 1:
		m.Authoritative = !m.Authoritative
	case n == 2: // another answer's proofs, of the same zone
		m.Ns = pick(a, a.replays[zone])
	case n == 3:
		m.Rcode, m.Answer, m.Ns = pick(a, []int{dns.RcodeSuccess, dns.RcodeNameError}), nil, pick(a, a.replays[zone])
	case n == 4: // and of any zone
		m.Ns = append(m.Ns, pick(a, a.replays[pick(a, slices.Sorted(maps.Keys(a.replays)))])...)
	case n == 5:
		m.Answer, m.Ns = m.Ns, m.Answer
	default:
		*section = a.records(*section, m.Question[0].Name)
	}
	if octets, err := m.Pack(); err == nil {
		q.Response = octets
	}
}

// records drops, repeats, reorders, renames or ages records.
func (a *alteration) records(rrs []dns.RR, name string) []dns.RR {
	if len(rrs) == 0 {
		return rrs
	}
	rrs = slices.Clone(rrs)
	i := a.rnd.IntN(len(rrs))
	c := dns.Copy(rrs[i])
	switch a.rnd.IntN(7) {
	case 0:
		return slices.Delete(rrs, i, i+1)
	case 1:
		c.Header().Ttl = uint32(a.rnd.IntN(2)) * 200
		return append(rrs, c)
	case 2:
		a.rnd.Shuffle(len(rrs), func(i, j int) { rrs[i], rrs[j] = rrs[j], rrs[i] })
	case 3:
		c.Header().Name = name
		rrs[i] = c
	case 4:
		c.Header().Ttl = pick(a, []uint32{0, 1, 250, 100000})
		rrs[i] = c
	case 5: // the last label but the root's goes, or one comes
		_, c.Header().Name, _ = strings.Cut("x."+c.Header().Name, ".")
		if a.rnd.IntN(2) == 0 {
			c.Header().Name = "*." + c.Header().Name
		}
		rrs[i] = c
	case 6:
		return slices.DeleteFunc(rrs, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG })
	}
	return rrs
}

// renamed puts other octets in the place of a set, under their own digest.
func renamed(l *resolver.Lookup, sets dnssec.Sets, sum string, octets []byte) {
	delete(sets, sum)
	digest := sha256.Sum256(octets)
	name := hex.EncodeToString(digest[:])
	sets[name] = octets
	for i := range l.Proof {
		if l.Proof[i].Records == sum {
			l.Proof[i].Records = name
		}
	}
}

func (a *alteration) setOctet(l *resolver.Lookup, sets dnssec.Sets, _ *resolver.Prover) {
	sum := pick(a, slices.Sorted(maps.Keys(sets)))
	if octets := sets[sum]; len(octets) > 0 {
		octets[a.rnd.IntN(len(octets))] ^= 1 << a.rnd.IntN(8)
		renamed(l, sets, sum, octets)
	}
}

func (a *alteration) setRecords(l *resolver.Lookup, sets dnssec.Sets, _ *resolver.Prover) {
	sum := pick(a, slices.Sorted(maps.Keys(sets)))
	rrs, err := dnssec.Records(sets[sum])
	if err != nil {
		return
	}
	if a.rnd.IntN(4) > 0 {
		rrs = a.records(rrs, l.Name)
	} else {
		other, err := dnssec.Records(a.sets[pick(a, slices.Sorted(maps.Keys(a.sets)))])
		if err != nil {
			return
		}
		rrs = append(rrs, other...)
	}
	renamed(l, sets, sum, packed(rrs))
}

// packed puts records in the form of Sets, as far as they have one.
func packed(rrs []dns.RR) []byte {
	var octets []byte
	for _, rr := range rrs {
		wire := make([]byte, dns.Len(rr)+1)
		if end, err := dns.PackRR(rr, wire, 0, nil, false); err == nil {
			octets = append(octets, wire[:end]...)
		}
	}
	return octets
}

func below(name string) string { return dns.Fqdn("x." + strings.TrimSuffix(name, ".")) }

func (a *alteration) words(l *resolver.Lookup, _ dnssec.Sets, _ *resolver.Prover) {
	statuses := []dnssec.Status{dnssec.Secure, dnssec.Insecure, dnssec.Bogus, dnssec.Failure}
	switch a.rnd.IntN(10) {
	case 0:
		l.Status = pick(a, statuses)
	case 1:
		l.Rcode = pick(a, []string{"NOERROR", "NXDOMAIN", "SERVFAIL", ""})
	case 2:
		l.TTL += uint32(a.rnd.IntN(3))
	case 3:
		if len(l.Answers) > 0 {
			l.Answers = l.Answers[1:]
		}
	case 4:
		l.Answers = append(l.Answers, l.Name+"\t300\tIN\tA\t192.0.2.1")
	case 5:
		stage := &l.Proof[a.rnd.IntN(len(l.Proof))]
		stage.Name = pick(a, []string{"", l.Name, stage.Zone, below(l.Name)})
	case 6:
		if link := &l.Chain[a.rnd.IntN(len(l.Chain))]; len(link.DNSKEY) > 0 {
			link.DNSKEY[0]++
		}
	case 7:
		l.Chain[a.rnd.IntN(len(l.Chain))].Result = pick(a, statuses)
	case 8:
		l.Chain = append(l.Chain, resolver.Link{Zone: below(l.Name), Result: pick(a, statuses)})
	case 9:
		l.Name = below(l.Name)
	}
}

func (a *alteration) stages(l *resolver.Lookup, sets dnssec.Sets, _ *resolver.Prover) {
	i := a.rnd.IntN(len(l.Proof))
	switch a.rnd.IntN(7) {
	case 0:
		l.Proof = slices.Delete(l.Proof, i, i+1)
	case 1:
		l.Proof = slices.Insert(l.Proof, i, l.Proof[i])
	case 2:
		a.rnd.Shuffle(len(l.Proof), func(i, j int) { l.Proof[i], l.Proof[j] = l.Proof[j], l.Proof[i] })
	case 3: // the answer comes from a zone above
		s := &l.Proof[len(l.Proof)-1]
		s.Zone = pick(a, l.Proof).Zone
	case 4:
		l.Proof = l.Proof[:i]
	case 5:
		l.Proof[i].Records = pick(a, slices.Sorted(maps.Keys(sets)))
	case 6: // stages of another lookup come first
		other := pick(a, a.answers)
		maps.Copy(sets, other.Sets)
		first := slices.Clone(other.Lookup.Proof)
		first = slices.DeleteFunc(first, func(s dnssec.Stage) bool { return s.Kind == dnssec.StageAnswer })
		for i := range first {
			first[i].At = l.Proof[0].At
		}
		l.Proof = append(first, l.Proof...)
	}
}

func (a *alteration) times(l *resolver.Lookup, _ dnssec.Sets, _ *resolver.Prover) {
	by := pick(a, []time.Duration{-time.Second, time.Second, -time.Hour, 23 * time.Hour, 10 * 24 * time.Hour, 400 * 24 * time.Hour,
		-400 * 24 * time.Hour, 69 * 365 * 24 * time.Hour})
	if a.rnd.IntN(3) == 0 {
		l.Proof[a.rnd.IntN(len(l.Proof))].At = l.Proof[0].At.Add(by)
		return
	}
	l.Started, l.Finished = l.Started.Add(by), l.Finished.Add(by)
	for i := range l.Proof {
		l.Proof[i].At = l.Proof[i].At.Add(by)
	}
	for i := range l.Queries {
		l.Queries[i].At = l.Queries[i].At.Add(by)
	}
}

func (a *alteration) auditor(_ *resolver.Lookup, _ dnssec.Sets, p *resolver.Prover) {
	switch a.rnd.IntN(6) {
	case 0:
		p.Anchors = a.others
	case 1:
		p.Anchors = slices.Concat(a.others, p.Anchors)
	case 2:
		p.Algorithms = dnssec.DefaultAlgorithms()
		delete(p.Algorithms, pick(a, []uint8{dns.RSASHA256, dns.ECDSAP256SHA256, dns.ECDSAP384SHA384, dns.ED25519}))
	case 3:
		p.Limits.Slack = dnssec.MaxSlack
	case 4:
		p.Limits.NSEC3Hashes = 1 + a.rnd.IntN(3)
	case 5:
		p.Limits.NSEC3Iterations = 1
	}
}

// claims makes a record say what our prover makes of it, as far as that goes; false where it holds together in no way.
func claims(p resolver.Prover, l *resolver.Lookup, sets dnssec.Sets) bool {
	limits, err := p.Limits.Complete()
	if err != nil {
		return false
	}
	if p.Algorithms == nil {
		p.Algorithms = dnssec.DefaultAlgorithms()
	}
	q := dnssec.Question{Name: l.Name, Type: dns.StringToType[l.Type], Started: l.Started, Finished: l.Finished,
		Response: func(n int) (*dns.Msg, error) {
			m := new(dns.Msg)
			return m, m.Unpack(l.Queries[n-1].Response)
		}}
	for n := len(l.Proof); n > 0; n-- {
		got, err := dnssec.Prover{Anchors: p.Anchors, Algorithms: p.Algorithms, Limits: limits}.Prove(q, l.Proof[:n], sets)
		if err != nil {
			continue
		}
		l.Status, l.Code, l.Proof, l.Chain = got.Verdict.Status, got.Verdict.Reason.Code, l.Proof[:n], nil
		l.Rcode, l.Answers, l.TTL = dns.RcodeToString[got.Rcode], nil, got.TTL
		for _, rr := range slices.Concat(got.Aliases, got.Records) {
			l.Answers = append(l.Answers, rr.String())
		}
		return true
	}
	return false
}
