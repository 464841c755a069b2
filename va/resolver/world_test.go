package resolver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// serve runs a world until the test ends.
func serve(t testing.TB, cfg world.Config) *world.World {
	t.Helper()
	w, err := world.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// proving is a resolver whose lookups are all proven again from their record, as an auditor would.
type proving struct {
	*resolver.Resolver
	t      testing.TB
	prover resolver.Prover
}

func (p proving) Lookup(ctx context.Context, name string, qtype uint16) *resolver.Answer {
	p.t.Helper()
	a := p.Resolver.Lookup(ctx, name, qtype)
	if _, measuring := p.t.(*testing.B); !measuring {
		reproved(p.t, p.prover, a)
	}
	return a
}

// reproved proves a lookup again from what its record holds: what is usable has a proof, what is bogus has one or says that no
// records show it, and a failure has none.
func reproved(t testing.TB, prover resolver.Prover, a *resolver.Answer) {
	t.Helper()
	record, err := json.Marshal(a.Lookup)
	require.NoError(t, err)
	var l resolver.Lookup
	require.NoError(t, json.Unmarshal(record, &l))
	require.NoError(t, a.Sets.Check())
	keep(t, prover, l, a.Sets)
	collect(prover, l, a.Sets)
	err = prover.Prove(l, a.Sets)
	if !l.Status.Usable() && errors.Is(err, resolver.ErrNoProof) {
		return
	}
	require.NoError(t, err, "%s %s: %s %s\n%s", l.Name, l.Type, l.Status, l.Why, trace(l))
}

// in makes a resolver for a world.
func in(t testing.TB, w *world.World, edit func(*resolver.Config)) proving {
	t.Helper()
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)
	c := resolver.Config{Anchors: anchors, Port: w.Port(), AllowReserved: true}
	for _, s := range w.Hints() {
		c.Hints = append(c.Hints, resolver.Hint{Name: s.Host, Addrs: []netip.Addr{s.Addr}})
	}
	if edit != nil {
		edit(&c)
	}
	r, err := resolver.New(c)
	require.NoError(t, err)
	return proving{r, t, resolver.Prover{Anchors: c.Anchors, Algorithms: c.Algorithms, Limits: c.Limits.Limits}}
}

type question struct {
	name          string
	qtype         uint16
	status, rcode string
	records       int
	rule          string
}

func questions(t testing.TB, file string) []question {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	var all []question
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		require.GreaterOrEqual(t, len(fields), 6, s.Text())
		n, err := strconv.Atoi(fields[4])
		require.NoError(t, err)
		all = append(all, question{fields[0], dns.StringToType[fields[1]], fields[2], fields[3], n,
			strings.Join(fields[5:], " ")})
	}
	require.NotEmpty(t, all)
	return all
}

func (q question) check(t *testing.T, a *resolver.Answer) {
	t.Helper()
	l := a.Lookup
	require.Equal(t, q.status, l.Status.String(), "%s\n%s", l.Why, trace(l))
	require.Len(t, a.Records, q.records, trace(l))
	require.NotEmpty(t, l.Why)
	switch {
	case l.Status.Usable():
		require.Equal(t, q.rcode, l.Rcode, trace(l))
	case q.rcode != "-":
		require.Equal(t, q.rcode, l.Code, "%s\n%s", l.Why, trace(l))
	}
	if !l.Status.Usable() {
		require.Empty(t, l.Answers)
		require.Empty(t, a.Aliases)
		require.NotEmpty(t, l.Code)
	}
	for _, rr := range a.Records {
		require.Equal(t, q.qtype, rr.Header().Rrtype)
	}
}

func trace(l resolver.Lookup) string {
	var b strings.Builder
	for _, q := range l.Queries {
		b.WriteString(q.Server + " " + q.Transport + " " + q.Question + " " + q.Rcode + " " + q.Error + "\n")
	}
	for _, c := range l.Chain {
		b.WriteString(c.Zone + " " + c.Result.String() + " " + c.Why + "\n")
	}
	return b.String()
}

// Holds: DCV-04, DCV-05, DCV-06, DCV-07, DCV-08, CAA-07, C3, C9
func TestRFC4035_5_VerdictsInTheWorld(t *testing.T) {
	w := serve(t, world.Default())
	cold := func() proving { return in(t, w, nil) }
	warm := cold()
	plain := in(t, w, func(c *resolver.Config) { c.NoQnameMinimisation = true })
	for _, q := range questions(t, "testdata/world.txt") {
		for mode, r := range map[string]proving{"cold": cold(), "warm": warm, "whole names": plain} {
			t.Run(q.name+" "+dns.TypeToString[q.qtype]+" "+mode, func(t *testing.T) {
				t.Parallel()
				q.check(t, r.Lookup(context.Background(), q.name, q.qtype))
			})
		}
	}
}

// Holds: DCV-05
func TestDeadServersEndInFailure(t *testing.T) {
	w := serve(t, world.Default())
	r := in(t, w, func(c *resolver.Config) { c.Timeout = 700 * time.Millisecond })
	a := r.Lookup(context.Background(), "dead.com", dns.TypeA)
	require.Equal(t, dnssec.Failure, a.Lookup.Status)
	require.Equal(t, "dns.timeout", a.Lookup.Code)
	require.NotEmpty(t, a.Lookup.Queries)
	for _, q := range a.Lookup.Queries {
		require.True(t, q.Rcode != "" || q.Error != "", "each packet has an outcome: %+v", q)
	}
}
