package va

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// CAALife is how long a CAA result may be relied upon (CAA-05, BR 3.2.2.8): for the TTL of the relevant RRset, in seconds, or 8 hours,
// whichever is greater. A TTL whose first bit is set counts as none (RFC 2181 section 8).
func CAALife(ttl uint32) time.Duration {
	const least = 8 * time.Hour
	if ttl > math.MaxInt32 {
		return least
	}
	return max(least, time.Duration(ttl)*time.Second)
}

// caa finds the relevant RRset by RFC 8659 section 3 and decides on it (CAA-01 to CAA-04).
//
// Each name from the FQDN to its top-level domain is a complete validated lookup of its own. They run side by side (climbing) and
// are taken in order; the first that has CAA records ends the climb. One that is bogus or failed before that means no
// (CAA-07): what it hides could forbid. Aliases are followed by the resolver at each step, and the tree above an alias's
// target is not climbed. A name that does not exist does not end the climb.
//
// CAA-06: under PermitProvenFailure a failed lookup is put once more, and an answer to that counts. Where it fails again
// and the failure is proven to be excused, the climb goes on. BR 3.2.2.8 would let it end there with permission ("treat a
// record lookup failure as permission to issue"); but who knows a parent's wish, which holds for the whole tree that has
// no records of its own, must not act against it because the name below keeps silent.
func (c *Checker) caa(ctx context.Context, req Request, rule FailureRule, f *CAAFinding) (Outcome, *Problem) {
	f.FreshUntil = f.Started.Add(CAALife(0))
	names := climb(req.FQDN())
	l := &climbing{c: c, ctx: ctx, names: names, rule: rule}
	defer l.end()
	for i, name := range names {
		s := l.take(i)
		answer := s.answer
		f.Lookups = append(f.Lookups, answer.Lookup)
		if i == 0 { // C1: the finding is for the name that was looked up
			f.Name = strings.TrimSuffix(answer.Lookup.Name, ".")
		}
		fault := s.fault
		if s.failure != nil {
			f.Failures = append(f.Failures, *s.failure)
			fault = s.failure.excuse(answer.Lookup, f.Started, c.clock(), c.patience)
			if fault == nil && ctx.Err() != nil {
				fault = errors.New("the time for the check was up")
			}
			if fault == nil {
				continue
			}
			if s.retry.Lookup.Status != dnssec.Failure {
				answer = s.retry
			}
		}
		if p := unusableCAA(answer.Lookup, fault); p != nil {
			return Error, p
		}
		records, unclear := caaRecords(answer, req.CertificateType)
		c.found.note(name, len(records) > 0)
		if len(records) == 0 {
			continue
		}
		f.Found, f.Records, f.TTL = name, records, answer.Lookup.TTL
		f.FreshUntil = f.Started.Add(CAALife(f.TTL))
		permits, problem := EvaluateCAA(records, req)
		if problem == nil && unclear != "" {
			problem = refuse("caa.malformed", "a CAA value with a backslash is not unambiguous, and permits nobody: %s", unclear)
		}
		if problem != nil {
			problem.Name, problem.Type = name, "CAA"
			return Fail, problem
		}
		f.Permits = permits
		return Pass, nil
	}
	return Pass, nil
}

// climb gives the names to ask: fqdn and its parents, without the root (RFC 8659 section 3).
func climb(fqdn string) []string {
	var names []string
	for name, more := fqdn, true; more; _, name, more = strings.Cut(name, ".") {
		names = append(names, name)
	}
	return names
}

// step is what was asked about one name of the climb.
type step struct {
	answer *resolver.Answer
	// failure is what was asked further where answer is a failure that might be excused, and nil otherwise; retry is its
	// Retry as the resolver gave it.
	failure *LookupFailure
	retry   *resolver.Answer
	// fault is why it could not, where that was looked into.
	fault error
}

// askCAA asks for one name's CAA records. Under PermitProvenFailure no lookup takes all of the time that is left, and after
// a failure that might be excused it gathers what LookupFailure.Excuse asks for, all at the same time.
func (c *Checker) askCAA(ctx context.Context, name string, rule FailureRule) (s step) {
	defer func() { // most climbs run it in a goroutine of their own, above which nobody recovers
		if v := recover(); v != nil {
			s = step{answer: c.broke(name, dns.TypeCAA, v)}
		}
	}()
	if rule != PermitProvenFailure {
		return step{answer: c.ask(ctx, name, dns.TypeCAA)}
	}
	first := c.askWithin(ctx, firstShare, name, dns.TypeCAA)
	cut, err := outside(first.Lookup, name, c.patience)
	if err != nil {
		return step{answer: first, fault: err}
	}
	var retry, ds, control *resolver.Answer
	var all sync.WaitGroup
	all.Go(func() { retry = c.askWithin(ctx, retryShare, name, dns.TypeCAA) })
	all.Go(func() { ds = c.askWithin(ctx, retryShare, cut, dns.TypeDS) })
	all.Go(func() { control = c.askWithin(ctx, retryShare, ".", dns.TypeSOA) })
	all.Wait()
	return step{answer: first, retry: retry,
		failure: &LookupFailure{Name: name, Retry: retry.Lookup, DS: ds.Lookup, Control: control.Lookup}}
}

// Of the time that is left the first lookup may take two fifths, and the retry two thirds of what is left then, which is at
// least as much. The rest is kept, so that a lookup that was cut off by the end of the probe is not mistaken for one that
// the servers did not answer.
const (
	firstShare = 2.0 / 5
	retryShare = 2.0 / 3
)

func (c *Checker) askWithin(ctx context.Context, share float64, name string, qtype uint16) *resolver.Answer {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(float64(time.Until(end))*share))
		defer cancel()
	}
	return c.ask(ctx, name, qtype)
}

// caaRecords gives the CAA records of an answer in presentation format. unclear is one that decides on the type and whose value has a
// backslash: the presentation format of the DNS library does not tell it from an escape, so that its text is no proof
// of permission.
func caaRecords(a *resolver.Answer, t CertificateType) (records []string, unclear string) {
	for _, rr := range a.Records {
		caa, ok := rr.(*dns.CAA)
		if !ok {
			continue
		}
		records = append(records, caa.String())
		if t.decides(strings.ToLower(caa.Tag)) && strings.Contains(caa.Value, `\`) {
			unclear = caa.String()
		}
	}
	return records, unclear
}

// unusableCAA tells why an answer about CAA may not be relied upon; nil when it may. fault is why its failure is not
// excused, where that was looked into.
func unusableCAA(l resolver.Lookup, fault error) *Problem {
	p := unusable(l)
	if p == nil {
		return nil
	}
	code := "caa.lookup"
	if l.Status == dnssec.Bogus {
		code = "caa.bogus"
	}
	q := refuse(code, "%s; what it hides could forbid issuance", p.Detail)
	if fault != nil && l.Status == dnssec.Failure {
		q.Detail += "; it is not excused: " + fault.Error()
	}
	q.Name, q.Type = p.Name, p.Type
	return q
}
