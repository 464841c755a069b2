package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
)

// clockSlack is how far the clock may be behind the last record, which another gate may have written, before nothing is
// recorded any more. Within it a record takes the last one's time: the log's times never go back.
const clockSlack = time.Minute

// head is where the log ends.
type head struct {
	size, attempts, permits, certificates, removals int64
	// recorded is the last record's time, in the form of the tables.
	recorded string
}

// appender is the part of a session that holds the log's head during a transaction, and collects the lines to be written.
type appender struct {
	head head
	// tree is the log's head as this session left it; another gate may have gone on since.
	tree  merkle.Tree
	lines []line
	// at is the time of recording of this transaction.
	at time.Time
}

// line is a row of the log.
type line struct {
	entry  merkle.Entry
	hashes []tlog.Hash
}

// mark and back take back what a refused call appended.
func (a *appender) mark() appender {
	return appender{head: a.head, tree: a.tree.Clone(), lines: a.lines[:len(a.lines):len(a.lines)], at: a.at}
}

func (a *appender) back(to appender) { *a = to }

// begin takes the log's head for the transaction: whoever else writes waits until its end.
func (s *session) begin(ctx context.Context, now time.Time, acknowledged *merkle.Tree) error {
	h := &s.head
	s.waiting, s.alone = waiting{}, false
	err := s.link.begin(ctx, `SELECT size, attempts, permits, certificates, removals, recorded_at FROM log_head WHERE id = 1`,
		&h.size, &h.attempts, &h.permits, &h.certificates, &h.removals, &h.recorded)
	if err != nil {
		return fmt.Errorf("taking the log's head: %w", err)
	}
	s.lines, s.at = nil, now.UTC().Round(0)
	if h.recorded != "" {
		last, err := parseTime(h.recorded)
		if err != nil {
			return err
		}
		if last.Sub(s.at) > clockSlack {
			return fmt.Errorf("%w: it says %s, and the last record is of %s", ErrClock, formatTime(s.at), h.recorded)
		}
		if s.at.Before(last) {
			s.at = last
		}
	}
	if err := s.continues(ctx, acknowledged); err != nil {
		return err
	}
	if s.tree.Size() != h.size {
		s.tree, err = s.load(ctx, h.size)
	}
	return err
}

// continues finds out that the log is not the one that this gate committed to last: behind a connection that was opened anew may
// stand a backup, or a standby that did not have everything (REC-05).
func (s *session) continues(ctx context.Context, acknowledged *merkle.Tree) error {
	size := acknowledged.Size()
	if s.head.size < size {
		return fmt.Errorf("%w: it has %d lines, and %d were committed", ErrLog, s.head.size, size)
	}
	if s.continued || size == 0 {
		return nil
	}
	tree, err := s.load(ctx, size)
	if err != nil {
		return err
	}
	if tree.Root() != acknowledged.Root() {
		return fmt.Errorf("%w: its first %d lines are not those that were committed", ErrLog, size)
	}
	s.continued = true
	return nil
}

func (s *session) load(ctx context.Context, size int64) (merkle.Tree, error) {
	return merkle.Load(size, func(leaf int64) ([]tlog.Hash, error) {
		var stored []byte
		if err := s.scan(ctx, `SELECT hashes FROM log WHERE leaf = $1`, []any{leaf}, &stored); err != nil {
			return nil, err
		}
		return splitHashes(stored)
	})
}

// append adds a document to the log and gives its line's number. The row is written at the end of the transaction.
func (s *session) append(kind merkle.Kind, subject int64, sha256 string) (int64, error) {
	e := merkle.Entry{Leaf: s.tree.Size(), Kind: kind, Subject: subject, Recorded: s.at, SHA256: sha256}
	if err := e.Check(); err != nil {
		return 0, err
	}
	s.lines = append(s.lines, line{e, s.tree.Append(e.Hash())})
	return e.Leaf, nil
}

// finish writes what waits, the lines and the head, and commits. over tells that an error is the commit's.
func (s *session) finish(ctx context.Context) (over bool, err error) {
	if len(s.lines) == 0 {
		return s.link.finish(ctx, s.take(), "")
	}
	rows := make([]row, len(s.lines))
	for i, l := range s.lines {
		rows[i] = logRow(l)
	}
	if err := s.insert(rows...); err != nil {
		return false, err
	}
	h := s.head
	return s.link.finish(ctx, s.take(), `UPDATE log_head SET size = $1, attempts = $2, permits = $3, certificates = $4, removals = $5, recorded_at = $6
		WHERE id = 1`, s.tree.Size(), h.attempts, h.permits, h.certificates, h.removals, formatTime(s.at))
}

func joinHashes(hashes []tlog.Hash) []byte {
	out := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out
}

func splitHashes(stored []byte) ([]tlog.Hash, error) {
	if len(stored) == 0 || len(stored)%tlog.HashSize != 0 {
		return nil, fmt.Errorf("%w: a line of the log has %d bytes of hashes", ErrDamaged, len(stored))
	}
	hashes := make([]tlog.Hash, len(stored)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], stored[i*tlog.HashSize:])
	}
	return hashes, nil
}

// LogSize gives the number of lines that the log has.
func (s *Store) LogSize(ctx context.Context) (size int64, err error) {
	if err = s.reads.QueryRowContext(ctx, `SELECT size FROM log_head WHERE id = 1`).Scan(&size); err != nil {
		return 0, fmt.Errorf("db: the log's head: %w", err)
	}
	return size, nil
}

// Tree gives the log's head at a size, from the stored hashes. The error is ErrNotFound where the log is smaller.
func (s *Store) Tree(ctx context.Context, size int64) (merkle.Tree, error) {
	t, err := merkle.Load(size, func(leaf int64) ([]tlog.Hash, error) {
		rows, err := s.completed(ctx, []int64{leaf})
		return rows[leaf], err
	})
	if err != nil {
		return merkle.Tree{}, fmt.Errorf("db: the log at size %d: %w", size, err)
	}
	return t, nil
}

// Hashes reads the log's stored hashes, for proofs.
func (s *Store) Hashes(ctx context.Context) tlog.HashReader {
	return merkle.Reader(func(leaves []int64) (map[int64][]tlog.Hash, error) { return s.completed(ctx, leaves) })
}

func (s *Store) completed(ctx context.Context, leaves []int64) (map[int64][]tlog.Hash, error) {
	out := make(map[int64][]tlog.Hash, len(leaves))
	for _, leaf := range leaves {
		var stored []byte
		err := s.reads.QueryRowContext(ctx, `SELECT hashes FROM log WHERE leaf = $1`, leaf).Scan(&stored)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, fmt.Errorf("%w: line %d of the log", ErrNotFound, leaf)
		} else if err != nil {
			return nil, err
		}
		if out[leaf], err = splitHashes(stored); err != nil {
			return nil, err
		}
	}
	return out, nil
}
