package perspective

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// decodeStrict reads exactly one JSON value into v. It refuses unknown members, members named twice or in other case
// (encoding/json takes both, so that two readers could understand one signed text differently), and anything behind the
// value. Errors name the member where they can.
func decodeStrict(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
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
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON text")
	}
	return checkMembers(text)
}

// checkMembers takes a text that is known to be JSON, and refuses members that are named twice in one object or with
// other characters than those of this protocol's names.
func checkMembers(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	type level struct {
		seen map[string]bool // nil in an array
		key  bool            // a name is next
	}
	var open []level
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var top *level
		if len(open) > 0 {
			top = &open[len(open)-1]
		}
		if name, isString := t.(string); isString && top != nil && top.key {
			if !plainName(name) {
				return fmt.Errorf("unknown field %q", name)
			}
			if top.seen[name] {
				return fmt.Errorf("%s: stands twice in one object", name)
			}
			top.seen[name], top.key = true, false
			continue
		}
		switch t {
		case json.Delim('{'):
			open = append(open, level{seen: map[string]bool{}, key: true})
			continue
		case json.Delim('['):
			open = append(open, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > 0 { // a value is complete
			top = &open[len(open)-1]
			top.key = top.seen != nil
		}
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
