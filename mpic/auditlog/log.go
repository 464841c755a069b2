// Package auditlog writes the audit log: one line of JSON for each answer, with its record's number, for CAs whose auditors read logs.
// docs/audit-log.md is its contract. The record is the truth: a line tells what is on record, is written after it, and never instead
// of it (F4).
package auditlog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/mpic"
)

// Standard output and standard error, in the place of a file's path.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

const (
	// patience is how long an answer waits for its line.
	patience = time.Second
	// waiting is how many lines may wait for the destination. More are lost, and counted.
	waiting = 1024
)

// ErrLost: the line was not written, or is not known to have been.
var ErrLost = errors.New("auditlog: the line is not written")

// Config says where lines go. Destination and Logger are required.
type Config struct {
	// Destination is Stdout, Stderr, or the path of a file, which is made with mode 0640 where it is not there. A file is one gate's alone.
	Destination string
	// Required makes the answer no where its line cannot be written; a file is then synced before the answer. Default: the answer goes
	// out, and the loss is counted.
	Required bool
	// Gate names the gate in its lines. Default: the host's name.
	Gate string
	// Software is the gate's program and version.
	Software string
	// Now is the gate's clock. Default: time.Now.
	Now func() time.Time
	// Logger is told when lines are lost, and when they are written again.
	Logger *slog.Logger
	// Metrics count lines; nil counts nothing. They are one Log's alone.
	Metrics *Metrics
}

// Log is an audit log. Its methods may be called concurrently.
type Log struct {
	config Config
	run    string
	open   func() (sink, error)
	queue  chan entry
	reopen chan chan error
	over   chan struct{} // closed when the writer has ended

	mu     sync.Mutex // guards seq, closed, and sending to queue
	seq    uint64
	closed bool

	lost   atomic.Uint64 // since the start
	silent atomic.Bool   // the loss of lines was logged
	stuck  atomic.Bool   // a write has taken longer than patience
}

var _ mpic.AuditLog = (*Log)(nil)

// entry is a line on its way.
type entry struct {
	line []byte
	// done takes the error of writing it; it has room.
	done chan error
}

// New opens the destination and writes the line of the start. An error: the destination cannot be opened; or, where lines are required,
// that line cannot be written. Close ends it.
func New(c Config) (*Log, error) {
	return newLog(c, func() (sink, error) { return openSink(c.Destination) })
}

func newLog(c Config, open func() (sink, error)) (*Log, error) {
	if c.Destination == "" || c.Logger == nil {
		return nil, errors.New("auditlog: there is no destination, or no logger")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Gate == "" {
		var err error
		if c.Gate, err = os.Hostname(); err != nil {
			c.Gate = "unknown"
		}
	}
	first, err := open()
	if err != nil {
		return nil, fmt.Errorf("auditlog: %w", err)
	}
	l := &Log{config: c, run: rand.Text(), open: open, queue: make(chan entry, waiting), reopen: make(chan chan error), over: make(chan struct{})}
	w := &writer{log: l, to: first}
	go w.work()
	if err := l.tell(&marker{Event: "start", Software: c.Software, Required: c.Required}); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return nil, errors.Join(err, l.Close(ctx))
	}
	return l, nil
}

// tell numbers a line, hands it to the writer, and waits for it a moment. The number is taken also where the line is lost, so that a
// reader sees the gap. It is an error only where lines are required.
func (l *Log) tell(e event) error {
	done, err := l.enqueue(e)
	if err == nil && l.stuck.Load() { // each answer would otherwise wait for nothing
		err = fmt.Errorf("%w: the destination does not take lines", ErrLost)
	}
	if err == nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case err = <-done:
		case <-timer.C:
			l.stuck.Store(true)
			if len(done) > 0 { // written between the two
				l.stuck.Store(false)
			}
			l.alarm("lines of the audit log are not taken in time", "within", patience)
			err = fmt.Errorf("%w within %s", ErrLost, patience)
		}
	}
	if !l.config.Required {
		return nil
	}
	return err
}

func (l *Log) enqueue(e event) (done <-chan error, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("%w: the log is closed", ErrLost)
	}
	l.seq++
	line, err := encode(e, head{V: Version, Seq: l.seq, Run: l.run, Gate: l.config.Gate, Time: stamp(l.config.Now())})
	if err != nil {
		l.lose(fmt.Errorf("%w: %w", ErrLost, err))
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	out := entry{line: line, done: make(chan error, 1)}
	select {
	case l.queue <- out:
		return out.done, nil
	default:
		err := fmt.Errorf("%w: %d lines wait for the destination", ErrLost, waiting)
		l.lose(err)
		return nil, err
	}
}

// lose counts a line that will never be written.
func (l *Log) lose(err error) {
	l.lost.Add(1)
	l.config.Metrics.count("lost")
	l.alarm("a line of the audit log is lost", "error", err)
}

// alarm tells the operators once, until lines are written again.
func (l *Log) alarm(message string, args ...any) {
	if !l.silent.Swap(true) {
		l.config.Logger.Error(message, append(args, "destination", l.config.Destination, "required", l.config.Required)...)
	}
}

// Lost is how many lines were lost since the start.
func (l *Log) Lost() uint64 { return l.lost.Load() }

// Reopen opens the file anew, under its name, as a rotation asks for. Where that fails the old one stays in use. It waits until lines
// before it are written, or ctx ends.
func (l *Log) Reopen(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case l.reopen <- done:
	case <-l.over:
		return errors.New("auditlog: the log is closed")
	case <-ctx.Done():
		return fmt.Errorf("auditlog: the destination does not take lines: %w", ctx.Err())
	}
	return <-done
}

// Close writes what waits and the line of the end, and closes the destination; it gives up when ctx ends. Lines after it are refused.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		l.seq++
		line, err := encode(&marker{Event: "stop", Software: l.config.Software, Required: l.config.Required, Lost: new(l.lost.Load())},
			head{V: Version, Seq: l.seq, Run: l.run, Gate: l.config.Gate, Time: stamp(l.config.Now())})
		if err == nil {
			select {
			case l.queue <- entry{line: line, done: make(chan error, 1)}:
			default:
			}
		}
		close(l.queue)
	}
	l.mu.Unlock()
	select {
	case <-l.over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("auditlog: %d lines still wait for %s: %w", len(l.queue), l.config.Destination, ctx.Err())
	}
}
