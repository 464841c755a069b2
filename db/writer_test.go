package db_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
)

// A call whose time ended while it waited costs those beside it nothing; one that is refused has them tried once more, and no more.
//
// Holds: REC-05
func TestREC_05_CallsThatShareATransaction(t *testing.T) {
	refused := errors.New("refused")
	for name, s := range map[string]*db.Store{"SQLite": openStore(t, filepath.Join(t.TempDir(), "records.db")), "Postgres": postgresEngine(t).Store} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			good := func(context.Context, *db.Session) error {
				runs++
				return nil
			}
			errs, err := s.Together(good, nil, nil)
			require.NoError(t, err)
			require.NoError(t, errs[0])
			require.ErrorIs(t, errs[1], context.Canceled)
			require.ErrorIs(t, errs[2], context.Canceled)
			require.Equal(t, 1, runs)

			errs, err = s.Together(good, nil, func(context.Context, *db.Session) error { return refused }, good)
			require.NoError(t, err)
			require.NoError(t, errs[0])
			require.ErrorIs(t, errs[1], context.Canceled)
			require.ErrorIs(t, errs[2], refused)
			require.NoError(t, errs[3])
			require.Equal(t, 1+3, runs) // the last one comes behind the refusal

			errs, err = s.Together(nil)
			require.NoError(t, err)
			require.ErrorIs(t, errs[0], context.Canceled)
		})
	}
}
