package postgres

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/test/delay"
)

// orphan makes TestOrphan the process that dies with its servers running.
var orphan = flag.Bool("orphan", false, "start servers, print their directories and processes, and wait to be killed")

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // its server may be gone
	return conn
}

// table gives a connection to a new table (n).
func table(t testing.TB, s *Server) *pgx.Conn {
	t.Helper()
	conn := connect(t, s.CreateDatabase(t, "records"))
	execute(t, conn, "CREATE TABLE record (n bigint PRIMARY KEY, body text)")
	return conn
}

func execute(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

func value[T any](t testing.TB, conn *pgx.Conn, sql string) (v T) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&v))
	return v
}

// family is the server's postmaster and its children.
func family(t testing.TB, s *Server) []task {
	t.Helper()
	_, _, start, err := stat(s.pid)
	require.NoError(t, err)
	require.NotEmpty(t, start)
	out, err := children(s.pid)
	require.NoError(t, err)
	require.NotEmpty(t, out, "a postmaster has children")
	return append(out, task{s.pid, start})
}

func requireGone(t testing.TB, processes []task, dir string) {
	t.Helper()
	left, err := alive(processes)
	require.NoError(t, err)
	require.Empty(t, left)
	_, err = os.Stat(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), dir)
}

func TestAKilledServerHasWhatWasCommitted(t *testing.T) {
	s := Start(t, Options{})
	conn := table(t, s)
	execute(t, conn, "INSERT INTO record VALUES (1)")
	open := connect(t, s.DSN("postgres", "records"))
	execute(t, open, "BEGIN")
	execute(t, open, "INSERT INTO record VALUES (2)")
	before := family(t, s)
	require.NoError(t, s.Kill())
	left, err := alive(before)
	require.NoError(t, err)
	require.Empty(t, left)
	_, err = conn.Exec(t.Context(), "INSERT INTO record VALUES (3)")
	require.Error(t, err)
	require.Error(t, s.Kill(), "nothing is left to kill")

	s.Restart(t)
	conn = connect(t, s.DSN("postgres", "records"))
	require.Equal(t, int64(1), value[int64](t, conn, "SELECT sum(n)::bigint FROM record"))
	require.NoError(t, s.Stop())
	require.Error(t, s.Stop())
	s.Restart(t)
	s.Restart(t) // of a server that runs
	conn = connect(t, s.DSN("postgres", "records"))
	require.Equal(t, int64(1), value[int64](t, conn, "SELECT sum(n)::bigint FROM record"))
}

// TestKillIsOfAllUnderLoad: backends are started while the server is killed, none of them survives, and what was
// acknowledged is there.
func TestKillIsOfAllUnderLoad(t *testing.T) {
	s := Start(t, Options{})
	table(t, s)
	var acknowledged sync.Map
	started := make(chan struct{}, 100)
	var load sync.WaitGroup
	for w := range 4 {
		load.Go(func() {
			for n := w; ; n += 4 {
				conn, err := pgx.Connect(context.Background(), s.DSN("postgres", "records"))
				if err != nil {
					return
				}
				if _, err = conn.Exec(context.Background(), "INSERT INTO record VALUES ($1)", n); err == nil {
					acknowledged.Store(n, true)
				}
				_ = conn.Close(context.Background()) // its server may be gone
				if err != nil {
					return
				}
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 20 {
		<-started
	}
	require.NoError(t, s.Kill())
	load.Wait()
	require.Empty(t, processesOf(t, s.data()))
	s.Restart(t)
	conn := connect(t, s.DSN("postgres", "records"))
	count := 0
	acknowledged.Range(func(n, _ any) bool {
		count++
		require.True(t, value[bool](t, conn, fmt.Sprintf("SELECT EXISTS (SELECT FROM record WHERE n = %d)", n)))
		return true
	})
	require.GreaterOrEqual(t, count, 20)
}

// processesOf lists the processes that work in a directory: postmaster and backends do in the data directory.
func processesOf(t testing.TB, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	var out []string
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == dir {
			out = append(out, l)
		}
	}
	return out
}

func TestDatabasesOfASharedServer(t *testing.T) {
	s := Shared(t)
	require.Same(t, s, Shared(t))
	require.Equal(t, "on", value[string](t, connect(t, s.DSN("postgres", "postgres")), "SHOW fsync"), "as db demands")
	for range 2 { // the same name again: the first was dropped, although it was in use
		t.Run("a test", func(t *testing.T) {
			conn := table(t, s)
			require.Zero(t, value[int64](t, conn, "SELECT count(*) FROM record"))
			execute(t, conn, "INSERT INTO record VALUES (1)")
			require.True(t, value[bool](t, conn, "SELECT 'a' < 'B'"), "text does not sort by its octets")
		})
	}
	got, err := s.query("SELECT count(*) FROM pg_database WHERE datname = 'records'")
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, got)
}

func TestSettingsWin(t *testing.T) {
	s := Start(t, Options{FsyncOff: true, Settings: map[string]string{"max_connections": "17", "search_path": "it's"}})
	conn := connect(t, s.DSN("postgres", "postgres"))
	require.Equal(t, "17", value[string](t, conn, "SHOW max_connections"))
	require.Equal(t, "it's", value[string](t, conn, "SHOW search_path"))
	require.Equal(t, "off", value[string](t, conn, "SHOW fsync"))
	require.Empty(t, s.Addr())
}

func TestAProxyCutsTheConnection(t *testing.T) {
	s := Start(t, Options{TCP: true})
	proxy, err := delay.New("127.0.0.1", s.Addr(), 0)
	require.NoError(t, err)
	conn := connect(t, s.DSNAt(proxy.Addr(), "postgres", "postgres"))
	require.Equal(t, "on", value[string](t, conn, "SHOW fsync"))
	require.NoError(t, proxy.Close())
	_, err = conn.Exec(t.Context(), "SELECT 1")
	require.Error(t, err)
	conn = connect(t, s.DSNAt(s.Addr(), "postgres", "postgres"))
	require.Equal(t, int32(1), value[int32](t, conn, "SELECT 1"))
}

func TestAPromotedStandbyHasWhatWasCommitted(t *testing.T) {
	s := Start(t, Options{})
	conn := table(t, s)
	execute(t, conn, "INSERT INTO record VALUES (1)") // before the standby
	b := s.Standby(t)
	execute(t, conn, "INSERT INTO record VALUES (2)")
	require.Equal(t, "on", value[string](t, conn, "SHOW synchronous_commit"))
	onStandby := connect(t, b.DSN("postgres", "records"))
	_, err := onStandby.Exec(t.Context(), "INSERT INTO record VALUES (3)")
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "25006", refused.Code, "read only")
	require.NoError(t, s.Kill())
	b.Promote(t)
	execute(t, onStandby, "INSERT INTO record VALUES (3)") // commits without a standby
	require.Equal(t, int64(1+2+3), value[int64](t, onStandby, "SELECT sum(n)::bigint FROM record"))
}

// TestNothingIsCommittedWithoutTheStandby: the standby is stopped, and a commit waits until it is back.
func TestNothingIsCommittedWithoutTheStandby(t *testing.T) {
	s := Start(t, Options{})
	conn := table(t, s)
	b := s.Standby(t)
	require.NoError(t, b.Kill())
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "INSERT INTO record VALUES (1)")
		done <- err
	}()
	s.waitFor(t, "SELECT wait_event FROM pg_stat_activity WHERE query LIKE 'INSERT%'", "SyncRep")
	require.Empty(t, done)
	b.Restart(t)
	require.NoError(t, <-done)
	require.NoError(t, b.Kill()) // the end of the test does not wait for it
}

func TestAFullDiskIsAnErrorUntilThereIsRoom(t *testing.T) {
	s := Start(t, Options{DiskLimit: 128 << 20})
	conn := table(t, s)
	insert := func(n int) error {
		_, err := conn.Exec(t.Context(), "INSERT INTO record VALUES ($1, repeat(md5($2), 60))", n, fmt.Sprint(n))
		return err
	}
	require.NoError(t, insert(0))
	s.FillDisk(t)
	var err error
	n := 1
	for ; err == nil && n < 1000; n++ { // 2 KB each: the log has room for them
		err = insert(n)
	}
	var full *pgconn.PgError
	require.ErrorAs(t, err, &full)
	require.Equal(t, "53100", full.Code, full.Message)
	s.FreeDisk(t)
	require.NoError(t, insert(n))
	require.Equal(t, int64(n), value[int64](t, conn, "SELECT count(*) FROM record"), "but for the one that failed")
}

// TestAServerThatFoundNoRoomForItsLogStartsAgain: PostgreSQL panics, and recovers when there is room.
func TestAServerThatFoundNoRoomForItsLogStartsAgain(t *testing.T) {
	s := Start(t, Options{DiskLimit: 128 << 20})
	conn := table(t, s)
	execute(t, conn, "INSERT INTO record VALUES (1)")
	s.FillDisk(t)
	var err error
	for n := 0; err == nil && n < 100; n++ { // 1 MB each, in the log alone
		_, err = conn.Exec(t.Context(), "SELECT pg_logical_emit_message(true, 'fill', repeat('x', 1000000))")
	}
	require.Error(t, err)
	s.FreeDisk(t)
	// It begins anew by itself, or gives up. A request to stop that comes in between may be overlooked by PostgreSQL 15.
	require.Eventually(t, func() bool { return !s.running() || s.execute("SELECT 1") == nil }, patience, 10*time.Millisecond)
	s.Restart(t)
	require.Equal(t, int64(1), value[int64](t, connect(t, s.DSN("postgres", "records")), "SELECT count(*) FROM record"))
}

func TestATestsEndLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for name, options := range map[string]Options{"plain": {FsyncOff: true}, "limited disk": {DiskLimit: 128 << 20}} {
		for _, killed := range []bool{false, true} {
			var processes []task
			var dir string
			t.Run(fmt.Sprintf("%s, killed %t", name, killed), func(t *testing.T) {
				s := Start(t, options)
				processes, dir = family(t, s), s.dir
				if killed {
					segments := sharedMemory(t, s)
					require.NotEmpty(t, segments)
					require.NoError(t, s.Kill())
					all, err := os.ReadFile("/proc/sysvipc/shm")
					require.NoError(t, err)
					require.NotContains(t, string(all), segments)
				}
			})
			if dir != "" { // not skipped
				requireGone(t, processes, dir)
			}
		}
	}
}

// sharedMemory gives the start of the line of /proc/sysvipc/shm of the server's segment: key and number.
func sharedMemory(t testing.TB, s *Server) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	require.NoError(t, err)
	fields := strings.Fields(strings.Split(string(text), "\n")[6])
	require.Len(t, fields, 2)
	all, err := os.ReadFile("/proc/sysvipc/shm")
	require.NoError(t, err)
	line := fmt.Sprintf("%10s %10s ", fields[0], fields[1])
	require.Contains(t, string(all), line)
	return line
}

// TestTheTestBinarysDeathLeavesNothing kills another process of this test, in which servers run and one more starts.
func TestTheTestBinarysDeathLeavesNothing(t *testing.T) {
	find(t) // skips where it is absent
	dir, err := os.MkdirTemp("", "quorate-orphan-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711)) // the servers' user goes through it
	cmd := exec.Command(os.Args[0], "-test.run=^TestOrphan$", "-orphan")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var processes []task
	for range 2 {
		var pid int
		_, err := fmt.Fscanln(out, &pid)
		require.NoError(t, err)
		_, _, start, err := stat(pid)
		require.NoError(t, err)
		more, err := children(pid)
		require.NoError(t, err)
		processes = append(append(processes, more...), task{pid, start})
	}
	files := func() int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return -1
		}
		return len(entries)
	}
	require.Eventually(t, func() bool { return files() > 3 }, patience, time.Millisecond,
		"the template, two servers, and one that starts")
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	var ended *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &ended)
	require.Equal(t, -1, ended.ExitCode(), "by the signal")
	require.Eventually(t, func() bool { return files() == 0 }, patience, 10*time.Millisecond)
	left, err := alive(processes)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestOrphan is the other process of TestTheTestBinarysDeathLeavesNothing.
func TestOrphan(t *testing.T) {
	if !*orphan {
		t.Skip("started by TestTheTestBinarysDeathLeavesNothing")
	}
	for _, s := range []*Server{Shared(t), Start(t, Options{})} {
		fmt.Println(s.pid)
	}
	for {
		t.Run("one more", func(t *testing.T) { Start(t, Options{}) })
	}
}

func TestTheNewestVersionIsFound(t *testing.T) {
	dir := t.TempDir()
	install := func(versions ...string) {
		for _, version := range versions {
			bin := filepath.Join(dir, version, "bin")
			require.NoError(t, os.MkdirAll(bin, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(bin, "initdb"), nil, 0o755))
		}
	}
	install("9.6", "14", "common")
	got, err := newest(dir)
	require.NoError(t, err)
	require.Empty(t, got, "too old")
	install("9", "15")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "16", "bin"), 0o755)) // the client's programs alone
	got, err = newest(dir)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "15", "bin"), got)
}
