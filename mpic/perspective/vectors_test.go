package perspective

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// The vectors of docs/perspective-protocol.md. They are made by
//
//	go test ./mpic/perspective -run TestVectorsAreThoseOfTheProgram -update
//
// and have no chance in them. Whoever changes one on purpose has changed the protocol.
var update = flag.Bool("update", false, "write testdata/vectors anew")

// vectorKeys are keys.json.
type vectorKeys struct {
	// Signing are the keys that sign, by name: "perspective", "stranger" (Ed25519) and "p256".
	Signing map[string]vectorKey `json:"signing"`
	// Certificate is a gate's, in PEM, and TLSKey its pin.
	Certificate string `json:"certificate"`
	TLSKey      string `json:"tls_key"`
}

type vectorKey struct {
	// Private is the seed of RFC 8032, or d of RFC 7518 section 6.2.2, in hexadecimal.
	Private string          `json:"private"`
	JWK     json.RawMessage `json:"jwk"`
	// Thumbprint is the pin, and the kid.
	Thumbprint string `json:"thumbprint"`
}

// vectorProbe is one of probes.json: the text that a gate sends, and its digest.
type vectorProbe struct {
	Name   string `json:"name"`
	Body   string `json:"body"`
	Digest string `json:"digest"`
}

// vectorReply is one of replies.json: an answer that the gate takes, and what it counts for.
type vectorReply struct {
	Name  string `json:"name"`
	Probe string `json:"probe"`
	Key   string `json:"key"`
	// Payload is the report, Body the answer.
	Payload string `json:"payload"`
	Body    string `json:"body"`
	// DCV and CAA are what the gate counts. Where they are not what the report says, Why tells the reason.
	DCV va.Outcome `json:"dcv"`
	CAA va.Outcome `json:"caa"`
	Why string     `json:"why,omitempty"`
}

// vectorRefusal is one of refusals.json: a body that a perspective refuses.
type vectorRefusal struct {
	Name   string `json:"name"`
	Body   string `json:"body"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Field  string `json:"field,omitempty"`
}

// vectorRejected is one of rejected.json: an answer, with the status 200, that the gate does not take.
type vectorRejected struct {
	Name  string `json:"name"`
	Probe string `json:"probe"`
	// Key is whose key the roster has.
	Key  string `json:"key"`
	Body string `json:"body"`
	Code string `json:"code"`
	Why  string `json:"why"`
}

// vectors are all of them.
type vectors struct {
	Keys     vectorKeys
	Probes   []vectorProbe
	Replies  []vectorReply
	Refusals []vectorRefusal
	Rejected []vectorRejected
}

func (v *vectors) files() map[string]any {
	return map[string]any{"keys.json": &v.Keys, "probes.json": &v.Probes, "replies.json": &v.Replies, "refusals.json": &v.Refusals,
		"rejected.json": &v.Rejected}
}

func (v *vectors) probe(t testing.TB, name string) vectorProbe {
	t.Helper()
	i := slices.IndexFunc(v.Probes, func(p vectorProbe) bool { return p.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return v.Probes[i]
}

const vectorsAt = "testdata/vectors"

func readVectors(t testing.TB) *vectors {
	t.Helper()
	v := &vectors{}
	for name, into := range v.files() {
		text, err := os.ReadFile(filepath.Join(vectorsAt, name))
		require.NoError(t, err)
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(into), name)
	}
	require.NotEmpty(t, v.Rejected)
	return v
}

func vectorText(t testing.TB, of any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	require.NoError(t, e.Encode(of))
	return b.Bytes()
}

// TestVectorsAreThoseOfTheProgram makes the vectors and holds the files to them, octet for octet.
//
// Holds: MPIC-08, MPIC-09
func TestVectorsAreThoseOfTheProgram(t *testing.T) {
	made := makeVectors(t)
	for name, of := range made.files() {
		file := filepath.Join(vectorsAt, name)
		if *update {
			require.NoError(t, os.MkdirAll(vectorsAt, 0o755))
			require.NoError(t, os.WriteFile(file, vectorText(t, of), 0o644))
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(text), string(vectorText(t, of)), "%s is not what the program makes; see the comment at -update", name)
	}
}

// identityOf makes the identity of a key of the vectors.
func identityOf(t testing.TB, k vectorKey) *Identity {
	t.Helper()
	id := newIdentity(t, "fra")
	private, err := hex.DecodeString(k.Private)
	require.NoError(t, err)
	if strings.Contains(string(k.JWK), `"P-256"`) {
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), private)
		require.NoError(t, err)
		id.signer = key
	} else {
		id.signer = ed25519.NewKeyFromSeed(private)
	}
	id.thumbprint, err = Thumbprint(id.signer.Public())
	require.NoError(t, err)
	require.Equal(t, k.Thumbprint, id.thumbprint)
	return id
}

// sentReport is the report of an answer with its records.
func sentReport(t testing.TB, r vectorReply) va.Report {
	t.Helper()
	var report va.Report
	require.NoError(t, report.UnmarshalJSON([]byte(r.Payload)))
	var body reply
	require.NoError(t, json.Unmarshal([]byte(r.Body), &body))
	report.Sets = dnssec.Sets{}
	for _, octets := range body.Sets {
		sum := sha256.Sum256(octets)
		report.Sets[hex.EncodeToString(sum[:])] = octets
	}
	return report
}

// TestServerAnswersAsTheVectorsSay: over mutual TLS, the octets of each answer, where the signature has no chance in it.
//
// Holds: MPIC-08, MPIC-09
func TestServerAnswersAsTheVectorsSay(t *testing.T) {
	v := readVectors(t)
	for _, r := range v.Replies {
		t.Run(r.Name, func(t *testing.T) {
			report, id := sentReport(t, r), identityOf(t, v.Keys.Signing[r.Key])
			w := serve(t, func(context.Context, va.Probe) va.Report { return report }, func(c *Config, w *world) {
				c.Identity, c.Now = id, func() time.Time { return vectorsNow }
			})
			body := v.probe(t, r.Probe).Body
			response, err := w.bare(t, w.gate).Post(w.url+probePath, "application/json", strings.NewReader(body))
			require.NoError(t, err)
			got, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, 200, response.StatusCode, string(got))
			require.Equal(t, "application/json", response.Header.Get("Content-Type"))
			if r.Key != "p256" {
				require.Equal(t, r.Body, string(got))
				return
			}
			var here, there reply
			require.NoError(t, json.Unmarshal(got, &here))
			require.NoError(t, json.Unmarshal([]byte(r.Body), &there))
			require.Equal(t, there.Sets, here.Sets)
			require.Equal(t, there.Report[:strings.LastIndexByte(there.Report, '.')], here.Report[:strings.LastIndexByte(here.Report, '.')])
		})
	}
}

// Holds: MPIC-09, F6
func TestServerRefusesAsTheVectorsSay(t *testing.T) {
	v := readVectors(t)
	w := serve(t, func(context.Context, va.Probe) va.Report {
		t.Error("a check was made for a probe that is to be refused")
		return va.Report{}
	}, func(c *Config, _ *world) { c.Now = func() time.Time { return vectorsNow } })
	client := w.bare(t, w.gate)
	for _, r := range v.Refusals {
		t.Run(r.Name, func(t *testing.T) {
			_, p := w.post(t, client, []byte(r.Body))
			require.Equal(t, [3]any{r.Status, r.Code, r.Field}, [3]any{p.Status, p.Code, p.Field}, p.Detail)
		})
	}
}

// asked sends a probe of the vectors to somebody who answers with a text, and gives what the gate makes of it.
func asked(t *testing.T, v *vectors, probe, key, answer string) (va.Probe, mpic.Attestation) {
	t.Helper()
	want := v.probe(t, probe)
	var p va.Probe
	require.NoError(t, json.Unmarshal([]byte(want.Body), &p))
	id := identityOf(t, v.Keys.Signing[key])
	gate, err := GenerateGateIdentity("gate", born)
	require.NoError(t, err)
	server := hostile(t, id, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != want.Body || r.Method != http.MethodPost || r.URL.Path != probePath ||
			r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	})
	r, err := NewRemote(ClientConfig{Member: memberOf("fra", server.URL, id), Identity: gate, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return vectorsNow }})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return p, r.Attest(t.Context(), p)
}

// TestClientTakesTheRepliesOfTheVectors: the gate sends each probe in the octets of the vectors, takes the answer, and counts it for
// what the vectors say.
//
// Holds: MPIC-08, MPIC-09, MPIC-10, MPIC-11, F6
func TestClientTakesTheRepliesOfTheVectors(t *testing.T) {
	v := readVectors(t)
	for _, r := range v.Replies {
		t.Run(r.Name, func(t *testing.T) {
			p, a := asked(t, v, r.Probe, r.Key, r.Body)
			require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
			compact, err := a.Reply.Compact()
			require.NoError(t, err)
			require.Equal(t, r.Payload, compact.Payload())
			dcv, caa := counted(t, p, a.Reply.Report())
			require.Equal(t, r.DCV, dcv)
			require.Equal(t, r.CAA, caa)
			report := a.Reply.Report()
			require.Equal(t, r.Why == "", report.DCV.Outcome == dcv && report.CAA.Outcome == caa)
		})
	}
	for _, m := range va.Methods() {
		require.True(t, slices.ContainsFunc(v.Replies, func(r vectorReply) bool { return r.Name == m.String() && r.DCV == va.Pass }), m)
	}
}

// counted is what mpic.Judge makes of a report by five remotes, with one of the primary like it beside.
func counted(t *testing.T, p va.Probe, r va.Report) (dcv, caa va.Outcome) {
	t.Helper()
	e := mpic.Evidence{Attempt: mpic.Attempt{Kind: mpic.Issuance, Started: vectorsNow, Caller: "test", Software: "test", Probe: p}}
	switch {
	case p.CAAAlone:
		e.Attempt.Kind = mpic.CAAAlone
	case p.DCVAlone:
		e.Attempt.Kind = mpic.DCVAlone
	}
	for i, c := range []struct {
		name     string
		region   mpic.Region
		lat, lon float64
	}{{"zurich", mpic.RIPE, 47.4, 8.5}, {"ashburn", mpic.ARIN, 39, -77.5}, {"tokyo", mpic.APNIC, 35.7, 139.7}, {"sao-paulo", mpic.LACNIC, -23.5, -46.6},
		{"johannesburg", mpic.AFRINIC, -26.2, 28}, {"fra", mpic.RIPE, 60.2, 24.9}} {
		place := mpic.Place{Region: c.region, Latitude: c.lat, Longitude: c.lon}
		m := mpic.Member{Name: c.name, Title: c.name, Place: place, Resolver: place}
		if i == 0 {
			e.Roster.Primary = m
			continue
		}
		m.URL, m.TLSKey, m.SigningKey = "https://"+c.name+".example", strings.Repeat(string(rune('a'+i)), 64), strings.Repeat(string(rune('a'+i)), 43)
		m.TLSKey = hex.EncodeToString(bytes.Repeat([]byte{byte(i)}, 32))
		e.Roster.Remotes = append(e.Roster.Remotes, m)
		e.Remotes = append(e.Remotes, mpic.Attestation{Perspective: c.name, State: mpic.Answered, Report: &r})
	}
	text, err := r.MarshalJSON()
	require.NoError(t, err)
	e.Primary = new(mpic.PrimaryReport)
	require.NoError(t, json.Unmarshal(text, e.Primary))
	d := mpic.Judge(e)
	require.Len(t, d.Views(), 6, "%v", d.Reasons())
	view := d.Views()[1]
	passes := (view.DCV == va.Pass || p.CAAAlone) && (view.CAA == va.Pass || p.DCVAlone)
	require.Equal(t, passes, d.Granted(), "%v", d.Reasons())
	return view.DCV, view.CAA
}

// Holds: MPIC-08, MPIC-09, F6, F9
func TestClientRejectsAsTheVectorsSay(t *testing.T) {
	v := readVectors(t)
	for _, r := range v.Rejected {
		t.Run(r.Name, func(t *testing.T) {
			_, a := asked(t, v, r.Probe, r.Key, r.Body)
			require.Equal(t, mpic.Rejected, a.State)
			require.Equal(t, r.Code, a.Problem.Code, a.Problem.Detail)
			require.Nil(t, a.Reply)
			require.NotEmpty(t, r.Why)
		})
	}
}

// TestDigestsOfTheVectors: of what is sent, and of what is read from it.
//
// Holds: MPIC-09
func TestDigestsOfTheVectors(t *testing.T) {
	v := readVectors(t)
	for _, p := range v.Probes {
		sum := sha256.Sum256([]byte(p.Body))
		require.Equal(t, p.Digest, hex.EncodeToString(sum[:]), p.Name)
		read, problem := decodeProbe([]byte(p.Body), vectorsNow)
		require.Nil(t, problem, "%s: %+v", p.Name, problem)
		require.Equal(t, p.Digest, read.Digest(), p.Name)
	}
	block, _ := pem.Decode([]byte(v.Keys.Certificate))
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.Equal(t, v.Keys.TLSKey, TLSKey(certificate))
	require.Equal(t, v.Keys.TLSKey, (&Identity{certificate: tls.Certificate{Leaf: certificate}}).TLSKey())
}

// signed256 is a compact JWS by ES256 with the nonce of RFC 6979, so that it is the same each time.
func signed256(t testing.TB, id *Identity, report va.Report) string {
	t.Helper()
	text, err := id.sign(report)
	require.NoError(t, err)
	input := text[:strings.LastIndexByte(text, '.')]
	sum := sha256.Sum256([]byte(input))
	der, err := id.signer.Sign(nil, sum[:], crypto.SHA256)
	require.NoError(t, err)
	var rs struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(der, &rs)
	require.NoError(t, err)
	octets := append(rs.R.FillBytes(make([]byte, 32)), rs.S.FillBytes(make([]byte, 32))...)
	return input + "." + base64.RawURLEncoding.EncodeToString(octets)
}
