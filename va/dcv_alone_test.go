package va

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var secretSum = sha256.Sum256([]byte(secret))

// digest is what Open MPIC's clients give of a key authorization.
var digest = base64.RawURLEncoding.EncodeToString(secretSum[:])

// TestDCVAloneTakesAChallengeOrItsDigest: what a caller need not tell is what its protocol cannot, and nothing else.
//
// Holds: DCV-12, DCV-19, DCV-27
func TestDCVAloneTakesAChallengeOrItsDigest(t *testing.T) {
	hashed := func(p *Probe) {
		p.Request.Token, p.Request.KeyAuthorization, p.Request.KeyAuthorizationDigest = "", "", digest
	}
	for what, c := range map[string]struct {
		method      Method
		change      func(*Probe)
		want, field string
	}{
		"the challenge":                 {HTTP01, func(*Probe) {}, "ok", ""},
		"no date of the token":          {HTTP01, func(p *Probe) { p.Request.TokenCreated = time.Time{} }, "ok", ""},
		"a token of a month ago":        {HTTP01, func(p *Probe) { p.Request.TokenCreated = now.Add(-TokenLife) }, "request.token-age", "token_created"},
		"no account":                    {HTTP01, func(p *Probe) { p.Request.AccountURI = "" }, "ok", ""},
		"an account that is none":       {HTTP01, func(p *Probe) { p.Request.AccountURI = "42" }, "request.account", "account_uri"},
		"no method":                     {0, func(*Probe) {}, "request.method", "method"},
		"no token":                      {DNS01, func(p *Probe) { p.Request.Token = "" }, "request.token", "token"},
		"no key authorization":          {DNS01, func(p *Probe) { p.Request.KeyAuthorization = "" }, "request.key-authorization", "key_authorization"},
		"a digest, for dns-01":          {DNS01, hashed, "ok", ""},
		"a digest, for tls-alpn-01":     {TLSALPN01, hashed, "ok", ""},
		"a digest, for http-01":         {HTTP01, hashed, "request.key-authorization", "key_authorization_digest"},
		"a digest beside the challenge": {DNS01, func(p *Probe) { p.Request.KeyAuthorizationDigest = digest }, "request.token", "token"},
		"a digest that is none": {DNS01, func(p *Probe) {
			hashed(p)
			p.Request.KeyAuthorizationDigest = digest[1:]
		}, "request.key-authorization", "key_authorization_digest"},
		"a digest with padding": {DNS01, func(p *Probe) {
			hashed(p)
			p.Request.KeyAuthorizationDigest += "="
		}, "request.key-authorization", "key_authorization_digest"},
		"a digest, and CAA too": {DNS01, func(p *Probe) {
			hashed(p)
			p.DCVAlone = false
		}, "request.token", "token"},
		"no date, and CAA too": {HTTP01, func(p *Probe) {
			p.Request.TokenCreated, p.DCVAlone = time.Time{}, false
		}, "request.token-age", "token_created"},
		"CAA alone too": {HTTP01, func(p *Probe) { p.CAAAlone = true }, "request.kind", ""},
	} {
		t.Run(what, func(t *testing.T) {
			p := probe(request(c.method))
			p.DCVAlone = true
			c.change(&p)
			problem := p.Admit(now)
			require.Equal(t, c.want, code(problem), "%v", problem)
			if problem != nil {
				require.Equal(t, c.field, problem.Field)
				return
			}
			s := &table{records: map[string][]string{"_acme-challenge.shop.example.com TXT": {`TXT "` + digest + `"`}}}
			r := checker(t, s).Check(t.Context(), p)
			require.True(t, r.CAA.NotChecked())
			for asked := range s.asked {
				require.NotContains(t, asked, "CAA")
			}
			if c.method == DNS01 {
				require.Equal(t, Pass, r.DCV.Outcome, "%v", r.DCV.Problem)
				require.Equal(t, digest, r.DCV.Observed)
			}
		})
	}
}

// TestADigestIsWhatTheKeyAuthorizationGives
//
// Holds: MPIC-10
func TestADigestIsWhatTheKeyAuthorizationGives(t *testing.T) {
	for _, m := range []Method{DNS01, TLSALPN01} {
		require.Equal(t, Request{Method: m, KeyAuthorization: secret}.Expected(), Request{Method: m, KeyAuthorizationDigest: digest}.Expected())
	}
	require.Empty(t, Request{Method: HTTP01, KeyAuthorizationDigest: digest}.Expected())
	require.Empty(t, Request{Method: DNS01, KeyAuthorizationDigest: "x"}.Expected())
	require.Empty(t, Request{Method: DNS01, KeyAuthorization: secret, KeyAuthorizationDigest: digest}.Expected())
}
