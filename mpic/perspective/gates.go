package perspective

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/va"
)

// Gate is one gate that a perspective answers. Several CAs' gates may share a perspective: each is known by its client
// certificate's key, has limits of its own, and is told nothing of the others.
type Gate struct {
	// Name stands in the log lines and metrics: 1 to 63 characters.
	Name string
	// TLSKey is the SHA-256, in lower-case hexadecimal, of the SubjectPublicKeyInfo that the gate's certificate must carry.
	TLSKey string
	// InFlight is how many of the gate's probes are answered at a time, at most 4096. These places are the gate's alone, so that it
	// finds them free whatever the others do. What is more gets status 503. 0 means 512, or an equal share of the places that are
	// left where that is less.
	InFlight int
	// Rate is how many probes the gate may send in a second on average, up to 100000, and Burst how many at once, up to 1000000.
	// What is more gets status 429. A Rate of 0 sets no limit beside InFlight; a Burst of 0 means Rate, and at least 1.
	Rate  float64
	Burst int
	// Checker answers this gate. nil means the Config's. With one of its own it is not to be seen, by how soon an answer comes,
	// which delegations another gate's probes left in a resolver's memory.
	Checker *va.Checker
}

const (
	// defaultInFlight is room for all that a gate has in flight by default (mpic.DefaultMaxInFlight), and for as many late ones: an attempt is decided
	// before its last remote has answered.
	defaultInFlight = 512
	mostInFlight    = 4096
	// defaultPlaces and mostPlaces are for all gates together.
	defaultPlaces = 4096
	mostPlaces    = 1 << 16
	mostRate      = 100_000
	mostBurst     = 1_000_000
	mostGates     = 256
	// maxRemembered bounds the probes remembered of one gate. With the longest deadline that is allowed, a gate that
	// keeps to its own rate stays far below it; one that does not is refused until old ones have passed.
	maxRemembered = 1 << 17
	// sweepTime is how often passed deadlines are looked for at most: a gate that is full of them must not have each probe go through all.
	sweepTime = time.Second
	// spareRequests are those, beyond a gate's places, that are refused at the same time. Over HTTP/2 a gate can have 250 requests on each of its
	// connections, and take none of the refusals: what is more is reset.
	spareRequests = 512
	// spareConnections are those beside the places: a client that begins with many probes at once opens one for each.
	spareConnections = 64
	// linesRate and linesBurst bound the log lines about one gate's refused requests. Those left out are counted in the next.
	linesRate, linesBurst = 10, 100
)

// admission says what one gate may still ask: its places, its rate, its connections, and the probes it has sent.
type admission struct {
	name  string
	check func(context.Context, va.Probe) va.Report
	slots chan struct{}
	// mostConnections is enough for HTTP/1.1, where each probe takes a connection, for as many dead ones, and some to spare.
	mostConnections int
	// requests counts those that are not answered in full.
	requests atomic.Int64

	mu    sync.Mutex
	rate  bucket
	lines bucket
	// silenced is how many lines were left out since the last one.
	silenced    int
	connections int
	seen        map[[2]string]time.Time // attempt and nonce, to the deadline
	// sweepAt is the size of seen at which passed deadlines are looked for next.
	sweepAt int
	swept   time.Time
}

// newAdmissions indexes the gates by their TLS keys, and gives each its places among those of all; 0 of them means 4096.
func newAdmissions(gates []Gate, places int, check func(context.Context, va.Probe) va.Report) (map[string]*admission, error) {
	if len(gates) == 0 {
		return nil, errors.New("perspective: no gate is configured, so nobody could ask")
	}
	if len(gates) > mostGates {
		return nil, fmt.Errorf("perspective: %d gates are configured, and at most %d share a perspective", len(gates), mostGates)
	}
	shares, err := shares(gates, places)
	if err != nil {
		return nil, err
	}
	byKey, names := make(map[string]*admission, len(gates)), make(map[string]bool, len(gates))
	for i, g := range gates {
		if err := g.validate(); err != nil {
			return nil, err
		}
		if names[g.Name] {
			return nil, fmt.Errorf("perspective: gate %q is configured twice", g.Name)
		}
		if other, taken := byKey[g.TLSKey]; taken {
			return nil, fmt.Errorf("perspective: the gates %q and %q have the same TLS key", other.name, g.Name)
		}
		names[g.Name] = true
		a := &admission{name: g.Name, check: check, slots: make(chan struct{}, shares[i]), mostConnections: 2*shares[i] + spareConnections,
			rate: newBucket(g.Rate, g.Burst), lines: newBucket(linesRate, linesBurst), seen: map[[2]string]time.Time{}, sweepAt: 1024}
		if g.Checker != nil {
			a.check = g.Checker.Check
		}
		byKey[g.TLSKey] = a
	}
	return byKey, nil
}

func (g Gate) validate() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("perspective: gate %q: %s", g.Name, fmt.Sprintf(format, args...))
	}
	b, err := hex.DecodeString(g.TLSKey)
	switch {
	case g.Name == "" || len(g.Name) > 63:
		return refuse("a name has 1 to 63 characters")
	case err != nil || len(b) != 32 || strings.ToLower(g.TLSKey) != g.TLSKey:
		return refuse("the TLS key %q is not the SHA-256 of a key in lower-case hexadecimal", g.TLSKey)
	case !(g.Rate >= 0 && g.Rate <= mostRate): // so that what is no number is refused
		return refuse("a rate of %v probes in a second is not between 0 and %d", g.Rate, mostRate)
	case g.Burst < 0 || g.Burst > mostBurst:
		return refuse("a burst of %d probes is not between 1 and %d", g.Burst, mostBurst)
	case g.Burst > 0 && g.Rate == 0:
		return refuse("a burst of %d probes has no rate beside it", g.Burst)
	}
	return nil
}

// shares divides the places among the gates. Nobody's share depends on what others do: borrowed places would have to be waited for
// by the one they belong to.
func shares(gates []Gate, places int) ([]int, error) {
	if places == 0 {
		places = defaultPlaces
	}
	if places < 0 || places > mostPlaces {
		return nil, fmt.Errorf("perspective: %d places for all gates are not between 1 and %d", places, mostPlaces)
	}
	out, left, open := make([]int, len(gates)), places, 0
	for i, g := range gates {
		if g.InFlight < 0 || g.InFlight > mostInFlight {
			return nil, fmt.Errorf("perspective: gate %q: %d probes in flight are not between 1 and %d", g.Name, g.InFlight, mostInFlight)
		}
		out[i] = g.InFlight
		left -= g.InFlight
		if g.InFlight == 0 {
			open++
		}
	}
	if left < open {
		return nil, fmt.Errorf("perspective: the gates have more than the %d places for probes that there are in all", places)
	}
	for i := range out {
		if out[i] == 0 {
			out[i] = min(defaultInFlight, left/open)
		}
	}
	return out, nil
}

// enter takes a place, and tells whether there was one.
func (a *admission) enter() bool {
	select {
	case a.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (a *admission) leave() { <-a.slots }

// come counts a request; false where as many are under way as may.
func (a *admission) come() bool {
	if a.requests.Add(1) <= int64(cap(a.slots)+spareRequests) {
		return true
	}
	a.requests.Add(-1)
	return false
}

func (a *admission) gone() { a.requests.Add(-1) }

// hurried gives the problem of a gate that sends probes faster than it may; nil where it does not.
func (a *admission) hurried(now time.Time) *problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rate.take(now) {
		return nil
	}
	p := refusal(429, "request.rate", fmt.Sprintf("more than %v probes in a second, and %v at once, are not answered", a.rate.rate, a.rate.burst))
	p.retryAfter = int(math.Ceil(1 / a.rate.rate))
	return p
}

// tells says whether a line about a refused request is to be logged, and how many were left out before it: what one gate sends must
// not fill the log in which the others' lines stand.
func (a *admission) tells(now time.Time) (left int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.lines.take(now) {
		a.silenced++
		return 0, false
	}
	left, a.silenced = a.silenced, 0
	return left, true
}

// connect counts a connection; false where the gate has as many as it may.
func (a *admission) connect() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.connections >= a.mostConnections {
		return false
	}
	a.connections++
	return true
}

func (a *admission) disconnect() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connections--
}

// bucket lets rate pass in a second on average, and burst at once. One with a rate of 0 lets all pass. It is for one goroutine at a time.
type bucket struct {
	rate, burst, level float64
	at                 time.Time
}

func newBucket(rate float64, burst int) bucket {
	b := bucket{rate: rate, burst: float64(burst)}
	if burst == 0 {
		b.burst = max(rate, 1)
	}
	b.level = b.burst
	return b
}

// take takes one out where there is one. A clock that was put back gives nothing.
func (b *bucket) take(now time.Time) bool {
	if b.rate == 0 {
		return true
	}
	if passed := now.Sub(b.at); b.at.IsZero() || passed < 0 {
		b.at = now
	} else {
		b.level, b.at = min(b.burst, b.level+passed.Seconds()*b.rate), now
	}
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

// remember notes a probe until its deadline, and gives the problem when it was seen before (MPIC-09). A probe whose
// deadline has passed is refused on other grounds, so forgetting it opens nothing.
func (a *admission) remember(attempt, nonce string, deadline, now time.Time) *problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	if passed := now.Sub(a.swept); len(a.seen) >= a.sweepAt && (passed >= sweepTime || passed < 0) {
		a.swept = now
		for k, d := range a.seen {
			if !now.Before(d) {
				delete(a.seen, k)
			}
		}
		a.sweepAt = min(max(1024, 2*len(a.seen)), maxRemembered)
	}
	key := [2]string{attempt, nonce}
	if _, again := a.seen[key]; again {
		p := refusal(409, "request.replay", "this attempt and nonce were asked before: a retry is a new attempt")
		p.Rules = []string{"MPIC-09"}
		return p
	}
	if len(a.seen) >= maxRemembered {
		return overload("too many probes of this gate are remembered against replay")
	}
	a.seen[key] = deadline
	return nil
}

func overload(detail string) *problem {
	p := refusal(503, "perspective.overload", detail)
	p.retryAfter = 1
	return p
}
