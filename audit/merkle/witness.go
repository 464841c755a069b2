package merkle

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// witnessTimeout bounds one request to a witness.
	witnessTimeout = 10 * time.Second
	// witnessSkew is how far the time of a fresh cosignature may be from our own.
	witnessSkew = 5 * time.Minute
	// witnessAttempts is how often a witness is asked for one checkpoint: with what we believe it has, and again with
	// what it says it has; once more where another gate came between.
	witnessAttempts = 3
	// sizeType is the content type of a conflict (C2SP tlog-witness).
	sizeType = "text/x.tlog.size"
	// maxProof is how many hashes a request may have (C2SP tlog-witness).
	maxProof = 63
	// maxWitnessBody bounds what is read of an answer or a request: a checkpoint, and the proof with it.
	maxWitnessBody = MaxSignedCheckpoint + 4<<10
)

// ErrWitnessAhead: the witness has cosigned a larger log than the one it is asked to cosign. Where several gates publish,
// another one was quicker; otherwise the log was rolled back.
var ErrWitnessAhead = errors.New("the witness has cosigned a larger log")

// AheadError is an ErrWitnessAhead with the sizes. If the log still has fewer leaves than Size, it was rolled back.
type AheadError struct {
	// Size is what the witness has cosigned, Checkpoint the size of what it was asked to cosign.
	Size, Checkpoint int64
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("%v: it has %d leaves, and the checkpoint has %d", ErrWitnessAhead, e.Size, e.Checkpoint)
}

func (e *AheadError) Unwrap() error { return ErrWitnessAhead }

// ErrWitnessRefused: the witness answered, and did not cosign. With status 422 the error is ErrForked too: what was
// proven to it does not start with the log that it cosigned.
var ErrWitnessRefused = errors.New("the witness refused")

// ErrCosignature: what the witness answered is not a cosignature of this checkpoint, by its key, at this time.
var ErrCosignature = errors.New("the witness's cosignature is wrong")

// WitnessConfig is what NewWitness needs. URL, Key and Now are required.
type WitnessConfig struct {
	// URL is the submission prefix, http or https: what stands before /add-checkpoint.
	URL string
	// Key is the witness's verifier key.
	Key *WitnessVerifier
	// Roots are the CAs of an https URL; nil means the system's. What the witness says is believed for its key alone.
	Roots *x509.CertPool
	// Timeout bounds each request; 0 means 10 s.
	Timeout time.Duration
	Now     func() time.Time
}

// Witness asks one witness to cosign checkpoints (C2SP tlog-witness, add-checkpoint). It is safe for concurrent use.
type Witness struct {
	url    string
	key    *WitnessVerifier
	client *http.Client
	now    func() time.Time

	mu sync.Mutex
	// size is that of the largest checkpoint that the witness is known to have cosigned; its answers correct it.
	size int64
}

// NewWitness refuses a configuration that lacks something required or has an impossible value.
func NewWitness(config WitnessConfig) (*Witness, error) {
	if config.Key == nil || config.Now == nil {
		return nil, errors.New("witness: a verifier key and a clock are needed")
	}
	parsed, err := url.Parse(config.URL)
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "" ||
		parsed.RawQuery != "" || parsed.Fragment != "" {
		return nil, fmt.Errorf("witness %s: %q is no http or https URL without query and fragment", config.Key.Name(), config.URL)
	}
	if config.Timeout < 0 {
		return nil, fmt.Errorf("witness %s: the time-out %s is negative", config.Key.Name(), config.Timeout)
	}
	if config.Timeout == 0 {
		config.Timeout = witnessTimeout
	}
	return &Witness{url: strings.TrimSuffix(config.URL, "/") + "/add-checkpoint", key: config.Key, now: config.Now,
		client: &http.Client{
			Timeout: config.Timeout,
			// No proxy from the environment, and no redirect: the configuration says who is asked.
			// Connecting and the handshake have the time as well: net/http goes on with both when the request has ended.
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: config.Roots, MinVersion: tls.VersionTLS12},
				DialContext: (&net.Dialer{Timeout: config.Timeout}).DialContext, TLSHandshakeTimeout: config.Timeout,
				MaxIdleConns: 2, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}, nil
}

// Name returns the witness's name.
func (w *Witness) Name() string { return w.key.Name() }

// Close ends connections that wait for further requests.
func (w *Witness) Close() { w.client.CloseIdleConnections() }

// Cosign has the witness cosign a signed checkpoint, and returns it with the witness's cosignature behind its other
// signatures. prove gives the proof from the size that the witness has; it is not called from 0, nor for the same size.
//
// It fails with ErrWitnessAhead, ErrWitnessRefused and ErrCosignature; other errors mean that the witness could not be
// asked.
func (w *Witness) Cosign(ctx context.Context, signed []byte, prove Prove) ([]byte, error) {
	cosigned, err := w.cosign(ctx, signed, prove)
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", w.Name(), err)
	}
	return cosigned, nil
}

func (w *Witness) cosign(ctx context.Context, signed []byte, prove Prove) ([]byte, error) {
	unverified, next, err := openUnverified(signed)
	if err != nil {
		return nil, err
	}
	// What was learnt may be stale; a size beyond the checkpoint's would be no question at all.
	old := min(w.known(), next.size)
	for range witnessAttempts {
		if old > next.size {
			return nil, &AheadError{Size: old, Checkpoint: next.size}
		}
		var proof tlog.TreeProof
		if old > 0 && old < next.size {
			if proof, err = prove(old, next.size); err != nil {
				return nil, fmt.Errorf("prove that the log of %d leaves starts with the one of %d: %w", next.size, old, err)
			}
		}
		answer, conflict, err := w.post(ctx, request(old, proof, signed))
		if err != nil {
			return nil, err
		}
		if answer != nil {
			w.learn(next.size)
			return w.accept(unverified, answer)
		}
		old = conflict
		w.learn(conflict)
	}
	return nil, fmt.Errorf("it was asked %d times, and had another size each time", witnessAttempts)
}

func (w *Witness) known() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

func (w *Witness) learn(size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.size = size
}

// request is the body of add-checkpoint.
func request(old int64, proof tlog.TreeProof, signed []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", old)
	for _, hash := range proof {
		fmt.Fprintf(&b, "%s\n", hash)
	}
	b.WriteByte('\n')
	b.Write(signed)
	return b.Bytes()
}

// post sends one request. It gives the answer's signature lines, or the size that the witness has.
func (w *Witness) post(ctx context.Context, body []byte) (answer []byte, conflict int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	response, err := w.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = response.Body.Close() }() // what is of use was read
	// Behind a switch of protocols stands what ends when the witness likes, and not with ctx.
	if response.StatusCode < 200 {
		return nil, 0, fmt.Errorf("%w: %s: status %d", ErrWitnessRefused, w.url, response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxWitnessBody+1))
	if err != nil {
		return nil, 0, fmt.Errorf("%s: reading the answer: %w", w.url, err)
	}
	if len(text) > maxWitnessBody {
		return nil, 0, fmt.Errorf("%s: the answer has more than %d octets", w.url, maxWitnessBody)
	}
	switch {
	case response.StatusCode == http.StatusOK:
		if len(text) == 0 {
			return nil, 0, fmt.Errorf("%w: an empty answer", ErrCosignature)
		}
		return text, 0, nil
	case response.StatusCode == http.StatusConflict && response.Header.Get("Content-Type") == sizeType:
		size, err := parseDecimal(strings.TrimSuffix(string(text), "\n"))
		if err != nil {
			return nil, 0, fmt.Errorf("%w: conflict: %w", ErrWitnessRefused, err)
		}
		return nil, size, nil
	case response.StatusCode == http.StatusUnprocessableEntity:
		return nil, 0, fmt.Errorf("%w: %w: %s: status 422: %.200q", ErrWitnessRefused, ErrForked, w.url, text)
	default:
		return nil, 0, fmt.Errorf("%w: %s: status %d: %.200q", ErrWitnessRefused, w.url, response.StatusCode, text)
	}
}

// accept verifies the witness's lines against the checkpoint's own text, and gives the note with that cosignature.
func (w *Witness) accept(unverified *note.Note, lines []byte) ([]byte, error) {
	opened, err := note.Open(append([]byte(unverified.Text+"\n"), lines...), note.VerifierList(w.key))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCosignature, err)
	}
	// An empty line in the answer would move the place where the text ends.
	if opened.Text != unverified.Text {
		return nil, fmt.Errorf("%w: it is of another text", ErrCosignature)
	}
	at, err := CosignedAt(opened.Sigs[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCosignature, err)
	}
	// One of another day could have been kept back, and would say nothing of today.
	if off := at.Sub(w.now()); off > witnessSkew || off < -witnessSkew {
		return nil, fmt.Errorf("%w: its time, %s, is %s away from ours",
			ErrCosignature, at.Format(time.RFC3339), off.Abs().Round(time.Second))
	}
	kept := make([]note.Signature, 0, len(unverified.UnverifiedSigs))
	for _, sig := range unverified.UnverifiedSigs {
		if sig.Name != w.key.Name() || sig.Hash != w.key.KeyHash() { // an older one of this witness gives way
			kept = append(kept, sig)
		}
	}
	return note.Sign(&note.Note{Text: opened.Text, Sigs: append(kept, opened.Sigs...)})
}

// openUnverified reads a signed checkpoint without believing it. All its signatures are in UnverifiedSigs.
func openUnverified(signed []byte) (*note.Note, head, error) {
	if len(signed) > MaxSignedCheckpoint {
		return nil, head{}, fmt.Errorf("signed checkpoint: %d octets, more than %d", len(signed), MaxSignedCheckpoint)
	}
	_, err := note.Open(signed, nil)
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return nil, head{}, fmt.Errorf("signed checkpoint: %w", err)
	}
	h, err := parseHead(unverified.Note.Text)
	if err != nil {
		return nil, head{}, err
	}
	return unverified.Note, h, nil
}
