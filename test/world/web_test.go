package world

import (
	"context"
	"crypto/tls"
	"encoding/asn1"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

var webAddr = netip.MustParseAddr("127.0.80.77")

// get fetches a page of a host from a source address.
func get(t *testing.T, w *World, from netip.Addr, scheme, path string) (status int, location, body string) {
	t.Helper()
	port := w.HTTPPort()
	if scheme == "https" {
		port = w.TLSPort()
	}
	at := netip.AddrPortFrom(webAddr, port).String()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialerFrom(from, "tcp").DialContext(ctx, network, at)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	c := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	r, err := c.Get(scheme + "://example.com" + path)
	require.NoError(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, r.Header.Get("Location"), string(text)
}

func TestRFC8555_8_3_HostServesTokensPerClient(t *testing.T) {
	w := start(t, Default())
	h, err := w.Host(webAddr)
	require.NoError(t, err)
	again, err := w.Host(webAddr)
	require.NoError(t, err)
	require.Same(t, h, again)
	one, two := netip.MustParseAddr("127.1.0.3"), netip.MustParseAddr("127.1.0.4")
	const path = "/.well-known/acme-challenge/token"
	status, _, _ := get(t, w, one, "http", path)
	require.Equal(t, 404, status)
	removeToken := h.AddToken("token", "token.thumbprint")
	removeForged := h.AddToken("token", "forged", Client(two))
	_, _, body := get(t, w, one, "http", path)
	require.Equal(t, "token.thumbprint", body)
	_, _, body = get(t, w, one, "https", path)
	require.Equal(t, "token.thumbprint", body)
	_, _, body = get(t, w, two, "http", path)
	require.Equal(t, "forged", body)
	removeForged()
	removeToken()
	status, _, _ = get(t, w, two, "http", path)
	require.Equal(t, 404, status)

	h.Add(Page{Path: "/old", Name: "example.com", Status: 302, Location: "http://example.org/new"})
	h.Add(Page{Path: "/old", Name: "example.net", Body: "another name"})
	h.Add(Page{Path: "/teapot", Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusTeapot)
	})})
	status, location, _ := get(t, w, one, "http", "/old")
	require.Equal(t, 302, status)
	require.Equal(t, "http://example.org/new", location)
	status, _, _ = get(t, w, one, "http", "/teapot")
	require.Equal(t, http.StatusTeapot, status)
	_, err = w.Host(netip.MustParseAddr("192.0.2.1"))
	require.Error(t, err)
}

func TestRFC8737_3_HostAnswersALPNPerClient(t *testing.T) {
	w := start(t, Default())
	h, err := w.Host(webAddr)
	require.NoError(t, err)
	one, two := netip.MustParseAddr("127.1.0.3"), netip.MustParseAddr("127.1.0.4")
	handshake := func(from netip.Addr) (tls.ConnectionState, error) {
		cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "example.com", NextProtos: []string{alpnProtocol},
			MinVersion: tls.VersionTLS10}
		c, err := tls.DialWithDialer(dialerFrom(from, "tcp"), "tcp4", fmt.Sprintf("%v:%d", webAddr, w.TLSPort()), cfg)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer c.Close()
		return c.ConnectionState(), nil
	}
	_, err = handshake(one)
	require.Error(t, err, "no challenge, no handshake")

	remove, err := h.AddALPN(ALPN{Domain: "example.com", KeyAuthorization: "token.thumbprint"})
	require.NoError(t, err)
	_, err = h.AddALPN(ALPN{
		Domain: "example.com", KeyAuthorization: "forged", Clients: []netip.Prefix{Client(two)}, NotCritical: true,
		OID: asn1.ObjectIdentifier{1, 2, 3}, Names: []string{"a.com", "b.com"}, NoProtocol: true, MaxVersion: tls.VersionTLS11,
	})
	require.NoError(t, err)

	state, err := handshake(one)
	require.NoError(t, err)
	require.Equal(t, alpnProtocol, state.NegotiatedProtocol)
	leaf := state.PeerCertificates[0]
	require.Equal(t, []string{"example.com"}, leaf.DNSNames)
	found := false
	for _, e := range leaf.Extensions {
		if e.Id.String() == "1.3.6.1.5.5.7.1.31" {
			found = true
			require.True(t, e.Critical)
			require.Len(t, e.Value, 34)
		}
	}
	require.True(t, found)

	state, err = handshake(two)
	require.NoError(t, err)
	require.Empty(t, state.NegotiatedProtocol)
	require.Equal(t, uint16(tls.VersionTLS11), state.Version)
	require.Equal(t, []string{"a.com", "b.com"}, state.PeerCertificates[0].DNSNames)
	remove()
	_, err = handshake(one)
	require.Error(t, err)
}
