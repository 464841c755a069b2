package openmpic_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/mpic/openmpic"
	"github.com/quorate/quorate/va"
)

// The replies of EJBCA's manual: for two perspectives, with the parameters left out and with them given.
const (
	manualReply = `{
	  "request_orchestration_parameters": null,
	  "actual_orchestration_parameters": {"perspective_count": 2, "quorum_count": 1, "attempt_count": 1},
	  "is_valid": true,
	  "check_type": "caa",
	  "perspectives": [
	    {"perspective_code": "eu-west-1", "check_passed": true, "errors": null, "timestamp_ns": 1736247778402104091, "check_type": "caa",
	     "details": {"caa_record_present": true, "found_at": "example.com", "response": "example.com. 243 IN CAA 0 issue \"ca.org\""}},
	    {"perspective_code": "eu-west-2", "check_passed": true, "errors": null, "timestamp_ns": 1736247778402104091, "check_type": "caa",
	     "details": {"caa_record_present": true, "found_at": "example.com", "response": "example.com. 243 IN CAA 0 issue \"ca.org\""}}
	  ],
	  "caa_check_parameters": null
	}`
	manualParameters = `{"certificate_type": "s-mime", "caa_domains": ["ca.example.net"]}`
)

// requireShape holds a value to the keys and types of another. A list's elements are each held to the other's first.
func requireShape(t testing.TB, want, got any, at string) {
	t.Helper()
	require.IsType(t, want, got, at)
	switch want := want.(type) {
	case object:
		got := got.(object)
		require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)), at)
		for k := range want {
			requireShape(t, want[k], got[k], at+"/"+k)
		}
	case []any:
		require.NotEmpty(t, got, at)
		for _, x := range got.([]any) {
			requireShape(t, want[0], x, at+"/0")
		}
	}
}

func parsed(t testing.TB, text string) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

// TestEJBCA_RequestsAndRepliesOfTheManual: both requests are answered field by field as its manual has it.
//
// Holds: CAA-10, REC-03
func TestEJBCA_RequestsAndRepliesOfTheManual(t *testing.T) {
	s := newScene(t, options{})
	require.NoError(t, s.world.Set("example.com", dns.TypeCAA, `0 issue "ca.example.net"`, `0 issuemail "ca2.example.net"`))
	status, reply := s.ask("/v1/mpic", `{"check_type": "caa", "domain_or_ip_target": "example.com"}`)
	require.Equal(t, 200, status)
	requireShape(t, parsed(t, manualReply), reply, "")
	require.Equal(t, true, reply["is_valid"])
	require.Len(t, reply["perspectives"], 6)
	require.Equal(t, object{"perspective_count": 5.0, "quorum_count": 4.0, "attempt_count": 1.0}, reply["actual_orchestration_parameters"])
	for i, site := range sites {
		require.Equal(t, site.name, reply["perspectives"].([]any)[i].(object)["perspective_code"], "the primary comes first")
		details := result(t, reply, site.name)["details"].(object)
		require.Equal(t, "example.com", details["found_at"])
		require.Regexp(t, `^example\.com\. \d+ IN CAA 0 issue(mail)? "ca2?\.example\.net"\nexample\.com\. \d+ IN CAA 0 issue(mail)? "ca2?\.example\.net"$`,
			details["response"], "several records are joined by a newline")
		require.InDelta(t, float64(time.Now().UnixNano()), result(t, reply, site.name)["timestamp_ns"], float64(time.Hour))
	}

	for given, want := range map[string]struct {
		valid bool
		echo  string
	}{
		`{"certificate_type": "s-mime"}`:                                        {true, `{"certificate_type": "s-mime", "caa_domains": null}`},
		`{"certificate_type": "s-mime", "caa_domains": ["ca.example.net"]}`:     {false, manualParameters},
		`{"certificate_type": "tls-server", "caa_domains": ["CA.example.net"]}`: {true, `{"certificate_type": "tls-server", "caa_domains": ["CA.example.net"]}`},
		`{"certificate_type": null, "caa_domains": []}`:                         {true, `{"certificate_type": null, "caa_domains": []}`},
	} {
		status, reply = s.ask("/v1/mpic", `{"check_type": "caa", "domain_or_ip_target": "example.com", "caa_check_parameters": `+given+`}`)
		require.Equal(t, 200, status, reply)
		require.Equal(t, want.valid, reply["is_valid"], given)
		require.Equal(t, parsed(t, want.echo), reply["caa_check_parameters"])
		e, _ := s.ledger.last()
		require.Equal(t, strings.Contains(given, "s-mime"), e.Attempt.Probe.Request.CertificateType == va.SMIME)
	}

	// A refusal has is_valid false and check_passed false per perspective, and reasons in errors.
	status, reply = s.ask("/v1/mpic", `{"check_type": "caa", "domain_or_ip_target": "caa-other.com"}`)
	require.Equal(t, 200, status)
	require.Equal(t, false, reply["is_valid"])
	for _, site := range sites {
		r := result(t, reply, site.name)
		require.Equal(t, false, r["check_passed"])
		require.Contains(t, r["errors"].([]any)[0].(object)["error_message"], "caa.forbidden")
	}

	// No record: present, and null for the rest.
	_, reply = s.ask("/v1/mpic", `{"check_type": "caa", "domain_or_ip_target": "example.org", "trace_identifier": "t-1",
		"orchestration_parameters": {"perspective_count": "5", "quorum_count": 5, "max_attempts": null}}`)
	require.Equal(t, object{"caa_record_present": false, "found_at": nil, "response": nil}, result(t, reply, "prague")["details"])
	require.Equal(t, "t-1", reply["trace_identifier"])
	require.Equal(t, object{"perspective_count": 5.0, "quorum_count": 5.0, "max_attempts": nil}, reply["request_orchestration_parameters"])
	require.EqualValues(t, 5, reply["actual_orchestration_parameters"].(object)["quorum_count"])
	e, _ := s.ledger.last()
	require.Equal(t, "t-1", e.Attempt.Trace)
	require.Equal(t, mpic.Demand{Remotes: 5, Quorum: 5}, e.Attempt.Demand)
	require.Contains(t, s.log.String(), "trace=t-1")
}

// TestF7_CallersOfOpenMPICRaiseTheBarAndNeverLowerIt.
//
// Holds: F7, MPIC-02, MPIC-03
func TestF7_CallersOfOpenMPICRaiseTheBarAndNeverLowerIt(t *testing.T) {
	s := newScene(t, options{})
	ask := func(parameters object) (int, object) {
		return s.ask("/mpic", object{"check_type": "caa", "domain_or_ip_target": "example.com", "orchestration_parameters": parameters})
	}
	policy, problem := mpic.PolicyAt(time.Now())
	require.Nil(t, problem)
	for name, c := range map[string]struct {
		parameters  object
		code, field string
	}{
		"fewer perspectives":        {object{"perspective_count": policy.MinRemotes - 1}, "request.lowered", "perspective_count"},
		"none":                      {object{"perspective_count": 0}, "request.lowered", "perspective_count"},
		"monitor only":              {object{"quorum_count": 0}, "request.lowered", "quorum_count"},
		"a quorum of one":           {object{"perspective_count": 5, "quorum_count": 1}, "request.lowered", "quorum_count"},
		"one less than the table":   {object{"perspective_count": 5, "quorum_count": 3}, "request.lowered", "quorum_count"},
		"below zero":                {object{"quorum_count": -1}, "request.lowered", "quorum_count"},
		"no attempt":                {object{"max_attempts": 0}, "request.attempts", "max_attempts"},
		"too many attempts":         {object{"max_attempts": 4}, "request.attempts", "max_attempts"},
		"a fraction":                {object{"quorum_count": 4.5}, "request.type", "quorum_count"},
		"a truth value":             {object{"quorum_count": true}, "request.type", "quorum_count"},
		"more than a roster can be": {object{"perspective_count": 100000}, "request.demand", "perspective_count"},
		"a quorum beyond reason":    {object{"quorum_count": 100000}, "request.demand", "quorum_count"},
		"a choice of perspectives":  {object{"perspectives": []string{"ashburn"}}, "request.unknown-member", "perspectives"},
	} {
		t.Run(name, func(t *testing.T) {
			status, reply := ask(c.parameters)
			require.Equal(t, 400, status)
			require.Equal(t, c.code, reply["code"])
			require.Equal(t, "orchestration_parameters."+c.field, reply["field"])
			if c.code == "request.lowered" {
				require.Contains(t, reply["detail"], "BR 3.2.2.9")
				require.NotEmpty(t, reply["rules"])
			}
		})
	}
	require.Empty(t, s.ledger.opened, "nothing of this was an attempt")

	status, reply := ask(object{"perspective_count": 6})
	require.Equal(t, 400, status, "there are only five: it is on record, and refused")
	require.Equal(t, "request.demand", reply["code"])
	require.EqualValues(t, 1, reply["record"])

	// Four of five are enough by the rules, and not for a caller who wants all.
	c := newChallenge()
	defer s.host("example.org").AddToken(c.token, c.authorization, clients(0, 5)...)()
	for quorum, valid := range map[int]bool{4: true, 5: false} {
		status, reply = s.ask("/mpic", object{"check_type": "dcv", "domain_or_ip_target": "example.org", "dcv_check_parameters": c.parameters(va.HTTP01),
			"orchestration_parameters": object{"quorum_count": quorum}})
		require.Equal(t, 200, status)
		require.Equal(t, valid, reply["is_valid"])
		require.EqualValues(t, quorum, reply["actual_orchestration_parameters"].(object)["quorum_count"])
	}
}

// TestF5_EachTryBeginsFromNothingAndIsOnRecord.
//
// Holds: F5, MPIC-09, REC-01
func TestF5_EachTryBeginsFromNothingAndIsOnRecord(t *testing.T) {
	s := newScene(t, options{})
	c := newChallenge()
	remove := s.host("example.org").AddToken(c.token, c.authorization, clients(0, 4)...) // five of six at first, two of which change then
	s.ledger.recorded = func(n int) {
		remove()
		switch n {
		case 1:
			remove = s.host("example.org").AddToken(c.token, c.authorization, clients(1, 6)...)
		case 2:
			remove = s.host("example.org").AddToken(c.token, c.authorization)
		}
	}
	body := object{"check_type": "dcv", "domain_or_ip_target": "example.org", "dcv_check_parameters": c.parameters(va.HTTP01),
		"orchestration_parameters": object{"max_attempts": 2}, "trace_identifier": "two"}
	status, reply := s.ask("/mpic", body)
	require.Equal(t, 200, status)
	require.Equal(t, false, reply["is_valid"], "together the attempts saw it everywhere, and no one of them did")
	require.EqualValues(t, 2, reply["actual_orchestration_parameters"].(object)["attempt_count"])
	require.Nil(t, reply["previous_attempt_results"])
	require.Equal(t, false, result(t, reply, "prague")["check_passed"], "the perspectives are the last attempt's")
	require.Equal(t, true, result(t, reply, "stockholm")["check_passed"])
	for i, e := range s.ledger.closed {
		require.Equal(t, i+1, e.Attempt.Try)
		require.Equal(t, "two", e.Attempt.Trace)
		require.False(t, s.ledger.made[i].Granted())
	}

	s.ledger.recorded = nil // it is there for all now, and the first try is enough
	body["orchestration_parameters"] = object{"max_attempts": 3}
	status, reply = s.ask("/mpic", body)
	require.Equal(t, 200, status)
	require.Equal(t, true, reply["is_valid"])
	require.EqualValues(t, 1, reply["actual_orchestration_parameters"].(object)["attempt_count"])
	require.Len(t, s.ledger.closed, 3)
	require.NotEqual(t, s.ledger.closed[0].Attempt.ID(), s.ledger.closed[1].Attempt.ID())
	remove()
}

// Holds: REC-05
func TestREC_05_WithoutARecordThereIsNoAnswer(t *testing.T) {
	s := newScene(t, options{})
	s.ledger.broken = errors.New("disk /secret is full")
	for _, path := range openmpic.Paths() {
		status, reply := s.ask(path, object{"check_type": "caa", "domain_or_ip_target": "example.com", "orchestration_parameters": object{"max_attempts": 3}})
		require.Equal(t, 503, status)
		require.Equal(t, "record.unwritten", reply["code"])
		require.NotContains(t, fmt.Sprint(reply), "secret")
	}
	require.Len(t, s.ledger.opened, 2, "and it was not tried again")
}

// TestRequestsThatAreRefused: each with a code and the member concerned, and none is an attempt.
//
// Holds: DCV-01, D9, F7
func TestRequestsThatAreRefused(t *testing.T) {
	s := newScene(t, options{})
	hash := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	dcv := func(parameters string) string {
		return `{"check_type":"dcv","domain_or_ip_target":"example.com","dcv_check_parameters":` + parameters + `}`
	}
	for name, c := range map[string]struct {
		body, code, field string
		status            int
	}{
		"no JSON":             {"hello", "request.json", "", 400},
		"a list":              {"[]", "request.json", "", 400},
		"nothing":             {"", "request.json", "", 400},
		"something behind":    {`{"check_type":"caa","domain_or_ip_target":"example.com"}{}`, "request.json", "", 400},
		"a member twice":      {`{"check_type":"caa","domain_or_ip_target":"a.com","domain_or_ip_target":"example.com"}`, "request.json", "", 400},
		"deep":                {`{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "request.json", "", 400},
		"no UTF-8":            {"{\"check_type\":\"\xff\"}", "request.json", "", 400},
		"no check":            {`{"domain_or_ip_target":"example.com"}`, "request.check-type", "check_type", 400},
		"the older both":      {`{"check_type":"dcv_with_caa","domain_or_ip_target":"example.com"}`, "request.check-type", "check_type", 400},
		"no name":             {`{"check_type":"caa"}`, "request.missing", "domain_or_ip_target", 400},
		"a number as name":    {`{"check_type":"caa","domain_or_ip_target":7}`, "request.type", "domain_or_ip_target", 400},
		"an IPv4 address":     {`{"check_type":"caa","domain_or_ip_target":"192.0.2.1"}`, "request.ip-target", "domain_or_ip_target", 400},
		"an IPv6 address":     {`{"check_type":"caa","domain_or_ip_target":"[2001:db8::1]"}`, "request.ip-target", "domain_or_ip_target", 400},
		"unknown member":      {`{"check_type":"caa","domain_or_ip_target":"example.com","allow_lookup_failure":true}`, "request.unknown-member", "allow_lookup_failure", 400},
		"unknown below":       {`{"check_type":"caa","domain_or_ip_target":"example.com","caa_check_parameters":{"allow_lookup_failure":true}}`, "request.unknown-member", "caa_check_parameters.allow_lookup_failure", 400},
		"another CA's issuer": {`{"check_type":"caa","domain_or_ip_target":"example.com","caa_check_parameters":{"caa_domains":["ca.example.net","evil.example"]}}`, "request.issuers", "caa_check_parameters.caa_domains", 400},
		"issuer as text":      {`{"check_type":"caa","domain_or_ip_target":"example.com","caa_check_parameters":{"caa_domains":"ca.example.net"}}`, "request.type", "caa_check_parameters.caa_domains", 400},
		"certificate type":    {`{"check_type":"caa","domain_or_ip_target":"example.com","caa_check_parameters":{"certificate_type":"tls-server:wildcard"}}`, "request.certificate-type", "caa_check_parameters.certificate_type", 400},
		"parameters of DCV":   {`{"check_type":"caa","domain_or_ip_target":"example.com","dcv_check_parameters":{}}`, "request.check-type", "dcv_check_parameters", 400},
		"parameters of CAA":   {`{"check_type":"dcv","domain_or_ip_target":"example.com","caa_check_parameters":{},"dcv_check_parameters":{"validation_method":"acme-dns-01","key_authorization_hash":"` + hash + `"}}`, "request.check-type", "caa_check_parameters", 400},
		"a long trace":        {`{"check_type":"caa","domain_or_ip_target":"example.com","trace_identifier":"` + strings.Repeat("x", 257) + `"}`, "request.type", "trace_identifier", 400},
		"a list as name":      {`{"check_type":"caa","domain_or_ip_target":["a.com"]}`, "request.type", "domain_or_ip_target", 400},
		"a long name":         {`{"check_type":"caa","domain_or_ip_target":"` + strings.Repeat("a", 301) + `"}`, "request.type", "domain_or_ip_target", 400},
		"a check of no form":  {`{"check_type":7,"domain_or_ip_target":"a.com"}`, "request.type", "check_type", 400},
		"a trace of no form":  {`{"check_type":"caa","domain_or_ip_target":"a.com","trace_identifier":{}}`, "request.type", "trace_identifier", 400},
		"wishes of no form":   {`{"check_type":"caa","domain_or_ip_target":"a.com","orchestration_parameters":[]}`, "request.type", "orchestration_parameters", 400},
		"CAA of no form":      {`{"check_type":"caa","domain_or_ip_target":"a.com","caa_check_parameters":"x"}`, "request.type", "caa_check_parameters", 400},
		"a type of no form":   {`{"check_type":"caa","domain_or_ip_target":"a.com","caa_check_parameters":{"certificate_type":7}}`, "request.type", "caa_check_parameters.certificate_type", 400},
		"DCV of no form":      {`{"check_type":"dcv","domain_or_ip_target":"a.com","dcv_check_parameters":"x"}`, "request.type", "dcv_check_parameters", 400},
		"details of no form":  {dcv(`{"validation_details":"x"}`), "request.type", "dcv_check_parameters", 400},
		"beside the details":  {dcv(`{"token":"x","validation_details":{}}`), "request.unknown-member", "dcv_check_parameters.token", 400},
		"a method of no form": {dcv(`{"validation_method":7}`), "request.type", "dcv_check_parameters.validation_method", 400},
		"a token of no form":  {dcv(`{"validation_method":"acme-http-01","token":7,"key_authorization":"k"}`), "request.type", "dcv_check_parameters.token", 400},
		"no parameters":       {`{"check_type":"dcv","domain_or_ip_target":"example.com"}`, "request.missing", "dcv_check_parameters", 400},
		"no method":           {dcv(`{}`), "request.missing", "dcv_check_parameters.validation_method", 400},
		"website-change":      {dcv(`{"validation_method":"website-change","http_token_path":"a","challenge_value":"b"}`), "request.validation-method", "dcv_check_parameters.validation_method", 400},
		"dns-change":          {dcv(`{"validation_method":"dns-change","dns_record_type":"TXT","challenge_value":"b"}`), "request.validation-method", "dcv_check_parameters.validation_method", 400},
		"contact-phone-caa":   {dcv(`{"validation_method":"contact-phone-caa","challenge_value":"b"}`), "request.validation-method", "dcv_check_parameters.validation_method", 400},
		"no such method":      {dcv(`{"validation_method":"acme-email-01"}`), "request.validation-method", "dcv_check_parameters.validation_method", 400},
		"older generation":    {dcv(`{"validation_method":"website-change-v2","validation_details":{"http_token_path":"a","challenge_value":"b"}}`), "request.validation-method", "dcv_check_parameters.validation_method", 400},
		"two methods":         {dcv(`{"validation_method":"acme-http-01","validation_details":{"validation_method":"acme-dns-01"}}`), "request.validation-method", "dcv_check_parameters.validation_method", 400},
		"header fields":       {dcv(`{"validation_method":"acme-http-01","token":"t","key_authorization":"k","http_headers":{"Host":"evil.example"}}`), "request.http-headers", "dcv_check_parameters.http_headers", 400},
		"no token":            {dcv(`{"validation_method":"acme-http-01","key_authorization":"k"}`), "request.missing", "dcv_check_parameters.token", 400},
		"no hash":             {dcv(`{"validation_method":"acme-dns-01"}`), "request.missing", "dcv_check_parameters.key_authorization_hash", 400},
		"half a hash":         {dcv(`{"validation_method":"acme-dns-01","key_authorization_hash":"` + hash[:20] + `"}`), "request.key-authorization", "dcv_check_parameters.key_authorization_hash", 400},
		"a prefix":            {dcv(`{"validation_method":"acme-dns-01","dns_name_prefix":"_x","key_authorization_hash":"` + hash + `"}`), "request.unknown-member", "dcv_check_parameters.dns_name_prefix", 400},
		"too large":           {`{"x":"` + strings.Repeat("x", 33<<10) + `"}`, "request.too-large", "", 413},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range openmpic.Paths() {
				status, reply := s.ask(path, c.body)
				require.Equal(t, c.status, status, reply)
				require.Equal(t, c.code, reply["code"], reply)
				if c.field != "" {
					require.Equal(t, c.field, reply["field"])
				}
			}
		})
	}
	require.Empty(t, s.ledger.opened)

	// What has a form that can be recorded is recorded, and refused before the first packet.
	for i, c := range []struct{ body, code string }{
		{`{"check_type":"caa","domain_or_ip_target":"exa mple.com"}`, "name.syntax"},
		{`{"check_type":"caa","domain_or_ip_target":"example.com."}`, "name.syntax"},
		{`{"check_type":"caa","domain_or_ip_target":"*.com"}`, "name.public-suffix"},
		{`{"check_type":"caa","domain_or_ip_target":"*.example.com","caa_check_parameters":{"certificate_type":"s-mime"}}`, "request.certificate-type"},
		{dcv(`{"validation_method":"acme-http-01","token":"short","key_authorization":"short.x"}`), "request.token"},
	} {
		status, reply := s.ask("/mpic", c.body)
		require.Equal(t, 400, status)
		require.Equal(t, c.code, reply["code"])
		require.EqualValues(t, i+1, reply["record"])
	}
}

// TestToleranceOnReading: null or absent, numbers or texts, the generation before, hexadecimal or base64url, large letters.
func TestToleranceOnReading(t *testing.T) {
	s := newScene(t, options{})
	c := newChallenge()
	require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, c.value()))
	hash := fmt.Sprintf("%x", c.sum())
	for name, body := range map[string]string{
		"nulls": `{"check_type":"dcv","domain_or_ip_target":"example.com","trace_identifier":null,"orchestration_parameters":null,"caa_check_parameters":null,
			"api_version":null,"dcv_check_parameters":{"validation_method":"acme-dns-01","key_authorization_hash":"` + c.value() + `","http_headers":null,"dns_name_prefix":null}}`,
		"padding":               `{"check_type":"dcv","domain_or_ip_target":"example.com","dcv_check_parameters":{"validation_method":"acme-dns-01","key_authorization_hash":"` + c.value() + `="}}`,
		"hexadecimal":           `{"check_type":"dcv","domain_or_ip_target":"Example.COM","dcv_check_parameters":{"validation_method":"acme-dns-01","key_authorization_hash":"` + hash + `"}}`,
		"the generation before": `{"check_type":"dcv","domain_or_ip_target":"example.com","dcv_check_parameters":{"validation_details":{"validation_method":"acme-dns-01","key_authorization_hash":"` + c.value() + `"}}}`,
		"numbers as texts": `{"check_type":"dcv","domain_or_ip_target":"example.com","trace_identifier":12,"orchestration_parameters":{"perspective_count":"5","quorum_count":"4","max_attempts":"1.0"},
			"dcv_check_parameters":{"validation_method":"acme-dns-01","key_authorization_hash":"` + c.value() + `","http_headers":{}}}`,
	} {
		status, reply := s.ask("/v1/mpic", body)
		require.Equal(t, 200, status, "%s: %v", name, reply)
		require.Equal(t, true, reply["is_valid"], name)
	}
}

// TestKeysOfClients: wrong and absent ones are told nothing, and the method, the type and the path matter.
//
// Holds: REC-03
func TestKeysOfClients(t *testing.T) {
	s := newScene(t, options{})
	do := func(method, path, contentType string, keys ...string) (int, object) {
		r, err := http.NewRequest(method, s.front.URL+path, strings.NewReader(`{"check_type":"caa","domain_or_ip_target":"example.com"}`))
		require.NoError(t, err)
		for _, k := range keys {
			r.Header.Add("X-API-Key", k)
		}
		r.Header.Set("Content-Type", contentType)
		response, err := s.front.Client().Do(r)
		require.NoError(t, err)
		text, err := io.ReadAll(response.Body)
		require.NoError(t, errors.Join(err, response.Body.Close()))
		var reply object
		require.NoError(t, json.Unmarshal(text, &reply))
		if response.StatusCode == 405 {
			require.Equal(t, "POST", response.Header.Get("Allow"))
		}
		return response.StatusCode, reply
	}
	const plain = "application/json"
	for name, c := range map[string]struct {
		method, path, kind string
		keys               []string
		status             int
	}{
		"no key":          {"POST", "/mpic", plain, nil, 401},
		"an empty key":    {"POST", "/mpic", plain, []string{""}, 401},
		"a wrong key":     {"POST", "/v1/mpic", plain, []string{"the-key-of-ejbcb"}, 403},
		"its digest":      {"POST", "/v1/mpic", plain, []string{digestOf(clientKey)}, 403},
		"two keys":        {"POST", "/mpic", plain, []string{clientKey, "x"}, 403},
		"GET":             {"GET", "/mpic", plain, []string{clientKey}, 405},
		"GET, nobody":     {"GET", "/mpic", plain, nil, 401},
		"a form":          {"POST", "/mpic", "application/x-www-form-urlencoded", []string{clientKey}, 415},
		"another path":    {"POST", "/dcv", plain, []string{clientKey}, 404},
		"the right thing": {"POST", "/mpic", plain + "; charset=utf-8", []string{clientKey}, 200},
		"another client":  {"POST", "/mpic", plain, []string{"another"}, 200},
	} {
		status, reply := do(c.method, c.path, c.kind, c.keys...)
		require.Equal(t, c.status, status, name)
		if status == 401 || status == 403 {
			require.NotContains(t, reply, "detail", name)
		}
	}
	e, _ := s.ledger.last()
	require.Contains(t, []string{"openmpic:other", "openmpic:ejbca-1"}, e.Attempt.Caller)
	require.Len(t, s.ledger.opened, 2)

	// A body that was packed is refused before it is unpacked.
	packed := httptest.NewRequest("POST", "https://gate.test/mpic", strings.NewReader("{}"))
	packed.Header.Set("X-API-Key", clientKey)
	packed.Header.Set("Content-Type", plain)
	packed.Header.Set("Content-Encoding", "gzip")
	told := httptest.NewRecorder()
	s.front.Config.Handler.ServeHTTP(told, packed)
	require.Equal(t, 415, told.Code)
	require.Contains(t, told.Body.String(), "request.content-encoding")

	// A key that came in plain text is refused.
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "http://gate.test/mpic", strings.NewReader("{}"))
	r.Header.Set("X-API-Key", clientKey)
	s.front.Config.Handler.ServeHTTP(rec, r)
	require.Equal(t, 403, rec.Code)
}

func TestServersRefuseConfigurations(t *testing.T) {
	s := newScene(t, options{})
	good := openmpic.Config{Validator: new(mpic.Coordinator), Issuers: []string{"ca.example"}, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Clients: []front.Client{{Name: "a", APIKeySHA256: digestOf("a")}}}
	_, err := openmpic.NewServer(good)
	require.NoError(t, err)
	for name, change := range map[string]func(*openmpic.Config){
		"no validator": func(c *openmpic.Config) { c.Validator = nil },
		"no issuers":   func(c *openmpic.Config) { c.Issuers = nil },
		"no logger":    func(c *openmpic.Config) { c.Logger = nil },
		"no clock":     func(c *openmpic.Config) { c.Now = nil },
		"no client":    func(c *openmpic.Config) { c.Clients = nil },
		"no name":      func(c *openmpic.Config) { c.Clients = []front.Client{{APIKeySHA256: digestOf("a")}} },
		"no key":       func(c *openmpic.Config) { c.Clients = []front.Client{{Name: "a"}} },
		"one key for two": func(c *openmpic.Config) {
			c.Clients = append(slices.Clone(c.Clients), front.Client{Name: "b", APIKeySHA256: digestOf("a")})
		},
		"too many in work": func(c *openmpic.Config) {
			c.Clients = []front.Client{{Name: "a", APIKeySHA256: digestOf("a"), InFlight: 5000}}
		},
		"too many attempts": func(c *openmpic.Config) { c.MaxAttempts = 11 },
	} {
		c := good
		change(&c)
		_, err := openmpic.NewServer(c)
		require.Error(t, err, name)
	}
	client := openmpic.CheckerClient{Client: front.Client{Name: "a", APIKeySHA256: digestOf("a")}, Checker: s.checker(1)}
	for name, c := range map[string]openmpic.CheckerConfig{
		"no checker": {Clients: []openmpic.CheckerClient{{Client: client.Client}}, Logger: good.Logger, Now: time.Now},
		"no logger":  {Clients: []openmpic.CheckerClient{client}, Now: time.Now},
		"no client":  {Logger: good.Logger, Now: time.Now},
		"too long":   {Clients: []openmpic.CheckerClient{client}, Logger: good.Logger, Now: time.Now, MaxCheck: time.Hour},
	} {
		_, err := openmpic.NewCheckerServer(c)
		require.Error(t, err, name)
	}
}
