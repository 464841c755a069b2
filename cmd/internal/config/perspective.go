package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"time"
)

// Perspective is the configuration of a remote perspective's agent, perspective.yaml.
type Perspective struct {
	// Name is what the perspective calls itself in its reports; gates know it by their own rosters.
	Name string `yaml:"name"`
	// Listen is the address and port where gates ask.
	Listen string `yaml:"listen"`
	// TLS is the certificate and key of the channel, SigningKey the key that signs reports.
	TLS        Pair   `yaml:"tls"`
	SigningKey string `yaml:"signing_key"`
	// Gates are those that may ask.
	Gates []GatePin `yaml:"gates"`
	// SourceAddress is where the checks' packets come from; empty lets the host choose.
	SourceAddress string `yaml:"source_address"`
	// UpstreamResolver is a recursive resolver to ask instead of the servers of each zone, an IP address with or without a port.
	// Its answers are validated here all the same. Empty, the usual, resolves from the root. Only remotes have it: the primary
	// resolves by itself (DCV-04).
	UpstreamResolver string `yaml:"upstream_resolver"`
	// OpenMPIC lets Open MPIC coordinators ask this perspective; left out, none can.
	OpenMPIC *OpenMPICChecker  `yaml:"open_mpic"`
	Limits   PerspectiveLimits `yaml:"limits"`
	Metrics  Metrics           `yaml:"metrics"`
	Log      Log               `yaml:"log"`
}

// Upstream gives UpstreamResolver as address and port, 53 where none is named; the zero AddrPort where it is empty.
func (p Perspective) Upstream() (netip.AddrPort, error) {
	if p.UpstreamResolver == "" {
		return netip.AddrPort{}, nil
	}
	return ParseResolver(p.UpstreamResolver)
}

// ParseResolver reads the address of a resolver: an IP address, with a port or for port 53.
func ParseResolver(s string) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(s)
	if a, plain := netip.ParseAddr(s); plain == nil {
		at, err = netip.AddrPortFrom(a, 53), nil
	}
	if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() || at.Addr().IsMulticast() {
		return netip.AddrPort{}, fmt.Errorf("%q is no IP address of a resolver, with or without a port", s)
	}
	return at, nil
}

// GatePin is one gate, its pinned key, and what it may ask for. Several CAs' gates may share a perspective.
type GatePin struct {
	Name string `yaml:"name"`
	// TLSKey is the SHA-256 of the public key of the gate's certificate, in hexadecimal.
	TLSKey string `yaml:"tls_key"`
	// InFlight is how many of the gate's probes are answered at a time: 512, or an equal share of limits.in_flight where that is less.
	// These places are the gate's alone.
	InFlight int `yaml:"in_flight"`
	// Rate is how many probes the gate may send in a second on average: 0.01 to 100000; without it any number. Burst is how many at
	// once: as many as in one second, and at least 1.
	Rate  float64 `yaml:"rate"`
	Burst int     `yaml:"burst"`
}

// PerspectiveLimits bound time and work. A zero field takes the default.
type PerspectiveLimits struct {
	// InFlight is how many probes of all gates together are answered at a time: 4096, at most 65536.
	InFlight int `yaml:"in_flight"`
	// Check bounds the checks for one probe: 30s, at most 2m.
	Check time.Duration `yaml:"check"`
	// Resolution bounds one DNS lookup: 15s, at most 60s.
	Resolution time.Duration `yaml:"resolution"`
}

var gateName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)

// LoadPerspective reads a perspective's configuration, as LoadGate a gate's.
func LoadPerspective(file string) (Perspective, error) {
	var p Perspective
	d, err := load(file, &p)
	if err != nil {
		return Perspective{}, err
	}
	return d.perspective(p)
}

// ParsePerspective is to LoadPerspective what ParseGate is to LoadGate.
func ParsePerspective(file string, text []byte) (Perspective, error) {
	var p Perspective
	d, err := parse(file, text, &p)
	if err != nil {
		return Perspective{}, err
	}
	return d.perspective(p)
}

func (d *document) perspective(p Perspective) (Perspective, error) {
	d.require("", "name", "listen", "tls", "signing_key", "gates")
	if d.has("name") && !memberName.MatchString(p.Name) {
		d.refuse("name", "REC-01", "%q: a name is 1 to 63 lower case letters, digits and hyphens", p.Name)
	}
	d.address("listen", p.Listen)
	d.pair("tls", &p.TLS)
	p.SigningKey = d.path(p.SigningKey)
	if d.has("gates") && len(p.Gates) == 0 {
		d.refuse("gates", "MPIC-08", "one gate at least is needed: without one nobody could ask")
	}
	names, keys := map[string]bool{}, map[string]bool{}
	for i, g := range p.Gates {
		field := fmt.Sprintf("gates[%d]", i)
		d.require(field, "name", "tls_key")
		if d.has(field+".name") && !gateName.MatchString(g.Name) {
			d.refuse(field+".name", "", "%q: a name is 1 to 63 letters, digits, dots, underscores and hyphens", g.Name)
		}
		if d.has(field+".tls_key") && !hexDigest.MatchString(g.TLSKey) {
			d.refuse(field+".tls_key", "MPIC-08", "the SHA-256 of the gate's public TLS key is needed, 64 characters of lower case "+
				"hexadecimal")
		}
		if names[g.Name] || keys[g.TLSKey] {
			d.refuse(field, "MPIC-08", "its name or its key is another gate's already")
		}
		names[g.Name], keys[g.TLSKey] = true, true
		d.share(field, g)
	}
	d.places(p)
	for _, f := range []struct {
		field string
		value time.Duration
		max   time.Duration
	}{{"check", p.Limits.Check, 2 * time.Minute}, {"resolution", p.Limits.Resolution, time.Minute}} {
		if d.has("limits."+f.field) && (f.value < 100*time.Millisecond || f.value > f.max) {
			d.refuse("limits."+f.field, "", "%s is not between 100ms and %s", f.value, f.max)
		}
	}
	d.source("source_address", p.SourceAddress)
	if d.has("upstream_resolver") {
		if _, err := ParseResolver(p.UpstreamResolver); err != nil {
			d.refuse("upstream_resolver", "", "%v", err)
		}
	}
	d.openMPICChecker(p.OpenMPIC)
	d.metrics(p.Metrics)
	d.log(p.Log)
	return p, d.err()
}

// share refuses limits of one gate that are impossible.
func (d *document) share(field string, g GatePin) {
	if d.has(field+".in_flight") && (g.InFlight < 1 || g.InFlight > 4096) {
		d.refuse(field+".in_flight", "", "%d is not between 1 and 4096", g.InFlight)
	}
	if d.has(field+".rate") && !(g.Rate >= 0.01 && g.Rate <= 100_000) { // so that what is no number is refused
		d.refuse(field+".rate", "", "%v probes in a second are not between 0.01 and 100000", g.Rate)
	}
	if d.has(field+".burst") && (g.Burst < 1 || g.Burst > 1_000_000) {
		d.refuse(field+".burst", "", "%d is not between 1 and 1000000", g.Burst)
	}
	if d.has(field+".burst") && !d.has(field+".rate") {
		d.refuse(field+".burst", "", "a burst needs a rate beside it")
	}
}

// places refuses more places for the gates than there are: each gate's are its own, and are not shared with others.
func (d *document) places(p Perspective) {
	all := 4096
	if d.has("limits.in_flight") {
		all = p.Limits.InFlight
		if all < 1 || all > 1<<16 {
			d.refuse("limits.in_flight", "", "%d is not between 1 and 65536", all)
			return
		}
	}
	needed := 0
	for _, g := range p.Gates {
		needed += max(g.InFlight, 1)
	}
	if needed > all {
		d.refuse("gates", "", "the gates need %d places for probes, and limits.in_flight gives %d", needed, all)
	}
	if len(p.Gates) > 256 {
		d.refuse("gates", "", "%d gates; at most 256 share a perspective", len(p.Gates))
	}
}
