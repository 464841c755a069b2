package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// union shows the migrations of both engines and those of one dialect as one directory: goose runs them by number.
type union []fs.FS

func (u union) Open(name string) (fs.File, error) {
	for _, part := range u {
		f, err := part.Open(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (u union) ReadDir(name string) ([]fs.DirEntry, error) {
	var all []fs.DirEntry
	for _, part := range u {
		entries, err := fs.ReadDir(part, name)
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

func sqliteMigrations() (fs.FS, error) {
	common, err := fs.Sub(migrations, "migrations/common")
	if err != nil {
		return nil, err
	}
	dialect, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return nil, err
	}
	return union{common, dialect}, nil
}

// migrate brings the schema up to date. There is no way down: records are not dropped.
func migrate(ctx context.Context, pool *sql.DB, log *slog.Logger) error {
	switch version, err := schemaVersion(ctx, pool); {
	case err != nil:
		return err
	case version > latestVersion():
		return newer(version)
	}
	files, err := sqliteMigrations()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, pool, files, goose.WithSlog(log))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the schema: %w", err)
	}
	return nil
}

// checkVersion refuses a schema that this program's queries were not written for.
func checkVersion(ctx context.Context, pool *sql.DB) error {
	switch version, err := schemaVersion(ctx, pool); {
	case err != nil:
		return err
	case version > latestVersion():
		return newer(version)
	case version < latestVersion():
		return fmt.Errorf("the schema has version %d; this program reads %d; open it once with a gate of this version",
			version, latestVersion())
	}
	return nil
}

func newer(version int64) error {
	return fmt.Errorf("the schema has version %d, which is newer than this program's %d", version, latestVersion())
}

// schemaVersion gives 0 for an empty database, and refuses one that holds something else.
func schemaVersion(ctx context.Context, pool *sql.DB) (int64, error) {
	var tables, ours int
	const count = `SELECT count(*), coalesce(sum(name = 'goose_db_version'), 0) FROM sqlite_schema WHERE type = 'table'`
	if err := pool.QueryRowContext(ctx, count).Scan(&tables, &ours); err != nil {
		return 0, err
	}
	switch {
	case tables == 0:
		return 0, nil
	case ours == 0:
		return 0, errors.New("it holds tables of another program")
	}
	var version int64
	const newest = `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`
	err := pool.QueryRowContext(ctx, newest).Scan(&version)
	return version, err
}

// latestVersion is the highest number of the migrations' file names.
func latestVersion() int64 {
	var latest int64
	files, err := sqliteMigrations()
	if err != nil { // the names are constants of this file
		return 0
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
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
