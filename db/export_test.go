package db

import (
	"context"
	"database/sql"
)

// OnWriter asks the writer's own connection for one value.
func (s *Store) OnWriter(ctx context.Context, query string) (value string, err error) {
	err = s.writer.submit(ctx, func(ctx context.Context, tx *session) error { return tx.scan(ctx, query, nil, &value) })
	return value, err
}

// Readers gives the connections that read.
func (s *Store) Readers() *sql.DB { return s.reads }

// KeptSince is keptSince.
var KeptSince = keptSince
