package dnssec

import "time"

// Since gives the anchor as one that begins to hold at a time.
func (a Anchor) Since(from time.Time) Anchor {
	a.from = from
	return a
}

// Remembered is how many signatures a memory holds.
func Remembered(s *Signatures) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.young) + len(s.old)
}
