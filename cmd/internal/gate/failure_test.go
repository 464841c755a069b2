package gate

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
)

// TestCAALookupFailureFromConfiguration goes the whole way, with name servers that answer all but CAA: configuration, REST,
// primary and five remotes, record.
//
// Holds: CAA-06, CAA-07, F7
func TestCAALookupFailureFromConfiguration(t *testing.T) {
	for line, permits := range map[string]bool{"": false, "caa_lookup_failure: deny\n": false,
		"caa_lookup_failure: permit-when-proven\n": true} {
		t.Run(line, func(t *testing.T) {
			s := newSetup(t, line)
			_, err := s.world.Inject(world.Fault{Zone: "unsigned.com", Type: dns.TypeCAA, Kind: world.ServFail})
			require.NoError(t, err)
			for name, want := range map[string]bool{"unsigned.com": permits, "servfail-caa.com": false, "bogus-caa.com": false} {
				req := s.request(name, va.DNS01)
				require.NoError(t, s.world.Set("_acme-challenge."+name, dns.TypeTXT, req.Expected()))
				status, reply := s.post(req)
				require.Equal(t, "5/5", reply["dcv"].(map[string]any)["quorum"], "%v", reply)
				key := reply["attempt"].(string)
				if want {
					require.Equal(t, 201, status)
					require.Equal(t, "5/5", reply["caa"].(map[string]any)["quorum"])
				} else {
					require.Equal(t, 422, status)
					require.Contains(t, []string{"caa.lookup", "caa.bogus"}, reply["code"])
					require.Equal(t, "0/5", reply["caa"].(map[string]any)["quorum"])
				}
				for _, p := range reply["perspectives"].([]any) {
					_, excused := p.(map[string]any)["caa_excused"]
					require.Equal(t, want, excused)
				}
				stored, err := s.gate.Store.Attempt(t.Context(), key)
				require.NoError(t, err)
				again := mpic.Judge(stored.Evidence)
				require.Equal(t, want, again.Granted(), "judged again from the record")
				rule := va.DenyFailure
				if permits {
					rule = va.PermitProvenFailure
				}
				require.Equal(t, rule, stored.Evidence.Attempt.Probe.CAALookupFailure)
				decision, err := Recorded(stored)
				require.NoError(t, err)
				for _, v := range decision.Views {
					require.Equal(t, want, len(v.CAAExcused) == 1 && v.CAAExcused[0] == name, "%v", v)
				}
				var text bytes.Buffer
				require.NoError(t, table.Write(&text, table.Attempt{Number: stored.Number, Evidence: stored.Evidence, Decision: decision}, false))
				require.Equal(t, want, bytes.Contains(text.Bytes(), []byte("CAA lookup failed, excused")))
			}
		})
	}
}

// TestACallerHasNoRuleForFailures: a request that brings one is refused.
//
// Holds: CAA-06, F7
func TestACallerHasNoRuleForFailures(t *testing.T) {
	s := newSetup(t, "")
	for _, field := range []string{"caa_lookup_failure", "lookup_failure", "caa"} {
		req := s.request("unsigned.com", va.DNS01)
		body := map[string]any{"identifier": map[string]string{"type": "dns", "value": req.Identifier}, "method": req.Method,
			"token": req.Token, "key_authorization": req.KeyAuthorization, "token_created": req.TokenCreated,
			"account_uri": req.AccountURI, field: "permit-when-proven"}
		status, reply := s.call("POST", "/v1/validations", body)
		require.Equal(t, 400, status, "%v", reply)
		text, err := json.Marshal(reply)
		require.NoError(t, err)
		require.Contains(t, string(text), field)
	}
}
