package rest

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// office is a Permits, for tests: it hands back what the test puts in, and notes what it was asked.
type office struct {
	permit      mpic.Permit
	certificate mpic.CertificateRecord
	err         error
	asked       []string
	// places are those that the last permit could have had.
	places int
}

func (o *office) PermitWithin(_ context.Context, caller, account string, names []string, more mpic.Places) (mpic.Permit, error) {
	o.places = 1
	for leave, ok := more(); ok; leave, ok = more() {
		defer leave()
		o.places++
	}
	o.asked = append(o.asked, fmt.Sprint("permit ", caller, " ", account, " ", names))
	return o.permit, o.err
}

func (o *office) Find(_ context.Context, caller, id string) (mpic.Permit, error) {
	o.asked = append(o.asked, fmt.Sprint("find ", caller, " ", id))
	p := o.permit
	p.Token = ""
	return p, o.err
}

func (o *office) Certificate(_ context.Context, caller, id string, der []byte) (mpic.CertificateRecord, error) {
	o.asked = append(o.asked, fmt.Sprintf("certificate %s %s %s", caller, id, der))
	return o.certificate, o.err
}

func granted() mpic.Permit {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	return mpic.Permit{Token: "e30.e30.c2ln", PermitRecord: mpic.PermitRecord{ID: "PERMIT1", Number: 9, Outcome: mpic.OutcomeGranted, Caller: "rest:ra-2",
		Account: "https://ca.example/acct/1", Requested: at, Issued: at, Expires: at.Add(time.Hour), Names: []mpic.PermitName{{Name: "example.com",
			DCV: &mpic.PermitDCV{Attempt: "A", Number: 1, Method: va.DNS01, Scope: mpic.Exact}, CAA: &mpic.PermitCAA{Attempt: "B", Number: 2}}}}}
}

func withOffice(t *testing.T, o *office) *fixture {
	return newFixture(t, &gate{}, func(c *Config) { c.Permits = o })
}

func (f *fixture) send(path string, body any) reply {
	f.t.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		require.NoError(f.t, err)
		text = string(b)
	}
	return f.do(f.client(), "POST", path, text, map[string]string{"Authorization": "Bearer " + keyTwo, "Content-Type": "application/json"})
}

type object = map[string]any

func askFor(names ...string) object {
	return object{"names": names, "account_uri": "https://ca.example/acct/1"}
}

func pemOf(der string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)}))
}

func TestPermitsAreAnsweredWithTheirContents(t *testing.T) {
	o := &office{permit: granted()}
	f := withOffice(t, o)
	r := f.send(permits, askFor("example.com", "*.example.com"))
	require.Equal(t, 201, r.StatusCode, r.text)
	require.Equal(t, "/v1/permits/PERMIT1", r.Header.Get("Location"))
	require.Equal(t, "no-store", r.Header.Get("Cache-Control"))
	require.Equal(t, "e30.e30.c2ln", r.body["token"])
	require.Equal(t, "granted", r.body["outcome"])
	require.EqualValues(t, 9, r.body["number"])
	require.Equal(t, "2026-11-21T13:00:00Z", r.body["expires"])
	require.Equal(t, "dns-01", r.body["names"].([]any)[0].(object)["dcv"].(object)["method"])
	require.Equal(t, []string{"permit rest:ra-2 https://ca.example/acct/1 [example.com *.example.com]"}, o.asked)

	r = f.do(f.client(), "GET", permits+"/PERMIT1", "", map[string]string{"Authorization": "Bearer " + keyTwo})
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "PERMIT1", r.body["id"])
	require.NotContains(t, r.body, "token")
	require.Equal(t, "find rest:ra-2 PERMIT1", o.asked[1])
}

// Holds: D5, F6
func TestARefusedPermitHasASubproblemForEachName(t *testing.T) {
	p := granted()
	p.Outcome, p.Token = mpic.OutcomeRefused, ""
	p.Names = append(p.Names, mpic.PermitName{Name: "*.example.org", Problem: &va.Problem{Code: "permit.expired", Detail: "too old", Rules: []string{"DCV-03"}}},
		mpic.PermitName{Name: "example.net", Problem: &va.Problem{Code: "permit.no-evidence", Detail: "none"}})
	o := &office{permit: p}
	f := withOffice(t, o)
	r := f.send(permits, askFor("x"))
	requireProblem(t, r, 422, "permit.refused")
	require.Equal(t, object{"id": "PERMIT1", "number": 9.0}, r.body["permit"])
	require.Contains(t, r.body["detail"], "2 of 3 names; the first: too old")
	require.Equal(t, []any{
		object{"type": "urn:quorate:problem:permit.expired", "code": "permit.expired", "detail": "too old", "rules": []any{"DCV-03"},
			"identifier": object{"type": "dns", "value": "*.example.org"}},
		object{"type": "urn:quorate:problem:permit.no-evidence", "code": "permit.no-evidence", "detail": "none",
			"identifier": object{"type": "dns", "value": "example.net"}}}, r.body["subproblems"])

	o.permit.Names, o.permit.Problem = nil, &va.Problem{Code: "request.account", Detail: "no URI"}
	requireProblem(t, f.send(permits, askFor("x")), 422, "request.account")
	for name, p := range map[string]mpic.Permit{"nothing": {}, "no token": {PermitRecord: granted().PermitRecord},
		"a token without outcome": {Token: "e30.e30.c2ln"}} {
		o.permit = p
		r := f.send(permits, askFor("x"))
		require.Equal(t, 422, r.StatusCode, name)
		require.NotContains(t, r.text, "e30")
	}
}

func TestCertificatesAreLinked(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	o := &office{certificate: mpic.CertificateRecord{Permit: "PERMIT1", Outcome: mpic.OutcomeLinked, SHA256: "ab", Serial: "0a", Issuer: "CN=CA",
		Names: []string{"example.com"}, Linked: at, NotBefore: at, NotAfter: at, DER: []byte("octets")}}
	f := withOffice(t, o)
	path := permits + "/PERMIT1/certificate"
	r := f.send(path, object{"certificate": pemOf("octets")})
	require.Equal(t, 201, r.StatusCode, r.text)
	require.Equal(t, object{"permit": "PERMIT1", "outcome": "linked", "linked": "2026-11-21T12:00:00Z", "sha256": "ab", "serial": "0a", "issuer": "CN=CA",
		"precertificate": false, "names": []any{"example.com"}, "not_before": "2026-11-21T12:00:00Z", "not_after": "2026-11-21T12:00:00Z"}, r.body)
	require.Equal(t, []string{"certificate rest:ra-2 PERMIT1 octets"}, o.asked)

	o.certificate.Outcome = mpic.OutcomeRefused
	o.certificate.Problems = []*va.Problem{{Code: "certificate.name", Detail: "it is for b.org", Name: "b.org"}, {Code: "certificate.early", Detail: "too early"}}
	r = f.send(path, object{"certificate": pemOf("octets")})
	requireProblem(t, r, 422, "certificate.name")
	require.Equal(t, object{"id": "PERMIT1"}, r.body["permit"])
	require.Equal(t, object{"type": "dns", "value": "b.org"}, r.body["subproblems"].([]any)[0].(object)["identifier"])
	require.NotContains(t, r.body["subproblems"].([]any)[1], "identifier")
	o.certificate = mpic.CertificateRecord{}
	requireProblem(t, f.send(path, object{"certificate": pemOf("octets")}), 422, "certificate.refused")
}

func TestBadRequestsAboutPermits(t *testing.T) {
	o := &office{permit: granted()}
	f := withOffice(t, o)
	many := make([]string, mpic.MaxPermitNames+1)
	for i := range many {
		many[i] = "a.com"
	}
	certificate := permits + "/PERMIT1/certificate"
	for name, c := range map[string]struct {
		path          string
		body          any
		code, pointer string
	}{
		"no JSON":                 {permits, "hello", "request.json", ""},
		"a list":                  {permits, "[]", "request.json", ""},
		"no names":                {permits, object{"account_uri": "a:b"}, "request.missing", "/names"},
		"null":                    {permits, object{"names": nil, "account_uri": "a:b"}, "request.missing", "/names"},
		"no names in a list":      {permits, `{"names":[],"account_uri":"a:b"}`, "request.count", "/names"},
		"too many":                {permits, askFor(many...), "request.count", "/names"},
		"one text":                {permits, object{"names": "a.com", "account_uri": "a:b"}, "request.type", "/names"},
		"a number":                {permits, object{"names": []any{"a.com", 5}, "account_uri": "a:b"}, "request.type", "/names/1"},
		"an object":               {permits, object{"names": []any{object{"type": "dns", "value": "a.com"}}, "account_uri": "a:b"}, "request.type", "/names/0"},
		"an empty name":           {permits, askFor("a.com", ""), "request.missing", "/names/1"},
		"no account":              {permits, object{"names": []string{"a.com"}}, "request.missing", "/account_uri"},
		"unknown":                 {permits, object{"names": []string{"a.com"}, "account_uri": "a:b", "colour": 1}, "request.unknown-member", "/colour"},
		"twice":                   {permits, `{"names":["a.com"],"names":["b.com"],"account_uri":"a:b"}`, "request.duplicate", "/names"},
		"other case":              {permits, object{"Names": []string{"a.com"}, "account_uri": "a:b"}, "request.unknown-member", "/Names"},
		"issuers":                 {permits, object{"names": []string{"a.com"}, "account_uri": "a:b", "issuers": []string{"x"}}, "request.settled", "/issuers"},
		"lifetime":                {permits, object{"names": []string{"a.com"}, "account_uri": "a:b", "lifetime": "8h"}, "request.settled", "/lifetime"},
		"scope":                   {permits, object{"names": []string{"a.com"}, "account_uri": "a:b", "scope": "subtree"}, "request.settled", "/scope"},
		"skip_caa":                {permits, object{"names": []string{"a.com"}, "account_uri": "a:b", "skip_caa": true}, "request.settled", "/skip_caa"},
		"no certificate":          {certificate, object{}, "request.missing", "/certificate"},
		"no PEM":                  {certificate, object{"certificate": "hello"}, "request.pem", "/certificate"},
		"a key":                   {certificate, object{"certificate": strings.ReplaceAll(pemOf("x"), "CERTIFICATE", "PRIVATE KEY")}, "request.pem", "/certificate"},
		"a chain":                 {certificate, object{"certificate": pemOf("x") + pemOf("y")}, "request.pem", "/certificate"},
		"text before":             {certificate, object{"certificate": "subject: x\n" + pemOf("x")}, "request.pem", "/certificate"},
		"no octets":               {certificate, object{"certificate": pemOf("")}, "request.pem", "/certificate"},
		"headers":                 {certificate, object{"certificate": strings.Replace(pemOf("x"), "-----\n", "-----\na: b\n\n", 1)}, "request.pem", "/certificate"},
		"too long":                {certificate, object{"certificate": pemOf(strings.Repeat("x", mpic.MaxCertificate+1))}, "request.too-large", "/certificate"},
		"something else about it": {certificate, object{"certificate": pemOf("x"), "serial": "1"}, "request.unknown-member", "/serial"},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.send(c.path, c.body)
			requireProblem(t, r, 400, c.code)
			if c.pointer != "" {
				require.Equal(t, c.pointer, r.body["errors"].([]any)[0].(object)["pointer"])
			}
		})
	}
	requireProblem(t, f.send(permits, strings.Repeat(" ", maxLongBody+1)), 413, "request.too-large")
	require.Empty(t, o.asked)
	r := f.send(permits, askFor(many[1:]...))
	require.Equal(t, 201, r.StatusCode, "100 names are taken")
}

// Holds: REC-05, F7
func TestPermitsOverTheWire(t *testing.T) {
	o := &office{permit: granted()}
	f := withOffice(t, o)
	authorized := map[string]string{"Authorization": "Bearer " + keyTwo, "Content-Type": "application/json"}
	for name, c := range map[string]struct {
		method, path string
		headers      map[string]string
		status       int
		code         string
	}{
		"list":                  {"GET", permits, authorized, 405, "request.verb"},
		"delete":                {"DELETE", permits + "/P", authorized, 405, "request.verb"},
		"read certificates":     {"GET", permits + "/P/certificate", authorized, 405, "request.verb"},
		"another path below":    {"POST", permits + "/P/token", authorized, 404, "request.path"},
		"a path below that":     {"POST", permits + "/P/certificate/1", authorized, 404, "request.path"},
		"nobody":                {"POST", permits, nil, 401, "client.credentials"},
		"nobody, a permit":      {"GET", permits + "/P", nil, 401, "client.credentials"},
		"nobody, a certificate": {"POST", permits + "/P/certificate", nil, 401, "client.credentials"},
		"no type":               {"POST", permits, map[string]string{"Authorization": "Bearer " + keyTwo}, 415, "request.content-type"},
		"no identifier":         {"GET", permits + "/", authorized, 404, "permit.not-found"},
		"a long identifier":     {"GET", permits + "/" + strings.Repeat("P", 129), authorized, 404, "permit.not-found"},
	} {
		t.Run(name, func(t *testing.T) {
			requireProblem(t, f.do(f.client(), c.method, c.path, "", c.headers), c.status, c.code)
		})
	}
	requireProblem(t, f.send(permits+"//certificate", object{"certificate": pemOf("x")}), 404, "permit.not-found")
	require.Empty(t, o.asked)

	inner := errors.New("disk /secret/path is full")
	for name, c := range map[string]struct {
		err    error
		status [3]int
		code   [3]string
	}{
		"record":     {errors.Join(mpic.ErrRecord, inner), [3]int{503, 503, 503}, [3]string{"record.unwritten", "record.unwritten", "record.unwritten"}},
		"unread":     {errors.Join(mpic.ErrUnread, inner), [3]int{503, 503, 503}, [3]string{"record.unreadable", "record.unreadable", "record.unreadable"}},
		"closed":     {mpic.ErrClosed, [3]int{503, 503, 503}, [3]string{"gate.closing", "gate.closing", "gate.closing"}},
		"none":       {mpic.ErrNoPermit, [3]int{500, 404, 404}, [3]string{"gate.failed", "permit.not-found", "permit.not-found"}},
		"unforeseen": {inner, [3]int{500, 500, 500}, [3]string{"gate.failed", "gate.failed", "gate.failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			o.err = c.err
			for i, r := range []reply{f.send(permits, askFor("a.com")), f.do(f.client(), "GET", permits+"/P", "", authorized),
				f.send(permits+"/P/certificate", object{"certificate": pemOf("x")})} {
				requireProblem(t, r, c.status[i], c.code[i])
				require.NotContains(t, r.text, "secret")
				require.NotContains(t, r.text, "e30")
			}
		})
	}
}

func TestPermitsTakeAPlaceAndAreThereOnlyWhenConfigured(t *testing.T) {
	f := newFixture(t, &gate{}, nil)
	for _, path := range []string{permits, permits + "/P", permits + "/P/certificate"} {
		r := f.send(path, askFor("a.com"))
		requireProblem(t, r, http.StatusNotFound, "request.path")
		require.NotContains(t, r.body["detail"], permits)
	}
	o := &office{permit: granted()}
	var s *Server
	f = newFixture(t, &gate{}, func(c *Config) { c.Permits, c.MaxInFlight = o, 1 })
	s = f.server.Config.Handler.(*Server)
	leave, no := s.clients.Place()
	require.Nil(t, no)
	requireProblem(t, f.send(permits, askFor("a.com")), 503, "gate.overload")
	requireProblem(t, f.send(permits+"/P/certificate", object{"certificate": pemOf("x")}), 503, "gate.overload")
	leave()
	require.Empty(t, o.asked)
	require.Equal(t, 201, f.send(permits, askFor("a.com")).StatusCode)
	require.Contains(t, f.send("/v2", "").body["detail"], permits)
}

// A client that is configured with its accounts speaks for no others: neither a validation nor a permit begins.
//
// Holds: CAA-04, F7
func TestAClientSpeaksForItsAccounts(t *testing.T) {
	o, g := &office{permit: granted()}, &gate{}
	prefixes := []string{"https://ca.example/acct/", "https://ca.example/old/"}
	f := newFixture(t, g, func(c *Config) { c.Permits, c.Clients[1].AccountURIPrefixes = o, prefixes })
	for account, may := range map[string]bool{"https://ca.example/acct/1": true, "https://ca.example/old/9": true, "https://ca.example/other/1": false,
		"https://CA.example/acct/1": false, "acct:1": false} {
		r := f.send(permits, object{"names": []string{"example.com"}, "account_uri": account})
		v := f.send("/v1/validations", object{"identifier": object{"type": "dns", "value": "example.com"}, "method": "http-01", "token": "t",
			"key_authorization": "t.k", "token_created": "2026-11-21T05:30:00Z", "account_uri": account})
		if may {
			require.Equal(t, 201, r.StatusCode, r.text)
			require.NotEqual(t, 400, v.StatusCode, v.text)
			continue
		}
		for _, r := range []reply{r, v} {
			require.Equal(t, 400, r.StatusCode, r.text)
			require.Equal(t, "/account_uri", r.body["errors"].([]any)[0].(object)["pointer"], r.text)
			require.Equal(t, "request.account", r.body["errors"].([]any)[0].(object)["code"])
		}
	}
	require.Len(t, o.asked, 2)
	other := f.do(f.client(f.cert), "POST", permits, `{"names":["example.com"],"account_uri":"acct:1"}`, map[string]string{"Authorization": "Bearer " + keyOne, "Content-Type": "application/json"})
	require.Equal(t, 201, other.StatusCode, "a client without prefixes speaks for every account: %s", other.text)
}
