// Package resolver resolves names iteratively from the root and validates every answer with DNSSEC (DCV-04). A Resolver
// shares nothing with another one, so that no perspective sees another's results (MPIC-07).
package resolver

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// Resolver resolves and validates. It is safe for concurrent use. TCP connections stay open for two seconds, no other
// sockets do.
type Resolver struct {
	config   Config
	settings Settings
	stats    stats
	cookies  cookies
	streams  streams
	// datagrams are buffers to receive in.
	datagrams sync.Pool
	lookups   atomic.Uint64
	// signatures are those that held.
	signatures *dnssec.Signatures
	root       *zone
	anchors    map[string]*dnssec.Delegation // what stands for a delegation where there are anchors, by zone

	mu    sync.Mutex
	zones zones
	calls map[scoped]*call // shared work in progress
	seen  map[string]bool  // keys of the root that an alarm was raised for, by their public key

	routeMu   sync.Mutex
	routeV6   bool
	routeSeen time.Time
}

// Answer is the outcome of one lookup.
type Answer struct {
	Lookup Lookup
	// Aliases are the CNAME and DNAME records followed, in order.
	Aliases []dns.RR
	// Records are those of the type asked at the end of the aliases, and nothing else. Empty unless Lookup.Status.Usable().
	Records []dns.RR
	// Sets are the records that Lookup.Proof rests on, by their digest.
	Sets dnssec.Sets
}

func newResolver(c Config) (*Resolver, error) {
	r := &Resolver{config: c, settings: c.settings(), calls: map[scoped]*call{}, seen: map[string]bool{}, anchors: map[string]*dnssec.Delegation{},
		signatures: dnssec.NewSignatures(0), datagrams: sync.Pool{New: func() any { return new([maxDatagram]byte) }}}
	for _, a := range c.Anchors {
		r.anchors[a.Zone()] = dnssec.FromAnchors(c.Anchors, a.Zone())
	}
	r.root = &zone{name: ".", delegation: r.anchors["."], verdict: usable}
	if r.root.delegation == nil {
		r.root.verdict = failed(dnssec.CodeNoAnchor, dnssec.EDEIndeterminate, "no trust anchor covers this zone")
	}
	forever := time.Unix(1<<40, 0)
	for _, h := range c.Hints {
		r.root.hosts = append(r.root.hosts, host{name: h.Name, addrs: h.Addrs, until: forever})
	}
	if servers, _ := r.root.addresses(r); len(servers) == 0 {
		return nil, errNoRoot
	}
	return r, nil
}

// Lookup resolves name (presentation format, with or without trailing dot) and type, and validates the answer. It never
// returns nil: each outcome, failures included, is data. It ends when ctx does, or after the configured time.
func (r *Resolver) Lookup(ctx context.Context, name string, qtype uint16) *Answer {
	started := r.config.Now()
	a := &Answer{Sets: dnssec.Sets{}, Lookup: Lookup{Name: name, Type: dns.Type(qtype).String(), Started: started.UTC(),
		Answers: []string{}, Queries: []Query{}, Chain: []Link{}}}
	if r.stub() {
		a.Lookup.Upstream = r.config.Upstream.String()
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	res := &result{}
	var w *work
	canonical, err := dnssec.Canonical(name)
	switch {
	case name == "" || err != nil:
		res.verdict = failed(codeBadName, dnssec.EDEInvalidData, "%q is no domain name", name)
	case !askable(qtype):
		a.Lookup.Name = canonical
		res.verdict = failed(codeBadType, dnssec.EDEInvalidData, "%s is no type of data to ask for", dns.Type(qtype))
	default:
		a.Lookup.Name = canonical
		w = &work{r: r, number: r.lookups.Add(1), started: started, trace: r.tracer(ctx, canonical, qtype),
			verifier: dnssec.NewVerifier(r.config.Algorithms, r.config.Limits.Limits, started).Knowing(r.signatures),
		}
		res = w.resolve(ctx, frame{}, canonical, qtype)
		cancel()
		w.running.Wait()
		for _, p := range res.proofs {
			a.Lookup.prove(p.Stages(a.Lookup.Started, a.Sets))
		}
		if len(w.queries) > 0 {
			a.Lookup.Queries = w.queries
		}
	}
	a.fill(res)
	a.Lookup.Finished = r.config.Now().UTC()
	r.config.Metrics.finished(&a.Lookup, w)
	if r.config.Logger.Enabled(ctx, slog.LevelDebug) {
		r.config.Logger.Debug("lookup", "name", a.Lookup.Name, "type", a.Lookup.Type, "status", a.Lookup.Status.String(),
			"code", a.Lookup.Code, "packets", len(a.Lookup.Queries))
	}
	return a
}

func (a *Answer) fill(res *result) {
	l := &a.Lookup
	l.Status, l.Why, l.Code, l.EDE = res.verdict.Status, res.verdict.Reason.Text, res.verdict.Reason.Code, res.verdict.Reason.EDE
	if len(res.chain) > 0 {
		l.Chain = res.chain
	}
	if !res.verdict.Status.Usable() { // CAA-07: nothing of a bogus or failed answer is handed out, not even its absence
		return
	}
	l.Rcode = rcodeName(res.rcode)
	a.Aliases, a.Records = res.aliases, res.records
	for _, rrs := range [][]dns.RR{res.aliases, res.records} {
		for _, rr := range rrs {
			l.Answers = append(l.Answers, rr.String())
		}
	}
	if len(l.Answers) > 0 {
		l.TTL = res.ttl
	}
}

// askable tells whether a type is one of data: not a question type or meta type (RFC 6895 section 3.1), and no DNSSEC record
// that only accompanies others.
func askable(qtype uint16) bool {
	switch qtype {
	case dns.TypeNone, dns.TypeOPT, dns.TypeRRSIG, dns.TypeNSEC3:
		return false
	}
	return qtype < 128 || qtype > 255
}

// alarm tells operators, once for each key, of keys that the root is about to be signed with and that no anchor names: when
// it is, every answer becomes bogus, so the anchors must be renewed before. The keys are of a set that the anchors vouch for,
// so that nobody else can raise alarms.
func (r *Resolver) alarm(strangers []*dns.DNSKEY) {
	r.config.Metrics.strangers(len(strangers))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range strangers {
		if !r.seen[k.PublicKey] {
			r.seen[k.PublicKey] = true
			r.config.Logger.Warn("the root zone has a key-signing key that is no trust anchor: renew the anchors before it signs",
				"tag", k.KeyTag(), "algorithm", dnssec.AlgorithmName(k.Algorithm))
		}
	}
}

// ipv6 tells whether the host has a route to the IPv6 Internet. No packet is sent; the answer is kept for a minute.
func (r *Resolver) ipv6() bool {
	r.routeMu.Lock()
	defer r.routeMu.Unlock()
	if time.Since(r.routeSeen) > time.Minute {
		conn, err := net.Dial("udp6", "[2001:500:2::c]:53")
		if err == nil {
			conn.Close()
		}
		r.routeV6, r.routeSeen = err == nil, time.Now()
	}
	return r.routeV6
}
