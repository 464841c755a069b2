package mpic

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// foreign makes the first n remotes of a roster those of another protocol.
func foreign(r Roster, p Protocol, n int) Roster {
	for i := range n {
		m := &r.Remotes[i]
		m.Protocol, m.SigningKey, m.Code = p, "", "code-"+m.Name
	}
	return r
}

// stating is the statement of a remote that passes what was asked, with all that its protocol tells.
func stating(a Attempt, m Member) Statement {
	s := Statement{Digest: a.Probe.Digest(), Exchanges: []Exchange{{Target: m.URL, Status: 200, Sent: "{}", Received: "{}",
		Started: a.Started, Finished: a.Started}}}
	said := Said{Outcome: va.Pass, At: a.Started}
	if protocols[m.Protocol].names {
		said.Perspective = m.code()
	}
	if protocols[m.Protocol].regions {
		said.Region = m.Place.Region
	}
	if a.Kind.dcv() {
		dcv := said
		dcv.Seen = []string{a.Probe.Request.Expected()}
		s.DCV = &dcv
	}
	if a.Kind.caa() {
		s.CAA = &said
	}
	return s
}

func unanimousForeign(t testing.TB, k Kind, method va.Method, p Protocol, n int) Evidence {
	t.Helper()
	e := unanimous(t, foreign(fiveRegions(), p, n), december)
	e.Attempt.Probe.Request = request(method, december)
	if k != Issuance {
		e.Attempt = alone(e.Attempt, k)
	}
	e = unanimousFor(t, e)
	for i, m := range e.Roster.Remotes[:n] {
		s := stating(e.Attempt, m)
		e.Remotes[i] = Attestation{Perspective: m.Name, State: Answered, Asked: december, Closed: december, Statement: &s}
	}
	return e
}

// TestRemotesOfOtherProtocolsCorroborate: all of each protocol, and beside ours; and the record gives the same decision again.
//
// Holds: MPIC-01, MPIC-08
func TestRemotesOfOtherProtocolsCorroborate(t *testing.T) {
	for _, p := range Protocols() {
		for _, k := range []Kind{Issuance, DCVAlone, CAAAlone} {
			for _, n := range []int{1, 3, 5} {
				e := unanimousForeign(t, k, va.DNS01, p, n)
				d := Judge(e)
				require.True(t, d.Granted(), "%s, %s, %d: %v %v", p, k, n, d.Reasons(), d.Views())
				require.Equal(t, 5, max(d.DCV().Corroborated, d.CAA().Corroborated))

				text, err := json.Marshal(e)
				require.NoError(t, err)
				var again Evidence
				require.NoError(t, json.Unmarshal(text, &again))
				require.Equal(t, d.Recorded(), Judge(again).Recorded())

				e.Primary = nil
				require.Equal(t, []string{"primary.missing"}, codes(Judge(e)), "F1: remotes alone never suffice")
			}
		}
	}
}

// TestAStatementIsBelievedNoFurtherThanItSays
//
// Holds: MPIC-08, MPIC-09, F6, C1
func TestAStatementIsBelievedNoFurtherThanItSays(t *testing.T) {
	problem := &va.Problem{Code: "caa.forbidden", Detail: "no"}
	both := func(change func(*Said)) func(*Statement) {
		return func(s *Statement) {
			change(s.DCV)
			change(s.CAA)
		}
	}
	for name, c := range map[string]struct {
		protocol Protocol
		spoil    func(*Statement)
		dcv, caa string
	}{
		"of another probe":              {OpenMPICChecker, func(s *Statement) { s.Digest = strings.Repeat("cd", 32) }, "perspective.unbound", "perspective.unbound"},
		"of no probe":                   {OpenMPICChecker, func(s *Statement) { s.Digest = "" }, "perspective.unbound", "perspective.unbound"},
		"no DCV":                        {OpenMPICChecker, func(s *Statement) { s.DCV = nil }, "perspective.contradiction", ""},
		"no CAA":                        {OpenMPICChecker, func(s *Statement) { s.CAA = nil }, "", "perspective.contradiction"},
		"nothing said":                  {OpenMPICChecker, both(func(s *Said) { *s = Said{} }), "perspective.contradiction", "perspective.contradiction"},
		"failed":                        {OpenMPICChecker, both(func(s *Said) { s.Outcome, s.Problem = va.Fail, problem }), "caa.forbidden", "caa.forbidden"},
		"failed without a reason":       {OpenMPICChecker, both(func(s *Said) { s.Outcome = va.Fail }), "perspective.contradiction", "perspective.contradiction"},
		"not checked":                   {OpenMPICChecker, both(func(s *Said) { s.Outcome = va.NotChecked }), "perspective.contradiction", "perspective.contradiction"},
		"a pass with a problem":         {OpenMPICChecker, both(func(s *Said) { s.Problem = problem }), "perspective.contradiction", "perspective.contradiction"},
		"of another name":               {OpenMPICChecker, both(func(s *Said) { s.Name = "example.org" }), "perspective.contradiction", "perspective.contradiction"},
		"of this name":                  {OpenMPICChecker, both(func(s *Said) { s.Name = "example.com" }), "", ""},
		"of yesterday":                  {OpenMPICChecker, both(func(s *Said) { s.At = s.At.Add(-24 * time.Hour) }), "perspective.contradiction", "perspective.contradiction"},
		"of tomorrow":                   {OpenMPICChecker, both(func(s *Said) { s.At = s.At.Add(24 * time.Hour) }), "perspective.contradiction", "perspective.contradiction"},
		"at no time":                    {OpenMPICChecker, both(func(s *Said) { s.At = time.Time{} }), "", ""},
		"a checker by another name":     {OpenMPICChecker, both(func(s *Said) { s.Perspective = "code-tokyo" }), "perspective.contradiction", "perspective.contradiction"},
		"a checker of another region":   {OpenMPICChecker, both(func(s *Said) { s.Region = LACNIC }), "perspective.contradiction", "perspective.contradiction"},
		"one of several by no name":     {OpenMPICCoordinator, both(func(s *Said) { s.Perspective = "" }), "perspective.contradiction", "perspective.contradiction"},
		"one of several, another":       {OpenMPICCoordinator, both(func(s *Said) { s.Perspective = "code-tokyo" }), "perspective.contradiction", "perspective.contradiction"},
		"by the roster's name":          {OpenMPICCoordinator, both(func(s *Said) { s.Perspective = "ashburn" }), "perspective.contradiction", "perspective.contradiction"},
		"Boulder's without a name":      {Boulder, both(func(s *Said) { s.Perspective = "" }), "perspective.contradiction", "perspective.contradiction"},
		"Boulder's without a region":    {Boulder, both(func(s *Said) { s.Region = "" }), "perspective.contradiction", "perspective.contradiction"},
		"Boulder's that saw nothing":    {Boulder, both(func(s *Said) { s.Seen = nil }), "perspective.contradiction", ""},
		"TXT records without the value": {OpenMPICChecker, func(s *Statement) { s.DCV.Seen = []string{"x"} }, "perspective.contradiction", ""},
		"no TXT records":                {OpenMPICChecker, func(s *Statement) { s.DCV.Seen = nil }, "perspective.contradiction", ""},
		"CAA records that permit":       {OpenMPICChecker, func(s *Statement) { s.CAA.Seen = []string{caaRecord} }, "", ""},
		"CAA records that do not": {OpenMPICChecker, func(s *Statement) {
			s.CAA.Seen = []string{strings.Replace(caaRecord, "ca.example", "other.example", 1)}
		}, "", "perspective.contradiction"},
		"CAA records that are none": {OpenMPICChecker, func(s *Statement) { s.CAA.Seen = []string{"0 issue ca.example"} }, "", "perspective.contradiction"},
	} {
		t.Run(name, func(t *testing.T) {
			e := unanimousForeign(t, Issuance, va.DNS01, c.protocol, 1)
			c.spoil(e.Remotes[0].Statement)
			d := Judge(e)
			require.True(t, d.Granted(), "one of five may fail: %v", d.Reasons())
			v := d.Views()[1]
			got := func(p *va.Problem) string {
				if p == nil {
					return ""
				}
				return p.Code
			}
			require.Equal(t, c.dcv, got(v.DCVProblem), "%v", v.DCVProblem)
			require.Equal(t, c.caa, got(v.CAAProblem), "%v", v.CAAProblem)
			require.Equal(t, c.dcv == "", v.DCV == va.Pass)
			require.Equal(t, c.caa == "", v.CAA == va.Pass)
		})
	}
}

// TestOneAloneStatesNothingOfTheOther: a statement with a check that was not asked for is of another request.
//
// Holds: MPIC-09
func TestOneAloneStatesNothingOfTheOther(t *testing.T) {
	e := unanimousForeign(t, DCVAlone, va.DNS01, OpenMPICChecker, 1)
	e.Remotes[0].Statement.CAA = &Said{Outcome: va.Pass}
	require.Equal(t, va.Error, Judge(e).Views()[1].CAA)
	e = unanimousForeign(t, CAAAlone, va.DNS01, OpenMPICChecker, 1)
	e.Remotes[0].Statement.DCV = &Said{Outcome: va.Pass, Seen: []string{"x"}}
	require.Equal(t, va.Error, Judge(e).Views()[1].DCV)
}

// TestAStatementStandsForNoReport: neither for the signed reply of one of ours, nor beside one.
//
// Holds: MPIC-08, MPIC-12
func TestAStatementStandsForNoReport(t *testing.T) {
	ours := unanimous(t, fiveRegions(), december)
	s := stating(ours.Attempt, ours.Roster.Remotes[0])
	report := ours.Remotes[0].Report
	ours.Remotes[0].Report, ours.Remotes[0].Statement = nil, &s
	require.Equal(t, va.Error, Judge(ours).Views()[1].DCV, "ours must answer by a signed report")
	ours.Remotes[0].Report = report
	require.Equal(t, va.Error, Judge(ours).Views()[1].DCV, "and by nothing beside it")

	theirs := unanimousForeign(t, Issuance, va.DNS01, Boulder, 1)
	r := passing(t, theirs.Attempt.Probe, "ashburn")
	theirs.Remotes[0].Report, theirs.Remotes[0].Statement = &r, nil
	require.Equal(t, va.Error, Judge(theirs).Views()[1].DCV, "an unsigned report is none")
}

// at puts the remotes 0 and 1 at one place: the one at a URL, the other at https://a.example.
func at(i int, url string) func(*Roster) {
	return func(r *Roster) { r.Remotes[i].URL, r.Remotes[1].URL = url, "https://a.example" }
}

// TestRosterKnowsRemotesOfOtherProtocolsByTheirChannels
//
// Holds: MPIC-08, F9
func TestRosterKnowsRemotesOfOtherProtocolsByTheirChannels(t *testing.T) {
	for name, c := range map[string]struct {
		protocol Protocol
		change   func(*Roster)
		want     string
	}{
		"as it is":                   {Boulder, func(*Roster) {}, ""},
		"without pinned key":         {Boulder, func(r *Roster) { r.Remotes[0].TLSKey = "" }, ""},
		"with a signing key":         {Boulder, func(r *Roster) { r.Remotes[0].SigningKey = "x" }, "roster.unauthenticated"},
		"over plain text":            {Boulder, func(r *Roster) { r.Remotes[0].URL = "http://x" }, "roster.plain-text"},
		"by a protocol that is none": {Boulder, func(r *Roster) { r.Remotes[0].Protocol = "x" }, "roster.protocol"},
		"two on one channel":         {Boulder, func(r *Roster) { r.Remotes[0].URL, r.Remotes[0].Code = r.Remotes[1].URL+"/", r.Remotes[1].Code }, "roster.shared-key"},
		"two with one key":           {OpenMPICChecker, func(r *Roster) { r.Remotes[0].TLSKey = r.Remotes[1].TLSKey }, "roster.shared-key"},
		"one service by two names":   {OpenMPICChecker, at(0, "https://a.example"), "roster.shared-key"},
		"a remoteva by two names":    {Boulder, at(0, "https://a.example"), "roster.shared-key"},
		"one service, and its port":  {OpenMPICChecker, at(0, "https://A.example.:443//"), "roster.shared-key"},
		"one service, and its path":  {OpenMPICChecker, at(0, "https://a.example/./"), "roster.shared-key"},
		"other ports":                {OpenMPICChecker, at(0, "https://a.example:444"), ""},
		"other paths":                {OpenMPICChecker, at(0, "https://a.example/b"), ""},
		"a service, and one behind it": {OpenMPICCoordinator, func(r *Roster) {
			at(0, "https://a.example/")(r)
			r.Remotes[0].Protocol = OpenMPICChecker
		}, "roster.shared-key"},
		"one behind a service, and it": {OpenMPICCoordinator, func(r *Roster) {
			at(0, "https://a.example/")(r)
			r.Remotes[1].Protocol = OpenMPICChecker
		}, "roster.shared-key"},
		"a service's key, and one alone": {OpenMPICCoordinator, func(r *Roster) {
			r.Remotes[1].TLSKey, r.Remotes[1].Protocol = r.Remotes[0].TLSKey, OpenMPICChecker
		}, "roster.shared-key"},
		"a service's key, and ours": {OpenMPICCoordinator, func(r *Roster) { r.Remotes[4].TLSKey = r.Remotes[0].TLSKey }, "roster.shared-key"},
		"two services with one key": {OpenMPICCoordinator, func(r *Roster) {
			r.Remotes[0].TLSKey, r.Remotes[0].Code = r.Remotes[1].TLSKey, r.Remotes[1].Code
		}, "roster.shared-key"},
		"several with one key":            {OpenMPICCoordinator, func(r *Roster) { r.Remotes[0].TLSKey, r.Remotes[0].URL = r.Remotes[1].TLSKey, r.Remotes[1].URL }, ""},
		"several by one name":             {OpenMPICCoordinator, func(r *Roster) { r.Remotes[0].Code, r.Remotes[0].URL = r.Remotes[1].Code, r.Remotes[1].URL }, "roster.shared-key"},
		"one of ours by another name":     {Boulder, func(r *Roster) { r.Remotes[4].Code = "x" }, "roster.code"},
		"one of ours without signing key": {Boulder, func(r *Roster) { r.Remotes[4].SigningKey = "" }, "roster.unauthenticated"},
	} {
		t.Run(name, func(t *testing.T) {
			r := foreign(fiveRegions(), c.protocol, 3)
			c.change(&r)
			var got string
			for _, p := range r.Check(december) {
				got = p.Code
			}
			require.Equal(t, c.want, got)
		})
	}
}

// TestCAAThatWasStatedIsFreshForEightHours: no TTL is known that could make it longer.
//
// Holds: CAA-05
func TestCAAThatWasStatedIsFreshForEightHours(t *testing.T) {
	e := unanimousForeign(t, Issuance, va.DNS01, Boulder, 5)
	r, ok := Reliable(e, Judge(e).Recorded(), 1, strings.Repeat("ab", 32))
	require.True(t, ok)
	require.Equal(t, december.Add(8*time.Hour), r.CAAFreshUntil)
}
