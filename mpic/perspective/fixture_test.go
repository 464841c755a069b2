package perspective

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var born = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

// ample is a time that no step of a test takes, however busy the machine is.
const ample = time.Minute

func newIdentity(t testing.TB, name string) *Identity {
	t.Helper()
	id, err := GenerateIdentity(name, born)
	require.NoError(t, err)
	return id
}

// fixedIdentity signs with the same key in every process: the workers of a fuzz run must agree on what is right.
func fixedIdentity(t testing.TB, name string) *Identity {
	t.Helper()
	id := newIdentity(t, name)
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	id.signer = key
	var err error
	id.thumbprint, err = Thumbprint(key.Public())
	require.NoError(t, err)
	return id
}

// newES256Identity has a signing key of the other kind that is allowed.
func newES256Identity(t testing.TB, name string) *Identity {
	t.Helper()
	id := newIdentity(t, name)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	id.signer = key
	id.thumbprint, err = Thumbprint(key.Public())
	require.NoError(t, err)
	return id
}

func memberOf(name, url string, id *Identity) mpic.Member {
	return mpic.Member{Name: name, URL: url, TLSKey: id.TLSKey(), SigningKey: id.SigningKey()}
}

func newProbe() va.Probe { return probeAt(time.Now().UTC()) }

func probeAt(now time.Time) va.Probe {
	token := strings.Repeat("tQ", 16)
	return va.Probe{
		Attempt:  "01JZ-attempt",
		Nonce:    strings.Repeat("0a", 16),
		Deadline: now.Add(ample),
		Request: va.Request{
			Identifier: "www.example.com", Method: va.HTTP01, Token: token,
			KeyAuthorization: token + "." + strings.Repeat("g", 43), TokenCreated: now.Add(-time.Hour),
			AccountURI: "https://ca.example/acct/1", Issuers: []string{"ca.example"},
		},
	}
}

// passing is a report on a probe in which each check passed.
func passing(p va.Probe) va.Report {
	at := born
	lookup := resolver.Lookup{Name: p.Request.FQDN() + ".", Type: "CAA", Status: dnssec.Secure, Rcode: "NOERROR",
		Chain: []resolver.Link{{Zone: ".", Result: dnssec.Secure}}, Started: at, Finished: at}
	return va.Report{
		Perspective: "fra", Software: "quorate/test", Attempt: p.Attempt, Nonce: p.Nonce, Digest: p.Digest(), Started: at, Finished: at,
		DCV: va.DCVFinding{Outcome: va.Pass, Queried: p.Request.Queried(), Observed: p.Request.Expected(), Started: at, Finished: at},
		CAA: va.CAAFinding{Outcome: va.Pass, Name: p.Request.FQDN(), Lookups: []resolver.Lookup{lookup}, Started: at, Finished: at},
	}
}

// journal collects log lines.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// world is one perspective, served over real sockets, and a gate that it knows.
type world struct {
	perspective, gate *Identity
	url, address      string
	log               *journal
}

// serve starts a perspective whose checks are the function given. It ends with the test.
func serve(t *testing.T, check func(context.Context, va.Probe) va.Report, change func(*Config, *world)) *world {
	t.Helper()
	w := &world{perspective: newIdentity(t, "fra"), log: &journal{}}
	var err error
	w.gate, err = GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	config := Config{Identity: w.perspective, Gates: []Gate{{Name: "gate-1", TLSKey: w.gate.TLSKey()}}, Logger: w.log.logger(), Now: time.Now}
	if change != nil {
		change(&config, w)
	}
	server, err := newServer(config, check)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.address = listener.Addr().String()
	w.url = "https://" + w.address
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return w
}

// pass answers each probe with a passing report.
func pass(_ context.Context, p va.Probe) va.Report { return passing(p) }

// remote is a client for the world's perspective.
func (w *world) remote(t *testing.T, gate *Identity) *Remote {
	t.Helper()
	return newClient(t, memberOf("fra", w.url, w.perspective), gate, slog.New(slog.DiscardHandler))
}

func newClient(t *testing.T, m mpic.Member, gate *Identity, logger *slog.Logger, others ...mpic.Member) *Remote {
	t.Helper()
	r, err := NewRemote(ClientConfig{Member: m, Others: others, Identity: gate, Logger: logger, Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// bare is an HTTP client with a gate's certificate and nothing of Remote's manners.
func (w *world) bare(t *testing.T, gate *Identity) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	if gate != nil {
		transport.TLSClientConfig.Certificates = []tls.Certificate{gate.certificate}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// post sends a body as a probe and gives the status, the header and the problem that came back.
func (w *world) post(t *testing.T, client *http.Client, body []byte) (*http.Response, problem) {
	t.Helper()
	response, err := client.Post(w.url+probePath, "application/json", bytes.NewReader(body))
	require.NoError(t, err)
	return response, problemOf(t, response)
}

func problemOf(t *testing.T, response *http.Response) problem {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	var p problem
	if response.StatusCode != http.StatusOK {
		require.Equal(t, problemType, response.Header.Get("Content-Type"))
		require.NoError(t, json.Unmarshal(body, &p))
		require.Equal(t, response.StatusCode, p.Status)
	}
	return p
}

// hostile serves HTTP as somebody who holds an identity and does with it what he likes.
func hostile(t *testing.T, id *Identity, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{id.certificate}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// sign gives the compact JWS over a report.
func (id *Identity) sign(report va.Report) (string, error) {
	s, err := newSealer(id)
	if err != nil {
		return "", err
	}
	payload, err := report.MarshalJSON()
	if err != nil {
		return "", err
	}
	signed, err := s.appendSigned(nil, payload)
	return string(signed), err
}

// newReply puts a report's records beside it.
func newReply(t testing.TB, signed string, report va.Report) []byte {
	t.Helper()
	r := reply{Report: signed, Sets: [][]byte{}}
	for _, sum := range report.Needs() {
		r.Sets = append(r.Sets, report.Sets[sum])
	}
	return marshal(t, r)
}
