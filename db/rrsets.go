package db

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
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

// insertSets stores records that are not stored yet, each once. It asks for all of them at once: the reply of one remote may name thousands,
// and all other calls wait for this one.
func insertSets(ctx context.Context, tx *session, sets dnssec.Sets, sums []string) error {
	sums = slices.DeleteFunc(slices.Clone(sums), func(sum string) bool { return tx.sets[sum] })
	if len(sums) == 0 {
		return nil
	}
	var stored string
	err := tx.link.scan(ctx, `SELECT coalesce(string_agg(r.sha256, ' '), '')`+named, []any{names(sums)}, &stored)
	if err != nil {
		return err
	}
	if tx.sets == nil {
		tx.sets = map[string]bool{}
	}
	for _, sum := range strings.Fields(stored) {
		tx.sets[sum] = true
	}
	var rows []row
	for _, sum := range sums {
		if !tx.sets[sum] {
			tx.sets[sum] = true
			rows = append(rows, newRow("rrsets", "sha256", sum, "octets", nonNil(sets[sum])))
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return tx.insert(rows...)
}

// nonNil: an answer without any proof rests on no records, and these are stored as no bytes rather than as NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// named are the stored records whose digests are the names of a JSON object: one question for any number, in words that both engines have.
const named = ` FROM json_each($1) AS j CROSS JOIN rrsets AS r WHERE r.sha256 = j.key`

// names makes the object. What is no digest is left out: it comes out of documents, and nothing is stored under it.
func names(sums []string) string {
	var b strings.Builder
	for _, sum := range sums {
		if octets, err := hex.DecodeString(sum); err == nil && len(octets) == sha256.Size {
			b.WriteString(`,"` + sum + `":0`)
		}
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

// readSets reads records by their digests. Those that are missing are left out.
func readSets(ctx context.Context, from interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, sums []string) (dnssec.Sets, error) {
	sets := dnssec.Sets{}
	if len(sums) == 0 {
		return sets, nil
	}
	rows, err := from.QueryContext(ctx, `SELECT r.sha256, r.octets`+named, names(sums))
	if err != nil {
		return nil, err
	}
	_, err = collect(rows, func(r *sql.Rows) (sum string, err error) {
		var octets []byte
		err = r.Scan(&sum, &octets)
		sets[sum] = octets
		return sum, err
	})
	return sets, err
}

// supply reads the records that the evidence names, and gives them to it. Records that are missing, or that have another digest
// than the one that they are stored under, are ErrDamaged.
func supply(ctx context.Context, tx *sql.Tx, e *mpic.Evidence) error {
	sets, err := readSets(ctx, tx, e.Needs())
	if err != nil {
		return err
	}
	if err := e.Supply(sets); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}
