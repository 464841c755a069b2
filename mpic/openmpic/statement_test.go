package openmpic

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func probeFor(m va.Method, caa bool) va.Probe {
	token := strings.Repeat("tQ", 16)
	p := va.Probe{Attempt: "ATTEMPT1", Nonce: strings.Repeat("0a", 16), Deadline: noon.Add(time.Minute), CAAAlone: caa, DCVAlone: !caa,
		Request: va.Request{Identifier: "www.example.com", Issuers: []string{"ca.example"}}}
	if !caa {
		p.Request.Method, p.Request.Token, p.Request.KeyAuthorization = m, token, token+"."+strings.Repeat("g", 42)+"A"
	}
	return p
}

var (
	checkerMember     = mpic.Member{Name: "ashburn", URL: "https://checker.test", Protocol: mpic.OpenMPICChecker}
	coordinatorMember = mpic.Member{Name: "ashburn", Code: "us-east-1", URL: "https://coordinator.test/v1", Protocol: mpic.OpenMPICCoordinator}
)

// passing is a result that is a pass.
func passing(p va.Probe) object {
	o := object{"check_passed": true, "check_completed": true, "errors": nil, "timestamp_ns": json.Number(fmt.Sprint(noon.UnixNano()))}
	switch {
	case p.CAAAlone:
		o["check_type"], o["details"] = "caa", object{"caa_record_present": true, "found_at": "example.com", "records_seen": "example.com. 300 IN CAA 0 issue \"ca.example\""}
		return o
	case p.Request.Method == va.HTTP01:
		o["details"] = object{"response_history": []any{}, "response_status_code": 200, "response_page": p.Request.KeyAuthorization,
			"response_url": "http://www.example.com/.well-known/acme-challenge/" + p.Request.Token}
	case p.Request.Method == va.DNS01:
		o["details"] = object{"records_seen": []any{"other", p.Request.Expected()}, "response_code": 0, "ad_flag": true, "found_at": "_acme-challenge.www.example.com"}
	default:
		o["details"] = object{"common_name": "www.example.com"}
	}
	o["check_type"] = "dcv"
	return o
}

func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// exchanged is what was exchanged with a member that gave an answer.
func exchanged(t testing.TB, m mpic.Member, p va.Probe, received string) []mpic.Exchange {
	t.Helper()
	check, count := asked(p)[0], 0
	if m.Protocol == mpic.OpenMPICCoordinator {
		count = 3
	}
	sent, err := body(p, check, count)
	require.NoError(t, err)
	at, err := endpoint(m, check)
	require.NoError(t, err)
	return []mpic.Exchange{{Target: at, Status: 200, Sent: sent, Received: received, Started: noon, Finished: noon}}
}

func said(s mpic.Statement) mpic.Said {
	if s.CAA != nil {
		return *s.CAA
	}
	return *s.DCV
}

// TestF6_APassIsWhatShowsItself: each result that says it passed and lacks something of it is no pass; and those that differ only in form
// are.
//
// Holds: F6, MPIC-10, MPIC-11, C1, C6, D8, D9
func TestF6_APassIsWhatShowsItself(t *testing.T) {
	details := func(o object) object { return o["details"].(object) }
	http, txt, alpn, caa := probeFor(va.HTTP01, false), probeFor(va.DNS01, false), probeFor(va.TLSALPN01, false), probeFor(0, true)
	for name, c := range map[string]struct {
		probe  va.Probe
		change func(object)
		want   string // part of the problem's detail; empty for a pass
	}{
		"as it should be, http":    {http, func(object) {}, ""},
		"as it should be, dns":     {txt, func(object) {}, ""},
		"as it should be, tls":     {alpn, func(object) {}, ""},
		"as it should be, caa":     {caa, func(object) {}, ""},
		"no check_passed":          {http, func(o object) { delete(o, "check_passed") }, "check_passed is missing"},
		"check_passed null":        {caa, func(o object) { o["check_passed"] = nil }, "check_passed is missing"},
		"check_passed a text":      {caa, func(o object) { o["check_passed"] = "true" }, "neither true nor false"},
		"check_passed a number":    {txt, func(o object) { o["check_passed"] = 1 }, "neither true nor false"},
		"not completed":            {txt, func(o object) { o["check_completed"] = false }, "check_completed false"},
		"check_completed absent":   {txt, func(o object) { delete(o, "check_completed") }, ""},
		"with errors":              {txt, func(o object) { o["errors"] = []any{object{"error_type": "x", "error_message": "y"}} }, "there are errors: x y"},
		"errors of no form":        {txt, func(o object) { o["errors"] = "none" }, "there are errors"},
		"check_completed a text":   {caa, func(o object) { o["check_completed"] = "true" }, "check_completed is neither"},
		"check_response a list":    {caa, func(o object) { o["check_type"] = 7 }, "check_type"},
		"found_at a number":        {caa, func(o object) { details(o)["found_at"] = 7 }, "found_at is not a text"},
		"records a number":         {caa, func(o object) { details(o)["records_seen"] = 7 }, "neither a text nor a list"},
		"present a text":           {caa, func(o object) { details(o)["caa_record_present"] = "false" }, "caa_record_present is neither"},
		"URL a number":             {http, func(o object) { details(o)["response_url"] = 7 }, "response_url is not a text"},
		"TXT found at a number":    {txt, func(o object) { details(o)["found_at"] = 7 }, "found_at is not a text"},
		"aliases of no form":       {txt, func(o object) { details(o)["cname_chain"] = 7 }, "neither a text nor a list"},
		"response code of no form": {txt, func(o object) { details(o)["response_code"] = "NOERROR" }, "the response code is"},
		"another check":            {caa, func(o object) { o["check_type"] = "dcv" }, `check_type is "dcv"`},
		"no time":                  {caa, func(o object) { delete(o, "timestamp_ns") }, "without timestamp_ns"},
		"time zero":                {caa, func(o object) { o["timestamp_ns"] = 0 }, "without timestamp_ns"},
		"time as a text":           {caa, func(o object) { o["timestamp_ns"] = fmt.Sprint(noon.UnixNano()) }, ""},
		"time that is none":        {caa, func(o object) { o["timestamp_ns"] = "now" }, "without timestamp_ns"},
		"time beyond all":          {caa, func(o object) { o["timestamp_ns"] = json.Number("1e300") }, "without timestamp_ns"},
		"no details":               {http, func(o object) { delete(o, "details") }, "details is missing"},
		"details a list":           {http, func(o object) { o["details"] = []any{} }, "details is not an object"},
		"another page":             {http, func(o object) { details(o)["response_page"] = "hello" }, "does not show the key authorization"},
		"no page":                  {http, func(o object) { details(o)["response_page"] = nil }, "does not show the key authorization"},
		"half a page":              {http, func(o object) { details(o)["response_page"] = http.Request.KeyAuthorization[:60] }, "does not show the key authorization"},
		"more than the page":       {http, func(o object) { details(o)["response_page"] = http.Request.KeyAuthorization + "x" }, "does not show the key authorization"},
		"white space before":       {http, func(o object) { details(o)["response_page"] = " " + http.Request.KeyAuthorization }, "does not show the key authorization"},
		"a newline behind":         {http, func(o object) { details(o)["response_page"] = http.Request.KeyAuthorization + "\r\n" }, ""},
		"the page in base64": {http, func(o object) {
			details(o)["response_page"] = base64.StdEncoding.EncodeToString([]byte(http.Request.KeyAuthorization))
		}, ""},
		"another host": {http, func(o object) {
			details(o)["response_url"] = "http://evil.example/.well-known/acme-challenge/" + http.Request.Token
		}, "no redirect is told"},
		"another token":  {http, func(o object) { details(o)["response_url"] = "http://www.example.com/.well-known/acme-challenge/x" }, "no redirect is told"},
		"no URL":         {http, func(o object) { details(o)["response_url"] = nil }, `fetched at ""`},
		"a 404":          {http, func(o object) { details(o)["response_status_code"] = 404 }, "the status is 404"},
		"no status":      {http, func(o object) { delete(details(o), "response_status_code") }, "the status is 0"},
		"another method": {http, func(o object) { details(o)["validation_method"] = "website-change" }, "validation_method"},
		"after a redirect": {http, func(o object) {
			details(o)["response_history"] = []any{object{"response_status_code": 301, "response_url": "http://www.example.com/x"}}
			details(o)["response_url"] = "https://www.example.org/y"
		}, ""},
		"after a redirect, relative, by Open MPIC's names": {http, func(o object) {
			details(o)["response_history"] = []any{object{"status_code": 301, "url": "/y"}}
			details(o)["response_url"] = "http://www.example.com/y"
		}, ""},
		"after a redirect, with the first URL, as Open MPIC's code tells it": {http, func(o object) {
			details(o)["response_history"] = []any{object{"response_status_code": 302, "response_url": "https://www.example.net:443/y"}}
		}, ""},
		"at another port": {http, func(o object) {
			details(o)["response_history"] = []any{object{"response_status_code": 301, "response_url": "http://www.example.com/x"}}
			details(o)["response_url"] = "http://www.example.com:8080/y"
		}, "fetched at"},
		"through another port": {http, func(o object) {
			details(o)["response_history"] = []any{object{"response_status_code": 301, "response_url": "http://www.example.com:22/x"}}
		}, "a redirect to"},
		"through another scheme": {http, func(o object) {
			details(o)["response_history"] = []any{object{"response_status_code": 301, "response_url": "gopher://www.example.com/x"}}
		}, "a redirect to"},
		"a hop of no form":       {http, func(o object) { details(o)["response_history"] = []any{7} }, "a redirect to"},
		"too many hops":          {http, func(o object) { details(o)["response_history"] = make([]any, 11) }, "11 redirects"},
		"TXT in quotation marks": {txt, func(o object) { details(o)["records_seen"] = []any{`"` + txt.Request.Expected() + `"`} }, ""},
		"TXT of two strings": {txt, func(o object) {
			v := txt.Request.Expected()
			details(o)["records_seen"] = []any{`"` + v[:9] + `" "` + v[9:] + `"`}
		}, ""},
		"TXT elsewhere": {txt, func(o object) { details(o)["found_at"] = "_acme-challenge.evil.example" }, "found at"},
		"TXT through an alias": {txt, func(o object) {
			details(o)["found_at"], details(o)["cname_chain"] = "x.example.net", []any{"X.example.net."}
		}, ""},
		"TXT that does not exist":  {txt, func(o object) { details(o)["response_code"] = 3 }, "the response code is 3"},
		"TXT of no form":           {txt, func(o object) { details(o)["records_seen"] = object{} }, "neither a text nor a list"},
		"TXT with a number":        {txt, func(o object) { details(o)["records_seen"] = []any{7} }, "not a text"},
		"no common name":           {alpn, func(o object) { details(o)["common_name"] = nil }, ""},
		"a common name of no form": {alpn, func(o object) { details(o)["common_name"] = 7 }, "not a text"},
		"CAA not said":             {caa, func(o object) { delete(details(o), "caa_record_present") }, "caa_record_present is missing"},
		"CAA null":                 {caa, func(o object) { details(o)["caa_record_present"] = nil }, "caa_record_present is missing"},
		"CAA absent": {caa, func(o object) {
			o["details"] = object{"caa_record_present": false, "found_at": nil, "records_seen": nil}
		}, ""},
		"CAA absent and seen":   {caa, func(o object) { details(o)["caa_record_present"] = false }, "there is no CAA record, and 1 were seen"},
		"CAA hidden":            {caa, func(o object) { details(o)["records_seen"] = nil }, "none is shown"},
		"CAA hidden in nothing": {caa, func(o object) { details(o)["records_seen"] = []any{} }, "none is shown"},
		"CAA of another domain": {caa, func(o object) { details(o)["found_at"] = "evil.example" }, `those of "evil.example"`},
		"CAA of a name below":   {caa, func(o object) { details(o)["found_at"] = "a.www.example.com" }, "neither www.example.com nor above"},
		"CAA of half a label":   {caa, func(o object) { details(o)["found_at"] = "ple.com" }, "neither www.example.com nor above"},
		"CAA as RDATA":          {caa, func(o object) { details(o)["records_seen"] = []any{`0 issue "ca.example"`} }, ""},
		"CAA in the flat form": {caa, func(o object) {
			details(o)["response"] = details(o)["records_seen"]
			delete(details(o), "records_seen")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := passing(c.probe)
			c.change(o)
			for _, m := range []mpic.Member{checkerMember, coordinatorMember} {
				flat := text(t, o)
				forms := []string{flat}
				read := ReadChecker
				if m.Protocol == mpic.OpenMPICCoordinator {
					read = ReadCoordinator
					beside := object{"perspective_code": "us-east-1"}
					for k, v := range o {
						beside[k] = v
					}
					forms = []string{text(t, object{"is_valid": true, "perspectives": []any{object{"perspective_code": "us-east-1", "check_response": o}}}),
						text(t, object{"is_valid": false, "perspectives": []any{beside}})}
				}
				for _, received := range forms {
					s, err := read(m, c.probe, exchanged(t, m, c.probe, received))
					require.NoError(t, err)
					got := said(s)
					require.Equal(t, c.probe.Digest(), s.Digest)
					if c.want == "" {
						require.Equal(t, va.Pass, got.Outcome, got.Problem)
						require.Nil(t, got.Problem)
						require.True(t, got.At.Equal(noon))
						continue
					}
					require.Equal(t, va.Error, got.Outcome)
					require.Equal(t, "perspective.contradiction", got.Problem.Code)
					require.Contains(t, got.Problem.Detail, c.want)
				}
			}
		})
	}
}

// TestWhatDidNotPass: a failure is one, an incomplete check is an error, and reasons are told.
func TestWhatDidNotPass(t *testing.T) {
	p := probeFor(0, true)
	for received, want := range map[string]struct {
		outcome va.Outcome
		code    string
		detail  string
	}{
		`{"check_passed":false}`: {va.Fail, "perspective.check-failed", "no reason"},
		`{"check_passed":false,"check_completed":true,"errors":[],"timestamp_ns":"x"}`:                                       {va.Fail, "perspective.check-failed", "no reason"},
		`{"check_passed":false,"check_completed":false,"errors":[{"error_type":"caa:lookup","error_message":"SERVFAIL"},7]}`: {va.Error, "perspective.check-error", "caa:lookup SERVFAIL"},
	} {
		s, err := ReadChecker(checkerMember, p, exchanged(t, checkerMember, p, received))
		require.NoError(t, err)
		require.Equal(t, want.outcome, s.CAA.Outcome)
		require.Equal(t, want.code, s.CAA.Problem.Code)
		require.Contains(t, s.CAA.Problem.Detail, want.detail)
		require.Nil(t, s.DCV)
	}
}

// TestF1_NothingOfACoordinatorIsBelievedButItsPerspectives: who is meant is found by the code, once.
//
// Holds: F1, F9, MPIC-05, MPIC-08, MPIC-09
func TestF1_NothingOfACoordinatorIsBelievedButItsPerspectives(t *testing.T) {
	p := probeFor(0, true)
	entry := func(code string, passed bool) object {
		o := passing(p)
		o["check_passed"] = passed
		return object{"perspective_code": code, "check_response": o}
	}
	for name, c := range map[string]struct {
		reply   string
		err     string
		outcome va.Outcome
	}{
		"valid, and it failed":    {text(t, object{"is_valid": true, "mpic_completed": true, "perspectives": []any{entry("us-east-1", false)}}), "", va.Fail},
		"invalid, and it passed":  {text(t, object{"is_valid": false, "perspectives": []any{entry("us-east-1", true)}}), "", va.Pass},
		"valid by a quorum of 1":  {text(t, object{"is_valid": true, "actual_orchestration_parameters": object{"quorum_count": 1}, "perspectives": []any{entry("eu-1", true)}}), "", va.Error},
		"nobody":                  {`{"is_valid":true,"perspectives":[]}`, "", va.Error},
		"no list":                 {`{"is_valid":true}`, "perspectives is not a list", 0},
		"an object":               {`{"is_valid":true,"perspectives":{"us-east-1":{"check_passed":true}}}`, "perspectives is not a list", 0},
		"twice":                   {text(t, object{"perspectives": []any{entry("us-east-1", true), entry("us-east-1", false)}}), "is there twice", 0},
		"another twice":           {text(t, object{"perspectives": []any{entry("us-east-1", true), entry("eu-1", true), entry("eu-1", true)}}), "is there twice", 0},
		"a name of no form":       {`{"domain_or_ip_target":7,"perspectives":[]}`, "domain_or_ip_target is not a text", 0},
		"a result of no form":     {`{"perspectives":[{"perspective_code":"us-east-1","check_response":[]}]}`, "check_response is not an object", 0},
		"no code":                 {`{"perspectives":[{"check_passed":true}]}`, "without perspective_code", 0},
		"a code that is a number": {`{"perspectives":[{"perspective_code":7}]}`, "without perspective_code", 0},
		"a text":                  {`{"perspectives":["us-east-1"]}`, "not an object", 0},
		"another check":           {text(t, object{"check_type": "dcv", "perspectives": []any{entry("us-east-1", true)}}), `check_type is "dcv"`, 0},
		"results at both places":  {`{"perspectives":[{"perspective_code":"us-east-1","check_passed":true,"check_response":{"check_passed":false}}]}`, "both beside", 0},
		"a member twice":          {`{"perspectives":[{"perspective_code":"us-east-1","check_passed":false,"check_passed":true}]}`, "stands twice", 0},
		"large letters":           {text(t, object{"perspectives": []any{entry("US-EAST-1", true)}}), "", va.Error},
		"HTML":                    {"<html>", "no JSON object", 0},
		"nothing":                 {"", "no JSON object", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ReadCoordinator(coordinatorMember, p, exchanged(t, coordinatorMember, p, c.reply))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.outcome, s.CAA.Outcome)
			require.Equal(t, "us-east-1", s.CAA.Perspective)
		})
	}

	// The name it says that it checked is Judge's to compare (C1).
	reply := text(t, object{"domain_or_ip_target": "Evil.example", "perspectives": []any{entry("us-east-1", true)}})
	s, err := ReadCoordinator(coordinatorMember, p, exchanged(t, coordinatorMember, p, reply))
	require.NoError(t, err)
	require.Equal(t, "evil.example", s.CAA.Name)

	// What was asked must be what the probe asks.
	good := exchanged(t, coordinatorMember, p, text(t, object{"perspectives": []any{entry("us-east-1", true)}}))
	for name, change := range map[string]func(*mpic.Exchange){
		"another URL":    func(x *mpic.Exchange) { x.Target = "https://evil.example/mpic" },
		"another domain": func(x *mpic.Exchange) { x.Sent = strings.Replace(x.Sent, "www.example.com", "www.example.net", 1) },
		"another probe":  func(x *mpic.Exchange) { x.Sent = strings.Replace(x.Sent, "ATTEMPT1", "ATTEMPT2", 1) },
		"another issuer": func(x *mpic.Exchange) { x.Sent = strings.Replace(x.Sent, "ca.example", "evil.example", 1) },
		"no counts":      func(x *mpic.Exchange) { x.Sent = `{"check_type":"caa"}` },
		"no JSON":        func(x *mpic.Exchange) { x.Sent = "" },
		"huge counts":    func(x *mpic.Exchange) { x.Sent = `{"orchestration_parameters":{"perspective_count":1e9}}` },
		"counts of text": func(x *mpic.Exchange) { x.Sent = `{"orchestration_parameters":7}` },
	} {
		x := good[0]
		change(&x)
		s, err := ReadCoordinator(coordinatorMember, p, []mpic.Exchange{x})
		require.NoError(t, err, name)
		require.Equal(t, va.Error, s.CAA.Outcome, name)
		require.Equal(t, "perspective.unbound", s.CAA.Problem.Code)
	}
	for _, exchanges := range [][]mpic.Exchange{nil, {good[0], good[0]}, {{Target: good[0].Target, Status: 500, Sent: good[0].Sent, Received: good[0].Received}}} {
		_, err := ReadCoordinator(coordinatorMember, p, exchanges)
		require.Error(t, err)
	}
}

// TestWhatIsSent: what a method needs, in the encodings that Open MPIC reads; the name below the asterisk for DCV, with it for CAA.
func TestWhatIsSent(t *testing.T) {
	p := probeFor(va.DNS01, false)
	p.Request.Identifier = "*.example.com"
	sent, err := body(p, checkDCV, 0)
	require.NoError(t, err)
	require.JSONEq(t, `{"check_type":"dcv","domain_or_ip_target":"example.com","trace_identifier":"ATTEMPT1",
		"dcv_check_parameters":{"validation_method":"acme-dns-01","key_authorization_hash":"`+p.Request.Expected()+`"}}`, sent)
	sent, err = body(p, checkCAA, 6)
	require.NoError(t, err)
	require.JSONEq(t, `{"check_type":"caa","domain_or_ip_target":"*.example.com","trace_identifier":"ATTEMPT1",
		"orchestration_parameters":{"perspective_count":6,"max_attempts":1},
		"caa_check_parameters":{"certificate_type":"tls-server","caa_domains":["ca.example"]}}`, sent)
	p.Request.Method = va.TLSALPN01
	sent, err = body(p, checkDCV, 0)
	require.NoError(t, err)
	require.Contains(t, sent, `"key_authorization_hash":"`+p.Request.Expected()+`"`)
	require.Len(t, p.Request.Expected(), 64)
	digest := p.Request
	digest.Token, digest.KeyAuthorization = "", ""
	digest.KeyAuthorizationDigest, err = readDigest(p.Request.Expected())
	require.NoError(t, err)
	p.Request = digest
	again, err := body(p, checkDCV, 0)
	require.NoError(t, err)
	require.Equal(t, sent, again, "a caller that gives the digest alone is passed on")
	p.Request.Method = 0
	_, err = body(p, checkDCV, 0)
	require.Error(t, err)
}

func TestWholeNumbers(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "-3": -3, "5": 5, "5.0": 5, "1.5e3": 1500, "1725822089205545500": 1725822089205545500} {
		n, err := wholeNumber(s)
		require.NoError(t, err, s)
		require.Equal(t, want, n)
	}
	for _, s := range []string{"", "1.5", "x", "0x10", "1/2", "1e99999", "1_000", "9223372036854775808", "Inf", "NaN", " 1", strings.Repeat("1", 50)} {
		_, err := wholeNumber(s)
		require.Error(t, err, s)
	}
}

// FuzzReadRequest: whatever is read, it is refused or has a form that is echoed as it was read.
func FuzzReadRequest(f *testing.F) {
	for _, seed := range []string{`{"check_type":"caa","domain_or_ip_target":"example.com","caa_check_parameters":{"caa_domains":["a.b"],"certificate_type":"s-mime"}}`,
		`{"check_type":"dcv","domain_or_ip_target":"example.com","orchestration_parameters":{"quorum_count":"4"},"dcv_check_parameters":{"validation_method":"acme-http-01","token":"t","key_authorization":"k"}}`,
		`{"check_type":"dcv","domain_or_ip_target":"a","dcv_check_parameters":{"validation_details":{"validation_method":"acme-dns-01","key_authorization_hash":"` + strings.Repeat("A", 43) + `"}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		q, p := readRequest(in, []string{checkDCV, checkCAA}, true)
		if p != nil {
			require.GreaterOrEqual(t, p.Status, 400)
			require.NotEmpty(t, p.Code)
			return
		}
		if q.orchestration != nil {
			d, attempts, p := q.orchestration.demand(noon, 3)
			if p == nil {
				require.True(t, attempts >= 1 && attempts <= 3)
				require.True(t, d.Quorum == 0 || d.Quorum >= 3)
				require.True(t, d.Remotes == 0 || d.Remotes >= 4)
			}
		}
		again := object{"check_type": q.check, "domain_or_ip_target": q.target}
		if q.dcv != nil {
			again["dcv_check_parameters"] = q.dcv
		}
		if q.caa != nil {
			again["caa_check_parameters"] = q.caa
		}
		r, p := readRequest([]byte(text(t, again)), []string{checkDCV, checkCAA}, true)
		require.Nil(t, p)
		require.Equal(t, q.what, r.what)
		require.Equal(t, q.issuers, r.issuers)
	})
}

// FuzzReadReply: nothing of a reply is a pass without what must have been seen, and what is read once is read again.
func FuzzReadReply(f *testing.F) {
	probes := []va.Probe{probeFor(va.HTTP01, false), probeFor(va.DNS01, false), probeFor(va.TLSALPN01, false), probeFor(0, true)}
	for i, p := range probes {
		f.Add(byte(i), text(f, passing(p)))
		f.Add(byte(i), text(f, object{"perspectives": []any{object{"perspective_code": "us-east-1", "check_response": passing(p)}}}))
	}
	f.Fuzz(func(t *testing.T, which byte, received string) {
		p := probes[int(which)%len(probes)]
		for m, read := range map[mpic.Member]func(mpic.Member, va.Probe, []mpic.Exchange) (mpic.Statement, error){
			checkerMember: ReadChecker, coordinatorMember: ReadCoordinator} {
			s, err := read(m, p, exchanged(t, m, p, received))
			if err != nil {
				continue
			}
			got := said(s)
			require.Equal(t, got.Outcome == va.Pass, got.Problem == nil)
			if got.Outcome != va.Pass {
				continue
			}
			require.False(t, got.At.IsZero())
			if p.DCVAlone && p.Request.Method == va.HTTP01 {
				require.NotEmpty(t, got.Seen)
			}
			again, err := read(m, p, s.Exchanges)
			require.NoError(t, err)
			require.Equal(t, s, again)
		}
	})
}
