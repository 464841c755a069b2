package config

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookTime is how often is looked whether a certificate's files have changed, and only when somebody is shown it.
const lookTime = 5 * time.Second

// Shown is a certificate that others verify by its name and dates. It is read anew when its files have changed, so that a renewed one is shown
// without a restart. As long as what stands in them cannot be used, the one that was read before is shown further.
type Shown struct {
	pair  Pair
	field string
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	files   [2]os.FileInfo // nil where there is none
	looked  time.Time
}

// Show reads the pair, as Load does, and goes on to look at its files.
func (p Pair) Show(field string, log *slog.Logger) (*Shown, error) {
	return p.show(field, log, time.Now)
}

func (p Pair) show(field string, log *slog.Logger, now func() time.Time) (*Shown, error) {
	s := &Shown{pair: p, field: field, log: log, now: now, looked: now()}
	s.files = s.stat() // before they are read: what changes meanwhile is read again
	certificate, err := p.Load(field)
	if err != nil {
		return nil, err
	}
	s.current = &certificate
	return s, nil
}

// Certificate gives the one to show now.
func (s *Shown) Certificate() *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.now(); now.Sub(s.looked) >= lookTime || now.Before(s.looked) {
		s.looked = now
		s.look()
	}
	return s.current
}

// look reads the files anew if they are others than those that were read, or tried, last.
func (s *Shown) look() {
	files := s.stat()
	if same(files[0], s.files[0]) && same(files[1], s.files[1]) {
		return
	}
	s.files = files
	certificate, err := s.pair.Load(s.field)
	if err == nil && certificate.Leaf != nil && s.now().After(certificate.Leaf.NotAfter) {
		err = errors.New("it has expired")
	}
	if err != nil {
		s.log.Error("a certificate's files have changed and cannot be used: the one that was read before is shown further", "field", s.field, "error", err)
		return
	}
	s.current = &certificate
	sum := sha256.Sum256(certificate.Certificate[0])
	s.log.Info("a certificate was read anew", "field", s.field, "sha256", hex.EncodeToString(sum[:]), "not_after", certificate.Leaf.NotAfter)
}

func (s *Shown) stat() (files [2]os.FileInfo) {
	for i, name := range []string{s.pair.Certificate, s.pair.Key} {
		if info, err := os.Stat(name); err == nil {
			files[i] = info
		}
	}
	return files
}

// same tells that a file is the one that it was, and unchanged.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}

// ForServer is tls.Config.GetCertificate.
func (s *Shown) ForServer(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.Certificate(), nil
}
