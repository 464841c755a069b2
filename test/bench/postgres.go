package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/test/postgres"
)

// host stands in the place of a test where test/postgres wants one.
type host struct {
	testing.TB
	cleanups []func()
}

func (h *host) Helper()                      {}
func (h *host) Name() string                 { return "bench" }
func (h *host) Failed() bool                 { return false }
func (h *host) Log(args ...any)              { progress("%s", fmt.Sprint(args...)) }
func (h *host) Logf(f string, args ...any)   { progress(f, args...) }
func (h *host) Error(args ...any)            { h.Log(args...) }
func (h *host) Errorf(f string, args ...any) { h.Logf(f, args...) }
func (h *host) Fatal(args ...any)            { panic(failed(fmt.Sprint(args...))) }
func (h *host) Fatalf(f string, args ...any) { panic(failed(fmt.Sprintf(f, args...))) }
func (h *host) Skipf(f string, args ...any)  { panic(failed(fmt.Sprintf(f, args...))) }
func (h *host) Cleanup(f func())             { h.cleanups = append(h.cleanups, f) }

// failed is what host panics with.
type failed string

func (h *host) end() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
}

// startPostgres starts Debian's PostgreSQL, durable, with its own defaults, and a migrated database for the gate.
func (s *settings) startPostgres(ctx context.Context) (end func(), err error) {
	h := &host{}
	defer func() {
		if p := recover(); p != nil {
			reason, ours := p.(failed)
			if !ours {
				panic(p)
			}
			h.end()
			err = fmt.Errorf("%s", reason)
		}
	}()
	server := postgres.Start(h, postgres.Options{Settings: map[string]string{"autovacuum": "on"}})
	owner := server.CreateDatabase(h, "records")
	if err := db.Migrate(ctx, db.Config{Postgres: owner}); err != nil {
		h.end()
		return nil, err
	}
	conn, err := pgx.Connect(ctx, owner)
	if err != nil {
		h.end()
		return nil, err
	}
	defer conn.Close(ctx)
	var data string
	if _, err = conn.Exec(ctx, "CREATE ROLE gate LOGIN; GRANT "+db.GateRole+" TO gate"); err == nil {
		err = conn.QueryRow(ctx, "SHOW data_directory").Scan(&data)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(filepath.Join(data, "postmaster.pid"))
	}
	if err == nil {
		first, _, _ := strings.Cut(string(text), "\n")
		s.PostgresPID, err = strconv.Atoi(first)
	}
	if err != nil {
		h.end()
		return nil, err
	}
	s.Postgres = server.DSN("gate", "records")
	return h.end, nil
}
