package postgres

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Standby starts a second server that follows this one, which from then on commits nothing that the standby has not
// flushed. It ends with t, and commits wait for ever from then on. A server has one standby; Shared's should have none.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	s.mu.Lock()
	again := s.hasStandby
	s.hasStandby = true
	s.mu.Unlock()
	if again {
		t.Fatal("PostgreSQL has its standby already")
	}
	options := s.options
	options.DiskLimit = 0
	b := newServer(t, options)
	t.Cleanup(func() { b.end(t) })
	upstream := s.DSN(superuser, "") + "&application_name=" + standbyName
	b.programs.run(t, b.keeper, "pg_basebackup", "-D", b.data(), "-d", upstream, "-R", "-X", "stream",
		"-c", "fast", "--no-sync")
	b.Restart(t)
	for _, sql := range []string{
		"ALTER SYSTEM SET synchronous_standby_names = '" + standbyName + "'",
		"SELECT pg_reload_conf()",
	} {
		if err := s.execute(sql); err != nil {
			t.Fatal(err)
		}
	}
	s.waitFor(t, "SELECT sync_state FROM pg_stat_replication WHERE application_name = '"+standbyName+"'", "sync")
	// Commits wait for the standby from when the checkpointer has read the setting, which nothing shows. It has before
	// it makes a checkpoint that is asked for now.
	if err := s.execute("CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	return b
}

// standbyName is the application_name that a standby has with its primary.
const standbyName = "standby"

// waitFor waits until a query gives one row with this value.
func (s *Server) waitFor(t testing.TB, sql, want string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got, err := s.query(sql)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(got, ",") == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %q after %s", sql, got, patience)
		}
	}
}

// Promote makes a standby a server of its own, and returns when it takes writes. It waits for no other standby.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	got, err := s.query(fmt.Sprintf("SELECT pg_promote(true, %d)", int(patience.Seconds())))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, ",") != "t" {
		t.Fatalf("the standby was not promoted\n%s", s.lastWords())
	}
}
