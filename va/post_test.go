package va

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// receiver is an HTTPS server on loopback with a certificate for a name, and the roots that verify it.
func receiver(t *testing.T, name string, h http.HandlerFunc) (port uint16, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String()).Port(), roots
}

func poster(t *testing.T, s *table, port uint16) *Checker {
	return checker(t, s, func(c *Config) { c.World, c.HopTimeout = World{TLSPort: port, AllowReserved: true}, 2*time.Second })
}

var toReceiver = &table{records: map[string][]string{"report.example.com A": {"A 127.0.0.1"}}}

func target(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}

// Holds: CAA-09
func TestCAA_09_PostSendsOneBodyOnce(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // no proxy is asked
	var calls atomic.Int32
	port, roots := receiver(t, "report.example.com", func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "<x/>" || r.Method != http.MethodPost || r.URL.RequestURI() != "/in?a=b" || r.Host != "report.example.com" ||
			r.Header.Get("Content-Type") != "application/xml" || r.Header.Get("Cookie") != "" || r.Header.Get("Referer") != "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	p, problem := poster(t, toReceiver, port).Post(t.Context(), target(t, "https://report.example.com/in?a=b"), "application/xml", []byte("<x/>"), roots)
	require.Nil(t, problem)
	require.Equal(t, http.StatusAccepted, p.Status)
	require.Equal(t, fmt.Sprintf("127.0.0.1:%d", port), p.Address)
	require.Len(t, p.Certificate, 64)
	require.EqualValues(t, 1, calls.Load())
}

// Nothing is dialled where an address is no public host's, and what was checked is what is dialled.
//
// Holds: CAA-09, D10, DCV-28
func TestCAA_09_PostGoesToNoReservedAddress(t *testing.T) {
	var dialled atomic.Int32
	port, roots := receiver(t, "report.example.com", func(http.ResponseWriter, *http.Request) { dialled.Add(1) })
	for name, records := range map[string]map[string][]string{
		"loopback":              {"report.example.com A": {"A 127.0.0.1"}},
		"the metadata service":  {"report.example.com A": {"A 169.254.169.254"}},
		"a private one, mapped": {"report.example.com AAAA": {"AAAA ::ffff:10.0.0.1"}},
		"one public, one not":   {"report.example.com A": {"A 93.184.216.34", "A 10.0.0.1"}},
		"an alias to loopback":  {"report.example.com A": {"A 127.0.0.1"}, "report.example.com AAAA": {"AAAA ::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := checker(t, &table{records: records}, func(c *Config) { c.World.TLSPort = port })
			p, problem := c.Post(t.Context(), target(t, "https://report.example.com/"), "application/xml", nil, roots)
			require.Equal(t, "address.reserved", code(problem))
			require.Zero(t, p.Status)
			require.Empty(t, p.Address)
		})
	}
	t.Run("another address at a second look", func(t *testing.T) {
		s := &table{answer: func(name, qtype string, nth int) *resolver.Answer {
			address := "A 127.0.0.1"
			if nth > 1 {
				address = "A 169.254.169.254"
			}
			if qtype != "A" {
				return nil
			}
			return answered(resolver.Lookup{Name: name + ".", Type: qtype, Status: dnssec.Insecure, Rcode: "NOERROR"}, address)
		}}
		_, problem := poster(t, s, port).Post(t.Context(), target(t, "https://report.example.com/"), "application/xml", nil, roots)
		require.Nil(t, problem)
		require.Equal(t, 1, s.asked["report.example.com A"], "the name is looked up once, and no library looks again")
	})
	require.EqualValues(t, 1, dialled.Load())
}

// Holds: CAA-09
func TestCAA_09_PostRefusesURLs(t *testing.T) {
	for text, want := range map[string]string{
		"http://report.example.com/":           "http.scheme",
		"ftp://report.example.com/":            "http.scheme",
		"https:report.example.com":             "http.host",
		"https://user@report.example.com/":     "http.host",
		"https://report.example.com/#x":        "http.host",
		"https://report.example.com:8443/":     "http.port",
		"https://report.example.com:80/":       "http.port",
		"https://report.example.com:/":         "http.port",
		"https://127.0.0.1/":                   "http.host",
		"https://169.254.169.254/latest":       "http.host",
		"https://[::ffff:10.0.0.1]/":           "http.host",
		"https://localhost/":                   "http.host",
		"https://2130706433/":                  "http.host",
		"https://report.internal/":             "http.host",
		"https:///path":                        "http.host",
		"https://xn--a/":                       "http.host",
		"https://b\u00fccher.example.com/":     "http.host",
		"https://REPORT.example.com/":          "ok",
		"https://report.example.com:443/":      "ok",
		"https://xn--bcher-kva.example.com/ok": "ok",
	} {
		t.Run(text, func(t *testing.T) { require.Equal(t, want, code(CheckPost(target(t, text)))) })
	}
}

// Holds: CAA-09
func TestCAA_09_PostBoundsWhatAReceiverDoes(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		certFor string
		code    string
		status  int
	}{
		"a redirect inwards": {handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusPermanentRedirect)
		}, status: http.StatusPermanentRedirect},
		"an endless body": {handler: func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, status: http.StatusOK},
		"never an answer": {handler: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // net/http tells that the client is gone once the body was read
			<-r.Context().Done()
		}, code: "http.timeout"},
		"headers without end": {handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, code: "http.broken"},
		"a hang-up": {handler: func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		}, code: "http.broken"},
		"another's certificate": {handler: func(http.ResponseWriter, *http.Request) {}, certFor: "other.example.com", code: "tls.untrusted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.certFor == "" {
				c.certFor = "report.example.com"
			}
			port, roots := receiver(t, c.certFor, c.handler)
			p, problem := poster(t, toReceiver, port).Post(t.Context(), target(t, "https://report.example.com/"), "application/xml", []byte("x"), roots)
			if c.code != "" {
				require.Equal(t, c.code, code(problem), "%v", problem)
				return
			}
			require.Nil(t, problem)
			require.Equal(t, c.status, p.Status)
		})
	}
	t.Run("a certificate that nobody knows", func(t *testing.T) {
		port, _ := receiver(t, "report.example.com", func(http.ResponseWriter, *http.Request) {})
		_, problem := poster(t, toReceiver, port).Post(t.Context(), target(t, "https://report.example.com/"), "application/xml", nil, nil)
		require.Equal(t, "tls.untrusted", code(problem))
	})
	t.Run("nobody listens", func(t *testing.T) {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := netip.MustParseAddrPort(l.Addr().String()).Port()
		require.NoError(t, l.Close())
		_, problem := poster(t, toReceiver, port).Post(t.Context(), target(t, "https://report.example.com/"), "application/xml", nil, nil)
		require.Equal(t, "address.unreachable", code(problem))
	})
	t.Run("bogus addresses", func(t *testing.T) {
		s := &table{status: map[string]dnssec.Status{"report.example.com A": dnssec.Bogus}}
		_, problem := poster(t, s, 1).Post(t.Context(), target(t, "https://report.example.com/"), "application/xml", nil, nil)
		require.Equal(t, "dnssec.bogus", code(problem))
	})
	t.Run("the time is over", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, problem := poster(t, toReceiver, 1).Post(ctx, target(t, "https://report.example.com/"), "application/xml", nil, nil)
		require.NotNil(t, problem)
	})
}

// Holds: CAA-02, CAA-09
func TestRFC8659_4_4_ContactsOfAnRRset(t *testing.T) {
	record := func(s string) string { return "example.com.\t300\tIN\tCAA\t" + s }
	got := Contacts([]string{record(`0 issue "ca.example"`), record(`0 iodef "mailto:a@example.com"`), record(`128 IODEF "https://example.com/"`),
		record(`0 iodef "mailto:a@example.com\013\010bcc: x"`), record(`0 iodef "\109ailto:a@example.com"`), record(`0 iodef "a b"`), record(`0 iodef ""`), "no record"})
	require.Equal(t, []Contact{{"mailto:a@example.com", true}, {"https://example.com/", true}, {"mailto:a@example.com\r\nbcc: x", false},
		{"mailto:a@example.com", false}, {"a b", false}, {"", true}}, got)
}

// Holds: CAA-09
func TestForbiddingNamesTheRecordsThatRefuse(t *testing.T) {
	record := func(s string) string { return "example.com.\t300\tIN\tCAA\t" + s }
	issue, wild, iodef, unknown := record(`0 issue "x"`), record(`0 issuewild "y"`), record(`0 iodef "mailto:a@example.com"`), record(`128 tbs "z"`)
	single, wildcard := Request{Identifier: "example.com"}, Request{Identifier: "*.example.com"}
	require.Equal(t, []string{issue}, Forbidding([]string{iodef, issue, wild}, single))
	require.Equal(t, []string{wild}, Forbidding([]string{iodef, issue, wild}, wildcard))
	require.Equal(t, []string{issue}, Forbidding([]string{iodef, issue}, wildcard))
	require.Equal(t, []string{unknown}, Forbidding([]string{iodef, issue, unknown}, single))
	require.Equal(t, []string{"x"}, Forbidding([]string{iodef, issue, "x"}, single))
}

func TestRegisteredDomain(t *testing.T) {
	for name, want := range map[string]string{"a.b.example.com": "example.com", "example.com": "example.com", "com": "com",
		"a.example.co.uk": "example.co.uk", "co.uk": "co.uk", "x.y.kawasaki.jp": "x.y.kawasaki.jp", "a.nosuchtld": "a.nosuchtld"} {
		require.Equal(t, want, RegisteredDomain(name), name)
	}
}
