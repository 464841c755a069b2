package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// maxKnown bounds the memory of digests; beyond it everything is forgotten, which costs a query each and nothing else.
const maxKnown = 50000

// known are digests of records that are stored: most of what an attempt brings is.
type known struct {
	mu   sync.Mutex
	sums map[string]bool
}

// missing gives the digests of sets that are not known to be stored, in order.
func (k *known) missing(sets dnssec.Sets) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var sums []string
	for sum := range sets {
		if !k.sums[sum] {
			sums = append(sums, sum)
		}
	}
	slices.Sort(sums)
	return sums
}

// add is for digests whose transaction was committed.
func (k *known) add(sums []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sums == nil || len(k.sums)+len(sums) > maxKnown {
		k.sums = map[string]bool{}
	}
	for _, sum := range sums {
		k.sums[sum] = true
	}
}

// insertSets stores records that are not stored yet, each once.
func insertSets(ctx context.Context, tx *session, sets dnssec.Sets, sums []string) error {
	for _, sum := range sums {
		stored := tx.holds("rrsets", sum)
		if !stored {
			if err := tx.link.scan(ctx, `SELECT EXISTS (SELECT 1 FROM rrsets WHERE sha256 = $1)`, []any{sum}, &stored); err != nil {
				return err
			}
		}
		if stored {
			continue
		}
		if err := tx.insert(ctx, newRow("rrsets", "sha256", sum, "octets", nonNil(sets[sum]))); err != nil {
			return err
		}
	}
	return nil
}

// nonNil: an answer without any proof rests on no records, and these are stored as no bytes rather than as NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// supply reads the records that the evidence names, and gives them to it. Records that are missing, or that have another digest
// than the one that they are stored under, are ErrDamaged.
func supply(ctx context.Context, tx *sql.Tx, e *mpic.Evidence) error {
	sets := dnssec.Sets{}
	for _, sum := range e.Needs() {
		var octets []byte
		err := tx.QueryRowContext(ctx, `SELECT octets FROM rrsets WHERE sha256 = $1`, sum).Scan(&octets)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: the DNS records %s are missing", ErrDamaged, sum)
		} else if err != nil {
			return err
		}
		sets[sum] = octets
	}
	if err := e.Supply(sets); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}
