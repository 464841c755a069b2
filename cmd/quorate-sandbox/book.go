package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/gate"
	"github.com/quorate/quorate/db"
)

// book is a database of records with the key and the memory that its log is signed with. Each has its own: one key must never sign two
// logs.
type book struct {
	database  string
	key       string // the public key's file
	store     *db.Store
	signer    *gate.Signer
	publisher *db.Publisher
}

// openBook makes the database of a name in the sandbox's directory. Its records are kept by the clock of the gate that writes them: a
// record that was written before its attempt began is a finding.
func (s *sandbox) openBook(ctx context.Context, name string, now func() time.Time) (*book, error) {
	base := filepath.Join(s.dir, name)
	b := &book{database: base + ".sqlite", key: base + ".log.key.pub"}
	key, err := merkle.GenerateLogKey(issuer + "/" + name)
	if err == nil {
		err = key.Save(base + ".log.key")
	}
	if err == nil {
		b.signer, err = gate.NewSigner(config.Checkpoints{Key: base + ".log.key", Memory: base + ".log.memory"}, now)
	}
	if err == nil {
		b.store, err = db.Open(ctx, db.Config{Path: b.database, Software: software(), Now: now, Logger: s.log})
	}
	if err == nil {
		b.publisher, err = b.store.NewPublisher(ctx, db.PublisherConfig{Signer: b.signer.Signer, Logger: s.log})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the records in %s: %w", b.database, err), b.close(ctx))
	}
	s.books = append(s.books, b)
	return b, nil
}

func (b *book) verifier() note.Verifier { return b.signer.Verifier() }

// verify is the command by which anybody verifies the records.
func (b *book) verify(anchor string) string {
	return fmt.Sprintf("%s audit verify --database %s --trust-anchor %s --log-key %s", productionBinary(), b.database, anchor, b.key)
}

// close publishes the last checkpoint, and gives database and memory back.
func (b *book) close(ctx context.Context) error {
	var errs []error
	if b.publisher != nil {
		errs = append(errs, b.publisher.Close(ctx))
	}
	if b.store != nil {
		errs = append(errs, b.store.Close())
	}
	return errors.Join(append(errs, b.signer.Close())...)
}
