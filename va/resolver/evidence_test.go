package resolver_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math/rand/v2"
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

// clone copies a lookup and its sets, so that a test can alter them.
func clone(t testing.TB, a *resolver.Answer) (resolver.Lookup, dnssec.Sets) {
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

// answered gives the index of the stage that has the answer, and of its query.
func answered(l resolver.Lookup) (stage, query int) {
	for i, s := range l.Proof {
		if s.Kind == dnssec.StageAnswer {
			return i, s.Query - 1
		}
	}
	return -1, -1
}

// Holds: DCV-05, REC-04
func TestAProofIsOfTheOctetsAndNothingElse(t *testing.T) {
	w := serve(t, world.Default())
	r := in(t, w, nil)
	lookup := func(name string, qtype uint16) *resolver.Answer { return r.Lookup(context.Background(), name, qtype) }
	signed, unsigned := lookup("caa.example.com", dns.TypeCAA), lookup("unsigned.com", dns.TypeA)
	require.Equal(t, dnssec.Secure, signed.Lookup.Status)
	require.Equal(t, dnssec.Insecure, unsigned.Lookup.Status)
	absent, other := lookup("none.example.com", dns.TypeCAA), lookup("example.org", dns.TypeCAA)
	require.Equal(t, "NXDOMAIN", absent.Lookup.Rcode)
	for _, c := range []struct {
		name  string
		a     *resolver.Answer
		alter func(l *resolver.Lookup, sets dnssec.Sets)
		say   string
	}{
		{"another status", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Status = dnssec.Insecure }, "says that the status is insecure"},
		{"insecure called secure", unsigned, func(l *resolver.Lookup, _ dnssec.Sets) { l.Status, l.Code = dnssec.Secure, "" },
			"says that the status is secure"},
		{"another answer", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			l.Answers[0] = strings.Replace(l.Answers[0], "ca.", "cb.", 1) + "x"
		}, "says that the answer is"},
		{"an answer left out", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Answers = l.Answers[:len(l.Answers)-1] }, "says that the answer"},
		{"a longer TTL", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.TTL++ }, "says that the TTL"},
		{"another response code", absent, func(l *resolver.Lookup, _ dnssec.Sets) { l.Rcode = "NOERROR" }, "says that the response code"},
		{"another reason", unsigned, func(l *resolver.Lookup, _ dnssec.Sets) { l.Code = dnssec.CodeOptOut }, "says that the reason"},
		{"no proof", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Proof = nil }, "does not hold together, and is said to be secure"},
		{"no stage for a zone's keys", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Proof = slices.Delete(l.Proof, 0, 1) }, "are not proven"},
		{"no answer", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			l.Proof = l.Proof[:len(l.Proof)-1]
		}, "ends before an answer"},
		{"the answer twice", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			l.Proof = append(l.Proof, l.Proof[len(l.Proof)-1])
		}, "goes on after the answer"},
		{"a name for keys", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Proof[0].Name = "com." }, "a delegation alone names a name"},
		{"a delegation of nothing", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Proof[1].Name = "" }, "a delegation alone names a name"},
		{"another key in the chain", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Chain[1].DNSKEY[0]++ }, "gives the zone com."},
		{"a secure zone more", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			l.Chain = append(l.Chain, resolver.Link{Zone: "www.example.com.", Result: dnssec.Secure})
		}, "the keys of the zone www.example.com. are not in it"},
		{"records missing", signed, func(_ *resolver.Lookup, sets dnssec.Sets) { clear(sets) }, "are missing"},
		{"records altered", signed, func(_ *resolver.Lookup, sets dnssec.Sets) {
			for _, octets := range sets {
				octets[len(octets)-1] ^= 1
			}
		}, "have another one"},
		{"records altered, and their digest with them", signed, func(l *resolver.Lookup, sets dnssec.Sets) {
			octets := sets[l.Proof[0].Records]
			octets[len(octets)-1] ^= 1
			sum := sha256.Sum256(octets)
			l.Proof[0].Records = hex.EncodeToString(sum[:])
			sets[l.Proof[0].Records] = octets
		}, "does not hold"},
		{"a time before the lookup", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Proof[0].At = l.Started.Add(-time.Minute) }, "outside of the lookup"},
		{"a time after it", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Proof[0].At = l.Finished.Add(time.Minute) }, "outside of the lookup"},
		{"the whole at another time", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			later := func(at *time.Time) { *at = at.AddDate(1, 0, 0) }
			later(&l.Started)
			later(&l.Finished)
			for i := range l.Proof {
				later(&l.Proof[i].At)
			}
			for i := range l.Queries {
				later(&l.Queries[i].At)
			}
		}, "the stage before comes to bogus"},
		{"a lookup of years", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Finished = l.Finished.AddDate(1, 0, 0) }, "no lookup takes"},
		{"a lookup that ends before it begins", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			l.Finished = l.Started.Add(-time.Millisecond)
			l.Queries = nil
		}, "no lookup takes"},
		{"a query outside of the lookup", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Queries[0].At = l.Started.Add(-time.Hour) },
			"outside of the lookup's time"},
		{"another's response", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			_, mine := answered(*l)
			_, theirs := answered(other.Lookup)
			l.Queries[mine].Response = other.Lookup.Queries[theirs].Response
		}, "answers another question"},
		{"another's query and response", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			_, mine := answered(*l)
			_, theirs := answered(other.Lookup)
			l.Queries[mine] = other.Lookup.Queries[theirs]
			l.Queries[mine].At = l.Finished
		}, "answers another question than caa.example.com. CAA"},
		{"no response", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			_, mine := answered(*l)
			l.Queries[mine].Response = nil
		}, "answers another question"},
		{"a query that is not there", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Proof[len(l.Proof)-1].Query = 99 }, "no query 99"},
		{"the answer of an unsigned zone from a server that is not authoritative", unsigned, func(l *resolver.Lookup, _ dnssec.Sets) {
			_, mine := answered(*l)
			l.Queries[mine].Response[2] &^= 0x04
		}, "not authoritative"},
		{"the answer of an unsigned zone with SERVFAIL", unsigned, func(l *resolver.Lookup, _ dnssec.Sets) {
			_, mine := answered(*l)
			l.Queries[mine].Response[3] |= dns.RcodeServerFailure
		}, "SERVFAIL"},
		{"a signed zone called unsigned", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			l.Status, l.Proof = dnssec.Insecure, slices.DeleteFunc(l.Proof, func(s dnssec.Stage) bool { return s.Zone != "." && s.Kind != dnssec.StageAnswer })
		}, "neither are the keys of example.com. proven, nor that it has none"},
		{"one answered from a zone above", signed, func(l *resolver.Lookup, _ dnssec.Sets) {
			l.Proof[len(l.Proof)-1].Zone = "com."
			l.Proof = slices.DeleteFunc(l.Proof, func(s dnssec.Stage) bool {
				return s.Kind == dnssec.StageKeys && s.Zone == "example.com." || s.Name == "example.com."
			})
		}, "says that the status is secure, and the proof comes to bogus"},
		{"one answered from a zone beside", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Proof[len(l.Proof)-1].Zone = "org." },
			"lies outside of the zone"},
		{"another kind of stage", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Proof[0].Kind = "" }, "no kind of stage"},
		{"another name", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Name = "example.org." }, "example.org. lies outside of the zone example.com."},
		{"another type", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Type = "TXT" }, "another question than caa.example.com. TXT, which was due"},
		{"no type", signed, func(l *resolver.Lookup, _ dnssec.Sets) { l.Type = "" }, "no question"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, sets := clone(t, c.a)
			require.NoError(t, r.prover.Prove(l, sets))
			c.alter(&l, sets)
			require.ErrorContains(t, r.prover.Prove(l, sets), c.say)
		})
	}
	require.Equal(t, "TYPE65280", lookup("example.com", 65280).Lookup.Type, "a type without a name is proven like any other")
	l, sets := clone(t, signed)
	require.ErrorContains(t, resolver.Prover{}.Prove(l, sets), "the stage before comes to bogus", "IANA's anchors fit no key of this world")
}

// Whatever is altered in a record, its answer is either no longer proven, or is the very one that the zone signed.
//
// Holds: DCV-05, REC-04
func TestNoAlterationIsProven(t *testing.T) {
	w := serve(t, world.Default())
	r := in(t, w, nil)
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, q := range []struct {
		name  string
		qtype uint16
	}{{"example.com", dns.TypeCAA}, {"none.example.com", dns.TypeA}, {"www.alias.com", dns.TypeA}, {"child.example.com", dns.TypeCAA}} {
		truth := r.Lookup(context.Background(), q.name, q.qtype)
		require.Equal(t, dnssec.Secure, truth.Lookup.Status)
		sums := slices.Sorted(maps.Keys(truth.Sets))
		_, query := answered(truth.Lookup)
		proven := 0
		for range rounds {
			l, sets := clone(t, truth)
			if random.IntN(2) == 0 {
				octets := l.Queries[query].Response
				octets[random.IntN(len(octets))] ^= byte(1 + random.IntN(255))
			} else {
				sum := sums[random.IntN(len(sums))]
				octets := sets[sum]
				octets[random.IntN(len(octets))] ^= byte(1 + random.IntN(255))
				digest := sha256.Sum256(octets)
				renamed := hex.EncodeToString(digest[:])
				sets[renamed] = octets
				for i := range l.Proof {
					if l.Proof[i].Records == sum {
						l.Proof[i].Records = renamed
					}
				}
			}
			if r.prover.Prove(l, sets) == nil {
				proven++
				require.Equal(t, truth.Lookup.Answers, l.Answers)
				require.Equal(t, truth.Lookup.Rcode, l.Rcode)
			}
		}
		t.Logf("%s %s: %d of %d alterations change nothing that is signed or said", q.name, dns.Type(q.qtype), proven, rounds)
		require.Less(t, proven, rounds)
	}
}

// Holds: REC-04
func TestRecordsAreTheSameWhoeverSaysThem(t *testing.T) {
	w := serve(t, world.Default())
	a, b := in(t, w, nil), in(t, w, nil)
	first := a.Lookup(context.Background(), "example.com", dns.TypeCAA)
	second := b.Lookup(context.Background(), "example.com", dns.TypeTXT)
	require.Equal(t, slices.Sorted(maps.Keys(first.Sets)), slices.Sorted(maps.Keys(second.Sets)),
		"DS and DNSKEY sets have one digest for two resolvers")
	for _, octets := range first.Sets {
		rrs, err := dnssec.Records(octets)
		require.NoError(t, err)
		require.NotEmpty(t, rrs)
	}
	_, err := dnssec.Records([]byte{0, 0})
	require.Error(t, err)
}
