package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// work is the account and the budget of one lookup. Everything that the lookup causes is charged here, the lookups of name
// servers' addresses included.
type work struct {
	r        *Resolver
	number   uint64
	started  time.Time
	verifier *dnssec.Verifier
	trace    *slog.Logger   // gets each packet, with the lookup's name and type; nil for none
	running  sync.WaitGroup // goroutines of this lookup; all have ended before Lookup returns

	mu       sync.Mutex
	queries  []Query
	octets   int // of all responses
	retried  bool
	keyless  map[*zone]dnssec.Verdict // zones whose keys could not be had in this lookup, and why
	targets  int
	missing  int
	sought   map[*zone]int      // how many name servers of a zone were looked up
	searches map[target]*search // for name servers' addresses, each once
}

// frame is where in the nesting of address lookups a question is asked.
type frame struct {
	depth int
	// resolving are the name servers whose addresses are being looked up: one of them again is a dependency cycle.
	resolving []string
	// of is the search that the frame belongs to; nil for the question of the lookup itself.
	of *search
}

// errLimit is a limit of this lookup, reached.
type errLimit struct{ what string }

func (e errLimit) Error() string { return e.what }

func (w *work) begin(transport string, server netip.AddrPort, question string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queries) >= w.r.config.Limits.Sends {
		return 0, errLimit{fmt.Sprintf("the lookup needs more than %d packets", w.r.config.Limits.Sends)}
	}
	if w.octets > w.r.config.Limits.Octets {
		return 0, errLimit{fmt.Sprintf("the lookup was sent more than %d octets", w.r.config.Limits.Octets)}
	}
	w.queries = append(w.queries, Query{At: w.r.config.Now().UTC(), Server: server.String(), Transport: transport, Question: question})
	return len(w.queries) - 1, nil
}

func (w *work) end(i int, x exchanged, err error, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := &w.queries[i]
	q.Milliseconds = float64(took.Microseconds()) / 1000
	q.Query, q.Response = x.sent, x.received
	w.octets += len(x.received)
	if err != nil {
		q.Error = err.Error()
	} else {
		q.Rcode = rcodeName(x.m.Rcode)
	}
}

// refuse notes at a query, by its place from 1, why the response to it was not used.
func (w *work) refuse(query int, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queries[query-1].Error = why
}

func rcodeName(rcode int) string {
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", rcode)
}

func failed(code string, ede uint16, format string, args ...any) dnssec.Verdict {
	return dnssec.Verdict{Status: dnssec.Failure,
		Reason: dnssec.Reason{Code: code, EDE: ede, Text: fmt.Sprintf(format, args...)}}
}

func bogus(code string, ede uint16, format string, args ...any) dnssec.Verdict {
	return dnssec.Verdict{Status: dnssec.Bogus,
		Reason: dnssec.Reason{Code: code, EDE: ede, Text: fmt.Sprintf(format, args...)}}
}

// Codes of failures that are not DNSSEC's.
const (
	codeTimeout    = "dns.timeout"
	codeNoServer   = dnssec.CodeNoServer
	codeUnusable   = "dns.reserved-server"
	codeLimit      = "dns.limit"
	codeSpecialUse = "dns.special-use"
	codeBadName    = "dns.bad-name"
	codeBadType    = "dns.bad-type"
	codeAliasLoop  = "dns.alias-loop"
)

// final tells that asking another server cannot help: a limit was reached, or the time is up.
func final(v dnssec.Verdict) bool {
	switch v.Reason.Code {
	case codeLimit, codeTimeout, dnssec.CodeLimit, dnssec.CodeIterations, dnssec.CodeNoAnchor, codeSpecialUse:
		return v.Status == dnssec.Failure
	}
	return false
}

// call is shared work in progress.
type call struct {
	done  chan struct{}
	value shareable
	ok    bool
	off   bool // the lookup that did it was called off
}

// shareable is what shared work led to. holds tells whether a lookup that started at a time may use it: work can take seconds, and what it
// rests on may have expired.
type shareable interface{ holds(at time.Time) bool }

// scoped is a piece of shared work: for all lookups, or for the A and AAAA questions of one search.
type scoped struct {
	of  *search
	key any
}

// share does work that concurrent lookups would repeat once for all of them, within this one resolver (MPIC-07). Only success is
// shared, as long as it holds: who waited for a failure tries by itself, and where the work was called off one of those who waited does
// it for the others. What a search for a name server's address needs is shared between the questions of this one search alone, so that
// no circle of waiting can form: work waits for work on a shorter name or on keys in its own search, and for deeper searches.
func (w *work) share(ctx context.Context, f frame, key any, do func() (shareable, bool)) shareable {
	r := w.r
	id := scoped{f.of, key}
	r.mu.Lock()
	for c := r.calls[id]; c != nil; c = r.calls[id] {
		r.mu.Unlock()
		alone := true
		select {
		case <-c.done:
			if c.ok && c.value.holds(w.started) {
				return c.value
			}
			alone = !c.off
		case <-ctx.Done():
		}
		if alone {
			v, _ := do()
			return v
		}
		r.mu.Lock()
	}
	c := &call{done: make(chan struct{})}
	r.calls[id] = c
	r.mu.Unlock()
	defer func() {
		c.off = !c.ok && errors.Is(ctx.Err(), context.Canceled)
		r.mu.Lock()
		delete(r.calls, id)
		r.mu.Unlock()
		close(c.done)
	}()
	c.value, c.ok = do()
	return c.value
}
