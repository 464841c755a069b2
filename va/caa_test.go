package va

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

func caaOf(t *testing.T, s *table, req Request) CAAFinding {
	t.Helper()
	return checker(t, s).Check(t.Context(), probe(req)).CAA
}

// Holds: CAA-01, CAA-07, C6
func TestRFC8659_3_ClimbStopsAtFirstRRset(t *testing.T) {
	const ours, theirs = `CAA 0 issue "ca.example"`, `CAA 0 issue "other.example"`
	for what, c := range map[string]struct {
		records map[string][]string
		status  map[string]dnssec.Status
		want    string
		found   string
		lookups int
	}{
		"none anywhere": {want: "ok", lookups: 3},
		"at the name": {records: map[string][]string{"shop.example.com CAA": {ours}, "example.com CAA": {theirs}},
			want: "ok", found: "shop.example.com", lookups: 1},
		"at the name, against us": {records: map[string][]string{"shop.example.com CAA": {theirs}, "example.com CAA": {ours}},
			want: "caa.forbidden", found: "shop.example.com", lookups: 1},
		"at the parent": {records: map[string][]string{"example.com CAA": {ours}, "com CAA": {theirs}},
			want: "ok", found: "example.com", lookups: 2},
		"at the top-level domain": {records: map[string][]string{"com CAA": {theirs}}, want: "caa.forbidden", found: "com",
			lookups: 3},
		"the root is not asked": {records: map[string][]string{" CAA": {theirs}}, want: "ok", lookups: 3},
		"records that say nothing of issuance end it too": {
			records: map[string][]string{"shop.example.com CAA": {`CAA 0 iodef "mailto:a@example.com"`},
				"example.com CAA": {theirs}},
			want: "ok", found: "shop.example.com", lookups: 1},
		"bogus at the name": {status: map[string]dnssec.Status{"shop.example.com CAA": dnssec.Bogus}, want: "caa.bogus",
			lookups: 1},
		"bogus below the records": {status: map[string]dnssec.Status{"shop.example.com CAA": dnssec.Bogus},
			records: map[string][]string{"example.com CAA": {ours}}, want: "caa.bogus", lookups: 1},
		"bogus above the records": {status: map[string]dnssec.Status{"com CAA": dnssec.Bogus},
			records: map[string][]string{"example.com CAA": {ours}}, want: "ok", found: "example.com", lookups: 2},
		"failure below the records": {status: map[string]dnssec.Status{"shop.example.com CAA": dnssec.Failure},
			records: map[string][]string{"example.com CAA": {ours}}, want: "caa.lookup", lookups: 1},
		"failure at the last step": {status: map[string]dnssec.Status{"com CAA": dnssec.Failure}, want: "caa.lookup",
			lookups: 3},
		"an answer without status": {status: map[string]dnssec.Status{"shop.example.com CAA": 0}, want: "caa.lookup",
			lookups: 1},
	} {
		t.Run(what, func(t *testing.T) {
			f := caaOf(t, &table{records: c.records, status: c.status}, request(HTTP01))
			require.Equal(t, c.want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, c.found, f.Found)
			require.Len(t, f.Lookups, c.lookups)
			require.Equal(t, c.want == "ok", f.Outcome == Pass)
			if c.want == "caa.bogus" || c.want == "caa.lookup" {
				require.Equal(t, Error, f.Outcome)
				require.Contains(t, f.Problem.Rules, "CAA-07")
			}
		})
	}
}

// Holds: CAA-05
func TestBR_3_2_2_8_FreshForTheTTLOrEightHours(t *testing.T) {
	for what, c := range map[string]struct {
		ttl  uint32
		want time.Duration
	}{
		"no records":         {0, 8 * time.Hour},
		"a short TTL":        {60, 8 * time.Hour},
		"eight hours":        {8 * 3600, 8 * time.Hour},
		"a long TTL":         {86400, 24 * time.Hour},
		"the longest TTL":    {1<<31 - 1, (1<<31 - 1) * time.Second},
		"a TTL that is none": {1<<32 - 1, 8 * time.Hour}, // RFC 2181 section 8
	} {
		t.Run(what, func(t *testing.T) {
			s := &table{answer: func(name, qtype string, _ int) *resolver.Answer {
				if c.ttl == 0 || name != "shop.example.com" {
					return nil
				}
				a := answered(resolver.Lookup{Name: name + ".", Type: qtype, Status: dnssec.Secure}, `CAA 0 issue "ca.example"`)
				a.Lookup.TTL = c.ttl
				return a
			}}
			f := caaOf(t, s, request(DNS01))
			require.Equal(t, Pass, f.Outcome)
			require.Equal(t, c.ttl, f.TTL)
			require.Equal(t, now.Add(c.want), f.FreshUntil)
		})
	}
}

// TestTheFindingIsForTheNameLookedUp: an answer for another question is none.
//
// Holds: C1
func TestTheFindingIsForTheNameLookedUp(t *testing.T) {
	s := &table{answer: func(_, qtype string, _ int) *resolver.Answer {
		return answered(resolver.Lookup{Name: "permissive.example.com.", Type: qtype, Status: dnssec.Secure},
			`CAA 0 issue "ca.example"`)
	}}
	f := caaOf(t, s, request(HTTP01))
	require.Equal(t, Error, f.Outcome)
	require.Equal(t, "caa.lookup", code(f.Problem))
	require.Equal(t, "shop.example.com", f.Name)
	require.Equal(t, "shop.example.com.", f.Lookups[0].Name)
}

// TestABackslashInAnIssueValuePermitsNobody: dns.CAA keeps octets as they are, and its presentation format reads a
// backslash among them as an escape, so that "ca.example\059..." would look like "ca.example;...".
//
// Holds: CAA-02
func TestABackslashInAnIssueValuePermitsNobody(t *testing.T) {
	wire := &dns.RFC3597{Hdr: dns.RR_Header{Name: "shop.example.com.", Rrtype: dns.TypeCAA, Class: dns.ClassINET,
		Ttl: 300},
		Rdata: hex.EncodeToString([]byte("\x00\x05issue" + `c\097.example`))}
	packed := make([]byte, 512)
	n, err := dns.PackRR(wire, packed, 0, nil, false)
	require.NoError(t, err)
	rr, _, err := dns.UnpackRR(packed[:n], 0)
	require.NoError(t, err)
	permits, p := EvaluateCAA([]string{rr.String()}, request(HTTP01))
	require.Equal(t, "ok", code(p), "the library's text says %s", permits)

	s := &table{answer: func(name, qtype string, _ int) *resolver.Answer {
		a := answered(resolver.Lookup{Name: name + ".", Type: qtype, Status: dnssec.Secure})
		a.Records = []dns.RR{&dns.TXT{}, rr} // what is not CAA is passed over
		return a
	}}
	f := caaOf(t, s, request(HTTP01))
	require.Equal(t, Fail, f.Outcome)
	require.Equal(t, "caa.malformed", code(f.Problem))
	require.Empty(t, f.Permits)
}

// TestWildcardsAreCheckedAtTheirBase: the climb begins below the asterisk.
//
// Holds: CAA-01
func TestWildcardsAreCheckedAtTheirBase(t *testing.T) {
	req := request(DNS01)
	req.Identifier = "*.shop.example.com"
	f := caaOf(t, &table{records: map[string][]string{"shop.example.com CAA": {`CAA 0 issuewild ";"`}}}, req)
	require.Equal(t, "caa.forbidden", code(f.Problem))
	require.Equal(t, "shop.example.com", f.Name)
}

func TestAResolverThatPanicsIsAFailure(t *testing.T) {
	s := &table{answer: func(string, string, int) *resolver.Answer { panic("boom") }}
	r := checker(t, s).Check(t.Context(), probe(request(DNS01)))
	require.Equal(t, "caa.lookup", code(r.CAA.Problem))
	require.Equal(t, "dns.lookup", code(r.DCV.Problem))
	require.Equal(t, Error, r.CAA.Outcome)
	require.Equal(t, Error, r.DCV.Outcome)
	require.Equal(t, "perspective.panic", r.CAA.Lookups[0].Code)
}

// stumbling is a log that panics once.
type stumbling struct {
	slog.Handler
	once *sync.Once
}

func (h stumbling) Enabled(context.Context, slog.Level) bool { return true }

func (h stumbling) Handle(context.Context, slog.Record) error {
	h.once.Do(func() { panic("and the log, too") })
	return nil
}

// TestAClimbThatPanicsEndsNoProgram: its lookups run in goroutines of their own, above which nobody recovers.
//
// Holds: F3
func TestAClimbThatPanicsEndsNoProgram(t *testing.T) {
	for _, rule := range []FailureRule{DenyFailure, PermitProvenFailure} {
		s := &table{answer: func(name, _ string, _ int) *resolver.Answer {
			if name == "com" { // not the first name, whose lookup runs in the check's goroutine
				panic("boom")
			}
			return nil
		}}
		p := recheck(HTTP01)
		p.CAALookupFailure = rule
		f := checker(t, s, func(c *Config) {
			c.Logger = slog.New(stumbling{slog.DiscardHandler, new(sync.Once)})
		}).Check(t.Context(), p).CAA
		require.Equal(t, Error, f.Outcome)
		require.Equal(t, "caa.lookup", code(f.Problem))
		require.Equal(t, "perspective.panic", f.Lookups[2].Code)
	}
}

// TestCAAAloneIsHeldToTheSameRules: for people who ask, without a token or an account.
func TestCAAAloneIsHeldToTheSameRules(t *testing.T) {
	c := checker(t, &table{records: map[string][]string{"example.com CAA": {`CAA 0 issue "ca.example; accounturi="`}}})
	for what, r := range map[string]struct {
		req  Request
		want string
	}{
		"another name":     {Request{Identifier: "example.org", Issuers: []string{"ca.example"}}, "ok"},
		"an empty account": {Request{Identifier: "example.com", Issuers: []string{"ca.example"}}, "caa.account"},
		"no issuer":        {Request{Identifier: "example.com"}, "request.issuers"},
		"no name":          {Request{Identifier: "a b", Issuers: []string{"ca.example"}}, "name.syntax"},
	} {
		t.Run(what, func(t *testing.T) { require.Equal(t, r.want, code(c.CAA(t.Context(), r.req, DenyFailure).Problem)) })
	}
}

// A climb that found records at a name lately begins no lookup above it, and goes on as ever where they are gone: the finding is that
// of a perspective which remembers nothing.
//
// Holds: CAA-01, CAA-07
func TestRFC8659_3_WhereRecordsStoodLatelyIsAHint(t *testing.T) {
	const ours, theirs = `CAA 0 issue "ca.example"`, `CAA 0 issue "other.example"`
	at := func(name, record string) map[string][]string { return map[string][]string{name + " CAA": {record}} }
	for what, c := range map[string]struct {
		before, after map[string][]string
		status        map[string]dnssec.Status // after
		want, found   string
		asked         []string // and no other
	}{
		"still there":         {before: at("shop.example.com", ours), after: at("shop.example.com", ours), want: "ok", found: "shop.example.com", asked: []string{"shop.example.com"}},
		"still at the parent": {before: at("example.com", ours), after: at("example.com", ours), want: "ok", found: "example.com", asked: []string{"shop.example.com", "example.com"}},
		"now against us":      {before: at("shop.example.com", ours), after: at("shop.example.com", theirs), want: "caa.forbidden", found: "shop.example.com", asked: []string{"shop.example.com"}},
		"gone":                {before: at("shop.example.com", ours), want: "ok", asked: []string{"shop.example.com", "example.com", "com"}},
		"gone, and the parent is against us": {before: at("shop.example.com", ours), after: at("example.com", theirs), want: "caa.forbidden",
			found: "example.com", asked: []string{"shop.example.com", "example.com", "com"}},
		"gone, and the parent is bogus": {before: at("shop.example.com", ours), status: map[string]dnssec.Status{"example.com CAA": dnssec.Bogus},
			want: "caa.bogus", asked: []string{"shop.example.com", "example.com", "com"}},
		"now lower": {before: at("example.com", ours), after: at("shop.example.com", theirs), want: "caa.forbidden", found: "shop.example.com",
			asked: []string{"shop.example.com", "example.com"}},
		"bogus now": {before: at("shop.example.com", ours), after: at("shop.example.com", ours), status: map[string]dnssec.Status{"shop.example.com CAA": dnssec.Bogus},
			want: "caa.bogus", asked: []string{"shop.example.com"}},
	} {
		t.Run(what, func(t *testing.T) {
			s := &table{records: c.before}
			one := checker(t, s)
			check := func(c *Checker) CAAFinding { return c.Check(t.Context(), probe(request(HTTP01))).CAA }
			require.Equal(t, Pass, check(one).Outcome)
			s.records, s.status, s.asked = c.after, c.status, nil
			f := check(one)
			require.Equal(t, c.want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, c.found, f.Found)
			for question := range s.asked {
				if name, ok := strings.CutSuffix(question, " CAA"); ok {
					require.Contains(t, c.asked, name)
				}
			}
			require.Equal(t, check(checker(t, s)), f)
		})
	}
}

func TestWhereRecordsStoodIsBounded(t *testing.T) {
	var f found
	for i := range 5 * mostFound {
		f.note(fmt.Sprintf("n%d.example.com", i), true)
		require.LessOrEqual(t, len(f.young)+len(f.old), 2*mostFound)
	}
	last := fmt.Sprintf("n%d.example.com", 5*mostFound-1)
	require.Equal(t, 1, f.first([]string{"example.com", last}))
	require.Equal(t, -1, f.first([]string{"n0.example.com"}))
	f.note(last, false)
	require.Equal(t, -1, f.first([]string{last}))
}

// Where the name's own lookup takes long, the others begin beside it, whatever stood there lately: each has the time that it would have
// had. A climb that has its answer begins none.
func TestAHintCostsAClimbNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := map[string]time.Duration{}
		var mu sync.Mutex
		var start time.Time
		slow := time.Duration(0)
		s := &table{records: map[string][]string{"shop.example.com CAA": {`CAA 0 issue "ca.example"`}}}
		c := checker(t, s)
		c.lookup = func(ctx context.Context, name string, qtype uint16) *resolver.Answer {
			if qtype == dns.TypeCAA {
				mu.Lock()
				began[name] = time.Since(start)
				mu.Unlock()
			}
			if qtype == dns.TypeCAA && name == "shop.example.com" {
				time.Sleep(slow)
			}
			return s.lookup(ctx, name, qtype)
		}
		check := func() CAAFinding {
			clear(began)
			start = time.Now()
			return c.CAA(t.Context(), request(HTTP01), DenyFailure)
		}
		require.Equal(t, Pass, check().Outcome)
		require.Equal(t, Pass, check().Outcome)
		require.Len(t, began, 1)
		slow = 3 * time.Second
		require.Equal(t, Pass, check().Outcome)
		require.Equal(t, map[string]time.Duration{"shop.example.com": 0, "example.com": hintLasts, "com": hintLasts}, began)
		s.records = nil
		f := check()
		require.Equal(t, Pass, f.Outcome)
		require.Len(t, f.Lookups, 3)
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}
