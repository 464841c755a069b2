package db

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// A signed reply that was rejected stands in the record as the JWS that came. A token in its payload is taken out of it all the same.
//
// Holds: REC-01
func TestATokenInARejectedReplyIsTakenOut(t *testing.T) {
	const token = "DGyRejmCefe7v4NfDGDKfA-DGyRejmCefe7v4NfDGDKfA"
	for name, payload := range map[string]string{
		"at one place in base64":    `{"dcv":{"observed":"` + token + `"}}`,
		"one octet further":         `{"dcv":{"observed": "` + token + `"}}`,
		"two octets further":        `{"dcv":{"observed":  "` + token + `"}}`,
		"in a text that is no JSON": `<` + token + `>`,
	} {
		t.Run(name, func(t *testing.T) {
			signed := "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
			reply := mpic.Attestation{Perspective: "tokyo", State: mpic.Rejected, Signed: signed, Problem: &va.Problem{Code: "perspective.replay", Detail: "x"}}
			d, err := sealer{digestsOnly: true}.seal(lateReply{Attempt: "A1", Reply: reply}, token)
			require.NoError(t, err)
			text, err := Document{Bytes: d.bytes}.Text()
			require.NoError(t, err)
			require.NotContains(t, string(text), signed)
			require.False(t, exposes(text, token))
		})
	}
}
