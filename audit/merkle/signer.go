package merkle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Reasons for which a Signer refuses. Each comes wrapped in a text with sizes, roots and times.
var (
	// ErrRolledBack: the log is smaller than the one signed last. A backup was restored, or rows were deleted.
	ErrRolledBack = errors.New("the log was rolled back")
	// ErrForked: the log is not an extension of the one signed last. It was rolled back and grew again, or changed.
	ErrForked = errors.New("the log was forked")
	// ErrNoMemory: there is no memory of a log that is not empty, so nothing tells whether it was rolled back.
	ErrNoMemory = errors.New("the memory of the last signed checkpoint is missing")
	// ErrMemory: the memory cannot be read, is damaged, belongs to another log, or cannot be written.
	ErrMemory = errors.New("the memory of the last signed checkpoint cannot be used")
)

// Prove returns tlog's proof that the log of size next starts with the log of size old (1 <= old < next). An error of
// its own means that it could not look, and is no sign of a fork.
type Prove func(old, next int64) (tlog.TreeProof, error)

// SignerConfig is what NewSigner needs; all fields are required.
type SignerConfig struct {
	// Key signs; its name is the log's origin. A LogKey is one, a key in hardware can be another.
	Key note.Signer
	// Verifier verifies what Key signs.
	Verifier note.Verifier
	Memory   *Memory
}

// Signer signs checkpoints, and never two of which one does not extend the other, as far as its memory goes (REC-06: a
// change made behind the software's back is detected).
//
// Order of a step: the last checkpoint is read from the memory; the next one is proven to extend it; it is signed; it
// is written to the memory, durably; and only then it is given out. So a crash at any place leaves either a memory of
// all that was given out, or of one checkpoint more that nobody saw; the log extends both.
//
// Several gates with one database and one key have a Signer and a memory each. A checkpoint that one of them published
// is given to the others by Observe. A size must be taken from the database, not from an older view of it: a size below
// one that was observed is a log that shrank.
type Signer struct {
	key      note.Signer
	verifier note.Verifier
	memory   *Memory
}

// NewSigner refuses a configuration that lacks something, or whose key and verifier do not belong together.
func NewSigner(config SignerConfig) (*Signer, error) {
	switch {
	case config.Key == nil || config.Verifier == nil || config.Memory == nil:
		return nil, errors.New("log signer: a key, its verifier and a memory are needed")
	case config.Key.Name() != config.Verifier.Name() || config.Key.KeyHash() != config.Verifier.KeyHash():
		return nil, fmt.Errorf("log signer: the key %s+%08x and the verifier %s+%08x do not belong together",
			config.Key.Name(), config.Key.KeyHash(), config.Verifier.Name(), config.Verifier.KeyHash())
	}
	return &Signer{key: config.Key, verifier: config.Verifier, memory: config.Memory}, nil
}

// Origin returns the log's origin: the name of its key.
func (s *Signer) Origin() string { return s.key.Name() }

// Verifier returns the verifier of the signer's key.
func (s *Signer) Verifier() note.Verifier { return s.verifier }

// Last returns the last checkpoint of the memory and its signed text; false if there is none.
func (s *Signer) Last() (Checkpoint, []byte, bool, error) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	last, signed, err := s.last()
	return last, signed, signed != nil, err
}

// last reads the memory, every time: who removes or damages the file while the gate runs is noticed, and after a write
// that failed the file alone knows. signed is nil if there is none.
func (s *Signer) last() (Checkpoint, []byte, error) {
	if s.memory.lock == nil {
		return Checkpoint{}, nil, fmt.Errorf("%w: %s was given back", ErrMemory, s.memory.file)
	}
	signed, err := s.memory.file.read()
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("%w: %w", ErrMemory, err)
	}
	if signed == nil {
		return Checkpoint{}, nil, nil
	}
	// Its own signature covers the content: a file that was cut or changed does not verify.
	last, _, err := OpenCheckpoint(signed, s.verifier)
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("%w: %s: %w", ErrMemory, s.memory.file, err)
	}
	return last, signed, nil
}

// Sign signs the next checkpoint once it has proven that it extends the last one, and returns it when the memory of it
// is durable. Its origin must be the key's name. The same size and root may be signed again, with another time.
//
// It refuses with ErrRolledBack, ErrForked, ErrNoMemory (a log that is not empty, and no memory file) and ErrMemory;
// other errors mean that it could not work: prove failed, the key did not sign, ctx was done at its beginning.
func (s *Signer) Sign(ctx context.Context, next Checkpoint, prove Prove) ([]byte, error) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	last, signed, err := s.last()
	switch {
	case err != nil:
		return nil, err
	case signed == nil && next.Size > 0:
		return nil, fmt.Errorf("%w: %s does not exist, and the log of %s has %d leaves: put the last published checkpoint "+
			"there, or adopt the log as it is", ErrNoMemory, s.memory.file, next.Origin, next.Size)
	case signed != nil && next.Size < last.Size:
		return nil, fmt.Errorf("%w: the log of %s has %d leaves, and a checkpoint of %d leaves was published at %s",
			ErrRolledBack, next.Origin, next.Size, last.Size, last.Time.Format(time.RFC3339))
	case signed != nil:
		if err := extends(next, last, prove); err != nil {
			return nil, err
		}
	}
	return s.publish(next)
}

// Adopt signs a first checkpoint of a log that is not empty and of which there is no memory. An operator asks for it
// who knows that the log was not rolled back: nothing here can. It is refused where there is a memory, readable or not.
func (s *Signer) Adopt(ctx context.Context, next Checkpoint) ([]byte, error) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("adopt the log: %w", err)
	}
	last, signed, err := s.last()
	if err != nil {
		return nil, err
	}
	if signed != nil {
		return nil, fmt.Errorf("adopt the log: %s has a checkpoint of %d leaves, published at %s; there is nothing to adopt",
			s.memory.file, last.Size, last.Time.Format(time.RFC3339))
	}
	return s.publish(next)
}

// Observe moves the memory forward to a checkpoint that another gate signed with the same key, once it has proven that
// it extends the last one. An older checkpoint is proven to be a beginning of the last one, and the memory stays. It
// fails as Sign does; without a memory it fails with ErrNoMemory, since there is nothing to prove by.
func (s *Signer) Observe(ctx context.Context, signed []byte, prove Prove) error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("observe checkpoint: %w", err)
	}
	seen, _, err := OpenCheckpoint(signed, s.verifier)
	if err != nil {
		return fmt.Errorf("observe checkpoint: %w", err)
	}
	last, own, err := s.last()
	if err != nil {
		return err
	}
	if own == nil {
		return fmt.Errorf("%w: %s does not exist: put the last published checkpoint there, or adopt the log as it is",
			ErrNoMemory, s.memory.file)
	}
	if seen.Size < last.Size {
		return extends(last, seen, prove)
	}
	if err := extends(seen, last, prove); err != nil {
		return err
	}
	if seen.Size == last.Size {
		return nil
	}
	return s.remember(signed)
}

// publish signs, reads back what was signed, and remembers it. The memory must be held, and next proven.
func (s *Signer) publish(next Checkpoint) ([]byte, error) {
	if err := next.Check(); err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: next.Text()}, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint of %d leaves: %w", next.Size, err)
	}
	// A key that signs by another key than it says, or for another origin, must not get into the memory.
	if _, _, err := OpenCheckpoint(signed, s.verifier); err != nil {
		return nil, fmt.Errorf("sign checkpoint of %d leaves: what was signed does not verify: %w", next.Size, err)
	}
	if err := s.remember(signed); err != nil {
		return nil, err
	}
	return signed, nil
}

func (s *Signer) remember(signed []byte) error {
	if err := s.memory.file.write(signed); err != nil {
		return fmt.Errorf("%w: writing: %w", ErrMemory, err)
	}
	return nil
}

// extends proves that next, which is not smaller, starts with last.
func extends(next, last Checkpoint, prove Prove) error {
	if next.Size == last.Size {
		if next.Root != last.Root {
			return fmt.Errorf("%w: with %d leaves its root is %s, and %s was published at %s",
				ErrForked, next.Size, next.Root, last.Root, last.Time.Format(time.RFC3339))
		}
		return nil
	}
	var proof tlog.TreeProof
	if last.Size > 0 { // from the empty log there is nothing to prove
		var err error
		if proof, err = prove(last.Size, next.Size); err != nil {
			return fmt.Errorf("prove that the log of %d leaves starts with the one of %d: %w", next.Size, last.Size, err)
		}
	}
	if err := CheckTree(proof, next.Size, next.Root, last.Size, last.Root); err != nil {
		return fmt.Errorf("%w: %w", ErrForked, err)
	}
	return nil
}
