package delay

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/test/daemon"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// free is an address and port that nobody has, for UDP and TCP.
func free(t *testing.T) netip.AddrPort { return netip.AddrPortFrom(loopback, daemon.FreePort(t)) }

// came is a datagram that came to the target.
type came struct{ from, text string }

// target answers each datagram with its octets, over TCP too, and gives each.
func target(t *testing.T) (netip.AddrPort, <-chan came) {
	t.Helper()
	at := free(t)
	l, err := net.Listen("tcp", at.String())
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	require.NoError(t, err)
	t.Cleanup(func() { u.Close() })
	all := make(chan came, 1000)
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			all <- came{from.Addr().String(), string(buf[:n])}
			_, _ = u.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return at, all
}

func host(t *testing.T, to netip.AddrPort, path Path) *Host {
	t.Helper()
	h, err := NewHost(free(t), to, path)
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// client is a socket that whoever wants can send to.
type client struct {
	*testing.T
	*net.UDPConn
}

func newClient(t *testing.T) client {
	t.Helper()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	require.NoError(t, err)
	t.Cleanup(func() { u.Close() })
	require.NoError(t, u.SetDeadline(time.Now().Add(time.Minute)))
	return client{t, u}
}

func (c client) send(h *Host, octets []byte) {
	c.Helper()
	_, err := c.WriteToUDPAddrPort(octets, h.Addr())
	require.NoError(c, err)
}

func (c client) receive() []byte {
	c.Helper()
	buf := make([]byte, 65535)
	n, _, err := c.ReadFromUDPAddrPort(buf)
	require.NoError(c, err)
	return buf[:n]
}

// nothingMore requires that the host, which is closed for it, has nothing to say any more.
func (c client) nothingMore(h *Host) {
	c.Helper()
	require.NoError(c, h.Close())
	_, err := c.WriteToUDPAddrPort([]byte("the end"), c.LocalAddr().(*net.UDPAddr).AddrPort())
	require.NoError(c, err)
	require.Equal(c, "the end", string(c.receive()))
}

func TestAHostCarriesDatagramsAndConnectionsLate(t *testing.T) {
	to, received := target(t)
	const rtt = 40 * time.Millisecond
	h := host(t, to, Path{RTT: rtt, Source: netip.MustParseAddr("127.0.0.77")})
	c := newClient(t)
	began := time.Now()
	c.send(h, []byte("over UDP"))
	require.Equal(t, "over UDP", string(c.receive()))
	require.GreaterOrEqual(t, time.Since(began), rtt, "never sooner")
	require.Equal(t, came{"127.0.0.77", "over UDP"}, <-received)

	began = time.Now()
	conn, err := net.Dial("tcp", h.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "over TCP")
	require.NoError(t, err)
	got := make([]byte, len("over TCP"))
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, "over TCP", string(got))
	require.GreaterOrEqual(t, time.Since(began), 2*rtt)
	datagrams, connections := h.Carried()
	require.EqualValues(t, 1, datagrams)
	require.EqualValues(t, 1, connections)
}

// Which datagrams come to the target, and how many of its answers come back, follows from the seed alone.
func TestLossFollowsFromTheSeed(t *testing.T) {
	const n = 60
	path := Path{Loss: 0.4, Seed: 7}
	for range 2 {
		to, received := target(t)
		h, c := host(t, to, path), newClient(t)
		there, back := newWay(path, 3), newWay(path, 4)
		var arrive, arrived []string
		answers := 0
		for i := range n {
			c.send(h, []byte(fmt.Sprint(i)))
			if _, lost := there.datagram(); lost {
				continue
			}
			arrive = append(arrive, fmt.Sprint(i))
			if _, lost := back.datagram(); !lost {
				answers++
			}
		}
		for range arrive {
			arrived = append(arrived, (<-received).text)
		}
		require.ElementsMatch(t, arrive, arrived)
		require.True(t, 0 < answers && answers < len(arrive) && len(arrive) < n)
		for range answers {
			require.Contains(t, arrive, string(c.receive()))
		}
		datagrams, _ := h.Carried()
		require.EqualValues(t, n, datagrams, "lost ones are counted")
		c.nothingMore(h)
	}
}

func TestAWayLosesAsManyAsItSays(t *testing.T) {
	for _, loss := range []float64{0, 0.05, 0.4, 1} {
		w := newWay(Path{Loss: loss, RTT: 2 * time.Second, Jitter: time.Second, Seed: 1}, 0)
		lost, early := 0, 0
		const n = 20000
		for range n {
			takes, gone := w.datagram()
			require.True(t, takes >= time.Second && takes < 2*time.Second, "%s", takes)
			if gone {
				lost++
			}
			if takes < 1500*time.Millisecond {
				early++
			}
		}
		require.InDelta(t, loss, float64(lost)/n, 0.02)
		require.InDelta(t, 0.5, float64(early)/n, 0.02)
	}
}

// What TCP loses comes later, and one that loses all takes as long as Linux tries.
func TestRFC6298_5_LossIsDelayInAStream(t *testing.T) {
	perfect := newWay(Path{RTT: 20 * time.Millisecond}, 0)
	require.Equal(t, 10*time.Millisecond, perfect.segment(time.Second))
	hopeless := newWay(Path{RTT: 20 * time.Millisecond, Loss: 1}, 0)
	require.Equal(t, 63*time.Second+10*time.Millisecond, hopeless.segment(time.Second), "1+2+4+8+16+32")
}

func TestTooLargeResponsesDoNotComeBack(t *testing.T) {
	to, received := target(t)
	h, c := host(t, to, Path{MaxResponse: 512}), newClient(t)
	c.send(h, bytes.Repeat([]byte{1}, 513))
	<-received // it came to the target
	c.send(h, bytes.Repeat([]byte{2}, 512))
	require.Equal(t, bytes.Repeat([]byte{2}, 512), c.receive())
	c.nothingMore(h)
}

func TestWhatPathsDoToEDNS(t *testing.T) {
	plain := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
	edns := plain.Copy().SetEdns0(1232, true)
	pack := func(m *dns.Msg) []byte {
		out, err := m.Pack()
		require.NoError(t, err)
		return out
	}
	refused := new(dns.Msg).SetRcodeFormatError(edns)
	for name, c := range map[string]struct {
		edns EDNS
		send []byte
		want []byte // nil for nothing
	}{
		"passed":                {EDNSPass, pack(edns), pack(edns)},
		"stripped":              {EDNSStrip, pack(edns), pack(plain)},
		"refused":               {EDNSRefuse, pack(edns), pack(refused)},
		"dropped":               {EDNSDrop, pack(edns), nil},
		"dropped, without EDNS": {EDNSDrop, pack(plain), pack(plain)},
		"refused, without EDNS": {EDNSRefuse, pack(plain), pack(plain)},
		"no DNS":                {EDNSDrop, []byte("not DNS"), []byte("not DNS")},
	} {
		t.Run(name, func(t *testing.T) {
			to, _ := target(t)
			h, client := host(t, to, Path{EDNS: c.edns}), newClient(t)
			client.send(h, c.send)
			if c.want != nil {
				require.Equal(t, c.want, client.receive())
			} else {
				client.send(h, pack(plain))
				require.Equal(t, pack(plain), client.receive())
			}
			client.nothingMore(h)
		})
	}
}

func TestAHostWithoutTCPRefusesConnections(t *testing.T) {
	to, _ := target(t)
	h := host(t, to, Path{NoTCP: true})
	_, err := net.Dial("tcp", h.Addr().String())
	require.Error(t, err)
}

func TestAHostRefusesWhatIsNoProbability(t *testing.T) {
	for _, loss := range []float64{-0.1, 1.1} {
		_, err := NewHost(free(t), free(t), Path{Loss: loss})
		require.ErrorContains(t, err, "no probability")
	}
}

func TestCloseEndsDatagramsUnderWay(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	h, err := NewHost(free(t), free(t), Path{RTT: time.Hour})
	require.NoError(t, err)
	c := newClient(t)
	c.send(h, []byte("late"))
	require.Eventually(t, func() bool { n, _ := h.Carried(); return n == 1 }, time.Minute, time.Millisecond)
	require.NoError(t, h.Close())
}
