package mpic

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// eight is a roster of eight remotes in five regions.
func eight() Roster { return ofRegions(ARIN, APNIC, LACNIC, AFRINIC, RIPE, ARIN, APNIC, AFRINIC) }

func names(r Roster) (all []string) {
	for _, m := range r.Remotes {
		all = append(all, m.Name)
	}
	return all
}

// Holds: MPIC-05, MPIC-04, F8
func TestF8_CohortsAreDeterministicAndMeetTheRules(t *testing.T) {
	c := Cohort{Size: 5, Secret: bytes.Repeat([]byte{7}, 32)}
	require.NoError(t, c.check(eight(), december))
	seen := map[string]int{}
	for i := range 400 {
		domain := fmt.Sprintf("host-%d.example.com", i)
		r, ok := c.choose(eight(), domain, 0, 0, december)
		require.True(t, ok)
		require.Empty(t, r.Check(december))
		require.Len(t, r.Remotes, 5)
		require.Equal(t, eight().Primary, r.Primary)
		again, _ := c.choose(eight(), domain, 0, 0, december)
		require.Equal(t, r, again)
		for _, n := range names(r) {
			seen[n]++
		}
	}
	for _, m := range eight().Remotes {
		require.Greater(t, seen[m.Name], 100, "%s takes its turn", m.Name)
	}
	first, _ := c.choose(eight(), "example.com", 0, 0, december)
	other := Cohort{Size: 5, Secret: bytes.Repeat([]byte{8}, 32)}
	differ := false
	for try := range 10 {
		r, _ := c.choose(eight(), "example.com", try, 0, december)
		s, _ := other.choose(eight(), "example.com", try, 0, december)
		differ = differ || !slices.Equal(names(r), names(s)) && !slices.Equal(names(r), names(first))
	}
	require.True(t, differ, "another secret and another try choose others")
	for demanded := range 12 {
		r, ok := c.choose(eight(), "example.com", 0, demanded, december)
		require.True(t, ok)
		require.Len(t, r.Remotes, min(max(5, demanded), 8))
	}
}

// TestCohortsKeepNeighboursApart: two that stand too close to each other, or to the primary, are never asked together.
//
// Holds: MPIC-05, MPIC-06, F8
func TestCohortsKeepNeighboursApart(t *testing.T) {
	r := eight()
	r.Remotes[1].Place.Latitude, r.Remotes[1].Place.Longitude = r.Remotes[0].Place.Latitude+1, r.Remotes[0].Place.Longitude
	r.Remotes[6].Resolver.Latitude, r.Remotes[6].Resolver.Longitude = r.Remotes[2].Resolver.Latitude, r.Remotes[2].Resolver.Longitude+1
	r.Remotes[7].Place.Latitude, r.Remotes[7].Place.Longitude = r.Primary.Place.Latitude, r.Primary.Place.Longitude+0.5
	require.NotEmpty(t, r.Check(december))
	c := Cohort{Size: 5, Secret: bytes.Repeat([]byte{7}, 32)}
	require.Empty(t, c.Check(r, december))
	require.NoError(t, c.check(r, december))
	for i := range 200 {
		got, ok := c.choose(r, fmt.Sprint(i), 0, 0, december)
		require.True(t, ok)
		require.Empty(t, got.Check(december))
		require.NotContains(t, names(got), r.Remotes[7].Name)
	}
	c.Size = 6
	require.Error(t, c.check(r, december), "there are no six")
}

// Holds: MPIC-02, F7
func TestNoCohortBelowTheRules(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	for name, c := range map[string]Cohort{"too few for the day": {Size: 4, Secret: secret}, "more than there are": {Size: 9, Secret: secret},
		"no size": {Secret: secret}, "below nothing": {Size: -1, Secret: secret}, "no secret": {Size: 5}, "a short secret": {Size: 5, Secret: secret[1:]}} {
		require.Error(t, c.check(eight(), december), name)
	}
	r, ok := Cohort{}.choose(eight(), "example.com", 0, 0, december)
	require.True(t, ok)
	require.Equal(t, eight(), r)
}

// TestAnAttemptAsksItsCohortAndNobodyElse
//
// Holds: MPIC-03, REC-01
func TestAnAttemptAsksItsCohortAndNobodyElse(t *testing.T) {
	s := newScene(t, eight(), december)
	s.config.Cohort = Cohort{Size: 5, Secret: bytes.Repeat([]byte{7}, 32)}
	s.config.GrantGrace = 10 * time.Second // each that is asked has answered
	c := s.coordinator()
	defer s.close(c)
	r := s.validate(c)
	require.True(t, r.Decision.Granted(), "%v", r.Decision.Reasons())
	require.Equal(t, 5, r.Decision.DCV().Attempted)
	for _, f := range s.remotes {
		require.Equal(t, slices.Contains(names(r.Evidence.Roster), f.member.Name), f.asked == 1, f.member.Name)
	}
	chosen, _ := s.config.Cohort.choose(eight(), "example.com", 0, 0, december)
	require.Equal(t, chosen, r.Evidence.Roster)

	wider, err := c.Carry(t.Context(), Call{Kind: Issuance, Caller: "test:1", Request: request(va.HTTP01, december), Demand: Demand{Remotes: 7, Quorum: 7}})
	require.NoError(t, err)
	require.True(t, wider.Decision.Granted())
	require.Equal(t, 7, wider.Decision.CAA().Attempted)
	require.Zero(t, wider.Decision.CAA().Allowed)
	more, err := c.Carry(t.Context(), Call{Kind: Issuance, Caller: "test:1", Request: request(va.HTTP01, december), Demand: Demand{Remotes: 9}})
	require.NoError(t, err)
	require.Equal(t, []string{"request.demand"}, codes(more.Decision))
}

// TestACallNarrowsTheIssuersAndNeverWidensThem
//
// Holds: CAA-02, F7
func TestACallNarrowsTheIssuersAndNeverWidensThem(t *testing.T) {
	s := newScene(t, fiveRegions(), december)
	s.config.Issuers = []string{"other.example", "ca.example"}
	c := s.coordinator()
	defer s.close(c)
	call := Call{Kind: Issuance, Caller: "test:1", Request: request(va.HTTP01, december), Issuers: []string{"ca.example"}, Trace: "t-1", Try: 2}
	r, err := c.Carry(t.Context(), call)
	require.NoError(t, err)
	require.Equal(t, []string{"ca.example"}, r.Evidence.Attempt.Probe.Request.Issuers)
	require.Equal(t, "t-1", r.Evidence.Attempt.Trace)
	require.Equal(t, 2, r.Evidence.Attempt.Try)
	require.Contains(t, s.log.String(), "trace=t-1")
	for name, change := range map[string]func(*Call){
		"another issuer":          func(c *Call) { c.Issuers = []string{"ca.example", "evil.example"} },
		"a long trace":            func(c *Call) { c.Trace = strings.Repeat("x", 257) },
		"a trace that is no text": func(c *Call) { c.Trace = "\xff" },
		"no method":               func(c *Call) { c.Request.Method = 0 },
	} {
		bad := call
		change(&bad)
		_, err := c.Carry(t.Context(), bad)
		require.ErrorIs(t, err, ErrRequest, name)
	}
}
