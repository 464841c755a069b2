package crash

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/test/postgres"
)

// attempts carries out so many.
func attempts(t testing.TB, s *db.Store, name string, many int) {
	t.Helper()
	for i := range many {
		require.NoError(t, work(t, s.Journal(), func(string, string) {}, fmt.Sprint(name, "-", i), i))
	}
}

// session opens the database as a gate, has it do something, and stops it in good order; so all is in the one file.
func (d database) session(t testing.TB, do func(s *db.Store)) {
	t.Helper()
	s, err := db.Open(t.Context(), d.gate.config())
	require.NoError(t, err)
	p, memory, err := d.gate.publisher(t.Context(), s)
	require.NoError(t, err)
	do(s)
	require.NoError(t, p.Close(t.Context()))
	require.NoError(t, memory.Close())
	require.NoError(t, s.Close())
}

// restored is a database whose file is an older one than the signer's memory knows.
func restored(t *testing.T) database {
	d := sqliteDatabase(t)
	d.session(t, func(s *db.Store) { attempts(t, s, "before", 3) })
	backup, err := os.ReadFile(d.gate.Path)
	require.NoError(t, err)
	d.session(t, func(s *db.Store) { attempts(t, s, "lost", 5) })
	require.NoError(t, os.WriteFile(d.gate.Path, backup, 0o600))
	return d
}

// A backup, put back where a newer log was, is not signed: neither as it is, nor grown again to less, as much or more than there
// was.
//
// Holds: REC-06, F3
func TestREC_06_RestoredBackup(t *testing.T) {
	for name, c := range map[string]struct {
		grows int
		want  error
	}{
		"as it is":           {0, merkle.ErrRolledBack},
		"grown a little":     {1, merkle.ErrRolledBack},
		"grown to the same":  {5, merkle.ErrForked},
		"grown beyond":       {9, merkle.ErrForked},
		"grown, and crashed": {30, merkle.ErrForked},
	} {
		t.Run(name, func(t *testing.T) {
			d := restored(t)
			s, err := db.Open(t.Context(), d.gate.config())
			require.NoError(t, err)
			attempts(t, s, "again", c.grows)
			_, _, err = d.gate.publisher(t.Context(), s)
			require.ErrorIs(t, err, c.want)
			require.NoError(t, s.Close())
			s, err = db.Open(t.Context(), d.gate.config())
			require.NoError(t, err)
			_, _, err = d.gate.publisher(t.Context(), s)
			require.ErrorIs(t, err, c.want, "a second start makes it no better")
			require.NoError(t, s.Close())
		})
	}
}

// The file is replaced under a running gate: what it would write is lost when it ends. Its next answer is no, and so are all others.
//
// Holds: REC-05, REC-06
func TestREC_06_FileReplacedUnderTheGate(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"by a copy": func(path string) error {
			octets, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path+".copy", octets, 0o600)
			}
			if err == nil {
				err = os.Rename(path+".copy", path)
			}
			return err
		},
		"by nothing": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			d := sqliteDatabase(t)
			s, err := db.Open(t.Context(), d.gate.config())
			require.NoError(t, err)
			attempts(t, s, "before", 3)
			require.NoError(t, replace(d.gate.Path))
			for i := range 2 {
				e, _ := evidence(t, fmt.Sprint("after-", i), 0)
				_, err = s.Journal().Open(t.Context(), e.Attempt, e.Roster)
				require.ErrorIs(t, err, db.ErrLog)
			}
			require.ErrorIs(t, s.Close(), db.ErrLog, "the lease cannot be given back either")
		})
	}
}

// rollBack takes the log back to a size, as restoring a server's backup does.
func rollBack(t testing.TB, d database, size int64) {
	t.Helper()
	pool := hand(t, d)
	statements := []string{`SET session_replication_role = replica`} // no triggers, no foreign keys
	for _, table := range []string{"authorizations", "reliances", "reports"} {
		statements = append(statements, `DELETE FROM `+table+` WHERE attempt IN (SELECT attempt FROM decisions WHERE leaf >= $1)`)
	}
	statements = append(statements, `DELETE FROM perspectives WHERE attempt IN (SELECT number FROM attempts WHERE leaf >= $1)`,
		`DELETE FROM decisions WHERE leaf >= $1`, `DELETE FROM late_reports WHERE leaf >= $1`, `DELETE FROM attempts WHERE leaf >= $1`,
		`DELETE FROM checkpoints WHERE size > $1`, `DELETE FROM log WHERE leaf >= $1`,
		`UPDATE log_head SET size = $1, attempts = (SELECT count(*) FROM attempts)`)
	for i, statement := range statements {
		var args []any
		if i > 0 {
			args = []any{size}
		}
		_, err := pool.Exec(statement, args...)
		require.NoError(t, err, statement)
	}
	require.NoError(t, pool.Close())
}

// The server's log is rolled back under a running gate. The gate's next record is refused, and the store halts; a gate on another
// machine that publishes finds it out by its memory.
//
// Holds: REC-05, REC-06
func TestREC_06_LogRolledBackUnderTheGate(t *testing.T) {
	server := postgres.Shared(t)
	begin := func(t *testing.T, name string) (database, *db.Store) {
		d := postgresDatabase(t, server, name, 30*time.Second)
		beginLog(t, d)
		s, err := db.Open(t.Context(), d.gate.config())
		require.NoError(t, err)
		attempts(t, s, "before", 6)
		return d, s
	}
	next := func(t *testing.T, s *db.Store, id string) error {
		e, _ := evidence(t, id, 0)
		_, err := s.Journal().Open(t.Context(), e.Attempt, e.Roster)
		return err
	}
	t.Run("found by the next record", func(t *testing.T) {
		d, s := begin(t, "rolled1")
		rollBack(t, d, 4)
		require.ErrorIs(t, next(t, s, "after"), db.ErrLog)
		require.ErrorIs(t, next(t, s, "after"), db.ErrLog)
		require.ErrorIs(t, s.Close(), db.ErrLog)
	})
	t.Run("rolled back, and grown again by another gate", func(t *testing.T) {
		d, s := begin(t, "rolled2")
		rollBack(t, d, 4)
		other, err := db.Open(t.Context(), d.gate.config())
		require.NoError(t, err)
		attempts(t, other, "again", 12)
		require.NoError(t, other.Close())
		pool := hand(t, d) // restoring ends all connections
		_, err = pool.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		require.NoError(t, err)
		require.NoError(t, pool.Close())
		require.ErrorIs(t, next(t, s, "after"), db.ErrLog)
		require.ErrorIs(t, s.Close(), db.ErrLog)
	})
	t.Run("found by the next checkpoint", func(t *testing.T) {
		d, s := begin(t, "rolled3")
		key, err := merkle.LoadLogKey(d.gate.Key)
		require.NoError(t, err)
		memory, err := merkle.OpenMemory(d.gate.Memory)
		require.NoError(t, err)
		signer, err := merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: key.Verifier(), Memory: memory})
		require.NoError(t, err)
		p, err := s.NewPublisher(t.Context(), db.PublisherConfig{Signer: signer, Interval: time.Second})
		require.NoError(t, err)
		rollBack(t, d, 4)
		wait(t, func() (bool, error) { return s.Ping(t.Context()) != nil, nil }, "the store does not halt")
		require.ErrorIs(t, s.Ping(t.Context()), db.ErrLog)
		require.ErrorIs(t, next(t, s, "after"), db.ErrLog)
		require.ErrorIs(t, next(t, s, "after"), merkle.ErrRolledBack)
		require.ErrorIs(t, p.Close(t.Context()), merkle.ErrRolledBack)
		require.NoError(t, memory.Close())
		require.ErrorIs(t, s.Close(), db.ErrLog)
	})
}
