package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// programs are those of one version of PostgreSQL, and the user that they run as.
type programs struct {
	dir  string
	user *syscall.Credential // nil: as oneself
}

// oldest is the first version whose initdb knows ICU (--locale-provider).
const oldest = 15

// newest gives the directory of the programs of the newest version below a directory such as Debian's, "" without one
// that will do.
func newest(below string) (string, error) {
	found, err := filepath.Glob(filepath.Join(below, "*", "bin", "initdb"))
	if err != nil {
		return "", err
	}
	dir, best := "", oldest-1
	for _, initdb := range found {
		bin := filepath.Dir(initdb)
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
		if err == nil && version > best { // "9.6" is no number, and too old
			dir, best = bin, version
		}
	}
	return dir, nil
}

// serverUser is whom servers run as: nil, for oneself, but as root.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// command runs in dir, as the server's user and in a process group of its own: an interrupt at the terminal is the
// tests', which then end it. It sees nothing of the environment: libpq and initdb heed some twenty of its variables.
func (p *programs) command(dir, name string, args ...string) *exec.Cmd {
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.dir, name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.user, Setpgid: true}
	return cmd
}

// run runs a program that works in a keeper's directory to its end. The program holds the keeper's pipe: if this process
// dies, the keeper waits until the program has ended, and does not remove what is just being written.
func (p *programs) run(t testing.TB, k *keeper, name string, args ...string) {
	t.Helper()
	cmd := p.command(k.dir, name, args...)
	cmd.ExtraFiles = []*os.File{k.pipe}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Restart starts the server on the data that it has, and stops it before, if it runs. It returns when the server takes
// connections, after recovery if there is any.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.reap(syscall.WNOHANG); err != nil {
		t.Fatal(err)
	}
	if s.pid != 0 {
		if err := s.stop(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.launch(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := s.execute("SELECT 1")
		if err == nil {
			return
		}
		ended, waited := s.reap(syscall.WNOHANG)
		if waited != nil {
			t.Fatal(waited)
		}
		if ended || time.Now().After(end) {
			t.Fatalf("PostgreSQL did not start (ended by itself: %t): %v\n%s", ended, err, s.lastWords())
		}
	}
}

// launch starts the postmaster. Between the start and the moment that the keeper knows of it this process may die: so
// the child itself tells the keeper its number, as a shell, before it becomes the postmaster.
func (s *Server) launch() error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	listen := ""
	if s.options.TCP {
		listen = "127.0.0.1"
	}
	cmd := s.programs.command(s.dir, "/bin/sh", "-c", `echo $$ >&3; exec 3>&-; exec "$@"`, "sh",
		filepath.Join(s.programs.dir, "postgres"), "-D", s.data(), "-c", "unix_socket_directories="+s.dir,
		"-c", "listen_addresses="+listen, "-c", fmt.Sprintf("port=%d", s.port))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{s.keeper.pipe}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.pid = cmd.Process.Pid
	return cmd.Process.Release() // reap waits for it
}

// reap asks whether the postmaster has ended, and with options 0 waits until it has. As long as it was not waited for,
// its number is no other process's.
func (s *Server) reap(options int) (ended bool, err error) {
	if s.pid == 0 {
		return true, nil
	}
	pid, _, err := wait(s.pid, options)
	if err != nil || pid == 0 {
		return false, err
	}
	s.pid = 0
	return true, s.keeper.forget()
}

// wait is wait4(2), again after signals that are not for us.
func wait(pid, options int) (int, syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(pid, &status, options, nil)
		if !errors.Is(err, syscall.EINTR) {
			return got, status, os.NewSyscallError("wait4", err)
		}
	}
}

// running tells whether there is a postmaster.
func (s *Server) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended, err := s.reap(syscall.WNOHANG)
	return !ended && err == nil
}

// Stop shuts the server down in good order: transactions that go on are rolled back, and a checkpoint is written.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop(syscall.SIGINT)
}

// stop sends the postmaster a signal ("fast" or "immediate" shutdown) and waits until it has ended. Its children have
// then: it waits for them.
func (s *Server) stop(signal syscall.Signal) error {
	if s.pid == 0 {
		return errors.New("PostgreSQL does not run")
	}
	if err := syscall.Kill(s.pid, signal); err != nil {
		return os.NewSyscallError("kill", err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ended, err := s.reap(syscall.WNOHANG); ended || err != nil {
			return err
		}
	}
	return errors.Join(fmt.Errorf("PostgreSQL did not end in %s after %s", patience, signal), s.kill())
}

// Kill ends all processes of the server at once by SIGKILL, and returns when none is left. What they had not written to
// the kernel is lost; Restart recovers from the log.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill()
}

// kill stops the postmaster first: it then has no new child while its children are listed, and their numbers become no
// other process's while it does not wait for them.
func (s *Server) kill() error {
	if s.pid == 0 {
		return errors.New("PostgreSQL does not run")
	}
	if err := syscall.Kill(s.pid, syscall.SIGSTOP); err != nil {
		return os.NewSyscallError("kill", err)
	}
	_, status, err := wait(s.pid, syscall.WUNTRACED)
	if err != nil {
		return err
	}
	if !status.Stopped() { // it ended by itself before: no child is left
		s.pid = 0
		return s.keeper.forget()
	}
	family, err := children(s.pid)
	if err != nil {
		return err
	}
	segment, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it has none yet
		return err
	}
	for _, pid := range append(pids(family), s.pid) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return os.NewSyscallError("kill", err)
		}
	}
	if _, err := s.reap(0); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		left, err := alive(family)
		if err != nil || len(left) == 0 {
			return errors.Join(err, removeSegment(string(segment)))
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes of PostgreSQL survived SIGKILL for %s: %v", patience, left)
		}
	}
}

// removeSegment removes the System V shared memory that a killed postmaster leaves, and that would stay where nobody
// restarts it. Line 7 of postmaster.pid has its key and its number. (All other shared memory is anonymous or a file.)
func removeSegment(postmaster string) error {
	lines := strings.Split(postmaster, "\n")
	if len(lines) < 7 {
		return nil // killed before it had one
	}
	fields := strings.Fields(lines[6])
	if len(fields) != 2 {
		return nil
	}
	if out, err := exec.Command("ipcrm", "-m", fields[1]).CombinedOutput(); err != nil {
		return fmt.Errorf("ipcrm: %w: %s", err, out)
	}
	return nil
}

// end ends the server for good, and shows what it said if the test failed.
func (s *Server) end(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	ended, err := s.reap(syscall.WNOHANG)
	if err == nil && !ended {
		err = s.stop(syscall.SIGQUIT) // the data go anyway: without a checkpoint
	}
	if err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("PostgreSQL in %s said at the end:\n%s", s.dir, s.lastWords())
	}
	if err := s.keeper.end(); err != nil {
		t.Error(err)
	}
}

// lastWords is the end of the server's log.
func (s *Server) lastWords() string {
	text, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// task is a process of the kernel's: its start, in clock ticks, tells it from a later one of the same number.
type task struct {
	pid   int
	start string
}

func pids(family []task) []int {
	out := make([]int, len(family))
	for i, child := range family {
		out[i] = child.pid
	}
	return out
}

// children lists the children of a process (proc(5), /proc/PID/stat).
func children(parent int) ([]task, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []task
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // no process
		}
		_, ppid, start, err := stat(pid)
		if err != nil {
			return nil, err
		}
		if ppid == parent {
			out = append(out, task{pid, start})
		}
	}
	return out, nil
}

// alive gives those processes that have not ended. A zombie has.
func alive(family []task) ([]int, error) {
	var out []int
	for _, child := range family {
		state, _, start, err := stat(child.pid)
		if err != nil {
			return nil, err
		}
		if start == child.start && state != "Z" && state != "X" {
			out = append(out, child.pid)
		}
	}
	return out, nil
}

// stat gives a process's state, its parent, and its start. All are zero for one that is not there.
func stat(pid int) (state string, parent int, start string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return "", 0, "", nil
	}
	if err != nil {
		return "", 0, "", err
	}
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ") // a name may have blanks
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", 0, "", fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, fields[19], err
}
