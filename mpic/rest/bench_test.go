package rest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// grantedResult is what Judge grants to a request for dns-01, with a lookup for each check as the resolver gives it.
func grantedResult(b *testing.B, caller string, req va.Request) mpic.Result {
	b.Helper()
	at := time.Now().UTC()
	place := func(i int) mpic.Place { // on the equator, which is long enough
		return mpic.Place{Region: mpic.Regions()[i%5], Longitude: 20 * float64(i)}
	}
	req.Issuers = []string{"ca.example"}
	e := mpic.Evidence{Attempt: mpic.Attempt{Kind: mpic.Issuance, Started: at, Caller: caller, Software: "test", Probe: va.Probe{
		Attempt: "ATTEMPT1", Nonce: "00112233445566778899aabbccddeeff", Deadline: at.Add(20 * time.Second), Request: req}}}
	lookup := func(name, kind, rdata string) []resolver.Lookup {
		l := resolver.Lookup{Name: name + ".", Type: kind, Status: dnssec.Secure, Rcode: "NOERROR", TTL: 300, Started: at, Finished: at}
		l.Answers = []string{name + ".\t300\tIN\t" + kind + "\t" + rdata}
		for _, zone := range []string{".", "com.", "example.com."} {
			l.Chain = append(l.Chain, resolver.Link{Zone: zone, DS: []uint16{20326}, DNSKEY: []uint16{20326, 4711}, Algorithm: "ECDSAP256SHA256",
				Until: at, Result: dnssec.Secure})
		}
		l.Queries = []resolver.Query{{At: at, Server: "192.0.2.1:53", Transport: "udp", Question: name + ". " + kind, Rcode: "NOERROR",
			Milliseconds: 1.5, Query: make([]byte, 60), Response: make([]byte, 300)}}
		return []resolver.Lookup{l}
	}
	for i := range 6 {
		name, p := fmt.Sprintf("perspective-%d", i), e.Attempt.Probe
		m := mpic.Member{Name: name, Title: name, Place: place(i), Resolver: place(i)}
		caa := `0 issue "ca.example"`
		r := va.Report{Perspective: name, Software: "test", Attempt: p.Attempt, Nonce: p.Nonce, Digest: p.Digest(), Started: at, Finished: at,
			Resolver: resolver.Settings{Mode: resolver.Iterative},
			DCV: va.DCVFinding{Outcome: va.Pass, Queried: req.Queried(), Observed: req.Expected(), Started: at, Finished: at,
				Lookups: lookup(req.Queried(), "TXT", fmt.Sprintf("%q", req.Expected()))},
			CAA: va.CAAFinding{Outcome: va.Pass, Name: req.FQDN(), Found: req.FQDN(), TTL: 300, Started: at, Finished: at,
				Lookups: lookup(req.FQDN(), "CAA", caa)}}
		r.CAA.Records = r.CAA.Lookups[0].Answers
		r.CAA.Permits = r.CAA.Records[0]
		if i == 0 {
			e.Roster.Primary, e.Primary = m, &mpic.PrimaryReport{}
			text, err := r.MarshalJSON()
			require.NoError(b, err)
			require.NoError(b, e.Primary.UnmarshalJSON(text))
			continue
		}
		m.URL, m.TLSKey, m.SigningKey = "https://"+name+".example", fmt.Sprintf("%064x", i), fmt.Sprintf("%043d", i)
		e.Roster.Remotes = append(e.Roster.Remotes, m)
		e.Remotes = append(e.Remotes, mpic.Attestation{Perspective: name, State: mpic.Answered, Report: &r, Asked: at, Closed: at})
	}
	d := mpic.Judge(e)
	require.True(b, d.Granted(), "%v", d.Reasons())
	return mpic.Result{Number: 7, Evidence: e, Decision: d}
}

// answerTo is a ResponseWriter that keeps nothing but the status.
type answerTo struct {
	header http.Header
	status int
}

func (a *answerTo) Header() http.Header         { return a.header }
func (a *answerTo) Write(b []byte) (int, error) { return len(b), nil }
func (a *answerTo) WriteHeader(status int)      { a.status = status }

// BenchmarkFront answers a request for a validation that is granted at once: what the front adds, without net/http and TLS.
func BenchmarkFront(b *testing.B) {
	var result mpic.Result
	g := &gate{validate: func(context.Context, mpic.Kind, string, va.Request) (mpic.Result, error) { return result, nil }}
	var clients []front.Client
	for i := range 10 {
		clients = append(clients, front.Client{Name: fmt.Sprintf("ra-%d", i), APIKeySHA256: digestOf([]byte(fmt.Sprint("key ", i)))})
	}
	s, err := New(Config{Validator: g, Records: g, Logger: slog.New(slog.NewJSONHandler(io.Discard, nil)), Clients: clients})
	require.NoError(b, err)
	body := good(map[string]any{"method": "dns-01", "token": strings.Repeat("t", 43), "key_authorization": strings.Repeat("t", 43) + "." + strings.Repeat("k", 43),
		"token_created": time.Now().UTC().Format(time.RFC3339)})
	req, problem := decodeForm([]byte(body), (&front.Member{}).SpeaksFor, (*form).request)
	require.Nil(b, problem)
	result = grantedResult(b, "rest:ra-9", req)
	b.ReportAllocs()
	for b.Loop() {
		r, err := http.NewRequest(http.MethodPost, validations, bytes.NewReader([]byte(body)))
		require.NoError(b, err)
		r.Header = http.Header{"Authorization": {"Bearer key 9"}, "Content-Type": {"application/json"}}
		r.TLS = &tls.ConnectionState{}
		w := &answerTo{header: http.Header{}}
		s.ServeHTTP(w, r)
		if w.status != http.StatusCreated {
			b.Fatal(w.status)
		}
		g.asked, g.by = g.asked[:0], g.by[:0]
	}
}
