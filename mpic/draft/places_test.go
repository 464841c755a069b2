package draft

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
)

// recorder is a connection whose other side never keeps waiting.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetReadDeadline(time.Time) error { return nil }

// TestBothAttemptsOfARequestHavePlaces: a request that asks for control and CAA has two attempts run at a time only where its client may have two.
//
// Holds: D11
func TestBothAttemptsOfARequestHavePlaces(t *testing.T) {
	for name, want := range map[string]int32{"one": 1, "two": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at, most atomic.Int32
				c := &carrier{carry: func(mpic.Call) (mpic.Result, error) {
					if now := at.Add(1); now > most.Load() {
						most.Store(now)
					}
					time.Sleep(time.Second)
					at.Add(-1)
					return mpic.Result{}, mpic.ErrClosed
				}}
				s, err := NewServer(Config{Carrier: c, Logger: slog.New(slog.DiscardHandler),
					Clients: []front.Client{{Name: "a", APIKeySHA256: digest("key"), InFlight: int(want)}}})
				require.NoError(t, err)
				r := httptest.NewRequest(http.MethodPost, Path,
					strings.NewReader(`{"method":"dns","domain":"example.com","record-type":"TXT","prefix":"_acme-challenge","expected":"X"}`))
				r.TLS, r.Header = &tls.ConnectionState{}, http.Header{"Authorization": {"Bearer key"}, "Content-Type": {"application/json"}}
				w := recorder{httptest.NewRecorder()}
				s.ServeHTTP(w, r)
				require.Equal(t, 503, w.Code)
				require.Len(t, c.since(), 2)
				require.Equal(t, want, most.Load())
				leave, full := s.clients.Enter(s.clients.ByKey("key"))
				require.Nil(t, full, "both places are given back")
				leave()
			})
		})
	}
}
