package dnssec

import "time"

// Since gives the anchor as one that begins to hold at a time.
func (a Anchor) Since(from time.Time) Anchor {
	a.from = from
	return a
}
