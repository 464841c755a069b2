package crash

import (
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/test/postgres"
)

// gateUser may log in as a gate.
const gateUser = "gate"

// origin is the log's of all tests.
const origin = "quorate.test/crash"

// database is an empty one, with all that a gate needs beside it.
type database struct {
	gate gate
	// owner is Postgres's alone: the address of who made the tables.
	owner string
	key   *merkle.LogKey
}

// newDatabase makes a key, and a place for the memory; where is the SQLite file, or the gate's address on Postgres.
func newDatabase(t testing.TB, path, dsn, owner string) database {
	t.Helper()
	dir := t.TempDir()
	key, err := merkle.GenerateLogKey(origin)
	require.NoError(t, err)
	g := gate{Path: path, Postgres: dsn, Key: filepath.Join(dir, "log.key"), Memory: filepath.Join(dir, "memory")}
	require.NoError(t, key.Save(g.Key))
	if path != "" && !filepath.IsAbs(path) {
		g.Path = filepath.Join(dir, path)
	}
	return database{gate: g, owner: owner, key: key}
}

func sqliteDatabase(t testing.TB) database { return newDatabase(t, "records.db", "", "") }

// postgresDatabase makes the tables and the gate's user. dsn gives the gate's address.
func postgresDatabase(t testing.TB, server *postgres.Server, name string, lease time.Duration) database {
	t.Helper()
	owner := server.CreateDatabase(t, name)
	require.NoError(t, db.Migrate(t.Context(), db.Config{Postgres: owner}))
	pool := hand(t, database{owner: owner})
	_, err := pool.Exec(`DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '` + gateUser + `') THEN
		CREATE ROLE ` + gateUser + ` LOGIN IN ROLE ` + db.GateRole + `; END IF; END $$; CREATE EXTENSION amcheck`)
	require.NoError(t, err)
	require.NoError(t, pool.Close())
	d := newDatabase(t, "", server.DSN(gateUser, name), owner)
	d.gate.Lease = lease
	return d
}

// hand is a connection to a database as somebody else has it. Whoever opens it closes it: as long as a SQLite file is open here,
// nobody recovers it when he opens it.
func hand(t testing.TB, d database) *sql.DB {
	t.Helper()
	if d.owner == "" {
		source := url.URL{Scheme: "file", Path: d.gate.Path, RawQuery: url.Values{"_pragma": {"busy_timeout(5000)"}}.Encode()}
		pool, err := sql.Open("sqlite", source.String())
		require.NoError(t, err)
		pool.SetMaxOpenConns(1)
		return pool
	}
	config, err := pgx.ParseConfig(d.owner)
	require.NoError(t, err)
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(1)
	return pool
}

// sound asks the engine itself whether its files, indexes and foreign keys hold together.
func (d database) sound(t testing.TB, pool *sql.DB) {
	t.Helper()
	if d.owner == "" {
		require.Equal(t, "ok", scalar(t, pool, `PRAGMA integrity_check`))
		require.Equal(t, "0", scalar(t, pool, `SELECT count(*) FROM pragma_foreign_key_check`))
		return
	}
	var checks []string
	each(t, pool, func(scan func(...any)) {
		var query string
		scan(&query)
		checks = append(checks, query)
	}, `SELECT format('SELECT count(*) FROM ONLY %s AS c LEFT JOIN ONLY %s AS p ON %s WHERE p IS NULL AND %s', k.conrelid::regclass, k.confrelid::regclass,
			string_agg(format('c.%I = p.%I', c.attname, p.attname), ' AND '), string_agg(format('c.%I IS NOT NULL', c.attname), ' AND '))
		FROM pg_constraint AS k CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS u (mine, theirs)
		JOIN pg_attribute AS c ON c.attrelid = k.conrelid AND c.attnum = u.mine
		JOIN pg_attribute AS p ON p.attrelid = k.confrelid AND p.attnum = u.theirs
		WHERE k.contype = 'f' GROUP BY k.oid, k.conrelid, k.confrelid`)
	require.Greater(t, len(checks), 10, "foreign keys")
	for _, query := range checks {
		require.Equal(t, "0", scalar(t, pool, query), query)
	}
	indexes := scalar(t, pool, `SELECT count(bt_index_check(c.oid, true)::text) FROM pg_class AS c JOIN pg_am AS m ON m.oid = c.relam
		WHERE c.relkind = 'i' AND m.amname = 'btree' AND c.relnamespace = 'public'::regnamespace`)
	require.NotEqual(t, "0", indexes)
}

// whole settles what dead gates left, and holds the database against the ledger. No gate is running.
func (d database) whole(t testing.TB, a *auditor, l *ledger, name string) {
	t.Helper()
	g := d.gate
	g.Name = name
	s, err := db.Open(t.Context(), g.config())
	require.NoError(t, err)
	p, memory, err := g.publisher(t.Context(), s)
	require.NoError(t, err, "the signer finds its own log")
	wait(t, func() (bool, error) {
		open, err := s.List(t.Context(), db.Filter{Outcome: db.StillOpen, Limit: 1})
		return len(open) == 0, err
	}, "attempts of dead gates stay open")
	require.NoError(t, p.Close(t.Context()))
	require.NoError(t, memory.Close())
	require.NoError(t, s.Close())
	pool := hand(t, d)
	a.audit(t, pool, l)
	require.NoError(t, pool.Close())
}

// wait asks until the answer is yes.
func wait(t testing.TB, ask func() (bool, error), why string) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		yes, err := ask()
		require.NoError(t, err)
		if yes {
			return time.Since(began)
		}
		require.Less(t, time.Since(began), time.Minute, why)
		time.Sleep(10 * time.Millisecond)
	}
}

// numbered names databases of one server.
func numbered(n int) string { return fmt.Sprintf("crash%d", n) }
