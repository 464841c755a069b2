package openmpic

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/quorate/quorate/mpic/front"
)

// maxDepth is how deep the values of a request or a reply may nest; the specification's have seven levels.
const maxDepth = 16

// object is a JSON object that was read by readObject: numbers are json.Number.
type object map[string]any

// readObject reads one JSON object that no two readers understand differently.
func readObject(text []byte) (object, error) { return front.Strict[object](text, maxDepth) }

// text gives a member that is a text; there is false where it is absent or null.
func (o object) text(name string) (s string, there bool, err error) {
	v, ok := o[name]
	if !ok || v == nil {
		return "", false, nil
	}
	if s, ok = v.(string); !ok {
		return "", true, fmt.Errorf("%s is not a text", name)
	}
	return s, true, nil
}

// truth gives a member that is true or false. The text "true" is neither.
func (o object) truth(name string) (b, there bool, err error) {
	v, ok := o[name]
	if !ok || v == nil {
		return false, false, nil
	}
	if b, ok = v.(bool); !ok {
		return false, true, fmt.Errorf("%s is neither true nor false", name)
	}
	return b, true, nil
}

// whole gives a member that is a whole number, as a number or as a text: clients and servers differ.
func (o object) whole(name string) (n int64, there bool, err error) {
	switch v := o[name].(type) {
	case nil:
		return 0, false, nil
	case json.Number:
		n, err = wholeNumber(v.String())
	case string:
		n, err = wholeNumber(v)
	default:
		err = errors.New("it is not a number")
	}
	if err != nil {
		return 0, true, fmt.Errorf("%s: %w", name, err)
	}
	return n, true, nil
}

// wholeNumber reads "3", "3.0" and "1.5e3", each exactly; what is above 2^63 is an error.
func wholeNumber(s string) (int64, error) {
	if len(s) > 40 || strings.ContainsAny(s, "/xXoObBpP_") || strings.Contains(strings.ToLower(s), "inf") {
		return 0, errors.New("it is not a whole number")
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 && len(s)-i > 4 { // 1e999999999 would be written out
		return 0, errors.New("it is not a whole number")
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return 0, errors.New("it is not a whole number")
	}
	return r.Num().Int64(), nil
}

// object gives a member that is an object, nil where it is absent or null.
func (o object) object(name string) (object, error) {
	v, ok := o[name]
	if !ok || v == nil {
		return nil, nil
	}
	inner, ok := v.(object)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", name)
	}
	return inner, nil
}

// texts gives a member that is a list of texts, or one text with a line for each; nil where it is absent or null. Open MPIC's own code
// gives a list where its specification says text.
func (o object) texts(name string) ([]string, error) {
	switch v := o[name].(type) {
	case nil:
		return nil, nil
	case string:
		var lines []string
		for line := range strings.Lines(v) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		return lines, nil
	case []any:
		lines := make([]string, len(v))
		for i := range v {
			s, ok := v[i].(string)
			if !ok {
				return nil, fmt.Errorf("%s has something that is not a text", name)
			}
			lines[i] = s
		}
		return lines, nil
	default:
		return nil, fmt.Errorf("%s is neither a text nor a list of texts", name)
	}
}
