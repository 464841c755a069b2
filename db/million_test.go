package db_test

import (
	"database/sql"
	"flag"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/postgres"
	"github.com/quorate/quorate/va"
)

// populationSize is how many records TestPopulationsOfSize makes: go test ./db -run PopulationsOfSize -population 1000000 -v -timeout 1h
var populationSize = flag.Int("population", 0, "records to measure affected and report with; each has a permit and a certificate")

// TestPopulationsOfSize prints how long the auditor's questions take. The rows are copies of real ones, multiplied by SQL with the guards
// off: a quarter of the records is refused, and each of the others has a permit and a certificate of its own.
func TestPopulationsOfSize(t *testing.T) {
	if *populationSize == 0 {
		t.Skip("measures populations of a size: -population N")
	}
	for name, open := range map[string]func(*testing.T) (*db.Store, *sql.DB, string){"sqlite": sqlitePopulation, "postgres": postgresPopulation} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			s, hand, unguarded := open(t)
			multiply(t, s, hand, unguarded, *populationSize)
			t.Logf("%d records made in %s", *populationSize, time.Since(began).Round(time.Second))
			measure(t, s, *populationSize)
		})
	}
}

func sqlitePopulation(t *testing.T) (*db.Store, *sql.DB, string) {
	path := filepath.Join(t.TempDir(), "records.db")
	return openStore(t, path), hand(t, path, "&_pragma=synchronous(0)&_pragma=temp_store(2)"), ""
}

func postgresPopulation(t *testing.T) (*db.Store, *sql.DB, string) {
	server := postgres.Shared(t)
	name := databaseName(t)
	owner := migrated(t, server, name)
	s, err := db.Open(t.Context(), db.Config{Postgres: server.DSN(gateUser, name)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, pgHand(t, owner), `SET session_replication_role = replica`
}

// multiply makes records 3 to n of the granted record 1 and the refused record 2, over a year. Every hundredth name is checked by dns-01.
func multiply(t *testing.T, s *db.Store, hand *sql.DB, unguarded string, n int) {
	dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("A1", "example.com", mpic.Issuance)))
	dbtest.LinkedTo(t, s, dbtest.Permitted(t, s, "P1", dbtest.Started().Add(time.Minute), "example.com"), 0xabc, nil)
	e := dbtest.Evidence(t, dbtest.Attempt("A2", "example.org", mpic.Issuance))
	dbtest.PrimaryFails(t, &e)
	dbtest.Record(t, s, e)
	exec := func(statement string, args ...any) {
		t.Helper()
		_, err := hand.Exec(statement, args...)
		require.NoError(t, err, statement)
	}
	if unguarded != "" {
		exec(unguarded)
	} else {
		rows, err := hand.Query(`SELECT name FROM sqlite_schema WHERE type = 'trigger'`)
		require.NoError(t, err)
		var names []string
		for rows.Next() {
			var name string
			require.NoError(t, rows.Scan(&name))
			names = append(names, name)
		}
		require.NoError(t, rows.Close())
		for _, name := range names {
			exec(`DROP TRIGGER ` + name)
		}
	}
	const buckets = 8760
	exec(`CREATE TABLE hours (h BIGINT PRIMARY KEY, at TEXT, later TEXT)`)
	for h := range buckets + 1 {
		at := dbtest.Started().Add(time.Duration(h) * time.Hour)
		const form = "2006-01-02T15:04:05.000000000Z"
		exec(`INSERT INTO hours VALUES ($1, $2, $3)`, h, at.Format(form), at.Add(time.Minute).Format(form))
	}
	seq := fmt.Sprintf(`WITH RECURSIVE seq (x) AS (SELECT CAST(3 AS BIGINT) UNION ALL SELECT x + 1 FROM seq WHERE x < %d) `, n)
	hour := fmt.Sprintf("JOIN hours ON hours.h = x * %d / %d", buckets, n)
	// base is the real record: 2 for each fourth, else 1.
	base := "CASE WHEN x % 4 = 0 THEN 2 ELSE 1 END"
	copyOf := func(table, key string, change map[string]string, where string) {
		columns := columnsOf(t, hand, table)
		values := make([]string, len(columns))
		for i, c := range columns {
			values[i] = "t." + c
			if v, ok := change[c]; ok {
				values[i] = v
			}
		}
		exec(`INSERT INTO ` + table + ` (` + strings.Join(columns, ", ") + `) ` + seq + `SELECT ` + strings.Join(values, ", ") + ` FROM seq ` + hour + ` JOIN ` + table + ` AS t ON t.` + key + where)
	}
	name := "'n' || x || '.example.com'"
	software := "CASE WHEN x % 20 = 1 THEN 'quorate/old' ELSE 'quorate/test' END"
	method := "CASE WHEN x % 100 = 1 THEN 'dns-01' ELSE 'http-01' END"
	copyOf("attempts", "number", map[string]string{"number": "x", "leaf": "10 + x * 4", "id": "'B' || x", "started_at": "hours.at", "identifier": name,
		"fqdn": name, "software": software, "method": method, "account_uri": "'https://ca.example/acct/' || (x % 1000)"}, " = "+base)
	copyOf("perspectives", "attempt", map[string]string{"attempt": "x", "name": "CASE WHEN x % 50 = 0 AND t.name = 'tokyo' THEN 'osaka' ELSE t.name END"}, " = "+base)
	copyOf("reports", "attempt", map[string]string{"attempt": "x", "perspective": "CASE WHEN x % 50 = 0 AND t.perspective = 'tokyo' THEN 'osaka' ELSE t.perspective END"}, " = "+base)
	copyOf("decisions", "attempt", map[string]string{"attempt": "x", "leaf": "11 + x * 4", "identifier": name, "method": method,
		"account_uri": "'https://ca.example/acct/' || (x % 1000)", "caa_excused": "CASE WHEN x % 200 = 1 THEN 1 ELSE 0 END"}, " = "+base)
	only := " = 1 AND x % 4 <> 0"
	copyOf("reliances", "attempt", map[string]string{"attempt": "x", "identifier": name, "method": method, "account_uri": "'https://ca.example/acct/' || (x % 1000)",
		"checked_at": "hours.at"}, only)
	copyOf("permits", "number", map[string]string{"number": "x", "leaf": "12 + x * 4", "id": "'P' || x", "issued_at": "hours.later"}, only)
	copyOf("permit_names", "permit", map[string]string{"permit": "x", "attempt": "x", "caa_attempt": "x"}, only)
	copyOf("certificates", "number", map[string]string{"number": "x", "leaf": "13 + x * 4", "permit": "x", "linked_at": "hours.later", "serial": "'a' || x"}, only)
	exec(`ANALYZE`)
}

func columnsOf(t *testing.T, hand *sql.DB, table string) []string {
	rows, err := hand.Query(`SELECT * FROM ` + table + ` LIMIT 0`)
	require.NoError(t, err)
	columns, err := rows.Columns()
	require.NoError(t, err)
	require.NoError(t, rows.Close())
	return columns
}

func measure(t *testing.T, s *db.Store, n int) {
	began := dbtest.Started()
	for _, q := range []struct {
		name string
		c    db.Criteria
	}{
		{"a name", db.Criteria{Name: "n7.example.com"}},
		{"an account, 0.1%", db.Criteria{Account: "https://ca.example/acct/7"}},
		{"one day", db.Criteria{Since: began.AddDate(0, 2, 0), Until: began.AddDate(0, 2, 1)}},
		{"a method, 1%", db.Criteria{Method: va.DNS01}},
		{"an excuse, 0.5%", db.Criteria{Excused: true}},
		{"a gate's software, 5%", db.Criteria{Software: "quorate/old"}},
		{"a perspective, 2%, counted", db.Criteria{Perspective: "osaka", Counted: true}},
		{"a perspective in a month", db.Criteria{Perspective: "tokyo", Counted: true, Since: began.AddDate(0, 3, 0), Until: began.AddDate(0, 4, 0)}},
		{"a perspective, all", db.Criteria{Perspective: "tokyo"}},
		{"a perspective, all, counted", db.Criteria{Perspective: "tokyo", Counted: true}},
		{"a policy, all", db.Criteria{Policy: "2026-12-15"}},
		{"a perspective's software in a day", db.Criteria{PerspectiveSoftware: "quorate/test", Since: began.AddDate(0, 3, 0), Until: began.AddDate(0, 3, 1)}},
	} {
		start, found := time.Now(), 0
		require.NoError(t, s.Affected(t.Context(), q.c, func(db.Affected) error { found++; return nil }))
		full := time.Since(start)
		start, links := time.Now(), 0
		require.NoError(t, s.AffectedLinks(t.Context(), q.c, func(db.Affected) error { links++; return nil }))
		require.Equal(t, found, links)
		t.Logf("affected by %-34s %8d certificates %8.2f s, links alone %8.2f s", q.name, found, full.Seconds(), time.Since(start).Seconds())
	}
	if n <= 10_000 { // each record's document is read
		start, found := time.Now(), 0
		require.NoError(t, s.AffectedLinks(t.Context(), db.Criteria{PerspectiveSoftware: "quorate/test"}, func(db.Affected) error { found++; return nil }))
		t.Logf("affected by a perspective's software, all %21d certificates %8.2f s", found, time.Since(start).Seconds())
	}
	start := time.Now()
	p, err := s.Population(t.Context(), db.Period{}, nil)
	require.NoError(t, err)
	require.NotEmpty(t, p.Attempts)
	t.Logf("report, all %53.2f s", time.Since(start).Seconds())
	start = time.Now()
	_, err = s.Population(t.Context(), db.Period{Since: began.AddDate(0, 3, 0), Until: began.AddDate(0, 4, 0)}, nil)
	require.NoError(t, err)
	t.Logf("report, a month %49.2f s", time.Since(start).Seconds())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("memory from the system %d MiB", m.Sys>>20)
}
