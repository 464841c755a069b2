package acme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// TestRFC7638_ThumbprintOfTheExample has the key and the thumbprint of RFC 7638 section 3.1.
func TestRFC7638_ThumbprintOfTheExample(t *testing.T) {
	var key jose.JSONWebKey
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB" +
		"ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8" +
		"KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_" +
		"xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	require.NoError(t, key.UnmarshalJSON([]byte(`{"kty":"RSA","n":"`+n+`","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`)))
	got, err := KeyAuthorization("token", &key)
	require.NoError(t, err)
	require.Equal(t, "token.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", got)
}

func TestRFC8555_8_1_NoKeyAuthorizationWithoutTokenAndPublicKey(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		token string
		key   *jose.JSONWebKey
	}{
		"no token":        {"", &jose.JSONWebKey{Key: private.Public()}},
		"no key":          {"token", nil},
		"an empty key":    {"token", &jose.JSONWebKey{}},
		"a private key":   {"token", &jose.JSONWebKey{Key: private}},
		"a symmetric key": {"token", &jose.JSONWebKey{Key: []byte("secret")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := KeyAuthorization(c.token, c.key)
			require.Error(t, err)
			require.Empty(t, got)
		})
	}
}

func TestRFC8555_6_7_EachAreaHasAnErrorType(t *testing.T) {
	for code, want := range map[string]ErrorType{
		"dns.lookup":          DNS,
		"dnssec.bogus":        DNS,
		"address.reserved":    DNS,
		"address.unreachable": Connection,
		"http.status":         IncorrectResponse,
		"http.timeout":        Connection,
		"txt.missing":         IncorrectResponse,
		"tls.handshake":       TLS,
		"tls.digest":          IncorrectResponse,
		"caa.forbidden":       CAA,
		"caa.bogus":           DNS,
		"name.public-suffix":  RejectedIdentifier,
		"request.token":       ServerInternal,
		"request.token-age":   Malformed,
		"permit.no-evidence":  Unauthorized,
		"permit.expired":      Unauthorized,
		"permit.caa-stale":    CAA,
		"permit.caa-refused":  CAA,
		"permit.clock":        ServerInternal,
		"quorum.missed":       ServerInternal,
		"perspective.silent":  ServerInternal,
		"roster.too-few":      ServerInternal,
		"policy.none":         ServerInternal,
		"primary.missing":     ServerInternal,
		"unheard-of":          ServerInternal,
		"":                    ServerInternal,
	} {
		t.Run(code, func(t *testing.T) { require.Equal(t, want, TypeOf(code)) })
	}
	t.Run("what a perspective finds at the subscriber's is never called the server's fault", func(t *testing.T) {
		for _, c := range va.Codes() {
			if area, _, _ := strings.Cut(c.Code, "."); area != "request" && area != "perspective" {
				require.NotEqual(t, ServerInternal, TypeOf(c.Code), c.Code)
			}
		}
	})
	require.Equal(t, 403, Unauthorized.Status())
	require.Equal(t, 403, CAA.Status())
	require.Equal(t, 500, ServerInternal.Status())
	require.Equal(t, 400, Malformed.Status())
}

func TestARefusalSaysWhy(t *testing.T) {
	started := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	req := va.Request{Identifier: "*.example.com", Method: va.DNS01, Token: "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA",
		KeyAuthorization: "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.nP1qzpXGymHBrUEepNY9HCsQk7K8KhOypzEt62jcerQ",
		TokenCreated:     started.Add(-time.Minute), AccountURI: "https://ca.test/my-account/1",
		Issuers: []string{"ca.quorate.test"}}
	// Too few remotes, and they in too few regions: two reasons, and nobody was asked.
	d := mpic.Judge(mpic.Evidence{Attempt: mpic.Attempt{Kind: mpic.Issuance, Started: started,
		Probe: va.Probe{Attempt: "attempt-1", Nonce: "00", Request: req}}})
	require.Greater(t, len(d.Reasons()), 1)
	p := Refusal(req.Identifier, d)
	require.Equal(t, "roster.too-few", p.Code)
	require.Equal(t, ServerInternal, p.Type)
	require.Equal(t, "attempt-1", p.Attempt)
	require.Contains(t, p.Detail, "roster.too-few: 0 remote perspectives")
	require.Contains(t, p.Detail, "(attempt attempt-1)")
	require.Equal(t, &Identifier{Type: "dns", Value: "*.example.com"}, p.Identifier)
	require.Len(t, p.Subproblems, len(d.Reasons())-1)

	b, err := json.Marshal(p)
	require.NoError(t, err)
	var read map[string]any
	require.NoError(t, json.Unmarshal(b, &read))
	require.Equal(t, "urn:ietf:params:acme:error:serverInternal", read["type"])
	require.Equal(t, float64(500), read["status"])
}

// TestARefusedPermitSaysWhyForEachName, and a granted one is told as a refusal.
func TestARefusedPermitSaysWhyForEachName(t *testing.T) {
	p := mpic.Permit{PermitRecord: mpic.PermitRecord{ID: "P1", Names: []mpic.PermitName{{Name: "a.example.com"},
		{Name: "b.example.com", Problem: &va.Problem{Code: "permit.caa-refused", Detail: "CAA forbids"}},
		{Name: "c.example.com", Problem: &va.Problem{Code: "permit.expired", Detail: "too old"}}}}}
	require.Equal(t, Problem{Type: CAA, Status: 403, Code: "permit.caa-refused",
		Detail: "no certificate may be issued, because of 2 of 3 names; the first: permit.caa-refused: CAA forbids (permit P1)",
		Subproblems: []Problem{
			{Type: CAA, Code: "permit.caa-refused", Detail: "permit.caa-refused: CAA forbids", Identifier: &Identifier{"dns", "b.example.com"}},
			{Type: Unauthorized, Code: "permit.expired", Detail: "permit.expired: too old", Identifier: &Identifier{"dns", "c.example.com"}},
		}}, RefusedPermit(p))
	p.Names = p.Names[:1]
	p.Outcome = mpic.OutcomeGranted
	require.Equal(t, NotIssued(), RefusedPermit(p))
	require.Equal(t, 500, NotIssued().Status)
	p.Problem = &va.Problem{Code: "permit.duplicate", Detail: "twice"}
	require.Equal(t, "permit.duplicate: twice (permit P1)", RefusedPermit(p).Detail)
}

// TestNoDecisionIsNoPass: who asks why must not be told that all is well, whatever it asks about.
func TestNoDecisionIsNoPass(t *testing.T) {
	p := Refusal("shop.example.com", mpic.Decision{})
	require.Equal(t, Unavailable("shop.example.com"), p)
	require.Equal(t, ServerInternal, p.Type)
	require.Equal(t, 500, p.Status)
	require.Equal(t, "gate.unavailable", p.Code)
}
