package auditlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// sink is an open destination.
type sink interface {
	io.Writer
	// Sync makes what was written durable, where that can be.
	Sync() error
	Close() error
	// Torn tells that what is there already does not end with a newline: a line broke off.
	Torn() bool
}

// writer is the goroutine that alone writes, so that lines are whole and in the order of their numbers.
type writer struct {
	log *Log
	to  sink
	// broken: the last write failed. torn: a part of it is there.
	broken, torn bool
	// reported is how many losses the log was told of.
	reported uint64
}

func (w *writer) work() {
	defer close(w.log.over)
	w.torn = w.to.Torn()
	for {
		select {
		case done := <-w.log.reopen:
			done <- w.drainAndReopen()
		case e, more := <-w.log.queue:
			if !more {
				if err := w.to.Close(); err != nil {
					w.log.config.Logger.Error("the audit log could not be closed", "error", err)
				}
				return
			}
			w.write(e)
		}
	}
}

// drainAndReopen writes what was told before the rotation to the old file.
func (w *writer) drainAndReopen() error {
	for n := len(w.log.queue); n > 0; n-- {
		e, more := <-w.log.queue
		if !more {
			break // and work finds it closed
		}
		w.write(e)
	}
	return w.anew()
}

// anew opens the destination again. Where that fails the old one stays in use.
func (w *writer) anew() error {
	next, err := w.log.open()
	if err != nil {
		return fmt.Errorf("auditlog: the old file stays in use: %w", err)
	}
	old := w.to
	if _, same := next.(stream); !same {
		w.torn = next.Torn()
	}
	w.to, w.broken = next, false
	return old.Close()
}

// write writes one line. F4: what cannot be written is counted, and never drops out unseen.
func (w *writer) write(e entry) {
	if w.broken { // the file may be on a disk that was taken away meanwhile
		if err := w.anew(); err != nil {
			w.log.config.Logger.Debug("opening the audit log anew", "error", err)
		}
	}
	line := e.line
	if w.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := w.to.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	if err == nil && w.log.config.Required {
		err = w.to.Sync()
	}
	defer w.log.stuck.Store(false) // after done has its answer: see tell
	w.broken = err != nil
	if err != nil {
		w.torn = n > 0 && n < len(line) || n == 0 && w.torn
		w.log.lose(err)
		e.done <- fmt.Errorf("%w: %w", ErrLost, err)
		return
	}
	w.torn = false
	w.log.config.Metrics.count("written")
	if lost := w.log.Lost(); w.log.silent.Swap(false) {
		w.log.config.Logger.Warn("lines of the audit log are written again", "lost", lost-w.reported, "lost_since_start", lost)
		w.reported = lost
	}
	e.done <- nil
}

// openSink opens a destination by its name.
func openSink(name string) (sink, error) {
	switch name {
	case Stdout:
		return stream{os.Stdout}, nil
	case Stderr:
		return stream{os.Stderr}, nil
	}
	// It is read as well, to see how it ends.
	f, err := os.OpenFile(filepath.Clean(name), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	out := file{File: f}
	if err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		_, err = f.ReadAt(last, info.Size()-1)
		out.torn = last[0] != '\n'
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return out, nil
}

type file struct {
	*os.File
	torn bool
}

func (f file) Torn() bool { return f.torn }

// stream is standard output or standard error, which is nobody's to close, and cannot be synced where it is a pipe.
type stream struct{ *os.File }

func (stream) Sync() error  { return nil }
func (stream) Close() error { return nil }
func (stream) Torn() bool   { return false }
