package openmpic

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/mpic/front"
	"github.com/stretchr/testify/require"
)

// TestStrangersKeepNoConnection: who cannot show a client's key does not keep one of the connections that there are for all.
//
// Holds: MPIC-08
func TestStrangersKeepNoConnection(t *testing.T) {
	sum := sha256.Sum256([]byte("the key"))
	s, err := NewServer(Config{Validator: nobody{}, Clients: []front.Client{{Name: "ra", APIKeySHA256: hex.EncodeToString(sum[:])}},
		Issuers: []string{"ca.example"}, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		keys   []string
		status int
		close  string
	}{
		"no key":        {nil, http.StatusUnauthorized, "close"},
		"another's key": {[]string{"a key"}, http.StatusForbidden, "close"},
		"two keys":      {[]string{"the key", "a key"}, http.StatusForbidden, "close"},
		"a client":      {[]string{"the key"}, http.StatusBadRequest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, nestedPath, strings.NewReader("{}"))
			r.TLS, r.Header = &tls.ConnectionState{}, http.Header{keyField: c.keys, "Content-Type": {"application/json"}}
			w := recorder{httptest.NewRecorder()}
			s.ServeHTTP(w, r)
			require.Equal(t, c.status, w.Code)
			require.Equal(t, c.close, w.Header().Get("Connection"))
		})
	}
}

// recorder is a connection whose other side never keeps waiting.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetReadDeadline(time.Time) error { return nil }
