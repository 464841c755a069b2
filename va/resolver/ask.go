package resolver

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/reserved"
)

// server is one address of a name server.
type server struct {
	name string
	addr netip.AddrPort
}

// reply is what one server said, or why nothing of it can be used.
type reply struct {
	server server
	m      dnssec.Message
	err    error
}

// rounds is how often a silent server is asked again.
const rounds = 3

// ask puts a question to the servers of a zone until judge finds a response that can be used, or that ends the matter. The
// quickest server is asked first; when it is slow, the next is asked beside it. judge is never called twice at a time.
// Servers whose response is refused are not asked again.
func (w *work) ask(ctx context.Context, f frame, z *zone, name string, qtype uint16,
	judge func(dnssec.Message) dnssec.Verdict) (came dnssec.Verdict) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { w.r.config.Metrics.ended(came) }()
	q := asking{work: w, frame: f, zone: z, name: name, qtype: qtype,
		replies: make(chan reply, w.r.config.Limits.SendsPerQuestion)}
	worst := failed(codeNoServer, dnssec.EDENoReachableAuthority, "no server of the zone %s answered for %s %s", z.name, name,
		dns.Type(qtype))
	q.start(ctx)
	for q.inflight > 0 {
		select {
		case <-q.hedge:
			q.start(ctx)
		case r := <-q.replies:
			q.inflight--
			v := q.result(r, judge)
			if v.Status.Usable() || final(v) {
				return v
			}
			q.refused(r, v)
			if v.Status == dnssec.Bogus || worst.Status != dnssec.Bogus {
				worst = v
			}
			q.start(ctx)
		case <-ctx.Done():
			return failed(codeTimeout, dnssec.EDENoReachableAuthority, "the time for %s %s was up before a server of the zone %s "+
				"answered", name, dns.Type(qtype), z.name)
		}
		if q.limit != nil {
			return q.stopped(worst)
		}
	}
	if q.limit != nil {
		return q.stopped(worst)
	}
	if worst.Status == dnssec.Failure && q.targets.Status != 0 {
		return q.targets
	}
	return worst
}

// stopped gives the limit that ended the asking, and what the servers had said until then: the one is the rule, the other
// what a person can mend.
func (q *asking) stopped(worst dnssec.Verdict) dnssec.Verdict {
	v := *q.limit
	v.Reason.Text += "; before that, " + worst.Reason.Text
	return v
}

type asking struct {
	*work
	frame   frame
	zone    *zone
	name    string
	qtype   uint16
	replies chan reply

	queue    []server // still to be asked in this round
	silent   []server // to be asked again in the next
	known    []netip.AddrPort
	round    int
	sends    int
	inflight int
	hedge    <-chan time.Time
	limit    *dnssec.Verdict
	targets  dnssec.Verdict // why a name server's address could not be had
}

// start sends the question to the next server, if there is one.
func (q *asking) start(ctx context.Context) {
	q.hedge = nil
	sv, ok := q.next(ctx)
	if !ok {
		return
	}
	if q.sends++; q.sends > q.r.config.Limits.SendsPerQuestion {
		v := failed(codeLimit, 0, "the question %s %s needs more than %d packets", q.name, dns.Type(q.qtype),
			q.r.config.Limits.SendsPerQuestion)
		q.limit = &v
		return
	}
	hedge, timeout := q.r.stats.patience(sv.addr, q.round)
	q.hedge = time.After(hedge)
	q.inflight++
	q.running.Add(1)
	go func() {
		defer q.running.Done()
		m, err := q.exchange(ctx, sv.addr, q.name, q.qtype, true, timeout)
		// A server that cannot do EDNS is asked without only where nothing signed is due: never in a signed zone.
		if err == nil && !q.zone.signed() && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
			m, err = q.exchange(ctx, sv.addr, q.name, q.qtype, false, timeout)
		}
		q.replies <- reply{sv, m, err}
	}()
}

func (q *asking) next(ctx context.Context) (server, bool) {
	for {
		if len(q.queue) > 0 {
			sv := q.queue[0]
			q.queue = q.queue[1:]
			return sv, true
		}
		if q.inflight > 0 { // looking up another server's address would hold up the replies that are on their way
			return server{}, false
		}
		more, verdict := q.work.servers(ctx, q.frame, q.zone, len(q.known) > 0)
		if verdict.Status != 0 {
			q.targets = verdict
			if final(verdict) {
				q.limit = &verdict
				return server{}, false
			}
		}
		fresh := slices.DeleteFunc(slices.Clone(more), func(sv server) bool { return slices.Contains(q.known, sv.addr) })
		if len(fresh) > 0 {
			for _, sv := range fresh {
				q.known = append(q.known, sv.addr)
			}
			q.r.stats.order(fresh)
			q.queue = fresh
			continue
		}
		if len(q.silent) == 0 || q.round+1 >= rounds {
			return server{}, false
		}
		q.round++
		q.queue, q.silent = q.silent, nil
	}
}

// result judges one reply. A server without a response may be asked again; one whose response is refused may not.
func (q *asking) result(r reply, judge func(dnssec.Message) dnssec.Verdict) dnssec.Verdict {
	if r.err != nil {
		if limit := (errLimit{}); errors.As(r.err, &limit) {
			return failed(codeLimit, 0, "%s", limit.what)
		}
		q.silent = append(q.silent, r.server)
		return failed(codeNoServer, dnssec.EDENetworkError, "%s (%s), a server of the zone %s, gave no usable response to %s %s: %s",
			r.server.name, r.server.addr, q.zone.name, q.name, dns.Type(q.qtype), r.err)
	}
	if speaks(r.m.Rcode) {
		return judge(r.m)
	}
	return failed(codeNoServer, dnssec.EDENoReachableAuthority, "%s (%s), a server of the zone %s, answers %s %s with %s",
		r.server.name, r.server.addr, q.zone.name, q.name, dns.Type(q.qtype), rcodeName(r.m.Rcode))
}

// speaks tells whether a response code goes with an answer.
func speaks(rcode int) bool {
	return rcode == dns.RcodeSuccess || rcode == dns.RcodeNameError || rcode == dns.RcodeYXDomain
}

// usableAddr gives the address and port to ask, unless the address is reserved or of the wrong family for the source.
func (r *Resolver) usableAddr(a netip.Addr) (netip.AddrPort, bool) {
	a = a.Unmap()
	if !a.IsValid() {
		return netip.AddrPort{}, false
	}
	if src := r.config.SourceAddr; src.IsValid() && src.Is4() != a.Is4() {
		return netip.AddrPort{}, false
	}
	if r.stub() { // the one address of the configuration: a resolver may well stand on this very host
		return r.config.Upstream, true
	}
	if a.Is6() && !a.IsLoopback() && !r.ipv6() {
		return netip.AddrPort{}, false
	}
	// A name server at a reserved address would turn this host against its own network (D10).
	if _, bad := reserved.Reserved(a); bad && !r.config.AllowReserved {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, r.config.Port), true
}
