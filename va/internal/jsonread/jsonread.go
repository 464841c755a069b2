// Package jsonread reads JSON as jsonappend writes it: compact, members in the order of the writer, in ASCII, without escapes but \" \\ \t \r
// \n. It takes no other text, and says so; that is for a JSON library to read. What it takes, a library would take, and read in the same way.
package jsonread

import (
	"encoding"
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"
)

// Reader reads one text. What it gives after something odd is worthless: ask Plain at the end.
type Reader struct {
	text string
	at   int
	odd  bool
}

// NewReader begins to read. The strings that are read are part of the text, and keep it in memory.
func NewReader(text string) *Reader { return &Reader{text: text} }

// Plain tells that the text was read to its end, and that nothing in it was odd.
func (r *Reader) Plain() bool { return !r.odd && r.at == len(r.text) }

// refuse says that what was read is not for this reader.
func (r *Reader) refuse() { r.odd, r.at = true, len(r.text) }

// separated gives the place behind the comma that is due here, if one is.
func (r *Reader) separated() (int, bool) {
	if r.at == 0 {
		return 0, true
	}
	switch r.text[r.at-1] {
	case '{', '[', ':':
		return r.at, true
	}
	return r.at + 1, r.at < len(r.text) && r.text[r.at] == ','
}

// take reads a token.
func (r *Reader) take(token string) {
	if !r.next(token) {
		r.refuse()
	}
}

// next reads a token if it stands here.
func (r *Reader) next(token string) bool {
	at, ok := r.separated()
	if !ok || r.odd || !strings.HasPrefix(r.text[at:], token) {
		return false
	}
	r.at = at + len(token)
	return true
}

// Has begins a member if it stands here.
func (r *Reader) Has(name string) bool {
	at, ok := r.separated()
	end := at + len(name) + 3
	if !ok || r.odd || end > len(r.text) || r.text[at] != '"' || r.text[at+1:end-2] != name || r.text[end-2:end] != `":` {
		return false
	}
	r.at = end
	return true
}

// Name begins a member, which must stand here.
func (r *Reader) Name(name string) {
	if !r.Has(name) {
		r.refuse()
	}
}

// Object reads one around what its function reads.
func (r *Reader) Object(members func()) {
	r.take("{")
	members()
	r.end('}')
}

// Elements reads an array, and null as nil.
func Elements[T any](r *Reader, read func(*T, *Reader)) []T {
	if r.next("null") {
		return nil
	}
	all := []T{}
	r.take("[")
	for !r.odd && r.at < len(r.text) && r.text[r.at] != ']' {
		all = append(all, *new(T))
		read(&all[len(all)-1], r)
	}
	r.end(']')
	return all
}

// end reads what stands behind a value.
func (r *Reader) end(sign byte) {
	if r.odd || r.at >= len(r.text) || r.text[r.at] != sign {
		r.refuse()
		return
	}
	r.at++
}

// plain are the characters that stand in a string as they are.
var plain = func() (t [256]bool) {
	for c := byte(' '); c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// String reads a string of ASCII.
func (r *Reader) String() string {
	r.take(`"`)
	start, escapes := r.at, 0
	for i := start; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case plain[c]:
		case c == '"':
			r.at = i + 1
			if s := r.text[start:i]; escapes == 0 {
				return s
			} else {
				return unescape(s, escapes)
			}
		case c == '\\' && i+1 < len(r.text) && escaped[r.text[i+1]] != 0:
			i++
			escapes++
		default:
			r.refuse()
			return ""
		}
	}
	r.refuse()
	return ""
}

// escaped gives what an escape stands for by the character behind its backslash; 0 for those that are not read here.
var escaped = [256]byte{'"': '"', '\\': '\\', 't': '\t', 'r': '\r', 'n': '\n'}

func unescape(s string, escapes int) string {
	var b strings.Builder
	b.Grow(len(s) - escapes)
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '\\' {
			b.WriteByte(c)
			continue
		}
		i++
		b.WriteByte(escaped[s[i]])
	}
	return b.String()
}

// word reads a string without escapes and gives what is between its quotation marks, which has not been looked at.
func (r *Reader) word() string {
	r.take(`"`)
	end := strings.IndexByte(r.text[r.at:], '"')
	if end < 0 {
		r.refuse()
		return ""
	}
	s := r.text[r.at : r.at+end]
	r.at += end + 1
	return s
}

// Bytes reads octets in base64 with padding, as an encoder writes it.
func (r *Reader) Bytes() []byte {
	s := r.word()
	octets := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	n, err := strict.Decode(octets, []byte(s))
	if err != nil || base64.StdEncoding.EncodedLen(n) != len(s) { // line feeds in between
		r.refuse()
		return nil
	}
	return octets[:n:n]
}

var strict = base64.StdEncoding.Strict()

// number gives what stands where a number is due, if it has no exponent, sign or needless zero.
func (r *Reader) number() string {
	at, ok := r.separated()
	if !ok || r.odd {
		r.refuse()
		return ""
	}
	end := at
	for end < len(r.text) && (r.text[end] >= '0' && r.text[end] <= '9' || r.text[end] == '.') {
		end++
	}
	s := r.text[at:end]
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || s[0] == '0' && len(s) > 1 && s[1] != '.' {
		r.refuse()
		return ""
	}
	r.at = end
	return s
}

// Int reads a whole number from 0 to the largest one given.
func (r *Reader) Int(largest int64) int64 {
	n, err := strconv.ParseInt(r.number(), 10, 64)
	if err != nil || n > largest {
		r.refuse()
		return 0
	}
	return n
}

// Float reads a number that is not below 0.
func (r *Reader) Float() float64 {
	f, err := strconv.ParseFloat(r.number(), 64)
	if err != nil {
		r.refuse()
		return 0
	}
	return f
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	if r.next("true") {
		return true
	}
	r.take("false")
	return false
}

// Time reads a time by RFC 3339 in UTC.
func (r *Reader) Time() (t time.Time) {
	s := r.word()
	const form = "2006-01-02T15:04:05"
	usual := len(s) > len(form) && s[len(s)-1] == 'Z' && (s[len(form)] == 'Z' || s[len(form)] == '.')
	for i := 0; usual && i < len(form); i++ { // the library takes hours of one digit, too
		usual = (s[i] >= '0' && s[i] <= '9') == (form[i] >= '0' && form[i] <= '9')
	}
	if !usual || t.UnmarshalText([]byte(s)) != nil {
		r.refuse()
		return time.Time{}
	}
	return t
}

// Term reads a value that has a text of its own.
func (r *Reader) Term(v encoding.TextUnmarshaler) {
	if v.UnmarshalText([]byte(r.word())) != nil {
		r.refuse()
	}
}

// Span gives the text of what its function reads, a value.
func (r *Reader) Span(value func()) string {
	at, _ := r.separated()
	value()
	if r.odd {
		return ""
	}
	return r.text[at:r.at]
}

// Skip passes over an object or array if it stands here and has this very text.
func (r *Reader) Skip(text string) bool { return r.next(text) }

// Strings reads an array of strings, and null as nil.
func (r *Reader) Strings() []string {
	return Elements(r, func(s *string, r *Reader) { *s = r.String() })
}

// Ints reads an array of whole numbers from 0 to the largest one given, and null as nil.
func Ints[T ~int | ~uint16](r *Reader, largest T) []T {
	return Elements(r, func(n *T, r *Reader) { *n = T(r.Int(int64(largest))) })
}

// Counts reads an object of whole numbers, and null as nil.
func (r *Reader) Counts() map[string]int {
	if r.next("null") {
		return nil
	}
	all := map[string]int{}
	r.Object(func() {
		for !r.odd && r.at < len(r.text) && r.text[r.at] != '}' {
			name := r.String()
			if _, twice := all[name]; twice || r.odd {
				r.refuse()
				return
			}
			r.end(':')
			all[name] = int(r.Int(math.MaxInt))
		}
	})
	return all
}

// StringMember, and those below, read a member if it stands here. They give nothing where it does not.
func (r *Reader) StringMember(name string) string {
	if !r.Has(name) {
		return ""
	}
	return r.String()
}

// ElementsMember reads an array.
func ElementsMember[T any](r *Reader, name string, read func(*T, *Reader)) []T {
	if !r.Has(name) {
		return nil
	}
	return Elements(r, read)
}

// IntsMember reads an array of whole numbers.
func IntsMember[T ~int | ~uint16](r *Reader, name string, largest T) []T {
	if !r.Has(name) {
		return nil
	}
	return Ints(r, largest)
}

// IntMember reads a whole number, see Int.
func (r *Reader) IntMember(name string, largest int64) int64 {
	if !r.Has(name) {
		return 0
	}
	return r.Int(largest)
}

// StringsMember reads an array of strings.
func (r *Reader) StringsMember(name string) []string {
	if !r.Has(name) {
		return nil
	}
	return r.Strings()
}

// BytesMember reads octets in base64.
func (r *Reader) BytesMember(name string) []byte {
	if !r.Has(name) {
		return nil
	}
	return r.Bytes()
}

// TimeMember reads a time.
func (r *Reader) TimeMember(name string) *time.Time {
	if !r.Has(name) {
		return nil
	}
	t := r.Time()
	return &t
}
