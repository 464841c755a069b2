package resolver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Sizes in octets (RFC 7873 section 4).
const (
	clientCookie = 8
	minServer    = 8
	maxServer    = 32
)

const (
	secretLife = 24 * time.Hour // RFC 7873 section 7.1: a client's secret is renewed every day
	cookieLife = time.Hour      // RFC 9018 section 4.3: servers take their cookie back for that long
	maxCookies = 20000          // remembered; beyond that the memory starts anew
)

// errNoCookie is a datagram without a cookie from a server that gave one before: more likely a guess than an answer.
var errNoCookie = errors.New("the response has no cookie, and the server knows cookies")

// path is a server as seen from one local address. Both cookies hold for that pair (RFC 9018 section 3).
type path struct{ server, local netip.Addr }

// cookies is the client's side of DNS cookies (RFC 7873, RFC 9018), against answers from beside the path. Nothing of it is
// shared with another resolver (MPIC-07).
type cookies struct {
	mu      sync.Mutex
	secret  [32]byte
	renewed time.Time
	known   map[path]serverCookie
}

type serverCookie struct {
	// both is the client's cookie and the server's, in hexadecimal; empty for a server that refuses queries with a cookie.
	both  string
	until time.Time
}

// attach puts the cookie option for p into a query with EDNS, in the place of one from an earlier try. It reports whether p's
// server has given a cookie.
func (c *cookies) attach(query *dns.Msg, p path, now time.Time) (known bool) {
	opt := query.IsEdns0()
	if opt == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || now.Sub(c.renewed) > secretLife {
		rand.Read(c.secret[:])
		c.renewed, c.known = now, map[path]serverCookie{}
	}
	opt.Option = nil
	server, ok := c.known[p]
	if ok && !now.Before(server.until) {
		delete(c.known, p)
		server, ok = serverCookie{}, false
	}
	if ok {
		if server.both != "" {
			opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: server.both})
		}
		return server.both != ""
	}
	opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: c.client(p)})
	return false
}

// client is the client's cookie for p, in hexadecimal. What is hashed has always the same length, and most of the hash is kept back, so that
// it needs no HMAC.
func (c *cookies) client(p path) string {
	var octets [64]byte
	to, from := p.server.As16(), p.local.As16()
	copy(octets[:], c.secret[:])
	copy(octets[32:], to[:])
	copy(octets[48:], from[:])
	sum := sha256.Sum256(octets[:])
	return hex.EncodeToString(sum[:clientCookie])
}

// learn keeps what an accepted response says of p's cookies: a server cookie, or that the server refuses queries with one. A
// server that gives none, or refuses all alike, is taken as unknown.
func (c *cookies) learn(query, m *dns.Msg, p path, now time.Time) {
	if query.IsEdns0() == nil {
		return
	}
	_, sent := cookieOf(query)
	got, _ := cookieOf(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.Rcode == dns.RcodeFormatError && sent:
		c.put(p, serverCookie{until: now.Add(cookieLife)})
	case sent && len(got) > 2*clientCookie: // its first octets are those of the client's cookie: see sameCookie
		c.put(p, serverCookie{got, now.Add(cookieLife)})
	case sent || m.Rcode == dns.RcodeFormatError:
		delete(c.known, p)
	}
}

func (c *cookies) put(p path, s serverCookie) {
	if c.known == nil || len(c.known) >= maxCookies {
		c.known = map[path]serverCookie{}
	}
	c.known[p] = s
}

// cookieOf gives the cookie of a message in hexadecimal.
func cookieOf(m *dns.Msg) (string, bool) {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if c, ok := o.(*dns.EDNS0_COOKIE); ok {
				return c.Cookie, true
			}
		}
	}
	return "", false
}

// sameCookie tells whether a response repeats the client cookie of its query, if it has a cookie at all (RFC 7873 section
// 5.3). A server has nothing to say to a query without one.
func sameCookie(response, query *dns.Msg) bool {
	got, has := cookieOf(response)
	sent, asked := cookieOf(query)
	if !has || !asked {
		return true
	}
	n := len(got)/2 - clientCookie
	return n >= 0 && (n == 0 || n >= minServer && n <= maxServer) && got[:2*clientCookie] == sent[:2*clientCookie]
}

// aboutCookies tells whether a response asks for another cookie, or may be due to there being one at all: servers that know
// EDNS and no cookies should ignore the option, and some do not.
func aboutCookies(m, query *dns.Msg) bool {
	_, sent := cookieOf(query)
	return sent && (m.Rcode == dns.RcodeBadCookie || m.Rcode == dns.RcodeFormatError)
}
