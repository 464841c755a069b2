package mpic

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// goodClaims are what a permit for two names says.
func goodClaims() Claims {
	name := func(n string, number int64) PermitName {
		sum := strings.Repeat("ab", 32)
		return PermitName{Name: n, DCV: &PermitDCV{Attempt: "A", Number: number, SHA256: sum, Method: va.DNS01, AuthorizationDomainName: "example.com",
			Scope: WildcardScope, Validated: december, ReusableUntil: ReusableUntil(va.DNS01, december)},
			CAA: &PermitCAA{Attempt: "B", Number: number + 1, SHA256: sum, Checked: december, FreshUntil: december.Add(8 * time.Hour)}}
	}
	issued := december.Add(time.Hour)
	return Claims{ID: "P", Account: acct1, Issued: issued.Unix(), Expires: issued.Add(time.Hour).Unix(),
		Names: []PermitName{name("example.com", 1), name("*.example.com", 3)}}
}

// signed signs any payload under any header, as the holder of the key can.
func signed(t testing.TB, header, payload string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	return input + "." + encode(ed25519.Sign(permitKey, []byte(input)))
}

func rightHeader(t testing.TB) string {
	t.Helper()
	h, err := headerFor(permitKey.Public())
	require.NoError(t, err)
	text, err := json.Marshal(h)
	require.NoError(t, err)
	return string(text)
}

func claimsText(t testing.TB, c Claims) string {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	return string(text)
}

// Holds: DCV-03, CAA-05, C1, D4, D5
func TestAPermitThatContradictsItselfIsNone(t *testing.T) {
	c, err := VerifyPermit(signed(t, rightHeader(t), claimsText(t, goodClaims())), permitKey.Public())
	require.NoError(t, err)
	require.Equal(t, goodClaims(), c)
	for name, spoil := range map[string]func(*Claims){
		"no identifier":             func(c *Claims) { c.ID = "" },
		"no account":                func(c *Claims) { c.Account = "" },
		"no time":                   func(c *Claims) { c.Expires = c.Issued },
		"an end before its start":   func(c *Claims) { c.Expires = c.Issued - 1 },
		"more than 8 hours":         func(c *Claims) { c.Issued -= 7*3600 + 1 },
		"no names":                  func(c *Claims) { c.Names = nil },
		"too many names":            func(c *Claims) { c.Names = make([]PermitName, 101) },
		"a name twice":              func(c *Claims) { c.Names[1] = c.Names[0] },
		"a problem":                 func(c *Claims) { c.Names[0].Problem = forbidden },
		"no DCV":                    func(c *Claims) { c.Names[0].DCV = nil },
		"no CAA":                    func(c *Claims) { c.Names[0].CAA = nil },
		"another name":              func(c *Claims) { c.Names[0].Name = "www.example.com" },
		"a name that ends alike":    func(c *Claims) { c.Names[0].Name = "badexample.com" },
		"a wildcard out of scope":   func(c *Claims) { c.Names[1].DCV.Scope = Exact },
		"another domain":            func(c *Claims) { c.Names[0].DCV.AuthorizationDomainName = "example.org" },
		"no attempt":                func(c *Claims) { c.Names[0].DCV.Attempt = "" },
		"no record":                 func(c *Claims) { c.Names[0].DCV.Number = 0 },
		"no digest":                 func(c *Claims) { c.Names[0].DCV.SHA256 = "" },
		"no attempt of CAA":         func(c *Claims) { c.Names[0].CAA.Attempt = "" },
		"no record of CAA":          func(c *Claims) { c.Names[0].CAA.Number = -1 },
		"no digest of CAA":          func(c *Claims) { c.Names[0].CAA.SHA256 = strings.Repeat("AB", 32) },
		"validated later":           func(c *Claims) { c.Names[0].DCV.Validated = time.Unix(c.Issued+1, 0).UTC() },
		"checked later":             func(c *Claims) { c.Names[0].CAA.Checked = time.Unix(c.Issued+1, 0).UTC() },
		"a validation that ends":    func(c *Claims) { c.Names[0].DCV.ReusableUntil = time.Unix(c.Expires, -1).UTC() },
		"CAA that ends":             func(c *Claims) { c.Names[0].CAA.FreshUntil = time.Unix(c.Expires, -1).UTC() },
		"reuse beyond the period":   func(c *Claims) { c.Names[0].DCV.ReusableUntil = c.Names[0].DCV.ReusableUntil.Add(1) },
		"an old validation":         func(c *Claims) { c.Names[0].DCV.Validated = december.Add(-201 * oneDay) },
		"the validation of no time": func(c *Claims) { c.Names[0].DCV.Validated = time.Time{} },
	} {
		t.Run(name, func(t *testing.T) {
			c := goodClaims()
			spoil(&c)
			_, err := VerifyPermit(signed(t, rightHeader(t), claimsText(t, c)), permitKey.Public())
			require.ErrorIs(t, err, ErrToken)
		})
	}
	for _, same := range []func(*Claims){ // what is just so
		func(c *Claims) { c.Issued -= 3599 },
		func(c *Claims) { c.Names[0].DCV.ReusableUntil = time.Unix(c.Expires, 0).UTC() },
		func(c *Claims) { c.Names[0].CAA.FreshUntil = time.Unix(c.Expires, 0).UTC() },
		func(c *Claims) { c.Names[0].CAA.Checked = time.Unix(c.Issued, 999999999).UTC() },
	} {
		c := goodClaims()
		same(&c)
		_, err := VerifyPermit(signed(t, rightHeader(t), claimsText(t, c)), permitKey.Public())
		require.NoError(t, err)
	}
}

// Holds: C8
func TestNothingButTheKeysOwnPermitIsOne(t *testing.T) {
	header, text := rightHeader(t), claimsText(t, goodClaims())
	good := signed(t, header, text)
	parts := strings.Split(good, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	_, other, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	full, err := jose.ParseSignedCompact(good, []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	for name, token := range map[string]string{
		"nothing":                 "",
		"dots":                    "..",
		"JSON":                    full.FullSerialize(),
		"two parts":               parts[0] + "." + parts[1],
		"no signature":            parts[0] + "." + parts[1] + ".",
		"alg none":                encode(strings.Replace(header, "EdDSA", "none", 1)) + "." + parts[1] + ".",
		"another alg, signed":     signed(t, strings.Replace(header, "EdDSA", "ES256", 1), text),
		"HS256, signed":           signed(t, strings.Replace(header, "EdDSA", "HS256", 1), text),
		"a report's typ, signed":  signed(t, strings.Replace(header, permitType, "quorate-report+jws", 1), text),
		"typ JWT, signed":         signed(t, strings.Replace(header, permitType, "JWT", 1), text),
		"another kid, signed":     signed(t, strings.Replace(header, `"kid":"`, `"kid":"x`, 1), text),
		"one more member, signed": signed(t, strings.Replace(header, `{`, `{"jku":"https://evil.example",`, 1), text),
		"crit, signed":            signed(t, strings.Replace(header, `}`, `,"crit":["x"],"x":1}`, 1), text),
		"alg twice, signed":       signed(t, strings.Replace(header, `{`, `{"alg":"none",`, 1), text),
		"a space, signed":         signed(t, strings.Replace(header, `:`, `: `, 1), text),
		"header is not base64url": "+++." + parts[1] + "." + parts[2],
		"another's signature":     signed(t, header, strings.Replace(text, `"P"`, `"Q"`, 1))[:len(parts[0])] + "." + encode(strings.Replace(text, `"P"`, `"Q"`, 1)) + "." + parts[2],
		"no claims, signed":       signed(t, header, "null"),
		"no JSON, signed":         signed(t, header, "yes"),
		"unknown member, signed":  signed(t, header, strings.Replace(text, `{`, `{"valid":true,`, 1)),
		"a member twice, signed":  signed(t, header, strings.Replace(text, `{`, `{"sub":"x",`, 1)),
		"a member in capitals":    signed(t, header, strings.Replace(text, `"sub"`, `"Sub"`, 1)),
		"something behind it":     signed(t, header, text+"\n"),
		"too long":                good + strings.Repeat("A", maxToken),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := VerifyPermit(token, permitKey.Public())
			require.ErrorIs(t, err, ErrToken)
			require.Equal(t, Claims{}, c)
		})
	}
	for _, key := range []crypto.PublicKey{other.Public(), nil, "key", permitKey} {
		_, err := VerifyPermit(good, key)
		require.ErrorIs(t, err, ErrToken)
	}
}

func TestPermitsAreSignedWithEitherKindOfKey(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for _, key := range []crypto.Signer{permitKey, p256, opaqueKey{p256}, opaqueKey{permitKey}} {
		t.Run(fmt.Sprintf("%T", key), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newCounter(t, func(c *PermitsConfig) { c.Signer, c.Lifetime = key, 8*time.Hour })
				for i := range MaxPermitNames {
					n.show(fmt.Sprintf("h%d.example.org", i), va.HTTP01, acct1)
				}
				var names []string
				for i := range MaxPermitNames {
					names = append(names, fmt.Sprintf("h%d.example.org", i))
				}
				p, err := n.permits.Permit(context.Background(), "test:1", acct1, names)
				require.NoError(t, err)
				require.Less(t, len(p.Token), maxToken)
				c, err := VerifyPermit(p.Token, key.Public())
				require.NoError(t, err)
				require.Equal(t, p.Names, c.Names)
				n.close(n.c)
			})
		})
	}
}

// opaqueKey shows nothing of a key but what it signs, as a device does.
type opaqueKey struct{ crypto.Signer }

// FuzzVerifyPermit: whatever is sent, only what the key signed is a permit.
func FuzzVerifyPermit(f *testing.F) {
	good := signed(f, rightHeader(f), claimsText(f, goodClaims()))
	for _, seed := range []string{good, "", "..", good[:len(good)/2], strings.ReplaceAll(good, "A", "B")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if c, err := VerifyPermit(token, permitKey.Public()); err == nil {
			require.Equal(t, goodClaims(), c)
		}
	})
}
