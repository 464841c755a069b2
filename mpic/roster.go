package mpic

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/va"
)

// Region is the service region of a Regional Internet Registry. The zero value is none.
type Region string

const (
	AFRINIC Region = "AFRINIC"
	APNIC   Region = "APNIC"
	ARIN    Region = "ARIN"
	LACNIC  Region = "LACNIC"
	RIPE    Region = "RIPE NCC"
)

// Regions lists the five registries.
func Regions() []Region { return []Region{AFRINIC, APNIC, ARIN, LACNIC, RIPE} }

func registry(r Region) bool {
	return r == AFRINIC || r == APNIC || r == ARIN || r == LACNIC || r == RIPE
}

// Place is where traffic is handed to the Internet: the definition that BR 3.2.2.9 gives for a perspective's location and
// for its resolver's. Latitude and Longitude are WGS 84 degrees, -90 to 90 and -180 to 180.
type Place struct {
	Region    Region  `json:"region"`
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
}

// MinimumDistance is how far apart, in kilometres, two perspectives or two resolvers must stand (BR 3.2.2.9).
const MinimumDistance = 500

// The ellipsoid of WGS 84: its equatorial radius in kilometres, and the square of its eccentricity.
const (
	equatorialRadius    = 6378.137
	eccentricitySquared = 6.69437999014e-3
)

// Distance gives the straight-line distance between two places in kilometres: the chord, which is never longer than the
// way along the ground. A sphere would not do: near the equator, where a degree of latitude is shortest, one of the polar
// radius gives a third of a percent too much.
func Distance(a, b Place) float64 { return a.point().distance(b.point()) }

// point is a place in kilometres from the centre of the Earth.
type point struct{ x, y, z float64 }

func (p Place) point() point {
	const degree = math.Pi / 180
	sinLat, cosLat := math.Sincos(p.Latitude * degree)
	sinLon, cosLon := math.Sincos(p.Longitude * degree)
	normal := equatorialRadius / math.Sqrt(1-eccentricitySquared*sinLat*sinLat)
	return point{normal * cosLat * cosLon, normal * cosLat * sinLon, normal * (1 - eccentricitySquared) * sinLat}
}

func (a point) distance(b point) float64 {
	return math.Sqrt((a.x-b.x)*(a.x-b.x) + (a.y-b.y)*(a.y-b.y) + (a.z-b.z)*(a.z-b.z))
}

// Member is what the CA knows of one Network Perspective. It comes from the CA's configuration, never from the
// perspective's own words.
type Member struct {
	// Name identifies the perspective in records: lower case letters, digits and hyphens, 1 to 63 characters.
	Name string `json:"name"`
	// Title is for people, for example "Frankfurt".
	Title string `json:"title"`
	// Place is the perspective's own, Resolver its DNS resolver's.
	Place    Place `json:"place"`
	Resolver Place `json:"resolver"`
	// URL is where a remote is reached; empty for the primary, which runs in the gate's own process.
	URL string `json:"url,omitempty"`
	// TLSKey is the SHA-256, in hexadecimal, of the SubjectPublicKeyInfo that the remote's TLS certificate must carry.
	TLSKey string `json:"tls_key,omitempty"`
	// SigningKey is the RFC 7638 thumbprint (SHA-256, base64url) of the key that signs the remote's replies.
	SigningKey string `json:"signing_key,omitempty"`
	// Protocol is what a remote speaks; empty for ours. The remote of another protocol signs nothing: it is known by its channel, so that
	// SigningKey is empty, and TLSKey may be where its certificate changes and is verified by name.
	Protocol Protocol `json:"protocol,omitempty"`
	// Code is what the remote is called in another protocol, where that is not Name.
	Code string `json:"code,omitempty"`
}

// Roster is the set of perspectives of an attempt: the primary, and all remotes that are asked.
type Roster struct {
	Primary Member   `json:"primary"`
	Remotes []Member `json:"remotes"`
}

// Check gives what keeps this roster from being used at a time, by the policy of that day: none when it may be used.
// MPIC-02, MPIC-04, MPIC-05, MPIC-06, MPIC-08 (a remote without pinned keys has no authenticated channel). All pairs are
// measured, the primary's too, for perspectives and for resolvers (F8).
func (r Roster) Check(at time.Time) []*va.Problem {
	policy, problem := PolicyAt(at)
	if problem != nil {
		return []*va.Problem{problem}
	}
	var f faults
	if n := len(r.Remotes); n < policy.MinRemotes {
		f.add("roster.too-few", "MPIC-02", "%d remote perspectives are configured; since %s at least %d are required (%s)",
			n, policy.MinRemotesSince.Format(time.DateOnly), policy.MinRemotes, policy.Section("MPIC-02"))
	}
	all := make([]standing, len(r.Remotes)+1)
	for i := range all {
		m := r.member(i)
		f.member(m)
		all[i] = m.standing()
		if slices.ContainsFunc(all[:i], func(other standing) bool { return other.name == m.Name }) {
			f.add("roster.duplicate", "MPIC-05", "perspective %s is listed twice", m.Name)
		}
	}
	keys, regions := make(map[string]string, 2*len(r.Remotes)), make([]Region, 0, len(r.Remotes))
	for i := range r.Remotes {
		m := &r.Remotes[i]
		f.channel(m, keys)
		if !slices.Contains(regions, m.Place.Region) {
			regions = append(regions, m.Place.Region)
		}
	}
	if len(regions) < policy.MinRegions {
		f.add("roster.regions", "MPIC-04", "the remotes stand in %d region(s); corroboration needs %d",
			len(regions), policy.MinRegions)
	}
	for i, a := range all {
		for _, b := range all[i+1:] {
			f.pair(a, b)
		}
	}
	return f
}

// member gives the primary for 0, and the remotes from 1 on.
func (r *Roster) member(i int) *Member {
	if i == 0 {
		return &r.Primary
	}
	return &r.Remotes[i-1]
}

// standing is where a perspective and its resolver are, worked out once for all pairs.
type standing struct {
	name            string
	place, resolver point
}

func (m *Member) standing() standing { return standing{m.Name, m.Place.point(), m.Resolver.point()} }

// faults are what Check finds.
type faults []*va.Problem

func (f *faults) add(code, rule, format string, args ...any) {
	*f = append(*f, &va.Problem{Code: code, Detail: fmt.Sprintf(format, args...), Rules: []string{rule}})
}

// member looks at one perspective's name and places.
func (f *faults) member(m *Member) {
	if !validMemberName(m.Name) {
		f.add("roster.name", "REC-01", "perspective %q: a name is 1 to 63 lower case letters, digits and hyphens", m.Name)
	}
	for k, p := range [...]Place{m.Place, m.Resolver} {
		what := [...]string{"perspective", "resolver"}[k]
		if !registry(p.Region) {
			f.add("roster.region", "MPIC-04", "%s: the %s's region %q is none of AFRINIC, APNIC, ARIN, LACNIC, RIPE NCC",
				m.Name, what, p.Region)
		}
		if !onEarth(p) {
			f.add("roster.coordinates", "MPIC-05", "%s: the %s's coordinates %v, %v are not on Earth",
				m.Name, what, p.Latitude, p.Longitude)
		}
	}
	if m.Resolver.Region != m.Place.Region {
		f.add("roster.resolver-region", "MPIC-06", "%s stands in %s and its resolver in %s: both must lie in one region",
			m.Name, m.Place.Region, m.Resolver.Region)
	}
}

// channel looks at how a remote is reached (MPIC-08). keys has the keys of those before it, and whose they are.
func (f *faults) channel(m *Member, keys map[string]string) {
	if !strings.HasPrefix(m.URL, "https://") {
		f.add("roster.plain-text", "MPIC-08", "%s: %q is no https URL; a remote is reached over an encrypted channel only", m.Name, m.URL)
	}
	if m.Protocol != Native {
		f.foreign(m, keys)
		return
	}
	if m.Code != "" {
		f.add("roster.code", "MPIC-08", "%s speaks our own protocol, in which it is called by its name and not %q", m.Name, m.Code)
	}
	for _, key := range [...]string{strings.ToLower(m.TLSKey), m.SigningKey} { // hexadecimal has two spellings
		if key == "" {
			f.add("roster.unauthenticated", "MPIC-08", "%s has no pinned TLS key or no signing key", m.Name)
			return
		}
		other, taken := keys[key]
		if !taken {
			other, taken = keys[key+" "] // a service's
		}
		if taken {
			f.add("roster.shared-key", "MPIC-08", "%s and %s share a key: each perspective has keys of its own", other, m.Name)
		}
		keys[key] = m.Name
	}
}

// foreign looks at a remote of another protocol: it has a channel and, where one is pinned, a key of its own. Those that one service
// stands for share both, and differ by their codes; none of them shares them with a remote that stands alone. Where an answer does not say
// whose it is, a code tells nobody apart.
func (f *faults) foreign(m *Member, keys map[string]string) {
	traits, known := protocols[m.Protocol]
	if !known {
		f.add("roster.protocol", "MPIC-08", "%s: %q is no protocol", m.Name, m.Protocol)
		return
	}
	if m.SigningKey != "" {
		f.add("roster.unauthenticated", "MPIC-08", "%s has a signing key, and %s signs nothing", m.Name, m.Protocol)
	}
	for _, key := range []string{m.channel(), strings.ToLower(m.TLSKey)} {
		if key == "" {
			continue
		}
		other, taken := keys[key]
		service := key + " "
		if !traits.several && !taken {
			other, taken = keys[service]
		}
		if own := service + m.code(); traits.several {
			if !taken {
				other, taken = keys[own]
			}
			keys[own], keys[service] = m.Name, m.Name
		} else {
			keys[key] = m.Name
		}
		if taken {
			f.add("roster.shared-key", "MPIC-08", "%s and %s cannot be told apart: they have one channel or one key", other, m.Name)
		}
	}
}

// channel is what tells the remote's connection from others': its URL, in one of the ways to write it.
func (m Member) channel() string {
	u, err := url.Parse(strings.ToLower(m.URL))
	if err != nil {
		return strings.ToLower(m.URL)
	}
	host, port := strings.TrimSuffix(u.Hostname(), "."), u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(host, port) + path.Join("/", u.Path)
}

// code is what the remote is called in its protocol.
func (m Member) code() string {
	if m.Code != "" {
		return m.Code
	}
	return m.Name
}

// pair measures two perspectives, and their resolvers. A distance that is no number is too short.
func (f *faults) pair(a, b standing) {
	if d := a.place.distance(b.place); !(d >= MinimumDistance) {
		f.add("roster.distance", "MPIC-05", "%s and %s are %.0f km apart; perspectives are distinct from %d km on",
			a.name, b.name, d, MinimumDistance)
	}
	if d := a.resolver.distance(b.resolver); !(d >= MinimumDistance) {
		f.add("roster.resolver-distance", "MPIC-06", "the resolvers of %s and %s are %.0f km apart; %d km are required",
			a.name, b.name, d, MinimumDistance)
	}
}

func validMemberName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// onEarth refuses NaN as well: no comparison with it holds.
func onEarth(p Place) bool {
	return p.Latitude >= -90 && p.Latitude <= 90 && p.Longitude >= -180 && p.Longitude <= 180
}
