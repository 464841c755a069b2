package perspective

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// vectorsNow is the clock of gate and perspective in the vectors.
var vectorsNow = time.Date(2026, 12, 20, 12, 0, 0, 0, time.UTC)

// maker makes the vectors, all of them from fixed keys and times.
type maker struct {
	t  testing.TB
	v  *vectors
	id map[string]*Identity
}

func makeVectors(t testing.TB) *vectors {
	m := &maker{t: t, v: &vectors{Keys: vectorKeys{Signing: map[string]vectorKey{}}}, id: map[string]*Identity{}}
	m.keys()
	m.replies()
	m.forms()
	m.refusals()
	m.rejected()
	return m.v
}

func (m *maker) keys() {
	for _, name := range []string{"perspective", "stranger", "p256"} {
		seed := sha256.Sum256([]byte("the vectors' key of " + name))
		k := vectorKey{Private: hex.EncodeToString(seed[:])}
		var public any = ed25519.NewKeyFromSeed(seed[:]).Public()
		if name == "p256" {
			key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
			require.NoError(m.t, err)
			public = key.Public()
		}
		var err error
		k.JWK, err = (&jose.JSONWebKey{Key: public}).MarshalJSON()
		require.NoError(m.t, err)
		k.Thumbprint, err = Thumbprint(public)
		require.NoError(m.t, err)
		m.v.Keys.Signing[name] = k
		m.id[name] = identityOf(m.t, k)
	}
	seed := sha256.Sum256([]byte("the vectors' TLS key of a gate"))
	key := ed25519.NewKeyFromSeed(seed[:])
	der, err := x509.CreateCertificate(nil, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gate"},
		NotBefore: vectorsNow, NotAfter: noExpiry}, &x509.Certificate{Subject: pkix.Name{CommonName: "gate"}}, key.Public(), key)
	require.NoError(m.t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(m.t, err)
	m.v.Keys.Certificate, m.v.Keys.TLSKey = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), TLSKey(leaf)
}

// of is the probe for DCV and CAA by a method.
func (m *maker) of(method va.Method) va.Probe {
	const token = "DGyRejmCefe7v4NfDGDKfA"
	return va.Probe{Attempt: "01JFGQ7C8M-" + method.String(), Nonce: "00112233445566778899aabbccddeeff", Deadline: vectorsNow.Add(20 * time.Second),
		Request: va.Request{Identifier: "example.com", Method: method, Token: token,
			KeyAuthorization: token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI", TokenCreated: vectorsNow.Add(-90*time.Minute + 250*time.Millisecond),
			AccountURI: "https://ca.example/acct/1", Issuers: []string{"ca.example", "ca2.example"}}}
}

// alone is the probe for CAA alone.
func (m *maker) alone() va.Probe {
	p := m.of(va.DNS01)
	p.Attempt, p.CAAAlone = "01JFGQ7C8M-caa", true
	p.Request = va.Request{Identifier: "*.example.com", Issuers: p.Request.Issuers}
	return p
}

// send adds a probe to the vectors.
func (m *maker) send(name string, p va.Probe) {
	m.v.Probes = append(m.v.Probes, vectorProbe{name, string(marshal(m.t, p)), p.Digest()})
}

// answer adds a probe and its answer.
func (m *maker) answer(name string, p va.Probe, key string, r va.Report, why string) {
	m.send(name, p)
	m.reply(name, name, p, key, r, why)
}

func (m *maker) reply(name, probe string, p va.Probe, key string, r va.Report, why string) {
	text, err := r.MarshalJSON()
	require.NoError(m.t, err)
	v := vectorReply{Name: name, Probe: probe, Key: key, Payload: string(text), Body: m.body(key, r), DCV: r.DCV.Outcome, CAA: r.CAA.Outcome, Why: why}
	if why != "" {
		if v.DCV == va.Pass || p.CAAAlone {
			v.DCV = va.Error
		}
		v.CAA = va.Error
	}
	if why != "" && p.CAAAlone {
		v.DCV = va.NotChecked
	}
	m.v.Replies = append(m.v.Replies, v)
}

func (m *maker) body(key string, r va.Report) string {
	signed, err := m.id[key].sign(r)
	require.NoError(m.t, err)
	if key == "p256" {
		signed = signed256(m.t, m.id[key], r)
	}
	return string(newReply(m.t, signed, r))
}

func (m *maker) replies() {
	for _, method := range va.Methods() {
		p := m.of(method)
		m.answer(method.String(), p, "perspective", m.report(p), "")
	}
	p := m.of(va.DNS01)
	m.reply("dns-01, signed by ES256", "dns-01", p, "p256", m.report(p), "")

	alone := m.alone()
	m.answer("CAA alone", alone, "perspective", m.report(alone), "")
	mail := m.alone()
	mail.Attempt, mail.Request.Identifier, mail.Request.CertificateType = "01JFGQ7C8M-mail", "example.com", va.SMIME
	mail.Request.Method, mail.Request.AccountURI = va.DNS01, "https://ca.example/acct/1"
	m.answer("CAA alone, S/MIME", mail, "perspective", m.report(mail), "")

	digest := m.of(va.DNS01)
	digest.Attempt, digest.DCVAlone = "01JFGQ7C8M-dcv", true
	sum := sha256.Sum256([]byte(digest.Request.KeyAuthorization))
	digest.Request.Token, digest.Request.KeyAuthorization, digest.Request.TokenCreated = "", "", time.Time{}
	digest.Request.KeyAuthorizationDigest = base64.RawURLEncoding.EncodeToString(sum[:])
	m.answer("DCV alone, by a digest", digest, "perspective", m.report(digest), "")

	refused := m.of(va.HTTP01)
	refused.Attempt, refused.CAALookupFailure = "01JFGQ7C8M-no", va.PermitProvenFailure
	r := m.report(refused)
	r.DCV = va.DCVFinding{Outcome: va.Error, Queried: "example.com", Started: r.DCV.Started, Finished: r.DCV.Finished,
		Problem: &va.Problem{Code: "address.unreachable", Detail: "no address of example.com could be connected to", Name: "example.com"}}
	r.CAA.Outcome, r.CAA.Permits, r.CAA.Records = va.Fail, "", []string{"example.com.\t300\tIN\tCAA\t0 issue \"other.example\""}
	r.CAA.Problem = &va.Problem{Code: "caa.forbidden", Detail: "the CAA records name other issuers", Rules: []string{"CAA-02"}, Name: "example.com", Type: "CAA"}
	r.CAA.Lookups[0].Answers = r.CAA.Records
	m.answer("no control and no permission", refused, "perspective", r, "")

	p = m.of(va.HTTP01)
	r = m.report(p)
	r.DCV.Lookups, r.CAA.Lookups = nil, nil
	r.Sets = dnssec.Sets{}
	m.reply("passes without lookups", "http-01", p, "perspective", r, "a pass counts only with all that shows it")
	r = m.report(alone)
	r.DCV = m.report(m.of(va.DNS01)).DCV
	m.reply("DCV where CAA alone was asked for", "CAA alone", alone, "perspective", r, "a report of another kind than the probe's counts for nothing")
}

// report passes all that the probe asks for.
func (m *maker) report(p va.Probe) va.Report {
	at := vectorsNow.Add(100 * time.Millisecond)
	end := at.Add(50 * time.Millisecond)
	r := va.Report{Perspective: "fra", Software: "quorate/vectors", Attempt: p.Attempt, Nonce: p.Nonce, Digest: p.Digest(), Started: at,
		Finished: end, Sets: dnssec.Sets{},
		Resolver: resolver.Settings{Mode: resolver.Iterative, Anchors: []string{}, Algorithms: []int{8, 13, 15}, Slack: 0, Limits: map[string]int{"signatures": 64}, Timeout: 15, CacheCap: 3600, QnameMinimisation: true}}
	r.DCV = va.DCVFinding{Outcome: va.NotChecked, Started: at, Finished: at}
	r.CAA = va.CAAFinding{Outcome: va.NotChecked, Started: at, Finished: at}
	if !p.CAAAlone {
		r.DCV = m.control(p.Request, at, end)
	}
	if !p.DCVAlone {
		records := []string{`0 issue "ca.example"`, `0 iodef "mailto:security@example.com"`}
		if p.Request.CertificateType == va.SMIME {
			records = []string{`0 issuemail "ca.example; accounturi=https://ca.example/acct/1"`, `0 issue ";"`}
		}
		l := m.lookup(p.Request.FQDN(), dns.TypeCAA, at, records...)
		permits, problem := va.EvaluateCAA(l.Answers, p.Request)
		require.Nil(m.t, problem)
		r.CAA = va.CAAFinding{Outcome: va.Pass, Name: p.Request.FQDN(), Found: p.Request.FQDN(), Records: l.Answers, Permits: permits, TTL: 300,
			FreshUntil: at.Add(8 * time.Hour), Lookups: []resolver.Lookup{l}, Started: at, Finished: end}
	}
	for _, sum := range r.Needs() {
		r.Sets[sum] = m.set()
	}
	return r
}

func (m *maker) control(req va.Request, at, end time.Time) va.DCVFinding {
	f := va.DCVFinding{Outcome: va.Pass, Queried: req.Queried(), Observed: req.Expected(), Started: at, Finished: end}
	if req.Method == va.DNS01 {
		f.Lookups = []resolver.Lookup{m.lookup(req.Queried(), dns.TypeTXT, at, fmt.Sprintf("%q", req.Expected()))}
		return f
	}
	considered := []string{"2001:db8::80", "192.0.2.80"}
	f.Lookups = []resolver.Lookup{m.lookup(req.FQDN(), dns.TypeAAAA, at, considered[0]), m.lookup(req.FQDN(), dns.TypeA, at, considered[1])}
	if req.Method == va.HTTP01 {
		f.Fetches = []va.Fetch{{URL: "http://" + req.FQDN() + "/.well-known/acme-challenge/" + req.Token, Considered: considered, Address: "[2001:db8::80]:80",
			Status: 200, ContentType: "text/plain", Bytes: len(req.KeyAuthorization) + 1, Body: req.KeyAuthorization + "\n", Milliseconds: 31.5}}
		return f
	}
	require.Equal(m.t, va.TLSALPN01, req.Method, "the vectors lack what this method sees")
	f.Handshakes = []va.Handshake{{ServerName: req.FQDN(), Considered: considered, Address: "192.0.2.80:443", Version: "TLS 1.3", Protocol: "acme-tls/1",
		Certificates: []string{strings.Repeat("ab", 32)}, Names: []string{"DNS:" + req.FQDN()}, Milliseconds: 20}}
	return f
}

// lookup is one that a perspective might have made. Its records bear no signatures: that proofs hold is docs/proofs.md's affair, and
// nothing of this protocol looks at them.
func (m *maker) lookup(name string, kind uint16, at time.Time, data ...string) resolver.Lookup {
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	query.Id, query.RecursionDesired = 4711, false
	response := new(dns.Msg).SetReply(query)
	response.Authoritative = true
	l := resolver.Lookup{Name: dns.Fqdn(name), Type: dns.TypeToString[kind], Status: dnssec.Secure, Rcode: "NOERROR", Answers: []string{}, TTL: 300,
		Why: "signed, and the signatures hold", Started: at, Finished: at.Add(20 * time.Millisecond),
		Chain: []resolver.Link{{Zone: ".", DNSKEY: []uint16{20326}, Algorithm: "RSASHA256", Result: dnssec.Secure}}}
	for _, d := range data {
		rr, err := dns.NewRR(fmt.Sprintf("%s 300 IN %s %s", dns.Fqdn(name), dns.TypeToString[kind], d))
		require.NoError(m.t, err)
		response.Answer = append(response.Answer, rr)
		l.Answers = append(l.Answers, rr.String())
	}
	asked, err := query.Pack()
	require.NoError(m.t, err)
	answered, err := response.Pack()
	require.NoError(m.t, err)
	l.Queries = []resolver.Query{{At: at.Add(time.Millisecond), Server: "192.0.2.53:53", Transport: "udp", Question: l.Name + " " + l.Type, Rcode: "NOERROR",
		Milliseconds: 12.25, Query: asked, Response: answered}}
	sum := sha256.Sum256(m.set())
	stamp := at.Truncate(time.Second)
	l.Proof = []dnssec.Stage{{Kind: dnssec.StageKeys, Zone: ".", Records: hex.EncodeToString(sum[:]), At: stamp},
		{Kind: dnssec.StageAnswer, Zone: ".", Query: 1, At: stamp}}
	return l
}

// set is a record in the octets of docs/proofs.md: a DNSKEY of the root that nobody has.
func (m *maker) set() []byte {
	rr := &dns.DNSKEY{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600}, Flags: 257, Protocol: 3, Algorithm: 15,
		PublicKey: base64.StdEncoding.EncodeToString(make([]byte, 32))}
	out := make([]byte, 512)
	n, err := dns.PackRR(rr, out, 0, nil, false)
	require.NoError(m.t, err)
	return out[:n]
}

// forms adds probes whose text is not obvious.
func (m *maker) forms() {
	p := m.of(va.DNS01)
	p.Attempt, p.Deadline = "a", vectorsNow.Add(1234567890*time.Nanosecond)
	p.Request.AccountURI = `https://ca.example/acct?a=1&b=<2>&c="3"\4`
	m.send("characters that are escaped", p)
	p = m.of(va.HTTP01)
	p.Request.TokenCreated = vectorsNow.Add(-time.Hour).In(time.FixedZone("", 2*3600))
	p.Request.Identifier = "xn--bcher-kva.example.com"
	m.send("a time with an offset", p)
	p = m.of(va.DNS01)
	p.CAALookupFailure = va.PermitProvenFailure
	p.Request.Identifier = "*.example.com"
	m.send("a rule for failed lookups", p)
}

func (m *maker) refusals() {
	good := string(marshal(m.t, m.of(va.HTTP01)))
	add := func(name, body, code, field string) {
		m.v.Refusals = append(m.v.Refusals, vectorRefusal{name, body, 400, code, field})
	}
	text := func(name, old, new, code, field string) {
		require.Contains(m.t, good, old, name)
		add(name, strings.Replace(good, old, new, 1), code, field)
	}
	add("nothing", "", "request.malformed", "")
	add("half a probe", good[:len(good)/2], "request.malformed", "")
	add("something behind it", good+"{}", "request.malformed", "")
	add("a line feed behind it", good+"\n", "request.malformed", "")
	text("white space", `,"nonce"`, `, "nonce"`, "request.malformed", "")
	text("another order", `"attempt":"01JFGQ7C8M-http-01","nonce":"00112233445566778899aabbccddeeff"`, `"nonce":"00112233445566778899aabbccddeeff","attempt":"01JFGQ7C8M-http-01"`, "request.malformed", "")
	text("an escape that is not needed", `"example.com"`, `"ex\u0061mple.com"`, "request.malformed", "")
	text("a member that is unset", `}}`, `},"caa_alone":false}`, "request.malformed", "")
	text("the type that is understood", `}}`, `,"certificate_type":"tls-server"}}`, "request.malformed", "")
	text("a certificate type that is none", `}}`, `,"certificate_type":"code-signing"}}`, "request.malformed", "")
	text("an unknown member", `{"attempt"`, `{"skip_caa":true,"attempt"`, "request.malformed", "")
	text("a member twice", `,"nonce"`, `,"attempt":"a","nonce"`, "request.malformed", "")
	text("a member in capitals", `"nonce"`, `"Nonce"`, "request.malformed", "")
	text("a number for a text", `"00112233445566778899aabbccddeeff"`, `7`, "request.malformed", "")
	text("a method that is none", `"http-01"`, `"http-02"`, "request.malformed", "")
	text("no method", `"method":"http-01",`, ``, "request.method", "request.method")
	text("an empty attempt", `"01JFGQ7C8M-http-01"`, `""`, "request.attempt", "attempt")
	text("a line feed in the attempt", `"01JFGQ7C8M-http-01"`, `"a\nb"`, "request.attempt", "attempt")
	text("a short nonce", `"00112233445566778899aabbccddeeff"`, `"0011"`, "request.nonce", "nonce")
	text("a nonce in capitals", `aabbccddeeff"`, `AABBCCDDEEFF"`, "request.nonce", "nonce")
	text("a deadline that has come", `"2026-12-20T12:00:20Z"`, `"2026-12-20T12:00:00Z"`, "request.deadline", "deadline")
	text("a deadline far ahead", `"2026-12-20T12:00:20Z"`, `"2026-12-20T12:10:01Z"`, "request.deadline", "deadline")
	text("a reserved name", `"example.com"`, `"www.localhost"`, "name.special-use", "request.identifier")
	text("a wildcard by http-01", `"example.com"`, `"*.example.com"`, "name.wildcard", "request.identifier")
	text("a short token", `"DGyRejmCefe7v4NfDGDKfA"`, `"DGyR"`, "request.token", "request.token")
	text("a token of another key authorization", `"DGyRejmCefe7v4NfDGDKfA"`, `"EGyRejmCefe7v4NfDGDKfA"`, "request.key-authorization", "request.key_authorization")
	text("an old token", `"2026-12-20T10:30:00.25Z"`, `"2026-11-20T12:00:00Z"`, "request.token-age", "request.token_created")
	text("no issuers", `["ca.example","ca2.example"]`, `[]`, "request.issuers", "request.issuers")
	text("no account", `"https://ca.example/acct/1"`, `""`, "request.account", "request.account_uri")
	text("CAA alone with a challenge", `}}`, `},"caa_alone":true}`, "request.token", "request.token")
	text("both alone", `}}`, `},"caa_alone":true,"dcv_alone":true}`, "request.kind", "")
	text("S/MIME with DCV", `}}`, `,"certificate_type":"s-mime"}}`, "request.certificate-type", "request.certificate_type")
	mail := m.alone()
	mail.Request.CertificateType = va.SMIME
	add("S/MIME for a wildcard", string(marshal(m.t, mail)), "request.certificate-type", "request.certificate_type")
}

// crafted signs whatever it is given with the perspective's key.
func (m *maker) crafted(header, payload string) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(m.id["perspective"].signer.(ed25519.PrivateKey), []byte(input)))
}

func (m *maker) rejected() {
	p := m.of(va.HTTP01)
	r := m.report(p)
	payloadText, err := r.MarshalJSON()
	require.NoError(m.t, err)
	payload := string(payloadText)
	k, stranger := m.v.Keys.Signing["perspective"], m.v.Keys.Signing["stranger"]
	header := fmt.Sprintf(`{"alg":"EdDSA","jwk":%s,"kid":"%s","typ":"quorate-report+jws"}`, k.JWK, k.Thumbprint)
	sets := [][]byte{m.set()}
	whole := func(report string, sets [][]byte) string { return string(marshal(m.t, reply{report, sets})) }
	signed := m.crafted(header, payload)
	require.Equal(m.t, m.body("perspective", r), whole(signed, sets), "the header is as the program makes it")
	add := func(name, body, code, why string) {
		m.v.Rejected = append(m.v.Rejected, vectorRejected{name, "http-01", "perspective", body, code, why})
	}
	edited := func(text, old, new string) string {
		require.Contains(m.t, text, old)
		return strings.Replace(text, old, new, 1)
	}
	said := func(name, old, new, code, why string) {
		add(name, whole(m.crafted(header, edited(payload, old, new)), sets), code, why)
	}
	headed := func(name, old, new, code, why string) {
		add(name, whole(m.crafted(edited(header, old, new), payload), sets), code, why)
	}

	parts := strings.Split(signed, ".")
	add("a signature of something else", whole(parts[0]+"."+parts[1]+"."+strings.Split(m.crafted(header, "{}"), ".")[2], sets), "perspective.signature", "the signature does not hold")
	add("another report under the signature", whole(parts[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(edited(payload, `"outcome":"pass"`, `"outcome":"fail"`)))+"."+parts[2], sets), "perspective.signature", "the signature does not hold")
	add("the signature of a stranger", m.body("stranger", r), "perspective.key", "the key is not the one that the roster pins")
	headed("a stranger's key, signed by the right one", string(k.JWK), string(stranger.JWK), "perspective.garbage", "kid is not the thumbprint of jwk")
	headed("a stranger's thumbprint", k.Thumbprint, stranger.Thumbprint, "perspective.garbage", "kid is not the thumbprint of jwk")
	headed("no algorithm", `"EdDSA"`, `"none"`, "perspective.algorithm", "alg is neither EdDSA nor ES256")
	headed("a symmetric algorithm", `"EdDSA"`, `"HS256"`, "perspective.algorithm", "alg is neither EdDSA nor ES256")
	headed("the algorithm of another kind of key", `"EdDSA"`, `"ES256"`, "perspective.algorithm", "alg and the key's kind do not belong together")
	headed("another type", `"quorate-report+jws"`, `"JWT"`, "perspective.garbage", "typ is not that of a report")
	headed("no type", `,"typ":"quorate-report+jws"`, ``, "perspective.garbage", "typ is not that of a report")
	headed("a critical header", `{"alg"`, `{"crit":["exp"],"alg"`, "perspective.garbage", "the header has an unknown member")
	headed("no key", `"jwk":`+string(k.JWK)+`,`, ``, "perspective.garbage", "the header carries no key")
	add("padding", whole(parts[0]+"=."+parts[1]+"."+parts[2], sets), "perspective.garbage", "base64url has no padding")
	add("four parts", whole(signed+".x", sets), "perspective.garbage", "a compact JWS has three parts")
	add("the JSON serialization", whole(fmt.Sprintf(`{"protected":"%s","payload":"%s","signature":"%s"}`, parts[0], parts[1], parts[2]), sets), "perspective.garbage", "a report is a compact JWS")

	said("another attempt", `"01JFGQ7C8M-http-01"`, `"01JFGQ7C8M-http-02"`, "perspective.replay", "attempt is not the probe's")
	said("another nonce", `"00112233445566778899aabbccddeeff"`, `"ffeeddccbbaa99887766554433221100"`, "perspective.replay", "nonce is not the probe's")
	said("another request", `"digest":"`+p.Digest(), `"digest":"`+m.of(va.DNS01).Digest(), "perspective.replay", "digest is not the probe's")
	said("a digest in capitals", p.Digest(), strings.ToUpper(p.Digest()), "perspective.replay", "digest is not the probe's, which is in lower case")
	said("an unknown member", `{"perspective"`, `{"valid":true,"perspective"`, "perspective.garbage", "the report has an unknown member")
	said("a member twice", `"attempt":`, `"nonce":"x","attempt":`, "perspective.garbage", "a member stands twice")
	said("no outcome", `"outcome":"pass",`, ``, "perspective.garbage", "an outcome is missing")
	said("an outcome that is none", `"outcome":"pass"`, `"outcome":"valid"`, "perspective.garbage", "the outcome is none of those known")
	said("an outcome in capitals", `"outcome":"pass"`, `"outcome":"Pass"`, "perspective.garbage", "the outcome is none of those known")
	said("a truth value for an outcome", `"outcome":"pass"`, `"outcome":true`, "perspective.garbage", "an outcome is a text")
	said("no status", `"status":"secure",`, ``, "perspective.garbage", "a lookup has no DNSSEC status")
	said("a status that is none", `"status":"secure"`, `"status":"unsigned"`, "perspective.garbage", "the status is none of those known")
	said("a place that leads nowhere", `"proof":[0,1]`, `"proof":[0,9]`, "perspective.garbage", "the report has no such stage")
	add("something behind the report", whole(m.crafted(header, payload+"{}"), sets), "perspective.garbage", "something follows the report")
	add("an empty report", whole(m.crafted(header, "{}"), sets), "perspective.garbage", "an outcome is missing")

	add("records are missing", whole(signed, [][]byte{}), "perspective.evidence", "the report names records that are not in sets")
	add("other records", whole(signed, [][]byte{append([]byte{0}, m.set()...)}), "perspective.evidence", "the report names records that are not in sets")
	add("more records", whole(signed, [][]byte{m.set(), {0}}), "perspective.evidence", "sets has records that the report does not name")
	add("records twice", whole(signed, [][]byte{m.set(), m.set()}), "perspective.evidence", "each is there once")
	body := whole(signed, sets)
	add("no reply", "ok", "perspective.garbage", "the body is no JSON object")
	add("the report alone", signed, "perspective.garbage", "the body is no JSON object")
	add("an unknown member beside the report", edited(body, `{"report"`, `{"is_valid":true,"report"`), "perspective.garbage", "the reply has an unknown member")
	add("a report twice", edited(body, `{"report"`, `{"report":"x","report"`), "perspective.garbage", "a member stands twice")
	add("something behind the reply", body+"{}", "perspective.garbage", "something follows the reply")
	add("no report", edited(body, `"report":"`+signed+`",`, ``), "perspective.garbage", "there is no report")
}
