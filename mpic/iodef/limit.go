package iodef

import (
	"sync"
	"time"
)

// window is what the limits count in.
const window = time.Hour

// limits count the reports of an hour: all of them, and those that concern a registered domain. They are of one gate and are forgotten
// with it. The map holds no more than twice the total.
type limits struct {
	perDomain, total int

	mu      sync.Mutex
	since   time.Time
	all     int
	domains map[string]int
}

// take counts a report that concerns these domains, or gives the code of the limit that is reached and counts nothing. Without the
// receiver's domain among them, whoever has many domains could have all of them report to one victim.
func (l *limits) take(now time.Time, domains ...string) (code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.domains == nil || now.Sub(l.since) >= window || now.Before(l.since) {
		l.since, l.all, l.domains = now, 0, map[string]int{}
	}
	for _, d := range domains {
		if l.domains[d] >= l.perDomain {
			return "notice.domain-limit"
		}
	}
	if l.all >= l.total {
		return "notice.total-limit"
	}
	l.all++
	for i, d := range domains {
		if i == 0 || d != domains[0] {
			l.domains[d]++
		}
	}
	return ""
}
