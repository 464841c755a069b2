package db

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
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
			require.False(t, exposes(masked, testToken), "%s", masked)
			require.True(t, exposes([]byte(text), testToken), "the search finds it in what was sealed")
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

// A token whose first letters are what JSON writes of the octet before: what is left is JSON still, and comes back.
//
// Holds: REC-04
func TestREC_04_NoEscapeIsCut(t *testing.T) {
	for token, body := range map[string]string{"nABCDEFGHIJKLMNOP": "x\nABCDEFGHIJKLMNOP", "3cABCDEFGHIJKLMNOP": "<ABCDEFGHIJKLMNOP", "u003cABCDEFGHIJKLMNOP": "<ABCDEFGHIJKLMNOP",
		"0ABCDEFGHIJKLMNOP": "\x10ABCDEFGHIJKLMNOP", "ABCDEFGHIJKLMNOPQ": "\\\"ABCDEFGHIJKLMNOPQ\\"} {
		t.Run(token, func(t *testing.T) {
			text, err := json.Marshal([]string{body, token, "x" + token})
			require.NoError(t, err)
			doc, err := sealer{}.sealText(text, token)
			require.NoError(t, err)
			d := Document{Bytes: doc.bytes, SHA256: doc.sha256, Secrets: doc.secrets}
			masked, err := d.Text()
			require.NoError(t, err)
			require.True(t, json.Valid(masked), "%s", masked)
			require.False(t, exposes(masked, token))
			whole, err := d.Revealed()
			require.NoError(t, err)
			require.Equal(t, string(text), string(whole))
			again, err := d.masked(text, token)
			require.NoError(t, err)
			require.Equal(t, string(masked), string(again))
		})
	}
	doc, err := sealer{}.sealText([]byte(`"{\"token\":\"`+testToken+`\"}"`), testToken)
	require.NoError(t, err)
	masked, err := Document{Bytes: doc.bytes}.Text()
	require.NoError(t, err)
	require.Regexp(t, `^"\{\\"token\\":\\"\[sha256:[0-9a-f]{64}\]\\"\}"$`, string(masked), "an escape that ends before the token is not cut")
}

// An applicant's name server can answer with thousands of strings that hold the token in another form, for each perspective others. What they
// come to grows with their length, not with its square: these were minutes.
//
// Holds: REC-04
func TestREC_04_ManyStringsThatHoldAToken(t *testing.T) {
	text := []byte(`["` + testToken + `"`)
	for i := range 20_000 {
		text = fmt.Appendf(text, `,"%d.%s"`, i, hex.EncodeToString([]byte(testToken))+strings.Repeat("x", 100))
	}
	text = append(text, ']')
	doc, err := sealer{}.sealText(text, testToken)
	require.NoError(t, err)
	d := Document{Bytes: doc.bytes, Secrets: doc.secrets}
	whole, err := d.Revealed()
	require.NoError(t, err)
	require.True(t, bytes.Equal(text, whole))
	var kept secrets
	require.NoError(t, json.Unmarshal(doc.secrets, &kept))
	require.Len(t, kept.Values, 20_001)
	kept.Values = append(kept.Values, "what was never there")
	d.Secrets, err = json.Marshal(kept)
	require.NoError(t, err)
	_, err = d.Revealed()
	require.ErrorIs(t, err, ErrDamaged)
}

// What a few octets in a document stand for cannot be made to fill the memory of who reads it.
//
// Holds: REC-04
func TestREC_04_WhatWasTakenOutIsBounded(t *testing.T) {
	hidden := secrets{Salt: newSalt(), Values: []string{strings.Repeat("x", 1000)}}
	text := []byte(`["` + strings.Repeat(hidden.commitment(hidden.Values[0]), 10) + `"]`)
	whole, err := hidden.reveal(text, 10_004)
	require.NoError(t, err)
	require.Len(t, whole, 10_004)
	_, err = hidden.reveal(text, 9_999)
	require.Error(t, err)
}

// rawJSON is a text that is JSON already.
type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func BenchmarkConcealed(b *testing.B) {
	text := `{"a":["` + strings.Repeat(strings.Repeat("x", 200)+`","`, 1000) + testToken + `"]}`
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		concealed([]byte(text), testToken)
	}
}
