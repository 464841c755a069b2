package db

import "bytes"

// search finds any of some strings in a text and skips most of it on the way, as S. Wu and U. Manber describe ("A fast algorithm for
// multi-pattern searching", 1994): documents are tens of kilobytes, and each is searched for all forms of its tokens before it is written.
type search struct {
	needles [][]byte
	// window is the length of the shortest needle.
	window int
	// skip has, by the last two octets in the window, how far the window may be moved.
	skip [4096]uint8
}

// newSearch is for strings of 2 octets and more.
func newSearch(needles []string) *search {
	s := &search{window: 64}
	for _, n := range needles {
		s.needles = append(s.needles, []byte(n))
		s.window = min(s.window, len(n))
	}
	for i := range s.skip {
		s.skip[i] = uint8(s.window - 1)
	}
	for _, n := range s.needles {
		for end := 1; end < s.window; end++ {
			at := &s.skip[pair(n[end-1], n[end])]
			*at = min(*at, uint8(s.window-1-end))
		}
	}
	return s
}

func pair(a, b byte) uint { return (uint(a)<<5 ^ uint(b)) & 4095 }

// next gives the place of the first of the strings at or behind a place of a text, and which it is; -1 where there is none.
func (s *search) next(text []byte, from int) (at, which int) {
	for end := from + s.window - 1; end < len(text); {
		if skip := s.skip[pair(text[end-1], text[end])]; skip > 0 {
			end += int(skip)
			continue
		}
		start := end - s.window + 1
		for i, n := range s.needles {
			if bytes.HasPrefix(text[start:], n) {
				return start, i
			}
		}
		end++
	}
	return -1, 0
}
