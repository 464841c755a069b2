// Package dbtest is the conformance suite of the records: what any engine below package db must hold. It also makes
// attempts with evidence that mpic.Judge grants, for there is no other way to a granted decision.
package dbtest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Account is the account of all attempts made here.
const Account = "https://ca.example/acct/1"

// started is a day on which five remotes in two regions are asked for.
var started = time.Date(2026, 12, 20, 12, 0, 0, 123456789, time.UTC)

// Roster has a primary and five remotes, one in each registry's region.
func Roster() mpic.Roster {
	at := func(name string, r mpic.Region, lat, lon float64) mpic.Member {
		p := mpic.Place{Region: r, Latitude: lat, Longitude: lon}
		return mpic.Member{Name: name, Title: name, Place: p, Resolver: p}
	}
	r := mpic.Roster{Primary: at("zurich", mpic.RIPE, 47.4, 8.5), Remotes: []mpic.Member{
		at("ashburn", mpic.ARIN, 39, -77.5), at("tokyo", mpic.APNIC, 35.7, 139.7), at("sao-paulo", mpic.LACNIC, -23.5, -46.6),
		at("johannesburg", mpic.AFRINIC, -26.2, 28), at("helsinki", mpic.RIPE, 60.2, 24.9)}}
	for i := range r.Remotes {
		m := &r.Remotes[i]
		m.URL = "https://" + m.Name + ".perspectives.example"
		m.TLSKey, m.SigningKey = fmt.Sprintf("%064x", i+1), signers[m.Name].thumbprint
	}
	return r
}

// Attempt is one for http-01 of a name, with the identifier given.
func Attempt(id, name string, kind mpic.Kind) mpic.Attempt {
	const token = "DGyRejmCefe7v4NfDGDKfA"
	return mpic.Attempt{Kind: kind, Started: started, Caller: "rest:ra-1", Software: "quorate/test", Probe: va.Probe{
		Attempt: id, Nonce: "00112233445566778899aabbccddeeff", Deadline: started.Add(20 * time.Second),
		Request: va.Request{Identifier: name, Method: va.HTTP01, Token: token,
			KeyAuthorization: token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI", TokenCreated: started.Add(-time.Hour),
			AccountURI: Account, Issuers: []string{"ca.example"}}}}
}

// Evidence is of an attempt in which everybody passed both checks.
func Evidence(t testing.TB, a mpic.Attempt) mpic.Evidence {
	t.Helper()
	e := mpic.Evidence{Attempt: a, Roster: Roster()}
	SetPrimary(t, &e, Report(t, a.Probe, e.Roster.Primary.Name))
	for i, m := range e.Roster.Remotes {
		e.Remotes = append(e.Remotes, Attestation(t, m.Name, Report(t, a.Probe, m.Name), a.Started.Add(time.Millisecond),
			a.Started.Add(time.Duration(i+2)*time.Second)))
	}
	return e
}

// SetPrimary gives the evidence a primary's report, in the way in which it comes back from a record.
func SetPrimary(t testing.TB, e *mpic.Evidence, r va.Report) {
	t.Helper()
	b, err := json.Marshal(r)
	require.NoError(t, err)
	e.Primary = new(mpic.PrimaryReport)
	require.NoError(t, json.Unmarshal(b, e.Primary))
	alone := mpic.Evidence{Primary: e.Primary}
	require.NoError(t, alone.Supply(r.Sets))
}

// Report passes both checks, with what must have been seen for it.
func Report(t testing.TB, p va.Probe, name string) va.Report {
	t.Helper()
	fqdn, at := p.Request.FQDN(), started.Add(time.Second)
	record := fqdn + ".\t300\tIN\tCAA\t0 issue \"ca.example\""
	permits, problem := va.EvaluateCAA([]string{record}, p.Request)
	require.Nil(t, problem)
	r := va.Report{Perspective: name, Software: "quorate/test", Attempt: p.Attempt, Nonce: p.Nonce, Digest: p.Digest(), Sets: Sets(),
		Started: at, Finished: at.Add(time.Second), Resolver: resolver.Settings{Mode: resolver.Iterative},
		DCV: Controlled(p.Request, at),
		CAA: va.CAAFinding{Outcome: va.Pass, Name: fqdn, Found: fqdn, Records: []string{record}, Permits: permits, TTL: 300,
			FreshUntil: at.Add(8 * time.Hour), Started: at, Finished: at,
			Lookups: []resolver.Lookup{lookup(fqdn, "CAA", record)}}}
	if p.DCVAlone {
		r.CAA = va.CAAFinding{Outcome: va.NotChecked, Started: at, Finished: at}
	}
	if p.CAAAlone {
		r.DCV = va.DCVFinding{Outcome: va.NotChecked, Started: at, Finished: at}
	}
	return r
}

// Controlled is a DCV finding that passes, with all that each method sees on the way.
func Controlled(req va.Request, at time.Time) va.DCVFinding {
	f := va.DCVFinding{Outcome: va.Pass, Queried: req.Queried(), Observed: req.Expected(), Started: at, Finished: at}
	record := func(name, kind, data string) resolver.Lookup {
		return lookup(name, kind, name+".\t300\tIN\t"+kind+"\t"+data)
	}
	fqdn, found := req.FQDN(), []string{"192.0.2.80"}
	if req.Method == va.DNS01 {
		f.Lookups = []resolver.Lookup{record(req.Queried(), "TXT", fmt.Sprintf("%q", req.Expected()))}
		return f
	}
	f.Lookups = []resolver.Lookup{lookup(fqdn, "AAAA"), record(fqdn, "A", found[0])}
	if req.Method == va.HTTP01 {
		f.Fetches = []va.Fetch{{URL: "http://" + fqdn + "/.well-known/acme-challenge/" + req.Token, Considered: found,
			Address: "192.0.2.80:80", Status: 200, Bytes: len(req.KeyAuthorization), Body: req.KeyAuthorization, Milliseconds: 31.5}}
		return f
	}
	f.Handshakes = []va.Handshake{{ServerName: fqdn, Considered: found, Address: "192.0.2.80:443", Version: "TLS 1.3",
		Protocol: "acme-tls/1", Certificates: []string{fmt.Sprintf("%064x", 1)}, Names: []string{"DNS:" + fqdn},
		Milliseconds: 31.5}}
	return f
}

// Sets are the records that the proofs of all reports made here rest on. db does not look into them.
func Sets() dnssec.Sets {
	sets := dnssec.Sets{}
	for _, zone := range []string{".", "com."} {
		octets := []byte("the keys of " + zone)
		sum := sha256.Sum256(octets)
		sets[hex.EncodeToString(sum[:])] = octets
	}
	return sets
}

// lookup is a secure answer three referrals below the root, with the records given.
func lookup(name, kind string, records ...string) resolver.Lookup {
	l := resolver.Lookup{Name: name + ".", Type: kind, Status: dnssec.Secure, Rcode: "NOERROR", Answers: records,
		TTL: 300, Why: "a chain of signatures leads from the root's key to this answer", Started: started.Add(time.Second), Finished: started.Add(time.Second)}
	for _, zone := range []string{".", "com.", name + "."} {
		for _, question := range []string{name + ". " + kind, zone + " DNSKEY"} {
			l.Queries = append(l.Queries, resolver.Query{Server: "192.0.2.53:53", Transport: "udp", Question: question,
				Rcode: "NOERROR", Milliseconds: 12.25})
		}
		l.Chain = append(l.Chain, resolver.Link{Zone: zone, DS: []uint16{20326}, DNSKEY: []uint16{20326, 38696},
			Algorithm: "ECDSAP256SHA256", Result: dnssec.Secure})
	}
	for _, sum := range slices.Sorted(maps.Keys(Sets())) {
		l.Proof = append(l.Proof, dnssec.Stage{Kind: dnssec.StageKeys, Zone: ".", Records: sum, At: started})
	}
	return l
}

// Attestation is a remote's signed reply with this report, asked and closed at these times.
func Attestation(t testing.TB, name string, r va.Report, asked, closed time.Time) mpic.Attestation {
	t.Helper()
	payload, err := json.Marshal(r)
	require.NoError(t, err)
	signed, err := signers[name].signer.Sign(payload)
	require.NoError(t, err)
	compact, err := signed.CompactSerialize()
	require.NoError(t, err)
	reply, err := mpic.ReadReply(compact)
	require.NoError(t, err)
	require.NoError(t, reply.Supply(r.Sets))
	// The record gives it back in the same way.
	text, err := json.Marshal(mpic.Attestation{Perspective: name, State: mpic.Answered, Signed: compact, Asked: asked, Closed: closed})
	require.NoError(t, err)
	var a mpic.Attestation
	require.NoError(t, json.Unmarshal(text, &a))
	require.NoError(t, a.Reply.Supply(r.Sets))
	return a
}

// signer is a remote's signing key.
type signer struct {
	signer     jose.Signer
	thumbprint string
}

// signers have a key for each of the roster's remotes.
var signers = newSigners("ashburn", "tokyo", "sao-paulo", "johannesburg", "helsinki")

func newSigners(names ...string) map[string]signer {
	all := map[string]signer{}
	for _, name := range names {
		seed := sha256.Sum256([]byte("the signing key of " + name))
		key := ed25519.NewKeyFromSeed(seed[:])
		sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
		if err != nil {
			panic(err)
		}
		thumbprint := base64.RawURLEncoding.EncodeToString(sum)
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key},
			(&jose.SignerOptions{EmbedJWK: true}).WithType("quorate-report+jws").WithHeader("kid", thumbprint))
		if err != nil {
			panic(err)
		}
		all[name] = signer{s, thumbprint}
	}
	return all
}

// PrimaryFails makes the primary fail domain control: what the remotes alone saw must never suffice.
func PrimaryFails(t testing.TB, e *mpic.Evidence) {
	t.Helper()
	r := Report(t, e.Attempt.Probe, e.Roster.Primary.Name)
	r.DCV = va.DCVFinding{Outcome: va.Fail, Problem: &va.Problem{Code: "http.mismatch", Detail: "the body is another"},
		Queried: e.Attempt.Probe.Request.Queried()}
	SetPrimary(t, e, r)
}

// Silent makes a remote, by its place in the roster, give no answer.
func Silent(e *mpic.Evidence, i int, state mpic.State) {
	a := &e.Remotes[i]
	a.State, a.Report, a.Signed, a.Reply = state, nil, "", nil
	a.Problem = &va.Problem{Code: "perspective." + state.String(), Detail: a.Perspective + " gave no answer"}
}

// NotAsked is the evidence of an attempt that is refused before its first packet.
func NotAsked(a mpic.Attempt, r mpic.Roster) mpic.Evidence {
	e := mpic.Evidence{Attempt: a, Roster: r, Remotes: []mpic.Attestation{}}
	for _, m := range r.Remotes {
		e.Remotes = append(e.Remotes, mpic.Attestation{Perspective: m.Name, State: mpic.NotAsked,
			Problem: &va.Problem{Code: "perspective.not-asked", Detail: "the attempt was refused before the first packet"}})
	}
	return e
}
