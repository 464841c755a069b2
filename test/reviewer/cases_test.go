// Package reviewer holds the ten cases that a reviewer of a validating resolver tries first, each end to end: an
// attacker's name servers on real sockets, a gate with its primary and five remotes, each with a resolver of its own,
// and the decision in the record. cases.txt states them in words; the attacks_*_test.go do what it says.
package reviewer

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCase is one sub-case of cases.txt.
type testCase struct {
	id, title  string
	method     va.Method
	identifier string
	// owner tells whether the applicant controls the name; otherwise only the attack can make it seem so.
	owner bool
	// honest is the outcome without the attack, "-" where the case has no such.
	honest string
	// granted, or the code of the weightiest reason and the rules that it must name.
	granted bool
	code    string
	rules   []string
	// lookup is the one that the case is about: its name, type, status and code ("-" for none); where several are given,
	// chance decides which check fails first.
	name, rrtype string
	status       dnssec.Status
	codes        []string
	// asked are addresses that the lookup's account must name.
	asked []string
}

// readCases reads cases.txt. Its head says what the lines mean.
func readCases(t testing.TB) []testCase {
	t.Helper()
	text, err := os.ReadFile("cases.txt")
	require.NoError(t, err)
	var all []testCase
	fields := map[string]string{}
	finish := func() {
		if len(all) > 0 {
			all[len(all)-1].fill(t, fields)
		}
		clear(fields)
	}
	key := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "CASE"):
		case line[0] != ' ':
			finish()
			id, title, _ := strings.Cut(line, " ")
			all = append(all, testCase{id: id, title: strings.TrimSpace(title)})
		case strings.HasPrefix(line, "             "):
			fields[key] += " " + strings.TrimSpace(line)
		default:
			var value string
			key, value, _ = strings.Cut(strings.TrimSpace(line), " ")
			require.NotContains(t, fields, key, line)
			fields[key] = strings.TrimSpace(value)
		}
	}
	finish()
	return all
}

func (c *testCase) fill(t testing.TB, fields map[string]string) {
	t.Helper()
	for _, key := range []string{"attack", "request", "honest", "expect", "lookup", "asked", "rule"} {
		require.NotEmpty(t, fields[key], "%s has no line %q", c.id, key)
	}
	require.Len(t, fields, 7, c.id)
	request := strings.Fields(fields["request"])
	require.Len(t, request, 4, c.id)
	var err error
	c.method, err = va.ParseMethod(request[0])
	require.NoError(t, err, c.id)
	require.Contains(t, []string{"owner", "stranger"}, request[3], c.id)
	c.identifier, c.owner, c.honest = request[1], request[3] == "owner", fields["honest"]
	expect := strings.Fields(fields["expect"])
	if c.granted = expect[0] == "granted"; !c.granted {
		require.Equal(t, "refused", expect[0], c.id)
		require.GreaterOrEqual(t, len(expect), 3, "%s: a refusal has a code and rules", c.id)
		c.code, c.rules = expect[1], expect[2:]
	}
	lookup := strings.Fields(fields["lookup"])
	require.Len(t, lookup, 4, c.id)
	c.name, c.rrtype, c.codes = lookup[0], lookup[1], strings.Split(lookup[3], "|")
	require.NoError(t, c.status.UnmarshalText([]byte(lookup[2])), c.id)
	if fields["asked"] != "-" {
		c.asked = strings.Fields(fields["asked"])
	}
	require.False(t, c.granted && !c.status.Usable(), "%s: nothing is granted upon a lookup that is %s", c.id, c.status)
}

// attack is what a sub-case does.
type attack struct {
	// world changes the world before it starts, signedAt is the clock that it signs by.
	world    func(*world.Config)
	signedAt func() time.Time
	doors    doors
	// inside tells that the case needs a network namespace (TestNameServersAtReservedAddresses).
	inside bool
	// prepare completes the honest world: what needs the request to be known.
	prepare func(*stage)
	// first is a name of the attacker's own that the gate is asked to validate before, under the attack.
	first string
	// strike begins the attack, if the world is not made wrong from the start.
	strike func(*stage)
	// verify looks for more than each case must show.
	verify func(*stage, record)
}

// attacks has all of cases.txt by their ids.
func attacks() map[string]attack {
	all := map[string]attack{}
	for _, some := range []map[string]attack{cutAttacks(), signatureAttacks(), strippingAttacks(), algorithmAttacks(),
		spanAttacks(), costAttacks(), wildcardAttacks(), aliasAttacks(), clockAttacks(), serverAttacks(),
		publicAttacks()} {
		for id, a := range some {
			all[id] = a
		}
	}
	return all
}

// Each sub-case is carried out without the attack, under attack by a gate that knows nothing yet, and by the same
// gate when the attack is over, which shows that nothing of it was believed and kept.
//
// Holds: DCV-04, DCV-05, DCV-06, DCV-07, DCV-08, DCV-09, CAA-01, CAA-07, MPIC-12, REC-01, REC-02, REC-05, C3, C9, D10
func TestTheTenCases(t *testing.T) {
	all, cases := attacks(), readCases(t)
	require.Len(t, all, len(cases), "an attack without words, or words without an attack")
	if *inside {
		settle(t)
	}
	records := openJournal(t, nil)
	for _, c := range cases {
		a, ok := all[c.id]
		require.True(t, ok, "%s is not done", c.id)
		if a.inside != *inside {
			continue
		}
		t.Run(c.id+" "+c.title, func(t *testing.T) {
			if !*inside { // there the worlds have one port 53
				t.Parallel()
			}
			s := newStage(t, c, a, records)
			if a.prepare != nil {
				a.prepare(s)
			}
			if c.honest != "-" {
				s.honest(c)
			}
			if a.strike != nil {
				a.strike(s)
			}
			g, done := s.gate()
			defer done()
			if a.first != "" {
				own := s.request
				own.Identifier = a.first
				_, err := g.Validate(t.Context(), mpic.DryRun, "test:attacker", own)
				require.NoError(t, err)
			}
			result, err := g.Validate(t.Context(), mpic.Issuance, "test:reviewer", s.request)
			require.NoError(t, err)
			r := s.read(result.Evidence.Attempt.ID())
			s.judge(c, result, r)
			for _, hit := range s.strikes {
				require.Positive(t, hit.n.Load(), "the attack had no occasion to strike: %s", hit.what)
			}
			if a.verify != nil {
				a.verify(s, r)
			}
			if c.honest != "-" {
				s.calm()
				s.heals(c, g)
			}
		})
	}
}

// honest carries the request out before anything goes wrong.
func (s *stage) honest(c testCase) {
	s.t.Helper()
	g, done := s.gate()
	defer done()
	result, err := g.Validate(s.t.Context(), mpic.Issuance, "test:reviewer", s.request)
	require.NoError(s.t, err)
	require.Equal(s.t, c.honest, outcome(result.Decision), "%v", result.Decision.Reasons())
}

// heals asks the gate again when the attack is over: what it remembers of the attack, servers or keys that are no longer the right
// ones, costs no attempt.
func (s *stage) heals(c testCase, g *mpic.Coordinator) {
	s.t.Helper()
	again, err := g.Validate(s.t.Context(), mpic.Issuance, "test:reviewer", s.request)
	require.NoError(s.t, err)
	require.Equal(s.t, c.honest, outcome(again.Decision), "after the attack: %v", again.Decision.Reasons())
}

// outcome is a decision in the words of cases.txt.
func outcome(d mpic.Decision) string {
	if d.Granted() {
		return "granted"
	}
	return "refused " + d.Reasons()[0].Code
}

// judge holds the decision, and the record that an auditor reads, against the case.
func (s *stage) judge(c testCase, result mpic.Result, r record) {
	t := s.t
	t.Helper()
	var why strings.Builder
	for _, l := range slices.Concat(r.primary.DCV.Lookups, r.primary.CAA.Lookups) {
		why.WriteString(told(l))
	}
	account := why.String() + s.tell()

	want := "granted"
	if !c.granted {
		want = "refused"
	}
	require.Equal(t, c.granted, result.Decision.Granted(), "%v\n%s", result.Decision.Reasons(), account)
	require.Equal(t, db.Outcome(want), r.Outcome)
	require.Equal(t, want, r.decision.Outcome)
	require.Equal(t, s.request.Identifier, r.Identifier)
	again, err := json.Marshal(mpic.Judge(r.Evidence))
	require.NoError(t, err)
	require.JSONEq(t, string(r.Decision), string(again), "the record gives another decision")

	require.Len(t, r.decision.Views, len(sites))
	if c.granted {
		require.Equal(t, 1, s.authorizations(r.Number))
		require.Equal(t, [2]string{"5/5", "5/5"}, [2]string{r.DCVQuorum, r.CAAQuorum})
		require.Empty(t, r.Reasons)
	} else {
		require.Zero(t, s.authorizations(r.Number), "nothing may be issued")
		require.Equal(t, c.code, r.decision.Reasons[0].Code, "%s\n%s", r.decision.Reasons[0].Detail, account)
		require.Equal(t, c.rules, r.decision.Reasons[0].Rules)
		require.Equal(t, c.code, r.Reasons[0])
		for i, v := range r.decision.Views { // the attack is seen from everywhere, and each perspective refuses by itself
			require.True(t, v.DCV != va.Pass || v.CAA != va.Pass, v.Perspective)
			require.Contains(t, []string{r.Perspectives[i].DCVCode, r.Perspectives[i].CAACode}, c.code, v.Perspective)
		}
	}
	for _, report := range append([]va.Report{r.primary}, r.remotes...) {
		found := lookups(report, c.name, c.rrtype)
		require.Len(t, found, 1, "%s looked up %s %s\n%s", report.Perspective, c.name, c.rrtype, account)
		s.account(c, report.Perspective, found[0])
		s.prove(report)
	}
}

// prove works out each lookup of a report again, from the octets in the record and the anchors of this world. A
// lookup that came to nothing may have no proof; one that may be relied upon must.
func (s *stage) prove(report va.Report) {
	s.t.Helper()
	p := resolver.Prover{Anchors: s.anchors(), Algorithms: s.doors.algorithms}
	for _, l := range slices.Concat(report.DCV.Lookups, report.CAA.Lookups) {
		if err := p.Prove(l, report.Sets); l.Status.Usable() || !errors.Is(err, resolver.ErrNoProof) {
			require.NoError(s.t, err, "%s: %s", report.Perspective, told(l))
		}
	}
}

// account holds one perspective's record of the lookup against the case.
func (s *stage) account(c testCase, perspective string, l resolver.Lookup) {
	t := s.t
	t.Helper()
	require.Equal(t, c.status, l.Status, "%s: %s", perspective, told(l))
	code := l.Code
	if code == "" {
		code = "-"
	}
	require.Contains(t, c.codes, code, "%s: %s", perspective, told(l))
	require.NotEmpty(t, l.Why)
	if !l.Status.Usable() {
		require.Empty(t, l.Answers, "nothing of what the attacker said is handed out")
	}
	var servers []string
	for _, q := range l.Queries {
		host, _, err := net.SplitHostPort(q.Server)
		require.NoError(t, err)
		require.NotEmpty(t, q.Question)
		require.True(t, q.Rcode != "" || q.Error != "", "a packet without an outcome: %+v", q)
		servers = append(servers, host)
	}
	require.Subset(t, servers, c.asked, "%s: %s", perspective, told(l))
}
