package gate

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/db"
)

// RecordsConfig gives package db what a configuration says of the records.
func RecordsConfig(j config.Journal) (db.Config, error) {
	password, err := j.Password()
	return db.Config{Path: j.SQLite, Postgres: j.Postgres, PostgresPassword: password, TokenDigests: j.Tokens == "digests"}, err
}

// Signer signs checkpoints of the log, with the memory that it has open and the witnesses that cosign.
type Signer struct {
	*merkle.Signer
	Witnesses []*merkle.Witness
	memory    *merkle.Memory
}

// NewSigner loads the log's key and takes its signer's memory. Close gives the memory back.
func NewSigner(c config.Checkpoints, now func() time.Time) (*Signer, error) {
	key, err := merkle.LoadLogKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("checkpoints.key: %w", err)
	}
	s := &Signer{}
	for i, w := range c.Witnesses {
		witness, err := newWitness(w, now)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("checkpoints.witnesses[%d]: %w", i, err), s.Close())
		}
		s.Witnesses = append(s.Witnesses, witness)
	}
	if s.memory, err = merkle.OpenMemory(c.Memory); err != nil {
		return nil, errors.Join(fmt.Errorf("checkpoints.memory: %w", err), s.Close())
	}
	if s.Signer, err = merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: key.Verifier(), Memory: s.memory}); err != nil {
		return nil, errors.Join(fmt.Errorf("checkpoints: %w", err), s.Close())
	}
	return s, nil
}

func newWitness(c config.Cosigner, now func() time.Time) (*merkle.Witness, error) {
	key, err := merkle.NewWitnessVerifier(c.Key)
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if c.Roots != "" {
		pem, err := os.ReadFile(filepath.Clean(c.Roots))
		if err != nil {
			return nil, err
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.Roots)
		}
	}
	return merkle.NewWitness(merkle.WitnessConfig{URL: c.URL, Key: key, Roots: roots, Now: now})
}

// Close gives the memory back; a nil Signer has none.
func (s *Signer) Close() error {
	if s == nil {
		return nil
	}
	for _, w := range s.Witnesses {
		w.Close()
	}
	if s.memory == nil {
		return nil
	}
	return s.memory.Close()
}

// openRecords opens the database, and begins to publish the log's checkpoints.
func (g *Gate) openRecords(ctx context.Context, c config.Gate, software string, doors node.Doors, metrics *db.Metrics) error {
	settings, err := RecordsConfig(c.Journal)
	if err != nil {
		return err
	}
	settings.Logger, settings.Metrics, settings.Now, settings.Software = g.log, metrics, doors.Clock(), software
	settings.Abandoned = g.abandoned()
	if c.Checkpoints != nil {
		if g.signer, err = NewSigner(*c.Checkpoints, doors.Clock()); err != nil {
			return err
		}
	}
	if g.Store, err = db.Open(ctx, settings); err != nil {
		return err
	}
	if g.signer == nil {
		return nil
	}
	g.Publisher, err = g.Store.NewPublisher(ctx, db.PublisherConfig{Signer: g.signer.Signer, Witnesses: g.signer.Witnesses,
		Interval: c.Checkpoints.Interval, Logger: g.log})
	return err
}
