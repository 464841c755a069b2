package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// Texts gives the texts of the documents that stand for evidence with its decision and for a late reply, as they are written, and as
// encoding/json writes them.
func Texts(e mpic.Evidence, d mpic.Decision, late mpic.Attestation) (written, marshalled []string, err error) {
	decision, err := json.Marshal(d)
	at := time.Date(2026, 12, 20, 12, 0, 0, 120, time.UTC)
	for _, v := range []texter{closing{Number: 7, Intent: reference{12, "<&>"}, Gate: "a\"b", Primary: e.Primary, Remotes: e.Remotes, Decided: at, Decision: decision},
		lateReply{e.Attempt.ID(), late}} {
		text, failed := v.appendText([]byte("before"))
		again, failedToo := json.Marshal(v)
		written, marshalled, err = append(written, string(text)), append(marshalled, "before"+string(again)), errors.Join(err, failed, failedToo)
	}
	return written, marshalled, err
}

// ForgetOpened makes the store read from the database what it opened itself.
func (s *Store) ForgetOpened() {
	s.opened.mu.Lock()
	defer s.opened.mu.Unlock()
	s.opened.newer, s.opened.before = nil, nil
}

// OnWriter asks the writer's own connection for one value.
func (s *Store) OnWriter(ctx context.Context, query string) (value string, err error) {
	err = s.writer.submit(ctx, func(ctx context.Context, tx *session) error { return tx.scan(ctx, query, nil, &value) })
	return value, err
}

// Readers gives the connections that read.
func (s *Store) Readers() *sql.DB { return s.reads }

// KeptSince is keptSince.
var KeptSince = keptSince

// KeepSets stores DNS records alone, as the record of an attempt does that names them.
func (s *Store) KeepSets(ctx context.Context, sets dnssec.Sets) error {
	fresh := s.known.missing(sets)
	return s.submit(ctx, func(ctx context.Context, tx *session) error { return insertSets(ctx, tx, sets, fresh) })
}

// Together gives calls to a writer of its own in one batch, and what became of each.
func (s *Store) Together(all ...func(context.Context, *session) error) ([]error, error) {
	pool, err := s.engine.openWrites()
	if err != nil {
		return nil, err
	}
	w := &writer{pool: pool, engine: s.engine, log: s.log, now: s.now}
	batch := make([]write, len(all))
	for i, do := range all {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if do == nil { // one whose time is over
			cancel()
		}
		batch[i] = write{ctx, do, make(chan error, 1)}
	}
	w.commit(slices.Clone(batch))
	errs := make([]error, len(all))
	for i, one := range batch {
		errs[i] = <-one.done
	}
	w.forget(nil)
	return errs, pool.Close()
}

// Session is what a call writes with.
type Session = session
