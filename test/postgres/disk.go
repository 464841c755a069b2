package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// limitDisk mounts a file system of the size of Options.DiskLimit for the data directory. The keeper unmounts it.
func (s *Server) limitDisk(t testing.TB) {
	t.Helper()
	if s.options.DiskLimit == 0 {
		return
	}
	if s.programs.user == nil {
		t.Skip("a disk of limited size needs root, to mount it")
	}
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	size := fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", s.options.DiskLimit, s.programs.user.Uid, s.programs.user.Gid)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", size, "tmpfs", s.data()).CombinedOutput(); err != nil {
		t.Skipf("a disk of limited size cannot be mounted here: %v: %s", err, out)
	}
}

// ballast is the file that fills the disk.
func (s *Server) ballast() string { return filepath.Join(s.data(), "ballast") }

// FillDisk leaves no free block on the disk of a server with Options.DiskLimit. A statement that needs one for a table
// then fails (SQLSTATE 53100). One that needs one for the log, of which PostgreSQL has 16 MiB in advance, is worse: all
// backends end at once (PANIC), and so does the server, if it finds no room to recover; then it needs Restart.
func (s *Server) FillDisk(t testing.TB) {
	t.Helper()
	if s.options.DiskLimit == 0 {
		t.Fatal("FillDisk needs Options.DiskLimit")
	}
	f, err := os.OpenFile(s.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err := f.Write(block); err == nil {
			continue
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		block = block[:len(block)/2]
	}
}

// FreeDisk gives back what FillDisk took.
func (s *Server) FreeDisk(t testing.TB) {
	t.Helper()
	if err := os.Remove(s.ballast()); err != nil {
		t.Fatal(err)
	}
}
