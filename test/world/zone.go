package world

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Zone states one zone: what is in it, how it is signed and who serves it. It is plain data; New and Edit turn it into
// signed records.
type Zone struct {
	// Name is the apex, for example "example.com" (with or without the final dot), and "." for the root.
	Name string
	// Servers serve the zone. Their NS records at the apex and in the parent, and their address records and glue, are
	// made by the world.
	Servers []Server
	// Records is zone-file text with names relative to Name and a default TTL of 300 seconds. SOA, apex NS, delegations
	// to other zones of the world, DS, DNSKEY and denial records are made by the world and need not be given here; an
	// NS below the apex that is given here is a delegation to a zone that the world does not have.
	Records string
	// Algorithm is the DNSSEC algorithm number, for example dns.ECDSAP256SHA256, and 0 for an unsigned zone.
	Algorithm uint8
	// CSK signs everything with one key instead of a KSK for DNSKEY and a ZSK for the rest.
	CSK bool
	// Denial is the kind of authenticated denial; NSEC where it is zero.
	Denial Denial
	// Iterations and Salt (hexadecimal) are the parameters of NSEC3 (RFC 5155 section 3.1); both 0 by RFC 9276.
	Iterations uint16
	Salt       string
	// DS says what the parent tells about the zone's keys.
	DS DSMode
	// DSRecords are the RDATA of the DS records that the parent publishes where DS is DSGiven.
	DSRecords []string
	// Window is the validity of the signatures; the default where it is zero.
	Window Window
}

// Server is one name server: the host of its NS records and the loopback address where the world serves it.
type Server struct {
	// Host is the absolute name of the server, for example "ns1.example.com".
	Host string
	// Addr is a loopback address (127.0.0.0/8 or ::1), but see Config.AnyAddress. Servers with the same address are one server,
	// and those of one host with several addresses are a host with IPv4 and IPv6.
	Addr netip.Addr
}

// Denial is the way in which a zone denies that names and types exist.
type Denial uint8

const (
	// NSEC is RFC 4034 section 4.
	NSEC Denial = iota
	// NSEC3 is RFC 5155.
	NSEC3
	// NSEC3OptOut is RFC 5155 with the opt-out flag: unsigned delegations have no record in the chain.
	NSEC3OptOut
)

// DSMode says which DS records the parent of a zone publishes.
type DSMode uint8

const (
	// DSGenuine is one SHA-256 DS of the KSK for a signed zone, and none for an unsigned one.
	DSGenuine DSMode = iota
	// DSAbsent makes a signed zone an island: the parent proves that there is no DS.
	DSAbsent
	// DSWrong is a DS whose tag and algorithm fit the KSK and whose digest does not.
	DSWrong
	// DSGiven is Zone.DSRecords.
	DSGiven
)

// Window is the validity of signatures, counted from the time of signing: from Before before to After after. A negative
// value moves the other way: {Before: -24h, After: 48h} starts tomorrow, {Before: 72h, After: -24h} ended yesterday.
type Window struct{ Before, After time.Duration }

// ttl is the default TTL of records, in seconds.
const ttl = 300

func (w Window) orDefault() Window {
	if w == (Window{}) {
		return Window{Before: time.Hour, After: 48 * time.Hour}
	}
	return w
}

// clone copies z so that an edit of the copy leaves z as it is.
func (z Zone) clone() Zone {
	z.Servers = slices.Clone(z.Servers)
	z.DSRecords = slices.Clone(z.DSRecords)
	return z
}

// normal gives z with canonical names, or the reason why z cannot be served. anyAddress lets servers stand elsewhere than on
// loopback.
func (z Zone) normal(anyAddress bool) (Zone, error) {
	z = z.clone()
	z.Name = dns.CanonicalName(z.Name)
	if _, ok := dns.IsDomainName(z.Name); !ok {
		return z, fmt.Errorf("world: %q is no domain name", z.Name)
	}
	if len(z.Servers) == 0 {
		return z, fmt.Errorf("world: zone %s has no server", z.Name)
	}
	for i, s := range z.Servers {
		if !s.Addr.IsValid() || s.Addr.Is4In6() || s.Addr.Zone() != "" || !s.Addr.IsLoopback() && !anyAddress {
			return z, fmt.Errorf("world: server %s of zone %s: %v is no loopback address", s.Host, z.Name, s.Addr)
		}
		z.Servers[i].Host = dns.CanonicalName(s.Host)
	}
	if z.Denial > NSEC3OptOut || z.DS > DSGiven {
		return z, fmt.Errorf("world: zone %s: unknown denial or DS mode", z.Name)
	}
	return z, nil
}

// records parses the zone's text.
func (z Zone) records() ([]dns.RR, error) {
	p := dns.NewZoneParser(strings.NewReader(z.Records), z.Name, "")
	p.SetDefaultTTL(ttl)
	var all []dns.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rr.Header().Name = dns.CanonicalName(rr.Header().Name)
		if !dns.IsSubDomain(z.Name, rr.Header().Name) {
			return nil, fmt.Errorf("world: zone %s: %s is outside of the zone", z.Name, rr.Header().Name)
		}
		all = append(all, rr)
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("world: zone %s: %w", z.Name, err)
	}
	return all, nil
}

// parentOf gives the name without its first label, and "" for the root.
func parentOf(name string) string {
	if name == "." {
		return ""
	}
	next, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[next:]
}

// below puts a label before a name.
func below(label, name string) string {
	if name == "." {
		return label + "."
	}
	return label + "." + name
}

// labelsOf gives the octets of the labels of a name from the root down, in lower case: the order of RFC 4034 section 6.1
// is the order of these slices.
func labelsOf(name string) []string {
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(dns.CanonicalName(name), buf, 0, nil, false)
	if err != nil {
		return nil
	}
	var labels []string
	for i := 0; i < n && buf[i] != 0; i += int(buf[i]) + 1 {
		labels = append(labels, string(buf[i+1:i+1+int(buf[i])]))
	}
	slices.Reverse(labels)
	return labels
}
