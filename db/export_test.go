package db

import "database/sql"

// Pools gives the tests the store's own connections.
func (s *Store) Pools() map[string]*sql.DB {
	return map[string]*sql.DB{"writes": s.writer.pool, "reads": s.reads}
}
