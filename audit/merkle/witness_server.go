package merkle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// WitnessServerConfig is what NewWitnessServer needs; all fields are required.
type WitnessServerConfig struct {
	Key *WitnessKey
	// Dir is the directory of the witness's state: one file for each log, with the last checkpoint that it cosigned. It
	// must exist, and one process has it at a time.
	Dir    string
	Logs   []WitnessedLog
	Logger *slog.Logger
	Now    func() time.Time
}

// WitnessedLog is a log whose checkpoints a witness cosigns.
type WitnessedLog struct {
	// Origin is the first line of the log's checkpoints.
	Origin string
	// Key verifies the log's signature; note.NewVerifier reads one.
	Key note.Verifier
}

// WitnessServer cosigns checkpoints of the logs it knows (C2SP tlog-witness). It is an http.Handler.
//
// For each log it has one file, which holds the last checkpoint that it cosigned, with its own cosignature. A step holds
// the log's lock from reading the file until the next checkpoint is durable, and only then answers. A file that is
// missing or damaged ends in status 500: a witness that forgot would cosign a fork.
type WitnessServer struct {
	key  *WitnessKey
	logs map[string]*witnessed
	log  *slog.Logger
	now  func() time.Time
	lock *os.File
}

type witnessed struct {
	key note.Verifier
	// mu is held from reading the state until the answer to it is durable.
	mu   sync.Mutex
	file stateFile
}

// NewWitnessServer takes the state. Each log must have been begun (BeginWitness), and its state must be readable.
func NewWitnessServer(config WitnessServerConfig) (*WitnessServer, error) {
	if config.Key == nil || config.Dir == "" || config.Logger == nil || config.Now == nil || len(config.Logs) == 0 {
		return nil, errors.New("witness: key, state directory, logger, clock and one log at least are needed")
	}
	s := &WitnessServer{key: config.Key, logs: map[string]*witnessed{}, log: config.Logger, now: config.Now}
	for _, l := range config.Logs {
		if l.Origin == "" || strings.Contains(l.Origin, "\n") || l.Key == nil {
			return nil, fmt.Errorf("witness: log %q: an origin of one line and a key are needed", l.Origin)
		}
		if s.logs[l.Origin] != nil {
			return nil, fmt.Errorf("witness: log %q is there twice", l.Origin)
		}
		s.logs[l.Origin] = &witnessed{key: l.Key, file: witnessFile(config.Dir, l.Origin)}
	}
	var err error
	if s.lock, err = lockWitness(config.Dir); err != nil {
		return nil, err
	}
	for origin, l := range s.logs {
		if _, err := s.last(origin, l); err != nil {
			return nil, errors.Join(fmt.Errorf("witness: %w", err), s.Close())
		}
	}
	return s, nil
}

// BeginWitness makes the state of a log of which this witness has never cosigned anything. It fails where there is one:
// beginning anew would let the log's signer present another past.
func BeginWitness(dir string, key *WitnessKey, origin string, at time.Time) (err error) {
	lock, err := lockWitness(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	file := witnessFile(dir, origin)
	content, err := file.read()
	if err != nil {
		return fmt.Errorf("witness: state of %s: %w", origin, err)
	}
	if content != nil {
		return fmt.Errorf("witness: %s was begun already: %s", origin, file)
	}
	if origin == "" || strings.Contains(origin, "\n") {
		return fmt.Errorf("witness: %q is no origin of one line", origin)
	}
	text := fmt.Sprintf("%s\n0\n%s\n", origin, emptyRoot())
	signed, err := note.Sign(&note.Note{Text: text}, key.Cosigner(at))
	if err != nil {
		return fmt.Errorf("witness: state of %s: %w", origin, err)
	}
	if err := file.write(signed); err != nil {
		return fmt.Errorf("witness: state of %s: %w", origin, err)
	}
	return nil
}

func lockWitness(dir string) (*os.File, error) {
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("witness: its state: %w", err)
	}
	return lock, nil
}

// witnessFile is named by the origin's digest, since an origin can have slashes.
func witnessFile(dir, origin string) stateFile {
	sum := sha256.Sum256([]byte(origin))
	return stateFile(filepath.Join(dir, hex.EncodeToString(sum[:])+".checkpoint"))
}

// Close lets others take the state. Serve must have ended.
func (s *WitnessServer) Close() error {
	return s.lock.Close()
}

// last reads the last checkpoint cosigned; its own cosignature covers it, so that a damaged file shows.
func (s *WitnessServer) last(origin string, l *witnessed) (head, error) {
	content, err := l.file.read()
	if err != nil {
		return head{}, fmt.Errorf("state of %s: %w", origin, err)
	}
	if content == nil {
		return head{}, fmt.Errorf("state of %s: %s does not exist; begin the log if nothing of it was ever cosigned", origin, l.file)
	}
	opened, err := note.Open(content, note.VerifierList(s.key.Verifier()))
	if err != nil {
		return head{}, fmt.Errorf("state of %s: %s: %w", origin, l.file, err)
	}
	last, err := parseHead(opened.Text)
	if err != nil {
		return head{}, fmt.Errorf("state of %s: %s: %w", origin, l.file, err)
	}
	if last.origin != origin {
		return head{}, fmt.Errorf("state of %s: %s is of %s", origin, l.file, last.origin)
	}
	return last, nil
}

// refusal is an answer other than 200.
type refusal struct {
	status int
	text   string
	// size is what the witness has, for status 409.
	size int64
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// ServeHTTP answers POST /add-checkpoint and GET /livez.
func (s *WitnessServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/livez":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "GET is needed", http.StatusMethodNotAllowed)
			return
		}
		w.WriteHeader(http.StatusOK)
	case "/add-checkpoint":
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST")
			http.Error(w, "POST is needed", http.StatusMethodNotAllowed)
			return
		}
		s.serveAddCheckpoint(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *WitnessServer) serveAddCheckpoint(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWitnessBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, fmt.Sprintf("more than %d octets", maxWitnessBody), http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the request could not be read", http.StatusBadRequest)
		return
	}
	lines, refused := s.addCheckpoint(body)
	switch {
	case refused == nil:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(lines) // who does not hear the answer asks again
	case refused.status == http.StatusConflict:
		w.Header().Set("Content-Type", sizeType)
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(w, "%d\n", refused.size)
	default:
		http.Error(w, refused.text, refused.status)
	}
}

// addCheckpoint does what the specification lists, in its order, and gives the cosignature line.
func (s *WitnessServer) addCheckpoint(body []byte) ([]byte, *refusal) {
	old, proof, signed, err := parseAddCheckpoint(body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	_, next, err := openUnverified(signed)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	l := s.logs[next.origin]
	if l == nil {
		return nil, refuse(http.StatusNotFound, "this witness does not know the log %q", next.origin)
	}
	// From here on only the log's own signer is listened to.
	opened, err := note.Open(signed, note.VerifierList(l.key))
	if err != nil {
		return nil, refuse(http.StatusForbidden, "the checkpoint is not signed by %s+%08x: %v", l.key.Name(), l.key.KeyHash(), err)
	}
	if old > next.size {
		return nil, refuse(http.StatusBadRequest, "the old size %d is beyond the checkpoint's, %d", old, next.size)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	last, err := s.last(next.origin, l)
	if err != nil {
		s.log.Error("the witness's state cannot be used, and nothing is cosigned", "origin", next.origin, "err", err)
		return nil, refuse(http.StatusInternalServerError, "the witness cannot read its state")
	}
	if refused := consistent(old, proof, next, last); refused != nil {
		if refused.status == http.StatusUnprocessableEntity {
			// With the same size and another root it is proof of a fork. Otherwise the proof alone may be wrong, and
			// anybody can send a wrong proof with a published checkpoint.
			s.log.Warn("a signed checkpoint was not shown to extend the last one", "origin", next.origin, "cosigned", last.size,
				"root", last.root.String(), "why", refused.text, "checkpoint", string(signed))
		}
		return nil, refused
	}
	return s.cosign(l, opened.Text, next, last)
}

// consistent decides whether next may be cosigned after last.
func consistent(old int64, proof tlog.TreeProof, next, last head) *refusal {
	switch {
	case old != last.size:
		return &refusal{status: http.StatusConflict, size: last.size}
	case old == 0 && len(proof) > 0:
		return refuse(http.StatusUnprocessableEntity, "a proof from the empty log has no hashes, and there are %d", len(proof))
	}
	// This covers the empty log's root, and that the same size has the same root.
	if err := CheckTree(proof, next.size, next.root, last.size, last.root); err != nil {
		return refuse(http.StatusUnprocessableEntity, "%v", err)
	}
	return nil
}

// cosign remembers the checkpoint durably and gives the cosignature. The log's lock must be held.
func (s *WitnessServer) cosign(l *witnessed, text string, next, last head) ([]byte, *refusal) {
	signed, err := note.Sign(&note.Note{Text: text}, s.key.Cosigner(s.now()))
	if err != nil {
		s.log.Error("the witness cannot sign", "origin", next.origin, "err", err)
		return nil, refuse(http.StatusInternalServerError, "the witness cannot sign")
	}
	// What could not be read again would stop the witness for all logs.
	if len(signed) > MaxSignedCheckpoint {
		return nil, refuse(http.StatusBadRequest, "the checkpoint has %d octets with this witness's cosignature alone, more than %d", len(signed),
			MaxSignedCheckpoint)
	}
	// The same size and root again change nothing that has to be remembered.
	if next.size > last.size {
		if err := l.file.write(signed); err != nil {
			s.log.Error("the witness's state cannot be written, and nothing is cosigned", "origin", next.origin, "err", err)
			return nil, refuse(http.StatusInternalServerError, "the witness cannot write its state")
		}
		s.log.Info("cosigned", "origin", next.origin, "size", next.size, "root", next.root.String())
	}
	return signed[len(text)+1:], nil // behind the text and the empty line stand the signatures
}

// parseAddCheckpoint reads the body of add-checkpoint.
func parseAddCheckpoint(body []byte) (old int64, proof tlog.TreeProof, signed []byte, err error) {
	before, signed, found := bytes.Cut(body, []byte("\n\n"))
	if !found {
		return 0, nil, nil, errors.New("no empty line between proof and checkpoint")
	}
	lines := strings.Split(string(before), "\n")
	size, found := strings.CutPrefix(lines[0], "old ")
	if !found {
		return 0, nil, nil, errors.New("the first line is not the old size")
	}
	if old, err = parseDecimal(size); err != nil {
		return 0, nil, nil, fmt.Errorf("old size: %w", err)
	}
	if len(lines)-1 > maxProof {
		return 0, nil, nil, fmt.Errorf("a proof of %d hashes, more than %d", len(lines)-1, maxProof)
	}
	for i, line := range lines[1:] {
		hash, err := parseHash(line)
		if err != nil {
			return 0, nil, nil, fmt.Errorf("line %d: %w", i+2, err)
		}
		proof = append(proof, hash)
	}
	return old, proof, signed, nil
}
