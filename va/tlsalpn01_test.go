package va

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// leaf says how a challenge certificate is made; its zero value is a right one.
type leaf struct {
	// names is the value of the subjectAltName extension; the one name where it is nil.
	names []asn1.RawValue
	// noNames leaves that extension out.
	noNames bool
	// extensions stand in the place of the one right acmeIdentifier extension, where it is not nil.
	extensions []pkix.Extension
	// stranger signs with another key, issuer is another name.
	stranger bool
	issuer   string
}

func dnsName(s string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(s)}
}

func (l leaf) make(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	if l.names == nil {
		l.names = []asn1.RawValue{dnsName("shop.example.com")}
	}
	if l.extensions == nil {
		l.extensions = []pkix.Extension{acmeIdentifier(t, secret)}
	}
	san, err := asn1.Marshal(l.names)
	require.NoError(t, err)
	if !l.noNames {
		l.extensions = append([]pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}}, l.extensions...)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "challenge"},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(time.Hour), ExtraExtensions: l.extensions}
	parent, signer := template, crypto.Signer(key)
	if l.issuer != "" {
		parent.Subject.CommonName = l.issuer
	}
	if l.stranger {
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, &template, &parent, key.Public(), signer)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func extension(t *testing.T, oid asn1.ObjectIdentifier, critical bool, value any) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(value)
	require.NoError(t, err)
	return pkix.Extension{Id: oid, Critical: critical, Value: der}
}

func acmeIdentifier(t *testing.T, keyAuthorization string) pkix.Extension {
	sum := sha256.Sum256([]byte(keyAuthorization))
	return extension(t, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, true, sum[:])
}

// tlsServer completes handshakes in the place of port 443, and tells which server name it was asked for.
func tlsServer(t *testing.T, config *tls.Config) (l net.Listener, asked chan string) {
	t.Helper()
	asked = make(chan string, 10)
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		asked <- hello.ServerName
		return nil, nil
	}
	l = listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			server := tls.Server(c, config)
			if server.Handshake() == nil {
				server.Read(make([]byte, 1)) // until the client has seen enough
			}
			server.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l, asked
}

// Holds: DCV-18, D7
func TestRFC8737_3_Handshakes(t *testing.T) {
	acme := []string{acmeTLS1}
	for what, c := range map[string]struct {
		config *tls.Config
		chain  bool
		want   string
	}{
		"TLS 1.3": {&tls.Config{NextProtos: acme, MinVersion: tls.VersionTLS13}, false, "ok"},
		"TLS 1.2": {&tls.Config{NextProtos: acme, MaxVersion: tls.VersionTLS12}, false, "ok"},
		"TLS 1.1": {&tls.Config{NextProtos: acme, MinVersion: tls.VersionTLS10,
			MaxVersion: tls.VersionTLS11}, false, "tls.handshake"},
		"TLS 1.0": {&tls.Config{NextProtos: acme, MinVersion: tls.VersionTLS10,
			MaxVersion: tls.VersionTLS10}, false, "tls.handshake"},
		"no protocol is negotiated":  {&tls.Config{}, false, "tls.protocol"},
		"another protocol":           {&tls.Config{NextProtos: []string{"h2", "http/1.1"}}, false, "tls.handshake"},
		"a certificate and a second": {&tls.Config{NextProtos: acme}, true, "tls.certificate"},
	} {
		t.Run(what, func(t *testing.T) {
			cert := leaf{}.make(t)
			if c.chain {
				cert.Certificate = append(cert.Certificate, cert.Certificate[0])
			}
			c.config.Certificates = []tls.Certificate{cert}
			l, asked := tlsServer(t, c.config)
			f := checker(t, loopback("shop.example.com"), inWorld(nil, l)).Check(t.Context(), probe(request(TLSALPN01))).DCV
			require.Equal(t, c.want, code(f.Problem), "%v", f.Problem)
			require.Len(t, f.Handshakes, 1)
			require.Equal(t, l.Addr().String(), f.Handshakes[0].Address)
			require.Equal(t, "shop.example.com", <-asked)
			require.Equal(t, "shop.example.com", f.Handshakes[0].ServerName)
			if c.want != "ok" {
				require.Equal(t, Fail, f.Outcome)
				require.Equal(t, l.Addr().String(), f.Problem.Address)
				return
			}
			require.Equal(t, Pass, f.Outcome)
			require.Equal(t, request(TLSALPN01).Expected(), f.Observed)
			require.Equal(t, what, f.Handshakes[0].Version)
			require.Equal(t, acmeTLS1, f.Handshakes[0].Protocol)
			require.Equal(t, []string{fingerprint(cert.Certificate[0])}, f.Handshakes[0].Certificates)
			require.Equal(t, []string{"DNS:shop.example.com"}, f.Handshakes[0].Names)
		})
	}
}

// Holds: DCV-18, D7
func TestRFC8737_3_Certificates(t *testing.T) {
	right := acmeIdentifier(t, secret)
	sum := sha256.Sum256([]byte(secret))
	oid := right.Id
	obsolete := extension(t, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 30, 1}, true, sum[:])
	tag := func(n int, s string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: n, Bytes: []byte(s)}
	}
	shop := dnsName("shop.example.com")
	for what, c := range map[string]struct {
		leaf leaf
		want string
	}{
		"right":                        {leaf{}, "ok"},
		"the name in upper case":       {leaf{names: []asn1.RawValue{dnsName("SHOP.Example.com")}}, "ok"},
		"no name":                      {leaf{noNames: true}, "tls.names"},
		"an empty list of names":       {leaf{names: []asn1.RawValue{}}, "tls.names"},
		"another name":                 {leaf{names: []asn1.RawValue{dnsName("www.example.com")}}, "tls.names"},
		"the name above":               {leaf{names: []asn1.RawValue{dnsName("example.com")}}, "tls.names"},
		"a wildcard":                   {leaf{names: []asn1.RawValue{dnsName("*.example.com")}}, "tls.names"},
		"the name with a trailing dot": {leaf{names: []asn1.RawValue{dnsName("shop.example.com.")}}, "tls.names"},
		"a second name":                {leaf{names: []asn1.RawValue{shop, dnsName("www.example.com")}}, "tls.names"},
		"the name twice":               {leaf{names: []asn1.RawValue{shop, shop}}, "tls.names"},
		"a mail address besides":       {leaf{names: []asn1.RawValue{shop, tag(1, "a@example.com")}}, "tls.names"},
		"a URI besides": {leaf{names: []asn1.RawValue{shop, tag(6, "https://shop.example.com")}},
			"tls.names"},
		"an address besides":              {leaf{names: []asn1.RawValue{shop, tag(7, "\x7f\x00\x00\x01")}}, "tls.names"},
		"a registered identifier besides": {leaf{names: []asn1.RawValue{shop, tag(8, "\x2a\x03")}}, "tls.names"},
		"the name as a mail address":      {leaf{names: []asn1.RawValue{tag(1, "shop.example.com")}}, "tls.names"},
		"no identifier":                   {leaf{extensions: []pkix.Extension{}}, "tls.identifier"},
		"not critical": {leaf{extensions: []pkix.Extension{{Id: oid, Value: right.Value}}},
			"tls.identifier"},
		"the digest without its tag": {leaf{extensions: []pkix.Extension{{Id: oid, Critical: true, Value: sum[:]}}},
			"tls.identifier"},
		"octets behind the digest": {leaf{extensions: []pkix.Extension{{Id: oid, Critical: true,
			Value: append(append([]byte{}, right.Value...), 0)}}}, "tls.identifier"},
		"a length in the long form": {leaf{extensions: []pkix.Extension{{Id: oid, Critical: true,
			Value: append([]byte{4, 0x81, 32}, sum[:]...)}}}, "tls.identifier"},
		"a digest of 31 octets": {leaf{extensions: []pkix.Extension{extension(t, oid, true, sum[:31])}},
			"tls.identifier"},
		"a bit string": {leaf{extensions: []pkix.Extension{extension(t, oid, true,
			asn1.BitString{Bytes: sum[:], BitLength: 256})}}, "tls.identifier"},
		"an empty extension": {leaf{extensions: []pkix.Extension{{Id: oid, Critical: true}}}, "tls.identifier"},
		"another key authorization's": {leaf{extensions: []pkix.Extension{acmeIdentifier(t, token+"."+token)}},
			"tls.digest"},
		"the obsolete identifier":  {leaf{extensions: []pkix.Extension{obsolete}}, "tls.obsolete"},
		"the obsolete one besides": {leaf{extensions: []pkix.Extension{right, obsolete}}, "tls.obsolete"},
		"twice":                    {leaf{extensions: []pkix.Extension{right, right}}, "tls.handshake"},
		// crypto/x509 refuses it
		"signed by another key":        {leaf{stranger: true}, "tls.certificate"},
		"issued under another name":    {leaf{issuer: "a CA"}, "tls.certificate"},
		"issued by a CA, name and key": {leaf{issuer: "a CA", stranger: true}, "tls.certificate"},
	} {
		t.Run(what, func(t *testing.T) {
			l, _ := tlsServer(t, &tls.Config{NextProtos: []string{acmeTLS1}, Certificates: []tls.Certificate{c.leaf.make(t)}})
			f := checker(t, loopback("shop.example.com"), inWorld(nil, l)).Check(t.Context(), probe(request(TLSALPN01))).DCV
			require.Equal(t, c.want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, c.want == "ok", f.Outcome == Pass)
			if c.want != "ok" {
				require.Equal(t, Fail, f.Outcome)
				require.NotEmpty(t, f.Handshakes[0].Error)
				return
			}
			require.Equal(t, request(TLSALPN01).Expected(), f.Observed)
		})
	}
}

// TestAnExtensionTwiceIsRefusedHereToo: should crypto/x509 ever let it pass.
//
// Holds: DCV-18
func TestAnExtensionTwiceIsRefusedHereToo(t *testing.T) {
	cert, err := x509.ParseCertificate(leaf{}.make(t).Certificate[0])
	require.NoError(t, err)
	_, p := checkCertificate(cert, request(TLSALPN01))
	require.Nil(t, p)
	twice := *cert
	twice.Extensions = append(append([]pkix.Extension{}, cert.Extensions...), acmeIdentifier(t, secret))
	_, p = checkCertificate(&twice, request(TLSALPN01))
	require.Equal(t, "tls.identifier", code(p))
	for _, value := range []string{"", "\x04\x00", "\x30\x02\x82", "\x30\x00\x00", "\x30\x01\x82"} {
		odd := *cert
		odd.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte(value)}}
		_, p = checkCertificate(&odd, request(TLSALPN01))
		require.Equal(t, "tls.names", code(p), "%x", value)
	}
}

func TestHandshakesThatComeToNothing(t *testing.T) {
	for what, c := range map[string]struct {
		server  net.Listener
		outcome Outcome
		want    string
	}{
		"plain HTTP":      {raw(t, text("HTTP/1.1 400 Bad Request\r\n\r\n")), Fail, "tls.handshake"},
		"an end":          {raw(t, text("")), Fail, "tls.handshake"},
		"silence":         {raw(t, silent("")), Error, "tls.timeout"},
		"octets for ever": {raw(t, forever("", "\x16\x03\x03\x40\x00")), Fail, "tls.handshake"},
		"nobody is there": {nil, Error, "address.unreachable"},
	} {
		t.Run(what, func(t *testing.T) {
			ch := checker(t, loopback("shop.example.com"), inWorld(nil, c.server),
				func(c *Config) { c.HopTimeout = 700 * time.Millisecond })
			if what != "silence" {
				ch.config.HopTimeout = time.Minute
			}
			f := ch.Check(t.Context(), probe(request(TLSALPN01))).DCV
			require.Equal(t, c.want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, c.outcome, f.Outcome)
		})
	}
}

// TestInternationalNamesAreAskedForInALabels: in SNI and in the certificate.
//
// Holds: DCV-18
func TestInternationalNamesAreAskedForInALabels(t *testing.T) {
	req := request(TLSALPN01)
	req.Identifier = "xn--bcher-kva.example.com"
	l, asked := tlsServer(t, &tls.Config{NextProtos: []string{acmeTLS1}, Certificates: []tls.Certificate{
		leaf{names: []asn1.RawValue{dnsName(req.Identifier)}}.make(t)}})
	f := checker(t, loopback(req.Identifier), inWorld(nil, l)).Check(t.Context(), probe(req)).DCV
	require.Equal(t, Pass, f.Outcome, "%v", f.Problem)
	require.Equal(t, req.Identifier, <-asked)
}
