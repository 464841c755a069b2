package resolver

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	streamIdle    = 2 * time.Second // RFC 7766 section 6.2.3: a few seconds; servers close idle connections too
	streamsPerOne = 4               // idle connections to one server
	maxStreams    = 256             // idle connections in all
)

// streams are TCP connections that wait for another question to the same server (RFC 7766 section 6.2.1). Each carries one
// question at a time. No goroutine belongs to them: a timer closes those that nobody takes.
type streams struct {
	mu    sync.Mutex
	idle  map[netip.AddrPort][]*stream
	count int
}

type stream struct {
	net.Conn
	timer *time.Timer
}

// take gives an idle connection to a server, or nil.
func (s *streams) take(server netip.AddrPort) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.idle[server]
	if len(list) == 0 {
		return nil
	}
	last := list[len(list)-1]
	s.drop(server, last)
	last.timer.Stop()
	return last.Conn
}

// put keeps a connection for another question, for a while.
func (s *streams) put(server netip.AddrPort, conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= maxStreams || len(s.idle[server]) >= streamsPerOne {
		conn.Close()
		return
	}
	if s.idle == nil {
		s.idle = map[netip.AddrPort][]*stream{}
	}
	one := &stream{Conn: conn}
	one.timer = time.AfterFunc(streamIdle, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.drop(server, one) {
			one.Conn.Close()
		}
	})
	s.idle[server] = append(s.idle[server], one)
	s.count++
}

// drop takes a connection out of the idle ones and tells whether it was among them.
func (s *streams) drop(server netip.AddrPort, one *stream) bool {
	i := slices.Index(s.idle[server], one)
	if i < 0 {
		return false
	}
	s.count--
	if s.idle[server] = slices.Delete(s.idle[server], i, i+1); len(s.idle[server]) == 0 {
		delete(s.idle, server)
	}
	return true
}
