package db

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/quorate/quorate/mpic"
)

// read reads a decision's document in the form in which json.Marshal wrote it, and goes over its text once: encoding/json would scan
// each report again for every object around it. False is for anything else, and leaves it to encoding/json to read or refuse. What it
// takes, encoding/json takes too, and reads the same: no name but those below, each once, and each value is read whole by the
// package.
func (c *closing) read(text []byte) bool {
	var out closing
	var seen []string
	rest, ok := bytes.CutPrefix(text, []byte("{"))
	for ok {
		var name string
		var value []byte
		if name, rest, ok = cutName(rest); !ok || slices.Contains(seen, name) {
			return false
		}
		seen = append(seen, name)
		if value, rest, ok = cutValue(rest); !ok || !out.member(name, value) {
			return false
		}
		if string(rest) == "}" {
			*c = out
			return true
		}
		rest, ok = bytes.CutPrefix(rest, []byte(","))
	}
	return false
}

func (c *closing) member(name string, value []byte) bool {
	switch name {
	case "number":
		return json.Unmarshal(value, &c.Number) == nil
	case "intent":
		return json.Unmarshal(value, &c.Intent) == nil
	case "gate":
		return json.Unmarshal(value, &c.Gate) == nil
	case "primary":
		c.Primary = new(mpic.PrimaryReport)
		return value[0] == '{' && c.Primary.UnmarshalJSON(value) == nil
	case "remotes":
		return c.attestations(value)
	case "decided":
		return json.Unmarshal(value, &c.Decided) == nil
	case "decision":
		return json.Unmarshal(value, &c.Decision) == nil
	}
	return false
}

func (c *closing) attestations(list []byte) bool {
	rest, ok := bytes.CutPrefix(list, []byte("["))
	for ok {
		var value []byte
		if value, rest, ok = cutValue(rest); !ok || value[0] != '{' {
			return false
		}
		var a mpic.Attestation
		if a.UnmarshalJSON(value) != nil {
			return false
		}
		c.Remotes = append(c.Remotes, a)
		if string(rest) == "]" {
			return true
		}
		rest, ok = bytes.CutPrefix(rest, []byte(","))
	}
	return false
}

// cutName cuts a member's name off, with quotation marks and colon: lower-case letters alone.
func cutName(text []byte) (name string, rest []byte, ok bool) {
	text, ok = bytes.CutPrefix(text, []byte(`"`))
	end := bytes.IndexByte(text, '"')
	if !ok || end < 0 {
		return "", nil, false
	}
	for _, c := range text[:end] {
		if c < 'a' || c > 'z' {
			return "", nil, false
		}
	}
	rest, ok = bytes.CutPrefix(text[end+1:], []byte(":"))
	return string(text[:end]), rest, ok
}

// cutValue cuts off what must be one value if the text is JSON. Whether it is, is for its reader to find.
func cutValue(text []byte) (value, rest []byte, ok bool) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; ; i++ { // to the next quotation mark that no backslash stands before
				n := bytes.IndexByte(text[i:], '"')
				if n < 0 {
					return nil, nil, false
				}
				i += n
				escapes := 0
				for text[i-1-escapes] == '\\' {
					escapes++
				}
				if escapes%2 == 0 {
					break
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth == 0 {
				return text[:i], text[i:], i > 0
			}
			depth--
		case ',':
			if depth == 0 {
				return text[:i], text[i:], i > 0
			}
			continue
		default:
			continue
		}
		if depth == 0 { // a string, an object or a list has ended
			return text[:i+1], text[i+1:], true
		}
	}
	return nil, nil, false
}
