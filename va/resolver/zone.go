package resolver

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// zone is a delegation that was followed, with the parent's proven word on whether it is signed. It may be remembered; what
// its servers say about the names in it is not.
type zone struct {
	name   string
	parent *zone
	// delegation is the parent's word or the anchors; nil where the chain had ended, or not begun, above the zone.
	delegation *dnssec.Delegation
	// verdict is Secure when keys must be had, Insecure with the reason that the chain has ended, or Failure above every anchor.
	verdict dnssec.Verdict
	cut     *dnssec.Delegation // where the chain has ended, at this zone or above it; nil when it has not
	expires time.Time
	by      uint64 // the number of the lookup that found it; 0 for the root
	octets  int    // about how much memory it takes, guarded by Resolver.mu

	mu     sync.Mutex
	hosts  []host
	shared bool // the hosts are the parent's: nothing but their own answers says that they serve the zone
	keys   *dnssec.Keys
	keysTo time.Time
	idle   map[netip.AddrPort]bool // servers whose last response was of no use: they are asked last
	uncut  map[string]bool         // names below the zone where its servers showed no delegation: a hint, no proof
}

// maxUncut bounds the memory of names without a delegation, zone by zone. It ends with the zone's own.
const maxUncut = 1000

func (z *zone) isUncut(name string) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.uncut[name]
}

// noteUncut spares later lookups the question whether name is delegated. Where it has been since, or where that was a lie,
// the whole question shows it, as it does without QNAME minimisation.
func (z *zone) noteUncut(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.uncut == nil || len(z.uncut) >= maxUncut {
		z.uncut = map[string]bool{}
	}
	z.uncut[name] = true
}

// useful notes whether a server's response was of use. It says whom to ask first, and never what to believe.
func (z *zone) useful(server netip.AddrPort, was bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if was {
		delete(z.idle, server)
		return
	}
	if z.idle == nil || len(z.idle) >= maxUncut {
		z.idle = map[netip.AddrPort]bool{}
	}
	z.idle[server] = true
}

// order puts servers that were of no use last.
func (z *zone) order(servers []server) {
	z.mu.Lock()
	defer z.mu.Unlock()
	rank := func(sv server) int {
		if z.idle[sv.addr] {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(servers, func(a, b server) int { return rank(a) - rank(b) })
}

// host is a name server of a zone. Addresses are those of in-domain glue, or were looked up and validated like any other
// name's; they are good until the time given.
type host struct {
	name  string
	addrs []netip.Addr
	until time.Time
}

// lifetime is how long keys and addresses with a TTL in seconds are used: no longer than the cap, and no shorter than the
// question at hand needs them (RFC 1035 section 3.2.1: a TTL of zero is good for the transaction in progress).
func (r *Resolver) lifetime(ttl uint32) time.Duration {
	return min(max(time.Duration(ttl)*time.Second, 5*time.Second), r.config.CacheCap)
}

// holds tells whether a zone may be used by a lookup that starts at a time. No zone holds at any.
func (z *zone) holds(at time.Time) bool { return z == nil || at.Before(z.expires) }

func (z *zone) signed() bool { return z.verdict.Status == dnssec.Secure }

// child makes the zone below parent that a proven delegation describes, and begins to fetch its keys, which are needed in any
// case. The delegation is nil where the chain ends or has not begun at the parent, and a trust anchor stands above any.
func (w *work) child(ctx context.Context, f frame, parent *zone, name string, hosts []host, d *dnssec.Delegation,
	ttl uint32) *zone {
	z := &zone{name: name, parent: parent, hosts: hosts, delegation: d, verdict: parent.verdict, cut: parent.cut, by: w.number}
	if own := w.r.anchors[name]; own != nil {
		z.delegation = own
	}
	if z.delegation != nil {
		z.verdict, z.cut = z.delegation.Verdict, nil
		if z.verdict.Status == dnssec.Insecure {
			z.cut = z.delegation
		}
	}
	z = w.r.remember(z, ttl, w.started)
	w.prefetch(ctx, f, z)
	return z
}

func (w *work) prefetch(ctx context.Context, f frame, z *zone) {
	if !z.signed() {
		return
	}
	w.running.Add(1)
	go func() {
		defer w.running.Done()
		w.zoneKeys(ctx, f, z)
	}()
}

type keysKey struct{ z *zone }

type keysResult struct {
	keys    *dnssec.Keys
	verdict dnssec.Verdict
}

// holds compares with the second in which the signature over the keys expires, as a proof does.
func (r keysResult) holds(at time.Time) bool { return !at.Truncate(time.Second).After(r.keys.Until) }

// zoneKeys gives the validated keys of a signed zone, asking for them where they are not remembered.
func (w *work) zoneKeys(ctx context.Context, f frame, z *zone) (*dnssec.Keys, dnssec.Verdict) {
	remembered := func() *dnssec.Keys {
		z.mu.Lock()
		defer z.mu.Unlock()
		if z.keys != nil && w.r.config.Now().Before(z.keysTo) {
			return z.keys
		}
		return nil
	}
	if k := remembered(); k != nil {
		return k, z.verdict
	}
	w.mu.Lock()
	v, failed := w.keyless[z]
	w.mu.Unlock()
	if failed { // each server's answer asks for the keys: those that fail are not fetched again for each
		return nil, v
	}
	res := w.share(ctx, f, keysKey{z}, func() (shareable, bool) {
		if k := remembered(); k != nil {
			return keysResult{k, z.verdict}, true
		}
		k, v := w.fetchKeys(ctx, f, z)
		return keysResult{k, v}, k != nil
	}).(keysResult)
	if res.keys == nil && ctx.Err() == nil {
		w.mu.Lock()
		if w.keyless == nil {
			w.keyless = map[*zone]dnssec.Verdict{}
		}
		w.keyless[z] = res.verdict
		w.mu.Unlock()
	}
	return res.keys, res.verdict
}

func (w *work) fetchKeys(ctx context.Context, f frame, z *zone) (*dnssec.Keys, dnssec.Verdict) {
	var keys *dnssec.Keys
	v := w.ask(ctx, f, z, z.name, dns.TypeDNSKEY, func(m dnssec.Message) dnssec.Verdict {
		if v, ok := w.authoritative(m, z); !ok {
			return v
		}
		set := dnssec.Find(dnssec.Group(m.Answer), z.name, dns.TypeDNSKEY)
		k, v := w.verifier.Keys(set, z.delegation)
		if k == nil {
			return v
		}
		now := w.r.config.Now()
		until := now.Add(w.r.lifetime(min(set.TTL(), k.TTL)))
		if k.Until.Before(until) {
			until = k.Until
		}
		takes := k.Proof.Takes()
		z.mu.Lock()
		if z.keys != nil {
			takes -= z.keys.Proof.Takes()
		}
		z.keys, z.keysTo = k, until
		z.mu.Unlock()
		w.r.grew(z, takes)
		keys = k
		if z.parent == nil {
			w.r.alarm(z.delegation.Strangers(set))
		}
		return v
	})
	if keys == nil && v.Status.Usable() {
		v = failed(codeNoServer, 0, "the keys of the zone %s could not be had", z.name)
	}
	return keys, v
}

// found is what looking for a zone's servers led to.
type found struct {
	servers []server
	// why has a status where a server's address could not be had.
	why dnssec.Verdict
	// over tells that no further name server may be looked up in this lookup.
	over bool
}

// servers gives the addresses of a zone's servers that may be asked. With more, the address of one more name server is
// looked up, if there is one left; so it is, too, when none is known.
func (w *work) servers(ctx context.Context, f frame, z *zone, more bool) found {
	limits := w.r.config.Limits
	list, unknown := z.addresses(w.r)
	if len(list) > 0 && !more {
		return found{servers: list}
	}
	out := found{servers: list}
	if len(list) == 0 {
		out.why = failed(codeUnusable, dnssec.EDENoReachableAuthority, "no server of the zone %s has an address that may be asked: "+
			"they are reserved, of the wrong family, or to be found through the zone alone", z.name)
	}
	for _, name := range unknown {
		if name == z.name || dnssec.Below(name, z.name) || slices.Contains(f.resolving, name) {
			continue // it could only be found through itself
		}
		if f.depth >= limits.Depth {
			out.why = failed(codeLimit, 0, "the address of %s, a name server of %s, is wanted more than %d look-ups deep", name, z.name,
				limits.Depth)
			continue
		}
		s := w.findHost(ctx, f, z, name)
		if s.why.Status != 0 {
			if out.why, out.over = s.why, s.over; out.over {
				return out
			}
			continue
		}
		before := len(out.servers)
		if out.servers, _ = z.addresses(w.r); len(out.servers) > before {
			return found{servers: out.servers}
		}
	}
	return out
}

// target is one name server whose address a lookup needs, at one depth of nesting.
type target struct {
	z     *zone
	name  string
	depth int
}

// search is the one attempt of a lookup to find a target's address. Who needs it at the same time waits for it: waiting
// leads only to deeper nesting, never back.
type search struct {
	done chan struct{}
	why  dnssec.Verdict // without status when addresses were found, and z has learnt them
	over bool           // neither this nor any other may be looked up
}

// findHost looks a name server's address up, once per lookup.
func (w *work) findHost(ctx context.Context, f frame, z *zone, name string) *search {
	limits := w.r.config.Limits
	id := target{z, name, f.depth}
	w.mu.Lock()
	if s := w.searches[id]; s != nil {
		w.mu.Unlock()
		select {
		case <-s.done:
			return s
		case <-ctx.Done():
			return &search{over: true, why: failed(codeTimeout, dnssec.EDENoReachableAuthority,
				"the time was up before the address of %s was found", name)}
		}
	}
	s := &search{done: make(chan struct{})}
	if w.searches == nil {
		w.searches, w.sought = map[target]*search{}, map[*zone]int{}
	}
	w.searches[id] = s
	defer close(s.done)
	w.targets++
	w.sought[z]++
	switch {
	case w.targets > limits.Targets || w.missing >= limits.MissingTargets:
		s.why = failed(codeLimit, 0, "the lookup needs the addresses of more than %d name servers, or %d that do not exist",
			limits.Targets, limits.MissingTargets)
	case w.sought[z] > limits.TargetsPerDelegation:
		s.why = failed(codeLimit, 0, "the zone %s has more than %d name servers without a known address", z.name,
			limits.TargetsPerDelegation)
	}
	s.over = s.why.Status != 0
	w.mu.Unlock()
	if s.over {
		return s
	}
	addrs, ttl, v := w.resolveHost(ctx, frame{f.depth + 1, append(slices.Clone(f.resolving), name), s}, name)
	if len(addrs) == 0 {
		w.mu.Lock()
		w.missing++
		w.mu.Unlock()
		code := codeNoServer
		if final(v) { // a limit of ours is not the name server's fault (CAA-06)
			code = v.Reason.Code
		}
		s.why = failed(code, dnssec.EDENoReachableAuthority, "no address of %s, a name server of %s, could be had: %s",
			name, z.name, v.Reason.Text)
		return s
	}
	z.learn(name, addrs, w.r.config.Now().Add(w.r.lifetime(ttl)))
	w.r.grew(z, 32*len(addrs))
	return s
}

// addresses gives the usable addresses of the hosts, and the names of those without a known address.
func (z *zone) addresses(r *Resolver) (list []server, unknown []string) {
	now := r.config.Now()
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, h := range z.hosts {
		if len(h.addrs) == 0 || !now.Before(h.until) {
			unknown = append(unknown, h.name)
			continue
		}
		for _, a := range h.addrs {
			if ap, ok := r.usableAddr(a); ok {
				list = append(list, server{h.name, ap})
			}
		}
	}
	return list, unknown
}

func (z *zone) learn(name string, addrs []netip.Addr, until time.Time) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for i := range z.hosts {
		if z.hosts[i].name == name {
			z.hosts[i].addrs, z.hosts[i].until = addrs, until
		}
	}
}

// resolveHost looks up the addresses of a name server, validated like every other answer.
func (w *work) resolveHost(ctx context.Context, f frame, name string) ([]netip.Addr, uint32, dnssec.Verdict) {
	types := []uint16{dns.TypeA}
	if w.r.ipv6() {
		types = append(types, dns.TypeAAAA)
	}
	results := make([]*result, len(types))
	var both sync.WaitGroup
	for i, t := range types {
		both.Go(func() { results[i] = w.resolve(ctx, f, name, t) })
	}
	both.Wait()
	var addrs []netip.Addr
	ttl := ^uint32(0)
	worst := failed(codeNoServer, 0, "%s has no address", name)
	for _, res := range results {
		if !res.verdict.Status.Usable() {
			worst = res.verdict
			continue
		}
		for _, rr := range res.records {
			var ip []byte
			switch rr := rr.(type) {
			case *dns.A:
				ip = rr.A.To4()
			case *dns.AAAA:
				ip = rr.AAAA.To16()
			}
			if a, ok := netip.AddrFromSlice(ip); ok {
				addrs = append(addrs, a)
				ttl = min(ttl, res.ttl)
			}
		}
	}
	return addrs, ttl, worst
}

// proof is what is proven of the zone by now: its keys, or its delegation, or that it has no keys.
func (z *zone) proof() *dnssec.Proof {
	if z == nil {
		return nil
	}
	z.mu.Lock()
	keys := z.keys
	z.mu.Unlock()
	switch {
	case z.cut != nil:
		return z.cut.Verdict.Proof
	case keys != nil:
		return keys.Proof
	case z.delegation != nil:
		return z.delegation.Verdict.Proof
	}
	return nil
}

// link describes the zone in the chain of trust. why is the verdict of the lookup that ended here, proof what that rests on.
func (z *zone) link(why dnssec.Verdict, proof *dnssec.Proof) Link {
	l := Link{Zone: z.name, Result: z.verdict.Status}
	if z.delegation != nil {
		l.DS = z.delegation.Tags()
	}
	keys := proof.Keys(z.name)
	switch {
	case !z.signed():
		l.Why = z.verdict.Reason.Text
	case keys != nil:
		l.DNSKEY, l.Algorithm, l.Until = keys.Tags, dnssec.AlgorithmName(keys.Algorithm), keys.Until
	default: // a signed zone whose keys were not had
		l.Result, l.Why = dnssec.Failure, "the keys of the zone were not had"
		if !why.Status.Usable() && why.Status != 0 {
			l.Result, l.Why = why.Status, why.Reason.Text
		}
	}
	return l
}

// chain is the links from the root to the zone.
func (z *zone) chain(why dnssec.Verdict, proof *dnssec.Proof) []Link {
	if z == nil {
		return nil
	}
	n := 0
	for up := z; up != nil; up = up.parent {
		n++
	}
	links := make([]Link, n)
	for up := z; up != nil; up = up.parent {
		n--
		links[n] = up.link(why, proof)
	}
	return links
}
