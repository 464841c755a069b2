package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
)

// DefaultInterval is how often a checkpoint is published while the log grows.
const DefaultInterval = 10 * time.Second

// ErrLog: the log is not the one that this gate signed or committed to last, so nothing more is recorded.
var ErrLog = errors.New("db: the log is not the one that was signed or committed to last")

// PublisherConfig is what NewPublisher needs.
type PublisherConfig struct {
	// Signer signs, and remembers outside of the database what it signed.
	Signer *merkle.Signer
	// Witnesses are asked to cosign each checkpoint. One that does not is logged, and the checkpoint is
	// published without it, unless the witness shows that it has seen another log.
	Witnesses []*merkle.Witness
	// Interval is how often a checkpoint is published while the log grows, 1 s at least. Default (0): 10 s.
	Interval time.Duration
	Logger   *slog.Logger
}

// Publisher signs the log's checkpoints and keeps them in the database. Several gates of one database may publish side by side.
type Publisher struct {
	store  *Store
	config PublisherConfig
	once   sync.Once
	// running ends with the call of Close, and what is being published then with it: Close publishes once more.
	running context.Context
	stop    context.CancelFunc
	over    chan struct{}
}

// NewPublisher publishes a first checkpoint, and with it finds out whether the log is the one that was signed last: merkle's
// errors say why it is not (ErrRolledBack, ErrForked), or why nobody can tell (ErrNoMemory, ErrMemory). From then on it publishes at
// intervals until Close. Should the log turn out to be another one later, the store records nothing more (ErrLog).
func (s *Store) NewPublisher(ctx context.Context, c PublisherConfig) (*Publisher, error) {
	switch {
	case s.writer == nil:
		return nil, ErrReadOnly
	case c.Signer == nil:
		return nil, errors.New("db: checkpoints have no signer")
	case c.Interval == 0:
		c.Interval = DefaultInterval
	case c.Interval < time.Second:
		return nil, fmt.Errorf("db: a checkpoint every %s: one second is the least", c.Interval)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Publisher{store: s, config: c, over: make(chan struct{})}
	if err := p.Publish(ctx); err != nil {
		return nil, fmt.Errorf("db: the log's checkpoint: %w", err)
	}
	p.running, p.stop = context.WithCancel(context.Background())
	go p.run()
	return p, nil
}

// Close publishes what the log has grown since the last checkpoint, and ends; it takes no longer than its context lets it.
func (p *Publisher) Close(ctx context.Context) (err error) {
	p.once.Do(func() {
		p.stop()
		<-p.over
		err = p.Publish(ctx)
	})
	return err
}

func (p *Publisher) run() {
	defer close(p.over)
	ticker := time.NewTicker(p.config.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-p.running.Done():
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(p.running, max(p.config.Interval, transactionTime))
		err := p.Publish(ctx)
		cancel()
		another := errors.Is(err, merkle.ErrForked) || errors.Is(err, merkle.ErrRolledBack)
		if err == nil || p.running.Err() != nil && !another { // Close publishes once more, and tells its error
			continue
		}
		p.config.Logger.Error("no checkpoint was published", "error", err)
		if another {
			p.store.halt(fmt.Errorf("%w: %w", ErrLog, err))
		}
	}
}

// Publish signs the log as it stands, unless that was published already, has the witnesses cosign it, and keeps it.
func (p *Publisher) Publish(ctx context.Context) error {
	if err := p.shrunk(ctx); err != nil {
		return err
	}
	prove := p.store.Prove(ctx)
	newest, err := p.store.Checkpoint(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	default:
		// Another gate may have published it; it may also be a restored backup's, and older than the memory.
		if err := p.config.Signer.Observe(ctx, newest.Note, prove); err != nil {
			return err
		}
	}
	size, err := p.store.LogSize(ctx)
	if err != nil {
		return err
	}
	if err == nil && newest.Note != nil && newest.Size == size {
		return nil
	}
	tree, err := p.store.Tree(ctx, size)
	if err != nil {
		return err
	}
	next := merkle.Checkpoint{Origin: p.config.Signer.Origin(), Size: size, Root: tree.Root(), Time: p.store.now().UTC().Round(0)}
	signed, err := p.config.Signer.Sign(ctx, next, prove)
	if err != nil {
		return err
	}
	for _, w := range p.config.Witnesses {
		cosigned, err := w.Cosign(ctx, signed, prove)
		if err = p.contradicts(ctx, err); err != nil {
			return err
		}
		if cosigned != nil {
			signed = cosigned
		}
	}
	return p.store.keepCheckpoint(ctx, size, signed)
}

// shrunk finds a log that is smaller than what was signed: nothing can be proven of lines that are not there. The memory is read
// first: the log only grows meanwhile.
func (p *Publisher) shrunk(ctx context.Context) error {
	last, _, remembered, err := p.config.Signer.Last()
	if err != nil || !remembered {
		return err
	}
	size, err := p.store.LogSize(ctx)
	if err == nil && size < last.Size {
		err = fmt.Errorf("%w: it has %d lines, and a checkpoint of %d was signed at %s", merkle.ErrRolledBack, size, last.Size,
			last.Time.Format(time.RFC3339))
	}
	return err
}

// contradicts tells whether a witness's refusal means that the log is another one than it has seen: the one case that the signer's
// memory cannot show is that it was restored together with the database. Any other refusal is logged.
func (p *Publisher) contradicts(ctx context.Context, refusal error) error {
	var ahead *merkle.AheadError
	switch {
	case refusal == nil:
		return nil
	case errors.Is(refusal, merkle.ErrForked):
		return refusal
	case errors.As(refusal, &ahead): // another gate may have been quicker
		if size, err := p.store.LogSize(ctx); err != nil {
			return err
		} else if size < ahead.Size {
			return fmt.Errorf("%w: %w", merkle.ErrRolledBack, refusal)
		}
	}
	p.config.Logger.Warn("a witness did not cosign a checkpoint", "error", refusal)
	return nil
}

// Adopt signs the log as it stands where there is no memory of what was signed: an operator asks for it who knows that the log was
// not rolled back.
func (s *Store) Adopt(ctx context.Context, signer *merkle.Signer) (merkle.Checkpoint, error) {
	size, err := s.LogSize(ctx)
	if err != nil {
		return merkle.Checkpoint{}, err
	}
	tree, err := s.Tree(ctx, size)
	if err != nil {
		return merkle.Checkpoint{}, err
	}
	c := merkle.Checkpoint{Origin: signer.Origin(), Size: size, Root: tree.Root(), Time: s.now().UTC().Round(0)}
	signed, err := signer.Adopt(ctx, c)
	if err == nil {
		err = s.keepCheckpoint(ctx, size, signed)
	}
	return c, err
}

// Prove gives proofs of consistency from the stored hashes.
func (s *Store) Prove(ctx context.Context) merkle.Prove {
	reader := s.Hashes(ctx)
	return func(old, next int64) (tlog.TreeProof, error) { return merkle.ProveTree(next, old, reader) }
}

// Published is a checkpoint as it is kept.
type Published struct {
	Size int64
	// Note is the signed note, with the witnesses' cosignatures.
	Note []byte
}

// Checkpoint gives the newest that was published, ErrNotFound where there is none.
func (s *Store) Checkpoint(ctx context.Context) (Published, error) {
	all, err := s.checkpoints(ctx, `SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1`)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%w: no checkpoint was published", ErrNotFound)
	}
	if err != nil {
		return Published{}, fmt.Errorf("db: %w", err)
	}
	return all[0], nil
}

// Checkpoints gives all that were published, the smallest first.
func (s *Store) Checkpoints(ctx context.Context) ([]Published, error) {
	all, err := s.checkpoints(ctx, `SELECT size, note FROM checkpoints ORDER BY size`)
	if err != nil {
		return nil, fmt.Errorf("db: checkpoints: %w", err)
	}
	return all, nil
}

func (s *Store) checkpoints(ctx context.Context, query string) ([]Published, error) {
	rows, err := s.reads.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r *sql.Rows) (c Published, err error) {
		return c, r.Scan(&c.Size, &c.Note)
	})
}

// keepCheckpoint: of one size there is one checkpoint, whoever was first.
func (s *Store) keepCheckpoint(ctx context.Context, size int64, signed []byte) error {
	return s.submit(ctx, func(ctx context.Context, tx *session) error {
		var kept bool
		err := tx.scan(ctx, `SELECT EXISTS (SELECT 1 FROM checkpoints WHERE size = $1)`, []any{size}, &kept)
		if err != nil || kept {
			return err
		}
		return tx.insert(newRow("checkpoints", "size", size, "note", signed))
	})
}

// halt makes every further write fail: what is recorded in a log that nobody will sign proves nothing.
func (s *Store) halt(err error) { s.halted.CompareAndSwap(nil, &err) }
