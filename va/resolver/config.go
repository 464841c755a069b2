package resolver

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/quorate/quorate/va/dnssec"
)

// Config describes a Resolver. The zero Config resolves the public DNS from the IANA root.
type Config struct {
	// Hints are the root servers. Nil takes IANA's, IPv4 and IPv6, which are built in.
	Hints []Hint
	// Upstream is a recursive resolver to ask instead of the servers of each zone; the zero AddrPort resolves from the root's
	// servers. What it says is validated like any other answer (RFC 4035 section 4.9.2: it is asked not to), so that it can withhold
	// answers and not forge them. It must know DNSSEC. It is for remotes: the primary resolves by itself (DCV-04). Hints and Port
	// are then not used.
	Upstream netip.AddrPort
	// Anchors are the trust anchors. Nil takes dnssec.RootAnchors(); an empty list that is not nil is refused, because no
	// resolver works without validation (DCV-09).
	Anchors []dnssec.Anchor
	// Algorithms is the table of supported algorithms, nil for dnssec.DefaultAlgorithms(). It is dated policy.
	Algorithms dnssec.Algorithms
	// Port is the port of name servers, 0 for 53. Others are for the sandbox and for diagnostics.
	Port uint16
	// AllowReserved lets name servers stand at reserved addresses: for the sandbox and for diagnostics.
	AllowReserved bool
	// AllowSpecialUse lets names below ".test" be resolved (RFC 6761 section 6.2): for the sandbox and for diagnostics. The
	// other special-use names are always refused.
	AllowSpecialUse bool
	// SourceAddr is the local address to send from; the zero Addr lets the host choose. Servers of the other address
	// family are then unusable.
	SourceAddr netip.Addr
	// Now tells the time that signatures are compared with, nil for time.Now.
	Now func() time.Time
	// Limits bound the work of one lookup; zero fields take the defaults.
	Limits Limits
	// Timeout bounds one lookup, 0 for 15 seconds; at most 60 seconds.
	Timeout time.Duration
	// NoQnameMinimisation switches RFC 9156 off. It is on by default.
	NoQnameMinimisation bool
	// CacheCap bounds the time that a delegation and its keys are remembered, 0 for one hour; at most one day. Answers to the
	// questions asked are never remembered.
	CacheCap time.Duration
	// Logger takes what operators want to know, at the level debug each packet with what came of it; nil discards.
	Logger *slog.Logger
	// Metrics count what the Resolver does; nil counts nothing. They are one Resolver's alone.
	Metrics *Metrics
}

// Hint is one root server.
type Hint struct {
	// Name is the server's name, for the trace only.
	Name  string
	Addrs []netip.Addr
}

// Limits bound the work of one lookup. Reaching one is a failure (docs/design.md, invariant 7). A field left zero takes the
// default, which is also the maximum.
type Limits struct {
	dnssec.Limits
	// Targets is how many name-server names one lookup may resolve: 64 (NXNSAttack). TargetsPerDelegation is how many of
	// one delegation: 16. MissingTargets is how many may turn out not to exist: 5.
	Targets, TargetsPerDelegation, MissingTargets int
	// SendsPerQuestion is how many packets one question to one zone may cost: 32. Sends is how many the whole lookup: 200.
	SendsPerQuestion, Sends int
	// Octets is how many octets of responses one lookup may receive before it asks no more: 256 KiB. All of them are kept.
	Octets int
	// Restarts is how many aliases are followed: 11.
	Restarts int
	// Depth is how deep the lookups of name servers' addresses may nest: 6.
	Depth int
}

// DefaultLimits are the defaults of all limits.
func DefaultLimits() Limits {
	return Limits{Limits: dnssec.DefaultLimits(), Targets: 64, TargetsPerDelegation: 16, MissingTargets: 5,
		SendsPerQuestion: 32, Sends: 200, Octets: 256 << 10, Restarts: 11, Depth: 6}
}

// named gives the limits with their names, those of dnssec.Limits included.
func (l *Limits) named() []namedLimit {
	all := []namedLimit{
		{"targets", &l.Targets}, {"targets_per_delegation", &l.TargetsPerDelegation}, {"missing_targets", &l.MissingTargets},
		{"sends_per_question", &l.SendsPerQuestion}, {"sends", &l.Sends}, {"octets", &l.Octets}, {"restarts", &l.Restarts}, {"depth", &l.Depth},
	}
	for _, f := range l.Limits.Named() {
		all = append(all, namedLimit{f.Name, f.Value})
	}
	return all
}

type namedLimit struct {
	key   string
	value *int
}

func (l Limits) complete() (Limits, error) {
	var err error
	if l.Limits, err = l.Limits.Complete(); err != nil {
		return l, err
	}
	most := DefaultLimits()
	defaults := most.named()
	for i, f := range l.named() {
		if *f.value == 0 {
			*f.value = *defaults[i].value
		}
		if *f.value < 0 || *f.value > *defaults[i].value {
			return l, fmt.Errorf("resolver: the limit %s is %d, and must be from 1 to %d", f.key, *f.value, *defaults[i].value)
		}
	}
	return l, nil
}

var errNoRoot = errors.New("resolver: no root server has an address that may be asked")

// New makes a Resolver with an empty cache. Errors: a limit, time or address outside its range, no root server or no trust
// anchor, an anchor whose algorithm is not supported.
func New(c Config) (*Resolver, error) {
	var err error
	switch {
	case c.Upstream != (netip.AddrPort{}):
		if c.Upstream = netip.AddrPortFrom(c.Upstream.Addr().Unmap(), c.Upstream.Port()); !c.Upstream.IsValid() || c.Upstream.Port() == 0 ||
			c.Upstream.Addr().IsUnspecified() || c.Upstream.Addr().IsMulticast() {
			return nil, fmt.Errorf("resolver: the upstream resolver %q is no address and port of a host", c.Upstream)
		}
		c.Hints = []Hint{{Name: "upstream.", Addrs: []netip.Addr{c.Upstream.Addr()}}}
		c.Port = c.Upstream.Port()
	case c.Hints == nil:
		c.Hints = rootHints()
	}
	if c.Anchors == nil {
		c.Anchors = dnssec.RootAnchors()
	}
	if len(c.Anchors) == 0 { // DCV-09: there is no mode without validation
		return nil, errors.New("resolver: no trust anchor, and nothing can be validated without one")
	}
	if c.Algorithms == nil {
		c.Algorithms = dnssec.DefaultAlgorithms()
	}
	for _, a := range c.Anchors {
		if a.Zone() == "" || c.Algorithms[a.Algorithm()] == nil {
			return nil, fmt.Errorf("resolver: the trust anchor %q is of an algorithm that is not supported", a)
		}
	}
	if c.Limits, err = c.Limits.complete(); err != nil {
		return nil, err
	}
	if c.Timeout, err = duration("timeout", c.Timeout, 15*time.Second, time.Minute); err != nil {
		return nil, err
	}
	if c.CacheCap, err = duration("cache cap", c.CacheCap, time.Hour, 24*time.Hour); err != nil {
		return nil, err
	}
	if c.Port == 0 {
		c.Port = 53
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return newResolver(c)
}

func duration(what string, d, def, limit time.Duration) (time.Duration, error) {
	if d == 0 {
		return def, nil
	}
	if d < 0 || d > limit {
		return 0, fmt.Errorf("resolver: the %s is %s, and must be above 0 and at most %s", what, d, limit)
	}
	return d, nil
}

// rootHints are the root servers of https://www.internic.net/domain/named.root.
func rootHints() []Hint {
	var hints []Hint
	for _, h := range [][3]string{
		{"a", "198.41.0.4", "2001:503:ba3e::2:30"}, {"b", "170.247.170.2", "2801:1b8:10::b"},
		{"c", "192.33.4.12", "2001:500:2::c"}, {"d", "199.7.91.13", "2001:500:2d::d"},
		{"e", "192.203.230.10", "2001:500:a8::e"}, {"f", "192.5.5.241", "2001:500:2f::f"},
		{"g", "192.112.36.4", "2001:500:12::d0d"}, {"h", "198.97.190.53", "2001:500:1::53"},
		{"i", "192.36.148.17", "2001:7fe::53"}, {"j", "192.58.128.30", "2001:503:c27::2:30"},
		{"k", "193.0.14.129", "2001:7fd::1"}, {"l", "199.7.83.42", "2001:500:9f::42"},
		{"m", "202.12.27.33", "2001:dc3::35"},
	} {
		hints = append(hints, Hint{Name: h[0] + ".root-servers.net.",
			Addrs: []netip.Addr{netip.MustParseAddr(h[1]), netip.MustParseAddr(h[2])}})
	}
	return hints
}
