package mpic

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
)

// What a perspective signed and nobody believed is kept, and yet it makes no record that some readers cannot read: names that stand twice, octets
// that are not UTF-8, nesting or numbers without end.
//
// Holds: REC-01, D11
func TestARejectedReplySpoilsNoRecord(t *testing.T) {
	for name, payload := range map[string]string{
		"a name that stands twice": `{"attempt":"a","attempt":"b"}`,
		"no UTF-8":                 "{\"attempt\":\"\xff\"}",
		"half a pair":              `{"attempt":"\ud800"}`,
		"deep":                     `{"a":` + strings.Repeat("[", 9996) + strings.Repeat("]", 9996) + `}`,
		"a long number":            `{"a":` + strings.Repeat("1", 30<<10) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			signed := "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
			a := Attestation{Perspective: "tokyo", State: Rejected, Problem: noAnswer, Signed: signed}
			text, err := json.Marshal(a)
			require.NoError(t, err)
			require.True(t, utf8.Valid(text))
			require.True(t, json.Valid([]byte(`{"remotes":[`+string(text)+`]}`)), "as it stands in a document")
			var read struct {
				Signed string `json:"signed"`
			}
			require.NoError(t, jsonv2.Unmarshal(text, &read), "a reader that takes no name twice")
			require.Equal(t, signed, read.Signed, "it is told as it came")
			var again Attestation
			require.NoError(t, json.Unmarshal(text, &again))
			require.Equal(t, a, again)
		})
	}
}
