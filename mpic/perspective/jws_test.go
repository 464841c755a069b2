package perspective

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	rand2 "math/rand/v2"
	"slices"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// seal signs any payload with any header, as a perspective with bad manners would.
func seal(t testing.TB, id *Identity, algorithm jose.SignatureAlgorithm, key any, header map[string]any, payload []byte) string {
	t.Helper()
	options := &jose.SignerOptions{EmbedJWK: true}
	options.WithType(replyType).WithHeader("kid", id.thumbprint)
	for k, v := range header {
		options.WithHeader(jose.HeaderKey(k), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	require.NoError(t, err)
	jws, err := signer.Sign(payload)
	require.NoError(t, err)
	signed, err := jws.CompactSerialize()
	require.NoError(t, err)
	return signed
}

func sealEd25519(t testing.TB, id *Identity, header map[string]any, payload []byte) string {
	t.Helper()
	return seal(t, id, jose.EdDSA, id.signer, header, payload)
}

// edited gives a passing report in JSON after a change to its generic form.
func edited(t testing.TB, probe va.Probe, edit func(map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal(marshal(t, passing(probe)), &m))
	edit(m)
	return marshal(t, m)
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Holds: MPIC-08, MPIC-09
func TestVerifyTakesASignedReport(t *testing.T) {
	for name, id := range map[string]*Identity{"EdDSA": newIdentity(t, "fra"), "ES256": newES256Identity(t, "fra")} {
		t.Run(name, func(t *testing.T) {
			probe := newProbe()
			want := passing(probe)
			signed, err := id.sign(want)
			require.NoError(t, err)
			got, problem := Verify(signed, memberOf("fra", "", id), nil, probe)
			require.Nil(t, problem)
			require.Equal(t, string(marshal(t, want)), string(marshal(t, got.Report())))
			var header map[string]any
			text, err := base64.RawURLEncoding.DecodeString(signed[:strings.Index(signed, ".")])
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &header))
			require.Equal(t, name, header["alg"])
			require.Equal(t, id.SigningKey(), header["kid"])
			require.Equal(t, replyType, header["typ"])
		})
	}
}

// Holds: MPIC-08, F9
func TestVerifyNamesWhoseKeySigned(t *testing.T) {
	fra, nrt := newIdentity(t, "fra"), newIdentity(t, "nrt")
	probe := newProbe()
	signed, err := nrt.sign(passing(probe))
	require.NoError(t, err)
	_, problem := Verify(signed, memberOf("fra", "", fra), []mpic.Member{memberOf("nrt", "", nrt)}, probe)
	require.NotNil(t, problem)
	require.Equal(t, "perspective.key", problem.Code)
	require.Contains(t, problem.Detail, "the reply of fra is signed with the key of nrt")

	_, problem = Verify(signed, memberOf("fra", "", fra), nil, probe)
	require.NotNil(t, problem)
	require.Equal(t, "perspective.key", problem.Code)
	require.Contains(t, problem.Detail, "the roster has "+fra.SigningKey())

	_, problem = Verify(signed, mpic.Member{Name: "fra"}, nil, probe)
	require.NotNil(t, problem, "a member without a pin has no answer")
	require.Equal(t, "perspective.key", problem.Code)
}

// Holds: MPIC-09
func TestVerifyRefusesAnotherProbesReport(t *testing.T) {
	id := newIdentity(t, "fra")
	asked := newProbe()
	signed, err := id.sign(passing(asked))
	require.NoError(t, err)
	cases := []struct {
		name   string
		change func(*va.Probe)
		detail string
	}{
		{"another attempt", func(p *va.Probe) { p.Attempt = "01JZ-other" }, "is for the attempt"},
		{"another nonce", func(p *va.Probe) { p.Nonce = strings.Repeat("0b", 16) }, "repeats the nonce"},
		{"no nonce", func(p *va.Probe) { p.Nonce = "" }, "repeats the nonce"},
		{"another name", func(p *va.Probe) { p.Request.Identifier = "shop.example.com" }, "is for another request"},
		{"another token", func(p *va.Probe) { p.Request.KeyAuthorization = "other" }, "is for another request"},
		{"another account", func(p *va.Probe) { p.Request.AccountURI = "https://ca.example/acct/2" }, "is for another request"},
		{"no method", func(p *va.Probe) { p.Request.Method = 0 }, "is for another request"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			probe := asked
			c.change(&probe)
			report, problem := Verify(signed, memberOf("fra", "", id), nil, probe)
			require.NotNil(t, problem)
			require.Equal(t, "perspective.replay", problem.Code)
			require.Contains(t, problem.Detail, c.detail)
			require.Contains(t, problem.Rules, "MPIC-09")
			require.Zero(t, report)
		})
	}
	t.Run("a report without a nonce for a probe without one", func(t *testing.T) {
		probe := newProbe()
		probe.Nonce = ""
		signed, err := id.sign(passing(probe))
		require.NoError(t, err)
		_, problem := Verify(signed, memberOf("fra", "", id), nil, probe)
		require.NotNil(t, problem)
		require.Equal(t, "perspective.replay", problem.Code)
	})
}

// Holds: MPIC-10, F6
func TestVerifyRefusesReportsWithoutOutcomes(t *testing.T) {
	id := newIdentity(t, "fra")
	probe := newProbe()
	dcv := func(m map[string]any) map[string]any { return m["dcv"].(map[string]any) }
	caa := func(m map[string]any) map[string]any { return m["caa"].(map[string]any) }
	lookup := func(m map[string]any) map[string]any { return caa(m)["lookups"].([]any)[0].(map[string]any) }
	cases := map[string]func(map[string]any){
		"DCV outcome is missing":   func(m map[string]any) { delete(dcv(m), "outcome") },
		"CAA outcome is missing":   func(m map[string]any) { delete(caa(m), "outcome") },
		"no DCV finding":           func(m map[string]any) { delete(m, "dcv") },
		"no CAA finding":           func(m map[string]any) { delete(m, "caa") },
		"DCV outcome is null":      func(m map[string]any) { dcv(m)["outcome"] = nil },
		"DCV outcome is true":      func(m map[string]any) { dcv(m)["outcome"] = true },
		"DCV outcome is 1":         func(m map[string]any) { dcv(m)["outcome"] = 1 },
		"CAA outcome is unknown":   func(m map[string]any) { caa(m)["outcome"] = "passed" },
		"CAA outcome is empty":     func(m map[string]any) { caa(m)["outcome"] = "" },
		"lookup without a status":  func(m map[string]any) { delete(lookup(m), "status") },
		"lookup of unknown status": func(m map[string]any) { lookup(m)["status"] = "fine" },
		"link without a result":    func(m map[string]any) { delete(m["zones"].([]any)[0].(map[string]any), "result") },
		"an unknown member":        func(m map[string]any) { m["is_valid"] = true },
		"a name and nothing else": func(m map[string]any) {
			for k := range m {
				if k != "perspective" {
					delete(m, k)
				}
			}
		},
	}
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			signed := sealEd25519(t, id, nil, edited(t, probe, edit))
			_, problem := Verify(signed, memberOf("fra", "", id), nil, probe)
			require.NotNil(t, problem)
			require.Equal(t, "perspective.garbage", problem.Code)
		})
	}
}

// Holds: MPIC-08
func TestVerifyRefusesOtherForms(t *testing.T) {
	id, other := newIdentity(t, "fra"), newIdentity(t, "nrt")
	probe := newProbe()
	payload := marshal(t, passing(probe))
	good := sealEd25519(t, id, nil, payload)
	parts := strings.Split(good, ".")
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	thumb384, err := Thumbprint(p384.Public())
	require.NoError(t, err)
	full, err := jose.ParseSignedCompact(good, []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	multi, err := jose.NewMultiSigner([]jose.SigningKey{{Algorithm: jose.EdDSA, Key: id.signer}, {Algorithm: jose.EdDSA, Key: other.signer}}, nil)
	require.NoError(t, err)
	twice, err := multi.Sign(payload)
	require.NoError(t, err)
	header := func(edit func(map[string]any)) string {
		text, err := base64.RawURLEncoding.DecodeString(parts[0])
		require.NoError(t, err)
		var m map[string]any
		require.NoError(t, json.Unmarshal(text, &m))
		edit(m)
		return encode(string(marshal(t, m)))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[0])
	require.NoError(t, err)
	cases := []struct{ name, signed, code string }{
		{"empty", "", "perspective.garbage"},
		{"HTML", "<html><body>It works. Really. Yes.</body></html>", "perspective.garbage"},
		{"two parts", parts[0] + "." + parts[1], "perspective.garbage"},
		{"four parts", good + ".x", "perspective.garbage"},
		{"JSON serialization", full.FullSerialize(), "perspective.garbage"},
		{"two signatures", twice.FullSerialize(), "perspective.garbage"},
		{"detached payload", parts[0] + ".." + parts[2], "perspective.signature"},
		{"no signature", parts[0] + "." + parts[1] + ".", "perspective.signature"},
		{"header is not base64url", "+++." + parts[1] + "." + parts[2], "perspective.garbage"},
		{"payload is not base64url", parts[0] + ".+++." + parts[2], "perspective.garbage"},
		{"alg none", header(func(m map[string]any) { m["alg"] = "none" }) + "." + parts[1] + ".", "perspective.algorithm"},
		{"alg HS256", header(func(m map[string]any) { m["alg"] = "HS256" }) + "." + parts[1] + "." + parts[2], "perspective.algorithm"},
		{"alg of another kind of key", header(func(m map[string]any) { m["alg"] = "ES256" }) + "." + parts[1] + "." + parts[2], "perspective.algorithm"},
		{"P-384", seal(t, &Identity{thumbprint: thumb384}, jose.ES384, p384, nil, payload), "perspective.algorithm"},
		{"P-384 called ES256", seal(t, &Identity{thumbprint: thumb384}, jose.ES384, p384, map[string]any{"alg": "ES256"}, payload), "perspective.algorithm"},
		{"symmetric key inside", header(func(m map[string]any) { m["jwk"] = map[string]any{"kty": "oct", "k": "AAAA"} }) + "." + parts[1] + "." + parts[2], "perspective.garbage"},
		{"RSA key inside", header(func(m map[string]any) {
			m["jwk"] = map[string]any{"kty": "RSA", "e": "AQAB", "n": strings.Repeat("w", 342)}
		}) + "." + parts[1] + "." + parts[2], "perspective.algorithm"},
		{"no key inside", header(func(m map[string]any) { delete(m, "jwk") }) + "." + parts[1] + "." + parts[2], "perspective.garbage"},
		{"private key inside", header(func(m map[string]any) { m["jwk"].(map[string]any)["d"] = strings.Repeat("A", 43) }) + "." + parts[1] + "." + parts[2], "perspective.garbage"},
		{"another kid than key", sealEd25519(t, id, map[string]any{"kid": other.SigningKey()}, payload), "perspective.garbage"},
		{"no kid", header(func(m map[string]any) { delete(m, "kid") }) + "." + parts[1] + "." + parts[2], "perspective.garbage"},
		{"another typ", sealEd25519(t, id, map[string]any{"typ": "JWT"}, payload), "perspective.garbage"},
		{"a critical extension", sealEd25519(t, id, map[string]any{"crit": []string{"x"}, "x": 1}, payload), "perspective.garbage"},
		{"a key from elsewhere", sealEd25519(t, id, map[string]any{"jku": "https://evil.example/k"}, payload), "perspective.garbage"},
		{"alg in capitals beside alg", encode(`{"ALG":"none",`+string(text[1:])) + "." + parts[1] + "." + parts[2], "perspective.garbage"},
		{"alg twice", encode(`{"alg":"EdDSA",`+string(text[1:])) + "." + parts[1] + "." + parts[2], "perspective.garbage"},
		{"payload changed", parts[0] + "." + encode(strings.Replace(string(payload), "fra", "nrt", 1)) + "." + parts[2], "perspective.signature"},
		{"payload is not JSON", sealEd25519(t, id, nil, []byte("pass")), "perspective.garbage"},
		{"payload is null", sealEd25519(t, id, nil, []byte("null")), "perspective.garbage"},
		{"payload ends early", sealEd25519(t, id, nil, payload[:len(payload)-1]), "perspective.garbage"},
		{"payload twice", sealEd25519(t, id, nil, append(append([]byte{}, payload...), payload...)), "perspective.garbage"},
		{"outcome twice", sealEd25519(t, id, nil, []byte(strings.Replace(string(payload), `"outcome":"pass"`, `"outcome":"fail","outcome":"pass"`, 1))), "perspective.garbage"},
		{"outcome in capitals", sealEd25519(t, id, nil, []byte(strings.Replace(string(payload), `"outcome":"pass"`, `"OUTCOME":"pass"`, 1))), "perspective.garbage"},
		{"too long", good + strings.Repeat("A", maxReply), "perspective.garbage"},
	}
	var verifier Verifier
	require.True(t, opensTheSame(t, &verifier, good))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			opensTheSame(t, &verifier, c.signed)
			report, problem := Verify(c.signed, memberOf("fra", "", id), nil, probe)
			require.NotNil(t, problem)
			require.Equal(t, c.code, problem.Code, problem.Detail)
			require.Contains(t, problem.Detail, "the reply of fra ")
			require.Zero(t, report)
		})
	}
}

// Holds: F6
func TestSignRefusesAReportWithoutOutcome(t *testing.T) {
	report := passing(newProbe())
	report.CAA.Outcome = 0
	_, err := newIdentity(t, "fra").sign(report)
	require.ErrorContains(t, err, "no outcome")
}

// FuzzVerify: whatever is sent, nothing but the member's own signature over a bound report with outcomes is taken. Give the
// run -fuzzminimizetime 10x: by default Go spends its time on making long tokens shorter.
func FuzzVerify(f *testing.F) {
	id, other := fixedIdentity(f, "fra"), fixedIdentity(f, "nrt")
	probe := probeAt(born)
	member := memberOf("fra", "", id)
	good, err := id.sign(passing(probe))
	require.NoError(f, err)
	foreign, err := other.sign(passing(probe))
	require.NoError(f, err)
	payload := func(t testing.TB, signed string) string {
		b, err := base64.RawURLEncoding.DecodeString(strings.Split(signed, ".")[1])
		require.NoError(t, err)
		return string(b)
	}
	want := payload(f, good)
	for _, seed := range []string{good, foreign, "", "..", "e30.e30.", "{}", good[:len(good)/2], strings.ReplaceAll(good, "A", "B")} {
		f.Add(seed)
	}
	var verifier Verifier
	require.True(f, opensTheSame(f, &verifier, good))
	f.Fuzz(func(t *testing.T, signed string) {
		opensTheSame(t, &verifier, signed)
		report, problem := Verify(signed, member, nil, probe)
		if problem != nil {
			require.Zero(t, report)
			require.NotEmpty(t, problem.Code)
			return
		}
		// Only the holder of the key can make a payload that is taken, and the holder made one.
		require.Equal(t, want, payload(t, signed))
		require.Equal(t, va.Pass, report.Report().DCV.Outcome)
	})
}

// opensTheSame holds what is made of a reply against what the JOSE library alone makes of it: what is opened, the library opens, with
// the same key and payload, whatever the verifier has seen before. What the library alone opens is base64url that would be written
// otherwise.
func opensTheSame(t testing.TB, v *Verifier, signed string) (held bool) {
	t.Helper()
	thumbprint, payload, _, byLibrary := openByLibrary(signed)
	compact, err := mpic.CutCompact(signed)
	if err != nil {
		if byLibrary == nil {
			for i, part := range strings.Split(signed, ".") {
				octets, err := base64.RawURLEncoding.DecodeString(part)
				require.NoError(t, err, i)
				if base64.RawURLEncoding.EncodeToString(octets) != part {
					return false
				}
			}
			require.Fail(t, "the library opens it", "%s", signed)
		}
		return false
	}
	for _, v := range []*Verifier{v, {}} {
		signer, code, err := v.open(compact)
		require.Equal(t, byLibrary == nil && len(signed) <= maxReply, err == nil, "%v, %v: %s", byLibrary, err, signed)
		require.Equal(t, err == nil, code == "")
		require.Equal(t, thumbprint, signer.thumbprint)
		if err == nil {
			require.Equal(t, string(payload), compact.Payload())
		}
		held = err == nil
	}
	return held
}

// openByLibrary opens a reply by the JOSE library alone.
func openByLibrary(signed string) (thumbprint string, payload []byte, code string, err error) {
	if len(signed) > maxReply {
		return "", nil, "perspective.garbage", fmt.Errorf("has %d bytes; at most %d are read", len(signed), maxReply)
	}
	if strings.HasPrefix(strings.TrimSpace(signed), "{") {
		return "", nil, "perspective.garbage", errors.New("is JSON, which can hold several signatures or none, and not a compact JWS")
	}
	if n := strings.Count(signed, "."); n != 2 {
		return "", nil, "perspective.garbage", fmt.Errorf("is no compact JWS: it has %d dots instead of 2", n)
	}
	encoded, _, _ := strings.Cut(signed, ".")
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "", nil, "perspective.garbage", errors.New("is no compact JWS: its header is not base64url")
	}
	var header replyHeader
	if err := decodePlainly(text, &header); err != nil {
		return "", nil, "perspective.garbage", fmt.Errorf("has an unusable header: %w", err)
	}
	if header.Type != replyType {
		return "", nil, "perspective.garbage", fmt.Errorf("is of the type %q, and a report is of the type %q", cut(header.Type, 80), replyType)
	}
	if a := jose.SignatureAlgorithm(header.Algorithm); a != jose.EdDSA && a != jose.ES256 {
		return "", nil, "perspective.algorithm", fmt.Errorf("names the algorithm %q; only EdDSA and ES256 are taken", cut(header.Algorithm, 80))
	}
	jws, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
	if err != nil {
		return "", nil, "perspective.garbage", fmt.Errorf("is no usable JWS: %w", err)
	}
	if len(jws.Signatures) != 1 || jws.Signatures[0].Protected.JSONWebKey == nil {
		return "", nil, "perspective.garbage", errors.New("does not carry the one key that signed it")
	}
	key := jws.Signatures[0].Protected.JSONWebKey
	// The key's kind and the algorithm belong together (RFC 8725 section 3.1).
	switch k := key.Key.(type) {
	case ed25519.PublicKey:
		if header.Algorithm != string(jose.EdDSA) {
			return "", nil, "perspective.algorithm", fmt.Errorf("names the algorithm %q over an Ed25519 key", header.Algorithm)
		}
	case *ecdsa.PublicKey:
		if header.Algorithm != string(jose.ES256) || k.Curve != elliptic.P256() {
			return "", nil, "perspective.algorithm", fmt.Errorf("names the algorithm %q over an ECDSA key on %s", header.Algorithm, k.Curve.Params().Name)
		}
	default:
		return "", nil, "perspective.algorithm", errors.New("carries a key that is neither Ed25519 nor ECDSA on P-256")
	}
	if thumbprint, err = Thumbprint(key.Key); err != nil || thumbprint != header.KeyID {
		return "", nil, "perspective.garbage", errors.New("names another key than it carries")
	}
	payload, err = jws.Verify(key.Key)
	if err != nil {
		return "", nil, "perspective.signature", errors.New("has a signature that does not hold")
	}
	return thumbprint, payload, "", nil
}

// Replies of both kinds, altered in each part, also in ways that leave the octets as they were.
//
// Holds: MPIC-08
func TestRepliesOpenAsTheLibraryOpensThem(t *testing.T) {
	probe := newProbe()
	random := rand2.New(rand2.NewPCG(6, 6))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.\n\r {"
	for name, id := range map[string]*Identity{"EdDSA": newIdentity(t, "fra"), "ES256": newES256Identity(t, "fra")} {
		t.Run(name, func(t *testing.T) {
			good, err := id.sign(passing(probe))
			require.NoError(t, err)
			var verifier Verifier
			require.True(t, opensTheSame(t, &verifier, good))
			parts := strings.Split(good, ".")
			foreign, err := newIdentity(t, "nrt").sign(passing(probe))
			require.NoError(t, err)
			theirs := strings.Split(foreign, ".")
			held := 0
			for i := range 1500 {
				p := slices.Clone(parts)
				part := random.IntN(3)
				b := []byte(p[part])
				at := random.IntN(len(b))
				if i%3 == 0 { // the last characters have loose bits
					at = len(b) - 1
				}
				c := alphabet[random.IntN(len(alphabet))]
				switch random.IntN(4) {
				case 0:
					b[at] = c
				case 1:
					b = slices.Insert(b, at, c)
				case 2:
					b = slices.Delete(b, at, at+1)
				case 3:
					b = []byte(theirs[part])
				}
				if p[part] = string(b); opensTheSame(t, &verifier, strings.Join(p, ".")) {
					held++
				}
			}
			t.Logf("%d altered texts hold", held)
			for _, signature := range []string{"", strings.Repeat("A", 86), strings.Repeat("A", 84), parts[2][:len(parts[2])-4]} {
				require.False(t, opensTheSame(t, &verifier, parts[0]+"."+parts[1]+"."+signature))
			}
			folded := parts[0] + "." + parts[1] + "." + parts[2][:9] + "\n" + parts[2][9:]
			_, _, _, err = openByLibrary(folded)
			require.NoError(t, err, "the library passes over line feeds in a signature")
			require.False(t, opensTheSame(t, &verifier, folded))
		})
	}
}

// What a verifier remembers is bounded, and nothing that was refused is in it.
//
// Holds: MPIC-08
func TestAVerifierRemembersSoMuch(t *testing.T) {
	probe := newProbe()
	id := newIdentity(t, "fra")
	member := memberOf("fra", "", id)
	good, err := id.sign(passing(probe))
	require.NoError(t, err)
	var v Verifier
	_, problem := v.Verify(sealEd25519(t, id, map[string]any{"typ": "JWT"}, marshal(t, passing(probe))), member, nil, probe)
	require.NotNil(t, problem)
	require.Empty(t, v.known)
	for range 3 {
		_, problem = v.Verify(good, member, nil, probe)
		require.Nil(t, problem)
		require.Len(t, v.known, 1)
	}
	v.remember(strings.Repeat("A", longestKnown+1), signingKey{})
	require.Len(t, v.known, 1)
	for i := range 2 * mostKnown {
		v.remember(fmt.Sprint(i), signingKey{})
	}
	require.Len(t, v.known, mostKnown)
	stranger := newIdentity(t, "nrt")
	signed, err := stranger.sign(passing(probe))
	require.NoError(t, err)
	for range 2 {
		_, problem = v.Verify(signed, memberOf("nrt", "", stranger), nil, probe)
		require.Nil(t, problem, "one more is read each time")
		_, problem = v.Verify(signed, member, nil, probe)
		require.Equal(t, "perspective.key", problem.Code)
	}
}
