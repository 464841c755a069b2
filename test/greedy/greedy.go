// Package greedy is an HTTP/2 client that asks and takes no answer, for tests of servers.
package greedy

import (
	"bytes"
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patience bounds the wait for resets that do not come.
const patience = 20 * time.Second

// Client is one connection.
type Client struct {
	t      *testing.T
	conn   *tls.Conn
	framer *http2.Framer
	asked  uint32
}

// Dial connects, with a client certificate or none, and tells the server to send not one octet of an answer's body. The connection ends with the test.
func Dial(t *testing.T, address string, certificates ...tls.Certificate) *Client {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: certificates})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the server may have been first
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	c := &Client{t: t, conn: conn, framer: http2.NewFramer(conn, conn)}
	require.NoError(t, c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	return c
}

// Ask sends requests for a path.
func (c *Client) Ask(path string, requests int) {
	c.t.Helper()
	for range requests {
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		encoder.SetMaxDynamicTableSizeLimit(0) // each block stands alone
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "gate.test"}, {":path", path}} {
			require.NoError(c.t, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true}))
		}
		require.NoError(c.t, c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*c.asked + 1, BlockFragment: block.Bytes(), EndStream: true,
			EndHeaders: true}))
		c.asked++
	}
}

// Begun waits until so many answers have begun to come, of which no body can.
func (c *Client) Begun(wanted int) {
	c.t.Helper()
	c.wait("were answered", wanted, func(f http2.Frame) bool { _, ok := f.(*http2.HeadersFrame); return ok })
}

// Reset waits until so many requests were reset.
func (c *Client) Reset(wanted int) {
	c.t.Helper()
	c.wait("were reset", wanted, func(f http2.Frame) bool { _, ok := f.(*http2.RSTStreamFrame); return ok })
}

func (c *Client) wait(what string, wanted int, is func(http2.Frame) bool) {
	c.t.Helper()
	for seen := 0; seen < wanted; {
		frame, err := c.framer.ReadFrame()
		require.NoError(c.t, err, "%d of %d requests %s, and %d are to be", seen, c.asked, what, wanted)
		if is(frame) {
			seen++
		}
	}
}

// Close ends the connection.
func (c *Client) Close() {
	c.t.Helper()
	require.NoError(c.t, c.conn.NetConn().Close())
}
