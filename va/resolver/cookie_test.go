package resolver

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// sentCookie is the cookie that a query to p has.
func sentCookie(c *cookies, p path, now time.Time) string {
	q := newQuery("example.com.", dns.TypeA, true, false)
	c.attach(q, p, now)
	s, _ := cookieOf(q)
	return s
}

func replyWith(query *dns.Msg, cookie string) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(query)
	m.SetEdns0(udpSize, true)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie}}
	return m
}

// Holds: MPIC-07
func TestRFC9018_3_ClientCookiesDifferByServerSourceSecretAndDay(t *testing.T) {
	addr := netip.MustParseAddr
	now := time.Now()
	p := path{addr("192.0.2.1"), addr("198.51.100.1")}
	var a, b cookies
	first := sentCookie(&a, p, now)
	require.Len(t, first, 16)
	require.Equal(t, first, sentCookie(&a, p, now.Add(time.Hour)))
	require.NotEqual(t, first, sentCookie(&a, path{addr("192.0.2.2"), p.local}, now), "another server")
	require.NotEqual(t, first, sentCookie(&a, path{p.server, addr("198.51.100.2")}, now), "another source")
	require.NotEqual(t, first, sentCookie(&b, p, now), "another resolver")
	require.NotEqual(t, first, sentCookie(&a, p, now.Add(25*time.Hour)), "another day")
}

func TestRFC7873_5_3_ServerCookiesAreRememberedAndForgotten(t *testing.T) {
	now := time.Now()
	p := path{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")}
	server := strings.Repeat("ab", 16)
	var c cookies
	query := newQuery("example.com.", dns.TypeA, true, false)
	require.False(t, c.attach(query, p, now))
	client, _ := cookieOf(query)
	c.learn(query, replyWith(query, client+server), p, now)
	require.True(t, c.attach(query, p, now))
	require.Equal(t, client+server, sentCookie(&c, p, now))
	require.Len(t, sentCookie(&c, path{p.server, netip.MustParseAddr("198.51.100.2")}, now), 16, "it holds for one source")
	require.Len(t, query.IsEdns0().Option, 1, "a second try replaces the option")
	require.Equal(t, client, sentCookie(&c, p, now.Add(2*time.Hour)), "an old one is not sent")

	c.learn(query, replyWith(query, client+server), p, now)
	c.learn(query, replyWith(query, client), p, now)
	require.Equal(t, client, sentCookie(&c, p, now), "a server that gives none any more")

	refusal := new(dns.Msg)
	refusal.SetRcode(query, dns.RcodeFormatError)
	c.learn(query, refusal, p, now)
	bare := newQuery("example.com.", dns.TypeA, true, false)
	require.False(t, c.attach(bare, p, now))
	require.Empty(t, sentCookie(&c, p, now), "a server that refuses cookies gets none")
	c.learn(bare, refusal, p, now)
	require.Equal(t, client, sentCookie(&c, p, now), "it refuses without a cookie too, so that was not the reason")

	plain := newQuery("example.com.", dns.TypeA, false, false)
	require.False(t, c.attach(plain, p, now))
	require.Nil(t, plain.IsEdns0(), "no EDNS, no cookie")
}

func TestServerCookiesAreBounded(t *testing.T) {
	now := time.Now()
	var c cookies
	for i := range maxCookies + 10 {
		p := path{netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), netip.MustParseAddr("198.51.100.1")}
		query := newQuery("a.", dns.TypeA, true, false)
		c.attach(query, p, now)
		client, _ := cookieOf(query)
		c.learn(query, replyWith(query, client+strings.Repeat("00", 8)), p, now)
	}
	require.LessOrEqual(t, len(c.known), maxCookies)
	require.NotEmpty(t, c.known)
}

// Holds: C3
func TestRFC7873_5_3_WrongClientCookieIsDroppedLikeAWrongIdentifier(t *testing.T) {
	var c cookies
	query := newQuery("example.com.", dns.TypeA, true, false)
	c.attach(query, path{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")}, time.Now())
	own, ok := cookieOf(query)
	require.True(t, ok)
	other := strings.Map(func(d rune) rune { return map[bool]rune{true: '1', false: '0'}[d == '0'] }, own)
	for cookie, want := range map[string]error{
		own: nil, own + strings.Repeat("0", 16): nil, own + strings.Repeat("0", 64): nil,
		other: errQuestion, other + strings.Repeat("0", 32): errQuestion, "": errQuestion, own[:14]: errQuestion,
		own + "00": errQuestion, own + strings.Repeat("0", 14): errQuestion, own + strings.Repeat("0", 66): errQuestion,
	} {
		wire, err := replyWith(query, cookie).Pack()
		require.NoError(t, err)
		_, err = accept(wire, query)
		require.ErrorIs(t, err, want, cookie)
	}
}
