package va

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/reserved"
	"github.com/quorate/quorate/va/resolver"
)

// addresses looks up the IPv6 and IPv4 addresses of a host side by side, IPv6 first. Both lookups must be usable: of an
// answer that cannot be had nobody knows what DNSSEC would say (DCV-04). A host with one Reserved IP Address is
// refused, whatever its others are (D10).
func (c *Checker) addresses(ctx context.Context, host string, f *DCVFinding) ([]netip.Addr, Outcome, *Problem) {
	var six, four *resolver.Answer
	var both sync.WaitGroup
	both.Go(func() { six = c.ask(ctx, host, dns.TypeAAAA) })
	four = c.ask(ctx, host, dns.TypeA)
	both.Wait()
	f.Lookups = append(f.Lookups, six.Lookup, four.Lookup)
	for _, a := range []*resolver.Answer{six, four} {
		if p := unusable(a.Lookup); p != nil {
			return nil, Error, p
		}
	}
	found := append(fromRecords(six.Records), fromRecords(four.Records)...)
	if len(found) == 0 {
		p := refuse("address.missing", "%s has neither an AAAA nor an A record (%s)", host, four.Lookup.Rcode)
		p.Name = host
		return nil, Fail, p
	}
	for _, addr := range found {
		if why, bad := reserved.Reserved(addr); bad && !c.config.World.AllowReserved {
			p := refuse("address.reserved", "%s has the address %s, which is reserved: %s", host, addr, why)
			p.Name, p.Address = host, addr.String()
			return found, Fail, p
		}
	}
	return found, Pass, nil
}

// fromRecords gives the addresses of A and AAAA records. An IPv4-mapped address stays what it is, so that it is judged
// as one.
func fromRecords(records []dns.RR) []netip.Addr {
	var out []netip.Addr
	for _, rr := range records {
		switch rr := rr.(type) {
		case *dns.A:
			if addr, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				out = append(out, addr)
			}
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
				out = append(out, addr)
			}
		}
	}
	return out
}

// dial connects to the first IPv6 address, and where that fails to the first IPv4 address. It takes addresses, not a
// name: what was checked is what is dialled (D10). port is an Authorized Port.
func (c *Checker) dial(ctx context.Context, considered []netip.Addr, port uint16) (net.Conn, netip.AddrPort, *Problem) {
	var tried []string
	var at netip.AddrPort
	for _, addr := range candidates(considered) {
		at = netip.AddrPortFrom(addr, c.config.World.port(port))
		conn, err := c.dialOne(ctx, at)
		if err == nil {
			return conn, at, nil
		}
		tried = append(tried, err.Error())
	}
	p := refuse("address.unreachable", "no connection: %s", strings.Join(tried, "; "))
	p.Address = at.String()
	return nil, at, p
}

func (c *Checker) dialOne(ctx context.Context, at netip.AddrPort) (net.Conn, error) {
	source := c.config.SourceAddr
	if source.IsValid() && source.Is4() != at.Addr().Is4() {
		return nil, fmt.Errorf("%s cannot be reached from %s", at, source)
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.DialTimeout)
	defer cancel()
	var local netip.AddrPort
	if source.IsValid() {
		local = netip.AddrPortFrom(source, 0)
	}
	return new(net.Dialer).DialTCP(ctx, "tcp", local, at)
}

// candidates picks the first address of each family, in the order given.
func candidates(considered []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, addr := range considered {
		if len(out) == 0 || len(out) == 1 && out[0].Is4() != addr.Is4() {
			out = append(out, addr)
		}
	}
	return out
}

func addrTexts(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}
