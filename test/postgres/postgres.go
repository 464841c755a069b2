// Package postgres gives tests and benchmarks a PostgreSQL of their own: Debian's programs, version 15 or later, on a
// data directory that is made for the test and removed with it. Where PostgreSQL is absent a test skips; in CI, where
// .ci/run installs it, it fails.
//
//	s := postgres.Shared(t)                      // one server for all tests of a package: for what it does
//	s := postgres.Start(t, postgres.Options{})   // one for this test, with fsync: for what it loses, and how fast it is
//	url := s.CreateDatabase(t, "records")        // an empty database, dropped with the test; the superuser's URL
//	pgxpool.New(ctx, s.DSN("gate", "records"))   // any role without a password (CREATE ROLE gate LOGIN)
//
// What befalls servers:
//
//	s.Kill()                  // SIGKILL to all of its processes; s.Restart(t) recovers from the log
//	s.Stop()                  // in good order
//	b := s.Standby(t)         // a synchronous standby; s.Kill(), b.Promote(t), go on with b.DSN(...)
//	s.FillDisk(t)             // with Options.DiskLimit; s.FreeDisk(t) ends it
//	delay.New("127.0.0.1", s.Addr(), 0)  // with Options.TCP: a way that Close cuts; s.DSNAt(proxy.Addr(), ...) takes it
//
// A server is reached over a Unix socket in a directory that only its user and root may enter. That is why nobody needs
// a password. With Options.TCP the same holds on 127.0.0.1 for every user of the machine, for as long as the test runs.
//
// As root the server runs as the user postgres, or else nobody: PostgreSQL refuses root. Text sorts as in English
// (ICU), as in most installations, and not by its octets: a test that passes only with the latter has found a fault.
// There is no autovacuum, and so no statistics: benchmarks on many rows run ANALYZE first.
//
// Nothing outlives the test binary, however it ends: a keeper, a shell that reads a pipe from it, ends the server and
// removes its directory when the pipe closes.
package postgres

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quorate/quorate/test/daemon"
)

// patience is how long a server may take to start, to stop, or to follow another. It ends a test that would hang.
const patience = time.Minute

// superuser is the role that initdb makes.
const superuser = "postgres"

// Options of a server. The zero value is a durable server on a Unix socket.
type Options struct {
	// FsyncOff gives up durability on a crash of the machine, which no test can see, for speed. Kill loses nothing with
	// it either, but benchmarks would tell too much, and package db refuses such a server (REC-05).
	FsyncOff bool
	// TCP makes the server listen on a free port of 127.0.0.1 too, open to every user of the machine. See Addr.
	TCP bool
	// DiskLimit is the size in octets of the file system that the data directory is on, 0 for no limit. It takes 128 MiB
	// or more to start and work. It needs the right to mount: the test is skipped without it. The file system is in
	// memory, so that the server's fsync costs nothing.
	DiskLimit int64
	// Settings are parameters of postgresql.conf, by name. They win over this package's own. Standbys have them too.
	Settings map[string]string
}

// Server is a PostgreSQL server. Its methods may be called from several goroutines.
type Server struct {
	options  Options
	programs *programs
	keeper   *keeper
	dir      string // holds the socket, the log and data/
	port     uint16

	mu         sync.Mutex
	pid        int  // of the postmaster, our child that has not been waited for; 0 without
	hasStandby bool // Standby was called
}

// Start starts a server of its own for t, which ends with t. The test is skipped, or fails in CI, where PostgreSQL
// is not installed.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	s := newServer(t, options)
	t.Cleanup(func() { s.end(t) })
	s.copyTemplate(t)
	s.Restart(t)
	return s
}

// process is what the tests of one process share: a second for initdb is spent once.
var process struct {
	sharing sync.Mutex
	shared  *Server

	copying  sync.Mutex
	template string  // a data directory fresh from initdb, "" before the first server
	keeper   *keeper // of the template
}

// Shared gives the server that all tests of the test binary share, with fsync, and starts it for the first. Each test
// makes databases of its own in it (CreateDatabase); roles and settings (ALTER SYSTEM) are the whole server's. Tests
// that stop or kill their server, or give it a standby, use Start.
//
// No test ends it, since none knows that it is the last: it ends with the process, whether that returns from its tests,
// panics or is killed. The kernel then closes the pipe that its keeper reads, and the keeper, which is a process of its
// own, ends the server and removes its files, a moment after the test binary is gone. No goroutine belongs to it.
func Shared(t testing.TB) *Server {
	t.Helper()
	process.sharing.Lock()
	defer process.sharing.Unlock()
	if process.shared == nil {
		s := newServer(t, Options{})
		s.copyTemplate(t)
		s.Restart(t)
		process.shared = s
	}
	return process.shared
}

// newServer has a directory and a keeper, and no data yet.
func newServer(t testing.TB, options Options) *Server {
	t.Helper()
	p := find(t)
	s := &Server{options: options, programs: p, port: 5432} // a name in the socket's own directory, no port
	if options.TCP {
		s.port = daemon.FreePort(t)
	}
	s.dir, s.keeper = newDirectory(t, p)
	return s
}

// newDirectory makes a directory that the server's user owns, and that its keeper removes.
func newDirectory(t testing.TB, p *programs) (string, *keeper) {
	t.Helper()
	dir, err := os.MkdirTemp("", "quorate-postgres-") // not t.TempDir: root's would be closed to the server's user
	if err != nil {
		t.Fatal(err)
	}
	if p.user != nil {
		if err := os.Chown(dir, int(p.user.Uid), int(p.user.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	k, err := keep(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, k
}

// copyTemplate fills the data directory with what initdb makes, which takes a second, from a copy, which does not.
func (s *Server) copyTemplate(t testing.TB) {
	t.Helper()
	process.copying.Lock()
	defer process.copying.Unlock()
	if process.template == "" {
		dir, k := newDirectory(t, s.programs)
		template := filepath.Join(dir, "data")
		s.programs.run(t, k, "initdb", "-D", template, "-U", superuser, "-A", "trust", "-E", "UTF8", "--no-sync",
			"--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
		process.template, process.keeper = template, k
	}
	s.limitDisk(t)
	s.programs.run(t, s.keeper, "/bin/cp", "-a", "--reflink=auto", process.template+"/.", s.data())
	if err := appendTo(filepath.Join(s.data(), "postgresql.conf"), s.settings()); err != nil {
		t.Fatal(err)
	}
}

// settings are the end of postgresql.conf, where the last line of a name counts.
func (s *Server) settings() string {
	onOff := map[bool]string{true: "on", false: "off"}
	lines := []string{
		"fsync = " + onOff[!s.options.FsyncOff],
		"full_page_writes = " + onOff[!s.options.FsyncOff],
		"synchronous_commit = on",
		"shared_buffers = 32MB",
		"max_connections = 200",
		"autovacuum = off",
		"huge_pages = off",
		"dynamic_shared_memory_type = mmap", // files in the data directory, which go with it after a kill
		"wal_retrieve_retry_interval = 100ms",
		"log_checkpoints = off",
		"log_line_prefix = '%m [%p] %d '",
		"timezone = UTC",
		"log_timezone = UTC",
	}
	if s.options.DiskLimit > 0 {
		lines = append(lines, "min_wal_size = 32MB", "max_wal_size = 48MB")
	}
	for name, value := range s.options.Settings {
		lines = append(lines, name+" = '"+strings.ReplaceAll(value, "'", "''")+"'")
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// data is the data directory.
func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// log is the file of what the server says.
func (s *Server) log() string { return filepath.Join(s.dir, "log") }

// DSN is the URL for pgx, over the Unix socket, of a role and a database. It stays the same through Restart.
func (s *Server) DSN(user, database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database, RawQuery: url.Values{
		"host": {s.dir}, "port": {strconv.Itoa(int(s.port))}, "sslmode": {"disable"}}.Encode()}).String()
}

// DSNAt is the URL for pgx of a role and a database at "host:port": Addr, or a proxy in front of it.
func (s *Server) DSNAt(address, user, database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User(user), Host: address, Path: "/" + database,
		RawQuery: "sslmode=disable"}).String()
}

// Addr is where a server with Options.TCP listens, as "127.0.0.1:port"; it stays the same through Restart. Without
// Options.TCP it is "".
func (s *Server) Addr() string {
	if !s.options.TCP {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(s.port)))
}

// CreateDatabase makes an empty database, and drops it with its connections when t ends. It gives the superuser's DSN.
func (s *Server) CreateDatabase(t testing.TB, name string) string {
	t.Helper()
	quoted := pgx.Identifier{name}.Sanitize()
	if err := s.execute("CREATE DATABASE " + quoted); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.running() { // then it goes with the server
			return
		}
		// A standby may be gone for which every other commit waits.
		here := s.DSN(superuser, "postgres") + "&synchronous_commit=local"
		if _, err := query(here, "DROP DATABASE IF EXISTS "+quoted+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return s.DSN(superuser, name)
}

// execute runs a statement as the superuser.
func (s *Server) execute(sql string) error {
	_, err := s.query(sql)
	return err
}

// query runs a statement as the superuser and gives its first column as text.
func (s *Server) query(sql string) ([]string, error) { return query(s.DSN(superuser, "postgres"), sql) }

func query(dsn, sql string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll() // the simple protocol: its values are text
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	var out []string
	for _, result := range results {
		for _, row := range result.Rows {
			out = append(out, string(row[0]))
		}
	}
	return out, nil
}

// find gives the programs and their user.
func find(t testing.TB) *programs {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("PostgreSQL is driven on Linux only (/proc)")
	}
	p, err := newest("/usr/lib/postgresql") // Debian's programs are not on PATH
	if err != nil {
		t.Fatal(err)
	}
	if p == "" {
		initdb, err := filepath.EvalSymlinks(daemon.Program(t, "initdb"))
		if err != nil {
			t.Fatal(err)
		}
		p = filepath.Dir(initdb)
	}
	user, err := serverUser()
	if err != nil {
		t.Fatal(err)
	}
	return &programs{dir: p, user: user}
}
