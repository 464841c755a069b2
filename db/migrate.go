package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"testing/fstest"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// forSQLite says in SQLite's words what a table's key is: a number that is the row number, or what the table is sorted by.
var forSQLite = strings.NewReplacer("BIGINT NOT NULL PRIMARY KEY", "INTEGER NOT NULL PRIMARY KEY", "/* WITHOUT ROWID */", "WITHOUT ROWID")

// migrationFiles shows the migrations, in an engine's words, and the rendered guards as one directory: goose runs them by number.
func migrationFiles(guards string, words *strings.Replacer) fs.FS {
	files := fstest.MapFS{"00002_guards.sql": {Data: []byte(guards)}}
	entries, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil { // the pattern is a constant
		return files
	}
	for _, name := range entries {
		text, err := fs.ReadFile(migrations, name)
		if err != nil { // the directory is embedded; without a file the schema's version shows it
			continue
		}
		files[strings.TrimPrefix(name, "migrations/")] = &fstest.MapFile{Data: []byte(words.Replace(string(text)))}
	}
	return files
}

// migrate brings the schema up to date. There is no way down: records are not dropped.
func migrate(ctx context.Context, e engine, pool *sql.DB, log *slog.Logger) error {
	switch version, err := schemaVersion(ctx, e, pool); {
	case err != nil:
		return err
	case version > latestVersion(e):
		return newer(version, e)
	}
	provider, err := goose.NewProvider(e.dialect(), pool, e.migrations(), goose.WithSlog(log))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the schema: %w", err)
	}
	return nil
}

// checkVersion refuses a schema that this program's queries were not written for.
func checkVersion(ctx context.Context, e engine, pool *sql.DB) error {
	switch version, err := schemaVersion(ctx, e, pool); {
	case err != nil:
		return err
	case version > latestVersion(e):
		return newer(version, e)
	case version < latestVersion(e) && e.dialect() == goose.DialectSQLite3:
		return fmt.Errorf("the schema has version %d; this program reads %d; open it once with a gate of this version", version, latestVersion(e))
	case version < latestVersion(e):
		return fmt.Errorf("the schema has version %d; this program needs %d: run quorate migrate as the tables' owner", version, latestVersion(e))
	}
	return nil
}

func newer(version int64, e engine) error {
	return fmt.Errorf("the schema has version %d, which is newer than this program's %d", version, latestVersion(e))
}

// schemaVersion gives 0 for an empty database, and refuses one that holds something else.
func schemaVersion(ctx context.Context, e engine, pool *sql.DB) (int64, error) {
	tables, ours, err := e.tables(ctx, pool)
	switch {
	case err != nil:
		return 0, err
	case tables == 0:
		return 0, nil
	case ours == 0:
		return 0, errors.New("it holds tables of another program")
	}
	var version int64
	const newest = `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`
	err = pool.QueryRowContext(ctx, newest).Scan(&version)
	return version, err
}

// latestVersion is the highest number of the migrations' file names.
func latestVersion(e engine) int64 {
	var latest int64
	names, err := fs.Glob(e.migrations(), "*.sql")
	if err != nil { // the pattern is a constant
		return 0
	}
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if v, err := strconv.ParseInt(number, 10, 64); err == nil {
			latest = max(latest, v)
		}
	}
	return latest
}
