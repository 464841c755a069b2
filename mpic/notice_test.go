package mpic

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// What an auditor finds of notices that do not follow from the evidence.
//
// Holds: CAA-09
func TestCAA_09_NoticesFollowFromTheEvidence(t *testing.T) {
	const to = "mailto:caa@example.com"
	a := Attempt{Kind: Issuance, Probe: va.Probe{Attempt: "A", Request: va.Request{Identifier: "example.com"}}}
	report := va.Report{CAA: va.CAAFinding{Outcome: va.Fail, Found: "example.com", Records: []string{
		"example.com.\t300\tIN\tCAA\t0 issue \";\"", "example.com.\t300\tIN\tCAA\t0 iodef \"" + to + "\"", "example.com.\t300\tIN\tCAA\t0 iodef \"tel:+1\""}}}
	e := Evidence{Attempt: a, Primary: &PrimaryReport{report: report}}
	refused := RecordedDecision{Outcome: "refused", Views: []View{{Role: RemoteRole, CAA: va.Pass},
		{Role: Primary, CAA: va.Fail, CAAProblem: &va.Problem{Code: "caa.forbidden"}}}}
	begun := Notice{Attempt: "A", Number: 7, Property: to, Outcome: NoticeBegun, Code: "notice.begun", Report: "x", At: time.Now()}
	with := func(change func(*Notice)) Notice { n := begun; change(&n); return n }
	end := with(func(n *Notice) { n.Outcome = NoticeDelivered })
	require.Empty(t, CheckNotices(e, refused, 7, nil))
	require.Empty(t, CheckNotices(e, refused, 7, []Notice{begun, end}))
	require.Empty(t, CheckNotices(e, refused, 7, []Notice{with(func(n *Notice) { n.Outcome, n.Property, n.Count = NoticeDropped, "", 2 })}))
	require.Empty(t, CheckNotices(e, refused, 7, []Notice{begun}), "a gate that died")
	for name, all := range map[string][]Notice{
		"another attempt":        {with(func(n *Notice) { n.Attempt = "B" })},
		"another number":         {with(func(n *Notice) { n.Number = 8 })},
		"somebody else":          {with(func(n *Notice) { n.Property = "mailto:victim@example.net" })},
		"another's place":        {with(func(n *Notice) { n.Position = 1 })},
		"no such place":          {with(func(n *Notice) { n.Position = 2 })},
		"below the first":        {with(func(n *Notice) { n.Position = -1 })},
		"more than there are":    {with(func(n *Notice) { n.Outcome, n.Count = NoticeDropped, 3 })},
		"delivered, not begun":   {end},
		"another report":         {begun, with(func(n *Notice) { n.Outcome, n.Report = NoticeDelivered, "y" })},
		"begun twice":            {begun, begun},
		"ended twice":            {begun, end, end},
		"begun after it ended":   {with(func(n *Notice) { n.Outcome = NoticeDropped }), begun},
		"ended after it dropped": {with(func(n *Notice) { n.Outcome = NoticeDropped }), end},
	} {
		require.NotEmpty(t, CheckNotices(e, refused, 7, all), name)
	}
	for name, change := range map[string]func(*Evidence, *RecordedDecision, *va.Report){
		"granted":              func(_ *Evidence, d *RecordedDecision, _ *va.Report) { d.Outcome = "granted" },
		"a dry run":            func(e *Evidence, _ *RecordedDecision, _ *va.Report) { e.Attempt.Kind = DryRun },
		"in the shadow":        func(e *Evidence, _ *RecordedDecision, _ *va.Report) { e.Attempt.Shadow = true },
		"no primary":           func(e *Evidence, _ *RecordedDecision, _ *va.Report) { e.Primary = nil },
		"it was judged a pass": func(_ *Evidence, d *RecordedDecision, _ *va.Report) { d.Views = []View{{Role: Primary, CAA: va.Pass}} },
		"it was not judged":    func(_ *Evidence, d *RecordedDecision, _ *va.Report) { d.Views = nil },
		"the remotes' alone":   func(_ *Evidence, d *RecordedDecision, _ *va.Report) { d.Views[1].Role = RemoteRole },
		"a lookup failed": func(_ *Evidence, d *RecordedDecision, _ *va.Report) {
			d.Views[1].CAAProblem = &va.Problem{Code: "caa.lookup"}
		},
		"the report was a pass": func(_ *Evidence, _ *RecordedDecision, r *va.Report) { r.CAA.Outcome = va.Pass },
		"no records were seen":  func(_ *Evidence, _ *RecordedDecision, r *va.Report) { r.CAA.Records = nil },
	} {
		other, d, r := e, refused, report
		d.Views = append([]View(nil), refused.Views...)
		primary := &PrimaryReport{report: r}
		other.Primary = primary
		change(&other, &d, &primary.report)
		_, _, ok := Forbidden(other, d)
		require.False(t, ok, name)
		require.NotEmpty(t, CheckNotices(other, d, 7, []Notice{begun}), name)
	}
	finding, code, ok := Forbidden(e, refused)
	require.True(t, ok)
	require.Equal(t, "caa.forbidden", code)
	require.Equal(t, report.CAA, finding)
}

func TestNoticeProperty(t *testing.T) {
	require.Equal(t, "mailto:a@example.com??Bcc: b", NoticeProperty("mailto:a@example.com\r\nBcc: b"))
	require.Equal(t, NoticeProperty("a\xffb"), NoticeProperty("a\ufffdb"), "in the record, and after it")
	require.Len(t, NoticeProperty(strings.Repeat("x", 5000)), maxProperty)
	require.True(t, sameProperty("mailto:[sha256:00]@example.com", "mailto:token@example.com"))
}

func TestNoticeOutcomes(t *testing.T) {
	for _, o := range NoticeOutcomes() {
		require.Equal(t, o == NoticeDelivered || o == NoticeRefused || o == NoticeFailed, o.Sent(), o)
	}
}
