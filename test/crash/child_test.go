package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// childConfig names, for a child of the test, its configuration as JSON.
const childConfig = "QUORATE_TEST_CRASH_CHILD"

// inFlight is how many attempts a gate works at at once.
const inFlight = 16

// gate is what a gate needs to run: a child gets it from its parent.
type gate struct {
	// Name begins the identifiers of its attempts.
	Name           string
	Path, Postgres string
	Lease          time.Duration
	// Key and Memory are the files of the log's signer.
	Key, Memory string
}

func (g gate) config() db.Config {
	return db.Config{Path: g.Path, Postgres: g.Postgres, Lease: g.Lease, Software: "quorate/crash " + g.Name}
}

// publisher publishes when it is told to. Its memory ends with the process, or when it is given back.
func (g gate) publisher(ctx context.Context, s *db.Store) (*db.Publisher, *merkle.Memory, error) {
	key, err := merkle.LoadLogKey(g.Key)
	if err != nil {
		return nil, nil, err
	}
	memory, err := merkle.OpenMemory(g.Memory)
	if err != nil {
		return nil, nil, err
	}
	signer, err := merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: key.Verifier(), Memory: memory})
	if err != nil {
		return nil, nil, errors.Join(err, memory.Close())
	}
	p, err := s.NewPublisher(ctx, db.PublisherConfig{Signer: signer, Interval: time.Hour})
	if err != nil {
		return nil, nil, errors.Join(err, memory.Close())
	}
	return p, memory, nil
}

// The words that a child says, each followed by an attempt's identifier or a checkpoint's size: before a call what it is about to
// do, and after a call what was acknowledged. "error" ends it.
const (
	ready      = "ready"
	opening    = "opening"
	opened     = "opened"
	closing    = "closing"
	granted    = "granted"
	refused    = "refused"
	sendsLate  = "sends-late"
	keptLate   = "kept-late"
	publishing = "publishing"
	published  = "published"
	lost       = "lost" // this gate was taken for dead, and another closed the attempt
	failed     = "error"
)

// TestChild is the child's program: attempts without end, and checkpoints as fast as the log grows.
func TestChild(t *testing.T) {
	text := os.Getenv(childConfig)
	if text == "" {
		t.Skip("runs only as a child of the other tests")
	}
	var g gate
	require.NoError(t, json.Unmarshal([]byte(text), &g))
	s, err := db.Open(t.Context(), g.config())
	require.NoError(t, err)
	p, _, err := g.publisher(t.Context(), s)
	require.NoError(t, err)
	open, err := s.List(t.Context(), db.Filter{Outcome: db.StillOpen, Limit: db.MaxLimit})
	require.NoError(t, err)
	say(ready, fmt.Sprint(len(open)))
	var wg sync.WaitGroup
	for w := range inFlight {
		wg.Go(func() {
			for i := 0; ; i++ {
				if err := work(t, s.Journal(), say, fmt.Sprintf("%s-%d-%d", g.Name, w, i), i+w); err != nil {
					say(failed, err.Error())
					return
				}
			}
		})
	}
	wg.Go(func() {
		for {
			if err := publish(t.Context(), s, p); err != nil {
				say(failed, err.Error())
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	wg.Wait()
}

// say writes one line. Lines shorter than a pipe's buffer do not mix.
func say(word, rest string) { fmt.Println(word, strings.ReplaceAll(rest, "\n", "; ")) }

// speaker takes down what a gate is about to do, and what was acknowledged.
type speaker func(word, rest string)

// evidence is of an attempt that Judge grants unless its kind is 2. One of kind 3 waits for the reply of its last remote in vain.
func evidence(t testing.TB, id string, kind int) (e mpic.Evidence, late mpic.Attestation) {
	e = dbtest.Evidence(t, dbtest.Attempt(id, "example.com", mpic.Issuance))
	switch kind {
	case 2:
		dbtest.PrimaryFails(t, &e)
	case 3:
		late = e.Remotes[4]
		dbtest.Silent(&e, 4, mpic.Outstanding)
	}
	return e, late
}

// work is one attempt from its intent to its end. The identifier tells what Judge will make of it.
func work(t testing.TB, j mpic.Journal, say speaker, id string, i int) error {
	kind := i % 4
	if kind == 2 {
		id = "no-" + id
	}
	e, late := evidence(t, id, kind)
	say(opening, id)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // as mpic's coordinator asks
	defer cancel()
	number, err := j.Open(ctx, e.Attempt, e.Roster)
	if err != nil {
		return unless(say, err, id, "the lease of this gate is over")
	}
	say(opened, fmt.Sprint(id, " ", number))
	d := mpic.Judge(e)
	say(closing, id)
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := j.Close(ctx, e, d); err != nil {
		return unless(say, err, id, db.ErrDecided.Error())
	}
	say(map[bool]string{true: granted, false: refused}[d.Granted()], id)
	if kind == 3 {
		say(sendsLate, id)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := j.Late(ctx, e.Attempt, late); err != nil {
			return err
		}
		say(keptLate, id)
	}
	return nil
}

// unless: a gate that was slower than its lease on a loaded machine is told no, which is as it should be.
func unless(say speaker, err error, id, text string) error {
	if !strings.Contains(err.Error(), text) {
		return err
	}
	say(lost, id)
	return nil
}

func publish(ctx context.Context, s *db.Store, p *db.Publisher) error {
	say(publishing, "")
	if err := p.Publish(ctx); err != nil {
		return err
	}
	newest, err := s.Checkpoint(ctx)
	if err == nil {
		say(published, fmt.Sprint(newest.Size))
	}
	return err
}
