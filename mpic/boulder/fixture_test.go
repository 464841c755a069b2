package boulder

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder/account"
	"github.com/quorate/quorate/va"
)

var accounts = account.Prefixes{"https://ca.example/acme/acct/", "https://ca.example/acme/reg/"}

const token = "DGyRejmCefe7v4NfDGDKfADGyRejmCefe7v4NfDGDKf"

// probe is one for the account 7.
func probe(method va.Method, kind mpic.Kind) va.Probe {
	p := va.Probe{Attempt: "ATTEMPT1", Nonce: "00112233445566778899aabbccddeeff", Deadline: time.Now().Add(10 * time.Second).UTC().Round(0),
		CAAAlone: kind == mpic.CAAAlone, DCVAlone: kind == mpic.DCVAlone,
		Request: va.Request{Identifier: "example.com", Method: method, Token: token, KeyAuthorization: token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
			TokenCreated: time.Now().Add(-time.Minute).UTC().Round(0), AccountURI: accounts[0] + "7", Issuers: []string{"ca.example"}}}
	if p.CAAAlone {
		p.Request.Token, p.Request.KeyAuthorization, p.Request.TokenCreated = "", "", time.Time{}
	}
	return p
}

func ashburn() mpic.Member {
	place := mpic.Place{Region: mpic.RIPE, Latitude: 39, Longitude: -77.5} // a region whose name Boulder writes otherwise
	return mpic.Member{Name: "ashburn", Title: "Ashburn", Place: place, Resolver: place, Protocol: mpic.Boulder, Code: "dadaist",
		URL: "https://127.0.0.1:9397"}
}

// passed are the records of a remoteva's pass.
func passed(method va.Method) []*corepb.ValidationRecord {
	r := &corepb.ValidationRecord{Hostname: "example.com", ResolverAddrs: []string{"10.77.77.77:8343"}}
	if method == va.DNS01 {
		return []*corepb.ValidationRecord{r}
	}
	r.Port, r.AddressUsed = "443", []byte("192.0.2.80")
	r.AddressesResolved = [][]byte{netip.MustParseAddr("192.0.2.80").AsSlice(), netip.MustParseAddr("2001:db8::80").AsSlice()}
	if method == va.HTTP01 {
		r.Port, r.Url = "80", "http://example.com/.well-known/acme-challenge/"+token
	}
	return []*corepb.ValidationRecord{r}
}

func dcvPass(method va.Method) *vapb.ValidationResult {
	return &vapb.ValidationResult{Records: passed(method), Perspective: "dadaist", Rir: "RIPE"}
}

func caaPass() *vapb.IsCAAValidResponse {
	return &vapb.IsCAAValidResponse{Perspective: "dadaist", Rir: "RIPE"}
}

// pki is a CA with the certificates that it gave.
type pki struct {
	t     testing.TB
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	roots *x509.CertPool
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "internal CA"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	p := &pki{t: t, key: key, roots: x509.NewCertPool()}
	p.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	p.roots.AddCert(p.cert)
	return p
}

// issue gives a certificate for names, which may be addresses.
func (p *pki) issue(names ...string) tls.Certificate {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(p.t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	require.NoError(p.t, err)
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "ra.boulder"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.cert, key.Public(), p.key)
	require.NoError(p.t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(p.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// show gives one as configurations take it.
func (p *pki) show(names ...string) func() *tls.Certificate {
	c := p.issue(names...)
	return func() *tls.Certificate { return &c }
}

// remoteVA is a server in the place of a remoteva, honest or not.
type remoteVA struct {
	vapb.UnimplementedVAServer
	vapb.UnimplementedCAAServer

	mu  sync.Mutex
	dcv func(context.Context, *vapb.PerformValidationRequest) (*vapb.ValidationResult, error)
	caa func(context.Context, *vapb.IsCAAValidRequest) (*vapb.IsCAAValidResponse, error)
	// asked are the requests as they came.
	asked []any
}

func (r *remoteVA) note(in any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, in)
}

func (r *remoteVA) DoDCV(ctx context.Context, in *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
	r.note(in)
	if r.dcv == nil {
		return dcvPass(va.HTTP01), nil
	}
	return r.dcv(ctx, in)
}

func (r *remoteVA) DoCAA(ctx context.Context, in *vapb.IsCAAValidRequest) (*vapb.IsCAAValidResponse, error) {
	r.note(in)
	if r.caa == nil {
		return caaPass(), nil
	}
	return r.caa(ctx, in)
}

// start serves it over mutual TLS, as Boulder does, and gives its address.
func (r *remoteVA) start(t testing.TB, p *pki, own tls.Certificate) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: p.roots,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})))
	vapb.RegisterVAServer(server, r)
	vapb.RegisterCAAServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return strings.TrimPrefix(listener.Addr().String(), "tcp://")
}
