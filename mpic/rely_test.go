package mpic

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

const (
	acct1 = "https://ca.example/acct/1"
	acct2 = "https://ca.example/acct/2"
)

// shown is evidence of an attempt for issuance at december: fresh for 8 hours.
func shown(number int64, identifier string, m va.Method, s Scope) Relied {
	return Relied{Attempt: fmt.Sprint("A", number), Number: number, SHA256: strings.Repeat("ab", 32), Kind: Issuance, Account: acct1, Method: m,
		Identifier: identifier, AuthorizationDomainName: strings.TrimPrefix(identifier, "*."), Scope: s, ReusableUntil: ReusableUntil(m, december),
		Checked: december, Issuers: []string{"ca.example"}, CAAFreshUntil: december.Add(8 * time.Hour)}
}

// permitted is evidence of CAA alone.
func permitted(number int64, identifier string, m va.Method) Relied {
	r := shown(number, identifier, m, 0)
	r.Kind, r.AuthorizationDomainName, r.ReusableUntil = CAARecheck, "", time.Time{}
	return r
}

func with(r Relied, change func(*Relied)) Relied {
	change(&r)
	return r
}

func wanted(at time.Time, names ...string) Wanted {
	return Wanted{Names: names, Account: acct1, Issuers: []string{"ca.example"}, At: at, Until: at.Add(time.Minute)}
}

// Holds: DCV-01, DCV-03, DCV-19, CAA-05, MPIC-13, D1, D3, D4, D5, C1
func TestEachNameNeedsItsOwnEvidence(t *testing.T) {
	soon := december.Add(time.Hour)
	exact := shown(1, "example.com", va.HTTP01, Exact)
	wild := shown(2, "*.example.com", va.DNS01, WildcardScope)
	tree := shown(3, "example.com", va.DNS01, Subtree)
	for name, c := range map[string]struct {
		at         time.Time
		name       string
		candidates []Relied
		want       string
		dcv, caa   int64
	}{
		"its own":                         {soon, "example.com", []Relied{exact}, "", 1, 1},
		"nothing at all":                  {soon, "example.com", nil, "permit.no-evidence", 0, 0},
		"another name's":                  {soon, "example.org", []Relied{exact}, "permit.no-evidence", 0, 0},
		"of a name that ends alike":       {soon, "badexample.com", []Relied{exact, wild, tree}, "permit.no-evidence", 0, 0},
		"a name below":                    {soon, "www.example.com", []Relied{exact}, "permit.scope", 0, 0},
		"a name below a wildcard's base":  {soon, "www.example.com", []Relied{wild}, "permit.scope", 0, 0},
		"the name above":                  {soon, "example.com", []Relied{shown(1, "www.example.com", va.HTTP01, Exact)}, "permit.no-evidence", 0, 0},
		"a wildcard by http-01":           {soon, "*.example.com", []Relied{exact}, "permit.scope", 0, 0},
		"a wildcard by its own":           {soon, "*.example.com", []Relied{wild}, "", 2, 2},
		"the base of a wildcard":          {soon, "example.com", []Relied{wild}, "permit.caa-stale", 2, 0},
		"the base, CAA checked":           {soon, "example.com", []Relied{wild, permitted(5, "example.com", va.DNS01)}, "", 2, 5},
		"the base, CAA of the wildcard":   {soon, "example.com", []Relied{wild, permitted(5, "*.example.com", va.DNS01)}, "permit.caa-stale", 2, 0},
		"a wildcard, CAA of the base":     {soon, "*.example.com", []Relied{tree, permitted(5, "example.com", va.DNS01)}, "permit.caa-stale", 3, 0},
		"a name of a subtree":             {soon, "a.b.example.com", []Relied{tree}, "permit.caa-stale", 3, 0},
		"a name of a subtree, CAA":        {soon, "a.b.example.com", []Relied{tree, permitted(5, "a.b.example.com", va.DNS01)}, "", 3, 5},
		"CAA for another method":          {soon, "a.b.example.com", []Relied{tree, permitted(5, "a.b.example.com", va.HTTP01)}, "permit.caa-stale", 3, 0},
		"CAA alone":                       {soon, "example.com", []Relied{permitted(5, "example.com", va.DNS01)}, "permit.no-evidence", 0, 0},
		"CAA of its parent":               {soon, "a.example.com", []Relied{tree, permitted(5, "example.com", va.DNS01)}, "permit.caa-stale", 3, 0},
		"the target of an alias":          {soon, "www.example.com", []Relied{shown(1, "cdn.example.net", va.DNS01, Subtree)}, "permit.no-evidence", 0, 0},
		"the subtree of a public suffix":  {soon, "example.co.uk", []Relied{shown(1, "co.uk", va.DNS01, Subtree)}, "permit.no-evidence", 0, 0},
		"the subtree of a TLD":            {soon, "example.com", []Relied{shown(1, "com", va.DNS01, Subtree)}, "permit.no-evidence", 0, 0},
		"no scope":                        {soon, "example.com", []Relied{with(exact, func(r *Relied) { r.Scope = 0 })}, "permit.scope", 0, 0},
		"another account's":               {soon, "example.com", []Relied{with(exact, func(r *Relied) { r.Account = acct2 })}, "permit.account", 0, 0},
		"another account's CAA":           {soon, "example.com", []Relied{wild, with(permitted(5, "example.com", va.DNS01), func(r *Relied) { r.Account = acct2 })}, "permit.caa-stale", 2, 0},
		"an account that begins alike":    {soon, "example.com", []Relied{with(exact, func(r *Relied) { r.Account = acct1 + "0" })}, "permit.account", 0, 0},
		"a dry run":                       {soon, "example.com", []Relied{with(exact, func(r *Relied) { r.Kind = DryRun })}, "permit.no-evidence", 0, 0},
		"no kind":                         {soon, "example.com", []Relied{with(exact, func(r *Relied) { r.Kind = 0 })}, "permit.no-evidence", 0, 0},
		"CAA of a dry run":                {soon, "example.com", []Relied{wild, with(permitted(5, "example.com", va.DNS01), func(r *Relied) { r.Kind = DryRun })}, "permit.caa-stale", 2, 0},
		"CAA of other issuers":            {soon, "example.com", []Relied{with(exact, func(r *Relied) { r.Issuers = []string{"other.example"} })}, "permit.caa-stale", 1, 0},
		"CAA of more issuers":             {soon, "example.com", []Relied{with(exact, func(r *Relied) { r.Issuers = []string{"ca.example", "b.example"} })}, "permit.caa-stale", 1, 0},
		"of later":                        {december.Add(-1), "example.com", []Relied{exact}, "permit.clock", 0, 0},
		"of this very moment":             {december, "example.com", []Relied{exact}, "", 1, 1},
		"CAA of later":                    {soon, "example.com", []Relied{wild, with(permitted(5, "example.com", va.DNS01), func(r *Relied) { r.Checked = soon.Add(1) })}, "permit.caa-stale", 2, 0},
		"CAA at its last moment":          {december.Add(8*time.Hour - time.Minute), "example.com", []Relied{exact}, "", 1, 1},
		"CAA after its last moment":       {december.Add(8*time.Hour - time.Minute + 1), "example.com", []Relied{exact}, "permit.caa-stale", 1, 0},
		"DCV at its last moment":          {december.Add(100*oneDay - time.Minute), "example.com", []Relied{exact}, "permit.caa-stale", 1, 0},
		"DCV after its last moment":       {december.Add(100*oneDay - time.Minute + 1), "example.com", []Relied{exact}, "permit.expired", 0, 0},
		"DCV, shorter by its record":      {soon, "example.com", []Relied{with(exact, func(r *Relied) { r.ReusableUntil = soon })}, "permit.expired", 0, 0},
		"DCV, longer by its record":       {december.Add(150 * oneDay), "example.com", []Relied{with(exact, func(r *Relied) { r.ReusableUntil = r.ReusableUntil.Add(100 * oneDay) })}, "permit.expired", 0, 0},
		"no method":                       {soon, "example.com", []Relied{with(exact, func(r *Relied) { r.Method = 0 })}, "permit.expired", 0, 0},
		"the newest":                      {soon, "example.com", []Relied{exact, shown(9, "example.com", va.DNS01, Exact), shown(4, "example.com", va.HTTP01, Exact)}, "", 9, 9},
		"the newest whose CAA is fresh":   {soon, "example.com", []Relied{exact, with(shown(9, "example.com", va.DNS01, Exact), func(r *Relied) { r.CAAFreshUntil = december })}, "", 1, 1},
		"what came nearest is told":       {december.Add(101 * oneDay), "example.com", []Relied{exact, shown(9, "com", va.DNS01, Exact), with(exact, func(r *Relied) { r.Account, r.Number = acct2, 12 })}, "permit.expired", 0, 0},
		"CAA of the same account, by two": {soon, "example.com", []Relied{wild, permitted(5, "example.com", va.DNS01), permitted(7, "example.com", va.DNS01)}, "", 2, 7},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				got := Rely(wanted(c.at, c.name), c.candidates)
				require.Len(t, got, 1)
				r := got[0]
				require.Equal(t, c.name, r.Name)
				require.Equal(t, c.want == "", r.Problem == nil, "%v", r.Problem)
				if r.Problem != nil {
					require.Equal(t, c.want, r.Problem.Code, r.Problem.Detail)
					require.Equal(t, c.name, r.Problem.Name)
					require.NotEmpty(t, r.Problem.Rules)
				}
				require.Equal(t, c.dcv, numberOf(r.DCV))
				require.Equal(t, c.caa, numberOf(r.CAA))
				slices.Reverse(c.candidates) // their order says nothing
			}
		})
	}
}

func numberOf(r *Relied) int64 {
	if r == nil {
		return 0
	}
	return r.Number
}

// plainlyCovers, label by label and with nothing from the program.
func plainlyCovers(s Scope, adn, name string) bool {
	n, a := strings.Split(name, "."), strings.Split(adn, ".")
	switch s {
	case Exact:
		return slices.Equal(n, a)
	case WildcardScope:
		return slices.Equal(n, a) || n[0] == "*" && slices.Equal(n[1:], a)
	case Subtree:
		return len(n) >= len(a) && slices.Equal(n[len(n)-len(a):], a)
	}
	return false
}

// plainReliance is BR 4.2.1 and 3.2.2.8 once more: may a certificate for a name be issued at a time by such a pair?
func plainReliance(w Wanted, name string, c, k Relied) (control, permission bool) {
	control = c.Kind == Issuance && c.Account == w.Account && plainlyCovers(c.Scope, c.AuthorizationDomainName, name) &&
		!c.Checked.After(w.At) && w.Until.Sub(c.Checked) <= plainPeriod(c.Method.Section(), w.Until)
	permission = k.Identifier == name && k.Account == w.Account && k.Method == c.Method && len(k.Issuers) == 1 && k.Issuers[0] == "ca.example" &&
		!k.Checked.After(w.At) && !k.CAAFreshUntil.Before(w.Until)
	return control, permission
}

// Holds: DCV-03, CAA-05, D3, D4, D5, C1
func TestRelianceAgreesWithThePlainRule(t *testing.T) {
	names := []string{"example.com", "*.example.com", "a.example.com", "*.a.example.com", "b.a.example.com", "aexample.com"}
	granted, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		at := day(2026, 1, 1).Add(time.Duration(rapid.IntRange(0, 4*365*24).Draw(rt, "at")) * time.Hour)
		w := wanted(at, names...)
		var candidates []Relied
		for i := range rapid.IntRange(0, 12).Draw(rt, "candidates") {
			m := rapid.SampledFrom(va.Methods()).Draw(rt, "method")
			identifier := rapid.SampledFrom(names).Draw(rt, "identifier")
			scope := Exact
			if m == va.DNS01 {
				scope = rapid.SampledFrom([]Scope{Exact, WildcardScope, Subtree}).Draw(rt, "scope")
			}
			r := shown(int64(i+1), identifier, m, scope)
			if rapid.Bool().Draw(rt, "CAA alone") {
				r = permitted(int64(i+1), identifier, m)
			}
			age := time.Duration(rapid.SampledFrom([]int{-1, 0, 1, 7, 8, 9, 240, 2400, 4800, 9552, 9553}).Draw(rt, "age")) * time.Hour
			r.Checked = at.Add(-age - time.Minute + time.Duration(rapid.IntRange(0, 2).Draw(rt, "second"))*time.Minute)
			r.CAAFreshUntil = r.Checked.Add(time.Duration(rapid.SampledFrom([]int{8, 8, 8, 300}).Draw(rt, "fresh")) * time.Hour)
			if r.Kind == Issuance {
				r.ReusableUntil = ReusableUntil(m, r.Checked)
			}
			if rapid.IntRange(0, 5).Draw(rt, "account") == 0 {
				r.Account = acct2
			}
			if rapid.IntRange(0, 5).Draw(rt, "issuers") == 0 {
				r.Issuers = []string{"other.example"}
			}
			candidates = append(candidates, r)
		}
		for i, got := range Rely(w, candidates) {
			var both, controlled bool
			for _, c := range candidates {
				for _, k := range candidates {
					control, permission := plainReliance(w, names[i], c, k)
					controlled, both = controlled || control, both || control && permission
				}
			}
			require.Equal(rt, both, got.Problem == nil, "%s: %v", names[i], got.Problem)
			require.Equal(rt, controlled, got.DCV != nil)
			if got.Problem != nil {
				refused++
				require.Equal(rt, controlled, got.Problem.Code == "permit.caa-stale")
				require.Nil(rt, got.CAA)
				continue
			}
			granted++
			control, permission := plainReliance(w, names[i], *got.DCV, *got.CAA)
			require.True(rt, control && permission)
		}
	})
	require.Positive(t, granted)
	require.Positive(t, refused)
}

// Holds: CAA-05, MPIC-12, MPIC-13
func TestReliableTakesTheEarliestEndOfFreshness(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	fresh := func(t *testing.T, e Evidence) time.Time {
		r, ok := Reliable(e, Judge(e).Recorded(), 7, digest)
		require.True(t, ok, "%v", Judge(e).Reasons())
		return r.CAAFreshUntil
	}
	start := december
	long := func(r *va.Report) {
		r.CAA.TTL, r.CAA.Lookups[0].TTL, r.CAA.FreshUntil = 86400, 86400, start.Add(48*time.Hour)
	}
	all := func(e Evidence, change func(*va.Report)) {
		change(&e.Primary.report)
		for i := range e.Remotes {
			change(e.Remotes[i].Report)
		}
	}
	for _, build := range []func(testing.TB, Roster, time.Time) Evidence{unanimous, unanimousRecheck} {
		e := build(t, fiveRegions(), start)
		require.Equal(t, start.Add(8*time.Hour), fresh(t, e), "8 hours from the attempt's start, whatever a perspective's clock says")
		all(e, long)
		require.Equal(t, start.Add(24*time.Hour), fresh(t, e), "the TTL, where it is greater")
		e.Remotes[2].Report.CAA.TTL = 36000
		require.Equal(t, start.Add(10*time.Hour), fresh(t, e), "the least of all that counted")
		e.Remotes[3].Report.CAA.Lookups[0].TTL = 32400
		require.Equal(t, start.Add(9*time.Hour), fresh(t, e), "the lookup's, where the finding says more")
		e.Remotes[4].Report.CAA.FreshUntil = start.Add(time.Hour)
		require.Equal(t, start.Add(time.Hour), fresh(t, e), "what a perspective says can make it shorter")
		e.Remotes[4].Report.CAA = va.CAAFinding{Outcome: va.Fail, Problem: forbidden, FreshUntil: start}
		require.Equal(t, start.Add(9*time.Hour), fresh(t, e), "one that did not count says nothing")
		e.Primary.report.CAA.FreshUntil = start.Add(2 * time.Hour)
		require.Equal(t, start.Add(2*time.Hour), fresh(t, e), "and the primary counts")
		e.Primary.report.CAA.FreshUntil = time.Time{}
		require.True(t, fresh(t, e).Before(start), "no time is none")
	}
	e := excusing(t, va.PermitProvenFailure)
	e.Attempt.Started = e.Attempt.Started.UTC()
	require.Equal(t, e.Attempt.Started.Add(8*time.Hour), freshAtMost(t, e))
}

// freshAtMost is the freshness of evidence with a failure that was excused: no TTL makes it longer.
func freshAtMost(t *testing.T, e Evidence) time.Time {
	all, _ := e.reports()
	for _, r := range all {
		r.CAA.FreshUntil = e.Attempt.Started.Add(1000 * time.Hour)
	}
	r, ok := Reliable(e, Judge(e).Recorded(), 7, strings.Repeat("ab", 32))
	require.True(t, ok)
	return r.CAAFreshUntil
}

// Holds: MPIC-12, C8, REC-05
func TestReliableTakesNothingButGrantedAttempts(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	e := unanimous(t, fiveRegions(), december)
	d := Judge(e)
	r, ok := Reliable(e, d.Recorded(), 7, digest)
	require.True(t, ok)
	require.Equal(t, Relied{Attempt: "ATTEMPT1", Number: 7, SHA256: digest, Kind: Issuance, Account: acct1, Method: va.HTTP01,
		Identifier: "example.com", AuthorizationDomainName: "example.com", Scope: Exact, ReusableUntil: december.Add(100 * oneDay), Checked: december,
		Issuers: []string{"ca.example"}, CAAFreshUntil: december.Add(8 * time.Hour)}, r)

	recheck := unanimousRecheck(t, fiveRegions(), december)
	r, ok = Reliable(recheck, Judge(recheck).Recorded(), 8, digest)
	require.True(t, ok)
	require.Zero(t, r.Scope, "CAA alone shows control of nothing")
	require.Empty(t, r.AuthorizationDomainName)
	require.True(t, r.ReusableUntil.IsZero())

	refused := unanimous(t, fiveRegions(), december)
	refused.Primary.report.CAA = va.CAAFinding{Outcome: va.Fail, Problem: forbidden}
	dry := unanimous(t, fiveRegions(), december)
	dry.Attempt.Kind = DryRun
	other := unanimous(t, fiveRegions(), december)
	other.Attempt.Probe.Attempt = "ATTEMPT2"
	none := e
	none.Primary = nil
	for name, c := range map[string]struct {
		e      Evidence
		d      Decision
		number int64
		sum    string
	}{
		"a refusal":                 {refused, Judge(refused), 7, digest},
		"no decision":               {e, Decision{}, 7, digest},
		"a dry run":                 {dry, Judge(dry), 7, digest},
		"another attempt's":         {other, d, 7, digest},
		"a dry run's decision":      {e, Judge(dry), 7, digest},
		"no report of the primary":  {none, d, 7, digest},
		"no number":                 {e, d, 0, digest},
		"no digest":                 {e, d, 7, ""},
		"a digest in other letters": {e, d, 7, strings.ToUpper(digest)},
	} {
		r, ok := Reliable(c.e, c.d.Recorded(), c.number, c.sum)
		require.False(t, ok, name)
		require.Equal(t, Relied{}, r, name)
	}
}

// Holds: DCV-14, DCV-25, DCV-26, D3
func TestNoCertificateReliesOnAMethodThatIsGone(t *testing.T) {
	for _, s := range sunsetSteps {
		for _, section := range s.sections {
			require.Nil(t, methodGone(section, "example.com", s.from.Add(-1)))
			p := methodGone(section, "example.com", s.from)
			require.NotNil(t, p)
			require.Equal(t, "permit.method", p.Code)
			require.Equal(t, []string{s.id}, p.Rules)
			require.Contains(t, p.Detail, section+", on which no certificate may rely since "+s.from.Format(time.DateOnly))
		}
	}
	for _, m := range va.Methods() {
		require.Nil(t, methodGone(m.Section(), "example.com", day(2040, 1, 1)))
	}
}

// Holds: CAA-05, CAA-06
func TestTheTTLIsOfTheAnswerThatCounted(t *testing.T) {
	f := va.CAAFinding{Found: "example.com", TTL: 90000, Lookups: []resolver.Lookup{{Name: "example.com.", Status: dnssec.Failure}},
		Failures: []va.LookupFailure{{Name: "example.com", Retry: resolver.Lookup{TTL: 80000}}}}
	require.EqualValues(t, 80000, relevantTTL(f))
	f.TTL = 70000
	require.EqualValues(t, 70000, relevantTTL(f))
	f.Found = ""
	require.Zero(t, relevantTTL(f))
}

// TestADeepNameIsLookedAtOnce, and not for each candidate: the names above it are as many as its labels, and each is held against the Public
// Suffix List; a permit of a hundred such names did that ten thousand times.
//
// Holds: D11
func TestADeepNameIsLookedAtOnce(t *testing.T) {
	deep := strings.Repeat("a.", 120) + "example.com"
	for _, scope := range []Scope{Exact, WildcardScope, Subtree} {
		cost := func(candidates int) float64 {
			var all []Relied
			for i := range candidates {
				all = append(all, shown(int64(i+1), fmt.Sprintf("b%d.example.com", i), va.DNS01, scope))
			}
			return testing.AllocsPerRun(1, func() {
				require.Equal(t, "permit.no-evidence", Rely(wanted(december.Add(time.Hour), deep), all)[0].Problem.Code)
			})
		}
		require.Less(t, (cost(200)-cost(100))/100, 50.0, scope)
	}
}

func TestScopesAreToldInWords(t *testing.T) {
	for s, want := range map[Scope]string{0: "example.com alone", Exact: "example.com alone", WildcardScope: "example.com and *.example.com",
		Subtree: "example.com and the names below it"} {
		require.Equal(t, want, scopeText(shown(1, "example.com", va.DNS01, s)))
	}
}

// TestEveryPermitCodeIsDocumented: what the program says and what the table explains are the same, and the rules exist.
func TestEveryPermitCodeIsDocumented(t *testing.T) {
	rows, err := os.ReadFile("../docs/requirements.tsv")
	require.NoError(t, err)
	known, used := map[string]bool{}, map[string]bool{}
	for _, c := range PermitCodes() {
		require.False(t, known[c.Code], "%s is there twice", c.Code)
		known[c.Code] = true
		require.NotEmpty(t, c.Means)
		for _, rule := range c.Rules {
			require.Contains(t, string(rows), "\n"+rule+"\t", c.Code)
		}
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	literal := regexp.MustCompile(`(?:permitProblem|refuse)\("((?:permit|certificate)\.[a-z-]+)"`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range literal.FindAllStringSubmatch(string(source), -1) {
			used[m[1]] = true
		}
	}
	require.Equal(t, known, used)
}
