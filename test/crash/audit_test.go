package crash

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
)

// auditor holds a database against what was acknowledged. It reads the tables by hand, and works the log out from leaf 0 on: each
// audit goes on where the last one ended.
type auditor struct {
	verifier note.Verifier
	// memories are the files of the gates' signers.
	memories []string
	tree     merkle.Tree
	// roots are the log's, by size.
	roots []tlog.Hash
	// answered has the attempts that a former audit found whole, and that no gate works at any more.
	answered map[string]bool
	// unanswered counts calls that a kill left without an answer, and inRecord those of them that were in the record all the same.
	unanswered, inRecord int
	published            int
}

func newAuditor(verifier note.Verifier, memories ...string) *auditor {
	return &auditor{verifier: verifier, memories: memories, answered: map[string]bool{}}
}

// audit reads in one transaction, so that a gate may go on meanwhile. running are the names of gates that do: what is open of
// theirs is no fault.
func (a *auditor) audit(t testing.TB, pool *sql.DB, l *ledger, running ...string) {
	t.Helper()
	attempts, published := l.snapshot() // before the transaction begins: all of it must be there
	memories := a.remembered(t)
	tx, err := pool.BeginTx(t.Context(), &sql.TxOptions{Isolation: isolation(pool), ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()
	a.log(t, tx)
	a.checkpoints(t, tx, memories, published)
	for question, want := range questions() {
		require.Equal(t, want, scalar(t, tx, question), question)
	}
	a.answers(t, tx, attempts, running)
}

// isolation: SQLite has one.
func isolation(pool *sql.DB) sql.IsolationLevel {
	if strings.Contains(fmt.Sprintf("%T", pool.Driver()), "sqlite") {
		return sql.LevelDefault
	}
	return sql.LevelRepeatableRead
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func scalar(t testing.TB, q queryer, question string, args ...any) string {
	t.Helper()
	var got string
	require.NoError(t, q.QueryRowContext(t.Context(), question, args...).Scan(&got), question)
	return got
}

// each calls one with a function that reads the row.
func each(t testing.TB, q queryer, one func(scan func(...any)), query string, args ...any) {
	t.Helper()
	rows, err := q.QueryContext(t.Context(), query, args...)
	require.NoError(t, err, query)
	for rows.Next() {
		one(func(into ...any) { require.NoError(t, rows.Scan(into...), query) })
	}
	require.NoError(t, rows.Err())
	require.NoError(t, rows.Close())
}

// questions are the tables' own consistency, with their answers.
func questions() map[string]string {
	return map[string]string{
		`SELECT size - (SELECT count(*) FROM log) FROM log_head`:                                                        "0",
		`SELECT size - (SELECT coalesce(max(leaf) + 1, 0) FROM log) FROM log_head`:                                      "0",
		`SELECT attempts - (SELECT count(*) FROM attempts) FROM log_head`:                                               "0",
		`SELECT attempts - (SELECT coalesce(max(number), 0) FROM attempts) FROM log_head`:                               "0",
		`SELECT count(*) FROM attempts AS a WHERE (SELECT count(*) FROM perspectives WHERE attempt = a.number) <> 6`:    "0",
		`SELECT count(*) FROM decisions AS d WHERE (SELECT count(*) FROM reports WHERE attempt = d.attempt) <> 6`:       "0",
		`SELECT count(*) FROM reports AS r WHERE NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.attempt = r.attempt)`: "0",
		`SELECT count(*) FROM decisions AS d WHERE NOT EXISTS (SELECT 1 FROM attempts AS a WHERE a.number = d.attempt)`: "0",
		`SELECT count(*) FROM late_reports AS l WHERE NOT EXISTS (SELECT 1 FROM decisions WHERE attempt = l.attempt)`:   "0",
		`SELECT count(*) FROM authorizations AS a WHERE NOT EXISTS (SELECT 1 FROM decisions AS d JOIN attempts AS o
			ON o.number = d.attempt WHERE d.attempt = a.attempt AND d.outcome = 'granted' AND o.identifier = a.identifier
			AND o.account_uri = a.account_uri AND o.method = a.method)`: "0",
		`SELECT count(*) FROM decisions AS d WHERE d.outcome = 'granted' AND d.kind = 'issuance'
			AND NOT EXISTS (SELECT 1 FROM authorizations AS a WHERE a.attempt = d.attempt)`: "0",
	}
}

// log works out each new line's hashes, and holds the line against its document.
func (a *auditor) log(t testing.TB, tx queryer) {
	t.Helper()
	from := a.tree.Size()
	type document struct {
		kind    merkle.Kind
		subject int64
		sha256  string
	}
	documents := map[int64]document{}
	for kind, query := range map[merkle.Kind]string{
		merkle.Intent:    `SELECT leaf, number, sha256, document FROM attempts WHERE leaf >= $1`,
		merkle.Decision:  `SELECT leaf, attempt, sha256, document FROM decisions WHERE leaf >= $1`,
		merkle.LateReply: `SELECT leaf, attempt, sha256, document FROM late_reports WHERE leaf >= $1`,
	} {
		each(t, tx, func(scan func(...any)) {
			var leaf, subject int64
			var sum string
			var octets []byte
			scan(&leaf, &subject, &sum, &octets)
			digest := sha256.Sum256(octets)
			require.Equal(t, hex.EncodeToString(digest[:]), sum, "the document of line %d", leaf)
			require.NotContains(t, documents, leaf, "two documents have one line")
			documents[leaf] = document{kind, subject, sum}
		}, query, from)
	}
	if len(a.roots) == 0 {
		a.roots = append(a.roots, a.tree.Root())
	}
	each(t, tx, func(scan func(...any)) {
		var e merkle.Entry
		var kind, recorded string
		var stored []byte
		scan(&e.Leaf, &kind, &e.Subject, &recorded, &e.SHA256, &stored)
		e.Kind = merkle.Kind(kind)
		var err error
		e.Recorded, err = time.Parse(time.RFC3339Nano, recorded)
		require.NoError(t, err)
		require.Equal(t, a.tree.Size(), e.Leaf, "the log has a gap")
		require.Equal(t, documents[e.Leaf], document{e.Kind, e.Subject, e.SHA256}, "line %d and its document", e.Leaf)
		delete(documents, e.Leaf)
		var computed []byte
		for _, h := range a.tree.Append(e.Hash()) {
			computed = append(computed, h[:]...)
		}
		require.Equal(t, computed, stored, "the hashes of line %d", e.Leaf)
		a.roots = append(a.roots, a.tree.Root())
	}, `SELECT leaf, kind, subject, recorded_at, sha256, hashes FROM log WHERE leaf >= $1 ORDER BY leaf`, from)
	require.Empty(t, documents, "documents without a line in the log")
}

// remembered reads the signers' memories. They are read before the tables: what is in a memory is in the log.
func (a *auditor) remembered(t testing.TB) (all [][]byte) {
	t.Helper()
	for _, file := range a.memories {
		signed, err := os.ReadFile(file)
		if os.IsNotExist(err) { // the first gate was killed before it signed for the first time
			continue
		}
		require.NoError(t, err)
		all = append(all, signed)
	}
	return all
}

// checkpoints: each is signed, and of this very log, whether it was published or is only remembered.
func (a *auditor) checkpoints(t testing.TB, tx queryer, memories [][]byte, acknowledged []int64) {
	t.Helper()
	var newest int64
	hold := func(signed []byte) merkle.Checkpoint {
		c, _, err := merkle.OpenCheckpoint(signed, a.verifier)
		require.NoError(t, err)
		require.Less(t, c.Size, int64(len(a.roots)), "more was signed than there is")
		require.Equal(t, a.roots[c.Size], c.Root, "the root of the checkpoint of %d lines", c.Size)
		return c
	}
	kept := map[int64]bool{}
	each(t, tx, func(scan func(...any)) {
		var size int64
		var signed []byte
		scan(&size, &signed)
		require.Equal(t, size, hold(signed).Size)
		kept[size] = true
		newest = max(newest, size)
	}, `SELECT size, note FROM checkpoints`)
	for _, size := range acknowledged {
		require.True(t, kept[size], "the published checkpoint of %d lines is lost", size)
	}
	a.published = len(kept)
	for _, signed := range memories {
		c := hold(signed)
		if len(memories) == 1 {
			require.GreaterOrEqual(t, c.Size, newest, "a checkpoint was published that is not remembered")
		}
	}
}

// answers: what was acknowledged is there, with the outcome that was acknowledged; and what is there was asked for.
func (a *auditor) answers(t testing.TB, tx queryer, attempts map[string]entry, running []string) {
	t.Helper()
	live := func(id string) bool {
		for _, name := range running {
			if strings.HasPrefix(strings.TrimPrefix(id, "no-"), name+"-") {
				return true
			}
		}
		return false
	}
	found := map[string]bool{}
	each(t, tx, func(scan func(...any)) {
		var number int64
		var id, outcome string
		var authorized, late bool
		scan(&number, &id, &outcome, &authorized, &late)
		found[id] = true
		if a.answered[id] {
			return
		}
		e, asked := attempts[id]
		if live(id) {
			if e.outcome != "" {
				require.Equal(t, e.outcome, outcome, id)
			}
			return
		}
		require.True(t, asked, "nobody opened %s", id)
		require.NotEmpty(t, outcome, "%s, record %d, is open and its gate is dead", id, number)
		if e.opened {
			require.Equal(t, e.number, number, id)
		}
		switch {
		case e.outcome != "":
			require.Equal(t, e.outcome, outcome, "the acknowledged decision of %s", id)
		case outcome == granted:
			require.True(t, e.closing, "%s is granted and nobody asked for it", id)
			require.NotContains(t, id, "no-", "granted against Judge")
		}
		require.Equal(t, outcome == granted, authorized, id)
		require.False(t, late && !e.sendsLate, id)
		require.False(t, e.keptLate && !late, "the acknowledged late reply to %s is lost", id)
		a.count(e, outcome, late)
		a.answered[id] = true
	}, `SELECT a.number, a.id, coalesce(d.outcome, ''), EXISTS (SELECT 1 FROM authorizations AS g WHERE g.attempt = a.number),
		EXISTS (SELECT 1 FROM late_reports AS l WHERE l.attempt = a.number)
		FROM attempts AS a LEFT JOIN decisions AS d ON d.attempt = a.number ORDER BY a.number`)
	for id, e := range attempts {
		if e.opened {
			require.True(t, found[id], "the acknowledged attempt %s is lost", id)
		}
		if !found[id] && !live(id) && !a.answered[id] { // its Open was never answered, and nothing of it was written
			a.unanswered += e.unanswered()
			a.answered[id] = true
		}
	}
}

// count takes down what became of calls without an answer. A refused decision of an attempt that was granted is the successor's.
func (a *auditor) count(e entry, outcome string, late bool) {
	a.unanswered += e.unanswered()
	switch {
	case e.opening && !e.opened:
		a.inRecord++
	case e.closing && e.outcome == "" && outcome == granted, e.sendsLate && !e.keptLate && late:
		a.inRecord++
	}
}
