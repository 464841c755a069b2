package resolver_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// corpus has every lookup of these tests with what its prover made of it without a memory. TestMain proves it all again, in a random
// order and with memories that everything shares.
var corpus struct {
	sync.Mutex
	cases []corpusCase
}

type corpusCase struct {
	prover resolver.Prover
	lookup resolver.Lookup
	sets   dnssec.Sets
	found  []dnssec.Found
	err    error
}

func collect(prover resolver.Prover, l resolver.Lookup, sets dnssec.Sets) {
	c := corpusCase{prover: prover, lookup: l, sets: sets}
	c.found, c.err = prover.Explain(l, sets)
	corpus.Lock()
	defer corpus.Unlock()
	corpus.cases = append(corpus.cases, c)
}

func (c corpusCase) again(memory *dnssec.Memory) error {
	p := c.prover
	p.Memory = memory
	found, err := p.Explain(c.lookup, c.sets)
	if fmt.Sprint(err) != fmt.Sprint(c.err) || !reflect.DeepEqual(found, c.found) {
		return fmt.Errorf("%s %s: with a memory %v, %v; without %v, %v", c.lookup.Name, c.lookup.Type, found, err, c.found, c.err)
	}
	return nil
}

// provenAgain proves the corpus with shared memories, a large one and one that forgets all the time, by four at a time.
func provenAgain() error {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	random.Shuffle(len(corpus.cases), func(i, j int) { corpus.cases[i], corpus.cases[j] = corpus.cases[j], corpus.cases[i] })
	// A memory is for one table of algorithms; a table of a test's own comes with none.
	large, small := dnssec.NewMemory(nil, 0), dnssec.NewMemory(nil, 20_000)
	errs := make([]error, 4)
	var group sync.WaitGroup
	for w := range errs {
		group.Go(func() {
			for i := w; i < len(corpus.cases); i += len(errs) {
				for _, m := range []*dnssec.Memory{large, small, large} {
					errs[w] = errors.Join(errs[w], corpus.cases[i].again(m))
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("seed %d: %w", seed, err)
	}
	if hits, misses := large.Counts(); len(corpus.cases) > 100 {
		fmt.Printf("%d lookups proven again: %d stages remembered, %d worked out\n", len(corpus.cases), hits, misses)
		if hits < misses {
			return fmt.Errorf("a memory that remembers %d stages of %d tests nothing", hits, hits+misses)
		}
	}
	return nil
}

type provingAgain struct{ *testing.M }

func (m provingAgain) Run() int {
	code := m.M.Run()
	if err := provenAgain(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: proofs with a memory:", err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(provingAgain{m}) }
