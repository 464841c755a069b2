package pebble

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzJWS sends anything as the body of a challenge's POST. No such request has a fresh nonce, so none may begin, be
// answered with a success, or reach Pebble's own VA, whatever it looks like.
func FuzzJWS(f *testing.F) {
	g := &gate{sees: all}
	s := start(f, g.Validate)
	client := s.newClient()
	_, _, ch := client.offered1("shop.example.com", "http-01")
	id := strings.TrimPrefix(ch.URL, s.base.String()+challengePath)
	begin, read := client.sign(ch.URL, "bm9uY2U", "{}"), client.sign(ch.URL, "bm9uY2U", "")
	s.http.Close() // from here on without sockets, whose own work would look to the fuzzer like news
	for _, seed := range []string{begin, read, "", "{}", `{"payload":"","protected":"e30","signature":""}`,
		strings.Replace(begin, `"payload":"e30"`, `"payload":""`, 1),
		strings.Replace(read, `"payload":""`, `"Payload":"e30","payload":""`, 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, ch.URL, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/jose+json")
		r.Header.Set("User-Agent", "fuzz")
		r.RequestURI = r.URL.Path
		s.ServeHTTP(w, r)
		require.GreaterOrEqual(t, w.Code, 400, w.Body.String())
		require.Equal(t, "pending", s.store.GetChallengeByID(id).Status)
		require.Empty(t, g.asked())
		require.NotContains(t, s.logs.take(), vaWasAsked)
	})
}
