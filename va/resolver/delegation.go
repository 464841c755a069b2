package resolver

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// referred gives the child zone that a response to a question about name refers to, and whether it refers at all: name
// servers strictly below the zone asked and not below the name, no answer, no SOA. Everything else in the authority section
// is not this server's to say.
func (w *work) referred(m *dns.Msg, z *zone, name string) (string, bool) {
	if w.r.stub() || m.Rcode != dns.RcodeSuccess || len(m.Answer) > 0 {
		return "", false
	}
	child := ""
	for _, rr := range m.Ns {
		if rr.Header().Class != dns.ClassINET {
			continue
		}
		switch rr.Header().Rrtype {
		case dns.TypeSOA:
			return "", false
		case dns.TypeNS:
			owner := strings.ToLower(rr.Header().Name)
			if !dnssec.Below(owner, z.name) || !dns.IsSubDomain(owner, name) || (child != "" && child != owner) {
				return "", false
			}
			child = owner
		}
	}
	return child, child != ""
}

// authoritative tells whether a response may speak for the zone: its servers answer with authority, an upstream by recursion. The
// verdict says why it may not.
func (w *work) authoritative(m dnssec.Message, z *zone) (dnssec.Verdict, bool) {
	switch {
	case !w.r.stub() && !m.Authoritative:
		return failed(codeNoServer, dnssec.EDENoReachableAuthority, "not authoritative for the zone %s, and no referral below it", z.name), false
	case w.r.stub() && !m.RecursionAvailable:
		return failed(codeNoServer, dnssec.EDENoReachableAuthority, "the upstream resolver does not recurse"), false
	}
	return usable, true
}

// hosts reads a referral's name servers. Glue counts only for names inside the child zone: any other name is looked up.
func (w *work) hosts(m *dns.Msg, child string) ([]host, uint32) {
	ttl := ^uint32(0)
	var list []host
	index := map[string]int{}
	for _, rr := range m.Ns {
		ns, ok := rr.(*dns.NS)
		if !ok || ns.Hdr.Class != dns.ClassINET {
			continue
		}
		name := strings.ToLower(ns.Ns)
		ttl = min(ttl, ns.Hdr.Ttl)
		if _, dup := index[name]; !dup {
			index[name] = len(list)
			list = append(list, host{name: name})
		}
	}
	until := w.r.config.Now().Add(w.r.config.CacheCap)
	for _, rr := range m.Extra {
		name := strings.ToLower(rr.Header().Name)
		i, listed := index[name]
		if !listed || !dns.IsSubDomain(child, name) || rr.Header().Class != dns.ClassINET {
			continue
		}
		var ip []byte
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A.To4()
		case *dns.AAAA:
			ip = rr.AAAA.To16()
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			list[i].addrs, list[i].until = append(list[i].addrs, a), until
		}
	}
	return list, ttl
}

type referKey struct {
	z    *zone
	name string
}

type referResult struct {
	zone    *zone
	verdict dnssec.Verdict
}

func (r referResult) holds(at time.Time) bool { return r.zone.holds(at) }

// refer follows a referral from z, once for all lookups that were referred at the same time.
func (w *work) refer(ctx context.Context, f frame, z *zone, name string, m *dns.Msg) (*zone, dnssec.Verdict) {
	res := w.share(ctx, f, referKey{z, name}, func() (shareable, bool) {
		if c := w.r.closest(name, dns.TypeNone); c.name == name { // a lookup beside this one was here first
			return referResult{c, usable}, true
		}
		c, v := w.descend(ctx, f, z, name, m)
		return referResult{c, v}, c != nil
	}).(referResult)
	return res.zone, res.verdict
}

// descend follows a referral from z: the child is signed when a DS set proves it, insecure when the denial of DS is proven,
// and anything else is bogus. Where the referral itself proves nothing, the parent is asked for the DS set. The zone that
// comes back lies between z and name where the referral skipped a zone cut.
func (w *work) descend(ctx context.Context, f frame, z *zone, name string, m *dns.Msg) (*zone, dnssec.Verdict) {
	hosts, ttl := w.hosts(m, name)
	if !z.signed() || w.r.anchors[name] != nil {
		return w.child(ctx, f, z, name, hosts, nil, ttl), usable
	}
	keys, v := w.zoneKeys(ctx, f, z)
	if keys == nil {
		return nil, v
	}
	d, _, v := w.verifier.Delegation(dnssec.Group(m.Ns), keys, name)
	if d != nil {
		return w.child(ctx, f, z, name, hosts, d, min(ttl, d.TTL)), usable
	}
	if final(v) {
		return nil, v
	}
	// The servers of z may serve a child of z too, as those of uk serve co.uk: the referral is then the child's, and its proof.
	if c, v := w.findCut(ctx, f, z, name, dns.TypeDS); c != nil || final(v) {
		return c, v
	}
	c, _, v := w.askDS(ctx, f, z, name, hosts)
	if c == nil && v.Status.Usable() {
		v = bogus(dnssec.CodeDenialInvalid, dnssec.EDEBogus, "a server of %s refers to %s, and the zone proves that there is no "+
			"delegation", z.name, name)
	}
	return c, v
}

// usable is the verdict with which a judge accepts a response: what it proves is judged further on.
var usable = dnssec.Verdict{Status: dnssec.Secure}

// askDS asks the signed zone z for the DS set of name. A zone comes back where a delegation is proven, signed or not; nil
// and an existence where it is proven that none stands there. The zone has the given hosts, or those of z where none are
// given: then parent and child share their servers, and no referral was to be seen.
func (w *work) askDS(ctx context.Context, f frame, z *zone, name string, hosts []host) (*zone, dnssec.Existence,
	dnssec.Verdict) {
	keys, v := w.zoneKeys(ctx, f, z)
	if keys == nil {
		return nil, 0, v
	}
	shared := hosts == nil
	if shared {
		z.mu.Lock()
		hosts = append(hosts, z.hosts...)
		z.mu.Unlock()
	}
	var found *zone
	var what dnssec.Existence
	v = w.ask(ctx, f, z, name, dns.TypeDS, func(m dnssec.Message) dnssec.Verdict {
		if child, ok := w.referred(m.Msg, z, name); ok && child != name {
			c, v := w.refer(ctx, f, z, child, m.Msg)
			found = c
			return v
		}
		if v, ok := w.authoritative(m, z); !ok {
			return v
		}
		d, e, v := w.verifier.Delegation(dnssec.Group(append(slices.Clone(m.Answer), m.Ns...)), keys, name)
		if d != nil {
			found, v = w.child(ctx, f, z, name, hosts, d, d.TTL), usable
		}
		what = e
		return v
	})
	if !v.Status.Usable() {
		return nil, 0, v
	}
	if found != nil && found.name == name {
		found.mu.Lock()
		found.shared = shared
		found.mu.Unlock()
	}
	return found, what, v
}

// findCut looks for a zone cut below the signed zone z on the way to name, by asking for DS from the top: a child on the
// same servers shows no referral. Nil with a usable verdict means that it is proven that there is none.
func (w *work) findCut(ctx context.Context, f frame, z *zone, name string, qtype uint16) (*zone, dnssec.Verdict) {
	last := dns.CountLabel(name)
	if qtype == dns.TypeDS {
		last--
	}
	for n := dns.CountLabel(z.name) + 1; n <= last; n++ {
		c, what, v := w.askDS(ctx, f, z, dnssec.Ancestor(name, n), nil)
		if !v.Status.Usable() || c != nil {
			return c, v
		}
		if what == dnssec.NoName {
			break
		}
	}
	return nil, usable
}

type cutKey struct {
	z    *zone
	name string
}

type cutResult struct {
	zone    *zone
	nothing bool
	verdict dnssec.Verdict
}

func (r cutResult) holds(at time.Time) bool { return r.zone.holds(at) }

// cut asks z about the name one label further (RFC 9156), to see whether it is delegated. The response counts only if it is
// a referral: whatever else it says is judged when the whole question is asked. nothing tells that no further label is
// worth asking about by itself.
func (w *work) cut(ctx context.Context, f frame, z *zone, name string) cutResult {
	return w.shareCut(ctx, f, z, name, func() (shareable, bool) {
		if c := w.r.closest(name, dns.TypeNone); c.name == name {
			return cutResult{zone: c, verdict: usable}, true
		}
		var out cutResult
		out.verdict = w.ask(ctx, f, z, name, dns.TypeA, func(m dnssec.Message) dnssec.Verdict {
			if child, ok := w.referred(m.Msg, z, name); ok {
				c, v := w.refer(ctx, f, z, child, m.Msg)
				out.zone = c
				return v
			}
			if v, ok := w.authoritative(m, z); !ok {
				return v
			}
			out.nothing = m.Rcode != dns.RcodeSuccess
			return usable
		})
		if out.verdict.Status.Usable() && out.zone == nil && !out.nothing {
			z.noteUncut(name)
		}
		if v := out.verdict; v.Status == dnssec.Failure && !final(v) {
			// RFC 9156 section 2.3: some servers fail on names that they should know as empty non-terminals.
			out = cutResult{nothing: true, verdict: usable}
		}
		if out.verdict.Status.Usable() && out.zone == nil && w.r.anchors[name] != nil {
			z.mu.Lock()
			hosts := append([]host(nil), z.hosts...)
			z.mu.Unlock()
			out.zone = w.child(ctx, f, z, name, hosts, nil, ^uint32(0))
		}
		return out, out.verdict.Status.Usable()
	})
}

// cutPatience is how long a lookup waits for another's question about a cut. That one can be of a type about which servers keep silent.
const cutPatience = time.Second

// shareCut shares a question about a cut, for a while.
func (w *work) shareCut(ctx context.Context, f frame, z *zone, name string, do func() (shareable, bool)) cutResult {
	wait, cancel := context.WithTimeout(ctx, cutPatience)
	defer cancel()
	return w.share(wait, f, cutKey{z, name}, do).(cutResult)
}
