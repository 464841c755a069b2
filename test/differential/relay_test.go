package differential

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/test/world"
)

// addresses are those of all name servers of a plan.
func (p plan) addresses() []string {
	var all []string
	for _, z := range p.config.Zones {
		for _, s := range z.Servers {
			all = append(all, s.Addr.String())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// relay serves the world at port 53 of its name servers, because Unbound follows referrals to no other port, and gives the
// port to ask. The world itself stays at a free one, so that tests beside this one may have a world at port 53. Where
// port 53 is not to be had, the world's own port is what it gives.
func relay(t *testing.T, w *world.World, p plan) uint16 {
	t.Helper()
	for _, a := range p.addresses() {
		u, err := net.ListenPacket("udp4", a+":53")
		if err != nil {
			t.Logf("Unbound is told the servers of each zone: %v", err)
			return w.Port()
		}
		t.Cleanup(func() { _ = u.Close() })
		l, err := net.Listen("tcp4", a+":53")
		if err != nil {
			t.Logf("Unbound is told the servers of each zone: %v", err)
			return w.Port()
		}
		t.Cleanup(func() { _ = l.Close() })
		go relayUDP(u, fmt.Sprintf("%s:%d", a, w.Port()))
		go relayTCP(l, fmt.Sprintf("%s:%d", a, w.Port()))
	}
	return 53
}

// relayUDP passes each datagram on from a socket of its own, and the first response back, until u is closed.
func relayUDP(u net.PacketConn, to string) {
	buf := make([]byte, 65535)
	for {
		n, from, err := u.ReadFrom(buf)
		if err != nil {
			return
		}
		query := slices.Clone(buf[:n])
		go func() {
			c, err := net.Dial("udp4", to)
			if err != nil {
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			response := make([]byte, 65535)
			if _, err := c.Write(query); err != nil {
				return
			}
			if n, err := c.Read(response); err == nil {
				_, _ = u.WriteTo(response[:n], from) // a lost response is asked for again
			}
		}()
	}
}

func relayTCP(l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := net.Dial("tcp4", to)
			if err != nil {
				return
			}
			defer out.Close()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			_, _ = io.Copy(in, out) // ends when either side does
		}()
	}
}
