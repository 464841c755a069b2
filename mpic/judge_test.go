package mpic

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

func TestTheZeroDecisionGrantsNothing(t *testing.T) {
	var d Decision
	require.False(t, d.Granted())
	require.Empty(t, d.Views())
	require.Equal(t, "0/0", d.DCV().String())
	b, err := json.Marshal(d)
	require.NoError(t, err)
	require.Contains(t, string(b), `"outcome":"refused"`)

	//lint:ignore SA9005 that nothing can be decoded into it is what is shown
	require.NoError(t, json.Unmarshal([]byte(`{"granted":true,"Granted":true,"outcome":"granted"}`), &d))
	require.False(t, d.Granted(), "nobody makes a decision by decoding one")
}

// Holds: MPIC-12, MPIC-09, F1
func TestJudgeRefusesAnAttemptAsAWhole(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Evidence)
		code  string
	}{
		"no kind":              {func(e *Evidence) { e.Attempt.Kind = 0 }, "request.kind"},
		"an unknown kind":      {func(e *Evidence) { e.Attempt.Kind = 77 }, "request.kind"},
		"no attempt":           {func(e *Evidence) { e.Attempt.Probe.Attempt = "" }, "request.unbound"},
		"no nonce":             {func(e *Evidence) { e.Attempt.Probe.Nonce = "" }, "request.unbound"},
		"no start":             {func(e *Evidence) { e.Attempt.Started = time.Time{} }, "policy.none"},
		"no primary":           {func(e *Evidence) { e.Primary = nil }, "primary.missing"},
		"two rows of one":      {func(e *Evidence) { e.Remotes[1].Perspective = e.Remotes[0].Perspective }, "evidence.duplicate"},
		"a stranger":           {func(e *Evidence) { e.Remotes[1].Perspective = "mallory" }, "evidence.stranger"},
		"the primary's row":    {func(e *Evidence) { e.Remotes[1].Perspective = "zurich" }, "evidence.stranger"},
		"a row without a name": {func(e *Evidence) { e.Remotes[1].Perspective = "" }, "evidence.stranger"},
		"a roster too near":    {func(e *Evidence) { e.Roster.Remotes[0].Place = e.Roster.Primary.Place }, "roster.distance"},
	} {
		t.Run(name, func(t *testing.T) {
			e := unanimous(t, fiveRegions(), december)
			require.True(t, Judge(e).Granted())
			c.spoil(&e)
			d := Judge(e)
			require.False(t, d.Granted())
			require.Contains(t, codes(d), c.code)
		})
	}
	e := unanimous(t, fiveRegions(), december)
	e.Attempt.Probe.Request.Identifier = ""
	require.NotEmpty(t, Judge(e).Reasons(), "an inadmissible request is refused whatever was seen")
	require.Empty(t, Judge(e).Views())
}

const contradicts = "perspective.contradiction"

// spoiled names what makes a report count for nothing in one check or in both.
var spoiled = map[string]struct {
	spoil    func(*va.Report)
	dcv, caa bool
	code     string
}{
	"another attempt": {func(r *va.Report) { r.Attempt = "ATTEMPT0" }, true, true, "perspective.unbound"},
	"another nonce":   {func(r *va.Report) { r.Nonce = "00" }, true, true, "perspective.unbound"},
	"another request": {func(r *va.Report) { r.Digest = "00" }, true, true, "perspective.unbound"},
	"no digest":       {func(r *va.Report) { r.Digest = "" }, true, true, "perspective.unbound"},

	"DCV without outcome":           {func(r *va.Report) { r.DCV.Outcome = 0 }, true, false, contradicts},
	"DCV with an unknown outcome":   {func(r *va.Report) { r.DCV.Outcome = 5 }, true, false, contradicts},
	"DCV not checked":               {func(r *va.Report) { r.DCV = va.DCVFinding{Outcome: va.NotChecked} }, true, true, contradicts},
	"DCV passed and not checked":    {func(r *va.Report) { r.DCV.Outcome = va.NotChecked }, true, true, contradicts},
	"CAA not checked":               {func(r *va.Report) { r.CAA.Outcome = va.NotChecked }, true, true, contradicts},
	"DCV failed without a reason":   {func(r *va.Report) { r.DCV.Outcome = va.Fail }, true, false, contradicts},
	"DCV passed with a problem":     {func(r *va.Report) { r.DCV.Problem = noToken }, true, false, contradicts},
	"DCV passed and saw nothing":    {func(r *va.Report) { r.DCV.Observed = "" }, true, false, contradicts},
	"DCV passed on another token":   {func(r *va.Report) { r.DCV.Observed += "x" }, true, false, contradicts},
	"DCV passed for another name":   {func(r *va.Report) { r.DCV.Queried = "example.org" }, true, false, contradicts},
	"DCV passed over bogus":         {dcvLookup(dnssec.Bogus), true, false, contradicts},
	"DCV passed over no status":     {dcvLookup(0), true, false, contradicts},
	"DCV passed over a failure":     {dcvLookup(dnssec.Failure), true, false, contradicts},
	"CAA without outcome":           {func(r *va.Report) { r.CAA.Outcome = 0 }, false, true, contradicts},
	"CAA with an unknown outcome":   {func(r *va.Report) { r.CAA.Outcome = 255 }, false, true, contradicts},
	"CAA error without a reason":    {func(r *va.Report) { r.CAA.Outcome = va.Error }, false, true, contradicts},
	"CAA permits with a problem":    {func(r *va.Report) { r.CAA.Problem = forbidden }, false, true, contradicts},
	"CAA for another name":          {func(r *va.Report) { r.CAA.Name = "example.org" }, false, true, contradicts},
	"CAA by another property":       {func(r *va.Report) { r.CAA.Permits += "x" }, false, true, contradicts},
	"CAA without lookups":           {func(r *va.Report) { r.CAA.Lookups = nil }, false, true, contradicts},
	"CAA lookup of another name":    {func(r *va.Report) { r.CAA.Lookups[0].Name = "example.org." }, false, true, contradicts},
	"CAA lookup of another type":    {func(r *va.Report) { r.CAA.Lookups[0].Type = "TXT" }, false, true, contradicts},
	"CAA lookup bogus":              {func(r *va.Report) { r.CAA.Lookups[0].Status = dnssec.Bogus }, false, true, contradicts},
	"CAA lookup failed":             {func(r *va.Report) { r.CAA.Lookups[0].Status = dnssec.Failure }, false, true, contradicts},
	"CAA lookup without status":     {func(r *va.Report) { r.CAA.Lookups[0].Status = 0 }, false, true, contradicts},
	"CAA answer hidden":             {func(r *va.Report) { r.CAA.Lookups[0].Answers = nil }, false, true, contradicts},
	"CAA answer that is no record":  {caaAnswers("example.com. nonsense"), false, true, contradicts},
	"CAA answer that is a comment":  {caaAnswers("; CAA"), false, true, contradicts},
	"CAA records not those found":   {caaAnswers("example.com.\t300\tIN\tCAA\t0 issue \"other.example\""), false, true, contradicts},
	"CAA records of a hidden owner": {caaAnswers("a\\ b.example.com.\t300\tIN\tCAA\t0 issue \"ca.example\""), false, true, contradicts},
	"CAA records of another owner":  {caaAnswers("example.org.\t300\tIN\tCAA\t0 issue \"ca.example\""), false, true, contradicts},
	"CAA looked up twice": {func(r *va.Report) {
		r.CAA.Lookups = append(r.CAA.Lookups, caaLookup("example.com.", "example.com.\t300\tIN\tCAA\t0 issue \";\""))
	}, false, true, contradicts},
	"CAA lookups beyond the top": {func(r *va.Report) {
		r.CAA.Lookups = []resolver.Lookup{caaLookup("example.com."), caaLookup("com."), caaLookup("org.")}
		r.CAA.Found, r.CAA.Records, r.CAA.Permits = "", nil, ""
	}, false, true, contradicts},
	"CAA found elsewhere": {func(r *va.Report) { r.CAA.Found = "com" }, false, true, contradicts},
	"CAA that forbids": {func(r *va.Report) {
		const other = "example.com.\t300\tIN\tCAA\t0 issue \"other.example\""
		r.CAA.Records, r.CAA.Lookups[0].Answers, r.CAA.Permits = []string{other}, []string{other}, other
	}, false, true, contradicts},
	"CAA records out of nothing": {func(r *va.Report) {
		r.CAA.Lookups = []resolver.Lookup{caaLookup("example.com."), caaLookup("com.")}
		r.CAA.Found = "org"
	}, false, true, contradicts},
	"CAA climb cut short": {func(r *va.Report) {
		r.CAA.Lookups, r.CAA.Found, r.CAA.Records, r.CAA.Permits = []resolver.Lookup{caaLookup("example.com.")}, "", nil, ""
	}, false, true, contradicts},
}

func dcvLookup(s dnssec.Status) func(*va.Report) {
	return func(r *va.Report) {
		r.DCV.Lookups[0].Status = s
	}
}

func caaAnswers(answers ...string) func(*va.Report) {
	return func(r *va.Report) { r.CAA.Lookups[0].Answers = answers }
}

func caaLookup(name string, answers ...string) resolver.Lookup {
	return resolver.Lookup{Name: name, Type: "CAA", Status: dnssec.Insecure, Rcode: "NOERROR", Answers: answers}
}

// Holds: MPIC-09, MPIC-10, MPIC-11, MPIC-12, CAA-01, CAA-07, F6, C1
func TestJudgeBelievesNoPassWithoutWhatMustHaveBeenSeen(t *testing.T) {
	for name, c := range spoiled {
		t.Run(name, func(t *testing.T) {
			want := map[bool]va.Outcome{false: va.Pass, true: va.Error}

			e := unanimous(t, fiveRegions(), december)
			c.spoil(e.Remotes[2].Report)
			d := Judge(e)
			require.True(t, d.Granted(), "one of five may fail: %v", d.Reasons())
			v := d.Views()[3]
			require.Equal(t, want[c.dcv], v.DCV)
			require.Equal(t, want[c.caa], v.CAA)
			if c.dcv {
				require.Equal(t, c.code, v.DCVProblem.Code)
			}
			if c.caa {
				require.Equal(t, c.code, v.CAAProblem.Code)
			}

			e = unanimous(t, fiveRegions(), december)
			c.spoil(&e.Primary.report)
			d = Judge(e)
			require.False(t, d.Granted(), "the primary must not fail")
			require.Contains(t, codes(d), c.code)
			require.Equal(t, 5, d.DCV().Corroborated, "what the primary did does not change what the remotes said")
		})
	}
}

// Holds: MPIC-03, F3
func TestJudgeCountsWhatIsNoAnswerAsNonCorroboration(t *testing.T) {
	e := unanimous(t, fiveRegions(), december)
	report := e.Remotes[0].Report
	for name, a := range map[string]Attestation{
		"nothing at all":            {},
		"answered without report":   {State: Answered},
		"answered with a problem":   {State: Answered, Report: report, Problem: noAnswer},
		"timed out with a report":   {State: TimedOut, Report: report},
		"no state with a report":    {Report: report},
		"outstanding with report":   {State: Outstanding, Report: report},
		"rejected with a report":    {State: Rejected, Report: report},
		"not asked with a report":   {State: NotAsked, Report: report},
		"unreachable with a report": {State: Unreachable, Report: report},
		"unknown state with report": {State: 99, Report: report},
	} {
		t.Run(name, func(t *testing.T) {
			e := unanimous(t, fiveRegions(), december)
			a.Perspective = "ashburn"
			e.Remotes[0] = a
			v := Judge(e).Views()[1]
			require.Equal(t, va.Error, v.DCV)
			require.Equal(t, va.Error, v.CAA)
			require.NotNil(t, v.DCVProblem)
			require.NotNil(t, v.CAAProblem)
		})
	}
	t.Run("no row", func(t *testing.T) {
		e := unanimous(t, fiveRegions(), december)
		e.Remotes = e.Remotes[1:]
		require.True(t, Judge(e).Granted())
		require.Equal(t, "4/5", Judge(e).DCV().String())
		e.Remotes = e.Remotes[1:]
		require.False(t, Judge(e).Granted())
	})
}

// Holds: MPIC-11, CAA-01
func TestRFC8659_3_JudgeFollowsTheClimbOfTheRecordedLookups(t *testing.T) {
	const alias = "www.example.com.\t300\tIN\tCNAME\tcdn.example.net."
	at := func(e *Evidence, identifier string, found string, records []string, lookups ...resolver.Lookup) {
		e.Attempt.Probe.Request.Identifier = identifier
		*e = unanimousFor(t, *e)
		for i := range e.Remotes {
			f := &e.Remotes[i].Report.CAA
			f.Found, f.Records, f.Lookups = found, records, lookups
			f.Permits = ""
			if found != "" {
				f.Permits, _ = va.EvaluateCAA(records, e.Attempt.Probe.Request)
			}
		}
		f := e.Remotes[0].Report.CAA
		e.Primary.report.CAA = f
	}
	for name, c := range map[string]struct {
		identifier, found string
		records           []string
		lookups           []resolver.Lookup
		granted           bool
	}{
		"no records up to the top": {"www.example.com", "", nil,
			[]resolver.Lookup{caaLookup("www.example.com."), caaLookup("example.com."), caaLookup("com.")}, true},
		"found one label up": {"www.example.com", "example.com", []string{caaRecord},
			[]resolver.Lookup{caaLookup("www.example.com."), caaLookup("example.com.", caaRecord)}, true},
		"an alias stands before": {"www.example.com", "example.com", []string{caaRecord},
			[]resolver.Lookup{caaLookup("www.example.com.", alias), caaLookup("example.com.", caaRecord)}, true},
		"a nearer set is passed over": {"www.example.com", "example.com", []string{caaRecord},
			[]resolver.Lookup{caaLookup("www.example.com.", `www.example.com. 300 IN CAA 0 issue ";"`),
				caaLookup("example.com.", caaRecord)}, false},
		"the first step is missing": {"www.example.com", "example.com", []string{caaRecord},
			[]resolver.Lookup{caaLookup("example.com.", caaRecord)}, false},
		"the place named has none": {"www.example.com", "www.example.com", nil,
			[]resolver.Lookup{caaLookup("www.example.com."), caaLookup("example.com."), caaLookup("com.")}, false},
		"the top is missing": {"www.example.com", "", nil,
			[]resolver.Lookup{caaLookup("www.example.com."), caaLookup("example.com.")}, false},
		"records named, none looked up": {"www.example.com", "net", []string{caaRecord},
			[]resolver.Lookup{caaLookup("www.example.com."), caaLookup("example.com."), caaLookup("com.")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := unanimous(t, fiveRegions(), december)
			at(&e, c.identifier, c.found, c.records, c.lookups...)
			d := Judge(e)
			require.Equal(t, c.granted, d.Granted(), "%v", d.Reasons())
			require.Equal(t, "5/5", d.DCV().String())
		})
	}
}

// unanimousFor is unanimous for the request that e has by now.
func unanimousFor(t testing.TB, e Evidence) Evidence {
	e.Primary = &PrimaryReport{report: passing(t, e.Attempt.Probe, "zurich")}
	e.Remotes = slices.Clone(e.Remotes)
	for i, m := range e.Roster.Remotes {
		e.Remotes[i] = answered(m.Name, passing(t, e.Attempt.Probe, m.Name))
	}
	return e
}

// Holds: MPIC-10
func TestJudgeAsksEachMethodForItsOwnChallengeInformation(t *testing.T) {
	for _, m := range va.Methods() {
		t.Run(m.String(), func(t *testing.T) {
			e := unanimous(t, fiveRegions(), december)
			e.Attempt.Probe.Request.Method = m
			e = unanimousFor(t, e)
			require.True(t, Judge(e).Granted(), "%v", Judge(e).Reasons())
			for _, other := range va.Methods() {
				if other == m {
					continue
				}
				req := e.Attempt.Probe.Request
				req.Method = other
				e.Primary.report.DCV.Observed = req.Expected()
				require.False(t, Judge(e).Granted(), "what %s shows is not what %s shows", other, m)
			}
		})
	}
	e := unanimous(t, fiveRegions(), december)
	e.Attempt.Probe.Request.Method = 0
	require.False(t, Judge(unanimousFor(t, e)).Granted())
}

func TestDecisionCannotBeChangedThroughWhatItGives(t *testing.T) {
	e := unanimous(t, fiveRegions(), december)
	e.Primary.report.DCV = va.DCVFinding{Outcome: va.Fail, Problem: noToken}
	d := Judge(e)
	d.Views()[0].DCV = va.Pass
	d.Reasons()[0] = nil
	require.Equal(t, va.Fail, d.Views()[0].DCV)
	require.NotNil(t, d.Reasons()[0])
	require.Equal(t, "ATTEMPT1", d.Attempt())
	require.Equal(t, "2026-12-15", d.Policy().Name())
}
