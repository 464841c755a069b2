package va

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Holds: CAA-04, C4
func TestRFC8657_3_OneAccountByEachOfItsURIs(t *testing.T) {
	req := Request{Identifier: "example.com", Method: HTTP01, Issuers: []string{"ca.example"},
		AccountURI: "https://ca.example/acme/acct/7", AccountAliases: []string{"https://ca.example/acme/reg/7"}}
	for uri, code := range map[string]string{
		"https://ca.example/acme/acct/7":  "",
		"https://ca.example/acme/reg/7":   "",
		"https://ca.example/acme/reg/77":  "caa.account",
		"https://ca.example/acme/reg/":    "caa.account",
		"":                                "caa.account",
		"https://ca.example/acme/ACCT/7":  "caa.account",
		"https://ca.example/acme/acct/7/": "caa.account",
	} {
		t.Run(uri, func(t *testing.T) {
			permits, p := EvaluateCAA([]string{fmt.Sprintf("example.com.\t60\tIN\tCAA\t0 issue \"ca.example; accounturi=%s\"", uri)}, req)
			if code == "" {
				require.Nil(t, p)
				require.NotEmpty(t, permits)
				return
			}
			require.Equal(t, code, p.Code)
		})
	}
}

// Holds: CAA-04
func TestAliasesOfAnAccountAreForCAAAlone(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	alone := func(change func(*Request)) *Problem {
		r := Request{Identifier: "example.com", Method: DNS01, Issuers: []string{"ca.example"}, AccountURI: "https://ca.example/acct/7",
			AccountAliases: []string{"https://ca.example/reg/7"}}
		change(&r)
		return Probe{Request: r, CAAAlone: true}.Admit(at)
	}
	require.Nil(t, alone(func(*Request) {}))
	for name, change := range map[string]func(*Request){
		"no URI beside them": func(r *Request) { r.AccountURI = "" },
		"no URI":             func(r *Request) { r.AccountAliases = []string{"reg/7"} },
		"too many":           func(r *Request) { r.AccountAliases = make([]string, 17) },
	} {
		t.Run(name, func(t *testing.T) {
			p := alone(change)
			require.NotNil(t, p)
			require.Equal(t, "request.account", p.Code)
			require.Equal(t, "account_aliases", p.Field)
		})
	}
	whole := request(HTTP01)
	whole.AccountAliases = []string{"https://ca.example/reg/7"}
	whole.TokenCreated = at
	require.Equal(t, "account_aliases", Admit(whole, at).Field)
	require.Equal(t, "account_aliases", Probe{Request: whole, DCVAlone: true}.Admit(at).Field)
}
