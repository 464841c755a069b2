package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// unbound is Debian's Unbound in its default configuration but for where the world is, one thread for each processor, and
// no IPv6.
type unbound struct {
	cmd     *exec.Cmd
	dir     string
	at      string
	version string
}

func startUnbound(at place) (*unbound, error) {
	path, err := exec.LookPath("unbound")
	if err != nil {
		path = "/usr/sbin/unbound" // sbin is not on everybody's PATH
	}
	u := &unbound{}
	if u.dir, err = os.MkdirTemp("", "speed"); err != nil {
		return nil, err
	}
	version, err := exec.Command(path, "-V").Output()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(u.dir))
	}
	u.version, _, _ = strings.Cut(strings.TrimPrefix(string(version), "Version "), "\n")
	port, err := freePort()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(u.dir))
	}
	u.at = fmt.Sprintf("127.0.0.1:%d", port)
	if err := u.configure(at, port); err != nil {
		return nil, errors.Join(err, os.RemoveAll(u.dir))
	}
	u.cmd = exec.Command(path, "-d", "-c", filepath.Join(u.dir, "conf"))
	u.cmd.Stderr = os.Stderr
	if err := u.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(u.dir))
	}
	for range 500 {
		if _, err = u.control("status"); err == nil {
			return u, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, errors.Join(err, u.stop())
}

func (u *unbound) configure(at place, port int) error {
	hints := ""
	for _, h := range at.Hints {
		hints += fmt.Sprintf(". 3600 NS %s\n%s 3600 A %s\n", h.Host, h.Host, h.Addr)
	}
	conf := fmt.Sprintf(`server:
	interface: 127.0.0.1
	port: %d
	do-not-query-localhost: no
	do-daemonize: no
	use-syslog: no
	logfile: "log"
	trust-anchor-signaling: no
	username: ""
	chroot: ""
	pidfile: ""
	directory: %q
	trust-anchor-file: "anchor"
	root-hints: "hints"
	module-config: "validator iterator"
	do-ip6: no
	num-threads: %d
remote-control:
	control-enable: yes
	control-interface: %q
	control-use-cert: no
`, port, u.dir, runtime.NumCPU(), u.socket())
	var errs []error
	for name, text := range map[string]string{"conf": conf, "hints": hints, "anchor": at.Anchors} {
		errs = append(errs, os.WriteFile(filepath.Join(u.dir, name), []byte(text), 0o600))
	}
	return errors.Join(errs...)
}

func (u *unbound) socket() string { return filepath.Join(u.dir, "control") }

// control does what unbound-control does, without a process for each command.
func (u *unbound) control(command string) (string, error) {
	c, err := net.Dial("unix", u.socket())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "UBCT1 %s\n", command); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	if err == nil && strings.HasPrefix(string(answer), "error") {
		err = fmt.Errorf("unbound-control %s: %s", command, answer)
	}
	return string(answer), err
}

func (u *unbound) address() string { return u.at }
func (u *unbound) pid() int        { return u.cmd.Process.Pid }

// reset empties all memories: answers, keys, delegations, and what is known of servers.
func (u *unbound) reset() error {
	_, err := u.control("flush_zone .")
	_, also := u.control("flush_infra all")
	return errors.Join(err, also)
}

func (u *unbound) stop() error {
	err := u.cmd.Process.Kill()
	_ = u.cmd.Wait() // killed: its status says nothing
	return errors.Join(err, os.RemoveAll(u.dir))
}

// freePort finds a port of 127.0.0.1, below those that the kernel gives to sockets without one of their own.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := 10000 + rand.IntN(20000)
		var c *net.UDPConn
		if c, last = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); last == nil {
			return port, c.Close()
		}
	}
	return 0, last
}
