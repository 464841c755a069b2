package resolver

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// held is what the zones that are remembered take.
func (s *zones) held() (octets int) {
	for _, z := range slices.Concat(slices.Collect(maps.Values(s.young)), slices.Collect(maps.Values(s.old))) {
		octets += z.octets
	}
	return octets
}

// Whoever makes up zones, of whatever size, fills no memory, and displaces no zone that is used meanwhile.
//
// Holds: C9
func TestMadeUpZonesDisplaceNoneThatIsUsed(t *testing.T) {
	var s zones
	now := time.Now()
	com := &zone{name: "com.", octets: 5 << 10, expires: now.Add(time.Hour)}
	s.put(com)
	idle := &zone{name: "org.", octets: 5 << 10, expires: now.Add(time.Hour)}
	s.put(idle)
	for i := range 1000 {
		z := &zone{name: fmt.Sprintf("z%d.com.", i), octets: 400 << 10, expires: now.Add(time.Hour)}
		s.put(z)
		require.Same(t, com, s.find("com.", now))
		require.Same(t, z, s.find(z.name, now))
		require.LessOrEqual(t, s.held(), 2*mostZoneOctets)
	}
	require.Greater(t, s.held(), mostZoneOctets, "and the memory is used")
	require.Nil(t, s.find("org.", now))
	for i := range 1000 { // what a zone learns later counts as well
		z := &zone{name: fmt.Sprintf("y%d.com.", i), expires: now.Add(time.Hour)}
		s.put(z)
		s.grew(z, 400<<10)
		require.LessOrEqual(t, s.held(), 2*mostZoneOctets+400<<10)
	}
	s.put(&zone{name: "huge.", octets: 3 * mostZoneOctets, expires: now.Add(time.Hour)})
	s.put(com)
	require.Equal(t, map[string]*zone{"com.": com}, s.young)
}

// A zone that is forgotten, has expired or was replaced does not come back from the old generation.
//
// Holds: C9
func TestAForgottenZoneDoesNotComeBack(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		do   func(s *zones, z *zone)
	}{
		{"dropped", func(s *zones, z *zone) { s.drop(z) }},
		{"replaced, and that dropped", func(s *zones, z *zone) {
			other := &zone{name: z.name, expires: now.Add(time.Hour)}
			s.put(other)
			s.drop(z)
			if s.find(z.name, now) != other {
				panic("another zone was dropped")
			}
			s.drop(other)
		}},
		{"expired", func(s *zones, z *zone) {
			if s.find(z.name, z.expires) != nil {
				panic("it has expired")
			}
		}},
	} {
		for _, old := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ", old ", old), func(t *testing.T) {
				var s zones
				z := &zone{name: "com.", octets: 1, expires: now.Add(time.Minute)}
				s.put(z)
				if old {
					s.put(&zone{name: "org.", octets: mostZoneOctets})
					require.Contains(t, s.old, "com.")
				}
				c.do(&s, z)
				require.Nil(t, s.find("com.", now))
			})
		}
	}
}

// Children keep a parent of unusual size, and count for it.
//
// Holds: C9
func TestTheChildrenOfALargeZoneCountForIt(t *testing.T) {
	root := &zone{name: ".", octets: 1 << 20}
	com := &zone{name: "com.", parent: root}
	com.octets = com.takes()
	require.Less(t, com.octets, 1<<10, "the root is there in any case")
	small := (&zone{name: "a.com.", parent: com}).takes()
	require.Equal(t, com.octets, small)
	com.octets = 400 << 10
	require.Equal(t, small+com.octets-usualZone, (&zone{name: "a.com.", parent: com}).takes())
}
