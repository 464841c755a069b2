package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/postgres"
	"github.com/quorate/quorate/test/world"
)

// engine does what an engine would, as far as the services can see: a root directory with the image's content, volumes, the
// user, the names of the other services, and a network namespace on the bridges of the service's networks. What it rewrites is
// nothing; what it leaves out are images of others (PostgreSQL is this machine's), memory and process limits, capabilities
// beyond those that a user other than root lacks anyway, and a way to the Internet.
type engine struct {
	t       *testing.T
	file    file
	dir     string
	empty   map[string]bool // the image's directories
	stages  map[string]stage
	bridges map[string]string // of networks
	members map[string]netip.Addr
	running map[string]*container
	links   int
}

// container is a service that was made, and perhaps runs.
type container struct {
	name        string
	service     service
	root, netns string
	cmd         *exec.Cmd
	out         *daemon.Output
	ended       chan struct{}
	err         error
}

// patience ends what would hang.
const patience = 90 * time.Second

// isolate runs a test of this binary again, as root in namespaces of its own: of networks, mounts and processes. What it starts
// ends with it.
func isolate(t *testing.T, name string) {
	t.Helper()
	if *inside != "" {
		t.Skip("this is the namespace")
	}
	for _, p := range []string{"ip", "nsenter", "unshare"} {
		daemon.Program(t, p)
	}
	if os.Getuid() != 0 {
		require.NotEqual(t, "true", os.Getenv("CI"))
		t.Skip("containers' users and root directories need root")
	}
	programs := filepath.Dir(program(t, "quorate"))
	dir, err := os.MkdirTemp("", "quorate-engine-") // not t.TempDir, which is closed to the services' users
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := world.Isolated(ctx, os.Args[0], "-test.run=^"+name+"$", "-test.v", "-inside="+programs)
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNS | syscall.CLONE_NEWPID
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if world.NoNamespace(err) {
		require.NotEqual(t, "true", os.Getenv("CI"), "CI lets nobody make namespaces")
		t.Skipf("no namespaces are to be had here: %v", err)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+name, "%s", out)
	t.Logf("%s", out)
}

// newEngine settles a new namespace, and makes the networks.
func newEngine(t *testing.T) *engine {
	t.Helper()
	require.NoError(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	require.NoError(t, syscall.Mount("proc", "/proc", "proc", 0, ""), "numbers of processes are the namespace's own")
	require.NoError(t, syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"), "it is this namespace's own")
	require.NoError(t, world.Settle())
	dir, err := os.MkdirTemp("", "engine-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	e := &engine{t: t, file: load(t), dir: dir, empty: directories(t), stages: dockerfile(t), bridges: map[string]string{},
		members: map[string]netip.Addr{}, running: map[string]*container{}}
	for _, sub := range []string{"volumes", "roots", "netns"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	for i, n := range slices.Sorted(maps.Keys(e.file.Networks)) {
		bridge := "br" + strconv.Itoa(i)
		e.bridges[n] = bridge
		e.do("ip", "link", "add", bridge, "type", "bridge")
		e.do("ip", "addr", "add", fmt.Sprintf("10.80.%d.1/24", i), "dev", bridge)
		e.do("ip", "link", "set", bridge, "up")
		for j, s := range slices.Sorted(maps.Keys(e.file.Services)) {
			if slices.Contains(e.file.Services[s].Networks, n) {
				e.members[n+"/"+s] = netip.AddrFrom4([4]byte{10, 80, byte(i), byte(j + 10)})
			}
		}
	}
	t.Cleanup(func() {
		for name, c := range e.running {
			if t.Failed() {
				t.Logf("%s said:\n%s", name, c.out)
			}
		}
	})
	return e
}

func (e *engine) do(name string, args ...string) {
	e.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(e.t, err, "%s %s: %s", name, strings.Join(args, " "), out)
}

// volume gives the directory of a volume; mounted at a target for the first time, it begins as the image's directory there.
func (e *engine) volume(name, target string) string {
	e.t.Helper()
	dir := filepath.Join(e.dir, "volumes", name)
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		return dir
	} else {
		require.NoError(e.t, err)
	}
	if e.empty[target] {
		require.NoError(e.t, os.Chown(dir, 65532, 65532))
	}
	return dir
}

// create makes a container's root directory and its network.
func (e *engine) create(name string) *container {
	e.t.Helper()
	s := e.file.Services[name]
	c := &container{name: name, service: s, root: filepath.Join(e.dir, "roots", name), netns: filepath.Join(e.dir, "netns", name)}
	e.running[name] = c
	require.NoError(e.t, os.Mkdir(c.root, 0o755))
	require.NoError(e.t, syscall.Mount(c.root, c.root, "", syscall.MS_BIND, ""))
	program := e.stages[s.Build.Target].entrypoint(e.t)
	text, err := os.ReadFile(filepath.Join(*inside, program))
	require.NoError(e.t, err)
	require.NoError(e.t, os.WriteFile(filepath.Join(c.root, program), text, 0o755))
	if len(e.stages[s.Build.Target].all("COPY")) > 1 {
		for dir := range e.empty {
			require.NoError(e.t, os.MkdirAll(filepath.Join(c.root, dir), 0o755))
		}
		for dir := range e.empty {
			require.NoError(e.t, os.Chown(filepath.Join(c.root, dir), 65532, 65532))
		}
	}
	for _, m := range s.mounts(e.t) {
		source := filepath.Join(top, m.source)
		if !m.bind() {
			source = e.volume(m.source, m.target)
		}
		e.mount(source, filepath.Join(c.root, m.target), m.readOnly)
	}
	for _, entry := range s.Tmpfs {
		target, options, _ := strings.Cut(entry, ":")
		target = filepath.Join(c.root, target)
		require.NoError(e.t, os.MkdirAll(target, 0o755))
		require.NoError(e.t, syscall.Mount("tmpfs", target, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, options))
	}
	for _, system := range []string{"/proc", "/dev"} { // which each engine gives
		target := filepath.Join(c.root, system)
		require.NoError(e.t, os.MkdirAll(target, 0o755))
		require.NoError(e.t, syscall.Mount(system, target, "", syscall.MS_BIND|syscall.MS_REC, ""))
	}
	e.connect(c)
	if s.ReadOnly {
		require.NoError(e.t, syscall.Mount("", c.root, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	}
	return c
}

func (e *engine) mount(source, target string, readOnly bool) {
	e.t.Helper()
	require.NoError(e.t, os.MkdirAll(target, 0o755))
	require.NoError(e.t, syscall.Mount(source, target, "", syscall.MS_BIND, ""))
	if readOnly {
		require.NoError(e.t, syscall.Mount("", target, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	}
}

// connect gives a container its network namespace, and writes the names of those that it shares a network with where the
// engine's name server would answer for them.
func (e *engine) connect(c *container) {
	e.t.Helper()
	require.NoError(e.t, os.WriteFile(c.netns, nil, 0o600))
	e.do("unshare", "--net="+c.netns, "true")
	within := func(args ...string) {
		e.t.Helper()
		e.do("nsenter", append([]string{"--net=" + c.netns, "ip"}, args...)...)
	}
	within("link", "set", "lo", "up")
	hosts := "127.0.0.1 localhost\n"
	for i, n := range c.service.Networks {
		e.links++
		outer, inner := fmt.Sprintf("v%d", e.links), fmt.Sprintf("eth%d", i)
		within("link", "add", inner, "type", "veth", "peer", "name", outer, "netns", strconv.Itoa(os.Getpid()))
		e.do("ip", "link", "set", outer, "master", e.bridges[n])
		e.do("ip", "link", "set", outer, "up")
		within("addr", "add", e.members[n+"/"+c.name].String()+"/24", "dev", inner)
		within("link", "set", inner, "up")
		for member, addr := range e.members {
			if other, in := strings.CutPrefix(member, n+"/"); in {
				hosts += fmt.Sprintf("%s %s\n", addr, other)
			}
		}
	}
	require.NoError(e.t, os.MkdirAll(filepath.Join(c.root, "etc"), 0o755))
	require.NoError(e.t, os.WriteFile(filepath.Join(c.root, "etc", "hosts"), []byte(hosts), 0o644))
}

// command is one that runs in a container, as its user and with nothing of this process's environment.
func (c *container) command(ctx context.Context, args ...string) *exec.Cmd {
	uid, gid, _ := strings.Cut(c.service.User, ":")
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + c.netns, "--root=" + c.root, "--setuid=" + uid, "--setgid=" + gid, "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + c.name, "HOME=/"}
	for name, value := range c.service.Environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// exec runs a program in a container to its end, as `docker compose exec` does.
func (e *engine) exec(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	out, err := e.running[name].command(ctx, args...).CombinedOutput()
	return string(out), err
}

// start runs a container's own command.
func (e *engine) start(c *container) {
	e.t.Helper()
	c.out, c.ended = &daemon.Output{}, make(chan struct{})
	c.cmd = c.command(context.WithoutCancel(e.t.Context()), append([]string{e.stages[c.service.Build.Target].entrypoint(e.t)}, c.service.Command...)...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	require.NoError(e.t, c.cmd.Start())
	go func() { defer close(c.ended); c.err = c.cmd.Wait() }()
}

// stop asks a container to end, with a signal, and gives what came of it.
func (e *engine) stop(name string, signal syscall.Signal) error {
	e.t.Helper()
	c := e.running[name]
	require.NoError(e.t, c.cmd.Process.Signal(signal))
	select {
	case <-c.ended:
	case <-time.After(patience):
		require.Fail(e.t, "it does not end", "%s: %s", name, c.out)
	}
	return c.err
}

// up starts a service after what it depends on, as the conditions say. What runs already is left as it is; what ended is
// started again.
func (e *engine) up(name string) {
	e.t.Helper()
	s := e.file.Services[name]
	for _, other := range slices.Sorted(maps.Keys(s.DependsOn)) {
		e.up(other)
		c := e.running[other]
		switch condition := s.DependsOn[other].Condition; condition {
		case "service_started":
		case "service_healthy":
			if other != "database" { // which is this machine's, and takes connections
				e.healthy(other)
			}
		case "service_completed_successfully":
			select {
			case <-c.ended:
			case <-time.After(patience):
			}
			require.NoError(e.t, c.err, "%s: %s", other, c.out)
		default:
			require.Fail(e.t, "a condition that this test does not know", condition)
		}
	}
	if name == "database" {
		e.database()
		return
	}
	c := e.running[name]
	if c == nil {
		c = e.create(name)
	} else if !c.over() {
		return
	}
	e.start(c)
}

// over tells whether a container's process has ended.
func (c *container) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// healthy waits until a service's own health check says that it is well.
func (e *engine) healthy(name string) {
	e.t.Helper()
	c := e.running[name]
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		out, err := e.exec(name, c.service.Healthcheck.Test[1:]...)
		if err == nil {
			return
		}
		require.False(e.t, c.over(), "%s ended: %v: %s", name, c.err, c.out)
		require.True(e.t, time.Now().Before(end), "%s is not well: %s: %s", name, out, c.out)
	}
}

// publish forwards a service's published ports from this namespace's loopback.
func (e *engine) publish(name string) {
	e.t.Helper()
	s := e.file.Services[name]
	for _, p := range s.Ports {
		cut := strings.LastIndexByte(p, ':')
		e.forward(p[:cut], net.JoinHostPort(e.members[s.Networks[0]+"/"+name].String(), p[cut+1:]))
	}
}

// forward passes connections on until the test ends.
func (e *engine) forward(from, to string) {
	e.t.Helper()
	l, err := net.Listen("tcp", from)
	require.NoError(e.t, err)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // the listener was closed
			}
			group.Go(func() {
				defer near.Close()
				far, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer far.Close()
				group.Go(func() { _, _ = io.Copy(far, near); _ = far.(*net.TCPConn).CloseWrite() })
				_, _ = io.Copy(near, far)
			})
		}
	})
	e.t.Cleanup(func() { require.NoError(e.t, l.Close()) })
}

// database stands in for the image of PostgreSQL: Debian's, with the passwords asked for as in that image, made ready by the
// script that the image would run. It is reached at the service's address.
func (e *engine) database() {
	e.t.Helper()
	if e.running["database"] != nil {
		return
	}
	s := e.file.Services["database"]
	e.running["database"] = &container{name: "database", service: s, out: &daemon.Output{}}
	passwords := e.volume("passwords", "/run/passwords")
	uid, gid, _ := strings.Cut(s.User, ":")
	for _, name := range []string{"superuser", "owner", "gate"} { // the image's user must be able to read them
		e.do("nsenter", "--net=/proc/self/ns/net", "--setuid="+uid, "--setgid="+gid, "--", "/bin/cat", filepath.Join(passwords, name+"-password"))
	}
	require.Equal(e.t, "/run/passwords/superuser-password", s.Environment["POSTGRES_PASSWORD_FILE"])
	rules := filepath.Join(e.dir, "pg_hba.conf")
	require.NoError(e.t, os.WriteFile(rules, []byte("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"), 0o644))
	server := postgres.Start(e.t, postgres.Options{TCP: true, Settings: map[string]string{"hba_file": rules}})
	require.NoError(e.t, os.MkdirAll("/run/passwords", 0o755))
	e.mount(passwords, "/run/passwords", true)
	superuser, err := url.Parse(server.DSN("postgres", "postgres"))
	require.NoError(e.t, err)
	script := ""
	for _, m := range s.mounts(e.t) {
		if m.bind() {
			require.Equal(e.t, "/docker-entrypoint-initdb.d", path.Dir(m.target))
			script = filepath.Join(top, m.source)
		}
	}
	cmd := exec.Command(script)
	cmd.Env = append(os.Environ(), "PGHOST="+superuser.Query().Get("host"), "PGPORT="+superuser.Query().Get("port"))
	out, err := cmd.CombinedOutput()
	require.NoError(e.t, err, "%s", out)
	address := e.members["records/database"]
	e.do("ip", "addr", "add", address.String()+"/24", "dev", e.bridges["records"])
	e.forward(net.JoinHostPort(address.String(), "5432"), server.Addr())
}
