package draft

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
)

// TestARecordWhoseTagFillsItIsRead: a tag of 254 octets, whose length with the two octets before it does not fit in one.
//
// Holds: F6
func TestARecordWhoseTagFillsItIsRead(t *testing.T) {
	for _, n := range []int{253, 254, 255} {
		data := append([]byte{0, byte(n)}, strings.Repeat("a", n)+"value"...)
		text, err := json.Marshal(map[string]any{"success": true, "perspectives": map[string]any{"x": map[string]any{"success": true}},
			"caa": map[string]any{"domain": "example.com", "records": []string{base64.StdEncoding.EncodeToString(data)}}})
		require.NoError(t, err)
		r, err := readReply(text)
		require.NoError(t, err)
		require.Equal(t, []string{"example.com.\t0\tIN\tCAA\t0 " + strings.Repeat("a", n) + ` "value"`}, r.records)
	}
}

// breaking breaks down when it is asked.
type breaking struct{}

func (breaking) RoundTrip(*http.Request) (*http.Response, error) { panic("out of range") }

// TestAskingThatBreaksDownEndsNoGate
//
// Holds: MPIC-03
func TestAskingThatBreaksDownEndsNoGate(t *testing.T) {
	s := newService(t, func(http.ResponseWriter, *http.Request) {})
	s.client.client.Transport = breaking{}
	for _, a := range s.all(probe()) {
		require.Equal(t, mpic.Unreachable, a.State)
		require.Equal(t, "perspective.panic", a.Problem.Code)
		require.Contains(t, a.Problem.Detail, "out of range")
	}
}

// FuzzRequest: whatever a client sends is read or refused.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"method":"dns","domain":"example.com","record-type":"TXT","prefix":"_acme-challenge","expected":"x","caa":true}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		object, err := decode(text)
		if err != nil {
			return
		}
		calls, err := callsOf(object)
		require.True(t, err != nil || len(calls) > 0)
	})
}
