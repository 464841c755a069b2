package dbtest

import (
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Engine is an empty store, and connections to the same database on which SQL is written by hand: each as some person
// or program may have it, with the engine's protections on or off.
type Engine struct {
	Store *db.Store
	Hands map[string]*sql.DB
	// Intruder is a connection on which no guard, no check and no foreign key holds.
	Intruder *sql.DB
}

// Run holds an engine to what the records promise. open makes a new, empty one for each test and closes it at its end.
func Run(t *testing.T, open func(t testing.TB) Engine) {
	for name, test := range map[string]func(*testing.T, Engine){
		"a granted attempt reads back":                    grantedReadsBack,
		"a refused attempt reads back":                    refusedReadsBack,
		"an attempt that was never asked reads back":      notAskedReadsBack,
		"a request of odd bytes is recorded too":          oddBytes,
		"a request of long texts is recorded too":         longTexts,
		"an open attempt is seen":                         openIsSeen,
		"a dry run makes no authorization":                dryRun,
		"one check alone answers for nothing else":        alone,
		"statements of other protocols read back":         statements,
		"roles come from the rows, in any order":          shuffled,
		"what does not belong together is refused":        mismatches,
		"an attempt is closed once":                       closedOnce,
		"an identifier is used once":                      openedOnce,
		"late replies are kept and change nothing":        late,
		"reports of refusals are kept, each step once":    notices,
		"a notice by hand needs its refusal":              handNotices,
		"lists are filtered and paged":                    lists,
		"sixteen at once":                                 concurrent,
		"a call that is refused spoils no other":          neighbours,
		"a call whose time is over writes nothing":        cancelled,
		"a closed store says so":                          closedStore,
		"rows are neither changed nor removed":            tamperRows,
		"a decision by hand needs what it says":           handDecisions,
		"an authorization by hand needs its decision":     handAuthorizations,
		"pending and closing rows by hand have no place":  handRows,
		"permits and certificates read back":              issuance,
		"a permit by hand needs its evidence":             handPermits,
		"what was changed behind our back is found":       intruder,
		"changes behind_our_back below what was verified": verifiedBefore,
		"rows hidden behind_our_back are found":           hidden,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Record opens and closes an attempt with its evidence, and gives the number and the decision.
func Record(t testing.TB, s *db.Store, e mpic.Evidence) (int64, mpic.Decision) {
	t.Helper()
	n, err := s.Journal().Open(t.Context(), e.Attempt, e.Roster)
	require.NoError(t, err)
	d := mpic.Judge(e)
	require.NoError(t, s.Journal().Close(t.Context(), e, d))
	return n, d
}

// read finds a record by its number, and checks that its identifier finds the same, that Judge still makes the recorded
// decision of the recorded evidence, and that both survive byte for byte.
func read(t testing.TB, s *db.Store, number int64, want mpic.Evidence) db.Record {
	t.Helper()
	r, err := s.Attempt(t.Context(), strconv.FormatInt(number, 10))
	require.NoError(t, err)
	same, err := s.Attempt(t.Context(), want.Attempt.ID())
	require.NoError(t, err)
	require.Equal(t, r, same)
	require.Equal(t, number, r.Number)
	wantJSON, err := json.Marshal(want)
	require.NoError(t, err)
	gotJSON, err := json.Marshal(r.Evidence)
	require.NoError(t, err)
	require.JSONEq(t, string(wantJSON), string(gotJSON))
	again, err := json.Marshal(mpic.Judge(r.Evidence))
	require.NoError(t, err)
	require.Equal(t, string(again), string(r.Decision))
	return r
}

func grantedReadsBack(t *testing.T, g Engine) {
	e := Evidence(t, Attempt("A1", "example.com", mpic.Issuance))
	Silent(&e, 1, mpic.TimedOut)
	n, d := Record(t, g.Store, e)
	require.True(t, d.Granted(), "%v", d.Reasons())
	require.EqualValues(t, 1, n)
	r := read(t, g.Store, n, e)
	require.Equal(t, db.Granted, r.Outcome)
	require.Equal(t, "4/5", r.DCVQuorum)
	require.Equal(t, "4/5", r.CAAQuorum)
	require.Equal(t, "2026-12-15", r.Policy)
	require.Equal(t, started, r.Started, "nanoseconds are kept")
	require.Equal(t, "rest:ra-1", r.Caller)
	require.Equal(t, Account, r.AccountURI)
	require.Len(t, r.Perspectives, 6)
	tokyo := r.Perspectives[2]
	require.Equal(t, "tokyo", tokyo.Name)
	require.Equal(t, mpic.RemoteRole, tokyo.Role)
	require.Equal(t, "timed-out", tokyo.State)
	require.Equal(t, "perspective.timed-out", tokyo.DCVCode)
	require.Equal(t, e.Remotes[1].Asked, tokyo.Asked)
	require.Equal(t, e.Remotes[1].Closed, tokyo.Closed)
	require.Equal(t, e.Roster.Remotes[1].Place.Region, tokyo.Region)
	require.Equal(t, 1, count(t, g, "authorizations"))
}

func refusedReadsBack(t *testing.T, g Engine) {
	e := Evidence(t, Attempt("A1", "*.example.com", mpic.Issuance))
	e.Attempt.Probe.Request.Method = va.DNS01
	e = Evidence(t, e.Attempt)
	PrimaryFails(t, &e)
	n, d := Record(t, g.Store, e)
	require.False(t, d.Granted())
	r := read(t, g.Store, n, e)
	require.Equal(t, db.Refused, r.Outcome)
	require.Equal(t, []string{"http.mismatch"}, r.Reasons)
	require.Equal(t, "5/5", r.DCVQuorum, "all remotes saw it: it counts for nothing")
	require.Equal(t, "fail", r.Perspectives[0].DCV)
	require.Equal(t, "pass", r.Perspectives[0].CAA)
	require.Equal(t, "example.com", r.FQDN)
	require.Zero(t, count(t, g, "authorizations"))
}

func notAskedReadsBack(t *testing.T, g Engine) {
	roster := Roster()
	roster.Remotes = roster.Remotes[:1]
	e := NotAsked(Attempt("A1", "example.com", mpic.Issuance), roster)
	n, d := Record(t, g.Store, e)
	require.False(t, d.Granted())
	r := read(t, g.Store, n, e)
	require.Equal(t, db.Refused, r.Outcome)
	for _, p := range r.Perspectives {
		require.Equal(t, "not-asked", p.State)
		require.Equal(t, "none", p.DCV)
		require.True(t, p.Asked.IsZero())
		require.False(t, p.Closed.IsZero())
	}
	require.Nil(t, r.Evidence.Primary)
}

func oddBytes(t *testing.T, g Engine) {
	a := Attempt("A1", "a\x00b\xff\"'; DROP TABLE attempts; --", mpic.Issuance)
	a.Probe.Request.AccountURI = ""
	e := NotAsked(a, mpic.Roster{Primary: mpic.Member{Name: "zurich"}})
	n, _ := Record(t, g.Store, e)
	r, err := g.Store.Attempt(t.Context(), strconv.FormatInt(n, 10))
	require.NoError(t, err)
	require.Equal(t, db.Refused, r.Outcome)
	require.Equal(t, "a\uFFFDb\uFFFD\"'; DROP TABLE attempts; --", r.Identifier)
}

// longTexts: an index of Postgres has room for 2700 octets. Two texts that differ only behind it are two.
func longTexts(t *testing.T, g Engine) {
	random := make([]byte, 6000)
	rand.Read(random)
	long := "\u00e9" + base64.RawURLEncoding.EncodeToString(random)
	for i, end := range []string{"", ".one", ".two"} {
		a := Attempt(fmt.Sprintf("A%d", i), long+end, mpic.Issuance)
		a.Caller, a.Probe.Request.AccountURI = long+end, long+end
		e := NotAsked(a, mpic.Roster{Primary: mpic.Member{Name: "zurich"}})
		n, _ := Record(t, g.Store, e)
		read(t, g.Store, n, e)
		for what, filter := range map[string]db.Filter{"name": {Name: long + end}, "account": {Account: long + end}, "caller": {Caller: long + end}} {
			found, err := g.Store.List(t.Context(), filter)
			require.NoError(t, err)
			require.Len(t, found, 1, what)
			require.Equal(t, n, found[0].Number, what)
		}
	}
	require.Empty(t, verify(t, g.Store))
}

func openIsSeen(t *testing.T, g Engine) {
	a := Attempt("A1", "example.com", mpic.Issuance)
	n, err := g.Store.Journal().Open(t.Context(), a, Roster())
	require.NoError(t, err)
	r, err := g.Store.Attempt(t.Context(), "A1")
	require.NoError(t, err)
	require.Equal(t, n, r.Number)
	require.Equal(t, db.StillOpen, r.Outcome)
	require.Equal(t, a, r.Evidence.Attempt)
	require.Empty(t, r.Decision)
	require.Empty(t, r.Closing)
	require.Len(t, r.Perspectives, 6)
	for _, p := range r.Perspectives {
		require.Equal(t, "pending", p.State)
	}
	_, err = g.Store.Attempt(t.Context(), "A2")
	require.ErrorIs(t, err, db.ErrNotFound)
	_, err = g.Store.Attempt(t.Context(), "0")
	require.ErrorIs(t, err, db.ErrNotFound)
}

func dryRun(t *testing.T, g Engine) {
	_, d := Record(t, g.Store, Evidence(t, Attempt("A1", "example.com", mpic.DryRun)))
	require.True(t, d.Granted())
	require.Zero(t, count(t, g, "authorizations"))
}

// shuffled: F2. The same perspectives stand in another order, and a remote bears a name that sorts before the
// primary's.
func shuffled(t *testing.T, g Engine) {
	e := Evidence(t, Attempt("A1", "example.com", mpic.Issuance))
	PrimaryFails(t, &e)
	for i, j := 0, len(e.Remotes)-1; i < j; i, j = i+1, j-1 {
		e.Remotes[i], e.Remotes[j] = e.Remotes[j], e.Remotes[i]
		e.Roster.Remotes[i], e.Roster.Remotes[j] = e.Roster.Remotes[j], e.Roster.Remotes[i]
	}
	n, _ := Record(t, g.Store, e)
	r := read(t, g.Store, n, e)
	require.Equal(t, "zurich", r.Perspectives[0].Name)
	require.Equal(t, mpic.Primary, r.Perspectives[0].Role)
	require.Equal(t, "fail", r.Perspectives[0].DCV)
	require.Equal(t, "helsinki", r.Perspectives[1].Name)
	require.Equal(t, "zurich", r.Evidence.Primary.Report().Perspective)
	for name, hand := range g.Hands {
		var primary string
		require.NoError(t, hand.QueryRow(`SELECT perspective || ' ' || dcv FROM reports WHERE role = 'primary'`).Scan(&primary), name)
		require.Equal(t, "zurich fail", primary)
	}
}

func mismatches(t *testing.T, g Engine) {
	granted := func(id string) mpic.Evidence { return Evidence(t, Attempt(id, "example.com", mpic.Issuance)) }
	for name, c := range map[string]struct {
		// change makes, of the evidence for an opened attempt, what Close is given.
		change func(mpic.Evidence) (mpic.Evidence, mpic.Decision)
		want   error
	}{
		"the decision of another attempt": {func(e mpic.Evidence) (mpic.Evidence, mpic.Decision) {
			return e, mpic.Judge(granted("OTHER"))
		}, db.ErrMismatch},
		"a decision upon other evidence": {func(e mpic.Evidence) (mpic.Evidence, mpic.Decision) {
			d := mpic.Judge(e)
			PrimaryFails(t, &e)
			return e, d
		}, db.ErrMismatch},
		"no decision": {func(e mpic.Evidence) (mpic.Evidence, mpic.Decision) { return e, mpic.Decision{} }, db.ErrMismatch},
		"another request than the one opened": {func(e mpic.Evidence) (mpic.Evidence, mpic.Decision) {
			e = Evidence(t, Attempt(e.Attempt.ID(), "example.org", mpic.Issuance))
			return e, mpic.Judge(e)
		}, db.ErrMismatch},
		"another kind than the one opened": {func(e mpic.Evidence) (mpic.Evidence, mpic.Decision) {
			e.Attempt.Kind = mpic.DryRun
			return e, mpic.Judge(e)
		}, db.ErrMismatch},
		"another roster than the one opened": {func(e mpic.Evidence) (mpic.Evidence, mpic.Decision) {
			e.Roster.Remotes[0].Title = "elsewhere"
			return e, mpic.Judge(e)
		}, db.ErrMismatch},
		"a remote without attestation": {func(e mpic.Evidence) (mpic.Evidence, mpic.Decision) {
			e.Remotes = e.Remotes[:4]
			return e, mpic.Judge(e)
		}, db.ErrMismatch},
		"a remote twice": {func(e mpic.Evidence) (mpic.Evidence, mpic.Decision) {
			e.Remotes[0] = e.Remotes[1]
			return e, mpic.Judge(e)
		}, db.ErrMismatch},
		"an attempt that was never opened": {func(mpic.Evidence) (mpic.Evidence, mpic.Decision) {
			e := granted("NEVER")
			return e, mpic.Judge(e)
		}, db.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			id := fmt.Sprintf("A-%s", name)
			e := granted(id)
			_, err := g.Store.Journal().Open(t.Context(), e.Attempt, e.Roster)
			require.NoError(t, err)
			changed, d := c.change(e)
			require.ErrorIs(t, g.Store.Journal().Close(t.Context(), changed, d), c.want)
			r, err := g.Store.Attempt(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, db.StillOpen, r.Outcome)
		})
	}
	require.Zero(t, count(t, g, "reports"))
	require.Zero(t, count(t, g, "decisions"))
	require.Zero(t, count(t, g, "authorizations"))
}

func closedOnce(t *testing.T, g Engine) {
	e := Evidence(t, Attempt("A1", "example.com", mpic.Issuance))
	PrimaryFails(t, &e)
	n, _ := Record(t, g.Store, e)
	better := Evidence(t, e.Attempt)
	require.ErrorIs(t, g.Store.Journal().Close(t.Context(), better, mpic.Judge(better)), db.ErrDecided)
	read(t, g.Store, n, e)
	require.Zero(t, count(t, g, "authorizations"))
}

func openedOnce(t *testing.T, g Engine) {
	a := Attempt("A1", "example.com", mpic.Issuance)
	_, err := g.Store.Journal().Open(t.Context(), a, Roster())
	require.NoError(t, err)
	_, err = g.Store.Journal().Open(t.Context(), a, Roster())
	require.Error(t, err)
	a.Kind = 0
	_, err = g.Store.Journal().Open(t.Context(), a, Roster())
	require.Error(t, err, "no kind has no form in a record")
	require.Equal(t, 1, count(t, g, "attempts"))
	require.Equal(t, 6, count(t, g, "perspectives"))
	n, err := g.Store.Journal().Open(t.Context(), Attempt("A2", "example.com", mpic.Issuance), Roster())
	require.NoError(t, err)
	require.EqualValues(t, 2, n, "a refused attempt leaves no gap")
}

func late(t *testing.T, g Engine) {
	e := Evidence(t, Attempt("A1", "example.com", mpic.Issuance))
	reply := e.Remotes[4]
	j := g.Store.Journal()
	require.ErrorIs(t, j.Late(t.Context(), e.Attempt, reply), db.ErrNotFound)
	Silent(&e, 4, mpic.Outstanding)
	_, err := j.Open(t.Context(), e.Attempt, e.Roster)
	require.NoError(t, err)
	require.Error(t, j.Late(t.Context(), e.Attempt, reply), "the attempt is open")
	require.NoError(t, j.Close(t.Context(), e, mpic.Judge(e)))
	other := e.Attempt
	other.Probe.Request.Token = "AnotherTokenAnotherTok"
	require.ErrorIs(t, j.Late(t.Context(), other, reply), db.ErrMismatch, "another token is not what must not stand in it")
	require.NoError(t, j.Late(t.Context(), e.Attempt, reply))
	require.Error(t, j.Late(t.Context(), e.Attempt, reply), "twice")
	require.Error(t, j.Late(t.Context(), e.Attempt, e.Remotes[0]), "it had answered")
	stranger := reply
	stranger.Perspective = "nowhere"
	require.Error(t, j.Late(t.Context(), e.Attempt, stranger))
	stranger.Perspective = "zurich"
	require.Error(t, j.Late(t.Context(), e.Attempt, stranger), "the primary is no remote")
	r := read(t, g.Store, 1, e)
	require.Equal(t, "4/5", r.DCVQuorum)
	require.Len(t, r.Late, 1)
	require.Equal(t, reply, r.Late[0].Attestation)
}

func lists(t *testing.T, g Engine) {
	add := func(id, name string, kind mpic.Kind, after time.Duration, fails bool) {
		a := Attempt(id, name, kind)
		a.Started = started.Add(after)
		e := Evidence(t, a)
		if fails {
			PrimaryFails(t, &e)
		}
		Record(t, g.Store, e)
	}
	add("A1", "example.com", mpic.Issuance, 0, false)
	add("A2", "example.org", mpic.Issuance, time.Nanosecond, true)
	add("A3", "example.com", mpic.DryRun, time.Minute, false)
	wild := Attempt("A4", "*.example.com", mpic.Issuance)
	wild.Probe.Request.Method, wild.Probe.Request.AccountURI = va.DNS01, "acct:2"
	wild.Started = started.Add(time.Hour)
	_, err := g.Store.Journal().Open(t.Context(), wild, Roster())
	require.NoError(t, err)
	shadow := Attempt("A0", "shadow.example", mpic.Issuance)
	shadow.Shadow = true
	_, err = g.Store.Journal().Open(t.Context(), shadow, Roster())
	require.Error(t, err, "a shadow's attempt is of a kind upon which nothing can be issued")
	for name, c := range map[string]struct {
		f    db.Filter
		want []string
	}{
		"all":                    {db.Filter{}, []string{"A4", "A3", "A2", "A1"}},
		"beside an incumbent":    {db.Filter{Shadow: true}, nil},
		"name":                   {db.Filter{Name: "example.com"}, []string{"A4", "A3", "A1"}},
		"wildcard":               {db.Filter{Name: "*.example.com"}, []string{"A4"}},
		"no pattern":             {db.Filter{Name: "example.%"}, nil},
		"account":                {db.Filter{Account: "acct:2"}, []string{"A4"}},
		"granted":                {db.Filter{Outcome: db.Granted}, []string{"A3", "A1"}},
		"refused":                {db.Filter{Outcome: db.Refused}, []string{"A2"}},
		"open":                   {db.Filter{Outcome: db.StillOpen}, []string{"A4"}},
		"method":                 {db.Filter{Method: va.HTTP01}, []string{"A3", "A2", "A1"}},
		"kind":                   {db.Filter{Kind: mpic.DryRun}, []string{"A3"}},
		"since, to a nanosecond": {db.Filter{Since: started.Add(time.Nanosecond)}, []string{"A4", "A3", "A2"}},
		"until, excluded":        {db.Filter{Until: started.Add(time.Minute)}, []string{"A2", "A1"}},
		"in another time zone": {db.Filter{Until: started.Add(time.Minute).In(time.FixedZone("", 7200))},
			[]string{"A2", "A1"}},
		"page": {db.Filter{Limit: 2}, []string{"A4", "A3"}},
		"next": {db.Filter{Limit: 2, BeforeNumber: 3}, []string{"A2", "A1"}},
		"together": {db.Filter{Name: "example.com", Account: Account, Outcome: db.Granted, Method: va.HTTP01,
			Kind: mpic.Issuance, Since: started, Until: started.Add(time.Second), Limit: 5, BeforeNumber: 9}, []string{"A1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := g.Store.List(t.Context(), c.f)
			require.NoError(t, err)
			var ids []string
			for _, s := range got {
				ids = append(ids, s.ID)
			}
			require.Equal(t, c.want, ids)
		})
	}
	for name, f := range map[string]db.Filter{"outcome": {Outcome: "valid"}, "limit": {Limit: db.MaxLimit + 1}, "negative": {Limit: -1}} {
		_, err := g.Store.List(t.Context(), f)
		require.Error(t, err, name)
	}
}

// concurrent: F4. Numbers stay gapless and every record is whole, however many write at once.
func concurrent(t *testing.T, g Engine) {
	const workers, each = 16, 8
	numbers := make(chan int64, workers*each)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				e := Evidence(t, Attempt(fmt.Sprintf("A-%d-%d", w, i), "example.com", mpic.Issuance))
				if i%2 == 1 {
					PrimaryFails(t, &e)
				}
				n, err := g.Store.Journal().Open(t.Context(), e.Attempt, e.Roster)
				if err == nil {
					err = g.Store.Journal().Close(t.Context(), e, mpic.Judge(e))
				}
				if err != nil {
					t.Errorf("attempt %d of worker %d: %v", i, w, err)
				}
				numbers <- n
			}
		})
	}
	wg.Wait()
	close(numbers)
	seen := map[int64]bool{}
	for n := range numbers {
		seen[n] = true
	}
	for n := int64(1); n <= workers*each; n++ {
		require.True(t, seen[n], "number %d", n)
	}
	require.Equal(t, workers*each/2, count(t, g, "authorizations"))
	Whole(t, g.Store)
}

// neighbours: calls that share a transaction do not share a refusal.
func neighbours(t *testing.T, g Engine) {
	var wg sync.WaitGroup
	errs := make([]error, 32)
	for i := range errs {
		wg.Go(func() {
			id := fmt.Sprintf("A-%d", i)
			if i%2 == 1 {
				id = "SAME"
			}
			_, errs[i] = g.Store.Journal().Open(t.Context(), Attempt(id, "example.com", mpic.Issuance), Roster())
		})
	}
	wg.Wait()
	opened := 0
	for i, err := range errs {
		if i%2 == 0 {
			require.NoError(t, err)
		}
		if err == nil {
			opened++
		}
	}
	require.Equal(t, 17, opened)
	require.Equal(t, 17, count(t, g, "attempts"))
	Whole(t, g.Store)
}
