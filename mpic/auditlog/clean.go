package auditlog

import (
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/quorate/quorate/va"
)

// How long texts may be in a line, in octets before they are escaped.
const (
	maxName    = 255
	maxCaller  = 256
	maxAccount = 1024
	// maxReasons is how many codes a line may have.
	maxReasons = 32
	// leastSecret is how short a secret is looked for: a shorter one would be found everywhere, and is none.
	leastSecret = 8
)

// withheld stands for a text that holds a token, and for a code that is none.
const (
	withheld = "[withheld]"
	noCode   = "unnamed"
)

// cleaner makes what others wrote fit for a line: bounded, and without what is secret until it was used.
type cleaner struct {
	secrets   []string
	truncated []string
}

// secrets are the token, and what is made of it. Where they are in the text of a caller, that is not repeated.
func secrets(r va.Request) []string {
	_, thumbprint, _ := strings.Cut(r.KeyAuthorization, ".")
	return slices.DeleteFunc([]string{r.Token, r.KeyAuthorization, thumbprint, r.KeyAuthorizationDigest, r.Expected()},
		func(s string) bool { return len(s) < leastSecret })
}

func (c *cleaner) cut(field string) {
	if !slices.Contains(c.truncated, field) {
		c.truncated = append(c.truncated, field)
	}
}

// text bounds a text.
func (c *cleaner) text(field, s string, most int) string {
	for _, secret := range c.secrets {
		if strings.Contains(strings.ToLower(s), strings.ToLower(secret)) {
			return withheld
		}
	}
	if len(s) > most {
		c.cut(field)
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// code gives a problem's code, empty where there is none.
func (c *cleaner) code(p *va.Problem) string {
	switch {
	case p == nil:
		return ""
	case !va.IsCode(p.Code) || c.text("", p.Code, maxCaller) != p.Code:
		return noCode
	default:
		return p.Code
	}
}

// codes gives the codes of problems in their order, each once.
func (c *cleaner) codes(problems []*va.Problem) (out []string) {
	for _, p := range problems {
		out = c.add(out, p)
	}
	return out
}

// add adds a problem's code to those that are there, once.
func (c *cleaner) add(codes []string, p *va.Problem) []string {
	code := c.code(p)
	switch {
	case code == "" || slices.Contains(codes, code):
	case len(codes) == maxReasons:
		c.cut("reasons")
	default:
		codes = append(codes, code)
	}
	return codes
}

// ascii escapes all of a JSON text that is not printable ASCII, as RFC 8259 section 7 lets one: terminals and log collectors then have
// nothing to interpret. encoding/json has escaped the control characters below space already.
func ascii(text []byte) []byte {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, len(text)+1)
	unit := func(u rune) {
		out = append(out, '\\', 'u', digits[u>>12&15], digits[u>>8&15], digits[u>>4&15], digits[u&15])
	}
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			out = append(out, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			unit(high)
			unit(low)
		default:
			unit(r)
		}
	}
	return out
}
