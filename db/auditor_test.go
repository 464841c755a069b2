package db_test

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// onBoth runs a test on an empty store of each engine.
func onBoth(t *testing.T, test func(*testing.T, dbtest.Engine)) {
	t.Run("sqlite", func(t *testing.T) { test(t, engine(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, postgresEngine(t)) })
}

// made is an attempt that a test records.
type made struct {
	id, name string
	kind     mpic.Kind
	after    time.Duration
	method   va.Method
	software string
	account  string
	// remote, if not empty, takes tokyo's place.
	remote string
	// spoil changes the evidence.
	spoil func(*testing.T, *mpic.Evidence)
	open  bool
}

func (m made) record(t *testing.T, s *db.Store) {
	t.Helper()
	a := dbtest.Attempt(m.id, m.name, cmp.Or(m.kind, mpic.Issuance))
	a.Started = a.Started.Add(m.after)
	a.Probe.Deadline = a.Started.Add(20 * time.Second)
	a.Probe.Request.TokenCreated = a.Started.Add(-time.Hour)
	a.Probe.Request.Method = cmp.Or(m.method, va.HTTP01)
	a.Probe.Request.AccountURI = cmp.Or(m.account, dbtest.Account)
	a.Software = cmp.Or(m.software, "quorate/test")
	if a.Kind == mpic.CAARecheck {
		req := &a.Probe.Request
		a.Probe.CAAAlone, req.Token, req.KeyAuthorization, req.TokenCreated = true, "", "", time.Time{}
	}
	e := dbtest.Evidence(t, a)
	alter := func(r *va.Report) {
		r.CAA.FreshUntil, r.Software = a.Started.Add(8*time.Hour), "perspective/"+cmp.Or(m.software, "1")
		if a.Kind == mpic.CAARecheck {
			r.DCV = va.DCVFinding{Outcome: va.NotChecked}
		}
	}
	primary := e.Primary.Report()
	alter(&primary)
	dbtest.SetPrimary(t, &e, primary)
	for i := range e.Remotes {
		alter(e.Remotes[i].Report)
		e.Remotes[i].Signed = "" // what was signed is another report
		if m.remote != "" && e.Remotes[i].Perspective == "tokyo" {
			e.Remotes[i].Perspective, e.Remotes[i].Report.Perspective, e.Roster.Remotes[i].Name = m.remote, m.remote, m.remote
		}
	}
	if m.spoil != nil {
		m.spoil(t, &e)
	}
	if m.open {
		_, err := s.Journal().Open(t.Context(), e.Attempt, e.Roster)
		require.NoError(t, err)
		return
	}
	dbtest.Record(t, s, e)
}

func silent(i int) func(*testing.T, *mpic.Evidence) {
	return func(_ *testing.T, e *mpic.Evidence) { dbtest.Silent(e, i, mpic.TimedOut) }
}

// forbids makes the CAA of the primary, and of so many remotes, forbid.
func forbids(primary bool, remotes int) func(*testing.T, *mpic.Evidence) {
	return func(t *testing.T, e *mpic.Evidence) {
		record := "example.com.\t300\tIN\tCAA\t0 issue \";\""
		finding := func(f va.CAAFinding) va.CAAFinding {
			f.Outcome, f.Records, f.Found, f.Permits = va.Fail, []string{record}, "example.com", ""
			f.Problem = &va.Problem{Code: "caa.forbidden", Detail: "nobody may issue", Rules: []string{"CAA-02"}}
			return f
		}
		if primary {
			r := e.Primary.Report()
			r.CAA = finding(r.CAA)
			dbtest.SetPrimary(t, e, r)
		}
		for i := range remotes {
			e.Remotes[i].Report.CAA = finding(e.Remotes[i].Report.CAA)
		}
	}
}

const aDay = 24 * time.Hour

// population records what an auditor may meet: attempts of all outcomes over ten days, permits and certificates upon them.
func population(t *testing.T, g dbtest.Engine) {
	t.Helper()
	s := g.Store
	at := func(d time.Duration) time.Time { return dbtest.Started().Add(d) }
	for _, m := range []made{
		{id: "A1", name: "example.com"},
		{id: "A2", name: "www.example.com", after: time.Minute, spoil: silent(1)},
		{id: "A3", name: "example.org", after: time.Hour, spoil: func(t *testing.T, e *mpic.Evidence) { dbtest.PrimaryFails(t, e) }},
		{id: "A4", name: "example.com", after: 2 * time.Hour, spoil: forbids(true, 5)},
		{id: "A5", name: "example.com", after: 3 * time.Hour, spoil: forbids(false, 2)},
		{id: "A6", name: "example.net", after: 4 * time.Hour, spoil: forbids(false, 1)},
		{id: "A7", name: "example.com", after: aDay, kind: mpic.DryRun},
		{id: "A8", name: "*.example.org", after: aDay, method: va.DNS01, software: "quorate/2", remote: "osaka"},
		{id: "A9", name: "example.edu", after: aDay, spoil: func(_ *testing.T, e *mpic.Evidence) {
			dbtest.Silent(e, 0, mpic.TimedOut)
			dbtest.Silent(e, 1, mpic.Unreachable)
		}},
		{id: "A10", name: "example.biz", after: 90 * time.Minute, account: "acct:2"}, // began before others with lower numbers,
		{id: "A11", name: "example.info", after: 2 * aDay, open: true},
	} {
		m.record(t, s)
	}
	first := dbtest.Permitted(t, s, "P1", at(time.Hour), "example.com", "www.example.com")
	dbtest.LinkedTo(t, s, first, 1, dbtest.Precertificate)
	dbtest.LinkedTo(t, s, first, 1, nil)
	dbtest.LinkedTo(t, s, first, 2, func(c *x509.Certificate) { c.DNSNames = c.DNSNames[:1] })
	dbtest.LinkedTo(t, s, first, 3, func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "stranger.example") })
	dbtest.Permitted(t, s, "P2", at(5*time.Hour), "example.com", "nothing.example")
	wild := dbtest.Permitted(t, s, "P3", at(aDay+time.Hour), "*.example.org", "example.net")
	require.Equal(t, mpic.OutcomeRefused, wild.Outcome, "the CAA of example.net is stale")
	wild = dbtest.Permitted(t, s, "P4", at(aDay+time.Hour), "*.example.org")
	dbtest.LinkedTo(t, s, wild, 0xffee, dbtest.Precertificate) // its certificate never came
	made{id: "A12", name: "example.com", after: 9 * aDay, kind: mpic.CAARecheck, software: "quorate/2"}.record(t, s)
	later := dbtest.Permitted(t, s, "P5", at(9*aDay+7*time.Hour), "example.com")
	require.Equal(t, mpic.OutcomeGranted, later.Outcome, "%+v", later.Names)
	require.NotEqual(t, later.Names[0].DCV.Number, later.Names[0].CAA.Number)
	dbtest.LinkedTo(t, s, later, 5, func(c *x509.Certificate) { c.NotBefore = later.Issued.Add(30 * time.Minute) })
}

// unguard lets a test write what is not so.
func unguard(t *testing.T, g dbtest.Engine, statement string) {
	t.Helper()
	hand := g.Hands["as the shell"]
	if hand != nil {
		_, err := hand.Exec(`DROP TRIGGER decisions_before_update`)
		require.NoError(t, err)
	} else {
		hand = g.Hands["as the owner"]
		_, err := hand.Exec(`SET session_replication_role = replica`)
		require.NoError(t, err)
	}
	_, err := hand.Exec(statement)
	require.NoError(t, err)
}

func everyRecord(t *testing.T, s *db.Store) (all []db.Record) {
	list, err := s.List(t.Context(), db.Filter{Limit: db.MaxLimit})
	require.NoError(t, err)
	for _, l := range list {
		r, err := s.Attempt(t.Context(), strconv.FormatInt(l.Number, 10))
		require.NoError(t, err)
		all = append(all, r)
	}
	slices.Reverse(all)
	return all
}

// picks says again, of a whole record, what Criteria pick.
func picks(c db.Criteria, r db.Record, excused map[int64]bool, use db.Use) bool {
	took := c.Perspective == ""
	for _, p := range r.Perspectives {
		if p.Name == c.Perspective {
			pass := map[db.Use]string{db.ForDCV: p.DCV, db.ForCAA: p.CAA}[use] == "pass"
			took = pass || !c.Counted
		}
	}
	ran := c.PerspectiveSoftware == ""
	if r.Evidence.Primary != nil {
		reports := map[string]string{r.Evidence.Roster.Primary.Name: r.Evidence.Primary.Report().Software}
		for _, a := range r.Evidence.Remotes {
			if a.Report != nil {
				reports[a.Perspective] = a.Report.Software
			}
		}
		for who, software := range reports {
			ran = ran || software == c.PerspectiveSoftware && (c.Perspective == "" || c.Perspective == who)
		}
	}
	return took && ran && (c.Software == "" || r.Software == c.Software) && (c.Method == 0 || r.Method == c.Method) &&
		(c.Policy == "" || r.Policy == c.Policy) && (c.Since.IsZero() || !r.Started.Before(c.Since)) && (c.Until.IsZero() || r.Started.Before(c.Until)) &&
		(c.Name == "" || r.Identifier == c.Name || r.FQDN == c.Name) && (c.Account == "" || r.AccountURI == c.Account) &&
		(!c.Excused || excused[r.Number] && use == db.ForCAA)
}

// plainAffected is Affected a second time, over whole documents.
func plainAffected(records map[int64]db.Record, issued []db.Issued, c db.Criteria, excused map[int64]bool) (out []string) {
	for _, i := range issued {
		var on []string
		names := slices.Clone(i.Permit.Names)
		slices.SortFunc(names, func(a, b mpic.PermitName) int { return strings.Compare(a.Name, b.Name) })
		for _, n := range names {
			if n.DCV == nil || i.Permit.Outcome != mpic.OutcomeGranted ||
				i.Certificate.Outcome == mpic.OutcomeLinked && !slices.Contains(i.Certificate.Names, n.Name) {
				continue
			}
			if picks(c, records[n.DCV.Number], excused, db.ForDCV) {
				on = append(on, fmt.Sprintf("%s dcv %d", n.Name, n.DCV.Number))
			}
			if picks(c, records[n.CAA.Number], excused, db.ForCAA) {
				on = append(on, fmt.Sprintf("%s caa %d", n.Name, n.CAA.Number))
			}
		}
		if len(on) > 0 {
			out = append(out, fmt.Sprintf("%d %s %s %v", i.Number, i.Certificate.SHA256, i.Certificate.Outcome, on))
		}
	}
	return out
}

// Affected finds what reading every document finds, for each condition and for any two together.
//
// Holds: REC-04, MPIC-09
func TestAffectedAgreesWithReadingEverything(t *testing.T) {
	onBoth(t, func(t *testing.T, g dbtest.Engine) {
		require.NoError(t, g.Store.Affected(t.Context(), db.Criteria{}, func(db.Affected) error { return fmt.Errorf("of nothing") }))
		population(t, g)
		unguard(t, g, `UPDATE decisions SET caa_excused = 2 WHERE attempt = 12`)
		excused := map[int64]bool{12: true}
		began := dbtest.Started()
		single := []db.Criteria{{}, {Perspective: "tokyo"}, {Perspective: "tokyo", Counted: true}, {Perspective: "osaka"}, {Perspective: "zurich", Counted: true},
			{Perspective: "nobody"}, {Software: "quorate/2"}, {Software: "quorate/test"}, {Software: "quorate/0"}, {PerspectiveSoftware: "perspective/quorate/2"},
			{PerspectiveSoftware: "perspective/1"}, {Method: va.DNS01}, {Method: va.TLSALPN01}, {Policy: "2026-12-15"}, {Policy: "2026-06-15"},
			{Since: began.Add(time.Nanosecond)}, {Since: began, Until: began.Add(time.Minute)}, {Until: began}, {Name: "example.com"}, {Name: "example.org"},
			{Name: "*.example.org"}, {Account: dbtest.Account}, {Account: "acct:2"}, {Excused: true}}
		found, several := 0, 0
		records := map[int64]db.Record{}
		for _, r := range everyRecord(t, g.Store) {
			records[r.Number] = r
		}
		issued, err := g.Store.Certificates(t.Context(), db.CertificateFilter{})
		require.NoError(t, err)
		for i, a := range single {
			for _, b := range single[i:] {
				c := both(a, b)
				var got, links []string
				require.NoError(t, g.Store.Affected(t.Context(), c, func(a db.Affected) error {
					var on []string
					for _, r := range a.Records {
						on = append(on, fmt.Sprintf("%s %s %d", r.Name, r.For, r.Record))
					}
					require.Empty(t, a.Damaged)
					require.NotEmpty(t, a.DER)
					got = append(got, fmt.Sprintf("%d %s %s %v", a.Number, a.Fingerprint, a.Outcome, on))
					return nil
				}))
				require.Equal(t, plainAffected(records, issued, c, excused), got, "%+v", c)
				require.NoError(t, g.Store.AffectedLinks(t.Context(), c, func(a db.Affected) error {
					links = append(links, fmt.Sprintf("%d %s", a.Number, a.Fingerprint))
					return nil
				}))
				require.Len(t, links, len(got), "%+v", c)
				for i := range links {
					require.True(t, strings.HasPrefix(got[i], links[i]))
				}
				found += len(got)
				if len(got) > 0 {
					several++
				}
			}
		}
		require.Greater(t, found, 100)
		require.Greater(t, several, 20)
		require.Error(t, g.Store.Affected(t.Context(), db.Criteria{Counted: true}, func(db.Affected) error { return nil }))
		require.ErrorContains(t, g.Store.Affected(t.Context(), db.Criteria{}, func(db.Affected) error { return fmt.Errorf("a full disk") }), "a full disk")
	})
}

// both puts two criteria together; where both say something of one thing, the second's counts.
func both(a, b db.Criteria) db.Criteria {
	return db.Criteria{Perspective: cmp.Or(b.Perspective, a.Perspective), Counted: a.Counted || b.Counted, Software: cmp.Or(b.Software, a.Software),
		PerspectiveSoftware: cmp.Or(b.PerspectiveSoftware, a.PerspectiveSoftware), Method: cmp.Or(b.Method, a.Method), Policy: cmp.Or(b.Policy, a.Policy),
		Since: cmp.Or(b.Since, a.Since), Until: cmp.Or(b.Until, a.Until), Name: cmp.Or(b.Name, a.Name), Account: cmp.Or(b.Account, a.Account),
		Excused: a.Excused || b.Excused}
}

// A certificate's document that was changed makes no list shorter.
//
// Holds: REC-06
func TestAffectedListsWhatIsDamagedToo(t *testing.T) {
	g := engine(t)
	population(t, g)
	hand := g.Hands["as the shell"]
	for _, statement := range []string{`DROP TRIGGER certificates_before_update`, `UPDATE certificates SET document = x'00' WHERE number = 3`} {
		_, err := hand.Exec(statement)
		require.NoError(t, err)
	}
	damaged := 0
	require.NoError(t, g.Store.Affected(t.Context(), db.Criteria{Name: "www.example.com"}, func(a db.Affected) error {
		if a.Number == 3 { // it is for example.com alone, which nobody can tell any more
			damaged++
			require.Contains(t, a.Damaged, "does not match its digest")
		}
		return nil
	}))
	require.Equal(t, 1, damaged)
}

// A number that nobody can have reached is refused, before any set has room for it.
//
// Holds: REC-06
func TestPopulationsOfImpossibleNumbersAreRefused(t *testing.T) {
	g := engine(t)
	population(t, g)
	hand := g.Hands["as the shell"]
	for _, statement := range []string{`DROP TRIGGER permit_names_before_update`, `UPDATE permit_names SET caa_attempt = 9000000000000000000 WHERE permit = 5`} {
		_, err := hand.Exec(statement)
		require.NoError(t, err)
	}
	err := g.Store.Affected(t.Context(), db.Criteria{}, func(db.Affected) error { return nil })
	require.ErrorIs(t, err, db.ErrDamaged)
	_, err = g.Store.Population(t.Context(), db.Period{}, nil)
	require.ErrorIs(t, err, db.ErrDamaged)
	_, err = g.Store.Simulate(t.Context(), db.Criteria{}, dbtest.Started(), nil, nil)
	require.ErrorIs(t, err, db.ErrDamaged)
}

// Holds: DCV-03, CAA-05
func TestAffectedAuthorizationsAreThoseStillOfUse(t *testing.T) {
	onBoth(t, func(t *testing.T, g dbtest.Engine) {
		population(t, g)
		find := func(c db.Criteria, at time.Time) (out []string) {
			require.NoError(t, g.Store.AffectedAuthorizations(t.Context(), c, at, func(r db.Reusable) error {
				out = append(out, fmt.Sprintf("%d %s %v", r.Record, r.Identifier, r.For))
				return nil
			}))
			return out
		}
		began := dbtest.Started()
		require.Equal(t, []string{"1 example.com [dcv caa]", "2 www.example.com [dcv caa]", "6 example.net [dcv caa]", "8 *.example.org [dcv caa]",
			"10 example.biz [dcv caa]", "12 example.com [caa]"}, find(db.Criteria{}, began))
		require.Equal(t, []string{"8 *.example.org [dcv]"}, find(db.Criteria{Software: "quorate/2"}, began.Add(30*aDay)))
		require.Equal(t, []string{"1 example.com [dcv caa]", "6 example.net [dcv caa]", "10 example.biz [dcv caa]"},
			find(db.Criteria{Perspective: "tokyo", Counted: true, Until: began.Add(2 * aDay)}, began))
	})
}

// Report's figures are those of counting whole records.
//
// Holds: REC-01, REC-02, CAA-05, CAA-06, CAA-08, DCV-03, F3
func TestPopulationAgreesWithCountingEverything(t *testing.T) {
	onBoth(t, func(t *testing.T, g dbtest.Engine) {
		empty, err := g.Store.Population(t.Context(), db.Period{}, nil)
		require.NoError(t, err)
		require.Empty(t, empty.Attempts)
		require.Zero(t, empty.FirstRecord)
		population(t, g)
		unguard(t, g, `UPDATE decisions SET caa_excused = 2 WHERE attempt IN (3, 12)`)
		began := dbtest.Started()
		for name, p := range map[string]db.Period{"all": {}, "the first day, with gaps in the numbers": {Until: began.Add(12 * time.Hour)}, "from the second on": {Since: began.Add(aDay)},
			"a span": {Since: began.Add(time.Second), Until: began.Add(9 * aDay)}, "nothing": {Since: began.Add(100 * aDay)}} {
			t.Run(name, func(t *testing.T) {
				var prevented []int64
				got, err := g.Store.Population(t.Context(), p, func(x audit.Prevented) error {
					prevented = append(prevented, x.Record)
					require.Len(t, x.Views, 6)
					require.Equal(t, []string{"ca.example"}, x.Issuers)
					for _, v := range x.Views {
						require.NotEmpty(t, v.Region)
						require.Equal(t, "example.com", v.Found)
						require.Len(t, v.Records, 1)
						require.Equal(t, v.Outcome == va.Fail, strings.Contains(v.Records[0], `";"`))
					}
					return nil
				})
				require.NoError(t, err)
				comparePopulation(t, g.Store, p, got)
				require.EqualValues(t, len(prevented), got.Prevented)
				if name == "all" {
					require.Equal(t, []int64{4, 5}, prevented)
				}
			})
		}
	})
}

func comparePopulation(t *testing.T, s *db.Store, p db.Period, got db.Population) {
	in := func(at time.Time) bool {
		return (p.Since.IsZero() || !at.Before(p.Since)) && (p.Until.IsZero() || at.Before(p.Until))
	}
	attempts, quorums, codes, perspectives := map[db.AttemptCount]int64{}, map[db.QuorumCount]int64{}, map[db.CodeCount]int64{}, map[db.PerspectiveCount]int64{}
	for _, r := range everyRecord(t, s) {
		if !in(r.Started) {
			continue
		}
		attempts[db.AttemptCount{Day: r.Started.Format(time.DateOnly), Kind: r.Kind.String(), Method: r.Method.String(), Outcome: string(r.Outcome)}]++
		for _, v := range r.Perspectives {
			perspectives[db.PerspectiveCount{Name: v.Name, Role: v.Role.String(), Region: string(v.Region), State: v.State, DCV: v.DCV, CAA: v.CAA}]++
		}
		if r.Outcome == db.StillOpen {
			continue
		}
		d := mpic.Judge(r.Evidence)
		quorums[db.QuorumCount{Check: "dcv", Quorum: d.DCV().String(), Outcome: string(r.Outcome)}]++
		quorums[db.QuorumCount{Check: "caa", Quorum: d.CAA().String(), Outcome: string(r.Outcome)}]++
		of := map[string]bool{}
		for _, reason := range d.Reasons() {
			of[reason.Code] = true
		}
		for code := range of {
			codes[db.CodeCount{What: "attempt", Code: code}]++
		}
	}
	for _, c := range got.Attempts {
		require.Equal(t, attempts[db.AttemptCount{Day: c.Day, Kind: c.Kind, Method: c.Method, Outcome: c.Outcome}], c.Count, "%+v", c)
	}
	require.Len(t, got.Attempts, len(attempts))
	for _, c := range got.Quorums {
		require.Equal(t, quorums[db.QuorumCount{Check: c.Check, Quorum: c.Quorum, Outcome: c.Outcome}], c.Count, "%+v", c)
	}
	require.Len(t, got.Quorums, len(quorums))
	for _, c := range got.Perspectives {
		n := c.Count
		c.Count = 0
		require.Equal(t, perspectives[c], n, "%+v", c)
	}
	require.Len(t, got.Perspectives, len(perspectives))
	for _, c := range got.Refusals {
		if c.What == "attempt" {
			require.Equal(t, codes[db.CodeCount{What: c.What, Code: c.Code}], c.Count, "%+v", c)
			delete(codes, db.CodeCount{What: c.What, Code: c.Code})
		}
	}
	require.Empty(t, codes)
}

// What is known of the population's permits is counted by hand.
//
// Holds: CAA-05, CAA-06, DCV-03
func TestPopulationOfPermitsAndCertificates(t *testing.T) {
	onBoth(t, func(t *testing.T, g dbtest.Engine) {
		population(t, g)
		unguard(t, g, `UPDATE decisions SET caa_excused = 2 WHERE attempt IN (3, 12)`)
		p, err := g.Store.Population(t.Context(), db.Period{}, nil)
		require.NoError(t, err)
		require.Equal(t, []db.OutcomeCount{{What: "permit", Outcome: "granted", Count: 3}, {What: "permit", Outcome: "refused", Count: 2},
			{What: "certificate", Outcome: "linked", Count: 5}, {What: "certificate", Outcome: "refused", Count: 1}}, p.Issuance)
		require.EqualValues(t, 2, p.Excused)
		require.EqualValues(t, 1, p.ExcusedGranted)
		require.EqualValues(t, 1, p.Reused, "P5 rests on DCV of nine days before")
		require.EqualValues(t, 1, p.Rechecked)
		require.Equal(t, []db.AgeCount{{Days: 0, Names: 3}, {Days: 9, Names: 1}}, p.DCVAges)
		require.Zero(t, p.Unknown)
		require.Len(t, p.CAAAges, 3)
		permits, before := p.CAAAges[0], p.CAAAges[1]
		require.EqualValues(t, 4, permits.Names)
		require.InDelta(t, 7*3600, permits.Max, 1)
		require.Zero(t, permits.Stale)
		require.Zero(t, before.Over8Hours, "%+v", before)
		var refusals []string
		for _, c := range p.Refusals {
			if c.What != "attempt" {
				refusals = append(refusals, fmt.Sprintf("%s %s %d", c.What, c.Code, c.Count))
			}
		}
		require.Equal(t, []string{"certificate certificate.name 1", "permit permit.caa-stale 1", "permit permit.no-evidence 1"}, refusals)

		// A permit whose CAA was too old is told, with its number; the column says what its document cannot.
		hand := cmp.Or(g.Hands["as the owner"], g.Hands["as the shell"])
		if g.Hands["as the shell"] != nil {
			_, err = hand.Exec(`DROP TRIGGER reliances_before_update`)
			require.NoError(t, err)
		}
		_, err = hand.Exec(`UPDATE reliances SET caa_fresh_until = checked_at WHERE attempt = 12`)
		require.NoError(t, err)
		p, err = g.Store.Population(t.Context(), db.Period{}, nil)
		require.NoError(t, err)
		require.Equal(t, []int64{5}, p.CAAAges[0].StaleNumbers)
		require.EqualValues(t, 1, p.CAAAges[1].Stale)
	})
}

// A period whose evidence was removed is counted as such, and what is left is counted.
//
// Holds: REC-04
func TestPopulationAfterRemoval(t *testing.T) {
	g := engine(t)
	population(t, g)
	hand := g.Hands["as the shell"]
	var names []string
	rows, err := hand.Query(`SELECT name FROM sqlite_schema WHERE type = 'trigger'`)
	require.NoError(t, err)
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Close())
	for _, name := range names {
		_, err := hand.Exec(`DROP TRIGGER ` + name)
		require.NoError(t, err)
	}
	for _, table := range []string{"late_reports", "reliances", "authorizations", "decisions", "reports", "perspectives"} {
		_, err := hand.Exec(`DELETE FROM ` + table + ` WHERE attempt <= 3`)
		require.NoError(t, err)
	}
	_, err = hand.Exec(`DELETE FROM attempts WHERE number <= 3`)
	require.NoError(t, err)
	p, err := g.Store.Population(t.Context(), db.Period{}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 4, p.FirstRecord)
	require.EqualValues(t, 3, p.Unknown)
	sum, err := g.Store.Simulate(t.Context(), db.Criteria{}, dbtest.Started(), nil, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, sum.UnknownPermits, "P5 rests on a record that is gone, and P1 on nothing that is there")
	n := 0
	require.NoError(t, g.Store.Affected(t.Context(), db.Criteria{Name: "example.com"}, func(db.Affected) error { n++; return nil }))
	require.Equal(t, 1, n, "by the recheck alone: the columns of the others are gone")
}

// A sample is what sorting by the digests gives, from a list of the members.
//
// Holds: REC-04
func TestMembersOfAPopulation(t *testing.T) {
	onBoth(t, func(t *testing.T, g dbtest.Engine) {
		population(t, g)
		list := func(p db.Period) (out []db.CertificateMember) {
			require.NoError(t, g.Store.CertificateMembers(t.Context(), p, func(m db.CertificateMember) error { out = append(out, m); return nil }))
			return out
		}
		var serials []string
		for _, m := range list(db.Period{}) {
			serials = append(serials, fmt.Sprintf("%s %t", m.Serial, m.Precertificate))
		}
		require.Equal(t, []string{"1 false", "2 false", "ffee true", "5 false"}, serials, "a precertificate stands for its certificate only where none came")
		require.Len(t, list(db.Period{Since: dbtest.Started().Add(aDay)}), 2)
		var attempts []int64
		require.NoError(t, g.Store.AttemptMembers(t.Context(), db.Period{}, func(s db.Summary) error { attempts = append(attempts, s.Number); return nil }))
		require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12}, attempts, "the open one has nothing to look at")

		all, err := g.Store.Certificates(t.Context(), db.CertificateFilter{})
		require.NoError(t, err)
		var sums []string
		linked := map[string]bool{}
		for _, i := range all {
			sums = append(sums, i.Certificate.SHA256)
			if i.Certificate.Outcome == mpic.OutcomeLinked {
				linked[i.Certificate.SHA256] = true
			}
		}
		got, err := g.Store.Linked(t.Context(), append(sums, strings.Repeat("0", 64)))
		require.NoError(t, err)
		require.Equal(t, linked, got)
		require.Len(t, linked, 5)
	})
}

// Another day's rules are those of JudgeOn, record by record.
//
// Holds: MPIC-02, MPIC-03, DCV-03
func TestSimulateAgreesWithJudgingEverything(t *testing.T) {
	onBoth(t, func(t *testing.T, g dbtest.Engine) {
		population(t, g)
		for _, day := range []string{"2025-09-14", "2025-10-01", "2026-03-15", "2026-12-20", "2027-03-15", "2029-03-15"} {
			on, err := time.Parse(time.DateOnly, day)
			require.NoError(t, err)
			want := map[string]string{}
			var granted int64
			for _, r := range everyRecord(t, g.Store) {
				if r.Outcome == db.StillOpen {
					continue
				}
				d := mpic.JudgeOn(r.Evidence, on)
				if d.Outcome == mpic.OutcomeGranted {
					granted++
				}
				if d.Outcome != string(r.Outcome) {
					want[fmt.Sprint("record ", r.Number)] = string(r.Outcome) + " " + d.Outcome
				}
			}
			got, permits := map[string]string{}, []string{}
			var judged [2]int64
			sum, err := g.Store.Simulate(t.Context(), db.Criteria{}, on, func(c db.Changed) error {
				if c.Permit != 0 {
					permits = append(permits, fmt.Sprintf("%d %v", c.Permit, c.Codes))
				} else {
					got[fmt.Sprint("record ", c.Record)] = c.Was + " " + c.Would
				}
				require.NotEmpty(t, c.Codes)
				return nil
			}, func(done, of int64) { judged = [2]int64{done, of} })
			require.Equal(t, judged[1], judged[0])
			require.Equal(t, sum.Attempts+sum.Open+sum.Unjudged, judged[1])
			require.NoError(t, err)
			require.Equal(t, want, got, day)
			require.Equal(t, granted, sum.GrantedOn, day)
			require.EqualValues(t, 11, sum.Attempts)
			require.EqualValues(t, 1, sum.Open)
			require.Zero(t, sum.Unjudged)
			require.EqualValues(t, 3, sum.Permits)
			require.EqualValues(t, len(permits), sum.Withheld)
			switch day {
			case "2025-09-14":
				require.Equal(t, []string{"1 [permit.no-evidence]", "4 [permit.no-evidence]", "5 [permit.no-evidence]"}, permits)
			case "2026-12-20", "2029-03-15":
				require.Empty(t, permits, "nine days are less than ten")
			}
		}
		sum, err := g.Store.Simulate(t.Context(), db.Criteria{Name: "www.example.com"}, dbtest.Started(), nil, nil)
		require.NoError(t, err)
		require.EqualValues(t, 1, sum.Attempts)
		require.EqualValues(t, 1, sum.Permits)
		require.EqualValues(t, 1, sum.GrantedOn)
		none, err := g.Store.Simulate(t.Context(), db.Criteria{Name: "none.example"}, dbtest.Started(), nil, nil)
		require.NoError(t, err)
		require.Zero(t, none.Attempts)
		require.Zero(t, none.Permits)
	})
}
