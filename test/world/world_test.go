package world

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a world until the test ends.
func start(t *testing.T, cfg Config) *World {
	t.Helper()
	w, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// ask sends one query with DO to a server of the world, by UDP or TCP, and from a given source address if there is one.
type ask struct {
	name      string
	qtype     uint16
	server    netip.Addr
	transport string
	from      netip.Addr
	plain     bool
}

func (a ask) send(w *World) (*dns.Msg, error) {
	c := &dns.Client{Net: a.transport, UDPSize: 1232}
	if a.from.IsValid() {
		c.Dialer = dialerFrom(a.from, a.transport)
	}
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(a.name), a.qtype)
	if !a.plain {
		m.SetEdns0(1232, true)
	}
	r, _, err := c.Exchange(m, netip.AddrPortFrom(a.server, w.Port()).String())
	return r, err
}

func (a ask) must(t *testing.T, w *World) *dns.Msg {
	t.Helper()
	r, err := a.send(w)
	require.NoError(t, err)
	return r
}

// types lists the types of a section.
func types(section []dns.RR) []string {
	all := []string{}
	for _, rr := range section {
		all = append(all, dns.Type(rr.Header().Rrtype).String())
	}
	return all
}
