package perspective

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Gate is one gate that a perspective answers. Several may share a perspective; none can use up another's share.
type Gate struct {
	// Name stands in the log lines: 1 to 63 characters.
	Name string
	// TLSKey is the SHA-256, in lower-case hexadecimal, of the SubjectPublicKeyInfo that the gate's certificate must carry.
	TLSKey string
	// InFlight is how many of the gate's probes are answered at a time; 0 means 64, and at most 4096 are allowed. What is
	// more gets status 503.
	InFlight int
}

const (
	defaultInFlight = 64
	mostInFlight    = 4096
	// maxRemembered bounds the probes remembered of one gate. With the longest deadline that is allowed, a gate that
	// keeps to its own rate stays far below it; one that does not is refused until old ones have passed.
	maxRemembered = 1 << 17
)

// admission says what one gate may still ask: its free places, and the probes it has sent.
type admission struct {
	name  string
	slots chan struct{}

	mu   sync.Mutex
	seen map[[2]string]time.Time // attempt and nonce, to the deadline
	// sweepAt is the size of seen at which passed deadlines are looked for next.
	sweepAt int
}

// newAdmissions indexes the gates by their TLS keys.
func newAdmissions(gates []Gate) (map[string]*admission, error) {
	if len(gates) == 0 {
		return nil, errors.New("perspective: no gate is configured, so nobody could ask")
	}
	byKey, names := make(map[string]*admission, len(gates)), make(map[string]bool, len(gates))
	for _, g := range gates {
		if g.Name == "" || len(g.Name) > 63 {
			return nil, fmt.Errorf("perspective: gate %q: a name has 1 to 63 characters", g.Name)
		}
		if names[g.Name] {
			return nil, fmt.Errorf("perspective: gate %q is configured twice", g.Name)
		}
		if b, err := hex.DecodeString(g.TLSKey); err != nil || len(b) != 32 || strings.ToLower(g.TLSKey) != g.TLSKey {
			return nil, fmt.Errorf("perspective: gate %q: the TLS key %q is not the SHA-256 of a key in lower-case hexadecimal", g.Name, g.TLSKey)
		}
		if other, taken := byKey[g.TLSKey]; taken {
			return nil, fmt.Errorf("perspective: the gates %q and %q have the same TLS key", other.name, g.Name)
		}
		if g.InFlight == 0 {
			g.InFlight = defaultInFlight
		}
		if g.InFlight < 0 || g.InFlight > mostInFlight {
			return nil, fmt.Errorf("perspective: gate %q: %d probes in flight are not between 1 and %d", g.Name, g.InFlight, mostInFlight)
		}
		names[g.Name] = true
		byKey[g.TLSKey] = &admission{name: g.Name, slots: make(chan struct{}, g.InFlight),
			seen: map[[2]string]time.Time{}, sweepAt: 1024}
	}
	return byKey, nil
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

// remember notes a probe until its deadline, and gives the problem when it was seen before (MPIC-09). A probe whose
// deadline has passed is refused on other grounds, so forgetting it opens nothing.
func (a *admission) remember(attempt, nonce string, deadline, now time.Time) *problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.seen) >= a.sweepAt {
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
