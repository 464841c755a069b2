package world

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Host is a web host at one loopback address: HTTP at the world's HTTP port, and at its TLS port HTTPS and tls-alpn-01.
// A path without a page is 404. All methods are safe for concurrent use.
type Host struct {
	addr    netip.Addr
	servers []*http.Server
	serving sync.WaitGroup
	// fallback is the certificate shown where no challenge is asked for: self-signed.
	fallback *tls.Certificate

	mu    sync.Mutex
	pages []*Page
	alpn  []*ALPN
}

// Page is what a host answers at a path.
type Page struct {
	// Path is the exact path, for example "/.well-known/acme-challenge/token"; every path where it is empty.
	Path string
	// Name is the host name asked for (without a port); every name where it is empty.
	Name string
	// Clients are those who are answered so, by their source address; all where it is empty.
	Clients []netip.Prefix
	// Status is the response code; 200 where it is 0.
	Status int
	// Location is the target of a redirect, with a Status of 3xx.
	Location string
	Body     string
	// Handler, if not nil, answers instead of Status, Location and Body.
	Handler http.Handler
}

// Host gives the host at an address, which starts to listen if it does not yet. The address must be an IPv4 loopback
// address, but see Config.AnyAddress; hosts at the address of a name server are allowed.
func (w *World) Host(addr netip.Addr) (*Host, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errors.New("world: closed")
	}
	if h := w.hosts[addr]; h != nil {
		return h, nil
	}
	if !addr.Is4() || !addr.IsLoopback() && !w.anyAddress {
		return nil, fmt.Errorf("world: web host: %v is not an IPv4 loopback address", addr)
	}
	h, err := newHost(addr, w.ports)
	if err != nil {
		return nil, err
	}
	w.hosts[addr] = h
	return h, nil
}

func newHost(addr netip.Addr, p ports) (*Host, error) {
	fallback, err := selfSigned(addr.String())
	if err != nil {
		return nil, err
	}
	plain, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, p.http)))
	if err != nil {
		return nil, fmt.Errorf("world: web host: %w", err)
	}
	secure, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, p.tls)))
	if err != nil {
		plain.Close()
		return nil, fmt.Errorf("world: web host: %w", err)
	}
	h := &Host{addr: addr, fallback: fallback}
	h.serve(plain)
	h.serve(tls.NewListener(secure, &tls.Config{GetConfigForClient: h.tlsConfig}))
	return h, nil
}

func (h *Host) serve(l net.Listener) {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second,
		// A client that breaks off a handshake is what the tests are about, and no news.
		ErrorLog: log.New(io.Discard, "", 0),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			alpnProtocol: func(_ *http.Server, c *tls.Conn, _ http.Handler) { c.Close() },
		},
	}
	h.servers = append(h.servers, s)
	h.serving.Go(func() {
		// Serve returns when the host is closed, and its error then says just that.
		_ = s.Serve(l)
	})
}

func (h *Host) close() {
	for _, s := range h.servers {
		s.Close()
	}
	h.serving.Wait()
}

// Addr is the host's address.
func (h *Host) Addr() netip.Addr { return h.addr }

// Add puts up a page; remove takes it down again. Where several pages fit a request, the one put up last answers.
func (h *Host) Add(p Page) (remove func()) {
	page := p
	page.Clients = slices.Clone(p.Clients)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pages = append(h.pages, &page)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.pages = slices.DeleteFunc(h.pages, func(o *Page) bool { return o == &page })
	}
}

// AddToken puts up the page of an http-01 challenge (RFC 8555 section 8.3), for some clients or for all.
func (h *Host) AddToken(token, keyAuthorization string, clients ...netip.Prefix) (remove func()) {
	return h.Add(Page{Path: "/.well-known/acme-challenge/" + token, Body: keyAuthorization, Clients: clients})
}

// ServeHTTP answers by the pages.
func (h *Host) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	p := h.page(r)
	switch {
	case p == nil:
		http.NotFound(rw, r)
		return
	case p.Handler != nil:
		p.Handler.ServeHTTP(rw, r)
		return
	}
	rw.Header().Set("Content-Type", "application/octet-stream")
	if p.Location != "" {
		rw.Header().Set("Location", p.Location)
	}
	status := p.Status
	if status == 0 {
		status = http.StatusOK
	}
	rw.WriteHeader(status)
	// A client that has gone is its own affair.
	_, _ = io.WriteString(rw, p.Body)
}

func (h *Host) page(r *http.Request) *Page {
	client := source(r.RemoteAddr)
	name := r.Host
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		name = host
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range slices.Backward(h.pages) {
		if (p.Path == "" || p.Path == r.URL.Path) && (p.Name == "" || p.Name == name) &&
			(len(p.Clients) == 0 || contains(p.Clients, client)) {
			return p
		}
	}
	return nil
}

// source gives the address of "address:port", or the zero value, which lies in no prefix.
func source(remote string) netip.Addr {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
