package postgres

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// The keeper reads a pipe until all who could write to it are gone. A line is the number of a postmaster that starts, an
// empty line says that it has ended. Then the keeper ends the last, if there is one, and removes the directory with
// the file system that is mounted in it. A postmaster ends within five seconds of SIGQUIT, or kills its children.
// As an orphan it may stay a zombie for long: not everything that runs as the first process of a container waits.
const keeperScript = `
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ] && kill -QUIT "$pid"; then
	kill -CONT "$pid"
	tries=0
	while grep -q '^State:.[^ZX]' "/proc/$pid/status" && [ "$tries" -lt 1000 ]; do tries=$((tries + 1)); sleep 0.01; done
	[ "$tries" -lt 1000 ] || kill -KILL "$pid"
fi
if mountpoint -q "$1/data"; then umount "$1/data" || umount -l "$1/data"; fi
exec rm -rf "$1"
`

// keeper removes a directory, and ends the server in it, when it is told to or when this process ends in any way.
type keeper struct {
	dir  string
	cmd  *exec.Cmd
	pipe *os.File
}

// keep starts a keeper of a directory.
func keep(dir string) (*keeper, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := exec.Command("/bin/sh", "-c", keeperScript, "sh", dir)
	cmd.Stdin, cmd.Dir = read, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no signal of the terminal reaches it
	if err := cmd.Start(); err != nil {
		write.Close()
		return nil, err
	}
	return &keeper{dir, cmd, write}, nil
}

// forget tells that the postmaster has ended: its number may be another's from now on.
func (k *keeper) forget() error {
	_, err := k.pipe.WriteString("\n")
	return err
}

// end has the keeper do its work, and waits for it.
func (k *keeper) end() error {
	if err := k.pipe.Close(); err != nil {
		return err
	}
	if err := k.cmd.Wait(); err != nil {
		return fmt.Errorf("the directory of PostgreSQL was not removed: %w", err)
	}
	return nil
}
