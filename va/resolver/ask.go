package resolver

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
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

// rounds is how often all servers are gone through: packets are lost, and so are some ways of asking (see exchange).
const rounds = 5

// ask puts a question to the servers of a zone until judge finds a response that can be used, or that ends the matter. The
// quickest server is asked first; when it is slow, the next is asked beside it, and after the last the first again, while
// the answers to all earlier packets are still welcome. judge is never called twice at a time. Servers whose response is refused
// are not asked again.
func (w *work) ask(ctx context.Context, f frame, z *zone, name string, qtype uint16,
	judge func(dnssec.Message) dnssec.Verdict) (came dnssec.Verdict) {
	defer func() { w.r.config.Metrics.ended(came) }()
	q := &asking{work: w, frame: f, zone: z, name: name, qtype: qtype, verdict: judge}
	sv, ok := q.next(ctx, false)
	if !ok {
		return q.ended()
	}
	first, hedge := q.alone(ctx, sv)
	if first.plain() {
		if v, over := q.handle(reply{sv, first.m, nil}); over {
			return v
		}
	}
	if ctx.Err() != nil {
		q.land(ctx, first, first.timeout) // it may have ended only now
		return q.late()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q.replies, q.found = make(chan reply, 1), make(chan found, 1)
	switch {
	case first.plain(): // and refused
		q.advance(ctx, false)
	case first.settled: // the same server is asked in another way
		q.hedge = time.After(time.Until(first.began.Add(hedge)))
		q.dispatch(ctx, sv, first, first.timeout)
	default:
		q.dispatch(ctx, sv, first, first.timeout)
		q.advance(ctx, true)
	}
	return q.race(ctx)
}

// alone puts the question to the first server, and waits for it as long as it is not slow. Most questions need no more, and no goroutine.
func (q *asking) alone(ctx context.Context, sv server) (first *flight, hedge time.Duration) {
	hedge, timeout := q.r.stats.patience(sv.addr, 0)
	q.asked = append(q.asked, sv)
	q.inflight++
	first = q.launch(ctx, sv.addr, q.fresh(0, true), timeout)
	q.land(ctx, first, hedge)
	return first, hedge
}

// race goes on with several servers.
func (q *asking) race(ctx context.Context) dnssec.Verdict {
	for q.limit == nil && (q.inflight > 0 || q.searching) {
		select {
		case <-q.hedge:
			q.advance(ctx, true)
		case f := <-q.found:
			q.searching = false
			if q.take(f) || q.inflight == 0 {
				q.advance(ctx, false)
			}
		case r := <-q.replies:
			if v, over := q.handle(r); over {
				return v
			}
			if errors.Is(r.err, errSpent) || errors.Is(r.err, errSilent) && q.hedge != nil {
				continue // the latter is a packet that was given up long ago: the timer sends the next
			}
			q.advance(ctx, false)
		case <-ctx.Done():
			return q.late()
		}
	}
	return q.ended()
}

func (q *asking) late() dnssec.Verdict {
	return failed(codeTimeout, dnssec.EDENoReachableAuthority, "the time for %s %s was up before a server of the zone %s answered", q.name,
		dns.Type(q.qtype), q.zone.name)
}

// handle judges a reply, and tells whether the question is over with it.
func (q *asking) handle(r reply) (v dnssec.Verdict, over bool) {
	q.inflight--
	if errors.Is(r.err, errSpent) {
		q.spent = true
		return v, false
	}
	v = q.result(r)
	if v.Status.Usable() || final(v) {
		return v, true
	}
	q.refused(r, v)
	if v.Status == dnssec.Bogus || q.worst.Status != dnssec.Bogus {
		q.worst = v
	}
	return v, false
}

// ended gives the verdict where no response could be used.
func (q *asking) ended() dnssec.Verdict {
	worst := q.worst
	if worst.Status == 0 {
		worst = failed(codeNoServer, dnssec.EDENoReachableAuthority, "no server of the zone %s answered for %s %s", q.zone.name, q.name,
			dns.Type(q.qtype))
	}
	switch {
	case q.limit != nil:
		return q.stopped(*q.limit, worst)
	case q.spent:
		return q.stopped(failed(codeLimit, 0, "the question %s %s needs more than %d packets", q.name, dns.Type(q.qtype),
			q.r.config.Limits.SendsPerQuestion), worst)
	case worst.Status == dnssec.Failure && q.targets.Status != 0:
		return q.targets
	}
	return worst
}

// stopped gives the limit that ended the asking, and what the servers had said until then: the one is the rule, the other
// what a person can mend.
func (q *asking) stopped(limit, worst dnssec.Verdict) dnssec.Verdict {
	limit.Reason.Text += "; before that, " + worst.Reason.Text
	return limit
}

// asking is one question to one zone. Its fields belong to the goroutine of ask.
type asking struct {
	*work
	frame   frame
	zone    *zone
	name    string
	qtype   uint16
	verdict func(dnssec.Message) dnssec.Verdict // see ask: judge
	worst   dnssec.Verdict                      // of the responses so far; without status as long as there was none
	replies chan reply
	found   chan found

	queue     []server // still to be asked in this round
	asked     []server // in this round, and not refused: they are asked again in the next
	known     []netip.AddrPort
	round     int
	inRound   int // servers in this round, from the second on
	packets   atomic.Int64
	inflight  int
	searching bool // the address of one more server is being looked up
	exhausted bool // there is no other server to look for
	spent     bool // no more packets may be sent
	hedge     <-chan time.Time
	limit     *dnssec.Verdict
	targets   dnssec.Verdict // why a name server's address could not be had
}

// asks is the question as Query.Question tells it.
func (q *asking) asks() string { return q.name + " " + dns.Type(q.qtype).String() }

// advance sends the question to the next server, if there is one. late tells that those asked have been slow: then the next
// round may begin beside them.
func (q *asking) advance(ctx context.Context, late bool) {
	q.hedge = nil
	sv, ok := q.next(ctx, late)
	if !ok {
		return
	}
	hedge, timeout := q.r.stats.patience(sv.addr, q.round)
	if q.round > 0 {
		hedge /= time.Duration(q.inRound)
	}
	q.hedge = time.After(hedge)
	q.asked = append(q.asked, sv)
	q.inflight++
	q.dispatch(ctx, sv, nil, timeout)
}

// dispatch has a goroutine put the question to a server. first is as for exchange.
func (q *asking) dispatch(ctx context.Context, sv server, first *flight, timeout time.Duration) {
	round := q.round
	q.running.Add(1)
	go func() {
		defer q.running.Done()
		m, err := q.exchange(ctx, first, sv.addr, round, true, timeout)
		// A server that cannot do EDNS is asked without only where nothing signed is due: never in a signed zone.
		if err == nil && !q.zone.signed() && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
			m, err = q.exchange(ctx, nil, sv.addr, round, false, timeout)
		}
		select {
		case q.replies <- reply{sv, m, err}:
		case <-ctx.Done(): // nobody waits any more
		}
	}()
}

func (q *asking) next(ctx context.Context, late bool) (server, bool) {
	for !q.spent {
		if len(q.queue) > 0 {
			sv := q.queue[0]
			q.queue = q.queue[1:]
			return sv, true
		}
		busy := q.inflight > 0 || q.searching
		if busy && !late {
			return server{}, false
		}
		switch {
		case !q.exhausted && !q.searching && busy:
			q.search(ctx) // beside the replies that may be on their way
		case !q.exhausted && !q.searching:
			if q.take(q.work.servers(ctx, q.frame, q.zone, len(q.known) > 0)) {
				continue
			}
		}
		if q.limit != nil || len(q.asked) == 0 || q.round+1 >= rounds {
			break
		}
		q.round++
		q.queue, q.asked = q.asked, nil
		q.inRound = len(q.queue)
	}
	return server{}, false
}

// search looks up the address of one more server.
func (q *asking) search(ctx context.Context) {
	q.searching = true
	q.running.Add(1)
	go func() {
		defer q.running.Done()
		q.found <- q.work.servers(ctx, q.frame, q.zone, true)
	}()
}

// take queues the servers that are new, and tells whether there are any.
func (q *asking) take(f found) bool {
	if f.why.Status != 0 {
		q.targets = f.why
	}
	if f.over {
		q.limit = &f.why
		return false
	}
	fresh := slices.DeleteFunc(f.servers, func(sv server) bool { return slices.Contains(q.known, sv.addr) })
	for _, sv := range fresh {
		q.known = append(q.known, sv.addr)
	}
	q.r.stats.order(fresh)
	q.zone.order(fresh)
	q.queue = append(q.queue, fresh...)
	q.exhausted = len(fresh) == 0
	return len(fresh) > 0
}

// result judges one reply. A server without a response may be asked again; one whose response is refused may not.
func (q *asking) result(r reply) dnssec.Verdict {
	if r.err != nil {
		if limit := (errLimit{}); errors.As(r.err, &limit) {
			return failed(codeLimit, 0, "%s", limit.what)
		}
		return failed(codeNoServer, dnssec.EDENetworkError, "%s (%s), a server of the zone %s, gave no usable response to %s %s: %s",
			r.server.name, r.server.addr, q.zone.name, q.name, dns.Type(q.qtype), r.err)
	}
	v := q.judged(r)
	if !v.Status.Usable() {
		same := func(sv server) bool { return sv.addr == r.server.addr }
		q.asked, q.queue = slices.DeleteFunc(q.asked, same), slices.DeleteFunc(q.queue, same)
	}
	q.zone.useful(r.server.addr, v.Status.Usable())
	return v
}

func (q *asking) judged(r reply) dnssec.Verdict {
	if speaks(r.m.Rcode) {
		return q.verdict(r.m)
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
