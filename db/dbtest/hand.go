package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
)

// Tables are those that hold records.
func Tables() []string {
	return []string{"log", "attempts", "perspectives", "reports", "decisions", "authorizations", "reliances", "late_reports", "notices", "rrsets",
		"permits", "permit_names", "certificates"}
}

func count(t testing.TB, g Engine, table string) int {
	t.Helper()
	for _, hand := range g.Hands {
		var n int
		require.NoError(t, hand.QueryRow(`SELECT count(*) FROM `+table).Scan(&n))
		return n
	}
	t.Fatal("the engine gives no connection for SQL by hand")
	return 0
}

// Whole reads each record of a store, and checks that numbers have no gap, that what is decided is judged the same
// again, and that each perspective of a decided attempt is closed.
func Whole(t testing.TB, s *db.Store) {
	t.Helper()
	next, err := s.List(t.Context(), db.Filter{Limit: 1})
	require.NoError(t, err)
	if len(next) == 0 {
		return
	}
	for n := next[0].Number; n >= 1; n-- {
		r, err := s.Attempt(t.Context(), fmt.Sprint(n))
		require.NoError(t, err, "record %d", n)
		require.NotEmpty(t, r.Perspectives)
		for _, p := range r.Perspectives {
			require.Equal(t, r.Outcome == db.StillOpen, p.State == "pending", "record %d, %s", n, p.Name)
		}
		if r.Outcome != db.StillOpen {
			require.Equal(t, r.Outcome == db.Granted, mpic.Judge(r.Evidence).Granted(), "record %d", n)
		}
	}
}

func cancelled(t *testing.T, g Engine) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Store.Journal().Open(ctx, Attempt("A1", "example.com", mpic.Issuance), Roster())
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, count(t, g, "attempts"))
}

func closedStore(t *testing.T, g Engine) {
	e := Evidence(t, Attempt("A1", "example.com", mpic.Issuance))
	_, err := g.Store.Journal().Open(t.Context(), e.Attempt, e.Roster)
	require.NoError(t, err)
	require.NoError(t, g.Store.Close())
	require.NoError(t, g.Store.Close(), "twice")
	require.ErrorIs(t, g.Store.Journal().Close(t.Context(), e, mpic.Judge(e)), db.ErrClosed)
	_, err = g.Store.Journal().Open(t.Context(), Attempt("A2", "example.com", mpic.Issuance), Roster())
	require.ErrorIs(t, err, db.ErrClosed)
	_, err = g.Store.Attempt(t.Context(), "A1")
	require.Error(t, err)
	_, err = g.Store.List(t.Context(), db.Filter{})
	require.Error(t, err)
	require.Error(t, g.Store.Ping(t.Context()))
	require.Equal(t, 1, count(t, g, "attempts"))
	require.Zero(t, count(t, g, "decisions"))
}

// Populate leaves a row in each table: 1 is granted, with a late reply, a permit and a certificate, 2 is refused, 3 a dry run, 4 open.
func Populate(t testing.TB, s *db.Store) {
	t.Helper()
	e := Evidence(t, Attempt("GRANTED", "example.com", mpic.Issuance))
	reply := e.Remotes[4]
	Silent(&e, 4, mpic.Outstanding)
	_, d := Record(t, s, e)
	require.True(t, d.Granted(), "%v", d.Reasons())
	require.NoError(t, s.Journal().Late(t.Context(), e.Attempt, reply))
	e = Evidence(t, Attempt("REFUSED", "example.com", mpic.Issuance))
	PrimaryFails(t, &e)
	Record(t, s, e)
	Record(t, s, Evidence(t, Attempt("DRY", "example.com", mpic.DryRun)))
	_, err := s.Journal().Open(t.Context(), Attempt("OPEN", "example.com", mpic.Issuance), Roster())
	require.NoError(t, err)
	Issue(t, s, started.Add(10*time.Second), "example.com")
}

// eachHand runs a test with SQL by hand, in a transaction that is taken back.
func eachHand(t *testing.T, g Engine, test func(t *testing.T, tx *sql.Tx)) {
	for name, hand := range g.Hands {
		t.Run(name, func(t *testing.T) {
			tx, err := hand.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, tx.Rollback()) }()
			test(t, tx)
		})
	}
}

// row is a table's row by column.
type row map[string]any

// rows reads rows as they are.
func rows(t testing.TB, tx *sql.Tx, query string, args ...any) []row {
	t.Helper()
	found, err := tx.Query(query, args...)
	require.NoError(t, err)
	defer found.Close()
	columns, err := found.Columns()
	require.NoError(t, err)
	var out []row
	for found.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		require.NoError(t, found.Scan(into...))
		r := row{}
		for i, c := range columns {
			r[c] = values[i]
		}
		out = append(out, r)
	}
	require.NoError(t, found.Err())
	require.NotEmpty(t, out, query)
	return out
}

// with is a copy with other values.
func (r row) with(changes row) row {
	out := maps.Clone(r)
	maps.Copy(out, changes)
	return out
}

func (r row) insert(tx *sql.Tx, table string) error {
	columns := slices.Sorted(maps.Keys(r))
	var places []string
	var values []any
	for i, c := range columns {
		places = append(places, fmt.Sprintf("$%d", i+1))
		values = append(values, r[c])
	}
	_, err := tx.Exec(fmt.Sprintf(`INSERT INTO %s (%s) VALUES (%s)`, table, strings.Join(columns, ", "),
		strings.Join(places, ", ")), values...)
	return err
}

// refusal is what a guard says, or Postgres to a user who has not even the right.
const refusal = "REC-06|permission denied"

// tried runs something that may fail, and leaves the transaction as it was before.
func tried(t testing.TB, tx *sql.Tx, do func() error) error {
	t.Helper()
	_, err := tx.Exec(`SAVEPOINT tried`)
	require.NoError(t, err)
	failed := do()
	_, err = tx.Exec(`ROLLBACK TO SAVEPOINT tried`)
	require.NoError(t, err)
	return failed
}

// freshLeaf writes a line of the log by hand, for a row that needs one.
func freshLeaf(t testing.TB, tx *sql.Tx) int64 {
	t.Helper()
	last := rows(t, tx, `SELECT * FROM log ORDER BY leaf DESC LIMIT 1`)[0]
	leaf := last["leaf"].(int64) + 1
	require.NoError(t, last.with(row{"leaf": leaf}).insert(tx, "log"))
	return leaf
}

func tamperRows(t *testing.T, g Engine) {
	Populate(t, g.Store)
	Forbid(t, g.Store, "FORBIDDEN")
	for _, table := range Tables() {
		eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
			for column, value := range rows(t, tx, `SELECT * FROM `+table)[0] {
				err := tried(t, tx, func() error {
					_, err := tx.Exec(fmt.Sprintf(`UPDATE %s SET %s = $1`, table, column), value)
					return err
				})
				require.Error(t, err)
				require.Regexp(t, refusal, err.Error(), "UPDATE %s.%s", table, column)
			}
		})
		eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
			_, err := tx.Exec(`DELETE FROM ` + table)
			require.Error(t, err)
			require.Regexp(t, refusal, err.Error(), "DELETE FROM %s", table)
		})
		eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
			require.Error(t, rows(t, tx, `SELECT * FROM `+table)[0].insert(tx, table), "the same row again in %s", table)
		})
	}
}

// handClose closes the open attempt 4 by hand as attempt 1 was, but for the changes; a nil change leaves the row out.
// It returns the first refusal.
func handClose(t testing.TB, tx *sql.Tx, attempt int64, reports map[string]row, decision row) error {
	t.Helper()
	for _, r := range rows(t, tx, `SELECT * FROM reports WHERE attempt = 3`) {
		change, changed := reports[r["perspective"].(string)]
		if changed && change == nil {
			continue
		}
		if err := r.with(row{"attempt": attempt}).with(change).insert(tx, "reports"); err != nil {
			return fmt.Errorf("reports: %w", err)
		}
	}
	d := rows(t, tx, `SELECT * FROM decisions WHERE attempt = 3`)[0].with(row{"attempt": attempt, "kind": "issuance", "leaf": freshLeaf(t, tx)})
	if err := d.with(decision).insert(tx, "decisions"); err != nil {
		return fmt.Errorf("decisions: %w", err)
	}
	return nil
}

// handDecisions: MPIC-12. A granted decision whose rows do not carry it is refused by the database itself.
func handDecisions(t *testing.T, g Engine) {
	Populate(t, g.Store)
	oneRegion := Roster()
	for i := range oneRegion.Remotes {
		oneRegion.Remotes[i].Place.Region = mpic.ARIN
	}
	_, err := g.Store.Journal().Open(t.Context(), Attempt("REGION", "example.com", mpic.Issuance), oneRegion)
	require.NoError(t, err)

	failed := row{"dcv": "fail", "dcv_code": "http.mismatch"}
	forbidden := row{"caa": "fail", "caa_code": "caa.forbidden"}
	two := func(change row) map[string]row { return map[string]row{"tokyo": change, "ashburn": change} }
	quorum := func(check string, n int) row {
		return row{check + "_corroborated": n, check + "_quorum": fmt.Sprintf("%d/5", n)}
	}
	for name, c := range map[string]struct {
		reports  map[string]row
		decision row
		attempt  int64
		granted  bool
	}{
		"all as it must be":                 {granted: true},
		"one remote failed, and it says so": {reports: map[string]row{"tokyo": failed}, decision: quorum("dcv", 4), granted: true},
		"the primary failed DCV":            {reports: map[string]row{"zurich": failed}},
		"the primary failed DCV, and it says so": {reports: map[string]row{"zurich": failed},
			decision: row{"primary_dcv": "fail"}},
		"the primary failed CAA": {reports: map[string]row{"zurich": forbidden}},
		"the primary failed CAA, and it says so": {reports: map[string]row{"zurich": forbidden},
			decision: row{"primary_caa": "fail"}},
		"the primary was not judged":     {reports: map[string]row{"zurich": {"dcv": "none", "caa": "none"}}},
		"the primary never answered":     {reports: map[string]row{"zurich": {"state": "missing"}}},
		"a remote for the primary":       {decision: row{"primary_name": "tokyo"}},
		"a remote's role":                {decision: row{"primary_name": "tokyo", "primary_role": "remote"}},
		"a stranger for the primary":     {decision: row{"primary_name": "nowhere"}},
		"the primary's row missing":      {reports: map[string]row{"zurich": nil}},
		"a remote's row missing":         {reports: map[string]row{"tokyo": nil}, decision: quorum("dcv", 4).with(quorum("caa", 4))},
		"one failed, counted as five":    {reports: map[string]row{"tokyo": failed}},
		"two failed DCV":                 {reports: two(failed)},
		"two failed DCV, and it says so": {reports: two(failed), decision: quorum("dcv", 3)},
		"two failed DCV, two allowed":    {reports: two(failed), decision: quorum("dcv", 3).with(row{"dcv_allowed": 2})},
		"two failed CAA, and it says so": {reports: two(forbidden), decision: quorum("caa", 3)},
		"two failed CAA, two allowed":    {reports: two(forbidden), decision: quorum("caa", 3).with(row{"caa_allowed": 2})},
		"two failed DCV, three were asked": {reports: two(failed), decision: row{"dcv_corroborated": 3, "dcv_attempted": 3,
			"dcv_quorum": "3/3", "min_remotes": 3}},
		"two never answered":       {reports: two(row{"state": "timed-out", "dcv": "error", "caa": "error"})},
		"passes without an answer": {reports: two(row{"state": "timed-out"})},
		"none asked": {decision: row{"dcv_corroborated": 0, "dcv_attempted": 0, "dcv_quorum": "0/0",
			"caa_corroborated": 0, "caa_attempted": 0, "caa_quorum": "0/0", "min_remotes": 0}},
		"the policy asks for more":    {decision: row{"min_remotes": 6}},
		"the policy asks for nothing": {decision: row{"min_remotes": 0, "min_regions": 0}},
		"one region":                  {attempt: 5},
		"more regions than there are": {decision: row{"min_regions": 6}},
		"another quorum in words":     {decision: row{"dcv_quorum": "5/6"}},
		"granted with a reason":       {decision: row{"reasons": "quorum.missed"}},
		"refused without a reason":    {decision: row{"outcome": "refused"}},
		"no outcome":                  {decision: row{"outcome": nil}},
		"an unknown outcome":          {decision: row{"outcome": "valid"}},
		"an empty outcome":            {decision: row{"outcome": ""}},
		"another name":                {decision: row{"identifier": "example.org"}},
		"another account":             {decision: row{"account_uri": "acct:2"}},
		"another method":              {decision: row{"method": "dns-01"}},
		"another kind":                {decision: row{"kind": "dry-run"}},
		"no such attempt":             {attempt: 99},
		"an attempt decided already":  {attempt: 2},
		"a local time":                {decision: row{"decided_at": "2026-12-20T12:00:00+02:00"}},
		"no document":                 {decision: row{"document": nil}},
		"an empty document":           {decision: row{"document": []byte{}}},
	} {
		t.Run(name, func(t *testing.T) {
			eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
				attempt := c.attempt
				if attempt == 0 {
					attempt = 4
				}
				err := handClose(t, tx, attempt, c.reports, c.decision)
				if c.granted {
					require.NoError(t, err)
				} else {
					require.Error(t, err)
				}
			})
		})
	}
}

// handAuthorizations: MPIC-12, REC-05.
func handAuthorizations(t *testing.T, g Engine) {
	Populate(t, g.Store)
	for name, change := range map[string]row{
		"an open attempt":         {"attempt": 4},
		"a refused attempt":       {"attempt": 2},
		"a refused one, honestly": {"attempt": 2, "outcome": "refused"},
		"a dry run":               {"attempt": 3},
		"a dry run, honestly":     {"attempt": 3, "kind": "dry-run"},
		"no attempt":              {"attempt": 99},
		"no attempt at all":       {"attempt": nil},
		"a second one":            {},
		"another name":            {"attempt": 4, "identifier": "example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
				require.Error(t, rows(t, tx, `SELECT * FROM authorizations`)[0].with(change).insert(tx, "authorizations"))
			})
		})
	}
	// A granted decision that has no authorization yet, made by hand; then all but the right one is refused.
	for name, c := range map[string]struct {
		change  row
		granted bool
	}{
		"the right one":   {granted: true},
		"another name":    {change: row{"identifier": "www.example.com"}},
		"another account": {change: row{"account_uri": "acct:2"}},
		"another method":  {change: row{"method": "dns-01"}},
		"another kind":    {change: row{"kind": "dry-run"}},
		"another outcome": {change: row{"outcome": "refused"}},
		"no outcome":      {change: row{"outcome": nil}},
		"no name":         {change: row{"identifier": nil}},
		"no account":      {change: row{"account_uri": nil}},
	} {
		t.Run("beside its decision, "+name, func(t *testing.T) {
			eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
				require.NoError(t, handClose(t, tx, 4, nil, nil))
				a := rows(t, tx, `SELECT * FROM authorizations`)[0].with(row{"attempt": 4}).with(c.change)
				if err := a.insert(tx, "authorizations"); c.granted {
					require.NoError(t, err)
				} else {
					require.Error(t, err)
				}
			})
		})
	}
}

func handRows(t *testing.T, g Engine) {
	Populate(t, g.Store)
	for name, c := range map[string]struct {
		table, from string
		change      row
	}{
		"a gap in the numbers":           {"attempts", "number = 4", row{"number": 6, "id": "X"}},
		"a number that is none":          {"attempts", "number = 4", row{"number": "next", "id": "X"}},
		"number zero":                    {"attempts", "number = 4", row{"number": 0, "id": "X"}},
		"an unknown kind":                {"attempts", "number = 4", row{"number": 5, "id": "X", "kind": "test"}},
		"an attempt without a line":      {"attempts", "number = 4", row{"number": 5, "id": "X", "leaf": nil}},
		"an attempt of no gate":          {"attempts", "number = 4", row{"number": 5, "id": "X", "gate": "nobody"}},
		"a digest of another length":     {"attempts", "number = 4", row{"number": 5, "id": "X", "sha256": "00"}},
		"a second primary":               {"perspectives", "attempt = 4 AND position = 0", row{"name": "x"}},
		"a primary in a remote's place":  {"perspectives", "attempt = 4 AND position = 0", row{"name": "x", "position": 6}},
		"a remote in the primary's":      {"perspectives", "attempt = 4 AND position = 1", row{"name": "x", "position": 0}},
		"a perspective of no attempt":    {"perspectives", "attempt = 4 AND position = 1", row{"attempt": 99}},
		"a perspective after the report": {"perspectives", "attempt = 1 AND position = 1", row{"name": "x", "position": 9}},
		"a report of a stranger":         {"reports", "attempt = 3 AND role = 'remote'", row{"attempt": 4, "perspective": "x"}},
		"a remote's report as primary's": {"reports", "attempt = 3 AND role = 'remote'", row{"attempt": 4, "role": "primary"}},
		"a report without an outcome":    {"reports", "attempt = 3 AND role = 'remote'", row{"attempt": 4, "dcv": nil}},
		"a report of an unknown outcome": {"reports", "attempt = 3 AND role = 'remote'", row{"attempt": 4, "dcv": "valid"}},
		"a report of an unknown state":   {"reports", "attempt = 3 AND role = 'remote'", row{"attempt": 4, "state": "fine"}},
		"a pass with a problem":          {"reports", "attempt = 3 AND role = 'remote'", row{"attempt": 4, "dcv_code": "x.y"}},
		"a report of no attempt":         {"reports", "attempt = 3 AND role = 'remote'", row{"attempt": 99}},
		"a late reply to an open one":    {"late_reports", "attempt = 1", row{"attempt": 4}},
		"a late reply of one in time":    {"late_reports", "attempt = 1", row{"perspective": "tokyo"}},
		"a late reply of the primary":    {"late_reports", "attempt = 1", row{"perspective": "zurich", "role": "primary"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachHand(t, g, func(t *testing.T, tx *sql.Tx) {
				r := rows(t, tx, `SELECT * FROM `+c.table+` WHERE `+c.from)[0]
				if _, logged := r["leaf"]; logged {
					r["leaf"] = freshLeaf(t, tx)
				}
				err := r.with(c.change).insert(tx, c.table)
				require.Error(t, err)
				require.False(t, errors.Is(err, sql.ErrTxDone), "it is the row that is refused")
			})
		})
	}
}
