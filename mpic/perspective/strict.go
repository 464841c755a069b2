package perspective

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// decodeStrict reads exactly one JSON value into v. It refuses unknown members, members named twice or in other case
// (encoding/json takes both, so that two readers could understand one signed text differently), and anything behind the
// value. Errors name the member where they can.
func decodeStrict(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return inWords(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON text")
	}
	return checkMembers(text)
}

// inWords says what is wrong with a JSON text.
func inWords(err error) error {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON text ends too early")
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Errorf("%s: a JSON %s stands where another type is expected", wrong.Field, wrong.Value)
	default:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
}

// checkMembers takes a text that is known to be JSON, and refuses members that are named twice in one object or with
// other characters than those of this protocol's names. It looks at the octets alone: reports are long, and mostly strings.
func checkMembers(text []byte) error {
	type level struct {
		object, key bool     // key: a name is next
		seen        []string // the names of an object, few enough to look through
	}
	var open []level
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '{', '[':
			open = append(open, level{object: c == '{', key: c == '{'})
		case '}', ']':
			open = open[:len(open)-1]
		case ',':
			top := &open[len(open)-1]
			top.key = top.object
		case '"':
			end := endOfString(text, i+1)
			if len(open) > 0 && open[len(open)-1].key {
				top, name := &open[len(open)-1], string(text[i+1:end])
				if !plainName(name) {
					return fmt.Errorf("unknown field %q", name)
				}
				if slices.Contains(top.seen, name) {
					return fmt.Errorf("%s: stands twice in one object", name)
				}
				top.seen, top.key = append(top.seen, name), false
			}
			i = end
		}
	}
	return nil
}

// endOfString gives the place of the quotation mark that ends a string of JSON, whose contents begin at i.
func endOfString(text []byte, i int) int {
	for {
		i += bytes.IndexByte(text[i:], '"')
		escapes := 0
		for text[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
		i++
	}
}

// plainName tells whether a member's name consists of lower case letters, digits and underscores, as all names in a probe,
// a report and a JWS header do.
func plainName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}
