package merkle_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
)

// ed25519Verify verifies by a verifier key's text, without this package.
func ed25519Verify(t *testing.T, vkey, message string, signature []byte) bool {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(vkey, "+", 3)[2])
	require.NoError(t, err)
	return ed25519.Verify(raw[1:], []byte(message), signature)
}

// book is a log of which every size can be had: checkpoints and proofs.
type book struct {
	log   *rows
	heads []merkle.Tree
}

func newBook(t *testing.T, size int64) *book {
	t.Helper()
	log, heads := grow(t, size)
	return &book{log: log, heads: heads}
}

// fork gives a log with the same first leaves and others behind them.
func (b *book) fork(t *testing.T, from, size int64) *book {
	t.Helper()
	f := &book{log: &rows{completed: append([][]tlog.Hash{}, b.log.completed[:from]...)}, heads: append([]merkle.Tree{}, b.heads[:from+1]...)}
	tree := b.heads[from].Clone()
	for n := from; n < size; n++ {
		f.log.completed = append(f.log.completed, tree.Append(leafHash(n+1000)))
		f.heads = append(f.heads, tree.Clone())
	}
	return f
}

func (b *book) at(size int64) merkle.Checkpoint {
	head := b.heads[size].Clone()
	return merkle.Checkpoint{Origin: origin, Size: size, Root: head.Root(), Time: time.Date(2026, 10, 2, 8, 0, int(size), 0, time.UTC)}
}

func (b *book) prove(old, next int64) (tlog.TreeProof, error) {
	return merkle.ProveTree(next, old, merkle.Reader(b.log.some))
}

type signing struct {
	// t is the test that began it, not a part of that test: its end closes the memory.
	t      *testing.T
	key    *merkle.LogKey
	path   string
	memory *merkle.Memory
	*merkle.Signer
}

func startSigner(t *testing.T, key *merkle.LogKey, path string) *signing {
	t.Helper()
	memory, err := merkle.OpenMemory(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = memory.Close() }) // some tests have closed it
	signer, err := merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: key.Verifier(), Memory: memory})
	require.NoError(t, err)
	return &signing{t: t, key: key, path: path, memory: memory, Signer: signer}
}

// restart ends the process, as far as the memory knows, and begins another one.
func (s *signing) restart(t *testing.T) *signing {
	t.Helper()
	require.NoError(t, s.memory.Close())
	return startSigner(s.t, s.key, s.path)
}

func memoryPath(t *testing.T) string { return filepath.Join(t.TempDir(), "checkpoint") }

// Holds: REC-06
func TestSignerSignsAsTheLogGrows(t *testing.T) {
	b := newBook(t, 20)
	s := startSigner(t, logKey(t), memoryPath(t))
	require.Equal(t, origin, s.Origin())
	_, _, found, err := s.Last()
	require.NoError(t, err)
	require.False(t, found)
	for _, size := range []int64{0, 0, 1, 2, 7, 7, 8, 20} {
		signed, err := s.Sign(context.Background(), b.at(size), b.prove)
		require.NoError(t, err)
		checkpoint, _, err := merkle.OpenCheckpoint(signed, s.Verifier())
		require.NoError(t, err)
		require.Equal(t, b.at(size), checkpoint)
		// Durable before it is given out: the file is what was given out.
		stored, err := os.ReadFile(s.path)
		require.NoError(t, err)
		require.Equal(t, signed, stored)
		last, text, found, err := s.Last()
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, checkpoint, last)
		require.Equal(t, signed, text)
		s = s.restart(t)
	}
}

// Holds: REC-06
func TestSignerRefusesARestoredBackup(t *testing.T) {
	b := newBook(t, 20)
	s := startSigner(t, logKey(t), memoryPath(t))
	_, err := s.Sign(context.Background(), b.at(0), b.prove)
	require.NoError(t, err)
	published, err := s.Sign(context.Background(), b.at(15), b.prove)
	require.NoError(t, err)
	for _, restarted := range []bool{false, true} {
		if restarted {
			s = s.restart(t)
		}
		_, err = s.Sign(context.Background(), b.at(12), b.prove)
		require.ErrorIs(t, err, merkle.ErrRolledBack)
		require.ErrorContains(t, err, "has 12 leaves, and a checkpoint of 15 leaves was published at 2026-10-02T08:00:15Z")
		_, err = s.Sign(context.Background(), b.at(0), b.prove)
		require.ErrorIs(t, err, merkle.ErrRolledBack, "an empty database")

		again := b.fork(t, 12, 20) // restored at 12, then it grew
		_, err = s.Sign(context.Background(), again.at(15), again.prove)
		require.ErrorIs(t, err, merkle.ErrForked, "the same size")
		_, err = s.Sign(context.Background(), again.at(20), again.prove)
		require.ErrorIs(t, err, merkle.ErrForked, "beyond")
		_, err = s.Sign(context.Background(), b.at(20), again.prove)
		require.ErrorIs(t, err, merkle.ErrForked, "a proof of another log")
		empty := func(int64, int64) (tlog.TreeProof, error) { return nil, nil }
		_, err = s.Sign(context.Background(), b.at(20), empty)
		require.ErrorIs(t, err, merkle.ErrForked, "no proof")
	}
	stored, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.Equal(t, published, stored, "what was refused is not remembered")
	_, err = s.Sign(context.Background(), b.at(20), b.prove)
	require.NoError(t, err, "the true log goes on")
}

func TestSignerThatCannotLookIsNoFork(t *testing.T) {
	b := newBook(t, 9)
	s := startSigner(t, logKey(t), memoryPath(t))
	_, err := s.Adopt(context.Background(), b.at(4))
	require.NoError(t, err)
	down := errors.New("the database is down")
	_, err = s.Sign(context.Background(), b.at(9), func(int64, int64) (tlog.TreeProof, error) { return nil, down })
	require.ErrorIs(t, err, down)
	require.NotErrorIs(t, err, merkle.ErrForked)

	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Sign(gone, b.at(9), b.prove)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Adopt(gone, b.at(9))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Observe(gone, nil, b.prove), context.Canceled)
}

// Holds: REC-06
func TestALogWithoutMemoryIsAdoptedOrRefused(t *testing.T) {
	b := newBook(t, 9)
	s := startSigner(t, logKey(t), memoryPath(t))
	_, err := s.Sign(context.Background(), b.at(5), b.prove)
	require.ErrorIs(t, err, merkle.ErrNoMemory)
	require.ErrorIs(t, s.Observe(context.Background(), sign(t, b.at(5).Text(), s.key), b.prove), merkle.ErrNoMemory)
	require.NoFileExists(t, s.path)

	signed, err := s.Adopt(context.Background(), b.at(5))
	require.NoError(t, err)
	_, err = s.Adopt(context.Background(), b.at(9))
	require.ErrorContains(t, err, "there is nothing to adopt")
	_, err = s.Sign(context.Background(), b.at(9), b.prove)
	require.NoError(t, err)

	// Removed under a running signer: the next step notices. A copy of the last published checkpoint restores it.
	require.NoError(t, os.Remove(s.path))
	_, err = s.Sign(context.Background(), b.at(9), b.prove)
	require.ErrorIs(t, err, merkle.ErrNoMemory)
	require.NoError(t, os.WriteFile(s.path, signed, 0o600))
	_, err = s.Sign(context.Background(), b.at(9), b.prove)
	require.NoError(t, err)
}

func TestADamagedMemoryFailsClosed(t *testing.T) {
	b := newBook(t, 9)
	s := startSigner(t, logKey(t), memoryPath(t))
	good, err := s.Adopt(context.Background(), b.at(5))
	require.NoError(t, err)
	thief := logKey(t)
	cases := map[string]func(t *testing.T){
		"empty":           func(t *testing.T) { require.NoError(t, os.WriteFile(s.path, nil, 0o600)) },
		"half of it":      func(t *testing.T) { require.NoError(t, os.WriteFile(s.path, good[:len(good)/2], 0o600)) },
		"one octet less":  func(t *testing.T) { require.NoError(t, os.WriteFile(s.path, good[:len(good)-1], 0o600)) },
		"zeroes":          func(t *testing.T) { require.NoError(t, os.WriteFile(s.path, make([]byte, len(good)), 0o600)) },
		"a size smaller":  func(t *testing.T) { writeReplaced(t, s.path, good, "\n5\n", "\n4\n") },
		"another key":     func(t *testing.T) { require.NoError(t, os.WriteFile(s.path, sign(t, b.at(1).Text(), thief), 0o600)) },
		"a directory":     func(t *testing.T) { require.NoError(t, os.Remove(s.path)); require.NoError(t, os.Mkdir(s.path, 0o700)) },
		"no text to read": func(t *testing.T) { require.NoError(t, os.WriteFile(s.path, []byte("hello\n"), 0o600)) },
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			damage(t)
			_, err := s.Sign(context.Background(), b.at(9), b.prove)
			require.ErrorIs(t, err, merkle.ErrMemory)
			_, err = s.Adopt(context.Background(), b.at(9))
			require.ErrorIs(t, err, merkle.ErrMemory, "not even adopted")
			require.ErrorIs(t, s.Observe(context.Background(), good, b.prove), merkle.ErrMemory)
			_, _, _, err = s.Last()
			require.ErrorIs(t, err, merkle.ErrMemory)
			require.NoError(t, os.RemoveAll(s.path))
			require.NoError(t, os.WriteFile(s.path, good, 0o600))
		})
	}
}

func writeReplaced(t *testing.T, path string, content []byte, old, replacement string) {
	t.Helper()
	require.Contains(t, string(content), old)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(content), old, replacement, 1)), 0o600))
}

// A crash can come before the new file has its name, or after that and before the checkpoint is given out.
func TestCrashesLeaveAMemoryThatTheLogExtends(t *testing.T) {
	b := newBook(t, 9)
	s := startSigner(t, logKey(t), memoryPath(t))
	first, err := s.Adopt(context.Background(), b.at(3))
	require.NoError(t, err)
	second := sign(t, b.at(5).Text(), s.key)

	for name, crash := range map[string]func(t *testing.T){
		"while the new file is written": func(t *testing.T) {
			require.NoError(t, os.WriteFile(s.path+".new", second[:40], 0o600))
		},
		"before it has its name": func(t *testing.T) { require.NoError(t, os.WriteFile(s.path+".new", second, 0o600)) },
		"before it is given out": func(t *testing.T) { require.NoError(t, os.WriteFile(s.path, second, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(s.path, first, 0o600))
			crash(t)
			s = s.restart(t)
			signed, err := s.Sign(context.Background(), b.at(5), b.prove)
			require.NoError(t, err, "the same once more")
			require.Equal(t, second, signed)
			_, err = s.Sign(context.Background(), b.at(9), b.prove)
			require.NoError(t, err)
			require.NoFileExists(t, s.path+".new")
		})
	}
}

func TestWhatCannotBeRememberedIsNotGivenOut(t *testing.T) {
	b := newBook(t, 9)
	s := startSigner(t, logKey(t), memoryPath(t))
	_, err := s.Adopt(context.Background(), b.at(3))
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(s.path+".new", 0o700)) // the new file cannot be made
	signed, err := s.Sign(context.Background(), b.at(5), b.prove)
	require.ErrorIs(t, err, merkle.ErrMemory)
	require.Nil(t, signed)
	require.ErrorIs(t, s.Observe(context.Background(), sign(t, b.at(5).Text(), s.key), b.prove), merkle.ErrMemory)
	last, _, _, err := s.Last()
	require.NoError(t, err)
	require.Equal(t, int64(3), last.Size)
	require.NoError(t, os.Remove(s.path+".new"))
	_, err = s.Sign(context.Background(), b.at(5), b.prove)
	require.NoError(t, err, "service returns by itself")
}

func TestOneProcessHasAMemoryAtATime(t *testing.T) {
	path := memoryPath(t)
	s := startSigner(t, logKey(t), path)
	_, err := merkle.OpenMemory(path)
	require.ErrorContains(t, err, "another process has it")
	s = s.restart(t)
	require.NoError(t, s.memory.Close())
	_, err = s.Sign(context.Background(), merkle.Checkpoint{}, nil)
	require.ErrorIs(t, err, merkle.ErrMemory, "given back, it is not used")
	require.NoError(t, s.memory.Close(), "twice is harmless")
	_, err = merkle.OpenMemory(filepath.Join(t.TempDir(), "absent", "checkpoint"))
	require.ErrorContains(t, err, "no such file")
}

// Holds: REC-06
func TestSeveralGatesWithAMemoryEachSignOneLog(t *testing.T) {
	b := newBook(t, 30)
	key := logKey(t)
	one, two := startSigner(t, key, memoryPath(t)), startSigner(t, key, memoryPath(t))
	for _, s := range []*signing{one, two} {
		_, err := s.Sign(context.Background(), b.at(0), b.prove)
		require.NoError(t, err)
	}
	ten, err := one.Sign(context.Background(), b.at(10), b.prove)
	require.NoError(t, err)
	require.NoError(t, two.Observe(context.Background(), ten, b.prove))
	require.NoError(t, two.Observe(context.Background(), ten, b.prove), "once more")
	last, _, _, err := two.Last()
	require.NoError(t, err)
	require.Equal(t, b.at(10), last)
	_, err = two.Sign(context.Background(), b.at(8), b.prove)
	require.ErrorIs(t, err, merkle.ErrRolledBack, "two knows what one published")
	twenty, err := two.Sign(context.Background(), b.at(20), b.prove)
	require.NoError(t, err)
	require.NoError(t, two.Observe(context.Background(), ten, b.prove), "an older one")
	last, _, _, err = two.Last()
	require.NoError(t, err)
	require.Equal(t, int64(20), last.Size, "the memory does not go back")

	// A gate whose database was restored and grew again published these.
	again := b.fork(t, 12, 30)
	for _, size := range []int64{15, 20, 25} {
		forked := sign(t, again.at(size).Text(), key)
		require.ErrorIs(t, two.Observe(context.Background(), forked, b.prove), merkle.ErrForked, "size %d", size)
		require.ErrorIs(t, two.Observe(context.Background(), forked, again.prove), merkle.ErrForked, "size %d", size)
	}
	require.ErrorContains(t, two.Observe(context.Background(), sign(t, b.at(25).Text(), logKey(t)), b.prove), "no verifiable signatures")
	require.NoError(t, one.Observe(context.Background(), twenty, b.prove))
}

// Calls at the same time stand behind one another: whatever order they come in, each that succeeds extends the ones before.
func TestConcurrentSignersNeverGoBack(t *testing.T) {
	b := newBook(t, 40)
	s := startSigner(t, logKey(t), memoryPath(t))
	_, err := s.Sign(context.Background(), b.at(0), b.prove)
	require.NoError(t, err)
	var group sync.WaitGroup
	for size := int64(1); size <= 40; size++ {
		group.Go(func() {
			_, err := s.Sign(context.Background(), b.at(size), b.prove)
			if err != nil && !errors.Is(err, merkle.ErrRolledBack) {
				t.Errorf("size %d: %v", size, err)
			}
		})
	}
	group.Wait()
	last, _, _, err := s.Last()
	require.NoError(t, err)
	require.Equal(t, b.at(40), last)
}

// crooked is a key that does not sign as it says.
type crooked struct {
	note.Signer
	sign func([]byte) ([]byte, error)
}

func (c crooked) Sign(text []byte) ([]byte, error) { return c.sign(text) }

func TestSignerHoldsItsKeyToItsVerifier(t *testing.T) {
	b := newBook(t, 3)
	key, other := logKey(t), logKey(t)
	memory, err := merkle.OpenMemory(memoryPath(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, memory.Close()) }()
	_, err = merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: other.Verifier(), Memory: memory})
	require.ErrorContains(t, err, "do not belong together")
	_, err = merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: key.Verifier()})
	require.ErrorContains(t, err, "are needed")

	dead := errors.New("the module does not answer")
	for name, c := range map[string]struct {
		sign func([]byte) ([]byte, error)
		want string
	}{
		"another key": {other.Sign, "does not verify"},
		"no key":      {func([]byte) ([]byte, error) { return nil, dead }, dead.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := merkle.NewSigner(merkle.SignerConfig{Key: crooked{key, c.sign}, Verifier: key.Verifier(), Memory: memory})
			require.NoError(t, err)
			_, err = s.Adopt(context.Background(), b.at(3))
			require.ErrorContains(t, err, c.want)
			_, _, found, err := s.Last()
			require.NoError(t, err)
			require.False(t, found, "nothing is remembered")
		})
	}
	s, err := merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: key.Verifier(), Memory: memory})
	require.NoError(t, err)
	foreign := b.at(3)
	foreign.Origin = "other.example"
	_, err = s.Adopt(context.Background(), foreign)
	require.ErrorContains(t, err, "it is of other.example")
	broken := b.at(3)
	broken.Size = -1
	_, err = s.Adopt(context.Background(), broken)
	require.ErrorContains(t, err, "negative")
	broken = b.at(3)
	broken.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err = s.Adopt(context.Background(), broken)
	require.ErrorContains(t, err, "four digits")
}
