package pebble

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// The perspectives of the tests.
var (
	primaryName = "zurich"
	remoteNames = []string{"virginia", "sao-paulo", "johannesburg", "tokyo", "stockholm"}
)

func roster() mpic.Roster {
	at := func(name string, region mpic.Region, lat, long float64) mpic.Member {
		place := mpic.Place{Region: region, Latitude: lat, Longitude: long}
		return mpic.Member{Name: name, Title: name, Place: place, Resolver: place, URL: "https://" + name + ".test",
			TLSKey: "tls-" + name, SigningKey: "sig-" + name}
	}
	return mpic.Roster{Primary: at(primaryName, mpic.RIPE, 47.4, 8.5), Remotes: []mpic.Member{
		at("virginia", mpic.ARIN, 39.0, -77.5), at("sao-paulo", mpic.LACNIC, -23.5, -46.6),
		at("johannesburg", mpic.AFRINIC, -26.2, 28.0), at("tokyo", mpic.APNIC, 35.7, 139.7),
		at("stockholm", mpic.RIPE, 59.3, 18.1)}}
}

// gate decides as the real one does, by mpic.Judge and nothing else, over evidence in which each perspective saw what
// the test says: a Decision can be had in no other way.
type gate struct {
	// sees gives the challenge information that a perspective found; what is not the request's Expected fails there.
	sees func(perspective string, req va.Request) string
	// silent perspectives give no answer; forbidding ones find CAA records that name another CA.
	silent, forbidding []string

	mu    sync.Mutex
	calls []call
}

type call struct {
	kind   mpic.Kind
	caller string
	req    va.Request
	result mpic.Result
}

// asked gives the calls so far.
func (g *gate) asked() []call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

func (g *gate) Validate(_ context.Context, kind mpic.Kind, caller string, req va.Request) (mpic.Result, error) {
	asked := req
	req.Issuers = []string{"ca.quorate.test"}
	started := time.Now().UTC().Round(0)
	nonce := make([]byte, 16)
	rand.Read(nonce)
	probe := va.Probe{Attempt: rand.Text(), Nonce: hex.EncodeToString(nonce),
		Deadline: started.Add(time.Minute), Request: req}
	e := mpic.Evidence{Roster: roster(), Attempt: mpic.Attempt{Kind: kind, Started: started, Caller: caller,
		Software: "test", Probe: probe}}
	primary, err := json.Marshal(g.report(primaryName, probe))
	if err != nil {
		return mpic.Result{}, err
	}
	e.Primary = new(mpic.PrimaryReport)
	if err := json.Unmarshal(primary, e.Primary); err != nil {
		return mpic.Result{}, err
	}
	if err := e.Supply(dbtest.Sets()); err != nil {
		return mpic.Result{}, err
	}
	for _, name := range remoteNames {
		if slices.Contains(g.silent, name) {
			e.Remotes = append(e.Remotes, mpic.Attestation{Perspective: name, State: mpic.TimedOut,
				Asked: started, Closed: started,
				Problem: &va.Problem{Code: "perspective.timeout", Detail: name + " did not answer"}})
			continue
		}
		report := g.report(name, probe)
		e.Remotes = append(e.Remotes, mpic.Attestation{Perspective: name, State: mpic.Answered, Report: &report,
			Asked: started, Closed: started})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	result := mpic.Result{Number: int64(len(g.calls) + 1), Evidence: e, Decision: mpic.Judge(e)}
	g.calls = append(g.calls, call{kind, caller, asked, result})
	return result, nil
}

func (g *gate) report(name string, probe va.Probe) va.Report {
	req, now := probe.Request, time.Now().UTC().Round(0)
	dcv := dbtest.Controlled(req, now)
	if dcv.Observed = g.sees(name, req); dcv.Observed != req.Expected() {
		dcv.Outcome = va.Fail
		dcv.Problem = &va.Problem{Code: "http.body", Rules: []string{"DCV-17"},
			Detail: "http://" + req.FQDN() + "/ answered with something else than the key authorization"}
	}
	caa := va.CAAFinding{Outcome: va.Pass, Name: req.FQDN(), FreshUntil: now.Add(8 * time.Hour),
		Started: now, Finished: now}
	// Each name up to the root was asked for and has no record.
	for climb := req.FQDN(); climb != ""; _, climb, _ = strings.Cut(climb, ".") {
		caa.Lookups = append(caa.Lookups, resolver.Lookup{Name: climb + ".", Type: "CAA", Status: dnssec.Secure,
			Rcode: "NOERROR", Started: now, Finished: now})
	}
	if slices.Contains(g.forbidding, name) {
		caa.Outcome, caa.Problem = va.Fail, &va.Problem{Code: "caa.forbidden",
			Detail: req.FQDN() + ` has the CAA record 0 issue "other.test"`}
	}
	return va.Report{Perspective: name, Software: "test", Sets: dbtest.Sets(), Resolver: resolver.Settings{Mode: resolver.Iterative},
		Attempt: probe.Attempt, Nonce: probe.Nonce, Digest: probe.Digest(), Started: now, Finished: now, DCV: dcv, CAA: caa}
}

// all see what they should.
func all(_ string, req va.Request) string { return req.Expected() }

// allBut makes the perspectives named see something else.
func allBut(blind ...string) func(string, va.Request) string {
	return func(name string, req va.Request) string {
		if slices.Contains(blind, name) {
			return "not the token"
		}
		return req.Expected()
	}
}

// TestTheTestsGateDecides keeps the double honest: it grants and refuses through Judge.
func TestTheTestsGateDecides(t *testing.T) {
	g := &gate{sees: all}
	req := va.Request{Identifier: "shop.example.com", Method: va.HTTP01,
		Token:            "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA",
		KeyAuthorization: "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.nP1qzpXGymHBrUEepNY9HCsQk7K8KhOypzEt62jcerQ",
		TokenCreated:     time.Now().UTC().Add(-time.Minute).Round(0), AccountURI: "https://ca.test/my-account/1"}
	r, err := g.Validate(t.Context(), mpic.Issuance, "acme:test", req)
	require.NoError(t, err)
	require.Empty(t, r.Decision.Reasons())
	require.True(t, r.Decision.Granted())
	g.sees = allBut(primaryName)
	r, err = g.Validate(t.Context(), mpic.Issuance, "acme:test", req)
	require.NoError(t, err)
	require.False(t, r.Decision.Granted())
}
