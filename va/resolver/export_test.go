package resolver

// IdleStreams tells how many TCP connections wait for another question.
func IdleStreams(r *Resolver) int {
	r.streams.mu.Lock()
	defer r.streams.mu.Unlock()
	return r.streams.count
}

// Remembered tells how many zones are remembered, and what memory they are taken to need, in octets.
func Remembered(r *Resolver) (count, octets int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.zones.len(), r.zones.held()
}
