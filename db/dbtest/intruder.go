package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
)

// verify gives what does not hold.
func verify(t testing.TB, s *db.Store) []db.Finding {
	t.Helper()
	var all []db.Finding
	sum, err := s.Verify(t.Context(), db.VerifyConfig{Depth: db.DepthDecisions, Finding: func(f db.Finding) { all = append(all, f) }})
	require.NoError(t, err)
	require.Equal(t, len(all), sum.Findings)
	return all
}

// keys are the columns that make up each table's key.
var keys = map[string][]string{"log": {"leaf"}, "attempts": {"number"}, "perspectives": {"attempt", "name"}, "reports": {"attempt", "perspective"},
	"decisions": {"attempt"}, "authorizations": {"attempt"}, "reliances": {"attempt"}, "late_reports": {"attempt", "perspective"}, "notices": {"attempt", "position", "stage"}, "rrsets": {"sha256"},
	"permits": {"number"}, "permit_names": {"permit", "name"}, "certificates": {"number"}}

// intruder: REC-06. Every cell of a row of every table is changed, the row removed, doubled and swapped, behind the back of guards, checks
// and foreign keys; each time Verify finds it, and names the record.
func intruder(t *testing.T, g Engine) {
	Populate(t, g.Store)
	e := Evidence(t, Attempt("SECOND", "example.com", mpic.Issuance))
	Record(t, g.Store, e)
	Issue(t, g.Store, started.Add(20*1e9), "example.com")
	Forbid(t, g.Store, "FORBIDDEN")
	require.Empty(t, verify(t, g.Store), "nothing was changed yet")
	for _, table := range Tables() {
		for i, r := range stored(t, g, table)[:1] {
			for column, value := range r {
				t.Run(fmt.Sprintf("%s/%d/%s changed", table, i, column), func(t *testing.T) {
					other := another(value)
					set(t, g, table, r, row{column: other})
					// A row that now looks like another of its own key is found by that key.
					found := verify(t, g.Store)
					set(t, g, table, r.with(row{column: other}), row{column: value})
					requireFound(t, table, r, found)
				})
			}
			t.Run(fmt.Sprintf("%s/%d removed", table, i), func(t *testing.T) {
				where, args := r.key(table, 0)
				exec(t, g, `DELETE FROM `+table+` WHERE `+where, args...)
				found := verify(t, g.Store)
				intrude(t, g, table, r)
				requireFound(t, table, r, found)
			})
			t.Run(fmt.Sprintf("%s/%d doubled", table, i), func(t *testing.T) {
				double := row{}
				for _, column := range keys[table] {
					double[column] = another(r[column])
				}
				for _, unique := range []string{"leaf", "id", "position", "fingerprint"} {
					if v, there := r[unique]; there && double[unique] == nil {
						double[unique] = another(v)
					}
				}
				copied := r.with(double)
				intrude(t, g, table, copied)
				found := verify(t, g.Store)
				where, args := copied.key(table, 0)
				exec(t, g, `DELETE FROM `+table+` WHERE `+where, args...)
				require.NotEmpty(t, found)
			})
		}
	}
	for _, table := range []string{"attempts", "decisions"} {
		t.Run(table+" swapped", func(t *testing.T) {
			all := stored(t, g, table)
			a, b := all[0], all[2]
			number := keys[table][0]
			swap := func(a, b row) {
				set(t, g, table, a, row{number: int64(-1)})
				set(t, g, table, b, row{number: a[number]})
				set(t, g, table, a.with(row{number: int64(-1)}), row{number: b[number]})
			}
			swap(a, b)
			found := verify(t, g.Store)
			swap(a.with(row{number: b[number]}), b.with(row{number: a[number]}))
			requireFound(t, table, a, found)
			requireFound(t, table, b, found)
		})
	}
	require.Empty(t, verify(t, g.Store), "everything was put back")
}

// requireFound: the finding names the attempt, or for what belongs to none its own number.
func requireFound(t *testing.T, table string, r row, found []db.Finding) {
	t.Helper()
	require.NotEmpty(t, found)
	var number any
	switch table {
	case "log":
		if r["kind"] == "permit" || r["kind"] == "certificate" {
			return
		}
		number = r["subject"]
	case "attempts":
		number = r["number"]
	case "rrsets", "permits", "permit_names", "certificates":
		var text []string
		for _, f := range found {
			text = append(text, f.Detail)
		}
		name := fmt.Sprint(r[keys[table][0]])
		if table != "rrsets" {
			name = map[string]string{"permits": "permit ", "permit_names": "permit ", "certificates": "certificate "}[table] + name
		}
		all := strings.Join(text, "; ")
		require.True(t, strings.Contains(all, name) || table == "certificates" && strings.Contains(all, r["fingerprint"].(string)) || table == "permits" || strings.Contains(all, "of number "+fmt.Sprint(r[keys[table][0]])), all)
		return
	default:
		number = r["attempt"]
	}
	for _, f := range found {
		if f.Number == number.(int64) {
			return
		}
	}
	t.Errorf("nothing was found of record %v: %v", number, found)
}

// another gives a value of the same kind that is not the same.
func another(v any) any {
	switch v := v.(type) {
	case int64:
		return v + 100
	case string:
		if len(v) == 30 && strings.HasSuffix(v, "Z") { // a time stays one
			return "2026-12-20T12:00:59.000000000Z"
		}
		if v == "" {
			return "x"
		}
		return v[:len(v)-1] + map[bool]string{true: "0", false: "1"}[v[len(v)-1] == '1']
	case []byte:
		return append(slices.Clone(v), 'x')
	case nil:
		return "2026-12-20T12:00:58.000000000Z"
	}
	panic(fmt.Sprintf("%T", v))
}

// key gives the WHERE of a row's key.
func (r row) key(table string, from int) (string, []any) {
	var terms []string
	var args []any
	for _, column := range keys[table] {
		args = append(args, r[column])
		terms = append(terms, fmt.Sprintf("%s = $%d", column, from+len(args)))
	}
	return strings.Join(terms, " AND "), args
}

func stored(t testing.TB, g Engine, table string) []row {
	t.Helper()
	tx, err := g.Intruder.BeginTx(t.Context(), &sql.TxOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()
	return rows(t, tx, `SELECT * FROM `+table+` ORDER BY `+strings.Join(keys[table], ", "))
}

func set(t testing.TB, g Engine, table string, r row, values row) {
	t.Helper()
	var terms []string
	var args []any
	for _, column := range slices.Sorted(maps.Keys(values)) {
		args = append(args, values[column])
		terms = append(terms, fmt.Sprintf("%s = $%d", column, len(args)))
	}
	where, more := r.key(table, len(args))
	exec(t, g, `UPDATE `+table+` SET `+strings.Join(terms, ", ")+` WHERE `+where, append(args, more...)...)
}

// exec changes exactly one row.
func exec(t testing.TB, g Engine, query string, args ...any) {
	t.Helper()
	out, err := g.Intruder.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
	n, err := out.RowsAffected()
	require.NoError(t, err)
	require.EqualValues(t, 1, n, query)
}

func intrude(t testing.TB, g Engine, table string, r row) {
	t.Helper()
	tx, err := g.Intruder.BeginTx(t.Context(), &sql.TxOptions{})
	require.NoError(t, err)
	err = r.insert(tx, table)
	if err != nil {
		err = errors.Join(err, tx.Rollback())
	} else {
		err = tx.Commit()
	}
	require.NoError(t, err)
}

// verifiedBefore: what stands below a checkpoint that was verified before is only held against the log, and a change of it is still
// found; what is newer is worked out in full.
func verifiedBefore(t *testing.T, g Engine) {
	key, publisher := Publisher(t, g.Store)
	Populate(t, g.Store)
	require.NoError(t, publisher.Publish(t.Context()))
	checkpoint, err := g.Store.Checkpoint(t.Context())
	require.NoError(t, err)
	Record(t, g.Store, Evidence(t, Attempt("LATER", "example.com", mpic.Issuance)))
	run := func(verified []byte) (judged int, found []db.Finding) {
		_, err := g.Store.Verify(t.Context(), db.VerifyConfig{Depth: db.DepthDecisions, LogKey: key, Verified: verified,
			Record: func(db.Record, audit.Verdict) { judged++ }, Finding: func(f db.Finding) { found = append(found, f) }})
		require.NoError(t, err)
		return judged, found
	}
	judged, found := run(nil)
	require.Equal(t, 5, judged)
	require.Empty(t, found)
	judged, found = run(checkpoint.Note)
	require.Equal(t, 2, judged, "the open one and the later one")
	require.Empty(t, found)

	r := stored(t, g, "decisions")[1]
	set(t, g, "decisions", r, row{"document": another(r["document"])})
	_, found = run(checkpoint.Note)
	require.Len(t, found, 1)
	require.EqualValues(t, 2, found[0].Number)
	set(t, g, "decisions", r, row{"document": r["document"]})

	other := append([]byte{}, checkpoint.Note...)
	other[len(other)-10] ^= 1
	judged, found = run(other)
	require.NotEmpty(t, found, "whose signature does not hold")
	require.Equal(t, 5, judged, "and so everything is worked out")
}

// Publisher publishes checkpoints of a store with a key of its own, and gives the key's verifier.
func Publisher(t testing.TB, s *db.Store) (note.Verifier, *db.Publisher) {
	t.Helper()
	key, err := merkle.GenerateLogKey("gate.example/log")
	require.NoError(t, err)
	memory, err := merkle.OpenMemory(filepath.Join(t.TempDir(), "memory"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, memory.Close()) })
	signer, err := merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: key.Verifier(), Memory: memory})
	require.NoError(t, err)
	p, err := s.NewPublisher(t.Context(), db.PublisherConfig{Signer: signer, Interval: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close(context.Background())) })
	return key.Verifier(), p
}
