package resolver_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// mutator is every name server gone mad: it changes some of the responses in some way, by a seed.
type mutator struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func (u *mutator) rewrite(m *dns.Msg) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rnd.IntN(3) > 0 {
		return
	}
	section := []*[]dns.RR{&m.Answer, &m.Ns, &m.Extra}[u.rnd.IntN(3)]
	some := func() int { return u.rnd.IntN(len(*section)) }
	switch n := u.rnd.IntN(8); {
	case n == 0:
		m.Rcode = []int{dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeServerFailure}[u.rnd.IntN(3)]
	case n == 1:
		m.Authoritative = !m.Authoritative
	case len(*section) == 0:
	case n == 2: // a record goes
		i := some()
		*section = slices.Delete(slices.Clone(*section), i, i+1)
	case n == 3: // all signatures go
		*section = slices.DeleteFunc(slices.Clone(*section), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG })
	case n == 4: // a record moves to another owner
		all := slices.Clone(*section)
		i := some()
		all[i] = dns.Copy(all[i])
		all[i].Header().Name = m.Question[0].Name
		*section = all
	case n == 5: // a section moves to another place
		m.Answer, m.Ns = m.Ns, m.Answer
	default: // an octet of the message changes
		wire, err := m.Pack()
		if err != nil {
			return
		}
		i := 12 + len(m.Question[0].Name) + 5
		if i >= len(wire) {
			return
		}
		wire[i+u.rnd.IntN(len(wire)-i)] ^= 1 << u.rnd.IntN(8)
		changed := new(dns.Msg)
		if changed.Unpack(wire) == nil && len(changed.Question) == 1 {
			*m = *changed
		}
	}
}

// Never a secure verdict for anything but the truth, and never insecure for what is signed, whatever the servers do.
//
// Holds: DCV-05, DCV-06, CAA-07
func TestMutatedResponsesNeverLie(t *testing.T) {
	w := serve(t, world.Default())
	truth := in(t, w, nil)
	data := func(a *resolver.Answer) string {
		var lines []string
		for _, rr := range slices.Concat(a.Aliases, a.Records) {
			c := dns.Copy(rr)
			c.Header().Ttl = 0
			lines = append(lines, strings.ToLower(c.String()))
		}
		slices.Sort(lines)
		return a.Lookup.Rcode + "\n" + strings.Join(lines, "\n")
	}
	type known struct {
		question
		truth string
	}
	var all []known
	for _, q := range healthy(t, w) {
		if q.status == "secure" {
			a := truth.Lookup(context.Background(), q.name, q.qtype)
			require.Equal(t, dnssec.Secure, a.Lookup.Status, trace(a.Lookup))
			all = append(all, known{q, data(a)})
		}
	}
	mad := &mutator{}
	mad.rnd = rand.New(rand.NewPCG(1, 2))
	_, err := w.Inject(world.Fault{Kind: world.Rewrite, Rewrite: mad.rewrite})
	require.NoError(t, err)
	secure := 0
	for i := range 600 {
		q := all[i%len(all)]
		r := in(t, w, func(c *resolver.Config) { c.Timeout = time.Second })
		a := r.Lookup(context.Background(), q.name, q.qtype)
		said := fmt.Sprintf("%s %s: %s\n%s", q.name, dns.TypeToString[q.qtype], a.Lookup.Why, trace(a.Lookup))
		switch a.Lookup.Status {
		case dnssec.Secure:
			secure++
			require.Equal(t, q.truth, data(a), said)
		case dnssec.Insecure:
			t.Fatalf("insecure: %s", said)
		}
	}
	require.Greater(t, secure, 50, "some responses stay whole")
}
