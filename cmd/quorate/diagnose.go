package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// diagnosis are the flags of the commands that resolve for people, resolve and caa. They let one look at another root,
// another time or a laboratory. Nothing that these commands print can authorize anything; no other command has them.
type diagnosis struct {
	JSON              bool          `name:"json" help:"Print one JSON object."`
	RootHints         []string      `type:"existingfile" placeholder:"FILE" sep:"none" help:"Root servers from a zone file of NS, A and AAAA records, instead of IANA's. May be repeated."`
	TrustAnchor       []string      `type:"existingfile" placeholder:"FILE" sep:"none" help:"Trust anchors from a zone file of DS or DNSKEY records, instead of the IANA root's. May be repeated."`
	Now               instant       `placeholder:"RFC3339" help:"The time that signatures are compared with, instead of now."`
	AllowReserved     bool          `help:"Ask name servers at reserved addresses (loopback, private use ...) too."`
	AllowSpecialUse   bool          `help:"Resolve names below .test too."`
	Upstream          string        `placeholder:"ADDR" help:"Ask this recursive resolver, an IP address with or without a port, instead of the servers of each zone. Its answers are validated all the same."`
	Port              uint16        `default:"53" help:"The port of name servers."`
	Timeout           time.Duration `default:"15s" help:"How long one lookup may take; at most 60s."`
	QnameMinimisation string        `enum:"on,off" default:"on" help:"RFC 9156: tell each server no more of the name than it needs (${enum})."`
}

// instant is a time on the command line.
type instant struct{ time.Time }

// UnmarshalText takes RFC 3339 alone, and says so in words: the parser's own message speaks of Go's layouts.
func (i *instant) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil || t.IsZero() {
		return fmt.Errorf("%q is no time by RFC 3339, for example 2026-12-15T00:00:00Z", text)
	}
	i.Time = t
	return nil
}

// period refuses one that nothing can lie in: its ends were mistaken for each other, and no answer would tell.
func period(since, until instant) error {
	if !since.IsZero() && !until.IsZero() && !until.After(since.Time) {
		return fmt.Errorf("--until %s is not after --since %s", until.Format(time.RFC3339), since.Format(time.RFC3339))
	}
	return nil
}

// resolver makes the resolver that the flags describe. Validation is always on: other anchors, never none (DCV-09).
func (d diagnosis) resolver() (*resolver.Resolver, error) {
	c := resolver.Config{Port: d.Port, AllowReserved: d.AllowReserved, AllowSpecialUse: d.AllowSpecialUse, Timeout: d.Timeout,
		NoQnameMinimisation: d.QnameMinimisation == "off"}
	if d.Upstream != "" {
		var err error
		if c.Upstream, err = config.ParseResolver(d.Upstream); err != nil {
			return nil, fmt.Errorf("--upstream: %w", err)
		}
		if len(d.RootHints) > 0 {
			return nil, errors.New("--upstream and --root-hints: an upstream resolver has root servers of its own")
		}
	}
	if d.Port == 0 {
		return nil, errors.New("--port: 0 is no port")
	}
	if d.Timeout <= 0 {
		return nil, fmt.Errorf("--timeout: %s is no time", d.Timeout)
	}
	if !d.Now.IsZero() {
		c.Now = func() time.Time { return d.Now.Time }
	}
	for _, file := range d.RootHints {
		hints, err := readHints(file)
		if err != nil {
			return nil, fmt.Errorf("--root-hints %s: %w", file, err)
		}
		c.Hints = append(c.Hints, hints...)
	}
	for _, file := range d.TrustAnchor {
		anchors, err := readAnchors(file)
		if err != nil {
			return nil, fmt.Errorf("--trust-anchor %s: %w", file, err)
		}
		c.Anchors = append(c.Anchors, anchors...)
	}
	return resolver.New(c)
}

func readAnchors(file string) ([]dnssec.Anchor, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing is lost
	return dnssec.ParseAnchors(f)
}

func readHints(file string) ([]resolver.Hint, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing is lost
	return parseHints(f)
}

// parseHints reads the form of https://www.internic.net/domain/named.root: NS records of the root, and the addresses of
// these servers. A file of addresses alone will do as well.
func parseHints(r io.Reader) ([]resolver.Hint, error) {
	p := dns.NewZoneParser(r, ".", "")
	p.SetDefaultTTL(3600)
	var hints []resolver.Hint
	servers := map[string]bool{}
	add := func(name string, raw []byte) error {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return fmt.Errorf("%s has no usable address", name)
		}
		name = dns.CanonicalName(name)
		i := slices.IndexFunc(hints, func(h resolver.Hint) bool { return h.Name == name })
		if i < 0 {
			hints, i = append(hints, resolver.Hint{Name: name}), len(hints)
		}
		hints[i].Addrs = append(hints[i].Addrs, addr.Unmap())
		return nil
	}
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		var err error
		switch rr := rr.(type) {
		case *dns.NS:
			if rr.Hdr.Name != "." {
				err = fmt.Errorf("an NS record of %s stands here, where the root's are needed", rr.Hdr.Name)
			}
			servers[dns.CanonicalName(rr.Ns)] = true
		case *dns.A:
			err = add(rr.Hdr.Name, rr.A.To4())
		case *dns.AAAA:
			err = add(rr.Hdr.Name, rr.AAAA)
		default:
			err = fmt.Errorf("a %s record stands here; NS, A and AAAA records are needed", dns.TypeToString[rr.Header().Rrtype])
		}
		if err != nil {
			return nil, err
		}
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if len(servers) > 0 {
		hints = slices.DeleteFunc(hints, func(h resolver.Hint) bool { return !servers[h.Name] })
	}
	if len(hints) == 0 {
		return nil, errors.New("no root server with an address")
	}
	return hints, nil
}

// parseType takes a mnemonic or TYPEnnn (RFC 3597). Types that are no question to a zone are refused.
func parseType(s string) (uint16, error) {
	upper := strings.ToUpper(s)
	t, ok := dns.StringToType[upper]
	if !ok {
		if _, err := fmt.Sscanf(upper, "TYPE%d", &t); err != nil || fmt.Sprintf("TYPE%d", t) != upper {
			return 0, fmt.Errorf("%q is no record type; write for example A, TXT, CAA or TYPE257", s)
		}
	}
	if t == dns.TypeNone || t == dns.TypeOPT || (t >= 128 && t <= 255 && t != dns.TypeANY) || t == dns.TypeReserved {
		return 0, fmt.Errorf("%q is no type that a zone can be asked for", s)
	}
	return t, nil
}

// parseName refuses what is no domain name in presentation format.
func parseName(s string) (string, error) {
	if labels, ok := dns.IsDomainName(s); !ok || s == "" || (labels == 0 && s != ".") {
		return "", fmt.Errorf("%q is no domain name", s)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("%q: a domain name is written in ASCII without spaces; internationalized names as A-labels (xn--...)", s)
		}
	}
	return dns.Fqdn(s), nil
}
