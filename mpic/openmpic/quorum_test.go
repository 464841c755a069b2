package openmpic_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
)

// pythonic makes of a coordinator's answer what Open MPIC's own code gives: records_seen of CAA as a list of RDATA, pages in base64,
// redirects by other names.
func pythonic(reply object) object {
	for _, v := range reply["perspectives"].([]any) {
		details := v.(object)["check_response"].(object)["details"].(object)
		if page, ok := details["response_page"].(string); ok {
			details["response_page"] = base64.StdEncoding.EncodeToString([]byte(page))
			details["response_history"] = nil
		}
		if records, ok := details["records_seen"].(string); ok {
			var list []any
			for line := range strings.Lines(records) {
				list = append(list, strings.TrimSpace(strings.SplitN(line, " CAA ", 2)[1]))
			}
			details["records_seen"] = list
		}
	}
	return reply
}

// flattened is the form of EJBCA's manual, with numbers as texts.
func flattened(reply object) object {
	for _, v := range reply["perspectives"].([]any) {
		p := v.(object)
		inner := p["check_response"].(object)
		delete(p, "check_response")
		for k, x := range inner {
			p[k] = x
		}
		delete(p, "check_completed")
		p["timestamp_ns"] = fmt.Sprintf("%.0f", p["timestamp_ns"])
		if len(p["errors"].([]any)) == 0 {
			p["errors"] = nil
		}
		details := p["details"].(object)
		if present, ok := details["caa_record_present"]; ok {
			p["details"] = object{"caa_record_present": present, "found_at": details["found_at"], "response": details["records_seen"]}
		}
	}
	delete(reply, "mpic_completed")
	delete(reply, "domain_or_ip_target")
	return reply
}

// mixes are five remotes of each kind, and of several.
var mixes = map[string]options{
	"native":                              {remotes: []string{native, native, native, native, native}},
	"checkers":                            {remotes: []string{checker, checker, checker, checker, checker}},
	"a coordinator":                       {remotes: []string{coordinator, coordinator, coordinator, coordinator, coordinator}},
	"a coordinator, as Open MPIC's code":  {remotes: []string{coordinator, coordinator, coordinator, coordinator, coordinator}, answers: pythonic},
	"a coordinator, flat":                 {remotes: []string{coordinator, coordinator, coordinator, coordinator, coordinator}, answers: flattened},
	"native, a checker and a coordinator": {remotes: []string{native, checker, coordinator, native, coordinator}},
	"native and checkers":                 {remotes: []string{checker, native, checker, native, checker}},
}

// TestBR_3_2_2_9_WholeQuorumWithEachKindOfRemote: every method and CAA, granted where all see it and refused where two remotes or the
// primary do not, in both forms of the reply, with each kind of remote and with mixes.
//
// Holds: MPIC-01, MPIC-03, MPIC-10, MPIC-11, MPIC-12, F1, F6
func TestBR_3_2_2_9_WholeQuorumWithEachKindOfRemote(t *testing.T) {
	for name, o := range mixes {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, o)
			s.wholeQuorum("/mpic")
			if name == "native, a checker and a coordinator" {
				s.wholeQuorum("/v1/mpic")
			}
		})
	}
}

func (s *scene) wholeQuorum(path string) {
	t := s.t
	dcv := func(c challenge, name string, m va.Method) object {
		status, reply := s.ask(path, object{"check_type": "dcv", "domain_or_ip_target": name, "dcv_check_parameters": c.parameters(m)})
		require.Equal(t, 200, status, reply)
		require.Len(t, reply["perspectives"], 6)
		return reply
	}
	caa := func(name string) object {
		status, reply := s.ask(path, object{"check_type": "caa", "domain_or_ip_target": name})
		require.Equal(t, 200, status, reply)
		require.Len(t, reply["perspectives"], 6)
		return reply
	}
	verdicts := func(reply object) (passed []string) {
		for _, site := range sites {
			if result(t, reply, site.name)["check_passed"] == true {
				passed = append(passed, site.name)
			}
		}
		return passed
	}
	c := newChallenge()
	remove := s.host("example.org").AddToken(c.token, c.authorization)
	reply := dcv(c, "example.org", va.HTTP01)
	require.Equal(t, true, reply["is_valid"])
	require.Len(t, verdicts(reply), 6)
	page := result(t, reply, "prague")["details"].(object)
	require.Equal(t, c.authorization[:min(100, len(c.authorization))], page["response_page"])
	require.EqualValues(t, 200, page["response_status_code"])
	remove()

	for _, blind := range []struct {
		sees  [2]int
		valid bool
	}{{[2]int{0, 5}, true}, {[2]int{0, 4}, false}, {[2]int{1, 6}, false}} { // F1: in the last one the remotes alone see it
		c := newChallenge()
		remove := s.host("example.org").AddToken(c.token, c.authorization, clients(blind.sees[0], blind.sees[1])...)
		reply := dcv(c, "example.org", va.HTTP01)
		require.Equal(t, blind.valid, reply["is_valid"])
		require.Len(t, verdicts(reply), blind.sees[1]-blind.sees[0])
		remove()
	}

	c = newChallenge()
	require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, c.value(), "another value"))
	for _, name := range []string{"example.com", "*.example.com"} {
		reply = dcv(c, name, va.DNS01)
		require.Equal(t, true, reply["is_valid"])
		require.Len(t, verdicts(reply), 6)
	}
	require.ElementsMatch(t, []any{c.value(), "another value"}, result(t, reply, "prague")["details"].(object)["records_seen"])
	require.Equal(t, false, dcv(newChallenge(), "example.com", va.DNS01)["is_valid"])

	c = newChallenge() // through an alias, of which the details tell
	require.NoError(t, s.world.Set("_acme-challenge.salted.org", dns.TypeCNAME, "answers.example.com."))
	require.NoError(t, s.world.Set("answers.example.com", dns.TypeTXT, c.value()))
	reply = dcv(c, "salted.org", va.DNS01)
	require.Equal(t, true, reply["is_valid"], reply)
	alias := result(t, reply, "prague")["details"].(object)
	require.Equal(t, []any{"answers.example.com"}, alias["cname_chain"])
	require.Equal(t, "answers.example.com", alias["found_at"])
	require.Equal(t, true, alias["ad_flag"])

	c = newChallenge()
	removeALPN, err := s.host("example.dev").AddALPN(world.ALPN{Domain: "example.dev", KeyAuthorization: c.authorization})
	require.NoError(t, err)
	reply = dcv(c, "example.dev", va.TLSALPN01)
	require.Equal(t, true, reply["is_valid"], reply)
	require.Equal(t, false, dcv(newChallenge(), "example.dev", va.TLSALPN01)["is_valid"])
	removeALPN()

	reply = caa("example.com")
	require.Equal(t, true, reply["is_valid"], reply)
	require.Equal(t, false, result(t, reply, "stockholm")["details"].(object)["caa_record_present"])
	reply = caa("caa.example.com")
	require.Equal(t, true, reply["is_valid"], reply)
	require.Equal(t, "caa.example.com", result(t, reply, "stockholm")["details"].(object)["found_at"])
	for _, name := range []string{"caa-other.com", "caa-none.com", "caa-critical.com", "deep.sub.caa-tree.com", "bogus-caa.com"} {
		reply = caa(name)
		require.Equal(t, false, reply["is_valid"], name)
		require.Empty(t, verdicts(reply))
	}
	e, _ := s.ledger.last()
	require.Equal(t, "openmpic:ejbca-1", e.Attempt.Caller)
	require.Equal(t, mpic.CAAAlone, e.Attempt.Kind)
}

// TestACoordinatorIsAskedOncePerProbeAndCheck: however many members stand behind it, with all of them and without retries.
//
// Holds: MPIC-09, F5
func TestACoordinatorIsAskedOncePerProbeAndCheck(t *testing.T) {
	s := newScene(t, options{remotes: []string{coordinator, coordinator, coordinator, coordinator, native}})
	for range 3 {
		status, _ := s.ask("/mpic", object{"check_type": "caa", "domain_or_ip_target": "example.com"})
		require.Equal(t, 200, status)
	}
	asked := s.behind.requests()
	require.Len(t, asked, 3)
	traces := map[any]bool{}
	for _, q := range asked {
		require.Equal(t, object{"perspective_count": 4.0, "max_attempts": 1.0}, q["orchestration_parameters"])
		traces[q["trace_identifier"]] = true
	}
	require.Len(t, traces, 3, "each attempt is another")
}

// TestC5_RecordsThatARemoteShowsAreEvaluatedHere: Open MPIC knows neither accounturi nor validationmethods. What its perspectives saw is
// evaluated again, and a coordinator that calls it permission is not believed.
//
// Holds: CAA-04, C5, MPIC-11
func TestC5_RecordsThatARemoteShowsAreEvaluatedHere(t *testing.T) {
	lie := func(reply object) object {
		for _, v := range reply["perspectives"].([]any) {
			r := v.(object)["check_response"].(object)
			r["check_passed"], r["check_completed"], r["errors"] = true, true, nil
		}
		return reply
	}
	s := newScene(t, options{remotes: []string{coordinator, coordinator, coordinator, coordinator, coordinator}, answers: lie})
	require.NoError(t, s.world.Set("example.com", dns.TypeCAA, `0 issue "ca.example.net; accounturi=https://ca.example.net/acct/7"`))
	status, reply := s.ask("/mpic", object{"check_type": "caa", "domain_or_ip_target": "example.com"})
	require.Equal(t, 200, status)
	require.Equal(t, false, reply["is_valid"])
	_, d := s.ledger.last()
	for _, v := range d.Views()[1:] {
		require.Equal(t, "perspective.contradiction", v.CAAProblem.Code)
		require.Contains(t, v.CAAProblem.Detail, "accounturi")
	}
}

// TestBR_3_2_2_9_IssuanceWithEachKindOfRemote: DCV and CAA in one attempt, for an authorization, through fronts that know nothing of Open
// MPIC.
//
// Holds: MPIC-01, MPIC-10, MPIC-11, MPIC-12, F1
func TestBR_3_2_2_9_IssuanceWithEachKindOfRemote(t *testing.T) {
	for name, o := range mixes {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, o)
			validate := func(c challenge, identifier string, m va.Method) mpic.Decision {
				r, err := s.gate.Validate(t.Context(), mpic.Issuance, "test:ra", va.Request{Identifier: identifier, Method: m, Token: c.token,
					KeyAuthorization: c.authorization, TokenCreated: time.Now().UTC(), AccountURI: "https://ca.example.net/acct/7"})
				require.NoError(t, err)
				s.holds(r.Decision.Granted())
				return r.Decision
			}
			before := len(s.behind.requests())
			c := newChallenge()
			require.NoError(t, s.world.Set("_acme-challenge.example.com", dns.TypeTXT, c.value()))
			d := validate(c, "*.example.com", va.DNS01)
			require.True(t, d.Granted(), "%v", d.Reasons())
			require.Equal(t, "5/5 5/5", d.DCV().String()+" "+d.CAA().String())
			if len(s.behind.checkers) > 0 {
				require.Len(t, s.behind.requests(), before+2, "one request for DCV and one for CAA")
			}

			remove := s.host("caa-other.com").AddToken(c.token, c.authorization)
			d = validate(c, "caa-other.com", va.HTTP01)
			require.False(t, d.Granted())
			require.Equal(t, "5/5 0/5", d.DCV().String()+" "+d.CAA().String(), "control is no permission")
			remove()

			remove = s.host("example.org").AddToken(c.token, c.authorization, clients(1, 6)...)
			d = validate(c, "example.org", va.HTTP01)
			require.False(t, d.Granted())
			require.Equal(t, "5/5 5/5", d.DCV().String()+" "+d.CAA().String(), "F1: and the remotes alone do not help")
			remove()
		})
	}
}
