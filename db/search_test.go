package db

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The search finds what looking at each place finds.
func FuzzSearch(f *testing.F) {
	f.Add([]byte("xxabcdefghijklmnopyyABCDEFGHIJKLMNOPQRSTUVWXzz"), "abcdefghijklmnop", "ABCDEFGHIJKLMNOPQRSTUVWX")
	f.Add([]byte("aaaaaaaaaaaaaaaaaaaaab"), "aaaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaaa")
	f.Add([]byte(strings.Repeat("ab", 100)), strings.Repeat("ba", 40), "ba")
	f.Fuzz(func(t *testing.T, text []byte, a, b string) {
		if len(a) < 2 || len(b) < 2 {
			return
		}
		s := newSearch([]string{a, b})
		for from := 0; ; {
			want := -1
			for i := from; i < len(text); i++ {
				if bytes.HasPrefix(text[i:], []byte(a)) || bytes.HasPrefix(text[i:], []byte(b)) {
					want = i
					break
				}
			}
			at, which := s.next(text, from)
			require.Equal(t, want, at)
			if at < 0 {
				return
			}
			require.True(t, bytes.HasPrefix(text[at:], s.needles[which]))
			from = at + 1
		}
	})
}

// Where the first look says that there is nothing but tokens as they are, the thorough search finds the same.
//
// Holds: REC-04
func FuzzREC_04_TheFirstLookMissesNothing(f *testing.F) {
	for _, s := range []string{`{"a":"` + testToken + `"}`, `{"a":"eyJ` + testToken + `.x"}`, `{"a":"\\"eyJhIjoi\\""}`, `{"b":"\\t` + testToken + `\\n","c":"a\\\\"}`,
		`{"eyJ":"eyJhIjoiREd5UmVqbUNlZmU3djROZkRHREtmQSJ9.e30.x"}`, `{"a":"%44Gy"}`, `{"a":"\\u0044"}`, `[` + strings.Repeat("3", 44) + `]`, `{"x":"` + forms(testToken)[3] + `"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) {
			return
		}
		plain, otherwise := newLook(testToken).at(text)
		if otherwise {
			return
		}
		var want []string
		if plain {
			want = []string{testToken}
		}
		require.Equal(t, want, concealed(text, testToken))
		require.Equal(t, plain, exposes(text, testToken))
	})
}
