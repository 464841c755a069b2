package db

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// look is how a text is searched for a token at first: nearly all do not hold it, or as it is.
type look struct {
	token string
	// search is for the token, and then for its forms.
	search *search
}

func newLook(token string) look {
	return look{token, newSearch(append([]string{token}, forms(token)...))}
}

// at tells whether the token stands in a JSON text as it is, and whether there may be something in it that only concealed and exposes can
// tell. Where it says no to the latter they find it in no other form: such a form stands as it is in the text, or in a
// string that holds an escape by number or a percent sign, or that begins as a JWS does. What the other escapes of JSON stand for is
// no part of a token, nor of any of its forms.
func (l look) at(text []byte) (plain, otherwise bool) {
	for from := 0; ; {
		at, which := l.search.next(text, from)
		if at < 0 {
			break
		}
		if which > 0 || bytes.IndexByte(text[max(0, at-5):at], '\\') >= 0 { // an escape has six octets at most
			return plain, true
		}
		plain, from = true, at+1
	}
	if bytes.IndexByte(text, '%') >= 0 || bytes.Contains(text, []byte(`\u`)) {
		return plain, true
	}
	const jws = `"eyJ`
	for {
		start := bytes.Index(text, []byte(jws))
		if start < 0 {
			return plain, false
		}
		text = text[start+1:]
		end := bytes.IndexByte(text, '"')
		if end < 0 {
			return plain, true
		}
		if l.suspects(text[:end]) {
			return plain, true
		}
		text = text[end:]
	}
}

// suspects tells whether there may be a token in what a string decodes to that begins as a JWS does. What stands in it as it is, was seen.
func (l look) suspects(literal []byte) bool {
	if bytes.IndexByte(literal, '\\') >= 0 {
		return true
	}
	for part := range bytes.SplitSeq(literal, []byte(".")) {
		decoded := make([]byte, base64.RawURLEncoding.DecodedLen(len(part)))
		n, _ := base64.RawURLEncoding.Decode(decoded, part) // as far as it goes, as holds has it
		decoded = decoded[:n]
		if at, _ := l.search.next(decoded, 0); at >= 0 || bytes.ContainsAny(decoded, `\%`) || bytes.HasPrefix(decoded, []byte("eyJ")) {
			return true
		}
	}
	return false
}

// concealed gives the values that are taken out of a JSON text so that the token is left in it in no form: whole strings
// that hold it in another form than its own (base64, hexadecimal, percent-encoding, escapes of JSON), or where an escape would be cut, and
// then the token if it still stands there as it is. The text is that of json.Marshal; the values are parts of it.
func concealed(text []byte, token string) []string {
	if !maskable(token) {
		return nil
	}
	var values []string
	plain, from, seen, needles := false, 0, map[string]bool{}, forms(token)
	eachString(text, func(start, end int) {
		literal := string(text[start:end])
		if !seen[literal] {
			// What stands there as it is, is masked by itself.
			if !severed(literal, token) && !holds(strings.ReplaceAll(literal, token, " "), token, needles, 3) {
				return
			}
			seen[literal] = true
			values = append(values, literal)
		}
		plain, from = plain || bytes.Contains(text[from:start], []byte(token)), end
	})
	if plain || bytes.Contains(text[from:], []byte(token)) {
		values = append(values, token)
	}
	return values
}

// severed tells whether the token begins within an escape of a string, which would be none any more if the token were taken out alone: a
// body with a line feed before "ABC" is `\nABC`, and that holds the token "nABC".
func severed(literal, token string) bool {
	for i := 0; i < len(literal); i++ {
		if literal[i] != '\\' {
			continue
		}
		last := i + 1
		if strings.HasPrefix(literal[last:], "u") {
			last += 4
		}
		for i < last {
			i++
			if i < len(literal) && strings.HasPrefix(literal[i:], token) {
				return true
			}
		}
	}
	return false
}

// commitment is what stands in a text in the place of a value.
var commitment = regexp.MustCompile(`^\[sha256:[0-9a-f]{64}\]$`)

// taken is a signed reply that was taken out as a whole.
var taken = regexp.MustCompile(`"signed":("\[sha256:[0-9a-f]{64}\]")`)

// readable makes a text readable from which whole replies were taken: what is left of one is its state and its times.
func readable(text []byte) []byte {
	if !bytes.Contains(text, []byte(`"signed":"[sha256:`)) {
		return text
	}
	return taken.ReplaceAll(text, []byte(`"withheld":$1`))
}

// exposes tells whether a token stands in a JSON text in any form.
func exposes(text []byte, token string) bool {
	needles := forms(token)
	found := holds(string(text), token, needles, 0)
	eachString(text, func(start, end int) {
		if literal := text[start:end]; !found && (bytes.ContainsAny(literal, `\%`) || bytes.HasPrefix(literal, []byte("eyJ"))) {
			found = holds(string(literal), token, needles, 3)
		}
	})
	return found
}

// forms are the encodings of a token that a search can find: base64 at each of the three places that it can have in what is encoded,
// and hexadecimal.
func forms(token string) []string {
	out := []string{hex.EncodeToString([]byte(token)), strings.ToUpper(hex.EncodeToString([]byte(token)))}
	for shift := range 3 {
		// The characters at both ends depend on the neighbours as well.
		encoded := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + token))
		first, whole := (shift*8+5)/6, (shift+len(token))*8/6
		out = append(out, encoded[first:whole])
	}
	return out
}

// holds looks for a token in a string and in what it decodes to, so deep.
func holds(s, token string, needles []string, depth int) bool {
	if strings.Contains(s, token) || slices.ContainsFunc(needles, func(n string) bool { return strings.Contains(s, n) }) {
		return true
	}
	if depth == 0 {
		return false
	}
	if strings.Contains(s, `\`) {
		var unescaped string
		if json.Unmarshal([]byte(`"`+s+`"`), &unescaped) == nil && unescaped != s && holds(unescaped, token, needles, depth-1) {
			return true
		}
	}
	if strings.Contains(s, "%") {
		if decoded := percentDecoded(s); decoded != s && holds(decoded, token, needles, depth-1) {
			return true
		}
	}
	if !strings.HasPrefix(s, "eyJ") { // a JWS begins so: what is encoded in its payload is encoded twice
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		decoded, _ := base64.RawURLEncoding.DecodeString(part) // as far as it goes: it may have been cut
		if len(decoded) > 0 && holds(string(decoded), token, needles, depth-1) {
			return true
		}
	}
	return false
}

// percentDecoded decodes what is percent-encoded (RFC 3986 section 2.1), and leaves the rest.
func percentDecoded(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if octet, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.Write(octet)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// eachString visits the strings of a JSON text as they are written, by their places without their quotation marks.
func eachString(text []byte, visit func(start, end int)) {
	for at := 0; ; {
		next := bytes.IndexByte(text[at:], '"')
		if next < 0 {
			return
		}
		start := at + next + 1
		end := start
		for end < len(text) && text[end] != '"' {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(text) {
			return
		}
		visit(start, end)
		at = end + 1
	}
}
