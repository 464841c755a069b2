package rest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestABodyIsReadInAPlaceOfItsClient: a client that sends many bodies, and none to its end, has no more of them under way than it may.
//
// Holds: D11
func TestABodyIsReadInAPlaceOfItsClient(t *testing.T) {
	f := newFixture(t, &gate{}, nil)
	one := map[string]string{"Authorization": "Bearer " + keyOne, "Content-Type": "application/json"}
	c, err := tls.Dial("tcp", f.server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: gate.test\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"+
		"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n", validations, keyOne)
	require.NoError(t, err)
	line, err := bufio.NewReader(c).ReadString('\n') // it comes when the body begins to be read
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue")
	requireProblem(t, f.do(f.client(), "POST", validations, good(nil), one), 429, "client.overload")
	require.Equal(t, 422, f.post(good(nil)).StatusCode, "another client has its own")
	require.Equal(t, 404, f.do(f.client(), "GET", validations+"/1", "", one).StatusCode, "and records are read beside")
}

// TestRecordsAreReadInPlacesOfTheirClient: reading a record costs more than asking for it.
//
// Holds: D11
func TestRecordsAreReadInPlacesOfTheirClient(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	f := newFixture(t, &gate{reading: func() {
		entered <- struct{}{}
		<-leave
	}}, nil)
	one := map[string]string{"Authorization": "Bearer " + keyOne, "Content-Type": "application/json"}
	first := make(chan int, 1)
	go func() { first <- f.do(f.client(), "GET", validations+"/1", "", one).StatusCode }()
	<-entered
	requireProblem(t, f.do(f.client(), "GET", validations+"/1", "", one), 429, "client.overload")
	require.Equal(t, 422, f.do(f.client(), "POST", validations, good(nil), one).StatusCode, "validations are beside")
	close(leave)
	require.Equal(t, 404, <-first)
}

// TestStrangersFillNoLog: of what anybody can send few lines are written, and of each not much.
//
// Holds: D11
func TestStrangersFillNoLog(t *testing.T) {
	var log bytes.Buffer
	f := newFixture(t, &gate{unready: io.ErrUnexpectedEOF}, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, path := range []string{"/" + strings.Repeat("x", 8000), validations, "/readyz"} {
		for range 200 {
			r := httptest.NewRequest("GET", path, nil)
			r.TLS = &tls.ConnectionState{}
			w := httptest.NewRecorder()
			f.server.Config.Handler.ServeHTTP(w, r)
			require.Contains(t, []int{401, 404, 503}, w.Code)
			require.Equal(t, w.Code == 401, w.Header().Get("Connection") == "close")
		}
	}
	require.Less(t, bytes.Count(log.Bytes(), []byte("\n")), 200)
	for line := range bytes.Lines(log.Bytes()) {
		require.Less(t, len(line), 600)
	}
}

// TestAPermitHasNoMoreThanItsClientsPlaces: what is done at a time for one permit counts in the share of the client.
//
// Holds: D11
func TestAPermitHasNoMoreThanItsClientsPlaces(t *testing.T) {
	for key, places := range map[string]int{keyOne: 1, keyTwo: 64} {
		o := &office{permit: granted()}
		f := withOffice(t, o)
		headers := map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"}
		for range 2 { // they are given back
			r := f.do(f.client(), "POST", permits, `{"names":["example.com"],"account_uri":"https://ca.example/acct/1"}`, headers)
			require.Equal(t, 201, r.StatusCode, r.text)
			require.Equal(t, places, o.places)
		}
	}
}
