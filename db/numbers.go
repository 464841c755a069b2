package db

import (
	"context"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// numbers is a set of records' numbers, one bit for each number up to the highest: a million records take 125 KB. A nil set is of all
// numbers; it is only asked.
type numbers struct {
	words []uint64
	count int64
	// low and high are the first and the last number; 0 where there is none.
	low, high int64
}

func (s *numbers) add(n int64) {
	if n < 1 {
		return
	}
	word := int(n >> 6)
	if word >= len(s.words) {
		s.words = append(s.words, make([]uint64, word+1-len(s.words))...)
	}
	bit := uint64(1) << (n & 63)
	if s.words[word]&bit != 0 {
		return
	}
	s.words[word] |= bit
	s.count++
	if s.low == 0 || n < s.low {
		s.low = n
	}
	s.high = max(s.high, n)
}

func (s *numbers) has(n int64) bool {
	if s == nil {
		return true
	}
	word := n >> 6
	return n >= 1 && word < int64(len(s.words)) && s.words[word]&(1<<(n&63)) != 0
}

// and gives the numbers that are in both.
func (s *numbers) and(other *numbers) *numbers {
	switch {
	case s == nil:
		return other
	case other == nil:
		return s
	}
	out := &numbers{}
	for n := range s.each {
		if other.has(n) {
			out.add(n)
		}
	}
	return out
}

// each gives the numbers in order.
func (s *numbers) each(yield func(int64) bool) {
	for i, word := range s.words {
		for ; word != 0; word &= word - 1 {
			if !yield(int64(i)<<6 | int64(bits.TrailingZeros64(word))) {
				return
			}
		}
	}
}

// chunks gives the numbers in order, at most so many at a time.
func (s *numbers) chunks(size int) func(func([]int64) bool) {
	return func(yield func([]int64) bool) {
		chunk := make([]int64, 0, size)
		for n := range s.each {
			if chunk = append(chunk, n); len(chunk) == size {
				if !yield(chunk) {
					return
				}
				chunk = chunk[:0]
			}
		}
		if len(chunk) > 0 {
			yield(chunk)
		}
	}
}

// within is the condition that a column is one of the numbers, which are in order. They are integers, and so may stand in a query's text.
func within(column string, all []int64) string {
	first, last := all[0], all[len(all)-1]
	if last-first == int64(len(all)-1) {
		return fmt.Sprintf("%s >= %d AND %s <= %d", column, first, column, last)
	}
	texts := make([]string, len(all))
	for i, n := range all {
		texts[i] = strconv.FormatInt(n, 10)
	}
	return column + " IN (" + strings.Join(texts, ", ") + ")"
}

// maxNumber bounds the numbers that a set holds: they are gapless, and a set of them all takes a gigabyte at that.
const maxNumber = 1 << 33

// bounded refuses a database with numbers that nobody can have reached: somebody wrote them, so that who reads runs out of memory.
func (s *scan) bounded(ctx context.Context) error {
	for _, c := range []struct{ table, column string }{{"attempts", "number"}, {"perspectives", "attempt"}, {"reports", "attempt"}, {"decisions", "attempt"},
		{"reliances", "attempt"}, {"permits", "number"}, {"permit_names", "permit"}, {"permit_names", "attempt"}, {"permit_names", "caa_attempt"},
		{"certificates", "number"}, {"certificates", "permit"}} {
		var most int64
		if err := s.one(ctx, `SELECT coalesce(max(`+c.column+`), 0) FROM `+c.table, nil, &most); err != nil {
			return err
		}
		if most > maxNumber {
			return fmt.Errorf("%w: %s has the number %d, and numbers count from 1 without a gap", ErrDamaged, c.table, most)
		}
	}
	return nil
}
