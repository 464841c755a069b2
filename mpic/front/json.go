package front

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Object reads one JSON object in UTF-8, whose values nest no deeper than a number of levels, with numbers as json.Number. Of two members of one name
// encoding/json would take the last and another reader the first: twice has the pointers (RFC 6901) of those, and what is read may be used for nothing
// but to tell what else is wrong.
func Object[O ~map[string]any](text []byte, depth int) (top O, twice []string, err error) {
	if !utf8.Valid(text) {
		return nil, nil, errors.New("it is not UTF-8")
	}
	r := &reader[O]{d: json.NewDecoder(bytes.NewReader(text)), most: depth}
	r.d.UseNumber()
	v, err := r.value()
	if err == nil {
		if _, more := r.d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON text")
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the JSON text is empty or ends too early")
	}
	if err != nil {
		return nil, nil, err
	}
	top, ok := v.(O)
	if !ok {
		return nil, nil, errors.New("it is not a JSON object")
	}
	return top, r.twice, nil
}

// Strict reads what Object reads, and refuses members that stand twice.
func Strict[O ~map[string]any](text []byte, depth int) (O, error) {
	top, twice, err := Object[O](text, depth)
	if err == nil && len(twice) > 0 {
		err = fmt.Errorf("the member %s stands twice in one object", strconv.Quote(twice[0]))
	}
	if err != nil {
		return nil, err
	}
	return top, nil
}

// reader reads values at path, the names and places above it.
type reader[O ~map[string]any] struct {
	d     *json.Decoder
	most  int
	path  []string
	twice []string
}

func (r *reader[O]) value() (any, error) {
	t, err := r.d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	switch {
	case !ok:
		return t, nil
	case len(r.path) == r.most:
		return nil, fmt.Errorf("values nest deeper than %d levels", r.most)
	case delim == '[':
		return r.list()
	default:
		return r.object()
	}
}

// below reads the value of a member, or at a place of a list.
func (r *reader[O]) below(name string) (any, error) {
	r.path = append(r.path, name)
	v, err := r.value()
	r.path = r.path[:len(r.path)-1]
	return v, err
}

func (r *reader[O]) list() (any, error) {
	list := []any{}
	for r.d.More() {
		v, err := r.below(strconv.Itoa(len(list)))
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := r.d.Token()
	return list, err
}

func (r *reader[O]) object() (any, error) {
	object := O{}
	for r.d.More() {
		key, err := r.d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string) // the decoder takes nothing else in its place
		if _, twice := object[name]; twice && len(r.twice) < mostTold {
			r.twice = append(r.twice, Pointer(append(r.path, name)...))
		}
		if object[name], err = r.below(name); err != nil {
			return nil, err
		}
	}
	_, err := r.d.Token()
	return object, err
}

// mostTold is of how many members that stand twice is told.
const mostTold = 16

// Pointer names a value by the names above it and its own (RFC 6901 section 3), long ones cut.
func Pointer(path ...string) string {
	var b strings.Builder
	for _, name := range path {
		if len(name) > 64 {
			name = Cut(name, 64) + "..."
		}
		b.WriteByte('/')
		for _, c := range name {
			switch c {
			case '~':
				b.WriteString("~0")
			case '/':
				b.WriteString("~1")
			default:
				b.WriteRune(c)
			}
		}
	}
	return b.String()
}

// Cut gives at most the first n octets of s, and what is not UTF-8 among them as U+FFFD.
func Cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "\uFFFD") }
