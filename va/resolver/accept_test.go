package resolver

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

func asked(t testing.TB) (*dns.Msg, *dns.Msg) {
	t.Helper()
	query := newQuery("www.example.com.", dns.TypeCAA, true, false)
	reply := new(dns.Msg)
	reply.SetReply(query)
	reply.Authoritative = true
	rr, err := dns.NewRR(`www.example.com. 300 IN CAA 0 issue "ca.example.net"`)
	require.NoError(t, err)
	reply.Answer = []dns.RR{rr}
	return query, reply
}

// Holds: C3
func TestRFC5452_9_1_AcceptsOnlyAnswersToItsQuestion(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(m *dns.Msg)
		cut  func([]byte) []byte
		want error
	}{
		{name: "genuine"},
		{name: "identifier", edit: func(m *dns.Msg) { m.Id++ }, want: errQuestion},
		{name: "no response", edit: func(m *dns.Msg) { m.Response = false }, want: errQuestion},
		{name: "another opcode", edit: func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, want: errQuestion},
		{name: "another name", edit: func(m *dns.Msg) { m.Question[0].Name = "xww.example.com." }, want: errQuestion},
		{name: "another type", edit: func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }, want: errQuestion},
		{name: "another class", edit: func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, want: errQuestion},
		{name: "no question", edit: func(m *dns.Msg) { m.Question = nil }, want: errQuestion},
		{name: "another case", edit: func(m *dns.Msg) {
			b := []byte(m.Question[0].Name)
			b[0] ^= 0x20
			m.Question[0].Name = string(b)
		}, want: errCase},
		{name: "octets behind the end", cut: func(b []byte) []byte { return append(b, 0) }, want: errMangled},
		{name: "cut short", cut: func(b []byte) []byte { return b[:len(b)-1] }, want: errMangled},
		{name: "fewer records than counted", cut: func(b []byte) []byte { b[7]++; return b }, want: errMangled},
		{name: "more records than counted", cut: func(b []byte) []byte { b[7]--; return b }, want: errMangled},
		{name: "header only", cut: func(b []byte) []byte { return b[:12] }, want: errMangled},
		{name: "empty", cut: func([]byte) []byte { return nil }, want: errQuestion},
	} {
		t.Run(c.name, func(t *testing.T) {
			query, reply := asked(t)
			if c.edit != nil {
				c.edit(reply)
			}
			wire, err := reply.Pack()
			require.NoError(t, err)
			if c.cut != nil {
				wire = c.cut(wire)
			}
			m, err := accept(wire, query)
			require.ErrorIs(t, err, c.want)
			if c.want == nil {
				require.Len(t, m.Answer, 1)
			}
		})
	}
}

func TestTruncatedAnswersCarryNoRecords(t *testing.T) {
	query, reply := asked(t)
	reply.Truncated = true
	wire, err := reply.Pack()
	require.NoError(t, err)
	m, err := accept(wire, query)
	require.NoError(t, err)
	require.True(t, m.Truncated)
	require.Empty(t, m.Answer)
}

func TestRFC5452_QuestionsAreHardToGuess(t *testing.T) {
	ids, cases := map[uint16]bool{}, map[string]bool{}
	for range 200 {
		q := newQuery("abcdefghijklmnop.example.com.", dns.TypeA, true, false)
		ids[q.Id], cases[q.Question[0].Name] = true, true
	}
	require.Greater(t, len(ids), 150)
	require.Greater(t, len(cases), 150)
}

// Holds: D10
func TestNameServersAtReservedAddressesAreUnusable(t *testing.T) {
	r, err := New(Config{})
	require.NoError(t, err)
	for addr, want := range map[string]bool{
		"198.41.0.4": true, "127.0.0.1": false, "10.1.2.3": false, "169.254.169.254": false, "::1": false, "fd00::1": false,
		"::ffff:10.0.0.1": false, "64:ff9b::a00:1": false, "0.0.0.0": false,
	} {
		_, ok := r.usableAddr(netip.MustParseAddr(addr))
		require.Equal(t, want, ok, addr)
	}
	_, ok := r.usableAddr(netip.Addr{})
	require.False(t, ok)
}

// Whatever is accepted answers the question, and holds what its header counts.
func FuzzAccept(f *testing.F) {
	query, reply := asked(f)
	wire, err := reply.Pack()
	require.NoError(f, err)
	f.Add(wire[2:])
	f.Add(bytes.Repeat([]byte{0xc0}, 40))
	f.Fuzz(func(t *testing.T, rest []byte) {
		b := append([]byte{byte(query.Id >> 8), byte(query.Id)}, rest...)
		m, err := accept(b, query)
		if err != nil || m.Truncated {
			return
		}
		if len(m.Question) == 0 {
			require.Contains(t, []int{dns.RcodeFormatError, dns.RcodeNotImplemented}, m.Rcode)
			return
		}
		require.Equal(t, query.Question[0], m.Question[0])
		require.True(t, m.Response)
	})
}
