package dbtest

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// contacts are the iodef properties of a name that forbids.
var contacts = []string{"mailto:caa@example.com", "https://example.com/iodef", "tel:+1"}

// PrimaryForbids makes the primary see CAA records that name another issuer, and whom to tell.
func PrimaryForbids(t testing.TB, e *mpic.Evidence) {
	t.Helper()
	r := Report(t, e.Attempt.Probe, e.Roster.Primary.Name)
	fqdn := e.Attempt.Probe.Request.FQDN()
	records := []string{fqdn + ".\t300\tIN\tCAA\t0 issue \"other.example\""}
	for _, c := range contacts {
		records = append(records, fqdn+".\t300\tIN\tCAA\t0 iodef \""+c+"\"")
	}
	_, problem := va.EvaluateCAA(records, e.Attempt.Probe.Request)
	require.NotNil(t, problem)
	r.CAA.Outcome, r.CAA.Problem, r.CAA.Records, r.CAA.Permits = va.Fail, problem, records, ""
	r.CAA.Lookups = []resolver.Lookup{lookup(fqdn, "CAA", records...)}
	SetPrimary(t, e, r)
}

// notice is a step of the report to one of the contacts.
func notice(id string, number int64, position int, outcome mpic.NoticeOutcome) mpic.Notice {
	n := mpic.Notice{Attempt: id, Number: number, Position: position, Property: contacts[position], Outcome: outcome,
		Code: "notice." + string(outcome), Detail: "a sentence", At: started.Add(10 * time.Second)}
	if outcome == mpic.NoticeBegun || outcome.Sent() {
		n.Report = wide
	}
	return n
}

// Forbid leaves an attempt that was refused because of CAA, one report that was delivered, one that was begun and never ended, and one that was not sent.
func Forbid(t testing.TB, s *db.Store, id string) int64 {
	t.Helper()
	e := Evidence(t, Attempt(id, "example.com", mpic.Issuance))
	PrimaryForbids(t, &e)
	number, d := Record(t, s, e)
	require.False(t, d.Granted())
	for _, n := range []mpic.Notice{notice(id, number, 0, mpic.NoticeBegun), notice(id, number, 0, mpic.NoticeDelivered),
		notice(id, number, 1, mpic.NoticeBegun), notice(id, number, 2, mpic.NoticeUnusable)} {
		require.NoError(t, s.Journal().Notice(t.Context(), n))
	}
	return number
}

// notices: CAA-09. The steps of a report read back; none is there twice, and none about what the primary did not see.
func notices(t *testing.T, g Engine) {
	j := g.Store.Journal()
	require.ErrorIs(t, j.Notice(t.Context(), notice("N1", 1, 0, mpic.NoticeBegun)), db.ErrNotFound)
	n := Forbid(t, g.Store, "N1")
	r, err := g.Store.Attempt(t.Context(), "N1")
	require.NoError(t, err)
	require.Len(t, r.Notices, 4)
	require.Equal(t, notice("N1", n, 0, mpic.NoticeDelivered), r.Notices[1].Notice)
	require.Empty(t, r.CheckNotices())
	require.Empty(t, verify(t, g.Store))

	granted, _ := Record(t, g.Store, Evidence(t, Attempt("N2", "example.com", mpic.Issuance)))
	failed := Evidence(t, Attempt("N3", "example.com", mpic.Issuance))
	PrimaryFails(t, &failed)
	other, _ := Record(t, g.Store, failed)
	dry := Evidence(t, Attempt("N4", "example.com", mpic.DryRun))
	PrimaryForbids(t, &dry)
	dryRun, _ := Record(t, g.Store, dry)
	open, err := j.Open(t.Context(), Attempt("N5", "example.com", mpic.Issuance), Roster())
	require.NoError(t, err)
	for name, step := range map[string]mpic.Notice{
		"a second beginning":            notice("N1", n, 0, mpic.NoticeBegun),
		"a second end":                  notice("N1", n, 0, mpic.NoticeFailed),
		"a second beginning of another": notice("N1", n, 1, mpic.NoticeBegun),
		"a beginning after the end":     notice("N1", n, 2, mpic.NoticeBegun),
		"dropped after it was begun":    notice("N1", n, 1, mpic.NoticeDropped),
		"another number":                notice("N1", n+1, 1, mpic.NoticeDelivered),
		"an unknown outcome":            notice("N1", n, 1, "maybe"),
		"of a granted attempt":          notice("N2", granted, 0, mpic.NoticeBegun),
		"of one that failed otherwise":  notice("N3", other, 0, mpic.NoticeBegun),
		"of a dry run":                  notice("N4", dryRun, 0, mpic.NoticeBegun),
		"of an open attempt":            notice("N5", open, 0, mpic.NoticeBegun),
	} {
		require.Error(t, j.Notice(t.Context(), step), name)
	}
	again := Evidence(t, Attempt("N6", "example.com", mpic.Issuance))
	PrimaryForbids(t, &again)
	six, _ := Record(t, g.Store, again)
	require.Error(t, j.Notice(t.Context(), notice("N6", six, 0, mpic.NoticeDelivered)), "delivered, and never begun")
	require.NoError(t, j.Notice(t.Context(), notice("N6", six, 0, mpic.NoticeDropped)))
	require.Empty(t, verify(t, g.Store))

	// What the guards cannot see, the verification does.
	stranger := notice("N6", six, 1, mpic.NoticeBegun)
	stranger.Property = "mailto:victim@example.net"
	require.NoError(t, j.Notice(t.Context(), stranger))
	found := verify(t, g.Store)
	require.Len(t, found, 1)
	require.Equal(t, six, found[0].Number)
	require.Contains(t, found[0].Detail, "victim@example.net")
}

// handNotices: CAA-09. The same by hand.
func handNotices(t *testing.T, g Engine) {
	Populate(t, g.Store)
	Forbid(t, g.Store, "FORBIDDEN")
	for name, change := range map[string]row{
		"of a granted attempt":          {"attempt": 1},
		"of one refused otherwise":      {"attempt": 2},
		"of a dry run":                  {"attempt": 3},
		"of an open attempt":            {"attempt": 4},
		"of no attempt":                 {"attempt": 99},
		"begun twice":                   {"position": 1},
		"ended twice":                   {"stage": "ended", "outcome": "failed"},
		"delivered and not begun":       {"position": 3, "stage": "ended", "outcome": "delivered"},
		"begun, and delivered":          {"position": 3, "outcome": "delivered"},
		"an unknown outcome":            {"position": 3, "stage": "ended", "outcome": "maybe"},
		"an unknown stage":              {"position": 3, "stage": "waiting"},
		"a place below the first":       {"position": -1},
		"without a document":            {"position": 3, "document": []byte{}},
		"dropped after it was begun":    {"position": 1, "stage": "ended", "outcome": "dropped"},
		"without a code":                {"position": 3, "code": ""},
		"begun after it ended, by hand": {"position": 2},
	} {
		t.Run(name, func(t *testing.T) {
			eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
				r := rows(t, tx, `SELECT * FROM notices WHERE position = 0 AND stage = 'begun'`)[0]
				r["leaf"] = freshLeaf(t, tx)
				require.Error(t, r.with(change).insert(tx, "notices"), fmt.Sprint(change))
			})
		})
	}
}
