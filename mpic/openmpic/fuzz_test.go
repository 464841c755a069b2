package openmpic

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// FuzzStatement: whatever a checker or a coordinator answers is read or refused, and a pass is one only where check_passed stands there.
func FuzzStatement(f *testing.F) {
	for _, s := range []string{
		`{"check_passed":true,"check_completed":true,"timestamp_ns":1,"details":{"caa_record_present":true,"found_at":"example.com","records_seen":"0 issue \"ca.example\""}}`,
		`{"check_passed":true,"timestamp_ns":"1e3","errors":[],"details":{"validation_method":"acme-dns-01","records_seen":["\"x\""],"cname_chain":["a."],"response_code":0}}`,
		`{"domain_or_ip_target":"example.com","perspectives":[{"perspective_code":"x","check_response":{"check_passed":true,"timestamp_ns":1,"details":{"response_url":"http://example.com/.well-known/acme-challenge/t","response_history":[{"url":"/x"}],"response_status_code":200,"response_page":"t.k"}}}]}`,
	} {
		f.Add([]byte(s))
	}
	at := time.Date(2026, 12, 20, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, method := range []va.Method{va.HTTP01, va.DNS01, va.TLSALPN01} {
			for _, p := range []mpic.Protocol{mpic.OpenMPICChecker, mpic.OpenMPICCoordinator} {
				probe := va.Probe{Attempt: "A", Nonce: "00", Deadline: at, Request: va.Request{Identifier: "example.com", Method: method, Token: "t",
					KeyAuthorization: "t.k", Issuers: []string{"ca.example"}}}
				m := mpic.Member{Name: "x", URL: "https://x.example", Protocol: p}
				var all []mpic.Exchange
				for _, check := range asked(probe) {
					count := map[bool]int{true: 1}[p == mpic.OpenMPICCoordinator]
					sent, err := body(probe, check, count)
					require.NoError(t, err)
					where, err := endpoint(m, check)
					require.NoError(t, err)
					all = append(all, mpic.Exchange{Target: where, Status: 200, Sent: sent, Received: string(text)})
				}
				read := ReadChecker
				if p == mpic.OpenMPICCoordinator {
					read = ReadCoordinator
				}
				s, err := read(m, probe, all)
				if err != nil {
					continue
				}
				for _, said := range []*mpic.Said{s.DCV, s.CAA} {
					require.Equal(t, said.Outcome == va.Pass, said.Problem == nil)
					if said.Outcome == va.Pass {
						require.Contains(t, string(text), "true")
						require.False(t, said.At.IsZero())
					}
				}
			}
		}
	})
}

// FuzzRequest: whatever a client sends is read or refused.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"check_type":"dcv","domain_or_ip_target":"example.com","dcv_check_parameters":{"validation_method":"acme-dns-01","key_authorization_hash":"x"},"orchestration_parameters":{"quorum_count":"5","perspective_count":5.0,"max_attempts":null},"trace_identifier":1}`))
	f.Add([]byte(`{"check_type":"caa","domain_or_ip_target":"example.com","caa_check_parameters":{"certificate_type":"s-mime","caa_domains":["CA.example"]}}`))
	f.Add([]byte(`{"check_type":"dcv","domain_or_ip_target":"a","dcv_check_parameters":{"validation_method":[],"validation_details":{"validation_method":[]}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		q, p := readRequest(text, []string{checkDCV, checkCAA}, true)
		if p != nil {
			return
		}
		require.NotEmpty(t, q.target)
		require.Equal(t, q.check == checkDCV, q.what.Method != 0)
		if q.orchestration != nil {
			d, n, p := q.orchestration.demand(time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC), 3)
			if p == nil {
				require.True(t, d.Remotes == 0 || d.Remotes >= 4)
				require.True(t, d.Quorum == 0 || d.Quorum >= 3)
				require.True(t, n >= 1 && n <= 3)
			}
		}
	})
}
