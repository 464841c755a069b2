package va

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

const (
	// minFresh is how long a CAA finding may be relied upon at least (CAA-05, BR 3.2.2.8).
	minFresh = 8 * time.Hour
	// climbers is how many names of one climb are looked up at once.
	climbers = 8
)

// caa finds the relevant RRset by RFC 8659 section 3 and decides on it (CAA-01 to CAA-04).
//
// Each name from the FQDN to its top-level domain is a complete validated lookup of its own. They run side by side and
// are taken in order; the first that has CAA records ends the climb. One that is bogus or failed before that means no
// (CAA-07): what it hides could forbid. CAA-06, a failure as permission, is not here. Aliases are followed by the
// resolver at each step, and the tree above an alias's target is not climbed. A name that does not exist does not end
// the climb.
func (c *Checker) caa(ctx context.Context, req Request, f *CAAFinding) (Outcome, *Problem) {
	f.FreshUntil = f.Started.Add(minFresh)
	ctx, cancel := context.WithCancel(ctx)
	names := climb(req.FQDN())
	answers, wait := c.askAll(ctx, names)
	defer wait()
	defer cancel()
	for i, name := range names {
		answer := <-answers[i]
		f.Lookups = append(f.Lookups, answer.Lookup)
		if i == 0 { // C1: the finding is for the name that was looked up
			f.Name = strings.TrimSuffix(answer.Lookup.Name, ".")
		}
		if p := unusableCAA(answer.Lookup); p != nil {
			return Error, p
		}
		records, unclear := caaRecords(answer)
		if len(records) == 0 {
			continue
		}
		f.Found, f.Records, f.TTL = name, records, answer.Lookup.TTL
		f.FreshUntil = f.Started.Add(max(minFresh, time.Duration(f.TTL)*time.Second)) // CAA-05
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

// askAll looks up the names' CAA records, in order and a few at a time. Each channel gives its name's answer once. wait
// returns when all lookups have ended; after ctx has ended that is soon.
func (c *Checker) askAll(ctx context.Context, names []string) (answers []chan *resolver.Answer, wait func()) {
	answers = make([]chan *resolver.Answer, len(names))
	for i := range answers {
		answers[i] = make(chan *resolver.Answer, 1)
	}
	var work sync.WaitGroup
	slots := make(chan struct{}, climbers)
	work.Go(func() {
		for i, name := range names {
			slots <- struct{}{}
			work.Go(func() {
				defer func() { <-slots }()
				answers[i] <- c.ask(ctx, name, dns.TypeCAA)
			})
		}
	})
	return answers, work.Wait
}

// caaRecords gives the CAA records of an answer in presentation format. unclear is one whose issue value has a
// backslash: the presentation format of the DNS library does not tell it from an escape, so that its text is no proof
// of permission.
func caaRecords(a *resolver.Answer) (records []string, unclear string) {
	for _, rr := range a.Records {
		caa, ok := rr.(*dns.CAA)
		if !ok {
			continue
		}
		records = append(records, caa.String())
		if tag := strings.ToLower(caa.Tag); strings.HasPrefix(tag, "issue") && strings.Contains(caa.Value, `\`) {
			unclear = caa.String()
		}
	}
	return records, unclear
}

func unusableCAA(l resolver.Lookup) *Problem {
	p := unusable(l)
	if p == nil {
		return nil
	}
	code := "caa.lookup"
	if l.Status == dnssec.Bogus {
		code = "caa.bogus"
	}
	q := refuse(code, "%s; what it hides could forbid issuance", p.Detail)
	q.Name, q.Type = p.Name, p.Type
	return q
}
