package resolver

// IdleStreams tells how many TCP connections wait for another question.
func IdleStreams(r *Resolver) int {
	r.streams.mu.Lock()
	defer r.streams.mu.Unlock()
	return r.streams.count
}
