package perspective

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
)

// speaking is a perspective that writes octets of its own to each probe that comes, on connections that it keeps open. say gets the
// connection, the number of the probe from 0, and the report that would answer it, signed; false ends the connection.
func speaking(t *testing.T, id *Identity, say func(c net.Conn, n int, signed string) bool) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.certificate},
		ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"http/1.1"}})
	require.NoError(t, err)
	ended, n := make(chan struct{}), 0
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for r := bufio.NewReader(c); ; { // one connection at a time: these probes come one after the other
				request, err := http.ReadRequest(r)
				if err != nil {
					break
				}
				body, err := io.ReadAll(request.Body)
				if err != nil {
					break
				}
				probe, p := decodeProbe(body, time.Now())
				if p != nil {
					t.Errorf("no probe: %s", p.Detail)
					break
				}
				signed, err := id.sign(passing(probe))
				n++
				if err != nil || !say(c, n-1, signed) {
					break
				}
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		<-ended
	})
	return "https://" + l.Addr().String()
}

func inHTTP(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// Whatever a perspective writes, and whenever, an answer is one to the probe that it is taken for: it may spoil its own connection, and the next
// probe has another.
//
// Holds: MPIC-09, D11
func TestAnswersDoNotStrayToOtherProbes(t *testing.T) {
	endless := strings.Repeat("x", 8<<10)
	chunked := func(body, trailer string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n", len(body), body, trailer)
	}
	// flood writes until nobody reads any more.
	flood := func(c net.Conn, head, more string) bool {
		_, err := io.WriteString(c, head)
		for ; err == nil; _, err = io.WriteString(c, more) {
		}
		return false
	}
	for name, test := range map[string]struct {
		first func(c net.Conn, body string) bool
		// state and code are what becomes of the first probe, code "" of one that was answered.
		state mpic.State
		code  string
	}{
		"two answers at once": {func(c net.Conn, body string) bool {
			_, err := io.WriteString(c, inHTTP(body)+inHTTP(body))
			return err == nil
		}, mpic.Answered, ""},
		"more than the length that it tells": {func(c net.Conn, body string) bool {
			_, err := io.WriteString(c, inHTTP(body)+"more")
			return err == nil
		}, mpic.Answered, ""},
		"an answer behind the last chunk": {func(c net.Conn, body string) bool {
			_, err := io.WriteString(c, chunked(body, "")+inHTTP(body))
			return err == nil
		}, mpic.Answered, ""},
		"an answer hidden in a length beside chunks": {func(c net.Conn, body string) bool {
			both := strings.Replace(chunked(body, ""), "Transfer-Encoding", fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding", len(body)), 1)
			_, err := io.WriteString(c, both+inHTTP(body))
			return err == nil
		}, mpic.Answered, ""},
		"two lengths": {func(c net.Conn, body string) bool {
			_, err := io.WriteString(c, strings.Replace(inHTTP(body), "Content-Length", "Content-Length: 5\r\nContent-Length", 1))
			return err == nil
		}, mpic.Unreachable, "perspective.unreachable"},
		"a trailer without end": {func(c net.Conn, body string) bool {
			return flood(c, strings.TrimSuffix(chunked(body, "X: "), "\r\n"), endless)
		}, mpic.Unreachable, "perspective.unreachable"},
		"a header without end": {func(c net.Conn, _ string) bool {
			return flood(c, "HTTP/1.1 200 OK\r\n", "X: "+endless+"\r\n")
		}, mpic.Unreachable, "perspective.unreachable"},
		"a status line without end": {func(c net.Conn, _ string) bool { return flood(c, "HTTP/1.1 200 ", endless) },
			mpic.Unreachable, "perspective.unreachable"},
		"early hints without end": {func(c net.Conn, _ string) bool {
			return flood(c, "", "HTTP/1.1 103 Early Hints\r\nLink: <"+endless+">\r\n\r\n")
		}, mpic.Unreachable, "perspective.unreachable"},
		"continues without end": {func(c net.Conn, _ string) bool { return flood(c, "", "HTTP/1.1 100 Continue\r\n\r\n") },
			mpic.Unreachable, "perspective.unreachable"},
		"another protocol": {func(c net.Conn, body string) bool {
			return flood(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"+inHTTP(body), endless)
		}, mpic.Rejected, "perspective.status"},
		"a body without end": {func(c net.Conn, _ string) bool {
			return flood(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", endless)
		}, mpic.Rejected, "perspective.too-large"},
		"chunks without end": {func(c net.Conn, _ string) bool {
			return flood(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", strings.Repeat("1\r\nx\r\n", 4<<10))
		}, mpic.Rejected, "perspective.too-large"},
		"a refusal and an answer": {func(c net.Conn, body string) bool {
			_, err := io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"+inHTTP(body))
			return err == nil
		}, mpic.Rejected, "perspective.status"},
	} {
		t.Run(name, func(t *testing.T) {
			id, gate := newIdentity(t, "fra"), newIdentity(t, "gate-1")
			at := speaking(t, id, func(c net.Conn, n int, signed string) bool {
				if n == 0 {
					return test.first(c, inReply(t, signed))
				}
				_, err := io.WriteString(c, inHTTP(inReply(t, signed)))
				return err == nil
			})
			r := newClient(t, memberOf("fra", at, id), gate, (&journal{}).logger())
			for i := range 4 {
				probe := newProbe()
				probe.Attempt, probe.Nonce = fmt.Sprintf("01JZ-%d", i), fmt.Sprintf("%032x", i)
				a := r.Attest(t.Context(), probe)
				switch {
				case i == 0:
					require.Equal(t, test.state, a.State, "%v", a.Problem)
					if a.Problem != nil {
						require.Equal(t, test.code, a.Problem.Code, a.Problem.Detail)
					}
				case i == 1 && a.State == mpic.Unreachable: // what was written ahead is no HTTP, and was there before the connection was given up
					require.Equal(t, "more than the length that it tells", name)
					require.Equal(t, "perspective.unreachable", a.Problem.Code, a.Problem.Detail)
				case i == 1 && a.State != mpic.Answered: // what was written ahead is none of it
					require.Equal(t, mpic.Rejected, a.State, "%v", a.Problem)
					require.Equal(t, "perspective.replay", a.Problem.Code, a.Problem.Detail)
				default:
					require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
				}
				if a.State == mpic.Answered {
					require.Equal(t, probe.Attempt, a.Reply.Report().Attempt)
					require.Equal(t, probe.Nonce, a.Reply.Report().Nonce)
				}
			}
		})
	}
}

// An answer that comes when nobody waits for it any more reaches nobody: its connection has ended with the probe.
//
// Holds: MPIC-09
func TestALateAnswerReachesNoOtherProbe(t *testing.T) {
	id, gate := newIdentity(t, "fra"), newIdentity(t, "gate-1")
	over := make(chan struct{})
	at := speaking(t, id, func(c net.Conn, n int, signed string) bool {
		if n == 0 {
			<-over
		}
		_, err := io.WriteString(c, inHTTP(inReply(t, signed)))
		return err == nil
	})
	r := newClient(t, memberOf("fra", at, id), gate, (&journal{}).logger())
	first := newProbe()
	first.Deadline = time.Now().Add(200 * time.Millisecond)
	require.Equal(t, mpic.TimedOut, r.Attest(t.Context(), first).State)
	close(over)
	second := newProbe()
	second.Attempt = "01JZ-second"
	a := r.Attest(t.Context(), second)
	require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
	require.Equal(t, "01JZ-second", a.Reply.Report().Attempt)
}
