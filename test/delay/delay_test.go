package delay

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// echo answers each connection with what it says, until it ends.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}

func TestWholeAndInOrderAndLate(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	target := echo(t)
	const rtt = 40 * time.Millisecond
	p, err := New("127.0.0.1", target, rtt)
	require.NoError(t, err)
	started := time.Now()
	c, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	text := strings.Repeat("0123456789", 50_000)
	go func() {
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
	require.GreaterOrEqual(t, time.Since(started), 2*rtt, "a round trip to open, and one to answer; never sooner")
	require.NoError(t, c.Close())
	require.NoError(t, p.Close())
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	target := echo(t)
	p, err := New("127.0.0.1", target, time.Hour)
	require.NoError(t, err)
	c, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, p.Close())
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
}
