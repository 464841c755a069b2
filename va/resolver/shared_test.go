package resolver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// shared is the form in which a report holds its lookups.
type shared struct {
	resolver.Shared
	Lookups []resolver.Kept `json:"lookups"`
}

var began = time.Date(2026, 1, 1, 0, 0, 0, 5, time.UTC)

func kept(t testing.TB, lookups ...resolver.Lookup) (shared, string) {
	t.Helper()
	s := shared{Shared: resolver.Shared{Start: began}}
	for _, l := range lookups {
		s.Lookups = append(s.Lookups, s.Keep(l))
	}
	text, err := json.Marshal(s)
	require.NoError(t, err)
	return s, string(text)
}

func restored(t testing.TB, text string) ([]resolver.Lookup, error) {
	t.Helper()
	var s shared
	require.NoError(t, json.Unmarshal([]byte(text), &s))
	s.Start = began
	var all []resolver.Lookup
	for _, k := range s.Lookups {
		l, err := s.Restore(k)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// What is kept of lookups is all of them: nothing that a prover needs, no octet and no failure is lost.
//
// Holds: REC-01, REC-04
func TestWhatIsKeptOfLookupsIsAllOfThem(t *testing.T) {
	w := serve(t, world.Default())
	r := in(t, w, nil)
	var lookups []resolver.Lookup
	sets, whole := dnssec.Sets{}, 0
	for _, q := range []struct {
		name  string
		qtype uint16
	}{{"example.com", dns.TypeCAA}, {"none.example.com", dns.TypeA}, {"www.alias.com", dns.TypeA}, {"unsigned.com", dns.TypeCAA},
		{"example.com", dns.TypeTXT}, {"bogus-caa.com", dns.TypeCAA}, {"servfail-caa.com", dns.TypeCAA}, {"optout.net", dns.TypeA},
		{"example.com", 65280}, {"a..b", dns.TypeA}} {
		a := r.Lookup(context.Background(), q.name, q.qtype)
		text, err := json.Marshal(a.Lookup)
		require.NoError(t, err)
		whole += len(text)
		var l resolver.Lookup // without monotonic clock readings
		require.NoError(t, json.Unmarshal(text, &l))
		lookups = append(lookups, l)
		for sum, octets := range a.Sets {
			sets[sum] = octets
		}
	}
	// What no live lookup has, or seldom.
	odd := resolver.Lookup{Name: "odd.", Type: "A", Status: dnssec.Failure, Why: "because", Started: time.Date(2026, 1, 1, 0, 0, 0, 1, time.UTC),
		Queries: []resolver.Query{{}, {Transport: "tcp", Question: "x. A", Rcode: "BADVERS", Error: "lame", Query: []byte{1}, Response: []byte{2}},
			{Transport: "udp", At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Rcode: "BADVERS", Response: make([]byte, 12)},
			{Transport: "udp", Query: append(make([]byte, 12), 0xc0, 12, 0, 1, 0, 1), Question: "y. A"}},
		Proof: []dnssec.Stage{{Kind: "odd", Zone: "z."}, {Kind: "odd", Zone: "z.", At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}}
	later := lookups[0]
	later.Started, later.Finished = later.Started.Add(time.Hour), later.Finished.Add(time.Hour)
	lookups = append(lookups, odd, resolver.Lookup{Status: dnssec.Bogus}, later)

	s, text := kept(t, lookups...)
	again, err := restored(t, text)
	require.NoError(t, err)
	require.Equal(t, lookups, again)
	require.Less(t, len(text), whole*4/5, "what they have in common stands once")
	seen := map[string]bool{}
	for _, stage := range s.Stages {
		one := fmt.Sprintf("%+v", stage)
		require.False(t, seen[one], one)
		seen[one] = true
	}
	for _, k := range s.Lookups[:10] {
		for i, q := range k.Queries {
			if len(k.Lookup.Queries[i].Query) == 0 {
				continue // given up before it was sent, because another server had answered
			}
			require.Equal(t, len(q.Response) > 0, q.Query == nil, "it follows from the response and the cookie: %+v", k.Lookup.Queries[i])
		}
	}
	for i, l := range again[:10] {
		require.Equal(t, fmt.Sprint(r.prover.Prove(lookups[i], sets)), fmt.Sprint(r.prover.Prove(l, sets)))
	}
}

// A text whose places lead nowhere, or that makes much of little, is no report.
//
// Holds: REC-04
func TestKeptLookupsThatLeadNowhereAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, say string }{
		"a stage that is not there": {`{"stages":[{"stage":"keys","zone":"."}],"lookups":[{"proof":[1]}]}`, "names the stage 1 of 1"},
		"one before the first":      {`{"stages":[{"stage":"keys","zone":"."}],"lookups":[{"proof":[-1]}]}`, "names the stage -1 of 1"},
		"a zone that is not there":  {`{"lookups":[{"chain":[0]}]}`, "names the zone 0 of 0"},
		"one before it":             {`{"zones":[{"zone":"."}],"lookups":[{"chain":[-1]}]}`, "names the zone -1 of 1"},
		"two times of a query":      {`{"lookups":[{"queries":[{"after":1,"at":"2026-01-01T00:00:00Z"}]}]}`, "two times"},
		"no year of four digits":    {`{"lookups":[{"started":"9999-12-31T23:59:59Z","took":1000000000}]}`, "is no time"},
		"no year at all":            {`{"lookups":[{"started":"0000-01-01T00:00:00Z","queries":[{"after":-1}]}]}`, "is no time"},
		"two beginnings":            {`{"lookups":[{"after":1,"started":"2026-01-01T00:00:00Z"}]}`, "two times"},
		"two ends":                  {`{"lookups":[{"took":1,"finished":"2026-01-01T00:00:00Z"}]}`, "two times"},
		"a cookie alone":            {`{"lookups":[{"queries":[{"cookie":"AAAAAAAAAAA="}]}]}`, "do not follow"},
		"a cookie beside a query": {`{"lookups":[{"queries":[{"cookie":"AAAAAAAAAAA=","query":"AA==","response":"AAAAAAAAAAAAAAAAAAABAAE="}]}]}`,
			"or stand beside them"},
		"a long cookie": {`{"lookups":[{"queries":[{"cookie":"` + strings.Repeat("AAAA", 14) + `","response":"AAAAAAAAAAAAAAAAAAABAAE="}]}]}`,
			"do not follow"},
		"a stage again and again": {`{"stages":[{"stage":"keys","zone":"."}],"lookups":[{"proof":[0` + strings.Repeat(",0", 1<<16) + `]}]}`,
			"more than 65536 places"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := restored(t, c.text)
			require.ErrorContains(t, err, c.say)
		})
	}
}
