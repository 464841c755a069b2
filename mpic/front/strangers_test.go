package front

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/greedy"
)

// serveStrangers answers at /known whoever asks as a client, and elsewhere as a stranger.
func serveStrangers(t *testing.T, most int) *httptest.Server {
	t.Helper()
	s := NewStrangers()
	s.most = most
	clients, err := NewClients([]Client{{Name: "a", APIKeySHA256: digest("key a")}}, 1)
	require.NoError(t, err)
	client := clients.ByKey("key a")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/known" {
			defer client.Come(w, r)()
		} else {
			defer Answer(w, r)()
		}
		_, _ = io.WriteString(w, "ok\n")
	}))
	server.Listener = s.Listener(server.Listener)
	server.Config.ConnContext = s.ConnContext
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// TestTheOldestStrangerGoes: whoever holds connections open keeps neither a client out nor one that comes.
//
// Holds: D11, MPIC-08
func TestTheOldestStrangerGoes(t *testing.T) {
	server := serveStrangers(t, 2)
	client := server.Client()
	get := func(path string) {
		t.Helper()
		response, err := client.Get(server.URL + path)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	get("/known")
	var idle []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		idle = append(idle, c)
	}
	require.NoError(t, idle[0].SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := idle[0].Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the third closed the first")
	for range 5 { // a client on a connection of its own, beside two that are full
		get("/known")
		client.CloseIdleConnections()
	}
}

// TestAClientHasNoMoreConnectionsThanItNeeds: those beyond count among the strangers', of which the oldest goes.
//
// Holds: D11
func TestAClientHasNoMoreConnectionsThanItNeeds(t *testing.T) {
	const most = 2*defaultInFlight + spareConnections
	server := serveStrangers(t, 2)
	type conn struct {
		*tls.Conn
		*bufio.Reader
	}
	ask := func(c conn) error {
		if _, err := io.WriteString(c.Conn, "GET /known HTTP/1.1\r\nHost: gate.test\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(c.Reader, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		return err
	}
	var open []conn
	for range most + 4 {
		c, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		open = append(open, conn{c, bufio.NewReader(c)})
		require.NoError(t, ask(open[len(open)-1]), "it is answered on all of them")
	}
	for i, c := range open {
		if i == most || i == most+1 {
			require.Error(t, ask(c), i)
		} else {
			require.NoError(t, ask(c), i)
		}
	}
}

// TestAnswersThatNobodyTakesAreFew: 100 requests of a stranger who takes no answer. All but a few are reset, and keep nothing.
//
// Holds: D11
func TestAnswersThatNobodyTakesAreFew(t *testing.T) {
	const requests = 100
	server := serveStrangers(t, mostStrangers)
	asked := greedy.Dial(t, server.Listener.Addr().String())
	asked.Ask("/livez", requests)
	asked.Reset(requests - mostAnswers)
}

// TestAClientThatTakesNoAnswersKeepsFew: three connections, 250 requests on each.
//
// Holds: D11
func TestAClientThatTakesNoAnswersKeepsFew(t *testing.T) {
	const streams = 250
	server, left := serveStrangers(t, mostStrangers), spareRequests+2*defaultInFlight
	for ; left >= streams; left -= streams {
		c := greedy.Dial(t, server.Listener.Addr().String())
		c.Ask("/known", streams)
		c.Begun(streams)
	}
	c := greedy.Dial(t, server.Listener.Addr().String())
	c.Ask("/known", streams)
	c.Reset(streams - left)
}

// Holds: D11
func TestLinesAboutStrangersAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lines
		told := 0
		for range 1000 {
			if left, ok := l.Tell(); ok {
				require.Zero(t, left)
				told++
			}
		}
		require.Equal(t, strangerBurst, told)
		time.Sleep(time.Second)
		left, ok := l.Tell()
		require.True(t, ok)
		require.Equal(t, 1000-strangerBurst, left)
	})
}
