package db

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const testToken = "DGyRejmCefe7v4NfDGDKfA"

// The tokens leave a document in each form in which a perspective or a web server may have written them, and come back.
//
// Holds: REC-04
func TestREC_04_NoFormOfATokenStaysInADocument(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	escaped, percent := "", ""
	for _, c := range testToken {
		escaped += fmt.Sprintf(`\u%04x`, c)
		percent += fmt.Sprintf("%%%02X", c)
	}
	jws := b64([]byte(`{"alg":"EdDSA"}`)) + "." + b64([]byte(`{"url":"http://a/`+testToken+`"}`)) + ".AAAA"
	for name, text := range map[string]string{
		"as it is":                   `{"token":"` + testToken + `"}`,
		"inside of more":             `{"key":"` + testToken + `.thumb","url":"http://a/` + testToken + `?x"}`,
		"base64":                     `{"body":"` + base64.StdEncoding.EncodeToString([]byte(testToken)) + `"}`,
		"base64, one octet later":    `{"body":"` + base64.StdEncoding.EncodeToString([]byte("x"+testToken+"yz")) + `"}`,
		"base64, two octets later":   `{"body":"` + base64.StdEncoding.EncodeToString([]byte("xy"+testToken+"z")) + `"}`,
		"a signed reply":             `{"signed":"` + jws + `"}`,
		"a signed reply, cut":        `{"signed":"` + strings.TrimSuffix(jws, ".AAAA") + `"}`,
		"a signed reply in base64":   `{"signed":"` + b64([]byte(`{"alg":1}`)) + "." + b64([]byte(`{"s":"`+b64([]byte(testToken))+`"}`)) + `"}`,
		"hexadecimal":                `{"body":"` + hex.EncodeToString([]byte(testToken)) + `"}`,
		"hexadecimal, upper case":    `{"body":"` + strings.ToUpper(hex.EncodeToString([]byte(testToken))) + `"}`,
		"percent-encoded":            `{"location":"http://a/` + percent + `"}`,
		"partly percent-encoded":     `{"location":"http://a/%44` + testToken[1:] + `"}`,
		"escapes of JSON":            `{"body":"` + escaped + `"}`,
		"one escape of JSON":         `{"body":"\u0044` + testToken[1:] + `"}`,
		"a member's name":            `{"` + testToken + `":1,"` + percent + `":2}`,
		"beside itself":              `{"a":"` + testToken + ` ` + b64([]byte(testToken)) + `","b":"` + testToken + `"}`,
		"a string in another":        `{"a":"` + percent + `","b":"http://a/` + percent + `/c"}`,
		"quotation marks around":     `{"a":"\"` + testToken + `\\"}`,
		"a string that ends in text": `{"a":"\\","b":"` + percent + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := sealer{}.seal(rawJSON(text), testToken)
			require.NoError(t, err)
			d := Document{Bytes: doc.bytes, SHA256: doc.sha256}
			masked, err := d.Text()
			require.NoError(t, err)
			require.Contains(t, string(masked), "[sha256:")
			require.False(t, exposes(string(masked), testToken), "%s", masked)
			require.True(t, exposes(text, testToken), "the search finds it in what was sealed")
			d.Secrets = doc.secrets
			whole, err := d.Revealed()
			require.NoError(t, err)
			require.Equal(t, text, string(whole))
			again, err := d.masked([]byte(text), testToken)
			require.NoError(t, err)
			require.Equal(t, string(masked), string(again))
		})
	}
	doc, err := sealer{}.seal(rawJSON(`{"a":"no token","b":"%41","c":"`+jws[:12]+`"}`), testToken)
	require.NoError(t, err)
	require.Empty(t, doc.secrets, "nothing was there to be taken out")
}

// rawJSON is a text that is JSON already.
type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func BenchmarkConcealed(b *testing.B) {
	text := `{"a":["` + strings.Repeat(strings.Repeat("x", 200)+`","`, 1000) + testToken + `"]}`
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		concealed(text, []string{testToken})
	}
}
