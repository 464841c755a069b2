package db_test

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/test/postgres"
)

// Users of the tests' servers, each in one of the roles.
const (
	gateUser    = "gate"
	auditorUser = "auditor"
)

// migrated gives a fresh database of a server, with its schema and users.
func migrated(t testing.TB, server *postgres.Server, name string) (owner string) {
	t.Helper()
	owner = server.CreateDatabase(t, name)
	require.NoError(t, db.Migrate(t.Context(), db.Config{Postgres: owner}))
	pool := pgHand(t, owner)
	for user, role := range map[string]string{gateUser: db.GateRole, auditorUser: db.AuditorRole} {
		_, err := pool.Exec(`DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '` + user + `') THEN
			CREATE ROLE ` + user + ` LOGIN IN ROLE ` + role + `; END IF; END $$`)
		require.NoError(t, err)
	}
	return owner
}

// databaseName makes one of a test's name.
func databaseName(t testing.TB) string {
	sum := sha256.Sum256([]byte(t.Name()))
	return "t" + hex.EncodeToString(sum[:8])
}

// pgHand is a connection as somebody else has it.
func pgHand(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	return pool
}

func postgresEngine(t testing.TB) dbtest.Engine {
	t.Helper()
	server := postgres.Shared(t)
	name := databaseName(t)
	owner := migrated(t, server, name)
	s, err := db.Open(t.Context(), db.Config{Postgres: server.DSN(gateUser, name), Now: dbtest.Clock()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	intruder := pgHand(t, owner) // a superuser, for whom neither triggers nor foreign keys work; checks go for good
	if strings.Contains(t.Name(), "behind_our_back") {
		_, err := intruder.Exec(`SET session_replication_role = replica`)
		require.NoError(t, err)
		_, err = intruder.Exec(`DO $$ DECLARE c record; BEGIN
			FOR c IN SELECT conname, conrelid::regclass AS t FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace LOOP
				EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
			END LOOP; END $$`)
		require.NoError(t, err)
	}
	return dbtest.Engine{Store: s, Intruder: intruder, Hands: map[string]*sql.DB{"as the gate": pgHand(t, server.DSN(gateUser, name)), "as the owner": pgHand(t, owner)}}
}

// Holds: REC-01, REC-02, REC-03, REC-05, REC-06, MPIC-12, F2, F3, F4
func TestRecordsOnPostgres(t *testing.T) { dbtest.Run(t, postgresEngine) }

// A gate that could change records does not run; one that cannot does.
//
// Holds: REC-06
func TestREC_06_GatesCannotChangeRecords(t *testing.T) {
	server := postgres.Shared(t)
	name := databaseName(t)
	owner := migrated(t, server, name)
	_, err := db.Open(t.Context(), db.Config{Postgres: owner})
	require.ErrorContains(t, err, "a gate must not be able to change or remove records (REC-06)")
	_, err = db.Open(t.Context(), db.Config{Postgres: server.DSN(auditorUser, name)})
	require.Error(t, err, "an auditor is no gate")

	s, err := db.Open(t.Context(), db.Config{Postgres: server.DSN(gateUser, name)})
	require.NoError(t, err)
	dbtest.Populate(t, s)
	require.NoError(t, s.Close())
	reader, err := db.Open(t.Context(), db.Config{Postgres: server.DSN(auditorUser, name), ReadOnly: true})
	require.NoError(t, err)
	dbtest.Whole(t, reader)
	require.NoError(t, reader.Close())

	for user, pool := range map[string]*sql.DB{"gate": pgHand(t, server.DSN(gateUser, name)), "auditor": pgHand(t, server.DSN(auditorUser, name))} {
		for _, table := range append(dbtest.Tables(), "checkpoints", "permits", "permit_names", "certificates", "removals") {
			for _, statement := range []string{`UPDATE ` + table + ` SET leaf = 0`, `DELETE FROM ` + table, `TRUNCATE ` + table + ` CASCADE`,
				`DROP TABLE ` + table, `ALTER TABLE ` + table + ` DISABLE TRIGGER ALL`} {
				_, err := pool.Exec(statement)
				require.Error(t, err, "%s: %s", user, statement)
			}
		}
	}
	_, err = pgHand(t, server.DSN(auditorUser, name)).Exec(`INSERT INTO gates VALUES ('x', '', '', '', '', 0)`)
	require.ErrorContains(t, err, "permission denied")
	_, err = pgHand(t, owner).Exec(`TRUNCATE attempts CASCADE`)
	require.ErrorContains(t, err, "REC-06", "the owner has to drop the guard first")
}
