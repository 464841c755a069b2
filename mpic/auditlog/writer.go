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

// most is how many lines share a sync.
const most = 256

func (w *writer) work() {
	defer close(w.log.over)
	w.torn = w.to.Torn()
	for {
		select {
		case done := <-w.log.reopen:
			for len(w.log.queue) > 0 && w.writeWaiting(nil) { // what was told before the rotation belongs to the old file
			}
			done <- w.anew()
		case e, more := <-w.log.queue:
			if more && w.writeWaiting([]entry{e}) {
				continue
			}
			if err := w.to.Close(); err != nil {
				w.log.config.Logger.Error("the audit log could not be closed", "error", err)
			}
			return
		}
	}
}

// writeWaiting writes lines, and with them those that wait. It tells whether there may be more.
func (w *writer) writeWaiting(lines []entry) (more bool) {
	more = true
	for more && len(lines) < most {
		select {
		case e, open := <-w.log.queue:
			if more = open; open {
				lines = append(lines, e)
			}
			continue
		default:
		}
		break
	}
	defer w.log.stuck.Store(false) // after the last has its answer: see tell
	errs := make([]error, len(lines))
	for i, e := range lines {
		errs[i] = w.write(e.line)
	}
	var unsynced error
	if w.log.config.Required {
		unsynced = w.to.Sync()
		w.broken = w.broken || unsynced != nil
	}
	for i, e := range lines {
		err := errs[i]
		if err == nil {
			err = unsynced
		}
		if err != nil {
			w.log.lose(err)
			e.done <- fmt.Errorf("%w: %w", ErrLost, err)
			continue
		}
		w.written()
		e.done <- nil
	}
	return more
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
	if w.log.config.Required { // lines of this round may be in it
		err = old.Sync()
	}
	return errors.Join(err, old.Close())
}

// write writes one line. F4: what cannot be written is counted, and never drops out unseen.
func (w *writer) write(line []byte) error {
	if w.broken { // the file may be on a disk that was taken away meanwhile
		if err := w.anew(); err != nil {
			w.log.config.Logger.Debug("opening the audit log anew", "error", err)
		}
	}
	if w.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := w.to.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	w.broken = err != nil
	w.torn = n < len(line) && (n > 0 || w.torn)
	return err
}

// written counts a line, and tells operators of the end of a loss.
func (w *writer) written() {
	w.log.config.Metrics.count("written")
	if lost := w.log.Lost(); w.log.silent.Swap(false) {
		w.log.config.Logger.Warn("lines of the audit log are written again", "lost", lost-w.reported, "lost_since_start", lost)
		w.reported = lost
	}
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
		first, last := make([]byte, 1), make([]byte, 1)
		_, err = f.ReadAt(first, 0)
		if err == nil {
			_, err = f.ReadAt(last, info.Size()-1)
		}
		out.torn = last[0] != '\n'
		// A line behind a database or a key would destroy it. A newline stands first where a file was emptied behind a line that broke off.
		if err == nil && first[0] != '{' && first[0] != '\n' {
			err = fmt.Errorf("%s is there already, and is no audit log", name)
		}
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
