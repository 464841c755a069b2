package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// ErrUnguarded: guards of the records are missing, switched off, or other ones than this program's.
var ErrUnguarded = errors.New("the guards of the records are not whole (REC-06)")

// unguarded is the error of what is not as it has to be; nil where all is.
func unguarded(wrong []flaw) error {
	if len(wrong) == 0 {
		return nil
	}
	all := texts(wrong)
	const most = 5
	if len(all) > most {
		all = append(all[:most], fmt.Sprintf("and %d more", len(wrong)-most))
	}
	return fmt.Errorf("%w: %s. Records could be changed meanwhile: ask quorate audit verify, and put the guards back with quorate records guards --restore",
		ErrUnguarded, strings.Join(all, ", "))
}

// flaw is a guard that is not as it has to be, and the statements that put it back.
type flaw struct {
	text   string
	repair []string
}

func texts(wrong []flaw) (all []string) {
	for _, f := range wrong {
		all = append(all, f.text)
	}
	return all
}

// Unguarded tells which guards of the records are missing, switched off, or other ones than this program's.
func (s *Store) Unguarded(ctx context.Context) ([]string, error) {
	wrong, err := s.engine.unguarded(ctx, s.reads)
	if err != nil {
		return nil, fmt.Errorf("db: guards: %w", err)
	}
	return texts(wrong), nil
}

// RestoreGuards puts back the guards that are not as they have to be, and tells which these were. On Postgres c.Postgres is the tables' owner's address.
func RestoreGuards(ctx context.Context, c Config) (restored []string, err error) {
	s, err := newStore(&c)
	if err != nil {
		return nil, err
	}
	var pool *sql.DB
	if e, ok := s.engine.(postgres); ok {
		pool = e.openPool(e.config.Copy(), 1)
	} else if pool, err = s.engine.openWrites(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	if err = checkVersion(ctx, s.engine, pool); err == nil {
		restored, err = restoreGuards(ctx, s.engine, pool)
	}
	if err != nil {
		return nil, fmt.Errorf("db: guards of %s: %w", s.engine, err)
	}
	return restored, nil
}

func restoreGuards(ctx context.Context, e engine, pool *sql.DB) ([]string, error) {
	wrong, err := e.unguarded(ctx, pool)
	if err != nil || len(wrong) == 0 {
		return nil, err
	}
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, f := range wrong {
		for _, statement := range f.repair {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return nil, errors.Join(fmt.Errorf("putting back what was wrong (%s): %w", f.text, err), tx.Rollback())
			}
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	left, err := e.unguarded(ctx, pool)
	if err == nil {
		err = unguarded(left)
	}
	return texts(wrong), err
}

func (e sqlite) unguarded(ctx context.Context, pool *sql.DB) (wrong []flaw, err error) {
	rows, err := pool.QueryContext(ctx, `SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'`)
	if err != nil {
		return nil, err
	}
	there := map[string]string{}
	if _, err = collect(rows, func(r *sql.Rows) (none struct{}, err error) {
		var name, text string
		err = r.Scan(&name, &text)
		there[name] = text
		return none, err
	}); err != nil {
		return nil, err
	}
	for _, t := range sqliteTriggers() {
		switch text, ok := there[t.name]; {
		case !ok:
			wrong = append(wrong, flaw{"the trigger " + t.name + " is missing", []string{t.text}})
		case text != t.text:
			wrong = append(wrong, flaw{"the trigger " + t.name + " is another one", []string{"DROP TRIGGER " + t.name, t.text}})
		}
	}
	return wrong, nil
}

// unguarded reads what Postgres knows of the triggers. A session's own session_replication_role, which a superuser can set for a user or a database,
// would silence them all.
func (e postgres) unguarded(ctx context.Context, pool *sql.DB) (wrong []flaw, err error) {
	var role string
	if err := pool.QueryRowContext(ctx, `SELECT current_setting('session_replication_role')`).Scan(&role); err != nil {
		return nil, err
	}
	if role != "origin" {
		wrong = append(wrong, flaw{text: "session_replication_role is " + role + ", which silences all triggers"})
	}
	rows, err := pool.QueryContext(ctx, `SELECT c.relname, t.tgname, t.tgtype, t.tgenabled IN ('O', 'A'), t.tgisinternal, t.tgqual IS NOT NULL OR t.tgattr::text <> '', p.proname, p.prosrc,
			coalesce(array_to_string(p.proconfig, '; '), '')
		FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_proc AS p ON p.oid = t.tgfoid
		WHERE n.nspname = 'public'`)
	if err != nil {
		return nil, err
	}
	type key struct{ table, name string }
	type found struct {
		kind int
		// narrowed: it has a condition (WHEN), or is for some columns alone.
		on, internal, narrowed bool
		function, body, config string
	}
	there := map[key]found{}
	if _, err = collect(rows, func(r *sql.Rows) (none struct{}, err error) {
		var k key
		var f found
		err = r.Scan(&k.table, &k.name, &f.kind, &f.on, &f.internal, &f.narrowed, &f.function, &f.body, &f.config)
		there[k] = f
		return none, err
	}); err != nil {
		return nil, err
	}
	silenced := map[string]bool{}
	for k, f := range there {
		if f.internal && !f.on {
			silenced[k.table] = true
		}
	}
	for _, table := range append(tableNames(), "log_head", "gates") {
		if silenced[table] {
			wrong = append(wrong, flaw{"foreign keys of " + table + " are switched off", []string{"ALTER TABLE public." + table + " ENABLE TRIGGER ALL"}})
		}
	}
	for _, t := range postgresTriggers() {
		f, ok := there[key{t.table, t.name}]
		want := strings.TrimPrefix(t.path, " SET ")
		want = strings.Replace(want, " = ", "=", 1)
		what := ""
		switch {
		case !ok:
			what = "is missing"
		case !f.on:
			what = "is switched off"
		case f.kind != t.kind || f.narrowed || f.function != t.function || f.body != t.body || f.config != want:
			what = "is another one"
		default:
			continue
		}
		wrong = append(wrong, flaw{"the trigger " + t.name + " " + what,
			[]string{"DROP TRIGGER IF EXISTS " + t.name + " ON public." + t.table, strings.Replace(t.makeFunction(), "CREATE", "CREATE OR REPLACE", 1), t.makeTrigger()}})
	}
	return wrong, nil
}
