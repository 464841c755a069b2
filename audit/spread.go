package audit

import (
	"maps"
	"slices"
	"time"
)

// Spread is how durations are distributed, in memory that does not grow with their number: in whole seconds up to a day, beyond in
// minutes. The zero value has none.
type Spread struct {
	count  int64
	max    time.Duration
	counts map[int64]int64
}

// Add counts one.
func (s *Spread) Add(d time.Duration) {
	if s.counts == nil {
		s.counts, s.max = map[int64]int64{}, d
	}
	s.count++
	s.max = max(s.max, d)
	seconds := int64(d / time.Second)
	if seconds > 86400 {
		seconds -= seconds % 60
	}
	s.counts[seconds]++
}

// Count is how many were added, Max the longest, 0 where there is none.
func (s *Spread) Count() int64       { return s.count }
func (s *Spread) Max() time.Duration { return s.max }

// Percentile gives the least duration that p percent, 1 to 100, do not exceed, cut to a whole second (beyond a day a minute); 0 where there
// is none.
func (s *Spread) Percentile(p int) time.Duration {
	rank := (s.count*int64(p) + 99) / 100 // the nearest rank, from 1 on
	var seen int64
	for _, seconds := range slices.Sorted(maps.Keys(s.counts)) {
		if seen += s.counts[seconds]; seen >= rank {
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}

// Above counts those that are longer than d, which is in whole seconds up to a day and in whole minutes beyond; one that exceeds it by
// less is not counted.
func (s *Spread) Above(d time.Duration) (n int64) {
	for seconds, count := range s.counts {
		if seconds > int64(d/time.Second) {
			n += count
		}
	}
	return n
}
