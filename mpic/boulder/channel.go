package boulder

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/quorate/quorate/mpic/front"
)

// identityError is a peer that is not the one that the roster names: its certificate is not for the host, not by the CA, or has another key
// than the one pinned.
type identityError struct{ cause error }

func (e *identityError) Error() string { return e.cause.Error() }

// channel is TLS as gRPC wants it, which remembers whether the last handshake failed because somebody else answered: gRPC gives its callers only
// the text of such an error.
type channel struct {
	credentials.TransportCredentials
	last *handshakes
}

// handshakes is what came of the last one.
type handshakes struct {
	mu       sync.Mutex
	identity error
}

func (h *handshakes) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var wrong *identityError
	var unverified *tls.CertificateVerificationError
	if h.identity = nil; errors.As(err, &wrong) || errors.As(err, &unverified) {
		h.identity = err
	}
}

func (h *handshakes) stranger() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.identity
}

func (c channel) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	c.last.note(err)
	return conn, info, err
}

// Clone keeps the memory: gRPC clones what it is given.
func (c channel) Clone() credentials.TransportCredentials {
	return channel{c.TransportCredentials.Clone(), c.last}
}

// clientTLS verifies the remoteva by chain and name, and by its key where one is pinned (MPIC-08, F9). TLS 1.3 is what Boulder's servers require.
func clientTLS(host, pin string, roots *x509.CertPool, own func() *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: roots,
		// Sent whatever authorities the server names.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own(), nil },
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return &identityError{errors.New("the server showed no certificate")}
			}
			if got := keyDigest(state.PeerCertificates[0]); pin != "" && got != pin {
				return &identityError{fmt.Errorf("the TLS key is %s, and the roster has %s", got, pin)}
			}
			return nil
		},
	}
}

// keyDigest is the SHA-256 of a certificate's SubjectPublicKeyInfo in lower-case hexadecimal: mpic.Member.TLSKey.
func keyDigest(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// serverTLS asks for a certificate by one of the clients' CAs, with one of the names that may call anything here: others do not come as
// far as a call, as with Boulder's own servers.
func serverTLS(own func() *tls.Certificate, clientCAs *x509.CertPool, names []string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clientCAs,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own(), nil },
		SessionTicketsDisabled: true, NextProtos: []string{"h2"},
		VerifyConnection: func(state tls.ConnectionState) error {
			if clientName(state, names) == "" {
				return errors.New("boulder: the client's certificate has none of the names that may call here")
			}
			return nil
		},
	}
}

// listening is TLS for a gRPC server. Unlike gRPC's own it takes clients that do not name h2 by ALPN: Boulder's do not. Whoever has shown to be one of
// the clients has one of the places, so that nobody else takes them.
type listening struct {
	config *tls.Config
	places chan struct{}
}

func (l listening) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := tls.Server(raw, l.config)
	if err := conn.Handshake(); err != nil { // within the deadline that gRPC has set
		return nil, nil, errors.Join(err, raw.Close())
	}
	enough := time.NewTimer(handshakeTime)
	defer enough.Stop()
	select {
	case l.places <- struct{}{}:
	case <-enough.C:
		return nil, nil, errors.Join(fmt.Errorf("boulder: %d connections are open", cap(l.places)), raw.Close())
	}
	if !front.Leaving(raw, func() { <-l.places }) {
		<-l.places
		return nil, nil, net.ErrClosed
	}
	return conn, credentials.TLSInfo{State: conn.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (l listening) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("boulder: these are a server's credentials")
}

func (l listening) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (l listening) Clone() credentials.TransportCredentials {
	return listening{l.config.Clone(), l.places}
}

func (l listening) OverrideServerName(string) error {
	return errors.New("boulder: these are a server's credentials")
}

// clientName gives the name of the verified certificate of a peer that is one of those given; empty where none is. The common name counts
// for nothing.
func clientName(state tls.ConnectionState, names []string) string {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return ""
	}
	for _, name := range state.VerifiedChains[0][0].DNSNames {
		if slices.Contains(names, name) {
			return name
		}
	}
	return ""
}
