package merkle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// ErrLocked: another process has the memory, or the witness's state.
var ErrLocked = errors.New("another process has it")

// Memory is the signer's own memory, outside of the database: a file with the last signed checkpoint that it gave out.
// Whoever restores a backup of the database does not restore this file, and so the signer notices.
//
// The file is the signed checkpoint itself, as it was published: if it is lost, any copy of the last published
// checkpoint put in its place restores it. Beside it stand the file being written (.new) and a lock (.lock): one
// process has a memory at a time. A Memory is safe for concurrent use; each Signer holds it over its whole step.
type Memory struct {
	// mu is held by a Signer from reading the last checkpoint until the next one is durable.
	mu   sync.Mutex
	file stateFile
	// lock is nil once the memory was given back.
	lock *os.File
}

// OpenMemory takes the memory at a path, whose directory must exist; the file itself need not. It fails with ErrLocked while
// another process has it.
func OpenMemory(path string) (*Memory, error) {
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("the log's memory %s: %w", path, err)
	}
	return &Memory{file: stateFile(path), lock: lock}, nil
}

// Close lets others take the memory. Signers that have it refuse from then on.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lock == nil {
		return nil
	}
	err := m.lock.Close()
	m.lock = nil
	if err != nil {
		return fmt.Errorf("the log's memory %s: %w", m.file, err)
	}
	return nil
}

// stateFile is the path of a small file that is replaced as a whole. Readers see the old content or the new one.
//
// A crash can leave: the old content, and beside it a ".new" of any length, which the next write begins again; or the
// new content. A write that returned is durable. After one that failed the file holds the old content or the new one.
type stateFile string

// read returns the content; nil, and no error, if there is no file. It does not look at ".new".
func (f stateFile) read() ([]byte, error) {
	file, err := os.Open(filepath.Clean(string(f)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // opened for reading: nothing is lost
	content, err := io.ReadAll(io.LimitReader(file, MaxSignedCheckpoint+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	if len(content) == 0 { // an empty file is not the same as none
		return nil, fmt.Errorf("%s is empty", f)
	}
	return content, nil
}

// write replaces the content durably: file, name and directory are on the disk when it returns.
func (f stateFile) write(content []byte) error {
	path := filepath.Clean(string(f))
	fresh, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fresh.Write(content)
	if err := errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return fmt.Errorf("%s.new: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	// Without this the new name can be lost with the power, and the old checkpoint would be the last one again.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("%s: %w", filepath.Dir(path), err)
	}
	return nil
}
