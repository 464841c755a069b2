package mpic

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

func problemCodes(ps []*va.Problem) []string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Code)
	}
	return out
}

// Holds: MPIC-02, MPIC-04, MPIC-05, MPIC-06, MPIC-08, F8
func TestBR_3_2_2_9_RosterIsRefused(t *testing.T) {
	near := Place{Region: RIPE, Latitude: 47.5, Longitude: 8.6} // a few kilometres from the primary
	for name, c := range map[string]struct {
		spoil func(*Roster)
		code  string
	}{
		"one remote too few":     {func(r *Roster) { r.Remotes = r.Remotes[:4] }, "roster.too-few"},
		"no remote":              {func(r *Roster) { r.Remotes = nil }, "roster.too-few"},
		"one region":             {func(r *Roster) { oneRegion(r) }, "roster.regions"},
		"no name":                {func(r *Roster) { r.Remotes[0].Name = "" }, "roster.name"},
		"a long name":            {func(r *Roster) { r.Remotes[0].Name = string(make([]byte, 64)) }, "roster.name"},
		"an upper case name":     {func(r *Roster) { r.Remotes[0].Name = "Ashburn" }, "roster.name"},
		"the primary's name":     {func(r *Roster) { r.Remotes[0].Name = "zurich" }, "roster.duplicate"},
		"twice one name":         {func(r *Roster) { r.Remotes[0].Name = "tokyo" }, "roster.duplicate"},
		"no region":              {func(r *Roster) { r.Remotes[0].Place.Region = "" }, "roster.region"},
		"an unknown region":      {func(r *Roster) { r.Remotes[0].Place.Region = "EU" }, "roster.region"},
		"the resolver's region":  {func(r *Roster) { r.Remotes[0].Resolver.Region = APNIC }, "roster.resolver-region"},
		"the resolver has none":  {func(r *Roster) { r.Remotes[0].Resolver.Region = "" }, "roster.region"},
		"the primary's resolver": {func(r *Roster) { r.Primary.Resolver.Region = ARIN }, "roster.resolver-region"},
		"north of the pole":      {func(r *Roster) { r.Remotes[0].Place.Latitude = 90.1 }, "roster.coordinates"},
		"south of the pole":      {func(r *Roster) { r.Remotes[0].Resolver.Latitude = -91 }, "roster.coordinates"},
		"too far east":           {func(r *Roster) { r.Remotes[0].Place.Longitude = 181 }, "roster.coordinates"},
		"no number":              {func(r *Roster) { r.Remotes[0].Place.Longitude = math.NaN() }, "roster.coordinates"},
		"infinitely far":         {func(r *Roster) { r.Remotes[0].Place.Latitude = math.Inf(-1) }, "roster.coordinates"},
		"near the primary":       {func(r *Roster) { r.Remotes[4].Place = near }, "roster.distance"},
		"near another remote":    {func(r *Roster) { r.Remotes[1].Place = r.Remotes[0].Place }, "roster.distance"},
		"the first two":          {func(r *Roster) { r.Remotes[0].Place = r.Remotes[1].Place }, "roster.distance"},
		"both sides of one line": {func(r *Roster) {
			r.Remotes[0].Place.Latitude, r.Remotes[0].Place.Longitude = 0, 180
			r.Remotes[1].Place.Latitude, r.Remotes[1].Place.Longitude = 0, -180
		}, "roster.distance"},
		"both sides of a pole": {func(r *Roster) {
			r.Remotes[0].Place.Latitude, r.Remotes[0].Place.Longitude = 89, 0
			r.Remotes[1].Place.Latitude, r.Remotes[1].Place.Longitude = 89, 180
		}, "roster.distance"},
		"resolver near the first":  {func(r *Roster) { r.Remotes[4].Resolver = near }, "roster.resolver-distance"},
		"two share a resolver":     {func(r *Roster) { r.Remotes[3].Resolver = r.Remotes[2].Resolver }, "roster.resolver-distance"},
		"a URL in plain text":      {func(r *Roster) { r.Remotes[0].URL = "http://ashburn.perspectives.example" }, "roster.plain-text"},
		"no URL":                   {func(r *Roster) { r.Remotes[4].URL = "" }, "roster.plain-text"},
		"no TLS key":               {func(r *Roster) { r.Remotes[0].TLSKey = "" }, "roster.unauthenticated"},
		"no signing key":           {func(r *Roster) { r.Remotes[4].SigningKey = "" }, "roster.unauthenticated"},
		"a TLS key shared":         {func(r *Roster) { r.Remotes[0].TLSKey = r.Remotes[1].TLSKey }, "roster.shared-key"},
		"a signing key shared":     {func(r *Roster) { r.Remotes[0].SigningKey = r.Remotes[3].SigningKey }, "roster.shared-key"},
		"a key in other letters":   {func(r *Roster) { r.Remotes[0].TLSKey, r.Remotes[1].TLSKey = "ab", "AB" }, "roster.shared-key"},
		"one key for both its use": {func(r *Roster) { r.Remotes[0].SigningKey = r.Remotes[0].TLSKey }, "roster.shared-key"},
	} {
		t.Run(name, func(t *testing.T) {
			r := fiveRegions()
			require.Empty(t, r.Check(december))
			c.spoil(&r)
			require.Contains(t, problemCodes(r.Check(december)), c.code)
			for range 10 {
				require.Equal(t, r.Check(december), r.Check(december), "the same roster gives the same account, also of several faults")
			}
			e := unanimous(t, r, december)
			require.False(t, Judge(e).Granted(), "and nothing is granted with it")
		})
	}
	require.Equal(t, []string{"policy.none"}, problemCodes(fiveRegions().Check(time.Time{})))
}

func oneRegion(r *Roster) {
	for i := range r.Remotes {
		r.Remotes[i].Place.Region, r.Remotes[i].Resolver.Region = ARIN, ARIN
	}
}

// Holds: MPIC-05, MPIC-06, F8
func TestBR_3_2_2_9_DistanceIsTheStraightLine(t *testing.T) {
	for name, c := range map[string]struct {
		a, b Place
		km   float64
	}{
		"nowhere":                             {Place{}, Place{}, 0},
		"a degree of latitude at the equator": {Place{Latitude: 0.5}, Place{Latitude: -0.5}, 110.574},
		"a degree of latitude at the pole":    {Place{Latitude: 90}, Place{Latitude: 89}, 111.693},
		"a degree of longitude":               {Place{Longitude: 7}, Place{Longitude: 8}, 111.318},
		"the same over the date line":         {Place{Longitude: 179.5}, Place{Longitude: -179.5}, 111.318},
		"from pole to pole":                   {Place{Latitude: 90}, Place{Latitude: -90, Longitude: 12}, 12713.504},
		"through the equator":                 {Place{Longitude: 90}, Place{Longitude: -90}, 12756.274},
		"a pole's longitude says nothing":     {Place{Latitude: 90, Longitude: 1}, Place{Latitude: 90, Longitude: 100}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			require.InDelta(t, c.km, Distance(c.a, c.b), 0.002)
			require.Equal(t, Distance(c.a, c.b), Distance(c.b, c.a))
		})
	}
	// 499.9 km apart by a degree of latitude at the equator, and 500.1: the limit is where the rule puts it.
	for _, c := range []struct {
		degrees float64
		refused bool
	}{{4.520, true}, {4.5245, false}} {
		r := fiveRegions()
		r.Primary.Place, r.Primary.Resolver = Place{Region: RIPE, Latitude: 1}, Place{Region: RIPE, Latitude: 1}
		r.Remotes[4].Place = Place{Region: RIPE, Latitude: 1 + c.degrees}
		r.Remotes[4].Resolver = r.Remotes[4].Place
		require.Equal(t, c.refused, len(r.Check(december)) > 0, "%f km", Distance(r.Primary.Place, r.Remotes[4].Place))
	}
	require.True(t, math.IsNaN(Distance(Place{Latitude: math.NaN()}, Place{})), "which is not 500 km or more")
}
