package badnetwork

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/resolver"
)

// holds tells why a verdict is wrong in a condition; nothing where it is not.
func (e expect) holds(q question, got verdict) string {
	if got.usable() && got != q.want {
		return fmt.Sprintf("the verdict is wrong: %+v instead of %+v", got, q.want)
	}
	// Signatures that are gone at all servers are what an attack looks like; loss never does.
	if got.status == "bogus" && e != signedFail && e != allFail {
		return "bogus, and nobody has changed anything"
	}
	switch {
	case e == allSucceed && !got.usable():
		return "no answer, and a good server was left for each zone"
	case got.usable() && (e == allFail || e == signedFail && q.signed()):
		return fmt.Sprintf("%+v, and nothing could be proven", got)
	}
	return ""
}

// A bad network costs time and answers, and never gives a wrong one: what is signed is never insecure, nor bogus because of
// loss. Where each zone has a good server left, all questions are answered.
//
// Holds: DCV-05, DCV-06, CAA-07
func TestVerdictsInABadNetwork(t *testing.T) {
	type lookup struct {
		question
		by      *resolver.Resolver
		got     verdict
		account string
		in      condition
	}
	w := serve(t)
	var lookups []*lookup
	for number, c := range conditions() {
		n, leave := enter(t, w, c, number+1, 0)
		defer leave()
		// Where lookups may fail, few are made and soon given up: they wait for what will not come.
		timeout, step := patience, 2
		if c.expect != allSucceed {
			timeout, step = 3*time.Second, 5
		}
		for all, i := questions(), number%step; i < len(all); i += step {
			lookups = append(lookups, &lookup{question: all[i], by: n.newResolver(t, timeout), in: c})
		}
	}
	together := make(chan struct{}, 40) // more at a time would be late for want of processors, not because of the network
	var running sync.WaitGroup
	for _, l := range lookups {
		running.Go(func() {
			together <- struct{}{}
			l.got, l.account = ours(l.by, l.question)
			<-together
		})
	}
	running.Wait()
	for _, l := range lookups {
		if wrong := l.in.holds(l.question, l.got); wrong != "" {
			t.Errorf("%s: %s %d: %s\n%s", l.in.name, l.name, l.qtype, wrong, l.account)
		}
	}
}

func TestAWrongVerdictIsSeen(t *testing.T) {
	signed := question{want: verdict{"secure", "NOERROR", 1}}
	unsigned := question{want: verdict{"insecure", "NOERROR", 1}}
	for name, c := range map[string]struct {
		expect expect
		q      question
		got    verdict
		wrong  bool
	}{
		"right":                           {allSucceed, signed, signed.want, false},
		"insecure":                        {anyEnd, signed, unsigned.want, true},
		"without the records":             {anyEnd, signed, verdict{"secure", "NOERROR", 0}, true},
		"another response code":           {anyEnd, signed, verdict{"secure", "NXDOMAIN", 1}, true},
		"bogus by loss":                   {anyEnd, signed, verdict{status: "bogus"}, true},
		"bogus where all is stripped":     {allFail, signed, verdict{status: "bogus"}, false},
		"a failure":                       {anyEnd, signed, verdict{status: "failure"}, false},
		"a failure with a good server":    {allSucceed, unsigned, verdict{status: "failure"}, true},
		"secure where nothing is proven":  {signedFail, signed, signed.want, true},
		"unsigned below proven zones":     {signedFail, unsigned, unsigned.want, false},
		"unsigned where nothing is proof": {allFail, unsigned, unsigned.want, true},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.wrong, c.expect.holds(c.q, c.got) != "") })
	}
}
