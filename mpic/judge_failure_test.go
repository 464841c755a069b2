package mpic

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// failedCAA is a finding of a climb in which the servers of the unsigned example.com answered neither the lookup nor the
// retry, with what excuses that.
func failedCAA(p va.Probe) va.CAAFinding {
	began := p.Deadline.Add(-15 * time.Second)
	lookup := func(name, kind string, second int, server string, s dnssec.Status, answers ...string) resolver.Lookup {
		at := began.Add(time.Duration(second) * time.Second)
		l := resolver.Lookup{Name: name, Type: kind, Status: s, Rcode: "NOERROR", Answers: answers, Started: at,
			Finished: at.Add(time.Second), Chain: []resolver.Link{{Zone: ".", Result: dnssec.Secure}},
			Queries: []resolver.Query{{Server: server, Transport: "udp", Question: name + " " + kind, Rcode: "NOERROR"}}}
		if name != "." {
			l.Chain = append(l.Chain, resolver.Link{Zone: "com.", Result: dnssec.Secure})
		}
		return l
	}
	failed := func(second int) resolver.Lookup {
		l := lookup("example.com.", "CAA", second, "192.0.2.9:53", dnssec.Failure)
		l.Code, l.Rcode, l.Queries[0].Rcode = "dns.no-server", "", "SERVFAIL"
		l.Chain = append(l.Chain, resolver.Link{Zone: "example.com.", Result: dnssec.Insecure})
		return l
	}
	return va.CAAFinding{Outcome: va.Pass, Name: "example.com", FreshUntil: began.Add(8 * time.Hour),
		Started: began, Finished: began.Add(10 * time.Second),
		Lookups: []resolver.Lookup{failed(1), lookup("com.", "CAA", 1, "192.0.2.2:53", dnssec.Secure)},
		Failures: []va.LookupFailure{{Name: "example.com", Retry: failed(3),
			DS:      lookup("example.com.", "DS", 3, "192.0.2.2:53", dnssec.Secure),
			Control: lookup(".", "SOA", 3, "192.0.2.1:53", dnssec.Secure, ".\t300\tIN\tSOA\ta. b. 1 2 3 4 5")}}}
}

// excusing is unanimous evidence of an attempt under the rule given, in which nobody could look example.com's CAA up.
func excusing(t testing.TB, rule va.FailureRule) Evidence {
	t.Helper()
	e := unanimous(t, fiveRegions(), december)
	e.Attempt.Probe.CAALookupFailure = rule
	e = unanimousFor(t, e)
	e.Primary.report.CAA = failedCAA(e.Attempt.Probe)
	for i := range e.Remotes {
		e.Remotes[i].Report.CAA = failedCAA(e.Attempt.Probe)
	}
	return e
}

// Holds: CAA-06, MPIC-11
func TestBR_3_2_2_8_AcceptableFailuresCorroborate(t *testing.T) {
	e := excusing(t, va.PermitProvenFailure)
	d := Judge(e)
	require.True(t, d.Granted(), "%v", d.Reasons())
	require.Equal(t, "5/5", d.CAA().String())
	for _, v := range d.Views() {
		require.Equal(t, []string{"example.com"}, v.CAAExcused, v.Perspective)
	}

	stored, err := json.Marshal(e)
	require.NoError(t, err)
	require.Contains(t, string(stored), `"caa_lookup_failure":"permit-when-proven"`)
	var read Evidence
	require.NoError(t, json.Unmarshal(stored, &read))
	live, err := json.Marshal(d)
	require.NoError(t, err)
	require.Contains(t, string(live), `"caa_excused":["example.com"]`)
	again, err := json.Marshal(Judge(read))
	require.NoError(t, err)
	require.JSONEq(t, string(live), string(again), "judged again from the record")

	for name, mixed := range map[string]func(*Evidence){
		"the primary alone": func(e *Evidence) {
			for i, m := range e.Roster.Remotes {
				e.Remotes[i] = answered(m.Name, passing(t, e.Attempt.Probe, m.Name))
			}
		},
		"the remotes alone": func(e *Evidence) { e.Primary = &PrimaryReport{report: passing(t, e.Attempt.Probe, "zurich")} },
	} {
		t.Run(name, func(t *testing.T) {
			e := excusing(t, va.PermitProvenFailure)
			mixed(&e)
			require.True(t, Judge(e).Granted(), "%v", Judge(e).Reasons())
		})
	}
}

// Holds: CAA-06, CAA-07, C6
func TestWithoutTheRuleNoFailureIsExcused(t *testing.T) {
	d := Judge(excusing(t, va.DenyFailure))
	require.False(t, d.Granted())
	require.Contains(t, codes(d), contradicts)
	require.Contains(t, d.Reasons()[0].Detail, `the rule of this attempt is "deny"`)
	require.Equal(t, "0/5", d.CAA().String())
	for _, v := range d.Views() {
		require.Empty(t, v.CAAExcused)
	}

	e := excusing(t, va.PermitProvenFailure)
	e.Attempt.Probe.CAALookupFailure = va.DenyFailure // the record's rule changed later
	require.False(t, Judge(e).Granted())
	require.Equal(t, "perspective.unbound", Judge(e).Reasons()[0].Code)
}

// TestJudgeAsksForEachProof alters or takes away one thing in a finding whose failure is excused; what makes an excuse is in
// va, and each of its ways to say no in that package's tests.
//
// Holds: CAA-06, CAA-07, MPIC-11, C6
func TestJudgeAsksForEachProof(t *testing.T) {
	const ours = "example.com.\t300\tIN\tCAA\t0 issue \"ca.example\""
	retried := func(f *va.CAAFinding) {
		f.Failures[0].Retry.Status, f.Failures[0].Retry.Code, f.Failures[0].Retry.Rcode = dnssec.Insecure, "", "NOERROR"
		f.Failures[0].Retry.Answers, f.Lookups = []string{ours}, f.Lookups[:1]
		f.Found, f.Records, f.Permits = "example.com", []string{ours}, ours
	}
	for name, c := range map[string]struct {
		alter func(*va.CAAFinding)
		want  string // empty where it is believed
	}{
		"no account of it":            {func(f *va.CAAFinding) { f.Failures = nil }, "the lookup of example.com. CAA is failure"},
		"an account of another":       {func(f *va.CAAFinding) { f.Failures[0].Name = "com" }, "the lookup of example.com. CAA is failure"},
		"an account without end":      {func(f *va.CAAFinding) { f.Failures = append(f.Failures, f.Failures[0]) }, "lookups beyond it"},
		"no retry":                    {func(f *va.CAAFinding) { f.Failures[0].Retry = resolver.Lookup{} }, "the retry"},
		"the retry is the first":      {func(f *va.CAAFinding) { f.Failures[0].Retry = f.Lookups[0] }, "does not lie between"},
		"a bogus retry":               {func(f *va.CAAFinding) { f.Failures[0].Retry.Status = dnssec.Bogus }, "the retry: it is bogus"},
		"bogus from the first":        {func(f *va.CAAFinding) { f.Lookups[0].Status = dnssec.Bogus }, "it is bogus"},
		"a limit":                     {func(f *va.CAAFinding) { f.Lookups[0].Code = "dns.limit" }, `"dns.limit"`},
		"a signed zone":               {func(f *va.CAAFinding) { f.Lookups[0].Chain[2].Result = dnssec.Secure }, "no zone in its chain of trust is proven insecure"},
		"no DS":                       {func(f *va.CAAFinding) { f.Failures[0].DS = resolver.Lookup{} }, "stands where that of example.com. DS belongs"},
		"DS of another zone":          {func(f *va.CAAFinding) { f.Failures[0].DS.Name = "com." }, "stands where that of example.com. DS belongs"},
		"DS failed":                   {func(f *va.CAAFinding) { f.Failures[0].DS.Status = dnssec.Failure }, "DS is failure"},
		"no control":                  {func(f *va.CAAFinding) { f.Failures[0].Control = resolver.Lookup{} }, "stands where that of . SOA belongs"},
		"control failed":              {func(f *va.CAAFinding) { f.Failures[0].Control.Status = dnssec.Failure }, "nothing shows that the network works"},
		"no server failed":            {func(f *va.CAAFinding) { f.Lookups[0].Queries = nil }, "no server of example.com. was reached in vain"},
		"before the attempt":          {func(f *va.CAAFinding) { f.Started = december.Add(-clockSkew - time.Second) }, "before the attempt started"},
		"a clock that is a bit slow":  {func(f *va.CAAFinding) { f.Started = december.Add(-clockSkew) }, ""},
		"lookups before the finding":  {func(f *va.CAAFinding) { f.Started = f.Lookups[0].Started.Add(time.Second) }, "not looked up between"},
		"lookups after the finding":   {func(f *va.CAAFinding) { f.Finished = f.Failures[0].Control.Started }, "does not lie between"},
		"a finding without times":     {func(f *va.CAAFinding) { f.Started, f.Finished = time.Time{}, time.Time{} }, "before the attempt started"},
		"after the deadline":          {func(f *va.CAAFinding) { shift(f, 15*time.Second) }, "does not lie between"},
		"an answer to the first":      {func(f *va.CAAFinding) { f.Lookups[0].Status = dnssec.Secure }, "it is secure"},
		"the climb ends at it":        {func(f *va.CAAFinding) { f.Lookups = f.Lookups[:1] }, "no CAA lookup for com"},
		"a parent fails without more": {func(f *va.CAAFinding) { f.Lookups[1].Status = dnssec.Failure }, "com. CAA is failure"},
		"a parent that forbids": {func(f *va.CAAFinding) {
			const theirs = "com.\t300\tIN\tCAA\t0 issue \"other.example\""
			f.Found, f.Records, f.Lookups[1].Answers = "com", []string{theirs}, []string{theirs}
		}, "name other issuers"},
		"a parent that permits": {func(f *va.CAAFinding) {
			const theirs = "com.\t300\tIN\tCAA\t0 issue \"ca.example\""
			f.Found, f.Permits, f.Records, f.Lookups[1].Answers = "com", theirs, []string{theirs}, []string{theirs}
		}, ""},
		"an answer to the retry": {retried, ""},
		"an answer to the retry, hidden": {func(f *va.CAAFinding) {
			retried(f)
			f.Found, f.Records, f.Permits = "", nil, ""
			f.Lookups = failedCAA(attemptAt(december).Probe).Lookups
		}, "the relevant records stand at example.com"},
		"an answer to the retry, before the failure": {func(f *va.CAAFinding) {
			retried(f)
			f.Failures[0].Retry.Started = f.Lookups[0].Started
		}, "the retry was not made after it"},
		"an answer to the retry, too late": {func(f *va.CAAFinding) {
			retried(f)
			f.Failures[0].Retry.Finished = f.Finished.Add(time.Second)
		}, "not in time"},
		"an answer to the retry, and one before": {func(f *va.CAAFinding) {
			retried(f)
			f.Lookups[0].Status = dnssec.Insecure
		}, "it is insecure"},
		"an answer to another retry": {func(f *va.CAAFinding) {
			retried(f)
			f.Failures[0].Retry.Name = "com."
		}, "where the lookup of example.com. CAA belongs, that of com. CAA stands"},
	} {
		t.Run(name, func(t *testing.T) {
			e := excusing(t, va.PermitProvenFailure)
			c.alter(&e.Remotes[2].Report.CAA)
			d := Judge(e)
			require.True(t, d.Granted(), "one of five may fail: %v", d.Reasons())
			v := d.Views()[3]
			if c.want == "" {
				require.Equal(t, va.Pass, v.CAA, "%v", v.CAAProblem)
			} else {
				require.Equal(t, va.Error, v.CAA)
				require.Equal(t, contradicts, v.CAAProblem.Code)
				require.Contains(t, v.CAAProblem.Detail, c.want)
				require.Empty(t, v.CAAExcused)
			}

			e = excusing(t, va.PermitProvenFailure)
			c.alter(&e.Primary.report.CAA)
			require.Equal(t, c.want == "", Judge(e).Granted(), "the primary is held to the same")
		})
	}
}

// shift moves all times of a finding.
func shift(f *va.CAAFinding, by time.Duration) {
	x := &f.Failures[0]
	for _, at := range []*time.Time{&f.Started, &f.Finished, &f.Lookups[0].Started, &f.Lookups[0].Finished, &x.Retry.Started, &x.Retry.Finished,
		&x.DS.Started, &x.DS.Finished, &x.Control.Started, &x.Control.Finished} {
		*at = at.Add(by)
	}
}

// TestTheRuleForFailuresIsTheGates: the coordinator puts its own rule into the probe, and a request has no place for one.
//
// Holds: CAA-06, F7
func TestTheRuleForFailuresIsTheGates(t *testing.T) {
	for _, rule := range []va.FailureRule{va.DenyFailure, va.PermitProvenFailure} {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, fiveRegions(), december)
			s.config.CAALookupFailure = rule
			s.check = func(_ context.Context, p va.Probe) va.Report {
				r := passing(t, p, "zurich")
				r.CAA = failedCAA(p)
				return r
			}
			seen := make(chan va.Probe, 5)
			for _, f := range s.remotes {
				as := f.attest
				f.attest = func(ctx context.Context, p va.Probe) Attestation { seen <- p; return as(ctx, p) }
			}
			c := s.coordinator()
			r := s.validate(c)
			require.Equal(t, rule == va.PermitProvenFailure, r.Decision.Granted(), "%v", r.Decision.Reasons())
			require.Equal(t, rule, r.Evidence.Attempt.Probe.CAALookupFailure)
			for range s.remotes {
				require.Equal(t, rule, (<-seen).CAALookupFailure)
			}
			s.close(c)
			if rule == va.PermitProvenFailure {
				require.Contains(t, s.log.String(), "a failed CAA lookup counted as permission")
			}
		})
	}
	s := newScene(t, fiveRegions(), december)
	s.config.CAALookupFailure = 7
	_, err := newCoordinator(s.config, s.check)
	require.ErrorContains(t, err, "7 is no rule for a failed CAA lookup")
}
