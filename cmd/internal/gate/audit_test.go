package gate

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// auditor has the world's trust anchors, and else only what the records hold.
func (s *setup) auditor() audit.Auditor { return audit.Auditor{Anchors: s.doors.Anchors} }

func (s *setup) stored(attempt string) db.Record {
	s.t.Helper()
	r, err := s.gate.Store.Attempt(s.t.Context(), attempt)
	require.NoError(s.t, err)
	return r
}

// Holds: DCV-04, DCV-05, REC-01, REC-04, MPIC-12
func TestAnAuditorProvesRecordsFromTheirOctets(t *testing.T) {
	s := newSetup(t)
	attempt := func(name string, method va.Method) string {
		req := s.request(name, method)
		if method == va.DNS01 && !strings.HasPrefix(name, "bogus") {
			require.NoError(t, s.world.Set("_acme-challenge."+strings.TrimPrefix(name, "*."), dns.TypeTXT, req.Expected()))
		}
		_, reply := s.post(req)
		return reply["attempt"].(string)
	}
	var granted string
	for _, c := range []struct {
		name     string
		method   va.Method
		outcome  db.Outcome
		unproven bool
	}{
		{"*.example.com", va.DNS01, db.Granted, false},
		{"unsigned.com", va.DNS01, db.Granted, false},
		{"example.org", va.HTTP01, db.Refused, false},
		{"bogus-caa.com", va.DNS01, db.Refused, false},
		{"servfail-caa.com", va.HTTP01, db.Refused, true},
	} {
		r := s.stored(attempt(c.name, c.method))
		require.Equal(t, c.outcome, r.Outcome, c.name)
		v := s.auditor().Verify(r.Evidence, r.Decision, r.LateAttestations())
		require.Empty(t, v.Wrong, c.name)
		require.Equal(t, 5, v.Replies, c.name)
		require.GreaterOrEqual(t, v.Lookups, 12, c.name)
		require.Equal(t, c.unproven, len(v.Unproven) > 0, "%s: %v", c.name, v.Unproven)
		if c.outcome == db.Granted {
			granted = r.ID
		}
		primary := r.Evidence.Primary.Report()
		require.NotEmpty(t, primary.Resolver.Anchors)
		for _, l := range primary.Lookups() {
			for _, q := range l.Queries {
				// A packet that was no longer needed may never have left.
				require.True(t, q.Error != "" || len(q.Query) > 12 && len(q.Response) > 12, "%+v", q)
			}
		}
	}

	fresh := func() (db.Record, *mpic.Attestation) {
		r := s.stored(granted)
		return r, &r.Evidence.Remotes[2]
	}
	wrong := func(r db.Record) []audit.Finding {
		return s.auditor().Verify(r.Evidence, r.Decision, nil).Wrong
	}
	r, a := fresh()
	parts := strings.Split(a.Signed, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)

	for _, c := range []struct {
		name  string
		alter func(r *db.Record, a *mpic.Attestation)
		check audit.Check
		say   string
	}{
		{"a reply altered after it was signed", func(_ *db.Record, a *mpic.Attestation) {
			changed := strings.Replace(string(payload), `"software":"quorate test"`, `"software":"quorate tesT"`, 1)
			require.NotEqual(t, string(payload), changed)
			a.Signed = parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(changed)) + "." + parts[2]
		}, audit.Signatures, "perspective.signature"},
		{"another report beside the signed one", func(_ *db.Record, a *mpic.Attestation) {
			another := *a.Report
			another.Software, a.Report = "another", &another
		}, audit.Signatures, "not the one that was signed"},
		{"another signed reply beside the report", func(r *db.Record, a *mpic.Attestation) {
			for _, other := range r.Evidence.Remotes {
				if other.Perspective != a.Perspective {
					a.Signed = other.Signed
				}
			}
		}, audit.Signatures, "perspective.key"},
		{"a stranger's reply", func(_ *db.Record, a *mpic.Attestation) { a.Perspective = "stranger" }, audit.Signatures, "no such perspective"},
		{"a decision for another name", func(r *db.Record, _ *mpic.Attestation) {
			r.Decision = json.RawMessage(strings.ReplaceAll(string(r.Decision), "unsigned.com", "example.com"))
		}, audit.Decisions, "another decision"},
		{"an outcome altered", func(r *db.Record, _ *mpic.Attestation) {
			r.Decision = json.RawMessage(strings.Replace(string(r.Decision), "granted", "refused", 1))
		}, audit.Decisions, "the record has"},
		{"an attempt moved in time", func(r *db.Record, _ *mpic.Attestation) {
			r.Evidence.Attempt.Started = r.Evidence.Attempt.Started.Add(time.Hour)
		}, audit.Times, "and the attempt of"},
		{"a report of after the deadline", func(_ *db.Record, a *mpic.Attestation) {
			a.Report.Finished = a.Report.Finished.Add(time.Hour)
		}, audit.Times, "and the attempt of"},
		{"an upstream that nobody configured", func(_ *db.Record, a *mpic.Attestation) {
			a.Report.CAA.Lookups[0].Upstream = "192.0.2.53:53"
		}, audit.Proofs, "is said to resolve by itself"},
		{"a lookup moved out of its report", func(r *db.Record, a *mpic.Attestation) {
			a.Report.CAA.Lookups[0].Finished = a.Report.Finished.Add(time.Hour)
		}, audit.Times, "the lookup is of"},
		{"a status altered", func(_ *db.Record, a *mpic.Attestation) { a.Report.CAA.Lookups[0].Status = dnssec.Secure }, audit.Proofs,
			"says that the status is secure"},
		{"a response altered", func(_ *db.Record, a *mpic.Attestation) {
			l := a.Report.CAA.Lookups[0]
			q := l.Queries[l.Proof[len(l.Proof)-1].Query-1]
			q.Response[len(q.Response)/2] ^= 0xff
		}, audit.Proofs, "query"},
		{"records lost", func(_ *db.Record, a *mpic.Attestation) { a.Report.Sets = nil }, audit.Proofs, "are missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, a = fresh()
			require.Empty(t, wrong(r))
			c.alter(&r, a)
			for _, f := range wrong(r) {
				if f.Check == c.check && strings.Contains(f.Detail, c.say) {
					return
				}
			}
			t.Fatalf("it is not found: %+v", wrong(r))
		})
	}
	r, _ = fresh()
	require.NotEmpty(t, audit.Auditor{}.Verify(r.Evidence, r.Decision, nil).Wrong, "IANA's anchors fit no key of this world")
}
