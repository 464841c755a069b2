package audit

import (
	"bytes"
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// SampleKey is the place of a member in a random order that anybody can work out from a published seed: the SHA-256 of the seed followed by
// the member, which is a certificate's fingerprint in lower-case hexadecimal or an attempt's identifier.
//
//	printf '%s%s' "$SEED" "$MEMBER" | sha256sum
func SampleKey(seed, member string) [sha256.Size]byte { return sha256.Sum256([]byte(seed + member)) }

// Drawn is a member that was drawn, with its key.
type Drawn[T any] struct {
	Key    [sha256.Size]byte
	Member string
	Value  T
}

// Hex is the key in lower-case hexadecimal, as sha256sum prints it.
func (d Drawn[T]) Hex() string { return hex.EncodeToString(d.Key[:]) }

// Sample draws the members with the smallest keys. It holds no more than it draws, and the order in which members come does not matter;
// one that comes twice counts once, if it is drawn. Members that are added later leave the order of the others as it was.
type Sample[T any] struct {
	seed  string
	count int
	drawn largest[T]
	// has are the members of drawn.
	has map[string]bool
}

// NewSample refuses an empty seed and a count below 1.
func NewSample[T any](seed string, count int) (*Sample[T], error) {
	if seed == "" || count < 1 {
		return nil, fmt.Errorf("audit: a sample needs a seed, and draws at least one; %d are asked for", count)
	}
	return &Sample[T]{seed: seed, count: count, has: map[string]bool{}}, nil
}

// Offer takes a member into account.
func (s *Sample[T]) Offer(member string, value T) {
	d := Drawn[T]{SampleKey(s.seed, member), member, value}
	full := len(s.drawn) == s.count
	if full && d.compare(s.drawn[0]) >= 0 || s.has[member] {
		return
	}
	if full {
		delete(s.has, s.drawn[0].Member)
		heap.Pop(&s.drawn)
	}
	s.has[member] = true
	heap.Push(&s.drawn, d)
}

// Drawn gives what was drawn, in the order of the keys.
func (s *Sample[T]) Drawn() []Drawn[T] {
	out := slices.Clone(s.drawn)
	slices.SortFunc(out, Drawn[T].compare)
	return out
}

func (d Drawn[T]) compare(other Drawn[T]) int { return bytes.Compare(d.Key[:], other.Key[:]) }

// largest is a heap with the largest key first.
type largest[T any] []Drawn[T]

func (l largest[T]) Len() int           { return len(l) }
func (l largest[T]) Less(i, j int) bool { return l[i].compare(l[j]) > 0 }
func (l largest[T]) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *largest[T]) Push(x any)        { *l = append(*l, x.(Drawn[T])) }
func (l *largest[T]) Pop() any {
	old := *l
	last := old[len(old)-1]
	*l = old[:len(old)-1]
	return last
}

// PercentOf gives how many members of a population a percentage is, rounded up, and one at least (BR 8.7: the greater of one certificate
// or three percent). percent is 1 to 100; an empty population has none.
func PercentOf(population int64, percent int) int64 {
	if population == 0 {
		return 0
	}
	return max(1, (population*int64(percent)+99)/100)
}
