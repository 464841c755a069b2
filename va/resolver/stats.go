package resolver

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// stats remembers how quickly and how surely servers answered. It decides whom to ask first and never what to believe.
type stats struct {
	mu      sync.Mutex
	servers map[netip.AddrPort]stat
}

type stat struct {
	rtt   time.Duration // smoothed
	fails int           // in a row
	last  time.Time     // of the last failure
}

const (
	maxServers = 20000            // remembered; beyond that the memory starts anew
	forgive    = 60 * time.Second // after which a failed server is tried like a new one
	exploreOne = 20               // one question in so many goes to a server picked by chance first
)

func (s *stats) note(server netip.AddrPort, took time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers == nil || len(s.servers) > maxServers {
		s.servers = map[netip.AddrPort]stat{}
	}
	st, known := s.servers[server]
	switch {
	case !ok:
		st.fails++
		st.last = time.Now()
	case !known || st.rtt == 0:
		st.rtt, st.fails = took, 0
	default:
		st.rtt, st.fails = (7*st.rtt+took)/8, 0
	}
	s.servers[server] = st
}

// outlasted notes that a server had not answered after so long, when another had and its answer was no longer needed.
func (s *stats) outlasted(server netip.AddrPort, waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.servers[server]
	if s.servers == nil || waited < 100*time.Millisecond || waited < 2*st.rtt {
		return
	}
	if st.rtt == 0 {
		st.rtt = waited
	} else {
		st.rtt = (3*st.rtt + waited) / 4
	}
	s.servers[server] = st
}

// order sorts servers by what is known of them: quick ones first, unknown ones among them by chance, failed ones last.
func (s *stats) order(servers []server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type ranked struct {
		server
		cost time.Duration
	}
	all := make([]ranked, len(servers))
	for i, sv := range servers {
		st := s.servers[sv.addr]
		c := st.rtt
		if c == 0 {
			c = rand.N(50 * time.Millisecond)
		}
		if st.fails > 0 && time.Since(st.last) < forgive {
			c += time.Duration(min(st.fails, 8)) * time.Second
		}
		all[i] = ranked{sv, c}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(a.cost, b.cost) })
	for i := range all {
		servers[i] = all[i].server
	}
	if len(servers) > 1 && rand.N(exploreOne) == 0 {
		i := rand.N(len(servers))
		servers[0], servers[i] = servers[i], servers[0]
	}
}

// patience is how long to wait for a server before another is asked as well, and before it is given up, in the given round.
func (s *stats) patience(addr netip.AddrPort, round int) (hedge, timeout time.Duration) {
	s.mu.Lock()
	st := s.servers[addr]
	s.mu.Unlock()
	hedge, timeout = 250*time.Millisecond, 1200*time.Millisecond
	if st.rtt > 0 {
		hedge = min(max(2*st.rtt, 100*time.Millisecond), 400*time.Millisecond)
		timeout = min(max(6*st.rtt, 800*time.Millisecond), 2*time.Second)
	}
	if st.fails > 0 && round == 0 {
		hedge = 50 * time.Millisecond
	}
	return hedge << min(round, 4), timeout << min(round, 2)
}
