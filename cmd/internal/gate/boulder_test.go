package gate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/va"
)

// certificates writes a CA, ca.pem, and a certificate with its key for each of the names.
func certificates(t *testing.T, dir string, names ...string) {
	t.Helper()
	write := func(name, kind string, der []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, root.Public(), root)
	require.NoError(t, err)
	write("ca.pem", "CERTIFICATE", der)
	for i, name := range names {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		leaf := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), root)
		require.NoError(t, err)
		write(name+".pem", "CERTIFICATE", der)
		der, err = x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		write(name+"-key.pem", "PRIVATE KEY", der)
	}
}

// remoteVA answers as a remoteva that passes everything by DNS.
type remoteVA struct {
	vapb.UnimplementedVAServer
	vapb.UnimplementedCAAServer
}

func (remoteVA) DoDCV(_ context.Context, in *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
	return &vapb.ValidationResult{Perspective: "dadaist", Rir: "AFRINIC", Records: []*corepb.ValidationRecord{
		{Hostname: in.Identifier.Value, ResolverAddrs: []string{"10.77.77.77:8343"}}}}, nil
}

func (remoteVA) DoCAA(context.Context, *vapb.IsCAAValidRequest) (*vapb.IsCAAValidResponse, error) {
	return &vapb.IsCAAValidResponse{Perspective: "dadaist", Rir: "AFRINIC"}, nil
}

// TestBoulderFromConfiguration goes the whole way: configuration, Boulder's RA, primary, five remotes of ours and one of Boulder's, records.
//
// Holds: MPIC-01, MPIC-08, MPIC-12, REC-02, REC-03
func TestBoulderFromConfiguration(t *testing.T) {
	dir := t.TempDir()
	certificates(t, dir, "va.boulder", "ra.boulder", "rva.boulder")
	load := func(name string) tls.Certificate {
		c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem"))
		require.NoError(t, err)
		return c
	}
	roots := x509.NewCertPool()
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(text))

	remote, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	rva := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{load("rva.boulder")}, ClientCAs: roots,
		ClientAuth: tls.RequireAndVerifyClientCert})))
	vapb.RegisterVAServer(rva, remoteVA{})
	vapb.RegisterCAAServer(rva, remoteVA{})
	go func() { _ = rva.Serve(remote) }() // it ends by Stop
	t.Cleanup(rva.Stop)

	at := fmt.Sprintf("127.0.0.1:%d", daemon.FreePort(t))
	pair := fmt.Sprintf("{certificate: %[1]s/va.boulder.pem, key: %[1]s/va.boulder-key.pem}", dir)
	s := newSetup(t, fmt.Sprintf("  - {name: lagos, title: Lagos, protocol: boulder, code: dadaist, url: \"https://%s\", region: AFRINIC, latitude: 6.5, "+
		"longitude: 3.4}\n", remote.Addr()),
		fmt.Sprintf("boulder: {listen: \"%s\", tls: %s, client_ca: %s/ca.pem, va_clients: [ra.boulder], caa_clients: [ra.boulder], "+
			"account_uri_prefixes: [\"https://ca.example/acct/\"]}\n", at, pair, dir),
		fmt.Sprintf("boulder_remotes: {tls: %s, ca: %s/ca.pem, account_uri_prefixes: [\"https://ca.example/acct/\"]}\n", pair, dir))
	settings, err := config.LoadGate(s.yaml)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, served := make(chan string, 1), make(chan error, 1)
	go func() { served <- s.gate.Serve(ctx, settings, func(addr string) { ready <- addr }) }()
	<-ready

	conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots,
		ServerName: "va.boulder", Certificates: []tls.Certificate{load("ra.boulder")}})))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	req := s.request("example.com", va.DNS01)
	req.Token = (req.Token + req.Token)[:43]
	req.KeyAuthorization = req.Token + req.KeyAuthorization[len(req.KeyAuthorization)-44:]
	require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, req.Expected()))
	got, err := vapb.NewVAClient(conn).DoDCV(t.Context(), &vapb.PerformValidationRequest{
		Identifier: &corepb.Identifier{Type: "dns", Value: "example.com"}, Authz: &vapb.AuthzMeta{Id: 1, RegID: 1},
		Challenge: &corepb.Challenge{Type: "dns-01", Status: "pending", Token: req.Token}, ExpectedKeyAuthorization: req.KeyAuthorization})
	require.NoError(t, err)
	require.Nil(t, got.Problem)
	said, err := vapb.NewCAAClient(conn).DoCAA(t.Context(), &vapb.IsCAAValidRequest{Identifier: &corepb.Identifier{Type: "dns", Value: "example.com"},
		ValidationMethod: "dns-01", AccountURIID: 1, AuthzID: 1})
	require.NoError(t, err)
	require.Nil(t, said.Problem)
	require.Eventually(t, func() bool {
		h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err == nil && h.Status == healthpb.HealthCheckResponse_SERVING
	}, 20*time.Second, 20*time.Millisecond)

	for number, kind := range map[string]string{"1": "dcv", "2": "caa"} {
		record, err := s.gate.Store.Attempt(t.Context(), number)
		require.NoError(t, err)
		require.EqualValues(t, "granted", record.Outcome)
		require.Equal(t, kind, record.Evidence.Attempt.Kind.String())
		require.Equal(t, "boulder:ra.boulder", record.Evidence.Attempt.Caller)
		decision, err := Recorded(record)
		require.NoError(t, err)
		require.Equal(t, 6, max(decision.DCV.Corroborated, decision.CAA.Corroborated))
		verdict := audit.Auditor{Anchors: s.doors.Anchors}.Verify(record.Evidence, record.Decision, nil)
		require.True(t, verdict.Holds(), "%v", verdict.Wrong)
		require.Equal(t, 1, verdict.Statements)

		forged := record.Evidence
		forged.Remotes = append(forged.Remotes[:0:0], forged.Remotes...)
		text, err := json.Marshal(forged.Remotes[5].Statement)
		require.NoError(t, err)
		changed := *forged.Remotes[5].Statement
		require.NoError(t, json.Unmarshal(text, &changed))
		changed.Exchanges[0].Received = `{"perspective":"dadaist","rir":"RIPE"}`
		forged.Remotes[5].Statement = &changed
		require.False(t, audit.Auditor{Anchors: s.doors.Anchors}.Verify(forged, record.Decision, nil).Holds(), "another answer gives another statement")
	}
	stop()
	require.NoError(t, <-served)
}

func TestBouldersFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	certificates(t, dir, "va.boulder")
	own := config.Pair{Certificate: filepath.Join(dir, "va.boulder.pem"), Key: filepath.Join(dir, "va.boulder-key.pem")}
	_, _, err := (&Gate{}).mutual("boulder", own, filepath.Join(dir, "ca.pem"))
	require.NoError(t, err)
	_, _, err = (&Gate{}).mutual("boulder", own, own.Key)
	require.ErrorContains(t, err, "has no certificate of a CA")
	_, _, err = (&Gate{}).mutual("boulder", own, filepath.Join(dir, "absent.pem"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, _, err = (&Gate{}).mutual("boulder", config.Pair{Certificate: own.Certificate, Key: filepath.Join(dir, "absent.pem")}, own.Certificate)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = (&Gate{}).boulderRemotes(config.Gate{}, mpic.Roster{Remotes: []mpic.Member{{Name: "lagos", Protocol: mpic.Boulder}}}, node.Doors{})
	require.ErrorContains(t, err, "boulder_remotes")
}
