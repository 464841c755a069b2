package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// TestAnExcuseIsShown: the rule of the attempt, where it was used, and upon what.
//
// Holds: CAA-06
func TestAnExcuseIsShown(t *testing.T) {
	at := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	lookup := func(name, kind string, s dnssec.Status, rcode, code string) resolver.Lookup {
		return resolver.Lookup{Name: name, Type: kind, Status: s, Rcode: rcode, Code: code, Started: at, Finished: at.Add(time.Second)}
	}
	e := mpic.Evidence{Attempt: mpic.Attempt{Probe: va.Probe{CAALookupFailure: va.PermitProvenFailure}},
		Remotes: []mpic.Attestation{{Perspective: "tokyo", State: mpic.Answered, Report: &va.Report{CAA: va.CAAFinding{Outcome: va.Pass,
			Failures: []va.LookupFailure{{Name: "example.com", Retry: lookup("example.com.", "CAA", dnssec.Failure, "", "dns.timeout"),
				DS:      lookup("example.com.", "DS", dnssec.Insecure, "NOERROR", "dnssec.opt-out"),
				Control: lookup(".", "SOA", dnssec.Secure, "NOERROR", "")}}}}}}}
	d := mpic.RecordedDecision{Views: []mpic.View{{Perspective: "zurich"}, {Perspective: "tokyo", CAAExcused: []string{"example.com"}}}}
	show := func(a table.Attempt) string {
		var b strings.Builder
		require.NoError(t, writeDetail(&b, a, nil, false))
		return b.String()
	}
	text := show(table.Attempt{Evidence: e, Decision: &d})
	for _, line := range []string{
		"  CAA lookups that fail: permit-when-proven (CAA-06)",
		"  excused at tokyo, for example.com: the CAA lookup failed, and that counted as permission",
		"    after the failure at example.com:",
		"      retried    example.com. CAA: failure, dns.timeout, 2026-11-21T06:00:00.000Z to 2026-11-21T06:00:01.000Z",
		"      insecure   example.com. DS: insecure NOERROR, dnssec.opt-out, 2026-11-21T06:00:00.000Z to 2026-11-21T06:00:01.000Z",
		"      elsewhere  . SOA: secure NOERROR, 2026-11-21T06:00:00.000Z to 2026-11-21T06:00:01.000Z",
	} {
		require.Contains(t, text, "\n"+line+"\n")
	}
	require.NotContains(t, text, "zurich")

	e.Attempt.Probe.CAALookupFailure, e.Remotes[0].Report.CAA.Failures = va.DenyFailure, nil
	text = show(table.Attempt{Evidence: e})
	require.NotContains(t, text, "CAA lookups that fail")
	require.NotContains(t, text, "excused")
	require.NotContains(t, text, "\n  certificate ")

	e.Attempt.Probe.Request.CertificateType = va.SMIME
	require.Contains(t, show(table.Attempt{Evidence: e}), "\n  certificate s-mime (CAA-10)\n")
}

// Whatever a remote, a web server or a zone writes into a report, and whoever makes a record, writes nothing to the terminal of who reads it.
func TestNothingInARecordIsWrittenToTheTerminal(t *testing.T) {
	const escape = "\x1b[2J\x9b"
	var r va.Report
	fill(reflect.ValueOf(&r).Elem(), escape)
	text, err := json.Marshal(r.DCV.Problem)
	require.NoError(t, err)
	require.Contains(t, string(text), `\u001b`, "it was filled")
	e := mpic.Evidence{Remotes: []mpic.Attestation{{Perspective: escape, State: mpic.Answered, Report: &r, Problem: r.DCV.Problem}}}
	fill(reflect.ValueOf(&e.Attempt).Elem(), escape)
	fill(reflect.ValueOf(&e.Roster).Elem(), escape)
	var d mpic.RecordedDecision
	fill(reflect.ValueOf(&d).Elem(), escape)
	d.Views[0].Role = mpic.RemoteRole
	a := table.Attempt{Evidence: e, Decision: &d}
	var b strings.Builder
	require.NoError(t, writeDetail(&b, a, e.Remotes, false))
	require.NoError(t, table.Write(&b, a, false))
	require.Contains(t, b.String(), "[2J", "it is shown")
	require.NotContains(t, b.String(), "\x1b")
	require.NotContains(t, b.String(), "\x9b")
}

// fill writes a text into each string that a value has, with one member in each list.
func fill(v reflect.Value, text string) {
	switch {
	case !v.CanSet():
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	}
}

// The reports of a refusal are shown, and what a stranger wrote into the DNS does not reach the terminal.
//
// Holds: CAA-09
func TestCAA_09_NoticesAreShown(t *testing.T) {
	at := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	var b strings.Builder
	require.NoError(t, writeNotices(&b, nil, false))
	require.Empty(t, b.String())
	require.NoError(t, writeNotices(&b, []mpic.Notice{
		{Property: "mailto:caa@example.com", Outcome: mpic.NoticeRefused, Code: "notice.mail-refused", Detail: "550 \x1b[2Jnobody", At: at},
		{Property: "https://example.com/", Outcome: mpic.NoticeDelivered, Code: "notice.delivered", Detail: "202", Address: "192.0.2.1:443", At: at},
		{Position: 4, Count: 996, Outcome: mpic.NoticeDropped, Code: "notice.properties", Detail: "too many", At: at}}, false))
	require.NotContains(t, b.String(), "\x1b")
	for _, want := range []string{"mailto:caa@example.com  refused: 550", "(notice.mail-refused)", "https://example.com/  delivered: 202 (notice.delivered) at 192.0.2.1:443",
		"996 properties  dropped: too many"} {
		require.Contains(t, b.String(), want)
	}
}
