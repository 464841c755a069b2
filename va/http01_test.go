package va

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

const tokenURL = "http://shop.example.com/.well-known/acme-challenge/" + token

// loopback gives the address records of hosts whose servers are at 127.0.0.1.
func loopback(hosts ...string) *table {
	s := &table{records: map[string][]string{}}
	for _, h := range hosts {
		s.records[h+" A"] = []string{"A 127.0.0.1"}
	}
	return s
}

// inWorld puts the servers of a test in the place of ports 80 and 443.
func inWorld(http, tls net.Listener) func(*Config) {
	return func(c *Config) {
		c.World = World{AllowReserved: true, HTTPPort: 1, TLSPort: 1} // nothing listens at port 1
		if http != nil {
			c.World.HTTPPort = netip.MustParseAddrPort(http.Addr().String()).Port()
		}
		if tls != nil {
			c.World.TLSPort = netip.MustParseAddrPort(tls.Addr().String()).Port()
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// serve runs h in the place of port 80, and counts the requests.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func serveTLS(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// raw runs a server that answers each connection's first request by writing what it likes.
func raw(t *testing.T, answer func(c net.Conn)) net.Listener {
	t.Helper()
	l := listen(t)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				buf := make([]byte, 4096)
				if _, err := c.Read(buf); err != nil {
					return
				}
				answer(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		work.Wait()
	})
	return l
}

func text(s string) func(net.Conn) {
	return func(c net.Conn) { io.WriteString(c, s) }
}

// forever writes s again and again until the client has had enough.
func forever(head, s string) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			_, err = io.WriteString(c, s)
		}
	}
}

// silent writes s and then waits until the client goes away.
func silent(s string) func(net.Conn) {
	return func(c net.Conn) {
		io.WriteString(c, s)
		io.Copy(io.Discard, c)
	}
}

func body(status, headers, s string) string {
	return "HTTP/1.1 " + status + "\r\n" + headers + "Content-Length: " + strconv.Itoa(len(s)) + "\r\n\r\n" + s
}

func page(status, headers, s string) func(net.Conn) { return text(body(status, headers, s)) }

const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

func packed(t *testing.T, s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, s)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// Holds: DCV-17, D8, D11
func TestRFC8555_8_3_Responses(t *testing.T) {
	for what, c := range map[string]struct {
		answer func(net.Conn)
		want   string
	}{
		"the key authorization": {page("200 OK", "", secret), "ok"},
		"white space behind it": {page("200 OK", "", secret+" \r\n\t\n"), "ok"},
		"without a length":      {text("HTTP/1.0 200 OK\r\n\r\n" + secret), "ok"},
		"in chunks": {text(chunked + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(secret), secret)),
			"ok"},
		"another status of 2xx":           {page("203 Non-Authoritative Information", "", secret), "ok"},
		"after an informational response": {text("HTTP/1.1 103 Early Hints\r\n\r\n" + body("200 OK", "", secret)), "ok"},
		"white space before it":           {page("200 OK", "", " "+secret), "http.body"},
		"something behind it":             {page("200 OK", "", secret+"x"), "http.body"},
		"the token alone":                 {page("200 OK", "", token), "http.body"},
		"upper case":                      {page("200 OK", "", strings.ToUpper(secret)), "http.body"},
		"nothing":                         {page("200 OK", "", ""), "http.body"},
		"no content":                      {text("HTTP/1.1 204 No Content\r\n\r\n"), "http.body"},
		"octets that are no text":         {page("200 OK", "", "\xff\x00\xfe"), "http.body"},
		"a page that has it":              {page("200 OK", "", "<html>"+secret+"</html>"), "http.body"},
		"404 that echoes":                 {page("404 Not Found", "", secret), "http.status"},
		"401": {page("401 Unauthorized", "WWW-Authenticate: Basic\r\n", secret),
			"http.status"},
		"500": {page("500 Internal Server Error", "", secret), "http.status"},
		"199": {page("199 Odd", "", secret), "http.broken"},
		"101": {text("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + secret),
			"http.status"},
		"101 and silence":             {silent("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "http.status"},
		"101 and a drip":              {silent("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx"), "http.status"},
		"600":                         {page("600 Odd", "", secret), "http.status"},
		"packed, though nobody asked": {page("200 OK", "Content-Encoding: gzip\r\n", packed(t, secret)), "http.body"},
		"a packed bomb": {page("200 OK", "Content-Encoding: gzip\r\n", packed(t, strings.Repeat("0",
			8<<20))), "http.size"},
		"a body that never ends": {forever("HTTP/1.1 200 OK\r\n\r\n", secret), "http.size"},
		"white space that never ends": {forever("HTTP/1.1 200 OK\r\n\r\n"+secret, strings.Repeat(" ", 1000)),
			"http.size"},
		"chunks that never end": {forever(chunked, "1\r\na\r\n"), "http.size"},
		"a length of exabytes": {silent("HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n" + secret),
			"http.timeout"},
		"less than announced": {text("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + secret),
			"http.broken"},
		"a body that stops": {silent("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + secret),
			"http.timeout"},
		"headers that stop": {silent("HTTP/1.1 200 OK\r\nX: "), "http.timeout"},
		"silence":           {silent(""), "http.timeout"},
		"one huge header": {text("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a",
			64<<10) + "\r\n\r\n" + secret), "http.broken"},
		"many headers": {text("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: a\r\n",
			64<<10) + "\r\n" + secret), "http.broken"},
		"headers that never end":              {forever("HTTP/1.1 200 OK\r\n", "X-Header: value\r\n"), "http.broken"},
		"a status line that never ends":       {forever("HTTP/1.1 200 ", "OK OK OK"), "http.broken"},
		"informational responses without end": {forever("", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), "http.broken"},
		"another protocol":                    {text("220 mail.example.com ESMTP\r\n" + secret), "http.broken"},
		"TLS at port 80":                      {text("\x15\x03\x01\x00\x02\x02\x46"), "http.broken"},
		"nothing but an end":                  {text(""), "http.broken"},
		"two lengths": {text("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" + secret),
			"http.broken"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l := raw(t, c.answer)
			ch := checker(t, loopback("shop.example.com"), inWorld(l, nil),
				func(c *Config) { c.HopTimeout = 700 * time.Millisecond })
			if !strings.Contains(c.want, "timeout") {
				ch.config.HopTimeout = time.Minute
			}
			f := ch.Check(t.Context(), probe(request(HTTP01))).DCV
			require.Equal(t, c.want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, c.want == "ok", f.Outcome == Pass)
			require.Len(t, f.Fetches, 1)
			require.Equal(t, l.Addr().String(), f.Fetches[0].Address)
			require.Equal(t, tokenURL, f.Fetches[0].URL)
			require.LessOrEqual(t, len(f.Observed), maxObserved*3)
			require.LessOrEqual(t, f.Fetches[0].Bytes, len(secret)+bodySlack+1)
			if c.want == "ok" {
				require.Equal(t, secret, f.Observed)
				return
			}
			require.Equal(t, tokenURL, f.Problem.URL)
			require.NotEmpty(t, f.Fetches[0].Error)
		})
	}
}

// Holds: DCV-16, D9
func TestBR_3_2_2_4_19_Redirects(t *testing.T) {
	from := request(HTTP01)
	expand := strings.NewReplacer("TOKEN", token, "KEYAUTH", secret, "ESCAPED", "%65"+secret[1:]).Replace
	checked := 0
	for _, line := range lines(t, "redirects.txt") {
		if line == "" {
			continue
		}
		c := columns(line)
		require.Len(t, c, 3, line)
		t.Run(c[0]+" "+c[1], func(t *testing.T) {
			status, err := strconv.Atoi(c[0])
			require.NoError(t, err)
			at, err := http.NewRequest(http.MethodGet, tokenURL, nil)
			require.NoError(t, err)
			next, p := redirect(at.URL, status, strings.Split(expand(c[1]), "  "), from.KeyAuthorization)
			if strings.HasPrefix(c[2], "http.") {
				require.Equal(t, c[2], code(p))
				require.Nil(t, next)
				require.NotEmpty(t, p.Rules)
				return
			}
			require.Nil(t, p)
			require.Equal(t, expand(c[2]), next.String())
		})
		checked++
	}
	require.Greater(t, checked, 60)
	none, err := http.NewRequest(http.MethodGet, tokenURL, nil)
	require.NoError(t, err)
	_, p := redirect(none.URL, 302, nil, secret)
	require.Equal(t, "http.redirect", code(p))

	// What the record could not hold whole is not followed.
	for _, location := range []string{"/" + strings.Repeat("a", maxLocation), "/" + strings.Repeat("a", maxLocation-2), "/\xff"} {
		_, p := redirect(none.URL, 302, []string{location}, secret)
		require.Equal(t, "http.redirect", code(p), "%.20q", location)
		_, p = Fetch{URL: tokenURL, Status: 302, Location: location}.Next(secret)
		require.Equal(t, "http.redirect", code(p))
	}
	_, p = Fetch{URL: "http://[", Status: 302, Location: "/"}.Next(secret)
	require.Equal(t, "http.redirect", code(p))
}

// TestRedirectsAreFollowedOverTheWire: to another host, to https with a certificate that nobody trusts, and on.
//
// Holds: DCV-16, DCV-17
func TestRedirectsAreFollowedOverTheWire(t *testing.T) {
	secure := serveTLS(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Host + r.URL.RequestURI() {
		case "www.example.org/a?b=c":
			http.Redirect(w, r, "https://last.example.net:443/end", http.StatusPermanentRedirect)
		case "last.example.net:443/end":
			io.WriteString(w, secret)
		default:
			http.Error(w, r.Host, http.StatusTeapot)
		}
	})
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		http.Redirect(w, r, "https://www.example.org/a?b=c", http.StatusFound)
	})
	s := loopback("shop.example.com", "www.example.org", "last.example.net")
	f := checker(t, s, inWorld(plain.Listener, secure.Listener)).Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, Pass, f.Outcome, "%v", f.Problem)
	require.Len(t, f.Fetches, 3)
	require.Len(t, f.Lookups, 6, "A and AAAA for each hop")
	require.Equal(t, "shop.example.com", f.Queried)
	require.Equal(t, 302, f.Fetches[0].Status)
	require.Equal(t, "https://www.example.org/a?b=c", f.Fetches[0].Location)
	require.Empty(t, f.Fetches[0].Certificate)
	require.Equal(t, "https://www.example.org/a?b=c", f.Fetches[1].URL)
	require.Equal(t, fingerprint(secure.Certificate().Raw), f.Fetches[1].Certificate)
	require.Equal(t, secure.Listener.Addr().String(), f.Fetches[2].Address)
	require.Equal(t, len(secret), f.Fetches[2].Bytes)
	for i := range 2 {
		next, p := f.Fetches[i].Next(secret)
		require.Nil(t, p)
		require.Equal(t, f.Fetches[i+1].URL, next.String(), "the record leads from each fetch to the next")
	}
}

// TestTheRequestSaysNothingItNeedNot: no proxy, cookie, credential, compression or referrer, and not the secret.
//
// Holds: DCV-17, D8, D9, D11
func TestTheRequestSaysNothingItNeedNot(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	var requests []*http.Request
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Clone(r.Context())) // one at a time: each waits for the one before
		if r.URL.Path == "/x" {
			io.WriteString(w, secret)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b", Path: "/"})
		http.Redirect(w, r, "/x", http.StatusFound)
	})
	f := checker(t, loopback("shop.example.com"), inWorld(s.Listener, nil)).Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, Pass, f.Outcome, "%v", f.Problem)
	require.Len(t, requests, 2)
	for _, r := range requests {
		require.Equal(t, http.MethodGet, r.Method)
		require.Equal(t, "shop.example.com", r.Host)
		require.Equal(t, http.Header{"User-Agent": {"quorate/test"}, "Accept": {"*/*"}, "Accept-Encoding": {"identity"},
			"Connection": {"close"}}, r.Header)
		require.NotContains(t, r.RequestURI, thumb)
	}
	require.Equal(t, "/.well-known/acme-challenge/"+token, requests[0].RequestURI)
}

// Holds: DCV-16, D9
func TestTenRedirectsAndNoMore(t *testing.T) {
	for length, want := range map[int]string{10: "ok", 11: "http.hops"} {
		t.Run(strconv.Itoa(length), func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
				if err != nil {
					n = 0
				}
				if n == length {
					io.WriteString(w, secret)
					return
				}
				http.Redirect(w, r, fmt.Sprintf("/%d", n+1), http.StatusFound)
			})
			f := checker(t, loopback("shop.example.com"), inWorld(s.Listener, nil)).Check(t.Context(),
				probe(request(HTTP01))).DCV
			require.Equal(t, want, code(f.Problem))
			require.Len(t, f.Fetches, 11)
		})
	}
}

// Holds: D9
func TestALoopIsNotFollowed(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{"/a": "/b", "/b": "http://SHOP.example.com/a#x"}[r.URL.Path]
		if to == "" {
			to = "/a"
		}
		http.Redirect(w, r, to, http.StatusFound)
	})
	f := checker(t, loopback("shop.example.com"), inWorld(s.Listener, nil)).Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, Fail, f.Outcome)
	require.Equal(t, "http.loop", code(f.Problem))
	require.Len(t, f.Fetches, 3)
}

// TestReservedAddressesAreNotDialled: a server listens at the loopback address, and hears nothing.
//
// Holds: DCV-28, D10
func TestReservedAddressesAreNotDialled(t *testing.T) {
	var heard atomic.Int32
	server := raw(t, func(net.Conn) { heard.Add(1) })
	shut := func(c *Config) {
		inWorld(server, server)(c)
		c.World.AllowReserved = false
	}
	for what, record := range map[string]string{
		"loopback": "A 127.0.0.1", "private": "A 10.0.0.1", "metadata": "A 169.254.169.254", "this host": "A 0.0.0.0",
		"shared space": "A 100.64.0.1", "broadcast": "A 255.255.255.255",
		"IPv6 loopback": "AAAA ::1", "link local": "AAAA fe80::1", "unique local": "AAAA fd00::1",
		"IPv4-mapped loopback": "AAAA ::ffff:127.0.0.1", "IPv4-mapped private": "AAAA ::ffff:10.0.0.1",
		"NAT64 of private space": "AAAA 64:ff9b::a00:1", "6to4 of loopback": "AAAA 2002:7f00:1::",
	} {
		t.Run(what, func(t *testing.T) {
			qtype, _, _ := strings.Cut(record, " ")
			s := &table{records: map[string][]string{
				"shop.example.com " + qtype: {record}, "inside.example.com " + qtype: {record},
			}}
			c := checker(t, s, shut)
			first := c.Check(t.Context(), probe(request(HTTP01))).DCV
			require.Equal(t, Fail, first.Outcome)
			require.Equal(t, "address.reserved", code(first.Problem), "%v", first.Problem)
			require.Empty(t, first.Fetches[0].Address)

			// The first hop cannot be reached without the door that lets reserved addresses pass, so the second is asked for
			// here, as a redirect would.
			from, err := url.Parse(tokenURL)
			require.NoError(t, err)
			next, p := redirect(from, http.StatusFound, []string{"http://inside.example.com/"}, secret)
			require.Nil(t, p)
			var f DCVFinding
			var fetch Fetch
			_, outcome, p := c.fetch(t.Context(), next, request(HTTP01), &f, &fetch)
			require.Equal(t, Fail, outcome)
			require.Equal(t, "address.reserved", code(p), "%v", p)
			require.Empty(t, fetch.Address)

			alpn := c.Check(t.Context(), probe(request(TLSALPN01))).DCV
			require.Equal(t, "address.reserved", code(alpn.Problem))
			require.Empty(t, alpn.Handshakes[0].Address)
		})
	}
	require.Zero(t, heard.Load())
}

// TestOneReservedAddressRefusesTheHost: it does not matter which address would have been picked.
//
// Holds: D10
func TestOneReservedAddressRefusesTheHost(t *testing.T) {
	s := &table{records: map[string][]string{
		"shop.example.com A": {"A 8.8.8.8", "A 10.0.0.1"}, "shop.example.com AAAA": {"AAAA 2600::1"},
	}}
	f := checker(t, s).Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, "address.reserved", code(f.Problem))
	require.Equal(t, "10.0.0.1", f.Problem.Address)
	require.Empty(t, f.Fetches[0].Address, "nothing was dialled")
	require.Equal(t, []string{"2600::1", "8.8.8.8", "10.0.0.1"}, f.Fetches[0].Considered)
}

// TestDNSRebinding: the name has another address with each question. It is asked once, and what came is dialled.
//
// Holds: D10
func TestDNSRebinding(t *testing.T) {
	good := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, secret) })
	s := &table{answer: func(name, qtype string, nth int) *resolver.Answer {
		if qtype != "A" {
			return nil
		}
		addr := "A 127.0.0.1"
		if nth > 1 {
			addr = "A 127.0.0.99"
		}
		return answered(resolver.Lookup{Name: name + ".", Type: qtype, Status: dnssec.Secure}, addr)
	}}
	f := checker(t, s, inWorld(good.Listener, nil)).Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, Pass, f.Outcome, "%v", f.Problem)
	require.Equal(t, 1, s.asked["shop.example.com A"])
	require.Equal(t, good.Listener.Addr().String(), f.Fetches[0].Address)
	require.Equal(t, []string{"127.0.0.1"}, f.Fetches[0].Considered)
}

// TestIPv6IsPreferredAndIPv4IsTheFallback: nothing listens at the IPv6 address.
func TestIPv6IsPreferredAndIPv4IsTheFallback(t *testing.T) {
	good := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, secret) })
	s := loopback("shop.example.com")
	s.records["shop.example.com AAAA"] = []string{"AAAA ::1", "AAAA ::2"}
	f := checker(t, s, inWorld(good.Listener, nil)).Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, Pass, f.Outcome, "%v", f.Problem)
	require.Equal(t, []string{"::1", "::2", "127.0.0.1"}, f.Fetches[0].Considered)
	require.Equal(t, good.Listener.Addr().String(), f.Fetches[0].Address)

	six, four := netip.MustParseAddr("2600::1"), netip.MustParseAddr("8.8.8.8")
	require.Equal(t, []netip.Addr{six, four}, candidates([]netip.Addr{six, netip.MustParseAddr("2600::2"), four, four}))
	require.Equal(t, []netip.Addr{four}, candidates([]netip.Addr{four, four}))
	require.Empty(t, candidates(nil))
}

// TestAnAddressThatCannotBeHadIsAnError: A and AAAA must both be usable, at each hop.
//
// Holds: DCV-04
func TestAnAddressThatCannotBeHadIsAnError(t *testing.T) {
	for what, c := range map[string]struct {
		question string
		status   dnssec.Status
		want     string
	}{
		"A is bogus":         {"shop.example.com A", dnssec.Bogus, "dnssec.bogus"},
		"AAAA is bogus":      {"shop.example.com AAAA", dnssec.Bogus, "dnssec.bogus"},
		"A fails":            {"shop.example.com A", dnssec.Failure, "dns.lookup"},
		"AAAA fails":         {"shop.example.com AAAA", dnssec.Failure, "dns.lookup"},
		"bogus at the hop":   {"www.example.org AAAA", dnssec.Bogus, "dnssec.bogus"},
		"failure at the hop": {"www.example.org A", dnssec.Failure, "dns.lookup"},
	} {
		t.Run(what, func(t *testing.T) {
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Host == "www.example.org" {
					io.WriteString(w, secret)
					return
				}
				http.Redirect(w, r, "http://www.example.org/", http.StatusFound)
			})
			s := loopback("shop.example.com", "www.example.org")
			s.status = map[string]dnssec.Status{c.question: c.status}
			f := checker(t, s, inWorld(srv.Listener, nil)).Check(t.Context(), probe(request(HTTP01))).DCV
			require.Equal(t, Error, f.Outcome)
			require.Equal(t, c.want, code(f.Problem))
			require.Equal(t, c.question, strings.TrimSuffix(strings.Replace(f.Problem.Name, ". ", " ", 1),
				".")+" "+f.Problem.Type)
		})
	}
	f := checker(t, &table{}).Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, Fail, f.Outcome)
	require.Equal(t, "address.missing", code(f.Problem))
}

func TestAServerThatIsNotThereIsAnError(t *testing.T) {
	f := checker(t, loopback("shop.example.com"), inWorld(nil, nil)).Check(t.Context(), probe(request(HTTP01))).DCV
	require.Equal(t, Error, f.Outcome)
	require.Equal(t, "address.unreachable", code(f.Problem))
	require.Equal(t, "127.0.0.1:1", f.Problem.Address)
}

// TestARedirectToTLSThatIsNone: what answers at port 443 does not speak TLS.
func TestARedirectToTLSThatIsNone(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://shop.example.com/", http.StatusFound)
	})
	other := raw(t, text("HTTP/1.1 200 OK\r\n\r\n"+secret))
	f := checker(t, loopback("shop.example.com"), inWorld(plain.Listener, other)).Check(t.Context(),
		probe(request(HTTP01))).DCV
	require.Equal(t, Error, f.Outcome)
	require.Equal(t, "http.broken", code(f.Problem))
}

// TestOldTLSBehindARedirect: TLS 1.1 is not spoken there either.
//
// Holds: D7
func TestOldTLSBehindARedirect(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://shop.example.com/", http.StatusFound)
	})
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w,
			secret)
	}))
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	t.Cleanup(old.Close)
	f := checker(t, loopback("shop.example.com"), inWorld(plain.Listener, old.Listener)).Check(t.Context(),
		probe(request(HTTP01))).DCV
	require.Equal(t, "http.broken", code(f.Problem))
}

// TestARequestHasOneConnection: the transport cannot dial, whatever it is asked for.
//
// Holds: D10
func TestARequestHasOneConnection(t *testing.T) {
	mine, theirs := net.Pipe()
	defer mine.Close()
	defer theirs.Close()
	transport := oneConnection(mine, "shop.example.com")
	require.Nil(t, transport.Proxy)
	conn, err := transport.DialContext(t.Context(), "tcp", "169.254.169.254:80")
	require.NoError(t, err)
	require.Equal(t, mine, conn)
	_, err = transport.DialContext(t.Context(), "tcp", "169.254.169.254:80")
	require.ErrorContains(t, err, "second connection")

	at, err := url.Parse("http://shop.example.com:8080/")
	require.NoError(t, err)
	s := &table{}
	_, outcome, p := checker(t, s).fetch(t.Context(), at, request(HTTP01), &DCVFinding{}, &Fetch{})
	require.Equal(t, Fail, outcome)
	require.Equal(t, "http.port", code(p))
	require.Empty(t, s.asked)
}
