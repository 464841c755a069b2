package perspective

import (
	"errors"
	"fmt"
	"io"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decodeStrict reads exactly one JSON value into v. It refuses unknown members, members named twice or in other case or by escapes (so
// that two readers could not understand one signed text differently), what is not UTF-8, and anything behind the value. Errors name
// the member where they can.
func decodeStrict(text []byte, v any) error {
	if err := jsonv2.Unmarshal(text, v, jsonv2.RejectUnknownMembers(true)); err != nil {
		return inWords(err)
	}
	return plainNames(string(text))
}

// inWords says what is wrong with a JSON text.
func inWords(err error) error {
	var form *jsontext.SyntacticError
	var meaning *jsonv2.SemanticError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON text ends too early")
	case errors.As(err, &form) && errors.Is(form.Err, jsontext.ErrDuplicateName):
		return fmt.Errorf("%s: stands twice in one object", form.JSONPointer.LastToken())
	case errors.As(err, &form) && strings.HasSuffix(form.Err.Error(), " after top-level value"):
		return errors.New("something follows the JSON text")
	case errors.As(err, &meaning):
		return meant(meaning)
	default:
		return errors.New(strings.TrimPrefix(err.Error(), "jsontext: "))
	}
}

// meant says what is wrong with a value.
func meant(e *jsonv2.SemanticError) error {
	where := strings.ReplaceAll(strings.TrimPrefix(string(e.JSONPointer), "/"), "/", ".")
	kinds := map[jsontext.Kind]string{'n': "null", 't': "bool", 'f': "bool", '"': "string", '0': "number", '{': "object", '[': "array"}
	switch kind := kinds[e.JSONKind]; {
	case errors.Is(e.Err, jsonv2.ErrUnknownName):
		return fmt.Errorf("unknown field %q", e.JSONPointer.LastToken())
	case e.Err != nil && where != "":
		return fmt.Errorf("%s: %w", where, e.Err)
	case e.Err != nil:
		return e.Err
	case where == "":
		return fmt.Errorf("a JSON %s stands where another type is expected", kind)
	default:
		return fmt.Errorf("%s: a JSON %s stands where another type is expected", where, kind)
	}
}

// plainNames takes a text that is known to be JSON, and refuses members that are named with other characters than those of this
// protocol's names. It looks at the octets alone: reports are long, and mostly strings. A string with a colon behind it is a name.
func plainNames(text string) error {
	for i := 0; ; {
		start := strings.IndexByte(text[i:], '"')
		if start < 0 {
			return nil
		}
		start += i + 1
		end := endOfString(text, start)
		for i = end + 1; i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r'); {
			i++
		}
		if name := text[start:end]; i < len(text) && text[i] == ':' && !plainName(name) {
			return fmt.Errorf("unknown field %q", name)
		}
	}
}

// endOfString gives the place of the quotation mark that ends a string of JSON, whose contents begin at i.
func endOfString(text string, i int) int {
	for {
		i += strings.IndexByte(text[i:], '"')
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
	return len(s) > 0
}

// mostObjects is how many objects a report may have in it. An honest one has some hundred: one for each query, lookup, stage and zone. Three
// octets of an empty one stand for two thousand in memory, so that a reply of the length that is allowed could otherwise take gigabytes.
const mostObjects = 1 << 14

// crowded tells whether a text, if it is JSON, has more objects than that. Braces in strings are those of pages and records, which others choose:
// they do not count.
func crowded(text string) bool {
	const brace = "{"
	if strings.Count(text, brace) <= mostObjects {
		return false
	}
	for objects := 0; ; {
		before, rest, more := strings.Cut(text, `"`)
		if objects += strings.Count(before, brace); objects > mostObjects || !more {
			return objects > mostObjects
		}
		for { // to the end of the string
			i := strings.IndexAny(rest, `"\`)
			if i < 0 || i+1 == len(rest) {
				return false // nothing follows: there are no more objects, or its reader will say that it is no JSON
			}
			if rest[i] == '"' {
				text = rest[i+1:]
				break
			}
			rest = rest[i+2:]
		}
	}
}
