// Package jsonappend writes JSON to the octet as encoding/json does, without looking the types up: for texts that are written often
// and are long. Each writer has a test that holds it to encoding/json.
package jsonappend

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Writer writes one text. The zero value is ready. Commas come by themselves, from what was written last.
type Writer struct {
	text []byte
	err  error
}

// NewWriter gives one with room for a text of the length given, in octets.
func NewWriter(size int) *Writer { return &Writer{text: make([]byte, 0, size)} }

// Text gives what was written, or the first error: a value that has no JSON form.
func (w *Writer) Text() ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	return w.text, nil
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// separate puts a comma unless a first member or element is next: no value ends with an opening bracket.
func (w *Writer) separate() {
	if n := len(w.text); n > 0 && w.text[n-1] != '{' && w.text[n-1] != '[' && w.text[n-1] != ':' {
		w.text = append(w.text, ',')
	}
}

// Name begins a member. The name has no character that JSON would escape.
func (w *Writer) Name(name string) {
	w.separate()
	w.text = append(append(append(w.text, '"'), name...), '"', ':')
}

// Object and Array write one around what their function writes.
func (w *Writer) Object(members func()) {
	w.separate()
	w.text = append(w.text, '{')
	members()
	w.text = append(w.text, '}')
}

// Array is for elements, see Object.
func (w *Writer) Array(elements func()) {
	w.separate()
	w.text = append(w.text, '[')
	elements()
	w.text = append(w.text, ']')
}

// Null writes null.
func (w *Writer) Null() {
	w.separate()
	w.text = append(w.text, "null"...)
}

// plain are the characters that stand in a string as they are: ASCII but for those that JSON, and encoding/json for HTML, escapes.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := byte(' '); c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	t[0x7f] = true
	return t
}()

// String writes a string.
func (w *Writer) String(s string) {
	w.separate()
	start := len(w.text)
	w.text = append(w.text, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < utf8.RuneSelf && plain[c] {
			continue
		}
		short := shortEscape(c)
		if short == 0 { // seldom: beyond ASCII, for HTML, or a control character
			w.text = w.text[:start]
			w.marshal(s)
			return
		}
		w.text = append(append(w.text, s[from:i]...), '\\', short)
		from = i + 1
	}
	w.text = append(append(w.text, s[from:]...), '"')
}

// shortEscape gives the character after the backslash where there is a short form; 0 where a character needs another.
func shortEscape(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	}
	return 0
}

// marshal leaves a value to encoding/json.
func (w *Writer) marshal(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		w.fail(err)
		return
	}
	w.text = append(w.text, text...)
}

// Int writes a number.
func (w *Writer) Int(n int64) {
	w.separate()
	w.text = strconv.AppendInt(w.text, n, 10)
}

// Float writes a number.
func (w *Writer) Float(f float64) {
	w.separate()
	if abs := math.Abs(f); abs != 0 && !(abs >= 1e-6 && abs < 1e21) { // exponents, infinity, no number
		w.marshal(f)
		return
	}
	w.text = strconv.AppendFloat(w.text, f, 'f', -1, 64)
}

// Bool writes true or false.
func (w *Writer) Bool(b bool) {
	w.separate()
	w.text = strconv.AppendBool(w.text, b)
}

// Time writes a time by RFC 3339. One that has no such form is an error.
func (w *Writer) Time(t time.Time) {
	w.separate()
	text, err := t.AppendText(append(w.text, '"'))
	if err != nil {
		w.fail(err)
		return
	}
	w.text = append(text, '"')
}

// Term writes a value that has a text of plain characters.
func (w *Writer) Term(v encoding.TextAppender) {
	w.separate()
	text, err := v.AppendText(append(w.text, '"'))
	if err != nil {
		w.fail(err)
		return
	}
	w.text = append(text, '"')
}

// Word writes a value whose text is of its own words: a constant's name.
func (w *Writer) Word(v encoding.TextMarshaler) {
	text, err := v.MarshalText()
	if err != nil {
		w.fail(err)
		return
	}
	w.String(string(text))
}

// Bytes writes octets in base64.
func (w *Writer) Bytes(octets []byte) {
	w.separate()
	if octets == nil {
		w.text = append(w.text, "null"...)
		return
	}
	w.text = append(base64.StdEncoding.AppendEncode(append(w.text, '"'), octets), '"')
}

// Strings writes an array of strings, and null for nil, as the others do.
func (w *Writer) Strings(all []string) {
	if all == nil {
		w.Null()
		return
	}
	w.Array(func() {
		for _, s := range all {
			w.String(s)
		}
	})
}

// Ints writes an array of numbers.
func Ints[T ~int | ~uint16](w *Writer, all []T) {
	if all == nil {
		w.Null()
		return
	}
	w.Array(func() {
		for _, n := range all {
			w.Int(int64(n))
		}
	})
}

// Counts writes an object of numbers, in the order of their names.
func (w *Writer) Counts(all map[string]int) {
	if all == nil {
		w.Null()
		return
	}
	w.Object(func() {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			w.String(name)
			w.text = append(w.text, ':')
			w.Int(int64(all[name]))
		}
	})
}

// StringMember, and those below, write a member unless its value is empty ("omitempty").
func (w *Writer) StringMember(name, s string) {
	if s != "" {
		w.Name(name)
		w.String(s)
	}
}

// IntMember leaves 0 out.
func (w *Writer) IntMember(name string, n int64) {
	if n != 0 {
		w.Name(name)
		w.Int(n)
	}
}

// TrueMember leaves false out.
func (w *Writer) TrueMember(name string, b bool) {
	if b {
		w.Name(name)
		w.Bool(b)
	}
}

// StringsMember leaves an array without elements out.
func (w *Writer) StringsMember(name string, all []string) {
	if len(all) > 0 {
		w.Name(name)
		w.Strings(all)
	}
}

// BytesMember leaves a string without octets out.
func (w *Writer) BytesMember(name string, octets []byte) {
	if len(octets) > 0 {
		w.Name(name)
		w.Bytes(octets)
	}
}

// TimeMember leaves nil out.
func (w *Writer) TimeMember(name string, t *time.Time) {
	if t != nil {
		w.Name(name)
		w.Time(*t)
	}
}
