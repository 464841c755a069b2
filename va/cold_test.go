package va

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// A probe in a zone that is new to its resolver goes there once for all of its lookups: one referral, whose DS set is checked once, and
// the zone's keys once; and then each question.
//
// Holds: DCV-04
func TestTheLookupsOfAProbeGoToANewZoneTogether(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	cfg := world.Default()
	cfg.OnQuery = func(q world.Query) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, strings.ToLower(q.Name)+" "+dns.Type(q.Type).String())
	}
	w, err := world.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	hostOf(t, w, "rsa.com").AddToken(token, secret)
	require.NoError(t, w.Set("_acme-challenge.rsa.com", dns.TypeTXT, txtValue()))
	take := func() (queries []string) {
		mu.Lock()
		defer mu.Unlock()
		queries, seen = seen, nil
		return queries
	}
	for _, c := range []struct {
		name            string
		method          Method
		queries, checks int
	}{
		{"dns-01", DNS01, 5, 4},   // the referral and the keys; TXT, CAA, and CAA of com; signatures over DS, keys, TXT, and that there is no CAA
		{"http-01", HTTP01, 6, 4}, // A and AAAA in the place of TXT; one record says that there is neither AAAA nor CAA
	} {
		t.Run(c.name, func(t *testing.T) {
			var checks atomic.Int64
			var queries []string
			for range 10 { // where the machine is slow, a question goes to a second server as well
				p := perspective(t, w, "127.0.9.1", func(c *resolver.Config) { c.Algorithms = counting(&checks) })
				require.Equal(t, Pass, p.Check(t.Context(), live("example.com", DNS01)).CAA.Outcome) // the way to com is known
				take()
				checks.Store(0)
				r := p.Check(t.Context(), live("rsa.com", c.method))
				require.Equal(t, Pass, r.DCV.Outcome, "%v", r.DCV.Problem)
				require.Equal(t, Pass, r.CAA.Outcome, "%v", r.CAA.Problem)
				if queries = take(); len(queries) <= c.queries && int(checks.Load()) <= c.checks {
					return
				}
			}
			t.Fatalf("%d queries and %d signatures would do, and these were %d:\n%s", c.queries, c.checks, checks.Load(), strings.Join(queries, "\n"))
		})
	}
}

// counting are the default algorithms, and count how often a signature is worked out.
func counting(checks *atomic.Int64) dnssec.Algorithms {
	all := dnssec.Algorithms{}
	for n, read := range dnssec.DefaultAlgorithms() {
		all[n] = func(key []byte) (dnssec.VerifyFunc, error) {
			verify, err := read(key)
			return func(data, signature []byte) bool {
				checks.Add(1)
				return verify(data, signature)
			}, err
		}
	}
	return all
}
